//! Time and room: deadlines, idle instances, streams that give way, and draining.

use std::collections::VecDeque;
use std::time::Instant;

use super::due::Item;
use super::instance::{Accepted, Instance, Phase, Stream};
use super::{Lane, Now, Output, Ticket};
use crate::refusal::Refusal;

impl<R> Lane<R> {
    /// Looks at everything whose time has come.
    pub(super) fn wake(&mut self, now: Now) {
        while let Some((at, item)) = self.due.pop(now.instant) {
            match item {
                Item::Housekeeping => self.housekeep(now),
                Item::Instance(index) if is_set(&self.instances, at, index) => {
                    self.look_at(index, now);
                }
                Item::Instance(_) => {}
            }
        }
    }

    /// Looks at one instance: refuses what is too late, ends what has been idle, sets the next
    /// alarm.
    fn look_at(&mut self, index: usize, now: Now) {
        let Some(instance) = self.instances.get_mut(index) else {
            return;
        };
        instance.alarm = None;
        self.drop_late(index, now);
        let Some(instance) = self.instances.get(index) else {
            return;
        };
        if instance.due().is_some_and(|due| due <= now.instant) {
            self.act_on_due(index, now);
        }
        if let Some(due) = self.instances.get(index).and_then(Instance::due) {
            self.arm(index, due.max(now.instant + MIN_STEP));
        }
    }

    /// Refuses the waiting commands whose deadline has passed.
    fn drop_late(&mut self, index: usize, now: Now) {
        let instance = &mut self.instances[index];
        let late = match instance.phase {
            Phase::Connecting(_) => Refusal::StreamsExhausted,
            _ => Refusal::DeadlineQueued,
        };
        if instance
            .queue
            .iter()
            .all(|queued| queued.deadline > now.instant)
        {
            return;
        }
        for queued in std::mem::take(&mut instance.queue) {
            if queued.deadline > now.instant {
                self.instances[index].queue.push_back(queued);
            } else {
                self.out
                    .push(Output::Answer(queued.reply, Err(late.clone())));
            }
        }
        let instance = &self.instances[index];
        if !instance.queue.is_empty() {
            // What is gone may have held up the others.
            return self.advance(index, now);
        }
        if matches!(instance.phase, Phase::Connecting(_)) {
            // The grant, when it comes, finds nobody and is given back.
            self.forget(index);
        }
    }

    fn act_on_due(&mut self, index: usize, now: Now) {
        let instance = &mut self.instances[index];
        if !instance.pipeline.is_empty() {
            return self.act_on_late(index, now);
        }
        match &mut instance.phase {
            Phase::Looking(next) => {
                if let Some(next) = next.take() {
                    self.refuse(next.reply, Refusal::DeadlineQueued);
                }
            }
            Phase::Snapshotting { .. } | Phase::Closing { .. } => {
                self.reset_stream(index);
                self.start_or_forget(index, now);
            }
            Phase::Serving if instance.queue.is_empty() => self.restart(index, now),
            _ => {}
        }
    }

    /// Somebody has waited long enough for the store or the function.
    fn act_on_late(&mut self, index: usize, now: Now) {
        let pipeline = &mut self.instances[index].pipeline;
        let is_late = pipeline.is_late(now.instant);
        for reply in pipeline.stop_waiting(now.instant) {
            self.refuse(reply, Refusal::CommitUnknown);
        }
        if is_late {
            self.time_out(index, now);
        }
    }

    /// The function did not answer in time: its stream is reset, what waits goes on. What else it had
    /// is lost with it, as it may be built on what is late.
    fn time_out(&mut self, index: usize, now: Now) {
        self.reset_stream(index);
        let running = self.instances[index].pipeline.take_running();
        let (late, others) = running
            .into_iter()
            .partition(|command| command.deadline <= now.instant);
        let late: VecDeque<Box<Accepted<R>>> = late;
        for command in late {
            self.refuse(command.reply, Refusal::Timeout);
        }
        self.lose(index, others, &Refusal::QueuedBehindFailure);
        self.begin_again(index, now);
    }

    /// An instance has nothing to do.
    pub(super) fn rest(&mut self, index: usize, now: Now) {
        if self.draining || self.room_wanted > 0 {
            self.room_wanted = self.room_wanted.saturating_sub(1);
            return self.restart(index, now);
        }
        let instance = &self.instances[index];
        let idle_until = now.instant + instance.idle_max;
        let stamp = self.due.became_idle(Ticket {
            index,
            life: instance.life,
        });
        self.instances[index].active_at = now.instant;
        self.instances[index].idle_stamp = stamp;
        let instances = &self.instances;
        self.due.tidy_idle(instances.len(), |ticket, stamp| {
            is_idle(instances, ticket, stamp)
        });
        self.arm(index, idle_until);
    }

    /// Somebody waits for a stream: the instance that has been idle longest gives way, or the next
    /// one that becomes idle.
    pub(super) fn make_room(&mut self, now: Now) {
        let instances = &self.instances;
        match self
            .due
            .longest_idle(|ticket, stamp| is_idle(instances, ticket, stamp))
        {
            Some(ticket) => self.restart(ticket.index, now),
            None => {
                self.room_wanted += 1;
                self.out.push(Output::NoRoom);
            }
        }
    }

    /// Lets every idle instance go; the others follow when their work is done.
    pub(super) fn drain(&mut self, now: Now) {
        self.draining = true;
        let ready: Vec<usize> = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.is_idle())
            .map(|(index, _)| index)
            .collect();
        for index in ready {
            self.restart(index, now);
        }
        self.housekeep(now);
    }

    /// Makes sure that the instance is looked at by then.
    pub(super) fn arm(&mut self, index: usize, at: Instant) {
        let instance = &mut self.instances[index];
        if instance.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        instance.alarm = Some(at);
        self.due.at(at, Item::Instance(index));
        let instances = &self.instances;
        self.due
            .tidy_alarms(instances.len(), |at, item| match item {
                Item::Instance(index) => is_set(instances, at, index),
                Item::Housekeeping => true,
            });
    }
}

/// Two looks at one instance are at least that far apart, so that an alarm that could do nothing
/// is not set again for the same instant.
const MIN_STEP: std::time::Duration = std::time::Duration::from_millis(1);

/// Whether an alarm is the instance's own and was not overtaken by an earlier one.
fn is_set<R>(instances: &slab::Slab<Instance<R>>, at: Instant, index: usize) -> bool {
    instances
        .get(index)
        .is_some_and(|instance| instance.alarm == Some(at))
}

fn is_idle<R>(instances: &slab::Slab<Instance<R>>, ticket: Ticket, stamp: u64) -> bool {
    instances.get(ticket.index).is_some_and(|instance| {
        instance.life == ticket.life
            && instance.idle_stamp == stamp
            && instance.is_idle()
            && instance.stream == Stream::Open
    })
}

impl<R> Instance<R> {
    /// Whether it could serve and has nothing to do.
    fn is_idle(&self) -> bool {
        let is_serving = matches!(self.phase, Phase::Serving);
        is_serving && self.pipeline.is_empty() && self.queue.is_empty()
    }

    /// When the instance next needs a look; `None` if it waits for something other than time.
    fn due(&self) -> Option<Instant> {
        let own = match &self.phase {
            Phase::Snapshotting { until } | Phase::Closing { until } => Some(*until),
            Phase::Serving if self.is_idle() => Some(self.active_at + self.idle_max),
            Phase::Looking(next) => next.as_ref().map(|next| next.deadline),
            Phase::Serving
            | Phase::Settling(_)
            | Phase::Loading
            | Phase::Connecting(_)
            | Phase::Suspended => None,
        };
        let waiting = self.queue.iter().map(|queued| queued.deadline).min();
        own.into_iter()
            .chain(self.pipeline.due())
            .chain(waiting)
            .min()
    }
}
