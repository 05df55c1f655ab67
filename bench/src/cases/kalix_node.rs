//! Durable commands through Firn to a function on the published SDK of Kalix for JavaScript, beside a
//! bare echo: ratios of one run.
//!
//! The function is the peer's cart, unmodified: one event for each call, one in five with a snapshot.
//! Node has one thread for it, and is what bounds the rate; Firn's own part is its processor time.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::AddItem;
use super::served::echoed;
use super::turns::{self, Side, Turns};
use crate::figure::Figure;
use crate::load::Load;
use crate::rig::{Firn, Programs, Server, done};

/// How often each is loaded.
const ROUNDS: usize = 3;

/// How many carts are written to.
const CARTS: u64 = 1000;

/// The method that stores one event; its request is as the echo's.
const ADD_ITEM: &str = "/peers.Cart/AddItem";

const LOAD: Load = Load {
    connections: 4,
    in_flight: 64,
    // The compiler of the language has to see the code first.
    warm: Duration::from_millis(1500),
    measured: Duration::from_secs(3),
};

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers/kalix-node");
    let folder = programs.folder()?;
    let mut set_up = Command::new("./setup");
    done(
        "the set-up of the function for node",
        set_up.current_dir(&peer),
        &folder.path().join("set-up.log"),
    )
    .await?;
    let mut start = Command::new("./start");
    let function = Server::start(programs, "node", start.current_dir(&peer)).await?;
    let bare = Server::echo(programs).await?;
    let mut firn = Firn::start(programs, folder.path(), function.address, &[]);
    firn.serving().await?;
    let mut turns = Turns::default();
    let carts = turns.add(Side {
        name: "Kalix on node",
        server: firn.clients,
        path: ADD_ITEM,
        message: |number| AddItem::to(number % CARTS),
        load: LOAD,
        processes: vec![firn.watched(), function.watched("node")],
    });
    let echo = turns.add(echoed(&bare, LOAD));
    turns.rounds(programs.effort, ROUNDS).await?;
    firn.stop().await?;
    let of_node = "Kalix on node, durable events, 64 in flight";
    Ok(vec![
        turns.rate(format!("{of_node}: rate over the echo's"), (carts, echo)),
        turns.ratio(
            format!("{of_node}: Firn's processor time over the echo's"),
            (carts, echo),
            turns::processor,
        ),
    ])
}
