//! A batch: what the commits of some slots come to, as rows.
//!
//! # How it works
//! Commits of one entity are folded into what they come to: one row of the entity, the events that
//! are left, the last state. Where a fold builds on something that only the database knows (which
//! event is the last), it says what it expects, and the statement compares it. So one statement can
//! write commits of many entities without reading any of them first.
//!
//! What cannot be a commit at all (broken in itself, or not continuing the commit before it) makes its
//! slot *broken*: it is only asked for its head.
//!
//! # Not here
//! Text of the statements: see [`super::write`].

use std::collections::{BTreeMap, HashMap};

use firn_model::decision::{Effect, Tags};
use firn_model::id::{EffectId, EntityKey, Epoch, Slot, SlotSequence};
use firn_model::payload::Payload;
use prost::Message;

use super::lasts::{Last, Lasts};
use super::names::{self, EntityName};
use super::statement::{Rows, Value};
use super::value::{self, Place, Values};
use super::write;
use crate::commit::{Change, Commit, ReplyRecord};
use crate::encoding::parts::{EffectPart, KeyPart, ReplyRecordPart, TimerPart};
use crate::entity::Timestamp;
use crate::fence::is_whole;
use crate::timer::{TimerId, TimerWrite};

/// An effect as the outbox holds it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OutboxMessage {
    #[prost(message, optional, tag = "1")]
    pub(super) sender: Option<KeyPart>,
    #[prost(message, optional, tag = "2")]
    pub(super) effect: Option<EffectPart>,
    #[prost(uint32, tag = "3")]
    pub(super) hops: u32,
}

/// The commits of one slot, in order; there is at least one.
pub(super) struct SlotCommits {
    pub(super) slot: Slot,
    pub(super) commits: Vec<Commit>,
}

impl SlotCommits {
    pub(super) fn epoch(&self) -> Epoch {
        self.commits
            .first()
            .map(|commit| commit.epoch)
            .unwrap_or_default()
    }

    /// The sequence that the slot must have reached before.
    pub(super) fn before(&self) -> SlotSequence {
        let first = self.commits.first().map_or(0, |commit| commit.sequence.0);
        SlotSequence(first.saturating_sub(1))
    }

    pub(super) fn last(&self) -> SlotSequence {
        self.commits
            .last()
            .map(|commit| commit.sequence)
            .unwrap_or_default()
    }

    /// Whether the commits can be what follows upon each other.
    fn is_sound(&self) -> bool {
        let first = self.commits.first().map_or(0, |commit| commit.sequence.0);
        first > 0
            && (first..).zip(&self.commits).all(|(sequence, commit)| {
                commit.sequence.0 == sequence && commit.epoch == self.epoch() && is_whole(commit)
            })
    }
}

/// The rows of a batch, by what is done with them.
pub(super) struct Batch<'a> {
    pub(super) slots: Rows<'a>,
    /// The entities of which the database is asked something.
    pub(super) entities: Rows<'a>,
    /// Their keys, in the same order.
    pub(super) asked: Vec<&'a EntityKey>,
    /// What is written, in the order of the statement.
    pub(super) writes: [Rows<'a>; write::WRITES.len()],
    /// What is removed after it.
    pub(super) removals: [Rows<'a>; write::REMOVALS.len()],
}

/// Which of [`Batch::writes`].
const ENTITY_STATES: usize = 0;
const EVENTS: usize = 1;
const REPLIES: usize = 2;
const OUTBOX: usize = 3;
const RECEIPTS: usize = 4;
const TIMERS: usize = 5;
const KNOWN_EVENTS: usize = 6;
const KNOWN_SNAPSHOTS: usize = 7;

/// Which of [`Batch::removals`].
const STATES_GONE: usize = 0;
const DELIVERED: usize = 1;
const TIMERS_GONE: usize = 2;
const TRIMMED: usize = 3;

impl<'a> Batch<'a> {
    /// The rows of these slots. `fence` gives what the row of a slot is guarded by; what `lasts` knows
    /// the database is not asked.
    pub(super) fn of(
        slots: impl IntoIterator<Item = &'a SlotCommits>,
        values: &Values,
        lasts: &Lasts,
        fence: impl Fn(Slot) -> i64,
    ) -> Self {
        let mut batch = Self {
            slots: Rows::of(&write::SLOTS),
            entities: Rows::of(&write::ENTITIES),
            asked: Vec::new(),
            writes: write::WRITES.each_ref().map(Rows::of),
            removals: write::REMOVALS.each_ref().map(Rows::of),
        };
        for slot in slots {
            let folded = match slot.is_sound() {
                true => Fold::of(slot),
                false => None,
            };
            batch.slots.push([
                Value::Int(slot.slot.number().into()),
                Value::Big(value::count(slot.epoch().0)),
                Value::Big(fence(slot.slot)),
                // No slot has come to less than nothing, so a broken one is only asked for its head.
                Value::Big(
                    folded
                        .as_ref()
                        .map_or(-1, |_| value::count(slot.before().0)),
                ),
                Value::Big(value::count(slot.last().0)),
            ]);
            if let Some(folded) = folded {
                folded.into_rows(slot, values, lasts, &mut batch);
            }
        }
        batch
    }

    /// Whether anything is removed.
    pub(super) fn removes(&self) -> bool {
        self.removals.iter().any(|rows| !rows.is_empty())
    }
}

/// What the commits of a slot come to.
#[derive(Default)]
struct Fold<'a> {
    entities: Vec<(&'a EntityKey, EntityFold<'a>)>,
    places: HashMap<&'a EntityKey, usize>,
    effects: Vec<(EffectId, &'a EntityKey, &'a Effect, u32)>,
    received: Vec<EffectId>,
    trimmed: BTreeMap<Slot, SlotSequence>,
    delivered: Vec<EffectId>,
    timers: BTreeMap<TimerId, Option<&'a TimerWrite>>,
}

/// What the commits of an entity come to.
#[derive(Default)]
struct EntityFold<'a> {
    /// The number of the last event that the database must have.
    exact: Option<u64>,
    /// The least number of the last event that the database must have.
    least: Option<u64>,
    /// The number of the last event, once that is known.
    last: Option<u64>,
    /// Whether what was there before has ended: events, snapshot.
    ends: bool,
    /// Whether the reply records from before have ended.
    cleans: bool,
    /// Whether there are events or a snapshot now.
    appends: bool,
    state: Option<Option<(&'a Payload, &'a Tags)>>,
    /// The snapshot and the number of its event; without a number, of the last there is.
    snapshot: Option<(Option<u64>, &'a Payload)>,
    events: Vec<EventFold<'a>>,
    deleted_until: Option<Option<Timestamp>>,
    newest: Option<Newest>,
    replies: BTreeMap<Vec<u8>, &'a ReplyRecord>,
}

/// A change without events.
#[derive(Clone, Copy)]
struct Newest {
    sequence: SlotSequence,
    at: Timestamp,
    change: &'static str,
    /// When the tombstone may go that it leaves.
    until: Option<Timestamp>,
}

struct EventFold<'a> {
    number: u64,
    sequence: SlotSequence,
    at: Timestamp,
    payload: &'a Payload,
    deleted_until: Option<Timestamp>,
}

/// How changes that carry no events are named in the column `change`.
pub(super) const SET: &str = "set";
pub(super) const DELETE: &str = "delete";
pub(super) const MARK: &str = "mark";
pub(super) const CLEAN: &str = "clean";

impl<'a> Fold<'a> {
    /// `None` if a commit does not continue its entity.
    fn of(slot: &'a SlotCommits) -> Option<Self> {
        let mut fold = Self::default();
        for commit in &slot.commits {
            fold.take(commit)?;
        }
        Some(fold)
    }

    fn take(&mut self, commit: &'a Commit) -> Option<()> {
        if let Some(key) = &commit.key {
            if let Some(change) = &commit.change {
                self.entity(key).change(commit, change)?;
            }
            for (index, effect) in (0..).zip(&commit.effects) {
                let id = EffectId {
                    slot: commit.slot,
                    sequence: commit.sequence,
                    index,
                };
                self.effects.push((id, key, effect, commit.hops));
            }
            for timer in &commit.timers {
                let id = TimerId {
                    key: key.clone(),
                    name: timer.name.clone(),
                };
                self.timers
                    .insert(id, timer.timer.is_some().then_some(timer));
            }
            let record = commit.reply_record.as_ref();
            if let Some(record) = record.filter(|record| record.expires > commit.at) {
                let command = names::command(&record.method, &record.idempotency_key);
                self.entity(key).replies.insert(command.to_vec(), record);
            }
        }
        if let Some((sender, below)) = commit.receipts_below {
            self.received
                .retain(|effect| effect.slot != sender || effect.sequence >= below);
            let trimmed = self.trimmed.entry(sender).or_default();
            *trimmed = below.max(*trimmed);
        }
        self.received.extend(commit.received);
        self.delivered.extend(&commit.delivered);
        Some(())
    }

    fn entity(&mut self, key: &'a EntityKey) -> &mut EntityFold<'a> {
        let next = self.entities.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.entities.push((key, EntityFold::default()));
        }
        &mut self.entities[place].1
    }

    fn into_rows(
        self,
        slot: &'a SlotCommits,
        values: &Values,
        lasts: &Lasts,
        batch: &mut Batch<'a>,
    ) {
        let number = i32::from(slot.slot.number());
        for (key, mut fold) in self.entities {
            match lasts
                .before(slot, key)
                .and_then(|last| fold.continues(last))
            {
                Some(generation) => fold.into_known_rows(slot.slot, key, generation, values, batch),
                None => fold.into_rows(slot.slot, key, values, batch),
            }
        }
        for (id, sender, effect, hops) in self.effects {
            let message = OutboxMessage {
                sender: Some(sender.into()),
                effect: Some(effect.into()),
                hops,
            };
            batch.writes[OUTBOX].push([
                Value::Int(number),
                Value::Big(value::count(id.sequence.0)),
                Value::Big(id.index.into()),
                Value::Text(names::text(&format!(
                    "{}/{}",
                    effect.call.service, effect.call.method
                ))),
                Value::Bytes(values.owned(Place::Effect(id), message.encode_to_vec())),
            ]);
        }
        for effect in self.received {
            batch.writes[RECEIPTS].push(receipt(number, effect));
        }
        for (sender, below) in self.trimmed {
            batch.removals[TRIMMED].push([
                Value::Int(number),
                Value::Int(sender.number().into()),
                Value::Big(value::count(below.0)),
            ]);
        }
        for effect in self.delivered {
            batch.removals[DELIVERED].push([
                Value::Int(number),
                Value::Big(value::count(effect.sequence.0)),
                Value::Big(effect.index.into()),
            ]);
        }
        for (id, write) in self.timers {
            timer_rows(slot.slot, &id, write, values, batch);
        }
    }
}

/// The row of a receipt.
pub(super) fn receipt<'a>(receiver: i32, effect: EffectId) -> [Value<'a>; 4] {
    [
        Value::Int(receiver),
        Value::Int(effect.slot.number().into()),
        Value::Big(value::count(effect.sequence.0)),
        Value::Big(effect.index.into()),
    ]
}

fn timer_rows<'a>(
    slot: Slot,
    id: &TimerId,
    write: Option<&'a TimerWrite>,
    values: &Values,
    batch: &mut Batch<'a>,
) {
    let entity = EntityName::from(&id.key);
    let name = names::timer(&id.name);
    let number = Value::Int(slot.number().into());
    let Some(timer) = write.and_then(|write| write.timer.as_ref()) else {
        batch.removals[TIMERS_GONE].push([
            number,
            Value::Text(entity.storage),
            Value::Text(entity.id),
            Value::Text(name),
        ]);
        return;
    };
    let full = names::full_timer(id, &entity, &name);
    let message = TimerPart::from(timer).encode_to_vec();
    let sealed = values.owned(Place::Timer(&id.key, &name), message);
    batch.writes[TIMERS].push([
        number,
        Value::Text(entity.storage),
        Value::Text(entity.id),
        Value::Text(name),
        Value::Big(value::time(timer.due)),
        Value::Text(names::text(&format!(
            "{}/{}",
            timer.call.service, timer.call.method
        ))),
        Value::Bytes(sealed),
        Value::MaybeBytes(full.map(Into::into)),
    ]);
}

impl<'a> EntityFold<'a> {
    fn change(&mut self, commit: &'a Commit, change: &'a Change) -> Option<()> {
        match change {
            Change::Set(payload) => {
                self.state = Some(Some((payload, &commit.tags)));
                self.deleted_until = Some(None);
                self.newest(commit, SET, None);
            }
            Change::Delete { until } => {
                self.state = Some(None);
                if until.is_none() {
                    self.end();
                }
                self.deleted_until = Some(*until);
                self.newest(commit, DELETE, *until);
            }
            Change::Append {
                first,
                events,
                snapshot,
                deleted_until,
            } => {
                self.append(commit, *first, events, *deleted_until)?;
                if let Some(payload) = snapshot {
                    self.snapshot(self.last, payload);
                }
            }
            Change::Snapshot { sequence, payload } => {
                self.expect_at_least(*sequence)?;
                self.snapshot(Some(*sequence), payload);
            }
            Change::Clean => {
                self.state = Some(None);
                self.end();
                self.cleans = true;
                self.replies.clear();
                self.deleted_until = Some(None);
                self.newest(commit, CLEAN, None);
            }
        }
        Some(())
    }

    fn append(
        &mut self,
        commit: &'a Commit,
        first: u64,
        events: &'a [Payload],
        deleted_until: Option<Timestamp>,
    ) -> Option<()> {
        if deleted_until.is_some() {
            self.deleted_until = Some(deleted_until);
        }
        if events.is_empty() {
            self.newest(commit, MARK, deleted_until);
            return Some(());
        }
        self.expect_exactly(first.checked_sub(1)?)?;
        let count = events.len();
        for (place, (number, payload)) in (first..).zip(events).enumerate() {
            self.events.push(EventFold {
                number,
                sequence: commit.sequence,
                at: commit.at,
                payload,
                deleted_until: deleted_until.filter(|_| place + 1 == count),
            });
        }
        self.last = Some(first - 1 + count as u64);
        self.appends = true;
        Some(())
    }

    /// The next event follows the one with this number.
    fn expect_exactly(&mut self, last: u64) -> Option<()> {
        match self.last {
            Some(known) => (known == last).then_some(()),
            None => {
                self.exact = Some(last);
                self.last = Some(last);
                self.least.is_none_or(|least| least <= last).then_some(())
            }
        }
    }

    /// The last event before the commits is known: what fits it need not be asked. Gives the
    /// generation if nothing at all need be asked, and the entity's row stays as it is.
    fn continues(&mut self, last: Last) -> Option<i64> {
        let asks_number = matches!(self.snapshot, Some((None, _)));
        let fits = self.exact.is_none_or(|exact| exact == last.event)
            && self.least.is_none_or(|least| least <= last.event);
        if !fits || asks_number {
            return None;
        }
        (self.exact, self.least) = (None, None);
        let goes_on = self.appends && !self.ends && !self.cleans;
        let keeps_row = self.state.is_none()
            && self.newest.is_none()
            && self.deleted_until.is_none()
            && self.replies.is_empty();
        last.generation.filter(|_| goes_on && keeps_row)
    }

    /// The event with this number is there.
    fn expect_at_least(&mut self, last: u64) -> Option<()> {
        match self.last {
            Some(known) => (known >= last).then_some(()),
            None => {
                self.least = self.least.max(Some(last));
                Some(())
            }
        }
    }

    /// Keeps the newer of two snapshots.
    fn snapshot(&mut self, event: Option<u64>, payload: &'a Payload) {
        if event.is_none() {
            // The database tells which event is the last.
            self.least = self.least.max(Some(0));
        }
        let is_older = matches!(
            (self.snapshot, event),
            (Some((Some(kept), _)), Some(event)) if kept > event
        );
        if !is_older {
            self.snapshot = Some((event, payload));
        }
        self.appends = true;
    }

    /// Events, snapshot and what was expected of them are of no account any more.
    fn end(&mut self) {
        self.ends = true;
        self.appends = false;
        self.events.clear();
        self.snapshot = None;
        self.last = Some(0);
    }

    fn newest(&mut self, commit: &Commit, change: &'static str, until: Option<Timestamp>) {
        self.newest = Some(Newest {
            sequence: commit.sequence,
            at: commit.at,
            change,
            until,
        });
    }

    fn into_rows(self, slot: Slot, key: &'a EntityKey, values: &Values, batch: &mut Batch<'a>) {
        // A batch is bounded, far below what does not fit.
        let entity = i32::try_from(batch.asked.len()).unwrap_or(i32::MAX);
        batch.asked.push(key);
        let name = EntityName::from(key);
        let full = names::full_key(key, &name);
        let (storage, id) = (name.storage, name.id);
        let state_gone = matches!(self.state, Some(None));
        let snapshot_gone = self.ends && self.snapshot.is_none();
        for (kind, _) in [("state", state_gone), ("snapshot", snapshot_gone)]
            .iter()
            .filter(|(_, gone)| *gone)
        {
            batch.removals[STATES_GONE].push([
                Value::Int(slot.number().into()),
                Value::Text(storage.clone()),
                Value::Text(id.clone()),
                Value::Text((*kind).to_owned()),
            ]);
        }
        let has_state = self.state.map(|state| state.is_some());
        // The whole name of an answer's entity stands in the entity's row alone.
        let names = full.is_some() && !self.replies.is_empty();
        let writes = self.ends || self.newest.is_some() || self.deleted_until.is_some() || names;
        batch.entities.push([
            Value::Int(entity),
            Value::Int(slot.number().into()),
            Value::Text(storage),
            Value::Text(id),
            Value::MaybeBytes(full.map(Into::into)),
            Value::MaybeBig(self.exact.map(value::count)),
            Value::MaybeBig(self.least.map(value::count)),
            Value::Bool(writes),
            Value::Bool(self.ends),
            Value::Bool(self.cleans),
            Value::Bool(self.appends),
            Value::MaybeBig(has_state.map(i64::from)),
            Value::Bool(self.deleted_until.is_some()),
            Value::MaybeBig(self.deleted_until.flatten().map(value::time)),
            Value::MaybeBig(self.newest.map(|newest| value::count(newest.sequence.0))),
            Value::MaybeBig(self.newest.map(|newest| value::time(newest.at))),
            Value::MaybeBig(self.newest.and_then(|newest| newest.until).map(value::time)),
            Value::MaybeText(self.newest.map(|newest| newest.change.to_owned())),
        ]);
        if let Some(Some((payload, tags))) = self.state {
            batch.writes[ENTITY_STATES].push([
                Value::Int(entity),
                Value::Text("state".to_owned()),
                Value::MaybeBig(Some(0)),
                Value::Text(names::text(&payload.type_url)),
                Value::Bytes(values.column(Place::State(key), &payload.bytes)),
                Value::MaybeText(value::tags(tags)),
            ]);
        }
        if let Some((event, payload)) = self.snapshot {
            batch.writes[ENTITY_STATES].push([
                Value::Int(entity),
                Value::Text("snapshot".to_owned()),
                Value::MaybeBig(event.map(value::count)),
                Value::Text(names::text(&payload.type_url)),
                Value::Bytes(values.column(Place::Snapshot(key), &payload.bytes)),
                Value::MaybeText(None),
            ]);
        }
        for event in self.events {
            batch.writes[EVENTS].push([
                Value::Int(entity),
                Value::Big(value::count(event.number)),
                Value::Big(value::count(event.sequence.0)),
                Value::Big(value::time(event.at)),
                Value::Text(names::text(&event.payload.type_url)),
                Value::Bytes(values.column(Place::Event(key, event.number), &event.payload.bytes)),
                Value::MaybeBig(event.deleted_until.map(value::time)),
            ]);
        }
        for (command, record) in self.replies {
            let message = ReplyRecordPart::from(record).encode_to_vec();
            let sealed = values.owned(Place::Reply(key, &command), message);
            batch.writes[REPLIES].push([
                Value::Int(entity),
                Value::Bytes(command.into()),
                Value::Big(value::time(record.expires)),
                Value::Text(names::text(&record.method)),
                Value::Bytes(sealed),
            ]);
        }
    }

    /// The rows of an entity that goes on in a generation that is known.
    fn into_known_rows(
        self,
        slot: Slot,
        key: &'a EntityKey,
        generation: i64,
        values: &Values,
        batch: &mut Batch<'a>,
    ) {
        let EntityName { storage, id } = EntityName::from(key);
        if let Some((event, payload)) = self.snapshot {
            batch.writes[KNOWN_SNAPSHOTS].push([
                Value::Int(slot.number().into()),
                Value::Text(storage.clone()),
                Value::Text(id.clone()),
                Value::Big(generation),
                Value::MaybeBig(event.map(value::count)),
                Value::Text(names::text(&payload.type_url)),
                Value::Bytes(values.column(Place::Snapshot(key), &payload.bytes)),
            ]);
        }
        for event in self.events {
            batch.writes[KNOWN_EVENTS].push([
                Value::Int(slot.number().into()),
                Value::Text(storage.clone()),
                Value::Text(id.clone()),
                Value::Big(generation),
                Value::Big(value::count(event.number)),
                Value::Big(value::count(event.sequence.0)),
                Value::Big(value::time(event.at)),
                Value::Text(names::text(&event.payload.type_url)),
                Value::Bytes(values.column(Place::Event(key, event.number), &event.payload.bytes)),
                Value::MaybeBig(event.deleted_until.map(value::time)),
            ]);
        }
    }
}
