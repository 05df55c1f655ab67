//! An instance: one entity in memory, from the first command to the last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_model::contract::{Component, Method};
use firn_model::id::{EntityId, EntityKey, Slot};
use firn_model::metadata::Metadata;
use firn_store::{Entity, Timestamp};

use super::pipeline::Pipeline;
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
    /// The mailbox: what was not sent yet, or is to be sent again. Boxed, as a queue keeps its room.
    pub(super) queue: VecDeque<Box<Accepted<R>>>,
    /// What was sent and is not answered yet. Empty unless it serves, settles or is suspended.
    pub(super) pipeline: Pipeline<R>,
    /// The number of the entity's last event, as decided.
    pub(super) last_event: u64,
    /// The number of the last event that a snapshot holds, as decided.
    pub(super) last_snapshot: u64,
    /// The tombstone's end, while there is one.
    pub(super) deleted_until: Option<Timestamp>,
    /// When the entity last changed, as decided; `None` if there is nothing of it.
    pub(super) changed_at: Option<Timestamp>,
    /// How long the entity is kept if nobody writes it.
    pub(super) ttl: Option<Duration>,
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
    /// Commands are sent as the pipeline admits them.
    Serving,
    /// Nothing is sent until the pipeline is empty; then this.
    Settling(Then),
    /// The store is asked whether the command was served before; `None` once its time was over.
    Looking(Option<Box<Accepted<R>>>),
    /// The function was asked for a snapshot.
    Snapshotting {
        /// When to stop waiting for it.
        until: Instant,
    },
    /// The stream was half-closed; the function may still complete its side.
    Closing {
        /// When to reset it.
        until: Instant,
    },
    /// The slot is in trouble; the instance starts over when it is not. Commits under way go on to
    /// their outcome.
    Suspended,
}

/// What an instance does once its pipeline is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Ask the function for a snapshot, if it is still time for one.
    Snapshot,
    /// Half-close and start over: its memory in the function is not the stored state.
    Restart,
    /// Start over, or be forgotten: the function has let go of it.
    BeginAgain,
}

/// The stream of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// None was opened, or it is over.
    None,
    /// It is open.
    Open,
}

/// How often a command may be lost with the function before it is refused. Once may be an accident
/// of others; a second time it had the function for itself.
const LOSSES_MAX: u32 = 2;

/// A command that was taken in and has no decision yet.
#[derive(Debug)]
pub(super) struct Accepted<R> {
    pub(super) method: Arc<Method>,
    pub(super) message: Bytes,
    pub(super) metadata: Option<Metadata>,
    pub(super) deadline: Instant,
    pub(super) idempotency: Option<Idempotency>,
    pub(super) origin: Option<Origin>,
    pub(super) hops: u32,
    /// Whether the store has told that it was not served before.
    pub(super) is_new: bool,
    /// How often it was lost with the function.
    losses: u32,
    pub(super) reply: R,
}

impl<R> Accepted<R> {
    /// The form of a command in the lane, with the deadline that binds it, and the entity's id as the
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
        let accepted = Self {
            method,
            message,
            metadata,
            deadline,
            idempotency,
            origin,
            hops,
            is_new: false,
            losses: 0,
            reply,
        };
        (id, accepted)
    }

    /// Whether the function was lost while it had the command.
    pub(super) fn was_lost(&self) -> bool {
        self.losses > 0
    }

    /// Notes that the function was lost while it had the command; gives whether it may have it again.
    pub(super) fn lose(&mut self) -> bool {
        self.losses += 1;
        self.losses < LOSSES_MAX
    }

    /// Whether the store may know an answer already.
    pub(super) fn needs_look(&self) -> bool {
        !self.is_new
            && (self.idempotency.is_some() || self.origin.is_some_and(|origin| origin.redelivered))
    }
}

/// How a looked-up command goes on.
pub(super) enum Verdict {
    /// It is new: send it.
    Send,
    /// It was served before: answer from the record.
    Answer(Result<Settled, Refusal>),
}

impl<R> Accepted<R> {
    /// Judges a command by what the store knows of it.
    pub(super) fn verdict(&self, known: Known) -> Verdict {
        use firn_model::decision::{Answer, Failure};
        use firn_store::StoredAnswer;

        // What is remembered has landed.
        let settled = |answer| Verdict::Answer(Ok(Settled::new(answer, Vec::new()).landed()));
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
