//! Durable commands through Firn beside the same through Restate: ratios of one run.
//!
//! Both keep a sum for each of 1,000 keys, in functions on their SDKs for Rust that have a process of
//! their own, and answer when the change is durable on the disk. Firn stores an event for each command,
//! one in ten with a snapshot, and is asked over gRPC; Restate stores the sum, and is asked at its
//! ingress with JSON, on HTTP/2 without TLS as well. What is asked says the same.
//!
//! Restate runs twice: with its defaults, and with the settings that are best for one node with few
//! cores.

use std::time::Duration;

use anyhow::Result;
use firn_load::Target;

use super::served::Served;
use super::turns::{self, Loaded, Turn, Turns};
use super::{AddItem, id, json};
use crate::figure::{Bound, Figure};
use crate::load::Load;
use crate::own;
use crate::peers::Peers;
use crate::restate::{self, Restate};
use crate::rig::Programs;

/// How often each is loaded.
const ROUNDS: usize = 5;

/// What the two are called.
const DEFAULTS: &str = "Restate";
const AT_ITS_BEST: &str = "Restate at its best";

/// How many keys are written to.
const KEYS: u64 = 1000;

/// Where Restate's configuration differs from its defaults when it is at its best: as many partitions
/// as there are cores on a small machine, and no journals of what has ended.
const BEST: [&str; 4] = [
    "default-num-partitions = 2",
    "default-journal-retention = \"0s\"",
    "default-idempotency-retention = \"0s\"",
    "default-workflow-completion-retention = \"0s\"",
];

/// What the time of a command that is alone may be of Restate's, and should be.
const TIME_MAX: f64 = 1.0 / 10.0;
const TIME_WANTED: f64 = 1.0 / 15.0;

const MANY: Load = Load {
    connections: 4,
    in_flight: 64,
    warm: Duration::from_secs(1),
    measured: Duration::from_secs(4),
};

const ONE: Load = Load {
    connections: 1,
    in_flight: 1,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let version = Peers::restate_version()?;
    let served = Served::start(programs, &[]).await?;
    let defaults = Restate::start(programs, &[]).await?;
    let best = Restate::start(programs, &BEST).await?;
    let spread = |number| AddItem::to(number % KEYS);
    let mut turns = Turns::default();
    let [firn, one_firn] =
        [MANY, ONE].map(|load| turns.add(served.side("Firn", own::ADD, spread, load)));
    let settings = BEST.join(", ");
    let sides = [
        Side {
            name: DEFAULTS,
            settings: "defaults",
            turns: [MANY, ONE].map(|load| turns.add(loaded(DEFAULTS, &defaults, load))),
            rate_min: 15.0,
            rate_wanted: 30.0,
        },
        Side {
            name: AT_ITS_BEST,
            settings: &settings,
            turns: [MANY, ONE].map(|load| turns.add(loaded(AT_ITS_BEST, &best, load))),
            rate_min: 10.0,
            rate_wanted: 18.0,
        },
    ];
    turns.rounds(programs.effort, ROUNDS).await?;
    served.stop().await?;
    defaults.stop().await?;
    best.stop().await?;

    let mut figures = Vec::new();
    for side in sides {
        let (name, [many, one]) = (side.name, side.turns);
        figures.extend([
            turns
                .rate(format!("Firn's rate over that of {name}"), (firn, many))
                .bound(Bound::AtLeast(side.rate_min))
                .stretch(Bound::AtLeast(side.rate_wanted))
                .detail("version", version.clone())
                .detail("settings", side.settings),
            turns.ratio(
                format!("Firn's processor time over that of {name}"),
                (firn, many),
                turns::processor,
            ),
            turns
                .ratio(
                    format!("one in flight: Firn's p50 over that of {name}"),
                    (one_firn, one),
                    turns::middle,
                )
                .bound(Bound::AtMost(TIME_MAX))
                .stretch(Bound::AtMost(TIME_WANTED)),
        ]);
    }
    Ok(figures)
}

/// A Restate, and what is promised beside it.
struct Side<'a> {
    name: &'static str,
    settings: &'a str,
    /// Many in flight, and one.
    turns: [Turn; 2],
    /// What Firn's rate must be over its, and should be.
    rate_min: f64,
    rate_wanted: f64,
}

/// A Restate, loaded with calls of its object.
fn loaded(name: &'static str, restate: &Restate, load: Load) -> Loaded {
    let target = Target::json(restate.ingress, |number| {
        let cart = number % KEYS;
        (restate::add(&id(cart)), json::body(cart))
    });
    Loaded {
        name,
        target: target.connections(load.connections),
        load,
        processes: restate.processes(),
    }
}
