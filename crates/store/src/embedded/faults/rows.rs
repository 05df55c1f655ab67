//! Rows in memory that lose, at the end of a process, some of the last batches.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Chance, FaultyDisk};
use crate::ReadError;
use crate::embedded::table::{Table, TableError};
use crate::embedded::{Config, Embedded, Fatal, OpenError, Parts, Places};
use crate::memory;
use crate::rows::key::Key;
use crate::rows::overlay::Changes;
use crate::rows::{Entry, View};
use crate::seal::stored::Seals;

/// Rows that stand in for fjall: batches are whole, in order, and lost from the end unless flushed.
/// Clones are the same rows.
#[derive(Clone, Default)]
pub struct FaultyRows {
    state: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    seen: memory::Table,
    durable: memory::Table,
    unflushed: Vec<Changes>,
    is_failing: bool,
}

/// Opens a store on a disk and rows that fail.
///
/// # Errors
/// See [`OpenError`].
pub fn open(
    disk: &FaultyDisk,
    rows: &FaultyRows,
    config: &Config,
    on_fatal: impl Fn(&Fatal) + Send + Sync + 'static,
) -> Result<Embedded, OpenError> {
    let seals = Seals::new(config.keys.clone());
    let parts = Parts {
        disk: Arc::new(disk.clone()),
        table: seals.table(Arc::new(rows.clone())),
        seals,
        places: Places {
            log: "log".into(),
            rows: "rows".into(),
        },
        folder: None,
    };
    Embedded::assemble(parts, config, Box::new(on_fatal))
}

impl FaultyRows {
    /// No rows, and no failure yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every write and flush fail from now on, or no longer.
    pub fn set_failing(&self, is_failing: bool) {
        self.write().is_failing = is_failing;
    }

    /// What the next process finds: what was flushed, and by chance some batches more.
    pub fn survive(&self, chance: &mut Chance) -> Self {
        let state = self.read();
        let mut table = state.durable.clone();
        let kept = chance.below(state.unflushed.len() as u64 + 1) as usize;
        for changes in &state.unflushed[..kept] {
            table.write(changes.clone());
        }
        let survived = State {
            seen: table.clone(),
            durable: table,
            ..State::default()
        };
        Self {
            state: Arc::new(RwLock::new(survived)),
        }
    }

    /// Sets a row behind the store's back.
    #[cfg(test)]
    pub(crate) fn put(&self, key: Key, value: &'static [u8]) {
        let value = Some(Bytes::from_static(value));
        self.write().seen.write([(key, value)]);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> Result<RwLockWriteGuard<'_, State>, TableError> {
        let state = self.write();
        if state.is_failing {
            return Err(TableError::Io(io::ErrorKind::StorageFull.into()));
        }
        Ok(state)
    }
}

impl Table for FaultyRows {
    fn view(&self) -> Box<dyn View + Send> {
        Box::new(Copy(self.read().seen.clone()))
    }

    fn durable(&self) -> Result<Box<dyn View + Send>, TableError> {
        Ok(Box::new(Copy(self.working()?.durable.clone())))
    }

    fn write(&self, changes: Changes) -> Result<(), TableError> {
        let mut state = self.working()?;
        state.seen.write(changes.clone());
        state.unflushed.push(changes);
        Ok(())
    }

    fn start_persisting(&self) -> Result<(), TableError> {
        self.persist()
    }

    fn persist(&self) -> Result<(), TableError> {
        let mut state = self.working()?;
        state.durable = state.seen.clone();
        state.unflushed.clear();
        Ok(())
    }
}

struct Copy(memory::Table);

impl View for Copy {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.0.get(key)
    }

    fn scan<'a>(&'a self, from: Key, to: Key) -> Box<dyn Iterator<Item = Entry> + 'a> {
        self.0.scan(from, to)
    }
}
