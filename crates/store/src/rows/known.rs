//! Known rows: the entities that were written last, as their rows are now.
//!
//! Whoever brings writes into rows is alone in that, so the row that it has written last is the one
//! that is there. A busy entity's row is then read once, not for every commit, and written once for
//! all commits that are brought in together.
//!
//! # Invariants
//! - A row that has changed is in the overlay before anybody reads it from there: after
//!   [`Known::put_changed`].
//! - What is known is forgotten with the overlay if bringing writes into it fails.

use std::collections::HashMap;

use firn_model::id::EntityKey;

use super::apply::entity_row;
use super::key::{self, Key, Space};
use super::overlay::{Overlay, View};
use super::value::EntityRow;
use crate::ReadError;
use crate::encoding::encode;

/// How many entities are known at most once writes are brought in: about 2 MB with short names. When
/// there are more, all are forgotten; those that are busy are soon known again.
const KNOWN_MAX: usize = 8192;

/// Rows of entities.
#[derive(Default)]
pub(crate) struct Known {
    /// Where in `rows`. The names come from callers, so the hash is one that they cannot aim at.
    places: HashMap<EntityKey, usize>,
    rows: Vec<Row>,
    /// Places of rows that have changed and are not in the overlay yet.
    changed: Vec<usize>,
}

struct Row {
    key: Key,
    entity: EntityRow,
    has_changed: bool,
}

impl Known {
    /// The row of an entity, or the one it would begin with.
    pub(crate) fn entity(
        &mut self,
        rows: &dyn View,
        entity_key: &EntityKey,
    ) -> Result<&EntityRow, ReadError> {
        let place = self.place(rows, entity_key)?;
        Ok(&self.rows[place].entity)
    }

    /// The row of an entity that changes.
    pub(crate) fn changing(
        &mut self,
        rows: &dyn View,
        entity_key: &EntityKey,
    ) -> Result<&mut EntityRow, ReadError> {
        let place = self.place(rows, entity_key)?;
        let row = &mut self.rows[place];
        if !row.has_changed {
            row.has_changed = true;
            self.changed.push(place);
        }
        Ok(&mut row.entity)
    }

    /// Puts the rows that have changed into the overlay.
    pub(crate) fn put_changed(&mut self, rows: &mut Overlay<'_>) {
        for place in self.changed.drain(..) {
            let row = &mut self.rows[place];
            row.has_changed = false;
            rows.put(row.key.clone(), encode(&row.entity));
        }
    }

    /// Forgets an entity whose row somebody else may have changed in the overlay.
    pub(crate) fn forget(&mut self, entity_key: &EntityKey) {
        self.places.remove(entity_key);
    }

    /// Forgets all if there are too many.
    pub(crate) fn shrink(&mut self) {
        if self.rows.len() > KNOWN_MAX {
            *self = Self::default();
        }
    }

    fn place(&mut self, rows: &dyn View, entity_key: &EntityKey) -> Result<usize, ReadError> {
        if let Some(place) = self.places.get(entity_key) {
            return Ok(*place);
        }
        let place = self.rows.len();
        self.rows.push(Row {
            key: key::entity(Space::Entity, entity_key),
            entity: entity_row(rows, entity_key)?,
            has_changed: false,
        });
        self.places.insert(entity_key.clone(), place);
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use firn_model::call::Reply;
    use firn_model::id::{Epoch, Slot, SlotSequence, StorageName};
    use firn_model::payload::Payload;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::commit::{Change, Commit, ReplyRecord, StoredAnswer};
    use crate::entity::Timestamp;
    use crate::memory::Table;
    use crate::retention::Trim;
    use crate::rows::apply::{Remembered, apply};
    use crate::write::Write;

    /// How many steps are taken; one that ends an entity takes another to sweep.
    const STEPS_MAX: usize = 40;

    /// What is done with one of few entities.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Append(u64),
        Cover,
        Bury,
        Snapshot,
        Set,
        Delete,
        Clean,
        Answer,
        Trim,
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..4u64).prop_map(Step::Append),
            1 => Just(Step::Cover),
            1 => Just(Step::Bury),
            1 => Just(Step::Snapshot),
            1 => Just(Step::Set),
            1 => Just(Step::Delete),
            1 => Just(Step::Clean),
            2 => Just(Step::Answer),
            2 => Just(Step::Trim),
        ]
    }

    fn key_of(number: usize) -> EntityKey {
        EntityKey::new(StorageName::new("known"), number.to_string())
    }

    /// The writes of steps.
    fn writes(steps: &[(usize, Step)]) -> Vec<Write> {
        let mut lasts = HashMap::new();
        let mut writes = Vec::new();
        for (sequence, (number, step)) in (1..).zip(steps) {
            let key = key_of(*number);
            let last: &mut u64 = lasts.entry(*number).or_default();
            if let Step::Trim = step {
                let through = *last;
                writes.push(Write::Trim(Trim { key, through }));
                continue;
            }
            let mut commit = empty(key.slot(), sequence);
            if let Step::Answer = step {
                commit.reply_record = Some(record(sequence));
            } else {
                commit.change = Some(change(*step, last));
            }
            commit.key = Some(key);
            writes.push(Write::Commit(commit));
        }
        writes
    }

    fn empty(slot: Slot, sequence: u64) -> Commit {
        Commit::empty(slot, Epoch(1), SlotSequence(sequence), Timestamp(sequence))
    }

    fn record(sequence: u64) -> ReplyRecord {
        ReplyRecord {
            method: "m".to_owned(),
            idempotency_key: sequence.to_string(),
            request_hash: 0,
            expires: Timestamp(sequence).plus(Duration::from_secs(60)),
            answer: StoredAnswer::Reply(Reply::default()),
        }
    }

    fn change(step: Step, last: &mut u64) -> Change {
        let payload = Payload::new("t", vec![1]);
        let append = |events: u64, snapshot, deleted_until| Change::Append {
            first: *last + 1,
            events: vec![payload.clone(); events as usize],
            snapshot,
            deleted_until,
        };
        let (change, now) = match step {
            Step::Append(count) => (append(count, None, None), *last + count),
            Step::Cover => (append(1, Some(payload.clone()), None), *last + 1),
            Step::Bury => (append(0, None, Some(Timestamp(5))), *last),
            Step::Snapshot => {
                let sequence = *last;
                (Change::Snapshot { sequence, payload }, *last)
            }
            Step::Set => (Change::Set(payload), *last),
            Step::Delete => (Change::Delete { until: None }, 0),
            Step::Clean | Step::Answer | Step::Trim => (Change::Clean, 0),
        };
        *last = now;
        change
    }

    /// All rows, once the writes were brought in so many at once, and nothing is left to sweep.
    fn rows(
        writes: &[Write],
        sizes: impl IntoIterator<Item = usize>,
        forgets: bool,
    ) -> Vec<(Bytes, Bytes)> {
        let mut table = Table::default();
        let mut remembered = Remembered::new();
        let slot = Slot::new(0).unwrap();
        let last = Write::Commit(empty(slot, STEPS_MAX as u64));
        let sweeping = vec![last; 2 * STEPS_MAX];
        let mut rest = writes;
        let mut batches: Vec<&[Write]> = Vec::new();
        for size in sizes {
            let (together, behind) = rest.split_at(size.min(rest.len()));
            batches.push(together);
            rest = behind;
        }
        for together in batches.into_iter().chain(sweeping.chunks(1)) {
            let mut overlay = Overlay::over(&table);
            apply(&mut overlay, together, &mut remembered).unwrap();
            let changes = overlay.into_changes();
            table.write(changes);
            if forgets {
                remembered = Remembered::new();
            }
        }
        assert!(rest.is_empty());
        let all = table.scan(Vec::new(), vec![u8::MAX]);
        all.map(Result::unwrap).collect()
    }

    proptest! {
        /// However many writes are brought in together, and whatever is known of them.
        #[test]
        fn rows_are_those_of_writes_that_come_alone(
            steps in vec((0..3usize, steps()), 1..STEPS_MAX),
            sizes in vec(1..8usize, 0..40),
        ) {
            let writes = writes(&steps);
            let alone = rows(&writes, vec![1; writes.len()], true);
            let remembered = rows(&writes, vec![1; writes.len()], false);
            prop_assert_eq!(&remembered, &alone);
            let mixed = rows(&writes, sizes.into_iter().chain([1; STEPS_MAX]), false);
            prop_assert_eq!(&mixed, &alone);
        }
    }

    #[test]
    fn too_many_are_forgotten() {
        let table = Table::default();
        let mut known = Known::default();
        for number in 0..=KNOWN_MAX {
            known.entity(&table, &key_of(number)).unwrap();
        }
        known.shrink();
        assert!(known.rows.is_empty() && known.places.is_empty());
    }
}
