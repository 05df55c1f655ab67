//! The pace of what goes on behind commits: rows are brought into files, and files are merged, as fast as
//! a processor can, up to seconds at a time, and whoever serves calls gets less of the processors
//! meanwhile. Nothing needs the outcome that soon. So such work is done in turns, with a longer rest after
//! each, as long as it keeps up.
//!
//! # How it works
//! fjall shows the rows that it merges to a filter, which may remove them. This one keeps all, and rests
//! there. (Rows that were removed or written over are not shown, so a merge of those alone does not rest.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use tokio::time::Instant;

/// So many files are merged at a time.
pub(super) const MERGED_AT_ONCE: u8 = 8;

/// How long is worked at a time: that long a thread that serves calls may have to wait for a processor.
const TURN: Duration = Duration::from_millis(1);

/// How many rows are worked on between two looks at the clock.
const LOOK: u32 = 64;

/// A turn counts as no more than this: rows may be large, and reading them may have to wait.
const TURN_MAX: Duration = Duration::from_millis(4);

/// How many times as long as a turn is rested where nobody waits.
const REST: f64 = 3.0;

/// The same for merging, while at most so many files were never merged; with more it does not rest. Those
/// that are being merged are among them, and others come meanwhile.
const RESTS: [(usize, f64); 3] = [(12, REST), (14, 1.0), (16, 0.33)];

/// With so many files that were never merged no more come before some are, since each of them is searched
/// by who reads.
pub(super) const UNMERGED_MAX: usize = 20;

const _: () = assert!(RESTS[0].0 > MERGED_AT_ONCE as usize && RESTS[2].0 < UNMERGED_MAX);

/// Work in turns.
pub(super) struct Turns {
    /// When this turn began.
    began: Instant,
    /// How many rows were worked on since the clock was looked at.
    rows: u32,
}

impl Turns {
    /// The first begins.
    pub(super) fn begin() -> Self {
        Self {
            began: Instant::now(),
            rows: 0,
        }
    }

    /// One row more: how long this turn was, once it is over.
    pub(super) fn row(&mut self) -> Option<Duration> {
        self.rows += 1;
        if self.rows < LOOK {
            return None;
        }
        self.rows = 0;
        let worked = self.began.elapsed();
        (worked >= TURN).then_some(worked.min(TURN_MAX))
    }

    /// The next one begins: the rest is over.
    pub(super) fn next(&mut self) {
        self.began = Instant::now();
    }
}

/// How long to rest after a turn where nobody waits.
pub(super) fn rest_after(turn: Duration) -> Duration {
    turn.mul_f64(REST)
}

/// How fast files are merged.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How many files wait to be merged for the first time, when it was looked at last.
    pub(super) unmerged: AtomicUsize,
    /// The end of merging is waited for.
    pub(super) hurries: AtomicBool,
    /// How many turns merging had.
    #[cfg(test)]
    pub(super) turns: AtomicUsize,
}

impl Pace {
    /// So many files wait to be merged now.
    pub(super) fn keep_up_with(&self, unmerged: usize) {
        self.unmerged.store(unmerged, Ordering::Relaxed);
    }

    /// From now on merging does not rest.
    pub(super) fn hurry(&self) {
        self.hurries.store(true, Ordering::Relaxed);
    }

    /// How long merging rests after a turn.
    fn rest_after(&self, turn: Duration) -> Duration {
        if self.hurries.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let unmerged = self.unmerged.load(Ordering::Relaxed);
        let rest = RESTS.iter().find(|(most, _)| unmerged <= *most);
        rest.map_or(Duration::ZERO, |(_, times)| turn.mul_f64(*times))
    }
}

/// Keeps the pace of each merge.
#[derive(Debug)]
pub(super) struct Paced(pub(super) Arc<Pace>);

impl Factory for Paced {
    fn name(&self) -> &str {
        "pace"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Merge {
            pace: self.0.clone(),
            turns: Turns::begin(),
        })
    }
}

/// A merge that goes on.
struct Merge {
    pace: Arc<Pace>,
    turns: Turns,
}

impl CompactionFilter for Merge {
    fn filter_item(&mut self, _: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        if let Some(turn) = self.turns.row() {
            #[cfg(test)]
            self.pace.turns.fetch_add(1, Ordering::Relaxed);
            thread::sleep(self.pace.rest_after(turn));
            self.turns.next();
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_files_wait_the_less_merging_rests() {
        let pace = Pace::default();
        let turn = Duration::from_millis(2);
        for (unmerged, rest_ms) in [
            (0, 6.0),
            (12, 6.0),
            (13, 2.0),
            (14, 2.0),
            (16, 0.66),
            (17, 0.0),
            (UNMERGED_MAX, 0.0),
        ] {
            pace.keep_up_with(unmerged);
            let rest = pace.rest_after(turn).as_secs_f64() * 1e3;
            assert!((rest - rest_ms).abs() < 1e-6, "{unmerged}: {rest}");
        }
        pace.keep_up_with(0);
        assert_eq!(pace.rest_after(turn), rest_after(turn));
        pace.hurry();
        assert_eq!(pace.rest_after(turn), Duration::ZERO);
    }

    #[test]
    fn a_turn_is_over_when_it_was_long_enough() {
        let mut turns = Turns::begin();
        turns.began += Duration::from_secs(60);
        let mut over = |rows: u32| (0..rows).find_map(|_| turns.row());
        assert_eq!(over(10 * LOOK), None, "not yet");
        turns.began = Instant::now().checked_sub(TURN).unwrap();
        let mut over = |rows: u32| (0..rows).find_map(|_| turns.row());
        assert_eq!(over(LOOK - 1), None, "the clock is not looked at");
        assert!(over(1).unwrap() >= TURN);
        turns.began = Instant::now().checked_sub(TURN_MAX * 2).unwrap();
        let over = (0..LOOK).find_map(|_| turns.row());
        assert_eq!(over, Some(TURN_MAX), "and no more");
        let before = turns.began;
        turns.next();
        assert!(turns.began > before);
    }
}
