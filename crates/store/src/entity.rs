//! What is read: the stored form of an entity.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firn_model::decision::Tags;
use firn_model::payload::Payload;

/// Wall-clock time in whole milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time that much later; saturates.
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before 1970 become 0.
    fn from(time: SystemTime) -> Self {
        Self(
            time.duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
        )
    }
}

/// Everything that an instance is recovered from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entity {
    /// The value; always `None` for event sourced entities.
    pub state: Option<Payload>,
    /// The tags that the state came with.
    pub tags: Tags,
    /// The newest snapshot, unless all events were asked for and all are there.
    pub snapshot: Option<Snapshot>,
    /// The events after the snapshot, or all, in order.
    pub events: Vec<Event>,
    /// The number of the last event ever appended in this generation; 0 before the first.
    pub last_event: u64,
    /// The entity was deleted; the tombstone stays up to then.
    pub deleted_until: Option<Timestamp>,
    /// When it last changed, if it ever did.
    pub changed_at: Option<Timestamp>,
}

impl Entity {
    /// Whether there is something of it, and no tombstone.
    pub fn is_alive(&self) -> bool {
        let has_contents = self.state.is_some() || self.last_event > 0 || self.snapshot.is_some();
        has_contents && self.deleted_until.is_none()
    }
}

/// A stored snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of the last event in it.
    pub sequence: u64,
    /// The state.
    pub payload: Payload,
}

/// A stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number in its entity, from 1.
    pub sequence: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// The event.
    pub payload: Payload,
}
