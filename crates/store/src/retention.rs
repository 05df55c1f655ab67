//! What of a store's contents is looked for to be removed, and how that is told.

use firn_model::id::EntityKey;

use crate::entity::Timestamp;

/// How many events one [`Trim`] removes at most: few enough to hold nobody up. What is left of an
/// entity goes with the next.
pub const TRIM_EVENTS_MAX: u64 = 1024;

/// Which of the events that a snapshot covers are kept all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last so many before the snapshot.
    Last(u64),
    /// Those that were committed then or later, and what follows them.
    Since(Timestamp),
}

/// Events of an entity that a snapshot covers and nobody wants to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The entity.
    pub key: EntityKey,
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub through: u64,
}

impl Covered {
    /// How many they are.
    pub fn count(&self) -> u64 {
        (self.through + 1).saturating_sub(self.first)
    }

    /// What removes them, or the first of them.
    pub fn trim(&self) -> Trim {
        Trim {
            key: self.key.clone(),
            through: self.through,
        }
    }
}

/// Removes events of an entity, oldest first, up to a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trim {
    /// The entity.
    pub key: EntityKey,
    /// The number of the last event that goes.
    pub through: u64,
}

/// A part of what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What was found.
    pub found: Vec<T>,
    /// The id after which to go on; `None` if there is nothing more to look at.
    pub next: Option<String>,
}
