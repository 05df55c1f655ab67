//! Other programs: started with a log, waited for with a deadline, ended by their own pid.
//!
//! # Invariants
//! - Nothing started here outlives its [`Process`]: dropping it kills.
//! - Nothing here waits without a deadline.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

/// How often something that is waited for is looked at again: short against what people notice.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How many lines of a log are shown when its program did not do what was expected.
const LOG_LINES_SHOWN: usize = 30;

/// A program that runs beside this one, in a process group of its own.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it writes is appended to the file `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until `ready` says so; fails, with the end of the log, when the program ends or the
    /// time is over.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + limit;
        loop {
            if ready(self) {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}\n{}", self.name, self.log_end());
            }
            if Instant::now() >= until {
                bail!(
                    "{} took longer than {} s {what}\n{}",
                    self.name,
                    limit.as_secs(),
                    self.log_end()
                );
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Kills it at once, as `kill -9` does, and it alone: its children stay.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, waits for at most `grace`, then kills it.
    pub(crate) fn stop(mut self, grace: Duration) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let until = Instant::now() + grace;
        while Instant::now() < until {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(LOOK_AGAIN);
        }
        bail!(
            "{} did not end within {} s\n{}",
            self.name,
            grace.as_secs(),
            self.log_end()
        )
    }

    fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("--- end of its log\n{}", shown.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            end_group(&mut self.child);
        }
    }
}

/// How long a group that is asked to end may take: what it started in groups of their own has to be
/// ended, too, which takes milliseconds.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Asks a child that leads a process group to end, with the whole group; kills what is left of it.
///
/// A member may have started others in groups of their own, which only it can end.
pub(crate) fn stop_group(child: &mut Child) {
    let group = Pid::from_child(child);
    let until = Instant::now() + STOP_GRACE;
    // All of these fail only when everything has ended already.
    let _ = kill_process_group(group, Signal::TERM);
    while Instant::now() < until && test_kill_process_group(group).is_ok() {
        let _ = child.try_wait();
        thread::sleep(LOOK_AGAIN);
    }
    end_group(child);
}

/// Kills a child that leads a process group, with the whole group.
pub(crate) fn end_group(child: &mut Child) {
    // Both fail only when everything has ended already.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// A port that is free now. Another program may take it before it is used; rare enough here.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Whether the person asked to stop (Ctrl-C, or SIGTERM). From the first call on these signals no
/// longer end this program by themselves, so that it can stop what it started.
#[derive(Clone)]
pub(crate) struct StopAsked(Arc<AtomicBool>);

impl StopAsked {
    pub(crate) fn watch() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second signal ends the program the hard way, should the orderly way hang.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))?;
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
        }
        Ok(Self(asked))
    }

    pub(crate) fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xtask-{}-{name}.log", std::process::id()))
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_ends_early_is_reported_with_its_log() {
        let log = log("early");
        let mut process = Process::start("it", &mut shell("echo oh no; exit 3"), &log).unwrap();
        let fault = process
            .wait("to be ready", Duration::from_secs(10), |_| false)
            .unwrap_err()
            .to_string();
        assert!(fault.contains("oh no") && fault.contains('3'), "{fault}");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn stopping_lets_a_program_end_in_order() {
        let log = log("stop");
        let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let mut process = Process::start("it", &mut shell(script), &log).unwrap();
        process
            .wait("to be ready", Duration::from_secs(10), |it| {
                fs::read_to_string(&it.log).is_ok_and(|text| text.contains("ready"))
            })
            .unwrap();
        let status = process.stop(Duration::from_secs(10)).unwrap();
        assert_eq!(status.code(), Some(7));
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_member_of_a_stopped_group_may_end_in_order() {
        let log = log("stop-group");
        // It ends at once, its child after it.
        let script = "(trap 'sleep 0.2; echo ended; exit' TERM; echo ready; \
                      while :; do sleep 0.01; done) & wait";
        let mut process = Process::start("it", &mut shell(script), &log).unwrap();
        process
            .wait("to be ready", Duration::from_secs(10), |it| {
                fs::read_to_string(&it.log).is_ok_and(|text| text.contains("ready"))
            })
            .unwrap();
        stop_group(&mut process.child);
        let said = fs::read_to_string(&log).unwrap();
        assert!(said.contains("ended"), "{said}");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn dropping_kills_the_group() {
        let log = log("drop");
        let mut process =
            Process::start("it", &mut shell("sleep 600 & echo $!; wait"), &log).unwrap();
        let mut sleeper = String::new();
        process
            .wait("to be ready", Duration::from_secs(10), |it| {
                sleeper = fs::read_to_string(&it.log).unwrap_or_default();
                sleeper.ends_with('\n')
            })
            .unwrap();
        drop(process);
        let until = Instant::now() + Duration::from_secs(10);
        let stat = format!("/proc/{}/stat", sleeper.trim());
        // A killed orphan may stay as a zombie for as long as its new parent leaves it.
        while fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
            assert!(Instant::now() < until, "the sleeper lives on");
            thread::sleep(LOOK_AGAIN);
        }
        fs::remove_file(log).unwrap();
    }
}
