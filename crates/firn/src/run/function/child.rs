//! The function as a child of `firn dev`: started, restarted when it ends, ended with Firn.
//!
//! A killed Firn cannot end its function, so it writes down the function's process group and start
//! time. The next run ends what is left, and only if the start time still matches: process ids are
//! used again.
//!
//! # Fate
//! [`Child::run`] ends when it is told to stop, after the function's whole process group has ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long a function may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How often it is looked at while it ends.
const LOOK: Duration = Duration::from_millis(10);

/// The first pause before a restart; doubled up to [`PAUSE_MAX`] while the function keeps ending.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A function that ran this long is restarted at once: it is not failing at its start.
const HEALTHY: Duration = Duration::from_secs(10);

/// A function that Firn starts itself.
pub(super) struct Child {
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// Where it is to listen, for its environment.
    pub(super) host: String,
    /// Likewise.
    pub(super) port: String,
    /// Where it is to dial, if it speaks our own protocol.
    pub(super) dial: String,
    /// What it must send as its token, if anything.
    pub(super) token: Option<String>,
    /// Where its process is written down.
    pub(super) record: PathBuf,
    /// Told whenever it was started: it will listen soon.
    pub(super) started: Arc<Notify>,
}

impl Child {
    /// Starts the function once, to find out whether it can be started at all, and keeps it running
    /// until `stop`.
    ///
    /// # Errors
    /// What the operating system says if the command cannot be started the first time.
    pub(super) async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let mut pause = PAUSE_MIN;
        let mut first = true;
        loop {
            let started = Instant::now();
            match self.spawn() {
                Ok(child) => {
                    first = false;
                    self.started.notify_one();
                    let Some(status) = self.attend(child, &stop).await else {
                        return Ok(());
                    };
                    warn!("the function ended ({status}); starting it again");
                }
                Err(error) if first => return Err(error),
                Err(error) => warn!("the function cannot be started: {error}"),
            }
            if started.elapsed() >= HEALTHY {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn spawn(&self) -> io::Result<tokio::process::Child> {
        let (program, args) = self
            .command
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let child = Command::new(program)
            .args(args)
            .env("HOST", &self.host)
            .env("PORT", &self.port)
            .env("FIRN_ADDRESS", &self.dial)
            .envs(self.token.as_ref().map(|token| ("FIRN_TOKEN", token)))
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()?;
        if let Some(pid) = child.id() {
            info!(pid, "started the function: {}", self.command.join(" "));
            if let Err(error) = write_record(&self.record, pid) {
                warn!(
                    "{}: {error}; a killed Firn will leave it behind",
                    self.record.display()
                );
            }
        }
        Ok(child)
    }

    /// Waits for the function's end, or ends it; `None` if Firn was told to stop.
    async fn attend(
        &self,
        mut child: tokio::process::Child,
        stop: &CancellationToken,
    ) -> Option<ExitStatus> {
        let group = child.id().and_then(pid);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            status = child.wait() => {
                // What it started itself goes with it.
                if let Some(group) = group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                return status.ok();
            }
        }
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::TERM);
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                warn!("the function did not end in time and is killed");
            }
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait().await;
        }
        let _ = fs::remove_file(&self.record);
        None
    }
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

fn write_record(record: &Path, pid: u32) -> io::Result<()> {
    if let Some(folder) = record.parent() {
        fs::create_dir_all(folder)?;
    }
    let start = start_time(pid).unwrap_or_default();
    fs::write(record, format!("{pid} {start}\n"))
}

/// Ends the function that an earlier, killed run left behind, if it is still the same process.
pub(super) async fn end_left_behind(record: &Path) {
    let Ok(text) = fs::read_to_string(record) else {
        return;
    };
    let mut words = text.split_whitespace();
    let left = words.next().and_then(|word| word.parse::<u32>().ok());
    let start = words.next().and_then(|word| word.parse::<u64>().ok());
    let (Some(left), Some(start)) = (left, start) else {
        return;
    };
    if start_time(left) == Some(start)
        && let Some(group) = pid(left)
    {
        info!(
            pid = left,
            "ending the function that an earlier run left behind"
        );
        let _ = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + GRACE;
        while start_time(left) == Some(start) && Instant::now() < until {
            sleep(LOOK).await;
        }
        let _ = kill_process_group(group, Signal::KILL);
        while start_time(left) == Some(start) {
            sleep(LOOK).await;
        }
    }
    let _ = fs::remove_file(record);
}

/// When a process was started, in clock ticks since boot: field 22 of `/proc/PID/stat`
/// (proc_pid_stat(5)). `None` if there is no such process, or only its exit status is left.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold spaces and parentheses; the last one ends it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if state == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_start_time_is_found_and_fixed() {
        let pid = std::process::id();
        assert!(start_time(pid).is_some());
        assert_eq!(start_time(pid), start_time(pid));
        assert_eq!(start_time(u32::MAX), None);
    }

    #[tokio::test]
    async fn function_left_behind_is_ended_by_the_next_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = folder.path().join("function.pid");
        let mut left = std::process::Command::new("sleep");
        let mut left = std::os::unix::process::CommandExt::process_group(left.arg("600"), 0)
            .spawn()
            .expect("sleep starts");
        write_record(&record, left.id()).expect("a record");
        let reaper = std::thread::spawn(move || left.wait().expect("an end"));
        end_left_behind(&record).await;
        assert!(!reaper.join().expect("a status").success());
        assert!(!record.exists());
    }

    #[tokio::test]
    async fn process_with_another_start_time_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = folder.path().join("function.pid");
        let own = std::process::id();
        fs::write(&record, format!("{own} 1\n")).expect("a record");
        end_left_behind(&record).await;
        assert!(!record.exists());
    }
}
