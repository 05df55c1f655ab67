//! The memory of a Firn with an empty store, connected to a function, that has nothing to do.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::megabytes;
use crate::figure::{Bound, Figure, Unit};
use crate::rig::{Firn, Programs, Server, memory, own_memory};

/// How often it is started.
const RUNS: usize = 3;

/// How long it is left alone before it is looked at.
const REST: Duration = Duration::from_secs(1);

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let cart = Server::cart(programs).await?;
    let (mut all, mut own) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let folder = programs.folder()?;
        let mut firn = Firn::start(programs, folder.path(), cart.address, &[]);
        firn.serving().await?;
        sleep(REST).await;
        all.push(megabytes(memory(firn.id())?));
        own.push(megabytes(own_memory(firn.id())?));
        firn.stop().await?;
    }
    let own = crate::figure::median(&own);
    let figure = Figure::new("memory, idle, empty store", Unit::Megabytes, all);
    Ok(vec![
        figure
            .bound(Bound::AtMost(30.0))
            .detail("without the pages of the program, MB", own),
    ])
}
