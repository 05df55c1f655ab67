//! Metrics: what a part counts while it works, and what that amounts to when somebody looks.
//!
//! Plain atomics, counted once for each batch or statement, read at any time. Each number is true by
//! itself; two that are read together may be a moment apart.
//!
//! # Not here
//! Names, and the form in which they are shown: that is up to who shows them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds for times, in microseconds: from a flush of a fast disk to the longest that a commit
/// is tried.
const TIMES: &[u64] = &[
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 15_000_000,
];

/// Upper bounds for bytes: from a small commit to twice the largest batch.
const BYTES: &[u64] = &[
    1 << 8,
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
];

/// Upper bounds for commits: up to the largest batch.
const COMMITS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub(crate) struct Level(AtomicU64);

impl Level {
    /// One more; gives what it was before.
    pub(crate) fn rise(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// One less; gives what it was before.
    pub(crate) fn fall(&self) -> u64 {
        self.0.fetch_sub(1, Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often values of each size were seen.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// How many of what is counted make one of what is shown.
    scale: f64,
    /// By bound, and one more for what is above all of them.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

/// What a histogram holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// The upper bound of each bucket, itself included, and how many values are in it and in none
    /// below. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// All values together.
    pub sum: f64,
}

impl Histogram {
    /// Of times, shown in seconds.
    pub fn of_times() -> Self {
        Self::new(TIMES, 1e6)
    }

    /// Of sizes in bytes.
    pub fn of_bytes() -> Self {
        Self::new(BYTES, 1.0)
    }

    /// Of numbers of commits.
    pub fn of_commits() -> Self {
        Self::new(COMMITS, 1.0)
    }

    fn new(bounds: &'static [u64], scale: f64) -> Self {
        Self {
            bounds,
            scale,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time.
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// What it holds now.
    pub fn read(&self) -> Distribution {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / self.scale);
        let counts = self.counts.iter().map(|it| it.load(Ordering::Relaxed));
        Distribution {
            buckets: bounds.chain([f64::INFINITY]).zip(counts).collect(),
            sum: self.sum.load(Ordering::Relaxed) as f64 / self.scale,
        }
    }
}

impl Distribution {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_up_to_their_bound() {
        let check = |micros: u64, bound: f64| {
            let histogram = Histogram::of_times();
            histogram.observe_time(Duration::from_micros(micros));
            let seen = histogram.read();
            let found = seen.buckets.iter().find(|(_, count)| *count > 0);
            assert_eq!(found, Some(&(bound, 1)), "{micros}");
            assert_eq!((seen.count(), seen.sum), (1, micros as f64 / 1e6));
        };
        check(0, 0.000_05);
        check(50, 0.000_05);
        check(51, 0.000_1);
        check(15_000_000, 15.0);
        check(15_000_001, f64::INFINITY);
    }

    #[test]
    fn bounds_rise() {
        for bounds in [TIMES, BYTES, COMMITS] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
        }
    }
}
