//! The embedded store: one node, one folder, no server. The default.
//!
//! # How it works
//! ```text
//! commit ─▶ fence ─▶ log ─▶ outcome          load, list, tail …
//! save ──▶ queue ────▶│ (durable)                    │
//!                     └─▶ backlog ─▶ applier ─▶ rows ◀┘ readers
//! ```
//! A batch of commits is judged by the `fence` in memory, written to the `log` with one write and
//! one flush, and then acknowledged; `replicas` that wait to be saved go with it. A thread of its
//! own brings it into the `rows`: fresh ones in memory, over files that fjall holds. The log is
//! shortened as fresh rows become files. A start reads what the files have reached and applies the
//! rest of the log.
//!
//! # Invariants
//! - What was acknowledged is in the log, flushed. The rows are only ever behind.
//! - A read sees what was acknowledged before it began: it waits until the rows have got there.
//! - A failed write or flush ends the store: the handler is called once, and the batch is never
//!   answered.

mod acknowledged;
mod applier;
mod backlog;
mod checking;
mod checks;
pub mod disk;
mod error;
#[cfg(any(test, feature = "testkit"))]
pub mod faults;
mod fill;
mod folder;
mod log;
mod metrics;
mod readers;
mod replay;
mod replicas;
mod restore;
mod rotate;
pub(crate) mod table;
mod trims;

pub use checking::check;
pub use error::{Fatal, OpenError};
pub use folder::find;
pub use metrics::{Metrics, Sizes};
pub use restore::restore;
pub use rotate::rotate_keys;

use std::cell::LazyCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use std::{io, panic};

use bytes::Bytes;
use firn_model::id::{EffectId, EntityKey, NodeId, Replica, Slot, SlotSequence, StorageName};
use firn_model::policy::Replay;
use futures_util::future::{self, BoxFuture};

use self::replicas::Saves;
use crate::archive::Dump;
use crate::clock::Clock;
use crate::commit::{Commit, Head, Outcome, ReplyRecord, SlotOutcome};
use crate::entity::{Entity, Event, Timestamp};
use crate::fence::{Fence, Progress};
use crate::metrics::Histogram;
use crate::replica::{IncarnateError, ReplicaWrite, WriteError};
use crate::retention::{Covered, Keep, Page, Trim};
use crate::rows::{self, View, read};
use crate::seal::Keys;
use crate::seal::stored::Seals;
use crate::timer::{DueTimer, Timer, TimerId};
use crate::write::Write;
use crate::{Pending, ReadError, Store, Tailed, Tombstone};
use acknowledged::Acknowledged;
use applier::Applier;
use backlog::{Backlog, Batch};
use disk::{Disk, Folder};
use folder::{DataFolder, FORMAT_MIN, format_of};
use log::Log;
use readers::{Readers, Stopped};
use table::{Layered, Table};

/// How the embedded store uses memory and disk.
#[derive(Debug, Clone)]
pub struct Config {
    /// How large a segment of the log is made, in bytes. Default 64 MiB, since 0.1.
    pub segment_bytes: u64,
    /// Memory for blocks of rows that were read, in bytes. Default 64 MiB, since 0.1.
    pub cache_bytes: u64,
    /// Memory for rows that were written and are not yet in a file of their own, in bytes; twice
    /// as much while they are being put there. Default 16 MiB, since 0.1.
    pub fresh_bytes: u64,
    /// How many bytes of log may be in rows that are in no file: what a start after a crash reads at
    /// most, beside what was not yet brought into rows. Default 32 MiB, since 0.1.
    pub replay_bytes: u64,
    /// Threads that read rows. Default 2, since 0.1.
    pub read_threads: usize,
    /// The clock by which reply records expire.
    pub clock: Clock,
    /// Keys that seal what is stored; the first seals, the others only open. Default none, since
    /// 0.1.
    pub keys: Option<Arc<Keys>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            fresh_bytes: 16 * 1024 * 1024,
            replay_bytes: 32 * 1024 * 1024,
            read_threads: 2,
            clock: Clock::system(),
            keys: None,
        }
    }
}

/// A store in a folder.
///
/// Dropping it stops it in order, like [`Embedded::close`], but nobody is told if that fails: the log
/// has what the rows have not.
pub struct Embedded {
    shared: Arc<Shared>,
    clock: Clock,
    /// Reads that are asked for end before the rows do.
    readers: Readers,
    saves: Saves,
    writer: Mutex<Writer>,
    /// Held as long as the store lives; `None` over a disk that is not a folder.
    folder: Option<DataFolder>,
}

/// What the committer, the applier and the readers share.
struct Shared {
    table: Arc<dyn Table>,
    backlog: Backlog,
    acknowledged: Acknowledged,
    has_failed: AtomicBool,
    /// Nobody uses it any more.
    is_dropped: AtomicBool,
    on_fatal: OnFatal,
    /// How long writes of the log took, with their flushes.
    flushes: Histogram,
}

type OnFatal = Box<dyn Fn(&Fatal) + Send + Sync>;

/// What only the committer uses.
struct Writer {
    fence: Fence,
    log: Log,
    /// The version of the folder.
    format: u32,
    /// How many saves were written.
    saved: u64,
    /// `None` once the store is closed.
    applier: Option<JoinHandle<()>>,
}

/// The parts that a store is put together from.
struct Parts {
    disk: Arc<dyn Disk>,
    table: Arc<dyn Table>,
    /// How both are sealed.
    seals: Seals,
    /// Where the log and the rows are, for messages.
    places: Places,
    folder: Option<DataFolder>,
}

struct Places {
    log: PathBuf,
    rows: PathBuf,
}

impl Embedded {
    /// Opens a data folder; makes it if it is not there. Reads the disk, so it may take a moment.
    ///
    /// `on_fatal` is called, from any thread and at most once, when the store cannot go on; the
    /// process should then exit. Commits that were not answered by then never are.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        path: &Path,
        config: Config,
        on_fatal: impl Fn(&Fatal) + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let folder = DataFolder::open(path)?;
        restore::check(&folder)?;
        rotate::verify(&folder, config.keys.as_deref())?;
        let seals = Seals::new(config.keys.clone());
        let places = Places {
            log: folder.log(),
            rows: folder.rows(),
        };
        let disk = Folder::new(places.log.clone()).map_err(|source| OpenError::Unusable {
            folder: places.log.clone(),
            source,
        })?;
        let memory = table::Memory {
            cache_bytes: config.cache_bytes,
            fresh_bytes: config.fresh_bytes,
        };
        let rows = Layered::open(&places.rows, memory)
            .map_err(|error| OpenError::from_table(error, places.rows.clone()))?;
        folder.sync()?;
        let parts = Parts {
            disk: Arc::new(disk),
            table: seals.table(Arc::new(rows)),
            seals,
            places,
            folder: Some(folder),
        };
        Self::assemble(parts, &config, Box::new(on_fatal))
    }

    /// Stops in order: everything is brought into the rows, the rows are flushed, the log is
    /// sealed. Blocks meanwhile. Commits are refused from then on; reads still work.
    pub fn close(&self) {
        let mut writer = self.writer();
        let Some(applier) = writer.applier.take() else {
            return;
        };
        self.shared.backlog.close();
        // The applier has told of its own failure.
        let _ = applier.join();
        if self.shared.has_failed() {
            return;
        }
        if let Err(error) = writer.log.seal() {
            self.shared
                .fail(&Fatal::disk("the log cannot be sealed", &error));
        }
    }

    fn assemble(parts: Parts, config: &Config, on_fatal: OnFatal) -> Result<Self, OpenError> {
        let (log, replayed) = replay::recover(&parts, config.segment_bytes)?;
        let heads = read::heads(&*parts.table.view())
            .map_err(|error| OpenError::from_rows(error, parts.places.rows.clone()))?;
        let reached = log.next() - 1;
        let shared = Arc::new(Shared {
            table: parts.table,
            backlog: Backlog::new(reached),
            acknowledged: Acknowledged::new(reached),
            has_failed: AtomicBool::new(false),
            is_dropped: AtomicBool::new(false),
            on_fatal,
            flushes: Histogram::of_times(),
        });
        let applier = Applier::new(
            shared.table.clone(),
            log.segments(),
            (reached, replayed),
            config.replay_bytes,
        );
        let no_thread = |source| OpenError::Unusable {
            folder: parts.places.rows.clone(),
            source,
        };
        Ok(Self {
            readers: Readers::start(config.read_threads).map_err(no_thread)?,
            saves: Saves::default(),
            writer: Mutex::new(Writer {
                fence: Fence::new(heads),
                log,
                saved: 0,
                format: parts.folder.as_ref().map_or(FORMAT_MIN, DataFolder::format),
                applier: Some(spawn(applier, shared.clone()).map_err(no_thread)?),
            }),
            shared,
            clock: config.clock.clone(),
            folder: parts.folder,
        })
    }

    /// Judges, writes and acknowledges a batch; `None` if the store cannot go on.
    fn commit_blocking(&self, batch: Vec<Commit>) -> Option<Vec<SlotOutcome>> {
        let mut writer = self.writer();
        if self.shared.has_failed() {
            return None;
        }
        if writer.applier.is_none() {
            return Some(writer.refuse(&batch));
        }
        let progress = Progress {
            batch: writer.log.next() + batch.len() as u64,
            applied: self.shared.backlog.reached(),
        };
        let judgement = {
            let view = LazyCell::new(|| self.shared.table.view());
            let stored = |key: &EntityKey| read::last_event(&**view, key);
            writer.fence.judge(batch, progress, stored)
        };
        if !judgement.accepted.is_empty() {
            let writes = judgement.accepted.into_iter().map(Write::Commit).collect();
            let last = self.write(&mut writer, writes)?;
            self.shared.acknowledged.advance(&judgement.landing, last);
        }
        let landed = judgement.landing.into_iter().map(|slot| SlotOutcome {
            slot,
            outcome: Outcome::Landed,
        });
        Some(judgement.refused.into_iter().chain(landed).collect())
    }

    /// Makes writes and all saves that wait durable, and hands them on; gives the number of the
    /// last. `None` if the store cannot go on.
    fn write(&self, writer: &mut Writer, mut writes: Vec<Write>) -> Option<u64> {
        let waiting = self.saves.take();
        writes.extend(waiting.writes);
        let format = writes.iter().map(format_of).max();
        if let Some(format) = format.filter(|format| *format > writer.format) {
            self.raise_format(writer, format)?;
        }
        let began = Instant::now();
        let appended = match writer.log.append(&writes) {
            Ok(appended) => appended,
            Err(error) => {
                let fatal = Fatal::disk("the log cannot be written", &error);
                self.shared.fail(&fatal);
                return None;
            }
        };
        self.shared.flushes.observe_time(began.elapsed());
        let batch = Batch {
            writes,
            last: appended.last,
            bytes: appended.bytes,
        };
        self.shared.backlog.push(batch).ok()?;
        let acknowledged = &self.shared.acknowledged;
        acknowledged.advance(&waiting.slots, appended.last);
        writer.saved = waiting.last;
        Some(appended.last)
    }

    /// Lets every Firn refuse the folder that would not know what is now written.
    fn raise_format(&self, writer: &mut Writer, format: u32) -> Option<()> {
        if let Some(folder) = &self.folder
            && let Err(error) = folder.raise(format)
        {
            self.shared
                .fail(&Fatal::disk("the format cannot be written", &error));
            return None;
        }
        writer.format = format;
        Some(())
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what may be of any slot, once the rows show all that was acknowledged.
    fn read_all<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, ReadError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadError>> {
        self.read_at(self.shared.acknowledged.of_all(), read)
    }

    /// Reads what is of one slot, once the rows show what was acknowledged of it.
    fn read_slot<T: Send + 'static>(
        &self,
        slot: Slot,
        read: impl FnOnce(&dyn View) -> Result<T, ReadError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadError>> {
        self.read_at(self.shared.acknowledged.of_slot(slot), read)
    }

    /// Runs a read on a thread for reading, once the rows have reached a number.
    fn read_at<T: Send + 'static>(
        &self,
        number: u64,
        read: impl FnOnce(&dyn View) -> Result<T, ReadError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadError>> {
        let shared = self.shared.clone();
        let read = move || {
            let reached = shared.backlog.reach(number);
            reached.map_err(|backlog::Failed| unavailable("it has failed"))?;
            read(&*shared.table.view())
        };
        Box::pin(async move {
            let outcome = self.readers.run(read).await;
            outcome.unwrap_or_else(|Stopped| Err(unavailable("it is closed, or the read failed")))
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, Ordering::Release);
        self.close();
    }
}

impl Shared {
    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Ends the store. The first failure is told, later ones follow from it.
    fn fail(&self, fatal: &Fatal) {
        let is_first = !self.has_failed.swap(true, Ordering::AcqRel);
        self.backlog.fail();
        if is_first && !self.is_dropped.load(Ordering::Acquire) {
            (self.on_fatal)(fatal);
        }
    }
}

impl Writer {
    fn refuse(&self, batch: &[Commit]) -> Vec<SlotOutcome> {
        let heads: std::collections::HashMap<Slot, Head> = self.fence.heads().into_iter().collect();
        let slots: std::collections::BTreeSet<Slot> =
            batch.iter().map(|commit| commit.slot).collect();
        let refused = |slot: Slot| SlotOutcome {
            slot,
            outcome: Outcome::NotWritten {
                head: heads.get(&slot).copied().unwrap_or_default(),
                cause: "the embedded store is closed".to_owned(),
            },
        };
        slots.into_iter().map(refused).collect()
    }
}

/// Starts the applier. Its failure, also a panic, ends the store.
fn spawn(applier: Applier, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name("firn-store-apply".into());
    thread.spawn(move || {
        let run = panic::AssertUnwindSafe(|| applier.run(&shared.backlog));
        match panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(fatal)) => shared.fail(&fatal),
            Err(_) => shared.fail(&Fatal::bug("applying commits to the rows panicked")),
        }
    })
}

fn unavailable(why: &str) -> ReadError {
    ReadError::Unavailable {
        cause: format!("the embedded store does not answer: {why}"),
    }
}

impl Store for Embedded {
    fn heads(&self) -> BoxFuture<'_, Result<Vec<(Slot, Head)>, ReadError>> {
        self.read_all(read::heads)
    }

    fn dump(&self) -> BoxFuture<'_, Result<Box<dyn Dump>, ReadError>> {
        self.dump_all()
    }

    /// Blocks while it is polled, for a write and a flush of the disk: the committer calls it from
    /// a thread of its own.
    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<SlotOutcome>> {
        Box::pin(async move {
            match self.commit_blocking(batch) {
                Some(outcomes) => outcomes,
                None => future::pending().await,
            }
        })
    }

    fn load<'a>(
        &'a self,
        key: &'a EntityKey,
        replay: Replay,
    ) -> BoxFuture<'a, Result<Entity, ReadError>> {
        let key = key.clone();
        self.read_slot(key.slot(), move |rows| read::load(rows, &key, replay))
    }

    fn reply_record<'a>(
        &'a self,
        key: &'a EntityKey,
        method: &'a str,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<Option<ReplyRecord>, ReadError>> {
        let (key, method) = (key.clone(), method.to_owned());
        let idempotency_key = idempotency_key.to_owned();
        let now = self.clock.now();
        self.read_slot(key.slot(), move |rows| {
            read::reply_record(rows, &key, (&method, &idempotency_key), now)
        })
    }

    fn was_received(&self, slot: Slot, effect: EffectId) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.read_slot(slot, move |rows| read::was_received(rows, slot, effect))
    }

    fn outbox(
        &self,
        after: Option<EffectId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Pending>, ReadError>> {
        self.read_all(move |rows| read::outbox(rows, after, limit))
    }

    fn tombstones<'a>(
        &'a self,
        now: Timestamp,
        after: Option<&'a Tombstone>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Tombstone>, ReadError>> {
        let after = after.cloned();
        self.read_all(move |rows| read::tombstones(rows, now, after.as_ref(), limit))
    }

    fn due_timers<'a>(
        &'a self,
        until: Timestamp,
        after: Option<&'a DueTimer>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueTimer>, ReadError>> {
        let after = after.cloned();
        self.read_all(move |rows| read::due_timers(rows, until, after.as_ref(), limit))
    }

    fn timer<'a>(&'a self, id: &'a TimerId) -> BoxFuture<'a, Result<Option<Timer>, ReadError>> {
        let id = id.clone();
        self.read_slot(id.key.slot(), move |rows| read::timer(rows, &id))
    }

    fn tail(
        &self,
        slot: Slot,
        after: SlotSequence,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Tailed>, ReadError>> {
        self.read_slot(slot, move |rows| read::tail(rows, slot, after, limit))
    }

    fn list<'a>(
        &'a self,
        storage: &'a StorageName,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        let (storage, after) = (storage.clone(), after.map(str::to_owned));
        self.read_all(move |rows| read::list(rows, &storage, after.as_deref(), limit))
    }

    fn events<'a>(
        &'a self,
        key: &'a EntityKey,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Event>, ReadError>> {
        let key = key.clone();
        self.read_slot(key.slot(), move |rows| {
            read::events(rows, &key, after, limit)
        })
    }

    fn storages(&self) -> BoxFuture<'_, Result<Vec<StorageName>, ReadError>> {
        self.read_all(rows::retention::storages)
    }

    fn covered<'a>(
        &'a self,
        storage: &'a StorageName,
        keep: Keep,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Covered>, ReadError>> {
        let (storage, after) = (storage.clone(), after.map(str::to_owned));
        self.read_all(move |rows| {
            rows::retention::covered(rows, &storage, keep, after.as_deref(), limit)
        })
    }

    fn unwritten<'a>(
        &'a self,
        storage: &'a StorageName,
        since: Timestamp,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<EntityKey>, ReadError>> {
        let (storage, after) = (storage.clone(), after.map(str::to_owned));
        self.read_all(move |rows| {
            rows::retention::unwritten(rows, &storage, since, after.as_deref(), limit)
        })
    }

    /// Blocks while it is polled, like [`commit`](Store::commit).
    fn trim(&self, trims: Vec<Trim>) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move {
            match self.trim_blocking(trims) {
                Some(outcome) => outcome,
                None => future::pending().await,
            }
        })
    }

    /// Blocks while it is polled, like [`commit`](Store::commit).
    fn incarnate<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Replica, IncarnateError>> {
        Box::pin(async move {
            match self.incarnate_blocking(name) {
                Some(outcome) => outcome,
                None => future::pending().await,
            }
        })
    }

    /// Blocks while it is polled, like [`commit`](Store::commit).
    fn save_replicas(
        &self,
        node: NodeId,
        writes: Vec<ReplicaWrite>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move {
            match self.save_blocking(node, writes) {
                Some(outcome) => outcome,
                None => future::pending().await,
            }
        })
    }

    fn load_replica<'a>(
        &'a self,
        node: NodeId,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, ReadError>> {
        let key = key.clone();
        self.read_slot(key.slot(), move |rows| {
            rows::replicas::load(rows, node, &key)
        })
    }

    fn list_replicas<'a>(
        &'a self,
        node: NodeId,
        after: Option<&'a EntityKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<EntityKey>, ReadError>> {
        let after = after.cloned();
        self.read_all(move |rows| rows::replicas::list(rows, node, after.as_ref(), limit))
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
