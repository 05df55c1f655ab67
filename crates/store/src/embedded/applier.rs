//! The applier: brings writes from the log into the rows, and lets go of what the log no longer
//! needs.
//!
//! One thread. It takes batches from the [`Backlog`], and writes their rows and the number they reach
//! in one batch of the table. That becomes durable by and by; every now and then the applier looks how
//! far it is, and removes segments of the log that hold nothing newer. Its fate: it ends when the
//! backlog is closed, after everything is durable, or at once when the store has failed; a failure is
//! fatal for the process.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Fatal;
use super::backlog::{Backlog, Batch, Work};
use super::log::Segments;
use super::table::{Table, TableError};
use crate::ReadError;
use crate::rows::apply::{self, Remembered};
use crate::rows::{Overlay, View, key};
use crate::write::Write;

/// Into how many parts that which may not be durable is divided: after each the applier looks how far
/// it has become durable.
const PARTS: u64 = 32;

/// The same after this time in which nothing came.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Applies writes to rows.
pub(crate) struct Applier {
    table: Arc<dyn Table>,
    segments: Arc<Segments>,
    rows: RowWriter,
    /// The number that the rows have reached.
    reached: u64,
    behind: Behind,
}

/// What of the log is in rows that may not be durable.
struct Behind {
    /// How many bytes of log may be.
    bytes_max: u64,
    /// Parts of the log, the oldest first: the number of the last record, and how many bytes.
    parts: VecDeque<(u64, u64)>,
    bytes: u64,
}

/// Turns batches of writes into batches of rows.
pub(crate) struct RowWriter {
    remembered: Remembered,
}

impl Applier {
    /// An applier for rows that have reached this number, for which so many bytes of log were read, and
    /// of which so many may be not durable.
    pub(crate) fn new(
        table: Arc<dyn Table>,
        segments: Arc<Segments>,
        (reached, replayed): (u64, u64),
        replay_bytes: u64,
    ) -> Self {
        let mut behind = Behind::new(replay_bytes);
        behind.push(reached, replayed);
        Self {
            table,
            segments,
            rows: RowWriter::new(),
            reached,
            behind,
        }
    }

    /// Works until the backlog is closed.
    ///
    /// # Errors
    /// The table or the disk failed. What is in the log stays there.
    pub(crate) fn run(mut self, backlog: &Backlog) -> Result<(), Fatal> {
        self.look()?;
        loop {
            match backlog.take(LOOK_EVERY) {
                Work::Apply(batches) => {
                    if self.apply(&batches)? {
                        self.look()?;
                    }
                    backlog.advance(self.reached);
                    // Commits are not to wait for a processor until everything is applied.
                    thread::yield_now();
                }
                Work::Idle => self.look()?,
                Work::Close => return self.finish(),
                Work::Stop => return Ok(()),
            }
        }
    }

    /// Applies batches; whether a look is due.
    fn apply(&mut self, batches: &[Batch]) -> Result<bool, Fatal> {
        let bytes: u64 = batches.iter().map(|batch| batch.bytes).sum();
        let Some(reached) = batches.last().map(|batch| batch.last) else {
            return Ok(false);
        };
        let writes = batches.iter().flat_map(|batch| &batch.writes);
        self.rows
            .write(&*self.table, writes, reached)
            .map_err(|error| Fatal::rows(&error))?;
        self.reached = reached;
        Ok(self.behind.push(reached, bytes))
    }

    /// Looks how far rows are durable, and removes what the log does not need for those behind.
    fn look(&mut self) -> Result<(), Fatal> {
        let durable = self.durable().map_err(|error| Fatal::rows(&error))?;
        self.segments
            .remove_finished(durable)
            .map_err(|error| Fatal::disk("a segment cannot be removed", &error))?;
        self.behind.catch_up(durable);
        if self.behind.is_too_far() {
            let started = self.table.start_persisting();
            started.map_err(|error| Fatal::rows(&error.into()))?;
        }
        Ok(())
    }

    fn durable(&self) -> Result<u64, ReadError> {
        reached(&*self.table.durable()?)
    }

    fn finish(mut self) -> Result<(), Fatal> {
        let persisted = self.table.persist();
        persisted.map_err(|error| Fatal::rows(&error.into()))?;
        self.look()
    }
}

impl Behind {
    fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            parts: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Adds what was applied up to a record; whether a part is full.
    fn push(&mut self, last: u64, bytes: u64) -> bool {
        let part_bytes = self.bytes_max / PARTS;
        self.bytes += bytes;
        match self.parts.back_mut() {
            Some(part) if part.1 < part_bytes => *part = (last, part.1 + bytes),
            _ => self.parts.push_back((last, bytes)),
        }
        self.parts.back().is_some_and(|part| part.1 >= part_bytes)
    }

    fn is_too_far(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Forgets what is durable.
    fn catch_up(&mut self, durable: u64) {
        while let Some((last, bytes)) = self.parts.front()
            && *last <= durable
        {
            self.bytes -= bytes;
            self.parts.pop_front();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_is_known_by_parts() {
        let mut behind = Behind::new(100 * PARTS);
        assert!(!behind.push(1, 10));
        assert!(behind.push(2, 90));
        assert!(behind.push(3, 100 * PARTS));
        assert!(!behind.push(4, 1));
        assert!(behind.is_too_far());
        behind.catch_up(1);
        assert_eq!(behind.bytes, 100 * PARTS + 101, "a part goes as a whole");
        behind.catch_up(3);
        assert_eq!(behind.bytes, 1);
        assert!(!behind.is_too_far());
        behind.catch_up(9);
        assert_eq!(behind.bytes, 0);
    }
}
