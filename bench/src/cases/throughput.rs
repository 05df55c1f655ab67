//! Durable commands through Firn beside a bare echo: ratios of one run.
//!
//! The command is the cart's `AddItem`, over the protocol of Kalix and its function in Rust: one
//! event for each call, one in ten with a snapshot. The echo takes the same message and gives it
//! back. Both are loaded in turns.

use std::time::Duration;

use anyhow::Result;

use super::{ADD_ITEM, AddItem};
use crate::echo;
use crate::figure::{Bound, Figure, Unit, median};
use crate::load::{self, Load, Outcome};
use crate::rig::{Firn, Programs, Server};

/// How often each is loaded.
const ROUNDS: usize = 5;

/// How many carts are written to.
const CARTS: u64 = 1000;

const MANY: Load = Load {
    connections: 4,
    in_flight: 64,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(3),
};

const ONE: Load = Load {
    connections: 1,
    in_flight: 1,
    warm: Duration::from_millis(200),
    measured: Duration::from_secs(1),
};

/// The outcomes of one load on both.
#[derive(Default)]
struct Pairs {
    echo: Vec<Outcome>,
    firn: Vec<Outcome>,
}

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let cart = Server::cart(programs).await?;
    let echo = Server::echo(programs).await?;
    let folder = programs.folder()?;
    let mut firn = Firn::start(programs, folder.path(), cart.address, &[]);
    firn.serving().await?;
    let message = |number| AddItem::to(number % CARTS);
    let (mut many, mut one) = (Pairs::default(), Pairs::default());
    for _ in 0..ROUNDS {
        for (load, pairs) in [(MANY, &mut many), (ONE, &mut one)] {
            let processes = [echo.id()];
            let outcome = load::run(echo.address, echo::PATH, message, load, &processes).await?;
            pairs.echo.push(outcome);
            let processes = [firn.id(), cart.id()];
            let outcome = load::run(firn.clients, ADD_ITEM, message, load, &processes).await?;
            pairs.firn.push(outcome);
        }
    }
    firn.stop().await?;
    Ok(vec![
        many.details(
            many.ratio(
                "durable commands, 64 in flight: rate over the echo's",
                |it| it.rate,
            )
            .bound(Bound::AtLeast(0.18)),
        ),
        many.ratio(
            "durable commands, 64 in flight: Firn's processor time over the echo's",
            |it| it.processor_us[0],
        ),
        one.details(one.ratio(
            "durable commands, one in flight: median time over the echo's",
            |it| it.time_ms(0.5),
        )),
    ])
}

impl Pairs {
    /// What Firn has over what the echo has, round by round.
    fn ratio(&self, what: &str, of: impl Fn(&Outcome) -> f64) -> Figure {
        let rounds = self.firn.iter().zip(&self.echo);
        let samples = rounds.map(|(firn, echo)| of(firn) / of(echo)).collect();
        Figure::new(what, Unit::Ratio, samples)
    }

    /// The absolute values: those of this machine in this hour.
    fn details(&self, figure: Figure) -> Figure {
        let line = |outcomes: &[Outcome], names: &[&str]| {
            let of = |value: &dyn Fn(&Outcome) -> f64| {
                median(&outcomes.iter().map(value).collect::<Vec<f64>>())
            };
            let mut line = format!(
                "{:.0}/s, p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms; processor for each call:",
                of(&|it| it.rate),
                of(&|it| it.time_ms(0.5)),
                of(&|it| it.time_ms(0.99)),
                of(&|it| it.time_ms(0.999)),
            );
            for (index, name) in names.iter().enumerate() {
                line += &format!(" {name} {:.1} µs,", of(&|it| it.processor_us[index]));
            }
            line + &format!(" load {:.1} µs", of(&|it| it.own_processor_us))
        };
        figure
            .detail("echo", line(&self.echo, &["echo"]))
            .detail("Firn", line(&self.firn, &["Firn", "cart"]))
    }
}
