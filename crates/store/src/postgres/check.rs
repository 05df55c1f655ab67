//! Checking a database: whether every row can be read, and whether rows agree with one another.
//!
//! # How it works
//! Each table is gone through once, as it is at one moment. Every row comes with what it relies on in
//! other tables, so what is looked at is one row of an answer at a time. The rules are those of the
//! embedded store as far as the tables leave room for breaking them: what is found by an index of the
//! database has no row of its own here that could be wrong.
//!
//! What can be repaired is what is made from something else (a column that repeats what a message
//! holds), and what nobody can see (rows of generations that have ended). Whatever was said by a
//! function is never changed, and never removed as long as anything could lead to it.

use firn_model::id::{EntityKey, Slot};
use tokio_postgres::Row as Found;
use tokio_postgres::types::Type;

use super::archive::receipts;
use super::batch::{CLEAN, DELETE, MARK, SET};
use super::connection::Session;
use super::error::OpenError;
use super::hold::Hold;
use super::moment::Moment;
use super::names::{self, EntityName};
use super::read::{column, key_of, pending, unreadable};
use super::replicas::node_of;
use super::statement::{Kind, Part, Rows, Value};
use super::url::Url;
use super::value::{self, Place, Values};
use super::writer::slot_of;
use super::{Config, Inner, Postgres};
use crate::ReadError;
use crate::check::{Checked, Finding, Repair, Told};
use crate::encoding::parts::{ReplyRecordPart, TimerPart};

/// How many findings wait until the repairs among them are written, but for those of the rows that
/// came with the last of them.
const FINDINGS_MAX: usize = 1024;

/// What the statements of [`REPAIRS`] are known by.
const NAME: &str = "repair";

/// How rows are put right.
static REPAIRS: [Part; 4] = [
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("kind", Kind::Text),
        ],
        sql: "\
DELETE FROM firn_states t USING {rows}
WHERE t.storage = r.storage AND t.id = r.id AND t.kind = r.kind",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("generation", Kind::Big),
            ("number", Kind::Big),
        ],
        sql: "\
DELETE FROM firn_events t USING {rows}
WHERE t.storage = r.storage AND t.id = r.id AND t.generation = r.generation
  AND t.number = r.number",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("life", Kind::Big),
            ("command", Kind::Bytes),
            ("expires", Kind::Big),
        ],
        sql: "\
UPDATE firn_replies t SET expires = r.expires FROM {rows}
WHERE t.storage = r.storage AND t.id = r.id AND t.life = r.life AND t.command = r.command",
    },
    Part {
        columns: &[
            ("storage", Kind::Text),
            ("id", Kind::Text),
            ("name", Kind::Text),
            ("due", Kind::Big),
            ("slot", Kind::Int),
        ],
        sql: "\
UPDATE firn_timers t SET due = r.due, slot = r.slot FROM {rows}
WHERE t.storage = r.storage AND t.id = r.id AND t.name = r.name",
    },
];

/// Which of [`REPAIRS`].
const STATES: usize = 0;
const EVENTS: usize = 1;
const REPLIES: usize = 2;
const TIMERS: usize = 3;

/// A table, and how its rows are looked at.
struct Stage {
    table: &'static str,
    /// How many columns of the answer name the row; they are the first.
    names: usize,
    sql: &'static str,
    look: fn(&mut Check, &Found) -> Result<(), ReadError>,
}

const STAGES: &[Stage] = &[
    Stage {
        table: "firn_slots",
        names: 1,
        sql: "\
SELECT n::int4, s.slot IS NOT NULL FROM generate_series(0, 16383) n
LEFT JOIN firn_slots s ON s.slot = n ORDER BY n",
        look: Check::slot,
    },
    Stage {
        table: "firn_entities",
        names: 2,
        sql: "\
SELECT e.storage, e.id, e.full_key, e.slot, h.last_seq, e.has_state, e.has_events,
  EXISTS (SELECT 1 FROM firn_states s
    WHERE s.storage = e.storage AND s.id = e.id AND s.kind = 'state'),
  EXISTS (SELECT 1 FROM firn_states s WHERE s.storage = e.storage AND s.id = e.id
    AND s.kind = 'snapshot' AND s.generation = e.generation)
  OR EXISTS (SELECT 1 FROM firn_events v WHERE v.storage = e.storage AND v.id = e.id
    AND v.generation = e.generation),
  e.changed_seq, e.changed_at, e.change
FROM firn_entities e LEFT JOIN firn_slots h ON h.slot = e.slot ORDER BY e.storage, e.id",
        look: Check::entity,
    },
    Stage {
        table: "firn_states",
        names: 3,
        sql: "\
SELECT s.storage, s.id, s.kind, e.full_key, s.generation, e.generation, e.has_state, s.type,
  s.value, s.tags, s.event,
  (SELECT v.number FROM firn_events v WHERE v.storage = s.storage AND v.id = s.id
    AND v.generation = s.generation ORDER BY v.number DESC LIMIT 1)
FROM firn_states s LEFT JOIN firn_entities e ON e.storage = s.storage AND e.id = s.id
ORDER BY s.storage, s.id, s.kind",
        look: Check::state,
    },
    Stage {
        table: "firn_events",
        names: 4,
        sql: "\
SELECT v.storage, v.id, v.generation, v.number, e.full_key, v.slot, v.seq, h.last_seq,
  v.type, v.value, e.generation, e.swept, e.has_events, s.event
FROM firn_events v LEFT JOIN firn_entities e ON e.storage = v.storage AND e.id = v.id
LEFT JOIN firn_states s ON s.storage = v.storage AND s.id = v.id AND s.kind = 'snapshot'
  AND s.generation = v.generation
LEFT JOIN firn_slots h ON h.slot = v.slot
ORDER BY v.storage, v.id, v.generation, v.number",
        look: Check::event,
    },
    Stage {
        table: "firn_replies",
        names: 4,
        sql: "\
SELECT r.storage, r.id, r.life, r.command, e.full_key, coalesce(e.life, 0), r.expires, r.record
FROM firn_replies r LEFT JOIN firn_entities e ON e.storage = r.storage AND e.id = r.id
ORDER BY r.storage, r.id, r.life, r.command",
        look: Check::reply,
    },
    Stage {
        table: "firn_outbox",
        names: 3,
        sql: "\
SELECT o.slot, o.seq, o.place, o.effect, h.last_seq
FROM firn_outbox o LEFT JOIN firn_slots h ON h.slot = o.slot ORDER BY o.slot, o.seq, o.place",
        look: Check::effect,
    },
    Stage {
        table: "firn_receipts",
        names: 4,
        sql: "SELECT slot, sender, seq, place FROM firn_receipts ORDER BY slot, sender, seq, place",
        look: |check, row| receipts(&check.values, row).map(drop),
    },
    Stage {
        table: "firn_timers",
        names: 3,
        sql: "\
SELECT storage, id, name, full_id, timer, due, slot FROM firn_timers ORDER BY storage, id, name",
        look: Check::timer,
    },
    Stage {
        table: "firn_replicas",
        names: 3,
        sql: "\
SELECT node, storage, id, full_key, state FROM firn_replicas ORDER BY node, storage, id",
        look: Check::replica,
    },
    Stage {
        table: "firn_nodes",
        names: 1,
        sql: "\
SELECT name, node, incarnation, coalesce(full_name, name) FROM firn_nodes ORDER BY name",
        look: |_, row| node(row),
    },
];

/// Checks everything in a database. What is found goes to `tell`; with an owner in `config`, whose
/// slots are taken meanwhile, what can be repaired is. Without one, a Firn may serve from it.
///
/// # Errors
/// See [`OpenError`]: the database cannot be opened at all, or not be read or written to the end.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn check(
    config: Config,
    tell: &mut (dyn FnMut(Told) + Send),
) -> Result<Checked, OpenError> {
    let owner = config.owner.as_ref().map(|owner| owner.name.clone());
    let store = Postgres::open(config, |_| {}).await?;
    let checked = store.inner.check(owner, tell).await;
    store.close().await;
    checked
}

impl Inner {
    async fn check(
        &self,
        owner: Option<String>,
        tell: &mut (dyn FnMut(Told) + Send),
    ) -> Result<Checked, OpenError> {
        let hold = match owner {
            None => None,
            Some(owner) => {
                let session = Session::connect(&self.url).await;
                let session = session.map_err(|error| OpenError::connect(&self.url, &error))?;
                Some(Hold { session, owner })
            }
        };
        let mut check = Check {
            values: self.values.clone(),
            repairs: Repairs::default(),
            is_repairing: hold.is_some(),
            checked: Checked::default(),
            place: String::new(),
            entity: None,
            last_event: None,
            findings: Vec::new(),
        };
        let looked = check.look(&self.url, hold.as_ref(), tell).await;
        // Also if what follows cannot be read: what was found before is so.
        let told = check.tell(hold.as_ref(), tell).await;
        looked.and(told)?;
        Ok(check.checked)
    }
}

/// What is to be put right.
struct Repairs {
    rows: [Rows<'static>; REPAIRS.len()],
    count: u64,
}

impl Default for Repairs {
    fn default() -> Self {
        Self {
            rows: REPAIRS.each_ref().map(Rows::of),
            count: 0,
        }
    }
}

/// What is known while rows go by.
struct Check {
    values: Values,
    repairs: Repairs,
    is_repairing: bool,
    checked: Checked,
    /// Which row is looked at.
    place: String,
    /// Of which entity it is, once that is known.
    entity: Option<EntityKey>,
    /// The last event that was seen: its entity's names, its generation and number.
    last_event: Option<(String, String, i64, u64)>,
    /// What was found and not yet told. What is done by then is marked so before it is.
    findings: Vec<Finding>,
}

impl Check {
    /// Goes through all tables.
    async fn look(
        &mut self,
        url: &Url,
        hold: Option<&Hold>,
        tell: &mut (dyn FnMut(Told) + Send),
    ) -> Result<(), OpenError> {
        let mut moment = Moment::of(url).await.map_err(OpenError::unread)?;
        for stage in STAGES {
            loop {
                let rows = moment.rows(stage.sql).await.map_err(OpenError::unread)?;
                if rows.is_empty() {
                    break;
                }
                for row in &rows {
                    self.row(stage, row).map_err(OpenError::unread)?;
                }
                tell(Told::Rows(self.checked.rows));
                if self.repairs.count == 0 || self.findings.len() >= FINDINGS_MAX {
                    self.tell(hold, tell).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes what is to be put right, then tells what was found.
    async fn tell(
        &mut self,
        hold: Option<&Hold>,
        tell: &mut (dyn FnMut(Told) + Send),
    ) -> Result<(), OpenError> {
        let Repairs { rows, count } = std::mem::take(&mut self.repairs);
        let written = match hold {
            Some(hold) if count > 0 => hold.write(NAME, &rows).await.map(drop),
            _ => Ok(()),
        };
        if written.is_ok() {
            self.checked.repaired += count;
        }
        for mut finding in self.findings.drain(..) {
            if finding.repair == Repair::Done && written.is_err() {
                finding.repair = Repair::Possible;
            }
            tell(Told::Finding(finding));
        }
        Ok(written?)
    }

    fn row(&mut self, stage: &Stage, row: &Found) -> Result<(), ReadError> {
        self.checked.rows += 1;
        self.place = place(stage, row)?;
        self.entity = None;
        match (stage.look)(self, row) {
            Err(ReadError::Damaged { fault, .. }) => {
                self.lost(fault);
                Ok(())
            }
            looked => looked,
        }
    }

    fn slot(&mut self, row: &Found) -> Result<(), ReadError> {
        if !column(row, 1)? {
            self.lost("it is missing");
        }
        Ok(())
    }

    fn entity(&mut self, row: &Found) -> Result<(), ReadError> {
        let key = self.named(row, [0, 1, 2])?;
        self.is_of_slot(&key, column(row, 3)?);
        let (has_state, has_events): (bool, bool) = (column(row, 5)?, column(row, 6)?);
        if has_state && !column::<bool>(row, 7)? {
            self.lost("its state is missing");
        }
        if has_events && !column::<bool>(row, 8)? {
            self.lost("its events are missing");
        }
        let (sequence, at): (Option<i64>, Option<i64>) = (column(row, 9)?, column(row, 10)?);
        let change: Option<&str> = column(row, 11)?;
        match (sequence, at, change) {
            (None, None, None) => {}
            (Some(sequence), Some(_), Some(change)) => {
                if ![SET, DELETE, MARK, CLEAN].contains(&change) {
                    self.lost(format!("its newest change, {change:?}, is none"));
                }
                if change == SET && !has_state {
                    self.lost("its newest change has set a state, and it has none");
                }
                self.is_below_head(sequence, column(row, 4)?);
            }
            _ => self.lost("its newest change is there in part"),
        }
        Ok(())
    }

    fn state(&mut self, row: &Found) -> Result<(), ReadError> {
        let (storage, id, kind): (&str, &str, &str) =
            (column(row, 0)?, column(row, 1)?, column(row, 2)?);
        let Some(living) = column::<Option<i64>>(row, 5)? else {
            self.lost("its entity is missing");
            return Ok(());
        };
        let generation: i64 = column(row, 4)?;
        if kind == "snapshot" && generation < living {
            let repair = [storage, id, kind].map(|name| Value::Text(name.to_owned()));
            self.made("it is of no living generation", |repairs| {
                repairs[STATES].push(repair);
            });
            return Ok(());
        }
        if generation > living {
            self.lost("it is of a later generation than its entity");
            return Ok(());
        }
        let key = self.named(row, [0, 1, 3])?;
        let sealed = match kind {
            "state" => Place::State(&key),
            "snapshot" => Place::Snapshot(&key),
            _ => {
                self.lost("its kind is unknown");
                return Ok(());
            }
        };
        self.values
            .payload(sealed, column(row, 7)?, column(row, 8)?)?;
        if value::tags_of(column(row, 9)?).is_none() {
            self.lost("its tags are no JSON");
        }
        if kind == "state" {
            if column::<Option<bool>>(row, 6)? != Some(true) {
                self.lost("its entity has no state");
            }
            return Ok(());
        }
        let (event, last): (i64, Option<i64>) = (column(row, 10)?, column(row, 11)?);
        // The last event stays, whatever is trimmed.
        let last = last.unwrap_or(0);
        if last < event {
            self.lost(format!(
                "it is of event {event}, and the last one is {last}"
            ));
        }
        Ok(())
    }

    fn event(&mut self, row: &Found) -> Result<(), ReadError> {
        let (storage, id): (&str, &str) = (column(row, 0)?, column(row, 1)?);
        let (generation, number): (i64, i64) = (column(row, 2)?, column(row, 3)?);
        let before = self
            .last_event
            .replace((
                storage.to_owned(),
                id.to_owned(),
                generation,
                value::number(number),
            ))
            .filter(|(of, named, last, _)| of == storage && named == id && *last == generation);
        let Some(living) = column::<Option<i64>>(row, 10)? else {
            self.lost("its entity is missing");
            return Ok(());
        };
        if generation < living {
            if column::<i64>(row, 11)? >= living {
                let names = [storage, id].map(|name| Value::Text(name.to_owned()));
                let [storage, id] = names;
                let fault = "it is of no living generation, and nothing removes it";
                self.made(fault, |repairs| {
                    let numbers = (Value::Big(generation), Value::Big(number));
                    repairs[EVENTS].push([storage, id, numbers.0, numbers.1]);
                });
            }
            return Ok(());
        }
        if generation > living {
            self.lost("it is of a later generation than its entity");
            return Ok(());
        }
        if !column::<bool>(row, 12)? {
            self.lost("its entity has no events");
        }
        let key = self.named(row, [0, 1, 4])?;
        self.is_of_slot(&key, column(row, 5)?);
        self.is_below_head(column(row, 6)?, column(row, 7)?);
        let number = value::number(number);
        let snapshot: Option<i64> = column(row, 13)?;
        // The first may be any that the snapshot holds: those before it may have been trimmed.
        let last = match before {
            Some((.., last)) => last,
            None => snapshot
                .map_or(0, value::number)
                .min(number.saturating_sub(1)),
        };
        if number != last + 1 {
            self.lost(format!("event {} before it is missing", last + 1));
        }
        let place = Place::Event(&key, number);
        self.values
            .payload(place, column(row, 8)?, column(row, 9)?)?;
        Ok(())
    }

    fn reply(&mut self, row: &Found) -> Result<(), ReadError> {
        let key = self.named(row, [0, 1, 4])?;
        let (life, command): (i64, &[u8]) = (column(row, 2)?, column(row, 3)?);
        if life > column(row, 5)? {
            self.lost("it is of a later life than its entity");
        }
        let place = Place::Reply(&key, command);
        let record: crate::ReplyRecord = self
            .values
            .message::<ReplyRecordPart, _>(place, column(row, 7)?)?;
        if names::command(&record.method, &record.idempotency_key) != command {
            self.lost("it is the answer of another command");
        }
        let expires = value::time(record.expires);
        if column::<i64>(row, 6)? != expires {
            let (storage, id): (&str, &str) = (column(row, 0)?, column(row, 1)?);
            let names = (storage.to_owned(), id.to_owned());
            let command = command.to_vec();
            self.made("nothing leads to its expiry", |repairs| {
                repairs[REPLIES].push([
                    Value::Text(names.0),
                    Value::Text(names.1),
                    Value::Big(life),
                    Value::Bytes(command.into()),
                    Value::Big(expires),
                ]);
            });
        }
        Ok(())
    }

    fn effect(&mut self, row: &Found) -> Result<(), ReadError> {
        let pending = pending(&self.values, row)?;
        self.is_of_slot(&pending.sender, pending.id.slot.number().into());
        self.is_below_head(value::count(pending.id.sequence.0), column(row, 4)?);
        Ok(())
    }

    fn timer(&mut self, row: &Found) -> Result<(), ReadError> {
        let (storage, id, name): (&str, &str, &str) =
            (column(row, 0)?, column(row, 1)?, column(row, 2)?);
        let timer_id = names::timer_id(storage, id, name, column(row, 3)?);
        let timer_id = timer_id.ok_or_else(|| unreadable("a timer"))?;
        let place = Place::Timer(&timer_id.key, name);
        let timer: crate::Timer = self
            .values
            .message::<TimerPart, _>(place, column(row, 4)?)?;
        let due = value::time(timer.due);
        let slot = i32::from(timer_id.key.slot().number());
        if (column::<i64>(row, 5)?, column::<i32>(row, 6)?) != (due, slot) {
            let names = [storage, id, name].map(|name| Value::Text(name.to_owned()));
            let [storage, id, name] = names;
            self.made("nothing leads to it when it is due", |repairs| {
                repairs[TIMERS].push([storage, id, name, Value::Big(due), Value::Int(slot)]);
            });
        }
        Ok(())
    }

    fn replica(&mut self, row: &Found) -> Result<(), ReadError> {
        let key = self.named(row, [1, 2, 3])?;
        let node = node_of(column(row, 0)?)?;
        self.values
            .bytes(Place::Replica(node, &key), column(row, 4)?)?;
        Ok(())
    }

    /// The entity of a row, whose whole key, if there is one, must be the one that its names stand for.
    fn named(&mut self, row: &Found, places: [usize; 3]) -> Result<EntityKey, ReadError> {
        let key = key_of(row, places)?;
        let name = EntityName::from(&key);
        let (storage, id): (&str, &str) = (column(row, places[0])?, column(row, places[1])?);
        if name.storage != storage || name.id != id {
            self.lost("its whole key is another's");
        }
        self.entity = Some(key.clone());
        Ok(key)
    }

    fn is_of_slot(&mut self, key: &EntityKey, slot: i32) {
        let expected: Slot = key.slot();
        if slot_of(slot) != Some(expected) {
            self.lost(format!("its entity is of slot {expected}, not {slot}"));
        }
    }

    fn is_below_head(&mut self, sequence: i64, last: Option<i64>) {
        // A slot that is missing is told by itself.
        if let Some(last) = last.filter(|last| *last < sequence) {
            self.lost(format!(
                "it is of commit {sequence}, and its slot ends with {last}"
            ));
        }
    }

    /// Tells of something that cannot be put right.
    fn lost(&mut self, fault: impl Into<String>) {
        self.find(fault.into(), Repair::Impossible);
    }

    /// Tells of something that can be, once it was done if that is asked for.
    fn made(&mut self, fault: &str, repair: impl FnOnce(&mut [Rows<'static>; REPAIRS.len()])) {
        if !self.is_repairing {
            self.find(fault.to_owned(), Repair::Possible);
            return;
        }
        repair(&mut self.repairs.rows);
        self.repairs.count += 1;
        self.find(fault.to_owned(), Repair::Done);
    }

    fn find(&mut self, fault: String, repair: Repair) {
        self.checked.findings += 1;
        self.findings.push(Finding {
            place: self.place.clone(),
            entity: self.entity.clone(),
            fault,
            repair,
        });
    }
}

fn node(row: &Found) -> Result<(), ReadError> {
    node_of(column(row, 1)?)?;
    let incarnation: i64 = column(row, 2)?;
    let name: &str = column(row, 3)?;
    let is_run = u32::try_from(incarnation).is_ok_and(|number| number > 0);
    match is_run && names::original(name).is_some() {
        true => Ok(()),
        false => Err(unreadable("a node")),
    }
}

/// A row as people find it: its table, and the columns of its key.
fn place(stage: &Stage, row: &Found) -> Result<String, ReadError> {
    let mut place = stage.table.to_owned();
    for (index, named) in row.columns()[..stage.names].iter().enumerate() {
        let part = match *named.type_() {
            Type::TEXT => format!("{:?}", column::<&str>(row, index)?),
            Type::INT4 => column::<i32>(row, index)?.to_string(),
            Type::INT8 => column::<i64>(row, index)?.to_string(),
            _ => {
                let bytes = column::<&[u8]>(row, index)?.iter();
                bytes.map(|byte| format!("{byte:02x}")).collect()
            }
        };
        place.push(' ');
        place.push_str(&part);
    }
    Ok(place)
}
