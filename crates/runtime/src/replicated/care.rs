//! Time and room: deadlines, idle entities, streams that give way, and draining.

use std::time::Instant;

use firn_model::policy::OpenCommands;

use super::entity::{Entity, Open, Phase, Stream};
use super::peer::Peer;
use super::{CallId, LINGER, Output, Replicas};
use crate::lane::Now;
use crate::refusal::{Fault, Refusal};

impl Replicas {
    /// When [`Input::Wake`](super::Input::Wake) is next needed.
    pub fn next_wake(&self) -> Option<Instant> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let save = match (&self.saving, self.dirty.first()) {
            (None, Some((due, _))) => Some((*due).max(self.save_again_at.unwrap_or(*due))),
            _ => None,
        };
        let peers = self.peers.values().filter_map(|peer| peer.look_at).min();
        let peers = peers.filter(|_| !self.draining);
        [alarm, save, peers].into_iter().flatten().min()
    }

    /// How many entities have changes that are not written.
    pub fn unwritten(&self) -> usize {
        self.dirty.len() + self.saving.as_ref().map_or(0, Vec::len)
    }

    /// How many entities there are of which members may lack something, counted for each member.
    pub fn unconfirmed(&self) -> usize {
        self.peers.values().map(Peer::behind).sum()
    }

    /// Looks at everything whose time has come.
    pub(super) fn wake(&mut self, now: Now) {
        while let Some(&(at, index)) = self.alarms.first() {
            if at > now.instant {
                break;
            }
            self.alarms.pop_first();
            self.entities[index].alarm = None;
            self.look_at(index, now);
            self.tend(index, now);
        }
        self.look_after_peers(now);
        self.save_due(now);
    }

    /// Sets the alarm of an entity, or lets it leave memory.
    pub(super) fn arm(&mut self, index: usize, now: Now) {
        let entity = &self.entities[index];
        let leave_at = entity.used_at.max(entity.touched_at) + LINGER;
        if entity.may_leave() && (self.draining || leave_at <= now.instant) {
            self.remove(index);
            return;
        }
        let idle_until = match entity.stream {
            Stream::Open(_) if entity.is_idle() => Some(entity.used_at + self.idle_max(entity)),
            _ if entity.may_leave() => Some(leave_at),
            _ => None,
        };
        let due = entity.next_due(idle_until);
        if entity.alarm != due {
            if let Some(at) = entity.alarm {
                self.alarms.remove(&(at, index));
            }
            self.alarms.extend(due.map(|at| (at, index)));
            self.entities[index].alarm = due;
        }
    }

    fn idle_max(&self, entity: &Entity) -> std::time::Duration {
        let own = entity
            .face
            .as_ref()
            .and_then(|face| face.component.policies.passivate_after);
        own.unwrap_or(self.config.lane.passivate_after)
    }

    /// Refuses what is too late and ends what has been idle.
    fn look_at(&mut self, index: usize, now: Now) {
        self.drop_late(index, now);
        self.drop_unconfirmed(index, now);
        self.drop_unanswered(index, now);
        self.tell_impatient(index, now);
        let entity = &self.entities[index];
        let late = entity.open.values().any(|open| {
            open.phase
                .mutates_until()
                .is_some_and(|until| until <= now.instant)
        });
        if late {
            return self.time_out(index, now);
        }
        match entity.stream {
            Stream::Closing(until) if until <= now.instant => {
                let ticket = self.ticket(index);
                self.out.push(Output::Reset(ticket));
                self.forget_stream(index);
            }
            Stream::Open(_)
                if entity.is_idle() && entity.used_at + self.idle_max(entity) <= now.instant =>
            {
                self.half_close(index, now);
            }
            _ => {}
        }
    }

    fn drop_late(&mut self, index: usize, now: Now) {
        let entity = &mut self.entities[index];
        let late = match entity.stream {
            Stream::Waiting => Refusal::StreamsExhausted,
            _ => Refusal::DeadlineQueued,
        };
        for waiting in std::mem::take(&mut entity.queue) {
            if waiting.command.deadline > now.instant {
                self.entities[index].queue.push_back(waiting);
            } else {
                self.refuse(waiting.command.call, late.clone());
            }
        }
    }

    /// The change stays; only that it is as durable as was asked for cannot be said.
    fn drop_unconfirmed(&mut self, index: usize, now: Now) {
        let entity = &mut self.entities[index];
        let (waiting, late): (Vec<_>, Vec<_>) = std::mem::take(&mut entity.confirming)
            .into_iter()
            .partition(|confirming| confirming.until > now.instant);
        entity.confirming = waiting;
        for confirming in late {
            self.refuse(confirming.call, Refusal::NotConfirmed);
            self.forget_call(index, confirming.call, now);
        }
    }

    /// Waits no longer for answers to cancellations; they may come all the same.
    fn drop_unanswered(&mut self, index: usize, now: Now) {
        let entity = &mut self.entities[index];
        let Stream::Open(live) = &mut entity.stream else {
            return;
        };
        entity.open.retain(|number, open| {
            let waits = match open.phase {
                Phase::Cancelling { until } => until > now.instant,
                Phase::Asked { .. } | Phase::Streaming => true,
            };
            if !waits {
                live.silent.insert(open.method.name.clone());
                live.leave(*number, open.method.clone());
            }
            waits
        });
    }

    /// Where several commands are open, a caller with little time does not end them all: it is told,
    /// and the function has the usual time.
    fn tell_impatient(&mut self, index: usize, now: Now) {
        let entity = &mut self.entities[index];
        let several = entity
            .face
            .as_ref()
            .is_some_and(|face| face.component.policies.open_commands == OpenCommands::Many);
        if !several {
            return;
        }
        for open in entity.open.values_mut() {
            if let Phase::Asked {
                until,
                gone,
                patience,
                ..
            } = &mut open.phase
                && *until <= now.instant
                && *until < *patience
            {
                (*until, *gone, open.told) = (*patience, true, true);
                self.out.push(Output::End(open.call, Err(Refusal::Timeout)));
            }
        }
    }

    /// The caller of a streamed command had a last word while the function goes on.
    fn forget_call(&mut self, index: usize, call: CallId, now: Now) {
        let streaming = |open: &Open| open.call == call && open.phase == Phase::Streaming;
        let mut open = self.entities[index].open.iter();
        if let Some((&number, _)) = open.find(|(_, open)| streaming(open)) {
            self.cancel(index, number, now);
        }
    }

    /// The function did not answer in time: its stream is reset, what waits goes on.
    fn time_out(&mut self, index: usize, now: Now) {
        let late: Vec<i64> = self.entities[index]
            .open
            .iter()
            .filter(|(_, open)| {
                open.phase
                    .mutates_until()
                    .is_some_and(|it| it <= now.instant)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            let open = self.entities[index].open.remove(&number);
            if let Some(open) = open
                && matches!(open.phase, Phase::Asked { .. })
                && !open.told
            {
                self.refuse(open.call, Refusal::Timeout);
            }
        }
        let text = "the function did not answer in time";
        self.abandon(index, &Fault::Termination, text);
    }

    /// Somebody waits for a stream: the entity that has been idle longest gives way.
    pub(super) fn make_room(&mut self, now: Now) {
        // The alarm of an idle entity is set for the end of its idle time.
        let idle = self.alarms.iter().map(|(_, index)| *index).find(|index| {
            let entity = &self.entities[*index];
            matches!(entity.stream, Stream::Open(_)) && entity.is_idle()
        });
        match idle {
            Some(index) => {
                self.half_close(index, now);
                self.tend(index, now);
            }
            None => {
                // The first that becomes idle gives way.
                self.room_wanted += 1;
                self.out.push(Output::NoRoom);
            }
        }
    }

    /// Gives way to somebody who waits for a stream, if this one is idle now.
    pub(super) fn give_way(&mut self, index: usize, now: Now) {
        let is_idle = self.entities[index].is_idle();
        if self.room_wanted > 0 && is_idle && self.entities[index].live().is_some() {
            self.room_wanted -= 1;
            self.half_close(index, now);
        }
    }

    /// Takes nothing more and ends what is here.
    pub(super) fn drain(&mut self, now: Now) {
        self.draining = true;
        self.tend_all(now);
    }

    /// Completes all streams of answers, and those that begin later.
    pub(super) fn complete_streams(&mut self, now: Now) {
        self.completing = true;
        self.tend_all(now);
    }

    fn tend_all(&mut self, now: Now) {
        let indices: Vec<usize> = self.entities.iter().map(|(index, _)| index).collect();
        for index in indices {
            self.tend(index, now);
        }
    }

    /// Completes the streams of answers of an entity; the function hears that their callers have gone.
    pub(super) fn complete(&mut self, index: usize, now: Now) {
        let open = self.entities[index].open.iter();
        let streaming = open.filter(|(_, open)| open.phase == Phase::Streaming);
        let streaming: Vec<_> = streaming
            .map(|(number, open)| (*number, open.call))
            .collect();
        for (number, call) in streaming {
            self.end_call(index, call, Ok(()));
            self.cancel(index, number, now);
        }
    }

    /// Ends an entity as far as it can be ended: streams of answers are completed, unary commands
    /// are waited for.
    pub(super) fn end_for_drain(&mut self, index: usize, now: Now) {
        let entity = &mut self.entities[index];
        if entity.is_mutating() || !entity.queue.is_empty() {
            return;
        }
        for open in std::mem::take(&mut entity.open).into_values() {
            if open.phase == Phase::Streaming {
                self.end_call(index, open.call, Ok(()));
            }
        }
        if self.entities[index].live().is_some() {
            self.half_close(index, now);
        }
    }
}
