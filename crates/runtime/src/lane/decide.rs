//! From a decision to its commit, and what follows once it was answered.

use std::time::{Duration, Instant};

use firn_model::contract::Component;
use firn_model::decision::{Answer, Append, Decision, Effect, Mutation, Tags};
use firn_model::id::{EffectId, Slot};
use firn_model::payload::Payload;
use firn_model::policy::{ActionEffects, Delete, Durability, FailureMutation};
use firn_store::{Change, Commit, ReplyRecord, StoredAnswer, Timestamp};

use super::due::Item;
use super::instance::{Accepted, Instance, Phase, Stream, Then};
use super::pipeline::{self, Committing};
use super::{Caused, Lane, Now, Origin, Output, Rests, Settled, Ticket};
use crate::refusal::Refusal;
use crate::reply::chosen;

/// How long a delivery may wait for a commit to ride on. Long enough that a busy slot never pays for
/// it, short enough that few are redelivered after a crash.
const HOUSEKEEPING_DELAY: Duration = Duration::from_millis(200);

impl<R> Lane<R> {
    /// The function has answered a command.
    pub(super) fn decided(
        &mut self,
        index: usize,
        command: Accepted<R>,
        decision: Decision,
        now: Now,
    ) {
        let instance = &self.instances[index];
        let Decision {
            answer,
            mutation,
            effects,
            timers,
        } = decision;
        let restarts = matches!(&answer, Answer::Failure(failure) if failure.restart);
        let (mutation, timers) = match keeps(instance, &answer) {
            true => (mutation, timers),
            false => (Mutation::Nothing, Vec::new()),
        };
        let (mutation, tags) = without_tags(mutation);
        let change = match instance.change(mutation, now.wall) {
            Ok(change) => change,
            Err(refusal) => {
                self.settle(index, command, Err(refusal));
                return self.restart(index, now);
            }
        };
        if self.is_in_trouble(index) {
            let slot = self.instances[index].slot;
            let refusal = self.slot(slot).why_not().refusal();
            self.refuse(command.reply, refusal);
            return self.suspend(index);
        }
        let (delayed, effects): (Vec<Effect>, Vec<Effect>) = effects
            .into_iter()
            .partition(|effect| effect.delay.is_some());
        let stored: Vec<bool> = effects
            .iter()
            .map(|effect| self.is_stored(effect))
            .collect();
        let gated = change.is_some()
            || command.idempotency.is_some()
            || command.origin.is_some()
            || stored.contains(&true)
            || !timers.is_empty()
            || !delayed.is_empty();
        if gated {
            let mut commit = self.begin_commit(index, now);
            commit.change = change;
            commit.tags = tags;
            commit.hops = command.hops;
            let effects = self.cause(&mut commit, effects, &stored);
            self.set_timers(&mut commit, timers, delayed);
            self.commit_for(index, command, commit, Settled::new(answer, effects));
        } else {
            let effects = effects
                .into_iter()
                .map(|effect| Caused {
                    effect,
                    origin: None,
                })
                .collect();
            self.settle(index, command, Ok(Settled::new(answer, effects)));
        }
        if restarts {
            return self.restart(index, now);
        }
        self.finish(index, now);
    }

    /// Completes the commit of a decision and hands it over.
    fn commit_for(
        &mut self,
        index: usize,
        command: Accepted<R>,
        mut commit: Commit,
        settled: Settled,
    ) {
        commit.received = command.origin.map(|origin| origin.effect);
        commit.receipts_below = command
            .origin
            .map(|origin| (origin.effect.slot, origin.lowest_open));
        commit.reply_record = command.idempotency.map(|idempotency| ReplyRecord {
            method: command.method.name.to_string(),
            idempotency_key: idempotency.key.to_string(),
            request_hash: idempotency.request_hash,
            expires: commit.at.plus(self.config.reply_record_ttl),
            answer: stored_answer(&settled.answer),
        });
        let leaves = command.origin.is_none() && self.leaves_before(index, &settled);
        let (reply, settled) = match leaves {
            true => (None, self.answer_before(command.reply, settled)),
            false => (Some((command.reply, command.deadline)), settled),
        };
        self.commit(index, commit, reply, settled);
    }

    /// Whether a reply leaves before the commits are durable that it depends on. One that an effect
    /// waits for does not, nor one that waits for effects.
    fn leaves_before(&self, index: usize, settled: &Settled) -> bool {
        let policies = &self.instances[index].component.policies;
        policies.durability == Durability::WriteBehind
            && matches!(settled.answer, Answer::Reply(_) | Answer::Nothing)
            && !settled.effects.iter().any(|it| it.effect.synchronous)
    }

    /// Answers a command; gives what is to be done when its commit has landed.
    fn answer_before(&mut self, reply: R, settled: Settled) -> Settled {
        let answer = Settled {
            rests: Rests::UnderWay,
            ..Settled::new(settled.answer, Vec::new())
        };
        self.out.push(Output::Answer(reply, Ok(answer)));
        Settled::new(Answer::Nothing, settled.effects)
    }

    /// Answers a command once everything that it may have seen is durable, or need not be.
    pub(super) fn settle(
        &mut self,
        index: usize,
        command: Accepted<R>,
        answer: Result<Settled, Refusal>,
    ) {
        let leaves = match &answer {
            Ok(settled) if command.origin.is_none() && settled.effects.is_empty() => {
                self.leaves_before(index, settled)
            }
            _ => false,
        };
        let pipeline = &mut self.instances[index].pipeline;
        if leaves || !pipeline.is_committing() {
            return self.out.push(Output::Answer(command.reply, answer));
        }
        pipeline.wait(Committing {
            commit: None,
            then: pipeline::Then::Answer {
                reply: Some((command.reply, command.deadline)),
                answer,
                hops: command.hops,
            },
        });
    }

    /// The function wants to let something out once everything that it may have seen is durable.
    pub(super) fn gate(&mut self, index: usize, number: u64) {
        let instance = &mut self.instances[index];
        if instance.pipeline.is_committing() {
            return instance.pipeline.wait(Committing {
                commit: None,
                then: pipeline::Then::Pass(number),
            });
        }
        let ticket = Ticket {
            index,
            life: instance.life,
        };
        self.out.push(Output::Pass(ticket, number));
    }

    /// Whether an effect goes to the outbox: those on entities do, those on actions by policy, and
    /// those on nobody are refused when they run.
    fn is_stored(&self, effect: &Effect) -> bool {
        self.contract
            .as_ref()
            .and_then(|contract| contract.method(&effect.call.path()))
            .is_some_and(|method| is_kept(&method.component))
    }

    /// Whether the call of a timer goes to the outbox: one on nobody waits there for the function
    /// that has it, since a timer may be due long after its function was last seen.
    pub(super) fn is_stored_when_due(&self, effect: &Effect) -> bool {
        self.contract
            .as_ref()
            .and_then(|contract| contract.method(&effect.call.path()))
            .is_none_or(|method| is_kept(&method.component))
    }

    /// Gives the effects their identities and puts those that are stored into the commit.
    pub(super) fn cause(
        &mut self,
        commit: &mut Commit,
        effects: Vec<Effect>,
        stored: &[bool],
    ) -> Vec<Caused> {
        let mut caused = Vec::with_capacity(effects.len());
        for (effect, stored) in effects.into_iter().zip(stored) {
            let origin = stored.then(|| {
                let index = commit.effects.len() as u32;
                let id = EffectId {
                    slot: commit.slot,
                    sequence: commit.sequence,
                    index,
                };
                commit.effects.push(effect.clone());
                let state = self.slot(commit.slot);
                state.open(id);
                Origin {
                    effect: id,
                    lowest_open: state.lowest_open(),
                    redelivered: false,
                }
            });
            caused.push(Caused { effect, origin });
        }
        caused
    }

    /// Hands a commit over; `reply` gets what is `settled` once it has landed.
    pub(super) fn commit(
        &mut self,
        index: usize,
        commit: Commit,
        reply: Option<(R, Instant)>,
        settled: Settled,
    ) {
        let instance = &mut self.instances[index];
        instance.note(commit.change.as_ref(), commit.at);
        instance.pipeline.wait(Committing {
            commit: Some(commit.sequence),
            then: pipeline::Then::Answer {
                reply,
                answer: Ok(settled),
                hops: commit.hops,
            },
        });
        self.out.push(Output::Commit(Box::new(commit)));
    }

    /// Hands over a commit that no command waits for.
    pub(super) fn commit_own(&mut self, index: usize, change: Change, now: Now) {
        let settled = Settled::new(Answer::Nothing, Vec::new());
        let mut commit = self.begin_commit(index, now);
        commit.change = Some(change);
        self.commit(index, commit, None, settled);
    }

    /// Goes on after a decision or its commit.
    pub(super) fn finish(&mut self, index: usize, now: Now) {
        let instance = &mut self.instances[index];
        if matches!(instance.phase, Phase::Serving) && instance.wants_snapshot() {
            instance.phase = Phase::Settling(Then::Snapshot);
        }
        self.go_on(index, now);
    }

    /// Does what the pipeline leaves room for.
    fn go_on(&mut self, index: usize, now: Now) {
        let instance = &self.instances[index];
        match instance.phase {
            Phase::Serving => self.advance(index, now),
            Phase::Settling(then) if instance.pipeline.is_empty() => match then {
                // One may have come with events meanwhile.
                Then::Snapshot if instance.wants_snapshot() => self.request_snapshot(index, now),
                Then::Snapshot => self.carry_on(index, now),
                Then::Restart => self.restart(index, now),
                Then::BeginAgain => self.start_or_forget(index, now),
            },
            _ => {}
        }
    }

    fn request_snapshot(&mut self, index: usize, now: Now) {
        let until = now.instant + self.config.command_timeout;
        let instance = &mut self.instances[index];
        instance.phase = Phase::Snapshotting {
            until: self.due.moment(until),
        };
        let ticket = Ticket {
            index,
            life: instance.life,
        };
        self.out.push(Output::RequestSnapshot(ticket));
        self.arm(index, until);
    }

    /// The function has given the snapshot that it was asked for.
    pub(super) fn snapshotted(&mut self, index: usize, payload: Option<Payload>, now: Now) {
        if self.is_in_trouble(index) {
            return self.suspend(index);
        }
        let instance = &mut self.instances[index];
        let sequence = instance.last_event;
        instance.last_snapshot = sequence;
        if let Some(payload) = payload {
            self.commit_own(index, Change::Snapshot { sequence, payload }, now);
        }
        self.carry_on(index, now);
    }

    /// An effect of this lane was delivered: its outbox entry goes with the next commit.
    pub(super) fn delivered(&mut self, effect: EffectId, now: Now) {
        self.slot(effect.slot).delivered(effect);
        self.keep_house_of(effect.slot, now);
    }

    /// Sees to it that what was delivered of a slot leaves the outbox soon.
    pub(super) fn keep_house_of(&mut self, slot: Slot, now: Now) {
        if self.to_housekeep.is_empty() {
            let at = self.due.moment(now.instant + HOUSEKEEPING_DELAY);
            self.due.at(at, Item::Housekeeping);
        }
        self.to_housekeep.insert(slot);
    }

    /// Writes what no commit has carried yet.
    pub(super) fn housekeep(&mut self, now: Now) {
        for slot in std::mem::take(&mut self.to_housekeep) {
            let state = self.slot(slot);
            if state.delivered.is_empty() {
                continue;
            }
            if state.trouble.is_some() {
                self.keep_house_of(slot, now);
                continue;
            }
            let commit = self.begin_slot_commit(slot, None, now.wall);
            self.out.push(Output::Commit(Box::new(commit)));
        }
    }
}

/// Whether effects on a component are kept until they are delivered.
fn is_kept(component: &Component) -> bool {
    component.kind.is_entity() || component.policies.action_effects == ActionEffects::AtLeastOnce
}

/// A mutation, and the tags that come with it.
fn without_tags(mutation: Mutation) -> (Mutation, Tags) {
    match mutation {
        Mutation::Actor { state, tags } => (Mutation::Set(state), tags),
        other => (other, Tags::new()),
    }
}

/// Whether the mutation and the timers of a decision with this answer are kept.
fn keeps<R>(instance: &Instance<R>, answer: &Answer) -> bool {
    match answer {
        Answer::Failure(failure) => {
            !failure.restart
                && instance.component.policies.failure_mutation == FailureMutation::Keep
        }
        _ => true,
    }
}

/// What a reply record keeps of an answer.
fn stored_answer(answer: &Answer) -> StoredAnswer {
    match answer {
        Answer::Reply(reply) => StoredAnswer::Reply(reply.clone()),
        Answer::Forward(forward) => StoredAnswer::Forward(forward.clone()),
        Answer::Failure(failure) => StoredAnswer::Failure(chosen(failure.clone())),
        Answer::Nothing => StoredAnswer::Reply(Default::default()),
    }
}

impl<R> Instance<R> {
    /// The stored form of a mutation, or why the entity does not accept it.
    fn change(&self, mutation: Mutation, wall: Timestamp) -> Result<Option<Change>, Refusal> {
        let is_deleted = self.deleted_until().is_some();
        if is_deleted && mutation.writes() {
            return Err(Refusal::Deleted);
        }
        Ok(match mutation {
            Mutation::Nothing => None,
            Mutation::Set(state) | Mutation::Actor { state, .. } => Some(Change::Set(state)),
            Mutation::Delete { .. } if is_deleted => None,
            Mutation::Delete { grace } => Some(Change::Delete {
                until: match self.component.policies.delete {
                    Delete::Plain => None,
                    Delete::Tombstone(default) => Some(wall.plus(grace.unwrap_or(default))),
                },
            }),
            Mutation::Append(Append {
                events,
                snapshot,
                delete,
            }) => {
                let deleted_until = match (delete, self.component.policies.delete) {
                    // Events that nobody can see again need not be written.
                    (Some(_), Delete::Plain) => return Ok(Some(Change::Delete { until: None })),
                    (Some(grace), Delete::Tombstone(_)) => Some(wall.plus(grace)),
                    (None, _) => None,
                };
                if events.is_empty() && (deleted_until.is_none() || is_deleted) {
                    return Ok(None);
                }
                Some(Change::Append {
                    first: self.last_event + 1,
                    events,
                    snapshot,
                    deleted_until,
                })
            }
        })
    }

    /// Follows a change that is being written.
    fn note(&mut self, change: Option<&Change>, at: Timestamp) {
        match change {
            Some(Change::Set(_)) => self.set_changed_at(Some(at)),
            Some(Change::Append { deleted_until, .. }) => {
                self.set_changed_at(Some(at).filter(|_| deleted_until.is_none()));
            }
            Some(Change::Delete { .. } | Change::Clean) => self.set_changed_at(None),
            Some(Change::Snapshot { .. }) | None => {}
        }
        match change {
            Some(Change::Append {
                events,
                snapshot,
                deleted_until,
                ..
            }) => {
                self.last_event += events.len() as u64;
                if snapshot.is_some() {
                    self.last_snapshot = self.last_event;
                }
                if deleted_until.is_some() {
                    self.set_deleted_until(*deleted_until);
                }
            }
            Some(Change::Delete { until }) => {
                self.set_deleted_until(*until);
                if until.is_none() {
                    (self.last_event, self.last_snapshot) = (0, 0);
                }
            }
            Some(Change::Snapshot { sequence, .. }) => self.last_snapshot = *sequence,
            Some(Change::Set(_) | Change::Clean) | None => {}
        }
    }

    /// Whether it is time to ask for a snapshot.
    fn wants_snapshot(&self) -> bool {
        self.stream == Stream::Open
            && self.deleted_until().is_none()
            && self
                .component
                .policies
                .snapshot_every
                .is_some_and(|every| self.last_event - self.last_snapshot >= every)
    }
}
