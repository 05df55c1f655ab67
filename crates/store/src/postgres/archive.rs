//! Showing everything that the database holds, as it is at one moment.
//!
//! A dump has a [`Moment`] of its own, and goes through the tables one after the other.

use std::num::NonZeroU32;

use firn_model::id::{EffectId, EntityKey, Epoch, Incarnation, NodeId, Replica, SlotSequence};
use futures_util::future::BoxFuture;
use tokio_postgres::Row as Found;

use super::Inner;
use super::batch::{CLEAN, DELETE, MARK};
use super::moment::Moment;
use super::names;
use super::read::{column, key_of, unreadable};
use super::replicas::node_of;
use super::value::{self, Place, Values, damaged};
use super::writer::slot_of;
use crate::ReadError;
use crate::archive::{self, ChangeKind, EntityFacts, Row};
use crate::commit::Head;
use crate::encoding::parts::{ReplyRecordPart, TimerPart};
use crate::entity::{Event, Snapshot};

/// The tables in the order of a dump: entities come before what belongs to them.
const STAGES: &[Stage] = &[
    Stage {
        sql: "SELECT slot, epoch, last_seq FROM firn_slots WHERE epoch > 0 OR last_seq > 0 ORDER BY slot",
        row: heads,
    },
    Stage {
        sql: "\
SELECT e.storage, e.id, e.full_key, e.has_state, e.deleted_until, e.changed_seq, s.event,
  coalesce((SELECT v.number FROM firn_events v WHERE v.storage = e.storage AND v.id = e.id
    AND v.generation = e.generation ORDER BY v.number DESC LIMIT 1), s.event, 0),
  coalesce((SELECT v.number FROM firn_events v WHERE v.storage = e.storage AND v.id = e.id
    AND v.generation = e.generation ORDER BY v.number LIMIT 1) - 1, s.event, 0)
FROM firn_entities e LEFT JOIN firn_states s ON s.storage = e.storage AND s.id = e.id
  AND s.kind = 'snapshot' AND s.generation = e.generation
ORDER BY e.storage, e.id",
        row: entities,
    },
    Stage {
        sql: "\
SELECT s.storage, s.id, e.full_key, s.kind, s.event, s.type, s.value, s.tags
FROM firn_states s JOIN firn_entities e ON e.storage = s.storage AND e.id = s.id
WHERE s.kind = 'state' OR s.generation = e.generation ORDER BY s.storage, s.id, s.kind",
        row: states,
    },
    Stage {
        sql: "\
SELECT v.storage, v.id, e.full_key, v.number, v.at, v.type, v.value, v.seq
FROM firn_events v JOIN firn_entities e ON e.storage = v.storage AND e.id = v.id
  AND e.generation = v.generation ORDER BY v.storage, v.id, v.number",
        row: events,
    },
    Stage {
        sql: "\
SELECT v.storage, v.id, e.full_key, v.seq, min(v.at), 'event', min(v.number), count(*),
  max(v.deleted_until)
FROM firn_events v JOIN firn_entities e ON e.storage = v.storage AND e.id = v.id
  AND e.generation = v.generation
GROUP BY v.storage, v.id, e.full_key, v.seq ORDER BY v.storage, v.id, v.seq",
        row: changes,
    },
    Stage {
        sql: "\
SELECT e.storage, e.id, e.full_key, e.changed_seq, e.changed_at, e.change,
  coalesce((SELECT v.number FROM firn_events v WHERE v.storage = e.storage AND v.id = e.id
    AND v.generation = e.generation AND v.seq < e.changed_seq ORDER BY v.number DESC LIMIT 1), 0) + 1,
  0::int8, e.changed_until
FROM firn_entities e WHERE e.changed_seq IS NOT NULL ORDER BY e.storage, e.id",
        row: changes,
    },
    Stage {
        sql: "\
SELECT r.storage, r.id, e.full_key, r.command, r.record
FROM firn_replies r LEFT JOIN firn_entities e ON e.storage = r.storage AND e.id = r.id
WHERE r.life = coalesce(e.life, 0) ORDER BY r.storage, r.id, r.command",
        row: replies,
    },
    Stage {
        sql: "SELECT slot, seq, place, effect FROM firn_outbox ORDER BY slot, seq, place",
        row: |values, row| Ok(Row::Outbox(super::read::pending(values, row)?)),
    },
    Stage {
        sql: "SELECT slot, sender, seq, place FROM firn_receipts ORDER BY slot, sender, seq, place",
        row: receipts,
    },
    Stage {
        sql: "SELECT storage, id, name, full_id, timer FROM firn_timers ORDER BY storage, id, name",
        row: timers,
    },
    Stage {
        sql: "\
SELECT storage, id, full_key, node, at, state, deleted FROM firn_replicas
ORDER BY node, storage, id",
        row: replicas,
    },
    Stage {
        sql: "SELECT node, incarnation, coalesce(full_name, name) FROM firn_nodes ORDER BY name",
        row: nodes,
    },
];

/// What is read of a table, and what each of its rows is.
struct Stage {
    sql: &'static str,
    row: fn(&Values, &Found) -> Result<Row, ReadError>,
}

/// A dump under way.
struct Dump {
    moment: Moment,
    values: Values,
    /// The stage that is being read, and those after it.
    stages: &'static [Stage],
}

impl Inner {
    pub(super) async fn dump(&self) -> Result<Dumped, ReadError> {
        Ok(Dumped(Dump {
            moment: Moment::of(&self.url).await?,
            values: self.values.clone(),
            stages: STAGES,
        }))
    }
}

/// A dump that is polled within the store's runtime.
pub(super) struct Dumped(Dump);

impl Dumped {
    pub(super) fn within(self, runtime: tokio::runtime::Handle) -> Box<dyn archive::Dump> {
        Box::new(Bound {
            dump: self.0,
            runtime,
        })
    }
}

struct Bound {
    dump: Dump,
    runtime: tokio::runtime::Handle,
}

impl archive::Dump for Bound {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Row>, ReadError>> {
        super::within(self.runtime.clone(), self.dump.next())
    }
}

impl Dump {
    async fn next(&mut self) -> Result<Vec<Row>, ReadError> {
        while let Some(stage) = self.stages.first() {
            let rows = self.moment.rows(stage.sql).await?;
            if !rows.is_empty() {
                return rows
                    .iter()
                    .map(|row| (stage.row)(&self.values, row))
                    .collect();
            }
            self.stages = &self.stages[1..];
        }
        Ok(Vec::new())
    }
}

fn heads(_: &Values, row: &Found) -> Result<Row, ReadError> {
    Ok(Row::Head {
        slot: slot_of(column(row, 0)?).ok_or_else(|| unreadable("a slot"))?,
        head: Head {
            epoch: Epoch(value::number(column(row, 1)?)),
            sequence: SlotSequence(value::number(column(row, 2)?)),
        },
    })
}

fn entities(_: &Values, row: &Found) -> Result<Row, ReadError> {
    let (until, changed): (Option<i64>, Option<i64>) = (column(row, 4)?, column(row, 5)?);
    let snapshot: Option<i64> = column(row, 6)?;
    Ok(Row::Entity {
        key: key_of(row, [0, 1, 2])?,
        facts: EntityFacts {
            last_event: value::number(column(row, 7)?),
            trimmed: value::number(column(row, 8)?),
            has_state: column(row, 3)?,
            snapshot: snapshot.map(value::number),
            deleted_until: until.map(value::timestamp),
            newest_change: changed.map(|changed| SlotSequence(value::number(changed))),
        },
    })
}

fn states(values: &Values, row: &Found) -> Result<Row, ReadError> {
    let key = key_of(row, [0, 1, 2])?;
    let (kind, type_url): (&str, &str) = (column(row, 3)?, column(row, 5)?);
    if kind == "state" {
        let place = Place::State(&key);
        let payload = values.payload(place, type_url, column(row, 6)?)?;
        let tags = value::tags_of(column(row, 7)?);
        let tags = tags.ok_or_else(|| damaged(place, &"its tags"))?;
        return Ok(Row::State { key, payload, tags });
    }
    let payload = values.payload(Place::Snapshot(&key), type_url, column(row, 6)?)?;
    let sequence = value::number(column(row, 4)?);
    Ok(Row::Snapshot {
        key,
        snapshot: Snapshot { sequence, payload },
    })
}

fn events(values: &Values, row: &Found) -> Result<Row, ReadError> {
    let key = key_of(row, [0, 1, 2])?;
    let sequence = value::number(column(row, 3)?);
    let place = Place::Event(&key, sequence);
    let payload = values.payload(place, column(row, 5)?, column(row, 6)?)?;
    Ok(Row::Event {
        event: Event {
            sequence,
            at: value::timestamp(column(row, 4)?),
            payload,
        },
        key,
        slot_sequence: SlotSequence(value::number(column(row, 7)?)),
    })
}

fn changes(_: &Values, row: &Found) -> Result<Row, ReadError> {
    let until: Option<i64> = column(row, 8)?;
    let until = until.map(value::timestamp);
    let kind = match column(row, 5)? {
        "event" | MARK => ChangeKind::Append {
            first: value::number(column(row, 6)?),
            count: value::number(column(row, 7)?),
            deleted_until: until,
        },
        DELETE => ChangeKind::Delete { until },
        CLEAN => ChangeKind::Clean,
        _ => ChangeKind::Set,
    };
    Ok(Row::Change {
        key: key_of(row, [0, 1, 2])?,
        slot_sequence: SlotSequence(value::number(column(row, 3)?)),
        at: value::timestamp(column(row, 4)?),
        kind,
    })
}

fn replies(values: &Values, row: &Found) -> Result<Row, ReadError> {
    let key = key_of(row, [0, 1, 2])?;
    let place = Place::Reply(&key, column(row, 3)?);
    let record = values.message::<ReplyRecordPart, _>(place, column(row, 4)?)?;
    Ok(Row::Reply { key, record })
}

pub(super) fn receipts(_: &Values, row: &Found) -> Result<Row, ReadError> {
    let slot = |index: usize| slot_of(column(row, index)?).ok_or_else(|| unreadable("a slot"));
    let index: i64 = column(row, 3)?;
    Ok(Row::Receipt {
        receiver: slot(0)?,
        effect: EffectId {
            slot: slot(1)?,
            sequence: SlotSequence(value::number(column(row, 2)?)),
            index: u32::try_from(index).map_err(|_| unreadable("a receipt"))?,
        },
    })
}

fn timers(values: &Values, row: &Found) -> Result<Row, ReadError> {
    let name: &str = column(row, 2)?;
    let id = names::timer_id(column(row, 0)?, column(row, 1)?, name, column(row, 3)?);
    let id = id.ok_or_else(|| unreadable("a timer"))?;
    let place = Place::Timer(&id.key, name);
    let timer = values.message::<TimerPart, _>(place, column(row, 4)?)?;
    Ok(Row::Timer { id, timer })
}

fn replicas(values: &Values, row: &Found) -> Result<Row, ReadError> {
    let key: EntityKey = key_of(row, [0, 1, 2])?;
    let node: NodeId = node_of(column(row, 3)?)?;
    let state = values.bytes(Place::Replica(node, &key), column(row, 5)?)?;
    Ok(Row::Replica {
        node,
        key,
        at: value::timestamp(column(row, 4)?),
        state,
        deleted: column(row, 6)?,
    })
}

fn nodes(_: &Values, row: &Found) -> Result<Row, ReadError> {
    let incarnation: i64 = column(row, 1)?;
    let incarnation = u32::try_from(incarnation).ok().and_then(NonZeroU32::new);
    Ok(Row::Node {
        name: names::original(column(row, 2)?).ok_or_else(|| unreadable("a node"))?,
        replica: Replica {
            node: node_of(column(row, 0)?)?,
            incarnation: Incarnation(incarnation.ok_or_else(|| unreadable("a node"))?),
        },
    })
}
