//! A store in memory that is not sure who owns its slots.

use std::sync::Mutex;

use bytes::Bytes;
use firn_model::id::{EffectId, EntityKey, NodeId, Replica, Slot, SlotSequence, StorageName};
use firn_model::policy::Replay;
use firn_store::archive::Dump;
use firn_store::memory::Memory;
use firn_store::{
    Commit, Covered, DueTimer, Entity, Event, Head, IncarnateError, Keep, Outcome, Page, Pending,
    ReadError, ReplicaWrite, ReplyRecord, SlotOutcome, Store, Tailed, Timer, TimerId, Timestamp,
    Tombstone, Trim, WriteError,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::{Notify, Semaphore};

/// Never sure; what it is asked for it answers as it is told.
pub(crate) struct Unsure {
    stored: Memory,
    holds: Mutex<Result<bool, ReadError>>,
    /// Why commits are not written, if they are not.
    writes: Mutex<Result<(), String>>,
    /// Why events that may go cannot be looked for, if they cannot.
    covers: Mutex<Result<(), ReadError>>,
    /// A trim has come.
    pub(crate) trimming: Notify,
    /// How many trims may go on.
    pub(crate) trims: Semaphore,
}

impl Unsure {
    pub(crate) fn new() -> Self {
        Self {
            stored: Memory::new(),
            holds: Mutex::new(Ok(true)),
            writes: Mutex::new(Ok(())),
            covers: Mutex::new(Ok(())),
            trimming: Notify::new(),
            trims: Semaphore::new(0),
        }
    }

    /// What it says from now on to who asks whether slots are still held.
    pub(crate) fn say(&self, holds: Result<bool, ReadError>) {
        *self.holds.lock().expect("whole") = holds;
    }

    /// What it says from now on to who looks for events that may go, unless it looks.
    pub(crate) fn cover(&self, covers: Result<(), ReadError>) {
        *self.covers.lock().expect("whole") = covers;
    }

    /// Whether it writes commits from now on.
    pub(crate) fn write(&self, writes: Result<(), String>) {
        *self.writes.lock().expect("whole") = writes;
    }
}

impl Store for Unsure {
    fn is_sure(&self) -> bool {
        false
    }

    fn holds(&self, _: Slot) -> BoxFuture<'_, Result<bool, ReadError>> {
        ready(self.holds.lock().expect("whole").clone()).boxed()
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<SlotOutcome>> {
        let Err(cause) = self.writes.lock().expect("whole").clone() else {
            return self.stored.commit(batch);
        };
        let mut outcomes: Vec<SlotOutcome> = Vec::new();
        for commit in batch {
            if outcomes.iter().any(|told| told.slot == commit.slot) {
                continue;
            }
            let head = Head {
                epoch: commit.epoch,
                sequence: SlotSequence(commit.sequence.0 - 1),
            };
            outcomes.push(SlotOutcome {
                slot: commit.slot,
                outcome: Outcome::NotWritten {
                    head,
                    cause: cause.clone(),
                },
            });
        }
        ready(outcomes).boxed()
    }

    fn heads(&self) -> BoxFuture<'_, Result<Vec<(Slot, Head)>, ReadError>> {
        self.stored.heads()
    }

    fn load<'a>(
        &'a self,
        key: &'a EntityKey,
        replay: Replay,
    ) -> BoxFuture<'a, Result<Entity, ReadError>> {
        self.stored.load(key, replay)
    }

    fn reply_record<'a>(
        &'a self,
        key: &'a EntityKey,
        method: &'a str,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<Option<ReplyRecord>, ReadError>> {
        self.stored.reply_record(key, method, idempotency_key)
    }

    fn was_received(&self, slot: Slot, effect: EffectId) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.stored.was_received(slot, effect)
    }

    fn outbox(
        &self,
        after: Option<EffectId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Pending>, ReadError>> {
        self.stored.outbox(after, limit)
    }

    fn tombstones<'a>(
        &'a self,
        now: Timestamp,
        after: Option<&'a Tombstone>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Tombstone>, ReadError>> {
        self.stored.tombstones(now, after, limit)
    }

    fn due_timers<'a>(
        &'a self,
        until: Timestamp,
        after: Option<&'a DueTimer>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueTimer>, ReadError>> {
        self.stored.due_timers(until, after, limit)
    }

    fn timer<'a>(&'a self, id: &'a TimerId) -> BoxFuture<'a, Result<Option<Timer>, ReadError>> {
        self.stored.timer(id)
    }

    fn tail(
        &self,
        slot: Slot,
        after: SlotSequence,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Tailed>, ReadError>> {
        self.stored.tail(slot, after, limit)
    }

    fn list<'a>(
        &'a self,
        storage: &'a StorageName,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        self.stored.list(storage, after, limit)
    }

    fn events<'a>(
        &'a self,
        key: &'a EntityKey,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Event>, ReadError>> {
        self.stored.events(key, after, limit)
    }

    fn storages(&self) -> BoxFuture<'_, Result<Vec<StorageName>, ReadError>> {
        self.stored.storages()
    }

    fn covered<'a>(
        &'a self,
        storage: &'a StorageName,
        keep: Keep,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Covered>, ReadError>> {
        match self.covers.lock().expect("whole").clone() {
            Ok(()) => self.stored.covered(storage, keep, after, limit),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    fn unwritten<'a>(
        &'a self,
        storage: &'a StorageName,
        since: Timestamp,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<EntityKey>, ReadError>> {
        self.stored.unwritten(storage, since, after, limit)
    }

    fn trim(&self, trims: Vec<Trim>) -> BoxFuture<'_, Result<(), WriteError>> {
        let trimmed = async {
            self.trimming.notify_one();
            let may = self.trims.acquire().await;
            may.expect("it is not closed").forget();
            self.stored.trim(trims).await
        };
        trimmed.boxed()
    }

    fn dump(&self) -> BoxFuture<'_, Result<Box<dyn Dump>, ReadError>> {
        self.stored.dump()
    }

    fn incarnate<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Replica, IncarnateError>> {
        self.stored.incarnate(name)
    }

    fn save_replicas(
        &self,
        node: NodeId,
        writes: Vec<ReplicaWrite>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        self.stored.save_replicas(node, writes)
    }

    fn load_replica<'a>(
        &'a self,
        node: NodeId,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, ReadError>> {
        self.stored.load_replica(node, key)
    }

    fn list_replicas<'a>(
        &'a self,
        node: NodeId,
        after: Option<&'a EntityKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<EntityKey>, ReadError>> {
        self.stored.list_replicas(node, after, limit)
    }
}
