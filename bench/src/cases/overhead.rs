//! What Firn adds to a call that meets nobody: an action at a steady 1,000 in a second, beside the same
//! calls made to a bare server.
//!
//! A function on firn.v1 dials Firn and cannot be called itself, so what stands for calling it is the
//! echo, which does the same with the same message. Calls begin on a schedule, and each counts from
//! when it was due.

use std::time::Duration;

use anyhow::Result;
use firn_load::Target;

use super::AddItem;
use super::served::Served;
use crate::figure::{Bound, Figure, Unit};
use crate::load::{self, Outcome};
use crate::measurement::Measurement;
use crate::rig::{Programs, Server};
use crate::{echo, own};

/// How often each is loaded.
const ROUNDS: usize = 7;

/// How many calls begin in a second.
const RATE: f64 = 1000.0;

/// What Firn may add, in microseconds, and what is fought for.
const ADDED_US_MAX: f64 = 200.0;
const ADDED_US_FOUGHT_FOR: f64 = 120.0;

const WARM: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let bare = Server::echo(programs).await?;
    let served = Served::start(programs, &[]).await?;
    let direct = Target::grpc(bare.address, echo::PATH, AddItem::to);
    let through = Target::grpc(served.firn.clients, own::ECHO, AddItem::to);
    let load = programs.effort.open(RATE, WARM, MEASURED);
    let of_echo = [bare.watched("echo")];
    let of_firn = served.processes();
    let (mut directs, mut throughs) = (Vec::new(), Vec::new());
    for _ in 0..programs.effort.rounds(ROUNDS) {
        directs.push(load::on(&direct, &load, &of_echo).await?);
        throughs.push(load::on(&through, &load, &of_firn).await?);
    }
    served.stop().await?;
    let added = throughs.iter().zip(&directs);
    let added = added.map(|(through, direct)| 1e3 * (through.time_ms(0.5) - direct.time_ms(0.5)));
    let measured =
        |name: &str, rounds: &[Outcome]| Measurement::of(name, &rounds.iter().collect::<Vec<_>>());
    let figure = Figure::new(
        "firn.v1, actions, 1,000 in a second: what Firn adds to p50",
        Unit::Microseconds,
        added.collect(),
    );
    Ok(vec![
        figure
            .bound(Bound::AtMost(ADDED_US_MAX))
            .stretch(Bound::AtMost(ADDED_US_FOUGHT_FOR))
            .measured(measured("actions", &throughs))
            .measured(measured("echo", &directs)),
    ])
}
