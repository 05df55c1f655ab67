//! What becomes of commits: landed, refused, or nobody knows; and how a slot gets out of trouble.
//!
//! # How it works
//! A landed commit opens the gate for its answer. A refused one means that what the instances of the
//! slot hold may be ahead of the store: all of them are dropped, and begin again once everything
//! that is under way has been refused too and the stored head is known. An unknown outcome waits
//! until the committer has told about all commits of the slot; then the store is asked for its head,
//! which says how many of them landed.

use firn_model::id::{Slot, SlotSequence};
use firn_store::{Head, Outcome};

use super::instance::{Committing, Phase};
use super::slot::Trouble;
use super::{Lane, Now, Output, Ticket};
use crate::refusal::Refusal;

impl<R> Lane<R> {
    /// Commits of a slot have an outcome.
    pub(super) fn committed(&mut self, slot: Slot, last: SlotSequence, outcome: Outcome, now: Now) {
        let state = self.slot(slot);
        state.tell(last);
        match outcome {
            // Whatever lands lands behind all that came before it.
            Outcome::Landed => {
                for ticket in state.land(last) {
                    self.landed(ticket, now);
                }
            }
            Outcome::Refused { head } if state.trouble != Some(Trouble::Unknown) => {
                state.trouble = Some(Trouble::Refused(head));
                self.refuse_commits(slot, last, &Refusal::CommitRefused, now);
                self.suspend_slot(slot);
            }
            Outcome::Refused { .. } | Outcome::Unknown { .. } => {
                state.trouble = Some(Trouble::Unknown);
            }
        }
        let state = self.slot(slot);
        if state.trouble == Some(Trouble::Unknown) && state.is_told() {
            self.out.push(Output::Resolve(slot));
        }
        self.recover(slot, now);
    }

    /// The store has told the head of a slot whose last outcome was not known.
    pub(super) fn resolved(&mut self, slot: Slot, head: Head, now: Now) {
        let state = self.slot(slot);
        let last = state.last();
        if head.epoch == state.epoch() {
            for ticket in state.land(head.sequence) {
                self.landed(ticket, now);
            }
        } else {
            // Another owner went on from there: whether from our commits nobody can tell.
            self.refuse_commits(slot, head.sequence, &Refusal::CommitUnknown, now);
        }
        self.slot(slot).trouble = Some(Trouble::Refused(head));
        self.refuse_commits(slot, last, &Refusal::CommitRefused, now);
        self.suspend_slot(slot);
        self.recover(slot, now);
    }

    /// The commit of an instance is durable: the gate opens.
    fn landed(&mut self, ticket: Ticket, now: Now) {
        let Some(instance) = self.alive(ticket) else {
            return;
        };
        let Phase::Committing(_) = instance.phase else {
            return;
        };
        let Phase::Committing(committing) = std::mem::replace(&mut instance.phase, Phase::Ready)
        else {
            unreachable!("checked above")
        };
        let Committing {
            reply,
            settled,
            hops,
            then,
        } = *committing;
        match reply {
            Some((reply, _)) => self.out.push(Output::Answer(reply, Ok(settled))),
            None if settled.effects.is_empty() => {}
            None => self.out.push(Output::Orphaned {
                effects: settled.effects,
                hops,
            }),
        }
        self.finish(ticket.index, then, now);
    }

    /// The commits of a slot up to `last` were not applied, as far as is known.
    fn refuse_commits(&mut self, slot: Slot, last: SlotSequence, refusal: &Refusal, now: Now) {
        for ticket in self.slot(slot).refuse(last) {
            self.refused(ticket, refusal);
        }
        if !self.slot(slot).delivered.is_empty() {
            self.keep_house_of(slot, now);
        }
    }

    /// The commit of an instance was not applied, as far as is known.
    fn refused(&mut self, ticket: Ticket, refusal: &Refusal) {
        let Some(instance) = self.alive(ticket) else {
            return;
        };
        let Phase::Committing(_) = instance.phase else {
            return;
        };
        let Phase::Committing(committing) =
            std::mem::replace(&mut instance.phase, Phase::Suspended)
        else {
            unreachable!("checked above")
        };
        if let Some((reply, _)) = committing.reply {
            self.refuse(reply, refusal.clone());
        }
    }

    /// Drops every instance of a slot: what they hold may be ahead of the store.
    fn suspend_slot(&mut self, slot: Slot) {
        let of_slot: Vec<usize> = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.slot == slot)
            .map(|(index, _)| index)
            .collect();
        for index in of_slot {
            self.suspend(index);
        }
    }

    /// Whether nothing of an instance may be written now.
    pub(super) fn is_in_trouble(&self, index: usize) -> bool {
        let slot = &self.instances[index].slot;
        self.slots
            .get(slot)
            .is_some_and(|state| state.trouble.is_some())
    }

    /// Drops what an instance holds and keeps its queue until the slot has recovered. A commit that
    /// is under way goes on to its outcome.
    pub(super) fn suspend(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        match std::mem::replace(&mut instance.phase, Phase::Suspended) {
            phase @ Phase::Committing(_) => instance.phase = phase,
            Phase::Running(running) => {
                self.out
                    .push(Output::Answer(running.reply, Err(Refusal::CommitRefused)));
            }
            Phase::Looking(Some(next)) => instance.queue.push_front(*next),
            _ => {}
        }
        if let Some(next) = instance.queue.front_mut() {
            // Another owner may serve it meanwhile.
            next.is_new = false;
        }
        self.reset_stream(index);
    }

    /// Lets a slot go on once nothing of it is under way any more.
    fn recover(&mut self, slot: Slot, now: Now) {
        let state = self.slot(slot);
        let Some(Trouble::Refused(head)) = state.trouble else {
            return;
        };
        if !state.is_quiet() {
            return;
        }
        state.reset(head);
        let suspended: Vec<usize> = self
            .instances
            .iter()
            .filter(|(_, i)| i.slot == slot && matches!(i.phase, Phase::Suspended))
            .map(|(index, _)| index)
            .collect();
        for index in suspended {
            self.start_or_forget(index, now);
        }
    }
}
