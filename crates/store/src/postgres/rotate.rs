//! Changing keys: everything in a database is sealed anew with the first of the given keys.
//!
//! # How it works
//! All slots are taken first, so no Firn writes with older keys meanwhile. `firn_keys` then says that
//! the new key is in use too, and, where nothing was sealed before, that something may still be plain.
//! The tables are gone through as they are at one moment, and what another key has sealed, or none, is
//! written anew, a bounded number of rows in each transaction. Replicas belong to no slot: a Firn that
//! has lost its slots and not yet noticed may still write some, so a replica is written only where it
//! is as it was read, and all are gone through again if one was not. At last `firn_keys` names the new
//! key alone. Every step may be the last one before the process ends: the database then needs the same
//! keys, and the command can be given again, which passes over what is done.

use std::sync::Arc;

use tokio_postgres::Row as Found;

use super::connection::Session;
use super::error::OpenError;
use super::hold::Hold;
use super::keys::{self, Checks};
use super::moment::Moment;
use super::names;
use super::read::{column, effect_id, key_of, unreadable};
use super::replicas::node_of;
use super::statement::{Kind, Part, Rows, Value};
use super::value::{self, Place, Values};
use super::{Config, Inner, Postgres, restore, schema};
use crate::ReadError;
use crate::archive::BATCH_BYTES;
use crate::seal::Keys;

/// How many rows are written in one transaction, unless [`BATCH_BYTES`] come first.
const ROWS_MAX: u64 = 4096;

/// Where something is sealed: what is read of the table, and how it is written.
struct Stage {
    sql: &'static str,
    /// Adds the row to those that are written, if it is not sealed with the first key; gives how many
    /// bytes that are.
    add: fn(&Values, &Found, &mut Rows<'static>) -> Result<usize, ReadError>,
}

static PARTS: [Part; 7] = [
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("kind", Kind::Text),
            ("value", Kind::Bytes),
        ],
        sql: "\
UPDATE firn_states t SET value = r.value FROM {rows}
WHERE t.storage = r.storage AND t.id = r.id AND t.kind = r.kind",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("generation", Kind::Big),
            ("number", Kind::Big),
            ("value", Kind::Bytes),
        ],
        sql: "\
UPDATE firn_events t SET value = r.value FROM {rows}
WHERE t.storage = r.storage AND t.id = r.id AND t.generation = r.generation
  AND t.number = r.number",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("life", Kind::Big),
            ("command", Kind::Bytes),
            ("record", Kind::Bytes),
        ],
        sql: "\
UPDATE firn_replies t SET record = r.record FROM {rows}
WHERE t.storage = r.storage AND t.id = r.id AND t.life = r.life AND t.command = r.command",
    },
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("seq", Kind::Big),
            ("place", Kind::Big),
            ("effect", Kind::Bytes),
        ],
        sql: "\
UPDATE firn_outbox t SET effect = r.effect FROM {rows}
WHERE t.slot = r.slot AND t.seq = r.seq AND t.place = r.place",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("name", Kind::Text),
            ("timer", Kind::Bytes),
        ],
        sql: "\
UPDATE firn_timers t SET timer = r.timer FROM {rows}
WHERE t.storage = r.storage AND t.id = r.id AND t.name = r.name",
    },
    Part {
        columns: &[
            ("node", Kind::Text),
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("state", Kind::Bytes),
            ("was", Kind::Bytes),
        ],
        sql: "\
UPDATE firn_replicas t SET state = r.state FROM {rows}
WHERE t.node = r.node AND t.storage = r.storage AND t.id = r.id AND t.state = r.was",
    },
    Part {
        columns: &[("id", Kind::Text), ("sealed", Kind::Bytes)],
        sql: "\
INSERT INTO firn_keys (id, sealed) SELECT id, sealed FROM {rows} ON CONFLICT (id) DO NOTHING",
    },
];

/// Which of [`PARTS`] are the keys; those before are written by the [`STAGES`] in the same places.
const KEYS: usize = 6;

/// Which of [`STAGES`] are the replicas, the last of them.
const REPLICAS: usize = KEYS - 1;

/// How often replicas are gone through while somebody changes them meanwhile. Whoever does has lost its
/// slots and ends within a third of its lease.
const REPLICA_PASSES_MAX: u32 = 16;

/// What the statements of [`PARTS`] are known by.
const NAME: &str = "rotate";

const STAGES: [Stage; KEYS] = [
    Stage {
        sql: "\
SELECT s.storage, s.id, e.full_key, s.kind, s.value
FROM firn_states s LEFT JOIN firn_entities e ON e.storage = s.storage AND e.id = s.id
ORDER BY s.storage, s.id, s.kind",
        add: states,
    },
    Stage {
        sql: "\
SELECT v.storage, v.id, e.full_key, v.generation, v.number, v.value
FROM firn_events v LEFT JOIN firn_entities e ON e.storage = v.storage AND e.id = v.id
ORDER BY v.storage, v.id, v.generation, v.number",
        add: events,
    },
    Stage {
        sql: "\
SELECT r.storage, r.id, e.full_key, r.life, r.command, r.record
FROM firn_replies r LEFT JOIN firn_entities e ON e.storage = r.storage AND e.id = r.id
ORDER BY r.storage, r.id, r.life, r.command",
        add: replies,
    },
    Stage {
        sql: "SELECT slot, seq, place, effect FROM firn_outbox ORDER BY slot, seq, place",
        add: effects,
    },
    Stage {
        sql: "SELECT storage, id, full_id, name, timer FROM firn_timers ORDER BY storage, id, name",
        add: timers,
    },
    Stage {
        sql: "\
SELECT storage, id, full_key, node, state FROM firn_replicas ORDER BY node, storage, id",
        add: replicas,
    },
];

/// Only the first key is needed any more.
const FORGET: &str = "DELETE FROM firn_keys WHERE id <> $1";

/// Seals everything in a database with the first of the keys in `config`, also what was not sealed
/// before. Tells `progress` how many rows were looked at, and gives how many there are. The slots are
/// taken for the owner in `config`, so no Firn may have them.
///
/// # Errors
/// See [`OpenError`]. The database is as it was, or sealed in part: then it needs all the keys until
/// the command has come to its end.
///
/// # Panics
/// If there are no keys or no owner in `config`, and outside of a tokio runtime.
pub async fn rotate_keys(config: Config, progress: impl FnMut(u64)) -> Result<u64, OpenError> {
    let keys = config.keys.clone().expect("keys to seal with");
    let owner = config.owner.clone().expect("an owner who takes the slots");
    let session = Session::connect(&config.url).await;
    let session = session.map_err(|error| OpenError::connect(&config.url, &error))?;
    schema::prepare(&session, config.migrate).await?;
    restore::check(&session).await?;
    // Before anything is changed: whether these are the keys.
    Keys::verify(Some(&keys), &Checks::read(&session).await?.keys, true)?;
    let url = config.url.clone();
    let store = Postgres::with_session(config, session, |_| {}).await?;
    let rotated = async {
        if let Some(lease) = &store.inner.lease {
            store.inner.take_all(lease).await?;
        }
        let session = Session::connect(&url).await;
        let session = session.map_err(|error| OpenError::connect(&url, &error))?;
        // An import may have had the slots that were waited for.
        restore::check(&session).await?;
        let owner = owner.name;
        let hold = Hold { session, owner };
        store.inner.rotate(&hold, keys, progress).await
    }
    .await;
    store.close().await;
    rotated
}

impl Inner {
    pub(super) async fn rotate(
        &self,
        hold: &Hold,
        keys: Arc<Keys>,
        progress: impl FnMut(u64),
    ) -> Result<u64, OpenError> {
        let has_plain = begin(hold, &keys).await?;
        let values = match has_plain {
            true => Values::beginning(keys.clone()),
            false => Values::sealed_with(Some(keys.clone())),
        };
        let mut moment = Moment::of(&self.url).await.map_err(OpenError::unread)?;
        let mut seal = Seal {
            hold,
            values: &values,
            count: 0,
            progress,
        };
        for place in 0..REPLICAS {
            seal.anew(place, &mut moment).await?;
        }
        let (mut passes, before) = (1, seal.count);
        while seal.anew(REPLICAS, &mut moment).await? == Written::Partly {
            if passes == REPLICA_PASSES_MAX {
                let cause = "another Firn goes on writing replicas".to_owned();
                return Err(OpenError::Failed { cause });
            }
            passes += 1;
            seal.count = before;
            moment = Moment::of(&self.url).await.map_err(OpenError::unread)?;
        }
        hold.begin().await?;
        let forgotten = hold.session.client().execute(FORGET, &[&keys.id()]).await;
        forgotten.map_err(|error| OpenError::statement(&error))?;
        hold.commit().await?;
        Ok(seal.count)
    }
}

/// What goes through the tables.
struct Seal<'a, F> {
    hold: &'a Hold,
    values: &'a Values,
    /// How many rows were looked at.
    count: u64,
    /// Is told so.
    progress: F,
}

/// What became of the rows of a table that were to be written.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Whole,
    /// Some were no longer there, or no longer as they were read.
    Partly,
}

impl<F: FnMut(u64)> Seal<'_, F> {
    /// Seals what is in one table.
    async fn anew(&mut self, place: usize, moment: &mut Moment) -> Result<Written, OpenError> {
        let stage = &STAGES[place];
        let (mut given, mut written) = (0, 0);
        let mut anew = Anew::default();
        loop {
            let found = moment.rows(stage.sql).await.map_err(OpenError::unread)?;
            if found.is_empty() {
                break;
            }
            for row in &found {
                let added = (stage.add)(self.values, row, &mut anew.rows[place]);
                anew.add(added.map_err(OpenError::unread)?);
                if anew.is_enough() {
                    let full = std::mem::take(&mut anew);
                    given += full.count;
                    written += self.hold.write(NAME, &full.rows).await?;
                }
            }
            self.count += found.len() as u64;
            (self.progress)(self.count);
        }
        given += anew.count;
        written += self.hold.write(NAME, &anew.rows).await?;
        Ok(match written < given {
            true => Written::Partly,
            false => Written::Whole,
        })
    }
}

/// Rows that are sealed anew and not yet written.
struct Anew {
    rows: [Rows<'static>; PARTS.len()],
    count: u64,
    bytes: usize,
}

impl Default for Anew {
    fn default() -> Self {
        Self {
            rows: PARTS.each_ref().map(Rows::of),
            count: 0,
            bytes: 0,
        }
    }
}

impl Anew {
    fn add(&mut self, bytes: usize) {
        self.count += u64::from(bytes > 0);
        self.bytes += bytes;
    }

    fn is_enough(&self) -> bool {
        self.count >= ROWS_MAX || self.bytes >= BATCH_BYTES
    }
}

/// Notes that the new key is in use; tells whether some contents may not be sealed.
async fn begin(hold: &Hold, keys: &Keys) -> Result<bool, OpenError> {
    let checks = Checks::read(&hold.session).await?;
    let added = Keys::verify(Some(keys), &checks.keys, true)?;
    let is_plain = checks.keys.is_empty() && keys::is_written(&hold.session).await?;
    let has_plain = checks.has_plain || is_plain;
    let mut rows = PARTS.each_ref().map(Rows::of);
    if let Some(check) = added {
        let sealed = check.sealed.to_vec();
        rows[KEYS].push([Value::Text(check.id), Value::Bytes(sealed.into())]);
    }
    if has_plain {
        let none = Value::Bytes(Vec::new().into());
        rows[KEYS].push([Value::Text(keys::PLAIN.to_owned()), none]);
    }
    hold.write(NAME, &rows).await?;
    Ok(has_plain)
}

fn states(values: &Values, row: &Found, rows: &mut Rows<'static>) -> Result<usize, ReadError> {
    let key = key_of(row, [0, 1, 2])?;
    let place = match column(row, 3)? {
        "state" => Place::State(&key),
        _ => Place::Snapshot(&key),
    };
    let Some(sealed) = values.resealed(place, column(row, 4)?)? else {
        return Ok(0);
    };
    let size = sealed.len();
    rows.push([
        text(row, 0)?,
        text(row, 1)?,
        text(row, 3)?,
        Value::Bytes(sealed.into()),
    ]);
    Ok(size)
}

fn events(values: &Values, row: &Found, rows: &mut Rows<'static>) -> Result<usize, ReadError> {
    let key = key_of(row, [0, 1, 2])?;
    let (generation, number): (i64, i64) = (column(row, 3)?, column(row, 4)?);
    let place = Place::Event(&key, value::number(number));
    let Some(sealed) = values.resealed(place, column(row, 5)?)? else {
        return Ok(0);
    };
    let size = sealed.len();
    rows.push([
        text(row, 0)?,
        text(row, 1)?,
        Value::Big(generation),
        Value::Big(number),
        Value::Bytes(sealed.into()),
    ]);
    Ok(size)
}

fn replies(values: &Values, row: &Found, rows: &mut Rows<'static>) -> Result<usize, ReadError> {
    let key = key_of(row, [0, 1, 2])?;
    let command: &[u8] = column(row, 4)?;
    let Some(sealed) = values.resealed(Place::Reply(&key, command), column(row, 5)?)? else {
        return Ok(0);
    };
    let size = sealed.len();
    rows.push([
        text(row, 0)?,
        text(row, 1)?,
        Value::Big(column(row, 3)?),
        Value::Bytes(command.to_vec().into()),
        Value::Bytes(sealed.into()),
    ]);
    Ok(size)
}

fn effects(values: &Values, row: &Found, rows: &mut Rows<'static>) -> Result<usize, ReadError> {
    let (slot, sequence, index): (i32, i64, i64) =
        (column(row, 0)?, column(row, 1)?, column(row, 2)?);
    let id = effect_id(slot, sequence, index)?;
    let Some(sealed) = values.resealed(Place::Effect(id), column(row, 3)?)? else {
        return Ok(0);
    };
    let size = sealed.len();
    rows.push([
        Value::Int(slot),
        Value::Big(sequence),
        Value::Big(index),
        Value::Bytes(sealed.into()),
    ]);
    Ok(size)
}

fn timers(values: &Values, row: &Found, rows: &mut Rows<'static>) -> Result<usize, ReadError> {
    let name: &str = column(row, 3)?;
    let id = names::timer_id(column(row, 0)?, column(row, 1)?, name, column(row, 2)?);
    let id = id.ok_or_else(|| unreadable("a timer"))?;
    let Some(sealed) = values.resealed(Place::Timer(&id.key, name), column(row, 4)?)? else {
        return Ok(0);
    };
    let size = sealed.len();
    rows.push([
        text(row, 0)?,
        text(row, 1)?,
        text(row, 3)?,
        Value::Bytes(sealed.into()),
    ]);
    Ok(size)
}

fn replicas(values: &Values, row: &Found, rows: &mut Rows<'static>) -> Result<usize, ReadError> {
    let key = key_of(row, [0, 1, 2])?;
    let node = node_of(column(row, 3)?)?;
    let was: &[u8] = column(row, 4)?;
    let Some(sealed) = values.resealed(Place::Replica(node, &key), was)? else {
        return Ok(0);
    };
    let size = sealed.len() + was.len();
    rows.push([
        text(row, 3)?,
        text(row, 0)?,
        text(row, 1)?,
        Value::Bytes(sealed.into()),
        Value::Bytes(was.to_vec().into()),
    ]);
    Ok(size)
}

fn text(row: &Found, index: usize) -> Result<Value<'static>, ReadError> {
    Ok(Value::Text(column::<&str>(row, index)?.to_owned()))
}
