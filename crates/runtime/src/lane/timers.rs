//! Timers: set and cancelled by decisions, fired when their time has come.
//!
//! # How it works
//! A timer is a row in the store. It is written with the commit of the decision that sets it, and
//! nothing of it is in memory until somebody who watches the time says that it is due. The lane then
//! *looks* it up, since it may have been replaced or cancelled meanwhile, and if it still stands,
//! commits its end (or its next time, if it repeats) together with its call, which from then on is
//! an effect like any other. Whatever changes a timer is a commit of its slot, so of a cancellation
//! and a firing that race the one that is committed first wins.
//!
//! # Invariants
//! - A timer is looked up only while no commit that changes it is under way, and what was found
//!   counts only if none has begun since.
//! - One that is due is *waiting* (for such a commit, or for its slot to recover), *looking* or
//!   *committing*, and leaves in one way: [`Output::TimerDone`].
//!
//! # Not here
//! Which timers are due: see [`crate::timers`].

use std::collections::HashMap;
use std::time::Duration;

use firn_model::decision::{Answer, Effect, TimerChange};
use firn_model::id::{EffectId, EntityKey, Slot, SlotSequence};
use firn_store::{Commit, ReadError, Timer, TimerId, TimerName, TimerWrite};

use super::slot::UnderWay;
use super::{Caused, Lane, Now, Output, Settled};
use crate::refusal::Refusal;

/// Effects with a delay that have no commit of their own to go with.
#[derive(Debug)]
pub struct Keep<R> {
    /// Whose they are: decides about the slot.
    pub key: EntityKey,
    /// The effects.
    pub effects: Vec<Effect>,
    /// How many forwards and effects led to them.
    pub hops: u32,
    /// Who is to know that they are durable.
    pub reply: R,
}

/// Timers that are due, and commits that only they and kept effects wait for.
#[derive(Debug)]
pub(super) struct Timers<R> {
    due: HashMap<TimerId, State>,
    /// The number of the last look-up.
    turn: u64,
    awaiting: HashMap<(Slot, SlotSequence), Awaiting<R>>,
}

/// How far a timer is that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Looking { turn: u64 },
    Committing,
}

/// What a commit is for that no instance waits for.
#[derive(Debug)]
enum Awaiting<R> {
    /// A timer fires.
    Fired {
        id: TimerId,
        caused: Vec<Caused>,
        hops: u32,
    },
    /// Effects are kept.
    Kept(R),
}

impl<R> Default for Timers<R> {
    fn default() -> Self {
        Self {
            due: HashMap::new(),
            turn: 0,
            awaiting: HashMap::new(),
        }
    }
}

impl<R> Lane<R> {
    /// A timer's time has come.
    pub(super) fn timer_due(&mut self, id: TimerId) {
        // What a draining lane leaves, the next run finds.
        if self.draining || self.timers.due.contains_key(&id) {
            return;
        }
        self.timers.due.insert(id.clone(), State::Waiting);
        self.look_timer_up(id);
    }

    /// Looks up a timer that waits, unless it must wait longer.
    fn look_timer_up(&mut self, id: TimerId) {
        let state = self.slot(id.key.slot());
        if state.trouble.is_some() || state.changes(&id) {
            return;
        }
        self.timers.turn += 1;
        let turn = self.timers.turn;
        if let Some(due) = self.timers.due.get_mut(&id) {
            *due = State::Looking { turn };
            self.out.push(Output::LookTimer { id, turn });
        }
    }

    /// The store has told how a timer stands.
    pub(super) fn timer_looked(
        &mut self,
        id: TimerId,
        turn: u64,
        result: Result<Option<Timer>, ReadError>,
        now: Now,
    ) {
        if self.timers.due.get(&id) != Some(&State::Looking { turn }) {
            // A commit that changes it began meanwhile.
            return;
        }
        if self.draining {
            return self.timer_done(id, true);
        }
        if self.slot(id.key.slot()).trouble.is_some() {
            self.timers.due.insert(id, State::Waiting);
            return;
        }
        match result {
            Ok(Some(timer)) if timer.due <= now.wall => self.fire(id, timer, now),
            // It was cancelled, or set again for later.
            Ok(_) => self.timer_done(id, true),
            Err(_) => self.timer_done(id, false),
        }
    }

    /// Commits that a timer's time has come.
    fn fire(&mut self, id: TimerId, timer: Timer, now: Now) {
        let slot = id.key.slot();
        let mut commit = self.begin_slot_commit(slot, None, now.wall);
        let sequence = commit.sequence;
        commit.key = Some(id.key.clone());
        commit.hops = timer.hops;
        let effect = Effect {
            call: timer.call.clone(),
            synchronous: false,
            delay: None,
        };
        // One on nobody waits in the outbox for the function that has it.
        let stored = [self.is_stored_when_due(&effect)];
        let caused = self.cause(&mut commit, vec![effect], &stored);
        let again = timer.repeat.map(|repeat| Timer {
            due: now.wall.plus(repeat),
            ..timer
        });
        commit.timers.push(TimerWrite {
            name: id.name.clone(),
            timer: again,
        });
        self.timers.due.insert(id.clone(), State::Committing);
        self.note_timers(&commit);
        let fired = Awaiting::Fired {
            id,
            caused,
            hops: commit.hops,
        };
        self.timers.awaiting.insert((slot, sequence), fired);
        self.out.push(Output::Commit(Box::new(commit)));
    }

    fn timer_done(&mut self, id: TimerId, told: bool) {
        self.timers.due.remove(&id);
        self.out.push(Output::TimerDone { id, told });
    }

    /// Puts what a decision does to timers into its commit, and its effects that have a delay.
    pub(super) fn set_timers(
        &mut self,
        commit: &mut Commit,
        changes: Vec<TimerChange>,
        delayed: Vec<Effect>,
    ) {
        for change in changes {
            commit.timers.push(match change {
                TimerChange::Set { name, schedule } => TimerWrite {
                    name: TimerName::Own(name.into()),
                    timer: Some(Timer {
                        due: commit.at.plus(whole_millis(schedule.after)),
                        call: schedule.call,
                        repeat: schedule.repeats.then(|| whole_millis(schedule.after)),
                        // Each time begins a chain of its own.
                        hops: 0,
                    }),
                },
                TimerChange::Cancel { name } => TimerWrite {
                    name: TimerName::Own(name.into()),
                    timer: None,
                },
            });
        }
        for (effect, index) in delayed.into_iter().zip(0..) {
            let id = EffectId {
                slot: commit.slot,
                sequence: commit.sequence,
                index,
            };
            commit.timers.push(TimerWrite {
                name: TimerName::Delayed(id),
                timer: Some(Timer {
                    due: commit
                        .at
                        .plus(whole_millis(effect.delay.unwrap_or_default())),
                    call: effect.call,
                    repeat: None,
                    hops: commit.hops,
                }),
            });
        }
        self.note_timers(commit);
    }

    /// Notes which timers a commit changes that has just begun: what was looked up of them is void.
    fn note_timers(&mut self, commit: &Commit) {
        let Some(key) = commit.key.as_ref().filter(|_| !commit.timers.is_empty()) else {
            return;
        };
        let id = |write: &TimerWrite| TimerId {
            key: key.clone(),
            name: write.name.clone(),
        };
        let changed: Vec<TimerId> = commit.timers.iter().map(id).collect();
        for id in &changed {
            if let Some(state @ State::Looking { .. }) = self.timers.due.get_mut(id) {
                *state = State::Waiting;
            }
        }
        let set = commit.timers.iter().filter_map(|it| it.timer.as_ref());
        let armed = set.map(|timer| timer.due).min();
        self.slot(commit.slot).note_timers(changed, armed);
    }

    /// Commits effects with a delay that have no commit to go with.
    pub(super) fn keep(&mut self, keep: Keep<R>, now: Now) {
        let slot = keep.key.slot();
        if self.draining {
            return self.refuse(keep.reply, Refusal::ShuttingDown);
        }
        let state = self.slot(slot);
        if state.trouble.is_some() {
            let refusal = state.why_not().refusal();
            return self.refuse(keep.reply, refusal);
        }
        let mut commit = self.begin_slot_commit(slot, None, now.wall);
        commit.key = Some(keep.key);
        commit.hops = keep.hops;
        self.set_timers(&mut commit, Vec::new(), keep.effects);
        let kept = Awaiting::Kept(keep.reply);
        self.timers.awaiting.insert((slot, commit.sequence), kept);
        self.out.push(Output::Commit(Box::new(commit)));
    }

    /// A commit has landed: tells when the timers are due that it has set, and what waited for it.
    pub(super) fn timers_landed(&mut self, slot: Slot, commit: &UnderWay) {
        if let Some(due) = commit.armed() {
            self.out.push(Output::Armed(due));
        }
        match self.timers.awaiting.remove(&(slot, commit.sequence())) {
            Some(Awaiting::Fired { id, caused, hops }) => {
                self.out.push(Output::Orphaned {
                    effects: caused,
                    hops,
                });
                self.timer_done(id, true);
            }
            Some(Awaiting::Kept(reply)) => {
                let settled = Settled::new(Answer::Nothing, Vec::new()).landed();
                self.out.push(Output::Answer(reply, Ok(settled)));
            }
            None => {}
        }
        for id in commit.timers() {
            if self.timers.due.get(id) == Some(&State::Waiting) {
                self.look_timer_up(id.clone());
            }
        }
    }

    /// A commit was not applied, as far as is known: a timer that it fires is looked up once more
    /// when its slot has recovered.
    pub(super) fn timers_refused(&mut self, slot: Slot, commit: &UnderWay, refusal: &Refusal) {
        match self.timers.awaiting.remove(&(slot, commit.sequence())) {
            Some(Awaiting::Fired { id, .. }) => {
                self.timers.due.insert(id, State::Waiting);
            }
            Some(Awaiting::Kept(reply)) => self.refuse(reply, refusal.clone()),
            None => {}
        }
    }

    /// A slot has recovered: goes on with its timers.
    pub(super) fn look_timers_up(&mut self, slot: Slot) {
        let due = self.timers.due.iter();
        let waiting = due.filter(|(id, state)| **state == State::Waiting && id.key.slot() == slot);
        let waiting: Vec<TimerId> = waiting.map(|(id, _)| id.clone()).collect();
        for id in waiting {
            self.look_timer_up(id);
        }
    }
}

/// At least as long, in whole milliseconds: nothing is called before its time.
fn whole_millis(time: Duration) -> Duration {
    let millis = time.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
