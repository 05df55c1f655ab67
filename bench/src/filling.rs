//! What stores are filled with, through their own interface: commits, and event sourced entities.

use std::collections::HashMap;
use std::time::SystemTime;

use anyhow::{Result, ensure};
use firn_model::id::{EntityKey, Epoch, Slot, SlotSequence, StorageName};
use firn_model::payload::Payload;
use firn_store::{Change, Commit, Outcome, Store, Timestamp};
use tokio::task::yield_now;

/// The name that they are stored under.
pub(crate) const STORAGE: &str = "bench.Ledger";

/// The type of their events and snapshots.
pub(crate) const TYPE: &str = "type.googleapis.com/bench.Added";

/// The size of an event and of a snapshot.
pub(crate) const EVENT_BYTES: usize = 100;

/// How many commits are handed over at once.
pub(crate) const BATCH: usize = 5_000;

/// Commits of entities, each in its order.
#[derive(Default)]
pub(crate) struct Filling {
    sequences: HashMap<Slot, SlotSequence>,
    commits: Vec<Commit>,
}

impl Filling {
    /// Adds the commit of an entity that changes like this.
    pub(crate) fn change(&mut self, key: EntityKey, change: Change) {
        let sequence = self.sequences.entry(key.slot()).or_default();
        *sequence = sequence.next();
        let at = Timestamp::from(SystemTime::now());
        let mut commit = Commit::empty(key.slot(), Epoch::default(), *sequence, at);
        commit.key = Some(key);
        commit.change = Some(change);
        self.commits.push(commit);
    }

    /// Writes what was added since the last time.
    pub(crate) async fn write(&mut self, store: &dyn Store) -> Result<()> {
        let mut commits = std::mem::take(&mut self.commits).into_iter();
        loop {
            let batch: Vec<Commit> = commits.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let outcomes = store.commit(batch).await;
            ensure!(
                outcomes.iter().all(|it| it.outcome == Outcome::Landed),
                "the store refused what it should take"
            );
            // Committing may block; who wants to stop this program is heard in between.
            yield_now().await;
        }
    }
}

/// The entity with this number.
pub(crate) fn entity(number: u64) -> EntityKey {
    EntityKey::new(StorageName::new(STORAGE), format!("entity-{number:08}"))
}

/// So many events from this number on; after the last a snapshot, if there should be one.
pub(crate) fn events(first: u64, count: u64, has_snapshot: bool) -> Change {
    Change::Append {
        first,
        events: (first..first + count).map(payload).collect(),
        snapshot: has_snapshot.then(|| payload(first + count)),
        deleted_until: None,
    }
}

/// An event or a snapshot.
pub(crate) fn payload(number: u64) -> Payload {
    Payload::new(TYPE, bytes(number, EVENT_BYTES))
}

/// So many bytes that differ for each number, and that nothing makes much smaller.
pub(crate) fn bytes(number: u64, count: usize) -> Vec<u8> {
    let mut random = number;
    let next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}
