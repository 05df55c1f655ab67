//! Peers: real functions on published SDKs, from the folder `peers`.
//!
//! A peer is set up by its own command when that was not done yet, one process at a time; a
//! toolchain that is missing fails the test that wants the peer.

use std::collections::HashSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};

use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::process::{Process, free_port};

/// What a `peer.toml` says.
#[derive(Debug, Clone, Deserialize)]
pub struct Description {
    /// The name of its folder.
    pub name: String,
    /// The family it speaks, as the setting `family` names it.
    pub family: String,
    /// The package and version of its SDK.
    pub sdk: String,
    /// Programs that must be on the PATH.
    pub toolchain: Vec<String>,
    /// The command that sets it up.
    pub setup: Vec<String>,
    /// The command that starts it.
    pub start: Vec<String>,
    /// What it declares.
    #[serde(rename = "service")]
    pub services: Vec<Service>,
    #[serde(skip)]
    folder: PathBuf,
}

/// A service of a peer.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    /// Its full name.
    pub name: String,
    /// `event-sourced`, `value`, `action`, `replicated` or `view`.
    pub kind: String,
    /// The name under which its data is kept, if it has data.
    pub storage_name: Option<String>,
}

impl Description {
    /// Reads the description of the peer of this name.
    ///
    /// # Panics
    /// If there is none, or it says something else than it should.
    pub fn of(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../peers")
            .join(name);
        let file = folder.join("peer.toml");
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let read: Self =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self { folder, ..read }
    }

    /// Sets the peer up, unless that was done, and gives the command that starts it.
    ///
    /// # Panics
    /// If it cannot be set up.
    pub fn ready(&self) -> Vec<String> {
        self.set_up();
        let [program, arguments @ ..] = &self.start[..] else {
            panic!("the peer {} has an empty command", self.name);
        };
        let program = self.folder.join(program).display().to_string();
        [&[program], arguments].concat()
    }

    /// Sets the peer up, unless that was done.
    fn set_up(&self) {
        static DONE: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
        // One set-up at a time in this process; those that failed are tried again by the next test.
        let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
        if done.contains(&self.name) {
            return;
        }
        self.check_toolchain();
        // Other processes wait here. The lock goes with the file, also if this process is killed.
        let file = File::open(self.folder.join("peer.toml")).expect("the description");
        file.lock().expect("a lock");
        let output = self.command(&self.setup).output();
        let output = output.unwrap_or_else(|error| panic!("the set-up of {}: {error}", self.name));
        assert!(
            output.status.success(),
            "the set-up of {} ended with {}:\n{}{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        done.insert(self.name.clone());
    }

    fn check_toolchain(&self) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let missing: Vec<&str> = self
            .toolchain
            .iter()
            .filter(|program| !folders.iter().any(|folder| folder.join(program).is_file()))
            .map(String::as_str)
            .collect();
        assert!(
            missing.is_empty(),
            "the peer {} cannot run: {} not on the PATH; it needs {}",
            self.name,
            missing.join(", "),
            self.toolchain.join(", "),
        );
    }

    /// A command of the description, run in the peer's folder.
    fn command(&self, words: &[String]) -> Command {
        let [program, arguments @ ..] = words else {
            panic!("the peer {} has an empty command", self.name);
        };
        let mut command = Command::new(self.folder.join(program));
        command.args(arguments).current_dir(&self.folder);
        command
    }
}

/// A running peer, on a port that stays its own when it is started again.
pub struct Peer {
    description: Description,
    environment: Vec<(String, String)>,
    // Dropped before the folder, where its log is.
    process: Process,
    folder: TempDir,
    address: SocketAddr,
    _place: Place,
}

impl Peer {
    /// Sets the peer of this name up and starts it. It may not listen yet.
    ///
    /// # Panics
    /// If it cannot be set up or started.
    pub fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let description = Description::of(name);
        description.set_up();
        let place = Place::take();
        let folder = tempfile::tempdir().expect("a folder");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let process = launch(&description, &environment, address, folder.path());
        Self {
            description,
            environment,
            process,
            folder,
            address,
            _place: place,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its `peer.toml` says.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What it has printed, all runs together.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Starts it again at the same address.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = launch(
            &self.description,
            &self.environment,
            self.address,
            self.folder.path(),
        );
    }
}

/// How many peers a test process runs at once: a JVM takes up to 400 MB, and on a machine with many
/// processors the test runner starts many tests.
const PEERS_MAX: usize = 6;

/// How many run.
static RUNNING: Mutex<usize> = Mutex::new(0);

/// Told when one has ended.
static ENDED: Condvar = Condvar::new();

/// One of the places for running peers.
struct Place;

impl Place {
    /// Waits until one is free.
    fn take() -> Self {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = ENDED
            .wait_while(running, |running| *running >= PEERS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

fn launch(
    description: &Description,
    environment: &[(String, String)],
    address: SocketAddr,
    folder: &Path,
) -> Process {
    let mut command = description.command(&description.start);
    command
        .env("HOST", address.ip().to_string())
        .env("PORT", address.port().to_string())
        .envs(environment.iter().map(|(name, value)| (name, value)));
    Process::start(&description.name, &mut command, &folder.join("peer.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_description_that_can_be_read() {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../peers");
        let mut read = 0;
        for entry in std::fs::read_dir(peers).unwrap() {
            let folder = entry.unwrap().path();
            if folder.join("peer.toml").exists() {
                let name = folder.file_name().unwrap().to_str().unwrap();
                let description = Description::of(name);
                assert_eq!(description.name, name);
                assert!(!description.services.is_empty());
                read += 1;
            }
        }
        assert!(read > 0);
    }
}
