//! The statement that commits a batch.
//!
//! # How it works
//! One statement does all of it: it locks the batch's slot rows in the order of their numbers, keeps
//! the slots whose epoch, fence and last sequence match and whose entities are where the batch
//! expects them, writes the rows of those alone, advances them, and tells how every slot stood and
//! whether it landed. What a batch removes goes in a second statement of the same transaction, which
//! takes only the slots that this batch has just advanced; both travel in one round trip.
//!
//! All parts of a statement see the tables as they were when it began, but the slot rows as they are
//! once they are locked. That is enough: the rows of a slot change only under the lock of its slot
//! row, a slot has one connection, and a connection that was lost is settled before anything else of
//! its slots is written.

use std::collections::HashMap;

use firn_model::id::Slot;
use futures_util::future::join4;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Statement};

use super::batch::Batch;
use super::connection::Session;
use super::lasts::Generations;
use super::statement::{Kind, Parameters, Part, Rows};
use super::writer::slot_of;

/// How a slot stood when its row was locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotRow {
    pub(super) epoch: i64,
    pub(super) last_seq: i64,
    pub(super) fence: i64,
    pub(super) has_landed: bool,
}

/// The slots of a batch and what their rows must hold.
pub(super) static SLOTS: Part = Part {
    columns: &[
        ("slot", Kind::Int),
        ("epoch", Kind::Big),
        ("fence", Kind::Big),
        ("before", Kind::Big),
        ("last", Kind::Big),
    ],
    sql: "\
ask AS (SELECT * FROM {rows}),
head AS (SELECT s.slot, s.epoch, s.last_seq, s.fence FROM firn_slots s
  WHERE s.slot = ANY($1::int4[]) ORDER BY s.slot FOR UPDATE)",
};

/// The entities of a batch: what is known of each, and what it becomes.
pub(super) static ENTITIES: Part = Part {
    columns: &[
        ("entity", Kind::Int),
        ("slot", Kind::Int),
        ("storage", Kind::Text),
        ("id", Kind::Text),
        ("full_key", Kind::Bytes),
        ("exact", Kind::Big),
        ("least", Kind::Big),
        ("writes", Kind::Bool),
        ("ends", Kind::Bool),
        ("cleans", Kind::Bool),
        ("appends", Kind::Bool),
        ("state", Kind::Big),
        ("buries", Kind::Bool),
        ("deleted_until", Kind::Big),
        ("changed_seq", Kind::Big),
        ("changed_at", Kind::Big),
        ("changed_until", Kind::Big),
        ("change", Kind::Text),
    ],
    sql: "\
base AS (SELECT r.entity, r.slot, r.storage, r.id, r.full_key, r.exact, r.least,
    r.writes OR (r.appends AND NOT coalesce(e.has_events, false)) AS writes,
    coalesce(e.generation, 0)
      + CASE WHEN r.ends AND coalesce(e.has_events, false) THEN 1 ELSE 0 END AS generation,
    coalesce(e.life, 0) + CASE WHEN r.cleans THEN 1 ELSE 0 END AS life,
    CASE r.state WHEN 1 THEN true WHEN 0 THEN false ELSE coalesce(e.has_state, false) END AS has_state,
    r.appends OR (coalesce(e.has_events, false) AND NOT r.ends) AS has_events,
    CASE WHEN r.buries THEN r.deleted_until ELSE e.deleted_until END AS deleted_until,
    coalesce(r.changed_seq, e.changed_seq) AS changed_seq,
    coalesce(r.changed_at, e.changed_at) AS changed_at,
    CASE WHEN r.change IS NULL THEN e.changed_until ELSE r.changed_until END AS changed_until,
    coalesce(r.change, e.change) AS change,
    CASE WHEN r.exact IS NULL AND r.least IS NULL THEN NULL ELSE coalesce(
      (SELECT v.number FROM firn_events v WHERE v.storage = r.storage AND v.id = r.id
        AND v.generation = e.generation ORDER BY v.number DESC LIMIT 1),
      (SELECT s.event FROM firn_states s WHERE s.storage = r.storage AND s.id = r.id
        AND s.kind = 'snapshot' AND s.generation = e.generation),
      0) END AS last
  FROM {rows} LEFT JOIN LATERAL (SELECT * FROM firn_entities x
    WHERE x.storage = r.storage AND x.id = r.id LIMIT 1) e ON true)",
};

/// Advances the slots that fit. `{unfit}` leaves those out whose entities are elsewhere.
const LANDED: &str = "\
landed AS (UPDATE firn_slots s SET last_seq = f.last, batch = {batch}
  FROM (SELECT a.slot, a.last FROM ask a JOIN head h ON h.slot = a.slot
    WHERE h.epoch = a.epoch AND h.fence = a.fence AND h.last_seq = a.before{unfit}) f
  WHERE s.slot = f.slot RETURNING s.slot)";

const UNFIT: &str = " AND NOT EXISTS (SELECT 1 FROM base b
      WHERE b.slot = a.slot AND (b.last <> b.exact OR b.last < b.least))";

const ENTITIES_WRITTEN: &str = "\
entities AS (INSERT INTO firn_entities (storage, id, slot, generation, life, has_state, has_events,
    deleted_until, changed_seq, changed_at, changed_until, change, full_key)
  SELECT b.storage, b.id, b.slot, b.generation, b.life, b.has_state, b.has_events,
    b.deleted_until, b.changed_seq, b.changed_at, b.changed_until, b.change, b.full_key
  FROM base b JOIN landed l ON l.slot = b.slot WHERE b.writes
  ON CONFLICT (storage, id) DO UPDATE SET generation = excluded.generation, life = excluded.life,
    has_state = excluded.has_state, has_events = excluded.has_events,
    deleted_until = excluded.deleted_until, changed_seq = excluded.changed_seq,
    changed_at = excluded.changed_at, changed_until = excluded.changed_until,
    change = excluded.change)";

/// Tells of every slot, once for each of its entities that was asked of.
const TOLD: &str = "
SELECT h.slot, h.epoch, h.last_seq, h.fence, l.slot IS NOT NULL, b.entity, b.generation
FROM head h LEFT JOIN landed l ON l.slot = h.slot LEFT JOIN base b ON b.slot = h.slot";

/// The same if none was.
const SLOTS_TOLD: &str = "
SELECT h.slot, h.epoch, h.last_seq, h.fence, l.slot IS NOT NULL, NULL::int4, NULL::int8
FROM head h LEFT JOIN landed l ON l.slot = h.slot";

/// How a state or snapshot takes the place of another, which it does unless that is newer.
macro_rules! unless_older {
    () => {
        "  ON CONFLICT (storage, id, kind) DO UPDATE SET generation = excluded.generation,
    event = excluded.event, type = excluded.type, value = excluded.value, tags = excluded.tags
  WHERE t.generation < excluded.generation
    OR (t.generation = excluded.generation AND t.event <= excluded.event))"
    };
}

/// What a batch writes, each into a table of its own.
pub(super) static WRITES: [Part; 8] = [
    Part {
        columns: &[
            ("entity", Kind::Int),
            ("kind", Kind::Text),
            ("event", Kind::Big),
            ("type", Kind::Text),
            ("value", Kind::Bytes),
            ("tags", Kind::Text),
        ],
        sql: concat!(
            "states AS (INSERT INTO firn_states AS t (storage, id, kind, generation, event, type, value, tags)
  SELECT b.storage, b.id, r.kind, b.generation, coalesce(r.event, b.last), r.type, r.value, r.tags
  FROM {rows} JOIN base b ON b.entity = r.entity JOIN landed l ON l.slot = b.slot\n",
            unless_older!()
        ),
    },
    Part {
        columns: &[
            ("entity", Kind::Int),
            ("number", Kind::Big),
            ("seq", Kind::Big),
            ("at", Kind::Big),
            ("type", Kind::Text),
            ("value", Kind::Bytes),
            ("deleted_until", Kind::Big),
        ],
        sql: "\
events AS (INSERT INTO firn_events (storage, id, generation, number, slot, seq, at, type, value,
    deleted_until)
  SELECT b.storage, b.id, b.generation, r.number, b.slot, r.seq, r.at, r.type, r.value,
    r.deleted_until
  FROM {rows} JOIN base b ON b.entity = r.entity JOIN landed l ON l.slot = b.slot)",
    },
    Part {
        columns: &[
            ("entity", Kind::Int),
            ("command", Kind::Bytes),
            ("expires", Kind::Big),
            ("method", Kind::Text),
            ("record", Kind::Bytes),
        ],
        sql: "\
replies AS (INSERT INTO firn_replies (storage, id, life, command, expires, method, record)
  SELECT b.storage, b.id, b.life, r.command, r.expires, r.method, r.record
  FROM {rows} JOIN base b ON b.entity = r.entity JOIN landed l ON l.slot = b.slot
  ON CONFLICT (storage, id, life, command) DO UPDATE SET expires = excluded.expires,
    method = excluded.method, record = excluded.record)",
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
outbox AS (INSERT INTO firn_outbox (slot, seq, place, method, effect)
  SELECT r.slot, r.seq, r.place, r.method, r.effect FROM {rows} JOIN landed l ON l.slot = r.slot)",
    },
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("sender", Kind::Int),
            ("seq", Kind::Big),
            ("place", Kind::Big),
        ],
        sql: "\
receipts AS (INSERT INTO firn_receipts (slot, sender, seq, place)
  SELECT r.slot, r.sender, r.seq, r.place FROM {rows} JOIN landed l ON l.slot = r.slot
  ON CONFLICT DO NOTHING)",
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
timers AS (INSERT INTO firn_timers (slot, storage, id, name, due, method, timer, full_id)
  SELECT r.slot, r.storage, r.id, r.name, r.due, r.method, r.timer, r.full_id
  FROM {rows} JOIN landed l ON l.slot = r.slot
  ON CONFLICT (storage, id, name) DO UPDATE SET due = excluded.due, method = excluded.method,
    timer = excluded.timer)",
    },
    // Of entities whose generation the writer knows, and whose row stays as it is.
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("generation", Kind::Big),
            ("number", Kind::Big),
            ("seq", Kind::Big),
            ("at", Kind::Big),
            ("type", Kind::Text),
            ("value", Kind::Bytes),
            ("deleted_until", Kind::Big),
        ],
        sql: "\
known_events AS (INSERT INTO firn_events (storage, id, generation, number, slot, seq, at, type, value,
    deleted_until)
  SELECT r.storage, r.id, r.generation, r.number, r.slot, r.seq, r.at, r.type, r.value,
    r.deleted_until
  FROM {rows} JOIN landed l ON l.slot = r.slot)",
    },
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("generation", Kind::Big),
            ("event", Kind::Big),
            ("type", Kind::Text),
            ("value", Kind::Bytes),
        ],
        sql: concat!(
            "known_snapshots AS (INSERT INTO firn_states AS t (storage, id, kind, generation, event, type, value)
  SELECT r.storage, r.id, 'snapshot', r.generation, r.event, r.type, r.value
  FROM {rows} JOIN landed l ON l.slot = r.slot\n",
            unless_older!()
        ),
    },
];

/// The slots that this batch has advanced.
const ADVANCED: &str = "\
WITH landed AS (SELECT slot FROM firn_slots WHERE slot = ANY($1::int4[]) AND batch = $2::int8)";

/// What a batch removes, each from a table of its own.
pub(super) static REMOVALS: [Part; 4] = [
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("kind", Kind::Text),
        ],
        sql: "\
states AS (DELETE FROM firn_states t USING {rows}, landed l
  WHERE l.slot = r.slot AND t.storage = r.storage AND t.id = r.id AND t.kind = r.kind)",
    },
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("seq", Kind::Big),
            ("place", Kind::Big),
        ],
        sql: "\
outbox AS (DELETE FROM firn_outbox t USING {rows}, landed l
  WHERE l.slot = r.slot AND t.slot = r.slot AND t.seq = r.seq AND t.place = r.place)",
    },
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("name", Kind::Text),
        ],
        sql: "\
timers AS (DELETE FROM firn_timers t USING {rows}, landed l
  WHERE l.slot = r.slot AND t.storage = r.storage AND t.id = r.id AND t.name = r.name)",
    },
    Part {
        columns: &[
            ("slot", Kind::Int),
            ("sender", Kind::Int),
            ("below", Kind::Big),
        ],
        sql: "\
receipts AS (DELETE FROM firn_receipts t USING {rows}, landed l
  WHERE l.slot = r.slot AND t.slot = r.slot AND t.sender = r.sender AND t.seq < r.below)",
    },
];

/// What a statement has told.
#[derive(Default)]
pub(super) struct Answer {
    /// How each slot stood.
    pub(super) slots: HashMap<Slot, SlotRow>,
    /// The generations after the batch of the entities that it asked for.
    pub(super) generations: Generations,
}

/// Why a batch was not committed, as far as that is known.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: Error,
    /// Whether there was no transaction: what was sent behind its beginning may be written for
    /// itself, whatever the error says.
    pub(super) nothing_begun: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            nothing_begun: false,
        }
    }
}

/// Commits a batch under a number of its own, in one round trip.
///
/// # Errors
/// If the database refuses it, nothing was written; if the connection was lost, or nothing was begun,
/// that is not known.
pub(super) async fn commit(
    session: &Session,
    batch: &Batch<'_>,
    number: i64,
) -> Result<Answer, Failed> {
    let write = prepare_write(session, batch).await?;
    let parameters = write_parameters(batch, &number);
    let rows = if batch.removes() {
        let remove = prepare_remove(session, batch).await?;
        let removed = remove_parameters(batch, &number);
        let client = session.client();
        // All four are sent before the first is answered.
        let (begun, rows, removed, ended) = join4(
            client.batch_execute("BEGIN"),
            client.query(&write, &parameters),
            client.query(&remove, &removed),
            client.batch_execute("COMMIT"),
        )
        .await;
        begun.map_err(|error| Failed {
            error,
            nothing_begun: true,
        })?;
        let rows = rows?;
        removed?;
        ended?;
        rows
    } else {
        session.client().query(&write, &parameters).await?
    };
    let mut answer = Answer::default();
    for row in &rows {
        let Some(slot) = slot_of(row.try_get(0)?) else {
            continue;
        };
        let told = SlotRow {
            epoch: row.try_get(1)?,
            last_seq: row.try_get(2)?,
            fence: row.try_get(3)?,
            has_landed: row.try_get(4)?,
        };
        answer.slots.insert(slot, told);
        let entity: Option<i32> = row.try_get(5)?;
        let place = entity.and_then(|entity| usize::try_from(entity).ok());
        let key = place.and_then(|place| batch.asked.get(place));
        if let (Some(key), Some(generation)) = (key, row.try_get(6)?) {
            answer.generations.insert((*key).clone(), generation);
        }
    }
    Ok(answer)
}

async fn prepare_write(session: &Session, batch: &Batch<'_>) -> Result<Statement, Error> {
    let parts = mask(std::iter::once(&batch.entities).chain(&batch.writes));
    session
        .prepared(("write", parts), || write_sql(batch))
        .await
}

async fn prepare_remove(session: &Session, batch: &Batch<'_>) -> Result<Statement, Error> {
    let parts = mask(&batch.removals);
    session
        .prepared(("remove", parts), || remove_sql(batch))
        .await
}

/// Which of these have rows.
fn mask<'a>(rows: impl IntoIterator<Item = &'a Rows<'a>>) -> u32 {
    let bits = (0u32..).zip(rows);
    bits.fold(0, |mask, (bit, rows)| {
        mask | (u32::from(!rows.is_empty()) << bit)
    })
}

fn write_sql(batch: &Batch<'_>) -> String {
    let mut next = 1;
    let mut numbered = |rows: &Rows<'_>| {
        let sql = rows.sql(next);
        next += rows.width();
        sql
    };
    let mut parts = vec![numbered(&batch.slots)];
    let mut unfit = "";
    if !batch.entities.is_empty() {
        parts.push(numbered(&batch.entities));
        unfit = UNFIT;
    }
    let written: Vec<String> = filled(&batch.writes).map(&mut numbered).collect();
    let number = format!("${next}::int8");
    parts.push(LANDED.replace("{unfit}", unfit).replace("{batch}", &number));
    if !batch.entities.is_empty() {
        parts.push(ENTITIES_WRITTEN.to_owned());
    }
    parts.extend(written);
    let told = match batch.entities.is_empty() {
        true => SLOTS_TOLD,
        false => TOLD,
    };
    format!("WITH {}{told}", parts.join(",\n"))
}

fn write_parameters<'a>(batch: &'a Batch<'_>, number: &'a i64) -> Parameters<'a> {
    let mut parameters: Parameters<'_> = batch.slots.parameters().collect();
    if !batch.entities.is_empty() {
        parameters.extend(batch.entities.parameters());
    }
    parameters.extend(filled(&batch.writes).flat_map(Rows::parameters));
    parameters.push(number);
    parameters
}

fn remove_sql(batch: &Batch<'_>) -> String {
    let mut parts = vec![ADVANCED.to_owned()];
    let mut next = 3;
    for rows in filled(&batch.removals) {
        parts.push(rows.sql(next));
        next += rows.width();
    }
    format!("{}\nSELECT 1", parts.join(",\n"))
}

fn remove_parameters<'a>(batch: &'a Batch<'_>, number: &'a i64) -> Parameters<'a> {
    let slots = batch.slots.parameters().next();
    let slots = slots.expect("the slots of a batch have columns");
    let mut parameters: Parameters<'_> = vec![slots, number as &(dyn ToSql + Sync)];
    parameters.extend(filled(&batch.removals).flat_map(Rows::parameters));
    parameters
}

fn filled<'a, 'b>(rows: &'a [Rows<'b>]) -> impl Iterator<Item = &'a Rows<'b>> {
    rows.iter().filter(|rows| !rows.is_empty())
}
