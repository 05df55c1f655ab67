//! Time and room: deadlines, idle instances, streams that give way, and draining.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::due::{Due, Item, Moment};
use super::instance::{Accepted, Instance, Phase, Stream};
use super::instances::Instances;
use super::{Lane, Now, Output};
use crate::refusal::Refusal;

impl<R> Lane<R> {
    /// Looks at everything whose time has come.
    pub(super) fn wake(&mut self, now: Now) {
        let until = self.due.moment(now.instant);
        while let Some((at, item)) = self.due.pop(until) {
            match item {
                Item::Housekeeping => self.housekeep(now),
                Item::Instance(index) if is_set(&self.instances, at, index) => {
                    self.look_at(index as usize, now);
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
        instance.alarm = Moment::NEVER;
        self.drop_late(index, now);
        let moment = self.due.moment(now.instant);
        if self.due_of(index).is_some_and(|due| due <= moment) {
            self.act_on_due(index, now);
        }
        if let Some(due) = self.due_of(index) {
            self.arm_at(index, due.max(moment.plus(MIN_STEP)));
        }
    }

    /// When an instance next needs a look; `None` if it waits for something other than time, or is gone.
    fn due_of(&self, index: usize) -> Option<Moment> {
        let instance = self.instances.get(index)?;
        instance.due(&self.due, self.config.passivate_after)
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
        for queued in instance.queue.take_all() {
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
        let now = self.due.moment(now.instant);
        self.instances.became_idle(index);
        let instance = &mut self.instances[index];
        instance.active_at = now;
        let idle_until = now.plus(instance.idle_max(self.config.passivate_after));
        self.arm_at(index, idle_until);
    }

    /// Somebody waits for a stream: the instance that has been idle longest gives way, or the next
    /// one that becomes idle.
    pub(super) fn make_room(&mut self, now: Now) {
        let gives_way =
            |instance: &Instance<R>| instance.is_idle() && instance.stream == Stream::Open;
        match self.instances.longest_idle(gives_way) {
            Some(index) => self.restart(index, now),
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
        self.arm_at(index, self.due.moment(at));
    }

    fn arm_at(&mut self, index: usize, at: Moment) {
        let instance = &mut self.instances[index];
        if instance.alarm <= at {
            return;
        }
        instance.alarm = at;
        self.due.at(at, Item::Instance(index as u32));
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
const MIN_STEP: Duration = Duration::from_millis(1);

/// Whether an alarm is the instance's own and was not overtaken by an earlier one.
fn is_set<R>(instances: &Instances<R>, at: Moment, index: u32) -> bool {
    instances
        .get(index as usize)
        .is_some_and(|instance| instance.alarm == at)
}

impl<R> Instance<R> {
    /// Whether it could serve and has nothing to do.
    fn is_idle(&self) -> bool {
        let is_serving = matches!(self.phase, Phase::Serving);
        is_serving && self.pipeline.is_empty() && self.queue.is_empty()
    }

    /// How long it may be idle before it leaves memory, where its component does not say.
    fn idle_max(&self, otherwise: Duration) -> Duration {
        self.component.policies.passivate_after.unwrap_or(otherwise)
    }

    /// When the instance next needs a look; `None` if it waits for something other than time.
    fn due(&self, clock: &Due, passivate_after: Duration) -> Option<Moment> {
        let own = match &self.phase {
            Phase::Snapshotting { until } | Phase::Closing { until } => Some(*until),
            Phase::Serving if self.is_idle() => {
                Some(self.active_at.plus(self.idle_max(passivate_after)))
            }
            Phase::Looking(next) => next.as_ref().map(|next| clock.moment(next.deadline)),
            Phase::Serving
            | Phase::Settling(_)
            | Phase::Loading
            | Phase::Connecting(_)
            | Phase::Suspended => None,
        };
        let waiting = self.queue.iter().map(|queued| queued.deadline).min();
        let others = self.pipeline.due().into_iter().chain(waiting);
        let others = others.map(|at| clock.moment(at));
        own.into_iter().chain(others).min()
    }
}
