//! Real processes: started by a test, ended by their own process id, logs kept on failure.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long anything that a test waits for may take: far more than it ever does.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a test looks whether what it waits for is there.
const LOOK: Duration = Duration::from_millis(5);

/// A process group of its own, ended with this value.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command with both outputs going to `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let append = || {
            let file = File::options().create(true).append(true).open(log);
            Stdio::from(file.unwrap_or_else(|error| panic!("{}: {error}", log.display())))
        };
        command
            .stdin(Stdio::null())
            .stdout(append())
            .stderr(append());
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            ended: None,
        }
    }

    /// What it has written so far, this run and earlier ones into the same file.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap_or_default();
        }
        self.ended
    }

    /// Waits until `look` gives something.
    ///
    /// # Panics
    /// If the process ends before, or patience does.
    pub fn wait_for<T>(&mut self, what: &str, look: impl FnMut(&Self) -> Option<T>) -> T {
        self.wait_for_within(PATIENCE, what, look)
    }

    /// Waits until `look` gives something, with a patience of its own.
    ///
    /// # Panics
    /// If the process ends before, or patience does.
    pub fn wait_for_within<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let until = Instant::now() + patience;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if let Some(status) = self.ended() {
                panic!(
                    "{} ended ({status}) before {what}:\n{}",
                    self.name,
                    self.log()
                );
            }
            if Instant::now() >= until {
                panic!("{} gave no {what}:\n{}", self.name, self.log());
            }
            thread::sleep(LOOK);
        }
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may have ended already.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills the process and all it has started, without a word.
    pub fn kill(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        self.ended = self.child.wait().ok();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If patience ends before.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(PATIENCE)
    }

    /// Waits for its end with a patience of its own.
    ///
    /// # Panics
    /// If that ends before.
    pub fn wait_within(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                Instant::now() < until,
                "{} does not end:\n{}",
                self.name,
                self.log()
            );
            thread::sleep(LOOK);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- log of {}:\n{}", self.name, self.log());
        }
        self.kill();
    }
}

/// Where [`free_port`] looks: below the ports that systems give to those who ask for any, so that
/// nobody is given one between its choice and its use.
const PORTS: Range<u16> = 12_000..32_000;

/// A port that nobody listens on now, and another one each time. For processes that cannot choose
/// one themselves.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Test processes that run side by side begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let offset = begin.wrapping_add(step) % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(offset).expect("an offset within the range");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
