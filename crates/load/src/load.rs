//! Calls of any kind in a closed or an open loop, for a time, and what came of them.
//!
//! # How it works
//! In a closed loop so many callers each make one call after the other: a slow server is asked less,
//! and the times say nothing about how long somebody waits who does not wait his turn. In an open
//! loop a few tasks follow the schedule of a [`Pacer`] and begin each call that is due.
//!
//! What is counted: of a closed loop the calls that end while it is measured; of an open loop, for
//! latency and for failures, those that were due then, whenever they end, and for the rate those that
//! end then. A call that was due and never started has the latency that it had waited when the load
//! gave up. What calls cost is shared among those that end while it is measured.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::client::Fault;
use crate::highest::KeptUp;
use crate::host::{self, Processors, STOLEN_MAX};
use crate::latency::Latency;
use crate::open::{Runner, Scheduled};
use crate::pacer::Pacer;
use crate::part::{self, Division, Part, Undisturbed};
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
pub const OUTSTANDING_MAX: usize = 20_000;

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
    /// Of an open loop: whether the answers kept up with the schedule.
    pub kept_up: Option<KeptUp>,
    /// The part of the processors' time, of 1, that the host of this machine gave to others while it was
    /// measured; `None` if the system does not tell.
    pub stolen: Option<f64>,
    /// Of an open loop: the time that was measured, second by second, or in longer parts if it was more
    /// than ten minutes.
    pub parts: Vec<Part>,
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

    /// Whether the host of this machine gave more than [`STOLEN_MAX`] to others.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.stolen.is_some_and(|stolen| stolen > STOLEN_MAX)
    }

    /// Of an open loop: what came of the parts that the host left alone; `None` if it did not leave any.
    #[must_use]
    pub fn undisturbed(&self) -> Option<Undisturbed> {
        Undisturbed::of(&self.parts)
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
    /// The system gave no timer for an open loop, as for want of open files.
    #[error("no timer for the schedule: {0}")]
    Timer(io::Error),
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

/// How many tasks follow a schedule at most.
const RUNNERS_MAX: usize = 4;

/// Over how many locks what is noted is spread, so that callers rarely meet.
const SHARDS: usize = 8;

/// Phases of a load, as its calls see them.
pub(crate) const WARM: u8 = 0;
pub(crate) const MEASURED: u8 = 1;
pub(crate) const OVER: u8 = 2;

/// What is noted of calls.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) calls: u64,
    /// How many ended in each phase, however they did.
    ended: [u64; 3],
    pub(crate) latency: Latency,
    pub(crate) lag: Latency,
    /// The same latencies as in `latency`, by the part in which calls were due.
    pub(crate) parts: Vec<Latency>,
    failures: BTreeMap<(String, Option<String>), (u64, String)>,
}

/// A call that has ended.
pub(crate) struct Ended {
    /// Where it is noted.
    pub(crate) shard: usize,
    /// Whether it is one of those that are measured, so that it is told if it failed.
    pub(crate) is_counted: bool,
    /// When it ended.
    pub(crate) phase: u8,
    pub(crate) result: Result<(), Fault>,
}

/// What all calls of a load share.
pub(crate) struct Shared {
    phase: AtomicU8,
    number: AtomicU64,
    /// How many calls of an open loop are under way.
    pub(crate) outstanding: AtomicUsize,
    notes: [Mutex<Notes>; SHARDS],
    fatal: watch::Sender<Option<Fault>>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(WARM),
            number: AtomicU64::new(0),
            outstanding: AtomicUsize::new(0),
            notes: std::array::from_fn(|_| Mutex::default()),
            fatal: watch::Sender::new(None),
        })
    }

    pub(crate) fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    pub(crate) fn notes(&self, shard: usize) -> MutexGuard<'_, Notes> {
        let notes = &self.notes[shard % SHARDS];
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
    pub(crate) fn ended(&self, call: Ended, note: impl FnOnce(&mut Notes)) -> bool {
        let mut notes = self.notes(call.shard);
        notes.ended[usize::from(call.phase)] += 1;
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
    let calls = Arc::new(calls);
    let measurement = Measurement {
        load,
        shared: &shared,
        watched,
    };
    match load.pace {
        Pace::Closed { in_flight } => {
            let mut callers = JoinSet::new();
            for caller in 0..in_flight {
                callers.spawn(one_after_another(caller, shared.clone(), calls.clone()));
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
            Ok(measurement.outcome(costs, None))
        }
        Pace::Open {
            rate,
            outstanding_max,
        } => {
            let pacer = Pacer::new(rate, load.warm + load.measured, outstanding_max);
            let begin = Instant::now();
            let count = runners();
            let mut runners = JoinSet::new();
            for part in 0..count {
                let pacer = pacer.clone().part(part as u64, count as u64);
                let (shared, calls) = (shared.clone(), calls.clone());
                let runner = Runner::new(part, shared, calls, pacer, (begin, load));
                runners.spawn(runner.map_err(Error::Timer)?.run());
            }
            let used = measurement.run().await?;
            let mut all = Scheduled::default();
            let left = || shared.outstanding.load(Ordering::Relaxed);
            let ended = async {
                while let Some(ended) = runners.join_next().await {
                    let scheduled = ended.expect("a call does not panic");
                    all.held_back += scheduled.held_back;
                    all.unstarted += scheduled.unstarted;
                }
            };
            drained(&shared, ended, left).await?;
            Ok(measurement.outcome(used, Some((all, pacer, begin))))
        }
    }
}

/// How many tasks follow a schedule: the processors also serve connections, and what is loaded.
fn runners() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).clamp(1, RUNNERS_MAX)
}

/// One caller of a closed loop.
async fn one_after_another<C, F>(shard: usize, shared: Arc<Shared>, calls: Arc<C>)
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
            shard,
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

/// The time of a load.
struct Measurement<'a> {
    load: &'a Load,
    shared: &'a Shared,
    watched: &'a [Watched],
}

/// What was used while it was measured.
struct Used {
    start: Instant,
    elapsed: Duration,
    before: Vec<Usage>,
    after: Vec<Usage>,
    /// At the processors, in the beginning and at the end of each part.
    looks: Vec<Option<Processors>>,
}

impl Measurement<'_> {
    /// Lets the calls go on for the time of the load.
    async fn run(&self) -> Result<Used, Error> {
        self.pause(self.load.warm).await?;
        // What only a process itself knows takes a moment, and some of its time: so it is asked before
        // the first look at what processes used, and after the last.
        let flushes = self.flushes().await;
        let before = self.usage(flushes)?;
        let mut looks = vec![Processors::now()];
        let start = Instant::now();
        self.shared.phase.store(MEASURED, Ordering::Relaxed);
        for end in Division::of(self.load.measured).ends() {
            let left = (start + end).saturating_duration_since(Instant::now());
            self.pause(left).await?;
            looks.push(Processors::now());
        }
        self.shared.phase.store(OVER, Ordering::Relaxed);
        let elapsed = start.elapsed();
        let mut after = self.usage(Vec::new())?;
        for (usage, flushes) in after.iter_mut().zip(self.flushes().await) {
            usage.flushes = flushes;
        }
        Ok(Used {
            start,
            elapsed,
            before,
            after,
            looks,
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

    fn outcome(&self, used: Used, open: Option<(Scheduled, Pacer, Instant)>) -> Outcome {
        let mut all = Notes::default();
        for shard in 0..SHARDS {
            let notes = self.shared.notes(shard);
            all.calls += notes.calls;
            for (sum, ended) in all.ended.iter_mut().zip(notes.ended) {
                *sum += ended;
            }
            all.latency.merge(&notes.latency);
            all.lag.merge(&notes.lag);
            part::merge(&mut all.parts, &notes.parts);
            for (key, (count, message)) in &notes.failures {
                let entry = all.failures.entry(key.clone());
                entry.or_insert_with(|| (0, message.clone())).0 += count;
            }
        }
        let names = self.watched.iter().map(|it| it.name.as_str());
        let looks = used.before.iter().zip(&used.after);
        let costs = names.chain([OWN]).zip(looks);
        let [ended_before, ended, _] = all.ended;
        let mut processes: Vec<Cost> = costs
            .map(|(name, (before, after))| Cost::between(name, before, after, ended))
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
        let (first, last) = (used.looks[0], used.looks[used.looks.len() - 1]);
        let (scheduled, kept_up, parts) = match open {
            None => (Scheduled::default(), None, Vec::new()),
            Some((scheduled, pacer, begin)) => {
                let start = used.start - begin;
                let kept_up = KeptUp {
                    due_before: pacer.due_before(start),
                    due: pacer.due_before(start + used.elapsed) - pacer.due_before(start),
                    ended_before,
                    ended,
                };
                let parts = part::together(all.parts, &used.looks);
                (scheduled, Some(kept_up), parts)
            }
        };
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
            kept_up,
            stolen: host::stolen(first, last),
            parts,
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
        let [only] = &outcome.parts[..] else {
            panic!("{:?}", outcome.parts);
        };
        assert_eq!(only.latency.count(), 200);
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
        assert_eq!(outcome.parts[0].latency.count(), 50);
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
