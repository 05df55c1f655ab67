//! Filling a new table with many rows, on a thread of its own.
//!
//! # How it works
//! Rows that come in the order of their keys, as another folder dumps them, go into files as they
//! come, and are not merged later. What comes out of order is put
//! aside, and goes into files of its own, in order, whenever [`ASIDE_BYTES_MAX`] of it have come
//! together: rows that only lead to others, and most of what a database dumps, in an order of its own.
//!
//! # Invariants
//! - Nothing of it can be read before [`Fill::finish`]; what was not finished is of no use to anybody.

use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use super::table::{Files, TableError};
use crate::rows::key::Key;
use crate::seal::stored::Seals;

/// How many batches wait for the thread: enough that neither side waits for the other.
const AHEAD: usize = 2;

/// How much may be put aside, in bytes of keys and values: as much as a larger file.
const ASIDE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Rows: their keys and values.
pub(super) type Rows = Vec<(Key, Bytes)>;

/// A table that is being filled.
pub(super) struct Fill {
    /// `None` in it is the end. It is gone once the thread is told to stop.
    rows: Option<SyncSender<Option<Rows>>>,
    filler: Option<JoinHandle<Result<(), TableError>>>,
}

impl Fill {
    /// Begins to fill a table that is empty and that nobody else uses.
    pub(super) fn start(table: Files, seals: Seals) -> Result<Self, TableError> {
        Self::with(table, seals, ASIDE_BYTES_MAX)
    }

    fn with(table: Files, seals: Seals, aside_bytes_max: usize) -> Result<Self, TableError> {
        let (rows, received) = sync_channel(AHEAD);
        let filler = thread::Builder::new().name("firn-store-fill".into());
        let filler = filler
            .spawn(move || fill(&table, &seals, &received, aside_bytes_max))
            .map_err(TableError::Io)?;
        Ok(Self {
            rows: Some(rows),
            filler: Some(filler),
        })
    }

    /// Adds rows, of which there are no others with the same keys. Blocks while too many wait.
    pub(super) fn write(&mut self, rows: Rows) -> Result<(), TableError> {
        self.send(Some(rows))
    }

    /// Makes everything durable, and lets go of the table.
    pub(super) fn finish(mut self) -> Result<(), TableError> {
        self.send(None)?;
        self.stop()
    }

    /// A thread that takes nothing any more has failed, and says why.
    fn send(&mut self, rows: Option<Rows>) -> Result<(), TableError> {
        let sent = self.rows.as_ref().map(|to| to.send(rows));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => self.stop().and_then(|()| Err(stopped())),
        }
    }

    fn stop(&mut self) -> Result<(), TableError> {
        self.rows = None;
        match self.filler.take().map(JoinHandle::join) {
            Some(Ok(filled)) => filled,
            Some(Err(_)) | None => Err(stopped()),
        }
    }
}

impl Drop for Fill {
    /// The thread uses the folder until it has ended.
    fn drop(&mut self) {
        if self.filler.is_some() {
            // What becomes of an unfinished table is of no interest.
            let _ = self.stop();
        }
    }
}

fn stopped() -> TableError {
    TableError::Io(std::io::Error::other("filling it has failed"))
}

/// Takes rows until their end; fails if nobody sends any more before.
fn fill(
    table: &Files,
    seals: &Seals,
    batches: &Receiver<Option<Rows>>,
    aside_bytes_max: usize,
) -> Result<(), TableError> {
    table.ingest(|put| {
        let mut last = Key::new();
        let mut aside = Aside::default();
        while let Some(mut rows) = batches.recv().map_err(|_| stopped())? {
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            // Of its lowest space only: to follow a row of a higher one would leave all behind that
            // comes between.
            let space = rows.first().and_then(|(key, _)| key.first()).copied();
            for (key, value) in rows {
                let value = seals.seal_row(&key, value);
                if key > last && key.first().copied() == space {
                    put(&key, Some(&value))?;
                    last = key;
                } else {
                    aside.put(key, value);
                }
            }
            if aside.bytes >= aside_bytes_max {
                mem::take(&mut aside).ingest(table)?;
            }
        }
        aside.ingest(table)
    })?;
    table.check()
}

/// Rows that came out of order.
#[derive(Default)]
struct Aside {
    rows: Rows,
    bytes: usize,
}

impl Aside {
    fn put(&mut self, key: Key, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.rows.push((key, value));
    }

    /// Brings them into files of their own. Of those with one key, which no store dumps, one stays.
    fn ingest(mut self, table: &Files) -> Result<(), TableError> {
        self.rows.sort_by(|a, b| a.0.cmp(&b.0));
        self.rows.dedup_by(|a, b| a.0 == b.0);
        if self.rows.is_empty() {
            return Ok(());
        }
        table.ingest(|put| {
            self.rows
                .iter()
                .try_for_each(|(key, value)| put(key, Some(value)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::embedded::faults::Chance;
    use crate::rows::View as _;

    fn table(folder: &Path) -> Files {
        Files::open(folder, 1024 * 1024).unwrap()
    }

    /// Whatever comes in whatever order, also a key twice, of which one stays.
    #[test]
    fn rows_in_any_order_are_found_where_they_belong() {
        for seed in 0..8 {
            let mut random = Chance::new(seed);
            let folder = tempfile::tempdir().unwrap();
            let mut fill = Fill::with(table(folder.path()), Seals::default(), 500).unwrap();
            let mut expected = BTreeMap::new();
            for batch in 0..30 {
                let row = |number: u64| {
                    // In order, but for every other seed and now and then.
                    let place = match seed % 2 == 0 || random.once_in(5) {
                        true => random.below(300),
                        false => batch * 10 + number,
                    };
                    let space = random.below(3) as u8 + 2;
                    let key = [&[space][..], &place.to_be_bytes()].concat();
                    let value = Bytes::from(format!("{key:?}"));
                    (key, value)
                };
                let rows: Rows = (0..10).map(row).collect();
                expected.extend(rows.iter().cloned());
                fill.write(rows).unwrap();
            }
            fill.finish().unwrap();
            let table = table(folder.path());
            let view = table.snapshot();
            let found = view.scan(Key::new(), vec![u8::MAX]).map(|row| {
                let (key, value) = row.unwrap();
                (key.to_vec(), value)
            });
            let found: Vec<_> = found.collect();
            assert_eq!(
                found,
                expected.into_iter().collect::<Vec<_>>(),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn what_was_not_finished_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut fill = Fill::start(table(folder.path()), Seals::default()).unwrap();
        fill.write(vec![(vec![2, 1], Bytes::from("a"))]).unwrap();
        drop(fill);
        let table = table(folder.path());
        assert_eq!(table.snapshot().get(&[2, 1]), Ok(None));
    }

    #[test]
    fn a_disk_that_fails_is_told_at_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut fill = Fill::start(table(folder.path()), Seals::default()).unwrap();
        std::fs::remove_dir_all(folder.path()).unwrap();
        let written = fill.write(vec![(vec![2, 1], Bytes::from("a"))]);
        assert!(written.and_then(|()| fill.finish()).is_err());
    }
}
