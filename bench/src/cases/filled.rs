//! Folders filled through the store's own interface, with value entities of a small state.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Result, ensure};
use firn_model::id::{EntityKey, Epoch, Slot, SlotSequence, StorageName};
use firn_model::payload::Payload;
use firn_store::embedded::{Config, Embedded};
use firn_store::{Change, Commit, Outcome, Store, Timestamp};
use tokio::task::yield_now;

use crate::{function, own};

/// The size of the state of each.
pub(super) const STATE_BYTES: usize = 100;

/// How many are written at once.
const BATCH: u64 = 10_000;

/// Value entities of a component.
pub(super) struct Values {
    storage: &'static str,
    /// The type of their states: a message with one field of bytes.
    kept: &'static str,
    id: fn(u64) -> String,
}

/// Those of the function in this process.
pub(super) const WATCHED: Values = Values {
    storage: function::STORAGE,
    kept: function::KEPT,
    id: |number| format!("entity-{number:08}"),
};

/// Those of the function on firn.v1.
pub(super) const OWN: Values = Values {
    storage: own::REGISTER,
    kept: own::KEPT,
    id: super::id,
};

impl Values {
    /// The id of the entity with this number.
    pub(super) fn id(&self, number: u64) -> String {
        (self.id)(number)
    }

    /// Fills the data of a Firn that is started in this folder, with as many as that; gives how many
    /// seconds it took.
    pub(super) async fn fill(&self, folder: &Path, count: u64) -> Result<f64> {
        let start = Instant::now();
        let store = open(folder)?;
        let storage = StorageName::new(self.storage);
        let mut sequences: HashMap<Slot, SlotSequence> = HashMap::new();
        for first in (0..count).step_by(BATCH as usize) {
            let commits = (first..count.min(first + BATCH)).map(|number| {
                let key = EntityKey::new(storage.clone(), self.id(number));
                let sequence = sequences.entry(key.slot()).or_default();
                *sequence = sequence.next();
                let at = Timestamp::from(SystemTime::now());
                let mut commit = Commit::empty(key.slot(), Epoch::default(), *sequence, at);
                commit.key = Some(key);
                commit.change = Some(Change::Set(self.state(number)));
                commit
            });
            let outcomes = store.commit(commits.collect()).await;
            ensure!(
                outcomes.iter().all(|it| it.outcome == Outcome::Landed),
                "the store refused what it should take"
            );
            // Committing blocks; who wants to stop this program is heard in between.
            yield_now().await;
        }
        store.close();
        Ok(start.elapsed().as_secs_f64())
    }

    /// An encoded state, different for each entity.
    fn state(&self, number: u64) -> Payload {
        let mut bytes = vec![10, (STATE_BYTES - 2) as u8];
        let mut random = number;
        while bytes.len() < STATE_BYTES {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            bytes.push((random >> 56) as u8);
        }
        Payload::new(self.kept, bytes)
    }
}

/// Opens the store of a Firn that was started in this folder, and has stopped.
pub(super) fn open(folder: &Path) -> Result<Embedded> {
    let failed = |fatal: &_| eprintln!("the store failed: {fatal}");
    Ok(Embedded::open(
        &folder.join("data"),
        Config::default(),
        failed,
    )?)
}
