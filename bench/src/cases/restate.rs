//! Durable commands through Firn beside the same through Restate: ratios of one run.
//!
//! Both keep a sum for each of 1,000 keys, in functions on their SDKs for Rust that have a process of
//! their own, and answer when the change is durable on the disk. Firn stores an event for each command,
//! one in ten with a snapshot, and is asked over gRPC; Restate stores the sum, and is asked at its
//! ingress with JSON, on HTTP/2 without TLS as well. What is asked says the same.
//!
//! Restate runs three times, one after the other: with its defaults, and twice with settings for one
//! node with few cores. Each takes turns with a Firn of its own, both on empty folders, and every load
//! begins when what the one before has left to do is done.

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

/// Where Restate's configuration differs from its defaults when it is at its best: few partitions, and
/// no journals of what has ended. Which number of partitions is best on few cores is not certain, so
/// both are tried, and Firn has to be ahead of both.
const TWO: [&str; 4] = ["default-num-partitions = 2", JOURNAL, IDEMPOTENCY, WORKFLOW];
const ONE: [&str; 4] = ["default-num-partitions = 1", JOURNAL, IDEMPOTENCY, WORKFLOW];
const JOURNAL: &str = "default-journal-retention = \"0s\"";
const IDEMPOTENCY: &str = "default-idempotency-retention = \"0s\"";
const WORKFLOW: &str = "default-workflow-completion-retention = \"0s\"";

/// What the three are called, how they are set, and what Firn's rate must be over theirs, and should.
const SIDES: [Side; 3] = [
    Side {
        name: "Restate",
        settings: &[],
        rate_min: 15.0,
        rate_wanted: 30.0,
    },
    Side {
        name: "Restate with two partitions",
        settings: &TWO,
        rate_min: 10.0,
        rate_wanted: 18.0,
    },
    Side {
        name: "Restate with one partition",
        settings: &ONE,
        rate_min: 10.0,
        rate_wanted: 18.0,
    },
];

/// What the time of a command that is alone may be of Restate's, and should be.
const TIME_MAX: f64 = 1.0 / 10.0;
const TIME_WANTED: f64 = 1.0 / 15.0;

const MANY: Load = Load {
    connections: 4,
    in_flight: 64,
    warm: Duration::from_secs(1),
    measured: Duration::from_secs(3),
};

const ALONE: Load = Load {
    connections: 1,
    in_flight: 1,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let version = Peers::restate_version()?;
    let spread = |number| AddItem::to(number % KEYS);
    let mut figures = Vec::new();
    for side in SIDES {
        let name = side.name;
        let served = Served::start(programs, &[]).await?;
        let restate = Restate::start(programs, side.settings).await?;
        let mut turns = Turns::resting();
        let [firn, firn_alone] =
            [MANY, ALONE].map(|load| turns.add(served.side("Firn", own::ADD, spread, load)));
        let [many, alone] = [MANY, ALONE].map(|load| turns.add(loaded(name, &restate, load)));
        turns.rounds(programs.effort, ROUNDS).await?;
        restate.stop().await?;
        served.stop().await?;
        let settings = match side.settings {
            [] => "defaults".to_owned(),
            settings => settings.join(", "),
        };
        figures.extend([
            turns
                .rate(format!("Firn's rate over that of {name}"), (firn, many))
                .bound(Bound::AtLeast(side.rate_min))
                .stretch(Bound::AtLeast(side.rate_wanted))
                .detail("version", version.clone())
                .detail("settings", settings),
            turns.ratio(
                format!("Firn's processor time over that of {name}"),
                (firn, many),
                turns::processor,
            ),
            turns
                .ratio(
                    format!("one in flight: Firn's p50 over that of {name}"),
                    (firn_alone, alone),
                    turns::middle,
                )
                .bound(Bound::AtMost(TIME_MAX))
                .stretch(Bound::AtMost(TIME_WANTED)),
        ]);
    }
    Ok(figures)
}

/// A Restate, and what is promised beside it.
struct Side {
    name: &'static str,
    settings: &'static [&'static str],
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
