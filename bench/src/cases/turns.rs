//! Servers that are loaded in turns, and what one gave beside another in the same round.
//!
//! What else the machine does meets all of them, so their ratio says more than each alone.

use std::net::SocketAddr;

use anyhow::Result;
use firn_load::{Target, Watched};

use super::AddItem;
use crate::effort::Effort;
use crate::figure::{Figure, Unit};
use crate::load::{self, Load, Outcome};
use crate::measurement::Measurement;

/// A server that is loaded with gRPC calls of a method.
pub(super) struct Side {
    /// What its values are called beside those of others.
    pub(super) name: &'static str,
    pub(super) server: SocketAddr,
    pub(super) path: &'static str,
    pub(super) message: fn(u64) -> AddItem,
    pub(super) load: Load,
    /// Its processes by their names. The first is the server, whose processor time is compared.
    pub(super) processes: Vec<Watched>,
}

/// Anything that is loaded.
pub(super) struct Loaded {
    pub(super) name: &'static str,
    pub(super) target: Target,
    pub(super) load: Load,
    pub(super) processes: Vec<Watched>,
}

impl From<Side> for Loaded {
    fn from(side: Side) -> Self {
        let target = Target::grpc(side.server, side.path, side.message);
        Self {
            name: side.name,
            target: target.connections(side.load.connections),
            load: side.load,
            processes: side.processes,
        }
    }
}

/// One of those that take turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn(usize);

/// All that take turns, and what came of it, a value for each round.
#[derive(Default)]
pub(super) struct Turns {
    all: Vec<(Loaded, Vec<Outcome>)>,
    /// Whether each waits until the others are at rest.
    wait_for_rest: bool,
}

impl Turns {
    /// None yet; each will wait until the others have ended what a load has left them to do.
    pub(super) fn resting() -> Self {
        Self {
            wait_for_rest: true,
            ..Self::default()
        }
    }

    /// Adds one.
    pub(super) fn add(&mut self, loaded: impl Into<Loaded>) -> Turn {
        self.all.push((loaded.into(), Vec::new()));
        Turn(self.all.len() - 1)
    }

    /// Loads all, so many times.
    pub(super) async fn rounds(&mut self, effort: Effort, rounds: usize) -> Result<()> {
        for _ in 0..effort.rounds(rounds) {
            self.round(effort).await?;
        }
        Ok(())
    }

    /// Loads all once, in the other direction every second time: who comes second may find what the
    /// first has left to do.
    pub(super) async fn round(&mut self, effort: Effort) -> Result<()> {
        let is_back = self.all.first().is_some_and(|(_, it)| it.len() % 2 == 1);
        let processes = self.all.iter().flat_map(|(loaded, _)| &loaded.processes);
        let processes: Vec<Watched> = match self.wait_for_rest {
            true => processes.cloned().collect(),
            false => Vec::new(),
        };
        let mut all: Vec<_> = self.all.iter_mut().collect();
        if is_back {
            all.reverse();
        }
        for (loaded, outcomes) in all {
            load::rest(&processes).await?;
            let load = effort.load(loaded.load);
            let load = firn_load::Load::closed(load.in_flight, load.warm, load.measured);
            let calmest = load::calmest(&loaded.target, &load, &loaded.processes, effort);
            outcomes.push(calmest.await?);
        }
        Ok(())
    }

    /// What one gave in each round.
    pub(super) fn of(&self, turn: Turn, value: impl Fn(&Outcome) -> f64) -> Vec<f64> {
        self.all[turn.0].1.iter().map(value).collect()
    }

    /// What one has over what the other has, round by round.
    pub(super) fn ratio(
        &self,
        what: impl Into<String>,
        (one, other): (Turn, Turn),
        value: fn(&Outcome) -> f64,
    ) -> Figure {
        let pairs = self.of(one, value).into_iter().zip(self.of(other, value));
        let samples = pairs.map(|(one, other)| one / other).collect();
        self.details(Figure::new(what, Unit::Ratio, samples), &[one, other])
    }

    /// The rate of one over that of the other.
    ///
    /// On a machine that does other work too, the rate says who got the processors. What a call takes
    /// of them in all processes together says which rate they allow, and stands beside it.
    pub(super) fn rate(&self, what: impl Into<String>, (one, other): (Turn, Turn)) -> Figure {
        let allowed = self.ratio("", (other, one), processor_of_all);
        self.ratio(what, (one, other), |it| it.rate).detail(
            "the same by the processor time of all processes",
            allowed.value,
        )
    }

    /// The same figure, with the loads that it comes from.
    pub(super) fn details(&self, figure: Figure, turns: &[Turn]) -> Figure {
        turns.iter().fold(figure, |figure, turn| {
            let (loaded, outcomes) = &self.all[turn.0];
            let outcomes: Vec<&Outcome> = outcomes.iter().collect();
            figure.measured(Measurement::of(loaded.name, &outcomes))
        })
    }
}

/// What a call takes of the processors in the server.
pub(super) fn processor(outcome: &Outcome) -> f64 {
    outcome.processor_us[0]
}

/// What a call takes of the processors, in the load, the server and the function.
pub(super) fn processor_of_all(outcome: &Outcome) -> f64 {
    outcome.own_processor_us + outcome.processor_us.iter().sum::<f64>()
}

/// The time that half of the calls took at most.
pub(super) fn middle(outcome: &Outcome) -> f64 {
    outcome.time_ms(0.5)
}
