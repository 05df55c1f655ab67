//! Sealed folders: what stands on the disk, who may open it, and changing keys.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use firn_model::code::Code;
use firn_model::id::{EntityKey, Epoch, SlotSequence, StorageName};
use firn_model::payload::Payload;
use firn_model::policy::Replay;
use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

use super::super::table::Memory;
use super::*;
use crate::clock::Clock;
use crate::commit::{Change, Commit, Outcome};
use crate::entity::Timestamp;
use crate::rows::key::{self, Space};
use crate::suite::{self, Backend};
use crate::{ReadError, Store};

const A: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const B: &str = "b:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const OTHER_A: &str = "a:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// Stands in every state, event and key that these tests write.
const SECRET: &str = "the secret of the cart";

fn config(keys: &[&str]) -> Config {
    let keys = (!keys.is_empty()).then(|| Keys::parse(&keys.join(",")).unwrap());
    Config {
        keys: keys.map(Arc::new),
        ..Config::default()
    }
}

fn open(folder: &Path, keys: &[&str]) -> Result<Embedded, OpenError> {
    Embedded::open(folder, config(keys), |fatal| panic!("{fatal}"))
}

fn rotate(folder: &Path, keys: &[&str]) -> Result<u64, OpenError> {
    rotate_keys(folder, &config(keys), |_| {})
}

fn code(folder: &Path, keys: &[&str]) -> Option<Code> {
    open(folder, keys).err().map(|error| {
        assert!(!error.remedy().is_empty());
        error.code()
    })
}

fn cart(id: &str) -> EntityKey {
    EntityKey::new(StorageName::new("cart"), id)
}

fn event(number: u64) -> Payload {
    Payload::new("event", format!("{SECRET} {number}").into_bytes())
}

/// Appends an event to an entity.
fn append(store: &Embedded, id: &str, number: u64) {
    let key = cart(id);
    let sequence = SlotSequence(number);
    let mut commit = Commit::empty(key.slot(), Epoch(0), sequence, Timestamp(number));
    commit.key = Some(key);
    commit.change = Some(Change::Append {
        first: number,
        events: vec![event(number)],
        snapshot: Some(event(number)),
        deleted_until: None,
    });
    let outcomes = block_on(store.commit(vec![commit]));
    assert_eq!(outcomes[0].outcome, Outcome::Landed);
}

fn events(store: &Embedded, id: &str) -> Result<Vec<Payload>, ReadError> {
    let entity = block_on(store.load(&cart(id), Replay::AllEvents))?;
    Ok(entity
        .events
        .into_iter()
        .map(|event| event.payload)
        .collect())
}

/// Whether any file of the folder holds these bytes.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, text),
            false => {
                let bytes = fs::read(&path).unwrap();
                bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
            }
        }
    })
}

struct Sealed {
    clock: Clock,
    folder: tempfile::TempDir,
}

impl Backend for Sealed {
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
        let config = Config {
            clock: self.clock.clone(),
            ..config(&[A])
        };
        let store = Embedded::open(self.folder.path(), config, |fatal| panic!("{fatal}"));
        let store: Box<dyn Store> = Box::new(store.unwrap());
        future::ready(store).boxed()
    }

    fn keeps(&self) -> bool {
        true
    }
}

#[test]
fn a_sealed_folder_conforms() {
    block_on(suite::run(|clock| Sealed {
        clock,
        folder: tempfile::tempdir().unwrap(),
    }));
}

#[test]
fn nothing_that_was_said_stands_in_a_sealed_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &[A]).unwrap();
    append(&store, "1", 1);
    assert!(!holds(folder.path(), SECRET), "in the log");
    drop(store);
    assert!(!holds(folder.path(), SECRET), "in the rows");
    let store = open(folder.path(), &[A]).unwrap();
    assert_eq!(events(&store, "1").unwrap(), [event(1)]);
}

#[test]
fn the_log_of_a_killed_process_is_opened_with_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &[A]).unwrap();
    append(&store, "1", 1);
    // What a process that is killed leaves: the log, and no row yet.
    for name in ["format", "keys"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    fs::create_dir(copy.path().join("log")).unwrap();
    for segment in fs::read_dir(folder.path().join("log")).unwrap() {
        let segment = segment.unwrap();
        let to = copy.path().join("log").join(segment.file_name());
        fs::copy(segment.path(), to).unwrap();
    }
    assert_eq!(code(copy.path(), &[]), Some(Code::KeyNotGiven));
    let store = open(copy.path(), &[B, A]).unwrap();
    assert_eq!(events(&store, "1").unwrap(), [event(1)]);
}

#[test]
fn a_folder_is_opened_with_its_keys_only() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), &[A]).unwrap());
    assert_eq!(code(folder.path(), &[]), Some(Code::KeyNotGiven));
    assert_eq!(code(folder.path(), &[B]), Some(Code::KeyNotGiven));
    assert_eq!(code(folder.path(), &[OTHER_A]), Some(Code::KeyWrong));
    assert_eq!(code(folder.path(), &[A]), None);
    // From here on both keys are in use.
    assert_eq!(code(folder.path(), &[B, A]), None);
    assert_eq!(code(folder.path(), &[A]), Some(Code::KeyNotGiven));
    assert_eq!(code(folder.path(), &[A, B]), None);
    fs::write(folder.path().join("keys"), "of somebody else").unwrap();
    assert_eq!(code(folder.path(), &[A, B]), Some(Code::RecordDamaged));
}

#[test]
fn a_plain_folder_is_sealed_by_rotation_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &[]).unwrap();
    append(&store, "1", 1);
    drop(store);
    assert_eq!(code(folder.path(), &[A]), Some(Code::StoreUnsealed));
    assert!(holds(folder.path(), SECRET));
    assert!(rotate(folder.path(), &[A]).unwrap() > 0);
    assert!(!holds(folder.path(), SECRET));
    assert_eq!(code(folder.path(), &[]), Some(Code::KeyNotGiven));
    let store = open(folder.path(), &[A]).unwrap();
    append(&store, "1", 2);
    assert_eq!(events(&store, "1").unwrap(), [event(1), event(2)]);
}

#[test]
fn after_a_rotation_the_old_key_is_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    for (keys, number) in [(&[A][..], 1), (&[B, A], 2)] {
        let store = open(folder.path(), keys).unwrap();
        append(&store, "1", number);
    }
    let error = rotate(folder.path(), &[B]).unwrap_err();
    assert_eq!(error.code(), Code::KeyNotGiven);
    rotate(folder.path(), &[B, A]).unwrap();
    assert_eq!(code(folder.path(), &[A]), Some(Code::KeyNotGiven));
    let store = open(folder.path(), &[B]).unwrap();
    assert_eq!(events(&store, "1").unwrap(), [event(1), event(2)]);
}

/// Wherever a rotation ends before its time, the folder opens with both keys and loses nothing.
#[test]
fn a_rotation_that_was_cut_off_is_finished_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    drop(open(folder.path(), &[A]).map(|store| append(&store, "1", 1)));
    // Before the rows are exchanged.
    fs::create_dir(path("rows.new")).unwrap();
    assert_eq!(
        events(&open(folder.path(), &[A]).unwrap(), "1").unwrap(),
        [event(1)]
    );
    assert!(!path("rows.new").exists());
    // Between the two renames.
    fs::rename(path("rows"), path("rows.new")).unwrap();
    fs::create_dir(path("rows.old")).unwrap();
    assert_eq!(
        events(&open(folder.path(), &[A]).unwrap(), "1").unwrap(),
        [event(1)]
    );
    assert!(!path("rows.old").exists());
    // While a plain folder is being sealed.
    let plain = Checks {
        has_plain: true,
        ..Checks::read(folder.path()).unwrap().unwrap()
    };
    plain.write(folder.path()).unwrap();
    assert_eq!(code(folder.path(), &[A]), Some(Code::StoreUnsealed));
    rotate(folder.path(), &[A]).unwrap();
    assert_eq!(
        events(&open(folder.path(), &[A]).unwrap(), "1").unwrap(),
        [event(1)]
    );
}

#[test]
fn a_folder_that_is_in_use_is_not_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path(), &[A]).unwrap();
    let error = rotate(folder.path(), &[B, A]).unwrap_err();
    assert_eq!(error.code(), Code::DataFolderLocked);
}

#[test]
fn swapped_rows_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &[A]).unwrap();
    append(&store, "1", 1);
    append(&store, "2", 1);
    drop(store);
    let rows = folder.path().join("rows");
    let memory = Memory {
        cache_bytes: 1024 * 1024,
        fresh_bytes: 1024 * 1024,
    };
    let table = Layered::open(&rows, memory).unwrap();
    let state = |id: &str| key::entity(Space::Snapshot, &cart(id));
    let theirs = table.view().get(&state("2")).unwrap();
    table.write([(state("1"), theirs)].into()).unwrap();
    table.persist().unwrap();
    drop(table);
    let store = open(folder.path(), &[A]).unwrap();
    assert!(block_on(store.load(&cart("2"), Replay::FromSnapshot)).is_ok());
    let error = block_on(store.load(&cart("1"), Replay::FromSnapshot)).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("key a has sealed"), "{error}");
}
