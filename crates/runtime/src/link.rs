//! What the engine asks of a function, whatever protocol it speaks.
//!
//! `firn-link` implements [`Link`] for each family. The engine opens one stream for each active
//! entity and sends it one command at a time, or several where the component's policy pipelines; the
//! link turns what comes back into [`StreamEvent`]s. Streams, command ids and protocol errors are the
//! link's business.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::contract::{Component, Finding, Method, Weight};
use firn_model::decision::{Answer, Decision, Effect, Failure};
use firn_model::id::EntityId;
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;
use firn_model::replicated::{self, Delta};
use firn_model::status::Status;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub use firn_store::Entity;

/// What an entity stream begins with: who it is for, and the state so far.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The entity's component.
    pub component: Arc<Component>,
    /// The entity's id.
    pub id: EntityId,
    /// What the instance is recovered from.
    pub entity: Entity,
}

/// A command for the entity of a stream.
#[derive(Debug, Clone)]
pub struct EntityCommand {
    /// The method called.
    pub method: Arc<Method>,
    /// The request message.
    pub message: Bytes,
    /// Headers the function may see, already filtered by policy; `None` leaves the field unset.
    pub metadata: Option<Metadata>,
    /// When its caller stops waiting.
    pub deadline: Instant,
    /// How many forwards, effects and calls led to it.
    pub hops: u32,
}

/// What comes back on an entity stream. An answer belongs to the open command, of several to the one
/// that was sent first: the link gives answers in the order of the commands, and ends the stream if
/// the function does not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are decisions, and a box for each would cost more than the room"
)]
pub enum StreamEvent {
    /// The answer to the open command.
    Decided(Decision),
    /// A failure outside of a reply that names the open command.
    CommandFailed(Failure),
    /// The state that was asked for; `None` if the function has none to give.
    Snapshot(Option<Payload>),
    /// The function wants to let something out, for example a call: it is told by
    /// [`EntityStream::pass`] with this number once all that it may have seen is durable, or never.
    Gate(u64),
    /// The stream is over; nothing follows.
    Ended(End),
}

/// Why an entity stream is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Firn half-closed it and the function completed it.
    Completed,
    /// The function has let go of the entity, unasked. It has answered every command that reached
    /// it, among them the first of the stream, and has not looked at those still open: they are sent
    /// again.
    Released,
    /// The function ended or broke it. The open commands may have run.
    Terminated {
        /// The transport's words, for the log.
        cause: String,
    },
    /// The function could not be reached: nothing was sent.
    Unreachable {
        /// The transport's words, for the log.
        cause: String,
    },
    /// The function failed the instance as a whole, with the open command that was sent first.
    Failed(Failure),
    /// The function answered something that was not asked.
    WrongReply {
        /// What was wrong, for the log.
        cause: String,
    },
    /// The function sent a message without content, or one that cannot be.
    WrongMessage {
        /// What was wrong, for the log.
        cause: String,
    },
    /// The function answered something that its contract, or the state of the entity, does not
    /// allow.
    Unfit {
        /// The stable code.
        code: Code,
        /// What was wrong.
        cause: String,
    },
}

/// Takes the events of one stream. Never blocks: a stream has at most a few events under way, and one
/// for each open command.
pub type EventSink = Box<dyn Fn(StreamEvent) + Send + Sync>;

/// An open entity stream. Dropping it resets the stream.
pub trait EntityStream: Send {
    /// Sends a command. At most one is open at a time; where the component's policy pipelines, at
    /// most [`PIPELINED_COMMANDS_MAX`](firn_model::limit::PIPELINED_COMMANDS_MAX), and the function
    /// gets them in this order.
    fn command(&mut self, command: EntityCommand);

    /// Asks for a snapshot; only where the component's policy allows it.
    fn request_snapshot(&mut self);

    /// Says that what waited at the gate with this number may go out.
    fn pass(&mut self, number: u64);

    /// Half-closes: the function completes its side, which comes as [`End::Completed`].
    fn half_close(&mut self);
}

/// What the stream of a replicated entity begins with.
#[derive(Debug, Clone)]
pub struct ReplicaOpening {
    /// The entity's component.
    pub component: Arc<Component>,
    /// The entity's id.
    pub id: EntityId,
    /// Its value as a change from the empty one; `None` if it does not exist yet.
    pub value: Option<Delta>,
}

/// A command for a replicated entity.
#[derive(Debug, Clone)]
pub struct ReplicaCommand {
    /// Its number on the stream: 1, 2, 3… on each.
    pub number: i64,
    /// What is asked.
    pub command: EntityCommand,
    /// Whether the caller takes a stream of replies.
    pub streamed: bool,
}

/// What comes back on the stream of a replicated entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaEvent {
    /// The answer to a command.
    Replied(replicated::Reply),
    /// A further message of a streamed command.
    Streamed(replicated::StreamedMessage),
    /// The answer to a cancellation.
    CancelAnswered(replicated::CancelAnswer),
    /// A failure outside of a reply.
    Failed {
        /// The command it names, if any.
        command: Option<i64>,
        /// What the function says.
        failure: Failure,
    },
    /// The stream is over; nothing follows.
    Ended(End),
}

/// Takes the events of one stream of a replicated entity. Never blocks.
pub type ReplicaSink = Box<dyn Fn(ReplicaEvent) + Send + Sync>;

/// An open stream of a replicated entity. Dropping it resets the stream. Which answer belongs to
/// which command is the engine's to check, since several may be open.
pub trait ReplicaStream: Send {
    /// Sends a command.
    fn command(&mut self, command: ReplicaCommand);

    /// Sends a change that came from elsewhere.
    fn delta(&mut self, delta: Delta);

    /// Says that the caller of this streamed command has gone.
    fn cancel(&mut self, command: i64);

    /// Says that the entity was deleted elsewhere.
    fn delete(&mut self);

    /// Half-closes: the function completes its side, which comes as [`End::Completed`].
    fn half_close(&mut self);
}

/// A call of an action, before its messages.
#[derive(Debug, Clone)]
pub struct ActionCall {
    /// The method called.
    pub method: Arc<Method>,
    /// Headers the function may see, already filtered by policy.
    pub metadata: Metadata,
    /// When the caller stops waiting; `None` for a stream that may last.
    pub deadline: Option<Instant>,
    /// Which call this is, for calls that its handler makes in turn.
    pub number: u64,
    /// How many forwards, effects and calls led to it.
    pub hops: u32,
}

/// One answer of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionAnswer {
    /// What the caller gets for it.
    pub answer: Answer,
    /// What else is to be done.
    pub effects: Vec<Effect>,
}

/// The messages of a caller that streams.
pub type MessageStream = BoxStream<'static, Result<Bytes, Status>>;

/// The answers of an action that streams.
pub type AnswerStream = BoxStream<'static, Result<ActionAnswer, Status>>;

/// The connection to a function. Dropping what it returns cancels the call.
pub trait Link: Send + Sync + 'static {
    /// Whether the function is connected now.
    fn is_up(&self) -> bool;

    /// Opens a stream for an entity and sends its opening.
    fn open(&self, opening: Opening, events: EventSink) -> Box<dyn EntityStream>;

    /// Opens a stream for a replicated entity and sends its opening.
    fn open_replica(&self, opening: ReplicaOpening, events: ReplicaSink) -> Box<dyn ReplicaStream>;

    /// Calls an action with one message for one answer.
    fn act(
        &self,
        call: ActionCall,
        message: Bytes,
    ) -> BoxFuture<'static, Result<ActionAnswer, Status>>;

    /// Calls an action that streams in one direction or both.
    fn act_streamed(&self, call: ActionCall, messages: MessageStream) -> AnswerStream;

    /// Tells the operator and the function, once, what the function did; the outcome is of no
    /// interest.
    fn report(&self, weight: Weight, finding: Finding);
}

/// A reply with this payload and no headers, for tests and defaults.
pub fn plain_reply(payload: Payload) -> Answer {
    Answer::Reply(Reply {
        payload,
        metadata: Metadata::default(),
    })
}
