//! The group committer: one thread that gathers the commits of all lanes while the previous flush
//! is under way, and writes them in one durable write.
//!
//! # Fate
//! It ends when every lane has dropped its [`Sender`]. What was handed over before is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use firn_model::id::{Slot, SlotSequence};
use firn_store::{Commit, Outcome, SlotOutcome, Store};
use futures_executor::block_on;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::metrics::Commits;

/// A batch holds at most this many commits: enough for every lane's burst, few enough that the
/// first caller of a batch does not wait for thousands of others.
const BATCH_COMMITS_MAX: usize = 4096;

/// A batch holds at most about this many bytes of payload, unless a single commit is larger.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Where lanes hand their commits over. Each instance has at most one commit under way, or
/// [`PIPELINED_COMMANDS_MAX`](firn_model::limit::PIPELINED_COMMANDS_MAX), so what waits here is bounded
/// by the number of active instances.
pub(crate) type Sender = mpsc::UnboundedSender<Box<Commit>>;

/// What became of the commits of one slot up to a sequence.
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

/// Starts the committer. `tell` is called with every outcome, on the committer's thread.
pub(crate) fn start(
    store: Arc<dyn Store>,
    counts: Arc<Commits>,
    tell: impl Fn(Written) + Send + 'static,
) -> std::io::Result<(Sender, JoinHandle<()>)> {
    let (sender, mut inbox) = mpsc::unbounded_channel();
    let thread = thread::Builder::new()
        .name("firn-committer".to_owned())
        .spawn(move || {
            while let Some(Batch { commits, bytes }) = gather(&mut inbox) {
                counts.batch_commits.observe(commits.len() as u64);
                counts.batch_bytes.observe(bytes as u64);
                // The last commit of each slot, and how many it has.
                let mut slots: HashMap<Slot, (SlotSequence, u64)> =
                    HashMap::with_capacity(commits.len());
                for commit in &commits {
                    let slot = slots.entry(commit.slot).or_default();
                    *slot = (commit.sequence, slot.1 + 1);
                }
                let began = Instant::now();
                let outcomes = block_on(store.commit(commits));
                counts.times.observe_time(began.elapsed());
                for SlotOutcome { slot, outcome } in outcomes {
                    if let Some((last, commits)) = slots.get(&slot).copied() {
                        counts.told(commits, &outcome);
                        tell(Written {
                            slot,
                            last,
                            outcome,
                        });
                    }
                }
            }
        })?;
    Ok((sender, thread))
}

/// Waits for one commit, then takes what else is there within the bounds; `None` at the end.
fn gather(inbox: &mut mpsc::UnboundedReceiver<Box<Commit>>) -> Option<Batch> {
    let first = inbox.blocking_recv()?;
    let mut bytes = first.size();
    let mut commits = vec![*first];
    while commits.len() < BATCH_COMMITS_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(next) = inbox.try_recv() else { break };
        bytes += next.size();
        commits.push(*next);
    }
    Some(Batch { commits, bytes })
}
