//! From rows of the map to rows of an archive, and back.
//!
//! # How it works
//! A dump goes through the spaces in the order of their keys. Nothing is looked up for an ordinary
//! row: its key or its value says whose it is. The exceptions are names too long for a key, and
//! entities that began again, whose earlier generations may not be swept yet; those entities are
//! remembered while the `Entity` rows go by, a hash for each.

use std::collections::HashSet;
use std::num::NonZeroU32;

use bytes::Bytes;
use firn_model::id::{EntityKey, Epoch, Incarnation, NodeId, Replica, Slot, SlotSequence};
use xxhash_rust::xxh3::xxh3_128;

use super::key::{self, Key, Space};
use super::overlay::View;
use super::value::{
    AppendKind, ChangeRow, CleanKind, DeleteKind, EntityRow, EventRow, HeadRow, NodeRow, OutboxRow,
    PayloadRow, ReplicaRow, ReplicaStateRow, ReplyRow, SetKind, SnapshotRow, TimerIdRow, TimerRow,
    bad_field, damaged, decode_row, full_key,
};
use super::{read, replicas, value};
use crate::archive::{BATCH_BYTES, ChangeKind, EntityFacts, Row};
use crate::commit::Head;
use crate::encoding::encode;
use crate::encoding::parts::KeyPart;
use crate::entity::{Event, Snapshot, Timestamp};
use crate::timer::TimerId;
use crate::{Pending, ReadError};

/// The spaces of an archive, in the order of their keys, which has entities before what belongs to
/// them. All others are made from these.
const SPACES: [Space; 12] = [
    Space::Head,
    Space::Entity,
    Space::State,
    Space::Snapshot,
    Space::Event,
    Space::Reply,
    Space::Change,
    Space::Outbox,
    Space::Receipt,
    Space::Trimmed,
    Space::Replica,
    Space::Timer,
];

/// Goes through the rows of a view.
pub(crate) struct Dump<V> {
    rows: V,
    /// The space that is being read, and the next key in it.
    space: usize,
    from: Key,
    /// Hashes of the keys of entities that are not of their first generation.
    began_again: HashSet<u128>,
    has_nodes: bool,
}

impl<V: View> Dump<V> {
    /// Begins.
    pub(crate) fn new(rows: V) -> Self {
        Self {
            rows,
            space: 0,
            from: Key::new(),
            began_again: HashSet::new(),
            has_nodes: false,
        }
    }

    /// The next rows; none at the end.
    pub(crate) fn batch(&mut self) -> Result<Vec<Row>, ReadError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(space) = SPACES.get(self.space)
        {
            let (first, end) = key::whole(*space);
            let from = std::mem::take(&mut self.from).max(first);
            let mut next = None;
            for row in self.rows.scan(from, end) {
                let (key, value) = row?;
                if bytes >= BATCH_BYTES {
                    next = Some(key.to_vec());
                    break;
                }
                bytes += key.len() + value.len();
                let remembered = &mut self.began_again;
                batch.extend(archived(&self.rows, remembered, *space, &key, value)?);
            }
            match next {
                Some(next) => self.from = next,
                None => self.space += 1,
            }
        }
        if batch.is_empty() && !self.has_nodes {
            self.has_nodes = true;
            batch = nodes(&self.rows)?;
        }
        Ok(batch)
    }
}

/// The archived form of a row, unless nobody can see it any more.
fn archived(
    rows: &dyn View,
    began_again: &mut HashSet<u128>,
    space: Space,
    key: &[u8],
    value: Bytes,
) -> Result<Option<Row>, ReadError> {
    Ok(Some(match space {
        Space::Head => head(key, value)?,
        Space::Entity => {
            let row: EntityRow = decode_row(key, value)?;
            if row.generation > 0 {
                began_again.insert(xxh3_128(key));
            }
            entity(key, row)?
        }
        Space::State => {
            let row: PayloadRow = decode_row(key, value)?;
            Row::State {
                key: name_of(rows, key)?,
                payload: read::convert(key, row.payload, "the state")?,
                tags: row.tags,
            }
        }
        Space::Snapshot => {
            let row: SnapshotRow = decode_row(key, value)?;
            Row::Snapshot {
                key: name_of(rows, key)?,
                snapshot: Snapshot {
                    sequence: row.sequence,
                    payload: read::convert(key, row.payload, "the snapshot")?,
                },
            }
        }
        Space::Event => {
            let owner = Owner::of(key)?;
            if owner.generation != owner.row(rows, began_again)?.generation {
                return Ok(None);
            }
            let row: EventRow = decode_row(key, value)?;
            Row::Event {
                key: name_of(rows, &owner.entity)?,
                event: Event {
                    sequence: key::event_number(key).ok_or_else(|| bad_field(key, "a number"))?,
                    at: Timestamp(row.at),
                    payload: read::convert(key, row.payload, "the event")?,
                },
                slot_sequence: SlotSequence(row.sequence),
            }
        }
        Space::Reply => {
            let owner = Owner::of(key)?;
            let entity = owner.row(rows, began_again)?;
            if owner.generation != entity.records_generation() {
                return Ok(None);
            }
            let row: ReplyRow = decode_row(key, value)?;
            Row::Reply {
                key: name_of(rows, &owner.entity)?,
                record: read::convert(key, row.record, "the record")?,
            }
        }
        Space::Change => return change(rows, began_again, key, value),
        Space::Outbox => {
            let row: OutboxRow = decode_row(key, value)?;
            let sender = row.sender.ok_or_else(|| bad_field(key, "the sender"))?;
            Row::Outbox(Pending {
                id: key::outbox_effect(key).ok_or_else(|| bad_field(key, "the identity"))?,
                sender: sender.into(),
                effect: read::convert(key, row.effect, "the effect")?,
                hops: row.hops,
            })
        }
        Space::Receipt => {
            let (receiver, effect) =
                key::receipt_of(key).ok_or_else(|| bad_field(key, "the effect"))?;
            Row::Receipt { receiver, effect }
        }
        Space::Trimmed => {
            let (receiver, sender) =
                key::trimmed_of(key).ok_or_else(|| bad_field(key, "the slots"))?;
            let below = value.as_ref().try_into().map(u64::from_be_bytes);
            Row::Trimmed {
                receiver,
                sender,
                below: SlotSequence(below.map_err(|_| bad_field(key, "the sequence"))?),
            }
        }
        Space::Timer => {
            let row: TimerRow = decode_row(key, value)?;
            let id = row.id.ok_or_else(|| bad_field(key, "the timer's name"))?;
            Row::Timer {
                id: read::timer_id(key, id)?,
                timer: read::convert(key, row.timer, "the timer")?,
            }
        }
        Space::Replica => {
            let row: ReplicaRow = decode_row(key, value)?;
            let (at, deleted) = (Timestamp(row.at), row.deleted);
            let node = key::replica_node(key).ok_or_else(|| bad_field(key, "the node"))?;
            let entity = replicas::entity_of(key, row)?;
            let state = replicas::load(rows, node, &entity)?;
            Row::Replica {
                node,
                state: state.ok_or_else(|| bad_field(key, "the state"))?,
                key: entity,
                at,
                deleted,
            }
        }
        _ => return Ok(None),
    }))
}

fn head(key: &[u8], value: Bytes) -> Result<Row, ReadError> {
    let row: HeadRow = decode_row(key, value)?;
    let slot = key
        .last_chunk()
        .and_then(|bytes| Slot::new(u16::from_be_bytes(*bytes)));
    Ok(Row::Head {
        slot: slot.ok_or_else(|| bad_field(key, "the slot"))?,
        head: Head {
            epoch: Epoch(row.epoch),
            sequence: SlotSequence(row.sequence),
        },
    })
}

fn entity(key: &[u8], row: EntityRow) -> Result<Row, ReadError> {
    Ok(Row::Entity {
        facts: EntityFacts {
            last_event: row.last_event,
            trimmed: row.trimmed,
            has_state: row.has_state,
            snapshot: row.snapshot,
            deleted_until: row.deleted_until.map(Timestamp),
            newest_change: row.newest_change.map(SlotSequence),
        },
        key: named(key, row.full_key)?,
    })
}

fn change(
    rows: &dyn View,
    began_again: &HashSet<u128>,
    key: &[u8],
    value: Bytes,
) -> Result<Option<Row>, ReadError> {
    let row: ChangeRow = decode_row(key, value)?;
    let slot_sequence = key::change_sequence(key).ok_or_else(|| bad_field(key, "the sequence"))?;
    let entity_key: EntityKey = row.key.ok_or_else(|| bad_field(key, "the entity"))?.into();
    let entity = key::entity(Space::Entity, &entity_key);
    if !began_again.is_empty() && began_again.contains(&xxh3_128(&entity)) {
        let entity = value::entity_row(rows, &entity)?;
        if entity.generation != row.generation {
            return Ok(None);
        }
    }
    let kind = match row.kind.ok_or_else(|| bad_field(key, "the change"))? {
        value::ChangeKind::Set(SetKind {}) => ChangeKind::Set,
        value::ChangeKind::Delete(delete) => ChangeKind::Delete {
            until: delete.until.map(Timestamp),
        },
        value::ChangeKind::Append(append) => ChangeKind::Append {
            first: append.first,
            count: append.count,
            deleted_until: append.deleted_until.map(Timestamp),
        },
        value::ChangeKind::Clean(CleanKind {}) => ChangeKind::Clean,
    };
    Ok(Some(Row::Change {
        key: entity_key,
        slot_sequence,
        at: Timestamp(row.at),
        kind,
    }))
}

fn nodes(rows: &dyn View) -> Result<Vec<Row>, ReadError> {
    let (from, to) = key::whole(Space::Node);
    let node = |row: super::Entry| {
        let (key, value) = row?;
        let row: NodeRow = decode_row(&key, value)?;
        let last = NonZeroU32::new(row.incarnation);
        Ok(Row::Node {
            name: row.name,
            replica: Replica {
                node: NodeId(row.node),
                incarnation: Incarnation(last.ok_or_else(|| bad_field(&key, "a number"))?),
            },
        })
    };
    rows.scan(from, to).map(node).collect()
}

/// Whose an event or a reply record is.
struct Owner {
    /// The key of the entity's row.
    entity: Key,
    generation: u64,
}

impl Owner {
    fn of(key: &[u8]) -> Result<Self, ReadError> {
        let (entity, generation) =
            key::generation_in(key).ok_or_else(|| bad_field(key, "the entity"))?;
        Ok(Self { entity, generation })
    }

    /// What is known of the entity's generation.
    fn row(&self, rows: &dyn View, began_again: &HashSet<u128>) -> Result<EntityRow, ReadError> {
        if !began_again.is_empty() && began_again.contains(&xxh3_128(&self.entity)) {
            return value::entity_row(rows, &self.entity);
        }
        Ok(EntityRow::default())
    }
}

/// The entity with a row of its own under this key; other rows of the entity have the same key in
/// their spaces.
pub(crate) fn name_of(rows: &dyn View, key: &[u8]) -> Result<EntityKey, ReadError> {
    if let Some(name) = key::entity_of(key) {
        return Ok(name);
    }
    let mut key = key.to_vec();
    if let Some(space) = key.first_mut() {
        *space = Space::Entity as u8;
    }
    named(&key, value::entity_row(rows, &key)?.full_key)
}

/// The entity with a row of its own under this key, which holds `full`.
pub(crate) fn named(key: &[u8], full: Option<KeyPart>) -> Result<EntityKey, ReadError> {
    match full {
        Some(full) => Ok(full.into()),
        None => key::entity_of(key).ok_or_else(|| bad_field(key, "the entity")),
    }
}

/// Puts the rows that an archived row becomes, into a map that holds none of the entity.
///
/// # Errors
/// The row cannot be: it names a slot that is not its entity's.
pub(crate) fn restore(put: &mut impl FnMut(Key, Bytes), row: Row) -> Result<(), ReadError> {
    match row {
        Row::Head { slot, head } => {
            let row = HeadRow {
                epoch: head.epoch.0,
                sequence: head.sequence.0,
            };
            put(key::head(slot), encode(&row));
        }
        Row::Entity { key, facts } => {
            if let Some(until) = facts.deleted_until {
                put(key::tombstone(until, &key), encode(&KeyPart::from(&key)));
            }
            let row = EntityRow {
                last_event: facts.last_event,
                trimmed: facts.trimmed,
                has_state: facts.has_state,
                snapshot: facts.snapshot,
                deleted_until: facts.deleted_until.map(|until| until.0),
                newest_change: facts.newest_change.map(|sequence| sequence.0),
                ..EntityRow::of(&key)
            };
            put(key::entity(Space::Entity, &key), encode(&row));
        }
        Row::State { key, payload, tags } => {
            let row = PayloadRow {
                payload: Some((&payload).into()),
                tags,
            };
            put(key::entity(Space::State, &key), encode(&row));
        }
        Row::Snapshot { key, snapshot } => {
            let row = SnapshotRow {
                sequence: snapshot.sequence,
                payload: Some((&snapshot.payload).into()),
            };
            put(key::entity(Space::Snapshot, &key), encode(&row));
        }
        Row::Event {
            key,
            event,
            slot_sequence,
        } => {
            let row = EventRow {
                at: event.at.0,
                slot: key.slot().number().into(),
                sequence: slot_sequence.0,
                payload: Some((&event.payload).into()),
            };
            put(key::event(&key, 0, event.sequence), encode(&row));
        }
        Row::Change {
            key,
            slot_sequence,
            at,
            kind,
        } => {
            let row = ChangeRow {
                key: Some((&key).into()),
                at: at.0,
                generation: 0,
                kind: Some(stored_kind(kind)),
            };
            put(key::change(key.slot(), slot_sequence), encode(&row));
        }
        Row::Reply { key, record } => {
            let reply = key::reply(&key, 0, &record.method, &record.idempotency_key);
            put(key::expiry(record.expires, &reply), Bytes::new());
            let row = ReplyRow {
                record: Some((&record).into()),
            };
            put(reply, encode(&row));
        }
        Row::Outbox(pending) => {
            if pending.sender.slot() != pending.id.slot {
                let key = key::outbox(pending.id);
                return Err(damaged(&key, &"the sender is of another slot"));
            }
            let row = OutboxRow {
                sender: Some((&pending.sender).into()),
                effect: Some((&pending.effect).into()),
                hops: pending.hops,
            };
            put(key::outbox(pending.id), encode(&row));
        }
        Row::Receipt { receiver, effect } => put(key::receipt(receiver, effect), Bytes::new()),
        Row::Trimmed {
            receiver,
            sender,
            below,
        } => {
            let value = Bytes::copy_from_slice(&below.0.to_be_bytes());
            put(key::trimmed(receiver, sender), value);
        }
        Row::Timer { id, timer } => restore_timer(put, &id, &timer),
        Row::Replica {
            node,
            key,
            at,
            state,
            deleted,
        } => {
            let row = ReplicaRow {
                at: at.0,
                deleted,
                full_key: full_key(&key),
            };
            put(key::replica(Space::Replica, node, &key), encode(&row));
            let row = ReplicaStateRow { state };
            put(key::replica(Space::ReplicaState, node, &key), encode(&row));
        }
        Row::Node { name, replica } => {
            let row = NodeRow {
                node: replica.node.0,
                incarnation: replica.incarnation.0.get(),
                name,
            };
            put(key::node(&row.name), encode(&row));
        }
    }
    Ok(())
}

fn restore_timer(put: &mut impl FnMut(Key, Bytes), id: &TimerId, timer: &crate::Timer) {
    let key = key::timer(id);
    let id: TimerIdRow = id.into();
    put(key::due(timer.due, &key), encode(&id));
    let row = TimerRow {
        timer: Some(timer.into()),
        id: Some(id),
    };
    put(key, encode(&row));
}

fn stored_kind(kind: ChangeKind) -> value::ChangeKind {
    let millis = |time: Option<Timestamp>| time.map(|time| time.0);
    match kind {
        ChangeKind::Set => value::ChangeKind::Set(SetKind {}),
        ChangeKind::Delete { until } => value::ChangeKind::Delete(DeleteKind {
            until: millis(until),
        }),
        ChangeKind::Append {
            first,
            count,
            deleted_until,
        } => value::ChangeKind::Append(AppendKind {
            first,
            count,
            deleted_until: millis(deleted_until),
        }),
        ChangeKind::Clean => value::ChangeKind::Clean(CleanKind {}),
    }
}
