//! The systems that Firn is compared with, made ready on demand: programs of `bench/peers`, which is a
//! workspace of its own, and a Restate server from npm.
//!
//! Both land in the target folder and are there for the next time. Nothing but the cases that compare
//! with them needs them, or the network that they come from.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::rig::{Programs, done};

/// What fixes the version of the Restate server.
const MANIFEST: &str = "package.json";
const LOCK: &str = "package-lock.json";

/// The lock file of what is installed.
const STAMP: &str = "installed";

/// The names of the cases that compare with them.
pub(crate) const RESTATE: &str = "restate";
pub(crate) const ACTORS: &str = "actors";

/// Makes ready what these cases need, if they need anything.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) async fn prepare(programs: &Programs, cases: impl Iterator<Item = &str>) -> Result<()> {
    let peers = Peers::of(programs);
    let cases: Vec<&str> = cases.collect();
    if cases.contains(&RESTATE) {
        peers.restate_server().await?;
    }
    if cases.contains(&RESTATE) || cases.contains(&ACTORS) {
        peers.build().await?;
    }
    Ok(())
}

/// The peers' programs.
pub(crate) struct Peers {
    /// The function on Restate's SDK.
    pub(crate) restate_counter: PathBuf,
    /// Actors in one process.
    pub(crate) actors: PathBuf,
    /// Where the Restate server is installed.
    restate: PathBuf,
    /// Everything of theirs in the target folder.
    folder: PathBuf,
}

impl Peers {
    /// Where they are, or will be.
    pub(crate) fn of(programs: &Programs) -> Self {
        let folder = programs.target().join("peers");
        let programs = folder.join("release");
        Self {
            restate_counter: programs.join("restate-counter"),
            actors: programs.join("actors"),
            restate: folder.join("restate"),
            folder,
        }
    }

    /// Builds the programs of `bench/peers`, unless nothing changed.
    async fn build(&self) -> Result<()> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "--locked", "--release", "--target-dir"])
            .arg(&self.folder)
            .current_dir(sources());
        let remedy = "the first build downloads crates: it needs the network";
        self.run("cargo build of bench/peers", &mut cargo, remedy)
            .await
    }

    /// Installs the Restate server, unless it is there; gives its program.
    pub(crate) async fn restate_server(&self) -> Result<PathBuf> {
        let (platform, arch) = match (env::consts::OS, env::consts::ARCH) {
            ("linux", "x86_64") => ("linux", "x64"),
            ("linux", "aarch64") => ("linux", "arm64"),
            ("macos", "x86_64") => ("darwin", "x64"),
            ("macos", "aarch64") => ("darwin", "arm64"),
            (os, arch) => bail!("Restate has no server for {os} on {arch}"),
        };
        let modules = self.restate.join("node_modules/@restatedev");
        let server = modules.join(format!(
            "restate-server-{platform}-{arch}/bin/restate-server"
        ));
        if self.is_installed() && server.is_file() {
            return Ok(server);
        }
        let npm = Command::new("npm").arg("--version").output();
        ensure!(
            npm.is_ok_and(|output| output.status.success()),
            "npm is missing: install Node 20 or newer from https://nodejs.org, or name the cases \
             that are to be measured"
        );
        fs::create_dir_all(&self.restate)?;
        for name in [MANIFEST, LOCK] {
            let manifest = fs::read(sources().join("restate").join(name))?;
            fs::write(self.restate.join(name), manifest)?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&self.restate);
        let remedy = "it downloads the Restate server: it needs the network";
        self.run("npm ci of Restate", &mut npm, remedy).await?;
        let found = server.is_file();
        ensure!(found, "npm did not install {}", server.display());
        fs::copy(self.restate.join(LOCK), self.restate.join(STAMP))?;
        Ok(server)
    }

    /// Whether what was installed last, as a whole, is what is asked for.
    fn is_installed(&self) -> bool {
        let installed = fs::read(self.restate.join(STAMP));
        let asked = fs::read(sources().join("restate").join(LOCK));
        matches!((installed, asked), (Ok(installed), Ok(asked)) if installed == asked)
    }

    /// Runs a command until it ends well; `remedy` says what it needs.
    async fn run(&self, name: &str, command: &mut Command, remedy: &str) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let log = self.folder.join("log");
        let _ = fs::remove_file(&log);
        println!("{name} …");
        done(name, command, &log)
            .await
            .with_context(|| remedy.to_owned())
    }

    /// The version of the Restate server.
    pub(crate) fn restate_version() -> Result<String> {
        let text = fs::read_to_string(sources().join("restate").join(MANIFEST))?;
        let manifest: serde_json::Value = serde_json::from_str(&text)?;
        let version = manifest["dependencies"]["@restatedev/restate-server"].as_str();
        Ok(version.context("package.json names no version")?.to_owned())
    }
}

/// The folder of the peers in the repository.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}
