//! The files of rows: what fjall holds.
//!
//! Rows come in sorted, many at once, past fjall's journal and memtable, and are durable and to be
//! read when all are there. Beside that fjall only merges files, on a thread of its own, at the pace of
//! `pace`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::compaction::filter::Factory;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice};

use super::pace::{MERGED_AT_ONCE, Pace, Paced};
use super::{KEYSPACE, TableError};
use crate::ReadError;
use crate::rows::key::Key;
use crate::rows::{Entry, View};

/// Threads on which fjall merges files. With a second one, the first hands a compaction on to it over
/// and over, as fast as a processor can, for as long as another goes on (fjall 3.1.13).
const WORKERS: usize = 1;

/// How many files are flushed as they grow: the one that rows come into, and the one that is merged into,
/// which may have been begun two others before.
const WRITTEN_AT_ONCE: usize = 4;

/// How large a file becomes when files are merged, in bytes.
///
/// The first level has [`MERGED_AT_ONCE`] such files, and all of them are merged with those that come: the
/// smaller they are, the less work. But fjall makes one step of merging for each file that comes, and one moves a
/// file of this size from a level to the next. Of eight steps for eight files, of up to 16 MiB each, one is
/// for the first level, and three for each of the next two: some 40 GB. A folder of an older Firn keeps 64
/// MiB, and four at a time.
const FILE_BYTES: u64 = 48 * 1024 * 1024;

/// Rows in files.
pub(in crate::embedded) struct Files {
    database: Database,
    rows: Keyspace,
    pace: Arc<Pace>,
    /// Where fjall keeps its files, each with a number for a name, the newest with the highest.
    folder: PathBuf,
}

impl Files {
    /// Opens the folder; makes it if it is not there. Blocks that were read take up to `cache_bytes`
    /// of memory.
    pub(in crate::embedded) fn open(path: &Path, cache_bytes: u64) -> Result<Self, TableError> {
        let pace = Arc::new(Pace::default());
        let paced: Arc<dyn Factory> = Arc::new(Paced(pace.clone()));
        let database = Database::builder(path)
            .cache_size(cache_bytes)
            .worker_threads(WORKERS)
            .with_compaction_filter_factories(Arc::new(move |_| Some(paced.clone())))
            .open()?;
        let merging = Leveled::default()
            .with_l0_threshold(MERGED_AT_ONCE)
            .with_table_target_size(FILE_BYTES);
        let options = || KeyspaceCreateOptions::default().compaction_strategy(Arc::new(merging));
        let rows = database.keyspace(KEYSPACE, options)?;
        // An older Firn may have left rows in the journal.
        database.persist(PersistMode::SyncAll)?;
        if let Some(keyspaces) = rows.path().parent() {
            // fjall has flushed this folder before it made the keyspace in it.
            let flushed = File::open(keyspaces).and_then(|folder| folder.sync_all());
            flushed.map_err(TableError::Io)?;
        }
        let files = Self {
            folder: rows.path().join("tables"),
            pace,
            database,
            rows,
        };
        files.check()?;
        Ok(files)
    }

    /// Brings rows into files as `fill` gives them, each with a higher key than the one before, `None`
    /// for one that is removed. They are durable and to be read once it has ended well.
    ///
    /// # Errors
    /// Of `fill`, or the disk failed, also while files were merged.
    pub(in crate::embedded) fn ingest(
        &self,
        fill: impl FnOnce(
            &mut dyn FnMut(&[u8], Option<&[u8]>) -> Result<(), TableError>,
        ) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        self.check()?;
        let mut ingestion = self.rows.start_ingestion()?;
        fill(&mut |key, value| match value {
            Some(value) => Ok(ingestion.write(key, value)?),
            None => Ok(ingestion.write_tombstone(key)?),
        })?;
        ingestion.finish()?;
        self.check()
    }

    /// Whether merging goes on: who brings rows in is not told by fjall, which has given it up. And how
    /// fast it has to go on.
    pub(in crate::embedded) fn check(&self) -> Result<(), TableError> {
        self.pace.keep_up_with(self.unmerged());
        Ok(self.database.persist(PersistMode::Buffer)?)
    }

    /// From now on merging does not rest: its end is waited for.
    pub(super) fn hurry(&self) {
        self.pace.hurry();
    }

    /// The rows as they are now.
    pub(in crate::embedded) fn snapshot(&self) -> Snapshot {
        Snapshot {
            snapshot: self.database.snapshot(),
            rows: self.rows.clone(),
        }
    }

    /// Whether files are being merged.
    pub(super) fn is_merging(&self) -> bool {
        self.database.active_compactions() > 0
    }

    /// How many files wait to be merged for the first time.
    pub(super) fn unmerged(&self) -> usize {
        self.rows.l0_table_count()
    }

    /// Flushes what was written so far into files that are not complete. fjall does that when one is,
    /// all of it at once, and a flush of the log would wait for all of it.
    pub(super) fn flush_some(&self) -> Result<(), TableError> {
        flush_newest(&self.folder).map_err(TableError::Io)
    }
}

impl Drop for Files {
    /// The end of a merge is waited for.
    fn drop(&mut self) {
        self.hurry();
    }
}

/// Flushes the files that were begun last. What is not there need not be: only that files are made and
/// merged says what became of rows.
fn flush_newest(folder: &Path) -> io::Result<()> {
    let flush = |number: u64| File::open(folder.join(number.to_string()))?.sync_data();
    let flushed = newest(folder).and_then(|files| files.into_iter().try_for_each(flush));
    match flushed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        flushed => flushed,
    }
}

/// The numbers of the files that were begun last.
fn newest(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.truncate(WRITTEN_AT_ONCE);
    Ok(numbers)
}

/// The rows of files at one moment.
pub(in crate::embedded) struct Snapshot {
    snapshot: fjall::Snapshot,
    rows: Keyspace,
}

impl Snapshot {
    /// The rows from `from`, which is less than `to`, up to but without `to`, in order.
    pub(super) fn range(
        &self,
        from: Key,
        to: Key,
    ) -> impl Iterator<Item = Result<(Slice, Slice), TableError>> {
        let rows = self.snapshot.range(&self.rows, from..to);
        rows.map(|row| row.into_inner().map_err(TableError::from))
    }
}

impl View for Snapshot {
    /// Copies: a part of a cached block would keep the whole block in memory for as long as an
    /// entity lives.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let value = self.snapshot.get(&self.rows, key);
        let value = value.map_err(TableError::from)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan<'a>(&'a self, from: Key, to: Key) -> Box<dyn Iterator<Item = Entry> + 'a> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        Box::new(self.range(from, to).map(|row| {
            let (key, value) = row?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn the_newest_files_are_those_of_the_highest_numbers() {
        let check = |names: &[&str], expected: &[u64]| {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(folder.path().join(name), "rows").unwrap();
            }
            assert_eq!(newest(folder.path()).unwrap(), expected);
            flush_newest(folder.path()).unwrap();
        };
        let names = ["9", "12", "2", "lock", "77.old", "5", "11"];
        check(&names, &[12, 11, 9, 5]);
        check(&["3"], &[3]);
        check(&[], &[]);
    }

    /// Files that cannot be merged do not become more and more.
    #[test]
    fn a_merge_that_failed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), 0).unwrap();
        let bring_in = |number: u32| {
            files.ingest(|put| {
                // So that none is moved to the next level as it is.
                put(&[0], Some(&number.to_be_bytes()))?;
                put(&[1, number as u8], Some(&[7; 1000]))?;
                put(&[2], Some(&number.to_be_bytes()))
            })
        };
        bring_in(0).unwrap();
        for entry in fs::read_dir(&files.folder).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            bytes[..1000].fill(0xff);
            fs::write(&path, bytes).unwrap();
        }
        let told = (1..10_000).find_map(|number| bring_in(number).err());
        assert!(matches!(told, Some(TableError::Io(_))), "{told:?}");
        assert!(files.unmerged() < 100, "at once");
    }

    #[test]
    fn merging_keeps_a_pace() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), 0).unwrap();
        let pace = files.pace.clone();
        let mut waited_most = 0;
        for _ in 0..1000 {
            let mut rows = 0..2000u32;
            files
                .ingest(|put| rows.try_for_each(|row| put(&row.to_be_bytes(), Some(&[7; 1000]))))
                .unwrap();
            waited_most = waited_most.max(pace.unmerged.load(Ordering::Relaxed));
            if pace.turns.load(Ordering::Relaxed) > 0 {
                break;
            }
        }
        assert!(pace.turns.load(Ordering::Relaxed) > 0);
        // The next one may be merged before it is counted.
        assert!(
            waited_most >= usize::from(MERGED_AT_ONCE) - 1,
            "{waited_most}"
        );
        assert!(!pace.hurries.load(Ordering::Relaxed));
        drop(files);
        assert!(
            pace.hurries.load(Ordering::Relaxed),
            "its end is waited for"
        );
    }

    #[test]
    fn of_a_folder_that_is_gone_nothing_is_flushed() {
        flush_newest(Path::new("gone")).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(flush_newest(file.path()).is_err());
    }
}
