//! From writes to rows.

use firn_model::decision::Effect;
use firn_model::id::{EffectId, EntityKey, NodeId, Slot, SlotSequence};
use firn_model::payload::Payload;
use rustc_hash::FxHashMap;

use super::key::{self, Space};
use super::known::Known;
use super::overlay::{Overlay, View};
use super::read;
use super::retention;
use super::sweep::Sweeper;
use super::value::{
    AppendKind, ChangeKind, CleanKind, DeleteKind, EntityRow, GarbageRow, HeadRow, NodeRow,
    OutboxRow, PayloadRow, ReplicaRow, ReplicaStateRow, ReplyRow, SetKind, SnapshotRow, TimerIdRow,
    TimerRow, check_full_key, damaged, decode_row, full_key,
};
use crate::ReadError;
use crate::commit::{Change, Commit, ReplyRecord};
use crate::encoding::encode;
use crate::encoding::parts::KeyPart;
use crate::encoding::row;
use crate::entity::Timestamp;
use crate::replica::{ReplicaWrite, Run};
use crate::timer::{TimerId, TimerWrite};
use crate::write::Write;

/// What whoever brings writes into rows remembers from one time to the next.
pub(crate) struct Remembered {
    known: Known,
    sweeper: Sweeper,
}

impl Remembered {
    /// Nothing of the rows yet.
    pub(crate) fn new() -> Self {
        Self {
            known: Known::default(),
            sweeper: Sweeper::new(),
        }
    }
}

/// Adds the rows of writes, in order, and sweeps a little if there are commits among them. The
/// overlay must be over all rows that were made with what is remembered.
///
/// # Errors
/// A row that is needed is damaged or cannot be read, or a commit does not continue its entity's
/// events; the overlay is then of no use any more.
pub(crate) fn apply<'a>(
    rows: &mut Overlay<'_>,
    writes: impl IntoIterator<Item = &'a Write>,
    remembered: &mut Remembered,
) -> Result<(), ReadError> {
    // Whoever fails in between leaves nothing known behind.
    let mut known = std::mem::take(&mut remembered.known);
    let mut heads = FxHashMap::default();
    let mut now = None;
    for write in writes {
        match write {
            Write::Commit(commit) => {
                apply_commit(rows, &mut known, commit)?;
                heads.insert(commit.slot, head(commit));
                if let Some(Change::Clean | Change::Delete { until: None }) = commit.change {
                    remembered.sweeper.saw_an_end();
                }
                now = Some(commit.at);
            }
            Write::Replica { node, write } => put_replica(rows, *node, write)?,
            Write::Run(run) => put_run(rows, run),
            Write::Trim(trim) => {
                known.put_changed(rows);
                retention::trim(rows, trim)?;
                known.forget(&trim.key);
            }
        }
    }
    known.put_changed(rows);
    for (slot, head) in heads {
        rows.put(key::head(slot), encode(&head));
    }
    if let Some(now) = now {
        remembered.sweeper.sweep(rows, now)?;
    }
    known.shrink();
    remembered.known = known;
    Ok(())
}

fn head(commit: &Commit) -> HeadRow {
    HeadRow {
        epoch: commit.epoch.0,
        sequence: commit.sequence.0,
    }
}

fn apply_commit(
    rows: &mut Overlay<'_>,
    known: &mut Known,
    commit: &Commit,
) -> Result<(), ReadError> {
    if let Some(entity_key) = &commit.key {
        if let Some(change) = &commit.change {
            apply_change(rows, known, commit, (entity_key, change))?;
        }
        for (index, effect) in (0..).zip(&commit.effects) {
            put_effect(rows, commit, entity_key, (index, effect));
        }
        for write in &commit.timers {
            put_timer(rows, entity_key, write)?;
        }
        if let Some(record) = &commit.reply_record {
            let generation = known.entity(rows, entity_key)?.records_generation();
            put_reply(rows, commit.at, (entity_key, generation), record);
        }
    }
    if let Some(effect) = commit.received {
        rows.put(key::receipt(commit.slot, effect), Vec::new());
    }
    if let Some((sender, below)) = commit.receipts_below {
        trim_receipts(rows, commit.slot, sender, below)?;
    }
    for effect in &commit.delivered {
        rows.delete(key::outbox(*effect));
    }
    Ok(())
}

/// The row of an entity, or the one it would begin with.
pub(crate) fn entity_row(rows: &dyn View, entity_key: &EntityKey) -> Result<EntityRow, ReadError> {
    let key = key::entity(Space::Entity, entity_key);
    let Some(value) = rows.get(&key)? else {
        return Ok(EntityRow::of(entity_key));
    };
    let row: EntityRow = decode_row(&key, value)?;
    check_full_key(&key, row.full_key.as_ref(), entity_key)?;
    Ok(row)
}

fn apply_change(
    rows: &mut Overlay<'_>,
    known: &mut Known,
    commit: &Commit,
    (entity_key, change): (&EntityKey, &Change),
) -> Result<(), ReadError> {
    let mut writer = Writer {
        entity: known.changing(rows, entity_key)?,
        rows,
        commit,
        entity_key,
    };
    match change {
        Change::Set(payload) => writer.set(payload),
        Change::Delete { until } => writer.delete(*until),
        Change::Append {
            first,
            events,
            snapshot,
            deleted_until,
        } => {
            writer.append(*first, events, *deleted_until)?;
            if let Some(payload) = snapshot {
                writer.snapshot(writer.entity.last_event, payload);
            }
        }
        Change::Snapshot { sequence, payload } => writer.snapshot(*sequence, payload),
        Change::Clean => writer.clean(),
    }
    Ok(())
}

/// Writes one change of one entity.
struct Writer<'a, 'rows> {
    rows: &'a mut Overlay<'rows>,
    commit: &'a Commit,
    entity_key: &'a EntityKey,
    /// The entity's row as it will be.
    entity: &'a mut EntityRow,
}

impl Writer<'_, '_> {
    fn set(&mut self, payload: &Payload) {
        let row = PayloadRow {
            payload: Some(payload.into()),
            tags: self.commit.tags.clone(),
        };
        self.rows
            .put(key::entity(Space::State, self.entity_key), encode(&row));
        self.entity.has_state = true;
        self.bury(None);
        self.put_newest_change(ChangeKind::Set(SetKind {}));
    }

    fn delete(&mut self, until: Option<Timestamp>) {
        self.remove_state();
        let is_sourced = self.entity.last_event > 0 || self.entity.snapshot.is_some();
        if until.is_none() && is_sourced {
            let records = self.entity.records_generation();
            self.end_generation();
            self.entity.records = Some(records);
        }
        self.bury(until);
        let until = self.entity.deleted_until;
        self.put_newest_change(ChangeKind::Delete(DeleteKind { until }));
    }

    fn append(
        &mut self,
        first: u64,
        events: &[Payload],
        deleted_until: Option<Timestamp>,
    ) -> Result<(), ReadError> {
        let expected = self.entity.last_event + 1;
        if !events.is_empty() && first != expected {
            let key = key::entity(Space::Entity, self.entity_key);
            let fault = format!("event {first} was to be stored, {expected} is the next");
            return Err(damaged(&key, &fault));
        }
        for (number, payload) in (expected..).zip(events) {
            self.put_event(number, payload);
        }
        self.entity.last_event += events.len() as u64;
        if deleted_until.is_some() {
            self.bury(deleted_until);
        }
        let kind = ChangeKind::Append(AppendKind {
            first: expected,
            count: events.len() as u64,
            deleted_until: deleted_until.map(|until| until.0),
        });
        if events.is_empty() {
            self.put_newest_change(kind);
        } else {
            self.put_change(kind);
        }
        Ok(())
    }

    fn put_event(&mut self, number: u64, payload: &Payload) {
        let key = key::event(self.entity_key, self.entity.generation, number);
        let place = (self.commit.slot, self.commit.sequence);
        self.rows
            .put(key, row::event(self.commit.at, place, payload));
    }

    /// Keeps the newer of the stored and this snapshot.
    fn snapshot(&mut self, sequence: u64, payload: &Payload) {
        if self.entity.snapshot.is_some_and(|stored| stored > sequence) {
            return;
        }
        let row = SnapshotRow {
            sequence,
            payload: Some(payload.into()),
        };
        self.rows
            .put(key::entity(Space::Snapshot, self.entity_key), encode(&row));
        self.entity.snapshot = Some(sequence);
    }

    fn clean(&mut self) {
        self.remove_state();
        self.end_generation();
        self.entity.records = None;
        self.bury(None);
        self.put_newest_change(ChangeKind::Clean(CleanKind {}));
    }

    /// Leaves the events to [`super::sweep`]; the new generation hides them at once.
    fn end_generation(&mut self) {
        if self.entity.snapshot.take().is_some() {
            self.rows
                .delete(key::entity(Space::Snapshot, self.entity_key));
        }
        if self.entity.last_event > 0 {
            let garbage = GarbageRow {
                next: self.entity.trimmed + 1,
                last: self.entity.last_event,
            };
            let key = key::garbage(self.entity_key, self.entity.generation);
            self.rows.put(key, encode(&garbage));
        }
        self.entity.generation += 1;
        self.entity.last_event = 0;
        self.entity.trimmed = 0;
    }

    /// Puts a tombstone, or none, in the place of the one that is there.
    fn bury(&mut self, until: Option<Timestamp>) {
        if let Some(older) = self.entity.deleted_until {
            self.rows
                .delete(key::tombstone(Timestamp(older), self.entity_key));
        }
        if let Some(until) = until {
            let row: KeyPart = self.entity_key.into();
            self.rows
                .put(key::tombstone(until, self.entity_key), encode(&row));
        }
        self.entity.deleted_until = until.map(|until| until.0);
    }

    fn remove_state(&mut self) {
        if self.entity.has_state {
            self.rows.delete(key::entity(Space::State, self.entity_key));
        }
        self.entity.has_state = false;
    }

    fn put_newest_change(&mut self, kind: ChangeKind) {
        if let Some(older) = self.entity.newest_change {
            self.rows
                .delete(key::change(self.commit.slot, SlotSequence(older)));
        }
        self.entity.newest_change = Some(self.commit.sequence.0);
        self.put_change(kind);
    }

    fn put_change(&mut self, kind: ChangeKind) {
        let key = key::change(self.commit.slot, self.commit.sequence);
        let (at, generation) = (self.commit.at, self.entity.generation);
        self.rows
            .put(key, row::change(self.entity_key, at, generation, &kind));
    }
}

fn put_effect(
    rows: &mut Overlay<'_>,
    commit: &Commit,
    sender: &EntityKey,
    (index, effect): (u32, &Effect),
) {
    let id = EffectId {
        slot: commit.slot,
        sequence: commit.sequence,
        index,
    };
    let row = OutboxRow {
        sender: Some(sender.into()),
        effect: Some(effect.into()),
        hops: commit.hops,
    };
    rows.put(key::outbox(id), encode(&row));
}

/// Puts a timer in the place of the one of its name, or removes it.
fn put_timer(
    rows: &mut Overlay<'_>,
    entity_key: &EntityKey,
    write: &TimerWrite,
) -> Result<(), ReadError> {
    let id = TimerId {
        key: entity_key.clone(),
        name: write.name.clone(),
    };
    let key = key::timer(&id);
    if let Some(older) = read::timer(rows, &id)? {
        rows.delete(key::due(older.due, &key));
    }
    let Some(timer) = &write.timer else {
        rows.delete(key);
        return Ok(());
    };
    let id: TimerIdRow = (&id).into();
    rows.put(key::due(timer.due, &key), encode(&id));
    let row = TimerRow {
        timer: Some(timer.into()),
        id: Some(id),
    };
    rows.put(key, encode(&row));
    Ok(())
}

/// A record that has expired already is not stored. One that replaces another leaves the other's
/// `Expiry` row behind; [`super::sweep`] looks at the record before it removes it.
fn put_reply(
    rows: &mut Overlay<'_>,
    at: Timestamp,
    (entity_key, generation): (&EntityKey, u64),
    record: &ReplyRecord,
) {
    if record.expires <= at {
        return;
    }
    let key = key::reply(
        entity_key,
        generation,
        &record.method,
        &record.idempotency_key,
    );
    rows.put(key::expiry(record.expires, &key), Vec::new());
    let row = ReplyRow {
        record: Some(record.into()),
    };
    rows.put(key, encode(&row));
}

fn put_replica(
    rows: &mut Overlay<'_>,
    node: NodeId,
    write: &ReplicaWrite,
) -> Result<(), ReadError> {
    let row = ReplicaRow {
        at: write.at.0,
        deleted: write.deleted,
        full_key: full_key(&write.key),
    };
    let state = ReplicaStateRow {
        state: write.state.clone(),
    };
    rows.put(key::replica(Space::Replica, node, &write.key), encode(&row));
    rows.put(
        key::replica(Space::ReplicaState, node, &write.key),
        encode(&state),
    );
    let slot = write.key.slot();
    for effect in &write.received {
        rows.put(key::receipt(slot, *effect), Vec::new());
    }
    for (sender, below) in &write.receipts_below {
        trim_receipts(rows, slot, *sender, *below)?;
    }
    Ok(())
}

fn put_run(rows: &mut Overlay<'_>, run: &Run) {
    let row = NodeRow {
        name: run.name.clone(),
        node: run.replica.node.0,
        incarnation: run.replica.incarnation.0.get(),
    };
    rows.put(key::node(&run.name), encode(&row));
}

/// Remembers how far it came, so that the next one does not walk over removed rows again.
fn trim_receipts(
    rows: &mut Overlay<'_>,
    receiver: Slot,
    sender: Slot,
    below: SlotSequence,
) -> Result<(), ReadError> {
    let trimmed_key = key::trimmed(receiver, sender);
    let trimmed = match rows.get(&trimmed_key)? {
        Some(value) => trimmed_below(&trimmed_key, &value)?,
        None => SlotSequence(0),
    };
    if below <= trimmed {
        return Ok(());
    }
    let from = key::receipts_from(receiver, sender, trimmed);
    let to = key::receipts_from(receiver, sender, below);
    let receipts: Vec<_> = rows
        .scan(from, to)
        .map(|row| row.map(|(key, _)| key))
        .collect::<Result<_, _>>()?;
    for receipt in receipts {
        rows.delete(receipt.to_vec());
    }
    rows.put(trimmed_key, below.0.to_be_bytes().to_vec());
    Ok(())
}

fn trimmed_below(key: &[u8], value: &[u8]) -> Result<SlotSequence, ReadError> {
    let bytes = value
        .try_into()
        .map_err(|_| damaged(key, &"it is not a number of eight bytes"))?;
    Ok(SlotSequence(u64::from_be_bytes(bytes)))
}
