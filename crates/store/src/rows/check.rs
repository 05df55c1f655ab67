//! Checking rows: whether each can be read, and whether they agree with one another.
//!
//! # How it works
//! Every row is looked at once, in the order of the keys, and asks for those that it relies on.
//! What can be repaired is what is made from something else (rows that only lead to others), and
//! what nobody can see (rows that nothing leads to). Whatever was said by a function is never
//! changed or removed as long as anything leads to it.

use bytes::Bytes;
use firn_model::id::{EntityKey, Slot, SlotSequence};

use super::key::{self, Key, Space};
use super::overlay::{Changes, View};
use super::value::{
    AppendKind, ChangeKind, ChangeRow, EntityRow, EventRow, GarbageRow, HeadRow, OutboxRow,
    PayloadRow, ReplicaRow, ReplicaStateRow, ReplyRow, SnapshotRow, TimerIdRow, TimerRow,
    bad_field, decode_row, entity_row,
};
use super::{archive, read, replicas};
use crate::ReadError;
use crate::check::{Checked, Finding, Repair, Told};
use crate::encoding::encode;
use crate::encoding::parts::KeyPart;
use crate::entity::Timestamp;

/// How many rows are repaired at once.
const REPAIRS_MAX: usize = 1024;

/// After how many rows is told how many there were: often enough for who looks at the time.
const TOLD_EVERY: u64 = 4096;

/// Looks at every row.
pub(crate) struct Check<'a, V> {
    rows: &'a V,
    repairs: Changes,
    is_repairing: bool,
    checked: Checked,
    tell: &'a mut dyn FnMut(Told),
    /// Of which entity the row is that is looked at, where that is known.
    entity: Option<EntityKey>,
    /// The last event that was seen: the key of its entity's row, its generation and number.
    last_event: Option<(Key, u64, u64)>,
}

impl<'a, V: View> Check<'a, V> {
    pub(crate) fn new(rows: &'a V, is_repairing: bool, tell: &'a mut dyn FnMut(Told)) -> Self {
        Self {
            rows,
            repairs: Changes::new(),
            is_repairing,
            checked: Checked::default(),
            tell,
            entity: None,
            last_event: None,
        }
    }

    /// Looks at all rows; hands what is to be changed to `repair`, in several parts.
    ///
    /// # Errors
    /// The rows cannot be read or changed at all.
    pub(crate) fn run(
        mut self,
        mut repair: impl FnMut(Changes) -> Result<(), ReadError>,
    ) -> Result<Checked, ReadError> {
        for row in self.rows.scan(Key::new(), vec![u8::MAX]) {
            let (key, value) = match row {
                Ok(row) => row,
                Err(ReadError::Damaged { place, fault }) => {
                    self.entity = None;
                    self.find(place, fault, None);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.checked.rows += 1;
            self.entity = owner_of(&key);
            match self.look(&key, value) {
                Ok(()) => {}
                Err(ReadError::Damaged { place, fault }) => self.find(place, fault, None),
                Err(error) => return Err(error),
            }
            if self.checked.rows.is_multiple_of(TOLD_EVERY) {
                (self.tell)(Told::Rows(self.checked.rows));
            }
            if self.repairs.len() >= REPAIRS_MAX {
                repair(std::mem::take(&mut self.repairs))?;
            }
        }
        repair(std::mem::take(&mut self.repairs))?;
        Ok(self.checked)
    }

    fn look(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let space = key.first().copied().unwrap_or_default();
        let is = |expected: Space| space == expected as u8;
        match () {
            () if is(Space::Reached) => Ok(()),
            () if is(Space::Head) => decode_row::<HeadRow>(key, value).map(drop),
            () if is(Space::Entity) => self.entity(key, value),
            () if is(Space::State) => self.state(key, value),
            () if is(Space::Snapshot) => self.snapshot(key, value),
            () if is(Space::Event) => self.event(key, value),
            () if is(Space::Reply) => self.reply(key, value),
            () if is(Space::Change) => self.change(key, value),
            () if is(Space::Outbox) => self.outbox(key, value),
            () if is(Space::Receipt) => key::receipt_of(key)
                .map(drop)
                .ok_or_else(|| bad_field(key, "the effect")),
            () if is(Space::Garbage) => decode_row::<GarbageRow>(key, value).map(drop),
            () if is(Space::Tombstone) => self.tombstone(key, value),
            () if is(Space::Timer) => self.timer(key, value),
            () if is(Space::Due) => self.due(key, value),
            () if is(Space::Replica) => self.replica(key, value),
            () if is(Space::ReplicaState) => self.replica_state(key, value),
            // The Expiry row of a record that was replaced stays until its time has come.
            () if is(Space::Expiry) || is(Space::Trimmed) || is(Space::Node) => Ok(()),
            () => Err(bad_field(key, "the space")),
        }
    }

    fn entity(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let row: EntityRow = decode_row(key, value)?;
        let name = archive::name_of(self.rows, key)?;
        let has = |key: &[u8]| Ok::<bool, ReadError>(self.rows.get(key)?.is_some());
        let mut lost = Vec::new();
        if row.has_state && !has(&of(Space::State, key))? {
            lost.push("its state is missing".to_owned());
        }
        if row.snapshot.is_some() && !has(&of(Space::Snapshot, key))? {
            lost.push("its snapshot is missing".to_owned());
        }
        let last = key::event(&name, row.generation, row.last_event);
        if row.last_event > row.trimmed && !has(&last)? {
            lost.push(format!("its last event, {}, is missing", row.last_event));
        }
        if row.trimmed > row.snapshot.unwrap_or_default() {
            lost.push(format!("events up to {} are in no snapshot", row.trimmed));
        }
        if let Some(change) = row.newest_change
            && !has(&key::change(name.slot(), SlotSequence(change)))?
        {
            lost.push(format!("its newest change, {change}, is missing"));
        }
        let tombstone = row
            .deleted_until
            .map(|until| key::tombstone(Timestamp(until), &name));
        let unburied = match tombstone {
            Some(tombstone) if !has(&tombstone)? => Some(tombstone),
            _ => None,
        };
        for fault in lost {
            self.find(place(key), fault, None);
        }
        if let Some(tombstone) = unburied {
            let repair = (tombstone, Some(encode(&KeyPart::from(&name))));
            self.find(place(key), "nothing leads to its tombstone", Some(repair));
        }
        Ok(())
    }

    fn state(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let row: PayloadRow = decode_row(key, value)?;
        read::convert::<_, firn_model::payload::Payload>(key, row.payload, "the state")?;
        let entity = entity_row(self.rows, &of(Space::Entity, key))?;
        if !entity.has_state {
            let removal = self.removal(key, &of(Space::Entity, key))?;
            self.find(place(key), "its entity has no state", removal);
        }
        Ok(())
    }

    fn snapshot(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let row: SnapshotRow = decode_row(key, value)?;
        read::convert::<_, firn_model::payload::Payload>(key, row.payload, "the snapshot")?;
        let entity = entity_row(self.rows, &of(Space::Entity, key))?;
        let removal = self.removal(key, &of(Space::Entity, key))?;
        match entity.snapshot {
            None => self.find(place(key), "its entity has no snapshot", removal),
            Some(sequence) if sequence != row.sequence => {
                let fault = format!("it is of event {}, not {sequence}", row.sequence);
                self.find(place(key), fault, None);
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn event(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let (owner, generation) =
            key::generation_in(key).ok_or_else(|| bad_field(key, "the entity"))?;
        let number = key::event_number(key).ok_or_else(|| bad_field(key, "the number"))?;
        let before = self
            .last_event
            .replace((owner.clone(), generation, number))
            .filter(|(last, of, _)| *last == owner && *of == generation);
        let row: EventRow = decode_row(key, value)?;
        read::convert::<_, firn_model::payload::Payload>(key, row.payload, "the event")?;
        let entity = entity_row(self.rows, &owner)?;
        if entity.generation != generation || number <= entity.trimmed {
            if self.rows.get(&garbage(key))?.is_none() {
                let fault = "it is of no living generation, and nothing removes it";
                let removal = self.removal(key, &owner)?;
                self.find(place(key), fault, removal);
            }
            return Ok(());
        }
        let expected = before.map_or(entity.trimmed + 1, |(_, _, last)| {
            last.max(entity.trimmed) + 1
        });
        if number != expected {
            self.find(
                place(key),
                format!("event {expected} before it is missing"),
                None,
            );
        }
        if number > entity.last_event {
            let fault = format!("its entity ends with event {}", entity.last_event);
            self.find(place(key), fault, None);
        }
        let name = archive::name_of(self.rows, &owner)?;
        let change = key::change(name.slot(), SlotSequence(row.sequence));
        if u32::from(name.slot().number()) != row.slot || self.rows.get(&change)?.is_none() {
            let fault = format!(
                "its change, {} of slot {}, is missing",
                row.sequence, row.slot
            );
            self.find(place(key), fault, None);
        }
        Ok(())
    }

    fn reply(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let row: ReplyRow = decode_row(key, value)?;
        let record: crate::ReplyRecord = read::convert(key, row.record, "the record")?;
        let expiry = key::expiry(record.expires, key);
        if self.rows.get(&expiry)?.is_none() {
            let repair = (expiry, Some(Bytes::new()));
            self.find(place(key), "nothing leads to its expiry", Some(repair));
        }
        Ok(())
    }

    fn change(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let row: ChangeRow = decode_row(key, value)?;
        let sequence = key::change_sequence(key).ok_or_else(|| bad_field(key, "the sequence"))?;
        let name: EntityKey = row.key.ok_or_else(|| bad_field(key, "the entity"))?.into();
        self.entity = Some(name.clone());
        let slot = slot_in(key).ok_or_else(|| bad_field(key, "the slot"))?;
        if name.slot() != slot {
            self.find(
                place(key),
                format!("its entity is of slot {}", name.slot()),
                None,
            );
        }
        self.is_below_head(key, slot, sequence)?;
        let entity = entity_row(self.rows, &key::entity(Space::Entity, &name))?;
        let Some(ChangeKind::Append(AppendKind { first, count, .. })) = row.kind else {
            if entity.newest_change != Some(sequence.0) {
                let fault = "its entity has a newer change";
                let removal = self.removal(key, &key::entity(Space::Entity, &name))?;
                self.find(place(key), fault, removal);
            }
            return Ok(());
        };
        let last = first.saturating_add(count).saturating_sub(1);
        if count > 0 && entity.generation == row.generation && last > entity.last_event {
            let fault = format!("event {last} is missing");
            self.find(place(key), fault, None);
        }
        Ok(())
    }

    fn outbox(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let row: OutboxRow = decode_row(key, value)?;
        let id = key::outbox_effect(key).ok_or_else(|| bad_field(key, "the identity"))?;
        let sender: EntityKey = row
            .sender
            .ok_or_else(|| bad_field(key, "the sender"))?
            .into();
        self.entity = Some(sender.clone());
        read::convert::<_, firn_model::decision::Effect>(key, row.effect, "the effect")?;
        if sender.slot() != id.slot {
            self.find(
                place(key),
                format!("its sender is of slot {}", sender.slot()),
                None,
            );
        }
        self.is_below_head(key, id.slot, id.sequence)
    }

    /// Removes a row that its entity does not lead to; but an entity whose own row was lost may have.
    fn removal(
        &self,
        key: &[u8],
        entity: &[u8],
    ) -> Result<Option<(Key, Option<Bytes>)>, ReadError> {
        let is_there = self.rows.get(entity)?.is_some();
        Ok(is_there.then(|| removed(key)))
    }

    fn is_below_head(
        &mut self,
        key: &[u8],
        slot: Slot,
        sequence: SlotSequence,
    ) -> Result<(), ReadError> {
        let head_key = key::head(slot);
        let head = match self.rows.get(&head_key)? {
            Some(value) => decode_row(&head_key, value)?,
            None => HeadRow::default(),
        };
        if sequence.0 > head.sequence {
            let fault = format!("slot {slot} ends with {}", head.sequence);
            self.find(place(key), fault, None);
        }
        Ok(())
    }

    fn tombstone(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let until = key::tombstone_until(key).ok_or_else(|| bad_field(key, "the time"))?;
        let name: EntityKey = decode_row::<KeyPart>(key, value)?.into();
        self.entity = Some(name.clone());
        let owner = key::entity(Space::Entity, &name);
        let entity = entity_row(self.rows, &owner)?;
        if entity.deleted_until != Some(until.0) {
            let removal = self.removal(key, &owner)?;
            self.find(place(key), "its entity has no such tombstone", removal);
        }
        Ok(())
    }

    fn timer(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let row: TimerRow = decode_row(key, value)?;
        let id = row.id.ok_or_else(|| bad_field(key, "the timer's name"))?;
        let timer: crate::Timer = read::convert(key, row.timer, "the timer")?;
        read::timer_id(key, id.clone())?;
        let due = key::due(timer.due, key);
        if self.rows.get(&due)?.is_none() {
            let repair = (due, Some(encode(&id)));
            self.find(
                place(key),
                "nothing leads to it when it is due",
                Some(repair),
            );
        }
        Ok(())
    }

    fn due(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let due = key::due_at(key).ok_or_else(|| bad_field(key, "the time"))?;
        let id = read::timer_id(key, decode_row::<TimerIdRow>(key, value)?)?;
        let timer = read::timer(self.rows, &id)?;
        if timer.is_none_or(|timer| timer.due != due) {
            self.find(
                place(key),
                "there is no timer for that time",
                Some(removed(key)),
            );
        }
        Ok(())
    }

    fn replica(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        let row: ReplicaRow = decode_row(key, value)?;
        replicas::entity_of(key, row)?;
        if self.rows.get(&of(Space::ReplicaState, key))?.is_none() {
            self.find(place(key), "its state is missing", None);
        }
        Ok(())
    }

    fn replica_state(&mut self, key: &[u8], value: Bytes) -> Result<(), ReadError> {
        decode_row::<ReplicaStateRow>(key, value)?;
        if self.rows.get(&of(Space::Replica, key))?.is_none() {
            self.find(place(key), "nothing leads to it", Some(removed(key)));
        }
        Ok(())
    }

    /// Tells what was found, and remembers what puts it right.
    fn find(
        &mut self,
        place: String,
        fault: impl Into<String>,
        repair: Option<(Key, Option<Bytes>)>,
    ) {
        let outcome = match (&repair, self.is_repairing) {
            (None, _) => Repair::Impossible,
            (Some(_), false) => Repair::Possible,
            (Some(_), true) => Repair::Done,
        };
        self.checked.findings += 1;
        if outcome == Repair::Done {
            self.checked.repaired += 1;
            self.repairs.extend(repair);
        }
        (self.tell)(Told::Finding(Finding {
            place,
            entity: self.entity.clone(),
            fault: fault.into(),
            repair: outcome,
        }));
    }
}

/// The key with the same names in another space.
fn of(space: Space, key: &[u8]) -> Key {
    let mut key = key.to_vec();
    if let Some(first) = key.first_mut() {
        *first = space as u8;
    }
    key
}

/// The key of what is to be removed of an event's generation.
fn garbage(event: &[u8]) -> Key {
    let end = event.len().saturating_sub(size_of::<u64>());
    of(Space::Garbage, &event[..end])
}

/// The entity of a row, if its key says that.
fn owner_of(key: &[u8]) -> Option<EntityKey> {
    let is = |space: Space| key.first() == Some(&(space as u8));
    if is(Space::Event) {
        let (owner, _) = key::generation_in(key)?;
        return key::entity_of(&owner);
    }
    let is_whole = is(Space::Entity) || is(Space::State) || is(Space::Snapshot);
    is_whole.then(|| key::entity_of(key)).flatten()
}

fn removed(key: &[u8]) -> (Key, Option<Bytes>) {
    (key.to_vec(), None)
}

fn slot_in(key: &[u8]) -> Option<Slot> {
    let (slot, _) = key.get(1..)?.split_first_chunk()?;
    Slot::new(u16::from_be_bytes(*slot))
}

fn place(key: &[u8]) -> String {
    format!("row {}", key.escape_ascii())
}

#[cfg(test)]
mod tests;
