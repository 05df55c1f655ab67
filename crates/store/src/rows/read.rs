//! From rows back to what [`crate::Store`] answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use firn_model::decision::Tags;
use firn_model::id::{EffectId, EntityKey, Epoch, Slot, SlotSequence, StorageName};
use firn_model::payload::Payload;
use firn_model::policy::Replay;

use super::apply::entity_row;
use super::events::Events;
use super::key::{self, Key, Space, successor};
use super::overlay::View;
use super::value::{
    AppendKind, ChangeKind, ChangeRow, EntityRow, HeadRow, OutboxRow, PayloadRow, ReplyRow,
    SnapshotRow, TimerIdRow, TimerRow, bad_field, damaged, decode_row,
};
use super::{replicas, retention};
use crate::commit::{Change, Head, ReplyRecord};
use crate::encoding::Fault;
use crate::encoding::parts::KeyPart;
use crate::entity::{Entity, Event, Snapshot, Timestamp};
use crate::timer::{DueTimer, Timer, TimerId};
use crate::{Pending, ReadError, Tailed, Tombstone};

/// The heads of all slots that have one.
pub(crate) fn heads(rows: &dyn View) -> Result<Vec<(Slot, Head)>, ReadError> {
    let (from, to) = key::whole(Space::Head);
    rows.scan(from, to)
        .map(|row| {
            let (key, value) = row?;
            let row: HeadRow = decode_row(&key, value)?;
            let slot = key
                .last_chunk()
                .and_then(|bytes| Slot::new(u16::from_be_bytes(*bytes)))
                .ok_or_else(|| bad_field(&key, "the slot"))?;
            let head = Head {
                epoch: Epoch(row.epoch),
                sequence: SlotSequence(row.sequence),
            };
            Ok((slot, head))
        })
        .collect()
}

/// Everything that an instance is recovered from.
pub(crate) fn load(
    rows: &dyn View,
    entity_key: &EntityKey,
    replay: Replay,
) -> Result<Entity, ReadError> {
    let row = entity_row(rows, entity_key)?;
    // Where the first events are gone, all that are left begin with the snapshot.
    let from_snapshot = replay == Replay::FromSnapshot || row.trimmed > 0;
    let snapshot = match row.snapshot.filter(|_| from_snapshot) {
        Some(sequence) => Some(snapshot(rows, entity_key, sequence)?),
        None => None,
    };
    let after = snapshot.as_ref().map_or(0, |snapshot| snapshot.sequence);
    let (state, tags) = state(rows, entity_key, &row)?.unzip();
    let events = events_of(rows, entity_key, &row, after, usize::MAX)?;
    let last_at = events.last().map(|event| event.at);
    let changed_at = retention::changed_at(rows, entity_key, &row, last_at)?;
    Ok(Entity {
        state,
        tags: tags.unwrap_or_default(),
        snapshot,
        events,
        last_event: row.last_event,
        deleted_until: row.deleted_until.map(Timestamp),
        changed_at,
    })
}

/// The number of the last event of an entity.
pub(crate) fn last_event(rows: &dyn View, entity_key: &EntityKey) -> Result<u64, ReadError> {
    Ok(entity_row(rows, entity_key)?.last_event)
}

/// The record of a command, unless it has expired.
pub(crate) fn reply_record(
    rows: &dyn View,
    entity_key: &EntityKey,
    (method, idempotency_key): (&str, &str),
    now: Timestamp,
) -> Result<Option<ReplyRecord>, ReadError> {
    let generation = entity_row(rows, entity_key)?.records_generation();
    let key = key::reply(entity_key, generation, method, idempotency_key);
    let Some(value) = rows.get(&key)? else {
        return Ok(None);
    };
    let row: ReplyRow = decode_row(&key, value)?;
    let record: ReplyRecord = convert(&key, row.record, "the record")?;
    let is_same = record.method == method && record.idempotency_key == idempotency_key;
    Ok(Some(record).filter(|record| is_same && record.expires > now))
}

/// Whether an effect has a receipt.
pub(crate) fn was_received(
    rows: &dyn View,
    receiver: Slot,
    effect: EffectId,
) -> Result<bool, ReadError> {
    Ok(rows.get(&key::receipt(receiver, effect))?.is_some())
}

/// Entries of the outbox after `after`.
pub(crate) fn outbox(
    rows: &dyn View,
    after: Option<EffectId>,
    limit: usize,
) -> Result<Vec<Pending>, ReadError> {
    let (start, to) = key::whole(Space::Outbox);
    let from = after.map_or(start, |effect| successor(key::outbox(effect)));
    rows.scan(from, to)
        .take(limit)
        .map(|row| {
            let (key, value) = row?;
            let row: OutboxRow = decode_row(&key, value)?;
            let sender = row.sender.ok_or_else(|| bad_field(&key, "the sender"))?;
            Ok(Pending {
                id: key::outbox_effect(&key).ok_or_else(|| bad_field(&key, "the identity"))?,
                sender: sender.into(),
                effect: convert(&key, row.effect, "the effect")?,
                hops: row.hops,
            })
        })
        .collect()
}

/// Tombstones that may go at `now`, after `after`.
pub(crate) fn tombstones(
    rows: &dyn View,
    now: Timestamp,
    after: Option<&Tombstone>,
    limit: usize,
) -> Result<Vec<Tombstone>, ReadError> {
    let (start, _) = key::whole(Space::Tombstone);
    let from = after.map_or(start, |after| {
        successor(key::tombstone(after.until, &after.key))
    });
    rows.scan(from, key::tombstones_end(now))
        .take(limit)
        .map(|row| {
            let (key, value) = row?;
            let row: KeyPart = decode_row(&key, value)?;
            Ok(Tombstone {
                until: key::tombstone_until(&key).ok_or_else(|| bad_field(&key, "the time"))?,
                key: row.into(),
            })
        })
        .collect()
}

/// Timers that are due at `until` or before, after `after`.
pub(crate) fn due_timers(
    rows: &dyn View,
    until: Timestamp,
    after: Option<&DueTimer>,
    limit: usize,
) -> Result<Vec<DueTimer>, ReadError> {
    let (start, _) = key::whole(Space::Due);
    let from = after.map_or(start, |after| {
        successor(key::due(after.due, &key::timer(&after.id)))
    });
    rows.scan(from, key::due_end(until))
        .take(limit)
        .map(|row| {
            let (key, value) = row?;
            let due = key::due_at(&key).ok_or_else(|| bad_field(&key, "the time"))?;
            let id = timer_id(&key, decode_row(&key, value)?)?;
            Ok(DueTimer { due, id })
        })
        .collect()
}

/// A timer as it stands.
pub(crate) fn timer(rows: &dyn View, id: &TimerId) -> Result<Option<Timer>, ReadError> {
    let key = key::timer(id);
    let Some(value) = rows.get(&key)? else {
        return Ok(None);
    };
    let row: TimerRow = decode_row(&key, value)?;
    let found = row.id.ok_or_else(|| bad_field(&key, "the timer's name"))?;
    if timer_id(&key, found)? != *id {
        return Err(damaged(&key, &"it is another timer"));
    }
    convert(&key, row.timer, "the timer").map(Some)
}

/// The timer that a row names.
pub(crate) fn timer_id(key: &[u8], row: TimerIdRow) -> Result<TimerId, ReadError> {
    let entity = row.key.ok_or_else(|| bad_field(key, "the entity"))?;
    Ok(TimerId {
        key: entity.into(),
        name: convert(key, row.name, "the timer's name")?,
    })
}

/// Changes of a slot after `after`.
pub(crate) fn tail(
    rows: &dyn View,
    slot: Slot,
    after: SlotSequence,
    limit: usize,
) -> Result<Vec<Tailed>, ReadError> {
    let from = successor(key::change(slot, after));
    rows.scan(from, key::changes_end(slot))
        .filter_map(|row| {
            row.and_then(|(key, value)| tailed(rows, &key, value))
                .transpose()
        })
        .take(limit)
        .collect()
}

/// Ids of the living entities of a component after `after`, replicated ones among them.
pub(crate) fn list(
    rows: &dyn View,
    storage: &StorageName,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, ReadError> {
    let after = after.map(|id| EntityKey::new(storage.clone(), id));
    let prefix = key::entities(storage);
    let from = after
        .as_ref()
        .map(|after| successor(key::entity(Space::Entity, after)));
    let mut ids = listing(rows, (prefix, from), limit, listed)?;
    for node in replicas::nodes(rows)? {
        let range = replicas::range(node, storage, after.as_ref());
        ids.append(&mut listing(rows, range, limit, replicas::listed)?);
    }
    Ok(ids.into_values().take(limit).collect())
}

/// The first ids under a prefix, by what of their keys is behind it: the order of all listings.
fn listing(
    rows: &dyn View,
    (prefix, from): (Key, Option<Key>),
    limit: usize,
    listed: impl Fn(&[u8], Bytes) -> Result<Option<String>, ReadError>,
) -> Result<BTreeMap<Key, String>, ReadError> {
    rows.scan(
        from.unwrap_or_else(|| prefix.clone()),
        key::after_prefix(&prefix),
    )
    .filter_map(|row| {
        let id = row.and_then(|(key, value)| {
            let place = key[prefix.len()..].to_vec();
            Ok(listed(&key, value)?.map(|id| (place, id)))
        });
        id.transpose()
    })
    .take(limit)
    .collect()
}

/// Events of an entity with numbers above `after`.
pub(crate) fn events(
    rows: &dyn View,
    entity_key: &EntityKey,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, ReadError> {
    let row = entity_row(rows, entity_key)?;
    events_of(rows, entity_key, &row, after.max(row.trimmed), limit)
}

fn state(
    rows: &dyn View,
    entity_key: &EntityKey,
    row: &EntityRow,
) -> Result<Option<(Payload, Tags)>, ReadError> {
    if !row.has_state {
        return Ok(None);
    }
    let key = key::entity(Space::State, entity_key);
    let value = rows.get(&key)?.ok_or_else(|| missing(&key))?;
    let row: PayloadRow = decode_row(&key, value)?;
    let payload = convert(&key, row.payload, "the state")?;
    Ok(Some((payload, row.tags)))
}

fn snapshot(rows: &dyn View, entity_key: &EntityKey, sequence: u64) -> Result<Snapshot, ReadError> {
    let key = key::entity(Space::Snapshot, entity_key);
    let value = rows.get(&key)?.ok_or_else(|| missing(&key))?;
    let row: SnapshotRow = decode_row(&key, value)?;
    if row.sequence != sequence {
        return Err(bad_field(&key, "the number of its last event"));
    }
    Ok(Snapshot {
        sequence,
        payload: convert(&key, row.payload, "the snapshot")?,
    })
}

/// Events after `after`, at most `limit`; a gap before `last_event` is damage.
fn events_of(
    rows: &dyn View,
    entity_key: &EntityKey,
    row: &EntityRow,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, ReadError> {
    let count = row
        .last_event
        .saturating_sub(after)
        .min(u64::try_from(limit).unwrap_or(u64::MAX));
    if count == 0 {
        return Ok(Vec::new());
    }
    let first = after + 1;
    let from = key::event(entity_key, row.generation, first);
    let to = key::event(entity_key, row.generation, first.saturating_add(count));
    let mut events = Events::expect(first, count);
    rows.each(from, to, &mut |key, value| events.add(key, value))?;
    events
        .all()
        .map_err(|next| missing(&key::event(entity_key, row.generation, next)))
}

/// The change that a row is about; `None` if a newer one has taken its place.
fn tailed(rows: &dyn View, key: &[u8], value: Bytes) -> Result<Option<Tailed>, ReadError> {
    let row: ChangeRow = decode_row(key, value)?;
    let sequence = key::change_sequence(key).ok_or_else(|| bad_field(key, "the sequence"))?;
    let entity_key: EntityKey = row.key.ok_or_else(|| bad_field(key, "the entity"))?.into();
    let entity = entity_row(rows, &entity_key)?;
    let kind = row.kind.ok_or_else(|| bad_field(key, "the change"))?;
    let has_events = matches!(&kind, ChangeKind::Append(append)
        if append.count > 0 && append.first + append.count - 1 > entity.trimmed);
    let is_newest = entity.newest_change == Some(sequence.0);
    if entity.generation != row.generation || !(has_events || is_newest) {
        return Ok(None);
    }
    let change = match kind {
        ChangeKind::Set(_) => match state(rows, &entity_key, &entity)? {
            Some((payload, _)) => Change::Set(payload),
            None => return Err(damaged(key, &"the state that it set is missing")),
        },
        ChangeKind::Delete(delete) => Change::Delete {
            until: delete.until.map(Timestamp),
        },
        ChangeKind::Append(append) => appended(rows, &entity_key, &entity, append)?,
        ChangeKind::Clean(_) => Change::Clean,
    };
    Ok(Some(Tailed {
        sequence,
        key: entity_key,
        at: Timestamp(row.at),
        change,
    }))
}

fn appended(
    rows: &dyn View,
    entity_key: &EntityKey,
    entity: &EntityRow,
    append: AppendKind,
) -> Result<Change, ReadError> {
    let before = append.first.saturating_sub(1);
    let after = match append.count {
        0 => before,
        _ => before.max(entity.trimmed),
    };
    let count = append.count.saturating_sub(after - before);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let events = events_of(rows, entity_key, entity, after, count)?;
    Ok(Change::Append {
        first: after + 1,
        events: events.into_iter().map(|event| event.payload).collect(),
        snapshot: None,
        deleted_until: append.deleted_until.map(Timestamp),
    })
}

fn listed(key: &[u8], value: Bytes) -> Result<Option<String>, ReadError> {
    let row: EntityRow = decode_row(key, value)?;
    if !row.is_alive() {
        return Ok(None);
    }
    if let Some(full) = row.full_key {
        return Ok(Some(full.id));
    }
    key::entity_id(key)
        .and_then(|id| String::from_utf8(id.to_vec()).ok())
        .map(Some)
        .ok_or_else(|| bad_field(key, "the id"))
}

/// Converts a field that its writer always sets.
pub(crate) fn convert<Part, T>(
    key: &[u8],
    part: Option<Part>,
    name: &'static str,
) -> Result<T, ReadError>
where
    T: TryFrom<Part, Error = Fault>,
{
    let part = part.ok_or_else(|| bad_field(key, name))?;
    part.try_into().map_err(|fault| damaged(key, &fault))
}

fn missing(key: &[u8]) -> ReadError {
    damaged(key, &"the row is missing")
}
