//! A slot as its lane sees it: the sequence it gives out, what is under way, what is in trouble.

use std::collections::{BTreeSet, VecDeque};

use firn_model::id::{EffectId, Epoch, SlotSequence};
use firn_store::{Head, TimerId, Timestamp};

use super::Ticket;
use crate::refusal::Refusal;

/// The lane's side of a slot.
#[derive(Debug)]
pub(super) struct SlotState {
    epoch: Epoch,
    /// The last sequence given out.
    sequence: SlotSequence,
    /// The last sequence that the committer has told something about.
    told: SlotSequence,
    /// Commits whose outcome is not known yet, in order.
    under_way: VecDeque<UnderWay>,
    pub(super) trouble: Option<Trouble>,
    /// Effects that are in the outbox.
    open: BTreeSet<EffectId>,
    /// Effects that were delivered and are to leave the outbox with the next commit.
    pub(super) delivered: Vec<EffectId>,
}

/// A commit whose outcome is not known yet.
#[derive(Debug)]
pub(super) struct UnderWay {
    sequence: SlotSequence,
    /// The instance that waits for it; none for housekeeping.
    ticket: Option<Ticket>,
    /// What it takes out of the outbox.
    delivered: Vec<EffectId>,
    /// The timers that it changes.
    timers: Vec<TimerId>,
    /// When the first is due of the timers that it sets.
    armed: Option<Timestamp>,
}

impl UnderWay {
    pub(super) fn sequence(&self) -> SlotSequence {
        self.sequence
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    pub(super) fn timers(&self) -> &[TimerId] {
        &self.timers
    }

    pub(super) fn armed(&self) -> Option<Timestamp> {
        self.armed
    }
}

/// Why nothing of a slot may be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A commit was not applied; once all that is under way was refused too, this is the head.
    Refused(Head, Why),
    /// The outcome of commits is not known. The store is asked for the head once the committer has
    /// told about all that is under way: a later commit could still land behind the question.
    Unknown,
}

/// Why a commit was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody else has written to the slot.
    Owner,
    /// The store did not write it, or one that it would have followed upon.
    Store,
}

impl Why {
    /// What callers are told.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Owner => Refusal::CommitRefused,
            Self::Store => Refusal::CommitNotWritten,
        }
    }
}

impl SlotState {
    pub(super) fn new(head: Head) -> Self {
        Self {
            epoch: head.epoch,
            sequence: head.sequence,
            told: head.sequence,
            under_way: VecDeque::new(),
            trouble: None,
            open: BTreeSet::new(),
            delivered: Vec::new(),
        }
    }

    /// Why the fence has refused a commit, whose slot has this head. One that follows upon what was
    /// not written is refused for that alone.
    pub(super) fn why_refused(&self, head: Head) -> Why {
        match self.trouble {
            Some(Trouble::Refused(_, why)) if head.epoch == self.epoch => why,
            _ => Why::Owner,
        }
    }

    /// Why nothing of the slot is written now.
    pub(super) fn why_not(&self) -> Why {
        match self.trouble {
            Some(Trouble::Refused(_, why)) => why,
            // Whoever else may have the slot, what is refused for this was never handed over.
            Some(Trouble::Unknown) | None => Why::Store,
        }
    }

    /// Gives out the next sequence to a commit of `ticket` that takes `delivered` out of the outbox.
    pub(super) fn begin(
        &mut self,
        ticket: Option<Ticket>,
        delivered: Vec<EffectId>,
    ) -> (Epoch, SlotSequence) {
        self.sequence = self.sequence.next();
        self.under_way.push_back(UnderWay {
            sequence: self.sequence,
            ticket,
            delivered,
            timers: Vec::new(),
            armed: None,
        });
        (self.epoch, self.sequence)
    }

    /// Notes which timers the commit changes that began last, and when the first is due of those that
    /// it sets.
    pub(super) fn note_timers(&mut self, timers: Vec<TimerId>, armed: Option<Timestamp>) {
        if let Some(last) = self.under_way.back_mut() {
            last.timers = timers;
            last.armed = armed;
        }
    }

    /// Whether a commit is under way that changes this timer.
    pub(super) fn changes(&self, timer: &TimerId) -> bool {
        let mut under_way = self.under_way.iter();
        under_way.any(|commit| commit.timers.contains(timer))
    }

    /// Notes that the committer has told something about all commits up to `last`.
    pub(super) fn tell(&mut self, last: SlotSequence) {
        self.told = self.told.max(last);
    }

    /// Whether the committer has told something about every commit.
    pub(super) fn is_told(&self) -> bool {
        self.told >= self.sequence
    }

    /// The commits up to `last` have landed: gives them in order.
    pub(super) fn land(&mut self, last: SlotSequence) -> Vec<UnderWay> {
        self.take(last).collect()
    }

    /// The commits up to `last` were not applied, as if they had never begun: gives them in order.
    pub(super) fn refuse(&mut self, last: SlotSequence) -> Vec<UnderWay> {
        let refused: Vec<UnderWay> = self.take(last).collect();
        for commit in &refused {
            self.open
                .retain(|effect| effect.sequence != commit.sequence);
            self.delivered.extend(&commit.delivered);
        }
        refused
    }

    fn take(&mut self, last: SlotSequence) -> impl Iterator<Item = UnderWay> {
        let count = self
            .under_way
            .iter()
            .take_while(|commit| commit.sequence <= last)
            .count();
        self.under_way.drain(..count)
    }

    /// Whether the outcome of every commit is known.
    pub(super) fn is_quiet(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether nothing at all is left to do.
    pub(super) fn is_settled(&self) -> bool {
        self.under_way.is_empty() && self.delivered.is_empty() && self.trouble.is_none()
    }

    /// The epoch under which this lane writes.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last sequence given out.
    pub(super) fn last(&self) -> SlotSequence {
        self.sequence
    }

    /// Goes on from the stored head, under the epoch of this lane: who has lost a slot to another
    /// owner must not write under that owner's epoch.
    pub(super) fn reset(&mut self, head: Head) {
        self.sequence = head.sequence;
        self.told = head.sequence;
        self.trouble = None;
        if head.epoch != self.epoch {
            // The outbox is that owner's too.
            self.open.clear();
            self.delivered.clear();
        }
    }

    /// Notes an effect as in the outbox.
    pub(super) fn open(&mut self, effect: EffectId) {
        self.open.insert(effect);
    }

    /// Notes an effect as delivered.
    pub(super) fn delivered(&mut self, effect: EffectId) {
        if self.open.remove(&effect) {
            self.delivered.push(effect);
        }
    }

    /// The lowest sequence whose effects may still be delivered again, or the one after the last.
    ///
    /// A delivered effect counts until the commit that takes it out of the outbox has landed: after
    /// a crash before that, it is delivered once more and must find its receipt.
    pub(super) fn lowest_open(&self) -> SlotSequence {
        let leaving = self.under_way.iter().flat_map(|commit| &commit.delivered);
        self.open
            .first()
            .into_iter()
            .chain(&self.delivered)
            .chain(leaving)
            .map(|effect| effect.sequence)
            .min()
            .unwrap_or(self.sequence.next())
    }
}
