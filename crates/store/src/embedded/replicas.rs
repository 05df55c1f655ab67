//! Writing replicas: saves go to the disk together with commits.
//!
//! # How it works
//! A save is put in a queue, and its caller then waits for the writer, as a committer does. Whoever
//! has the writer and writes takes with it all that is in the queue: one write, one flush. So a save
//! is durable with the next flush that begins, whoever makes it. Its caller hears of it once it has
//! had the writer itself; that lock is not fair, but a committer lets go of it after every batch,
//! and even one that never pauses was seen to take turns with the saves.
//!
//! # Invariants
//! - A save leaves the queue only into a write of the log, as a whole and in order.
//! - Commits stand before the saves that go with them: the fence relies on their numbers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use firn_model::id::{NodeId, Replica, Slot};

use super::{Embedded, Writer};
use crate::replica::{IncarnateError, ReplicaWrite, WriteError};
use crate::rows::replicas;
use crate::write::Write;

/// Saves that wait to be written. Each caller has one at a time, so what waits is bounded by them.
#[derive(Default)]
pub(crate) struct Saves {
    waiting: Mutex<Waiting>,
}

/// What is taken from the queue at once.
#[derive(Default)]
pub(crate) struct Waiting {
    /// The replicas, in order.
    pub(crate) writes: Vec<Write>,
    /// The slots of their entities.
    pub(crate) slots: Vec<Slot>,
    /// The number of the last save in it, or before it if it is empty.
    pub(crate) last: u64,
}

impl Saves {
    /// Puts a save in; gives its number.
    pub(super) fn put(&self, node: NodeId, writes: Vec<ReplicaWrite>) -> u64 {
        let mut waiting = self.lock();
        for write in writes {
            waiting.slots.push(write.key.slot());
            waiting.writes.push(Write::Replica { node, write });
        }
        waiting.last += 1;
        waiting.last
    }

    /// Takes all that wait.
    pub(crate) fn take(&self) -> Waiting {
        let mut waiting = self.lock();
        let last = waiting.last;
        let next = Waiting {
            last,
            ..Waiting::default()
        };
        std::mem::replace(&mut *waiting, next)
    }

    /// Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Embedded {
    /// Writes replicas; `None` if the store cannot go on.
    pub(crate) fn save_blocking(
        &self,
        node: NodeId,
        writes: Vec<ReplicaWrite>,
    ) -> Option<Result<(), WriteError>> {
        if writes.is_empty() {
            return Some(Ok(()));
        }
        let number = self.saves.put(node, writes);
        let mut writer = self.writer();
        if writer.saved >= number {
            return Some(Ok(()));
        }
        if let Err(refusal) = self.check(&writer)? {
            return Some(Err(refusal));
        }
        self.write(&mut writer, Vec::new())?;
        Some(Ok(()))
    }

    /// Begins a run of a node; `None` if the store cannot go on.
    pub(crate) fn incarnate_blocking(&self, name: &str) -> Option<Result<Replica, IncarnateError>> {
        let mut writer = self.writer();
        if let Err(refusal) = self.check(&writer)? {
            return Some(Err(refusal.into()));
        }
        // The run before this one may have begun a moment ago.
        self.shared.backlog.reach(writer.log.next() - 1).ok()?;
        let run = replicas::next_run(&*self.shared.table.view(), name, replicas::draw_node);
        let run = match run {
            Ok(run) => run,
            Err(error) => return Some(Err(error)),
        };
        let replica = run.replica;
        self.write(&mut writer, vec![Write::Run(run)])?;
        Some(Ok(replica))
    }

    /// Whether the store still writes; `None` if it cannot go on.
    pub(super) fn check(&self, writer: &Writer) -> Option<Result<(), WriteError>> {
        if self.shared.has_failed() {
            return None;
        }
        let closed = || WriteError::Unavailable {
            cause: "the embedded store is closed".to_owned(),
        };
        Some(writer.applier.as_ref().map(drop).ok_or_else(closed))
    }
}
