//! Readers: a few threads that read rows, so that no thread of an async runtime waits for a disk.
//!
//! A read waits in a queue of at most [`QUEUE_MAX`]; more wait outside, as futures, until there is
//! room: when the queue is half empty, as many are woken as fill it, those first that have waited
//! longest. Who drops the future takes the read back, or its answer goes nowhere. So some that are
//! woken may not come, and when the queue is empty nobody is left to wait.
//!
//! Of the threads that have nothing to do the one that read last is woken: what it needs is still in
//! the cache of its processor, and few reads keep one thread awake instead of all of them half asleep.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{JoinHandle, Thread};
use std::{io, thread};

use futures_channel::oneshot;

/// How many reads may wait for a thread: some milliseconds of work, and little memory.
const QUEUE_MAX: usize = 1024;

/// How many are left in the queue when others are called in: enough to do until they come.
const REFILL_AT: usize = QUEUE_MAX / 2;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that read.
pub(crate) struct Readers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// The threads are gone, or the read panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

struct Queue {
    state: Mutex<State>,
}

struct State {
    jobs: VecDeque<Job>,
    /// The threads that are to be woken for a job, the one that read last at the end.
    idle: Vec<Thread>,
    /// Who waits for room, in order.
    waiting: VecDeque<Waker>,
    is_closed: bool,
}

impl Readers {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue::new());
        let mut readers = Self {
            queue,
            threads: Vec::new(),
        };
        for _ in 0..count.max(1) {
            let queue = readers.queue.clone();
            let thread = thread::Builder::new().name("firn-store-read".into());
            readers.threads.push(thread.spawn(move || queue.work())?);
        }
        Ok(readers)
    }

    /// Runs `read` on one of the threads.
    ///
    /// # Cancel safety
    /// Dropping the future before it is in the queue takes the read back; later, only its answer
    /// is lost.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (sender, receiver) = oneshot::channel();
        let mut job: Option<Job> = Some(Box::new(move || {
            // The caller may have gone; then nobody wants the answer.
            let _ = sender.send(read());
        }));
        poll_fn(|context| self.queue.push(&mut job, context.waker())).await?;
        receiver.await.map_err(|oneshot::Canceled| Stopped)
    }
}

impl Drop for Readers {
    /// Waits for the reads that run.
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                idle: Vec::new(),
                waiting: VecDeque::new(),
                is_closed: false,
            }),
        }
    }

    fn push(&self, job: &mut Option<Job>, waker: &Waker) -> Poll<Result<(), Stopped>> {
        let mut state = self.lock();
        if state.is_closed {
            return Poll::Ready(Err(Stopped));
        }
        if state.jobs.len() >= QUEUE_MAX {
            state.waiting.push_back(waker.clone());
            return Poll::Pending;
        }
        state.jobs.extend(job.take());
        let idle = state.idle.pop();
        drop(state);
        if let Some(thread) = idle {
            thread.unpark();
        }
        Poll::Ready(Ok(()))
    }

    /// A read that panics drops its sender, which its caller sees; the thread goes on.
    fn work(&self) {
        while let Some(job) = self.next() {
            let _ = panic::catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        let job = loop {
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            if state.is_closed {
                return None;
            }
            let this = thread::current();
            let id = this.id();
            state.idle.push(this);
            drop(state);
            thread::park();
            state = self.lock();
            // Who is woken without cause is still there.
            state.idle.retain(|idle| idle.id() != id);
        };
        let woken = state.woken();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        Some(job)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        idle.iter().for_each(Thread::unpark);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Who is to be woken now that a job has left the queue. To wake all of them for each job would
    /// have thousands look in vain, over and over.
    fn woken(&mut self) -> VecDeque<Waker> {
        match self.jobs.len() {
            0 => std::mem::take(&mut self.waiting),
            REFILL_AT => {
                let room = (QUEUE_MAX - REFILL_AT).min(self.waiting.len());
                self.waiting.drain(..room).collect()
            }
            _ => VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc;

    use futures_executor::block_on;
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};

    use super::*;

    #[test]
    fn more_reads_than_the_queue_holds_wait_outside() {
        let readers = Readers::start(1).unwrap();
        let (open, gate) = mpsc::channel::<()>();
        block_on(async {
            let mut first = readers.run(move || gate.recv()).boxed();
            assert_eq!((&mut first).now_or_never(), None);
            let count = 2 * QUEUE_MAX;
            let reads = (0..count).map(|number| readers.run(move || number));
            let mut reads = join_all(reads).boxed();
            assert_eq!((&mut reads).now_or_never(), None);
            assert!(readers.queue.lock().jobs.len() <= QUEUE_MAX);
            open.send(()).unwrap();
            let numbers: Vec<usize> = reads.await.into_iter().map(Result::unwrap).collect();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
            assert_eq!(first.await, Ok(Ok(())));
        });
    }

    #[test]
    fn reads_that_wait_are_woken_when_there_is_room_for_them() {
        let readers = Readers {
            queue: Arc::new(Queue::new()),
            threads: Vec::new(),
        };
        let polls = Cell::new(0);
        let read = |number| {
            let mut read = Box::pin(readers.run(move || number));
            let polls = &polls;
            poll_fn(move |context| {
                polls.set(polls.get() + 1);
                read.as_mut().poll(context)
            })
        };
        let count = 4 * QUEUE_MAX;
        let mut reads: FuturesUnordered<_> = (0..count).map(read).collect();
        for _ in 0..count {
            while reads.next().now_or_never().flatten().is_some() {}
            let job = readers.queue.next().expect("it is not closed");
            job();
        }
        let left = block_on(reads.count());
        assert!(left > 0);
        // To begin with, when there was room, and for the answer.
        assert!(polls.get() <= 3 * count, "{} polls", polls.get());
    }

    #[test]
    fn reads_that_were_taken_back_keep_nobody_waiting() {
        let readers = Readers {
            queue: Arc::new(Queue::new()),
            threads: Vec::new(),
        };
        let fill = |count: usize| {
            let reads: Vec<_> = (0..count)
                .map(|number| readers.run(move || number))
                .collect();
            let mut reads = join_all(reads).boxed();
            assert_eq!((&mut reads).now_or_never(), None);
            reads
        };
        let first = fill(QUEUE_MAX);
        let taken_back = fill(QUEUE_MAX);
        let last = fill(1);
        drop(taken_back);
        for _ in 0..QUEUE_MAX {
            readers.queue.next().expect("it is not closed")();
        }
        assert_eq!(block_on(first).len(), QUEUE_MAX);
        let mut last = last;
        assert_eq!((&mut last).now_or_never(), None);
        readers.queue.next().expect("it is not closed")();
        assert_eq!(block_on(last).len(), 1);
    }

    #[test]
    fn a_read_that_panics_ends_alone() {
        let readers = Readers::start(1).unwrap();
        let panicked = block_on(readers.run(|| panic!("as the test wants it")));
        assert_eq!(panicked.map(|(): ()| ()), Err(Stopped));
        assert_eq!(block_on(readers.run(|| 1)), Ok(1));
        readers.queue.close();
        assert_eq!(block_on(readers.run(|| 1)), Err(Stopped));
    }
}
