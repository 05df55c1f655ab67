//! Commits of 64 writers to the embedded store beside bare appends to fjall: ratios of one run.
//!
//! Each writer has one entity and appends one event of 100 bytes after the other, each when the one
//! before is durable. One thread leads: it waits for a record, takes all others that are there by
//! then, makes them durable together and answers all, so a group is what came while the one before
//! was written. All of that is the same for both, also what makes and wakes the writers; the runtime's
//! committer does it in the same way.
//!
//! They differ in what the leader does. For Firn it is [`Store::commit`]. For the reference it is one
//! atomic batch of fjall with a row for each record (entity, number, type and bytes of the event),
//! made durable with [`PersistMode::SyncData`]: its own group commit, with its own journal. So fjall
//! checks no fence and no sequence, and writes one row of each event where Firn's store has four and
//! its log.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use firn_model::id::{EntityKey, Epoch, SlotSequence};
use firn_store::embedded::{Config, Embedded};
use firn_store::{Commit, Outcome, Store, Timestamp};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use crate::figure::{Bound, Figure, Unit, median};
use crate::filling;
use crate::load::Load;
use crate::rig::{Programs, processor_time};

/// How often each is loaded.
const ROUNDS: usize = 7;

/// What commits must reach of the rate of bare appends.
const RATE_MIN: f64 = 0.7;

const LOAD: Load = Load {
    connections: 0,
    in_flight: 64,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

/// Something that makes records durable, many at once.
trait Log: Send + 'static {
    type Record: Send + 'static;

    /// The record of the event with this number.
    fn record(entity: &EntityKey, number: u64) -> Self::Record;

    /// Makes records durable.
    fn write(&mut self, records: Vec<Self::Record>) -> Result<()>;

    /// Ends what was left for later.
    fn settle(&mut self) -> Result<()>;
}

/// Firn's store. The slots of its writers begin when they do.
struct Firn {
    store: Embedded,
}

/// The reference.
struct Bare {
    database: Database,
    rows: Keyspace,
}

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let folder = programs.folder()?;
    let load = programs.effort.load(LOAD);
    let mut firn = Group::of(Firn::open(&folder.path().join("firn"))?);
    let mut bare = Group::of(Bare::open(&folder.path().join("bare"))?);
    let (mut commits, mut appends) = (Vec::new(), Vec::new());
    for _ in 0..programs.effort.rounds(ROUNDS) {
        let appended;
        (bare, appended) = bare.turn(load).await?;
        appends.push(appended);
        let committed;
        (firn, committed) = firn.turn(load).await?;
        commits.push(committed);
    }
    let ratio = |of: fn(&Turn) -> f64| -> Vec<f64> {
        let rounds = commits.iter().zip(&appends);
        rounds.map(|(firn, bare)| of(firn) / of(bare)).collect()
    };
    let allowed = ratio(|turn| 1.0 / turn.processor_us);
    Ok(vec![
        Figure::new(
            "commits of 64 writers, embedded: rate over fjall's appends",
            Unit::Ratio,
            ratio(|turn| turn.rate),
        )
        .bound(Bound::AtLeast(RATE_MIN))
        .detail("the same by the processor time", median(&allowed))
        .detail("fjall", line(&appends))
        .detail("Firn", line(&commits)),
    ])
}

/// The absolute values: those of this machine in this hour.
fn line(turns: &[Turn]) -> String {
    let of = |value: fn(&Turn) -> f64| median(&turns.iter().map(value).collect::<Vec<_>>());
    format!(
        "{:.0}/s, {:.1} in a group, processor for each {:.1} µs",
        of(|turn| turn.rate),
        of(|turn| turn.together),
        of(|turn| turn.processor_us),
    )
}

/// Entities of different slots, so that each has sequences of its own.
fn entities(count: usize) -> Vec<EntityKey> {
    let mut slots = HashSet::new();
    let entities = (0..).map(filling::entity);
    entities
        .filter(|entity| slots.insert(entity.slot()))
        .take(count)
        .collect()
}

impl Firn {
    fn open(folder: &Path) -> Result<Self> {
        let store = Embedded::open(folder, Config::default(), |fatal| {
            eprintln!("the store failed: {fatal}");
        })?;
        Ok(Self { store })
    }
}

impl Log for Firn {
    type Record = Commit;

    fn record(entity: &EntityKey, number: u64) -> Commit {
        let at = Timestamp::from(SystemTime::now());
        let sequence = SlotSequence(number);
        let mut commit = Commit::empty(entity.slot(), Epoch::default(), sequence, at);
        commit.key = Some(entity.clone());
        commit.change = Some(filling::events(number, 1, false));
        commit
    }

    fn write(&mut self, records: Vec<Commit>) -> Result<()> {
        let outcomes = self.store.commit(records).now_or_never();
        let outcomes = outcomes.context("the store has failed")?;
        ensure!(
            outcomes.iter().all(|it| it.outcome == Outcome::Landed),
            "the store refused what it should take"
        );
        Ok(())
    }

    /// Waits until the rows have what is in the log.
    fn settle(&mut self) -> Result<()> {
        futures_executor::block_on(self.store.heads())?;
        Ok(())
    }
}

impl Bare {
    fn open(folder: &Path) -> Result<Self> {
        let database = Database::builder(folder).open()?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
        Ok(Self { database, rows })
    }
}

impl Log for Bare {
    type Record = (Vec<u8>, Vec<u8>);

    fn record(entity: &EntityKey, number: u64) -> Self::Record {
        let (storage, id) = (entity.storage.as_str(), &*entity.id);
        let key = [storage.as_bytes(), id.as_bytes(), &number.to_be_bytes()].concat();
        let event = filling::payload(number);
        (key, [event.type_url.as_bytes(), &*event.bytes].concat())
    }

    fn write(&mut self, records: Vec<Self::Record>) -> Result<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for (key, value) in records {
            batch.insert(&self.rows, key, value);
        }
        Ok(batch.commit()?)
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A log and its writers.
struct Group<L> {
    log: L,
    writers: Vec<Writer>,
}

/// An entity, and the number of its last event.
struct Writer {
    entity: EntityKey,
    last: u64,
}

/// What came of one turn.
struct Turn {
    /// Records in a second.
    rate: f64,
    /// Records in a group.
    together: f64,
    /// The processor time of this process for each record, in microseconds.
    processor_us: f64,
}

/// Phases of a turn, as its writers see them.
const WARM: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// A record, and whom to tell that it is durable.
type Asked<R> = (R, oneshot::Sender<()>);

impl<L: Log> Group<L> {
    fn of(log: L) -> Self {
        let writers = entities(LOAD.in_flight).into_iter();
        Self {
            log,
            writers: writers.map(|entity| Writer { entity, last: 0 }).collect(),
        }
    }

    /// Lets all write for a while.
    async fn turn(self, load: Load) -> Result<(Self, Turn)> {
        let phase = Arc::new(AtomicU8::new(WARM));
        let (sender, inbox) = mpsc::unbounded_channel();
        let leading = spawn_blocking(move || lead(self.log, inbox));
        let mut writing = JoinSet::new();
        for writer in self.writers {
            let (sender, phase) = (sender.clone(), phase.clone());
            writing.spawn(async move { writer.write::<L>(&sender, &phase).await });
        }
        drop(sender);
        let used = || processor_time(std::process::id());
        sleep(load.warm).await;
        phase.store(MEASURED, Ordering::Relaxed);
        let (start, before) = (Instant::now(), used()?);
        sleep(load.measured).await;
        phase.store(OVER, Ordering::Relaxed);
        let (elapsed, after) = (start.elapsed(), used()?);
        let mut writers = Vec::new();
        let mut count = 0;
        while let Some(ended) = writing.join_next().await {
            let (writer, counted) = ended?;
            writers.push(writer);
            count += counted;
        }
        let (log, together) = leading.await??;
        let turn = Turn {
            rate: count as f64 / elapsed.as_secs_f64(),
            together,
            processor_us: (after - before).as_secs_f64() * 1e6 / count as f64,
        };
        Ok((Self { log, writers }, turn))
    }
}

impl Writer {
    /// Writes one event after the other; gives how many were durable while they were counted.
    async fn write<L: Log>(
        mut self,
        leader: &mpsc::UnboundedSender<Asked<L::Record>>,
        phase: &AtomicU8,
    ) -> (Self, u64) {
        let mut counted = 0;
        loop {
            let (done, told) = oneshot::channel();
            let record = L::record(&self.entity, self.last + 1);
            // A leader that has failed tells why when it is awaited.
            if leader.send((record, done)).is_err() || told.await.is_err() {
                return (self, counted);
            }
            self.last += 1;
            match phase.load(Ordering::Relaxed) {
                WARM => {}
                MEASURED => counted += 1,
                _ => return (self, counted),
            }
        }
    }
}

/// Writes what comes in groups, until all writers have ended; gives the log back, and how many
/// records were in a group.
fn lead<L: Log>(
    mut log: L,
    mut inbox: mpsc::UnboundedReceiver<Asked<L::Record>>,
) -> Result<(L, f64)> {
    let (mut groups, mut count) = (0u64, 0u64);
    while let Some(first) = inbox.blocking_recv() {
        let (mut records, mut asking) = (vec![first.0], vec![first.1]);
        while let Ok((record, done)) = inbox.try_recv() {
            records.push(record);
            asking.push(done);
        }
        groups += 1;
        count += records.len() as u64;
        log.write(records)?;
        for done in asking {
            // A writer that has ended wants to know nothing.
            let _ = done.send(());
        }
    }
    log.settle()?;
    Ok((log, count as f64 / groups as f64))
}
