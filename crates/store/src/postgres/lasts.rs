//! The last events of busy entities, as a writer has left them.
//!
//! A commit of events is compared with the last event that the database has. A writer that wrote
//! that event itself, and after which nothing of the slot was written, knows it and need not ask:
//! nobody can have written meanwhile, as each commit of a slot has its number.

use std::collections::HashMap;

use firn_model::id::{EntityKey, Epoch, Slot, SlotSequence};

use super::batch::SlotCommits;
use crate::commit::{Change, Commit};

/// How many entities are remembered; about 2 MB.
const ENTITIES_MAX: usize = 16_384;

/// What a writer knows of last events. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Lasts {
    slots: HashMap<Slot, Known>,
    /// How many entities all slots have.
    count: usize,
}

/// What is known of the entities of a slot.
#[derive(Debug)]
struct Known {
    /// Where the slot stood when it became known.
    head: (Epoch, SlotSequence),
    events: HashMap<EntityKey, u64>,
}

impl Lasts {
    /// The last event of an entity of this slot before these commits, if that is known.
    pub(super) fn before(&self, slot: &SlotCommits, key: &EntityKey) -> Option<u64> {
        let known = self.slots.get(&slot.slot)?;
        let follows = known.head == (slot.epoch(), slot.before());
        known.events.get(key).copied().filter(|_| follows)
    }

    /// Takes what commits that have landed leave.
    pub(super) fn landed(&mut self, slot: &SlotCommits) {
        if self.count >= ENTITIES_MAX {
            self.slots.clear();
            self.count = 0;
        }
        let head = (slot.epoch(), slot.before());
        let none = || Known {
            head,
            events: HashMap::new(),
        };
        let known = self.slots.entry(slot.slot).or_insert_with(none);
        self.count -= known.events.len();
        if known.head != head {
            known.events.clear();
        }
        for commit in &slot.commits {
            if let (Some(key), Some(last)) = (&commit.key, last_after(commit)) {
                known.events.insert(key.clone(), last);
            }
        }
        known.head = (slot.epoch(), slot.last());
        self.count += known.events.len();
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

    #[test]
    fn what_follows_upon_what_was_written_is_known() {
        let mut lasts = Lasts::default();
        let next = |epoch, first| commits(epoch, first, vec![("a", append(1, 1))]);
        assert_eq!(lasts.before(&next(1, 1), &key("a")), None);
        lasts.landed(&commits(
            1,
            1,
            vec![
                ("a", append(1, 2)),
                ("b", append(7, 1)),
                ("a", append(3, 1)),
            ],
        ));
        for (id, epoch, first, expected) in [
            ("a", 1, 4, Some(3)),
            ("b", 1, 4, Some(7)),
            ("c", 1, 4, None),
            // Somebody else has written to the slot, or has had it.
            ("a", 1, 5, None),
            ("a", 2, 4, None),
        ] {
            let known = lasts.before(&next(epoch, first), &key(id));
            assert_eq!(known, expected, "{id} {epoch} {first}");
        }
        lasts.landed(&commits(1, 4, vec![("a", Change::Delete { until: None })]));
        assert_eq!(lasts.before(&next(1, 5), &key("a")), Some(0));
        assert_eq!(lasts.before(&next(1, 5), &key("b")), Some(7));
        // After a gap nothing is known but what was written since.
        lasts.landed(&commits(1, 9, vec![("c", append(2, 1))]));
        assert_eq!(lasts.before(&next(1, 10), &key("b")), None);
        assert_eq!(lasts.before(&next(1, 10), &key("c")), Some(2));
    }

    #[test]
    fn no_more_is_known_than_there_is_room_for() {
        let mut lasts = Lasts::default();
        for number in 0..2 * ENTITIES_MAX as u64 {
            let id = number.to_string();
            lasts.landed(&commits(1, number + 1, vec![(&id, append(1, 1))]));
            assert!(lasts.count <= ENTITIES_MAX, "{number}");
        }
        let count: usize = lasts.slots.values().map(|known| known.events.len()).sum();
        assert_eq!(lasts.count, count);
        assert!(count > 0, "the newest are known");
    }
}
