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

/// A table with something that is sealed.
struct Stage {
    /// What its statement is known by.
    name: &'static str,
    /// What is read: the columns that are written, then what the place of a row needs.
    sql: &'static str,
    /// How a row is written.
    part: Part,
    /// Which of its columns is sealed.
    sealed: usize,
    /// Seals it at the place where a row has it.
    at: fn(&Found, &Sealing<'_>) -> Resealed,
}

/// What the column of a row becomes; nothing if the first key has sealed it.
type Resealed = Result<Option<Vec<u8>>, ReadError>;

/// Seals the column of a row anew.
type Sealing<'a> = dyn Fn(Place<'_>) -> Resealed + 'a;

static STAGES: [Stage; 6] = [
    Stage {
        name: "seal states",
        sql: "\
SELECT s.storage, s.id, s.kind, s.value, e.full_key
FROM firn_states s LEFT JOIN firn_entities e ON e.storage = s.storage AND e.id = s.id
ORDER BY s.storage, s.id, s.kind",
        part: Part {
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
        sealed: 3,
        at: |row, seal| {
            let key = key_of(row, [0, 1, 4])?;
            seal(match column(row, 2)? {
                "state" => Place::State(&key),
                _ => Place::Snapshot(&key),
            })
        },
    },
    Stage {
        name: "seal events",
        sql: "\
SELECT v.storage, v.id, v.generation, v.number, v.value, e.full_key
FROM firn_events v LEFT JOIN firn_entities e ON e.storage = v.storage AND e.id = v.id
ORDER BY v.storage, v.id, v.generation, v.number",
        part: Part {
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
        sealed: 4,
        at: |row, seal| {
            let key = key_of(row, [0, 1, 5])?;
            seal(Place::Event(&key, value::number(column(row, 3)?)))
        },
    },
    Stage {
        name: "seal replies",
        sql: "\
SELECT r.storage, r.id, r.life, r.command, r.record, e.full_key
FROM firn_replies r LEFT JOIN firn_entities e ON e.storage = r.storage AND e.id = r.id
ORDER BY r.storage, r.id, r.life, r.command",
        part: Part {
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
        sealed: 4,
        at: |row, seal| {
            let key = key_of(row, [0, 1, 5])?;
            seal(Place::Reply(&key, column(row, 3)?))
        },
    },
    Stage {
        name: "seal outbox",
        sql: "SELECT slot, seq, place, effect FROM firn_outbox ORDER BY slot, seq, place",
        part: Part {
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
        sealed: 3,
        at: |row, seal| {
            let id = effect_id(column(row, 0)?, column(row, 1)?, column(row, 2)?)?;
            seal(Place::Effect(id))
        },
    },
    Stage {
        name: "seal timers",
        sql: "SELECT storage, id, name, timer, full_id FROM firn_timers ORDER BY storage, id, name",
        part: Part {
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
        sealed: 3,
        at: |row, seal| {
            let name: &str = column(row, 2)?;
            let id = names::timer_id(column(row, 0)?, column(row, 1)?, name, column(row, 4)?);
            let id = id.ok_or_else(|| unreadable("a timer"))?;
            seal(Place::Timer(&id.key, name))
        },
    },
    Stage {
        name: "seal replicas",
        sql: "\
SELECT node, storage, id, state, state, full_key FROM firn_replicas ORDER BY node, storage, id",
        part: Part {
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
        sealed: 3,
        at: |row, seal| {
            let key = key_of(row, [1, 2, 5])?;
            seal(Place::Replica(node_of(column(row, 0)?)?, &key))
        },
    },
];

/// The keys that are in use.
static KEYS: Part = Part {
    columns: &[("id", Kind::Text), ("sealed", Kind::Bytes)],
    sql: "\
INSERT INTO firn_keys (id, sealed) SELECT id, sealed FROM {rows} ON CONFLICT (id) DO NOTHING",
};

/// How often replicas are gone through while somebody changes them meanwhile. Whoever does has lost its
/// slots and ends within a third of its lease.
const REPLICA_PASSES_MAX: u32 = 16;

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
        let [tables @ .., replicas] = &STAGES;
        for stage in tables {
            seal.anew(stage, &mut moment).await?;
        }
        let (mut passes, before) = (1, seal.count);
        while seal.anew(replicas, &mut moment).await? == Written::Partly {
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
    async fn anew(
        &mut self,
        stage: &'static Stage,
        moment: &mut Moment,
    ) -> Result<Written, OpenError> {
        let mut written = Written::Whole;
        let mut anew = Anew::of(stage);
        loop {
            let found = moment.rows(stage.sql).await.map_err(OpenError::unread)?;
            let is_end = found.is_empty();
            for row in &found {
                anew.add(self.values, row).map_err(OpenError::unread)?;
                if anew.is_enough() {
                    let full = std::mem::replace(&mut anew, Anew::of(stage));
                    written = written.and(full.write(self.hold).await?);
                }
            }
            if is_end {
                return Ok(written.and(anew.write(self.hold).await?));
            }
            self.count += found.len() as u64;
            (self.progress)(self.count);
        }
    }
}

impl Written {
    fn and(self, other: Self) -> Self {
        match self {
            Self::Whole => other,
            Self::Partly => Self::Partly,
        }
    }
}

/// Rows of a table that are sealed anew and not yet written.
struct Anew {
    stage: &'static Stage,
    rows: Rows<'static>,
    count: u64,
    bytes: usize,
}

impl Anew {
    fn of(stage: &'static Stage) -> Self {
        Self {
            stage,
            rows: Rows::of(&stage.part),
            count: 0,
            bytes: 0,
        }
    }

    /// Adds a row, unless the first key has sealed it.
    fn add(&mut self, values: &Values, row: &Found) -> Result<(), ReadError> {
        let Stage { part, sealed, .. } = self.stage;
        let before: &[u8] = column(row, *sealed)?;
        let anew = (self.stage.at)(row, &|place| values.resealed(place, before))?;
        let Some(anew) = anew else {
            return Ok(());
        };
        let kinds = part.columns.iter().map(|(_, kind)| *kind).enumerate();
        let columns = kinds.map(|(index, kind)| found(row, index, kind));
        let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
        columns[*sealed] = Value::Bytes(anew.into());
        self.rows.push(columns);
        self.count += 1;
        self.bytes += row.raw_size_bytes();
        Ok(())
    }

    fn is_enough(&self) -> bool {
        self.count >= ROWS_MAX || self.bytes >= BATCH_BYTES
    }

    async fn write(self, hold: &Hold) -> Result<Written, OpenError> {
        let written = hold.write(self.stage.name, &[self.rows]).await?;
        Ok(match written < self.count {
            true => Written::Partly,
            false => Written::Whole,
        })
    }
}

/// A column of a row, to be written as it was read.
fn found(row: &Found, index: usize, kind: Kind) -> Result<Value<'static>, ReadError> {
    Ok(match kind {
        Kind::Int => Value::Int(column(row, index)?),
        Kind::Big => Value::Big(column(row, index)?),
        Kind::Bool => Value::Bool(column(row, index)?),
        Kind::Text => Value::Text(column(row, index)?),
        Kind::Bytes => Value::Bytes(column::<Vec<u8>>(row, index)?.into()),
    })
}

/// Notes that the new key is in use; tells whether some contents may not be sealed.
async fn begin(hold: &Hold, keys: &Keys) -> Result<bool, OpenError> {
    let checks = Checks::read(&hold.session).await?;
    let added = Keys::verify(Some(keys), &checks.keys, true)?;
    let is_plain = checks.keys.is_empty() && keys::is_written(&hold.session).await?;
    let has_plain = checks.has_plain || is_plain;
    let mut rows = Rows::of(&KEYS);
    if let Some(check) = added {
        let sealed = check.sealed.to_vec();
        rows.push([Value::Text(check.id), Value::Bytes(sealed.into())]);
    }
    if has_plain {
        let none = Value::Bytes(Vec::new().into());
        rows.push([Value::Text(keys::PLAIN.to_owned()), none]);
    }
    hold.write("rotate", &[rows]).await?;
    Ok(has_plain)
}
