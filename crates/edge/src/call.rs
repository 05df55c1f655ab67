//! A call through the backend, whatever its shape, within its deadline.

use std::sync::Arc;

use bytes::Bytes;
use firn_model::call::{Call, CallHead, Reply};
use firn_model::code::Code;
use firn_model::contract::Method;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use futures_util::stream;
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
                    firn_model::contract::Unenforced::Acl => "an access control list",
                    firn_model::contract::Unenforced::Jwt => "validation of web tokens",
                }
            ),
        ));
    }
    head::read(headers, method, &state.config)
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
    let cutoff = head
        .deadline
        .and_then(|deadline| Instant::from_std(deadline).checked_add(DEADLINE_GRACE));
    let method = Arc::clone(&head.method);
    let messages = match messages {
        Messages::One(message) if !method.streams_out() && !method.streams_in() => {
            let reply = state.backend.unary(Call { head, message });
            return match cutoff {
                None => reply.await.map(Answer::One),
                Some(at) => match time::timeout_at(at, reply).await {
                    Ok(reply) => reply.map(Answer::One),
                    Err(_) => Err(deadline_passed()),
                },
            };
        }
        Messages::One(message) => stream::iter([Ok(message)]).boxed(),
        Messages::Many(messages) => messages,
    };
    let replies = within(cutoff, state.backend.streamed(head, messages));
    begin(replies, method.streams_out()).await
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

/// Ends the replies with a failure once the time is over.
fn within(cutoff: Option<Instant>, replies: ReplyStream) -> ReplyStream {
    let Some(cutoff) = cutoff else {
        return replies;
    };
    stream::unfold(Some(replies), move |replies| async move {
        let mut replies = replies?;
        match time::timeout_at(cutoff, replies.next()).await {
            Ok(Some(reply)) => Some((reply, Some(replies))),
            Ok(None) => None,
            Err(_) => Some((Err(deadline_passed()), None)),
        }
    })
    .boxed()
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
