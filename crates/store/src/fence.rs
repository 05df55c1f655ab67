//! The fence: which commits of a batch may be written.
//!
//! The backends that are alone with their data, embedded and memory, hold the heads of all slots and
//! judge a batch before they write it. A slot's commits in one batch stand or fall together.
//!
//! # Invariants
//! - What is accepted continues its slot without a gap, under the slot's epoch.
//! - What is accepted continues its entity's events without a gap. A commit that does not is a bug
//!   of its sender; it is refused like a wrong sequence, so it is never stored.

use std::collections::HashMap;

use firn_model::id::{EntityKey, Slot};
use rustc_hash::FxHashMap;

use crate::ReadError;
use crate::commit::{Change, Commit, Head, Outcome, SlotOutcome};

/// How many entities' last event numbers are remembered once they are also in the rows, so that
/// busy ones need not be read again with every commit. About 2 MB when full.
const REMEMBERED_MAX: usize = 16_384;

/// The heads of all slots, and the last events of some entities.
#[derive(Default)]
pub(crate) struct Fence {
    heads: FxHashMap<Slot, Head>,
    /// The names come from callers, so the hash is one that they cannot aim at.
    last_events: HashMap<EntityKey, LastEvent>,
    /// How many batches were judged.
    judged: u64,
}

/// The last event of an entity.
struct LastEvent {
    /// Its number, as if all of the batch that is judged landed.
    number: u64,
    /// The number of the batch that wrote it.
    batch: u64,
    /// Which judgement changed it last.
    judged: u64,
    /// What it was before that; `None` if it was not known.
    before: Option<u64>,
}

/// Which commits of a batch may be written.
pub(crate) struct Judgement {
    /// The commits that may, in their order.
    pub(crate) accepted: Vec<Commit>,
    /// The outcomes of the slots of all others.
    pub(crate) refused: Vec<SlotOutcome>,
    /// The slots of `accepted`.
    pub(crate) landing: Vec<Slot>,
}

/// How far commits have got, in numbers that rise with every batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// The number of the batch that is judged.
    pub(crate) batch: u64,
    /// The batches up to this number are in the rows.
    pub(crate) applied: u64,
}

impl Fence {
    /// A fence that continues from these heads.
    pub(crate) fn new(heads: impl IntoIterator<Item = (Slot, Head)>) -> Self {
        Self {
            heads: heads.into_iter().collect(),
            last_events: HashMap::new(),
            judged: 0,
        }
    }

    /// The heads of all slots that have one.
    pub(crate) fn heads(&self) -> Vec<(Slot, Head)> {
        self.heads
            .iter()
            .map(|(slot, head)| (*slot, *head))
            .collect()
    }

    /// Judges a batch, and advances the heads of what it accepts. `stored` reads the last event of
    /// an entity from the rows.
    pub(crate) fn judge(
        &mut self,
        batch: Vec<Commit>,
        progress: Progress,
        stored: impl Fn(&EntityKey) -> Result<u64, ReadError>,
    ) -> Judgement {
        self.forget_applied(progress.applied);
        self.judged += 1;
        let mut advanced: FxHashMap<Slot, Option<Head>> = FxHashMap::default();
        for commit in &batch {
            let stored_head = || Some(self.heads.get(&commit.slot).copied().unwrap_or_default());
            let head = advanced.entry(commit.slot).or_insert_with(stored_head);
            let accepted = head.is_some_and(|head| continues(head, commit))
                && is_whole(commit)
                && self.continues_entity(commit, progress.batch, &stored);
            *head = accepted.then_some(Head {
                epoch: commit.epoch,
                sequence: commit.sequence,
            });
        }
        self.conclude(batch, &advanced)
    }

    /// Whether the commit continues its entity's events; notes where they then end.
    fn continues_entity(
        &mut self,
        commit: &Commit,
        batch: u64,
        stored: &impl Fn(&EntityKey) -> Result<u64, ReadError>,
    ) -> bool {
        let (Some(key), Some(change)) = (&commit.key, &commit.change) else {
            return true;
        };
        if let Change::Set(_) | Change::Delete { until: Some(_) } = change {
            return true;
        }
        if let Some(last) = self.last_events.get_mut(key) {
            let number = last_event_after(change, last.number);
            if let Some(number) = number {
                last.advance(number, batch, self.judged);
            }
            return number.is_some();
        }
        let before = match change {
            Change::Delete { until: None } => None,
            _ => match stored(key) {
                Ok(number) => Some(number),
                Err(_) => return false,
            },
        };
        let Some(number) = last_event_after(change, before.unwrap_or(0)) else {
            return false;
        };
        let last = LastEvent {
            number,
            batch,
            judged: self.judged,
            before,
        };
        self.last_events.insert(key.clone(), last);
        true
    }

    /// Advances the heads of what landed, takes back what was noted of all else, and gives the
    /// judgement.
    fn conclude(
        &mut self,
        batch: Vec<Commit>,
        advanced: &FxHashMap<Slot, Option<Head>>,
    ) -> Judgement {
        let mut judgement = Judgement {
            accepted: batch,
            refused: Vec::new(),
            landing: Vec::with_capacity(advanced.len()),
        };
        for (slot, head) in advanced {
            if let Some(head) = head {
                self.heads.insert(*slot, *head);
                judgement.landing.push(*slot);
            } else {
                let head = self.heads.get(slot).copied().unwrap_or_default();
                let outcome = Outcome::Refused { head };
                judgement.refused.push(SlotOutcome {
                    slot: *slot,
                    outcome,
                });
            }
        }
        if !judgement.refused.is_empty() {
            judgement.accepted.retain(|commit| {
                let lands = advanced.get(&commit.slot).is_some_and(Option::is_some);
                // Of an entity of another slot nothing was noted.
                let key = commit.key.as_ref();
                if !lands && let Some(key) = key.filter(|key| key.slot() == commit.slot) {
                    self.take_back(key);
                }
                lands
            });
        }
        judgement
    }

    /// The last event of an entity is what it was before this judgement.
    fn take_back(&mut self, key: &EntityKey) {
        let Some(last) = self.last_events.get_mut(key) else {
            return;
        };
        if last.judged < self.judged {
            return;
        }
        match last.before {
            Some(before) => last.number = before,
            None => {
                self.last_events.remove(key);
            }
        }
    }

    fn forget_applied(&mut self, applied: u64) {
        if self.last_events.len() > REMEMBERED_MAX {
            self.last_events.retain(|_, last| last.batch > applied);
        }
    }
}

impl LastEvent {
    fn advance(&mut self, number: u64, batch: u64, judged: u64) {
        if self.judged < judged {
            self.judged = judged;
            self.before = Some(self.number);
        }
        self.number = number;
        self.batch = batch;
    }
}

fn continues(head: Head, commit: &Commit) -> bool {
    commit.epoch == head.epoch && commit.sequence == head.sequence.next()
}

/// Whether everything that needs an entity has one, of this slot, and effects are acknowledged by
/// their sender.
pub(crate) fn is_whole(commit: &Commit) -> bool {
    let needs_key = commit.change.is_some()
        || commit.reply_record.is_some()
        || !commit.effects.is_empty()
        || !commit.timers.is_empty();
    let has_key = match &commit.key {
        Some(key) => key.slot() == commit.slot,
        None => !needs_key,
    };
    let has_state = matches!(commit.change, Some(Change::Set(_)));
    has_key
        && (has_state || commit.tags.is_empty())
        && commit.effects.iter().all(|effect| effect.delay.is_none())
        && commit
            .delivered
            .iter()
            .all(|effect| effect.slot == commit.slot)
}

/// The number of the last event after a change; `None` if the change does not fit.
fn last_event_after(change: &Change, last: u64) -> Option<u64> {
    match change {
        Change::Set(_) | Change::Delete { until: Some(_) } => Some(last),
        Change::Append { first, events, .. } => {
            let fits = events.is_empty() || *first == last + 1;
            fits.then_some(last + events.len() as u64)
        }
        Change::Snapshot { sequence, .. } => (*sequence <= last).then_some(last),
        Change::Delete { until: None } | Change::Clean => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use firn_model::id::{Epoch, SlotSequence, StorageName};
    use firn_model::payload::Payload;

    use super::*;
    use crate::entity::Timestamp;

    fn commit(key: &EntityKey, sequence: u64, change: Change) -> Commit {
        let sequence = SlotSequence(sequence);
        let mut commit = Commit::empty(key.slot(), Epoch(0), sequence, Timestamp(0));
        commit.key = Some(key.clone());
        commit.change = Some(change);
        commit
    }

    fn append(first: u64) -> Change {
        Change::Append {
            first,
            events: vec![Payload::default()],
            snapshot: None,
            deleted_until: None,
        }
    }

    /// How many commits of a batch are accepted, and how many entities were read for it.
    fn judge(fence: &mut Fence, batch: Vec<Commit>, stored: u64) -> (usize, usize) {
        let reads = Cell::new(0);
        let progress = Progress {
            batch: 1,
            applied: 0,
        };
        let judgement = fence.judge(batch, progress, |_| {
            reads.set(reads.get() + 1);
            Ok(stored)
        });
        let landing: Vec<Slot> = judgement.landing;
        let accepted = judgement.accepted;
        assert!(accepted.iter().all(|it| landing.contains(&it.slot)));
        assert!(
            judgement
                .refused
                .iter()
                .all(|it| !landing.contains(&it.slot))
        );
        (accepted.len(), reads.get())
    }

    #[test]
    fn what_was_refused_leaves_last_events_as_they_were() {
        let key = |id: &str| EntityKey::new(StorageName::new("fence"), id);
        let (one, other) = (key("a"), key("b"));
        assert_ne!(one.slot(), other.slot());
        let mut fence = Fence::default();
        let end = Change::Delete { until: None };
        // Both go on from event 4; the second slot then has a gap.
        let batch = vec![
            commit(&one, 1, append(5)),
            commit(&other, 1, append(5)),
            commit(&other, 2, end),
            commit(&other, 4, append(1)),
        ];
        assert_eq!(judge(&mut fence, batch, 4), (1, 2));
        // What was read is still known.
        let batch = vec![
            commit(&one, 2, append(6)),
            commit(&other, 1, append(5)),
            commit(&other, 2, append(6)),
        ];
        assert_eq!(judge(&mut fence, batch, 9), (3, 0));
        let batch = vec![commit(&one, 3, append(6)), commit(&other, 3, append(7))];
        assert_eq!(judge(&mut fence, batch, 9), (1, 0));
    }

    #[test]
    fn an_end_that_was_refused_is_not_taken_for_one() {
        let key = EntityKey::new(StorageName::new("fence"), "a");
        let mut fence = Fence::default();
        let end = Change::Delete { until: None };
        let batch = vec![commit(&key, 1, end.clone()), commit(&key, 3, append(1))];
        assert_eq!(judge(&mut fence, batch, 4), (0, 0));
        assert_eq!(
            judge(&mut fence, vec![commit(&key, 1, append(1))], 4),
            (0, 1)
        );
        let batch = vec![commit(&key, 1, end), commit(&key, 2, append(1))];
        assert_eq!(judge(&mut fence, batch, 4), (2, 0));
    }

    #[test]
    fn a_broken_commit_takes_nothing_back_of_an_entity_of_another_slot() {
        let key = |id: &str| EntityKey::new(StorageName::new("fence"), id);
        let (one, other) = (key("a"), key("b"));
        let mut broken = commit(&other, 1, append(9));
        broken.key = Some(one.clone());
        let mut fence = Fence::default();
        let batch = vec![commit(&one, 1, append(5)), broken];
        assert_eq!(judge(&mut fence, batch, 4).0, 1);
        let again = vec![commit(&one, 2, append(5))];
        assert_eq!(judge(&mut fence, again, 4).0, 0);
        let next = vec![commit(&one, 2, append(6))];
        assert_eq!(judge(&mut fence, next, 4).0, 1);
    }
}
