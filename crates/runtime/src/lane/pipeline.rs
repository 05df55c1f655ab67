//! The pipeline of an instance: its commands from being sent to being answered.
//!
//! # How it works
//! A command is *running* while the function has it; the function decides in the order in which
//! commands were sent. Then it is *committing* until its commit has landed. A decision without a
//! commit of its own stands behind the commits whose outcome is open when it comes: it has seen
//! their state, so it is answered, or refused, with the last of them. Where the component does not
//! pipeline there is room for one command in all.
//!
//! # Invariants
//! - Both queues are in the order of sending, and what is committing was sent before what is running.
//! - The first that is committing has a commit of its own: nothing waits behind nothing.

use std::collections::VecDeque;
use std::time::Instant;

use firn_model::id::SlotSequence;
use firn_model::limit;
use firn_model::policy::Pipelining;

use super::Settled;
use super::instance::Accepted;
use crate::few::Few;
use crate::refusal::Refusal;

/// Commands between being sent and being answered.
#[derive(Debug)]
pub(super) struct Pipeline<R> {
    /// The function has them.
    running: Few<Box<Accepted<R>>>,
    /// They are decided.
    committing: Few<Box<Committing<R>>>,
}

/// Something that waits until what it depends on is durable.
#[derive(Debug)]
pub(super) struct Committing<R> {
    /// Its own commit; `None` if it only waits for those before it.
    pub(super) commit: Option<SlotSequence>,
    /// What is to be done then.
    pub(super) then: Then<R>,
}

/// What is done once a commit has an outcome.
#[derive(Debug)]
pub(super) enum Then<R> {
    /// A decision is answered.
    Answer {
        /// Whom to answer, and until when; `None` for a commit that no command waits for, or when
        /// the caller was told that the outcome is unknown.
        reply: Option<(R, Instant)>,
        /// What to answer.
        answer: Result<Settled, Refusal>,
        /// How many forwards and effects led to the command.
        hops: u32,
    },
    /// The function is told that it may let something out.
    Pass(u64),
}

impl<R> Default for Pipeline<R> {
    fn default() -> Self {
        Self {
            running: Few::default(),
            committing: Few::default(),
        }
    }
}

impl<R> Pipeline<R> {
    /// Whether nothing of the instance is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.committing.is_empty()
    }

    /// Whether the function has a command.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether a commit has no outcome yet.
    pub(super) fn is_committing(&self) -> bool {
        !self.committing.is_empty()
    }

    /// Whether one more command may be under way.
    pub(super) fn has_room(&self, pipelining: Pipelining) -> bool {
        let max = match pipelining {
            Pipelining::Off => 1,
            Pipelining::On => limit::PIPELINED_COMMANDS_MAX,
        };
        self.running.len() + self.committing.len() < max
    }

    /// Whether this command may begin beside those that are under way.
    ///
    /// One that the store may know waits for all: the store does not know what is under way. One
    /// that was lost may be what ended the function, so the function gets it alone.
    pub(super) fn admits(&self, next: &Accepted<R>) -> bool {
        if next.needs_look() {
            return self.is_empty();
        }
        match self.running.front() {
            Some(first) => !first.was_lost() && !next.was_lost(),
            None => true,
        }
    }

    /// The function gets a command.
    pub(super) fn send(&mut self, command: Box<Accepted<R>>) {
        self.running.push_back(command);
    }

    /// The function has answered: gives the command that it has had longest.
    pub(super) fn decided(&mut self) -> Option<Box<Accepted<R>>> {
        self.running.pop_front()
    }

    /// The function has nothing any more: gives what it had, in order.
    pub(super) fn take_running(&mut self) -> VecDeque<Box<Accepted<R>>> {
        self.running.take_all()
    }

    /// Something waits, for its commit or for those before it.
    pub(super) fn wait(&mut self, committing: Committing<R>) {
        debug_assert!(committing.commit.is_some() || self.is_committing());
        self.committing.push_back(Box::new(committing));
    }

    /// The commits up to `last` have an outcome: gives the next that waited for no other.
    pub(super) fn done(&mut self, last: SlotSequence) -> Option<Committing<R>> {
        let first = self.committing.front()?;
        let is_done = first.commit.is_none_or(|commit| commit <= last);
        let done = is_done.then(|| self.committing.pop_front())??;
        Some(*done)
    }

    /// The callers who have waited for commits until now.
    pub(super) fn stop_waiting(&mut self, now: Instant) -> Vec<R> {
        let late = |committing: &mut Box<Committing<R>>| match &mut committing.then {
            Then::Answer { reply, .. } => {
                let (reply, _) = reply.take_if(|(_, until)| *until <= now)?;
                Some(reply)
            }
            Then::Pass(_) => None,
        };
        self.committing.iter_mut().filter_map(late).collect()
    }

    /// When the first of its callers stops waiting.
    pub(super) fn due(&self) -> Option<Instant> {
        let running = self.running.iter().map(|command| command.deadline);
        let committing = self.committing.iter();
        let committing = committing.filter_map(|committing| match &committing.then {
            Then::Answer { reply, .. } => reply.as_ref().map(|(_, until)| *until),
            Then::Pass(_) => None,
        });
        running.chain(committing).min()
    }

    /// Whether the time of a command is over that the function has.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.running.iter().any(|command| command.deadline <= now)
    }
}
