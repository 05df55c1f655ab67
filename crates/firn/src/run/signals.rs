//! Signals: how a person, or what runs Firn, tells it to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::exit::FAILED;

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

    /// Stops at the first signal; ends the process at the second, unless it has ended by then.
    pub(super) async fn watch(mut self, stop: CancellationToken, stopped: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.wait() => stop.cancel(),
        }
        tokio::select! {
            () = stopped.cancelled() => {}
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
