//! Durable commands through Firn, over the protocol of Kalix, beside a bare echo: ratios of one run.
//!
//! The command is the cart's `AddItem`, and its function is in Rust: one event for each call, one in
//! ten with a snapshot. The echo takes the same message and gives it back. Both are loaded in turns.

use std::time::Duration;

use anyhow::Result;

use super::served::echoed;
use super::turns::{self, Side, Turns};
use super::{ADD_ITEM, AddItem};
use crate::figure::{Bound, Figure};
use crate::load::Load;
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

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let cart = Server::cart(programs).await?;
    let bare = Server::echo(programs).await?;
    let folder = programs.folder()?;
    let mut firn = Firn::start(programs, folder.path(), cart.address, &[]);
    firn.serving().await?;
    let carts = |load| Side {
        name: "Kalix in Rust",
        server: firn.clients,
        path: ADD_ITEM,
        message: |number| AddItem::to(number % CARTS),
        load,
        processes: vec![firn.watched(), cart.watched("cart")],
    };
    let mut turns = Turns::default();
    let many = (turns.add(carts(MANY)), turns.add(echoed(&bare, MANY)));
    let one = (turns.add(carts(ONE)), turns.add(echoed(&bare, ONE)));
    turns.rounds(programs.effort, ROUNDS).await?;
    firn.stop().await?;
    let of_kalix = "Kalix in Rust, durable events";
    Ok(vec![
        turns
            .rate(
                format!("{of_kalix}, 64 in flight: rate over the echo's"),
                many,
            )
            .bound(Bound::AtLeast(0.18))
            .stretch(Bound::AtLeast(0.25)),
        turns.ratio(
            format!("{of_kalix}: Firn's processor time over the echo's"),
            many,
            turns::processor,
        ),
        turns.ratio(
            format!("{of_kalix}, one in flight: p50 over the echo's"),
            one,
            turns::middle,
        ),
    ])
}
