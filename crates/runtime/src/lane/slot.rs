//! A slot as its lane sees it: the sequence it gives out, what is under way, what is in trouble.

use std::collections::{BTreeSet, VecDeque};

use firn_model::id::{EffectId, Epoch, SlotSequence};
use firn_store::Head;

use super::Ticket;

/// The lane's side of a slot.
#[derive(Debug)]
pub(super) struct SlotState {
    epoch: Epoch,
    /// The last sequence given out.
    sequence: SlotSequence,
    /// Commits whose outcome is not known yet, in order; housekeeping has no instance.
    under_way: VecDeque<(SlotSequence, Option<Ticket>)>,
    pub(super) trouble: Option<Trouble>,
    /// Effects that are in the outbox.
    open: BTreeSet<EffectId>,
    /// Effects that were delivered and are to leave the outbox with the next commit.
    pub(super) delivered: Vec<EffectId>,
}

/// Why nothing of a slot may be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A commit was refused; once all that is under way has been refused too, this is the head.
    Refused(Head),
    /// The outcome of commits is not known; the store is being asked.
    Unknown,
}

impl SlotState {
    pub(super) fn new(head: Head) -> Self {
        Self {
            epoch: head.epoch,
            sequence: head.sequence,
            under_way: VecDeque::new(),
            trouble: None,
            open: BTreeSet::new(),
            delivered: Vec::new(),
        }
    }

    /// Gives out the next sequence.
    pub(super) fn begin(&mut self, ticket: Option<Ticket>) -> (Epoch, SlotSequence) {
        self.sequence = self.sequence.next();
        self.under_way.push_back((self.sequence, ticket));
        (self.epoch, self.sequence)
    }

    /// Takes the instances whose commits, up to `last`, are decided.
    pub(super) fn end(&mut self, last: SlotSequence) -> Vec<Ticket> {
        let count = self
            .under_way
            .iter()
            .take_while(|(sequence, _)| *sequence <= last)
            .count();
        self.under_way
            .drain(..count)
            .filter_map(|(_, ticket)| ticket)
            .collect()
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

    /// Goes on from the stored head.
    pub(super) fn reset(&mut self, head: Head) {
        self.epoch = head.epoch;
        self.sequence = head.sequence;
        self.trouble = None;
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

    /// The lowest sequence with an open effect, or the one after the last.
    pub(super) fn lowest_open(&self) -> SlotSequence {
        self.open
            .first()
            .map_or(self.sequence.next(), |effect| effect.sequence)
    }
}
