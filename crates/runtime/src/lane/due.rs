//! When instances need attention.
//!
//! The alarm clock is lazy: an alarm that has been overtaken stays until it comes up and is then
//! ignored, or until there are many of them. That keeps the price of one command at a push or
//! nothing, and the number of alarms at a small multiple of the number of instances.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A moment as it is kept of each instance: in nanoseconds since the lane's first input, which take
/// half the room of an [`Instant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    /// Later than all others.
    pub(super) const NEVER: Self = Self(u64::MAX);

    /// So much later.
    pub(super) fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }
}

/// What lasts longer than some centuries lasts for ever.
fn nanos(time: Duration) -> u64 {
    let seconds = time.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(time.subsec_nanos()))
}

/// What may come due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// Something of the instance at this index.
    Instance(u32),
    /// Deliveries that no commit has carried yet.
    Housekeeping,
}

/// Overtaken entries are kept up to this many times the number of instances, so that tidying costs
/// each command a constant.
const SLACK: usize = 4;

fn is_crowded(entries: usize, instances: usize) -> bool {
    entries > SLACK * (instances + 16)
}

/// The lane's alarm clock.
#[derive(Debug, Default)]
pub(super) struct Due {
    alarms: BinaryHeap<Reverse<(Moment, Item)>>,
    /// When the lane's first input came.
    begun: Option<Instant>,
}

impl Due {
    /// Notes when the lane's first input came.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
    }

    /// The short form of an instant. Those before the first input are that.
    pub(super) fn moment(&self, at: Instant) -> Moment {
        let begun = self.begun.unwrap_or(at);
        Moment(nanos(at.saturating_duration_since(begun)))
    }

    /// The earliest alarm.
    pub(super) fn next(&self) -> Option<Instant> {
        let Reverse((Moment(nanos), _)) = self.alarms.peek()?;
        Some(self.begun? + Duration::from_nanos(*nanos))
    }

    /// Sets an alarm.
    pub(super) fn at(&mut self, at: Moment, item: Item) {
        self.alarms.push(Reverse((at, item)));
    }

    /// Takes an alarm that has gone off, with the time it was set for.
    pub(super) fn pop(&mut self, now: Moment) -> Option<(Moment, Item)> {
        let Reverse((at, _)) = self.alarms.peek()?;
        if *at > now {
            return None;
        }
        self.alarms.pop().map(|Reverse(alarm)| alarm)
    }

    /// Drops overtaken alarms when there are many for this number of instances.
    pub(super) fn tidy_alarms(
        &mut self,
        instances: usize,
        mut is_set: impl FnMut(Moment, Item) -> bool,
    ) {
        if is_crowded(self.alarms.len(), instances) {
            self.alarms.retain(|Reverse((at, item))| is_set(*at, *item));
        }
    }

    /// How many alarms there are, overtaken ones too.
    #[cfg(test)]
    pub(super) fn alarms(&self) -> usize {
        self.alarms.len()
    }
}
