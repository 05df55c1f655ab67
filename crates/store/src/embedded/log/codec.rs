//! The bytes of a segment: a header, then records one behind the other.
//!
//! All integers are little endian, every record begins at a multiple of [`ALIGNMENT`].
//!
//! | header | bytes | record | bytes |
//! |---|---|---|---|
//! | `FIRNLOG` and a zero | 8 | CRC32C | 4 |
//! | version | 4 | length of the payload | 4 |
//! | zeros | 4 | number | 8 |
//! | number of the first record | 8 | number up to which the log was durable | 8 |
//! | zeros | 36 | kind | 1 |
//! | CRC32C of all before | 4 | zeros | 7 |
//! | | | payload, and zeros up to the alignment | |
//!
//! The checksum of a record covers the segment's first number, the record's offset, and all of the
//! record behind the checksum. So a record is valid at its own place only: neither a copy of it
//! inside a payload nor one that a disk has put elsewhere is taken for a record.

/// The bytes of a segment's header.
pub(crate) const HEADER_BYTES: u64 = 64;

/// The bytes of a record before its payload.
pub(crate) const RECORD_BYTES: usize = 32;

/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// The version of these bytes.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"FIRNLOG\0";

const _: () = assert!(RECORD_BYTES.is_multiple_of(ALIGNMENT));
const _: () = assert!((HEADER_BYTES as usize).is_multiple_of(ALIGNMENT));

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The number of its first record; all below were durable when it was written.
    pub(crate) first: u64,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// It is whole, but of a later version.
    Newer(u32),
    /// It is not what was written.
    Damaged,
}

impl Header {
    /// The bytes of the header.
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header that was written.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let bytes: &[u8; HEADER_BYTES as usize] =
            bytes.try_into().map_err(|_| HeaderFault::Damaged)?;
        if !bytes.starts_with(MAGIC) || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(HeaderFault::Damaged);
        }
        match u32_at(bytes, 8) {
            VERSION => Ok(Self {
                first: u64_at(bytes, 16),
            }),
            version => Err(HeaderFault::Newer(version)),
        }
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Its payload is a commit.
    Commit = 1,
    /// It ends a segment in order and only vouches for what is before it. The next record takes
    /// its number.
    Seal = 2,
    /// Its payload is a node's replica of an entity. Since format 2.
    Replica = 3,
    /// Its payload is a run of a node. Since format 2.
    Run = 4,
    /// Its payload is a trim of an entity's events. Since format 7.
    Trim = 5,
}

impl Kind {
    /// The kind with this byte; the byte, if only a later Firn knows it.
    fn from_byte(byte: u8) -> Result<Self, u8> {
        match byte {
            1 => Ok(Self::Commit),
            2 => Ok(Self::Seal),
            3 => Ok(Self::Replica),
            4 => Ok(Self::Run),
            5 => Ok(Self::Trim),
            _ => Err(byte),
        }
    }
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// What it is, or the byte that says so to a later Firn.
    pub(crate) kind: Result<Kind, u8>,
    /// Its number.
    pub(crate) number: u64,
    /// Up to which number the log was durable when it was written.
    pub(crate) durable: u64,
    /// The length of its payload.
    pub(crate) length: usize,
    checksum: u32,
}

impl Record {
    /// Reads the fixed part. It may still turn out not to be [`valid`](Self::is_valid).
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<RECORD_BYTES>()?;
        let record = Self {
            kind: Kind::from_byte(bytes[24]),
            number: u64_at(bytes, 8),
            durable: u64_at(bytes, 16),
            length: usize::try_from(u32_at(bytes, 4)).ok()?,
            checksum: u32_at(bytes, 0),
        };
        (record.durable < record.number).then_some(record)
    }

    /// The bytes from its beginning to the beginning of the next.
    pub(crate) fn size(&self) -> usize {
        (RECORD_BYTES + self.length).next_multiple_of(ALIGNMENT)
    }

    /// Whether `bytes`, all of the record, are what was written at this place.
    pub(crate) fn is_valid(&self, bytes: &[u8], segment_first: u64, offset: u64) -> bool {
        checksum(bytes, segment_first, offset) == self.checksum
    }
}

/// Encodes records one behind the other, and their checksums once their place is known.
#[derive(Debug, Default)]
pub(crate) struct RecordWriter {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

/// How much memory an idle writer keeps. One large batch must not stay in memory for ever.
const IDLE_BYTES_MAX: usize = 1024 * 1024;

impl RecordWriter {
    /// Forgets all records.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(IDLE_BYTES_MAX);
        self.starts.clear();
    }

    /// The bytes of all records.
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Adds a record whose payload `write` appends.
    ///
    /// # Panics
    /// If the payload has 4 GiB or more.
    pub(crate) fn push(
        &mut self,
        kind: Kind,
        number: u64,
        durable: u64,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.resize(start + RECORD_BYTES, 0);
        write(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start - RECORD_BYTES)
            .expect("messages are limited far below 4 GiB");
        let fixed = &mut self.bytes[start..start + RECORD_BYTES];
        fixed[4..8].copy_from_slice(&length.to_le_bytes());
        fixed[8..16].copy_from_slice(&number.to_le_bytes());
        fixed[16..24].copy_from_slice(&durable.to_le_bytes());
        fixed[24] = kind as u8;
        let end = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(end, 0);
    }

    /// The bytes of all records as they stand at `offset` of a segment.
    pub(crate) fn finish(&mut self, segment_first: u64, offset: u64) -> &[u8] {
        let ends = self.starts.iter().skip(1).copied();
        let ends: Vec<usize> = ends.chain([self.bytes.len()]).collect();
        for (start, end) in self.starts.iter().copied().zip(ends) {
            let record = &mut self.bytes[start..end];
            let checksum = checksum(record, segment_first, offset + start as u64);
            record[..4].copy_from_slice(&checksum.to_le_bytes());
        }
        &self.bytes
    }
}

fn checksum(record: &[u8], segment_first: u64, offset: u64) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&segment_first.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), &record[4..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
