//! What becomes of commits: landed, refused, or nobody knows; and how a slot gets out of trouble.
//!
//! # How it works
//! A landed commit opens the gate for its answer, and for the answers that have waited behind it. A
//! refused one, or one that the store did not write, means that what the instances of the slot hold
//! may be ahead of the store: all of them are dropped, and begin again once everything that is under
//! way has been refused too and the stored head is known. An unknown outcome waits until the
//! committer has told about all commits of the slot; then the store is asked for its head, which says
//! how many of them landed.

use firn_model::id::{Slot, SlotSequence};
use firn_store::{Head, Outcome};

use super::instance::Phase;
use super::pipeline::{Committing, Then};
use super::slot::{Trouble, UnderWay, Why};
use super::{Lane, Now, Output, Settled, Ticket};
use crate::refusal::Refusal;

impl<R> Lane<R> {
    /// Commits of a slot have an outcome.
    pub(super) fn committed(&mut self, slot: Slot, last: SlotSequence, outcome: Outcome, now: Now) {
        let state = self.slot(slot);
        state.tell(last);
        match outcome {
            // Whatever lands lands behind all that came before it.
            Outcome::Landed => {
                for commit in state.land(last) {
                    self.commit_landed(slot, &commit, now);
                }
            }
            Outcome::Refused { head } if state.trouble != Some(Trouble::Unknown) => {
                let why = state.why_refused(head);
                self.not_applied(slot, last, Trouble::Refused(head, why), now);
            }
            Outcome::NotWritten { head, .. } if state.trouble != Some(Trouble::Unknown) => {
                // Behind one that was refused, the store was never asked for the head.
                let trouble = state.trouble.unwrap_or(Trouble::Refused(head, Why::Store));
                self.not_applied(slot, last, trouble, now);
            }
            Outcome::Refused { .. } | Outcome::NotWritten { .. } | Outcome::Unknown { .. } => {
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
        let why = if head.epoch == state.epoch() {
            for commit in state.land(head.sequence) {
                self.commit_landed(slot, &commit, now);
            }
            Why::Store
        } else {
            // Another owner went on from there: whether from our commits nobody can tell.
            self.refuse_commits(slot, head.sequence, &Refusal::CommitUnknown, now);
            Why::Owner
        };
        self.not_applied(slot, last, Trouble::Refused(head, why), now);
        self.recover(slot, now);
    }

    /// The commits up to `last` were not applied: the slot is in trouble.
    fn not_applied(&mut self, slot: Slot, last: SlotSequence, trouble: Trouble, now: Now) {
        let state = self.slot(slot);
        state.trouble = Some(trouble);
        let refusal = state.why_not().refusal();
        self.refuse_commits(slot, last, &refusal, now);
        self.suspend_slot(slot);
    }

    /// A commit is durable: whoever waits for it goes on.
    fn commit_landed(&mut self, slot: Slot, commit: &UnderWay, now: Now) {
        self.timers_landed(slot, commit);
        if let Some(ticket) = commit.ticket() {
            self.landed(ticket, commit.sequence(), now);
        }
    }

    /// A commit of an instance is durable: the gate opens for it, and for the decisions behind it
    /// that have seen no later one.
    fn landed(&mut self, ticket: Ticket, sequence: SlotSequence, now: Now) {
        while let Some(done) = self.done(ticket, sequence) {
            match done.then {
                Then::Pass(number) => self.out.push(Output::Pass(ticket, number)),
                Then::Answer {
                    reply: Some((reply, _)),
                    answer,
                    ..
                } => {
                    // What only waited was never compared with the owner.
                    let answer = match done.commit {
                        Some(_) => answer.map(Settled::landed),
                        None => answer,
                    };
                    self.out.push(Output::Answer(reply, answer));
                }
                Then::Answer {
                    reply: None,
                    answer: Ok(settled),
                    hops,
                } if !settled.effects.is_empty() => self.out.push(Output::Orphaned {
                    effects: settled.effects,
                    hops,
                }),
                Then::Answer { reply: None, .. } => {}
            }
        }
        if self.alive(ticket).is_some() {
            self.finish(ticket.index, now);
        }
    }

    /// The next decision of an instance that waited for no commit after this one.
    fn done(&mut self, ticket: Ticket, sequence: SlotSequence) -> Option<Committing<R>> {
        self.alive(ticket)?.pipeline.done(sequence)
    }

    /// The commits of a slot up to `last` were not applied, as far as is known.
    fn refuse_commits(&mut self, slot: Slot, last: SlotSequence, refusal: &Refusal, now: Now) {
        for commit in self.slot(slot).refuse(last) {
            self.timers_refused(slot, &commit, refusal);
            if let Some(ticket) = commit.ticket() {
                self.refused(ticket, commit.sequence(), refusal);
            }
        }
        if !self.slot(slot).delivered.is_empty() {
            self.keep_house_of(slot, now);
        }
    }

    /// A commit of an instance was not applied, as far as is known: what has seen its state is
    /// refused like it.
    fn refused(&mut self, ticket: Ticket, sequence: SlotSequence, refusal: &Refusal) {
        while let Some(done) = self.done(ticket, sequence) {
            // What waited to be let out stays in: its handler ends with the incarnation.
            if let Then::Answer {
                reply: Some((reply, _)),
                ..
            } = done.then
            {
                self.refuse(reply, refusal.clone());
            }
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

    /// Drops what an instance holds and keeps its queue until the slot has recovered. Commits that
    /// are under way go on to their outcome.
    pub(super) fn suspend(&mut self, index: usize) {
        let slot = self.instances[index].slot;
        let refusal = self.slot(slot).why_not().refusal();
        let instance = &mut self.instances[index];
        let phase = std::mem::replace(&mut instance.phase, Phase::Suspended);
        if let Phase::Looking(Some(next)) = phase {
            instance.queue.push_front(next);
        }
        for waiting in instance.queue.iter_mut() {
            // Another owner may serve it meanwhile.
            waiting.is_new = false;
        }
        for running in instance.pipeline.take_running() {
            let refused = Err(refusal.clone());
            self.out.push(Output::Answer(running.reply, refused));
        }
        self.reset_stream(index);
    }

    /// Lets a slot go on once nothing of it is under way any more.
    fn recover(&mut self, slot: Slot, now: Now) {
        let state = self.slot(slot);
        let Some(Trouble::Refused(head, _)) = state.trouble else {
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
        self.look_timers_up(slot);
    }
}
