//! Filling a database with what another store held.
//!
//! # How it works
//! While a database is filled, all its slots belong to an *owner* with a name that no Firn has, whose
//! lease does not run out. So no Firn takes a slot of it, an older one neither, and
//! [`check`] tells it apart from a database that another Firn uses. The name and the slots are taken
//! in one transaction, under the locked row of the schema's version, once the tables were found empty.
//! Rows then go in as arrays, those of each call of [`archive::Restore::write`] in one transaction
//! under a [`Hold`], while those of the next are made ready; at last the slots are given up.
//!
//! # Invariants
//! - Once another import has begun anew, this one writes nothing any more.

use std::borrow::Cow;
use std::sync::Arc;

use firn_model::decision::Tags;
use firn_model::id::{EntityKey, NodeId, Replica, SLOTS};
use firn_model::payload::Payload;
use futures_util::future::BoxFuture;
use prost::Message;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_postgres::Error;

use super::Config;
use super::batch::{CLEAN, DELETE, MARK, OutboxMessage, SET, receipt};
use super::connection::Session;
use super::error::OpenError;
use super::hold::{Hold, HoldError};
use super::names::{self, EntityName};
use super::schema;
use super::statement::{Kind, Part, Rows, Value};
use super::value::{self, Place, Values};
use crate::archive::{self, ChangeKind, EntityFacts, RestoreError, Row};
use crate::commit::ReplyRecord;
use crate::encoding::parts::{ReplyRecordPart, TimerPart};
use crate::entity::Event;
use crate::seal::Keys;
use crate::timer::{Timer, TimerId};

/// How the names of owners begin that are imports. Part of the stored format.
const IMPORT: &str = "firn store import/";

/// The owner of an import that was begun, if there is one.
const UNFINISHED: &str =
    "SELECT owner FROM firn_owners WHERE left(owner, length($1::text)) = $1::text LIMIT 1";

/// Holds up other imports and migrations until the transaction ends.
const LOCK: &str = "SELECT version FROM firn_schema WHERE one = 1 FOR UPDATE";

/// Everything but slots, which stay.
const EMPTY: &str = "\
TRUNCATE firn_owners, firn_entities, firn_states, firn_events, firn_replies, firn_outbox, \
firn_receipts, firn_timers, firn_nodes, firn_replicas, firn_fences, firn_keys";

const RESET: &str =
    "UPDATE firn_slots SET epoch = 0, last_seq = 0, fence = 0, batch = 0, owner = NULL";

/// Whether a Firn has ever used the database. The slots are compared when they are taken.
const IS_USED: &str = "\
SELECT EXISTS (SELECT 1 FROM firn_owners) OR EXISTS (SELECT 1 FROM firn_entities)
  OR EXISTS (SELECT 1 FROM firn_replies) OR EXISTS (SELECT 1 FROM firn_replicas)
  OR EXISTS (SELECT 1 FROM firn_nodes)";

/// Takes every slot of which nothing was ever written. A Firn that takes slots at the same moment is
/// waited for, and its slots are then not among them.
const TAKE: &str =
    "UPDATE firn_slots SET owner = $1 WHERE owner IS NULL AND epoch = 0 AND last_seq = 0";

/// An owner whose lease does not run out while anybody remembers it.
const OWN: &str = "\
INSERT INTO firn_owners (owner, since, expires)
VALUES ($1, clock_timestamp(), clock_timestamp() + interval '1000000 hours')";

const FORGET_KEYS: &str = "DELETE FROM firn_keys";

const GIVE_UP: &str = "UPDATE firn_slots SET owner = NULL WHERE owner = $1";
const END: &str = "DELETE FROM firn_owners WHERE owner = $1";

/// The rows of a table that go in at once, in the order in which they must: what is changed comes
/// after what is made.
static PARTS: [Part; 13] = [
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("epoch", Kind::Big),
            ("last_seq", Kind::Big),
        ],
        sql: "\
UPDATE firn_slots s SET epoch = r.epoch, last_seq = r.last_seq FROM {rows}
WHERE s.slot = r.slot",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("slot", Kind::Int),
            ("has_state", Kind::Bool),
            ("has_events", Kind::Bool),
            ("deleted_until", Kind::Big),
            ("full_key", Kind::Bytes),
        ],
        sql: "\
INSERT INTO firn_entities (storage, id, slot, generation, life, has_state, has_events,
  deleted_until, full_key)
SELECT storage, id, slot, 0, 0, has_state, has_events, deleted_until, full_key FROM {rows}",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("kind", Kind::Text),
            ("event", Kind::Big),
            ("type", Kind::Text),
            ("value", Kind::Bytes),
            ("tags", Kind::Text),
        ],
        sql: "\
INSERT INTO firn_states (storage, id, kind, generation, event, type, value, tags)
SELECT storage, id, kind, 0, event, type, value, tags FROM {rows}",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("number", Kind::Big),
            ("slot", Kind::Int),
            ("seq", Kind::Big),
            ("at", Kind::Big),
            ("type", Kind::Text),
            ("value", Kind::Bytes),
        ],
        sql: "\
INSERT INTO firn_events (storage, id, generation, number, slot, seq, at, type, value)
SELECT storage, id, 0, number, slot, seq, at, type, value FROM {rows}",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("command", Kind::Bytes),
            ("expires", Kind::Big),
            ("method", Kind::Text),
            ("record", Kind::Bytes),
        ],
        sql: "\
INSERT INTO firn_replies (storage, id, life, command, expires, method, record)
SELECT storage, id, 0, command, expires, method, record FROM {rows}",
    },
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("seq", Kind::Big),
            ("place", Kind::Big),
            ("method", Kind::Text),
            ("effect", Kind::Bytes),
        ],
        sql: "\
INSERT INTO firn_outbox (slot, seq, place, method, effect)
SELECT slot, seq, place, method, effect FROM {rows}",
    },
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("sender", Kind::Int),
            ("seq", Kind::Big),
            ("place", Kind::Big),
        ],
        sql: "\
INSERT INTO firn_receipts (slot, sender, seq, place)
SELECT slot, sender, seq, place FROM {rows}",
    },
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("name", Kind::Text),
            ("due", Kind::Big),
            ("method", Kind::Text),
            ("timer", Kind::Bytes),
            ("full_id", Kind::Bytes),
        ],
        sql: "\
INSERT INTO firn_timers (slot, storage, id, name, due, method, timer, full_id)
SELECT slot, storage, id, name, due, method, timer, full_id FROM {rows}",
    },
    Part {
        columns: &[
            ("node", Kind::Text),
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("at", Kind::Big),
            ("deleted", Kind::Bool),
            ("state", Kind::Bytes),
            ("full_key", Kind::Bytes),
        ],
        sql: "\
INSERT INTO firn_replicas (node, storage, id, at, deleted, state, full_key)
SELECT node, storage, id, at, deleted, state, full_key FROM {rows}",
    },
    Part {
        columns: &[
            ("name", Kind::Text),
            ("node", Kind::Text),
            ("incarnation", Kind::Big),
            ("full_name", Kind::Text),
        ],
        sql: "\
INSERT INTO firn_nodes (name, node, incarnation, full_name)
SELECT name, node, incarnation, full_name FROM {rows}",
    },
    // The newest change of an entity, where it came without events.
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("seq", Kind::Big),
            ("at", Kind::Big),
            ("until", Kind::Big),
            ("change", Kind::Text),
        ],
        sql: "\
UPDATE firn_entities e SET changed_seq = r.seq, changed_at = r.at, changed_until = r.until,
  change = r.change FROM {rows}
WHERE e.storage = r.storage AND e.id = r.id",
    },
    // Events that their entity was deleted with.
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("number", Kind::Big),
            ("deleted_until", Kind::Big),
        ],
        sql: "\
UPDATE firn_events v SET deleted_until = r.deleted_until FROM {rows}
WHERE v.storage = r.storage AND v.id = r.id AND v.generation = 0 AND v.number = r.number",
    },
    Part {
        columns: &[("id", Kind::Text), ("sealed", Kind::Bytes)],
        sql: "\
INSERT INTO firn_keys (id, sealed) SELECT id, sealed FROM {rows}",
    },
];

/// What the statements of [`PARTS`] are known by.
const NAME: &str = "restore";

/// Which of [`PARTS`].
const HEADS: usize = 0;
const ENTITIES: usize = 1;
const STATES: usize = 2;
const EVENTS: usize = 3;
const REPLIES: usize = 4;
const OUTBOX: usize = 5;
const RECEIPTS: usize = 6;
const TIMERS: usize = 7;
const REPLICAS: usize = 8;
const NODES: usize = 9;
const CHANGES: usize = 10;
const DELETIONS: usize = 11;
const KEYS: usize = 12;

/// A database that is being filled.
struct Restore {
    hold: Arc<Hold>,
    values: Values,
    /// What is being written, one transaction at most. It ends with this value.
    writing: JoinSet<Result<u64, HoldError>>,
}

/// Begins to fill a database that nobody has used, or that was not filled to the end.
///
/// # Errors
/// See [`OpenError`]. A database that holds something is not changed.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn restore(config: &Config) -> Result<Box<dyn archive::Restore>, OpenError> {
    let session = Session::connect(&config.url).await;
    let session = session.map_err(|error| OpenError::connect(&config.url, &error))?;
    schema::prepare(&session, config.migrate).await?;
    let random = getrandom::u64().map_err(|error| OpenError::Failed {
        cause: format!("the system gives no random number: {error}"),
    })?;
    let restore = Restore {
        hold: Arc::new(Hold {
            session,
            owner: format!("{IMPORT}{random:016x}"),
        }),
        values: Values::sealed_with(config.keys.clone()),
        writing: JoinSet::new(),
    };
    restore.begin(config.keys.as_deref()).await?;
    Ok(Box::new(restore))
}

/// Refuses a database that was not filled to the end.
pub(super) async fn check(session: &Session) -> Result<(), OpenError> {
    let found = session.client().query(UNFINISHED, &[&IMPORT]).await;
    let found = found.map_err(|error| OpenError::statement(&error))?;
    match found.is_empty() {
        true => Ok(()),
        false => Err(OpenError::Unfinished),
    }
}

impl archive::Restore for Restore {
    fn write(&mut self, rows: Vec<Row>) -> BoxFuture<'_, Result<(), RestoreError>> {
        Box::pin(async move {
            let values = self.values.clone();
            let filled = spawn_blocking(move || Filled::of(rows, &values)).await;
            let filled = filled.map_err(|error| ended(&error))??;
            self.written().await?;
            let hold = self.hold.clone();
            let write = async move { hold.write(NAME, &filled.0).await };
            self.writing.spawn(write);
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<(), RestoreError>> {
        Box::pin(async move {
            self.written().await?;
            self.give_up().await.map_err(unwritten)
        })
    }
}

impl Restore {
    /// Takes the database, whole or not at all.
    async fn begin(&self, keys: Option<&Keys>) -> Result<(), OpenError> {
        let failed = |error: Error| OpenError::statement(&error);
        let Hold { session, owner } = &*self.hold;
        let client = session.client();
        client.batch_execute("BEGIN").await.map_err(failed)?;
        client.query(LOCK, &[]).await.map_err(failed)?;
        match check(session).await {
            Ok(()) => {}
            Err(OpenError::Unfinished) => {
                client.batch_execute(EMPTY).await.map_err(failed)?;
                client.batch_execute(RESET).await.map_err(failed)?;
            }
            Err(error) => return Err(error),
        }
        let is_used: bool = client.query_one(IS_USED, &[]).await.map_err(failed)?.get(0);
        let taken = client.execute(TAKE, &[owner]).await.map_err(failed)?;
        if is_used || taken < u64::from(SLOTS) {
            // Whatever prevents it, the connection ends with this value, and what was begun on it.
            let _ = client.batch_execute("ROLLBACK").await;
            return Err(OpenError::NotEmpty);
        }
        client.execute(OWN, &[owner]).await.map_err(failed)?;
        client.batch_execute(FORGET_KEYS).await.map_err(failed)?;
        client.batch_execute("COMMIT").await.map_err(failed)?;
        if let Some(keys) = keys {
            let mut filled = Filled::default();
            let check = keys.check();
            filled.0[KEYS].push([
                Value::Text(check.id),
                Value::Bytes(check.sealed.to_vec().into()),
            ]);
            self.hold.write(NAME, &filled.0).await?;
        }
        Ok(())
    }

    /// Waits for what is being written.
    async fn written(&mut self) -> Result<(), RestoreError> {
        match self.writing.join_next().await {
            None => Ok(()),
            Some(Ok(written)) => written.map(drop).map_err(unwritten),
            Some(Err(error)) => Err(ended(&error)),
        }
    }

    /// Makes the database one that can be opened.
    async fn give_up(&self) -> Result<(), HoldError> {
        let Hold { session, owner } = &*self.hold;
        self.hold.begin().await?;
        for last in [GIVE_UP, END] {
            session.client().execute(last, &[owner]).await?;
        }
        self.hold.commit().await
    }
}

/// Rows as the tables take them.
struct Filled([Rows<'static>; PARTS.len()]);

impl Default for Filled {
    fn default() -> Self {
        Self(PARTS.each_ref().map(Rows::of))
    }
}

impl Filled {
    fn of(rows: Vec<Row>, values: &Values) -> Result<Self, RestoreError> {
        let mut filled = Self::default();
        for row in rows {
            filled.add(row, values)?;
        }
        Ok(filled)
    }

    fn add(&mut self, row: Row, values: &Values) -> Result<(), RestoreError> {
        match row {
            Row::Head { slot, head } => self.0[HEADS].push([
                Value::Int(slot.number().into()),
                Value::Big(value::count(head.epoch.0)),
                Value::Big(value::count(head.sequence.0)),
            ]),
            Row::Entity { key, facts } => self.entity(&key, &facts),
            Row::State { key, payload, tags } => {
                let sealed = values.owned(Place::State(&key), payload.bytes.to_vec());
                self.state(&key, ("state", 0), &payload, sealed, Some(&tags));
            }
            Row::Snapshot { key, snapshot } => {
                let payload = snapshot.payload;
                let sealed = values.owned(Place::Snapshot(&key), payload.bytes.to_vec());
                let kind = ("snapshot", snapshot.sequence);
                self.state(&key, kind, &payload, sealed, None);
            }
            Row::Event {
                key,
                event,
                slot_sequence,
            } => self.event(&key, event, slot_sequence.0, values),
            Row::Change {
                key,
                slot_sequence,
                at,
                kind,
            } => self.change(&key, slot_sequence.0, value::time(at), kind),
            Row::Reply { key, record } => self.reply(&key, &record, values),
            Row::Outbox(pending) => self.effect(&pending, values)?,
            Row::Receipt { receiver, effect } => {
                self.0[RECEIPTS].push(receipt(receiver.number().into(), effect));
            }
            // Receipts that were dropped are not there; nothing else is known of them here.
            Row::Trimmed { .. } => {}
            Row::Timer { id, timer } => self.timer(&id, &timer, values),
            Row::Replica {
                node,
                key,
                at,
                state,
                deleted,
            } => {
                let sealed = values.owned(Place::Replica(node, &key), state.to_vec());
                self.replica(node, &key, (value::time(at), deleted), sealed);
            }
            Row::Node { name, replica } => self.node(&name, replica),
        }
        Ok(())
    }

    fn entity(&mut self, key: &EntityKey, facts: &EntityFacts) {
        let name = EntityName::from(key);
        let full = names::full_key(key, &name);
        self.0[ENTITIES].push([
            Value::Text(name.storage),
            Value::Text(name.id),
            Value::Int(key.slot().number().into()),
            Value::Bool(facts.has_state),
            Value::Bool(facts.last_event > 0 || facts.snapshot.is_some()),
            Value::MaybeBig(facts.deleted_until.map(value::time)),
            Value::MaybeBytes(full.map(Into::into)),
        ]);
    }

    fn state(
        &mut self,
        key: &EntityKey,
        (kind, event): (&str, u64),
        payload: &Payload,
        sealed: Cow<'static, [u8]>,
        tags: Option<&Tags>,
    ) {
        let name = EntityName::from(key);
        self.0[STATES].push([
            Value::Text(name.storage),
            Value::Text(name.id),
            Value::Text(kind.to_owned()),
            Value::Big(value::count(event)),
            Value::Text(names::text(&payload.type_url)),
            Value::Bytes(sealed),
            Value::MaybeText(tags.and_then(value::tags)),
        ]);
    }

    fn event(&mut self, key: &EntityKey, event: Event, sequence: u64, values: &Values) {
        let name = EntityName::from(key);
        let place = Place::Event(key, event.sequence);
        self.0[EVENTS].push([
            Value::Text(name.storage),
            Value::Text(name.id),
            Value::Big(value::count(event.sequence)),
            Value::Int(key.slot().number().into()),
            Value::Big(value::count(sequence)),
            Value::Big(value::time(event.at)),
            Value::Text(names::text(&event.payload.type_url)),
            Value::Bytes(values.owned(place, event.payload.bytes.to_vec())),
        ]);
    }

    /// Of a change with events, the events say all but when the tombstone may go.
    fn change(&mut self, key: &EntityKey, sequence: u64, at: i64, kind: ChangeKind) {
        let name = EntityName::from(key);
        let (change, until) = match kind {
            ChangeKind::Set => (SET, None),
            ChangeKind::Delete { until } => (DELETE, until),
            ChangeKind::Clean => (CLEAN, None),
            ChangeKind::Append {
                count: 0,
                deleted_until,
                ..
            } => (MARK, deleted_until),
            ChangeKind::Append {
                first,
                count,
                deleted_until,
            } => {
                if deleted_until.is_some() {
                    self.0[DELETIONS].push([
                        Value::Text(name.storage),
                        Value::Text(name.id),
                        Value::Big(value::count(first.saturating_add(count - 1))),
                        Value::MaybeBig(deleted_until.map(value::time)),
                    ]);
                }
                return;
            }
        };
        self.0[CHANGES].push([
            Value::Text(name.storage),
            Value::Text(name.id),
            Value::Big(value::count(sequence)),
            Value::Big(at),
            Value::MaybeBig(until.map(value::time)),
            Value::Text(change.to_owned()),
        ]);
    }

    fn reply(&mut self, key: &EntityKey, record: &ReplyRecord, values: &Values) {
        let name = EntityName::from(key);
        let command = names::command(&record.method, &record.idempotency_key);
        let message = ReplyRecordPart::from(record).encode_to_vec();
        let sealed = values.owned(Place::Reply(key, &command), message);
        self.0[REPLIES].push([
            Value::Text(name.storage),
            Value::Text(name.id),
            Value::Bytes(command.to_vec().into()),
            Value::Big(value::time(record.expires)),
            Value::Text(names::text(&record.method)),
            Value::Bytes(sealed),
        ]);
    }

    fn effect(&mut self, pending: &crate::Pending, values: &Values) -> Result<(), RestoreError> {
        let id = pending.id;
        if pending.sender.slot() != id.slot {
            return Err(value::damaged(Place::Effect(id), &"its sender is of another slot").into());
        }
        let message = OutboxMessage {
            sender: Some((&pending.sender).into()),
            effect: Some((&pending.effect).into()),
            hops: pending.hops,
        };
        let call = &pending.effect.call;
        self.0[OUTBOX].push([
            Value::Int(id.slot.number().into()),
            Value::Big(value::count(id.sequence.0)),
            Value::Big(id.index.into()),
            Value::Text(names::text(&format!("{}/{}", call.service, call.method))),
            Value::Bytes(values.owned(Place::Effect(id), message.encode_to_vec())),
        ]);
        Ok(())
    }

    fn timer(&mut self, id: &TimerId, timer: &Timer, values: &Values) {
        let entity = EntityName::from(&id.key);
        let name = names::timer(&id.name);
        let full = names::full_timer(id, &entity, &name);
        let message = TimerPart::from(timer).encode_to_vec();
        let sealed = values.owned(Place::Timer(&id.key, &name), message);
        let call = &timer.call;
        self.0[TIMERS].push([
            Value::Int(id.key.slot().number().into()),
            Value::Text(entity.storage),
            Value::Text(entity.id),
            Value::Text(name),
            Value::Big(value::time(timer.due)),
            Value::Text(names::text(&format!("{}/{}", call.service, call.method))),
            Value::Bytes(sealed),
            Value::MaybeBytes(full.map(Into::into)),
        ]);
    }

    fn replica(
        &mut self,
        node: NodeId,
        key: &EntityKey,
        (at, deleted): (i64, bool),
        sealed: Cow<'static, [u8]>,
    ) {
        let name = EntityName::from(key);
        let full = names::full_key(key, &name);
        self.0[REPLICAS].push([
            Value::Text(node.to_string()),
            Value::Text(name.storage),
            Value::Text(name.id),
            Value::Big(at),
            Value::Bool(deleted),
            Value::Bytes(sealed),
            Value::MaybeBytes(full.map(Into::into)),
        ]);
    }

    fn node(&mut self, name: &str, replica: Replica) {
        let (form, full) = (names::id(name), names::text(name));
        let full = (full != form).then_some(full);
        self.0[NODES].push([
            Value::Text(form),
            Value::Text(replica.node.to_string()),
            Value::Big(replica.incarnation.0.get().into()),
            Value::MaybeText(full),
        ]);
    }
}

/// A task has panicked.
fn ended(error: &JoinError) -> RestoreError {
    RestoreError::Unavailable {
        cause: error.to_string(),
    }
}

fn unwritten(error: HoldError) -> RestoreError {
    let cause = match error {
        HoldError::Lost(_) => "another import into it has begun".to_owned(),
        error => error.to_string(),
    };
    RestoreError::Unavailable { cause }
}
