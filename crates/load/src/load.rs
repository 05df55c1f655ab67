//! Calls of any kind in a closed or an open loop, for a time, and what came of them.
//!
//! # How it works
//! In a closed loop so many callers each make one call after the other: a slow server is asked less,
//! and the times say nothing about how long somebody waits who does not wait his turn. In an open
//! loop a thread of its own follows the schedule of a [`Pacer`], because the timers of tokio are a
//! millisecond wide, and hands each call that is due to the runtime.
//!
//! What is counted: of a closed loop the calls that end while it is measured; of an open loop, for
//! latency and for failures, those that were due then, whenever they end, and for the rate those that
//! end then. A call that was due and never started has the latency that it had waited when the load
//! gave up. What calls cost is shared among those that end while it is measured.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::client::Fault;
use crate::latency::Latency;
use crate::pacer::{Pacer, Step};
use crate::usage::{Cost, Usage, Watched};

/// How calls follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many at once; the next begins when one has ended.
    Closed {
        /// How many.
        in_flight: usize,
    },
    /// On a schedule, whatever became of those before.
    Open {
        /// How many begin in a second.
        rate: f64,
        /// How many may be under way; more than these wait, which is told.
        outstanding_max: usize,
    },
}

/// How much is asked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// How calls follow each other.
    pub pace: Pace,
    /// Before anything is counted.
    pub warm: Duration,
    /// While it is counted.
    pub measured: Duration,
}

/// How many calls of an open loop may be under way unless said otherwise: some seconds of what one
/// machine can do, so that it is a bound on memory and not on what is measured.
pub const OUTSTANDING_MAX: usize = 100_000;

impl Load {
    /// So many calls at once.
    #[must_use]
    pub const fn closed(in_flight: usize, warm: Duration, measured: Duration) -> Self {
        Self {
            pace: Pace::Closed { in_flight },
            warm,
            measured,
        }
    }

    /// So many calls in a second.
    #[must_use]
    pub const fn open(rate: f64, warm: Duration, measured: Duration) -> Self {
        Self {
            pace: Pace::Open {
                rate,
                outstanding_max: OUTSTANDING_MAX,
            },
            warm,
            measured,
        }
    }
}

/// What came of a load.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The load.
    pub load: Load,
    /// Calls that succeeded while it was measured.
    pub calls: u64,
    /// The same in a second.
    pub rate: f64,
    /// How long calls took that succeeded.
    pub latency: Latency,
    /// Of an open loop: how much later than due calls began; part of their latency.
    pub lag: Latency,
    /// Calls that failed, by what the server said; the most frequent first.
    pub failures: Vec<Failure>,
    /// What each call cost of the processes that were looked at, in their order.
    pub processes: Vec<Cost>,
    /// The same of this process, which makes the load.
    pub own: Cost,
    /// Of an open loop: calls that had to wait because too many were under way.
    pub held_back: u64,
    /// Of an open loop: calls that were due while it was measured and never started.
    pub unstarted: u64,
}

/// Calls that failed in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The name of the status.
    pub status: String,
    /// The code that came with it.
    pub code: Option<String>,
    /// What the server said the first time.
    pub message: String,
    /// How many.
    pub count: u64,
}

impl Outcome {
    /// The time that this part of the calls, of 1, took at most, in milliseconds.
    #[must_use]
    pub fn time_ms(&self, part: f64) -> f64 {
        self.latency.quantile_ms(part)
    }

    /// How many calls failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.iter().map(|it| it.count).sum()
    }

    /// The processor time of a call in all processes together, this one included, in microseconds.
    #[must_use]
    pub fn processor_of_all_us(&self) -> f64 {
        let processes = self.processes.iter().map(Cost::processor_us);
        processes.sum::<f64>() + self.own.processor_us()
    }
}

/// Why a load came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no use in further calls: a connection was lost, or a request cannot be made.
    #[error("{0}")]
    Ended(Fault),
    /// A process could not be looked at, because it ended or is not ours.
    #[error("cannot look at {name}: {error}")]
    Process {
        /// The name of the process.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// Calls were not answered long after the load was over.
    #[error("{count} calls were not answered within {DRAIN_MAX:?} after the load")]
    Unanswered {
        /// How many.
        count: usize,
    },
}

/// How long calls that are under way at the end may take: longer than Firn waits for a function unless
/// it is told otherwise, a minute, so that calls that it gives up are counted as that.
pub const DRAIN_MAX: Duration = Duration::from_secs(75);

/// How many different failures are told apart; the others count as the last.
const FAILURES_MAX: usize = 16;

/// How long the thread that follows a schedule sleeps when too many calls are under way.
const FULL_NAP: Duration = Duration::from_micros(100);

/// How long it sleeps at least: calls that are due closer together begin together, so that it does
/// not take a processor of its own. What that adds to latencies is half of it, and is told as lag.
const NAP_MIN: Duration = Duration::from_micros(30);

/// Over how many locks what is noted is spread, so that callers rarely meet.
const SHARDS: usize = 8;

/// Phases of a load, as its calls see them.
const WARM: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// What is noted of calls.
#[derive(Default)]
struct Notes {
    calls: u64,
    /// Those that ended while it was measured, however they did.
    ended: u64,
    latency: Latency,
    lag: Latency,
    failures: BTreeMap<(String, Option<String>), (u64, String)>,
}

/// A call that has ended.
struct Ended {
    number: u64,
    /// Whether it is one of those that are measured, so that it is told if it failed.
    is_counted: bool,
    /// When it ended.
    phase: u8,
    result: Result<(), Fault>,
}

/// What all calls of a load share.
struct Shared {
    phase: AtomicU8,
    number: AtomicU64,
    outstanding: AtomicUsize,
    is_stopped: AtomicBool,
    /// Whether a call of an open loop has.
    is_panicked: AtomicBool,
    notes: [Mutex<Notes>; SHARDS],
    fatal: watch::Sender<Option<Fault>>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(WARM),
            number: AtomicU64::new(0),
            outstanding: AtomicUsize::new(0),
            is_stopped: AtomicBool::new(false),
            is_panicked: AtomicBool::new(false),
            notes: std::array::from_fn(|_| Mutex::default()),
            fatal: watch::Sender::new(None),
        })
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn notes(&self, number: u64) -> MutexGuard<'_, Notes> {
        let notes = &self.notes[(number % SHARDS as u64) as usize];
        notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is no use in further calls; gives why.
    async fn ended_early(&self) -> Fault {
        let mut fatal = self.fatal.subscribe();
        let fault = fatal.wait_for(Option::is_some).await;
        let fault = fault.expect("the sender is in self").clone();
        fault.expect("it was waited for")
    }

    /// Notes how a call ended; gives whether there is any use in further ones.
    fn ended(&self, call: Ended, note: impl FnOnce(&mut Notes)) -> bool {
        let mut notes = self.notes(call.number);
        notes.ended += u64::from(call.phase == MEASURED);
        match call.result {
            Ok(()) => note(&mut notes),
            Err(Fault::Refused {
                status,
                code,
                message,
            }) => {
                if !call.is_counted {
                    return true;
                }
                let failures = &mut notes.failures;
                let key = match failures.len() < FAILURES_MAX {
                    true => (status, code),
                    false => match failures.contains_key(&(status.clone(), code.clone())) {
                        true => (status, code),
                        false => ("others".to_owned(), None),
                    },
                };
                failures.entry(key).or_insert((0, message)).0 += 1;
            }
            Err(fatal @ (Fault::Lost(_) | Fault::Unmade(_))) => {
                self.fatal.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert(fatal);
                    is_first
                });
                return false;
            }
        }
        true
    }
}

/// A call of an open loop, as long as it is under way.
struct UnderWay(Arc<Shared>);

impl UnderWay {
    fn new(shared: Arc<Shared>) -> Self {
        shared.outstanding.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            self.0.is_panicked.store(true, Ordering::Relaxed);
        }
    }
}

/// Stops the thread of a schedule when the load is given up.
struct Stop(Arc<Shared>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }
}

/// Makes calls, numbered from 0, and looks at processes meanwhile.
///
/// # Errors
/// See [`Error`]. A call that the server refuses is no error but counted.
///
/// # Panics
/// At the end, if a call has.
pub async fn run<C, F>(load: &Load, calls: C, watched: &[Watched]) -> Result<Outcome, Error>
where
    C: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let shared = Shared::new();
    let _stop = Stop(shared.clone());
    let calls = Arc::new(calls);
    let measurement = Measurement {
        load,
        shared: &shared,
        watched,
    };
    match load.pace {
        Pace::Closed { in_flight } => {
            let mut callers = JoinSet::new();
            for _ in 0..in_flight {
                callers.spawn(one_after_another(shared.clone(), calls.clone()));
            }
            let costs = measurement.run().await?;
            drained(
                &shared,
                async {
                    while let Some(ended) = callers.join_next().await {
                        ended.expect("a call does not panic");
                    }
                },
                || in_flight,
            )
            .await?;
            Ok(measurement.outcome(costs, Scheduled::default()))
        }
        Pace::Open {
            rate,
            outstanding_max,
        } => {
            let end = load.warm + load.measured;
            let schedule = Schedule {
                shared: shared.clone(),
                calls,
                pacer: Pacer::new(rate, end, outstanding_max),
                warm: load.warm,
                begin: Instant::now(),
                tracker: TaskTracker::new(),
                runtime: Handle::current(),
            };
            let tracker = schedule.tracker.clone();
            let thread = tokio::task::spawn_blocking(move || schedule.follow());
            let costs = measurement.run().await?;
            let scheduled = thread.await.expect("a schedule does not panic");
            tracker.close();
            let left = || shared.outstanding.load(Ordering::Relaxed);
            drained(&shared, tracker.wait(), left).await?;
            let is_panicked = shared.is_panicked.load(Ordering::Relaxed);
            assert!(!is_panicked, "a call does not panic");
            Ok(measurement.outcome(costs, scheduled))
        }
    }
}

/// One caller of a closed loop.
async fn one_after_another<C, F>(shared: Arc<Shared>, calls: Arc<C>)
where
    C: Fn(u64) -> F,
    F: Future<Output = Result<(), Fault>>,
{
    loop {
        let number = shared.number.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        let result = calls(number).await;
        let took = start.elapsed();
        let phase = shared.phase();
        let is_counted = phase == MEASURED;
        let ended = Ended {
            number,
            is_counted,
            phase,
            result,
        };
        let goes_on = shared.ended(ended, |notes| {
            if is_counted {
                notes.calls += 1;
                notes.latency.record(took);
            }
        });
        if phase == OVER || !goes_on {
            return;
        }
    }
}

/// Waits for the calls that are under way at the end.
async fn drained(
    shared: &Shared,
    ended: impl Future<Output = ()>,
    left: impl FnOnce() -> usize,
) -> Result<(), Error> {
    tokio::select! {
        biased;
        fault = shared.ended_early() => Err(Error::Ended(fault)),
        ended = timeout(DRAIN_MAX, ended) => {
            ended.map_err(|_| Error::Unanswered { count: left() })
        }
    }
}

/// An open loop under way.
struct Schedule<C> {
    shared: Arc<Shared>,
    calls: Arc<C>,
    pacer: Pacer,
    warm: Duration,
    begin: Instant,
    tracker: TaskTracker,
    runtime: Handle,
}

/// What did not go as scheduled.
#[derive(Debug, Default)]
struct Scheduled {
    held_back: u64,
    unstarted: u64,
}

impl<C, F> Schedule<C>
where
    C: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    /// Starts each call when it is due. Blocks its thread.
    fn follow(mut self) -> Scheduled {
        // By default a sleep is 50 µs longer than asked for. Where that cannot be changed it is, and
        // shows as lag.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        loop {
            if self.shared.is_stopped.load(Ordering::Relaxed) {
                break;
            }
            let outstanding = self.shared.outstanding.load(Ordering::Relaxed);
            let elapsed = self.begin.elapsed();
            match self.pacer.step(elapsed, outstanding) {
                Step::Start { number, due } => self.start(number, due, elapsed),
                Step::Wait(due) => std::thread::sleep((due - elapsed).max(NAP_MIN)),
                Step::Full => std::thread::sleep(FULL_NAP),
                Step::Over => break,
            }
        }
        // The thread goes back to the runtime.
        let _ = rustix::thread::set_current_timer_slack(None);
        let gave_up = self.begin.elapsed();
        let mut unstarted = 0;
        for due in self.pacer.unstarted() {
            if due >= self.warm {
                unstarted += 1;
                let mut notes = self.shared.notes(unstarted);
                notes.latency.record(gave_up.saturating_sub(due));
            }
        }
        Scheduled {
            held_back: self.pacer.held_back(),
            unstarted,
        }
    }

    fn start(&self, number: u64, due: Duration, elapsed: Duration) {
        let under_way = UnderWay::new(self.shared.clone());
        let (shared, begin, is_counted) = (self.shared.clone(), self.begin, due >= self.warm);
        let call = (self.calls)(number);
        let call = async move {
            let result = call.await;
            let took = begin.elapsed().saturating_sub(due);
            drop(under_way);
            let phase = shared.phase();
            let ended = Ended {
                number,
                is_counted,
                phase,
                result,
            };
            shared.ended(ended, |notes| {
                notes.calls += u64::from(phase == MEASURED);
                if is_counted {
                    notes.latency.record(took);
                    notes.lag.record(elapsed.saturating_sub(due));
                }
            });
        };
        self.tracker.spawn_on(call, &self.runtime);
    }
}

/// The time of a load.
struct Measurement<'a> {
    load: &'a Load,
    shared: &'a Shared,
    watched: &'a [Watched],
}

/// What was used while it was measured.
struct Used {
    elapsed: Duration,
    before: Vec<Usage>,
    after: Vec<Usage>,
}

impl Measurement<'_> {
    /// Lets the calls go on for the time of the load.
    async fn run(&self) -> Result<Used, Error> {
        self.pause(self.load.warm).await?;
        // What only a process itself knows takes a moment, and some of its time: so it is asked before
        // the first look at what processes used, and after the last.
        let flushes = self.flushes().await;
        let before = self.usage(flushes)?;
        let start = Instant::now();
        self.shared.phase.store(MEASURED, Ordering::Relaxed);
        self.pause(self.load.measured).await?;
        self.shared.phase.store(OVER, Ordering::Relaxed);
        let elapsed = start.elapsed();
        let mut after = self.usage(Vec::new())?;
        for (usage, flushes) in after.iter_mut().zip(self.flushes().await) {
            usage.flushes = flushes;
        }
        Ok(Used {
            elapsed,
            before,
            after,
        })
    }

    async fn pause(&self, time: Duration) -> Result<(), Error> {
        tokio::select! {
            biased;
            fault = self.shared.ended_early() => Err(Error::Ended(fault)),
            () = sleep(time) => Ok(()),
        }
    }

    /// What those processes say that say anything.
    async fn flushes(&self) -> Vec<Option<u64>> {
        let mut all = Vec::with_capacity(self.watched.len());
        for it in self.watched {
            all.push(it.flushes().await);
        }
        all
    }

    /// What all processes used, this one last, with what they said before.
    fn usage(&self, flushes: Vec<Option<u64>>) -> Result<Vec<Usage>, Error> {
        let own = [Watched::own(OWN)];
        let all = self.watched.iter().chain(&own);
        let said = flushes.into_iter().chain(std::iter::repeat(None));
        all.zip(said)
            .map(|(it, flushes)| {
                it.usage(flushes).map_err(|error| Error::Process {
                    name: it.name.clone(),
                    error,
                })
            })
            .collect()
    }

    fn outcome(&self, used: Used, scheduled: Scheduled) -> Outcome {
        let mut all = Notes::default();
        for number in 0..SHARDS as u64 {
            let notes = self.shared.notes(number);
            all.calls += notes.calls;
            all.ended += notes.ended;
            all.latency.merge(&notes.latency);
            all.lag.merge(&notes.lag);
            for (key, (count, message)) in &notes.failures {
                let entry = all.failures.entry(key.clone());
                entry.or_insert_with(|| (0, message.clone())).0 += count;
            }
        }
        let names = self.watched.iter().map(|it| it.name.as_str());
        let looks = used.before.iter().zip(&used.after);
        let costs = names.chain([OWN]).zip(looks);
        let mut processes: Vec<Cost> = costs
            .map(|(name, (before, after))| Cost::between(name, before, after, all.ended))
            .collect();
        let own = processes.pop().expect("this process was looked at");
        let failure = |((status, code), (count, message))| Failure {
            status,
            code,
            message,
            count,
        };
        let mut failures: Vec<Failure> = all.failures.into_iter().map(failure).collect();
        failures.sort_by_key(|it| std::cmp::Reverse(it.count));
        Outcome {
            load: *self.load,
            calls: all.calls,
            rate: all.calls as f64 / used.elapsed.as_secs_f64(),
            latency: all.latency,
            lag: all.lag,
            failures,
            processes,
            own,
            held_back: scheduled.held_back,
            unstarted: scheduled.unstarted,
        }
    }
}

/// What this process is called.
const OWN: &str = "load";

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::process::Command;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn refused() -> Fault {
        Fault::Refused {
            status: "ABORTED".to_owned(),
            code: Some("FIRN-0001".to_owned()),
            message: "no".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_closed_loop_has_so_many_calls_under_way() {
        let under_way = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let calls = {
            let (under_way, most) = (under_way.clone(), most.clone());
            move |_| {
                let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                let under_way = under_way.clone();
                async move {
                    tokio::task::yield_now().await;
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                }
            }
        };
        let load = Load::closed(3, Duration::ZERO, SHORT);
        let outcome = run(&load, calls, &[Watched::own("it")]).await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert_eq!(under_way.load(Ordering::SeqCst), 0);
        assert_eq!(outcome.calls, outcome.latency.count());
        assert!(outcome.calls > 0 && outcome.rate > 0.0);
        assert_eq!(outcome.processes[0].name, "it");
        assert_eq!(outcome.failed(), 0);
    }

    #[tokio::test]
    async fn an_open_loop_leaves_out_no_call_that_was_due() {
        let load = Load::open(2000.0, SHORT, 2 * SHORT);
        let outcome = run(&load, |_| ready(Ok(())), &[]).await.unwrap();
        // However late this machine is: those of the second and the third twentieth of a second.
        assert_eq!(outcome.latency.count(), 200);
        assert_eq!(outcome.lag.count() + outcome.unstarted, 200);
    }

    #[tokio::test]
    async fn an_open_loop_tells_what_its_bound_held_back() {
        let load = Load {
            pace: Pace::Open {
                rate: 1000.0,
                outstanding_max: 1,
            },
            warm: Duration::ZERO,
            measured: SHORT,
        };
        let slow = |_| async {
            sleep(4 * SHORT).await;
            Ok(())
        };
        let outcome = run(&load, slow, &[]).await.unwrap();
        assert_eq!((outcome.held_back, outcome.unstarted), (0, 49));
        assert_eq!(outcome.latency.count(), 50);
        assert!(outcome.latency.quantile_ms(0.01) >= 50.0, "all had to wait");
    }

    #[tokio::test]
    async fn what_did_not_start_is_told_of_the_time_that_is_measured() {
        let load = Load {
            pace: Pace::Open {
                rate: 1000.0,
                outstanding_max: 1,
            },
            warm: SHORT,
            measured: SHORT,
        };
        let slow = |_| async {
            sleep(8 * SHORT).await;
            Ok(())
        };
        let outcome = run(&load, slow, &[]).await.unwrap();
        assert_eq!((outcome.latency.count(), outcome.unstarted), (50, 50));
    }

    #[tokio::test]
    async fn refused_calls_are_counted_and_others_go_on() {
        let load = Load::closed(1, Duration::ZERO, SHORT);
        let calls = |number: u64| async move {
            tokio::task::yield_now().await;
            match number % 2 {
                0 => Ok(()),
                _ => Err(refused()),
            }
        };
        let outcome = run(&load, calls, &[]).await.unwrap();
        assert!(outcome.calls > 0);
        let [failure] = &outcome.failures[..] else {
            panic!("{:?}", outcome.failures);
        };
        assert_eq!(failure.code.as_deref(), Some("FIRN-0001"));
        assert_eq!(failure.count, outcome.failed());
        assert!(failure.count.abs_diff(outcome.calls) <= 1);
    }

    #[tokio::test]
    async fn a_call_that_was_due_and_is_refused_after_the_end_has_failed() {
        let late = |_| async {
            sleep(4 * SHORT).await;
            Err(refused())
        };
        let load = Load::open(1000.0, Duration::ZERO, SHORT);
        let outcome = run(&load, late, &[]).await.unwrap();
        assert_eq!(outcome.failed() + outcome.unstarted, 50);
    }

    async fn asked(listener: &TcpListener) -> TcpStream {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 1024]).await.unwrap();
        socket
    }

    async fn told(mut socket: TcpStream, flushes: u64) {
        let answer = format!("\nfirn_store_flush_seconds_count {flushes}\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
    }

    /// A process that ends when it is asked for its metrics the second time: it has to have been
    /// looked at before.
    #[tokio::test]
    async fn asking_for_metrics_is_not_measured() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let watched = Watched::new("it", child.id()).metrics(address);
        let answers = tokio::spawn(async move {
            told(asked(&listener).await, 100).await;
            let socket = asked(&listener).await;
            child.kill().unwrap();
            child.wait().unwrap();
            told(socket, 200).await;
        });
        let calls = |_| async {
            tokio::task::yield_now().await;
            Ok(())
        };
        let load = Load::closed(1, Duration::ZERO, SHORT);
        let outcome = run(&load, calls, &[watched]).await;
        answers.await.unwrap();
        let outcome = outcome.map_err(|error| error.to_string()).unwrap();
        let flushes = outcome.processes[0].flushes.unwrap() * outcome.calls as f64;
        assert_eq!(flushes.round(), 100.0);
    }

    #[tokio::test]
    async fn a_call_that_panics_is_not_left_out() {
        for load in [
            Load::closed(2, Duration::ZERO, SHORT),
            Load::open(1000.0, Duration::ZERO, SHORT),
        ] {
            let calls = |number| async move {
                assert_ne!(number, 0, "the first");
                tokio::task::yield_now().await;
                Ok(())
            };
            let loaded = tokio::spawn(async move { run(&load, calls, &[]).await });
            let error = loaded.await.err();
            assert!(error.is_some_and(|it| it.is_panic()), "{load:?}");
        }
    }

    #[tokio::test]
    async fn a_lost_connection_ends_the_load() {
        for pace in [
            Load::closed(2, Duration::ZERO, DRAIN_MAX),
            Load::open(100.0, Duration::ZERO, DRAIN_MAX),
        ] {
            let lost = |_| ready(Err(Fault::Lost("gone".to_owned())));
            let error = run(&pace, lost, &[]).await.unwrap_err();
            assert_eq!(error.to_string(), "the connection was lost: gone");
        }
    }
}
