//! Updates of replicated entities beside those of value entities: ratios of one run.
//!
//! The function counts in a value entity and in a replicated counter, and puts members into a
//! replicated set or takes them out again; all in one process, over the protocol of Kalix. An update
//! of the value entity is durable before its reply, one of a replicated entity is written behind: the
//! writing is part of what is measured, for the load goes on much longer than a write waits. The same
//! with the write consistency `MAJORITY`, which on one node means durable before the reply, is
//! measured besides. All are loaded in turns.

use std::time::Duration;

use anyhow::Result;

use crate::figure::{Bound, Figure, Unit, median};
use crate::load::{self, Load, Outcome};
use crate::measurement::Measurement;
use crate::rig::{Firn, Programs, Server};
use crate::tally::{self, Change};

/// How often each is loaded.
const ROUNDS: usize = 7;

/// How many entities of each kind are written to.
const ENTITIES: u64 = 1000;

/// Up to how many members a set has.
const MEMBERS: u64 = 32;

/// What an update may cost beside one of a value entity.
const COST_MAX: f64 = 1.3;

const LOAD: Load = Load {
    connections: 4,
    in_flight: 64,
    // What was written behind in the load before is over by then.
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

/// Replicated entities, by method, and whether a bound holds for them.
const REPLICATED: [(&str, &str, bool); 4] = [
    ("counter", tally::COUNTER, true),
    ("set", tally::SET, true),
    ("counter, MAJORITY", tally::DURABLE_COUNTER, false),
    ("set, MAJORITY", tally::DURABLE_SET, false),
];

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let function = Server::tally(programs).await?;
    let folder = programs.folder()?;
    let mut firn = Firn::start(programs, folder.path(), function.address, &[]);
    firn.serving().await?;
    let message = |number| Change {
        id: format!("entity-{:06}", number % ENTITIES),
        member: format!("member-{:02}", number / ENTITIES % MEMBERS),
    };
    let mut values = Vec::new();
    let mut replicated = REPLICATED.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        let processes = [firn.watched(), function.watched("function")];
        let paths = REPLICATED.map(|(_, path, _)| path);
        let outcomes = replicated.iter_mut();
        for (path, outcomes) in [(tally::VALUE, &mut values)]
            .into_iter()
            .chain(paths.into_iter().zip(outcomes))
        {
            outcomes.push(load::run(firn.clients, path, message, LOAD, &processes).await?);
        }
    }
    firn.stop().await?;
    let mut figures = Vec::new();
    for ((name, _, is_bound), outcomes) in REPLICATED.into_iter().zip(&replicated) {
        figures.extend(beside(name, is_bound, outcomes, &values));
    }
    Ok(figures)
}

/// What updates cost beside those of a value entity, round by round: in time and in Firn's processor
/// time.
fn beside(name: &str, is_bound: bool, outcomes: &[Outcome], values: &[Outcome]) -> [Figure; 2] {
    let figure = |what: &str, ratio: fn(&Outcome, &Outcome) -> f64| {
        let rounds = outcomes.iter().zip(values);
        let samples = rounds.map(|(outcome, value)| ratio(outcome, value));
        let what = format!("updates of a {name}: {what} over a value's");
        let figure = Figure::new(what, Unit::Ratio, samples.collect());
        if is_bound {
            figure.bound(Bound::AtMost(COST_MAX))
        } else {
            figure
        }
    };
    let time = figure("time", |outcome, value| value.rate / outcome.rate);
    let processor = figure("processor time", |outcome, value| {
        outcome.processor_us[0] / value.processor_us[0]
    });
    [
        time.detail(name, line(outcomes))
            .detail("value", line(values))
            .measured(Measurement::of(name, &outcomes.iter().collect::<Vec<_>>()))
            .measured(Measurement::of("value", &values.iter().collect::<Vec<_>>())),
        processor,
    ]
}

/// The absolute values: those of this machine in this hour.
fn line(outcomes: &[Outcome]) -> String {
    let of =
        |value: &dyn Fn(&Outcome) -> f64| median(&outcomes.iter().map(value).collect::<Vec<f64>>());
    format!(
        "{:.0}/s, p50 {:.3} ms, p99 {:.3} ms; processor for each call: Firn {:.1} µs, function {:.1} µs, load {:.1} µs",
        of(&|it| it.rate),
        of(&|it| it.time_ms(0.5)),
        of(&|it| it.time_ms(0.99)),
        of(&|it| it.processor_us[0]),
        of(&|it| it.processor_us[1]),
        of(&|it| it.own_processor_us),
    )
}
