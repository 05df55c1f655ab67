//! Calls of actions: commands without an incarnation, in all four shapes (R55, R60 to R62).

use std::sync::Arc;

use bytes::Bytes;
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::decision::Answer;
use firn_model::payload::Payload;
use firn_model::status::{GrpcCode, Status};
use firn_runtime::link::{ActionAnswer, ActionCall, AnswerStream, MessageStream};
use firn_wire::v1::convert;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::deadline::left_ms;
use super::hub::Connection;
use super::session::{Handled, Handler, Sent};

/// Who waits for what a function answers to a call of an action.
pub(crate) enum Replies {
    /// A caller who sent one message and gets one answer.
    One(oneshot::Sender<Result<ActionAnswer, Status>>),
    /// A caller who streams.
    Many {
        /// Holds no more than was granted.
        to: mpsc::UnboundedSender<Result<ActionAnswer, Status>>,
        requests: Requests,
    },
}

/// How many more requests may be sent. Closed when the call has ended, so that nobody waits to send
/// more of them.
pub(crate) struct Requests(Arc<Semaphore>);

impl Drop for Requests {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Replies {
    /// A reply that is not the last.
    pub(crate) fn reply(&self, answer: ActionAnswer) {
        if let Self::Many { to, .. } = self {
            // Whoever has gone is noticed by the cancellation.
            let _ = to.send(Ok(answer));
        }
    }

    /// The last word.
    pub(crate) fn end(self, answer: ActionAnswer) {
        self.last(Ok(answer));
    }

    /// The function broke the rules.
    pub(crate) fn refuse(self, code: Code, text: &str) {
        let text = format!("the function broke its protocol: {text}");
        self.fail(Status::refused(GrpcCode::Internal, code, text));
    }

    /// What is to be sent is larger than the function takes.
    pub(crate) fn too_large(self, cause: &str) {
        let code = GrpcCode::ResourceExhausted;
        self.fail(Status::refused(code, Code::FrameTooLarge, cause));
    }

    /// The connection ended.
    pub(crate) fn lost(self) {
        self.fail(Status::refused(
            GrpcCode::Unavailable,
            Code::FunctionFailed,
            "the function went away; the call may have run",
        ));
    }

    fn fail(self, status: Status) {
        self.last(Err(status));
    }

    fn last(self, word: Result<ActionAnswer, Status>) {
        // Nobody waits for it if the caller has gone.
        match self {
            Self::One(to) => drop(to.send(word)),
            Self::Many { to, .. } => drop(to.send(word)),
        }
    }

    /// More requests may be sent.
    pub(crate) fn grant_requests(&self, amount: u32) {
        if let Self::Many {
            requests: Requests(requests),
            ..
        } = self
        {
            let room = Semaphore::MAX_PERMITS - requests.available_permits();
            requests.add_permits(room.min(amount as usize));
        }
    }
}

/// Cancels a call that is dropped before its end.
struct Guard {
    connection: Arc<Connection>,
    command: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Finds nothing if the call has ended.
        self.connection.lock().cancel_action(self.command);
    }
}

/// Calls an action with one message for one answer.
pub(crate) async fn unary(
    connection: Arc<Connection>,
    call: ActionCall,
    message: Bytes,
) -> Result<ActionAnswer, Status> {
    let (reply, answer) = oneshot::channel();
    let sent = sent(call, message);
    let Ok(command) = connection.lock().act(sent, Replies::One(reply)) else {
        return Err(unavailable());
    };
    let _guard = Guard {
        connection,
        command,
    };
    answer.await.unwrap_or_else(|_| Err(unavailable()))
}

/// Calls an action that streams, with one message for its first answer.
pub(crate) async fn stream_of_one(
    connection: Arc<Connection>,
    call: ActionCall,
    message: Bytes,
    tasks: TaskTracker,
) -> Result<ActionAnswer, Status> {
    let messages = stream::once(async { Ok(message) }).boxed();
    let first = streamed(connection, call, messages, tasks).next().await;
    first.unwrap_or_else(|| {
        Err(Status::refused(
            GrpcCode::Internal,
            Code::NoReply,
            "the function gave no reply",
        ))
    })
}

/// Calls an action that streams in one direction or both.
pub(crate) fn streamed(
    connection: Arc<Connection>,
    call: ActionCall,
    mut messages: MessageStream,
    tasks: TaskTracker,
) -> AnswerStream {
    let method = call.method.clone();
    let (replies, answers) = mpsc::unbounded_channel();
    let answering = Answering {
        answers,
        connection: connection.clone(),
        streams_out: method.streams_out(),
        empty: Payload::new(method.output_url.clone(), Bytes::new()),
        taken: 0,
        guard: None,
        _alive: tasks.token(),
    };
    let begin = async move {
        // A stream of requests is sent message by message; else the one message is the command's.
        let message = match method.streams_in() {
            true => Bytes::new(),
            false => match messages.next().await {
                Some(message) => message?,
                None => Bytes::new(),
            },
        };
        let requests = Arc::new(Semaphore::new(connection.lock().request_messages()));
        let replies = Replies::Many {
            to: replies,
            requests: Requests(requests.clone()),
        };
        let Ok(command) = connection.lock().act(sent(call, message), replies) else {
            return Err(unavailable());
        };
        let guard = Guard {
            connection: connection.clone(),
            command,
        };
        if method.streams_in() {
            let sending = send_requests(connection, command, messages, requests);
            tasks.spawn(sending);
        }
        Ok(Answering {
            guard: Some(guard),
            ..answering
        })
    };
    stream::once(begin)
        .flat_map(|begun| match begun {
            Ok(answering) => stream::unfold(answering, Answering::next).boxed(),
            Err(status) => stream::once(async { Err(status) }).boxed(),
        })
        .boxed()
}

/// Sends what the caller streams, as the function grants it, until the end of either.
async fn send_requests(
    connection: Arc<Connection>,
    command: u64,
    mut messages: MessageStream,
    requests: Arc<Semaphore>,
) {
    while let Some(message) = messages.next().await {
        let Ok(message) = message else {
            // The caller broke off: what was sent must not be taken for all of it.
            return connection.lock().cancel_action(command);
        };
        let Ok(permit) = requests.acquire().await else {
            // The call has ended, and the function wants no more of it.
            return;
        };
        permit.forget();
        connection.lock().request(command, Some(message));
    }
    connection.lock().request(command, None);
}

/// The answers of a call that streams.
struct Answering {
    answers: mpsc::UnboundedReceiver<Result<ActionAnswer, Status>>,
    connection: Arc<Connection>,
    streams_out: bool,
    /// The reply of a function that ended without one.
    empty: Payload,
    /// How many replies were taken since the last grant.
    taken: u32,
    guard: Option<Guard>,
    _alive: TaskTrackerToken,
}

/// After how many taken replies the function may send as many more.
const GRANT_EVERY: u32 = 8;

impl Answering {
    async fn next(mut self) -> Option<(Result<ActionAnswer, Status>, Self)> {
        let mut answer = self.answers.recv().await?;
        if let Ok(ActionAnswer { answer, effects }) = &mut answer
            && *answer == Answer::Nothing
        {
            if !self.streams_out {
                *answer = Answer::Reply(Reply {
                    payload: self.empty.clone(),
                    ..Reply::default()
                });
            } else if effects.is_empty() {
                return None;
            }
        }
        self.taken += 1;
        if self.taken >= GRANT_EVERY
            && let Some(guard) = &self.guard
        {
            self.connection.lock().grant(guard.command, self.taken);
            self.taken = 0;
        }
        Some((answer, self))
    }
}

fn sent(call: ActionCall, message: Bytes) -> Sent {
    Sent {
        metadata: convert::metadata(call.metadata),
        method: call.method,
        message,
        timeout_ms: left_ms(call.deadline),
        handler: Handler {
            of: Handled::Action(call.number),
            hops: call.hops,
        },
    }
}

pub(crate) fn unavailable() -> Status {
    Status::refused(
        GrpcCode::Unavailable,
        Code::FunctionUnavailable,
        "the function is not connected; not applied",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller who still streams requests is not waited for once the function has answered.
    #[tokio::test]
    async fn call_that_has_ended_lets_nobody_wait_to_send() {
        let requests = Arc::new(Semaphore::new(0));
        let replies = Replies::Many {
            to: mpsc::unbounded_channel().0,
            requests: Requests(requests.clone()),
        };
        let waiting = tokio::spawn(async move { requests.acquire().await.is_err() });
        tokio::task::yield_now().await;
        replies.lost();
        assert!(waiting.await.unwrap());
    }
}
