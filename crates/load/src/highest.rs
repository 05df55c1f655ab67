//! The highest rate that a server bears in an open loop: found by trying rates.
//!
//! A closed loop has a highest rate too, but an open one need not reach it: calls come on a schedule
//! and not in step with the answers, so the server and the load gather fewer of them at once. What part
//! of a highest rate a server is asked for only says something if that rate can be sustained in the same
//! way. [`Search`] decides which rate is tried next, and makes no calls itself; [`KeptUp`] is what
//! an attempt is judged by.

/// The part of the calls that are due in a time that has to be answered in it.
pub const ANSWERED_MIN: f64 = 0.99;

/// How many calls may be left at the end, of those that were due in the time: what is late by more
/// than this part of it has not kept up, even if it no longer falls back.
pub const BACKLOG_MAX: f64 = 0.05;

/// How closely a rate is known in the end: one that is higher by this factor was tried in vain.
const CLOSE: f64 = 1.05;

/// The step from one rate to the next while only one side is known.
const STEP: f64 = 1.2;

/// How far below the first rate it is worth trying.
const FAR: f64 = 100.0;

/// How often a rate has to fail: a single stall says little about it.
const FAILURES: u32 = 2;

/// How an open loop kept up with its schedule while it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptUp {
    /// Calls that were due before.
    pub due_before: u64,
    /// Calls that were due in the time.
    pub due: u64,
    /// Calls that had ended before.
    pub ended_before: u64,
    /// Calls that ended in the time, whenever they were due.
    pub ended: u64,
}

impl KeptUp {
    /// How many calls ended for each one that was due.
    #[must_use]
    pub fn answered(&self) -> f64 {
        self.ended as f64 / self.due.max(1) as f64
    }

    /// How many calls were due, and had not ended, at the end.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        (self.due_before + self.due).saturating_sub(self.ended_before + self.ended)
    }

    /// Whether answers came as fast as calls were due, and without much of a delay.
    #[must_use]
    pub fn is_sustained(&self) -> bool {
        let backlog = self.backlog() as f64 / self.due.max(1) as f64;
        self.answered() >= ANSWERED_MIN && backlog <= BACKLOG_MAX
    }
}

/// A search for the highest rate that is sustained.
///
/// The rate grows or shrinks by a step until one is sustained and one is not; then the middle of both
/// is tried until they are close.
#[derive(Debug, Clone)]
pub struct Search {
    first: f64,
    at: f64,
    /// How often the present rate has failed.
    failures: u32,
    sustained: Option<f64>,
    failed: Option<f64>,
}

impl Search {
    /// A search that begins at a rate: the nearer it is, the shorter.
    ///
    /// # Panics
    /// If the rate is not a number above 0.
    #[must_use]
    pub fn new(first: f64) -> Self {
        assert!(first.is_finite() && first > 0.0, "a rate of {first}");
        Self {
            first,
            at: first,
            failures: 0,
            sustained: None,
            failed: None,
        }
    }

    /// The rate to try now; `None` if there is nothing more to be found out.
    #[must_use]
    pub fn next(&self) -> Option<f64> {
        let is_close = match (self.sustained, self.failed) {
            (Some(sustained), Some(failed)) => failed <= sustained * CLOSE,
            (None, Some(failed)) => failed <= self.first / FAR,
            _ => false,
        };
        (!is_close).then_some(self.at)
    }

    /// Takes whether the rate that was tried was sustained.
    pub fn learn(&mut self, is_sustained: bool) {
        if is_sustained {
            self.sustained = Some(self.at);
        } else {
            self.failures += 1;
            if self.failures < FAILURES {
                return;
            }
            self.failed = Some(self.at);
        }
        self.failures = 0;
        self.at = match (self.sustained, self.failed) {
            (Some(sustained), Some(failed)) => (sustained * failed).sqrt(),
            (Some(sustained), None) => sustained * STEP,
            (None, Some(failed)) => failed / STEP,
            (None, None) => self.at,
        };
    }

    /// The highest rate that was sustained.
    #[must_use]
    pub fn highest(&self) -> Option<f64> {
        self.sustained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that takes its time for each call, one after the other, and may stand still.
    struct Server {
        capacity: f64,
        /// The attempts in which it stands still for the last tenth of the time.
        stalls: &'static [usize],
        attempts: usize,
    }

    impl Server {
        fn new(capacity: f64) -> Self {
            Self {
                capacity,
                stalls: &[],
                attempts: 0,
            }
        }

        /// What comes of a second at a rate, after half a second that is not counted.
        fn offered(&mut self, rate: f64) -> KeptUp {
            const WARM: f64 = 0.5;
            let is_stalled = self.stalls.contains(&self.attempts);
            self.attempts += 1;
            let ends = |until: f64, is_stalled: bool| {
                let working = until - if is_stalled { 0.1 } else { 0.0 };
                (working * self.capacity.min(rate)) as u64
            };
            let due = |until: f64| (until * rate).ceil() as u64;
            let ended_before = ends(WARM, false);
            KeptUp {
                due_before: due(WARM),
                due: due(WARM + 1.0) - due(WARM),
                ended_before,
                ended: ends(WARM + 1.0, is_stalled) - ended_before,
            }
        }

        /// What a search finds, and how often it tries.
        fn searched(mut self, first: f64) -> (f64, usize) {
            let mut search = Search::new(first);
            while let Some(rate) = search.next() {
                search.learn(self.offered(rate).is_sustained());
            }
            (search.highest().unwrap(), self.attempts)
        }
    }

    #[test]
    fn the_capacity_of_a_server_is_found() {
        for capacity in [500.0, 30_000.0, 123_456.0] {
            for first in [0.1, 0.8, 0.99, 1.0, 1.3, 8.0] {
                let (found, attempts) = Server::new(capacity).searched(first * capacity);
                let part = found / capacity;
                assert!((0.95..=1.011).contains(&part), "{first}: {part}");
                let near = (0.7..1.4).contains(&first);
                assert!(!near || attempts <= 9, "{first}: {attempts} attempts");
            }
        }
    }

    #[test]
    fn a_stall_does_not_make_a_server_slower_than_it_is() {
        for stalls in [&[0][..], &[1], &[2], &[3], &[0, 3]] {
            let server = Server {
                stalls,
                ..Server::new(10_000.0)
            };
            let (found, _) = server.searched(9000.0);
            assert!(found >= 9500.0, "{stalls:?}: {found}");
        }
    }

    #[test]
    fn a_server_that_bears_nothing_is_given_up() {
        let mut search = Search::new(1000.0);
        let mut attempts = 0;
        while search.next().is_some() {
            search.learn(false);
            attempts += 1;
        }
        assert_eq!(search.highest(), None);
        assert!(attempts < 100, "{attempts}");
    }

    #[test]
    fn who_falls_back_has_not_kept_up() {
        let kept_up = |due_before, due, ended_before, ended| KeptUp {
            due_before,
            due,
            ended_before,
            ended,
        };
        for (it, expected) in [
            // Some are always under way.
            (kept_up(500, 1000, 490, 1000), true),
            (kept_up(500, 1000, 490, 990), true),
            // More and more are.
            (kept_up(500, 1000, 490, 989), false),
            // A delay that stays, and one that goes but is not gone.
            (kept_up(500, 1000, 440, 1000), false),
            (kept_up(500, 1000, 400, 1040), false),
            (kept_up(500, 1000, 400, 1050), true),
        ] {
            assert_eq!(it.is_sustained(), expected, "{it:?}");
        }
        assert_eq!(kept_up(500, 1000, 440, 1010).backlog(), 50);
    }
}
