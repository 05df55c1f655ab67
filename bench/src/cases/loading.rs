//! Loading an entity with 100 events after its snapshot, beside the bare query for the same rows:
//! ratios of one run.
//!
//! Entities have 200 events of 100 bytes and a snapshot after the first 100. They are read one after
//! the other, each in both ways, by one reader. On PostgreSQL the bare query is one prepared
//! statement on a plain connection, which knows where the events begin and copies the columns out.
//! For the embedded store it is a database of fjall with the same snapshots and events, in which the
//! snapshot is looked up and the events are scanned; it has the store's settings, and both were closed
//! and opened again after they were filled. That scan blocks, so it is made as an asynchronous program
//! has to make it: on a thread for such work, to which it is handed and which hands back what it read.
//! Each way is the first for every other entity: who wakes a processor that slept pays for it. What the
//! scan takes without being handed over is measured besides, of all entities before the others, so
//! that neither way finds rows in the processor's cache that were just read.
//!
//! A thread that waits for another lets its processor sleep, and a virtual machine may take longer to
//! wake it than either way takes, or not, as it has guessed. So the processors are kept awake, by loops
//! that run when nothing else would.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use firn_model::id::EntityKey;
use firn_model::policy::Replay;
use firn_store::Store;
use firn_store::embedded::{Config, Embedded};
use firn_store::postgres::{self, Postgres, Url};
use firn_testkit::process::Process;
use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode, UserKey, UserValue};
use tokio::task::spawn_blocking;
use tokio_postgres::{Client, Statement};

use crate::database::{self, Database};
use crate::figure::{Bound, Figure, Unit, median};
use crate::filling::{self, Filling};
use crate::rig::Programs;

/// How often all entities are loaded.
const ROUNDS: usize = 7;

/// How many entities there are.
const ENTITIES: u64 = 500;

/// How many events each has before its snapshot, and after it.
const EVENTS: u64 = 100;

/// What loading may take of the time of the bare query.
const TIME_MAX: f64 = 1.5;

/// The bare query: the snapshot, and the events after it.
const QUERY: &str = "\
SELECT s.event, 0::int8, s.type, s.value FROM firn_states s
WHERE s.storage = $1 AND s.id = $2 AND s.kind = 'snapshot'
UNION ALL
SELECT v.number, v.at, v.type, v.value FROM firn_events v
WHERE v.storage = $1 AND v.id = $2 AND v.generation = 0 AND v.number > $3";

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let count = programs.effort.entities(ENTITIES);
    let rounds = programs.effort.rounds(ROUNDS);
    Ok(vec![
        on_postgres(programs, count, rounds).await?,
        embedded(programs, count, rounds).await?,
    ])
}

/// Fills a store.
async fn fill(store: &dyn Store, count: u64) -> Result<()> {
    let mut filling = Filling::default();
    for number in 0..count {
        let key = filling::entity(number);
        filling.change(key.clone(), filling::events(1, EVENTS, true));
        filling.change(key, filling::events(EVENTS + 1, EVENTS, false));
    }
    filling.write(store).await
}

async fn on_postgres(programs: &Programs, count: u64, rounds: usize) -> Result<Figure> {
    let database = Database::start(programs).await?;
    let url = database.fresh();
    let store = Postgres::open(postgres::Config::new(Url::parse(&url)?), |_| {}).await?;
    fill(&store, count).await?;
    let client = database::connect(&url).await?;
    // What the server does by itself after so many rows, before anything is measured.
    client.batch_execute("VACUUM ANALYZE").await?;
    let bare = Bare {
        query: client.prepare(QUERY).await?,
        client,
    };
    let mut times = Times::default();
    for _ in 0..rounds {
        for number in 0..count {
            let key = filling::entity(number);
            let start = Instant::now();
            let rows = bare.load(&key).await?;
            times.bare(start, rows)?;
            let start = Instant::now();
            let entity = store.load(&key, Replay::FromSnapshot).await?;
            times.firn(start, entity.events.len())?;
        }
        times.end_round();
    }
    store.close().await;
    Ok(times.figure("loading an entity with 100 events, PostgreSQL"))
}

/// A plain connection.
struct Bare {
    client: Client,
    query: Statement,
}

impl Bare {
    /// Reads the rows of an entity; gives how many events there are.
    async fn load(&self, key: &EntityKey) -> Result<usize> {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&key.storage.as_str(), &&*key.id, &(EVENTS as i64)];
        let rows = self.client.query(&self.query, &parameters).await?;
        let read: Vec<(i64, i64, String, Vec<u8>)> = rows
            .iter()
            .map(|row| {
                Ok((
                    row.try_get(0)?,
                    row.try_get(1)?,
                    row.try_get(2)?,
                    row.try_get(3)?,
                ))
            })
            .collect::<Result<_>>()?;
        Ok(read.len() - 1)
    }
}

async fn embedded(programs: &Programs, count: u64, rounds: usize) -> Result<Figure> {
    let folder = programs.folder()?;
    let path = folder.path().join("firn");
    let open = || {
        Embedded::open(&path, Config::default(), |fatal| {
            eprintln!("the store failed: {fatal}");
        })
    };
    let store = open()?;
    fill(&store, count).await?;
    drop(store);
    let store = open()?;
    let bare = folder.path().join("bare");
    BareRows::fill(&bare, count)?;
    let bare = Arc::new(BareRows::open(&bare)?);
    let _awake = keep_awake(folder.path())?;
    let mut times = Times::default();
    for round in 0..rounds as u64 {
        for number in 0..count {
            let key = filling::entity(number);
            let start = Instant::now();
            let rows = bare.load(&key)?;
            times.blocking(start, rows)?;
        }
        for number in 0..count {
            let key = filling::entity(number);
            if (round + number).is_multiple_of(2) {
                handed_over(&bare, &key, &mut times).await?;
                through_firn(&store, &key, &mut times).await?;
            } else {
                through_firn(&store, &key, &mut times).await?;
                handed_over(&bare, &key, &mut times).await?;
            }
        }
        times.end_round();
    }
    Ok(times.figure("loading an entity with 100 events, embedded"))
}

/// Keeps all processors awake as long as this is held: a loop for each, which the system stops whenever
/// anything else has to run.
fn keep_awake(folder: &Path) -> Result<Vec<Process>> {
    let count = std::thread::available_parallelism()?.get();
    let awake = |_| {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0", "sh", "-c", "while :; do :; done"]);
        Process::start("chrt", &mut command, &folder.join("chrt.log"))
    };
    Ok((0..count).map(awake).collect())
}

/// Loads an entity through the store.
async fn through_firn(store: &dyn Store, key: &EntityKey, times: &mut Times) -> Result<()> {
    let start = Instant::now();
    let entity = store.load(key, Replay::FromSnapshot).await?;
    times.firn(start, entity.events.len())
}

/// Makes the bare query on a thread for such work.
async fn handed_over(bare: &Arc<BareRows>, key: &EntityKey, times: &mut Times) -> Result<()> {
    let (there, asked) = (bare.clone(), key.clone());
    let start = Instant::now();
    let rows = spawn_blocking(move || there.load(&asked)).await??;
    times.bare(start, rows)
}

/// The reference for the embedded store: snapshots and events in fjall.
struct BareRows {
    database: fjall::Database,
    rows: Keyspace,
}

/// What stands before the number of an event, and in place of it.
const SNAPSHOT: u8 = 0;
const EVENT: u8 = 1;

impl BareRows {
    fn open(folder: &Path) -> Result<Self> {
        let config = Config::default();
        let database = fjall::Database::builder(folder)
            .cache_size(config.cache_bytes)
            .open()?;
        let rows = database.keyspace("rows", || {
            KeyspaceCreateOptions::default().max_memtable_size(config.fresh_bytes)
        })?;
        Ok(Self { database, rows })
    }

    fn fill(folder: &Path, count: u64) -> Result<()> {
        let bare = Self::open(folder)?;
        for number in 0..count {
            let key = filling::entity(number);
            let mut batch = bare.database.batch();
            let value = |number: u64| {
                let payload = filling::payload(number);
                [payload.type_url.as_bytes(), &*payload.bytes].concat()
            };
            for event in 1..=2 * EVENTS {
                batch.insert(&bare.rows, row(&key, EVENT, event), value(event));
            }
            batch.insert(&bare.rows, row(&key, SNAPSHOT, 0), value(EVENTS + 1));
            batch.commit()?;
        }
        Ok(bare.database.persist(PersistMode::SyncAll)?)
    }

    /// Reads the rows of an entity; gives how many events there are.
    fn load(&self, key: &EntityKey) -> Result<usize> {
        let snapshot = self.rows.get(row(key, SNAPSHOT, 0))?;
        ensure!(snapshot.is_some(), "there is no snapshot");
        let range = row(key, EVENT, EVENTS + 1)..=row(key, EVENT, u64::MAX);
        let rows: Vec<(UserKey, UserValue)> = self
            .rows
            .range(range)
            .map(|found| Ok(found.into_inner()?))
            .collect::<Result<_>>()?;
        Ok(rows.len())
    }
}

fn row(key: &EntityKey, kind: u8, number: u64) -> Vec<u8> {
    let (storage, id) = (key.storage.as_str().as_bytes(), key.id.as_bytes());
    [storage, &[0], id, &[0, kind], &number.to_be_bytes()].concat()
}

/// How long the entities of a round took, and what came of the rounds before.
#[derive(Default)]
struct Times {
    /// Of a bare query that is made on the thread that asks for it, where there is one.
    blocking: Vec<f64>,
    bare: Vec<f64>,
    firn: Vec<f64>,
    rounds: Vec<Medians>,
}

/// The medians of a round.
struct Medians {
    blocking: Option<f64>,
    bare: f64,
    firn: f64,
}

impl Times {
    fn blocking(&mut self, start: Instant, events: usize) -> Result<()> {
        self.blocking.push(took(start, events)?);
        Ok(())
    }

    fn bare(&mut self, start: Instant, events: usize) -> Result<()> {
        self.bare.push(took(start, events)?);
        Ok(())
    }

    fn firn(&mut self, start: Instant, events: usize) -> Result<()> {
        self.firn.push(took(start, events)?);
        Ok(())
    }

    fn end_round(&mut self) {
        self.rounds.push(Medians {
            blocking: (!self.blocking.is_empty()).then(|| median(&self.blocking)),
            bare: median(&self.bare),
            firn: median(&self.firn),
        });
        self.blocking.clear();
        self.bare.clear();
        self.firn.clear();
    }

    fn figure(&self, what: &str) -> Figure {
        let rounds = self.rounds.iter();
        let ratios = rounds.clone().map(|it| it.firn / it.bare).collect();
        let of = |part: fn(&Medians) -> f64| median(&rounds.clone().map(part).collect::<Vec<_>>());
        let blocking: Vec<(f64, f64)> = rounds
            .clone()
            .filter_map(|it| Some((it.blocking?, it.firn)))
            .collect();
        let figure = Figure::new(
            format!("{what}: median time over the bare query's"),
            Unit::Ratio,
            ratios,
        )
        .bound(Bound::AtMost(TIME_MAX))
        .detail("bare, µs", of(|it| it.bare))
        .detail("Firn, µs", of(|it| it.firn));
        if blocking.is_empty() {
            return figure;
        }
        let of =
            |part: fn(&(f64, f64)) -> f64| median(&blocking.iter().map(part).collect::<Vec<_>>());
        figure
            .detail("bare on the thread that asks, µs", of(|it| it.0))
            .detail(
                "time over the bare one on the thread that asks",
                of(|it| it.1 / it.0),
            )
    }
}

/// The time since then, in microseconds.
fn took(start: Instant, events: usize) -> Result<f64> {
    let took = start.elapsed().as_secs_f64() * 1e6;
    ensure!(events as u64 == EVENTS, "{events} events were read");
    Ok(took)
}
