//! The store in memory: for tests and for `--ephemeral`.
//!
//! Everything is gone with the process; otherwise it behaves like any other store. Calls never
//! wait: each holds a lock for as long as it works on the map.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use firn_model::id::{EffectId, EntityKey, NodeId, Replica, Slot, SlotSequence, StorageName};
use firn_model::policy::Replay;
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

use crate::archive::{self, RestoreError, Row};
use crate::clock::Clock;
use crate::commit::{Commit, Head, Outcome, ReplyRecord, SlotOutcome};
use crate::entity::{Entity, Event, Timestamp};
use crate::fence::{Fence, Progress};
use crate::replica::{IncarnateError, ReplicaWrite, WriteError};
use crate::retention::{Covered, Keep, Page, Trim};
use crate::rows::apply::{self, Remembered};
use crate::rows::key::Key;
use crate::rows::overlay::Changes;
use crate::rows::{Entry, Overlay, View, archive as archived, read, replicas, retention};
use crate::seal::Keys;
use crate::seal::stored::Seals;
use crate::timer::{DueTimer, Timer, TimerId};
use crate::write::Write;
use crate::{Pending, ReadError, Store, Tailed, Tombstone};

/// A store whose contents live and die with it.
pub struct Memory {
    clock: Clock,
    state: RwLock<State>,
}

struct State {
    table: Table,
    fence: Fence,
    remembered: Remembered,
}

/// An ordered map of rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    rows: BTreeMap<Key, Bytes>,
    seals: Seals,
}

impl Memory {
    /// An empty store with the system's clock.
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// An empty store whose reply records expire by this clock.
    pub fn with_clock(clock: Clock) -> Self {
        Self {
            clock,
            state: RwLock::new(State {
                table: Table::default(),
                fence: Fence::default(),
                remembered: Remembered::new(),
            }),
        }
    }

    /// This store, but what it holds is sealed: nobody finds it in an image of the memory without
    /// the keys, which are there too, so this is for trials of what other stores do.
    ///
    /// # Panics
    /// If the store holds something already.
    #[must_use]
    pub fn sealed(self, keys: Arc<Keys>) -> Self {
        let mut state = self.write();
        assert!(state.table.rows.is_empty(), "what is there is not sealed");
        state.table.seals = Seals::new(Some(keys));
        drop(state);
        self
    }

    /// A copy of its rows.
    #[cfg(test)]
    pub(crate) fn table(&self) -> Table {
        self.read().table.clone()
    }

    /// Begins to fill the store with what another held.
    ///
    /// # Errors
    /// It is not empty.
    pub fn restore(self: &Arc<Self>) -> Result<Box<dyn archive::Restore>, RestoreError> {
        if !self.read().table.rows.is_empty() {
            return Err(RestoreError::NotEmpty);
        }
        Ok(Box::new(Restore(self.clone())))
    }

    /// A panic while the lock is held leaves the map as it was: changes are written at the end.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<'a, T: Send + 'a>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, ReadError>,
    ) -> BoxFuture<'a, Result<T, ReadError>> {
        future::ready(read(&self.read().table)).boxed()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn commit(&mut self, batch: Vec<Commit>) -> Vec<SlotOutcome> {
        let everything = Progress {
            batch: 0,
            applied: 0,
        };
        let judgement = self
            .fence
            .judge(batch, everything, |key| read::last_event(&self.table, key));
        self.apply(judgement.accepted.into_iter().map(Write::Commit));
        let landed = judgement.landing.into_iter().map(|slot| SlotOutcome {
            slot,
            outcome: Outcome::Landed,
        });
        judgement.refused.into_iter().chain(landed).collect()
    }

    fn incarnate(&mut self, name: &str) -> Result<Replica, IncarnateError> {
        let run = replicas::next_run(&self.table, name, replicas::draw_node)?;
        let replica = run.replica;
        self.apply([Write::Run(run)]);
        Ok(replica)
    }

    fn apply(&mut self, writes: impl IntoIterator<Item = Write>) {
        let writes: Vec<Write> = writes.into_iter().collect();
        let mut rows = Overlay::over(&self.table);
        apply::apply(&mut rows, &writes, &mut self.remembered)
            .expect("rows in memory are not damaged, and the fence accepted the commits");
        let changes = rows.into_changes();
        self.table.write(changes);
    }
}

impl Table {
    /// Writes changes.
    pub(crate) fn write(&mut self, changes: impl IntoIterator<Item = (Key, Option<Bytes>)>) {
        for (key, change) in changes {
            match change {
                Some(value) => {
                    let value = self.seals.seal_row(&key, value);
                    self.rows.insert(key, value)
                }
                None => self.rows.remove(&key),
            };
        }
    }
}

impl View for Table {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let value = self.rows.get(key).cloned();
        value
            .map(|value| self.seals.open_row(key, value))
            .transpose()
    }

    fn scan<'a>(&'a self, from: Key, to: Key) -> Box<dyn Iterator<Item = Entry> + 'a> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        Box::new(self.rows.range(from..to).map(|(key, value)| {
            let value = self.seals.open_row(key, value.clone())?;
            Ok((Bytes::copy_from_slice(key), value))
        }))
    }
}

impl Store for Memory {
    fn heads(&self) -> BoxFuture<'_, Result<Vec<(Slot, Head)>, ReadError>> {
        future::ready(Ok(self.read().fence.heads())).boxed()
    }

    fn dump(&self) -> BoxFuture<'_, Result<Box<dyn archive::Dump>, ReadError>> {
        let rows = self.read().table.clone();
        let dump: Box<dyn archive::Dump> = Box::new(Dump(archived::Dump::new(rows)));
        future::ready(Ok(dump)).boxed()
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<SlotOutcome>> {
        future::ready(self.write().commit(batch)).boxed()
    }

    fn load<'a>(
        &'a self,
        key: &'a EntityKey,
        replay: Replay,
    ) -> BoxFuture<'a, Result<Entity, ReadError>> {
        self.answer(|rows| read::load(rows, key, replay))
    }

    fn reply_record<'a>(
        &'a self,
        key: &'a EntityKey,
        method: &'a str,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<Option<ReplyRecord>, ReadError>> {
        let now = self.clock.now();
        self.answer(|rows| read::reply_record(rows, key, (method, idempotency_key), now))
    }

    fn was_received(&self, slot: Slot, effect: EffectId) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.answer(|rows| read::was_received(rows, slot, effect))
    }

    fn outbox(
        &self,
        after: Option<EffectId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Pending>, ReadError>> {
        self.answer(|rows| read::outbox(rows, after, limit))
    }

    fn tombstones<'a>(
        &'a self,
        now: Timestamp,
        after: Option<&'a Tombstone>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Tombstone>, ReadError>> {
        self.answer(|rows| read::tombstones(rows, now, after, limit))
    }

    fn due_timers<'a>(
        &'a self,
        until: Timestamp,
        after: Option<&'a DueTimer>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueTimer>, ReadError>> {
        self.answer(|rows| read::due_timers(rows, until, after, limit))
    }

    fn timer<'a>(&'a self, id: &'a TimerId) -> BoxFuture<'a, Result<Option<Timer>, ReadError>> {
        self.answer(|rows| read::timer(rows, id))
    }

    fn tail(
        &self,
        slot: Slot,
        after: SlotSequence,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Tailed>, ReadError>> {
        self.answer(|rows| read::tail(rows, slot, after, limit))
    }

    fn list<'a>(
        &'a self,
        storage: &'a StorageName,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        self.answer(|rows| read::list(rows, storage, after, limit))
    }

    fn events<'a>(
        &'a self,
        key: &'a EntityKey,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Event>, ReadError>> {
        self.answer(|rows| read::events(rows, key, after, limit))
    }

    fn storages(&self) -> BoxFuture<'_, Result<Vec<StorageName>, ReadError>> {
        self.answer(retention::storages)
    }

    fn covered<'a>(
        &'a self,
        storage: &'a StorageName,
        keep: Keep,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Covered>, ReadError>> {
        self.answer(|rows| retention::covered(rows, storage, keep, after, limit))
    }

    fn unwritten<'a>(
        &'a self,
        storage: &'a StorageName,
        since: Timestamp,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<EntityKey>, ReadError>> {
        self.answer(|rows| retention::unwritten(rows, storage, since, after, limit))
    }

    fn trim(&self, trims: Vec<Trim>) -> BoxFuture<'_, Result<(), WriteError>> {
        self.write().apply(trims.into_iter().map(Write::Trim));
        future::ready(Ok(())).boxed()
    }

    fn incarnate<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Replica, IncarnateError>> {
        future::ready(self.write().incarnate(name)).boxed()
    }

    fn save_replicas(
        &self,
        node: NodeId,
        writes: Vec<ReplicaWrite>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        let writes = writes.into_iter();
        let writes = writes.map(|write| Write::Replica { node, write });
        self.write().apply(writes);
        future::ready(Ok(())).boxed()
    }

    fn load_replica<'a>(
        &'a self,
        node: NodeId,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, ReadError>> {
        self.answer(|rows| replicas::load(rows, node, key))
    }

    fn list_replicas<'a>(
        &'a self,
        node: NodeId,
        after: Option<&'a EntityKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<EntityKey>, ReadError>> {
        self.answer(|rows| replicas::list(rows, node, after, limit))
    }
}

struct Dump(archived::Dump<Table>);

impl archive::Dump for Dump {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Row>, ReadError>> {
        future::ready(self.0.batch()).boxed()
    }
}

/// A store that is being filled.
struct Restore(Arc<Memory>);

impl archive::Restore for Restore {
    fn write(&mut self, rows: Vec<Row>) -> BoxFuture<'_, Result<(), RestoreError>> {
        let mut changes = Changes::new();
        let mut rows = rows.into_iter();
        let mut put = |key, value| {
            changes.insert(key, Some(value));
        };
        let restored = rows.try_for_each(|row| archived::restore(&mut put, row));
        self.0.write().table.write(changes);
        future::ready(restored.map_err(Into::into)).boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), RestoreError>> {
        let mut state = self.0.write();
        let heads = read::heads(&state.table);
        let finished = heads.map(|heads| state.fence = Fence::new(heads));
        future::ready(finished.map_err(Into::into)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{self, Backend};

    struct InMemory(Clock);

    impl Backend for InMemory {
        fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
            let store: Box<dyn Store> = Box::new(Memory::with_clock(self.0.clone()));
            future::ready(store).boxed()
        }

        fn keeps(&self) -> bool {
            false
        }
    }

    #[test]
    fn memory_conforms() {
        futures_executor::block_on(suite::run(InMemory));
    }

    struct Sealed(Clock);

    impl Backend for Sealed {
        fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
            let keys = Keys::parse("k:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
            let store = Memory::with_clock(self.0.clone()).sealed(Arc::new(keys));
            let store: Box<dyn Store> = Box::new(store);
            future::ready(store).boxed()
        }

        fn keeps(&self) -> bool {
            false
        }
    }

    #[test]
    fn sealed_memory_conforms() {
        futures_executor::block_on(suite::run(Sealed));
    }
}
