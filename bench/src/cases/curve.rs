//! Latency at steady rates: an echo and durable events over firn.v1, at 10 to 90 % of what each can.
//!
//! What each can is looked for first, as the highest rate that can be sustained on a schedule. Then
//! calls begin on a schedule, and each counts from when it was due.

use std::time::Duration;

use anyhow::Result;
use firn_load::{Target, Watched};

use super::AddItem;
use super::highest::{self, Highest, Looked};
use super::served::Served;
use crate::figure::{Figure, Unit};
use crate::load::{self, Outcome};
use crate::measurement::Measurement;
use crate::rig::{Programs, Server};
use crate::{echo, own};

/// How often each point is measured.
const ROUNDS: usize = 3;

/// How many entities are written to.
const ENTITIES: u64 = 1000;

/// The parts of the highest rate, in percent.
const PERCENT: [u32; 9] = [10, 20, 30, 40, 50, 60, 70, 80, 90];

/// That at which the figure is taken.
const FIGURE: u32 = 50;

const WARM: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(2);

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let bare = Server::echo(programs).await?;
    let served = Served::start(programs, &[]).await?;
    let events = |number| AddItem::to(number % ENTITIES);
    let of_firn = served.processes();
    let figures = vec![
        curve(
            programs,
            "echo",
            Target::grpc(bare.address, echo::PATH, AddItem::to),
            &[bare.watched("echo")],
        )
        .await?,
        curve(
            programs,
            "Firn, durable events",
            Target::grpc(served.firn.clients, own::ADD, events),
            &of_firn,
        )
        .await?,
    ];
    served.stop().await?;
    Ok(figures)
}

async fn curve(
    programs: &Programs,
    name: &str,
    target: Target,
    watched: &[Watched],
) -> Result<Figure> {
    let highest = Highest::find(&target, watched, programs.effort, Looked::SHORT, None).await?;
    let percents: &[u32] = match programs.effort.rounds(PERCENT.len()) {
        1 => &[FIGURE],
        _ => &PERCENT,
    };
    let mut points: Vec<Vec<Outcome>> = percents.iter().map(|_| Vec::new()).collect();
    for _ in 0..programs.effort.rounds(ROUNDS) {
        for (percent, outcomes) in percents.iter().zip(&mut points) {
            let rate = highest.rate() * f64::from(*percent) / 100.0;
            let load = programs.effort.open(rate, WARM, MEASURED);
            outcomes.push(load::on(&target, &load, watched).await?);
        }
    }
    let at = percents.iter().position(|percent| *percent == FIGURE);
    let at = &points[at.expect("it is among them")];
    let figure = Figure::new(
        format!("{name}, at half of its highest rate: p50"),
        Unit::Milliseconds,
        at.iter().map(|outcome| outcome.time_ms(0.5)).collect(),
    );
    let figure = highest::shown(figure, name, &[&highest]);
    Ok(points.iter().fold(figure, |figure, outcomes| {
        let outcomes: Vec<&Outcome> = outcomes.iter().collect();
        figure.measured(Measurement::of(name, &outcomes))
    }))
}
