//! Vigils: who waits for something that comes soon does not sleep.
//!
//! A command that is alone is handed over from the lane to the committer, and its outcome back. To wake a
//! thread takes a few microseconds, and 35 to 40 where its processor sleeps too and is a virtual one; a
//! flush of the disk takes little more than that. So as long as commits come alone, each soon after the
//! one before, the committer waits for the next one awake, and a lane for the outcome. Both offer the
//! processor to others after each look.
//!
//! Nobody stays awake for longer than [`SOON`] at a time, and nobody where commits are many (then there is
//! always one), rare, or take long to write, or where there is a single processor.
//!
//! Time here is the system's, not that of tokio, which tests may stop: a stay has to end.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What is waited for no longer than this comes soon: the time of a command that is alone, on a disk that
/// is flushed within a tenth of a millisecond.
pub(crate) const SOON: Duration = Duration::from_micros(250);

/// Whether a committer stays awake for the next commit; it and all lanes look at one.
#[derive(Debug, Clone)]
pub(crate) struct Vigil {
    is_kept: Arc<AtomicBool>,
    is_possible: bool,
}

/// A time of waiting awake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    until: Instant,
}

impl Vigil {
    /// One that is not kept yet, on so many processors.
    pub(crate) fn new(processors: usize) -> Self {
        Self {
            is_kept: Arc::default(),
            is_possible: processors > 1,
        }
    }

    /// So many commits came together, were waited for that long, and took that long to be written.
    pub(crate) fn learn(&self, commits: usize, waited: Duration, took: Duration) {
        let is_soon = waited.max(took) <= SOON;
        let is_kept = self.is_possible && commits == 1 && is_soon;
        self.is_kept.store(is_kept, Ordering::Relaxed);
    }

    /// Nothing came soon.
    pub(crate) fn end(&self) {
        self.is_kept.store(false, Ordering::Relaxed);
    }

    /// The waiting that begins now, if it is done awake.
    pub(crate) fn stay(&self) -> Option<Stay> {
        let is_kept = self.is_kept.load(Ordering::Relaxed);
        is_kept.then(|| Stay {
            until: Instant::now() + SOON,
        })
    }
}

impl Stay {
    /// Offers the processor to others; gives whether to look again instead of going to sleep.
    pub(crate) fn goes_on(self) -> bool {
        thread::yield_now();
        Instant::now() < self.until
    }
}

/// How many processors there are for this process.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = SOON.saturating_add(Duration::from_nanos(1));

    #[test]
    fn a_vigil_is_kept_while_commits_come_alone_and_soon() {
        let check = |processors, (commits, waited, took), expected: bool| {
            let vigil = Vigil::new(processors);
            assert!(vigil.stay().is_none(), "not yet");
            let committers = vigil.clone();
            committers.learn(commits, waited, took);
            let what = format!("{processors} processors, {commits} {waited:?} {took:?}");
            assert_eq!(vigil.stay().is_some(), expected, "{what}");
            committers.learn(commits, LATE, took);
            assert!(vigil.stay().is_none(), "no longer: {what}");
        };
        check(2, (1, SOON, SOON), true);
        check(1, (1, SOON, SOON), false);
        check(2, (2, SOON, SOON), false);
        check(2, (1, LATE, SOON), false);
        check(2, (1, SOON, LATE), false);
    }

    #[test]
    fn a_vigil_ends_when_nothing_comes() {
        let vigil = Vigil::new(2);
        vigil.learn(1, SOON, SOON);
        vigil.end();
        assert!(vigil.stay().is_none());
    }

    #[test]
    fn nobody_stays_awake_for_long() {
        let vigil = Vigil::new(2);
        vigil.learn(1, SOON, SOON);
        let before = Instant::now();
        let stay = vigil.stay().unwrap();
        assert!(stay.until <= Instant::now() + SOON);
        while stay.goes_on() {}
        assert!(before.elapsed() >= SOON);
    }
}
