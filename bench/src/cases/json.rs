//! Commands that come in as JSON over HTTP, beside the same ones over gRPC: ratios of one run.
//!
//! Both come over HTTP/2 and go to the same function on firn.v1. JSON is converted with the function's
//! descriptors on the way in and out, which is what is measured. All are loaded in turns.

use std::time::Duration;

use anyhow::Result;
use firn_load::Target;

use super::served::Served;
use super::turns::{self, Loaded, Turns};
use super::{AddItem, id};
use crate::figure::Figure;
use crate::load::Load;
use crate::own;
use crate::rig::Programs;

/// How often each is loaded.
const ROUNDS: usize = 5;

/// How many entities are written to.
const ENTITIES: u64 = 1000;

const LOAD: Load = Load {
    connections: 4,
    in_flight: 64,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let served = Served::start(programs, &[]).await?;
    let spread = |number| AddItem::to(number % ENTITIES);
    let mut turns = Turns::default();
    let mut pairs = Vec::new();
    for (name, path, names) in [
        ("actions", own::ECHO, ["actions, JSON", "actions, gRPC"]),
        ("durable events", own::ADD, ["events, JSON", "events, gRPC"]),
    ] {
        let target = Target::json(served.firn.clients, move |number| {
            (path.to_owned(), body(number % ENTITIES))
        });
        let json = turns.add(Loaded {
            name: names[0],
            target: target.connections(LOAD.connections),
            load: LOAD,
            processes: served.processes(),
        });
        let grpc = turns.add(served.side(names[1], path, spread, LOAD));
        pairs.push((name, (json, grpc)));
    }
    turns.rounds(programs.effort, ROUNDS).await?;
    served.stop().await?;
    let figures = pairs.into_iter().flat_map(|(name, pair)| {
        let cost = format!("JSON, {name}: Firn's processor time over that of gRPC");
        [
            turns.rate(format!("JSON, {name}: rate over that of gRPC"), pair),
            turns.ratio(cost, pair, turns::processor),
        ]
    });
    Ok(figures.collect())
}

/// What [`AddItem::to`] is in JSON.
pub(super) fn body(cart: u64) -> String {
    let id = id(cart);
    format!(r#"{{"cartId":"{id}","productId":"tea","name":"Tea, green","quantity":1}}"#)
}
