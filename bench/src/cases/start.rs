//! From the start of the process, on an empty store and beside a cart that runs, to the first reply
//! of a durable command.

use std::time::Instant;

use anyhow::Result;

use super::{ADD_ITEM, AddItem};
use crate::figure::{Bound, Figure, Unit, median};
use crate::load::Client;
use crate::rig::{Firn, Programs, Server, tried};

/// How often it is started, the first time not counted.
const RUNS: usize = 12;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let cart = Server::cart(programs).await?;
    let (mut replies, mut ports) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let folder = programs.folder()?;
        let firn = Firn::start(programs, folder.path(), cart.address, &[]);
        let milliseconds = |at: Instant| (at - firn.started()).as_secs_f64() * 1e3;
        let client = tried("a connection", || Client::connect(firn.clients)).await?;
        let port = milliseconds(Instant::now());
        let item = AddItem::to(1);
        tried("a reply", || client.call(ADD_ITEM, &item)).await?;
        let reply = milliseconds(Instant::now());
        firn.kill();
        if run > 0 {
            replies.push(reply);
            ports.push(port);
        }
    }
    let figure = Figure::new(
        "start to first reply, empty store",
        Unit::Milliseconds,
        replies,
    );
    Ok(vec![
        figure
            .bound(Bound::AtMost(100.0))
            .detail("until its port is open, ms", median(&ports)),
    ])
}
