//! The start: what the log holds that the rows do not is brought into them.

use super::applier::{self, RowWriter};
use super::log::recovery::{self, LogError};
use super::log::{Carried, Log};
use super::table::Table;
use super::{OpenError, Parts};
use crate::ReadError;
use crate::write::Write;

/// How many bytes of the log are brought into the rows at once at a start.
const REPLAY_BYTES: usize = 1024 * 1024;

/// Begins a new segment of the log, and brings the rows up to its end.
///
/// Rows may only hold what is durable, so the writes that the new segment carries over are applied
/// after it was made.
/// Gives also how many bytes of the log were brought into the rows.
pub(super) fn recover(parts: &Parts, segment_bytes: u64) -> Result<(Log, u64), OpenError> {
    let in_rows = |error| OpenError::from_rows(error, parts.places.rows.clone());
    let reached = applier::reached(&*parts.table.view()).map_err(in_rows)?;
    let mut replay = Replayed {
        table: &*parts.table,
        rows: RowWriter::new(),
        writes: Vec::new(),
        bytes: 0,
        last: reached,
        replayed: 0,
    };
    let outcome = recovery::recover(&parts.disk, &parts.seals, reached, |carried| {
        replay.push(carried)
    });
    let start = outcome.map_err(|error| match error {
        ReplayError::Log(error) => OpenError::from_log(error, parts.places.log.clone()),
        ReplayError::Rows(error) => in_rows(error),
    })?;
    let log = Log::start(
        parts.disk.clone(),
        parts.seals.clone(),
        segment_bytes,
        &start,
    );
    let log = log.map_err(|source| OpenError::Flush {
        folder: parts.places.log.clone(),
        source,
    })?;
    for carried in start.carried {
        replay.push::<ReadError>(carried).map_err(in_rows)?;
    }
    replay.flush().map_err(in_rows)?;
    Ok((log, replay.replayed))
}

/// Writes of the log on their way into the rows.
struct Replayed<'a> {
    table: &'a dyn Table,
    rows: RowWriter,
    writes: Vec<Write>,
    bytes: usize,
    last: u64,
    /// The bytes of all writes so far.
    replayed: u64,
}

#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Rows(#[from] ReadError),
}

impl Replayed<'_> {
    fn push<E: From<ReadError>>(&mut self, carried: Carried) -> Result<(), E> {
        self.last = carried.number;
        self.bytes += carried.bytes;
        self.replayed += carried.bytes as u64;
        self.writes.push(carried.write);
        if self.bytes >= REPLAY_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ReadError> {
        if !self.writes.is_empty() {
            self.rows.write(self.table, &self.writes, self.last)?;
        }
        self.writes.clear();
        self.bytes = 0;
        Ok(())
    }
}
