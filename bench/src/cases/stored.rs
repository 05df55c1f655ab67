//! A million stored entities: how long opening takes, what memory it takes, and what entities leave
//! there that were active and are passivated.
//!
//! # How it works
//! A data folder is filled through the store's own interface, with value entities of a small state.
//! `firn proxy` is started on it several times. Then, in rounds, entities that were never touched
//! before are read, and left alone until all of them are passivated. The first rounds fill caches
//! and the allocator's reserve; if an entity left something behind, memory would go on growing with
//! each further round.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::filled::WATCHED;
use super::megabytes;
use crate::figure::{Bound, Figure, Unit};
use crate::function::{self, Function, Get};
use crate::load::{self, Client};
use crate::rig::{Firn, Programs, own_memory, until};

/// How many entities are stored.
const STORED: u64 = 1_000_000;

/// How often the folder is opened.
const OPENED: usize = 5;

/// How many entities are active in each round.
const TOUCHED: u64 = 10_000;

/// Rounds that fill caches, and rounds that should leave nothing.
const FIRST_ROUNDS: u64 = 6;
const LATER_ROUNDS: u64 = 10;

/// The settings of the rounds: entities go soon, and the store's cache is small enough to be full
/// after the first rounds.
const ROUNDS: &[&str] = &["--passivate-after", "200ms", "--cache-bytes", "8388608"];

/// The settings of one round in which all entities are active at the same time.
const AT_ONCE: &[&str] = &["--passivate-after", "10s", "--cache-bytes", "8388608"];

/// The least that anything kept for an entity would take: its key, and a place in a table.
const LEFT_BYTES_MAX: f64 = 32.0;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let folder = programs.folder()?;
    let filled = WATCHED.fill(folder.path(), STORED).await?;
    let function = Function::start(0)?;
    let (mut opened, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..OPENED {
        let mut firn = Firn::start(programs, folder.path(), function.address, &[]);
        firn.up().await?;
        opened.push(firn.started().elapsed().as_secs_f64() * 1e3);
        firn.serving().await?;
        memory.push(megabytes(own_memory(firn.id())?));
        firn.stop().await?;
    }
    let opened = Figure::new(
        "opening a store of 1,000,000 entities",
        Unit::Milliseconds,
        opened,
    );
    let memory = Figure::new(
        "memory after opening it, without the program's pages",
        Unit::Megabytes,
        memory,
    );
    let left = left(programs, folder.path(), &function).await?;
    let active = active(programs, folder.path(), &function).await?;
    Ok(vec![
        opened
            .bound(Bound::AtMost(1000.0))
            .detail("filling it, s", filled),
        memory,
        left,
        active,
    ])
}

/// Activates and passivates entities in rounds; gives the growth of memory for each of them.
async fn left(programs: &Programs, folder: &Path, function: &Function) -> Result<Figure> {
    let mut firn = Firn::start(programs, folder, function.address, ROUNDS);
    firn.serving().await?;
    let client = Client::connect(firn.clients).await?;
    let before = own_memory(firn.id())?;
    let mut after = Vec::new();
    for round in 0..FIRST_ROUNDS + LATER_ROUNDS {
        touch(&client, function, round).await?;
        passivated(function).await?;
        after.push(own_memory(firn.id())?);
    }
    firn.stop().await?;
    let later = after[FIRST_ROUNDS as usize - 1..].windows(2);
    let growth: Vec<f64> = later.map(|it| (it[1] - it[0]) / TOUCHED as f64).collect();
    let mean = growth.iter().sum::<f64>() / growth.len() as f64;
    let rounds = after.iter().map(|it| format!("{:.1}", megabytes(*it)));
    let rounds: Vec<String> = rounds.collect();
    let mut figure = Figure::new(
        "memory left by each entity that was active and is passivated",
        Unit::Bytes,
        growth,
    );
    // Of all later rounds: single ones take from the allocator's reserve or add to it.
    figure.value = mean;
    Ok(figure
        .bound(Bound::AtMost(LEFT_BYTES_MAX))
        .detail("before the first round, MB", megabytes(before))
        .detail("after each round of 10,000, MB", rounds.join(" ")))
}

/// Has many entities active at once; gives the memory for each of them.
async fn active(programs: &Programs, folder: &Path, function: &Function) -> Result<Figure> {
    let mut firn = Firn::start(programs, folder, function.address, AT_ONCE);
    firn.serving().await?;
    let client = Client::connect(firn.clients).await?;
    let before = own_memory(firn.id())?;
    let start = Instant::now();
    touch(&client, function, 0).await?;
    let rate = TOUCHED as f64 / start.elapsed().as_secs_f64();
    let count = function.active() as u64;
    ensure!(count == TOUCHED, "only {count} of {TOUCHED} are active");
    let active = own_memory(firn.id())?;
    passivated(function).await?;
    let after = own_memory(firn.id())?;
    firn.stop().await?;
    let each = (active - before) / TOUCHED as f64;
    let figure = Figure::new(
        "memory for each active entity, with its stream and state",
        Unit::Bytes,
        vec![each],
    );
    Ok(figure
        .detail("before, MB", megabytes(before))
        .detail("while 10,000 are active, MB", megabytes(active))
        .detail("after they were passivated, MB", megabytes(after))
        .detail("activated in a second, 64 in flight", rate))
}

/// Reads entities spread over the whole store; those of different rounds are different.
async fn touch(client: &Client, function: &Function, round: u64) -> Result<()> {
    let had_state = function.opened_with_state();
    let step = STORED / TOUCHED;
    let gets = (0..TOUCHED).map(|index| Get {
        id: WATCHED.id(index * step + round),
    });
    load::each(client, function::PATH, gets, 64).await?;
    let had_state = function.opened_with_state() - had_state;
    ensure!(
        had_state as u64 == TOUCHED,
        "{had_state} of {TOUCHED} entities had their state"
    );
    Ok(())
}

async fn passivated(function: &Function) -> Result<()> {
    until("passivation", || (function.active() == 0).then_some(())).await
}
