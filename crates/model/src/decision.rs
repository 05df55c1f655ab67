//! What a function answers to a command: an answer for the caller, a mutation, effects and timers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::call::Reply;
use crate::metadata::Metadata;
use crate::payload::Payload;
use crate::status::GrpcCode;

/// The whole answer of a function to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What the caller gets.
    pub answer: Answer,
    /// What changes in the entity.
    pub mutation: Mutation,
    /// What else is to be done, in order, once the mutation is durable.
    pub effects: Vec<Effect>,
    /// Timers of the entity that are set or cancelled with the mutation, in order.
    pub timers: Vec<TimerChange>,
}

/// What the caller of a command gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This message.
    Reply(Reply),
    /// Whatever this other method answers.
    Forward(Forward),
    /// A failure.
    Failure(Failure),
    /// Nothing was said; the component's policy decides what it means.
    Nothing,
}

/// A call of another method of the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Full gRPC service name.
    pub service: String,
    /// Method name.
    pub method: String,
    /// The request for it.
    pub payload: Payload,
    /// The headers for it.
    pub metadata: Metadata,
}

impl Forward {
    /// The gRPC path of the target, `/package.Service/Method`.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.service, self.method)
    }
}

/// A failure that the function chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The text for the caller.
    pub text: String,
    /// The status for the caller; families without one use UNKNOWN.
    pub code: Option<GrpcCode>,
    /// Details for the caller, each a message of its own; families without them leave it empty.
    pub details: Vec<Payload>,
    /// Whether the instance is to be dropped and replayed (Cloudstate).
    pub restart: bool,
}

/// Texts under names, which an actor keeps beside its state.
pub type Tags = BTreeMap<String, String>;

/// A change of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// None.
    Nothing,
    /// Replace the state.
    Set(Payload),
    /// Replace the state and the tags of an actor.
    Actor {
        /// The state; the empty payload if it has none.
        state: Payload,
        /// The tags.
        tags: Tags,
    },
    /// Remove the state, or events and snapshot; a tombstone stays for `grace` where the policy
    /// keeps one.
    Delete {
        /// How long the function wants the tombstone kept; `None` leaves it to the policy.
        grace: Option<Duration>,
    },
    /// Append events.
    Append(Append),
}

impl Mutation {
    /// Whether a deleted entity must refuse it: a new state, or new events.
    pub fn writes(&self) -> bool {
        match self {
            Self::Nothing | Self::Delete { .. } => false,
            Self::Set(_) | Self::Actor { .. } => true,
            Self::Append(append) => !append.events.is_empty(),
        }
    }
}

/// Events to append, and what may come with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Append {
    /// The events, in order; may be empty when only `delete` is set.
    pub events: Vec<Payload>,
    /// The state after the events.
    pub snapshot: Option<Payload>,
    /// Mark the entity deleted after the events, and keep them that long; where the policy keeps no
    /// tombstone, nothing of it remains.
    pub delete: Option<Duration>,
}

/// Another command, caused by a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What to call.
    pub call: Forward,
    /// Whether the caller waits until it has ended; never together with a delay.
    pub synchronous: bool,
    /// How long to wait before the call; `None` calls at once.
    pub delay: Option<Duration>,
}

/// A change of one of the entity's timers. A timer outlives deletes of its entity, and processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimerChange {
    /// Set it, in place of one of the same name.
    Set {
        /// Its name within the entity.
        name: String,
        /// When it calls what.
        schedule: Schedule,
    },
    /// Cancel it, if it is set.
    Cancel {
        /// Its name within the entity.
        name: String,
    },
}

/// When a timer calls what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// How long from now.
    pub after: Duration,
    /// A method of the entity's own component, with a request for this entity.
    pub call: Forward,
    /// Whether it is set again each time, after as long.
    pub repeats: bool,
}
