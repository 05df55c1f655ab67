//! Both sides of a streamed call.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message;
use tokio::sync::{Semaphore, mpsc};

use crate::calls::{Ask, Asks, Cancelled};
use crate::context::Sendable;
use crate::{Failure, wire};

/// How many messages Firn may send of each streamed call to begin with; half as many taken, as many
/// more are granted (R61).
pub(crate) const CALL_MESSAGES: u32 = 16;

const GRANT: u32 = CALL_MESSAGES / 2;

/// The requests of a call that streams them, in order.
#[derive(Debug)]
pub struct Requests<Req> {
    raw: RawRequests,
    decoded: PhantomData<fn() -> Req>,
}

/// The same, not decoded.
#[derive(Debug)]
pub(crate) struct RawRequests {
    /// Bounded by the credit that was granted. The end is that the sender is gone.
    pub(crate) inbox: mpsc::UnboundedReceiver<Bytes>,
    pub(crate) command: u64,
    pub(crate) asks: Asks,
    pub(crate) cancelled: Cancelled,
    taken: u32,
}

impl RawRequests {
    pub(crate) fn new(
        inbox: mpsc::UnboundedReceiver<Bytes>,
        command: u64,
        asks: Asks,
        cancelled: Cancelled,
    ) -> Self {
        Self {
            inbox,
            command,
            asks,
            cancelled,
            taken: 0,
        }
    }
}

impl<Req: Message + Default> Requests<Req> {
    pub(crate) fn new(raw: RawRequests) -> Self {
        Self {
            raw,
            decoded: PhantomData,
        }
    }

    /// The next request; none after the last, and when the caller has gone.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if it cannot be decoded.
    ///
    /// # Cancel safety
    /// No request is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Req>, Failure> {
        let raw = &mut self.raw;
        let message = tokio::select! {
            biased;
            message = raw.inbox.recv() => message,
            () = raw.cancelled.wait() => None,
        };
        let Some(message) = message else {
            return Ok(None);
        };
        raw.taken += 1;
        if raw.taken == GRANT {
            raw.taken = 0;
            // A session that is gone grants nothing any more.
            let _ = raw.asks.send(Ask::Grant {
                command: raw.command,
                amount: GRANT,
            });
        }
        Req::decode(message).map(Some).map_err(|error| {
            Failure::invalid_argument(format!("a request cannot be decoded: {error}"))
        })
    }
}

/// Where a call that streams replies sends them.
#[derive(Debug)]
pub struct Replies<Res> {
    raw: RawReplies,
    encoded: PhantomData<fn(Res)>,
}

/// The same, for encoded ones.
#[derive(Debug, Clone)]
pub(crate) struct RawReplies {
    pub(crate) command: u64,
    pub(crate) asks: Asks,
    /// What Firn granted (R61).
    pub(crate) credit: Arc<Semaphore>,
    pub(crate) cancelled: Cancelled,
    /// What the handler asked for since the last reply.
    pub(crate) sendable: Arc<Mutex<Sendable>>,
}

impl RawReplies {
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        let credit = tokio::select! {
            biased;
            () = self.cancelled.wait() => None,
            credit = self.credit.acquire() => credit.ok(),
        };
        let gone = || Failure::cancelled("nobody waits for the replies any more");
        credit.ok_or_else(gone)?.forget();
        Ok(())
    }

    pub(crate) fn send_now(&self, message: Bytes) -> Result<(), Failure> {
        let mut sendable = self.sendable.lock().unwrap_or_else(PoisonError::into_inner);
        let Sendable { metadata, effects } = std::mem::take(&mut *sendable);
        let reply = wire::Reply {
            command: self.command,
            message,
            metadata: metadata.into_wire(),
            effects,
        };
        self.asks
            .send(Ask::Reply(reply))
            .map_err(|_| Failure::unavailable("the connection to Firn was lost"))
    }
}

impl<Res: Message> Replies<Res> {
    pub(crate) fn new(raw: RawReplies) -> Self {
        Self {
            raw,
            encoded: PhantomData,
        }
    }

    /// Sends a reply, with the effects and headers that the context was given since the last one.
    /// Waits until the caller can take it.
    ///
    /// # Errors
    /// CANCELLED when the caller has gone: hand it on with `?`.
    ///
    /// # Cancel safety
    /// The reply is not sent if the future is dropped before it is ready.
    pub async fn send(&self, reply: Res) -> Result<(), Failure> {
        self.raw.ready().await?;
        self.raw.send_now(reply.encode_to_vec().into())
    }
}
