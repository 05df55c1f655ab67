//! `firn store export` beside a bare scan of the same rows, and `firn store import` beside bare
//! batched inserts of them: ratios of one run.
//!
//! The store holds event sourced entities, each with ten events of 100 bytes, committed one by one,
//! and a snapshot. An export is the whole command, from the start of its process to the file that was
//! flushed; so is an import, which reads the file twice.
//!
//! For the embedded store a bare scan opens the rows of the same folder with fjall and goes through
//! them; bare inserts put them into another database of fjall, many in one batch, and flush it at the
//! end. For PostgreSQL a bare scan reads every column of every table that has rows, over one plain
//! connection, each table with one statement; bare inserts put the same rows into the same tables with
//! the same indexes, as many in a statement, over one plain connection in one transaction. Whatever is
//! inserted is in memory before the clock starts.

mod postgres;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use firn_store::Store;
use firn_store::embedded::{Config, Embedded};
use firn_testkit::process::Process;
use fjall::{KeyspaceCreateOptions, PersistMode, UserKey, UserValue};
use tempfile::TempDir;

use crate::figure::{Bound, Figure, Unit, median};
use crate::filling::{self, Filling};
use crate::rig::{Programs, until};

/// How often everything is exported and imported.
const ROUNDS: usize = 5;

/// How many entities there are: an export of all takes some tenths of a second.
const ENTITIES: u64 = 10_000;

/// How many events each has.
const EVENTS: u64 = 10;

/// What must be reached of the bare rate.
const RATE_MIN: f64 = 0.5;

/// Rows of a batch of bare inserts, or of a statement.
const BATCH: usize = 1_000;

/// Where the store keeps its rows in its folder, and under which name.
const ROWS: &str = "rows";

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let mut figures = embedded(programs).await?;
    figures.extend(postgres::run(programs).await?);
    Ok(figures)
}

/// Fills a store.
async fn fill(store: &dyn Store, entities: u64) -> Result<()> {
    let mut filling = Filling::default();
    for event in 1..=EVENTS {
        for entity in 0..entities {
            let change = filling::events(event, 1, event == EVENTS);
            filling.change(filling::entity(entity), change);
        }
        filling.write(store).await?;
    }
    Ok(())
}

/// Seconds of both in each round, and how many rows the bare one had.
#[derive(Default)]
struct Times {
    firn: Vec<f64>,
    bare: Vec<f64>,
    rows: usize,
}

impl Times {
    fn figure(&self, what: &str) -> Figure {
        let rounds = self.bare.iter().zip(&self.firn);
        Figure::new(
            what,
            Unit::Ratio,
            rounds.map(|(bare, firn)| bare / firn).collect(),
        )
        .bound(Bound::AtLeast(RATE_MIN))
        .detail("bare, s", median(&self.bare))
        .detail("Firn, s", median(&self.firn))
        .detail("rows of the store", self.rows as u64)
    }
}

async fn embedded(programs: &Programs) -> Result<Vec<Figure>> {
    let folder = programs.folder()?;
    let data = folder.path().join("data");
    let store = Embedded::open(&data, Config::default(), |fatal| {
        eprintln!("the store failed: {fatal}");
    })?;
    fill(&store, programs.effort.entities(ENTITIES)).await?;
    drop(store);
    let (mut exports, mut imports) = (Times::default(), Times::default());
    for _ in 0..programs.effort.rounds(ROUNDS) {
        let start = Instant::now();
        let rows = scan(&data.join(ROWS))?;
        exports.bare.push(start.elapsed().as_secs_f64());
        exports.rows = rows;
        let file = Archive::of(&folder);
        let url = format!("embedded:{}", data.display());
        exports
            .firn
            .push(file.command(programs, "export", &url).await?);
        let rows = all(&data.join(ROWS))?;
        imports.rows = rows.len();
        let fresh = folder.path().join("bare");
        let start = Instant::now();
        insert(&fresh, rows)?;
        imports.bare.push(start.elapsed().as_secs_f64());
        std::fs::remove_dir_all(&fresh)?;
        let fresh = folder.path().join("imported");
        let url = format!("embedded:{}", fresh.display());
        imports
            .firn
            .push(file.command(programs, "import", &url).await?);
        std::fs::remove_dir_all(&fresh)?;
    }
    Ok(vec![
        exports.figure("exporting an embedded store: rate over a bare scan's"),
        imports.figure("importing into an embedded store: rate over bare inserts"),
    ])
}

/// Reads all rows; gives how many there are.
fn scan(folder: &Path) -> Result<usize> {
    let database = fjall::Database::builder(folder).open()?;
    let rows = database.keyspace(ROWS, KeyspaceCreateOptions::default)?;
    let (mut count, mut bytes) = (0, 0);
    for row in rows.iter() {
        let (key, value) = row.into_inner()?;
        count += 1;
        bytes += key.len() + value.len();
    }
    ensure!(bytes > 0, "there are no rows");
    Ok(count)
}

/// All rows.
fn all(folder: &Path) -> Result<Vec<(UserKey, UserValue)>> {
    let database = fjall::Database::builder(folder).open()?;
    let rows = database.keyspace(ROWS, KeyspaceCreateOptions::default)?;
    let rows = rows.iter().map(|row| Ok(row.into_inner()?));
    rows.collect()
}

/// Puts rows into a new database, durably.
fn insert(folder: &Path, rows: Vec<(UserKey, UserValue)>) -> Result<()> {
    let database = fjall::Database::builder(folder).open()?;
    let keyspace = database.keyspace(ROWS, KeyspaceCreateOptions::default)?;
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let mut batch = database.batch();
        for (key, value) in rows.by_ref().take(BATCH) {
            batch.insert(&keyspace, key, value);
        }
        batch.commit()?;
    }
    Ok(database.persist(PersistMode::SyncAll)?)
}

/// The file of an export; it goes with this value.
struct Archive(PathBuf);

impl Archive {
    fn of(folder: &TempDir) -> Self {
        Self(folder.path().join("archive"))
    }

    /// Runs a command of `firn store` on it; gives the seconds that it took.
    async fn command(&self, programs: &Programs, name: &str, store: &str) -> Result<f64> {
        let mut command = Command::new(&programs.firn);
        command.args(["store", name]).arg(&self.0);
        command.args(["--store", store]);
        let log = self.0.with_extension("log");
        let start = Instant::now();
        let mut process = Process::start(name, &mut command, &log);
        let ended = until(name, || process.ended()).await?;
        let took = start.elapsed().as_secs_f64();
        ensure!(
            ended.success(),
            "{name} ended with {ended}:\n{}",
            process.log()
        );
        Ok(took)
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // It may not have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}
