//! The fence: which commits of a batch may be written.
//!
//! Both backends of this crate hold the heads of all slots in memory and judge a batch before they
//! write it. A slot's commits in one batch stand or fall together.
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
    /// The last event of entities, with the number of the batch that wrote it.
    last_events: HashMap<EntityKey, LastEvent>,
}

#[derive(Clone, Copy)]
struct LastEvent {
    number: u64,
    batch: u64,
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
        let mut advanced: FxHashMap<Slot, Option<Head>> = FxHashMap::default();
        let mut last_events = HashMap::new();
        for commit in &batch {
            let stored_head = self.heads.get(&commit.slot).copied().unwrap_or_default();
            let head = advanced.entry(commit.slot).or_insert(Some(stored_head));
            let accepted = head.is_some_and(|head| continues(head, commit))
                && is_whole(commit)
                && self.continues_entity(commit, &mut last_events, &stored);
            *head = accepted.then_some(Head {
                epoch: commit.epoch,
                sequence: commit.sequence,
            });
        }
        self.remember(&advanced, last_events, progress.batch);
        self.split(batch, &advanced)
    }

    /// Whether the commit continues its entity's events; notes where they then end.
    fn continues_entity(
        &self,
        commit: &Commit,
        last_events: &mut HashMap<EntityKey, (Slot, u64)>,
        stored: &impl Fn(&EntityKey) -> Result<u64, ReadError>,
    ) -> bool {
        let (Some(key), Some(change)) = (&commit.key, &commit.change) else {
            return true;
        };
        match change {
            Change::Set(_) | Change::Delete { until: Some(_) } => return true,
            Change::Delete { until: None } => {
                last_events.insert(key.clone(), (commit.slot, 0));
                return true;
            }
            Change::Append { .. } | Change::Snapshot { .. } | Change::Clean => {}
        }
        let known = last_events.get(key).map(|(_, number)| *number);
        let known = known.or_else(|| self.last_events.get(key).map(|last| last.number));
        let Ok(last) = known.map_or_else(|| stored(key), Ok) else {
            return false;
        };
        let Some(number) = last_event_after(change, last) else {
            return false;
        };
        last_events.insert(key.clone(), (commit.slot, number));
        true
    }

    fn remember(
        &mut self,
        advanced: &FxHashMap<Slot, Option<Head>>,
        last_events: HashMap<EntityKey, (Slot, u64)>,
        batch: u64,
    ) {
        for (key, (slot, number)) in last_events {
            if advanced.get(&slot).is_some_and(Option::is_some) {
                self.last_events.insert(key, LastEvent { number, batch });
            }
        }
        for (slot, head) in advanced {
            if let Some(head) = head {
                self.heads.insert(*slot, *head);
            }
        }
    }

    fn split(&self, batch: Vec<Commit>, advanced: &FxHashMap<Slot, Option<Head>>) -> Judgement {
        let refused = advanced
            .iter()
            .filter(|(_, head)| head.is_none())
            .map(|(slot, _)| SlotOutcome {
                slot: *slot,
                outcome: Outcome::Refused {
                    head: self.heads.get(slot).copied().unwrap_or_default(),
                },
            })
            .collect();
        let is_landing = |slot: &Slot| advanced.get(slot).is_some_and(Option::is_some);
        Judgement {
            accepted: batch
                .into_iter()
                .filter(|commit| is_landing(&commit.slot))
                .collect(),
            refused,
            landing: advanced.keys().copied().filter(is_landing).collect(),
        }
    }

    fn forget_applied(&mut self, applied: u64) {
        if self.last_events.len() > REMEMBERED_MAX {
            self.last_events.retain(|_, last| last.batch > applied);
        }
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
