//! Durable memory: commits of slots go in, entities and what is still to be done come out.
//!
//! [`Store`] is small on purpose: load an entity, commit a batch, scan by slot, list. Everything a
//! caller may rely on is written at its methods and checked for every backend by one suite.
//! [`memory::Memory`] forgets with the process; [`embedded::Embedded`] keeps a folder.
//!
//! # Reading order
//! `commit`, `timer`, `replica`, `retention` and `entity` are what goes in and comes out; `encoding` and `rows` how both
//! become bytes in an ordered map; `fence` which commits may be written at all; then the backends,
//! and `suite`, which (with the feature `testkit`) holds every backend to the same promises.
//!
//! # Invariants
//! - A [`Commit`] is atomic, and durable before its [`Outcome::Landed`] is given.
//! - The commits of one slot carry contiguous sequences; one with another epoch or another sequence
//!   than the slot's next is refused, and so is everything else of that slot in the batch.
//! - Slots fail alone: a refused slot never keeps another from landing.
//! - Replicas are outside of slots: each belongs to one node, and no epoch or sequence guards it.

pub mod check;
mod clock;
mod commit;
mod encoding;
mod entity;
mod fence;
mod replica;
mod retention;
mod rows;
mod timer;
mod write;

pub mod archive;
pub mod embedded;
pub mod memory;
pub mod metrics;
pub mod postgres;
pub mod seal;

#[cfg(any(test, feature = "testkit"))]
pub mod suite;

pub use clock::Clock;
pub use commit::{Change, Commit, Head, Outcome, ReplyRecord, SlotOutcome, StoredAnswer};
pub use entity::{Entity, Event, Snapshot, Timestamp};
pub use replica::{IncarnateError, ReplicaWrite, WriteError};
pub use retention::{Covered, Done, Keep, Page, Pass, TRIM_EVENTS_MAX, Trim};
pub use timer::{DueTimer, Timer, TimerId, TimerName, TimerWrite};

use bytes::Bytes;
use firn_model::id::{EffectId, EntityKey, NodeId, Replica, Slot, SlotSequence, StorageName};
use firn_model::policy::Replay;
use futures_util::future::BoxFuture;

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A stored record is damaged; retrying does not help.
    #[error("damaged record in {place}: {fault}")]
    Damaged {
        /// Where: keyspace and key, or file and offset.
        place: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The store cannot answer now; retrying later may help.
    #[error("the store cannot be read: {cause}")]
    Unavailable {
        /// The backend's own words.
        cause: String,
    },
}

/// An entry of the outbox: an effect that is committed and not yet known to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its identity.
    pub id: EffectId,
    /// The entity whose decision caused it.
    pub sender: EntityKey,
    /// What is to be called.
    pub effect: firn_model::decision::Effect,
    /// How many hops of forwards and effects led to it.
    pub hops: u32,
}

/// A deleted entity that still refuses changes, or is only there to be cleaned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// When its grace is over.
    pub until: Timestamp,
    /// The entity.
    pub key: EntityKey,
}

/// A commit as a consumer of a slot's changes sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tailed {
    /// Its number in the slot; numbers without a change of an entity are left out.
    pub sequence: SlotSequence,
    /// The entity that changed.
    pub key: EntityKey,
    /// When the owner made it.
    pub at: Timestamp,
    /// What changed. Of a value entity only the newest change is kept, older ones are left out;
    /// events are kept as long as their entity, unless they are [trimmed](Store::trim): then their
    /// change is left out, and one of which some are left has those. Snapshots are no changes: one
    /// that came with events is left out of them.
    pub change: Change,
}

/// A durable store.
///
/// All methods may be called at once from many tasks; `commit` is called by one committer of each
/// [writer](Self::writers) at a time.
///
/// A commit that breaks its own rules (events or a snapshot that do not continue its entity, an
/// entity of another slot or none where one is needed, an acknowledged effect of another slot, an
/// effect with a delay, which is a timer, tags without a state) is refused like one with a wrong sequence: it is never
/// stored.
pub trait Store: Send + Sync + 'static {
    /// The head of every slot that was ever written or owned, in any order. It decides commits whose
    /// outcome could not be told: none that was handed over before the call may land after it.
    fn heads(&self) -> BoxFuture<'_, Result<Vec<(Slot, Head)>, ReadError>>;

    /// How many writers there are, of which none waits for another's writes. At least one. Which is
    /// that of a slot its [share](Slot::share_of) says.
    fn writers(&self) -> usize {
        1
    }

    /// Writes a batch durably. Commits of one slot stand in order of sequence; the result has one
    /// outcome for each slot that occurs, in any order.
    ///
    /// # Fate
    /// A backend whose failed flush leaves the file in doubt (embedded) does not return: it ends
    /// the process through the handler it was opened with.
    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<SlotOutcome>>;

    /// Everything an instance is recovered from. Sees every commit whose outcome was given before
    /// the call. An entity that was never written, or was cleaned, has nothing in it. One whose first
    /// events were trimmed comes with its snapshot whatever is asked for.
    fn load<'a>(
        &'a self,
        key: &'a EntityKey,
        replay: Replay,
    ) -> BoxFuture<'a, Result<Entity, ReadError>>;

    /// The record of an earlier command with this idempotency key, unless it has expired.
    fn reply_record<'a>(
        &'a self,
        key: &'a EntityKey,
        method: &'a str,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<Option<ReplyRecord>, ReadError>>;

    /// Whether the effect was already received by an entity of this slot.
    fn was_received(&self, slot: Slot, effect: EffectId) -> BoxFuture<'_, Result<bool, ReadError>>;

    /// Up to `limit` outbox entries after `after`, ordered by identity.
    fn outbox(
        &self,
        after: Option<EffectId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Pending>, ReadError>>;

    /// Up to `limit` tombstones after `after` whose grace is over at `now`, the oldest first. One
    /// goes with [`Change::Clean`], and with whatever else lets its entity live again.
    fn tombstones<'a>(
        &'a self,
        now: Timestamp,
        after: Option<&'a Tombstone>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Tombstone>, ReadError>>;

    /// Up to `limit` timers after `after` that are due at `until` or before, the earliest first.
    fn due_timers<'a>(
        &'a self,
        until: Timestamp,
        after: Option<&'a DueTimer>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueTimer>, ReadError>>;

    /// A timer as it stands; `None` if there is none. Sees every commit whose outcome was given
    /// before the call. What happens to its entity leaves it as it is, also a delete.
    fn timer<'a>(&'a self, id: &'a TimerId) -> BoxFuture<'a, Result<Option<Timer>, ReadError>>;

    /// Up to `limit` changes of a slot after `after`, in order.
    fn tail(
        &self,
        slot: Slot,
        after: SlotSequence,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Tailed>, ReadError>>;

    /// Up to `limit` ids of entities after `after`, in byte order; deleted ones are left out. A
    /// replicated entity is there if any node's replica of it is not deleted.
    fn list<'a>(
        &'a self,
        storage: &'a StorageName,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>>;

    /// Up to `limit` events of an entity with numbers above `after`, in order. Those that were
    /// trimmed are left out.
    fn events<'a>(
        &'a self,
        key: &'a EntityKey,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Event>, ReadError>>;

    /// The storage names under which an entity was ever written, in any order; those that hold
    /// replicas only are left out.
    fn storages(&self) -> BoxFuture<'_, Result<Vec<StorageName>, ReadError>>;

    /// Looks at up to `limit` entities of a component after `after`, in byte order, for events that
    /// a snapshot covers and that need not be kept. Deleted entities are left out.
    fn covered<'a>(
        &'a self,
        storage: &'a StorageName,
        keep: Keep,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Covered>, ReadError>>;

    /// Looks at up to `limit` entities of a component after `after`, in byte order, for those that
    /// are not deleted and were last changed before `since`.
    fn unwritten<'a>(
        &'a self,
        storage: &'a StorageName,
        since: Timestamp,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<EntityKey>, ReadError>>;

    /// Removes events durably. Whatever is asked for, the last snapshot, the events after it and the
    /// last event stay, deleted entities are left as they are, and of each entity at most
    /// [`TRIM_EVENTS_MAX`] go at once. Each entity's go all or none. Nothing that an instance holds
    /// becomes wrong by it, so anybody may trim, also while others own the slots and commit.
    ///
    /// # Errors
    /// See [`WriteError`].
    ///
    /// # Fate
    /// Like [`commit`](Self::commit).
    fn trim(&self, trims: Vec<Trim>) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Everything in the store, as it is at one moment after all that was reported durable before
    /// the call. Reading it may take long; others read and write meanwhile.
    fn dump(&self) -> BoxFuture<'_, Result<Box<dyn archive::Dump>, ReadError>>;

    /// Whether this process is sure, without asking anybody, that it still owns the slots that it
    /// took. A store that one process alone can have open is always sure.
    fn is_sure(&self) -> bool {
        true
    }

    /// Whether nobody has taken the slot from this process. What was read of it, or held in memory,
    /// before the call is then still true at the call; otherwise another owner may have gone on.
    fn holds(&self, slot: Slot) -> BoxFuture<'_, Result<bool, ReadError>> {
        let _ = slot;
        Box::pin(std::future::ready(Ok(true)))
    }

    /// Takes the next incarnation of the node with this name, durably before it returns. The first
    /// time for a name it draws the node's id at random, so that a new store is a new node. The same
    /// replica is never given twice, whenever the process ends in between.
    ///
    /// # Errors
    /// See [`IncarnateError`]. A number may be lost, never given again.
    ///
    /// # Fate
    /// Like [`commit`](Self::commit).
    fn incarnate<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Replica, IncarnateError>>;

    /// Writes replicas of a node durably, each in place of the one before; later ones of the same
    /// entity win. Each write is atomic, its receipts included: [`was_received`](Self::was_received)
    /// finds them in the entity's slot. A node writes from one task at a time; others may commit
    /// meanwhile.
    ///
    /// # Errors
    /// See [`WriteError`].
    ///
    /// # Fate
    /// Like [`commit`](Self::commit).
    fn save_replicas(
        &self,
        node: NodeId,
        writes: Vec<ReplicaWrite>,
    ) -> BoxFuture<'_, Result<(), WriteError>>;

    /// The state of a node's replica, also of a deleted entity; `None` if there is none. Sees every
    /// write that was reported durable before the call.
    fn load_replica<'a>(
        &'a self,
        node: NodeId,
        key: &'a EntityKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, ReadError>>;

    /// Up to `limit` entities that a node has replicas of, after `after`, in an order that never
    /// changes; deleted ones are there too.
    fn list_replicas<'a>(
        &'a self,
        node: NodeId,
        after: Option<&'a EntityKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<EntityKey>, ReadError>>;
}
