//! Commands over firn.v1 beside a bare echo: ratios of one run.
//!
//! The function is on the SDK for Rust, has one connection, and gives back what comes, as the echo
//! does with the same message. An action has no state; a value entity is read, or set to a new state;
//! an event sourced entity stores one event for each command, one in ten with a snapshot, among 1,000
//! or always in the same. All are loaded in turns.
//!
//! A command that is alone waits for a hop and for a flush of the disk. What a bare hop takes is seen
//! at the echo, what a bare flush takes is measured in the same round: a record as long as that of the
//! command, written behind the one before it, in a file of which the room is reserved.

use std::time::Duration;

use anyhow::Result;

use super::served::{Served, echoed};
use super::turns::{self, Turns};
use super::{AddItem, flush};
use crate::figure::{Bound, Figure, Unit, median};
use crate::load::Load;
use crate::own;
use crate::rig::{Programs, Server};

/// How often each is loaded.
const ROUNDS: usize = 5;

/// How many entities are read or written to.
const ENTITIES: u64 = 1000;

const MANY: Load = Load {
    connections: 4,
    in_flight: 64,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

const MORE: Load = Load {
    in_flight: 256,
    ..MANY
};

const ONE: Load = Load {
    connections: 1,
    in_flight: 1,
    warm: Duration::from_millis(200),
    measured: Duration::from_secs(1),
};

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let bare = Server::echo(programs).await?;
    let served = Served::start(programs, &[]).await?;
    let spread = |number| AddItem::to(number % ENTITIES);
    let mut turns = Turns::default();
    let echo = turns.add(echoed(&bare, MANY));
    let action = turns.add(served.side("actions", own::ECHO, spread, MANY));
    let read = turns.add(served.side("reads", own::READ, spread, MANY));
    let update = turns.add(served.side("updates", own::FILL, spread, MANY));
    let many = turns.add(served.side("events", own::ADD, spread, MANY));
    let hot = turns.add(served.side(
        "events of one entity",
        own::ADD,
        |_| AddItem::to(ENTITIES),
        MANY,
    ));
    let more_echo = turns.add(echoed(&bare, MORE));
    let more = turns.add(served.side("events", own::ADD, spread, MORE));
    let one_echo = turns.add(echoed(&bare, ONE));
    let one = turns.add(served.side("events", own::ADD, spread, ONE));
    let folder = programs.folder()?;
    let alone_for = programs.effort.load(ONE).measured;
    let mut flushes = Vec::new();
    for _ in 0..programs.effort.rounds(ROUNDS) {
        turns.round(programs.effort).await?;
        let times = flush::times_ms(folder.path(), alone_for).await?;
        flushes.push(median(&times));
    }
    served.stop().await?;

    let rate =
        |name: &str, pair| turns.rate(format!("firn.v1, {name}: rate over the echo's"), pair);
    let processor = |name: &str, pair| {
        let what = format!("firn.v1, {name}: Firn's processor time over the echo's");
        turns.ratio(what, pair, turns::processor)
    };
    let (least, most) = (Bound::AtLeast, Bound::AtMost);
    let durable = "durable events, 64 in flight";
    Ok(vec![
        rate("actions", (action, echo))
            .bound(least(0.5))
            .stretch(least(0.6)),
        processor("actions", (action, echo))
            .bound(most(2.5))
            .stretch(most(2.0)),
        rate("reads of a value entity", (read, echo)).bound(least(0.5)),
        processor("reads of a value entity", (read, echo)).bound(most(2.5)),
        rate("updates of a value entity", (update, echo)),
        processor("updates of a value entity", (update, echo)),
        rate(durable, (many, echo))
            .bound(least(0.25))
            .stretch(least(0.35)),
        processor(durable, (many, echo))
            .bound(most(5.0))
            .stretch(most(4.0)),
        turns
            .rate(
                "firn.v1, one hot entity: rate over that of many",
                (hot, many),
            )
            .bound(least(0.5))
            .stretch(least(0.8)),
        rate("durable events, 256 in flight", (more, more_echo)),
        processor("durable events, 256 in flight", (more, more_echo)),
        alone(&turns, (one, one_echo), &flushes),
    ])
}

/// The time of a command that is alone over that of a hop and a flush.
fn alone(turns: &Turns, (one, echo): (turns::Turn, turns::Turn), flushes: &[f64]) -> Figure {
    let hops = turns.of(echo, turns::middle);
    let bare = hops.iter().zip(flushes).map(|(hop, flush)| hop + flush);
    let times = turns.of(one, turns::middle);
    let samples = times.iter().zip(bare).map(|(time, bare)| time / bare);
    let figure = Figure::new(
        "firn.v1, durable events, one in flight: p50 over hop and flush",
        Unit::Ratio,
        samples.collect(),
    );
    turns
        .details(figure, &[one, echo])
        .bound(Bound::AtMost(1.8))
        .stretch(Bound::AtMost(1.5))
        .detail("a bare flush, ms", median(flushes))
}
