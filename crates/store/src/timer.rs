//! Timers: calls that wait for their time.

use std::sync::Arc;
use std::time::Duration;

use firn_model::decision::Forward;
use firn_model::id::{EffectId, EntityKey};

use crate::entity::Timestamp;

/// A call that is to be made when its time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// When, by the wall clock of the slot's owner.
    pub due: Timestamp,
    /// What is to be called.
    pub call: Forward,
    /// After how long it is due again each time, in whole milliseconds; `None` for once.
    pub repeat: Option<Duration>,
    /// How many hops of forwards and effects led to it.
    pub hops: u32,
}

/// The name of a timer within its entity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerName {
    /// The function's own.
    Own(Arc<str>),
    /// Of an effect that was decided with a delay: no other ever has it.
    Delayed(EffectId),
}

/// Which timer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    /// The entity that it belongs to; also one that has no state, so that its slot has the timer.
    pub key: EntityKey,
    /// Its name there.
    pub name: TimerName,
}

/// A change of a timer of a commit's entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerWrite {
    /// Which.
    pub name: TimerName,
    /// What it is from now on, in place of what it was; `None` if it is gone.
    pub timer: Option<Timer>,
}

/// A timer as a scan finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTimer {
    /// When it is due.
    pub due: Timestamp,
    /// Which one it is.
    pub id: TimerId,
}
