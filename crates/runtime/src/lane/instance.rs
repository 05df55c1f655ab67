//! An instance: one entity in memory, from the first command to the last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_model::contract::{Component, Method};
use firn_model::id::{EntityId, EntityKey, Slot};
use firn_model::metadata::Metadata;
use firn_store::{Entity, Timestamp};

use super::{Command, Idempotency, Known, Origin, Settled};
use crate::refusal::Refusal;

/// One entity in memory.
#[derive(Debug)]
pub(super) struct Instance<R> {
    pub(super) key: EntityKey,
    pub(super) slot: Slot,
    pub(super) id: EntityId,
    pub(super) component: Arc<Component>,
    /// Distinguishes this life of the instance from earlier ones at the same index.
    pub(super) life: u64,
    pub(super) phase: Phase<R>,
    pub(super) stream: Stream,
    pub(super) queue: VecDeque<Queued<R>>,
    /// The number of the entity's last event.
    pub(super) last_event: u64,
    /// The number of the last event that a snapshot holds.
    pub(super) last_snapshot: u64,
    /// The tombstone's end, while there is one.
    pub(super) deleted_until: Option<Timestamp>,
    /// How long it may be idle before it leaves memory.
    pub(super) idle_max: Duration,
    /// When the instance last had something to do.
    pub(super) active_at: Instant,
    /// Proof of the newest entry in the order of idleness.
    pub(super) idle_stamp: u64,
    /// The earliest alarm that is set for it.
    pub(super) alarm: Option<Instant>,
}

/// What an instance is doing.
#[derive(Debug)]
pub(super) enum Phase<R> {
    /// The store is being read.
    Loading,
    /// A stream is being waited for.
    Connecting(Box<Entity>),
    /// Nothing: the next command may go.
    Ready,
    /// The store is asked whether the command was served before; `None` once its time was over.
    Looking(Option<Box<Queued<R>>>),
    /// The function has the command.
    Running(Box<Running<R>>),
    /// The function was asked for a snapshot.
    Snapshotting {
        /// When to stop waiting for it.
        until: Instant,
    },
    /// The decision is being written.
    Committing(Box<Committing<R>>),
    /// The stream was half-closed; the function may still complete its side.
    Closing {
        /// When to reset it.
        until: Instant,
    },
    /// The slot is in trouble; the instance starts over when it is not.
    Suspended,
}

/// The stream of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// None was opened, or it is over.
    None,
    /// It is open.
    Open,
}

/// A command that waits.
#[derive(Debug)]
pub(super) struct Queued<R> {
    pub(super) method: Arc<Method>,
    pub(super) message: Bytes,
    pub(super) metadata: Option<Metadata>,
    pub(super) deadline: Instant,
    pub(super) idempotency: Option<Idempotency>,
    pub(super) origin: Option<Origin>,
    pub(super) hops: u32,
    /// Whether the store has told that it was not served before.
    pub(super) is_new: bool,
    pub(super) reply: R,
}

impl<R> Queued<R> {
    /// The waiting form of a command, with the deadline that binds it, and the entity's id as the
    /// command has it.
    pub(super) fn new(command: Command<R>, deadline: Instant) -> (EntityId, Self) {
        let Command {
            id,
            method,
            message,
            metadata,
            idempotency,
            origin,
            hops,
            reply,
            ..
        } = command;
        let queued = Self {
            method,
            message,
            metadata,
            deadline,
            idempotency,
            origin,
            hops,
            is_new: false,
            reply,
        };
        (id, queued)
    }

    /// Whether the store may know an answer already.
    pub(super) fn needs_look(&self) -> bool {
        !self.is_new
            && (self.idempotency.is_some() || self.origin.is_some_and(|origin| origin.redelivered))
    }
}

/// What is kept of a command while the function has it.
#[derive(Debug)]
pub(super) struct Running<R> {
    pub(super) method: Arc<Method>,
    pub(super) deadline: Instant,
    pub(super) idempotency: Option<Idempotency>,
    pub(super) origin: Option<Origin>,
    pub(super) hops: u32,
    pub(super) reply: R,
}

/// What is kept while a commit is under way.
#[derive(Debug)]
pub(super) struct Committing<R> {
    /// Whom to answer, and until when; `None` for a commit that no command waits for, or when the
    /// caller was told that the outcome is unknown.
    pub(super) reply: Option<(R, Instant)>,
    /// What to answer once it has landed.
    pub(super) settled: Settled,
    /// How many forwards and effects led to the command.
    pub(super) hops: u32,
    /// What to do afterwards.
    pub(super) then: Then,
}

/// What an instance does after its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Take the next command.
    Continue,
    /// Start over: its memory in the function is not the stored state.
    Restart,
}

/// How a looked-up command goes on.
pub(super) enum Verdict {
    /// It is new: send it.
    Send,
    /// It was served before: answer from the record.
    Answer(Result<Settled, Refusal>),
}

impl<R> Queued<R> {
    /// Judges a command by what the store knows of it.
    pub(super) fn verdict(&self, known: Known) -> Verdict {
        use firn_model::decision::{Answer, Failure};
        use firn_store::StoredAnswer;

        let settled = |answer| {
            Verdict::Answer(Ok(Settled {
                answer,
                effects: Vec::new(),
            }))
        };
        if known.received {
            return settled(Answer::Nothing);
        }
        match (known.record, &self.idempotency) {
            (Some(record), Some(asked)) if record.request_hash == asked.request_hash => {
                settled(match record.answer {
                    StoredAnswer::Reply(reply) if reply == Default::default() => Answer::Nothing,
                    StoredAnswer::Reply(reply) => Answer::Reply(reply),
                    StoredAnswer::Forward(forward) => Answer::Forward(forward),
                    StoredAnswer::Failure(status) => Answer::Failure(Failure {
                        text: status.message,
                        code: Some(status.code),
                        details: status.details,
                        restart: false,
                    }),
                })
            }
            (Some(_), _) => Verdict::Answer(Err(Refusal::IdempotencyKeyReused)),
            (None, _) => Verdict::Send,
        }
    }
}
