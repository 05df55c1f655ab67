//! A real PostgreSQL on a free port and a private data folder, which can be killed, frozen and started
//! again, and a proxy before it that cuts connections.
//!
//! The server is never the machine's own: its folder is made for the test by `initdb` and goes with
//! it. It flushes like any other, because what is tested is whether commits last.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::{PATIENCE, Process, free_port};

pub use cut::{Cut, Rule};

mod cut;

/// The role that owns everything.
pub const USER: &str = "firn";

/// Its password.
pub const PASSWORD: &str = "not a secret";

/// The user that the server runs as where the test runs as root, which PostgreSQL refuses to. The
/// Debian packages make it.
const SYSTEM_USER: &str = "postgres";

/// Where Debian keeps the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A running server. Dropping it ends it.
pub struct Postgres {
    programs: PathBuf,
    // Dropped before the folder, where its log is.
    process: Process,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    spaces: AtomicU32,
}

impl Postgres {
    /// Starts one on a new data folder.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with settings of its own, each `name=value`.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::within(folder, settings)
    }

    /// Starts one whose data folder is in `folder`, which may be a file system of its own.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn within(folder: TempDir, settings: &[&str]) -> Self {
        let programs = programs();
        give_away(folder.path());
        let secret = folder.path().join("password");
        fs::write(&secret, PASSWORD).expect("a file");
        give_away(&secret);
        let mut initdb = command(&programs.join("initdb"));
        initdb
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--username", USER, "--pwfile"])
            .arg(&secret)
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .current_dir(folder.path());
        let made = initdb.output().expect("initdb can be run");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port();
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let process = launch(&programs, folder.path(), port, &settings);
        Self {
            programs,
            process,
            folder,
            port,
            settings,
            spaces: AtomicU32::new(0),
        }
    }

    /// Starts one that takes secure connections too, with this certificate and its key.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn secured(certificate: &Path, key: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |from: &Path, name: &str| {
            let path = folder.path().join(name);
            fs::copy(from, &path).expect("a file");
            // The server takes no key that others may read.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
            give_away(&path);
            path
        };
        let certificate = place(certificate, "certificate.pem");
        let key = place(key, "key.pem");
        let settings = [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", certificate.display()),
            format!("ssl_key_file={}", key.display()),
        ];
        Self::within(folder, &settings.each_ref().map(String::as_str))
    }

    /// Starts a standby of this one, on a port of its own: it has what this one has and takes no writes,
    /// until it is [promoted](Self::promote). From then on this one acknowledges no commit that the
    /// standby does not have.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn standby(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        give_away(folder.path());
        let mut copy = command(&self.programs.join("pg_basebackup"));
        copy.env("PGPASSWORD", PASSWORD)
            .args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf"])
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--username", USER, "--pgdata"])
            .arg(folder.path().join("data"))
            .current_dir(folder.path());
        let made = copy.output().expect("pg_basebackup can be run");
        assert!(
            made.status.success(),
            "pg_basebackup: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port();
        let process = launch(&self.programs, folder.path(), port, &self.settings);
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        let asked = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        let until = Instant::now() + PATIENCE;
        while self.sql(asked) != "1" {
            assert!(Instant::now() < until, "the standby is not in step");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self {
            programs: self.programs.clone(),
            process,
            folder,
            port,
            settings: self.settings.clone(),
            spaces: AtomicU32::new(self.spaces.load(Ordering::Relaxed)),
        }
    }

    /// Makes a standby one that takes writes.
    ///
    /// # Panics
    /// If it does not become one.
    pub fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote()"), "t", "it is promoted");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its folder; the data is in `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of a place in it that nobody has used: a schema of its own.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn fresh(&self) -> String {
        let space = self.spaces.fetch_add(1, Ordering::Relaxed);
        self.sql(&format!("CREATE SCHEMA space_{space}"));
        self.url_of(self.address(), &format!("space_{space}"))
    }

    /// The URL of a schema, by way of an address.
    pub fn url_of(&self, address: SocketAddr, schema: &str) -> String {
        let password = PASSWORD.replace(' ', "%20");
        format!("postgres://{USER}:{password}@{address}/postgres?options=-csearch_path%3D{schema}")
    }

    /// Runs SQL as the owner of everything; gives rows as lines, columns between `|`.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, sql: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .env("PGPASSWORD", PASSWORD)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1", "--host", "127.0.0.1"])
            .args(["--port", &self.port.to_string(), "--username", USER])
            .args(["--dbname", "postgres", "--command", sql])
            .output()
            .expect("psql can be run");
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it at once but in order: clients are cut off, the next start recovers.
    pub fn shut_down(&mut self) {
        self.process.signal(Signal::QUIT);
        self.process.wait();
    }

    /// Starts it again on the same port and data.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = launch(
            &self.programs,
            self.folder.path(),
            self.port,
            &self.settings,
        );
    }

    /// Lets none of its processes run, until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        // First the one that makes others.
        self.signal_all(Signal::STOP);
    }

    /// Lets them run again.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        self.process.signal(signal);
        for child in children(self.process.id()) {
            // It may have ended.
            let _ = kill_process(child, signal);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.process.ended().is_none() {
            self.thaw();
            self.shut_down();
        }
    }
}

/// Starts the server and waits until it takes connections. One that was killed leaves processes
/// behind, which end by themselves; until then it refuses to start.
fn launch(programs: &Path, folder: &Path, port: u16, settings: &[String]) -> Process {
    let until = Instant::now() + PATIENCE;
    let log = folder.join("postgres.log");
    loop {
        let before = fs::read_to_string(&log).unwrap_or_default().len();
        let mut postgres = command(&programs.join("postgres"));
        postgres
            .current_dir(folder)
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "shared_buffers=64MB", "-c", "max_connections=60"]);
        for setting in settings {
            postgres.args(["-c", setting]);
        }
        let mut process = Process::start("postgres", &mut postgres, &log);
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            // A standby accepts those that only read.
            if text[before..].contains("ready to accept") {
                return process;
            }
            if process.ended().is_some() {
                assert!(Instant::now() < until, "postgres does not start:\n{text}");
                break;
            }
            assert!(Instant::now() < until, "postgres is not ready:\n{text}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// A program that runs as nobody in particular: PostgreSQL refuses to run as root.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C");
    if let Some((user, group)) = system_user() {
        command.uid(user).gid(group);
    }
    command
}

fn give_away(path: &Path) {
    if let Some((user, group)) = system_user() {
        chown(path, Some(user), Some(group)).expect("root may give files away");
    }
}

/// The user and group to run as; `None` if this process is not root.
fn system_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("users are listed");
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(SYSTEM_USER));
    let line = line.unwrap_or_else(|| panic!("there is no user {SYSTEM_USER}: install postgresql"));
    let number = |place: usize| line.split(':').nth(place)?.parse().ok();
    Some((
        number(2).expect("the number of a user"),
        number(3).expect("the number of a group"),
    ))
}

/// Where the programs of PostgreSQL are: the newest that Debian has, or those on the path.
fn programs() -> PathBuf {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max();
    if let Some(newest) = newest {
        return Path::new(DEBIAN).join(newest.to_string()).join("bin");
    }
    let told = Command::new("pg_config").arg("--bindir").output();
    let told = told.expect("PostgreSQL is installed (Debian: postgresql)");
    PathBuf::from(String::from_utf8_lossy(&told.stdout).trim())
}

/// The processes that one has started.
fn children(parent: u32) -> Vec<Pid> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let listed = fs::read_to_string(path).unwrap_or_default();
    let numbers = listed.split_whitespace();
    numbers
        .filter_map(|number| Pid::from_raw(number.parse().ok()?))
        .collect()
}
