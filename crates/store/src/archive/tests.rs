use std::path::Path;

use futures_executor::block_on;
use proptest::prelude::*;

use super::file::{
    Decoder, Encoder, Reader, VERSION, verify, verify_checksums, verify_frames, write,
};
use super::*;
use crate::embedded::{self, Embedded, OpenError};
use crate::memory::Memory;
use crate::seal::Keys;
use crate::suite::contents;
use crate::{Clock, Store};

use std::sync::Arc;

const A: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_A: &str = "a:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const B: &str = "b:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn keys(text: &str) -> Option<Arc<Keys>> {
    Some(Arc::new(Keys::parse(text).unwrap()))
}

/// Reads a file as an import does first; what it tells grows up to where the file ends.
fn frames(file: &[u8], keys: Option<Arc<Keys>>) -> Result<file::Summary, ArchiveError> {
    let mut told = 0;
    let summary = verify_frames(file, keys, |bytes| {
        assert!(bytes > told, "each frame is told");
        told = bytes;
    })?;
    assert_eq!(told, summary.bytes);
    Ok(summary)
}

/// A clock at which no reply record has expired.
fn clock() -> Clock {
    Clock::new(|| crate::Timestamp(1_700_000_000_000))
}

fn filled(seed: u64) -> Arc<Memory> {
    let store = Arc::new(Memory::with_clock(clock()));
    block_on(contents::fill(&*store, seed));
    store
}

fn file(rows: &[Row], keys: Option<Arc<Keys>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, keys, rows.chunks(50).map(<[Row]>::to_vec)).unwrap();
    bytes
}

fn read(bytes: &[u8], keys: Option<Arc<Keys>>) -> Result<Vec<Row>, ArchiveError> {
    let mut decoder = Decoder::new(bytes, keys)?;
    let mut rows = Vec::new();
    loop {
        match decoder.rows()? {
            batch if batch.is_empty() => return Ok(rows),
            batch => rows.extend(batch),
        }
    }
}

fn config(keys: Option<Arc<Keys>>) -> embedded::Config {
    embedded::Config {
        clock: clock(),
        keys,
        ..embedded::Config::default()
    }
}

fn open(folder: &Path, keys: Option<Arc<Keys>>) -> Result<Embedded, OpenError> {
    Embedded::open(folder, config(keys), |fatal| panic!("{fatal}"))
}

#[test]
fn every_kind_of_row_is_among_the_contents() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..4 {
        kinds.extend(contents::kinds(&block_on(contents::rows(&*filled(seed)))));
    }
    assert_eq!(kinds.len(), 13 + 4, "{kinds:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever was committed, written to a file, read again and restored, answers as before.
    #[test]
    fn what_is_restored_answers_as_what_was_dumped(seed: u64) {
        let from = filled(seed);
        let dumped = block_on(contents::rows(&*from));
        let rows = read(&file(&dumped, keys(A)), keys(A)).unwrap();
        prop_assert_eq!(&rows, &dumped);
        let to = Arc::new(Memory::with_clock(clock()));
        block_on(contents::restore(to.restore().unwrap(), rows));
        let [expected, restored] = [&from, &to].map(|store| block_on(contents::answers(&**store)));
        prop_assert_eq!(expected, restored);
        prop_assert_eq!(block_on(contents::rows(&*to)), dumped);
        prop_assert!(block_on(contents::goes_on(&*to)));
    }
}

/// To a folder and back, sealed on the way with one key, and in the folder with another.
#[test]
fn stores_are_moved_between_backends() {
    for seed in 0..3 {
        let from = filled(seed);
        let dumped = block_on(contents::rows(&*from));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let to = embedded::restore(&path, &config(keys(B))).unwrap();
        block_on(contents::restore(to, dumped.clone()));
        let store = open(&path, keys(B)).unwrap();
        let [expected, restored] =
            [&*from as &dyn Store, &store].map(|store| block_on(contents::answers(store)));
        assert_eq!(expected, restored);
        assert_eq!(block_on(contents::rows(&store)), dumped);
        assert!(block_on(contents::goes_on(&store)));
        drop(store);
        // Also after everything has been through the log again.
        let store = open(&path, keys(B)).unwrap();
        assert_eq!(block_on(contents::rows(&store)).len(), dumped.len());
        let to = Arc::new(Memory::with_clock(clock()));
        let rows = block_on(contents::rows(&store));
        block_on(contents::restore(to.restore().unwrap(), rows));
        assert_eq!(
            block_on(contents::answers(&*to)),
            block_on(contents::answers(&store))
        );
    }
}

#[test]
fn a_store_that_holds_something_is_not_restored() {
    let store = filled(1);
    assert_eq!(store.restore().err(), Some(RestoreError::NotEmpty));
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), None).unwrap());
    let error = embedded::restore(folder.path(), &config(None))
        .err()
        .unwrap();
    assert_eq!(error.code(), firn_model::code::Code::StoreNotEmpty);
    drop(open(folder.path(), None).unwrap());
}

#[test]
fn a_folder_that_was_not_restored_to_the_end_is_not_opened_but_restored_again() {
    let rows = block_on(contents::rows(&*filled(1)));
    let folder = tempfile::tempdir().unwrap();
    let mut unfinished = embedded::restore(folder.path(), &config(None)).unwrap();
    block_on(unfinished.write(rows[..10].to_vec())).unwrap();
    drop(unfinished);
    let error = open(folder.path(), None).err().unwrap();
    assert_eq!(error.code(), firn_model::code::Code::RestoreUnfinished);
    assert!(!error.remedy().is_empty());
    let rotated = embedded::rotate_keys(folder.path(), &config(keys(A)), |_| {});
    assert_eq!(rotated.unwrap_err().code(), error.code());
    let again = embedded::restore(folder.path(), &config(keys(A))).unwrap();
    block_on(contents::restore(again, rows.clone()));
    let store = open(folder.path(), keys(A)).unwrap();
    assert_eq!(block_on(contents::rows(&store)), rows);
}

#[test]
fn damaged_files_are_refused_with_their_codes() {
    use firn_model::code::Code;

    let rows = block_on(contents::rows(&*filled(2)));
    let pristine = file(&rows, None);
    let check = |bytes: &[u8], given: Option<Arc<Keys>>, code: Code, text: &str| {
        for verify in [verify, frames] {
            let error = verify(bytes, given.clone()).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(text), "{error}");
            assert!(!error.remedy().is_empty());
        }
    };
    let summary = verify(&*pristine, None).unwrap();
    assert_eq!(
        (summary.rows, summary.bytes),
        (rows.len() as u64, pristine.len() as u64)
    );
    assert_eq!(frames(&pristine, None).unwrap(), summary);
    assert_eq!(verify_checksums(&*pristine).unwrap().bytes, summary.bytes);
    let cut = verify_checksums(&pristine[..pristine.len() - 1]).unwrap_err();
    assert!(matches!(cut, ArchiveError::Cut { .. }));
    check(
        b"another file, long enough for a header",
        None,
        Code::ArchiveDamaged,
        "no export",
    );
    check(b"", None, Code::ArchiveDamaged, "no export");
    for cut in [10, 40, pristine.len() / 2, pristine.len() - 1] {
        check(&pristine[..cut], None, Code::ArchiveDamaged, "cut off");
    }
    let longer = [&pristine[..], b"x"].concat();
    check(&longer, None, Code::ArchiveDamaged, "behind its end");
    let mut newer = pristine;
    newer[8] = VERSION as u8 + 1;
    let checksum = crc32c::crc32c(&newer[..32]);
    newer[32..36].copy_from_slice(&checksum.to_le_bytes());
    check(&newer, None, Code::ArchiveNewer, "version 2");
    let sealed = file(&rows, keys(A));
    check(&sealed, None, Code::KeyNotGiven, "key a");
    check(&sealed, keys(B), Code::KeyNotGiven, "key a");
    check(&sealed, keys(OTHER_A), Code::KeyWrong, "key a");
    for verify in [verify, frames] {
        let summary = verify(sealed.as_slice(), keys(&format!("{B},{A}"))).unwrap();
        assert!(summary.is_sealed);
        assert_eq!(summary.rows, rows.len() as u64);
    }
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let error = verify(Broken, None).unwrap_err();
    assert_eq!(error.code(), Code::ArchiveUnusable);
}

/// What is read ahead is what is there, and damage is told where it stands, as often as it is asked.
#[test]
fn a_file_is_read_ahead_to_its_end_or_its_damage() {
    let rows = block_on(contents::rows(&*filled(2)));
    let pristine = file(&rows, keys(A));
    let mut reader = Reader::start(std::io::Cursor::new(pristine.clone()), keys(A)).unwrap();
    let mut found = Vec::new();
    loop {
        match block_on(reader.rows()).unwrap() {
            batch if batch.is_empty() => break,
            batch => found.extend(batch),
        }
    }
    assert_eq!(found, rows);
    assert!(block_on(reader.rows()).unwrap().is_empty());
    // Who takes nothing more is not waited for.
    drop(Reader::start(std::io::Cursor::new(pristine.clone()), keys(A)).unwrap());
    let mut damaged = pristine;
    *damaged.last_mut().unwrap() ^= 1;
    let mut reader = Reader::start(std::io::Cursor::new(damaged), keys(A)).unwrap();
    let error = loop {
        match block_on(reader.rows()) {
            Ok(batch) => assert!(!batch.is_empty()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
    assert!(block_on(reader.rows()).is_err());
}

#[test]
fn frames_of_another_file_are_refused() {
    let rows = block_on(contents::rows(&*filled(2)));
    let (mut one, header) = Encoder::new(None).unwrap();
    let (mut other, _) = Encoder::new(None).unwrap();
    let frame = one.rows(&rows[..3]).unwrap();
    let foreign = other.rows(&rows[..3]).unwrap();
    let end = one.end();
    assert!(verify(&*[&header[..], &frame, &end].concat(), None).is_ok());
    for frames in [
        [&foreign[..], &end].concat(),
        end.to_vec(),
        [&frame[..], &frame, &end].concat(),
    ] {
        let error = verify(&*[&header[..], &frames].concat(), None).unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
    }
}

proptest! {
    #[test]
    fn any_damage_is_noticed(at: prop::sample::Index, bit in 0..8u8, sealed: bool) {
        let rows = [Row::Node {
            name: "a node".to_owned(),
            replica: firn_model::id::Replica {
                node: firn_model::id::NodeId(1),
                incarnation: firn_model::id::Incarnation::FIRST,
            },
        }];
        let given = || sealed.then(|| keys(A)).flatten();
        let mut bytes = file(&rows, given());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(read(&bytes, given()).is_err());
        prop_assert!(read(&bytes[..at], given()).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        prop_assert!(read(&bytes, None).is_err());
        let (_, header) = Encoder::new(None).unwrap();
        prop_assert!(read(&[&header[..], &bytes].concat(), None).is_err());
    }
}

/// The bytes are part of the format of files; this one must be read for ever.
#[test]
fn bytes_are_fixed() {
    let rows = read(FIXTURE, None).unwrap();
    assert_eq!(contents::kinds(&rows).len(), 13 + 4);
}

const FIXTURE: &[u8] = include_bytes!("tests/version-1.firn");
