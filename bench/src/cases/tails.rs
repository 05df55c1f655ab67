//! The slowest calls at 70 % of the highest rate, beside those in the middle.
//!
//! The highest rate is that which can be sustained on a schedule, looked for in the same round. Then
//! calls begin on a schedule, 70 % as many in a second, and each counts from when it was due. A bare echo
//! takes turns: what its slowest calls take is the machine's doing, and the load's. [`steady`] does the
//! same for long: then the store's own work, which goes on in waves, is met as often as it is.

use std::time::Duration;

use anyhow::Result;
use firn_load::{Target, Undisturbed, Watched};

use super::AddItem;
use super::highest::{self, Highest, Looked};
use super::served::Served;
use crate::figure::{Bound, Figure, Unit};
use crate::load::{self, Outcome};
use crate::measurement::Measurement;
use crate::rig::{Programs, Server};
use crate::{echo, own};

/// How often each is loaded.
const ROUNDS: usize = 5;

/// How many entities are written to.
const ENTITIES: u64 = 1000;

/// The part of the highest rate that is looked at.
const PART: f64 = 0.7;

/// What 99 of 100 calls may take of the time that half of them take, and what is fought for.
const TAIL_MAX: f64 = 5.0;
const TAIL_FOUGHT_FOR: f64 = 3.0;

/// What 999 of 1,000 durable commands may take in the long run, in milliseconds, and what is fought
/// for.
const STEADY_MS_MAX: f64 = 20.0;
const STEADY_MS_FOUGHT_FOR: f64 = 5.0;

const WARM: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(4);
const STEADY: Duration = Duration::from_secs(600);

/// How long a rate of actions is tried.
const LOOKED: Looked = Looked {
    closed: Duration::from_secs(2),
    trial: Duration::from_millis(2500),
};

/// The same for durable commands: as long as the store takes to fill the files that it merges at
/// once, or that work is not in the rate.
const LOOKED_DURABLE: Looked = Looked {
    closed: Duration::from_secs(5),
    trial: Duration::from_secs(10),
};

/// For a single long run the highest rate is looked for with more care.
const LOOKED_LONG: Looked = Looked {
    closed: Duration::from_secs(20),
    trial: Duration::from_secs(20),
};

/// What came of one round.
struct Round {
    highest: Highest,
    steady: Outcome,
}

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let bare = Server::echo(programs).await?;
    let served = Served::start(programs, &[]).await?;
    let (of_echo, of_firn) = ([bare.watched("echo")], served.processes());
    let clients = served.firn.clients;
    let echo = (Target::grpc(bare.address, echo::PATH, add), &of_echo[..]);
    let actions = (Target::grpc(clients, own::ECHO, add), &of_firn[..]);
    let events = (Target::grpc(clients, own::ADD, add), &of_firn[..]);
    let (mut of_echoes, mut of_actions, mut of_events) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..programs.effort.rounds(ROUNDS) {
        for ((target, watched), looked, rounds) in [
            (&echo, LOOKED, &mut of_echoes),
            (&actions, LOOKED, &mut of_actions),
            (&events, LOOKED_DURABLE, &mut of_events),
        ] {
            let times = (looked, MEASURED);
            let round = Round::run(programs, target, watched, times, rounds.last()).await?;
            rounds.push(round);
        }
    }
    served.stop().await?;
    let tail = |what: &str, name: &str, rounds: &[Round]| {
        let samples = rounds
            .iter()
            .map(|it| it.steady.time_ms(0.99) / it.steady.time_ms(0.5));
        let what = format!("{what} at 70 % of the highest rate: p99 over p50");
        measured(
            Figure::new(what, Unit::Ratio, samples.collect()),
            name,
            rounds,
        )
    };
    let of_firn = |name: &str, rounds: &[Round]| {
        tail(&format!("firn.v1, {name}"), name, rounds)
            .bound(Bound::AtMost(TAIL_MAX))
            .stretch(Bound::AtMost(TAIL_FOUGHT_FOR))
    };
    Ok(vec![
        of_firn("actions", &of_actions),
        of_firn("events", &of_events),
        tail("echo", "echo", &of_echoes),
    ])
}

/// A call to one of the entities after the other; the echo does not mind.
fn add(number: u64) -> AddItem {
    AddItem::to(number % ENTITIES)
}

/// Durable commands for ten minutes.
pub(super) async fn steady(programs: &Programs) -> Result<Vec<Figure>> {
    let served = Served::start(programs, &[]).await?;
    let target = Target::grpc(served.firn.clients, own::ADD, add);
    let times = (LOOKED_LONG, STEADY);
    let round = Round::run(programs, &target, &served.processes(), times, None).await?;
    served.stop().await?;
    let undisturbed = round.steady.all.undisturbed();
    let what = "firn.v1, durable events at 70 % of the highest rate, 10 minutes: p99.9";
    let p999 = vec![round.steady.time_ms(0.999)];
    let figure = Figure::new(what, Unit::Milliseconds, p999)
        .bound(Bound::AtMost(STEADY_MS_MAX))
        .stretch(Bound::AtMost(STEADY_MS_FOUGHT_FOR));
    let mut figure = measured(figure, "events", &[round]);
    // Not a figure of its own: there may be no such second, and a case always gives the same figures.
    if let Some(Undisturbed { latency, parts }) = undisturbed {
        let times = [
            ("p50, ms", latency.quantile_ms(0.5)),
            ("p99, ms", latency.quantile_ms(0.99)),
            ("p99.9, ms", latency.quantile_ms(0.999)),
            ("longest, ms", latency.max_ms()),
            ("seconds", parts as f64),
        ];
        for (name, value) in times {
            figure = figure.detail(&format!("left alone by the host: {name}"), value);
        }
    }
    Ok(vec![figure])
}

impl Round {
    async fn run(
        programs: &Programs,
        target: &Target,
        watched: &[Watched],
        (looked, measured): (Looked, Duration),
        before: Option<&Self>,
    ) -> Result<Self> {
        let before = before.map(|it| &it.highest);
        let highest = Highest::find(target, watched, programs.effort, looked, before).await?;
        let load = programs.effort.open(PART * highest.rate(), WARM, measured);
        load::rest(watched).await?;
        let steady = load::calmest(target, &load, watched, programs.effort).await?;
        Ok(Self { highest, steady })
    }
}

/// The same figure, with the loads that it comes from.
fn measured(figure: Figure, name: &str, rounds: &[Round]) -> Figure {
    let highest: Vec<&Highest> = rounds.iter().map(|it| &it.highest).collect();
    let steady: Vec<&Outcome> = rounds.iter().map(|it| &it.steady).collect();
    let steady = Measurement::of(name, &steady);
    let figure = figure.detail("then 70 % of it: processors", steady.processors());
    highest::shown(figure, name, &highest).measured(steady)
}
