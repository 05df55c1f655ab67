//! Retention: finding events that a snapshot covers and entities that nobody writes, and removing
//! such events.
//!
//! A trim leaves what loading needs and what says when the entity was last written: the snapshot, all
//! events after it, and the last event in any case. Of those who tail a slot, whoever has not read an
//! event by then never does: the row of a change goes with the last of its events, and one of which
//! some are left shows those.

use firn_model::id::{EntityKey, SlotSequence, StorageName};

use super::apply::entity_row;
use super::archive::named;
use super::key::{self, Key, Space, successor};
use super::overlay::{Entry, Overlay, View};
use super::value::{ChangeRow, EntityRow, EventRow, decode_row};
use crate::ReadError;
use crate::encoding::encode;
use crate::entity::Timestamp;
use crate::retention::{Covered, Keep, Page, TRIM_EVENTS_MAX, Trim};

/// The names under which something was ever stored, replicas left out, in order.
pub(crate) fn storages(rows: &dyn View) -> Result<Vec<StorageName>, ReadError> {
    let (mut from, to) = key::whole(Space::Entity);
    let mut storages: Vec<StorageName> = Vec::new();
    while let Some((key, value)) = rows.scan(from, to.clone()).next().transpose()? {
        let row: EntityRow = decode_row(&key, value)?;
        let storage = named(&key, row.full_key)?.storage;
        from = key::after_prefix(&key::entities(&storage));
        storages.push(storage);
    }
    Ok(storages)
}

/// Looks at up to `limit` entities after `after` for events that may go.
pub(crate) fn covered(
    rows: &dyn View,
    storage: &StorageName,
    keep: Keep,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<Covered>, ReadError> {
    let mut page = empty();
    let mut events = 0;
    for (looked, row) in entities(rows, storage, after).enumerate() {
        let (entity_key, row) = entity_of(row)?;
        let through = unwanted(rows, &entity_key, &row, keep);
        if let Some(through) = readable(through, &entity_key, &mut page.damaged)?.flatten() {
            let covered = Covered {
                key: entity_key.clone(),
                first: row.trimmed + 1,
                through,
            };
            events += covered.count().min(TRIM_EVENTS_MAX);
            page.found.push(covered);
        }
        // So a page is never more than what two trims may remove.
        if looked + 1 >= limit || events >= TRIM_EVENTS_MAX {
            page.next = Some(entity_key.id.to_string());
            break;
        }
    }
    Ok(page)
}

/// Looks at up to `limit` entities after `after` for living ones that were last written before
/// `since`.
pub(crate) fn unwritten(
    rows: &dyn View,
    storage: &StorageName,
    since: Timestamp,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<EntityKey>, ReadError> {
    let mut page = empty();
    for (looked, row) in entities(rows, storage, after).enumerate() {
        let (entity_key, row) = entity_of(row)?;
        if looked + 1 >= limit {
            page.next = Some(entity_key.id.to_string());
        }
        if row.is_alive() {
            let changed = changed_at(rows, &entity_key, &row, None);
            let changed = readable(changed, &entity_key, &mut page.damaged)?.flatten();
            if changed.is_some_and(|at| at < since) {
                page.found.push(entity_key);
            }
        }
        if page.next.is_some() {
            break;
        }
    }
    Ok(page)
}

fn empty<T>() -> Page<T> {
    Page {
        found: Vec::new(),
        damaged: Vec::new(),
        next: None,
    }
}

/// What was read of an entity. One of which something is damaged is noted, and the others are looked at
/// all the same.
fn readable<T>(
    read: Result<T, ReadError>,
    entity_key: &EntityKey,
    damaged: &mut Vec<EntityKey>,
) -> Result<Option<T>, ReadError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(ReadError::Damaged { .. }) => {
            damaged.push(entity_key.clone());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// When an entity last changed, whatever the change was. `last_at` is when its last event was
/// appended, if the caller knows.
pub(crate) fn changed_at(
    rows: &dyn View,
    entity_key: &EntityKey,
    row: &EntityRow,
    last_at: Option<Timestamp>,
) -> Result<Option<Timestamp>, ReadError> {
    let mut changed = None;
    if let Some(newest) = row.newest_change {
        let key = key::change(entity_key.slot(), SlotSequence(newest));
        if let Some(value) = rows.get(&key)? {
            let row: ChangeRow = decode_row(&key, value)?;
            changed = Some(Timestamp(row.at));
        }
    }
    if row.last_event > 0 {
        let last_at = match last_at {
            Some(at) => Some(at),
            None => event_at(rows, entity_key, row, row.last_event)?,
        };
        changed = changed.max(last_at);
    }
    Ok(changed)
}

/// Removes events up to a number, as far as a snapshot covers them, and at most
/// [`TRIM_EVENTS_MAX`]. A deleted entity is left to the end of its grace, and one with a damaged record
/// as it is: nothing needs the trim, and what is in the log already must not hinder a start.
pub(crate) fn trim(rows: &mut Overlay<'_>, trim: &Trim) -> Result<(), ReadError> {
    match trimmed(rows, trim) {
        Ok(Some(trimmed)) => {
            for key in trimmed.gone {
                rows.delete(key);
            }
            let entity = encode(&trimmed.entity);
            rows.put(key::entity(Space::Entity, &trim.key), entity);
            Ok(())
        }
        Ok(None) | Err(ReadError::Damaged { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a trim makes of an entity.
struct Trimmed {
    entity: EntityRow,
    /// The rows that go.
    gone: Vec<Key>,
}

/// What a trim does, all of which is read before anything is changed; `None` if that is nothing.
fn trimmed(rows: &dyn View, trim: &Trim) -> Result<Option<Trimmed>, ReadError> {
    let mut entity = entity_row(rows, &trim.key)?;
    let through = trim.through.min(entity.trimmed + TRIM_EVENTS_MAX);
    let Some(through) = removable(&entity, through) else {
        return Ok(None);
    };
    let slot = trim.key.slot();
    let mut gone = Vec::new();
    let mut change = None;
    for number in entity.trimmed + 1..=through + 1 {
        let key = key::event(&trim.key, entity.generation, number);
        let Some(value) = rows.get(&key)? else {
            continue;
        };
        let event: EventRow = decode_row(&key, value)?;
        let ended = change.replace(event.sequence);
        if let Some(ended) = ended.filter(|ended| *ended != event.sequence) {
            gone.push(key::change(slot, SlotSequence(ended)));
        }
        if number <= through {
            gone.push(key);
        }
    }
    entity.trimmed = through;
    Ok(Some(Trimmed { entity, gone }))
}

/// The last event up to `through` that loading does not need; `None` if there is none.
fn removable(row: &EntityRow, through: u64) -> Option<u64> {
    let snapshot = row.snapshot.filter(|_| row.deleted_until.is_none())?;
    let through = through.min(snapshot).min(row.last_event.saturating_sub(1));
    (through > row.trimmed).then_some(through)
}

/// The last event of an entity that is not to be kept; `None` if there is none.
fn unwanted(
    rows: &dyn View,
    entity_key: &EntityKey,
    row: &EntityRow,
    keep: Keep,
) -> Result<Option<u64>, ReadError> {
    let Some(last) = removable(row, u64::MAX) else {
        return Ok(None);
    };
    let through = match keep {
        Keep::Last(count) => {
            let snapshot = row.snapshot.unwrap_or_default();
            last.min(snapshot.saturating_sub(count))
        }
        Keep::Since(since) => last_before(rows, entity_key, row, last, since)?,
    };
    Ok(Some(through).filter(|through| *through > row.trimmed))
}

/// The last event up to `last` from before a time. Events follow each other in time, but for a clock
/// that was set back; then it is one of those at which the time passes `since`.
fn last_before(
    rows: &dyn View,
    entity_key: &EntityKey,
    row: &EntityRow,
    last: u64,
    since: Timestamp,
) -> Result<u64, ReadError> {
    let (mut before, mut from) = (row.trimmed, last + 1);
    while from - before > 1 {
        let middle = before + (from - before) / 2;
        match event_at(rows, entity_key, row, middle)? {
            Some(at) if at < since => before = middle,
            _ => from = middle,
        }
    }
    Ok(before)
}

fn event_at(
    rows: &dyn View,
    entity_key: &EntityKey,
    row: &EntityRow,
    number: u64,
) -> Result<Option<Timestamp>, ReadError> {
    let key = key::event(entity_key, row.generation, number);
    let Some(value) = rows.get(&key)? else {
        return Ok(None);
    };
    let row: EventRow = decode_row(&key, value)?;
    Ok(Some(Timestamp(row.at)))
}

/// The rows of the entities of a component after `after`.
fn entities<'a>(
    rows: &'a dyn View,
    storage: &StorageName,
    after: Option<&str>,
) -> Box<dyn Iterator<Item = Entry> + 'a> {
    let prefix = key::entities(storage);
    let from = after.map_or_else(
        || prefix.clone(),
        |after| {
            let after = EntityKey::new(storage.clone(), after);
            successor(key::entity(Space::Entity, &after))
        },
    );
    rows.scan(from, key::after_prefix(&prefix))
}

fn entity_of(row: Entry) -> Result<(EntityKey, EntityRow), ReadError> {
    let (key, value) = row?;
    let row: EntityRow = decode_row(&key, value)?;
    Ok((named(&key, row.full_key.clone())?, row))
}

#[cfg(test)]
mod tests {
    use firn_model::id::Epoch;
    use firn_model::payload::Payload;
    use futures_executor::block_on;

    use super::*;
    use crate::Store;
    use crate::commit::{Change, Commit};
    use crate::memory::{Memory, Table};

    /// Three entities with four events each, all of which a snapshot covers.
    fn filled(keys: &[EntityKey]) -> Table {
        let store = Memory::new();
        for key in keys {
            let mut commit = Commit::empty(key.slot(), Epoch(0), SlotSequence(1), Timestamp(1));
            commit.key = Some(key.clone());
            commit.change = Some(Change::Append {
                first: 1,
                events: vec![Payload::new("event", "event"); 4],
                snapshot: Some(Payload::new("snapshot", "snapshot")),
                deleted_until: None,
            });
            block_on(store.commit(vec![commit]));
        }
        store.table()
    }

    fn damage(table: &mut Table, key: &EntityKey, event: u64) {
        let generation = entity_row(table, key).unwrap().generation;
        let damaged = key::event(key, generation, event);
        table.write([(damaged, Some("\u{1}no event".into()))]);
    }

    #[test]
    fn looks_go_past_an_entity_with_a_damaged_event() {
        let storage = StorageName::new("log");
        let keys = ["a", "b", "c"].map(|id| EntityKey::new(storage.clone(), id));
        let mut table = filled(&keys);
        damage(&mut table, &keys[1], 3);
        damage(&mut table, &keys[1], 4);
        let [a, b, c] = keys;
        let later = Timestamp(2);
        let found = covered(&table, &storage, Keep::Since(later), None, 10).unwrap();
        let of: Vec<EntityKey> = found.found.into_iter().map(|it| it.key).collect();
        assert_eq!(of, [a.clone(), c.clone()]);
        assert_eq!(found.damaged, std::slice::from_ref(&b));
        let found = unwritten(&table, &storage, later, None, 10).unwrap();
        assert_eq!((found.found, found.damaged), (vec![a, c], vec![b]));
    }

    #[test]
    fn entity_with_a_damaged_event_is_left_as_it_is() {
        let storage = StorageName::new("log");
        let keys = ["a", "b", "c"].map(|id| EntityKey::new(storage.clone(), id));
        let mut table = filled(&keys);
        damage(&mut table, &keys[1], 3);
        let mut overlay = Overlay::over(&table);
        for key in &keys {
            let all = Trim {
                key: key.clone(),
                through: u64::MAX,
            };
            trim(&mut overlay, &all).expect("what is damaged hinders nobody");
        }
        let changes = overlay.into_changes();
        table.write(changes);
        let found = covered(&table, &storage, Keep::Last(0), None, 10).unwrap();
        let untouched = Covered {
            key: keys[1].clone(),
            first: 1,
            through: 3,
        };
        assert_eq!(found.found, [untouched]);
        let left = |key: &EntityKey| {
            let row = entity_row(&table, key).unwrap();
            let keys = (1..=4).map(|number| key::event(key, row.generation, number));
            keys.filter(|key| table.get(key).unwrap().is_some()).count()
        };
        assert_eq!(keys.each_ref().map(left), [1, 4, 1]);
    }
}
