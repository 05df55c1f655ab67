//! Replicas and runs of nodes: what is written beside the slots.
//!
//! Replicas have no slot sequence to guard them, so a node's writes are guarded by a fence of their
//! own: a process takes the next number when it first writes for the node, and again after it has
//! lost a connection. What the lost connection may still have in its buffers is then refused, so an
//! older state never comes behind a newer one.

use std::collections::HashMap;
use std::sync::Arc;

use firn_model::id::{EffectId, EntityKey, Incarnation, NodeId, Replica, Slot, SlotSequence};
use futures_util::future::join4;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::{Error, Row};

use super::Inner;
use super::batch::receipt;
use super::connection::{ConnectError, Session};
use super::error::Meaning;
use super::metrics::{Counts, Use};
use super::names::{self, EntityName};
use super::read::column;
use super::statement::{Kind, Part, Rows, Value};
use super::url::{Url, told};
use super::value::{self, Place, Values};
use super::writer::{COMMIT_TIME_MAX, PAUSE_MAX, PAUSE_MIN};
use crate::ReadError;
use crate::replica::{IncarnateError, ReplicaWrite, WriteError};
use crate::rows::replicas::draw_node;

/// How many bytes of replicas one statement takes, unless a single one is larger.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

const INCARNATE: (&str, &str) = (
    "incarnate",
    "\
INSERT INTO firn_nodes AS t (name, node, incarnation, full_name) VALUES ($1, $2, 1, $3)
ON CONFLICT (name) DO UPDATE SET incarnation = t.incarnation + 1 WHERE t.incarnation < 4294967295
RETURNING node, incarnation",
);

const NODE: (&str, &str) = ("node", "SELECT node FROM firn_nodes WHERE name = $1");

const FENCE: (&str, &str) = (
    "fence",
    "\
INSERT INTO firn_fences AS t (node, fence) VALUES ($1, 1)
ON CONFLICT (node) DO UPDATE SET fence = t.fence + 1 RETURNING fence",
);

/// What a replica is written as. The first two parameters are the node and its fence.
static REPLICAS: Part = Part {
    columns: &[
        ("storage", Kind::Text),
        ("id", Kind::Text),
        ("at", Kind::Big),
        ("deleted", Kind::Bool),
        ("state", Kind::Bytes),
        ("full_key", Kind::Bytes),
    ],
    sql: "\
WITH guard AS (SELECT node FROM firn_fences WHERE node = $1 AND fence = $2 FOR UPDATE),
replicas AS (INSERT INTO firn_replicas (node, storage, id, at, deleted, state, full_key)
  SELECT g.node, r.storage, r.id, r.at, r.deleted, r.state, r.full_key FROM {rows}, guard g
  ON CONFLICT (node, storage, id) DO UPDATE SET at = excluded.at, deleted = excluded.deleted,
    state = excluded.state)",
};

static RECEIPTS: Part = Part {
    columns: &[
        ("slot", Kind::Int),
        ("sender", Kind::Int),
        ("seq", Kind::Big),
        ("place", Kind::Big),
    ],
    sql: "\
receipts AS (INSERT INTO firn_receipts (slot, sender, seq, place)
  SELECT r.slot, r.sender, r.seq, r.place FROM {rows}, guard g ON CONFLICT DO NOTHING)
SELECT 1 FROM guard",
};

static TRIMMED: Part = Part {
    columns: &[
        ("slot", Kind::Int),
        ("sender", Kind::Int),
        ("below", Kind::Big),
    ],
    sql: "\
DELETE FROM firn_receipts t USING {rows}
WHERE t.slot = r.slot AND t.sender = r.sender AND t.seq < r.below
  AND EXISTS (SELECT 1 FROM firn_fences f WHERE f.node = $1 AND f.fence = $2)",
};

/// The connection that writes replicas, and the numbers that guard each node's.
pub(super) struct ReplicaWriter {
    session: Option<Session>,
    fences: HashMap<NodeId, i64>,
    counts: Arc<Counts>,
}

/// Why a try to write came to nothing.
enum Failed {
    Connect(ConnectError),
    Database(Error),
    Silent,
    /// Another process writes for the node, or did.
    Fenced,
}

impl Failed {
    fn told(&self) -> String {
        match self {
            Self::Connect(error) => told(error),
            Self::Database(error) => told(error),
            Self::Silent => "no answer in time".to_owned(),
            Self::Fenced => "another process writes for this node".to_owned(),
        }
    }
}

impl ReplicaWriter {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Self {
            session: None,
            fences: HashMap::new(),
            counts,
        }
    }

    /// Writes replicas, again and again until it is done or time is over.
    pub(super) async fn save(
        &mut self,
        url: &Url,
        values: &Values,
        node: NodeId,
        writes: &[ReplicaWrite],
    ) -> Result<(), WriteError> {
        let until = Instant::now() + COMMIT_TIME_MAX;
        for part in parts(writes) {
            self.save_part(url, values, node, part, until).await?;
        }
        Ok(())
    }

    async fn save_part(
        &mut self,
        url: &Url,
        values: &Values,
        node: NodeId,
        writes: &[ReplicaWrite],
        until: Instant,
    ) -> Result<(), WriteError> {
        let mut may_be_written = false;
        let mut pause = PAUSE_MIN * 5;
        loop {
            let tried = self.try_save(url, values, node, writes, until).await;
            let Err(failed) = tried else {
                return Ok(());
            };
            let mut goes_on = true;
            match &failed {
                Failed::Connect(_) | Failed::Fenced => {}
                Failed::Silent => may_be_written = true,
                Failed::Database(error) => match Meaning::of(error) {
                    Meaning::Lost => may_be_written = true,
                    Meaning::Never => goes_on = false,
                    Meaning::Repeat | Meaning::Later => {}
                },
            }
            if !matches!(&failed, Failed::Database(error) if Meaning::of(error) != Meaning::Lost) {
                self.session = self
                    .session
                    .take()
                    .filter(|_| matches!(failed, Failed::Fenced));
                self.fences.remove(&node);
            }
            let cause = failed.told();
            if !goes_on || Instant::now() >= until {
                return Err(match may_be_written {
                    true => WriteError::Unknown { cause },
                    false => WriteError::Unavailable { cause },
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn try_save(
        &mut self,
        url: &Url,
        values: &Values,
        node: NodeId,
        writes: &[ReplicaWrite],
        until: Instant,
    ) -> Result<(), Failed> {
        if self.session.as_ref().is_none_or(Session::is_lost) {
            self.session = None;
            self.fences.clear();
            let session = timeout_at(until, self.counts.connect(url, Use::Replicas)).await;
            let session = session.map_err(|_| Failed::Silent)?;
            self.session = Some(session.map_err(Failed::Connect)?);
        }
        let session = self.session.as_ref().expect("it was connected just now");
        let name = node.to_string();
        let fence = match self.fences.get(&node) {
            Some(fence) => *fence,
            None => {
                let taken = timeout_at(until, session.query(FENCE, &[&name])).await;
                let rows = taken
                    .map_err(|_| Failed::Silent)?
                    .map_err(Failed::Database)?;
                let fence = rows.first().map_or(Ok(0), |row| row.try_get(0));
                *self
                    .fences
                    .entry(node)
                    .insert_entry(fence.map_err(Failed::Database)?)
                    .get()
            }
        };
        let _busy = session.busy();
        let writing = write(session, values, (node, &name, fence), writes);
        let written = timeout_at(until, writing).await;
        let rows = written
            .map_err(|_| Failed::Silent)?
            .map_err(Failed::Database)?;
        match rows.is_empty() {
            true => Err(Failed::Fenced),
            false => Ok(()),
        }
    }
}

/// Writes replicas in one transaction and one round trip; gives no row if the fence is another.
async fn write(
    session: &Session,
    values: &Values,
    (node, name, fence): (NodeId, &String, i64),
    writes: &[ReplicaWrite],
) -> Result<Vec<Row>, Error> {
    let mut newest: HashMap<&EntityKey, &ReplicaWrite> = HashMap::new();
    let mut received: Vec<(Slot, EffectId)> = Vec::new();
    let mut trims: HashMap<(Slot, Slot), SlotSequence> = HashMap::new();
    for write in writes {
        let slot = write.key.slot();
        newest.insert(&write.key, write);
        for (sender, below) in &write.receipts_below {
            received.retain(|(receiver, effect)| {
                *receiver != slot || effect.slot != *sender || effect.sequence >= *below
            });
            let trim = trims.entry((slot, *sender)).or_default();
            *trim = (*trim).max(*below);
        }
        received.extend(write.received.iter().map(|effect| (slot, *effect)));
    }
    let mut replicas = Rows::of(&REPLICAS);
    for (key, write) in newest {
        let entity = EntityName::from(key);
        let full = names::full_key(key, &entity);
        replicas.push([
            Value::Text(entity.storage),
            Value::Text(entity.id),
            Value::Big(value::time(write.at)),
            Value::Bool(write.deleted),
            Value::Bytes(values.column(Place::Replica(node, key), &write.state)),
            Value::MaybeBytes(full.map(Into::into)),
        ]);
    }
    let mut receipts = Rows::of(&RECEIPTS);
    for (receiver, effect) in received {
        receipts.push(receipt(receiver.number().into(), effect));
    }
    let mut trimmed = Rows::of(&TRIMMED);
    for ((receiver, sender), below) in trims {
        trimmed.push([
            Value::Int(receiver.number().into()),
            Value::Int(sender.number().into()),
            Value::Big(value::count(below.0)),
        ]);
    }
    let text = || {
        format!(
            "{},\n{}",
            replicas.sql(3),
            receipts.sql(3 + replicas.width())
        )
    };
    let save = session.prepared(("save", 0), text).await?;
    let trim = session.prepared(("trim", 0), || trimmed.sql(3)).await?;
    let guard = || [name as _, &fence as _].into_iter();
    let save_parameters: Vec<_> = guard()
        .chain(replicas.parameters())
        .chain(receipts.parameters())
        .collect();
    let trim_parameters: Vec<_> = guard().chain(trimmed.parameters()).collect();
    let client = session.client();
    let (begun, saved, trimmed, ended) = join4(
        client.batch_execute("BEGIN"),
        client.query(&save, &save_parameters),
        client.query(&trim, &trim_parameters),
        client.batch_execute("COMMIT"),
    )
    .await;
    begun?;
    let saved = saved?;
    trimmed?;
    ended?;
    Ok(saved)
}

/// Writes in parts that are not too large for one statement.
fn parts(writes: &[ReplicaWrite]) -> impl Iterator<Item = &[ReplicaWrite]> {
    let mut rest = writes;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|write| {
            let is_first = bytes == 0;
            bytes += write.state.len() + 1;
            is_first || bytes <= BATCH_BYTES_MAX
        });
        let count = fits.count();
        let (part, others) = rest.split_at(count);
        rest = others;
        (!part.is_empty()).then_some(part)
    })
}

impl Inner {
    /// Takes a node's next incarnation. A try whose answer was lost may have taken one.
    pub(super) async fn incarnate(&self, name: &str) -> Result<Replica, IncarnateError> {
        let (name, full) = (names::id(name), names::text(name));
        let full = (full != name).then_some(full);
        let drawn = draw_node()?.to_string();
        let rows = self
            .rows(INCARNATE, &[&name, &drawn, &full])
            .await
            .map_err(unwritten)?;
        if let Some(row) = rows.first() {
            let incarnation: i64 = row.try_get(1).map_err(|error| unreadable(&error))?;
            let incarnation = u32::try_from(incarnation)
                .ok()
                .and_then(std::num::NonZeroU32::new);
            return Ok(Replica {
                node: node_of(column(row, 0)?)?,
                incarnation: Incarnation(incarnation.ok_or_else(|| unreadable(&"no incarnation"))?),
            });
        }
        let rows = self.rows(NODE, &[&name]).await?;
        let row = rows
            .first()
            .ok_or_else(|| unreadable(&"the row is missing"))?;
        Err(IncarnateError::UsedUp {
            node: node_of(column(row, 0)?)?,
        })
    }
}

/// The node with a stored name.
pub(super) fn node_of(text: &str) -> Result<NodeId, ReadError> {
    let number = u64::from_str_radix(text, 16).map_err(|error| unreadable(&error))?;
    Ok(NodeId(number))
}

fn unreadable(fault: &impl ToString) -> ReadError {
    ReadError::Damaged {
        place: "the row of a node".to_owned(),
        fault: fault.to_string(),
    }
}

fn unwritten(error: ReadError) -> IncarnateError {
    match error {
        ReadError::Unavailable { cause } => WriteError::Unavailable { cause }.into(),
        damaged => damaged.into(),
    }
}
