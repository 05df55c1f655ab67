//! What is written: commits, each atomic, ordered within its slot.

use firn_model::call::Reply;
use firn_model::decision::{Effect, Forward, Tags};
use firn_model::id::{EffectId, EntityKey, Epoch, Slot, SlotSequence};
use firn_model::payload::Payload;
use firn_model::status::Status;

use crate::entity::Timestamp;
use crate::timer::TimerWrite;

/// The fencing state of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Whose writes are accepted.
    pub epoch: Epoch,
    /// The number of the last commit.
    pub sequence: SlotSequence,
}

/// One atomic write of one slot: a change of an entity and everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The slot.
    pub slot: Slot,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The number of this commit in the slot.
    pub sequence: SlotSequence,
    /// When the owner made it.
    pub at: Timestamp,
    /// The entity that it is about, one of the slot; also when it holds only a record, effects or
    /// timers.
    /// `None` for housekeeping of the slot.
    pub key: Option<EntityKey>,
    /// What changes in the entity.
    pub change: Option<Change>,
    /// The tags that come with a state that is set.
    pub tags: Tags,
    /// Effects to keep until they are delivered; their identity is (slot, sequence, place).
    pub effects: Vec<Effect>,
    /// Timers of the entity that are set, replaced or removed, in order.
    pub timers: Vec<TimerWrite>,
    /// How many hops of forwards and effects led to this command.
    pub hops: u32,
    /// The record that answers a repeated command.
    pub reply_record: Option<ReplyRecord>,
    /// The effect that caused the command, if one did.
    pub received: Option<EffectId>,
    /// The sending slot and its lowest open sequence: receipts of that slot below it are dropped.
    pub receipts_below: Option<(Slot, SlotSequence)>,
    /// Effects of this slot that were delivered: their outbox entries go.
    pub delivered: Vec<EffectId>,
}

impl Commit {
    /// A commit that holds nothing yet.
    pub fn empty(slot: Slot, epoch: Epoch, sequence: SlotSequence, at: Timestamp) -> Self {
        Self {
            slot,
            epoch,
            sequence,
            at,
            key: None,
            change: None,
            tags: Tags::new(),
            effects: Vec::new(),
            timers: Vec::new(),
            hops: 0,
            reply_record: None,
            received: None,
            receipts_below: None,
            delivered: Vec::new(),
        }
    }

    /// Roughly how much it adds to a batch, in bytes.
    pub fn size(&self) -> usize {
        let payloads = match &self.change {
            Some(Change::Set(state)) => state.bytes.len(),
            Some(Change::Append {
                events, snapshot, ..
            }) => {
                let payloads = events.iter().chain(snapshot);
                payloads.map(|payload| payload.bytes.len()).sum()
            }
            Some(Change::Snapshot { payload, .. }) => payload.bytes.len(),
            Some(Change::Delete { .. } | Change::Clean) | None => 0,
        };
        let effects = self.effects.iter().map(|effect| &effect.call);
        let timers = self.timers.iter().filter_map(|write| write.timer.as_ref());
        let calls = effects.chain(timers.map(|timer| &timer.call));
        let calls: usize = calls.map(|call| call.payload.bytes.len()).sum();
        256 + payloads + calls
    }
}

/// A change of one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The value is now this, with the commit's tags and no others.
    Set(Payload),
    /// The entity is deleted. Its value is gone. With `until`, a tombstone stays up to then, and so
    /// do events; without, nothing remains but reply records: events and snapshot go too, and what
    /// is appended next is event 1 of a new generation.
    Delete {
        /// When the tombstone may go; `None` keeps none.
        until: Option<Timestamp>,
    },
    /// Events were appended.
    Append {
        /// The number of the first of `events` in its entity: 1, 2, 3…
        first: u64,
        /// The events, in order; may be empty when only `deleted_until` is set.
        events: Vec<Payload>,
        /// The state after the events.
        snapshot: Option<Payload>,
        /// The entity is deleted and its events are kept up to then.
        deleted_until: Option<Timestamp>,
    },
    /// A snapshot of the state after event `sequence`, without new events.
    Snapshot {
        /// The number of the last event in it.
        sequence: u64,
        /// The state.
        payload: Payload,
    },
    /// A tombstone's grace is over: everything of the entity goes, reply records too, and a new
    /// generation begins.
    Clean,
}

/// The remembered answer of a command that carried an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyRecord {
    /// The method's name.
    pub method: String,
    /// The caller's key.
    pub idempotency_key: String,
    /// XXH3-128 of the request message: another request under the same key is refused.
    pub request_hash: u128,
    /// When the record may go.
    pub expires: Timestamp,
    /// What the caller got.
    pub answer: StoredAnswer,
}

/// The part of an answer that a record keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredAnswer {
    /// A reply.
    Reply(Reply),
    /// A forward, sent again under a key derived from the caller's.
    Forward(Forward),
    /// A failure.
    Failure(Status),
}

/// What became of the commits of one slot in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotOutcome {
    /// The slot.
    pub slot: Slot,
    /// What became of all its commits in the batch.
    pub outcome: Outcome,
}

/// What became of a slot's commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All are durable.
    Landed,
    /// None was applied: the stored head is another.
    Refused {
        /// The head that the store holds.
        head: Head,
    },
    /// None was applied, and as far as is known nobody else has the slot: the store could not write
    /// them, or cannot hold them.
    NotWritten {
        /// The head upon which they were to follow.
        head: Head,
        /// The backend's own words.
        cause: String,
    },
    /// The store cannot tell whether they were applied.
    Unknown {
        /// The backend's own words.
        cause: String,
    },
}
