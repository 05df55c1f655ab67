//! A million stored entities: how long opening takes, what memory it takes, and what entities leave
//! there that were active and are passivated.
//!
//! # How it works
//! A data folder is filled through the store's own interface, with value entities of a small state.
//! `firn proxy` is started on it several times. Then, in rounds, entities that were never touched
//! before are read, and left alone until all of them are passivated. The first rounds fill caches
//! and the allocator's reserve; if an entity left something behind, memory would go on growing with
//! each further round.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Result, ensure};
use firn_model::id::{EntityKey, Epoch, Slot, SlotSequence, StorageName};
use firn_model::payload::Payload;
use firn_store::embedded::{Config, Embedded};
use firn_store::{Change, Commit, Outcome, Store, Timestamp};
use tokio::task::yield_now;

use super::megabytes;
use crate::figure::{Bound, Figure, Unit};
use crate::function::{self, Function, Get};
use crate::load::{self, Client};
use crate::rig::{Firn, Programs, own_memory, until};

/// How many entities are stored.
const STORED: u64 = 1_000_000;

/// The size of the state of each.
const STATE_BYTES: usize = 100;

/// How many are written at once.
const BATCH: u64 = 10_000;

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
    let filled = fill(&folder.path().join("data")).await?;
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

/// Fills a data folder; gives how many seconds it took.
async fn fill(folder: &Path) -> Result<f64> {
    let start = Instant::now();
    let store = Embedded::open(folder, Config::default(), |fatal| {
        eprintln!("the store failed: {fatal}");
    })?;
    let storage = StorageName::new(function::STORAGE);
    let mut sequences: HashMap<Slot, SlotSequence> = HashMap::new();
    for first in (0..STORED).step_by(BATCH as usize) {
        let commits = (first..first + BATCH).map(|number| {
            let key = EntityKey::new(storage.clone(), id(number));
            let sequence = sequences.entry(key.slot()).or_default();
            *sequence = sequence.next();
            let at = Timestamp::from(SystemTime::now());
            let mut commit = Commit::empty(key.slot(), Epoch::default(), *sequence, at);
            commit.key = Some(key);
            commit.change = Some(Change::Set(state(number)));
            commit
        });
        let outcomes = store.commit(commits.collect()).await;
        ensure!(
            outcomes.iter().all(|it| it.outcome == Outcome::Landed),
            "the store refused what it should take"
        );
        // Committing blocks; who wants to stop this program is heard in between.
        yield_now().await;
    }
    store.close();
    Ok(start.elapsed().as_secs_f64())
}

fn id(number: u64) -> String {
    format!("entity-{number:08}")
}

/// An encoded `bench.Kept`: one field of bytes, different for each entity.
fn state(number: u64) -> Payload {
    let mut bytes = vec![10, (STATE_BYTES - 2) as u8];
    let mut random = number;
    while bytes.len() < STATE_BYTES {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.push((random >> 56) as u8);
    }
    Payload::new(function::KEPT, bytes)
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
        id: id(index * step + round),
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
