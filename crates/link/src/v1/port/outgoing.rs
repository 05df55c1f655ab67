//! What is sent on a call: its body, of which every poll takes what the session has for the function.
//!
//! Frames come one by one, from tasks that are woken together. While several commands are open, the
//! body therefore lets the tasks that are ready run first: what they send goes out in one write.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use firn_wire::v1::message::{FirnBatch, FunctionBatch};
use futures_util::Stream;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};

use super::ending::EndOnDrop;
use super::hello::{Begun, begin};
use super::{BoxFuture, Carrier, Shared};

/// What is sent on a call; driving it drives the session.
pub(super) struct Outgoing {
    state: Sending,
    _call: TaskTrackerToken,
}

enum Sending {
    /// The first frame has not come.
    Beginning(BoxFuture<Begun>),
    /// The session runs.
    Running(Running),
    /// Only this is left to be said.
    Last(Option<Status>),
}

/// A session and its reader. Dropping it ends both.
pub(super) struct Running {
    pub(super) end: EndOnDrop,
    /// Whether the tasks that were ready have run since there was nothing to send.
    pub(super) let_others: bool,
    pub(super) _reader: AbortOnDropHandle<()>,
}

impl Outgoing {
    pub(super) fn new(
        shared: Arc<Shared>,
        carrier: Carrier,
        batches: Streaming<FunctionBatch>,
    ) -> Self {
        let call = carrier.calls.token();
        Self {
            state: Sending::Beginning(Box::pin(begin(shared, carrier, batches))),
            _call: call,
        }
    }
}

impl Stream for Outgoing {
    type Item = Result<FirnBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                Sending::Beginning(begin) => match std::task::ready!(begin.as_mut().poll(cx)) {
                    Begun::Serving(first, running) => {
                        self.state = Sending::Running(running);
                        return Poll::Ready(Some(Ok(*first)));
                    }
                    Begun::Refused(last, status) => {
                        self.state = Sending::Last(Some(status));
                        return Poll::Ready(Some(Ok(*last)));
                    }
                    Begun::Failed(status) => self.state = Sending::Last(Some(status)),
                },
                Sending::Running(running) => {
                    let EndOnDrop(ending) = &running.end;
                    let mut session = ending.connection.lock();
                    if !running.let_others && session.is_busy() {
                        running.let_others = true;
                        // A task that wakes itself goes behind those that are ready.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let batch = session.out.poll_batch(cx);
                    drop(session);
                    running.let_others = batch.is_ready();
                    match std::task::ready!(batch) {
                        Some(batch) => return Poll::Ready(Some(Ok(batch))),
                        None => self.state = Sending::Last(ending.status()),
                    }
                }
                Sending::Last(status) => return Poll::Ready(status.take().map(Err)),
            }
        }
    }
}
