//! Named choices of a component's behaviour, set once at discovery.
//!
//! Families differ in behaviour as well as on the wire. The engine and the edge never ask which
//! family a component belongs to: they read these.

use std::time::Duration;

use crate::replicated::Consistency;
use crate::status::GrpcCode;

/// Every choice for one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// What a failure in a reply does to the mutation that came with it.
    pub failure_mutation: FailureMutation,
    /// What a failure on the stream does that names the open command.
    pub stream_failure: StreamFailure,
    /// What a failure on the stream does that names no command.
    pub unnamed_failure: UnnamedFailure,
    /// What happens to commands that wait behind a failed instance.
    pub failed_queue: FailedQueue,
    /// How a delete is kept.
    pub delete: Delete,
    /// Idle time after which an instance leaves memory; `None` leaves it to the setting.
    pub passivate_after: Option<Duration>,
    /// Which request headers reach the function.
    pub headers: Headers,
    /// Whether the next command may be sent while the last commit is still being flushed.
    pub pipelining: Pipelining,
    /// What becomes of commands that the function had when it was lost.
    pub lost_commands: LostCommands,
    /// Whether an effect on an action survives a crash of Firn.
    pub action_effects: ActionEffects,
    /// How an event sourced instance is brought up to date.
    pub replay: Replay,
    /// Whether Firn may ask the function for a snapshot, and after how many events.
    pub snapshot_every: Option<u64>,
    /// What a reply without any client action means.
    pub empty_answer: EmptyAnswer,
    /// What becomes of a reply that is not of the method's output type.
    pub reply_type: ReplyType,
    /// The texts and statuses of failures that are not the user's own.
    pub texts: Texts,
    /// What an HTTP client sees of a failure.
    pub http_errors: HttpErrors,
    /// What a reply waits for.
    pub durability: Durability,
    /// How many commands of a replicated entity may be open at once.
    pub open_commands: OpenCommands,
    /// How many replicas must hold a change of a replicated entity, whatever its replies ask for.
    pub write_consistency: Consistency,
}

/// What the reply of an entity with commits waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The commit of its decision, and of all whose state it has seen.
    Commit,
    /// Nothing: the commit is under way when the reply leaves, and may be lost with the process.
    /// Effects wait for it all the same, and so does whoever waits for them (actors that say so).
    WriteBehind,
}

/// How many commands of one replicated entity may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenCommands {
    /// Any number, also streamed ones (Cloudstate).
    Many,
    /// One (Akka Serverless, Kalix).
    One,
}

/// What a failure in a reply does to the mutation beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureMutation {
    /// Stored all the same, unless the failure asks for a restart (Cloudstate).
    Keep,
    /// Dropped (Akka Serverless, Kalix, Firn).
    Drop,
}

/// What a failure outside of a reply does that names the open command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFailure {
    /// The instance ends with the command (Cloudstate, but not its replicated entities).
    EndsInstance,
    /// The command fails; the instance lives as long as its stream (Akka Serverless, Kalix,
    /// replicated entities of Cloudstate).
    FailsCommand,
}

/// What a failure outside of a reply does that names no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnnamedFailure {
    /// The instance ends.
    EndsInstance,
    /// Nothing (replicated entities of Cloudstate).
    Ignored,
}

/// What happens to commands that were not sent yet when their instance fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedQueue {
    /// They fail with the instance (Cloudstate).
    Fail,
    /// They wait for the next instance (Akka Serverless, Kalix, Firn).
    Keep,
}

/// How a delete is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delete {
    /// Nothing remains, no event either; the entity may be created again at once, from event 1.
    Plain,
    /// A tombstone refuses changes until its grace is over; `0` is the default grace.
    Tombstone(Duration),
}

/// Which headers of a client's call reach the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Headers {
    /// None at all; the metadata field stays unset (Cloudstate entities).
    None,
    /// Those that the component lists (Akka Serverless, Kalix).
    Listed(Vec<String>),
    /// All (Cloudstate actions).
    All,
}

/// Whether commands of one entity overlap with its own commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipelining {
    /// One command at a time, until its commit is durable (Cloudstate, Akka Serverless, Kalix).
    Off,
    /// The entity's next commands are sent while earlier ones are with the function or being
    /// committed (Firn).
    On,
}

/// What becomes of commands that were with the function when its connection was lost, or behind one
/// whose time ran out or whose decision was refused. Nothing of them was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostCommands {
    /// They fail: their handlers may have done something that Firn does not know (Cloudstate, Akka
    /// Serverless, Kalix).
    Fail,
    /// They are sent again, each once and alone, so that one that ends the process ends no other
    /// (Firn).
    SendAgain,
}

/// Whether an effect on an action is redelivered after a crash. What counts is the policy of the
/// component that receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionEffects {
    /// Started once after the commit, lost with the process (Cloudstate, Akka Serverless, Kalix).
    AtMostOnce,
    /// Kept in the outbox until it is answered, also by a later process, so that it may run twice
    /// (Firn). Effects that actions cause themselves have no commit, and happen once at most.
    AtLeastOnce,
}

/// How an event sourced instance is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The newest snapshot, then the events after it.
    FromSnapshot,
    /// All events; the SDK breaks on a snapshot (PyPI `cloudstate` 0.1.1).
    AllEvents,
}

/// What a reply without reply, forward or failure means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyAnswer {
    /// An empty message of the method's output type.
    EmptyMessage,
    /// A failure: the function gave no reply.
    Failure,
    /// NOT_FOUND: the SDK's way to ignore a message.
    NotFound,
}

/// What becomes of a reply that is not of the method's output type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyType {
    /// The caller gets its bytes all the same, and the function a warning (Cloudstate).
    Warn,
    /// The call fails (Akka Serverless, Kalix, Firn).
    Refuse,
}

/// What an HTTP client sees of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrors {
    /// The text alone, every failure of the function as 500 (Cloudstate).
    PlainText500,
    /// The text alone, with the HTTP status of the gRPC code (Akka Serverless, Kalix).
    PlainText,
    /// A `google.rpc.Status` in JSON (code, message, details), with the HTTP status of the gRPC code
    /// (Firn).
    Json,
}

/// Statuses and texts that a family fixes for failures that are not the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Texts {
    /// The status of all of them.
    pub code: GrpcCode,
    /// The function failed the instance as a whole.
    pub failure: &'static str,
    /// The function answered something that was not asked.
    pub reply: &'static str,
    /// The function sent a message without content.
    pub message: &'static str,
    /// The function ended the stream.
    pub termination: &'static str,
    /// A command waited behind a failed instance.
    pub queued: &'static str,
    /// Whether the function's own text of an instance failure may reach the caller.
    pub pass_on: bool,
}
