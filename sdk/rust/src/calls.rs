//! Calls through Firn, and word that nobody waits any more.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::method::Target;
use crate::{Code, Failure, Metadata, wire};

/// What code outside of a session asks of it.
///
/// The way there is not bounded by itself: each question belongs to a future that somebody awaits, or
/// to credit that Firn has granted, and is as bounded as they are.
#[derive(Debug)]
pub(crate) enum Ask {
    Call(Question),
    /// Nobody awaits the call any more.
    Forget(Ticket),
    /// A reply of a streamed call.
    Reply(wire::Reply),
    /// Leave for more requests of a streamed call.
    Grant {
        command: u64,
        amount: u32,
    },
}

/// A call that somebody awaits.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) ticket: Ticket,
    /// The command that is being handled; 0 outside of any.
    pub(crate) command: u64,
    pub(crate) target: wire::Target,
    pub(crate) timeout_ms: u64,
    pub(crate) answer: oneshot::Sender<Result<(Bytes, Metadata), Failure>>,
}

/// Names a call from before it has its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(u64);

impl Ticket {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// The way into a session.
pub(crate) type Asks = mpsc::UnboundedSender<Ask>;

/// Where a client finds a session.
#[derive(Clone)]
enum Way {
    /// The one of the command that is being handled.
    Command { asks: Asks, command: u64 },
    /// Any that is connected.
    Any(watch::Receiver<Vec<Asks>>),
}

/// Calls methods of any component of any connected function, through Firn.
#[derive(Clone)]
pub struct Client {
    way: Way,
    timeout: Option<Duration>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn of_command(asks: Asks, command: u64) -> Self {
        Self {
            way: Way::Command { asks, command },
            timeout: None,
        }
    }

    pub(crate) fn of_any(sessions: watch::Receiver<Vec<Asks>>) -> Self {
        Self {
            way: Way::Any(sessions),
            timeout: None,
        }
    }

    /// The same, with a bound on how long its calls may take. Firn has one of its own.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Calls a method and waits for its reply. Outside of a command it also waits for a connection.
    ///
    /// # Errors
    /// What the method fails with; UNAVAILABLE if the connection is lost meanwhile.
    ///
    /// # Cancel safety
    /// Dropped, it tells Firn that nobody waits; the call may have been applied.
    pub async fn call<Res: Message + Default>(&self, target: Target<Res>) -> Result<Res, Failure> {
        self.call_with_metadata(target)
            .await
            .map(|(reply, _)| reply)
    }

    /// The same, with the headers of the reply.
    ///
    /// # Errors
    /// As [`Client::call`].
    ///
    /// # Cancel safety
    /// As [`Client::call`].
    pub async fn call_with_metadata<Res: Message + Default>(
        &self,
        target: Target<Res>,
    ) -> Result<(Res, Metadata), Failure> {
        let name = format!("{}/{}", target.service, target.method);
        let asking = self.ask(target.into_wire());
        let answer = match self.timeout {
            None => asking.await,
            Some(timeout) => tokio::time::timeout(timeout, asking)
                .await
                .unwrap_or_else(|_| {
                    let text = format!("{name} did not answer within {timeout:?}");
                    Err(Failure::new(Code::DeadlineExceeded, text))
                }),
        };
        let (reply, metadata) = answer?;
        let reply = Res::decode(reply).map_err(|error| {
            Failure::internal(format!("the reply of {name} cannot be decoded: {error}"))
        })?;
        Ok((reply, metadata))
    }

    async fn ask(&self, target: wire::Target) -> Result<(Bytes, Metadata), Failure> {
        let (asks, command) = match &self.way {
            Way::Command { asks, command } => (asks.clone(), *command),
            Way::Any(sessions) => (connected(sessions.clone()).await?, 0),
        };
        let (answer, answered) = oneshot::channel();
        let ticket = Ticket::next();
        let timeout = self.timeout.map_or(0, |timeout| timeout.as_millis().max(1));
        let question = Question {
            ticket,
            command,
            target,
            timeout_ms: u64::try_from(timeout).unwrap_or(u64::MAX),
            answer,
        };
        if asks.send(Ask::Call(question)).is_err() {
            return Err(Failure::unavailable(
                "the connection to Firn is lost; the call was not applied",
            ));
        }
        let mut forgetting = Forgetting {
            asks: Some((asks, ticket)),
        };
        let answer = answered.await;
        forgetting.asks = None;
        answer.unwrap_or_else(|_| {
            Err(Failure::unavailable(
                "the connection to Firn was lost; the call may have been applied",
            ))
        })
    }
}

/// Waits for a connection.
async fn connected(mut sessions: watch::Receiver<Vec<Asks>>) -> Result<Asks, Failure> {
    let found = sessions.wait_for(|sessions| !sessions.is_empty()).await;
    let found = found.map_err(|_| Failure::unavailable("the function has stopped"))?;
    Ok(found[0].clone())
}

/// Tells the session when the future of a call is dropped (R74).
struct Forgetting {
    asks: Option<(Asks, Ticket)>,
}

impl Drop for Forgetting {
    fn drop(&mut self) {
        if let Some((asks, ticket)) = self.asks.take() {
            // A session that is gone has forgotten it already.
            let _ = asks.send(Ask::Forget(ticket));
        }
    }
}

/// Word that nobody waits for the answer of a command any more. Most commands never hear it, so it
/// costs nothing until somebody asks.
#[derive(Debug, Clone, Default)]
pub struct Cancelled {
    shared: Option<Arc<CancelledShared>>,
}

#[derive(Debug, Default)]
struct CancelledShared {
    told: OnceLock<()>,
    waiting: Notify,
}

impl Cancelled {
    /// One that can be told.
    pub(crate) fn new() -> Self {
        Self {
            shared: Some(Arc::default()),
        }
    }

    pub(crate) fn tell(&self) {
        if let Some(shared) = &self.shared {
            let _ = shared.told.set(());
            shared.waiting.notify_waiters();
        }
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| shared.told.get().is_some())
    }

    /// Waits until it happens.
    ///
    /// # Cancel safety
    /// Can be dropped and awaited again.
    pub async fn wait(&self) {
        let Some(shared) = &self.shared else {
            return std::future::pending().await;
        };
        let mut notified = pin!(shared.waiting.notified());
        poll_fn(|cx| {
            // Registered first, so that nothing told in between is missed.
            let registered = notified.as_mut().poll(cx);
            if shared.told.get().is_some() {
                return Poll::Ready(());
            }
            registered
        })
        .await;
    }
}
