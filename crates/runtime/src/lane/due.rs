//! When instances need attention, and which of them has been idle longest.
//!
//! Both structures are lazy: an entry that has been overtaken stays until it comes up and is then
//! ignored, or until there are many of them. That keeps the price of one command at a push or
//! nothing, and the number of entries at a small multiple of the number of instances.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use super::Ticket;

/// What may come due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// Something of the instance at this index.
    Instance(usize),
    /// Deliveries that no commit has carried yet.
    Housekeeping,
}

/// Overtaken entries are kept up to this many times the number of instances, so that tidying costs
/// each command a constant.
const SLACK: usize = 4;

fn is_crowded(entries: usize, instances: usize) -> bool {
    entries > SLACK * (instances + 16)
}

/// The lane's alarm clock and its order of idleness.
#[derive(Debug, Default)]
pub(super) struct Due {
    alarms: BinaryHeap<Reverse<(Instant, Item)>>,
    idle: VecDeque<(Ticket, u64)>,
    idle_stamp: u64,
}

impl Due {
    /// The earliest alarm.
    pub(super) fn next(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    /// Sets an alarm.
    pub(super) fn at(&mut self, at: Instant, item: Item) {
        self.alarms.push(Reverse((at, item)));
    }

    /// Takes an alarm that has gone off, with the time it was set for.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Item)> {
        if self.next()? > now {
            return None;
        }
        self.alarms.pop().map(|Reverse(alarm)| alarm)
    }

    /// Drops overtaken alarms when there are many for this number of instances.
    pub(super) fn tidy_alarms(
        &mut self,
        instances: usize,
        mut is_set: impl FnMut(Instant, Item) -> bool,
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

    /// Notes that an instance became idle just now; gives the stamp by which to know it again.
    pub(super) fn became_idle(&mut self, ticket: Ticket) -> u64 {
        self.idle_stamp += 1;
        self.idle.push_back((ticket, self.idle_stamp));
        self.idle_stamp
    }

    /// Drops overtaken entries when there are many for this number of instances.
    pub(super) fn tidy_idle(
        &mut self,
        instances: usize,
        mut is_idle: impl FnMut(Ticket, u64) -> bool,
    ) {
        if is_crowded(self.idle.len(), instances) {
            self.idle.retain(|(ticket, stamp)| is_idle(*ticket, *stamp));
        }
    }

    /// Takes the instance that has been idle longest; `is_idle` tells whether an entry still holds.
    pub(super) fn longest_idle(
        &mut self,
        mut is_idle: impl FnMut(Ticket, u64) -> bool,
    ) -> Option<Ticket> {
        while let Some((ticket, stamp)) = self.idle.pop_front() {
            if is_idle(ticket, stamp) {
                return Some(ticket);
            }
        }
        None
    }
}
