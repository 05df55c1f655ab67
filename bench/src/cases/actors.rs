//! Durable commands through Firn beside actors in one process: ratios of one run, without a bound.
//!
//! The actors are those of a library for Rust, asked by tasks of their own process: nothing is encoded
//! for a wire, no socket is read. They write a record for each command to a log that is flushed before
//! the answer, many records at once; or, the second time, nothing. So they show what a process
//! boundary and a function behind it cost, and are no goal.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use firn_testkit::process::Process;
use serde::Deserialize;

use super::AddItem;
use super::served::Served;
use super::turns::{self, Turn, Turns};
use crate::figure::{Figure, Unit, median};
use crate::load::Load;
use crate::own;
use crate::peers::Peers;
use crate::rig::{Programs, until};

/// How often each is loaded.
const ROUNDS: usize = 5;

/// How many entities are written to: as many as there are actors.
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

/// What came of a load on actors, as they say it.
#[derive(Deserialize)]
struct Outcome {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    /// For each command, with what asks the actors.
    processor_us: f64,
    /// For each command.
    flushes: f64,
}

/// Actors under one load.
struct Actors {
    load: Load,
    /// Whether they have a log.
    is_durable: bool,
    outcomes: Vec<Outcome>,
}

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let served = Served::start(programs, &[]).await?;
    let mut turns = Turns::default();
    let mut add = |load| {
        let message = |number| AddItem::to(number % ENTITIES);
        turns.add(served.side("Firn", own::ADD, message, load))
    };
    let (many, one) = (add(MANY), add(ONE));
    let mut all =
        [(MANY, true), (MANY, false), (ONE, true), (ONE, false)].map(|(load, is_durable)| Actors {
            load,
            is_durable,
            outcomes: Vec::new(),
        });
    for _ in 0..programs.effort.rounds(ROUNDS) {
        turns.round(programs.effort).await?;
        for actors in &mut all {
            actors.round(programs).await?;
        }
    }
    served.stop().await?;
    let [durable, memory, one_durable, one_memory] = &all;
    let rate = |outcome: &Outcome| outcome.rate;
    let middle = |outcome: &Outcome| outcome.p50_ms;
    let firn_rate = |it: &crate::load::Outcome| it.rate;
    Ok(vec![
        durable.figure(
            "actors with a log: Firn's rate over theirs",
            &turns,
            (many, firn_rate),
            rate,
        ),
        memory.figure(
            "actors in memory: Firn's rate over theirs",
            &turns,
            (many, firn_rate),
            rate,
        ),
        durable.figure(
            "actors with a log: all processor time with Firn over theirs",
            &turns,
            (many, turns::processor_of_all),
            |outcome| outcome.processor_us,
        ),
        one_durable.figure(
            "actors with a log, one in flight: Firn's p50 over theirs",
            &turns,
            (one, turns::middle),
            middle,
        ),
        one_memory.figure(
            "actors in memory, one in flight: Firn's p50 over theirs",
            &turns,
            (one, turns::middle),
            middle,
        ),
    ])
}

impl Actors {
    /// Starts the process, which loads itself and ends.
    async fn round(&mut self, programs: &Programs) -> Result<()> {
        let folder = programs.folder()?;
        let load = programs.effort.load(self.load);
        let mut command = Command::new(Peers::of(programs).actors);
        match self.is_durable {
            true => command.arg("--log").arg(folder.path()),
            false => command.arg("--memory"),
        };
        command
            .args(["--in-flight", &load.in_flight.to_string()])
            .args(["--warm-ms", &load.warm.as_millis().to_string()])
            .args(["--measured-ms", &load.measured.as_millis().to_string()]);
        let mut process = Process::start("actors", &mut command, &folder.path().join("output"));
        let ended = until("the actors", || process.ended()).await?;
        let output = process.log();
        ensure!(ended.success(), "the actors ended with {ended}:\n{output}");
        let outcome = serde_json::from_str(&output).with_context(|| output.clone())?;
        self.outcomes.push(outcome);
        Ok(())
    }

    /// What Firn gave over what these gave, round by round.
    fn figure(
        &self,
        what: &str,
        turns: &Turns,
        (firn, of_firn): (Turn, fn(&crate::load::Outcome) -> f64),
        of: fn(&Outcome) -> f64,
    ) -> Figure {
        let firns = turns.of(firn, of_firn).into_iter();
        let pairs = firns.zip(self.outcomes.iter().map(of));
        let samples = pairs.map(|(firn, actors)| firn / actors).collect();
        turns
            .details(Figure::new(what, Unit::Ratio, samples), &[firn])
            .detail("actors", self.line())
    }

    /// The absolute values: those of this machine in this hour.
    fn line(&self) -> String {
        let of = |value: fn(&Outcome) -> f64| {
            median(&self.outcomes.iter().map(value).collect::<Vec<f64>>())
        };
        format!(
            "{:.0}/s, p50 {:.4} ms, p99 {:.4} ms, p99.9 {:.4} ms; for each call: processor {:.1} µs \
             with what asks, {:.3} flushes",
            of(|it| it.rate),
            of(|it| it.p50_ms),
            of(|it| it.p99_ms),
            of(|it| it.p999_ms),
            of(|it| it.processor_us),
            of(|it| it.flushes),
        )
    }
}
