//! Where the time of a durable command goes, stage by stage, so that the stages add up to what was
//! measured.
//!
//! The command is that of the case `own`. Of Firn's processor time with 64 in flight the system says
//! how it is spread over threads, own code and kernel; within a thread it is divided as callgrind counted
//! the same calls to a Firn with symbols: by instructions, and by the processor time of system calls.
//! What callgrind says is parts alone; the whole of each thread is measured without it. The time of a
//! command that is alone is what steps of the way take that are measured by themselves: a bare hop, an
//! action, a read, a flush.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firn_load::Times;

use super::served::{Served, echoed};
use super::turns::{self, Turn, Turns};
use super::{AddItem, flush};
use crate::budget::{Budget, Part};
use crate::counts;
use crate::figure::{Figure, Unit, median};
use crate::load::Load;
use crate::own;
use crate::profile::{Profile, Rule};
use crate::rig::{Programs, Server};

/// How often each is loaded.
const ROUNDS: usize = 7;

/// How many entities are read or written to.
const ENTITIES: u64 = 1000;

const MANY: Load = Load {
    connections: 4,
    in_flight: 64,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

const ONE: Load = Load {
    connections: 1,
    in_flight: 1,
    warm: Duration::from_millis(200),
    measured: Duration::from_secs(1),
};

/// What callgrind counts besides instructions: the processor time of system calls.
const FLAGS: &[&str] = &["--collect-systime=nsec"];
const INSTRUCTIONS: &str = "Ir";
const KERNEL: &str = "sysCpuTime";

/// Threads of Firn that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Threads {
    /// Those that serve: ports, lanes and links.
    Serving,
    Committer,
    Applier,
    /// Those of the tables.
    Tables,
}

impl Threads {
    const ALL: [Self; 4] = [Self::Serving, Self::Committer, Self::Applier, Self::Tables];

    /// Those that a thread belongs to, by the name that the system knows.
    fn of(name: &str) -> Self {
        match name {
            name if name.starts_with("firn-committer") => Self::Committer,
            name if name.starts_with("firn-store-appl") => Self::Applier,
            name if name.starts_with("firn-store-file") => Self::Tables,
            name if name.starts_with("fjall") => Self::Tables,
            _ => Self::Serving,
        }
    }
}

/// The stages of the way, in its order.
const STAGES: [(&str, Threads); 11] = [
    ("client port, request in", Threads::Serving),
    ("dispatch", Threads::Serving),
    ("lane", Threads::Serving),
    ("link, command out", Threads::Serving),
    ("link, decision in", Threads::Serving),
    ("client port, reply out", Threads::Serving),
    ("tasks: scheduling, waking, waiting", Threads::Serving),
    ("committer", Threads::Committer),
    ("log: write and flush", Threads::Committer),
    ("applier: into the rows", Threads::Applier),
    ("files of rows: writing, merging", Threads::Tables),
];

const REQUEST: usize = 0;
const DISPATCH: usize = 1;
const LANE: usize = 2;
const COMMAND: usize = 3;
const DECISION: usize = 4;
const REPLY: usize = 5;
const TASKS: usize = 6;
const COMMITTER: usize = 7;
const LOG: usize = 8;
const APPLIER: usize = 9;
const TABLES: usize = 10;

/// What reads from a connection, and what writes to it, whichever it is.
const READING: &[usize] = &[
    REQUEST, DISPATCH, LANE, DECISION, DECISION, REQUEST, TASKS, COMMITTER, LOG, APPLIER, TABLES,
];
const WRITING: &[usize] = &[
    REPLY, DISPATCH, LANE, COMMAND, COMMAND, REPLY, TASKS, COMMITTER, LOG, APPLIER, TABLES,
];

/// Functions of Firn by a part of their paths; the first that fits decides.
const PATHS: &[(&str, usize)] = &[
    ("firn_runtime::committer", COMMITTER),
    ("firn_store::embedded::log", LOG),
    ("firn_store::embedded::applier", APPLIER),
    ("firn_store::embedded::table::layered::Shared::keep", TABLES),
    ("fjall::worker_pool", TABLES),
    ("firn_runtime::driver", LANE),
    ("firn_runtime::lane", LANE),
    ("firn_runtime::dispatch", DISPATCH),
    ("firn_link::v1::port::outgoing", COMMAND),
    ("firn_link::v1::outbox", COMMAND),
    ("firn_link::v1::entity", COMMAND),
    ("firn_link::", DECISION),
    ("firn_edge::grpc::answer", REPLY),
    ("firn_edge::", REQUEST),
];

/// What polls tasks, by the beginning of its path. What it is used for stands behind that, so it belongs
/// to the stage that this says. Other functions with such a use belong to those who call them.
const TASK_PATHS: &[&str] = &[
    "tokio::runtime::task",
    "tokio_util::task",
    "tracing::instrument",
    "core::future::poll_fn",
    "hyper::",
    "hyper_util::",
];

/// What reads from connections and what writes to them, by parts of names of HTTP/2's functions.
const READS: &[&str] = &[
    "h2::codec::framed_read",
    "h2::proto::streams::recv",
    "::recv_",
    "tonic::codec::decode",
];
const WRITES: &[&str] = &[
    "h2::codec::framed_write",
    "h2::proto::streams::send",
    "h2::proto::streams::prioritize",
    "::send_",
    "::poll_complete",
    "PipeToSendStream",
    "tonic::codec::encode",
];

/// What is known of a function by its name, as in `<a::B<c::D> as e::F>::g`: the path is `a::B`, and the
/// use is `c::D`.
fn rule(name: &str) -> Option<Rule> {
    let name = name.trim_start_matches(['<', '&']);
    let path = name.split(['<', ' ']).next().unwrap_or(name);
    let stage = |text: &str| {
        let found = PATHS.iter().find(|(part, _)| text.contains(part));
        found.map(|(_, stage)| *stage)
    };
    if let Some(stage) = stage(path) {
        return Some(Rule::Part(stage));
    }
    // What a function of HTTP/2 is used with names others, so modules count in the path alone.
    let is_any = |parts: &[&str]| {
        let is =
            |part: &&str| path.contains(*part) || part.starts_with(':') && name.contains(*part);
        parts.iter().any(is)
    };
    let is_transport = ["h2::", "hyper::", "tonic::"]
        .iter()
        .any(|it| path.starts_with(it));
    let used = TASK_PATHS.iter().any(|it| path.starts_with(it));
    let used = used.then(|| stage(name)).flatten();
    let turned = match is_transport {
        true if is_any(WRITES) => Some(WRITING),
        true if is_any(READS) => Some(READING),
        _ => None,
    };
    match (used, turned) {
        (Some(stage), Some(turned)) => Some(Rule::Part(turned[stage])),
        (Some(stage), None) => Some(Rule::Part(stage)),
        (None, turned) => turned.map(Rule::Turned),
    }
}

/// Processor time by threads.
type Used = BTreeMap<Threads, Times>;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let bare = Server::echo(programs).await?;
    let served = Served::start(programs, &[]).await?;
    let spread = |number| AddItem::to(number % ENTITIES);
    let mut many = Turns::default();
    let events = many.add(served.side("events", own::ADD, spread, MANY));
    let mut one = Turns::default();
    let hop = one.add(echoed(&bare, ONE));
    let action = one.add(served.side("actions", own::ECHO, spread, ONE));
    let read = one.add(served.side("reads", own::READ, spread, ONE));
    let event = one.add(served.side("events", own::ADD, spread, ONE));
    let folder = programs.folder()?;
    let mut used = Vec::new();
    let mut flushes = Vec::new();
    for _ in 0..programs.effort.rounds(ROUNDS) {
        let before = threads(served.firn.id())?;
        many.round(programs.effort).await?;
        used.push((before, threads(served.firn.id())?));
        one.round(programs.effort).await?;
        let times = flush::times_ms(folder.path(), programs.effort.load(ONE).measured).await?;
        flushes.push(median(&times));
    }
    served.stop().await?;

    let firn = many.of(events, turns::processor);
    let processor = Figure::new(
        "firn.v1, durable events, 64 in flight: Firn's processor time",
        Unit::Microseconds,
        firn,
    );
    let kernel = median(&many.of(events, |it| it.all.processes[0].system_us));
    let of_threads = by_threads(&used, (processor.value - kernel, kernel));
    let mut processor = many.details(processor, &[events]);
    match programs.staged() {
        None => {
            processor = processor.budget(thread_budget(&of_threads)).detail(
                "stages",
                "not divided further: `cargo xtask bench stages` builds what that needs",
            );
        }
        Some(program) => {
            let profiled = counts::profile_of_events(programs, (&program, FLAGS)).await;
            let profiled = profiled.context("under callgrind, which comes with valgrind")?;
            let profile = Profile::read(&profiled)?;
            processor = processor.budget(stage_budget(&profile, &of_threads)?);
        }
    }
    Ok(vec![
        processor,
        alone(&one, [hop, action, read, event], &flushes),
    ])
}

/// What a process has used, by its threads.
fn threads(process: u32) -> Result<Used> {
    let mut used = Used::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?;
        let name = fs::read_to_string(thread.path().join("comm"));
        let number = thread.file_name().to_string_lossy().parse()?;
        // It may end while it is looked at.
        let (Ok(name), Ok(times)) = (name, Times::of_thread(process, number)) else {
            continue;
        };
        let sum = used.entry(Threads::of(name.trim())).or_default();
        sum.user += times.user;
        sum.system += times.system;
    }
    Ok(used)
}

/// What a call took of own code and of the kernel, spread over threads as they used it in all rounds.
fn by_threads(rounds: &[(Used, Used)], (own, kernel): (f64, f64)) -> [(Threads, f64, f64); 4] {
    let sums = Threads::ALL.map(|threads| {
        let of = |used: &Used| used.get(&threads).copied().unwrap_or_default();
        let more = |of_times: fn(&Times) -> Duration| -> f64 {
            let each = rounds
                .iter()
                .map(|(before, after)| of_times(&of(after)).saturating_sub(of_times(&of(before))));
            each.map(|it| it.as_secs_f64()).sum()
        };
        (threads, more(|it| it.user), more(|it| it.system))
    });
    let all_own: f64 = sums.iter().map(|(_, own, _)| own).sum();
    let all_kernel: f64 = sums.iter().map(|(_, _, kernel)| kernel).sum();
    let part = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    sums.map(|(threads, of_own, of_kernel)| {
        (
            threads,
            own * part(of_own, all_own),
            kernel * part(of_kernel, all_kernel),
        )
    })
}

const COLUMNS: [&str; 3] = ["all, µs", "own code, µs", "kernel, µs"];

fn budget(title: &str, parts: Vec<(String, f64, f64)>) -> Budget {
    let parts = parts.into_iter().map(|(name, own, kernel)| Part {
        name,
        values: vec![own + kernel, own, kernel],
    });
    Budget {
        title: title.to_owned(),
        columns: COLUMNS.map(str::to_owned).to_vec(),
        parts: parts.collect(),
    }
}

/// By threads alone.
fn thread_budget(of_threads: &[(Threads, f64, f64)]) -> Budget {
    let parts = of_threads.iter().map(|(threads, own, kernel)| {
        let name = match threads {
            Threads::Serving => "threads that serve: ports, lanes, links",
            Threads::Committer => "committer, with the log's write and flush",
            Threads::Applier => "applier: into the rows",
            Threads::Tables => "tables: flushing, compacting",
        };
        (name.to_owned(), *own, *kernel)
    });
    budget(TITLE, parts.collect())
}

const TITLE: &str = "Firn's processor time of a durable event, 64 in flight";

/// By stages: what threads used, divided as a profile says.
fn stage_budget(profile: &Profile, of_threads: &[(Threads, f64, f64)]) -> Result<Budget> {
    let event = |name: &str| {
        profile
            .event(name)
            .with_context(|| format!("no {name} counted"))
    };
    let parts = |event| profile.parts(event, STAGES.len(), TASKS, rule);
    let (own, kernel) = (parts(event(INSTRUCTIONS)?), parts(event(KERNEL)?));
    let mut stages = Vec::new();
    for (stage, (name, threads)) in STAGES.iter().enumerate() {
        let of_threads = of_threads.iter().find(|(it, _, _)| it == threads);
        let (_, all_own, all_kernel) = of_threads.context("all threads are there")?;
        stages.push((
            (*name).to_owned(),
            all_own * share(&own, stage, *threads),
            all_kernel * share(&kernel, stage, *threads),
        ));
    }
    Ok(budget(TITLE, stages))
}

/// The part that a stage has of what its threads were counted with. Where they were not seen, the last of
/// their stages has it all.
fn share(counted: &[f64], stage: usize, threads: Threads) -> f64 {
    let of_threads: Vec<usize> = (0..STAGES.len())
        .filter(|it| STAGES[*it].1 == threads)
        .collect();
    let whole: f64 = of_threads.iter().map(|it| counted[*it]).sum();
    match whole > 0.0 {
        true => counted[stage] / whole,
        false if of_threads.last() == Some(&stage) => 1.0,
        false => 0.0,
    }
}

/// The time of a command that is alone, by the steps that others take as well.
fn alone(one: &Turns, [hop, action, read, event]: [Turn; 4], flushes: &[f64]) -> Figure {
    let us = |turn: Turn| 1e3 * median(&one.of(turn, turns::middle));
    let flush = 1e3 * median(flushes);
    let [bare, action_us, read_us, event_us] = [hop, action, read, event].map(us);
    let parts = [
        ("a hop: client to server and back", bare),
        (
            "Firn's ports and dispatch, a hop to the function and back",
            action_us - bare,
        ),
        ("the way through a lane", read_us - action_us),
        ("a flush of the disk", flush),
        (
            "handing over to the committer and back, writing the record",
            event_us - read_us - flush,
        ),
    ];
    let parts = parts.into_iter().map(|(name, us)| Part {
        name: name.to_owned(),
        values: vec![us],
    });
    let waits = one.of(event, |it| it.all.processes[0].switches);
    let figure = Figure::new(
        "firn.v1, durable events, one in flight: p50",
        Unit::Milliseconds,
        one.of(event, turns::middle),
    );
    one.details(figure, &[hop, action, read, event])
        .detail("waits of Firn's threads for each command", median(&waits))
        .budget(Budget {
            title: "The time of a durable event that is alone, by the clock".to_owned(),
            columns: vec!["µs".to_owned()],
            parts: parts.collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(user: u64, system: u64) -> Times {
        Times {
            user: Duration::from_millis(user),
            system: Duration::from_millis(system),
            ended: Duration::ZERO,
        }
    }

    #[test]
    fn threads_are_known_by_the_names_that_the_system_cuts() {
        for (name, expected) in [
            ("firn-committer", Threads::Committer),
            ("firn-store-appl", Threads::Applier),
            ("firn-store-file", Threads::Tables),
            ("fjall:worker", Threads::Tables),
            ("tokio-rt-worker", Threads::Serving),
            ("firn", Threads::Serving),
        ] {
            assert_eq!(Threads::of(name), expected, "{name}");
        }
    }

    /// Threads that used 30 ms and 10 ms of a call's 20 µs and 10 µs.
    fn of_threads() -> [(Threads, f64, f64); 4] {
        let before = Used::from([(Threads::Serving, times(5, 5))]);
        let after = Used::from([
            (Threads::Serving, times(35, 10)),
            (Threads::Committer, times(10, 15)),
        ]);
        by_threads(&[(before, after)], (20.0, 10.0))
    }

    #[test]
    fn threads_add_up_to_what_was_measured() {
        let of_threads = of_threads();
        assert_eq!(of_threads[0], (Threads::Serving, 15.0, 2.5));
        assert_eq!(of_threads[1], (Threads::Committer, 5.0, 7.5));
        assert_eq!(thread_budget(&of_threads).sums(), [30.0, 20.0, 10.0]);
    }

    #[test]
    fn stages_add_up_to_what_was_measured() {
        const PROFILE: &str = "\
events: Ir sysCount sysTime sysCpuTime
fn=(1) tokio::runtime::task::raw::poll
1 10
cfn=(2) firn_edge::server::serve
calls=1 1
1 90 2 5 30
cfn=(5) firn_runtime::committer::write
calls=1 1
1 50 1 9 80
fn=(2)
1 10
cfn=(3) h2::codec::framed_write::flush
calls=1 1
1 80 2 5 30
fn=(3)
1 80 2 5 30
fn=(5)
1 20
cfn=(6) firn_store::embedded::log::append
calls=1 1
1 30 1 9 80
fn=(6)
1 30 1 9 80
";
        let profile = Profile::read(PROFILE).unwrap();
        let budget = stage_budget(&profile, &of_threads()).unwrap();
        let sums = budget.sums();
        assert!((sums[0] - 30.0).abs() < 1e-9, "{budget}");
        let values = |stage: usize| budget.parts[stage].values.clone();
        // A tenth, and eight tenths of the instructions of threads that serve.
        assert_eq!(values(REQUEST), [1.5, 1.5, 0.0]);
        assert_eq!(values(REPLY), [14.5, 12.0, 2.5]);
        assert_eq!(values(TASKS), [1.5, 1.5, 0.0]);
        assert_eq!(values(COMMITTER), [2.0, 2.0, 0.0]);
        assert_eq!(values(LOG), [10.5, 3.0, 7.5]);
    }

    #[test]
    fn functions_are_known_by_their_paths_and_what_tasks_are_for() {
        for (name, expected) in [
            (
                "<firn_runtime::driver::Driver>::feed",
                Some(Rule::Part(LANE)),
            ),
            (
                "<firn_link::v1::entity::Held as firn_runtime::link::EntityStream>::command",
                Some(Rule::Part(COMMAND)),
            ),
            (
                "tokio::runtime::task::raw::poll::<firn_edge::server::connection::{closure#0}>",
                Some(Rule::Part(REQUEST)),
            ),
            (
                "<hyper::proto::h2::PipeToSendStream<firn_edge::body::Body> as Future>::poll",
                Some(Rule::Part(REPLY)),
            ),
            (
                "<h2::codec::framed_read::FramedRead<h2::codec::framed_write::FramedWrite>>::poll",
                Some(Rule::Turned(READING)),
            ),
            (
                "<h2::proto::streams::streams::StreamRef<bytes::Bytes>>::send_data",
                Some(Rule::Turned(WRITING)),
            ),
            // Whoever uses these is known by the way they were called.
            ("<alloc::vec::Vec<firn_edge::route::Route>>::push", None),
            ("__memcpy_avx_unaligned_erms", None),
        ] {
            assert_eq!(rule(name), expected, "{name}");
        }
    }

    #[test]
    fn every_rule_keeps_stages_apart_that_have_nothing_to_do_with_it() {
        for turned in [READING, WRITING] {
            assert_eq!(turned.len(), STAGES.len());
            for stage in [DISPATCH, LANE, TASKS, COMMITTER, LOG, APPLIER, TABLES] {
                assert_eq!(turned[stage], stage);
            }
        }
    }
}
