//! Values: the messages that rows hold. Their keys are in [`super::key`].

use std::collections::BTreeMap;

use bytes::Bytes;
use firn_model::id::EntityKey;
use prost::Message;

use super::View;
use super::key::{ID_BYTES_MAX, STORAGE_BYTES_MAX};
use crate::ReadError;
use crate::encoding::parts::{
    EffectPart, KeyPart, PayloadPart, ReplyRecordPart, TimerNamePart, TimerPart,
};
use crate::encoding::{Fault, decode};
use crate::timer::TimerId;

/// The fencing state of a slot.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct HeadRow {
    #[prost(uint64, tag = "1")]
    pub(crate) epoch: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) sequence: u64,
}

/// What is known of an entity. It stays, nearly empty, when the entity is gone, because its
/// generation must not be used again and its newest change must be found.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EntityRow {
    /// How often it began again: it was cleaned, or deleted with its events.
    #[prost(uint64, tag = "1")]
    pub(crate) generation: u64,
    /// The number of the last event of this generation.
    #[prost(uint64, tag = "2")]
    pub(crate) last_event: u64,
    /// Whether there is a `State` row.
    #[prost(bool, tag = "3")]
    pub(crate) has_state: bool,
    /// The last event in the `Snapshot` row, if there is one.
    #[prost(uint64, optional, tag = "4")]
    pub(crate) snapshot: Option<u64>,
    /// When its tombstone may go.
    #[prost(uint64, optional, tag = "5")]
    pub(crate) deleted_until: Option<u64>,
    /// The slot's sequence of the newest change that carried no events: the only one of its kind
    /// that is kept. Changes with events are found through the events.
    #[prost(uint64, optional, tag = "6")]
    pub(crate) newest_change: Option<u64>,
    /// The full storage name and id, only where the key holds a shortened one.
    #[prost(message, optional, tag = "7")]
    pub(crate) full_key: Option<KeyPart>,
    /// The generation under which its reply records are kept, if that is an earlier one: they
    /// outlive a delete, so that a command from before it is not run again.
    #[prost(uint64, optional, tag = "8")]
    pub(crate) records: Option<u64>,
    /// The number up to which events of this generation were trimmed; 0 if none were.
    #[prost(uint64, tag = "9")]
    pub(crate) trimmed: u64,
}

/// The state of a value entity or an actor.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PayloadRow {
    #[prost(message, optional, tag = "1")]
    pub(crate) payload: Option<PayloadPart>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) tags: BTreeMap<String, String>,
}

/// The newest snapshot.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SnapshotRow {
    /// The number of the last event in it.
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) payload: Option<PayloadPart>,
}

/// One event.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EventRow {
    #[prost(uint64, tag = "1")]
    pub(crate) at: u64,
    /// The slot and sequence of the commit that appended it: its `Change` row.
    #[prost(uint32, tag = "2")]
    pub(crate) slot: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) sequence: u64,
    #[prost(message, optional, tag = "4")]
    pub(crate) payload: Option<PayloadPart>,
}

/// A reply record.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReplyRow {
    #[prost(message, optional, tag = "1")]
    pub(crate) record: Option<ReplyRecordPart>,
}

/// A change of an entity, for those who tail its slot.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChangeRow {
    #[prost(message, optional, tag = "1")]
    pub(crate) key: Option<KeyPart>,
    #[prost(uint64, tag = "2")]
    pub(crate) at: u64,
    /// The entity's generation when it was written.
    #[prost(uint64, tag = "3")]
    pub(crate) generation: u64,
    #[prost(oneof = "ChangeKind", tags = "4, 5, 6, 7")]
    pub(crate) kind: Option<ChangeKind>,
}

/// What changed; states and events are found in their own rows.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ChangeKind {
    #[prost(message, tag = "4")]
    Set(SetKind),
    #[prost(message, tag = "5")]
    Delete(DeleteKind),
    #[prost(message, tag = "6")]
    Append(AppendKind),
    #[prost(message, tag = "7")]
    Clean(CleanKind),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetKind {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeleteKind {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) until: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AppendKind {
    /// The number of the first event.
    #[prost(uint64, tag = "1")]
    pub(crate) first: u64,
    /// How many events.
    #[prost(uint64, tag = "2")]
    pub(crate) count: u64,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) deleted_until: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CleanKind {}

/// An effect that is not yet delivered.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OutboxRow {
    #[prost(message, optional, tag = "1")]
    pub(crate) sender: Option<KeyPart>,
    #[prost(message, optional, tag = "2")]
    pub(crate) effect: Option<EffectPart>,
    #[prost(uint32, tag = "3")]
    pub(crate) hops: u32,
}

/// A timer.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimerRow {
    #[prost(message, optional, tag = "1")]
    pub(crate) timer: Option<TimerPart>,
    /// Which one it is, as its key may hold shortened names.
    #[prost(message, optional, tag = "2")]
    pub(crate) id: Option<TimerIdRow>,
}

/// Which timer is due at a time.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimerIdRow {
    #[prost(message, optional, tag = "1")]
    pub(crate) key: Option<KeyPart>,
    #[prost(message, optional, tag = "2")]
    pub(crate) name: Option<TimerNamePart>,
}

impl From<&TimerId> for TimerIdRow {
    fn from(id: &TimerId) -> Self {
        Self {
            key: Some((&id.key).into()),
            name: Some((&id.name).into()),
        }
    }
}

/// The events of an ended generation that are still to be removed.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct GarbageRow {
    /// The first that is still there.
    #[prost(uint64, tag = "1")]
    pub(crate) next: u64,
    /// The last.
    #[prost(uint64, tag = "2")]
    pub(crate) last: u64,
}

/// What is known of a node's replica of an entity, besides its state.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReplicaRow {
    /// When it was written.
    #[prost(uint64, tag = "1")]
    pub(crate) at: u64,
    /// Whether the entity is deleted.
    #[prost(bool, tag = "2")]
    pub(crate) deleted: bool,
    /// The full storage name and id, only where the key holds a shortened one.
    #[prost(message, optional, tag = "3")]
    pub(crate) full_key: Option<KeyPart>,
}

/// The state of a node's replica.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReplicaStateRow {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) state: Bytes,
}

/// The node with a name.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeRow {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(fixed64, tag = "2")]
    pub(crate) node: u64,
    /// The last that was given out.
    #[prost(uint32, tag = "3")]
    pub(crate) incarnation: u32,
}

/// What a row holds of its entity's names beside its key.
pub(crate) fn full_key(key: &EntityKey) -> Option<KeyPart> {
    let is_long = key.storage.as_str().len() > STORAGE_BYTES_MAX || key.id.len() > ID_BYTES_MAX;
    is_long.then(|| key.into())
}

/// Checks that the row with this key is the entity's.
pub(crate) fn check_full_key(
    key: &[u8],
    full: Option<&KeyPart>,
    entity_key: &EntityKey,
) -> Result<(), ReadError> {
    match full {
        Some(full) if EntityKey::from(full.clone()) != *entity_key => {
            Err(damaged(key, &"it belongs to another entity"))
        }
        _ => Ok(()),
    }
}

impl EntityRow {
    /// The row of an entity that was never written.
    pub(crate) fn of(key: &EntityKey) -> Self {
        Self {
            full_key: full_key(key),
            ..Self::default()
        }
    }

    /// The generation of its reply records.
    pub(crate) fn records_generation(&self) -> u64 {
        self.records.unwrap_or(self.generation)
    }

    /// Whether there is something to list: it has contents and no tombstone.
    pub(crate) fn is_alive(&self) -> bool {
        let has_contents = self.has_state || self.last_event > 0 || self.snapshot.is_some();
        has_contents && self.deleted_until.is_none()
    }
}

/// The row of an entity by its key, or an empty one.
pub(crate) fn entity_row(rows: &dyn View, key: &[u8]) -> Result<EntityRow, ReadError> {
    match rows.get(key)? {
        Some(value) => decode_row(key, value),
        None => Ok(EntityRow::default()),
    }
}

/// The message of a row; anything else is damage at that key.
pub(crate) fn decode_row<M: Message + Default>(key: &[u8], value: Bytes) -> Result<M, ReadError> {
    decode(value).map_err(|fault| damaged(key, &fault))
}

/// Damage in the row with this key.
pub(crate) fn damaged(key: &[u8], fault: &impl ToString) -> ReadError {
    ReadError::Damaged {
        place: format!("row {}", key.escape_ascii()),
        fault: fault.to_string(),
    }
}

/// Damage in the row with this key because a field is not what was ever written.
pub(crate) fn bad_field(key: &[u8], name: &'static str) -> ReadError {
    damaged(key, &Fault::Field(name))
}
