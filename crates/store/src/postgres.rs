//! The store in PostgreSQL.
//!
//! [`Postgres`] keeps everything in tables that a person can read; `docs/stores/postgres.md` explains
//! them. Several processes may use one database at once: each takes slots under a lease, and the
//! database refuses what an owner writes that has lost them.
//!
//! # How it works
//! Slots are pinned to a few connections, each with a `writer` that brings the commits of its slots
//! into the tables, many in one statement (`batch`, `write`), and finds out what became of them
//! when a connection is lost. Reads go over connections of their own, each read one statement.
//!
//! # Invariants
//! - A slot row is locked before anything of the slot is written, and epoch, fence and last sequence
//!   are compared under that lock. Nothing depends on a violated constraint.
//! - The outcome of a batch is found out, never guessed.
//!
//! # Reading order
//! `url`, `tls`, `connection` and `error` are the way to the server; `schema` the tables; `names`,
//! `value` and `statement` how the model becomes columns; then `batch`, `write` and `writer` the way
//! of a commit; `readers`, `read`, `replicas`, `retention`, `sweep` the rest of what a store does;
//! `lease` who owns what; `moment`, `archive`, `restore`, `check`, `rotate` what operators do, with `hold` and `keys`,
//! `metrics` what they see.

mod archive;
mod batch;
mod check;
mod connection;
mod error;
mod hold;
mod keys;
mod lasts;
mod lease;
mod metrics;
mod moment;
mod names;
mod read;
mod readers;
mod replicas;
mod restore;
mod retention;
mod rotate;
mod schema;
mod statement;
mod sweep;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod value;
mod write;
mod writer;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use firn_model::id::{EffectId, EntityKey, NodeId, Replica, Slot, SlotSequence, StorageName};
use firn_model::policy::Replay;
use futures_util::future::{BoxFuture, join_all};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub use check::check;
pub use error::{Deposed, OpenError};
pub use lease::Owner;
pub use metrics::{Connections, LeaseMetrics, Metrics, Use};
pub use restore::restore;
pub use rotate::rotate_keys;
pub use schema::Migrate;
pub use url::{Url, UrlError};

use crate::archive as archives;
use crate::clock::Clock;
use crate::commit::{Commit, Head, ReplyRecord, SlotOutcome};
use crate::entity::{Entity, Event, Timestamp};
use crate::replica::{IncarnateError, ReplicaWrite, WriteError};
use crate::retention::{Covered, Keep, Page, Trim};
use crate::seal::Keys;
use crate::timer::{DueTimer, Timer, TimerId};
use crate::{Pending, ReadError, Store, Tailed, Tombstone};
use connection::Session;
use lease::{Lease, Renewal};
use metrics::Counts;
use readers::{READ_PAUSE, Readers};
use replicas::ReplicaWriter;
use value::Values;
use writer::{Writer, divide};

/// How many bytes of payload one statement takes, unless a single slot has more.
const STATEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How a database is used.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it is.
    pub url: Url,
    /// Whether the schema may be changed at the start.
    pub migrate: Migrate,
    /// How many connections write; a slot always takes the same one.
    pub writers: usize,
    /// By which reply records expire.
    pub clock: Clock,
    /// Under which name all slots are taken; `None` takes none, for those who only look or are alone.
    pub owner: Option<Owner>,
    /// What contents are sealed with, if they are.
    pub keys: Option<Arc<Keys>>,
    /// How long a read is tried before the store is called unavailable.
    pub read_time: Duration,
}

impl Config {
    /// How many connections write unless somebody knows better: a single one makes the largest
    /// batches, which is what counts until a processor of the server is busy with it.
    pub const WRITERS: usize = 1;

    /// How long reads are tried unless somebody knows better: callers wait for them.
    pub const READ_TIME: Duration = Duration::from_secs(5);

    /// The usual way to use the database with this URL.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            migrate: Migrate::Auto,
            writers: Self::WRITERS,
            clock: Clock::system(),
            owner: None,
            keys: None,
            read_time: Self::READ_TIME,
        }
    }
}

/// A store in a PostgreSQL database.
pub struct Postgres {
    inner: Arc<Inner>,
    runtime: Handle,
    /// Renewing the lease and sweeping; they end with this value.
    tasks: Vec<JoinHandle<()>>,
}

/// What all tasks of a store share.
struct Inner {
    url: Url,
    clock: Clock,
    values: Values,
    writers: Vec<Mutex<Writer>>,
    readers: Readers,
    replicas: Mutex<ReplicaWriter>,
    lease: Option<Lease>,
    counts: Arc<Counts>,
    /// How often heads were asked for, and the last answer.
    heads_asked: AtomicU64,
    last_heads: Mutex<Heads>,
}

/// The answer of a look at heads.
struct Heads {
    /// How often they had been asked for when it began.
    asked: u64,
    heads: Result<Vec<(Slot, Head)>, ReadError>,
}

impl Postgres {
    /// Opens a database: checks it, brings its schema to the version that is needed, and takes all
    /// slots if there is an owner. `deposed` is called, once, if another process has taken slots from
    /// this one; every commit of them is refused from then on.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime. The store works as long as that runtime does.
    pub async fn open(
        config: Config,
        deposed: impl FnOnce(Deposed) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let store = Self::join(config, deposed).await?;
        let Some(lease) = &store.inner.lease else {
            return Ok(store);
        };
        store.inner.take_all(lease).await?;
        // What join has found may be over: an import or a change of keys can have had the slots that
        // were waited for. None begins while they are here.
        if let Err(error) = store.inner.fits().await {
            store.close().await;
            return Err(error);
        }
        Ok(store)
    }

    /// Like [`open`](Self::open), but takes no slots: that is left to [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn join(
        config: Config,
        deposed: impl FnOnce(Deposed) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let session = Session::connect(&config.url).await;
        let session = session.map_err(|error| OpenError::connect(&config.url, &error))?;
        schema::prepare(&session, config.migrate).await?;
        fits(&session, config.keys.as_deref()).await?;
        Self::with_session(config, session, deposed).await
    }

    /// A store in a database that was found to be one.
    async fn with_session(
        config: Config,
        session: Session,
        deposed: impl FnOnce(Deposed) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let runtime = Handle::current();
        let of = config.writers.max(1);
        let counts = Arc::new(Counts::new());
        let session = session.counted(counts.open(Use::Reads));
        let inner = Arc::new(Inner {
            url: config.url,
            clock: config.clock,
            values: Values::sealed_with(config.keys),
            writers: (0..of)
                .map(|index| Mutex::new(Writer::new(index, of, counts.clone())))
                .collect(),
            readers: Readers::beginning_with(session, config.read_time),
            replicas: Mutex::new(ReplicaWriter::new(counts.clone())),
            lease: config.owner.map(Lease::new),
            counts,
            heads_asked: AtomicU64::new(0),
            last_heads: Mutex::new(Heads {
                asked: 0,
                heads: Ok(Vec::new()),
            }),
        });
        let mut tasks = Vec::new();
        if let Some(lease) = &inner.lease {
            inner.begin(lease).await?;
            let keeping = inner.clone();
            tasks.push(runtime.spawn(async move { keeping.keep_lease(deposed).await }));
            let sweeping = inner.clone();
            tasks.push(runtime.spawn(async move { sweeping.sweep_on().await }));
        }
        Ok(Self {
            inner,
            runtime,
            tasks,
        })
    }

    /// Gives the slots up, so that the next process need not wait for the lease to run out.
    pub async fn close(&self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(lease) = &self.inner.lease
            && let Err(error) = self.inner.release_all(lease).await
        {
            tracing::warn!(%error, "the slots could not be given up; they are free when the lease runs out");
        }
    }

    /// A future that may be polled by anybody: it finds the store's runtime.
    fn run<'a, T: 'a>(&'a self, work: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
        within(self.runtime.clone(), work)
    }
}

/// Refuses a database that was not filled to the end, or is sealed with other keys.
async fn fits(session: &Session, keys: Option<&Keys>) -> Result<(), OpenError> {
    restore::check(session).await?;
    keys::verify(session, keys).await
}

/// A future that is polled within this runtime.
fn within<'a, T: 'a>(
    runtime: Handle,
    work: impl Future<Output = T> + Send + 'a,
) -> BoxFuture<'a, T> {
    let work = Box::pin(work);
    Box::pin(Within { runtime, work })
}

impl Drop for Postgres {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A future that is polled within a runtime, whoever polls it.
struct Within<'a, T> {
    runtime: Handle,
    work: BoxFuture<'a, T>,
}

impl<T> Future for Within<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let _entered = this.runtime.enter();
        this.work.as_mut().poll(context)
    }
}

impl Inner {
    /// Refuses the database if it is no longer as [`fits`] has found it.
    async fn fits(&self) -> Result<(), OpenError> {
        let session = Session::connect(&self.url).await;
        let session = session.map_err(|error| OpenError::connect(&self.url, &error))?;
        fits(&session, self.values.keys()).await
    }

    /// Takes slots, and gives them up again if the database does not fit any more: what
    /// [`join`](Postgres::join) has found may be long ago.
    async fn acquire_fitting(
        &self,
        lease: &Lease,
        slots: &[Slot],
    ) -> Result<Vec<(Slot, Head)>, OpenError> {
        let failed = |error: ReadError| OpenError::Failed {
            cause: error.to_string(),
        };
        let taken = self.acquire(lease, slots).await.map_err(failed)?;
        if let Err(error) = self.fits().await {
            self.release(lease, slots).await.map_err(failed)?;
            return Err(error);
        }
        Ok(taken)
    }

    async fn commit(&self, batch: Vec<Commit>) -> Vec<SlotOutcome> {
        let mut pinned: Vec<Vec<Commit>> = self.writers.iter().map(|_| Vec::new()).collect();
        for commit in batch {
            let writer = commit.slot.share_of(pinned.len());
            pinned[writer].push(commit);
        }
        let writing = self
            .writers
            .iter()
            .zip(pinned)
            .map(|(writer, commits)| async move {
                let mut outcomes = Vec::new();
                if commits.is_empty() {
                    return outcomes;
                }
                let mut writer = writer.lock().await;
                for part in divide(commits, STATEMENT_BYTES_MAX) {
                    outcomes.extend(writer.commit(&self.url, &self.values, part).await);
                }
                outcomes
            });
        join_all(writing).await.into_iter().flatten().collect()
    }

    /// All who wait are answered by one look that begins after they asked: after trouble, there are as
    /// many as there are slots.
    async fn heads(&self) -> Result<Vec<(Slot, Head)>, ReadError> {
        let asked = self.heads_asked.fetch_add(1, Ordering::SeqCst);
        let mut last = self.last_heads.lock().await;
        if last.asked > asked {
            return last.heads.clone();
        }
        let began = self.heads_asked.load(Ordering::SeqCst);
        let heads = self.look_at_heads().await;
        *last = Heads {
            asked: began,
            heads: heads.clone(),
        };
        heads
    }

    async fn look_at_heads(&self) -> Result<Vec<(Slot, Head)>, ReadError> {
        let asking = self
            .writers
            .iter()
            .map(|writer| async move { writer.lock().await.heads(&self.url).await });
        let heads: Result<Vec<_>, _> = join_all(asking).await.into_iter().collect();
        Ok(heads?.into_iter().flatten().collect())
    }

    /// Renews the lease until it is dropped or the slots were taken away.
    async fn keep_lease(&self, deposed: impl FnOnce(Deposed)) {
        let Some(lease) = &self.lease else { return };
        loop {
            match self.renew(lease).await {
                Ok(Renewal::Renewed) => {
                    self.counts.renewed.add(1);
                    sleep(lease.renew_every()).await;
                }
                Ok(Renewal::Deposed) => return deposed(Deposed),
                // At once again: it has been tried for long already, and the lease goes on to run out.
                Err(error) => {
                    self.counts.not_renewed.add(1);
                    tracing::warn!(%error, "the lease of the slots could not be renewed");
                    sleep(READ_PAUSE).await;
                }
            }
        }
    }
}

impl Store for Postgres {
    fn heads(&self) -> BoxFuture<'_, Result<Vec<(Slot, Head)>, ReadError>> {
        self.run(self.inner.heads())
    }

    fn writers(&self) -> usize {
        self.inner.writers.len()
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<SlotOutcome>> {
        self.run(self.inner.commit(batch))
    }

    fn load<'a>(
        &'a self,
        key: &'a EntityKey,
        replay: Replay,
    ) -> BoxFuture<'a, Result<Entity, ReadError>> {
        self.run(self.inner.load(key, replay))
    }

    fn reply_record<'a>(
        &'a self,
        key: &'a EntityKey,
        method: &'a str,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<Option<ReplyRecord>, ReadError>> {
        let now = self.inner.clock.now();
        self.run(self.inner.reply_record(key, method, idempotency_key, now))
    }

    fn was_received(&self, slot: Slot, effect: EffectId) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.run(self.inner.was_received(slot, effect))
    }

    fn outbox(
        &self,
        after: Option<EffectId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Pending>, ReadError>> {
        self.run(self.inner.outbox(after, limit))
    }

    fn tombstones<'a>(
        &'a self,
        now: Timestamp,
        after: Option<&'a Tombstone>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Tombstone>, ReadError>> {
        self.run(self.inner.tombstones(now, after, limit))
    }

    fn due_timers<'a>(
        &'a self,
        until: Timestamp,
        after: Option<&'a DueTimer>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueTimer>, ReadError>> {
        self.run(self.inner.due_timers(until, after, limit))
    }

    fn timer<'a>(&'a self, id: &'a TimerId) -> BoxFuture<'a, Result<Option<Timer>, ReadError>> {
        self.run(self.inner.timer(id))
    }

    fn tail(
        &self,
        slot: Slot,
        after: SlotSequence,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Tailed>, ReadError>> {
        self.run(self.inner.tail(slot, after, limit))
    }

    fn list<'a>(
        &'a self,
        storage: &'a StorageName,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        self.run(self.inner.list(storage, after, limit))
    }

    fn events<'a>(
        &'a self,
        key: &'a EntityKey,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Event>, ReadError>> {
        self.run(self.inner.events(key, after, limit))
    }

    fn is_sure(&self) -> bool {
        self.inner.lease.as_ref().is_none_or(Lease::runs)
    }

    fn holds(&self, slot: Slot) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.run(async move {
            match &self.inner.lease {
                Some(lease) => self.inner.holds(lease, slot).await,
                None => Ok(true),
            }
        })
    }

    fn dump(&self) -> BoxFuture<'_, Result<Box<dyn archives::Dump>, ReadError>> {
        self.run(async move {
            let dumped = self.inner.dump().await?;
            Ok(dumped.within(self.runtime.clone()))
        })
    }

    fn storages(&self) -> BoxFuture<'_, Result<Vec<StorageName>, ReadError>> {
        self.run(self.inner.storages())
    }

    fn covered<'a>(
        &'a self,
        storage: &'a StorageName,
        keep: Keep,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Covered>, ReadError>> {
        self.run(self.inner.covered(storage, keep, after, limit))
    }

    fn unwritten<'a>(
        &'a self,
        storage: &'a StorageName,
        since: Timestamp,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<EntityKey>, ReadError>> {
        self.run(self.inner.unwritten(storage, since, after, limit))
    }

    fn trim(&self, trims: Vec<Trim>) -> BoxFuture<'_, Result<(), WriteError>> {
        self.run(async move { self.inner.trim(&trims).await })
    }

    fn incarnate<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Replica, IncarnateError>> {
        self.run(self.inner.incarnate(name))
    }

    fn save_replicas(
        &self,
        node: NodeId,
        writes: Vec<ReplicaWrite>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        self.run(async move {
            let mut writer = self.inner.replicas.lock().await;
            let (url, values) = (&self.inner.url, &self.inner.values);
            writer.save(url, values, node, &writes).await
        })
    }

    fn load_replica<'a>(
        &'a self,
        node: NodeId,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, ReadError>> {
        self.run(self.inner.load_replica(node, key))
    }

    fn list_replicas<'a>(
        &'a self,
        node: NodeId,
        after: Option<&'a EntityKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<EntityKey>, ReadError>> {
        self.run(self.inner.list_replicas(node, after, limit))
    }
}

impl Postgres {
    /// Takes those of the slots that nobody has, each with its next epoch; gives the heads of those that
    /// this process has then. Needs an owner.
    ///
    /// # Errors
    /// [`OpenError`] if the database does not answer, in which case some of them may have been taken, or
    /// if an import or a change of keys had it since it was joined.
    pub async fn acquire(&self, slots: &[Slot]) -> Result<Vec<(Slot, Head)>, OpenError> {
        match &self.inner.lease {
            Some(lease) => self.run(self.inner.acquire_fitting(lease, slots)).await,
            None => Ok(Vec::new()),
        }
    }

    /// Gives slots up: others may take them at once. Gives how many this process had.
    ///
    /// # Errors
    /// [`ReadError`] if the database does not answer; they may have been given up.
    pub async fn release(&self, slots: &[Slot]) -> Result<usize, ReadError> {
        match &self.inner.lease {
            Some(lease) => self.run(self.inner.release(lease, slots)).await,
            None => Ok(0),
        }
    }
}
