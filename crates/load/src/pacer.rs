//! When the calls of an open loop start.
//!
//! A call with number `n` is due `n / rate` seconds after the beginning, whatever became of those
//! before it. [`Pacer::step`] is asked what to do now; it reads no clock and starts nothing itself.
//!
//! # Invariants
//! - Due times are computed from the number, so that rounding adds up to nothing.
//! - No number is left out: each is started, or is among [`Pacer::unstarted`] when it is over.

use std::time::Duration;

/// How long after its end a schedule may be caught up with: calls that are only late because
/// whoever starts them was woken late are still started.
pub const CATCH_UP: Duration = Duration::from_millis(100);

/// A schedule, and how far it has come.
#[derive(Debug, Clone)]
pub struct Pacer {
    rate: f64,
    end: Duration,
    outstanding_max: usize,
    next: u64,
    stride: u64,
    held_back: u64,
    /// When it was last seen that as many were under way as may be.
    full: Option<Duration>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A call is to be started; it was due then.
    Start {
        /// Its number.
        number: u64,
        /// When it was due, since the beginning.
        due: Duration,
    },
    /// Nothing before then, counted since the beginning.
    Wait(Duration),
    /// A call is due, and as many are under way as may be.
    Full,
    /// Nothing any more.
    Over,
}

impl Pacer {
    /// A schedule of so many calls in a second up to an end, with at most so many under way.
    ///
    /// # Panics
    /// If the rate is not a number above 0.
    #[must_use]
    pub fn new(rate: f64, end: Duration, outstanding_max: usize) -> Self {
        assert!(rate.is_finite() && rate > 0.0, "a rate of {rate}");
        Self {
            rate,
            end,
            outstanding_max,
            next: 0,
            stride: 1,
            held_back: 0,
            full: None,
        }
    }

    /// The calls of which the number, divided by `of`, leaves `part`: so several follow one schedule.
    ///
    /// # Panics
    /// If there is no such part.
    #[must_use]
    pub fn part(self, part: u64, of: u64) -> Self {
        assert!(part < of, "part {part} of {of}");
        Self {
            next: part,
            stride: of,
            ..self
        }
    }

    /// What to do when so much time has passed since the beginning and so many calls are under way.
    pub fn step(&mut self, elapsed: Duration, outstanding: usize) -> Step {
        let due = self.due(self.next);
        if due >= self.end || elapsed >= self.end + CATCH_UP {
            return Step::Over;
        }
        if due > elapsed {
            return Step::Wait(due);
        }
        if outstanding >= self.outstanding_max {
            self.full = Some(elapsed);
            return Step::Full;
        }
        let number = self.next;
        self.next += self.stride;
        self.held_back += u64::from(self.full.is_some_and(|full| due <= full));
        Step::Start { number, due }
    }

    /// How many calls were due while too many were under way, and started later. Their latency
    /// counts from when they were due.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.held_back
    }

    /// When those calls were due that were not started.
    pub fn unstarted(&self) -> impl Iterator<Item = Duration> {
        let due = |number| self.due(number);
        let left = (self.next..).step_by(self.stride as usize);
        left.map(due).take_while(|due| *due < self.end)
    }

    /// How many calls are due before then, in all parts.
    #[must_use]
    pub fn due_before(&self, then: Duration) -> u64 {
        (then.min(self.end).as_secs_f64() * self.rate).ceil() as u64
    }

    fn due(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::latency::Latency;

    const MS: Duration = Duration::from_millis(1);

    fn pacer(rate: f64, end: Duration) -> Pacer {
        Pacer::new(rate, end, usize::MAX)
    }

    #[test]
    fn calls_are_due_by_their_number() {
        let mut pacer = pacer(1000.0, 10 * MS);
        let due = |number: u64| Step::Start {
            number,
            due: number as u32 * MS,
        };
        assert_eq!(pacer.step(Duration::ZERO, 0), due(0));
        assert_eq!(pacer.step(Duration::ZERO, 1), Step::Wait(MS));
        assert_eq!(pacer.step(MS, 1), due(1));
        // Who comes late finds all that was due, each with its own time.
        assert_eq!(pacer.step(4 * MS, 0), due(2));
        assert_eq!(pacer.step(4 * MS, 0), due(3));
        assert_eq!(pacer.step(4 * MS, 0), due(4));
        assert_eq!(pacer.step(4 * MS, 0), Step::Wait(5 * MS));
    }

    #[test]
    fn parts_of_a_schedule_are_all_of_it() {
        let parts = (0..3).map(|part| pacer(1000.0, 10 * MS).part(part, 3));
        let mut started = Vec::new();
        for mut pacer in parts {
            while let Step::Start { number, due } = pacer.step(4 * MS, 0) {
                assert_eq!(due, number as u32 * MS);
                started.push(number);
            }
            started.extend(pacer.unstarted().map(|due| due.as_millis() as u64));
        }
        started.sort_unstable();
        assert_eq!(started, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_due_by_a_time_is_known() {
        let pacer = pacer(1000.0, 10 * MS);
        for (then, expected) in [(0, 0), (1, 1), (4, 4), (10, 10), (60, 10)] {
            assert_eq!(pacer.due_before(then * MS), expected, "{then} ms");
        }
        assert_eq!(pacer.due_before(MS + MS / 2), 2);
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let mut pacer = pacer(70_001.0, Duration::from_secs(60));
        let mut started = 0;
        while let Step::Start { .. } = pacer.step(Duration::from_secs(60), 0) {
            started += 1;
        }
        assert_eq!(started, 60 * 70_001);
        assert_eq!(pacer.unstarted().count(), 0);
    }

    #[test]
    fn what_cannot_start_is_told() {
        let mut pacer = Pacer::new(1000.0, 5 * MS, 1);
        assert!(matches!(
            pacer.step(Duration::ZERO, 0),
            Step::Start { number: 0, .. }
        ));
        assert_eq!(pacer.step(3 * MS, 1), Step::Full);
        assert_eq!(pacer.step(4 * MS, 1), Step::Full);
        assert_eq!(pacer.held_back(), 0);
        assert!(matches!(
            pacer.step(4 * MS, 0),
            Step::Start { number: 1, due } if due == MS
        ));
        assert_eq!(pacer.step(4 * MS, 1), Step::Full);
        assert_eq!(pacer.held_back(), 1);
        assert_eq!(pacer.step(5 * MS + CATCH_UP, 1), Step::Over);
        let unstarted: Vec<Duration> = pacer.unstarted().collect();
        assert_eq!(unstarted, [2 * MS, 3 * MS, 4 * MS]);
    }

    /// A server that answers in a millisecond but stands still for a second in the middle. In a
    /// closed loop one call would see it; here all do that were due meanwhile.
    #[test]
    fn a_stall_is_seen_by_every_call_that_was_due_in_it() {
        let (stall, after) = (Duration::from_secs(1), Duration::from_secs(2));
        let mut pacer = Pacer::new(100.0, 3 * stall, 10);
        let mut under_way: VecDeque<(Duration, Duration)> = VecDeque::new();
        let mut latency = Latency::default();
        let mut now = Duration::ZERO;
        loop {
            while let Some((due, ends)) = under_way.front().copied() {
                if ends > now {
                    break;
                }
                latency.record(ends - due);
                under_way.pop_front();
            }
            match pacer.step(now, under_way.len()) {
                Step::Start { due, .. } => {
                    let is_stalled = now >= stall && now < after;
                    let ends = if is_stalled { after } else { now + MS };
                    under_way.push_back((due, ends));
                }
                Step::Wait(_) | Step::Full => now += MS / 2,
                Step::Over if under_way.is_empty() => break,
                Step::Over => now += MS / 2,
            }
        }
        assert_eq!(latency.count(), 300);
        // A third of the calls was due in the stall, evenly: so half of those waited half of it.
        assert!(latency.quantile_ms(0.5) < 5.0);
        let sixth = latency.quantile_ms(5.0 / 6.0);
        assert!((450.0..550.0).contains(&sixth), "{sixth}");
        assert!(latency.max_ms() > 950.0);
        // All but the ten that were under way.
        assert!((90..=92).contains(&pacer.held_back()));
    }
}
