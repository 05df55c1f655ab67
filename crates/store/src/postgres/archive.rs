//! Showing everything that the database holds, as it is at one moment.
//!
//! A dump has a [`Moment`] of its own, and goes through the tables one after the other, in the order
//! of their keys: what belongs to entities is put beside them as it comes, and nothing is sorted or
//! looked up. The changes that events are of are put together here, as their events go by.

use std::num::NonZeroU32;

use firn_model::id::{EffectId, EntityKey, Epoch, Incarnation, NodeId, Replica, SlotSequence};
use futures_util::future::BoxFuture;
use tokio_postgres::Row as Found;

use super::Inner;
use super::batch::{CLEAN, DELETE, MARK};
use super::moment::Moment;
use super::names::{self, EntityName};
use super::read::{column, key_of, unreadable};
use super::replicas::node_of;
use super::value::{self, Place, Values, damaged};
use super::writer::slot_of;
use crate::ReadError;
use crate::archive::{self, ChangeKind, EntityFacts, Row};
use crate::commit::Head;
use crate::encoding::parts::{ReplyRecordPart, TimerPart};
use crate::entity::{Event, Snapshot, Timestamp};

/// The tables in the order of a dump: entities come before what belongs to them.
const STAGES: &[Stage] = &[
    Stage {
        sql: "SELECT slot, epoch, last_seq FROM firn_slots WHERE epoch > 0 OR last_seq > 0 ORDER BY slot",
        rows: Rows::Each(heads),
    },
    Stage {
        sql: "\
SELECT e.storage, e.id, e.full_key, e.has_state, e.deleted_until, e.changed_seq, s.event,
  coalesce(v.last, s.event, 0), coalesce(v.first - 1, s.event, 0)
FROM firn_entities e LEFT JOIN firn_states s ON s.storage = e.storage AND s.id = e.id
  AND s.kind = 'snapshot' AND s.generation = e.generation
LEFT JOIN (SELECT storage, id, generation, min(number) AS first, max(number) AS last
  FROM firn_events GROUP BY storage, id, generation) v
  ON v.storage = e.storage AND v.id = e.id AND v.generation = e.generation
ORDER BY e.storage, e.id",
        rows: Rows::Each(entities),
    },
    Stage {
        sql: "\
SELECT s.storage, s.id, e.full_key, s.kind, s.event, s.type, s.value, s.tags
FROM firn_states s JOIN firn_entities e ON e.storage = s.storage AND e.id = s.id
WHERE s.kind = 'state' OR s.generation = e.generation ORDER BY s.storage, s.id, s.kind",
        rows: Rows::Each(states),
    },
    Stage {
        sql: "\
SELECT v.storage, v.id, e.full_key, v.number, v.at, v.type, v.value, v.seq, v.deleted_until
FROM firn_events v JOIN firn_entities e ON e.storage = v.storage AND e.id = v.id
  AND e.generation = v.generation ORDER BY v.storage, v.id, v.generation, v.number",
        rows: Rows::Events,
    },
    Stage {
        sql: "\
SELECT e.storage, e.id, e.full_key, e.changed_seq, e.changed_at, e.change,
  CASE e.change WHEN 'mark' THEN coalesce((SELECT v.number FROM firn_events v
    WHERE v.storage = e.storage AND v.id = e.id AND v.generation = e.generation
      AND v.seq < e.changed_seq ORDER BY v.number DESC LIMIT 1), 0) + 1 ELSE 0 END,
  0::int8, e.changed_until
FROM firn_entities e WHERE e.changed_seq IS NOT NULL ORDER BY e.storage, e.id",
        rows: Rows::Each(changes),
    },
    Stage {
        sql: "\
SELECT r.storage, r.id, e.full_key, r.command, r.record
FROM firn_replies r LEFT JOIN firn_entities e ON e.storage = r.storage AND e.id = r.id
WHERE r.life = coalesce(e.life, 0) ORDER BY r.storage, r.id, r.command",
        rows: Rows::Each(replies),
    },
    Stage {
        sql: "SELECT slot, seq, place, effect FROM firn_outbox ORDER BY slot, seq, place",
        rows: Rows::Each(|values, row| Ok(Row::Outbox(super::read::pending(values, row)?))),
    },
    Stage {
        sql: "SELECT slot, sender, seq, place FROM firn_receipts ORDER BY slot, sender, seq, place",
        rows: Rows::Each(receipts),
    },
    Stage {
        sql: "SELECT storage, id, name, full_id, timer FROM firn_timers ORDER BY storage, id, name",
        rows: Rows::Each(timers),
    },
    Stage {
        sql: "\
SELECT storage, id, full_key, node, at, state, deleted FROM firn_replicas
ORDER BY node, storage, id",
        rows: Rows::Each(replicas),
    },
    Stage {
        sql: "SELECT node, incarnation, coalesce(full_name, name) FROM firn_nodes ORDER BY name",
        rows: Rows::Each(nodes),
    },
];

/// How they are read: tables are gone through side by side in the order of their keys, so that there
/// is nothing to be looked up for a row. A server that knows none of these settings does as it likes.
const PLAN: &str = "\
SELECT set_config(w.name, w.value, true)
FROM (VALUES ('enable_mergejoin', 'on'), ('enable_nestloop', 'off'), ('enable_hashjoin', 'off'),
  ('enable_hashagg', 'off')) AS w(name, value)
WHERE w.name IN (SELECT name FROM pg_settings)";

/// What is read of a table, and what each of its rows is.
struct Stage {
    sql: &'static str,
    rows: Rows,
}

enum Rows {
    /// One for each.
    Each(fn(&Values, &Found) -> Result<Row, ReadError>),
    /// Events, and the changes that they are of.
    Events,
}

/// A dump under way.
struct Dump {
    moment: Moment,
    values: Values,
    /// The stage that is being read, and those after it.
    stages: &'static [Stage],
    events: Events,
}

impl Inner {
    pub(super) async fn dump(&self) -> Result<Dumped, ReadError> {
        let moment = Moment::of(&self.url).await?;
        moment.plan(PLAN).await?;
        Ok(Dumped(Dump {
            moment,
            values: self.values.clone(),
            stages: STAGES,
            events: Events::default(),
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
            let found = self.moment.rows(stage.sql).await?;
            let mut rows = Vec::with_capacity(found.len());
            match stage.rows {
                Rows::Each(row) => {
                    for found in &found {
                        rows.push(row(&self.values, found)?);
                    }
                }
                Rows::Events => {
                    for found in &found {
                        self.events.add(&self.values, found, &mut rows)?;
                    }
                }
            }
            if found.is_empty() {
                rows.extend(self.events.end());
                self.stages = &self.stages[1..];
            }
            if !rows.is_empty() {
                return Ok(rows);
            }
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

/// Events as they come, in their order.
#[derive(Default)]
struct Events {
    /// The entity of the last, and its names as columns hold them.
    entity: Option<(EntityName, EntityKey)>,
    /// The change that the last is of.
    change: Option<Appended>,
}

/// A change, as far as its events have come.
struct Appended {
    key: EntityKey,
    slot_sequence: SlotSequence,
    at: Timestamp,
    first: u64,
    count: u64,
    deleted_until: Option<Timestamp>,
}

impl Events {
    /// Adds an event, and before it the change of others that it ends.
    fn add(&mut self, values: &Values, row: &Found, rows: &mut Vec<Row>) -> Result<(), ReadError> {
        let key = self.key(row)?;
        let sequence = value::number(column(row, 3)?);
        let at = value::timestamp(column(row, 4)?);
        let place = Place::Event(&key, sequence);
        let payload = values.payload(place, column(row, 5)?, column(row, 6)?)?;
        let slot_sequence = SlotSequence(value::number(column(row, 7)?));
        let until: Option<i64> = column(row, 8)?;
        let until = until.map(value::timestamp);
        match &mut self.change {
            Some(change) if change.slot_sequence == slot_sequence && change.key == key => {
                change.at = change.at.min(at);
                change.count += 1;
                change.deleted_until = change.deleted_until.max(until);
            }
            _ => {
                rows.extend(self.end());
                self.change = Some(Appended {
                    key: key.clone(),
                    slot_sequence,
                    at,
                    first: sequence,
                    count: 1,
                    deleted_until: until,
                });
            }
        }
        rows.push(Row::Event {
            event: Event {
                sequence,
                at,
                payload,
            },
            key,
            slot_sequence,
        });
        Ok(())
    }

    /// The entity of an event, mostly that of the last one.
    fn key(&mut self, row: &Found) -> Result<EntityKey, ReadError> {
        let (storage, id): (&str, &str) = (column(row, 0)?, column(row, 1)?);
        if let Some((name, key)) = &self.entity
            && name.id == id
            && name.storage == storage
        {
            return Ok(key.clone());
        }
        let key = key_of(row, [0, 1, 2])?;
        let name = EntityName {
            storage: storage.to_owned(),
            id: id.to_owned(),
        };
        self.entity = Some((name, key.clone()));
        Ok(key)
    }

    /// The change whose events have all come.
    fn end(&mut self) -> Option<Row> {
        self.change.take().map(|change| Row::Change {
            key: change.key,
            slot_sequence: change.slot_sequence,
            at: change.at,
            kind: ChangeKind::Append {
                first: change.first,
                count: change.count,
                deleted_until: change.deleted_until,
            },
        })
    }
}

fn changes(_: &Values, row: &Found) -> Result<Row, ReadError> {
    let until: Option<i64> = column(row, 8)?;
    let until = until.map(value::timestamp);
    let kind = match column(row, 5)? {
        MARK => ChangeKind::Append {
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
