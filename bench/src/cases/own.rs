//! Commands over firn.v1 beside a bare echo: ratios of one run.
//!
//! The function is on the SDK for Rust, has one connection, and gives back what comes, as the echo
//! does with the same message. An action has no state; a value entity is read and not changed; an
//! event sourced entity stores one event for each command, one in ten with a snapshot, among 1,000 or
//! always in the same. All are loaded in turns.
//!
//! On a machine that does other work too, the rate says who got the processors. What a call takes of
//! them in all processes together says which rate they allow, and stands beside it.

use std::time::Duration;

use anyhow::Result;

use super::AddItem;
use crate::echo;
use crate::figure::{Bound, Figure, Unit, median};
use crate::load::{self, Load, Outcome};
use crate::own;
use crate::rig::{Dialer, Firn, Programs, Server};

/// How often each is loaded.
const ROUNDS: usize = 5;

/// How many entities are read or written to.
const ENTITIES: u64 = 1000;

/// What a command without a change of state must reach of the echo's rate, and may take of its
/// processor time.
const RATE_MIN: f64 = 0.5;
const PROCESSOR_MAX: f64 = 2.5;

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

/// What is loaded, in this order in each round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Echo,
    Action,
    Read,
    Many,
    Hot,
    OneEcho,
    OneDurable,
}

impl Target {
    const ALL: [Self; 7] = [
        Self::Echo,
        Self::Action,
        Self::Read,
        Self::Many,
        Self::Hot,
        Self::OneEcho,
        Self::OneDurable,
    ];

    fn load(self) -> Load {
        match self {
            Self::OneEcho | Self::OneDurable => ONE,
            _ => MANY,
        }
    }

    fn is_echo(self) -> bool {
        matches!(self, Self::Echo | Self::OneEcho)
    }

    fn path(self) -> &'static str {
        match self {
            Self::Echo | Self::OneEcho => echo::PATH,
            Self::Action => own::ECHO,
            Self::Read => own::READ,
            Self::Many | Self::Hot | Self::OneDurable => own::ADD,
        }
    }

    fn message(self) -> fn(u64) -> AddItem {
        match self {
            Self::Hot => |_| AddItem::to(ENTITIES),
            _ => |number| AddItem::to(number % ENTITIES),
        }
    }
}

/// The outcomes of all rounds, by [`Target::ALL`].
struct Rounds(Vec<[Outcome; Target::ALL.len()]>);

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let echo = Server::echo(programs).await?;
    let folder = programs.folder()?;
    let mut firn = Firn::start_own(programs, folder.path(), &[]);
    firn.up().await?;
    let function = Dialer::own(programs, firn.functions)?;
    firn.serving().await?;
    let mut rounds = Vec::new();
    for _ in 0..programs.effort.rounds(ROUNDS) {
        let mut round = Vec::new();
        for target in Target::ALL {
            let of_firn = [firn.id(), function.id()];
            let (server, processes) = match target.is_echo() {
                true => (echo.address, &[echo.id()][..]),
                false => (firn.clients, &of_firn[..]),
            };
            let (path, message) = (target.path(), target.message());
            let load = programs.effort.load(target.load());
            round.push(load::run(server, path, message, load, processes).await?);
        }
        let round = round.try_into().ok();
        rounds.push(round.expect("as many outcomes as targets"));
    }
    firn.stop().await?;
    Ok(Rounds(rounds).figures())
}

impl Rounds {
    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (name, target) in [
            ("actions", Target::Action),
            ("reads of a value entity", Target::Read),
        ] {
            let rate = self.rate(&format!("firn.v1, {name}: rate over the echo's"), target);
            let processor =
                self.processor(&format!("firn.v1, {name}: Firn's processor time"), target);
            figures.push(rate.bound(Bound::AtLeast(RATE_MIN)));
            figures.push(processor.bound(Bound::AtMost(PROCESSOR_MAX)));
        }
        let durable = "firn.v1, durable events";
        figures.push(self.rate(&format!("{durable}: rate over the echo's"), Target::Many));
        figures.push(self.processor(&format!("{durable}: Firn's processor time"), Target::Many));
        let hot = format!("{durable}, one hot entity: rate over that of many");
        let allowed = self.ratio(&hot, (Target::Many, Target::Hot), processor_of_all);
        figures.push(
            self.ratio(&hot, (Target::Hot, Target::Many), |it| it.rate)
                .detail(
                    "the same by the processor time of all processes",
                    allowed.value,
                ),
        );
        figures.push(self.ratio(
            &format!("{durable}, one in flight: median time over the echo's"),
            (Target::OneDurable, Target::OneEcho),
            |it| it.time_ms(0.5),
        ));
        figures
    }

    fn rate(&self, what: &str, target: Target) -> Figure {
        let allowed = self.ratio(what, (Target::Echo, target), processor_of_all);
        self.ratio(what, (target, Target::Echo), |it| it.rate)
            .detail(
                "the same by the processor time of all processes",
                allowed.value,
            )
    }

    fn processor(&self, what: &str, target: Target) -> Figure {
        let what = format!("{what} over the echo's");
        self.ratio(&what, (target, Target::Echo), |it| it.processor_us[0])
    }

    /// What one has over what the other has, round by round.
    fn ratio(
        &self,
        what: &str,
        (one, other): (Target, Target),
        of: impl Fn(&Outcome) -> f64,
    ) -> Figure {
        let samples = self
            .of(one)
            .zip(self.of(other))
            .map(|(one, other)| of(one) / of(other));
        let figure = Figure::new(what, Unit::Ratio, samples.collect());
        let name = |target: Target| if target.is_echo() { "echo" } else { "Firn" };
        let other_name = if other.is_echo() { "echo" } else { "many" };
        figure
            .detail(name(one), self.line(one))
            .detail(other_name, self.line(other))
    }

    fn of(&self, target: Target) -> impl Iterator<Item = &Outcome> {
        let index = Target::ALL.iter().position(|it| *it == target);
        self.0
            .iter()
            .map(move |round| &round[index.expect("all are there")])
    }

    /// The absolute values: those of this machine in this hour.
    fn line(&self, target: Target) -> String {
        let of = |value: &dyn Fn(&Outcome) -> f64| {
            median(&self.of(target).map(value).collect::<Vec<f64>>())
        };
        let names = match target.is_echo() {
            true => &["echo"][..],
            false => &["Firn", "function"],
        };
        let mut line = format!(
            "{:.0}/s, p50 {:.3} ms, p99 {:.3} ms; processor for each call:",
            of(&|it| it.rate),
            of(&|it| it.time_ms(0.5)),
            of(&|it| it.time_ms(0.99)),
        );
        for (index, name) in names.iter().enumerate() {
            line += &format!(" {name} {:.1} µs,", of(&|it| it.processor_us[index]));
        }
        line + &format!(" load {:.1} µs", of(&|it| it.own_processor_us))
    }
}

/// What a call takes of the processors, in the load, the server and the function.
fn processor_of_all(outcome: &Outcome) -> f64 {
    outcome.own_processor_us + outcome.processor_us.iter().sum::<f64>()
}
