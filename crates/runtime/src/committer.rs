//! The group committers: a thread for each writer of the store, that gathers the commits of all lanes
//! while the previous flush is under way, and writes them in one durable write. Most stores have a
//! single one; where there are more, a write that takes long keeps up the slots of its own writer only.
//! Where an outcome is not known, heads are asked for, and those come from all writers together.
//!
//! # A commit that is alone
//! To wake a thread and to be woken by it takes about half as long as a flush of a good disk, longer where
//! processors are virtual. So a commit is written by the thread of its lane if, as far as is known, nobody
//! has to wait for that: no other request is under way in the engine, a call that streams included, no
//! other commit is, it is small, the store has nothing else to do before, and the last write took no
//! longer than [`QUICK`]. That thread may be the one that looks after all sockets and timers, so whatever
//! comes in meanwhile waits that long; a disk that begins to take longer is waited for once. The admin port
//! has a thread of its own and answers then too.
//!
//! # Fate
//! They end when every lane has dropped its [`Sender`]. What was handed over before is written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use firn_model::id::{Slot, SlotSequence};
use firn_store::{Commit, Outcome, SlotOutcome, Store};
use futures_executor::block_on;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::metrics::Commits;

/// A batch holds at most this many commits: enough for every lane's burst, few enough that the
/// first caller of a batch does not wait for thousands of others.
const BATCH_COMMITS_MAX: usize = 4096;

/// A batch holds at most about this many bytes of payload, unless a single commit is larger.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A commit of more bytes, roughly, is not written by the thread of a lane: it takes longer than others.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// A write that takes no longer is made by the thread of a lane, if nobody else needs it: ten times what
/// it takes to hand a commit over and back.
const QUICK: Duration = Duration::from_micros(500);

/// Where lanes hand their commits over, those of one turn together. Each instance has at most one
/// commit under way, or [`PIPELINED_COMMANDS_MAX`](firn_model::limit::PIPELINED_COMMANDS_MAX), so what
/// waits here is bounded by the number of active instances.
#[derive(Clone)]
pub(crate) struct Sender(Vec<Inbox>);

/// Where the commits of one writer go.
#[derive(Clone)]
struct Inbox {
    commits: mpsc::UnboundedSender<Vec<Commit>>,
    writer: Arc<Writer>,
}

impl Sender {
    /// Hands commits over, in order of sequence within each slot. The lane `is_alone` if no request but
    /// one is under way.
    pub(crate) fn send(&self, commits: Vec<Commit>, is_alone: bool) {
        if let [only] = self.0.as_slice() {
            let left = match is_alone {
                true => only.writer.write_inline(commits),
                false => Some(commits),
            };
            if let Some(commits) = left {
                only.hand_over(commits);
            }
            return;
        }
        let mut divided = vec![Vec::new(); self.0.len()];
        for commit in commits {
            divided[commit.slot.share_of(self.0.len())].push(commit);
        }
        for (inbox, commits) in self.0.iter().zip(divided) {
            if !commits.is_empty() {
                inbox.hand_over(commits);
            }
        }
    }
}

impl Inbox {
    fn hand_over(&self, commits: Vec<Commit>) {
        self.writer
            .waiting
            .fetch_add(commits.len(), Ordering::AcqRel);
        // The committers end after the lanes, so they are there.
        let _ = self.commits.send(commits);
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

/// What writes to the store: the thread of a committer, or in its place that of a lane.
struct Writer {
    store: Arc<dyn Store>,
    counts: Arc<Commits>,
    tell: Box<dyn Fn(Vec<Written>) + Send + Sync>,
    /// Commits that were handed over, and of which nothing was told yet.
    waiting: AtomicUsize,
    /// How long the last write took; held by who writes.
    last: Mutex<Duration>,
}

/// Starts the committers. `tell` is called with the outcomes of each batch, on the thread that wrote it:
/// that of its committer, or the one that sent it.
pub(crate) fn start(
    store: &Arc<dyn Store>,
    counts: &Arc<Commits>,
    tell: impl Fn(Vec<Written>) + Clone + Send + Sync + 'static,
) -> std::io::Result<(Sender, Vec<JoinHandle<()>>)> {
    let (mut inboxes, mut threads) = (Vec::new(), Vec::new());
    for _ in 0..store.writers().max(1) {
        let (commits, inbox) = mpsc::unbounded_channel();
        let mut queue = Queue {
            inbox,
            next: VecDeque::new(),
        };
        let writer = Arc::new(Writer {
            store: store.clone(),
            counts: counts.clone(),
            tell: Box::new(tell.clone()),
            waiting: AtomicUsize::new(0),
            last: Mutex::default(),
        });
        inboxes.push(Inbox {
            commits,
            writer: writer.clone(),
        });
        let thread = thread::Builder::new().name("firn-committer".to_owned());
        threads.push(thread.spawn(move || {
            while queue.wait() {
                writer.write_batch(&mut queue);
            }
        })?);
    }
    Ok((Sender(inboxes), threads))
}

impl Writer {
    /// Writes what waits, as much as a batch holds.
    fn write_batch(&self, queue: &mut Queue) {
        // Should a lane have written in vain and panicked, this one finds out itself.
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = queue.gather();
        let count = batch.commits.len();
        self.write(last, batch, |outcomes| Some(block_on(outcomes)));
        self.waiting.fetch_sub(count, Ordering::AcqRel);
    }

    /// Writes a single commit on this thread; gives back what it does not write, because others wait, or
    /// would have to.
    fn write_inline(&self, commits: Vec<Commit>) -> Option<Vec<Commit>> {
        let bytes = commits.iter().map(Commit::size).sum();
        let is_small = commits.len() == 1 && bytes <= INLINE_BYTES_MAX;
        let is_idle = || self.waiting.load(Ordering::Acquire) == 0;
        if !is_small || !is_idle() || !self.store.commits_inline() {
            return Some(commits);
        }
        match self.last.try_lock() {
            Ok(last) if *last <= QUICK => {
                // If it does not come to an end, the store has failed, and Firn ends.
                self.write(last, Batch { commits, bytes }, |outcomes| {
                    outcomes.now_or_never()
                });
                None
            }
            _ => Some(commits),
        }
    }

    /// Writes a batch, counts it, and tells what became of it.
    fn write<'a>(
        &'a self,
        mut last: MutexGuard<'_, Duration>,
        Batch { commits, bytes }: Batch,
        wait: impl FnOnce(BoxFuture<'a, Vec<SlotOutcome>>) -> Option<Vec<SlotOutcome>>,
    ) {
        let counts = &self.counts;
        counts.batch_commits.observe(commits.len() as u64);
        counts.batch_bytes.observe(bytes as u64);
        // The last commit of each slot, and how many it has.
        let mut slots: FxHashMap<Slot, (SlotSequence, u64)> = FxHashMap::default();
        for commit in &commits {
            let slot = slots.entry(commit.slot).or_default();
            *slot = (commit.sequence, slot.1 + 1);
        }
        let began = Instant::now();
        let Some(outcomes) = wait(self.store.commit(commits)) else {
            return;
        };
        *last = began.elapsed();
        counts.times.observe_time(*last);
        let written = |SlotOutcome { slot, outcome }| {
            let (last, commits) = *slots.get(&slot)?;
            counts.told(commits, &outcome);
            Some(Written {
                slot,
                last,
                outcome,
            })
        };
        (self.tell)(outcomes.into_iter().filter_map(written).collect());
    }
}

/// Commits that wait for a batch.
struct Queue {
    inbox: mpsc::UnboundedReceiver<Vec<Commit>>,
    /// Taken out of the inbox, and too many for the last batch.
    next: VecDeque<Commit>,
}

impl Queue {
    /// Waits until there is a commit; `false` at the end.
    fn wait(&mut self) -> bool {
        while self.next.is_empty() {
            let Some(commits) = self.inbox.blocking_recv() else {
                return false;
            };
            self.next.extend(commits);
        }
        true
    }

    /// Takes what is there within the bounds.
    fn gather(&mut self) -> Batch {
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
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::ThreadId;

    use firn_model::id::{EntityKey, Epoch, StorageName};
    use firn_model::payload::Payload;
    use firn_store::memory::Memory;
    use firn_store::{Change, Timestamp};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A committer on a store in memory, and what it told, with the thread that did.
    struct Running {
        sender: Sender,
        told: mpsc::Receiver<(Slot, ThreadId)>,
        threads: Vec<JoinHandle<()>>,
    }

    impl Running {
        /// `meanwhile` is called before anything is told.
        fn start(meanwhile: impl Fn() + Clone + Send + Sync + 'static) -> Self {
            let (sent, told) = mpsc::channel();
            let store: Arc<dyn Store> = Arc::new(Memory::new());
            let (sender, threads) = start(&store, &Arc::new(Commits::new()), move |written| {
                meanwhile();
                for it in written {
                    assert_eq!(it.outcome, Outcome::Landed);
                    sent.send((it.slot, thread::current().id()))
                        .expect("the test");
                }
            })
            .expect("threads");
            Self {
                sender,
                told,
                threads,
            }
        }

        /// The slot of the next outcome, and whether this thread wrote it.
        fn next(&self) -> (u16, bool) {
            let (slot, thread) = self.told.recv_timeout(PATIENCE).expect("an outcome");
            (slot.number(), thread == thread::current().id())
        }

        /// The next two, in order of slots.
        fn two(&self) -> [(u16, bool); 2] {
            let mut both = [self.next(), self.next()];
            both.sort_unstable();
            both
        }

        fn end(self) {
            drop(self.sender);
            for thread in self.threads {
                thread.join().expect("no panic");
            }
            assert!(self.told.recv().is_err(), "all was told");
        }
    }

    /// The first commit of a slot.
    fn first(slot: u16) -> Commit {
        let slot = Slot::new(slot).expect("one of them");
        Commit::empty(slot, Epoch::default(), SlotSequence(1), Timestamp(0))
    }

    #[test]
    fn one_commit_that_is_alone_is_written_by_who_sends_it() {
        let running = Running::start(|| {});
        running.sender.send(vec![first(1)], true);
        assert_eq!(running.next(), (1, true));
        running.sender.send(vec![first(2)], false);
        assert_eq!(running.next(), (2, false));
        running.sender.send(vec![first(3), first(4)], true);
        assert_eq!(running.two(), [(3, false), (4, false)]);
        running.end();
    }

    #[test]
    fn large_commit_is_not_written_by_who_sends_it() {
        let running = Running::start(|| {});
        let key = EntityKey::new(StorageName::new("t.Cart"), "a");
        let slot = key.slot().number();
        let state = |commit: &Commit, length| Commit {
            key: Some(key.clone()),
            change: Some(Change::Set(Payload::new("t/T", vec![0; length]))),
            ..commit.clone()
        };
        let length = INLINE_BYTES_MAX - state(&first(slot), 0).size();
        running.sender.send(vec![state(&first(slot), length)], true);
        assert_eq!(running.next(), (slot, true));
        let second = Commit {
            sequence: SlotSequence(2),
            ..first(slot)
        };
        running.sender.send(vec![state(&second, length + 1)], true);
        assert_eq!(running.next(), (slot, false));
        running.end();
    }

    #[test]
    fn commit_does_not_overtake_one_that_waits() {
        let (go, gate) = mpsc::channel();
        let gate = Arc::new(Mutex::new(gate));
        let running = Running::start(move || {
            let gate = gate.lock().expect("whole");
            gate.recv_timeout(PATIENCE).expect("a word");
        });
        running.sender.send(vec![first(1)], false);
        running.sender.send(vec![first(2)], true);
        // For two batches, or one.
        go.send(()).expect("it waits");
        go.send(()).expect("it waits");
        assert_eq!(running.two(), [(1, false), (2, false)]);
        running.end();
    }

    #[test]
    fn lane_waits_once_for_a_disk_that_takes_long() {
        let running = Running::start(|| {});
        let took = |time: Duration| *running.sender.0[0].writer.last.lock().expect("whole") = time;
        took(QUICK);
        running.sender.send(vec![first(1)], true);
        assert_eq!(running.next(), (1, true));
        took(QUICK + Duration::from_nanos(1));
        running.sender.send(vec![first(2)], true);
        assert_eq!(running.next(), (2, false));
        running.end();
    }
}
