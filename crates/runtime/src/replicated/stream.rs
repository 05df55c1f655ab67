//! The life of an entity's stream: opened with the value, kept in step, ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firn_crdt::{Difference, Presence, State, View as Reading, difference};
use firn_model::contract::Component;
use firn_model::decision::Failure;
use firn_model::policy::{FailedQueue, UnnamedFailure};
use firn_model::replicated::Delta;

use super::entity::{Data, Live, Open, Phase, Stream, View, Waiting};
use super::network::Membership;
use super::{CLOSING_WAIT, Output, Replicas, Ticket};
use crate::lane::Now;
use crate::link::{End, ReplicaOpening};
use crate::refusal::{Fault, Refusal};

impl Replicas {
    /// Does what can be done for an entity now, and sets its alarm.
    pub(super) fn tend(&mut self, index: usize, now: Now) {
        if !self.entities.contains(index) {
            return;
        }
        if self.entities[index].state().is_some() {
            self.answer_confirmed(index);
            self.bring_in_step(index);
            self.refuse_deleted(index);
            self.open_stream(index);
            self.send_waiting(index, now);
            if self.completing {
                self.complete(index, now);
            }
            self.recycle(index, now);
            self.give_way(index, now);
            self.hurry(index, now);
            if self.draining {
                self.end_for_drain(index, now);
            }
        }
        self.arm(index, now);
    }

    /// Asks for a stream if somebody waits for one.
    fn open_stream(&mut self, index: usize) {
        let ticket = self.ticket(index);
        let entity = &mut self.entities[index];
        if matches!(entity.stream, Stream::None) && !entity.queue.is_empty() {
            entity.stream = Stream::Waiting;
            self.out.push(Output::AcquireStream(ticket));
        }
    }

    /// Leave to open a stream has come.
    pub(super) fn granted(&mut self, ticket: Ticket, now: Now) {
        let index = self.of(ticket).filter(|&index| {
            let entity = &self.entities[index];
            matches!(entity.stream, Stream::Waiting) && !entity.queue.is_empty()
        });
        let Some(index) = index else {
            if let Some(index) = self.of(ticket) {
                self.entities[index].stream = Stream::None;
                self.tend(index, now);
            }
            return self.out.push(Output::ReleaseStream);
        };
        let entity = &mut self.entities[index];
        let (Data::Ready(state), Some(face)) = (&entity.data, &entity.face) else {
            return self.out.push(Output::ReleaseStream);
        };
        let value = state.value(self.me.node, &self.membership.members);
        // Without a value the function counts itself alone.
        let membership = match value {
            Some(_) => self.membership.clone(),
            None => Arc::new(Membership::alone(self.me.node)),
        };
        let opening = ReplicaOpening {
            component: face.component.clone(),
            id: face.id.clone(),
            value,
        };
        entity.stream = Stream::Open(Live {
            last_number: 0,
            view: View::InStep,
            membership,
            stale: false,
            left: BTreeMap::new(),
            silent: BTreeSet::new(),
        });
        self.out.push(Output::Open(ticket, Box::new(opening)));
        self.tend(index, now);
    }

    /// Sends the function what other nodes did, if it changes nothing itself meanwhile.
    fn bring_in_step(&mut self, index: usize) {
        let ticket = self.ticket(index);
        let (me, members) = (self.me.node, self.membership.clone());
        let entity = &mut self.entities[index];
        if entity.is_mutating() {
            return;
        }
        let (Stream::Open(live), Data::Ready(state)) = (&mut entity.stream, &entity.data) else {
            return;
        };
        let view = std::mem::replace(&mut live.view, View::InStep);
        // A stale one that is watched goes on as if its change had not been.
        let ends = live.stale && entity.open.is_empty();
        if ends || !matches!(state.presence(), Presence::Live(_)) {
            return;
        }
        let before = std::mem::replace(&mut live.membership, members.clone());
        let reading = |state, members| Reading { state, me, members };
        let now = reading(state, &members.members);
        let difference = match &view {
            View::InStep if before == members => return,
            View::InStep => difference(reading(state, &before.members), now),
            View::Behind(old) => difference(reading(old, &before.members), now),
            View::Diverged => replacement(state.value(me, &members.members)),
        };
        match difference {
            Difference::Same | Difference::Deleted => {}
            Difference::Changed(delta) => self.out.push(Output::Delta(ticket, Box::new(delta))),
            Difference::Incompatible if entity.open.is_empty() => live.stale = true,
            Difference::Incompatible => {
                let text = "no change leads from the function's value to the entity's";
                self.abandon(index, &Fault::Termination, text);
            }
        }
    }

    /// Answers what waits for a deleted entity.
    fn refuse_deleted(&mut self, index: usize) {
        let entity = &mut self.entities[index];
        if entity.state().is_some_and(State::is_deleted) {
            for waiting in std::mem::take(&mut entity.queue) {
                self.refuse(waiting.command.call, Refusal::Deleted);
            }
        }
    }

    /// The function deleted the entity: its stream ends at once, the tombstone stays.
    pub(super) fn deleted_by_function(&mut self, index: usize, now: Now) {
        let deleted = self.entities[index].state().is_some_and(State::is_deleted);
        if deleted && self.entities[index].live().is_some() {
            self.end_open(index, Refusal::Deleted);
            self.half_close(index, now);
        }
    }

    /// Another node deleted the entity.
    pub(super) fn deleted_elsewhere(&mut self, index: usize, now: Now) {
        if self.entities[index].live().is_some() {
            let ticket = self.ticket(index);
            self.end_open(index, Refusal::Deleted);
            self.out.push(Output::Delete(ticket));
            self.half_close(index, now);
        }
    }

    /// Ends what is open: who waits for a first answer is refused, a stream of answers ends.
    fn end_open(&mut self, index: usize, refusal: Refusal) {
        for open in std::mem::take(&mut self.entities[index].open).into_values() {
            match open.phase {
                Phase::Asked { .. } if open.told => {}
                Phase::Asked { .. } => self.refuse(open.call, refusal.clone()),
                Phase::Streaming => self.end_call(index, open.call, Ok(())),
                Phase::Cancelling { .. } => {}
            }
        }
    }

    /// Begins a new stream once a stale one has nothing open.
    fn recycle(&mut self, index: usize, now: Now) {
        let entity = &mut self.entities[index];
        if entity.open.is_empty() && entity.live().is_some_and(|live| live.stale) {
            self.half_close(index, now);
        }
    }

    /// A command waits behind a half-closed stream: the function has little time to end it.
    fn hurry(&mut self, index: usize, now: Now) {
        let entity = &mut self.entities[index];
        if let Stream::Closing(until) = &mut entity.stream
            && !entity.queue.is_empty()
        {
            *until = (*until).min(now.instant + CLOSING_WAIT);
        }
    }

    pub(super) fn half_close(&mut self, index: usize, now: Now) {
        let ticket = self.ticket(index);
        self.entities[index].stream = Stream::Closing(now.instant + self.config.lane.stream_grace);
        self.out.push(Output::HalfClose(ticket));
    }

    /// The stream is over.
    pub(super) fn ended(&mut self, index: usize, end: End) {
        if matches!(self.entities[index].stream, Stream::Closing(_)) {
            return self.forget_stream(index);
        }
        match end {
            End::Completed => {
                let text = "the function ended the stream";
                self.crash(index, Fault::Termination, text);
            }
            End::Released => self.released(index),
            End::Terminated { cause } => self.crash(index, Fault::Termination, &cause),
            End::Failed(failure) => {
                let text = failure.text.clone();
                self.crash(index, Fault::Failure(failure), &text);
            }
            End::WrongReply { cause } => self.crash(index, Fault::Reply, &cause),
            End::WrongMessage { cause } => self.crash(index, Fault::Message, &cause),
            End::Unfit { code, cause } => {
                let text = cause.clone();
                self.crash(index, Fault::Unfit { code, cause }, &text);
            }
            End::Unreachable { cause } => self.unreachable(index, cause),
        }
    }

    /// The function has let go of the entity, and has not looked at what crossed that on its way.
    fn released(&mut self, index: usize) {
        let mut open = self.entities[index].open.values();
        if open.any(|open| open.phase == Phase::Streaming) {
            let text = "the function let go of it while it is watched";
            return self.crash(index, Fault::Termination, text);
        }
        self.forget_stream(index);
        self.lose_open(index, Loss::Unseen, &Refusal::Failed(Fault::Termination));
    }

    /// The function could not be reached. Nothing was sent, so nobody needs to wait, but for those
    /// who are sent again.
    fn unreachable(&mut self, index: usize, cause: String) {
        self.forget_stream(index);
        let key = self.entities[index].key.clone();
        let text = format!("the function cannot be reached: {cause}");
        self.out.push(Output::Report { key, text });
        let queue = std::mem::take(&mut self.entities[index].queue);
        self.lose_open(index, Loss::Possible, &Refusal::FunctionUnavailable);
        let entity = &mut self.entities[index];
        if !entity.queue.is_empty() {
            return entity.queue.extend(queue);
        }
        for waiting in queue {
            self.refuse(waiting.command.call, Refusal::FunctionUnavailable);
        }
    }

    /// What the function had is lost: some is put back to be sent again, the others are told.
    fn lose_open(&mut self, index: usize, loss: Loss, refusal: &Refusal) {
        let open = std::mem::take(&mut self.entities[index].open);
        for mut open in open.into_values().rev() {
            let again = match loss {
                Loss::Unseen => open.again.take(),
                Loss::Possible => open.again.take_if(|_| !open.lost),
                Loss::Fault => None,
            };
            match again {
                Some(command) if open.is_awaited() => {
                    self.entities[index].queue.push_front(Waiting {
                        command: *command,
                        lost: open.lost || loss == Loss::Possible,
                    });
                }
                _ if open.told || matches!(open.phase, Phase::Cancelling { .. }) => {}
                _ => self.end_call(index, open.call, Err(refusal.clone())),
            }
        }
    }

    /// A failure outside of a reply.
    pub(super) fn failed(&mut self, index: usize, command: Option<i64>, failure: Failure) {
        let Some(number) = command else {
            return self.failed_as_a_whole(index, failure);
        };
        let Some(Open { call, told, .. }) = self.entities[index].open.remove(&number) else {
            return self.crash(index, Fault::Reply, "a failure of no open command");
        };
        if !told {
            let refusal = Refusal::Failed(Fault::Command(failure));
            self.end_call(index, call, Err(refusal));
        }
        // Whether it has changed its value before it failed is not known.
        self.mark_stale(index);
    }

    fn failed_as_a_whole(&mut self, index: usize, failure: Failure) {
        let text = failure.text.clone();
        match self.component(index).map(|it| it.policies.unnamed_failure) {
            Some(UnnamedFailure::Ignored) => {
                let key = self.entities[index].key.clone();
                let text = format!("a failure that names no command is ignored: {text}");
                self.out.push(Output::Report { key, text });
            }
            _ => self.crash(index, Fault::Failure(failure), &text),
        }
    }

    /// The function broke the stream or its protocol: callers are told, the replica stays.
    pub(super) fn crash(&mut self, index: usize, fault: Fault, text: &str) {
        let keeps_queue = self
            .component(index)
            .is_some_and(|it| it.policies.failed_queue == FailedQueue::Keep);
        if !keeps_queue {
            for waiting in std::mem::take(&mut self.entities[index].queue) {
                self.refuse(waiting.command.call, Refusal::QueuedBehindFailure);
            }
        }
        self.abandon(index, &fault, text);
    }

    /// Resets the stream. Commands that are with the function are sent again, if they may be, where
    /// it was only lost.
    pub(super) fn abandon(&mut self, index: usize, fault: &Fault, text: &str) {
        if self.entities[index].live().is_some() {
            let ticket = self.ticket(index);
            self.out.push(Output::Reset(ticket));
        }
        self.forget_stream(index);
        let loss = match fault {
            Fault::Termination => Loss::Possible,
            _ => Loss::Fault,
        };
        self.lose_open(index, loss, &Refusal::Failed(fault.clone()));
        let key = self.entities[index].key.clone();
        let text = format!("the stream of a replicated entity failed: {text}");
        self.out.push(Output::Report { key, text });
    }

    /// The stream is gone: what still comes of it finds nobody.
    pub(super) fn forget_stream(&mut self, index: usize) {
        self.lives += 1;
        let entity = &mut self.entities[index];
        entity.life = self.lives;
        entity.stream = Stream::None;
        self.out.push(Output::ReleaseStream);
    }

    fn component(&self, index: usize) -> Option<&Component> {
        let face = self.entities[index].face.as_ref()?;
        Some(&face.component)
    }
}

/// How commands were lost that were with the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// It has not looked at them.
    Unseen,
    /// It may have run them; no change of theirs was taken.
    Possible,
    /// One of them broke the rules, or failed the entity.
    Fault,
}

/// A value that takes the place of whatever the function holds.
fn replacement(value: Option<Delta>) -> Difference {
    match value {
        None => Difference::Incompatible,
        Some(Delta::Map(mut map)) => {
            map.cleared = true;
            Difference::Changed(Delta::Map(map))
        }
        Some(Delta::RegisterMap(mut map)) => {
            map.cleared = true;
            Difference::Changed(Delta::RegisterMap(map))
        }
        Some(register @ Delta::Register(_)) => Difference::Changed(register),
        // Values of the other types never differ by a function's own change.
        Some(_) => Difference::Incompatible,
    }
}
