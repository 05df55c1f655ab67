//! Streams to a function, whatever is said on them: one gRPC stream for each active entity.
//!
//! Sending is done in place by whoever holds the [`Sender`]; receiving is a task of its own, which
//! ends with the stream. Dropping the [`Sender`] cuts its requests off and ends the task, which
//! resets the call: the function never takes a reset for a half-close.

use firn_runtime::link::End;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::connection::{Connection, Cut};
use crate::report::Reporter;

/// Where a stream goes.
pub(crate) struct Route {
    pub(crate) connection: Connection,
    /// The gRPC path of the stream.
    pub(crate) path: &'static str,
    pub(crate) reporter: Reporter,
    /// Everything that goes on with streams to this function.
    pub(crate) streams: TaskTracker,
}

/// Takes what the function sends on one stream.
pub(crate) trait Receiver<M>: Send + 'static {
    /// Takes a message; gives the end if the stream is over with it.
    fn receive(&mut self, message: M) -> Option<End>;

    /// Takes the end, after which nothing comes.
    fn end(self, end: End);
}

/// The sending half of a stream.
pub(crate) struct Sender<M> {
    /// `None` once the stream was broken off.
    open: Option<Open<M>>,
}

struct Open<M> {
    outbound: mpsc::Sender<Outbound<M>>,
    /// Breaks the stream off with an end, or without one when it is dropped.
    break_off: oneshot::Sender<End>,
}

/// What is still to be sent on a stream.
enum Outbound<M> {
    Message(M),
    HalfClose,
}

/// Opens a stream, which begins with these messages, or ends at once without any. `capacity` is how
/// many more may wait to be sent: a stream on which more do is broken off.
pub(crate) fn open<Q, A>(
    route: Route,
    first: Result<Vec<Q>, End>,
    capacity: usize,
    mut receiver: impl Receiver<A>,
) -> Sender<Q>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let (outbound, later) = mpsc::channel(capacity);
    let requests = first.map(|first| requests(first, later, route.streams.token()));
    let (break_off, broken_off) = oneshot::channel();
    route.streams.clone().spawn(async move {
        let end = tokio::select! {
            biased;
            asked = broken_off => asked.ok(),
            end = receive::<Q, A>(&route, requests, &mut receiver) => Some(end),
        };
        if let Some(end) = end {
            receiver.end(end);
        }
    });
    let open = Open {
        outbound,
        break_off,
    };
    Sender { open: Some(open) }
}

impl<M> Sender<M> {
    /// Sends a message, now or as soon as the function takes it.
    pub(crate) fn send(&mut self, message: M) {
        self.push(Outbound::Message(message));
    }

    /// Ends the requests.
    pub(crate) fn half_close(&mut self) {
        self.push(Outbound::HalfClose);
    }

    /// Resets the stream, which ends like this unless it already has.
    pub(crate) fn break_off(&mut self, end: End) {
        if let Some(open) = self.open.take() {
            // Nobody takes it if the stream is over, which its own end has told or will tell.
            let _ = open.break_off.send(end);
        }
    }

    fn push(&mut self, outbound: Outbound<M>) {
        let Some(open) = &self.open else {
            return;
        };
        match open.outbound.try_send(outbound) {
            Ok(()) => {}
            // The stream is over, which its end has told or will tell.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.break_off(End::Terminated {
                cause: "the function does not take what is sent to it".to_owned(),
            }),
        }
    }
}

/// Everything that is sent on a stream: it ends with a half-close, or is cut off when the sender is
/// dropped. The transport drops it, and with it `is_sending`, once it has taken the end.
fn requests<M: Send + 'static>(
    first: Vec<M>,
    later: mpsc::Receiver<Outbound<M>>,
    is_sending: TaskTrackerToken,
) -> BoxStream<'static, Result<M, Cut>> {
    let later = stream::unfold(Some(later), |later| async {
        let mut later = later?;
        match later.recv().await {
            Some(Outbound::Message(message)) => Some((Ok(message), Some(later))),
            Some(Outbound::HalfClose) => None,
            None => Some((Err(Cut), None)),
        }
    });
    stream::iter(first.into_iter().map(Ok))
        .chain(later)
        .inspect(move |_| {
            let _ = &is_sending;
        })
        .boxed()
}

/// Receives until the stream is over.
async fn receive<Q, A>(
    route: &Route,
    requests: Result<BoxStream<'static, Result<Q, Cut>>, End>,
    receiver: &mut impl Receiver<A>,
) -> End
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let requests = match requests {
        Ok(requests) => requests,
        Err(end) => return end,
    };
    if !route.connection.is_open() {
        return End::Unreachable {
            cause: "the connection is closed".to_owned(),
        };
    }
    let replies = route.connection.streaming::<Q, A>(route.path, requests);
    let mut messages = match replies.await {
        Ok(response) => response.into_inner(),
        Err(status) => return terminated(&status),
    };
    loop {
        match messages.message().await {
            Ok(Some(message)) => {
                if let Some(end) = receiver.receive(message) {
                    return end;
                }
            }
            Ok(None) => return End::Completed,
            Err(status) => return terminated(&status),
        }
    }
}

fn terminated(status: &tonic::Status) -> End {
    End::Terminated {
        cause: cause(status),
    }
}

/// A gRPC status in words for the log.
pub(crate) fn cause(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
