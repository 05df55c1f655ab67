//! What the store is doing with its database: connections, statements, the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::connection::{ConnectError, Session};
use super::url::Url;
use super::{Inner, Postgres};
use crate::ReadError;
use crate::metrics::{Counter, Distribution, Histogram, Level};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Writing commits.
    Commits,
    /// Reading, and the lease.
    Reads,
    /// Writing replicas.
    Replicas,
}

impl Use {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Commits, Self::Reads, Self::Replicas];
}

/// What the store is doing.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// How long it took to make a batch durable: a statement that writes commits, with its answer.
    pub flushes: Distribution,
    /// The connections of each use.
    pub connections: Vec<(Use, Connections)>,
    /// The lease of the slots, if this process has one.
    pub lease: Option<LeaseMetrics>,
}

/// The connections of one use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How many are open.
    pub open: u64,
    /// How many of them have something to do.
    pub busy: u64,
    /// How many there may be.
    pub max: u64,
    /// How many were made so far: those beyond the most that are open took the place of lost ones.
    pub made: u64,
    /// How often none could be made.
    pub failed: u64,
}

/// The lease of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseMetrics {
    /// Slots that were taken under it.
    pub slots: u64,
    /// Whether it runs for sure.
    pub runs: bool,
    /// How often it was renewed.
    pub renewed: u64,
    /// How often that failed.
    pub failed: u64,
}

/// What the parts of a store count.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) flushes: Histogram,
    /// How often the lease was renewed.
    pub(super) renewed: Counter,
    /// How often that failed.
    pub(super) not_renewed: Counter,
    pools: [Arc<Pool>; Use::ALL.len()],
}

/// What is counted of the connections of one use.
#[derive(Debug, Default)]
struct Pool {
    open: Level,
    busy: Level,
    made: Counter,
    failed: Counter,
}

/// An open connection: until it is known to be lost, or given up.
pub(super) struct Open {
    pool: Arc<Pool>,
    statements: Level,
    is_over: AtomicBool,
}

/// A statement under way, for as long as it is held.
pub(super) struct Busy<'a>(&'a Open);

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            flushes: Histogram::of_times(),
            renewed: Counter::default(),
            not_renewed: Counter::default(),
            pools: Default::default(),
        }
    }

    /// Makes a connection and counts it.
    pub(super) async fn connect(&self, url: &Url, used: Use) -> Result<Session, ConnectError> {
        let connected = Session::connect(url).await;
        if connected.is_err() {
            self.pools[used as usize].failed.add(1);
        }
        Ok(connected?.counted(self.open(used)))
    }

    /// Counts a connection that was made.
    pub(super) fn open(&self, used: Use) -> Open {
        let pool = self.pools[used as usize].clone();
        pool.made.add(1);
        pool.open.rise();
        Open {
            pool,
            statements: Level::default(),
            is_over: AtomicBool::new(false),
        }
    }
}

impl Open {
    /// Notes that it has a statement under way.
    pub(super) fn busy(&self) -> Busy<'_> {
        if self.statements.rise() == 0 {
            self.pool.busy.rise();
        }
        Busy(self)
    }

    /// Notes that it is open no more.
    pub(super) fn over(&self) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            self.pool.open.fall();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.over();
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.0.statements.fall() == 1 {
            self.0.pool.busy.fall();
        }
    }
}

/// The bytes of the tables with their indexes and what stands outside of their rows.
const SIZE: (&str, &str) = (
    "size",
    "\
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind = 'r' AND c.relname LIKE 'firn\\_%'",
);

/// How long the database may take to tell its size: nobody waits for it longer.
const SIZE_TIME_MAX: Duration = Duration::from_secs(2);

impl Postgres {
    /// What it is doing now.
    pub fn metrics(&self) -> Metrics {
        self.inner.metrics()
    }

    /// How many bytes its tables take in the database, with their indexes. The database looks at
    /// every file of them, so it is not to be asked all the time.
    ///
    /// # Errors
    /// [`ReadError`] if the database does not tell within two seconds.
    pub async fn size(&self) -> Result<u64, ReadError> {
        let asking = self.run(self.inner.rows(SIZE, &[]));
        let unavailable = |cause: &str| ReadError::Unavailable {
            cause: cause.to_owned(),
        };
        let rows = timeout(SIZE_TIME_MAX, asking)
            .await
            .map_err(|_| unavailable("no answer in time"))??;
        let size: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
        size.and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| unavailable("it tells no size"))
    }
}

impl Inner {
    fn metrics(&self) -> Metrics {
        let counts = &self.counts;
        let connections = Use::ALL.map(|used| {
            let pool = &counts.pools[used as usize];
            let max = match used {
                Use::Commits => self.writers.len(),
                Use::Reads => self.readers.max(),
                Use::Replicas => 1,
            };
            let connections = Connections {
                open: pool.open.get(),
                busy: pool.busy.get(),
                max: max as u64,
                made: pool.made.get(),
                failed: pool.failed.get(),
            };
            (used, connections)
        });
        Metrics {
            flushes: counts.flushes.read(),
            connections: connections.to_vec(),
            lease: self.lease.as_ref().map(|lease| LeaseMetrics {
                slots: lease.slots(),
                runs: lease.runs(),
                renewed: counts.renewed.get(),
                failed: counts.not_renewed.get(),
            }),
        }
    }
}
