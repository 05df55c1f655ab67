//! The backlog: batches that are durable in the log and not yet in the rows.
//!
//! The committer puts batches in, the applier takes them out. Readers wait at [`Backlog::reach`]
//! until the rows show what was acknowledged.
//!
//! The applier is not woken for every batch: batches linger until there are enough of them, or the
//! first has waited for [`LINGER`], or a reader wants what is in them. Rows that many commits write
//! (the head of a slot, a busy entity) are then written once for all of them.
//!
//! # Invariants
//! - Never more than [`BATCHES_MAX`] batches or, unless it is a single one, [`BYTES_MAX`] bytes;
//!   when full, the committer waits, and with it everybody who commits.
//! - After [`Backlog::fail`] nobody waits any more.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::write::Write;

/// How many batches may wait: enough to carry commits over a pause of the rows of some hundred
/// milliseconds.
pub(crate) const BATCHES_MAX: usize = 1024;

/// How many bytes of log the waiting batches may have: a second of small commits at full speed, and
/// no more than what a read may have to wait for.
pub(crate) const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How long batches wait for others to be applied with them, unless somebody reads: a busy store
/// writes each of a few hundred rows once instead of many times, and memory holds little more.
pub(crate) const LINGER: Duration = Duration::from_millis(25);

/// How many bytes of log do not wait any longer.
pub(crate) const LINGER_BYTES: u64 = 256 * 1024;

/// How many bytes of log are applied at once: half a millisecond of small commits, after which a
/// reader may go on, and others that wait for the processor get it.
const TAKE_BYTES_MAX: u64 = 16 * 1024;

/// Writes that are durable.
pub(crate) struct Batch {
    /// The writes, in order.
    pub(crate) writes: Vec<Write>,
    /// The number of the last one's record.
    pub(crate) last: u64,
    /// How many bytes of log they have.
    pub(crate) bytes: u64,
}

/// What the applier is to do next.
pub(crate) enum Work {
    /// Apply these.
    Apply(Vec<Batch>),
    /// Nothing came for the time that was asked for.
    Idle,
    /// Everything is applied and nothing will come any more.
    Close,
    /// The store has failed.
    Stop,
}

/// The applier has failed; the rows will not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

/// Batches between committer and applier.
pub(crate) struct Backlog {
    state: Mutex<State>,
    /// There is work, or the end.
    filled: Condvar,
    /// There is room, the rows went on, or the end.
    applied: Condvar,
}

struct State {
    batches: VecDeque<Batch>,
    bytes: u64,
    /// When the first of them came.
    since: Option<Instant>,
    /// The number that the rows have reached.
    reached: u64,
    /// The highest number that a reader waits for, or has waited for.
    wanted: u64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Closed,
    Failed,
}

impl Backlog {
    /// An empty backlog over rows that have reached this number.
    pub(crate) fn new(reached: u64) -> Self {
        Self {
            state: Mutex::new(State {
                batches: VecDeque::new(),
                bytes: 0,
                since: None,
                reached,
                wanted: 0,
                phase: Phase::Open,
            }),
            filled: Condvar::new(),
            applied: Condvar::new(),
        }
    }

    /// Adds a batch; waits for room.
    pub(crate) fn push(&self, batch: Batch) -> Result<(), Failed> {
        let mut state = self.lock();
        while state.phase != Phase::Failed && state.is_full() {
            state = self.wait(state);
        }
        if state.phase == Phase::Failed {
            return Err(Failed);
        }
        let was_ready = state.is_ready();
        state.bytes += batch.bytes;
        state.batches.push_back(batch);
        let is_first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        let wakes = is_first || (state.is_ready() && !was_ready);
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes some batches, in order, when they need not linger any more; waits for them as long as
    /// `idle` at most.
    pub(crate) fn take(&self, idle: Duration) -> Work {
        let asked = Instant::now();
        let mut state = self.lock();
        while state.phase == Phase::Open && !state.is_ready() {
            // A backlog whose first batch came a while ago is due, however long it was not looked at.
            let left = match state.since {
                Some(since) => LINGER.saturating_sub(since.elapsed()),
                None => idle.saturating_sub(asked.elapsed()),
            };
            if left.is_zero() {
                break;
            }
            let waited = self.filled.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let batches = state.take();
        match state.phase {
            _ if !batches.is_empty() => Work::Apply(batches),
            Phase::Open => Work::Idle,
            Phase::Closed => Work::Close,
            Phase::Failed => Work::Stop,
        }
    }

    /// Tells that the rows have reached a number.
    pub(crate) fn advance(&self, reached: u64) {
        self.lock().reached = reached;
        self.applied.notify_all();
    }

    /// The number that the rows have reached.
    pub(crate) fn reached(&self) -> u64 {
        self.lock().reached
    }

    /// How many writes wait to be applied, and how many bytes of log they have.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        let state = self.lock();
        let writes = state.batches.iter().map(|batch| batch.writes.len() as u64);
        (writes.sum(), state.bytes)
    }

    /// Waits until the rows have reached a number.
    pub(crate) fn reach(&self, number: u64) -> Result<(), Failed> {
        let mut state = self.lock();
        if state.reached < number && state.wanted < number {
            state.wanted = number;
            self.filled.notify_one();
        }
        while state.reached < number && state.phase != Phase::Failed {
            state = self.wait(state);
        }
        if state.reached < number {
            return Err(Failed);
        }
        Ok(())
    }

    /// No batch will come any more.
    pub(crate) fn close(&self) {
        self.end(Phase::Closed);
    }

    /// The rows will not go on.
    pub(crate) fn fail(&self) {
        self.end(Phase::Failed);
    }

    fn end(&self, phase: Phase) {
        let mut state = self.lock();
        if state.phase != Phase::Failed {
            state.phase = phase;
        }
        drop(state);
        self.filled.notify_all();
        self.applied.notify_all();
    }

    /// A panic while the lock is held leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.applied
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self) -> bool {
        !self.batches.is_empty() && (self.batches.len() >= BATCHES_MAX || self.bytes >= BYTES_MAX)
    }

    /// Whether batches need not linger.
    fn is_ready(&self) -> bool {
        !self.batches.is_empty()
            && (self.wanted > self.reached
                || self.bytes >= LINGER_BYTES
                || self.batches.len() >= BATCHES_MAX / 2)
    }

    fn take(&mut self) -> Vec<Batch> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < TAKE_BYTES_MAX
            && let Some(batch) = self.batches.pop_front()
        {
            bytes += batch.bytes;
            taken.push(batch);
        }
        self.bytes -= bytes;
        self.since = self.since.filter(|_| !self.batches.is_empty());
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn batch(last: u64, bytes: u64) -> Batch {
        Batch {
            writes: Vec::new(),
            last,
            bytes,
        }
    }

    fn lasts(work: Work) -> Vec<u64> {
        match work {
            Work::Apply(batches) => batches.iter().map(|batch| batch.last).collect(),
            Work::Idle | Work::Close | Work::Stop => Vec::new(),
        }
    }

    #[test]
    fn a_full_backlog_makes_the_committer_wait() {
        for bytes in [1, BYTES_MAX] {
            let backlog = Backlog::new(0);
            let count = if bytes == 1 { BATCHES_MAX as u64 } else { 1 };
            for last in 1..=count {
                backlog.push(batch(last, bytes)).unwrap();
            }
            assert!(backlog.lock().is_full());
            thread::scope(|scope| {
                scope.spawn(|| backlog.push(batch(count + 1, bytes)).unwrap());
                let mut taken = Vec::new();
                while taken.last() != Some(&(count + 1)) {
                    taken.extend(lasts(backlog.take(Duration::MAX)));
                    backlog.advance(*taken.last().unwrap());
                }
                assert!(taken.is_sorted(), "in order");
                assert_eq!(taken.len() as u64, count + 1);
            });
        }
    }

    #[test]
    fn batches_linger_until_they_are_many_or_somebody_reads() {
        let check = |what: &str, prepare: &dyn Fn(&Backlog), expected: bool| {
            let backlog = Backlog::new(0);
            prepare(&backlog);
            assert_eq!(backlog.lock().is_ready(), expected, "{what}");
        };
        let push = |backlog: &Backlog, bytes| backlog.push(batch(1, bytes)).unwrap();
        check("none", &|_| {}, false);
        check("one", &|backlog| push(backlog, 1), false);
        check("many bytes", &|it| push(it, LINGER_BYTES), true);
        let many = |backlog: &Backlog| (0..BATCHES_MAX / 2).for_each(|_| push(backlog, 1));
        check("many batches", &many, true);
        let applied = |backlog: &Backlog| {
            push(backlog, LINGER_BYTES);
            backlog.take(Duration::ZERO);
            push(backlog, 1);
        };
        check("one after many that were taken", &applied, false);
    }

    #[test]
    fn a_reader_does_not_wait_for_others() {
        let backlog = Backlog::new(0);
        backlog.push(batch(1, 1)).unwrap();
        thread::scope(|scope| {
            let reading = scope.spawn(|| backlog.reach(1));
            while !backlog.lock().is_ready() {
                thread::yield_now();
            }
            assert_eq!(lasts(backlog.take(Duration::MAX)), [1]);
            backlog.advance(1);
            assert_eq!(reading.join().unwrap(), Ok(()));
        });
        // What it wanted is there, so the next one waits again.
        backlog.push(batch(2, 1)).unwrap();
        assert!(!backlog.lock().is_ready());
    }

    #[test]
    fn what_lingered_is_applied() {
        let backlog = Backlog::new(0);
        backlog.push(batch(1, 1)).unwrap();
        assert_eq!(lasts(backlog.take(Duration::MAX)), [1]);
    }

    #[test]
    fn nobody_waits_for_rows_that_have_failed() {
        let backlog = Backlog::new(3);
        assert_eq!(backlog.reach(3), Ok(()));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| backlog.reach(4));
            backlog.fail();
            assert_eq!(waiting.join().unwrap(), Err(Failed));
        });
        assert_eq!(backlog.push(batch(4, 1)), Err(Failed));
        assert!(matches!(backlog.take(Duration::MAX), Work::Stop));
        assert_eq!(backlog.reach(3), Ok(()));
    }

    #[test]
    fn a_closed_backlog_is_emptied_first() {
        let backlog = Backlog::new(0);
        assert!(matches!(backlog.take(Duration::ZERO), Work::Idle));
        backlog.push(batch(1, 1)).unwrap();
        backlog.close();
        assert_eq!(lasts(backlog.take(Duration::MAX)), [1]);
        assert!(matches!(backlog.take(Duration::MAX), Work::Close));
    }
}
