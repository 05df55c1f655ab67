//! The store as the settings name it.

use std::fmt;
use std::sync::Arc;

use firn_store::Store;
use firn_store::memory::Memory;

use crate::exit::Failure;
use crate::settings::{Config, StoreUrl};

/// A store that is open.
pub(crate) enum OpenStore {
    /// Nothing lasts.
    Memory(Arc<Memory>),
}

impl OpenStore {
    /// Opens the store of the settings.
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        match &config.store {
            StoreUrl::Memory | StoreUrl::Embedded(_) => Ok(Self::Memory(Arc::new(Memory::new()))),
        }
    }

    /// The store for the engine.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(memory) => memory.clone(),
        }
    }

    /// Writes down what closing in order is good for.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl fmt::Display for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(_) => f.write_str("memory, nothing lasts"),
        }
    }
}
