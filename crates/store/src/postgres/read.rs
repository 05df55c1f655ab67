//! What is asked of a store, each as one statement: so each sees one state of the tables.

use std::collections::BTreeMap;

use bytes::Bytes;
use firn_model::id::{EffectId, EntityKey, NodeId, Slot, SlotSequence, StorageName};
use firn_model::policy::Replay;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::Inner;
use super::batch::{CLEAN, DELETE, MARK, OutboxMessage, SET};
use super::names::{self, EntityName};
use super::value::{self, Place, Values, damaged};
use super::writer::slot_of;
use crate::commit::{Change, ReplyRecord};
use crate::encoding::Fault;
use crate::encoding::parts::{ReplyRecordPart, TimerPart, required};
use crate::entity::{Entity, Event, Snapshot, Timestamp};
use crate::timer::{DueTimer, Timer, TimerId};
use crate::{Pending, ReadError, Tailed, Tombstone};

const LOAD: (&str, &str) = (
    "load",
    "\
WITH e AS (SELECT * FROM firn_entities WHERE storage = $1 AND id = $2),
s AS (SELECT s.* FROM e JOIN firn_states s ON s.storage = e.storage AND s.id = e.id
  WHERE s.kind = 'state' OR (s.generation = e.generation AND (NOT $3
    OR (SELECT x.number FROM firn_events x WHERE x.storage = e.storage AND x.id = e.id
      AND x.generation = e.generation ORDER BY x.number LIMIT 1) > 1)))
SELECT 'entity', changed_at, CASE WHEN has_events THEN (SELECT x.at FROM firn_events x
    WHERE x.storage = e.storage AND x.id = e.id AND x.generation = e.generation
    ORDER BY x.number DESC LIMIT 1) END, NULL::text, NULL::bytea, NULL::text, deleted_until FROM e
UNION ALL SELECT kind, event, NULL, type, value, tags, NULL FROM s
UNION ALL SELECT 'event', v.number, v.at, v.type, v.value, NULL, NULL
  FROM e JOIN LATERAL (SELECT * FROM firn_events x
    WHERE x.storage = e.storage AND x.id = e.id AND x.generation = e.generation
      AND x.number > coalesce((SELECT event FROM s WHERE kind = 'snapshot'), 0)) v ON true",
);

const EVENTS: (&str, &str) = (
    "events",
    "\
SELECT v.number, v.at, v.type, v.value
FROM (SELECT generation FROM firn_entities WHERE storage = $1 AND id = $2) e
JOIN LATERAL (SELECT * FROM firn_events x WHERE x.storage = $1 AND x.id = $2
  AND x.generation = e.generation AND x.number > $3 ORDER BY x.number LIMIT $4) v ON true",
);

const REPLY: (&str, &str) = (
    "reply",
    "\
SELECT record FROM firn_replies WHERE storage = $1 AND id = $2 AND command = $3
  AND life = coalesce((SELECT life FROM firn_entities WHERE storage = $1 AND id = $2), 0)
  AND expires > $4",
);

const RECEIPT: (&str, &str) = (
    "receipt",
    "SELECT 1 FROM firn_receipts WHERE slot = $1 AND sender = $2 AND seq = $3 AND place = $4",
);

const OUTBOX: (&str, &str) = (
    "outbox",
    "\
SELECT slot, seq, place, effect FROM firn_outbox
WHERE (slot, seq, place) > ($1::int4, $2::int8, $3::int8) ORDER BY slot, seq, place LIMIT $4",
);

const TOMBSTONES: (&str, &str) = (
    "tombstones",
    "\
SELECT deleted_until, storage, id, full_key FROM firn_entities
WHERE deleted_until IS NOT NULL AND deleted_until <= $1
  AND (deleted_until, storage, id) > ($2::int8, $3::text, $4::text)
ORDER BY deleted_until, storage, id LIMIT $5",
);

const DUE: (&str, &str) = (
    "due",
    "\
SELECT due, storage, id, name, full_id FROM firn_timers
WHERE due <= $1 AND (due, storage, id, name) > ($2::int8, $3::text, $4::text, $5::text)
ORDER BY due, storage, id, name LIMIT $6",
);

const TIMER: (&str, &str) = (
    "timer",
    "SELECT timer FROM firn_timers WHERE storage = $1 AND id = $2 AND name = $3",
);

const TAIL: (&str, &str) = (
    "tail",
    "\
WITH seqs AS (SELECT seq FROM (
    (SELECT DISTINCT v.seq FROM firn_events v JOIN LATERAL (SELECT generation FROM firn_entities x
        WHERE x.storage = v.storage AND x.id = v.id LIMIT 1) e ON e.generation = v.generation
      WHERE v.slot = $1 AND v.seq > $2 ORDER BY v.seq LIMIT $3)
    UNION
    (SELECT changed_seq FROM firn_entities
      WHERE slot = $1 AND changed_seq > $2 ORDER BY changed_seq LIMIT $3)) q
  ORDER BY seq LIMIT $3)
SELECT v.seq, v.storage, v.id, e.full_key, v.at, 'event', v.number, v.type, v.value,
  v.deleted_until
FROM firn_events v JOIN LATERAL (SELECT generation, full_key FROM firn_entities x
    WHERE x.storage = v.storage AND x.id = v.id LIMIT 1) e ON e.generation = v.generation
WHERE v.slot = $1 AND v.seq IN (SELECT seq FROM seqs)
UNION ALL
SELECT e.changed_seq, e.storage, e.id, e.full_key, e.changed_at, e.change,
  CASE WHEN e.change = 'mark' THEN 1 + coalesce((SELECT v.number FROM firn_events v
    WHERE v.storage = e.storage AND v.id = e.id AND v.generation = e.generation
      AND v.seq < e.changed_seq ORDER BY v.number DESC LIMIT 1), 0) END, s.type, s.value,
  e.changed_until
FROM firn_entities e LEFT JOIN firn_states s
  ON s.storage = e.storage AND s.id = e.id AND s.kind = 'state' AND e.change = 'set'
WHERE e.slot = $1 AND e.changed_seq IN (SELECT seq FROM seqs)",
);

const LIST: (&str, &str) = (
    "list",
    "\
SELECT id, full_key FROM (
  (SELECT id, full_key FROM firn_entities WHERE storage = $1 AND id > $2
    AND (has_state OR has_events) AND deleted_until IS NULL ORDER BY id LIMIT $3)
  UNION
  (SELECT DISTINCT id, full_key FROM firn_replicas WHERE storage = $1 AND id > $2 AND NOT deleted
    ORDER BY id LIMIT $3)) q
ORDER BY id LIMIT $3",
);

const LIST_FIRST: (&str, &str) = (
    "list first",
    "\
SELECT id, full_key FROM (
  (SELECT id, full_key FROM firn_entities WHERE storage = $1
    AND (has_state OR has_events) AND deleted_until IS NULL ORDER BY id LIMIT $2)
  UNION
  (SELECT DISTINCT id, full_key FROM firn_replicas WHERE storage = $1 AND NOT deleted
    ORDER BY id LIMIT $2)) q
ORDER BY id LIMIT $2",
);

const REPLICA: (&str, &str) = (
    "replica",
    "SELECT state FROM firn_replicas WHERE node = $1 AND storage = $2 AND id = $3",
);

const REPLICAS: (&str, &str) = (
    "replicas",
    "\
SELECT storage, id, full_key FROM firn_replicas WHERE node = $1
  AND ($2::bool OR (storage, id) > ($3::text, $4::text)) ORDER BY storage, id LIMIT $5",
);

/// A column of a row that a statement above gave.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, ReadError> {
    row.try_get(index).map_err(|error| ReadError::Damaged {
        place: "the answer of the database".to_owned(),
        fault: super::url::told(&error),
    })
}

pub(super) fn unreadable(what: &str) -> ReadError {
    ReadError::Damaged {
        place: what.to_owned(),
        fault: Fault::Field("a name").to_string(),
    }
}

/// A limit as statements take it.
fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Inner {
    pub(super) async fn load(&self, key: &EntityKey, replay: Replay) -> Result<Entity, ReadError> {
        let name = EntityName::from(key);
        let all = replay == Replay::AllEvents;
        let rows = self.rows(LOAD, &[&name.storage, &name.id, &all]).await?;
        let mut entity = Entity::default();
        for row in &rows {
            match column(row, 0)? {
                "state" => {
                    let place = Place::State(key);
                    entity.state = Some(self.payload(place, row, 3)?);
                    let tags = value::tags_of(column(row, 5)?);
                    entity.tags = tags.ok_or_else(|| damaged(place, &"its tags"))?;
                }
                "snapshot" => {
                    entity.snapshot = Some(Snapshot {
                        sequence: value::number(column(row, 1)?),
                        payload: self.payload(Place::Snapshot(key), row, 3)?,
                    });
                }
                "event" => entity.events.push(self.event(key, row, [1, 2, 3])?),
                _ => {
                    let until: Option<i64> = column(row, 6)?;
                    entity.deleted_until = until.map(value::timestamp);
                    let (change, event): (Option<i64>, Option<i64>) =
                        (column(row, 1)?, column(row, 2)?);
                    entity.changed_at = change.max(event).map(value::timestamp);
                }
            }
        }
        entity.events.sort_unstable_by_key(|event| event.sequence);
        let snapshot = entity.snapshot.as_ref().map_or(0, |it| it.sequence);
        whole(key, snapshot, &entity.events)?;
        entity.last_event = entity.events.last().map_or(snapshot, |last| last.sequence);
        Ok(entity)
    }

    pub(super) async fn events(
        &self,
        key: &EntityKey,
        after: u64,
        most: usize,
    ) -> Result<Vec<Event>, ReadError> {
        let name = EntityName::from(key);
        let (from, most) = (value::count(after), limit(most));
        let rows = self
            .rows(EVENTS, &[&name.storage, &name.id, &from, &most])
            .await?;
        let events = rows.iter().map(|row| self.event(key, row, [0, 1, 2]));
        let mut events: Vec<Event> = events.collect::<Result<_, _>>()?;
        events.sort_unstable_by_key(|event| event.sequence);
        if let Some(first) = events.first() {
            // Those before the first may have been trimmed.
            whole(key, first.sequence - 1, &events)?;
        }
        Ok(events)
    }

    pub(super) async fn reply_record(
        &self,
        key: &EntityKey,
        method: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ReplyRecord>, ReadError> {
        let name = EntityName::from(key);
        let command = names::command(method, idempotency_key);
        let (bytes, now) = (command.as_ref(), value::time(now));
        let rows = self
            .rows(REPLY, &[&name.storage, &name.id, &bytes, &now])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let place = Place::Reply(key, &command);
        let record = self
            .values
            .message::<ReplyRecordPart, _>(place, column(row, 0)?)?;
        Ok(Some(record))
    }

    pub(super) async fn was_received(
        &self,
        slot: Slot,
        effect: EffectId,
    ) -> Result<bool, ReadError> {
        let (slot, sender) = (i32::from(slot.number()), i32::from(effect.slot.number()));
        let (seq, place) = (value::count(effect.sequence.0), i64::from(effect.index));
        let rows = self.rows(RECEIPT, &[&slot, &sender, &seq, &place]).await?;
        Ok(!rows.is_empty())
    }

    pub(super) async fn outbox(
        &self,
        after: Option<EffectId>,
        most: usize,
    ) -> Result<Vec<Pending>, ReadError> {
        let (slot, seq, place) = after.map_or((-1, -1, -1), |after| {
            let sequence = value::count(after.sequence.0);
            (
                i32::from(after.slot.number()),
                sequence,
                i64::from(after.index),
            )
        });
        let rows = self
            .rows(OUTBOX, &[&slot, &seq, &place, &limit(most)])
            .await?;
        rows.iter().map(|row| pending(&self.values, row)).collect()
    }

    pub(super) async fn tombstones(
        &self,
        now: Timestamp,
        after: Option<&Tombstone>,
        most: usize,
    ) -> Result<Vec<Tombstone>, ReadError> {
        let name = after.map(|after| EntityName::from(&after.key));
        let (storage, id) = name.map_or_else(Default::default, |name| (name.storage, name.id));
        let from = after.map_or(-1, |after| value::time(after.until));
        let now = value::time(now);
        let parameters = [
            &now as _,
            &from as _,
            &storage as _,
            &id as _,
            &limit(most) as _,
        ];
        let rows = self.rows(TOMBSTONES, &parameters).await?;
        rows.iter()
            .map(|row| {
                Ok(Tombstone {
                    until: value::timestamp(column(row, 0)?),
                    key: key_of(row, [1, 2, 3])?,
                })
            })
            .collect()
    }

    pub(super) async fn due_timers(
        &self,
        until: Timestamp,
        after: Option<&DueTimer>,
        most: usize,
    ) -> Result<Vec<DueTimer>, ReadError> {
        let name = after.map(|after| EntityName::from(&after.id.key));
        let (storage, id) = name.map_or_else(Default::default, |name| (name.storage, name.id));
        let timer = after.map_or_else(String::new, |after| names::timer(&after.id.name));
        let from = after.map_or(-1, |after| value::time(after.due));
        let until = value::time(until);
        let parameters = [
            &until as _,
            &from as _,
            &storage as _,
            &id as _,
            &timer as _,
            &limit(most) as _,
        ];
        let rows = self.rows(DUE, &parameters).await?;
        rows.iter()
            .map(|row| {
                let (storage, id, name) = (column(row, 1)?, column(row, 2)?, column(row, 3)?);
                let told = names::timer_id(storage, id, name, column(row, 4)?);
                Ok(DueTimer {
                    due: value::timestamp(column(row, 0)?),
                    id: told.ok_or_else(|| unreadable("a timer"))?,
                })
            })
            .collect()
    }

    pub(super) async fn timer(&self, id: &TimerId) -> Result<Option<Timer>, ReadError> {
        let entity = EntityName::from(&id.key);
        let name = names::timer(&id.name);
        let rows = self
            .rows(TIMER, &[&entity.storage, &entity.id, &name])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let place = Place::Timer(&id.key, &name);
        let timer = self
            .values
            .message::<TimerPart, _>(place, column(row, 0)?)?;
        Ok(Some(timer))
    }

    pub(super) async fn tail(
        &self,
        slot: Slot,
        after: SlotSequence,
        most: usize,
    ) -> Result<Vec<Tailed>, ReadError> {
        let (slot, from) = (i32::from(slot.number()), value::count(after.0));
        let rows = self.rows(TAIL, &[&slot, &from, &limit(most)]).await?;
        let mut changes: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
        for row in &rows {
            let sequence = value::number(column(row, 0)?);
            changes.entry(sequence).or_default().push(row);
        }
        let changes = changes.into_iter();
        changes
            .map(|(sequence, rows)| self.tailed(SlotSequence(sequence), &rows))
            .collect()
    }

    /// The change that some rows are about: one row, or one for each of its events.
    fn tailed(&self, sequence: SlotSequence, rows: &[&Row]) -> Result<Tailed, ReadError> {
        let first = rows.first().ok_or_else(|| unreadable("a change"))?;
        let key = key_of(first, [1, 2, 3])?;
        let until: Option<i64> = column(first, 9)?;
        let until = until.map(value::timestamp);
        let change = match column(first, 5)? {
            SET => Change::Set(self.payload(Place::State(&key), first, 7)?),
            DELETE => Change::Delete { until },
            CLEAN => Change::Clean,
            MARK => Change::Append {
                first: value::number(column(first, 6)?),
                events: Vec::new(),
                snapshot: None,
                deleted_until: until,
            },
            _ => self.appended(&key, rows)?,
        };
        Ok(Tailed {
            sequence,
            at: value::timestamp(column(first, 4)?),
            key,
            change,
        })
    }

    fn appended(&self, key: &EntityKey, rows: &[&Row]) -> Result<Change, ReadError> {
        let mut events = BTreeMap::new();
        let mut deleted_until = None;
        for row in rows {
            let number = value::number(column(row, 6)?);
            let until: Option<i64> = column(row, 9)?;
            deleted_until = deleted_until.max(until);
            events.insert(number, self.payload(Place::Event(key, number), row, 7)?);
        }
        Ok(Change::Append {
            first: events.keys().next().copied().unwrap_or_default(),
            events: events.into_values().collect(),
            snapshot: None,
            deleted_until: deleted_until.map(value::timestamp),
        })
    }

    pub(super) async fn list(
        &self,
        storage: &StorageName,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<String>, ReadError> {
        let (storage, most) = (names::storage(storage), limit(most));
        let rows = match after.map(names::id) {
            Some(after) => self.rows(LIST, &[&storage, &after, &most]).await?,
            None => self.rows(LIST_FIRST, &[&storage, &most]).await?,
        };
        rows.iter()
            .map(|row| {
                let key = names::key("", column(row, 0)?, column(row, 1)?);
                let key = key.ok_or_else(|| unreadable("an id"))?;
                Ok(key.id.as_ref().to_owned())
            })
            .collect()
    }

    pub(super) async fn load_replica(
        &self,
        node: NodeId,
        key: &EntityKey,
    ) -> Result<Option<Bytes>, ReadError> {
        let name = EntityName::from(key);
        let parameters = [&node.to_string() as _, &name.storage as _, &name.id as _];
        let rows = self.rows(REPLICA, &parameters).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let state = self
            .values
            .bytes(Place::Replica(node, key), column(row, 0)?)?;
        Ok(Some(state))
    }

    pub(super) async fn list_replicas(
        &self,
        node: NodeId,
        after: Option<&EntityKey>,
        most: usize,
    ) -> Result<Vec<EntityKey>, ReadError> {
        let name = after.map(EntityName::from);
        let all = name.is_none();
        let (storage, id) = name.map_or_else(Default::default, |name| (name.storage, name.id));
        let node = node.to_string();
        let parameters = [
            &node as _,
            &all as _,
            &storage as _,
            &id as _,
            &limit(most) as _,
        ];
        let rows = self.rows(REPLICAS, &parameters).await?;
        rows.iter().map(|row| key_of(row, [0, 1, 2])).collect()
    }

    fn payload(
        &self,
        place: Place<'_>,
        row: &Row,
        first: usize,
    ) -> Result<firn_model::payload::Payload, ReadError> {
        let (type_url, bytes): (Option<&str>, Option<&[u8]>) =
            (column(row, first)?, column(row, first + 1)?);
        match (type_url, bytes) {
            (Some(type_url), Some(bytes)) => self.values.payload(place, type_url, bytes),
            _ => Err(damaged(place, &"the row is missing")),
        }
    }

    /// An event from its number, its time, and its type and value in the places given.
    fn event(&self, key: &EntityKey, row: &Row, places: [usize; 3]) -> Result<Event, ReadError> {
        let sequence = value::number(column(row, places[0])?);
        Ok(Event {
            sequence,
            at: value::timestamp(column(row, places[1])?),
            payload: self.payload(Place::Event(key, sequence), row, places[2])?,
        })
    }
}

/// An effect from its identity and its contents.
pub(super) fn pending(values: &Values, row: &Row) -> Result<Pending, ReadError> {
    let id = effect_id(column(row, 0)?, column(row, 1)?, column(row, 2)?)?;
    let place = Place::Effect(id);
    let message = values.message::<OutboxMessage, OutboxMessage>(place, column(row, 3)?)?;
    let sender = message
        .sender
        .ok_or_else(|| damaged(place, &"its sender"))?;
    Ok(Pending {
        id,
        sender: sender.into(),
        effect: required(message.effect, "the effect")
            .map_err(|fault: Fault| damaged(place, &fault))?,
        hops: message.hops,
    })
}

/// An effect's identity from its columns.
pub(super) fn effect_id(slot: i32, sequence: i64, index: i64) -> Result<EffectId, ReadError> {
    Ok(EffectId {
        slot: slot_of(slot).ok_or_else(|| unreadable("the outbox"))?,
        sequence: SlotSequence(value::number(sequence)),
        index: u32::try_from(index).map_err(|_| unreadable("the outbox"))?,
    })
}

/// Whether events follow one another without a gap; a gap is damage.
fn whole(key: &EntityKey, after: u64, events: &[Event]) -> Result<(), ReadError> {
    for (expected, event) in (after + 1..).zip(events) {
        if event.sequence != expected {
            return Err(damaged(Place::Event(key, expected), &"the row is missing"));
        }
    }
    Ok(())
}

/// An entity from its names and the whole key beside them.
pub(super) fn key_of(row: &Row, places: [usize; 3]) -> Result<EntityKey, ReadError> {
    let (storage, id) = (column(row, places[0])?, column(row, places[1])?);
    names::key(storage, id, column(row, places[2])?).ok_or_else(|| unreadable("an entity"))
}
