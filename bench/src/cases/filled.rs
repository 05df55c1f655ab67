//! Folders filled through the store's own interface, with value entities of a small state.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use firn_model::id::{EntityKey, StorageName};
use firn_model::payload::Payload;
use firn_store::Change;
use firn_store::embedded::{Config, Embedded};

use crate::filling::{self, BATCH, Filling};
use crate::{function, own};

/// The size of the state of each.
pub(super) const STATE_BYTES: usize = 100;

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
        let mut filling = Filling::default();
        for first in (0..count).step_by(BATCH) {
            for number in first..count.min(first + BATCH as u64) {
                let key = EntityKey::new(storage.clone(), self.id(number));
                filling.change(key, Change::Set(self.state(number)));
            }
            filling.write(&store).await?;
        }
        store.close();
        Ok(start.elapsed().as_secs_f64())
    }

    /// An encoded state, different for each entity.
    fn state(&self, number: u64) -> Payload {
        let field = [10, (STATE_BYTES - 2) as u8];
        let bytes = [&field[..], &filling::bytes(number, STATE_BYTES - 2)].concat();
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
