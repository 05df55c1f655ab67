//! The table: the ordered map that the log is applied to.
//!
//! fjall holds all rows in one keyspace. One matters: after a crash each keyspace of its own comes
//! back at its own point in time, and [`Space::Reached`](crate::rows::key::Space::Reached) would no
//! longer tell the truth about the others. fjall writes a journal of its own, which is flushed only
//! in [`Table::persist`]; a crash takes back the last batches, whole, and the log brings them again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use crate::ReadError;
use crate::rows::key::Key;
use crate::rows::overlay::Changes;
use crate::rows::{Entry, See, View};
use crate::seal::stored::{Opened, Seals};

/// The name of the one keyspace.
const KEYSPACE: &str = "rows";

/// Threads on which fjall flushes and compacts. With a second one, the first hands a compaction on to
/// it over and over, as fast as a processor can, for as long as another goes on (fjall 3.1.13).
const WORKERS: usize = 1;

/// How much of fjall's own journals may pile up, in bytes; fjall takes no less than 64 MiB.
const JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// How often what a compaction writes is flushed.
const FLUSHED_EVERY: Duration = Duration::from_millis(10);

/// The ordered map below the log.
pub(crate) trait Table: Send + Sync + 'static {
    /// The rows as they are now.
    fn view(&self) -> Box<dyn View + '_>;

    /// The rows as they are now, for as long as anybody looks at them.
    fn frozen(&self) -> Box<dyn View + Send>;

    /// Writes changes, all or none, in order, without a flush.
    fn write(&self, changes: Changes) -> Result<(), TableError>;

    /// Makes everything written so far durable.
    fn persist(&self) -> Result<(), TableError>;
}

/// Why the table cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// The disk failed.
    #[error("{0}")]
    Io(io::Error),
    /// What is stored is not what was written.
    #[error("{0}")]
    Damaged(String),
}

/// How much memory fjall may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Cached blocks.
    pub(crate) cache_bytes: u64,
    /// Rows that are not yet in a file of their own.
    pub(crate) memtable_bytes: u64,
}

/// A table whose values are sealed as they are written.
pub(crate) struct SealedTable {
    pub(crate) stored: Arc<dyn Table>,
    pub(crate) seals: Seals,
}

impl Table for SealedTable {
    fn view(&self) -> Box<dyn View + '_> {
        Box::new(Opened {
            stored: self.stored.view(),
            seals: self.seals.clone(),
        })
    }

    fn frozen(&self) -> Box<dyn View + Send> {
        Box::new(Opened {
            stored: self.stored.frozen(),
            seals: self.seals.clone(),
        })
    }

    fn write(&self, mut changes: Changes) -> Result<(), TableError> {
        for (key, change) in &mut changes {
            if let Some(value) = change.take() {
                *change = Some(self.seals.seal_row(key, value));
            }
        }
        self.stored.write(changes)
    }

    fn persist(&self) -> Result<(), TableError> {
        self.stored.persist()
    }
}

/// Rows in fjall.
pub(crate) struct Fjall {
    database: Database,
    rows: Keyspace,
    unflushed: Unflushed,
}

/// What compactions have written and fjall flushes only when a file is complete, 64 MiB at once. A
/// flush of the log would wait for all of that, so it is flushed before, a little at a time.
struct Unflushed {
    /// Where fjall keeps its files, each with a number for a name, the newest with the highest.
    files: PathBuf,
    flushed: Mutex<Instant>,
}

impl Fjall {
    /// Opens the folder; makes it if it is not there.
    pub(crate) fn open(path: &Path, memory: Memory) -> Result<Self, TableError> {
        let database = Database::builder(path)
            .cache_size(memory.cache_bytes)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()?;
        let rows = database.keyspace(KEYSPACE, || {
            KeyspaceCreateOptions::default().max_memtable_size(memory.memtable_bytes)
        })?;
        let unflushed = Unflushed {
            files: rows.path().join("tables"),
            flushed: Mutex::new(Instant::now()),
        };
        Ok(Self {
            database,
            rows,
            unflushed,
        })
    }

    /// Brings rows into files as `fill` gives them, each with a higher key than the one before: past
    /// journal and memtable. They are to be read once it has ended well.
    pub(super) fn ingest(
        &self,
        fill: impl FnOnce(
            &mut dyn FnMut(&[u8], &[u8]) -> Result<(), TableError>,
        ) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let mut ingestion = self.rows.start_ingestion()?;
        fill(&mut |key, value| Ok(ingestion.write(key, value)?))?;
        Ok(ingestion.finish()?)
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            snapshot: self.database.snapshot(),
            rows: self.rows.clone(),
        }
    }
}

impl Table for Fjall {
    fn view(&self) -> Box<dyn View + '_> {
        Box::new(self.snapshot())
    }

    fn frozen(&self) -> Box<dyn View + Send> {
        Box::new(self.snapshot())
    }

    fn write(&self, changes: Changes) -> Result<(), TableError> {
        let mut batch = self.database.batch();
        for (key, change) in changes {
            match change {
                Some(value) => batch.insert(&self.rows, key, &*value),
                None => batch.remove(&self.rows, key),
            }
        }
        batch.commit()?;
        if self.database.active_compactions() > 0 {
            self.unflushed
                .flush(Instant::now())
                .map_err(TableError::Io)?;
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), TableError> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

impl Unflushed {
    /// Flushes the newest file, if that was not done a moment ago.
    fn flush(&self, now: Instant) -> io::Result<()> {
        {
            let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
            if now.duration_since(*flushed) < FLUSHED_EVERY {
                return Ok(());
            }
            *flushed = now;
        }
        let Some(newest) = self.newest()? else {
            return Ok(());
        };
        let file = File::open(self.files.join(newest.to_string()));
        match file.and_then(|file| file.sync_data()) {
            // A compaction that had nothing to keep removes its file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            flushed => flushed,
        }
    }

    /// The number of the file that was begun last.
    fn newest(&self) -> io::Result<Option<u64>> {
        let mut newest = None;
        for entry in fs::read_dir(&self.files)? {
            let number = entry?.file_name().to_str().and_then(|it| it.parse().ok());
            newest = newest.max(number);
        }
        Ok(newest)
    }
}

struct Snapshot {
    snapshot: fjall::Snapshot,
    rows: Keyspace,
}

impl View for Snapshot {
    /// Copies: a part of a cached block would keep the whole block in memory for as long as an
    /// entity lives.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let value = self
            .snapshot
            .get(&self.rows, key)
            .map_err(TableError::from)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan<'a>(&'a self, from: Key, to: Key) -> Box<dyn Iterator<Item = Entry> + 'a> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        let rows = self.snapshot.range(&self.rows, from..to);
        Box::new(rows.map(|row| {
            let (key, value) = row.into_inner().map_err(TableError::from)?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        }))
    }

    fn each(&self, from: Key, to: Key, see: &mut See<'_>) -> Result<(), ReadError> {
        if from >= to {
            return Ok(());
        }
        for row in self.snapshot.range(&self.rows, from..to) {
            let (key, value) = row.into_inner().map_err(TableError::from)?;
            see(&key, &value)?;
        }
        Ok(())
    }
}

impl From<fjall::Error> for TableError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(error) => Self::Io(error),
            fjall::Error::Poisoned | fjall::Error::Locked => {
                Self::Io(io::Error::other(error.to_string()))
            }
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<TableError> for ReadError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Io(error) => Self::Unavailable {
                cause: error.to_string(),
            },
            TableError::Damaged(fault) => Self::Damaged {
                place: format!("the keyspace `{KEYSPACE}`"),
                fault,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of files with these names, flushed at this time.
    fn unflushed(names: &[&str], at: Instant) -> (tempfile::TempDir, Unflushed) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "rows").unwrap();
        }
        let files = folder.path().to_owned();
        let flushed = Mutex::new(at);
        (folder, Unflushed { files, flushed })
    }

    #[test]
    fn the_newest_file_is_the_one_of_the_highest_number() {
        let at = Instant::now();
        let (_folder, files) = unflushed(&["9", "12", "2", "lock", "77.old"], at);
        assert_eq!(files.newest().unwrap(), Some(12));
        files.flush(at + FLUSHED_EVERY).unwrap();
        let (_folder, none) = unflushed(&[], at);
        assert_eq!(none.newest().unwrap(), None);
        none.flush(at + FLUSHED_EVERY).unwrap();
    }

    #[test]
    fn files_are_looked_for_now_and_then_only() {
        let at = Instant::now();
        let (folder, files) = unflushed(&["1"], at);
        drop(folder);
        files.flush(at + FLUSHED_EVERY / 2).unwrap();
        let failed = files.flush(at + FLUSHED_EVERY).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::NotFound);
        // It was tried, so it is not tried again at once.
        files.flush(at + FLUSHED_EVERY).unwrap();
    }

    #[test]
    fn rows_that_are_compacted_meanwhile_are_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory {
            cache_bytes: 1024 * 1024,
            memtable_bytes: 64 * 1024,
        };
        let table = Fjall::open(folder.path(), memory).unwrap();
        let mut number = 0u64;
        while table.database.compactions_completed() < 3 {
            let rows = (0..100).map(|_| {
                number += 1;
                (number.to_be_bytes().to_vec(), Some(vec![7; 100].into()))
            });
            table.write(rows.collect()).unwrap();
        }
        let snapshot = table.view();
        for number in 1..=number {
            let row = snapshot.get(&number.to_be_bytes()).unwrap();
            assert_eq!(row.unwrap(), vec![7; 100]);
        }
    }
}
