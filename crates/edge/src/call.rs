//! A call through the backend, whatever its shape, within its deadline.

use std::future::{Future, pending};
use std::sync::Arc;

use bytes::Bytes;
use firn_model::call::{Call, CallHead, Reply};
use firn_model::code::Code;
use firn_model::contract::{Method, Unenforced};
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::oneshot;
use tokio::time::{self, Duration, Instant};

use crate::backend::{MessageStream, ReplyStream};
use crate::head;
use crate::state::State;

/// How long after a call's deadline the edge answers in the backend's place.
///
/// The backend knows the deadline too, and better whether the command was sent: it gets the first
/// word. The client has stopped waiting by then, so the grace costs nobody anything.
const DEADLINE_GRACE: Duration = Duration::from_millis(100);

/// What a client sent.
pub(crate) enum Messages {
    One(Bytes),
    Many(MessageStream),
}

/// What it gets, unless it is a failure.
pub(crate) enum Answer {
    /// The reply of a method that does not stream.
    One(Reply),
    /// The replies of a method that does: the first is there, or there are none.
    Many {
        first: Option<Reply>,
        rest: ReplyStream,
    },
}

/// Refuses calls that may not be made at all: before a message is read.
///
/// # Errors
/// PERMISSION_DENIED if the method has an access rule that is not enforced.
pub(crate) fn admit(
    state: &State,
    method: &Arc<Method>,
    headers: &http::HeaderMap,
) -> Result<CallHead, Status> {
    if let Some(rule) = method.unenforced
        && !state.config.dev
    {
        return Err(Status::refused(
            GrpcCode::PermissionDenied,
            Code::AccessRuleUnenforced,
            format!(
                "{} declares {}, which this version of Firn does not enforce: it is served by `firn dev` only",
                method.path(),
                match rule {
                    Unenforced::Acl => "an access control list",
                    Unenforced::Jwt => "validation of web tokens",
                }
            ),
        ));
    }
    head::read(headers, method, &state.config)
}

/// Reads what a call needs before it can be made, within its deadline.
///
/// # Errors
/// Those of `reading`, and DEADLINE_EXCEEDED.
pub(crate) async fn in_time<T>(
    head: &CallHead,
    reading: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    tokio::select! {
        biased;
        result = reading => result,
        () = until(cutoff(head)) => Err(Status::refused(
            GrpcCode::DeadlineExceeded,
            Code::DeadlinePassedQueued,
            "the deadline passed before the request was complete: nothing was sent to the function",
        )),
    }
}

/// Calls the backend and waits until its answer begins.
///
/// # Errors
/// The backend's, if it comes before the first reply; DEADLINE_EXCEEDED; a missing reply.
pub(crate) async fn call(
    state: &State,
    head: CallHead,
    messages: Messages,
) -> Result<Answer, Status> {
    let cutoff = cutoff(&head);
    let method = Arc::clone(&head.method);
    let messages = match messages {
        Messages::One(message) if !method.streams_out() && !method.streams_in() => {
            let reply = state.backend.unary(Call { head, message });
            return tokio::select! {
                biased;
                reply = reply => reply.map(Answer::One),
                () = until(cutoff) => Err(deadline_passed()),
            };
        }
        Messages::One(message) => stream::iter([Ok(message)]).boxed(),
        Messages::Many(messages) => messages,
    };
    let (messages, broken) = watched(messages);
    let replies = state.backend.streamed(head, messages);
    let replies = Replies {
        replies,
        broken: Some(broken),
        cutoff,
    };
    begin(replies.into_stream(), method.streams_out()).await
}

/// Waits for the first of `replies`, and for the end of them if the method has only one.
///
/// # Errors
/// The first item's, or any item's if the method has only one reply.
pub(crate) async fn begin(mut replies: ReplyStream, streams_out: bool) -> Result<Answer, Status> {
    let first = replies.next().await.transpose()?;
    if streams_out {
        let rest = replies;
        return Ok(Answer::Many { first, rest });
    }
    let reply = first.ok_or_else(no_reply)?;
    // The status comes at the end: a reply that is followed by a failure is not one.
    while let Some(more) = replies.next().await {
        more?;
    }
    Ok(Answer::One(reply))
}

/// Messages, and a failure that is there as soon as the client broke them.
fn watched(messages: MessageStream) -> (MessageStream, oneshot::Receiver<Status>) {
    let (sender, broken) = oneshot::channel();
    let mut sender = Some(sender);
    let messages = messages.inspect(move |message| {
        if let Err(status) = message
            && let Some(sender) = sender.take()
        {
            // Nobody waits for it if the call is over.
            let _ = sender.send(status.clone());
        }
    });
    (messages.boxed(), broken)
}

/// The replies of a call, until its client broke it or its time is over.
struct Replies {
    replies: ReplyStream,
    /// Taken once it is known that the client's messages were all right.
    broken: Option<oneshot::Receiver<Status>>,
    cutoff: Option<Instant>,
}

impl Replies {
    fn into_stream(self) -> ReplyStream {
        stream::unfold(Some(self), |replies| async {
            let mut replies = replies?;
            let reply = replies.next().await?;
            let going_on = reply.is_ok().then_some(replies);
            Some((reply, going_on))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<Reply, Status>> {
        loop {
            tokio::select! {
                biased;
                broken = wait_for(&mut self.broken) => match broken {
                    Ok(status) => return Some(Err(status)),
                    Err(_) => self.broken = None,
                },
                reply = self.replies.next() => {
                    // The backend may have noticed the broken request in this very step.
                    return match self.broken_now() {
                        Some(status) => Some(Err(status)),
                        None => reply,
                    };
                }
                () = until(self.cutoff) => return Some(Err(deadline_passed())),
            }
        }
    }

    fn broken_now(&mut self) -> Option<Status> {
        match self.broken.as_mut()?.try_recv() {
            Ok(status) => Some(status),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => {
                self.broken = None;
                None
            }
        }
    }
}

/// Waits for ever if there is nothing to wait for.
async fn wait_for(
    broken: &mut Option<oneshot::Receiver<Status>>,
) -> Result<Status, oneshot::error::RecvError> {
    match broken {
        Some(broken) => broken.await,
        None => pending().await,
    }
}

/// When the edge gives up in the backend's place.
fn cutoff(head: &CallHead) -> Option<Instant> {
    Instant::from_std(head.deadline?).checked_add(DEADLINE_GRACE)
}

async fn until(cutoff: Option<Instant>) {
    match cutoff {
        Some(cutoff) => time::sleep_until(cutoff).await,
        None => pending().await,
    }
}

fn deadline_passed() -> Status {
    Status::refused(
        GrpcCode::DeadlineExceeded,
        Code::CommandTimeout,
        "the deadline passed before there was an answer: the command may have run",
    )
}

fn no_reply() -> Status {
    Status::refused(
        GrpcCode::Unknown,
        Code::NoReply,
        "the function gave no reply",
    )
}
