//! An instance: one entity in memory, from the first command to the last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_model::contract::{Component, Method};
use firn_model::id::{EntityId, EntityKey, Slot, StorageName};
use firn_model::metadata::Metadata;
use firn_store::{Entity, Timestamp};

use super::due::Moment;
use super::instances::Line;
use super::pipeline::Pipeline;
use super::{Command, Idempotency, Known, Origin, Settled};
use crate::few::Few;
use crate::refusal::Refusal;

/// One entity in memory. Most of them are idle most of the time, so what is of no use then takes little
/// room, and what few have is in a box.
#[derive(Debug)]
pub(super) struct Instance<R> {
    pub(super) slot: Slot,
    pub(super) id: EntityId,
    /// Its storage and the stored form of the id are the entity's key. A later component may take its
    /// place, but not with another storage.
    pub(super) component: Arc<Component>,
    /// Distinguishes this life of the instance from earlier ones at the same index.
    pub(super) life: u64,
    pub(super) phase: Phase<R>,
    pub(super) stream: Stream,
    /// The mailbox: what was not sent yet, or is to be sent again.
    pub(super) queue: Few<Box<Accepted<R>>>,
    /// What was sent and is not answered yet. Empty unless it serves, settles or is suspended.
    pub(super) pipeline: Pipeline<R>,
    /// The number of the entity's last event, as decided.
    pub(super) last_event: u64,
    /// The number of the last event that a snapshot holds, as decided.
    pub(super) last_snapshot: u64,
    /// What the entity may end by, while there is something.
    end: Option<Box<EndOfTime>>,
    /// When the instance last had something to do.
    pub(super) active_at: Moment,
    /// The earliest alarm that is set for it, or never.
    pub(super) alarm: Moment,
    /// Its neighbours in the line of those that became idle.
    pub(super) line: Line,
}

/// When an entity ends by itself.
#[derive(Debug, Default)]
struct EndOfTime {
    /// The tombstone's end, while there is one.
    deleted_until: Option<Timestamp>,
    /// How long the entity is kept if nobody writes it.
    ttl: Option<Duration>,
    /// When the entity last changed, as decided; `None` if there is nothing of it. Only followed where
    /// a time to live is counted from it.
    changed_at: Option<Timestamp>,
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
        until: Moment,
    },
    /// The stream was half-closed; the function may still complete its side.
    Closing {
        /// When to reset it.
        until: Moment,
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

impl<R> Instance<R> {
    /// An instance that has not begun to live.
    pub(super) fn new(id: EntityId, component: Arc<Component>, now: Moment) -> Self {
        let key = EntityKey::new(component.storage.clone(), id.stored().clone());
        Self {
            slot: key.slot(),
            id,
            component,
            life: 0,
            phase: Phase::Suspended,
            stream: Stream::None,
            queue: Few::default(),
            pipeline: Pipeline::default(),
            last_event: 0,
            last_snapshot: 0,
            end: None,
            active_at: now,
            alarm: Moment::NEVER,
            line: Line::default(),
        }
    }

    /// The entity's identity in the store.
    pub(super) fn key(&self) -> EntityKey {
        EntityKey::new(self.component.storage.clone(), self.id.stored().clone())
    }

    /// Whether it is an instance of this entity.
    pub(super) fn is_of(&self, storage: &StorageName, id: &str) -> bool {
        **self.id.stored() == *id && self.component.storage == *storage
    }

    /// The tombstone's end, while there is one.
    pub(super) fn deleted_until(&self) -> Option<Timestamp> {
        self.end.as_ref().and_then(|end| end.deleted_until)
    }

    /// There is a tombstone from now on, until then, or none.
    pub(super) fn set_deleted_until(&mut self, until: Option<Timestamp>) {
        if self.end.is_some() || until.is_some() {
            self.end.get_or_insert_default().deleted_until = until;
        }
    }

    /// Begins to count how long the entity is kept if nobody writes it.
    pub(super) fn set_ttl(&mut self, ttl: Option<Duration>) {
        self.end = ttl.map(|ttl| {
            let ttl = Some(ttl);
            Box::new(EndOfTime {
                ttl,
                ..EndOfTime::default()
            })
        });
    }

    /// The entity was changed then; at no time if there is nothing of it.
    pub(super) fn set_changed_at(&mut self, at: Option<Timestamp>) {
        if let Some(end) = &mut self.end {
            end.changed_at = at;
        }
    }

    /// Whether its time is over, or the grace of its tombstone.
    pub(super) fn is_expired(&self, wall: Timestamp) -> bool {
        let Some(end) = &self.end else {
            return false;
        };
        let ends = end.changed_at.zip(end.ttl).map(|(at, ttl)| at.plus(ttl));
        end.deleted_until
            .or(ends)
            .is_some_and(|until| until <= wall)
    }
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
