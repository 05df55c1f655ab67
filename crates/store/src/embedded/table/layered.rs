//! The table of a data folder: fresh rows in memory over rows in files.
//!
//! # How it works
//! ```text
//! write ─▶ fresh runs ─▶ sealed runs ─▶ files
//!                └──────────┴────────────┴─▶ view
//! ```
//! A write adds a run to those in memory. When they have become large they are sealed, and the keeper,
//! a thread, brings them into a file, all at once and durably; then they go. There is no journal: the
//! log in front of the table has what a crash takes from memory.
//!
//! # Invariants
//! - What is in files is what one write and all before it left; a crash leaves that.
//! - A view shows the rows after one write. It keeps what it shows, whoever writes meanwhile.
//! - Memory holds no more than twice the bytes it was opened with, and one write; what a view shows
//!   stays as long as the view.
//! - Once bringing rows into files has failed, nothing is written any more.

use std::iter::Peekable;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, panic};

use bytes::Bytes;
use fjall::Slice;

use super::files::{Files, Snapshot};
use super::pace::{self, Turns, UNMERGED_MAX};
use super::run::{self, Fresh, Newest, Run};
use super::{Memory, Table, TableError};
use crate::ReadError;
use crate::rows::key::Key;
use crate::rows::overlay::Changes;
use crate::rows::{Entry, See, View};

/// How many bytes of rows go into a file before they are flushed.
const FLUSHED_BYTES: usize = 512 * 1024;

/// How often a look at merging is waited for before more comes in all the same: half a minute.
const WAITS_MAX: usize = 1500;

/// How often files that are merged are flushed meanwhile.
const FLUSHED_EVERY: Duration = Duration::from_millis(20);

/// Fresh rows over rows in files.
pub(crate) struct Layered {
    shared: Arc<Shared>,
    /// Held by who writes.
    writing: Mutex<()>,
    /// `None` once it was told to stop.
    keeper: Option<JoinHandle<()>>,
}

struct Shared {
    files: Files,
    /// How much memory fresh rows may take before they are sealed, in bytes.
    fresh_bytes_max: usize,
    state: Mutex<State>,
    /// Runs were sealed, or are in files, or the keeper is to stop or has failed.
    changed: Condvar,
}

struct State {
    /// Runs that are on their way into files, the oldest first.
    sealed: Vec<Arc<Run>>,
    /// Runs above those, the oldest first.
    fresh: Vec<Arc<Run>>,
    /// What is in files.
    filed: Arc<Snapshot>,
    /// The sum of all this.
    shown: Arc<Shown>,
    /// Why the keeper has ended.
    failure: Option<TableError>,
    /// Somebody waits for sealed runs to be in files.
    is_awaited: bool,
    is_stopping: bool,
}

/// The rows at one moment.
struct Shown {
    /// The oldest first.
    runs: Vec<Arc<Run>>,
    filed: Arc<Snapshot>,
}

impl Layered {
    /// Opens the folder; makes it if it is not there.
    pub(crate) fn open(path: &Path, memory: Memory) -> Result<Self, TableError> {
        let files = Files::open(path, memory.cache_bytes)?;
        let filed = Arc::new(files.snapshot());
        let state = State {
            sealed: Vec::new(),
            fresh: Vec::new(),
            shown: Arc::new(Shown {
                runs: Vec::new(),
                filed: filed.clone(),
            }),
            filed,
            failure: None,
            is_awaited: false,
            is_stopping: false,
        };
        let shared = Arc::new(Shared {
            files,
            fresh_bytes_max: usize::try_from(memory.fresh_bytes).unwrap_or(usize::MAX),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let keeper = thread::Builder::new().name("firn-store-files".into());
        let kept = shared.clone();
        Ok(Self {
            keeper: Some(
                keeper
                    .spawn(move || kept.keep(Shared::bring_in))
                    .map_err(TableError::Io)?,
            ),
            shared,
            writing: Mutex::new(()),
        })
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals the fresh runs once those before are in files.
    fn seal(&self) -> Result<(), TableError> {
        let mut state = self.shared.settled()?;
        state.seal();
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Drop for Layered {
    /// What is not in files by now stays with the log.
    fn drop(&mut self) {
        self.shared.files.hurry();
        self.shared.lock().is_stopping = true;
        self.shared.changed.notify_all();
        if let Some(keeper) = self.keeper.take() {
            // It has told of its failure.
            let _ = keeper.join();
        }
    }
}

impl Table for Layered {
    fn view(&self) -> Box<dyn View + Send> {
        Box::new(self.shared.lock().shown.clone())
    }

    fn durable(&self) -> Result<Box<dyn View + Send>, TableError> {
        let state = self.shared.working()?;
        Ok(Box::new(state.filed.clone()))
    }

    /// Waits while both fresh and sealed runs have all the memory that they may.
    fn write(&self, changes: Changes) -> Result<(), TableError> {
        let _writing = self.writing();
        let mut fresh = self.shared.working()?.fresh.clone();
        fresh.push(Arc::new(Run::of(&changes)));
        let fresh = run::gathered(fresh);
        let bytes = {
            let mut state = self.shared.working()?;
            state.fresh = fresh;
            state.show();
            state.fresh_bytes()
        };
        match bytes >= self.shared.fresh_bytes_max {
            true => self.seal(),
            false => Ok(()),
        }
    }

    fn start_persisting(&self) -> Result<(), TableError> {
        let _writing = self.writing();
        let mut state = self.shared.working()?;
        if state.sealed.is_empty() {
            state.seal();
            drop(state);
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), TableError> {
        let _writing = self.writing();
        self.seal()?;
        self.shared.settled().map(drop)
    }
}

impl State {
    fn seal(&mut self) {
        let fresh = self.fresh.drain(..);
        self.sealed.extend(fresh.filter(|run| !run.is_empty()));
    }

    fn fresh_bytes(&self) -> usize {
        self.fresh.iter().map(|run| run.size()).sum()
    }

    fn show(&mut self) {
        self.shown = Arc::new(Shown {
            runs: self.sealed.iter().chain(&self.fresh).cloned().collect(),
            filed: self.filed.clone(),
        });
    }

    fn check(&self) -> Result<(), TableError> {
        match &self.failure {
            Some(failure) => Err(failure.again()),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// A panic while the lock is held leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> Result<MutexGuard<'_, State>, TableError> {
        let state = self.lock();
        state.check()?;
        Ok(state)
    }

    /// Waits until nothing is on its way into files.
    fn settled(&self) -> Result<MutexGuard<'_, State>, TableError> {
        let mut state = self.lock();
        let on_its_way = |state: &mut State| !state.sealed.is_empty() && state.failure.is_none();
        if on_its_way(&mut state) {
            state.is_awaited = true;
            self.changed.notify_all();
            let waited = self.changed.wait_while(state, on_its_way);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.is_awaited = false;
        }
        state.check()?;
        Ok(state)
    }

    /// What the keeper does. Its failure, also a panic, is told to all who write.
    fn keep(&self, work: impl FnOnce(&Self) -> Result<(), TableError>) {
        let run = panic::AssertUnwindSafe(|| work(self));
        let outcome = panic::catch_unwind(run).unwrap_or_else(|_| {
            let panicked = io::Error::other("bringing rows into files panicked");
            Err(TableError::Io(panicked))
        });
        if let Err(error) = outcome {
            self.lock().failure = Some(error);
            self.changed.notify_all();
        }
    }

    fn bring_in(&self) -> Result<(), TableError> {
        // Those that were there at the start may be.
        let mut is_merging = true;
        loop {
            let mut state = self.lock();
            while state.sealed.is_empty() && !state.is_stopping && !is_merging {
                let waited = self.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
            if state.is_stopping && state.sealed.is_empty() {
                return Ok(());
            }
            if state.sealed.is_empty() {
                let waited = self.changed.wait_timeout(state, FLUSHED_EVERY);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                is_merging = self.files.is_merging();
                self.files.flush_some()?;
                self.files.check()?;
                continue;
            }
            let sealed = state.sealed.clone();
            drop(state);
            self.wait_while(|| {
                self.files.check()?;
                Ok(self.files.unmerged() >= UNMERGED_MAX && self.files.is_merging())
            })?;
            self.file(&sealed)?;
            is_merging = true;
        }
    }

    /// Waits for something that takes its time, but not for ever.
    fn wait_while(
        &self,
        mut is_so: impl FnMut() -> Result<bool, TableError>,
    ) -> Result<(), TableError> {
        for _ in 0..WAITS_MAX {
            if !is_so()? {
                break;
            }
            let state = self.lock();
            if state.is_stopping {
                break;
            }
            let waited = self.changed.wait_timeout(state, FLUSHED_EVERY);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        Ok(())
    }

    /// Rests, unless somebody waits for the sealed runs to be in a file, or soon will.
    fn rest(&self, rest: Duration) {
        let has_time = |state: &mut State| {
            let is_full = state.fresh_bytes() >= self.fresh_bytes_max / 2;
            !is_full && !state.is_awaited && !state.is_stopping
        };
        let rested = self.changed.wait_timeout_while(self.lock(), rest, has_time);
        drop(rested.unwrap_or_else(PoisonError::into_inner));
    }

    /// Brings the sealed runs into a file.
    fn file(&self, sealed: &[Arc<Run>]) -> Result<(), TableError> {
        self.files.ingest(|put| {
            let mut unflushed = 0;
            let mut turns = Turns::begin();
            for (key, value) in Newest::of(sealed, &[], None) {
                put(key, value)?;
                if let Some(turn) = turns.row() {
                    self.rest(pace::rest_after(turn));
                    turns.next();
                }
                unflushed += key.len() + value.map_or(0, <[u8]>::len);
                if unflushed >= FLUSHED_BYTES {
                    unflushed = 0;
                    self.files.flush_some()?;
                }
            }
            Ok(())
        })?;
        let filed = Arc::new(self.files.snapshot());
        let mut state = self.lock();
        state.filed = filed;
        state.sealed.drain(..sealed.len());
        state.show();
        drop(state);
        self.changed.notify_all();
        Ok(())
    }
}

impl View for Shown {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let hash = run::hash(key);
        let fresh = self.runs.iter().rev().find_map(|run| run.get(key, hash));
        match fresh {
            Some(value) => Ok(value.map(Bytes::copy_from_slice)),
            None => self.filed.get(key),
        }
    }

    fn scan<'a>(&'a self, from: Key, to: Key) -> Box<dyn Iterator<Item = Entry> + 'a> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        Box::new(self.range(from, to).map(|row| {
            let row = row?;
            let (key, value) = (row.key(), row.value());
            Ok((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))
        }))
    }

    fn each(&self, from: Key, to: Key, see: &mut See<'_>) -> Result<(), ReadError> {
        if from >= to {
            return Ok(());
        }
        for row in self.range(from, to) {
            let row = row?;
            see(row.key(), row.value())?;
        }
        Ok(())
    }
}

impl Shown {
    fn range(&self, from: Key, to: Key) -> impl Iterator<Item = Result<Row<'_>, TableError>> {
        Rows {
            fresh: Newest::of(&self.runs, &from, Some(&to)).peekable(),
            filed: self.filed.range(from, to).peekable(),
        }
    }
}

/// A row where it stands.
enum Row<'a> {
    Fresh(&'a [u8], &'a [u8]),
    Filed(Slice, Slice),
}

impl Row<'_> {
    fn key(&self) -> &[u8] {
        match self {
            Self::Fresh(key, _) => key,
            Self::Filed(key, _) => key,
        }
    }

    fn value(&self) -> &[u8] {
        match self {
            Self::Fresh(_, value) => value,
            Self::Filed(_, value) => value,
        }
    }
}

/// Fresh rows and those in files, in order; where both have a key, the fresh one counts.
struct Rows<Runs: Iterator, Filed: Iterator> {
    fresh: Peekable<Runs>,
    filed: Peekable<Filed>,
}

impl<'a, Runs, Filed> Iterator for Rows<Runs, Filed>
where
    Runs: Iterator<Item = Fresh<'a>>,
    Filed: Iterator<Item = Result<(Slice, Slice), TableError>>,
{
    type Item = Result<Row<'a>, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let fresh = self.fresh.peek().map(|(key, _)| *key);
            match (self.filed.peek(), fresh) {
                (Some(Ok((filed, _))), Some(fresh)) if **filed >= *fresh => {
                    if **filed == *fresh {
                        self.filed.next();
                    }
                }
                (Some(_), _) => {
                    let row = self.filed.next()?;
                    return Some(row.map(|(key, value)| Row::Filed(key, value)));
                }
                (None, _) => {}
            }
            let (key, value) = self.fresh.next()?;
            if let Some(value) = value {
                return Some(Ok(Row::Fresh(key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn open(folder: &Path, fresh_bytes: u64) -> Layered {
        let memory = Memory {
            cache_bytes: 1024 * 1024,
            fresh_bytes,
        };
        Layered::open(folder, memory).unwrap()
    }

    fn rows(view: &dyn View) -> BTreeMap<Vec<u8>, Bytes> {
        let rows = view.scan(Vec::new(), vec![u8::MAX]);
        let rows = rows.map(|row| row.map(|(key, value)| (key.to_vec(), value)).unwrap());
        rows.collect()
    }

    fn apply(rows: &mut BTreeMap<Vec<u8>, Bytes>, changes: Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        vec(0u8..3, 1..4)
    }

    fn writes_of_one() -> impl Strategy<Value = Changes> {
        let value = option::of(vec(any::<u8>(), 0..200).prop_map(Bytes::from));
        btree_map(key(), value, 0..10)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Reading shows what was written, whether it is in memory, on its way or in files; what is
        /// durable is what some number of writes left, and that is what the next one finds.
        #[test]
        fn reading_shows_what_was_written(
            writes in vec((writes_of_one(), 0..8), 1..60),
            fresh_bytes in 100u64..5_000,
            from in key(),
            to in key(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let table = open(folder.path(), fresh_bytes);
            let mut states = vec![BTreeMap::new()];
            let mut durable = 0;
            for (changes, then) in writes {
                let frozen = table.view();
                let mut expected = states[states.len() - 1].clone();
                table.write(changes.clone()).unwrap();
                prop_assert_eq!(&rows(&frozen), &expected, "as it was");
                apply(&mut expected, changes.clone());
                let view = table.view();
                for key in changes.keys() {
                    prop_assert_eq!(view.get(key).unwrap(), expected.get(key).cloned());
                }
                states.push(expected);
                match then {
                    0 => table.start_persisting().unwrap(),
                    1 => {
                        table.persist().unwrap();
                        durable = states.len() - 1;
                    }
                    _ => {}
                }
                let rows = rows(&table.durable().unwrap());
                prop_assert!(states[durable..].contains(&rows), "no row comes without others");
            }
            let last = &states[states.len() - 1];
            let view = table.view();
            prop_assert_eq!(&rows(&view), last);
            let mut seen = Vec::new();
            view.each(from.clone(), to.clone(), &mut |key, _| {
                seen.push(key.to_vec());
                Ok(())
            }).unwrap();
            let between = |key: &&Vec<u8>| **key >= from && **key < to;
            prop_assert_eq!(seen, last.keys().filter(between).cloned().collect::<Vec<_>>());
            drop(view);
            drop(table);
            let table = open(folder.path(), fresh_bytes);
            prop_assert!(states[durable..].contains(&rows(&table.view())));
            table.persist().unwrap();
            prop_assert_eq!(rows(&table.durable().unwrap()), rows(&table.view()));
        }
    }

    fn numbered(numbers: std::ops::Range<u64>) -> Changes {
        let row = |number: u64| (number.to_be_bytes().to_vec(), Some(vec![7; 100].into()));
        numbers.map(row).collect()
    }

    #[test]
    fn what_was_persisted_is_durable() {
        let folder = tempfile::tempdir().unwrap();
        let table = open(folder.path(), 1024 * 1024);
        table.write(numbered(0..10)).unwrap();
        assert_eq!(rows(&table.durable().unwrap()).len(), 0);
        table.persist().unwrap();
        table.write(numbered(10..20)).unwrap();
        assert_eq!(rows(&table.durable().unwrap()).len(), 10);
        table.start_persisting().unwrap();
        drop(table);
        assert_eq!(rows(&open(folder.path(), 1).view()).len(), 20);
    }

    /// One looks at rows all the time while others come, become files, and are merged.
    #[test]
    fn rows_are_all_there_while_files_are_made_and_merged() {
        let folder = tempfile::tempdir().unwrap();
        let table = open(folder.path(), 64 * 1024);
        let has_ended = AtomicBool::new(false);
        let mut written = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut seen = 0;
                while !has_ended.load(Ordering::Acquire) {
                    let rows = rows(&table.view());
                    assert!(rows.len() >= seen, "none goes");
                    seen = rows.len();
                    let numbers = (0..seen as u64).map(|number| number.to_be_bytes().to_vec());
                    assert!(rows.into_keys().eq(numbers), "none is left out");
                }
            });
            let (mut merges, mut unmerged) = (0, 0);
            // The first file is moved to the last level as it is.
            while merges < 3 {
                let mut rows = numbered(written..written + 100);
                // So that others are not.
                rows.extend(numbered(0..1));
                table.write(rows).unwrap();
                written += 100;
                let before = unmerged;
                unmerged = table.shared.files.unmerged();
                merges += usize::from(unmerged < before);
            }
            has_ended.store(true, Ordering::Release);
        });
        assert_eq!(rows(&table.view()).len() as u64, written);
    }

    /// A write that would take more memory than there may be waits until the keeper has made room.
    #[test]
    fn memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let table = open(folder.path(), 16 * 1024);
        for number in 0..500 {
            table
                .write(numbered(number * 10..number * 10 + 10))
                .unwrap();
            let state = table.shared.lock();
            let taken = |runs: &[Arc<Run>]| runs.iter().map(|run| run.size()).sum::<usize>();
            let of_one = taken(&[Arc::new(Run::of(&numbered(0..10)))]);
            assert!(
                taken(&state.fresh) < 16 * 1024,
                "sealed when it has as much"
            );
            assert!(taken(&state.sealed) < 16 * 1024 + of_one);
        }
    }

    #[test]
    fn the_keeper_rests_only_while_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let table = open(folder.path(), 16 * 1024);
        let rested = |rest: Duration| {
            let began = Instant::now();
            table.shared.rest(rest);
            began.elapsed()
        };
        let short = Duration::from_millis(2);
        let long = Duration::from_secs(3600);
        assert!(rested(short) >= short);
        table.shared.lock().is_awaited = true;
        assert!(rested(long) < long);
        table.shared.lock().is_awaited = false;
        assert!(rested(short) >= short);
        table.write(numbered(0..100)).unwrap();
        assert!(rested(long) < long, "memory is half full");
        table.persist().unwrap();
        assert!(!table.shared.lock().is_awaited);
        assert!(rested(short) >= short);
        table.shared.lock().is_stopping = true;
        assert!(rested(long) < long);
    }

    #[test]
    fn a_failure_to_make_files_is_told_to_all_who_write_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let rows_folder = folder.path().join("rows");
        let table = open(&rows_folder, 1024 * 1024);
        table.write(numbered(0..10)).unwrap();
        std::fs::remove_dir_all(&rows_folder).unwrap();
        assert!(matches!(table.persist(), Err(TableError::Io(_))));
        assert!(table.write(numbered(10..20)).is_err());
        assert!(table.durable().is_err());
        assert!(table.start_persisting().is_err());
        assert_eq!(rows(&table.view()).len(), 10, "which can be read");
    }

    #[test]
    fn what_takes_its_time_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let table = open(folder.path(), 1024);
        let mut looks = 0;
        let mut until = |last: usize| {
            table.shared.wait_while(|| {
                looks += 1;
                Ok(looks < last)
            })
        };
        until(3).unwrap();
        assert_eq!(looks, 3);
        let failed = table
            .shared
            .wait_while(|| Err(TableError::Damaged(String::new())));
        assert!(matches!(failed, Err(TableError::Damaged(_))));
        table.shared.lock().is_stopping = true;
        table.shared.wait_while(|| Ok(true)).unwrap();
    }

    #[test]
    fn a_keeper_that_panics_is_told_as_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let table = open(folder.path(), 1024 * 1024);
        table.shared.keep(|_| panic!("on purpose"));
        let failure = table.persist().unwrap_err();
        assert!(failure.to_string().contains("panicked"), "{failure}");
    }
}
