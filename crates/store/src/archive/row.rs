//! What a store holds, row by row, whatever its backend.

use bytes::Bytes;
use firn_model::decision::Tags;
use firn_model::id::{EffectId, EntityKey, NodeId, Replica, Slot, SlotSequence};
use firn_model::payload::Payload;

use crate::Pending;
use crate::commit::{Head, ReplyRecord};
use crate::entity::{Event, Snapshot, Timestamp};
use crate::timer::{Timer, TimerId};

/// One thing that a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Row {
    /// The fencing state of a slot.
    Head {
        /// The slot.
        slot: Slot,
        /// Its head.
        head: Head,
    },
    /// What is known of an entity that was ever written; before its other rows.
    Entity {
        /// The entity.
        key: EntityKey,
        /// What is known.
        facts: EntityFacts,
    },
    /// The state of a value entity or an actor.
    State {
        /// The entity.
        key: EntityKey,
        /// The state.
        payload: Payload,
        /// The tags that it came with.
        tags: Tags,
    },
    /// The newest snapshot of an entity.
    Snapshot {
        /// The entity.
        key: EntityKey,
        /// The snapshot.
        snapshot: Snapshot,
    },
    /// An event of an entity, of its present generation.
    Event {
        /// The entity.
        key: EntityKey,
        /// The event.
        event: Event,
        /// The number of its commit in the entity's slot.
        slot_sequence: SlotSequence,
    },
    /// A change of an entity, for those who tail its slot.
    Change {
        /// The entity, which names the slot.
        key: EntityKey,
        /// The number of its commit in the slot.
        slot_sequence: SlotSequence,
        /// When the owner made it.
        at: Timestamp,
        /// What changed.
        kind: ChangeKind,
    },
    /// The remembered answer of a command.
    Reply {
        /// The entity.
        key: EntityKey,
        /// The record.
        record: ReplyRecord,
    },
    /// An effect that is not known to be delivered.
    Outbox(Pending),
    /// The receipt of an effect.
    Receipt {
        /// The slot that received it.
        receiver: Slot,
        /// The effect.
        effect: EffectId,
    },
    /// How far the receipts of a sender were dropped.
    Trimmed {
        /// The slot that received.
        receiver: Slot,
        /// The slot that sent.
        sender: Slot,
        /// The lowest sequence that may still have receipts.
        below: SlotSequence,
    },
    /// A timer.
    Timer {
        /// Which.
        id: TimerId,
        /// The timer.
        timer: Timer,
    },
    /// A node's replica of an entity; its receipts are rows of their own.
    Replica {
        /// The node.
        node: NodeId,
        /// The entity.
        key: EntityKey,
        /// When it was written.
        at: Timestamp,
        /// Its state.
        state: Bytes,
        /// Whether the entity is deleted.
        deleted: bool,
    },
    /// The last run of a node.
    Node {
        /// The node's name.
        name: String,
        /// The node, and the number of the run.
        replica: Replica,
    },
}

/// What is known of an entity, besides its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntityFacts {
    /// The number of its last event.
    pub last_event: u64,
    /// The number up to which events were trimmed; 0 if none were.
    pub trimmed: u64,
    /// Whether it has a state.
    pub has_state: bool,
    /// The last event in its snapshot, if it has one.
    pub snapshot: Option<u64>,
    /// When its tombstone may go.
    pub deleted_until: Option<Timestamp>,
    /// The number of its newest change without events.
    pub newest_change: Option<SlotSequence>,
}

/// What changed; states and events are rows of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The value was set.
    Set,
    /// The entity was deleted.
    Delete {
        /// When its tombstone may go.
        until: Option<Timestamp>,
    },
    /// Events were appended.
    Append {
        /// The number of the first.
        first: u64,
        /// How many.
        count: u64,
        /// When the tombstone may go, if the entity was deleted with them.
        deleted_until: Option<Timestamp>,
    },
    /// The entity was cleaned.
    Clean,
}

impl Row {
    /// The kind of the row, as people read it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Head { .. } => "heads",
            Self::Entity { .. } => "entities",
            Self::State { .. } => "states",
            Self::Snapshot { .. } => "snapshots",
            Self::Event { .. } => "events",
            Self::Change { .. } => "changes",
            Self::Reply { .. } => "replies",
            Self::Outbox(_) => "effects",
            Self::Receipt { .. } => "receipts",
            Self::Trimmed { .. } => "trims",
            Self::Timer { .. } => "timers",
            Self::Replica { .. } => "replicas",
            Self::Node { .. } => "nodes",
        }
    }
}
