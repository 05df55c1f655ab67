//! A language: where its SDK is, and what starts what.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use firn_testkit::process::Process;

/// A language that has an SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    TypeScript,
    Python,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::TypeScript => "typescript",
            Self::Python => "python",
        }
    }

    /// The folder of its SDK.
    pub(crate) fn folder(self) -> PathBuf {
        root().join("sdk").join(self.name())
    }

    /// A command of its `sdk.toml`. The programs of Rust are of this workspace.
    pub(crate) fn command(self, what: &str) -> Command {
        let words = match (self, what) {
            (Self::Rust, "sample") => vec![beside_firn("samples")],
            (Self::Rust, "tck") => vec![beside_firn("tck")],
            _ => self.words(what),
        };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.folder());
        command
    }

    fn words(self, what: &str) -> Vec<String> {
        let file = self.folder().join("sdk.toml");
        let text = std::fs::read_to_string(&file).expect("a description");
        let table: toml::Table = text.parse().expect("TOML");
        let list = table[what].as_array().expect("a list");
        let mut words: Vec<String> = list
            .iter()
            .map(|word| word.as_str().expect("text").to_owned())
            .collect();
        // A program of the folder is named by where it is, whatever the current folder.
        if words[0].contains('/') {
            words[0] = self.folder().join(&words[0]).display().to_string();
        }
        words
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize().expect("the root")
}

/// The binary under test.
pub(crate) fn firn() -> &'static str {
    env!("CARGO_BIN_EXE_firn")
}

/// A program of this workspace.
fn beside_firn(name: &str) -> String {
    Path::new(firn()).with_file_name(name).display().to_string()
}

/// How long a whole test run of an SDK may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Runs a command to its end.
///
/// # Panics
/// If it fails, with what it printed.
pub(crate) fn run(name: &str, mut command: Command) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut process = Process::start(name, &mut command, &log);
    let status = process.wait_within(PATIENCE);
    assert!(status.success(), "{name} {status}\n{}", process.log());
}
