//! A process that Firn starts, with all that it starts itself: a process group.
//!
//! A killed Firn cannot end what it started, so it writes down the group and its start time. The next
//! run ends what is left, and only if the start time still matches: process ids are used again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long a group may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How often one that is not our child is looked at while it ends.
const LOOK: Duration = Duration::from_millis(10);

/// A running group.
pub(super) struct Group {
    leader: Child,
    /// The leader's process id, which is the group's.
    pub(super) pid: u32,
    /// Where it is written down.
    record: PathBuf,
}

impl Group {
    /// Starts a command, without input, as a group of its own.
    ///
    /// # Errors
    /// What the operating system says if it cannot be started.
    pub(super) fn start(command: &mut Command, record: &Path) -> io::Result<Self> {
        let leader = command.stdin(Stdio::null()).process_group(0).spawn()?;
        // Only a process that was waited for has none.
        let pid = leader.id().unwrap_or_default();
        if let Err(error) = write_record(record, pid) {
            let record = record.display();
            warn!("{record}: {error}; a killed Firn will leave {pid} behind");
        }
        let record = record.to_owned();
        Ok(Self {
            leader,
            pid,
            record,
        })
    }

    /// Waits until its leader ends, and ends the rest; or ends all of it when told to stop: then
    /// there is no status.
    ///
    /// # Errors
    /// What the operating system says if it cannot be waited for.
    pub(super) async fn ended(
        mut self,
        stop: &CancellationToken,
    ) -> io::Result<Option<ExitStatus>> {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            status = self.leader.wait() => {
                signal(self.pid, Signal::KILL);
                return status.map(Some);
            }
        }
        signal(self.pid, Signal::TERM);
        if tokio::time::timeout(GRACE, self.leader.wait())
            .await
            .is_err()
        {
            warn!(pid = self.pid, "it did not end in time and is killed");
        }
        signal(self.pid, Signal::KILL);
        let _ = self.leader.wait().await;
        let _ = fs::remove_file(&self.record);
        Ok(None)
    }
}

/// Sends a signal to a group; one that has ended takes none.
fn signal(group: u32, signal: Signal) {
    let group = i32::try_from(group).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, signal);
    }
}

fn write_record(record: &Path, pid: u32) -> io::Result<()> {
    if let Some(folder) = record.parent() {
        fs::create_dir_all(folder)?;
    }
    let start = start_time(pid).unwrap_or_default();
    fs::write(record, format!("{pid} {start}\n"))
}

/// Ends the group that an earlier, killed run left behind, if it is still the same process.
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
    if start_time(left) == Some(start) {
        info!(
            pid = left,
            "ending the function that an earlier run left behind"
        );
        signal(left, Signal::TERM);
        let until = Instant::now() + GRACE;
        while start_time(left) == Some(start) && Instant::now() < until {
            sleep(LOOK).await;
        }
        signal(left, Signal::KILL);
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
