//! The embedded store in a real folder.

use std::fs;
use std::sync::atomic::AtomicU64;

use firn_model::code::Code;
use firn_model::id::Epoch;
use firn_model::payload::Payload;
use futures_executor::block_on;
use futures_util::FutureExt;

use super::*;
use crate::commit::Change;
use crate::entity::Timestamp;
use crate::suite::{self, Backend};
use crate::timer::{TimerName, TimerWrite};

fn never_fatal(fatal: &Fatal) {
    panic!("{fatal}");
}

struct InFolder {
    clock: Clock,
    folder: tempfile::TempDir,
}

impl Backend for InFolder {
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
        let config = Config {
            clock: self.clock.clone(),
            ..Config::default()
        };
        let store = Embedded::open(self.folder.path(), config, never_fatal).unwrap();
        let store: Box<dyn Store> = Box::new(store);
        future::ready(store).boxed()
    }

    fn keeps(&self) -> bool {
        true
    }
}

#[test]
fn embedded_conforms() {
    block_on(suite::run(|clock| InFolder {
        clock,
        folder: tempfile::tempdir().unwrap(),
    }));
}

fn open(folder: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(folder, Config::default(), never_fatal)
}

fn error(folder: &Path) -> OpenError {
    let error = open(folder).map(|_| ()).unwrap_err();
    assert!(!error.remedy().is_empty());
    error
}

fn key() -> EntityKey {
    EntityKey::new(StorageName::new("cart"), "a")
}

/// Lets the store hold an entity with some events, and stop in order.
fn fill(folder: &Path, first: u64) {
    let store = open(folder).unwrap();
    for number in first..first + 3 {
        let mut commit = Commit::empty(
            key().slot(),
            Epoch(0),
            SlotSequence(number),
            Timestamp(number),
        );
        commit.key = Some(key());
        commit.change = Some(Change::Append {
            first: number,
            events: vec![Payload::new("event", number.to_string().into_bytes())],
            snapshot: None,
            deleted_until: None,
        });
        let outcomes = block_on(store.commit(vec![commit]));
        assert_eq!(outcomes[0].outcome, Outcome::Landed);
    }
}

fn last_event(folder: &Path) -> u64 {
    let store = open(folder).unwrap();
    let entity = block_on(store.load(&key(), Replay::FromSnapshot)).unwrap();
    assert_eq!(entity.events.len() as u64, entity.last_event);
    entity.last_event
}

/// Sets the state to so many bytes.
fn set(sequence: u64, bytes: usize) -> Commit {
    let at = Timestamp(sequence);
    let mut commit = Commit::empty(key().slot(), Epoch(0), SlotSequence(sequence), at);
    commit.key = Some(key());
    commit.change = Some(Change::Set(Payload::new("state", vec![1; bytes])));
    commit
}

/// The segments that are there.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("log")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_folder_is_opened_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made/on/the/way");
    for first in [1, 4, 7] {
        fill(&folder, first);
        assert_eq!(last_event(&folder), first + 2);
    }
    assert_eq!(segments(&folder).len(), 1, "the log was shortened");
}

#[test]
fn rows_are_made_again_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 1);
    fs::remove_dir_all(folder.path().join("rows")).unwrap();
    assert_eq!(last_event(folder.path()), 3);
}

#[test]
fn a_folder_that_is_open_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let error = error(folder.path());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert_eq!(error.code(), Code::DataFolderLocked);
    drop(store);
    drop(open(folder.path()).unwrap());
}

#[test]
fn a_newer_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 1);
    fs::write(folder.path().join("format"), "firn-store 8\n").unwrap();
    let error = error(folder.path());
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 8,
                known: 7,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.code(), Code::FormatNewer);
    fs::write(folder.path().join("format"), "firn-store 1\n").unwrap();
    assert_eq!(last_event(folder.path()), 3);
}

/// A Firn that knows of no replicas must not touch a folder that has them, and may open any other.
#[test]
fn the_format_rises_with_the_first_replica() {
    let folder = tempfile::tempdir().unwrap();
    let format = || fs::read_to_string(folder.path().join("format")).unwrap();
    fill(folder.path(), 1);
    assert_eq!(format(), "firn-store 1\n");
    let store = open(folder.path()).unwrap();
    block_on(store.save_replicas(NodeId(1), Vec::new())).unwrap();
    assert_eq!(format(), "firn-store 1\n");
    let write = ReplicaWrite::new(key(), Timestamp(1), "state");
    block_on(store.save_replicas(NodeId(1), vec![write])).unwrap();
    assert_eq!(format(), "firn-store 2\n");
    drop(store);
    let store = open(folder.path()).unwrap();
    let state = block_on(store.load_replica(NodeId(1), &key())).unwrap();
    assert_eq!(state, Some("state".into()));
    drop(store);
    fill(folder.path(), 4);
    assert_eq!(format(), "firn-store 2\n");
}

/// A Firn that knows of no timers would forget them.
#[test]
fn the_format_rises_with_the_first_timer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let key = key();
    let mut commit = Commit::empty(key.slot(), Epoch(0), SlotSequence(1), Timestamp(1));
    commit.key = Some(key);
    commit.timers = vec![TimerWrite {
        name: TimerName::Own("t".into()),
        timer: None,
    }];
    block_on(store.commit(vec![commit]));
    let format = fs::read_to_string(folder.path().join("format")).unwrap();
    assert_eq!(format, "firn-store 4\n");
}

/// A Firn that knows of no trims could not read the log.
#[test]
fn the_format_rises_with_the_first_trim() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 1);
    let store = open(folder.path()).unwrap();
    let trim = Trim {
        key: key(),
        through: 1,
    };
    block_on(store.trim(vec![trim])).unwrap();
    let format = fs::read_to_string(folder.path().join("format")).unwrap();
    assert_eq!(format, "firn-store 7\n");
}

/// A Firn that leaves events in place would find other ones behind them.
#[test]
fn the_format_rises_with_the_first_delete_that_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let format = || fs::read_to_string(folder.path().join("format")).unwrap();
    fill(folder.path(), 1);
    let store = open(folder.path()).unwrap();
    let delete = |sequence: u64, until| {
        let at = Timestamp(1);
        let mut commit = Commit::empty(key().slot(), Epoch(0), SlotSequence(sequence), at);
        commit.key = Some(key());
        commit.change = Some(Change::Delete { until });
        let outcomes = block_on(store.commit(vec![commit]));
        assert_eq!(outcomes[0].outcome, Outcome::Landed);
    };
    delete(4, Some(Timestamp(2)));
    assert_eq!(format(), "firn-store 1\n");
    delete(5, None);
    assert_eq!(format(), "firn-store 3\n");
    drop(store);
    assert_eq!(last_event(folder.path()), 0);
}

#[test]
fn a_format_that_cannot_be_written_is_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let note = told.clone();
    let on_fatal = move |_: &Fatal| {
        note.fetch_add(1, Ordering::Relaxed);
    };
    let store = Embedded::open(folder.path(), Config::default(), on_fatal).unwrap();
    fs::create_dir(folder.path().join("format.new")).unwrap();
    assert_eq!(store.incarnate("n").now_or_never(), None);
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn a_folder_of_unknown_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 1);
    fs::write(folder.path().join("format"), "something").unwrap();
    let damaged = error(folder.path());
    assert!(matches!(damaged, OpenError::Damaged { offset: 0, .. }));
    fs::remove_file(folder.path().join("format")).unwrap();
    let missing = error(folder.path());
    assert!(matches!(missing, OpenError::Unusable { .. }), "{missing}");
}

#[test]
fn a_damaged_record_is_reported_with_file_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 1);
    let segment = segments(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let event = bytes.windows(5).position(|bytes| bytes == b"event");
    bytes[event.unwrap()] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let error = error(folder.path());
    assert_eq!(error.code(), Code::RecordDamaged);
    let text = error.to_string();
    match error {
        OpenError::Damaged { file, offset, .. } => assert_eq!((&file, offset), (&segment, 64)),
        other => panic!("{other}"),
    }
    assert!(text.contains(&*segment.to_string_lossy()), "{text}");
    assert!(text.contains("byte 64"), "{text}");
}

#[test]
fn a_path_that_is_no_folder_is_unusable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = error(&file);
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert_eq!(error.code(), Code::DataFolderUnusable);
}

#[test]
fn long_logs_are_shortened_while_they_grow() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        segment_bytes: 16 * 1024,
        replay_bytes: 32 * 1024,
        ..Config::default()
    };
    let store = Embedded::open(folder.path(), config, never_fatal).unwrap();
    let mut longest = 0;
    // Files are made meanwhile, so it takes as many commits as it takes.
    let is_shortened = |longest| longest > 4 && segments(folder.path()).len() < longest;
    let mut last = 0;
    while !is_shortened(longest) {
        longest = longest.max(segments(folder.path()).len());
        last += 1;
        assert!(last < 2_000, "never");
        block_on(store.commit(vec![set(last, 4000)]));
    }
    block_on(store.load(&key(), Replay::FromSnapshot)).unwrap();
    store.close();
    assert_eq!(segments(folder.path()).len(), 1);
    drop(store);
    let store = open(folder.path()).unwrap();
    let heads = block_on(store.heads()).unwrap();
    assert_eq!(heads[0].1.sequence, SlotSequence(last));
}

/// Who removes the folder of a store that is closed is told; of one that nobody uses any more nobody is.
#[test]
fn a_folder_that_is_removed_is_told_to_who_closes_it() {
    for is_closed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let told = Arc::new(AtomicBool::new(false));
        let tell = told.clone();
        let on_fatal = move |_: &Fatal| tell.store(true, Ordering::Release);
        let store = Embedded::open(folder.path(), Config::default(), on_fatal).unwrap();
        block_on(store.commit(vec![set(1, 1)]));
        fs::remove_dir_all(folder.path()).unwrap();
        if is_closed {
            store.close();
        }
        drop(store);
        assert_eq!(told.load(Ordering::Acquire), is_closed);
    }
}

/// However often a process is killed, the log does not become longer than what is written between.
#[test]
fn logs_are_shortened_though_each_process_writes_little() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        segment_bytes: 16 * 1024,
        replay_bytes: 64 * 1024,
        ..Config::default()
    };
    let open = || Embedded::open(folder.path(), config.clone(), never_fatal).unwrap();
    let mut sequence = 0;
    for _ in 1..20 {
        let store = open();
        for _ in 0..12 {
            sequence += 1;
            block_on(store.commit(vec![set(sequence, 4000)]));
        }
        store.abandon();
    }
    // Up to 64 KiB that are replayed, twice while they become durable, and what one life writes.
    assert!(segments(folder.path()).len() < 20);
    let heads = block_on(open().heads()).unwrap();
    assert_eq!(heads[0].1.sequence, SlotSequence(sequence));
    // What was shortened is in the rows alone: without them the log is not at fault.
    fs::remove_dir_all(folder.path().join("rows")).unwrap();
    let lost = error(folder.path());
    assert_eq!(lost.code(), Code::RecordDamaged);
    let said = lost.to_string();
    assert!(
        said.starts_with("the rows in ") && said.contains("log begins with"),
        "{said}"
    );
}

/// Commits and saves on threads of their own: each save is seen at once, and nothing is lost.
#[test]
fn replicas_are_saved_on_one_thread_while_another_commits() {
    const WRITES: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let likes = |number| EntityKey::new(StorageName::new("likes"), format!("{}", number % 7));
    thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 1..=WRITES {
                let outcomes = block_on(store.commit(vec![set(sequence, 100)]));
                assert_eq!(outcomes[0].outcome, Outcome::Landed);
            }
        });
        for number in 0..WRITES {
            let state = number.to_string();
            let write = ReplicaWrite::new(likes(number), Timestamp(number), state.clone());
            block_on(store.save_replicas(NodeId(1), vec![write])).unwrap();
            let found = block_on(store.load_replica(NodeId(1), &likes(number))).unwrap();
            assert_eq!(found, Some(state.into()));
        }
    });
    drop(store);
    let store = open(folder.path()).unwrap();
    for number in WRITES - 7..WRITES {
        let found = block_on(store.load_replica(NodeId(1), &likes(number))).unwrap();
        assert_eq!(found, Some(number.to_string().into()));
    }
    let heads = block_on(store.heads()).unwrap();
    assert_eq!(heads[0].1.sequence, SlotSequence(WRITES));
}
