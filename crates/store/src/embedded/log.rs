//! The log: where writes become durable before anything else happens with them.
//!
//! # How it works
//! The log is a row of segments, files of a fixed, preallocated size. [`Log::append`] puts a whole
//! batch behind the last record with one write and one flush. A segment is written only by the
//! process that made it: every start begins a new one. [`codec`] says what the bytes are,
//! [`recovery`] reads them again.
//!
//! A segment is made under another name, filled, flushed and then renamed, so whatever bears a
//! segment's name is whole. Its header names the number of its first record: everything below was
//! durable when it was made, and what an older segment holds from that number on does not count.
//! That is how a start cuts off a torn tail without touching the old file, and how it carries
//! over the last batch, whose flush nobody has vouched for, without flushing the old file again
//! (after a failed flush the kernel may call pages clean that never reached the disk).
//!
//! # Invariants
//! - The numbers of records rise by one, across segments.
//! - A number that a record or a header vouches for is on the disk, or the disk is damaged.
//! - After a failed write or flush nothing is written any more.

pub(crate) mod codec;
pub(crate) mod recovery;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::embedded::disk::{Disk, File};
use crate::encoding::record::encode_commit;
use crate::encoding::replica::{encode_replica, encode_run};
use crate::encoding::trim::encode_trim;
use crate::seal::stored::Seals;
use crate::write::Write;
use codec::{HEADER_BYTES, Header, Kind, RecordWriter};

/// The suffix of a segment; before it stands the number of its first record.
const SEGMENT: &str = ".log";

/// The suffix of a segment that is not finished yet.
const UNFINISHED: &str = ".new";

/// The writing end of the log.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    seals: Seals,
    segments: Arc<Segments>,
    /// How large a segment is made, unless one batch needs more.
    segment_bytes: u64,
    segment: Segment,
    /// The number of the next record; all before it are durable.
    next: u64,
    buffer: RecordWriter,
}

/// The segment that is being written.
struct Segment {
    file: Box<dyn File>,
    first: u64,
    size: u64,
    /// Where the next record goes.
    offset: u64,
}

/// The segments that exist, by the number of their first record; the last is being written.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    firsts: Mutex<VecDeque<u64>>,
}

/// What a new log begins with.
pub(crate) struct Start {
    /// The segments that are there.
    pub(crate) segments: Vec<u64>,
    /// The number of the first record of the new segment.
    pub(crate) first: u64,
    /// What the new segment begins with.
    pub(crate) carried: Vec<Carried>,
}

/// A write that was read from the log.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The number of its record.
    pub(crate) number: u64,
    /// How many bytes it takes in the log.
    pub(crate) bytes: usize,
    /// The write.
    pub(crate) write: Write,
}

/// What was appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    /// The number of the last record.
    pub(crate) last: u64,
    /// How many bytes were written.
    pub(crate) bytes: u64,
}

impl Log {
    /// Begins a new segment behind what is there.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        seals: Seals,
        segment_bytes: u64,
        start: &Start,
    ) -> io::Result<Self> {
        let mut buffer = RecordWriter::default();
        for carried in &start.carried {
            push(
                &mut buffer,
                &seals,
                (carried.number, start.first - 1),
                &carried.write,
            );
        }
        let segment = Segment::create(&*disk, segment_bytes, start.first, &mut buffer)?;
        let segments = Segments {
            disk: disk.clone(),
            firsts: Mutex::new(start.segments.clone().into()),
        };
        segments.push(start.first);
        Ok(Self {
            segments: Arc::new(segments),
            disk,
            seals,
            segment_bytes,
            segment,
            next: start.first + start.carried.len() as u64,
            buffer,
        })
    }

    /// The segments that exist.
    pub(crate) fn segments(&self) -> Arc<Segments> {
        self.segments.clone()
    }

    /// The number of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Makes writes durable: one write of the disk, one flush.
    ///
    /// # Errors
    /// The disk failed; nothing may be appended any more.
    pub(crate) fn append(&mut self, writes: &[Write]) -> io::Result<Appended> {
        let durable = self.next - 1;
        self.buffer.clear();
        for (number, write) in (self.next..).zip(writes) {
            push(&mut self.buffer, &self.seals, (number, durable), write);
        }
        let bytes = self.write()?;
        self.next += writes.len() as u64;
        Ok(Appended {
            last: self.next - 1,
            bytes,
        })
    }

    /// Vouches for the last batch, at the end of a process that stops in order.
    ///
    /// # Errors
    /// The disk failed; everything is durable all the same.
    pub(crate) fn seal(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.buffer
            .push(Kind::Seal, self.next, self.next - 1, |_| {});
        self.write().map(drop)
    }

    /// Writes and flushes what is in the buffer, behind the last record or in a new segment.
    fn write(&mut self) -> io::Result<u64> {
        let bytes = self.buffer.size();
        if self.segment.offset + bytes > self.segment.size {
            self.segment =
                Segment::create(&*self.disk, self.segment_bytes, self.next, &mut self.buffer)?;
            self.segments.push(self.next);
        } else {
            self.segment.append(&mut self.buffer)?;
        }
        Ok(bytes)
    }
}

impl Segment {
    /// Makes a segment that begins with the records in the buffer, all of it durable.
    fn create(
        disk: &dyn Disk,
        segment_bytes: u64,
        first: u64,
        buffer: &mut RecordWriter,
    ) -> io::Result<Self> {
        let unfinished = format!("{}{UNFINISHED}", name(first));
        let file = disk.create(&unfinished)?;
        let size = segment_bytes.max(HEADER_BYTES + buffer.size());
        file.allocate(size)?;
        file.write_at(0, &Header { first }.encode())?;
        let mut segment = Self {
            file,
            first,
            size,
            offset: HEADER_BYTES,
        };
        segment.append(buffer)?;
        disk.rename(&unfinished, &name(first))?;
        disk.sync()?;
        Ok(segment)
    }

    fn append(&mut self, buffer: &mut RecordWriter) -> io::Result<()> {
        let bytes = buffer.finish(self.first, self.offset);
        if !bytes.is_empty() {
            self.file.write_at(self.offset, bytes)?;
        }
        self.file.sync()?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl Segments {
    /// Whether a segment holds only records up to `number`.
    pub(crate) fn has_finished(&self, number: u64) -> bool {
        let firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
        firsts.get(1).is_some_and(|next| *next <= number + 1)
    }

    /// Removes the segments that hold only records up to `number`, oldest first, each durably
    /// before the next: a gap would look like damage.
    pub(crate) fn remove_finished(&self, number: u64) -> io::Result<()> {
        while self.has_finished(number) {
            let mut firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(first) = firsts.pop_front() {
                drop(firsts);
                self.disk.remove(&name(first))?;
                self.disk.sync()?;
            }
        }
        Ok(())
    }

    /// Adds a new segment. It took the place of the last one if that held no record that counts.
    fn push(&self, first: u64) {
        let mut firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
        if firsts.back() != Some(&first) {
            firsts.push_back(first);
        }
    }
}

/// What the record of a write is.
fn kind_of(write: &Write) -> Kind {
    match write {
        Write::Commit(_) => Kind::Commit,
        Write::Replica { .. } => Kind::Replica,
        Write::Run(_) => Kind::Run,
        Write::Trim(_) => Kind::Trim,
    }
}

/// Adds the record of a write.
fn push(buffer: &mut RecordWriter, seals: &Seals, (number, durable): (u64, u64), write: &Write) {
    let kind = kind_of(write);
    buffer.push(kind, number, durable, |bytes| {
        seals.seal_record((number, kind as u8), bytes, |bytes| encode(write, bytes));
    });
}

/// Appends the stored form of a write.
fn encode(write: &Write, bytes: &mut Vec<u8>) {
    match write {
        Write::Commit(commit) => encode_commit(commit, bytes),
        Write::Replica { node, write } => encode_replica(*node, write, bytes),
        Write::Run(run) => encode_run(run, bytes),
        Write::Trim(trim) => encode_trim(trim, bytes),
    }
}

/// The name of a segment.
fn name(first: u64) -> String {
    format!("{first:020}{SEGMENT}")
}

/// Whether a file with this name is a segment.
pub(crate) fn is_segment(name: &str) -> bool {
    first_of(name).is_some()
}

/// The number of the first record of the segment with this name.
fn first_of(name: &str) -> Option<u64> {
    name.strip_suffix(SEGMENT)?.parse().ok()
}

#[cfg(test)]
mod tests;
