//! What an active entity takes of Firn's memory, and what a passivated one leaves there, on firn.v1.
//!
//! Such an entity has no stream, and Firn does not keep its state, which is the function's: all that
//! it takes is its own. The entities are in the store already and are only read, so that nothing
//! else grows: the first ones fill the store's cache, which is made small, and the buffers.
//!
//! Passivated ones are measured in rounds, in each of which as many others are active as may be: for
//! them those of the round before have to go. If anything of them stayed, memory would go on growing.

use std::path::Path;

use anyhow::Result;

use super::filled::OWN;
use super::served::Served;
use super::{AddItem, megabytes};
use crate::figure::{Bound, Figure, Unit};
use crate::load::{self, Client};
use crate::own;
use crate::rig::{Programs, own_memory};

/// How many entities are stored.
const STORED: u64 = 300_000;

/// How many are active before anything is counted, and how many then: as many as the function keeps.
const FIRST: u64 = 10_000;
const ACTIVE: u64 = 100_000;

/// How many may be active in each round, and how many rounds there are, before anything is counted
/// and after.
const AT_ONCE: u64 = 10_000;
const FIRST_ROUNDS: u64 = 6;
const LATER_ROUNDS: u64 = 10;

const ALL_ACTIVE: &[&str] = &["--passivate-after", "1h", "--cache-bytes", "4194304"];
const FEW_ACTIVE: &[&str] = &[
    "--passivate-after",
    "1h",
    "--cache-bytes",
    "4194304",
    "--max-entities",
    "10000",
];

/// What an active one may take, and what is fought for.
const ACTIVE_BYTES_MAX: f64 = 1024.0;
const ACTIVE_BYTES_FOUGHT_FOR: f64 = 512.0;

/// The least that anything kept for an entity would take: its key, and a place in a table.
const LEFT_BYTES_MAX: f64 = 32.0;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let folder = programs.folder()?;
    let stored = programs.effort.entities(STORED);
    OWN.fill(folder.path(), stored).await?;
    Ok(vec![
        active(programs, folder.path()).await?,
        passivated(programs, folder.path()).await?,
    ])
}

/// Entities all over the store: each number below `STORED` gives another.
fn scattered(programs: &Programs, number: u64) -> AddItem {
    // A prime, which the number of those that are stored is no multiple of.
    const STEP: u64 = 7919;
    AddItem::to(number * STEP % programs.effort.entities(STORED))
}

async fn active(programs: &Programs, folder: &Path) -> Result<Figure> {
    let served = Served::start_in(programs, folder, ALL_ACTIVE).await?;
    let client = Client::connect(served.firn.clients).await?;
    let before = own_memory(served.firn.id())?;
    let read = async |from, to| -> Result<f64> {
        let entities = (from..to).map(|number| scattered(programs, number));
        load::each(&client, own::READ, entities, 64).await?;
        own_memory(served.firn.id())
    };
    let (few, all) = (
        programs.effort.entities(FIRST),
        programs.effort.entities(ACTIVE),
    );
    let first = read(0, few).await?;
    let last = read(few, all).await?;
    served.stop().await?;
    let figure = Figure::new(
        "firn.v1, memory of Firn for each active entity",
        Unit::Bytes,
        vec![(last - first) / (all - few) as f64],
    );
    Ok(figure
        .bound(Bound::AtMost(ACTIVE_BYTES_MAX))
        .stretch(Bound::AtMost(ACTIVE_BYTES_FOUGHT_FOR))
        .detail("before, MB", megabytes(before))
        .detail("with 10,000 active, MB", megabytes(first))
        .detail("with 100,000 active, MB", megabytes(last)))
}

async fn passivated(programs: &Programs, folder: &Path) -> Result<Figure> {
    let served = Served::start_in(programs, folder, FEW_ACTIVE).await?;
    let client = Client::connect(served.firn.clients).await?;
    let each = programs.effort.entities(AT_ONCE);
    let mut after = Vec::new();
    for round in 0..FIRST_ROUNDS + LATER_ROUNDS {
        let entities = (round * each..(round + 1) * each).map(|it| scattered(programs, it));
        load::each(&client, own::READ, entities, 64).await?;
        after.push(own_memory(served.firn.id())?);
    }
    served.stop().await?;
    let later = after[FIRST_ROUNDS as usize - 1..].windows(2);
    let growth: Vec<f64> = later.map(|it| (it[1] - it[0]) / each as f64).collect();
    let mean = growth.iter().sum::<f64>() / growth.len() as f64;
    let rounds: Vec<String> = after
        .iter()
        .map(|it| format!("{:.1}", megabytes(*it)))
        .collect();
    let mut figure = Figure::new(
        "firn.v1, memory left by each passivated entity",
        Unit::Bytes,
        growth,
    );
    // Of all later rounds: single ones take from the allocator's reserve or add to it.
    figure.value = mean;
    Ok(figure
        .bound(Bound::AtMost(LEFT_BYTES_MAX))
        .detail("after each round of 10,000, MB", rounds.join(" ")))
}
