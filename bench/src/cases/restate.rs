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
use super::turns::{self, Loaded, Turns};
use super::{AddItem, id, json};
use crate::figure::{Bound, Figure};
use crate::load::Load;
use crate::own;
use crate::peers::Peers;
use crate::restate::{self, Restate};
use crate::rig::Programs;

/// How often each is loaded.
const ROUNDS: usize = 5;

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

/// What Firn's rate must be over Restate's, with its defaults and at its best.
const RATE_MIN: f64 = 15.0;
const RATE_MIN_BEST: f64 = 10.0;

/// What the time of a command that is alone may be of Restate's.
const TIME_MAX: f64 = 0.1;

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
    let [
        [firn, of_defaults, of_best],
        [one_firn, one_of_defaults, one_of_best],
    ] = [MANY, ONE].map(|load| {
        [
            turns.add(served.side("Firn", own::ADD, spread, load)),
            turns.add(loaded(&defaults, load)),
            turns.add(loaded(&best, load)),
        ]
    });
    turns.rounds(programs.effort, ROUNDS).await?;
    served.stop().await?;
    defaults.stop().await?;
    best.stop().await?;

    let settings = BEST.join(", ");
    let mut figures = Vec::new();
    for (name, settings, many, one, rate_min) in [
        (
            "Restate",
            "defaults",
            of_defaults,
            one_of_defaults,
            RATE_MIN,
        ),
        (
            "Restate at its best",
            &settings,
            of_best,
            one_of_best,
            RATE_MIN_BEST,
        ),
    ] {
        let of_this = [
            turns
                .rate(format!("{name}: Firn's rate over its"), (firn, many))
                .bound(Bound::AtLeast(rate_min)),
            turns.ratio(
                format!("{name}: Firn's processor time over its"),
                (firn, many),
                turns::processor,
            ),
            turns
                .ratio(
                    format!("{name}, one in flight: Firn's p50 over its"),
                    (one_firn, one),
                    turns::middle,
                )
                .bound(Bound::AtMost(TIME_MAX)),
        ];
        figures.extend(of_this.map(|figure| {
            figure
                .detail("version", version.clone())
                .detail("settings", settings)
        }));
    }
    Ok(figures)
}

/// A Restate, loaded with calls of its object.
fn loaded(restate: &Restate, load: Load) -> Loaded {
    let target = Target::json(restate.ingress, |number| {
        let cart = number % KEYS;
        (restate::add(&id(cart)), json::body(cart))
    });
    Loaded {
        name: "Restate",
        target: target.connections(load.connections),
        load,
        processes: restate.processes(),
    }
}
