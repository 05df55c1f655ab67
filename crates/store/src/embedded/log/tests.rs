//! The log alone, over a disk that fails: lives of a process, each ended in some way, and a model
//! of what must be there afterwards.

use std::convert::Infallible;
use std::path::Path;

use firn_model::id::{EntityKey, Epoch, Incarnation, NodeId, Replica, SlotSequence, StorageName};
use firn_model::payload::Payload;

use super::codec::{HEADER_BYTES, RECORD_BYTES, Record};
use super::recovery::{LogError, recover};
use super::*;
use crate::commit::{Change, Commit};
use crate::embedded::faults::{Chance, Failure, FaultyDisk};
use crate::entity::Timestamp;
use crate::replica::{ReplicaWrite, Run};
use crate::retention::Trim;

/// Small, so that lives go through several segments.
const SEGMENT_BYTES: u64 = 2 * 1024;

#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Never(#[from] Infallible),
}

/// A write that differs from all others, of every kind in turn.
fn write(number: u64, bytes: usize) -> Write {
    let key = EntityKey::new(StorageName::new("test"), number.to_string());
    let at = Timestamp(number);
    let contents = vec![number as u8; bytes];
    if number % 16 == 8 {
        let through = number;
        return Write::Trim(Trim { key, through });
    }
    match number % 4 {
        0 => Write::Replica {
            node: NodeId(number),
            write: ReplicaWrite::new(key, at, contents),
        },
        3 => Write::Run(Run {
            name: "n".repeat(bytes),
            replica: Replica {
                node: NodeId(number),
                incarnation: Incarnation::FIRST,
            },
        }),
        _ => {
            let mut commit = Commit::empty(key.slot(), Epoch(0), SlotSequence(1), at);
            commit.key = Some(key);
            commit.change = Some(Change::Set(Payload::new("bytes", contents)));
            Write::Commit(commit)
        }
    }
}

/// Reads the log; gives what it begins the next one with and the writes above `reached`, also
/// those that are carried over.
fn read(disk: &FaultyDisk, reached: u64) -> Result<(Start, Vec<Write>), LogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writes = Vec::new();
    let mut take = |number, write| {
        assert_eq!(number, reached + 1 + writes.len() as u64);
        writes.push(write);
    };
    let start = recover(&disk, &Seals::default(), reached, |carried| {
        take(carried.number, carried.write);
        Ok::<_, TestError>(())
    });
    match start {
        Ok(start) => {
            for carried in &start.carried {
                take(carried.number, carried.write.clone());
            }
            Ok((start, writes))
        }
        Err(TestError::Log(error)) => Err(error),
        Err(TestError::Never(never)) => match never {},
    }
}

fn start(disk: &FaultyDisk, start: &Start) -> io::Result<Log> {
    Log::start(
        Arc::new(disk.clone()),
        Seals::default(),
        SEGMENT_BYTES,
        start,
    )
}

/// A log over an empty disk.
fn new_log(disk: &FaultyDisk) -> Log {
    let (begin, _) = read(disk, 0).unwrap();
    start(disk, &begin).unwrap()
}

/// What was promised.
#[derive(Default)]
struct Model {
    /// All writes that are in the log for good; the number of each is its place plus one.
    landed: Vec<Write>,
    /// The batch that was under way when the process ended.
    open: Vec<Write>,
    /// What the rows had reached durably, and at all.
    persisted: u64,
    applied: u64,
    made: u64,
}

impl Model {
    /// One life of a process: it starts, writes, and ends somehow. Gives the disk afterwards.
    fn live(&mut self, disk: &FaultyDisk, chance: &mut Chance) -> FaultyDisk {
        if chance.once_in(2) {
            let failure = match chance.below(3) {
                0 => Failure::Error(io::ErrorKind::StorageFull),
                1 => Failure::Error(io::ErrorKind::Other),
                _ => Failure::Interrupted,
            };
            disk.fail_after(chance.below(40), failure);
        }
        let is_orderly = self.run(disk, chance).is_ok();
        if chance.once_in(3) {
            self.applied = self.persisted.max(self.applied);
            return disk.end_process();
        }
        if !is_orderly || chance.once_in(2) {
            let lost = chance.below(self.applied - self.persisted + 1);
            self.applied -= lost;
        }
        disk.lose_power(chance)
    }

    fn run(&mut self, disk: &FaultyDisk, chance: &mut Chance) -> io::Result<()> {
        let (begin, found) = self.check(disk)?;
        let mut log = start(disk, &begin)?;
        self.landed.truncate(self.applied as usize);
        self.landed.extend(found);
        self.open.clear();
        assert_eq!(log.next(), self.landed.len() as u64 + 1);
        for _ in 0..chance.below(20) {
            self.append(&mut log, chance)?;
            self.applied += chance.below(self.landed.len() as u64 - self.applied + 1);
            if chance.once_in(4) {
                self.persisted = self.applied;
                log.segments().remove_finished(self.persisted)?;
            }
        }
        if chance.once_in(2) {
            log.seal()?;
        }
        Ok(())
    }

    fn append(&mut self, log: &mut Log, chance: &mut Chance) -> io::Result<()> {
        for _ in 0..=chance.below(4) {
            self.made += 1;
            let bytes = match chance.below(20) {
                0 => 4000,
                _ => chance.below(300) as usize,
            };
            self.open.push(write(self.made, bytes));
        }
        let appended = log.append(&self.open)?;
        self.landed.append(&mut self.open);
        assert_eq!(appended.last, self.landed.len() as u64);
        Ok(())
    }

    /// Everything that was acknowledged is there, in order, once; of the open batch a beginning.
    ///
    /// # Errors
    /// The disk fails already.
    fn check(&self, disk: &FaultyDisk) -> io::Result<(Start, Vec<Write>)> {
        let (start, found) = match read(disk, self.applied) {
            Err(LogError::Io { source, .. }) => return Err(source),
            outcome => outcome.unwrap(),
        };
        let mut expected = self.landed[self.applied as usize..].to_vec();
        let acknowledged = expected.len();
        expected.extend_from_slice(&self.open);
        assert!(found.len() >= acknowledged, "an acknowledged write is lost");
        assert!(found.len() <= expected.len(), "a write is there twice");
        assert!(found == expected[..found.len()], "the writes are others");
        Ok((start, found))
    }
}

fn lives(seed: u64) -> (FaultyDisk, Model, Chance) {
    let mut chance = Chance::new(seed);
    let mut disk = FaultyDisk::new();
    let mut model = Model::default();
    for _ in 0..4 {
        disk = model.live(&disk, &mut chance);
    }
    (disk, model, chance)
}

#[test]
fn acknowledged_commits_survive_every_end() {
    for seed in 0..3000 {
        let run = std::panic::catch_unwind(|| {
            let (disk, model, _) = lives(seed);
            model.check(&disk).unwrap();
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}

/// A record that counts: where it is, how large, and its number.
struct Place {
    file: String,
    offset: usize,
    size: usize,
    number: u64,
}

/// The records of all segments, each up to where the next segment begins.
fn places(disk: &FaultyDisk) -> Vec<Place> {
    let files = disk.files();
    let segments: Vec<_> = files
        .iter()
        .filter_map(|(file, bytes)| Some((first_of(file)?, file, bytes)))
        .collect();
    let mut places = Vec::new();
    for (index, (first, file, bytes)) in segments.iter().enumerate() {
        let end = segments.get(index + 1).map(|(first, ..)| *first);
        let mut offset = HEADER_BYTES as usize;
        let mut number = *first;
        while let Some(record) = bytes.get(offset..).and_then(Record::parse)
            && record.number == number
            && end != Some(number)
            && record.is_valid(
                &bytes[offset..offset + record.size()],
                *first,
                offset as u64,
            )
        {
            places.push(Place {
                file: (*file).clone(),
                offset,
                size: record.size(),
                number,
            });
            offset += record.size();
            number += 1;
        }
    }
    places
}

#[test]
fn a_damaged_record_is_reported_with_its_place() {
    let mut flipped = 0;
    for seed in 0..1500 {
        let (disk, model, mut chance) = lives(seed);
        let (start, _) = read(&disk, model.applied).unwrap();
        let places = places(&disk);
        let vouched = places.iter().filter(|place| place.number < start.first);
        let vouched: Vec<&Place> = vouched.collect();
        if vouched.is_empty() {
            continue;
        }
        let place = vouched[chance.below(vouched.len() as u64) as usize];
        let byte = place.offset + chance.below(place.size as u64) as usize;
        disk.flip(&place.file, byte, 1 << chance.below(8));
        match read(&disk, model.applied) {
            Err(LogError::Damaged { path, offset, .. }) => {
                assert_eq!(path, Path::new(&place.file), "seed {seed}");
                assert_eq!(offset, place.offset as u64, "seed {seed}");
            }
            outcome => panic!("seed {seed}: {:?}", outcome.map(|(_, writes)| writes.len())),
        }
        flipped += 1;
    }
    assert!(flipped > 1000, "most lives leave a record, {flipped} did");
}

#[test]
fn a_damaged_header_is_reported() {
    for byte in 0..HEADER_BYTES as usize {
        let disk = FaultyDisk::new();
        drop(new_log(&disk));
        disk.flip(&name(1), byte, 1);
        let found = read(&disk, 0).map(|_| ());
        assert!(
            matches!(found, Err(LogError::Damaged { offset: 0, .. })),
            "byte {byte}: {found:?}"
        );
    }
}

#[test]
fn a_seal_vouches_for_the_last_record() {
    let disk = FaultyDisk::new();
    let mut log = new_log(&disk);
    log.append(&[write(1, 10)]).unwrap();
    disk.flip(&name(1), HEADER_BYTES as usize + RECORD_BYTES, 1);
    // Nobody vouches: it might as well be torn.
    assert_eq!(read(&disk, 0).unwrap().1, []);
    log.seal().unwrap();
    assert!(matches!(read(&disk, 0), Err(LogError::Damaged { .. })));
}

#[test]
fn the_rows_vouch_for_what_they_have_reached() {
    let disk = FaultyDisk::new();
    let mut log = new_log(&disk);
    log.append(&[write(1, 10)]).unwrap();
    assert_eq!(read(&disk, 1).unwrap().1, []);
    assert!(matches!(read(&disk, 2), Err(LogError::Damaged { .. })));
    disk.remove(&name(1)).unwrap();
    assert!(matches!(read(&disk, 1), Err(LogError::Damaged { .. })));
}

#[test]
fn a_missing_segment_is_reported() {
    let disk = FaultyDisk::new();
    let mut log = new_log(&disk);
    for number in 1..20 {
        log.append(&[write(number, 1000)]).unwrap();
    }
    let segments: Vec<String> = disk.files().into_keys().collect();
    assert!(segments.len() > 3);
    disk.remove(&segments[2]).unwrap();
    let found = read(&disk, 0).map(|_| ());
    assert!(matches!(found, Err(LogError::Damaged { .. })), "{found:?}");
    disk.remove(&segments[0]).unwrap();
    let found = read(&disk, 0).map(|_| ());
    let is_told = matches!(found, Err(LogError::RowsMissing { first }) if first > 1);
    assert!(is_told, "{found:?}");
    let found = read(&disk, 1).map(|_| ());
    assert!(matches!(found, Err(LogError::Damaged { .. })), "{found:?}");
}

#[test]
fn a_newer_segment_is_reported() {
    let disk = FaultyDisk::new();
    let mut header = Header { first: 1 }.encode();
    header[8] = 2;
    let checksum = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
    let file = disk.create(&name(1)).unwrap();
    file.write_at(0, &header).unwrap();
    let found = read(&disk, 0).map(|_| ());
    assert!(matches!(found, Err(LogError::Newer { version: 2, .. })));
}

/// A record of a kind that is not known was written by a later Firn, and not torn off.
#[test]
fn a_newer_record_is_reported() {
    let disk = FaultyDisk::new();
    drop(new_log(&disk));
    let mut file = disk.files().remove(&name(1)).unwrap();
    let start = HEADER_BYTES as usize;
    let mut writer = RecordWriter::default();
    writer.push(Kind::Commit, 1, 0, |bytes| bytes.extend(b"payload"));
    file[start..start + 40].copy_from_slice(writer.finish(1, HEADER_BYTES));
    file[start + 24] = 9;
    let place = [1u64.to_le_bytes(), HEADER_BYTES.to_le_bytes()].concat();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&place), &file[start + 4..start + 40]);
    file[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    disk.open(&name(1)).unwrap().write_at(0, &file).unwrap();
    let error = read(&disk, 0).map(|_| ()).unwrap_err();
    assert!(matches!(
        error,
        LogError::Damaged {
            offset: HEADER_BYTES,
            ..
        }
    ));
    assert!(error.to_string().contains("kind 9"), "{error}");
}

#[test]
fn a_disk_that_cannot_be_read_is_reported() {
    let disk = FaultyDisk::new();
    drop(new_log(&disk));
    let _next_process = disk.end_process();
    assert!(matches!(read(&disk, 0), Err(LogError::Io { .. })));
}

/// A failed sync leaves pages that look clean: what the next process sees must be written again.
#[test]
fn what_is_seen_after_a_failed_sync_is_written_again() {
    let disk = FaultyDisk::new();
    let mut log = new_log(&disk);
    log.append(&[write(1, 10)]).unwrap();
    disk.fail_after(1, Failure::Error(io::ErrorKind::Other));
    log.append(&[write(2, 10)]).unwrap_err();
    let disk = disk.end_process();
    let (begin, seen) = read(&disk, 0).unwrap();
    assert_eq!(seen.len(), 2);
    drop(start(&disk, &begin).unwrap());
    let disk = disk.lose_power(&mut Chance::new(0));
    assert_eq!(read(&disk, 0).unwrap().1, seen);
}

#[test]
fn finished_segments_are_removed() {
    let disk = FaultyDisk::new();
    let mut log = new_log(&disk);
    let segments = log.segments();
    for number in 1..=20 {
        log.append(&[write(number, 1000)]).unwrap();
    }
    let count = disk.files().len();
    segments.remove_finished(0).unwrap();
    assert_eq!(disk.files().len(), count);
    segments.remove_finished(10).unwrap();
    assert_eq!(read(&disk, 10).unwrap().1.len(), 10);
    assert!(disk.files().len() < count);
    segments.remove_finished(20).unwrap();
    assert_eq!(disk.files().len(), 1);
}

/// The bytes are part of the stored format.
#[test]
fn bytes_are_fixed() {
    let mut writer = RecordWriter::default();
    writer.push(Kind::Commit, 3, 2, |bytes| bytes.extend(b"payload"));
    let record = writer.finish(1, 64).to_vec();
    assert_eq!(record.len(), 40);
    assert_eq!(record[4..8], [7, 0, 0, 0]);
    assert_eq!(
        record[8..24],
        [3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(record[24..], *b"\x01\0\0\0\0\0\0\0payload\0");
    assert_eq!(record[..4], RECORD_CHECKSUM);
    for (number, kind) in [(1, 1), (4, 3), (3, 4), (8, 5)] {
        let write = write(number, 1);
        assert_eq!(kind_of(&write) as u8, kind);
    }
    assert_eq!(Header { first: 3 }.encode()[..24], HEADER_START);
    let parsed = Record::parse(&record).unwrap();
    assert_eq!((parsed.number, parsed.durable, parsed.size()), (3, 2, 40));
    assert!(parsed.is_valid(&record, 1, 64));
    assert!(!parsed.is_valid(&record, 1, 72), "at another place");
    assert!(!parsed.is_valid(&record, 2, 64), "in another segment");
}

const RECORD_CHECKSUM: [u8; 4] = [253, 82, 47, 91];
const HEADER_START: [u8; 24] = *b"FIRNLOG\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0";

/// Any bytes at all in place of a segment: never a panic, never a write that was not written.
#[test]
fn any_bytes_are_survived() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let disk = FaultyDisk::new();
        let file = disk.create(&name(1)).unwrap();
        file.write_at(0, &Header { first: 1 }.encode()).unwrap();
        file.write_at(HEADER_BYTES, bytes).unwrap();
        let _ = read(&disk, 0);
        let _ = Header::decode(bytes);
        let _ = crate::encoding::record::decode_commit(bytes.to_vec().into());
        let _ = crate::encoding::replica::decode_replica(bytes.to_vec().into());
        let _ = crate::encoding::replica::decode_run(bytes.to_vec().into());
    });
}

/// Damage anywhere in a log of several batches: what is found is a beginning of what was written.
#[test]
fn damaged_logs_give_a_beginning_or_an_error() {
    let disk = FaultyDisk::new();
    let mut log = new_log(&disk);
    let written: Vec<Write> = (1..=6).map(|number| write(number, 40)).collect();
    for batch in written.chunks(2) {
        log.append(batch).unwrap();
    }
    let pristine = disk.files().remove(&name(1)).unwrap();
    bolero::check!()
        .with_type::<Vec<(u16, u8)>>()
        .for_each(|damage| {
            let mut bytes = pristine[..1024].to_vec();
            for (at, mask) in damage {
                bytes[usize::from(*at) % 1024] ^= mask;
            }
            let disk = FaultyDisk::new();
            let file = disk.create(&name(1)).unwrap();
            file.write_at(0, &bytes).unwrap();
            if let Ok((_, found)) = read(&disk, 0) {
                assert!(written.starts_with(&found));
            }
        });
}
