//! The group committers: a thread for each writer of the store, that gathers the commits of all lanes
//! while the previous flush is under way, and writes them in one durable write. Most stores have a
//! single one; where there are more, a write that takes long keeps up the slots of its own writer only.
//! Where an outcome is not known, heads are asked for, and those come from all writers together.
//!
//! # Fate
//! They end when every lane has dropped its [`Sender`]. What was handed over before is written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use firn_model::id::{Slot, SlotSequence};
use firn_store::{Commit, Outcome, SlotOutcome, Store};
use futures_executor::block_on;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::metrics::Commits;

/// A batch holds at most this many commits: enough for every lane's burst, few enough that the
/// first caller of a batch does not wait for thousands of others.
const BATCH_COMMITS_MAX: usize = 4096;

/// A batch holds at most about this many bytes of payload, unless a single commit is larger.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Where lanes hand their commits over, those of one turn together. Each instance has at most one
/// commit under way, or [`PIPELINED_COMMANDS_MAX`](firn_model::limit::PIPELINED_COMMANDS_MAX), so what
/// waits here is bounded by the number of active instances.
#[derive(Clone)]
pub(crate) struct Sender(Vec<mpsc::UnboundedSender<Vec<Commit>>>);

impl Sender {
    /// Hands commits over, in order of sequence within each slot.
    pub(crate) fn send(&self, commits: Vec<Commit>) {
        // The committers end after the lanes, so they are there.
        if let [only] = self.0.as_slice() {
            let _ = only.send(commits);
            return;
        }
        let mut divided = vec![Vec::new(); self.0.len()];
        for commit in commits {
            divided[commit.slot.share_of(self.0.len())].push(commit);
        }
        for (committer, commits) in self.0.iter().zip(divided) {
            if !commits.is_empty() {
                let _ = committer.send(commits);
            }
        }
    }
}

/// What became of the commits of one slot up to a sequence.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) slot: Slot,
    pub(crate) last: SlotSequence,
    pub(crate) outcome: Outcome,
}

/// A batch, and what it comes to.
struct Batch {
    commits: Vec<Commit>,
    /// Of payload, roughly.
    bytes: usize,
}

/// Starts the committers. `tell` is called with the outcomes of each batch, on the thread of its
/// committer.
pub(crate) fn start(
    store: &Arc<dyn Store>,
    counts: &Arc<Commits>,
    tell: impl Fn(Vec<Written>) + Clone + Send + 'static,
) -> std::io::Result<(Sender, Vec<JoinHandle<()>>)> {
    let (mut senders, mut threads) = (Vec::new(), Vec::new());
    for _ in 0..store.writers().max(1) {
        let (sender, inbox) = mpsc::unbounded_channel();
        let mut queue = Queue {
            inbox,
            next: VecDeque::new(),
        };
        let (store, counts, tell) = (store.clone(), counts.clone(), tell.clone());
        let thread = thread::Builder::new().name("firn-committer".to_owned());
        threads.push(thread.spawn(move || {
            while let Some(batch) = queue.gather() {
                tell(write(&*store, &counts, batch));
            }
        })?);
        senders.push(sender);
    }
    Ok((Sender(senders), threads))
}

/// Writes a batch, and counts it.
fn write(store: &dyn Store, counts: &Commits, Batch { commits, bytes }: Batch) -> Vec<Written> {
    counts.batch_commits.observe(commits.len() as u64);
    counts.batch_bytes.observe(bytes as u64);
    // The last commit of each slot, and how many it has.
    let mut slots: FxHashMap<Slot, (SlotSequence, u64)> = FxHashMap::default();
    for commit in &commits {
        let slot = slots.entry(commit.slot).or_default();
        *slot = (commit.sequence, slot.1 + 1);
    }
    let began = Instant::now();
    let outcomes = block_on(store.commit(commits));
    counts.times.observe_time(began.elapsed());
    let written = |SlotOutcome { slot, outcome }| {
        let (last, commits) = *slots.get(&slot)?;
        counts.told(commits, &outcome);
        Some(Written {
            slot,
            last,
            outcome,
        })
    };
    outcomes.into_iter().filter_map(written).collect()
}

/// Commits that wait for a batch.
struct Queue {
    inbox: mpsc::UnboundedReceiver<Vec<Commit>>,
    /// Taken out of the inbox, and too many for the last batch.
    next: VecDeque<Commit>,
}

impl Queue {
    /// Waits for a commit, then takes what else is there within the bounds; `None` at the end.
    fn gather(&mut self) -> Option<Batch> {
        if self.next.is_empty() {
            self.next.extend(self.inbox.blocking_recv()?);
        }
        let mut batch = Batch {
            commits: Vec::new(),
            bytes: 0,
        };
        while batch.commits.len() < BATCH_COMMITS_MAX && batch.bytes < BATCH_BYTES_MAX {
            if let Some(commit) = self.next.pop_front() {
                batch.bytes += commit.size();
                batch.commits.push(commit);
            } else if let Ok(more) = self.inbox.try_recv() {
                self.next.extend(more);
            } else {
                break;
            }
        }
        Some(batch)
    }
}
