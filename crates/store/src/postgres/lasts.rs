//! The histories of busy entities, as a writer has left them.
//!
//! A commit of events is compared with the last event that the database has, and its rows carry the
//! number of the entity's generation. A writer that wrote the last event itself, and after which
//! nothing of the slot was written, knows both and need not ask: nobody can have written meanwhile, as
//! each commit of a slot has its number.

use std::collections::HashMap;

use firn_model::id::{EntityKey, Epoch, Slot, SlotSequence};

use super::batch::SlotCommits;
use crate::commit::{Change, Commit};

/// How many entities are remembered; about 3 MB.
const ENTITIES_MAX: usize = 16_384;

/// What a writer knows of histories. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Lasts {
    slots: HashMap<Slot, Known>,
    /// How many entities all slots have.
    count: usize,
}

/// The generations of entities after a batch, as far as the database was asked.
pub(super) type Generations = HashMap<EntityKey, i64>;

/// What is known of the entities of a slot.
#[derive(Debug)]
struct Known {
    /// Where the slot stood when it became known.
    head: (Epoch, SlotSequence),
    entities: HashMap<EntityKey, Last>,
}

/// Where an entity's history stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last {
    /// The number of the last event, 0 if there is none.
    pub(super) event: u64,
    /// The generation of the events, if that is known and the entity's row tells that it has events.
    pub(super) generation: Option<i64>,
}

impl Lasts {
    /// The history of an entity of this slot before these commits, if it is known.
    pub(super) fn before(&self, slot: &SlotCommits, key: &EntityKey) -> Option<Last> {
        let known = self.slots.get(&slot.slot)?;
        let follows = known.head == (slot.epoch(), slot.before());
        known.entities.get(key).copied().filter(|_| follows)
    }

    /// Takes what commits that have landed leave, and the generations that the database told.
    pub(super) fn landed(&mut self, slot: &SlotCommits, generations: &Generations) {
        if self.count >= ENTITIES_MAX {
            self.slots.clear();
            self.count = 0;
        }
        let head = (slot.epoch(), slot.before());
        let none = || Known {
            head,
            entities: HashMap::new(),
        };
        let known = self.slots.entry(slot.slot).or_insert_with(none);
        self.count -= known.entities.len();
        if known.head != head {
            known.entities.clear();
        }
        for commit in &slot.commits {
            let (Some(key), Some(event)) = (&commit.key, last_after(commit)) else {
                continue;
            };
            let generation = generations.get(key).copied();
            match known.entities.get_mut(key) {
                Some(last) => last.advance(event, generation),
                None => {
                    let mut last = Last {
                        event,
                        generation: None,
                    };
                    last.advance(event, generation);
                    known.entities.insert(key.clone(), last);
                }
            }
        }
        known.head = (slot.epoch(), slot.last());
        self.count += known.entities.len();
    }
}

impl Last {
    fn advance(&mut self, event: u64, told: Option<i64>) {
        self.event = event;
        self.generation = told.or(self.generation).filter(|_| event > 0);
    }
}

/// The number of an entity's last event after a commit that says so.
fn last_after(commit: &Commit) -> Option<u64> {
    match commit.change.as_ref()? {
        Change::Append { events, .. } if events.is_empty() => None,
        Change::Append { first, events, .. } => Some(first - 1 + events.len() as u64),
        Change::Delete { until: None } | Change::Clean => Some(0),
        Change::Set(_) | Change::Delete { until: Some(_) } | Change::Snapshot { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use firn_model::id::StorageName;
    use firn_model::payload::Payload;

    use super::*;
    use crate::entity::Timestamp;

    fn key(id: &str) -> EntityKey {
        EntityKey::new(StorageName::new("s"), id)
    }

    /// Commits of a slot, each of one change of an entity.
    fn commits(epoch: u64, first: u64, changes: Vec<(&str, Change)>) -> SlotCommits {
        let slot = Slot::new(1).unwrap();
        let commit = |(sequence, (id, change))| {
            let sequence = SlotSequence(sequence);
            let mut commit = Commit::empty(slot, Epoch(epoch), sequence, Timestamp(0));
            commit.key = Some(key(id));
            commit.change = Some(change);
            commit
        };
        SlotCommits {
            slot,
            commits: (first..).zip(changes).map(commit).collect(),
        }
    }

    fn append(first: u64, count: usize) -> Change {
        Change::Append {
            first,
            events: vec![Payload::new("t", Vec::new()); count],
            snapshot: None,
            deleted_until: None,
        }
    }

    fn last(event: u64) -> Last {
        Last {
            event,
            generation: None,
        }
    }

    #[test]
    fn what_follows_upon_what_was_written_is_known() {
        let mut lasts = Lasts::default();
        let next = |epoch, first| commits(epoch, first, vec![("a", append(1, 1))]);
        assert_eq!(lasts.before(&next(1, 1), &key("a")), None);
        lasts.landed(
            &commits(
                1,
                1,
                vec![
                    ("a", append(1, 2)),
                    ("b", append(7, 1)),
                    ("a", append(3, 1)),
                ],
            ),
            &Generations::new(),
        );
        for (id, epoch, first, expected) in [
            ("a", 1, 4, Some(3)),
            ("b", 1, 4, Some(7)),
            ("c", 1, 4, None),
            // Somebody else has written to the slot, or has had it.
            ("a", 1, 5, None),
            ("a", 2, 4, None),
        ] {
            let known = lasts.before(&next(epoch, first), &key(id));
            assert_eq!(known, expected.map(last), "{id} {epoch} {first}");
        }
        lasts.landed(
            &commits(1, 4, vec![("a", Change::Delete { until: None })]),
            &Generations::new(),
        );
        assert_eq!(lasts.before(&next(1, 5), &key("a")), Some(last(0)));
        assert_eq!(lasts.before(&next(1, 5), &key("b")), Some(last(7)));
        // After a gap nothing is known but what was written since.
        lasts.landed(
            &commits(1, 9, vec![("c", append(2, 1))]),
            &Generations::new(),
        );
        assert_eq!(lasts.before(&next(1, 10), &key("b")), None);
        assert_eq!(lasts.before(&next(1, 10), &key("c")), Some(last(2)));
    }

    #[test]
    fn a_generation_is_known_from_the_first_events_to_the_end() {
        let mut lasts = Lasts::default();
        let told = Generations::from([(key("a"), 3)]);
        let none = Generations::new();
        let end = || Change::Delete { until: None };
        let steps = [
            (append(1, 2), &told, 2, Some(3)),
            (append(3, 1), &none, 3, Some(3)),
            (end(), &told, 0, None),
            (append(1, 1), &none, 1, None),
            (append(2, 1), &told, 2, Some(3)),
        ];
        for (sequence, (change, told, event, generation)) in (1..).zip(steps) {
            lasts.landed(&commits(1, sequence, vec![("a", change)]), told);
            let next = commits(1, sequence + 1, vec![("a", append(1, 1))]);
            let expected = Last { event, generation };
            assert_eq!(lasts.before(&next, &key("a")), Some(expected), "{sequence}");
        }
    }

    #[test]
    fn no_more_is_known_than_there_is_room_for() {
        let mut lasts = Lasts::default();
        for number in 0..2 * ENTITIES_MAX as u64 {
            let id = number.to_string();
            lasts.landed(
                &commits(1, number + 1, vec![(&id, append(1, 1))]),
                &Generations::new(),
            );
            assert!(lasts.count <= ENTITIES_MAX, "{number}");
        }
        let count: usize = lasts.slots.values().map(|known| known.entities.len()).sum();
        assert_eq!(lasts.count, count);
        assert!(count > 0, "the newest are known");
    }
}
