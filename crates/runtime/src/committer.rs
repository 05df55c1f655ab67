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
use std::time::Duration;

use firn_model::id::{Slot, SlotSequence};
use firn_store::{Commit, Outcome, SlotOutcome, Store};
use futures_executor::block_on;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::time::Instant;

use crate::metrics::Commits;
use crate::vigil::{Stay, Vigil};

/// A batch holds at most this many commits: enough for every lane's burst, few enough that the
/// first caller of a batch does not wait for thousands of others.
const BATCH_COMMITS_MAX: usize = 4096;

/// A batch holds at most about this many bytes of payload, unless a single commit is larger.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Where lanes hand their commits over, those of one turn together. Each instance has at most one
/// commit under way, or [`PIPELINED_COMMANDS_MAX`](firn_model::limit::PIPELINED_COMMANDS_MAX), so what
/// waits here is bounded by the number of active instances.
#[derive(Clone)]
pub(crate) struct Sender(Vec<Inbox>);

/// Where lanes hand commits over to one committer.
#[derive(Clone)]
struct Inbox {
    commits: mpsc::UnboundedSender<Vec<Commit>>,
    vigil: Vigil,
}

impl Sender {
    /// Hands commits over, in order of sequence within each slot; gives for how long to stay awake for
    /// what becomes of them, if that comes soon.
    pub(crate) fn send(&self, commits: Vec<Commit>) -> Option<Stay> {
        if let [only] = self.0.as_slice() {
            return only.send(commits);
        }
        let mut divided = vec![Vec::new(); self.0.len()];
        for commit in commits {
            divided[commit.slot.share_of(self.0.len())].push(commit);
        }
        let divided = self.0.iter().zip(divided);
        let sent = divided.filter(|(_, commits)| !commits.is_empty());
        // Each gets its own; with one commit that is one of them.
        sent.fold(None, |stay, (to, commits)| to.send(commits).or(stay))
    }
}

impl Inbox {
    fn send(&self, commits: Vec<Commit>) -> Option<Stay> {
        let stay = self.vigil.stay().filter(|_| commits.len() == 1);
        // The committers end after the lanes, so they are there.
        let _ = self.commits.send(commits);
        stay
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
    /// How long the first of them was waited for.
    waited: Duration,
}

/// Starts the committers of a process with so many processors. `tell` is called with the outcomes of
/// each batch, on the thread of its committer.
pub(crate) fn start(
    store: &Arc<dyn Store>,
    counts: &Arc<Commits>,
    processors: usize,
    tell: impl Fn(Vec<Written>) + Clone + Send + 'static,
) -> std::io::Result<(Sender, Vec<JoinHandle<()>>)> {
    let (mut senders, mut threads) = (Vec::new(), Vec::new());
    for _ in 0..store.writers().max(1) {
        let (sender, inbox) = mpsc::unbounded_channel();
        let vigil = Vigil::new(processors);
        senders.push(Inbox {
            commits: sender,
            vigil: vigil.clone(),
        });
        let mut queue = Queue {
            inbox,
            next: VecDeque::new(),
            vigil,
        };
        let (store, counts, tell) = (store.clone(), counts.clone(), tell.clone());
        let thread = thread::Builder::new().name("firn-committer".to_owned());
        threads.push(thread.spawn(move || {
            while let Some(batch) = queue.gather() {
                let (commits, waited) = (batch.commits.len(), batch.waited);
                let (written, took) = write(&*store, &counts, batch);
                queue.vigil.learn(commits, waited, took);
                tell(written);
            }
        })?);
    }
    Ok((Sender(senders), threads))
}

/// Writes a batch, and counts it; gives what became of it, and how long that took.
fn write(store: &dyn Store, counts: &Commits, batch: Batch) -> (Vec<Written>, Duration) {
    let commits = batch.commits;
    counts.batch_commits.observe(commits.len() as u64);
    counts.batch_bytes.observe(batch.bytes as u64);
    // The last commit of each slot, and how many it has.
    let mut slots: FxHashMap<Slot, (SlotSequence, u64)> = FxHashMap::default();
    for commit in &commits {
        let slot = slots.entry(commit.slot).or_default();
        *slot = (commit.sequence, slot.1 + 1);
    }
    let began = Instant::now();
    let outcomes = block_on(store.commit(commits));
    let took = began.elapsed();
    counts.times.observe_time(took);
    let written = |SlotOutcome { slot, outcome }| {
        let (last, commits) = *slots.get(&slot)?;
        counts.told(commits, &outcome);
        Some(Written {
            slot,
            last,
            outcome,
        })
    };
    (outcomes.into_iter().filter_map(written).collect(), took)
}

/// Commits that wait for a batch.
struct Queue {
    inbox: mpsc::UnboundedReceiver<Vec<Commit>>,
    /// Taken out of the inbox, and too many for the last batch.
    next: VecDeque<Commit>,
    vigil: Vigil,
}

impl Queue {
    /// The commits that come while this stays awake for them.
    fn recv_awake(&mut self) -> Option<Vec<Commit>> {
        let stay = self.vigil.stay()?;
        loop {
            match self.inbox.try_recv() {
                Ok(commits) => return Some(commits),
                Err(TryRecvError::Empty) if stay.goes_on() => {}
                Err(_) => break,
            }
        }
        self.vigil.end();
        None
    }

    /// Waits for a commit, then takes what else is there within the bounds; `None` at the end.
    fn gather(&mut self) -> Option<Batch> {
        let began = Instant::now();
        if self.next.is_empty() {
            let commits = self.recv_awake().or_else(|| self.inbox.blocking_recv())?;
            self.next.extend(commits);
        }
        let mut batch = Batch {
            commits: Vec::new(),
            bytes: 0,
            waited: began.elapsed(),
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

#[cfg(test)]
mod tests {
    use firn_model::id::Epoch;
    use firn_store::Timestamp;
    use firn_store::memory::Memory;

    use super::*;
    use crate::vigil::SOON;

    fn commit(slot: Slot) -> Commit {
        let (epoch, at) = (Epoch::default(), Timestamp::default());
        Commit::empty(slot, epoch, SlotSequence::default(), at)
    }

    /// A committer that keeps its vigil, or does not.
    fn one(is_kept: bool) -> (Inbox, Queue) {
        let (sender, inbox) = mpsc::unbounded_channel();
        let vigil = Vigil::new(2);
        vigil.learn(usize::from(is_kept), Duration::ZERO, SOON);
        let handed = Inbox {
            commits: sender,
            vigil: vigil.clone(),
        };
        let queue = Queue {
            inbox,
            next: VecDeque::new(),
            vigil,
        };
        (handed, queue)
    }

    #[test]
    fn the_outcome_of_a_single_commit_is_waited_for_awake() {
        let of_share = |share| Slot::all().find(|slot| slot.share_of(3) == share).unwrap();
        let check = |kept: &[bool], shares: &[usize], expected: bool| {
            let (inboxes, _queues): (Vec<_>, Vec<_>) = kept.iter().copied().map(one).unzip();
            let commits = shares.iter().map(|share| commit(of_share(*share)));
            let stays = Sender(inboxes).send(commits.collect());
            assert_eq!(stays.is_some(), expected, "{kept:?} {shares:?}");
        };
        check(&[true], &[0], true);
        check(&[true], &[0, 0], false);
        check(&[false], &[0], false);
        check(&[true, false, false], &[0], true);
        check(&[true, false, false], &[1], false);
        check(&[true, true, true], &[2, 2], false);
    }

    #[test]
    fn a_commit_that_comes_soon_is_waited_for_awake() {
        let slot = Slot::all().next().unwrap();
        let comes = |is_kept| {
            let (inbox, mut queue) = one(is_kept);
            inbox.send(vec![commit(slot)]);
            queue.recv_awake().map(|commits| commits.len())
        };
        assert_eq!(comes(true), Some(1));
        assert_eq!(comes(false), None, "it sleeps until one comes");
    }

    #[test]
    fn commits_that_come_alone_and_soon_keep_the_vigil() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let (told, outcomes) = std::sync::mpsc::channel();
        let tell = move |written| told.send(written).unwrap();
        let (sender, threads) = start(&store, &Arc::new(Commits::new()), 2, tell).unwrap();
        let mut next = commit(Slot::all().next().unwrap());
        // On a machine that does other work some are late.
        let is_kept = (0..10_000).any(|_| {
            next.sequence = next.sequence.next();
            let stays = sender.send(vec![next.clone()]).is_some();
            let written = outcomes.recv().unwrap();
            assert!(matches!(
                written[..],
                [Written {
                    outcome: Outcome::Landed,
                    ..
                }]
            ));
            stays
        });
        assert!(is_kept);
        drop(sender);
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_vigil_in_which_nothing_comes_ends() {
        let (inbox, mut queue) = one(true);
        assert!(queue.recv_awake().is_none());
        assert!(queue.vigil.stay().is_none());
        let slot = Slot::all().next().unwrap();
        assert!(inbox.send(vec![commit(slot)]).is_none());
        assert_eq!(queue.gather().unwrap().commits.len(), 1);
    }

    #[test]
    fn a_committer_ends_with_the_lanes_also_while_it_is_awake() {
        for is_kept in [true, false] {
            let (inbox, mut queue) = one(is_kept);
            drop(inbox);
            assert!(queue.gather().is_none());
        }
    }
}
