//! A project: a folder with a `firn.toml` that says how its function is started.
//!
//! `firn dev` without a command runs what the file says. Its settings are in the same file, by their
//! names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use firn_model::code::Code;
use xxhash_rust::xxh3::xxh3_64;

use crate::settings::Fault;

/// The file of a project, in its folder.
pub(crate) const FILE: &str = "firn.toml";

/// Where it is written down which set-up was done, so that it is done once.
const STAMP: &str = ".firn/set-up";

/// How the function of a project is started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Project {
    /// Starts the function; empty if nothing does.
    pub(crate) command: Vec<String>,
    /// What is run before it.
    pub(crate) set_up: SetUp,
}

/// What is run before the function is started: once, and again when one of the files has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SetUp {
    /// Program and arguments; empty if there is nothing to do.
    pub(crate) command: Vec<String>,
    files: Vec<PathBuf>,
}

impl Project {
    /// Takes what a file says of its project out of the file's table. Each value that is no list of
    /// texts is one of the `faults`.
    pub(crate) fn take(table: &mut toml::Table, path: &Path, faults: &mut Vec<Fault>) -> Self {
        let mut list = |key: &str| {
            texts(table.remove(key)).unwrap_or_else(|| {
                let text = format!("{key} in {} is not a list of texts", path.display());
                faults.push(Fault {
                    code: Code::BadSetting,
                    text,
                    remedy: None,
                });
                Vec::new()
            })
        };
        Self {
            command: list("command"),
            set_up: SetUp {
                command: list("set-up"),
                files: list("set-up-files")
                    .into_iter()
                    .map(PathBuf::from)
                    .collect(),
            },
        }
    }
}

impl SetUp {
    /// Whether there is nothing to do in the current folder, or it was done for these files.
    pub(crate) fn is_done(&self) -> bool {
        let done = || fs::read_to_string(STAMP).is_ok_and(|done| done == self.stamp());
        self.command.is_empty() || done()
    }

    /// Writes down that it was done for the files as they are.
    ///
    /// # Errors
    /// What the operating system says if that cannot be written.
    pub(crate) fn write_down(&self) -> io::Result<()> {
        let write = || {
            if let Some(folder) = Path::new(STAMP).parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(STAMP, self.stamp())
        };
        write().map_err(|error| io::Error::new(error.kind(), format!("{STAMP}: {error}")))
    }

    /// What the set-up depends on, in short.
    fn stamp(&self) -> String {
        let mut all = self.command.join("\0").into_bytes();
        for file in &self.files {
            all.push(0);
            all.extend(fs::read(file).unwrap_or_default());
        }
        format!("{:016x}\n", xxh3_64(&all))
    }
}

/// A list of texts; nothing is an empty one.
fn texts(value: Option<toml::Value>) -> Option<Vec<String>> {
    match value {
        None => Some(Vec::new()),
        Some(toml::Value::Array(list)) => list
            .into_iter()
            .map(|word| match word {
                toml::Value::String(word) => Some(word),
                _ => None,
            })
            .collect(),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> (Project, toml::Table, Vec<String>) {
        let mut table = text.parse().unwrap();
        let mut faults = Vec::new();
        let project = Project::take(&mut table, Path::new(FILE), &mut faults);
        let faults = faults.iter().map(Fault::to_string).collect();
        (project, table, faults)
    }

    #[test]
    fn file_says_how_the_function_is_started() {
        let text = "command = [\"node\", \"main.js\"]\nset-up = [\"npm\", \"ci\"]\n\
                    set-up-files = [\"package-lock.json\"]\nlisten = \"127.0.0.1:1\"\n";
        let (project, left, faults) = take(text);
        assert_eq!(project.command, ["node", "main.js"]);
        assert_eq!(project.set_up.command, ["npm", "ci"]);
        assert_eq!(left.keys().collect::<Vec<_>>(), ["listen"]);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(take("").0, Project::default());
    }

    #[test]
    fn what_is_no_list_of_texts_is_refused() {
        let (_, _, faults) = take("command = \"node main.js\"\nset-up = [1]");
        let expected = [
            "FIRN-1001 command in firn.toml is not a list of texts",
            "FIRN-1001 set-up in firn.toml is not a list of texts",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn set_up_is_done_again_when_a_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lock");
        let set_up = SetUp {
            command: vec!["true".to_owned()],
            files: vec![file.clone()],
        };
        let before = set_up.stamp();
        assert_eq!(before, set_up.stamp());
        fs::write(&file, "1").unwrap();
        assert_ne!(before, set_up.stamp());
    }
}
