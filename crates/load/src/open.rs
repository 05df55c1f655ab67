//! The calls of an open loop: begun when they are due, by a few tasks.
//!
//! # How it works
//! A [`Runner`] follows its part of the schedule. It begins the calls that are due as futures of a set
//! of its own, so a call needs no task, no timer, and no wake-up of another thread. Calls that are due
//! within a [`TICK`] begin together: one look at the clock and one write to each connection serve all of
//! them. Each counts from its own due time, so what this adds is in the latencies, and told as lag.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

use crate::client::Fault;
use crate::load::{Ended, Load, MEASURED, Notes, Shared};
use crate::pacer::{Pacer, Step};
use crate::part::Division;
use crate::timer::Timer;

/// Calls that are due closer together than this begin together.
const TICK: Duration = Duration::from_micros(100);

/// How long is waited when as many calls are under way as may be.
const FULL_NAP: Duration = Duration::from_micros(100);

/// How many calls are begun or ended before other tasks have their turn.
const TURN: usize = 512;

/// What begins the calls of a part of a schedule.
pub(crate) struct Runner<C> {
    shard: usize,
    shared: Arc<Shared>,
    calls: Arc<C>,
    pacer: Pacer,
    /// The beginning of the schedule.
    begin: Instant,
    /// Calls that are due from then on are counted.
    warm: Duration,
    /// How the time in which they are is divided.
    division: Division,
    timer: Timer,
    /// When there may be something to begin; `None` when the schedule is over.
    next: Option<Instant>,
    /// When it was over.
    over: Duration,
}

/// What did not go as scheduled.
#[derive(Debug, Default)]
pub(crate) struct Scheduled {
    pub(crate) held_back: u64,
    pub(crate) unstarted: u64,
}

/// A call, and when it was due and begun, since the beginning.
struct Begun {
    number: u64,
    due: Duration,
    at: Duration,
}

impl<C, F> Runner<C>
where
    C: Fn(u64) -> F,
    F: Future<Output = Result<(), Fault>>,
{
    /// One that notes its calls in this shard.
    pub(crate) fn new(
        shard: usize,
        shared: Arc<Shared>,
        calls: Arc<C>,
        pacer: Pacer,
        (begin, load): (Instant, &Load),
    ) -> io::Result<Self> {
        Ok(Self {
            shard,
            shared,
            calls,
            pacer,
            begin,
            warm: load.warm,
            division: Division::of(load.measured),
            timer: Timer::new()?,
            next: Some(begin),
            over: Duration::ZERO,
        })
    }

    /// Begins each call when it is due, and waits until all have ended.
    pub(crate) async fn run(mut self) -> Scheduled {
        let mut under_way = FuturesUnordered::new();
        let made = |begun: Begun, call: F| async move { (begun, call.await) };
        poll_fn(|context| {
            let mut turn = TURN;
            while turn > 0 {
                while turn > 0
                    && let Some(begun) = self.due()
                {
                    turn -= 1;
                    let call = (self.calls)(begun.number);
                    under_way.push(made(begun, call));
                }
                // Those that have just begun are sent here.
                while turn > 0
                    && let Poll::Ready(Some((begun, result))) = under_way.poll_next_unpin(context)
                {
                    turn -= 1;
                    self.ended(&begun, result);
                }
                match self.next {
                    None if under_way.is_empty() => return Poll::Ready(()),
                    None if turn > 0 => return Poll::Pending,
                    Some(next) if self.timer.poll_at(context, next).is_pending() && turn > 0 => {
                        return Poll::Pending;
                    }
                    _ => {}
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.scheduled()
    }

    /// A call that is due now, which is begun with that.
    fn due(&mut self) -> Option<Begun> {
        let now = Instant::now();
        if self.next? > now {
            return None;
        }
        let at = now - self.begin;
        let outstanding = self.shared.outstanding.load(Ordering::Relaxed);
        self.next = match self.pacer.step(at, outstanding) {
            Step::Start { number, due } => {
                self.shared.outstanding.fetch_add(1, Ordering::Relaxed);
                return Some(Begun { number, due, at });
            }
            Step::Wait(due) => Some((self.begin + due).max(now + TICK)),
            Step::Full => Some(now + FULL_NAP),
            Step::Over => {
                self.over = at;
                None
            }
        };
        None
    }

    fn ended(&self, begun: &Begun, result: Result<(), Fault>) {
        let took = self.begin.elapsed().saturating_sub(begun.due);
        self.shared.outstanding.fetch_sub(1, Ordering::Relaxed);
        let phase = self.shared.phase();
        let is_counted = begun.due >= self.warm;
        let ended = Ended {
            shard: self.shard,
            is_counted,
            phase,
            result,
        };
        self.shared.ended(ended, |notes| {
            notes.calls += u64::from(phase == MEASURED);
            if is_counted {
                self.note(notes, begun.due, took);
                notes.lag.record(begun.at.saturating_sub(begun.due));
            }
        });
    }

    /// Notes what a call took that was due while it is measured.
    fn note(&self, notes: &mut Notes, due: Duration, took: Duration) {
        notes.latency.record(took);
        let due = due.saturating_sub(self.warm);
        self.division.record(&mut notes.parts, due, took);
    }

    /// What came of the schedule; calls that never began have waited in vain until it was over.
    fn scheduled(&self) -> Scheduled {
        let mut unstarted = 0;
        let mut notes = self.shared.notes(self.shard);
        for due in self.pacer.unstarted().filter(|due| *due >= self.warm) {
            unstarted += 1;
            self.note(&mut notes, due, self.over.saturating_sub(due));
        }
        Scheduled {
            held_back: self.pacer.held_back(),
            unstarted,
        }
    }
}
