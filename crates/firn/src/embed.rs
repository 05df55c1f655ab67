//! A proxy within another process: the same parts as `firn proxy`, on a network of one's choice.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use firn_model::id::NodeId;
use firn_runtime::replicated::network::Network;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::exit::Failure;
use crate::run::Proxy;
use crate::settings::{self, Mode};

/// A proxy that runs in this process. Dropping it ends it without a word to anybody, as far as that
/// can be done within a process: what was not written is lost.
pub struct Embedded {
    /// Where clients come in.
    pub address: SocketAddr,
    /// Where the admin port is.
    pub admin: SocketAddr,
    /// The id under which it keeps its replicas.
    pub node: NodeId,
    stop: CancellationToken,
    run: Option<JoinHandle<Result<(), Failure>>>,
}

/// Why a proxy could not start, or failed.
#[derive(Debug)]
pub struct Failed(pub String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self(failure.cause)
    }
}

impl Embedded {
    /// Starts a proxy with the flags of `firn proxy`, on this network.
    ///
    /// # Errors
    /// [`Failed`] for wrong flags, and for whatever ends `firn proxy` at its start.
    pub async fn start(flags: &[&str], network: Arc<dyn Network>) -> Result<Self, Failed> {
        let line = ["firn", "proxy"].into_iter().chain(flags.iter().copied());
        let matches = cli::command()
            .try_get_matches_from(line)
            .map_err(|error| Failed(error.to_string()))?;
        let Some(("proxy", flags)) = matches.subcommand() else {
            return Err(Failed("these are not the flags of a proxy".to_owned()));
        };
        let (config, _) = settings::gather(Mode::Proxy, flags, &|_| None).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Failed(faults.join("; "))
        })?;
        let stop = CancellationToken::new();
        let proxy = Proxy::start(&config, &*network, stop.clone()).await?;
        let (address, admin, node) = (proxy.listening, proxy.admin, proxy.node());
        Ok(Self {
            address,
            admin,
            node,
            stop,
            run: Some(tokio::spawn(proxy.run(pending()))),
        })
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// [`Failed`] if it failed while it ran.
    pub async fn stop(mut self) -> Result<(), Failed> {
        self.stop.cancel();
        match self.run.take() {
            Some(run) => match run.await {
                Ok(result) => Ok(result?),
                Err(panicked) => Err(Failed(panicked.to_string())),
            },
            None => Ok(()),
        }
    }

    /// Ends it at once: nothing is finished, nothing is written.
    pub async fn kill(mut self) {
        if let Some(run) = self.run.take() {
            run.abort();
            let _ = run.await;
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(run) = &self.run {
            run.abort();
        }
        // The parts let go of the engine, which then ends without being drained.
        self.stop.cancel();
    }
}
