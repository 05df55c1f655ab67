//! What is sent on a call: its body, of which every poll takes what the session has for the function.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use firn_wire::v1::message::{FirnBatch, FunctionBatch};
use futures_util::Stream;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};

use super::hello::{Begun, begin};
use super::{BoxFuture, Shared};
use crate::v1::hub::{Connection, Hub};

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
    pub(super) connection: Arc<Connection>,
    pub(super) reader: AbortOnDropHandle<Option<Status>>,
    pub(super) _end: EndOnDrop,
}

impl Outgoing {
    pub(super) fn new(
        shared: Arc<Shared>,
        batches: Streaming<FunctionBatch>,
        call: TaskTrackerToken,
    ) -> Self {
        Self {
            state: Sending::Beginning(Box::pin(begin(shared, batches))),
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
                    // What was to be sent goes out before the end does.
                    let batch = running.connection.lock().out.poll_batch(cx);
                    match batch {
                        Poll::Ready(Some(batch)) => return Poll::Ready(Some(Ok(batch))),
                        Poll::Ready(None) if !running.reader.is_finished() => {
                            self.state = Sending::Last(None);
                        }
                        Poll::Ready(None) | Poll::Pending => {
                            let ended = std::task::ready!(Pin::new(&mut running.reader).poll(cx));
                            self.state = Sending::Last(ended.ok().flatten());
                        }
                    }
                }
                Sending::Last(status) => return Poll::Ready(status.take().map(Err)),
            }
        }
    }
}

/// Ends the session with its call, however that ends.
pub(super) struct EndOnDrop {
    pub(super) hub: Arc<Hub>,
    pub(super) connection: Arc<Connection>,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.hub.leave(&self.connection);
        self.connection.calls.end();
        self.connection
            .lock()
            .end("the connection to the function ended");
    }
}
