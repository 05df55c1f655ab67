//! The applier: brings writes from the log into the rows, and lets go of what the log no longer
//! needs.
//!
//! One thread. It takes batches from the [`Backlog`], writes their rows and the number they reach
//! in one batch of the table, and every now and then makes a *checkpoint*: the table is flushed, and
//! segments of the log that hold nothing newer are removed. Its fate: it ends when the backlog is
//! closed, after a last checkpoint; a failure is fatal for the process.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Fatal;
use super::backlog::{Backlog, Batch, Work};
use super::log::Segments;
use super::table::{Table, TableError};
use crate::ReadError;
use crate::rows::apply::{self, Remembered};
use crate::rows::{Overlay, View, key};
use crate::write::Write;

/// When to make a checkpoint, besides when a segment is finished and at the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckpointEvery {
    /// After so many bytes of log: they, and what is in the backlog, are what a start after a crash
    /// reads at most.
    pub(crate) bytes: u64,
    /// After this time, if anything was written.
    pub(crate) time: Duration,
}

/// Applies writes to rows.
pub(crate) struct Applier {
    pub(crate) table: Arc<dyn Table>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) every: CheckpointEvery,
    pub(crate) rows: RowWriter,
    /// What happened since the last checkpoint.
    pub(crate) pending: Pending,
}

/// What a checkpoint would make durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    /// The number that the rows have reached.
    pub(crate) reached: u64,
    /// The bytes of log since the last checkpoint.
    pub(crate) bytes: u64,
    /// When the first of them was applied.
    pub(crate) since: Option<Instant>,
}

/// Turns batches of writes into batches of rows.
pub(crate) struct RowWriter {
    remembered: Remembered,
}

impl Applier {
    /// Works until the backlog is closed.
    ///
    /// # Errors
    /// The table or the disk failed. What is in the log stays there.
    pub(crate) fn run(mut self, backlog: &Backlog) -> Result<(), Fatal> {
        loop {
            match backlog.take(self.idle()) {
                Work::Apply(batches) => {
                    self.apply(batches)?;
                    backlog.advance(self.pending.reached);
                    // Commits are not to wait for a processor until everything is applied.
                    thread::yield_now();
                }
                Work::Idle => {}
                Work::Close => return self.checkpoint(),
            }
            if self.is_due() {
                self.checkpoint()?;
            }
        }
    }

    /// How long nothing may come before a checkpoint is due.
    fn idle(&self) -> Duration {
        match self.pending.since {
            Some(since) => self.every.time.saturating_sub(since.elapsed()),
            None => self.every.time,
        }
    }

    fn is_due(&self) -> bool {
        let Some(since) = self.pending.since else {
            return false;
        };
        self.pending.bytes >= self.every.bytes
            || since.elapsed() >= self.every.time
            || self.segments.has_finished(self.pending.reached)
    }

    fn apply(&mut self, batches: Vec<Batch>) -> Result<(), Fatal> {
        let bytes: u64 = batches.iter().map(|batch| batch.bytes).sum();
        let Some(reached) = batches.last().map(|batch| batch.last) else {
            return Ok(());
        };
        let writes = batches.iter().flat_map(|batch| &batch.writes);
        self.rows
            .write(&*self.table, writes, reached)
            .map_err(|error| Fatal::rows(&error))?;
        self.pending.reached = reached;
        self.pending.bytes += bytes;
        self.pending.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Makes the rows durable, then removes the segments that nothing needs any more.
    fn checkpoint(&mut self) -> Result<(), Fatal> {
        self.table
            .persist()
            .map_err(|error| Fatal::rows(&error.into()))?;
        self.segments
            .remove_finished(self.pending.reached)
            .map_err(|error| Fatal::disk("a segment cannot be removed", &error))?;
        self.pending.bytes = 0;
        self.pending.since = None;
        Ok(())
    }
}

impl RowWriter {
    /// A writer for rows that it has not seen yet.
    pub(crate) fn new() -> Self {
        Self {
            remembered: Remembered::new(),
        }
    }

    /// Makes the rows of writes, and that they reach this number of the log, all or none.
    pub(crate) fn write<'a>(
        &mut self,
        table: &dyn Table,
        writes: impl IntoIterator<Item = &'a Write>,
        reached: u64,
    ) -> Result<(), ReadError> {
        let view = table.view();
        let mut rows = Overlay::over(&*view);
        apply::apply(&mut rows, writes, &mut self.remembered)?;
        rows.put(key::reached(), reached.to_be_bytes().to_vec());
        let changes = rows.into_changes();
        drop(view);
        let written = table.write(changes);
        if written.is_err() {
            self.remembered = Remembered::new();
        }
        written.map_err(TableError::into)
    }
}

/// The number of the log that rows have reached.
pub(crate) fn reached(rows: &dyn View) -> Result<u64, ReadError> {
    let key = key::reached();
    let Some(value) = rows.get(&key)? else {
        return Ok(0);
    };
    let bytes = value.as_ref().try_into();
    bytes
        .map(u64::from_be_bytes)
        .map_err(|_| crate::rows::value::bad_field(&key, "the number reached"))
}
