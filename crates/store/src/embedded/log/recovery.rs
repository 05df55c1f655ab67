//! Reading the log again: what is there, what was torn off, and what is damaged.
//!
//! # How it works
//! Records are read one after the other. At the first that is not valid the question is whether
//! anybody has vouched for it: the header of the next segment, a record further behind that says
//! "durable up to here", or the rows, which are only filled with what is durable. If so, it was
//! acknowledged and is *damaged*: opening ends with its place. If not, it is the torn rest of a
//! batch that was never acknowledged, and the log ends before it.
//!
//! # What cannot be told
//! After a crash nobody vouches for the very last batch, so damage in it looks like a torn write.
//! A process that stops in order leaves a seal that vouches for it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::codec::{ALIGNMENT, HEADER_BYTES, Header, HeaderFault, Kind, RECORD_BYTES, Record};
use super::{Carried, Start, UNFINISHED, first_of, name};
use crate::embedded::disk::{Disk, File};
use crate::encoding::Fault;
use crate::encoding::record::decode_commit;
use crate::encoding::replica::{decode_replica, decode_run};
use crate::encoding::trim::decode_trim;
use crate::seal::stored::Seals;
use crate::write::Write;

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The disk failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Something that was durable is not what was written.
    #[error("{} is damaged at byte {offset}: {fault}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        fault: String,
    },
    /// Nothing is in the rows, and the log does not begin with the first record.
    #[error("nothing is in them, and the log begins with record {first}")]
    RowsMissing {
        /// With which it begins.
        first: u64,
    },
    /// A segment has a later version.
    #[error("{} has version {version}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// Reads the log and hands every write above `reached` that is known to be durable to `replay`, in
/// order. Gives what the next log begins with; the writes that it carries over may be applied once
/// it has made them durable.
pub(crate) fn recover<E: From<LogError>>(
    disk: &Arc<dyn Disk>,
    seals: &Seals,
    reached: u64,
    mut replay: impl FnMut(Carried) -> Result<(), E>,
) -> Result<Start, E> {
    let segments = segments(&**disk)?;
    let oldest = segments.first().copied();
    if let Some(first) = oldest.filter(|first| reached == 0 && *first > 1) {
        return Err(LogError::RowsMissing { first }.into());
    }
    if oldest.is_some_and(|first| first > reached + 1) || (oldest.is_none() && reached > 0) {
        let fault = format!("the records from {} on are missing", reached + 1);
        return Err(damaged(&**disk, &name(reached + 1), 0, fault).into());
    }
    let newest = segments.last().map_or(0, |first| first - 1);
    let mut vouched = reached.max(newest);
    let mut waiting = VecDeque::new();
    for (place, first) in segments.iter().enumerate() {
        let mut reader = Reader::open(disk, seals, *first)?;
        let end = segments.get(place + 1).copied();
        loop {
            let record = reader.next(end, reached)?;
            vouched = vouched.max(reader.vouched);
            waiting.extend(record);
            while let Some(record) = waiting.pop_front_if(|record| record.number <= vouched) {
                if record.number > reached {
                    replay(record)?;
                }
            }
            if reader.has_ended {
                break;
            }
        }
    }
    Ok(Start {
        first: vouched + 1,
        carried: waiting.into(),
        segments,
    })
}

/// The segments that are there; removes what an earlier process did not finish.
fn segments(disk: &dyn Disk) -> Result<Vec<u64>, LogError> {
    let names = disk.list().map_err(|source| io_error(disk, "", source))?;
    let mut firsts = Vec::new();
    for name in names {
        if name.ends_with(UNFINISHED) {
            disk.remove(&name)
                .map_err(|source| io_error(disk, &name, source))?;
        } else {
            firsts.extend(first_of(&name));
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Reads one segment.
struct Reader<'a> {
    disk: Arc<dyn Disk>,
    seals: &'a Seals,
    first: u64,
    window: Window,
    /// Where the next record is expected, and its number.
    offset: u64,
    number: u64,
    /// The highest number that its records have vouched for.
    vouched: u64,
    has_ended: bool,
}

impl<'a> Reader<'a> {
    fn open(disk: &Arc<dyn Disk>, seals: &'a Seals, first: u64) -> Result<Self, LogError> {
        let file = disk.open(&name(first));
        let window = file.and_then(Window::new);
        let mut reader = Self {
            window: window.map_err(|source| io_error(&**disk, &name(first), source))?,
            disk: disk.clone(),
            seals,
            first,
            offset: HEADER_BYTES,
            number: first,
            vouched: 0,
            has_ended: false,
        };
        let bytes = reader.bytes(0, HEADER_BYTES as usize)?.unwrap_or_default();
        match Header::decode(bytes) {
            Ok(header) if header.first == first => Ok(reader),
            Err(HeaderFault::Newer(version)) => Err(LogError::Newer {
                path: disk.path(&name(first)),
                version,
            }),
            _ => Err(reader.damaged(0, "the header of the segment is not what was written")),
        }
    }

    /// The next write before number `end`; `None` at the end of what counts.
    fn next(&mut self, end: Option<u64>, reached: u64) -> Result<Option<Carried>, LogError> {
        self.has_ended = true;
        if end == Some(self.number) {
            return Ok(None);
        }
        let expected = self.number;
        let found = self.valid(self.offset)?;
        let Some((record, payload)) = found.filter(|(record, _)| record.number == expected) else {
            return self.after_invalid(end, reached);
        };
        self.vouched = self.vouched.max(record.durable);
        let bytes = payload.len();
        let Some(write) = self.write(&record, payload)? else {
            return self.after_seal(end, reached);
        };
        self.has_ended = false;
        self.offset += record.size() as u64;
        self.number += 1;
        Ok(Some(Carried {
            number: record.number,
            bytes,
            write,
        }))
    }

    fn after_invalid(
        &mut self,
        end: Option<u64>,
        reached: u64,
    ) -> Result<Option<Carried>, LogError> {
        let expected = self.number;
        if end.is_some() || expected <= reached || self.is_vouched()? {
            let fault = format!("record {expected}, which was durable, is not what was written");
            return Err(self.damaged(self.offset, fault));
        }
        Ok(None)
    }

    /// A seal is the last record of its segment, and its number is not used up.
    fn after_seal(&self, end: Option<u64>, reached: u64) -> Result<Option<Carried>, LogError> {
        if end.is_some() || self.number <= reached {
            let fault = format!("the segment ends before record {}", self.number);
            return Err(self.damaged(self.offset, fault));
        }
        Ok(None)
    }

    /// Whether a record at or behind the expected one vouches for it.
    fn is_vouched(&mut self) -> Result<bool, LogError> {
        let mut offset = self.offset;
        while let Some(zeros) = self.zeros(offset)? {
            if zeros > 0 {
                offset += zeros;
                continue;
            }
            let fixed = self.bytes(offset, RECORD_BYTES)?;
            let record = fixed.and_then(Record::parse);
            let expected = self.number;
            let vouches = record.is_some_and(|record| record.durable >= expected);
            if vouches && self.valid(offset)?.is_some() {
                return Ok(true);
            }
            offset += ALIGNMENT as u64;
        }
        Ok(false)
    }

    /// How many bytes of zeros begin at `offset`, in whole blocks; `None` where no record can be.
    fn zeros(&mut self, offset: u64) -> Result<Option<u64>, LogError> {
        const BLOCK_BYTES: usize = 4096;
        if !offset.is_multiple_of(BLOCK_BYTES as u64) {
            return Ok(self.bytes(offset, RECORD_BYTES)?.map(|_| 0));
        }
        let Some(block) = self.bytes(offset, BLOCK_BYTES)? else {
            return Ok(self.bytes(offset, RECORD_BYTES)?.map(|_| 0));
        };
        let is_zero = block.iter().all(|byte| *byte == 0);
        Ok(Some(if is_zero { BLOCK_BYTES as u64 } else { 0 }))
    }

    /// The record at `offset`, whatever its number, if it is what was written there.
    fn valid(&mut self, offset: u64) -> Result<Option<(Record, Bytes)>, LogError> {
        let first = self.first;
        let Some(record) = self.bytes(offset, RECORD_BYTES)?.and_then(Record::parse) else {
            return Ok(None);
        };
        let bytes = self.bytes(offset, record.size())?;
        Ok(bytes
            .filter(|bytes| record.is_valid(bytes, first, offset))
            .map(|bytes| {
                let payload = &bytes[RECORD_BYTES..RECORD_BYTES + record.length];
                (record, Bytes::copy_from_slice(payload))
            }))
    }

    /// The write that the record holds; a seal holds none.
    fn write(&self, record: &Record, payload: Bytes) -> Result<Option<Write>, LogError> {
        let kind = match record.kind {
            Ok(Kind::Seal) => return Ok(None),
            kind => kind.map_err(Fault::Kind),
        };
        let decoded = kind.and_then(|kind| {
            let place = (record.number, kind as u8);
            decode(kind, self.seals.open_record(place, payload)?)
        });
        decoded.map_err(|fault| {
            let fault = format!("record {}: {fault}", record.number);
            self.damaged(self.offset, fault)
        })
    }

    fn bytes(&mut self, offset: u64, length: usize) -> Result<Option<&[u8]>, LogError> {
        let (disk, first) = (&self.disk, self.first);
        self.window
            .bytes(offset, length)
            .map_err(|source| io_error(&**disk, &name(first), source))
    }

    fn damaged(&self, offset: u64, fault: impl Into<String>) -> LogError {
        damaged(&*self.disk, &name(self.first), offset, fault.into())
    }
}

/// The write in a record; a seal holds none.
fn decode(kind: Kind, payload: Bytes) -> Result<Option<Write>, Fault> {
    Ok(match kind {
        Kind::Commit => Some(Write::Commit(decode_commit(payload)?)),
        Kind::Seal => None,
        Kind::Replica => {
            let (node, write) = decode_replica(payload)?;
            Some(Write::Replica { node, write })
        }
        Kind::Run => Some(Write::Run(decode_run(payload)?)),
        Kind::Trim => Some(Write::Trim(decode_trim(payload)?)),
    })
}

/// A part of a file that is in memory.
struct Window {
    file: Box<dyn File>,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

/// How much is read at once.
const WINDOW_BYTES: usize = 256 * 1024;

impl Window {
    fn new(file: Box<dyn File>) -> io::Result<Self> {
        Ok(Self {
            size: file.size()?,
            file,
            start: 0,
            bytes: Vec::new(),
        })
    }

    /// Bytes of the file; `None` where it has not as many.
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > self.size) {
            return Ok(None);
        }
        let is_inside =
            offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !is_inside {
            self.fill(offset, length)?;
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..from + length))
    }

    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        self.start = offset;
        let rest = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
        self.bytes.resize(length.max(WINDOW_BYTES).min(rest), 0);
        let mut filled = 0;
        while filled < self.bytes.len() {
            match self
                .file
                .read_at(offset + filled as u64, &mut self.bytes[filled..])?
            {
                0 => break,
                read => filled += read,
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}

fn io_error(disk: &dyn Disk, name: &str, source: io::Error) -> LogError {
    LogError::Io {
        path: disk.path(name),
        source,
    }
}

fn damaged(disk: &dyn Disk, name: &str, offset: u64, fault: String) -> LogError {
    LogError::Damaged {
        path: disk.path(name),
        offset,
        fault,
    }
}
