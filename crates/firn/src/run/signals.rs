//! Signals: how a person, or what runs Firn, tells it to stop.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::exit::FAILED;

/// How long after a signal another is taken for the same one: a terminal sends Ctrl-C to everything
/// that runs in it, and who started Firn there, as npm does, passes it on.
const SAME: Duration = Duration::from_millis(500);

/// The signals that mean to stop.
pub(super) struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Stops at the first signal; ends the process at the second, unless everything has `ended` by
    /// then. One that comes right after the first is the first once more.
    pub(super) async fn watch(mut self, stop: CancellationToken, ended: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.wait() => stop.cancel(),
        }
        tokio::select! {
            () = ended.cancelled() => {}
            () = sleep(SAME) => {}
        }
        let _ = (
            self.term.recv().now_or_never(),
            self.int.recv().now_or_never(),
        );
        tokio::select! {
            () = ended.cancelled() => {}
            () = self.wait() => {
                warn!("told again, ending at once; nothing acknowledged is lost");
                std::process::exit(FAILED.into());
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => info!("told to stop"),
            _ = self.int.recv() => info!("interrupted"),
        }
    }
}
