//! The function as a child of `firn dev`: started, restarted when it ends, ended with Firn.
//!
//! # Fate
//! [`Child::run`] ends when it is told to stop, after the function's whole process group has ended.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firn_model::code::Code;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::group::Group;

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
            match self.start() {
                Ok(group) => {
                    first = false;
                    self.started.notify_one();
                    let Some(status) = group.ended(&stop).await? else {
                        return Ok(());
                    };
                    if started.elapsed() >= HEALTHY {
                        pause = PAUSE_MIN;
                    }
                    let wait = pause.as_secs_f64();
                    warn!(code = %Code::FunctionEnded, "the function ended ({status}); starting it again in {wait} s");
                }
                Err(error) if first => return Err(error),
                Err(error) => warn!("the function cannot be started: {error}"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn start(&self) -> io::Result<Group> {
        let (program, args) = self
            .command
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env("HOST", &self.host)
            .env("PORT", &self.port)
            .env("FIRN_ADDRESS", &self.dial)
            .envs(self.token.as_ref().map(|token| ("FIRN_TOKEN", token)));
        let group = Group::start(&mut command, &self.record)?;
        info!(
            pid = group.pid,
            "started the function: {}",
            self.command.join(" ")
        );
        Ok(group)
    }
}
