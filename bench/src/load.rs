//! Load of the bench: what `firn_load` does, with the bench's own view of failures: a call that fails
//! ends the case, because what it measured is not what it says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use firn_load::{Cost, Request, Target, Times, Watched};
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::effort::Effort;

/// How long a look takes whether processes are at rest, and how many there are at most. The system
/// counts processor time in hundredths of a second.
const REST_LOOK: Duration = Duration::from_millis(400);
const REST_LOOKS_MAX: u32 = 10;

/// How often something is measured, if the host of a virtual machine disturbs it.
const TRIES: usize = 4;

/// What takes longer is not tried again.
const LONG: Duration = Duration::from_secs(60);

/// How long nothing is done after something was disturbed, and how often in a run at most: five minutes
/// in all. Others need the processors for a while, and some hosts let a machine use them wholly only when
/// it has rested.
const PAUSE: Duration = Duration::from_secs(5);
static PAUSES_LEFT: AtomicU32 = AtomicU32::new(60);

/// A connection on which calls are made.
#[derive(Clone)]
pub(crate) struct Client(firn_load::Client);

impl Client {
    /// Connects; the connection lives as long as the client and its clones.
    pub(crate) async fn connect(server: SocketAddr) -> Result<Self> {
        Ok(Self(firn_load::Client::connect(server).await?))
    }

    /// One unary gRPC call; its answer is counted, not read.
    pub(crate) async fn call(&self, path: &str, message: &impl Message) -> Result<()> {
        Ok(self.0.send(Request::grpc(&path.parse()?, message)).await?)
    }
}

/// A closed loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Over so many connections.
    pub(crate) connections: usize,
    /// So many calls at once, on all connections together.
    pub(crate) in_flight: usize,
    /// Before anything is counted.
    pub(crate) warm: Duration,
    /// While it is counted.
    pub(crate) measured: Duration,
}

/// What came of a load.
pub(crate) struct Outcome {
    /// Calls in a second.
    pub(crate) rate: f64,
    /// The processor time for each call of the processes that were asked about, in microseconds.
    pub(crate) processor_us: Vec<f64>,
    /// The same for this process, which makes the load.
    pub(crate) own_processor_us: f64,
    /// Over so many connections.
    pub(crate) connections: usize,
    /// All that was measured.
    pub(crate) all: firn_load::Outcome,
}

impl Outcome {
    /// What came of a load over so many connections.
    pub(crate) fn new(all: firn_load::Outcome, connections: usize) -> Self {
        Self {
            connections,
            rate: all.rate,
            processor_us: all.processes.iter().map(Cost::processor_us).collect(),
            own_processor_us: all.own.processor_us(),
            all,
        }
    }

    /// The time that this part of the calls, of 1, took at most, in milliseconds.
    pub(crate) fn time_ms(&self, part: f64) -> f64 {
        self.all.time_ms(part)
    }
}

/// Waits until these processes together take less than a twentieth of a processor, for some seconds at
/// most: what a load has left them to do is then not on the account of the next.
pub(crate) async fn rest(processes: &[Watched]) -> Result<()> {
    let used = || {
        let used = processes.iter().map(|it| Ok(Times::of(it.id)?.own()));
        used.sum::<Result<Duration>>()
    };
    let mut before = used()?;
    for _ in 0..REST_LOOKS_MAX {
        if processes.is_empty() {
            break;
        }
        sleep(REST_LOOK).await;
        let now = used()?;
        if now.saturating_sub(before) < REST_LOOK / 20 {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Loads a server with gRPC calls of a method; `message` makes the message of each call by its number.
///
/// # Errors
/// A call failed.
pub(crate) async fn run<M: Message + 'static>(
    server: SocketAddr,
    path: &'static str,
    message: fn(u64) -> M,
    load: Load,
    watched: &[Watched],
) -> Result<Outcome> {
    let target = Target::grpc(server, path, message).connections(load.connections);
    let load = firn_load::Load::closed(load.in_flight, load.warm, load.measured);
    on(&target, &load, watched).await
}

/// Loads a server, in a closed or an open loop.
///
/// # Errors
/// A call failed.
pub(crate) async fn on(
    target: &Target,
    load: &firn_load::Load,
    watched: &[Watched],
) -> Result<Outcome> {
    let all = target.run(load, watched).await?;
    if let Some(failure) = all.failures.first() {
        let (count, status, message) = (failure.count, &failure.status, &failure.message);
        bail!("{count} calls failed with {status}: {message}");
    }
    Ok(Outcome::new(all, target.connection_count()))
}

/// Leaves the host of this machine alone for a moment, as long as there are pauses left.
pub(crate) async fn pause(effort: Effort) {
    if effort == Effort::Full && take(&PAUSES_LEFT) {
        sleep(PAUSE).await;
    }
}

/// Takes one of what is left; gives whether there was one.
fn take(left: &AtomicU32) -> bool {
    let less = |left: u32| left.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}

/// The same. If the host of this machine gave much of the processors to others meanwhile, it is done
/// again after a pause, a few times at most, and that counts in which it gave least.
///
/// # Errors
/// A call failed.
pub(crate) async fn calmest(
    target: &Target,
    load: &firn_load::Load,
    watched: &[Watched],
    effort: Effort,
) -> Result<Outcome> {
    let tries = match load.measured > LONG {
        true => 1,
        false => effort.rounds(TRIES),
    };
    let mut calmest = on(target, load, watched).await?;
    for _ in 1..tries {
        if !calmest.all.is_disturbed() {
            break;
        }
        pause(effort).await;
        let again = on(target, load, watched).await?;
        if again.all.stolen < calmest.all.stolen {
            calmest = again;
        }
    }
    Ok(calmest)
}

/// Makes each of these calls once, so many at once.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn each<M: Message + 'static>(
    client: &Client,
    path: &'static str,
    messages: impl Iterator<Item = M>,
    in_flight: usize,
) -> Result<()> {
    let mut calls: JoinSet<Result<()>> = JoinSet::new();
    for message in messages {
        while calls.len() >= in_flight {
            calls.join_next().await.context("a call")???;
        }
        let client = client.clone();
        calls.spawn(async move { client.call(path, &message).await });
    }
    while let Some(ended) = calls.join_next().await {
        ended??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let left = AtomicU32::new(2);
        let taken = [(); 4].map(|()| take(&left));
        assert_eq!(taken, [true, true, false, false]);
    }
}
