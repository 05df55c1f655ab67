//! What the engine is doing, for whoever wants to know, at any time.

use std::sync::Arc;

use firn_store::Outcome;
use firn_store::metrics::{Counter, Distribution, Histogram};

use crate::streams::Streams;

/// Tells what an engine is doing; keeps nothing of it alive that works.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) commits: Arc<Commits>,
    pub(crate) streams: Arc<Streams>,
}

/// What became of commits, and how they went to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitMetrics {
    /// How many commits a batch had.
    pub batch_commits: Distribution,
    /// How many bytes of payload a batch had, roughly.
    pub batch_bytes: Distribution,
    /// How long the store took for a batch.
    pub times: Distribution,
    /// Commits that are durable.
    pub landed: u64,
    /// Commits that the fence refused.
    pub refused: u64,
    /// Commits that the store did not write.
    pub not_written: u64,
    /// Commits of which the store could not tell the outcome.
    pub unknown: u64,
}

/// The entities that are in memory, or want to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityMetrics {
    /// How many are open.
    pub open: usize,
    /// How many may be open.
    pub max: usize,
    /// How many wait for others to end.
    pub waiting: usize,
}

impl Metrics {
    /// What became of commits.
    pub fn commits(&self) -> CommitMetrics {
        let Commits {
            batch_commits,
            batch_bytes,
            times,
            landed,
            refused,
            not_written,
            unknown,
        } = &*self.commits;
        CommitMetrics {
            batch_commits: batch_commits.read(),
            batch_bytes: batch_bytes.read(),
            times: times.read(),
            landed: landed.get(),
            refused: refused.get(),
            not_written: not_written.get(),
            unknown: unknown.get(),
        }
    }

    /// The entities that are in memory.
    pub fn entities(&self) -> EntityMetrics {
        self.streams.count()
    }
}

/// What the committer counts.
pub(crate) struct Commits {
    pub(crate) batch_commits: Histogram,
    pub(crate) batch_bytes: Histogram,
    pub(crate) times: Histogram,
    landed: Counter,
    refused: Counter,
    not_written: Counter,
    unknown: Counter,
}

impl Commits {
    pub(crate) fn new() -> Self {
        Self {
            batch_commits: Histogram::of_commits(),
            batch_bytes: Histogram::of_bytes(),
            times: Histogram::of_times(),
            landed: Counter::default(),
            refused: Counter::default(),
            not_written: Counter::default(),
            unknown: Counter::default(),
        }
    }

    /// Counts commits of one slot with what became of them.
    pub(crate) fn told(&self, commits: u64, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Landed => &self.landed,
            Outcome::Refused { .. } => &self.refused,
            Outcome::NotWritten { .. } => &self.not_written,
            Outcome::Unknown { .. } => &self.unknown,
        };
        counter.add(commits);
    }
}
