//! The file of an archive, version 1.
//!
//! ```text
//! header, frame, frame, …, end
//! ```
//! All numbers are little endian.
//!
//! | header | bytes | frame | bytes |
//! |---|---|---|---|
//! | `FIRNDUMP` | 8 | length of the body | 4 |
//! | version | 4 | CRC32C | 4 |
//! | 1 if sealed, else 0 | 4 | kind: 1 rows, 2 end | 1 |
//! | identity, drawn at random | 16 | body | |
//! | CRC32C of all before | 4 | | |
//!
//! The body of a frame of rows is a protobuf message compressed with zstd, and
//! then sealed if the file is. That of the end is the number of rows, 8 bytes, sealed too. The
//! checksum of a frame covers the identity, the frame's number from 0, its kind and its body, and
//! what is sealed is bound to the same; so a frame that is missing, doubled or of another file is
//! noticed. A file without its end is cut off.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use ring::rand::{SecureRandom, SystemRandom};
use zstd::bulk::Compressor;

use super::ahead::Ahead;
use super::error::ArchiveError;
use super::message::Rows;
use super::row::Row;
use crate::seal::{Keys, UnsealError};

/// The version of the format.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"FIRNDUMP";

const HEADER_BYTES: usize = 36;

/// Length, checksum and kind.
const FRAME_BYTES: usize = 9;

/// The longest body: a batch of rows may end with one as large as a message may ever be.
const BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// How hard zstd tries: 1 is about as fast as reading the rows.
const LEVEL: i32 = 1;

const ROWS: u8 = 1;
const END: u8 = 2;

/// Makes the bytes of a file, piece by piece.
pub struct Encoder {
    keys: Option<Arc<Keys>>,
    identity: [u8; 16],
    frames: u64,
    rows: u64,
    compressor: Compressor<'static>,
}

impl Encoder {
    /// A file that is sealed if there are keys; gives its header.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(keys: Option<Arc<Keys>>) -> io::Result<(Self, Bytes)> {
        let mut identity = [0; 16];
        let drawn = SystemRandom::new().fill(&mut identity);
        drawn.map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&u32::from(keys.is_some()).to_le_bytes());
        header.extend_from_slice(&identity);
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        let encoder = Self {
            keys,
            identity,
            frames: 0,
            rows: 0,
            compressor: Compressor::new(LEVEL)?,
        };
        Ok((encoder, header.into()))
    }

    /// The frame of some rows.
    ///
    /// # Errors
    /// zstd has no memory.
    pub fn rows(&mut self, rows: &[Row]) -> io::Result<Bytes> {
        let body = self.compressor.compress(&Rows::encoded(rows))?;
        self.rows += rows.len() as u64;
        Ok(self.frame(ROWS, body))
    }

    /// The end of the file.
    pub fn end(mut self) -> Bytes {
        let rows = self.rows.to_le_bytes();
        self.frame(END, rows.to_vec())
    }

    /// How many rows there were.
    pub fn count(&self) -> u64 {
        self.rows
    }

    fn frame(&mut self, kind: u8, body: Vec<u8>) -> Bytes {
        let place = place(&self.identity, self.frames, kind);
        self.frames += 1;
        let body = match &self.keys {
            Some(keys) => keys.seal(&place, &body),
            None => body.into(),
        };
        let length = u32::try_from(body.len()).expect("a batch of rows is far below 4 GiB");
        let mut frame = Vec::with_capacity(FRAME_BYTES + body.len());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&checksum(&place, &body).to_le_bytes());
        frame.push(kind);
        frame.extend_from_slice(&body);
        frame.into()
    }
}

/// Reads a file piece by piece.
pub struct Decoder<R> {
    from: R,
    keys: Option<Arc<Keys>>,
    identity: [u8; 16],
    is_sealed: bool,
    frames: u64,
    rows: u64,
    /// Where the next byte stands.
    offset: u64,
}

/// What a file says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many rows it holds; 0 if only its checksums were compared.
    pub rows: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// Whether it is sealed.
    pub is_sealed: bool,
}

/// A frame as it was read.
struct Frame {
    /// Where it begins.
    offset: u64,
    kind: u8,
    body: Bytes,
}

impl<R: Read> Decoder<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn new(mut from: R, keys: Option<Arc<Keys>>) -> Result<Self, ArchiveError> {
        let mut header = [0; HEADER_BYTES];
        let filled = fill(&mut from, &mut header)?;
        if !header.starts_with(MAGIC) {
            return Err(ArchiveError::Foreign);
        }
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        if filled < HEADER_BYTES {
            return Err(ArchiveError::Cut {
                bytes: filled as u64,
            });
        }
        if number(32) != crc32c::crc32c(&header[..32]) {
            return Err(damaged(0, "the header is not what was written"));
        }
        if number(8) != VERSION {
            return Err(ArchiveError::Newer {
                found: number(8),
                known: VERSION,
            });
        }
        let mut identity = [0; 16];
        identity.copy_from_slice(&header[16..32]);
        Ok(Self {
            from,
            keys,
            identity,
            is_sealed: number(12) == 1,
            frames: 0,
            rows: 0,
            offset: HEADER_BYTES as u64,
        })
    }

    /// The next rows; none at the end, which has then been checked.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn rows(&mut self) -> Result<Vec<Row>, ArchiveError> {
        let frame = self.frame()?;
        let body = self.open(&frame)?;
        if frame.kind == END {
            self.finish(&frame, &body)?;
            return Ok(Vec::new());
        }
        let fault = |fault: &dyn ToString| damaged(frame.offset, &fault.to_string());
        let body = zstd::decode_all(&*body).map_err(|error| fault(&error))?;
        let rows = Rows::decode(Bytes::from(body)).map_err(|error| fault(&error))?;
        let rows = rows.rows.into_iter().map(Row::try_from);
        let rows: Vec<Row> = rows
            .collect::<Result<_, _>>()
            .map_err(|error| fault(&error))?;
        self.rows += rows.len() as u64;
        Ok(rows)
    }

    /// How far it has come, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn summary(&self) -> Summary {
        Summary {
            rows: self.rows,
            bytes: self.offset,
            is_sealed: self.is_sealed,
        }
    }

    /// Reads the next frame and compares its checksum.
    fn frame(&mut self) -> Result<Frame, ArchiveError> {
        let offset = self.offset;
        let mut fixed = [0; FRAME_BYTES];
        self.fill(&mut fixed)?;
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| fixed[at + byte]));
        let (length, expected, kind) = (number(0) as usize, number(4), fixed[8]);
        if length > BODY_BYTES_MAX || !matches!(kind, ROWS | END) {
            return Err(damaged(offset, "no frame begins there"));
        }
        // Read in steps: a length that is damaged must not take memory that is never filled.
        let mut body = Vec::new();
        let read = (&mut self.from)
            .take(length as u64)
            .read_to_end(&mut body)?;
        self.offset += read as u64;
        if read < length {
            return Err(ArchiveError::Cut { bytes: self.offset });
        }
        let place = place(&self.identity, self.frames, kind);
        if checksum(&place, &body) != expected {
            return Err(damaged(offset, "the frame is not what was written"));
        }
        self.frames += 1;
        Ok(Frame {
            offset,
            kind,
            body: body.into(),
        })
    }

    fn open(&self, frame: &Frame) -> Result<Bytes, ArchiveError> {
        if !self.is_sealed {
            return Ok(frame.body.clone());
        }
        let Some(keys) = &self.keys else {
            return Err(match crate::seal::key_id(&frame.body) {
                Some(id) => ArchiveError::KeyMissing { id: id.to_owned() },
                None => damaged(frame.offset, "the frame is not sealed, as others are"),
            });
        };
        let place = place(&self.identity, self.frames - 1, frame.kind);
        keys.open(&place, &frame.body).map_err(|error| match error {
            UnsealError::Missing { id } => ArchiveError::KeyMissing { id },
            UnsealError::Refused { id } => ArchiveError::KeyWrong { id },
            UnsealError::Unsealed => damaged(frame.offset, &error),
        })
    }

    /// Checks the end: it counts the rows, and nothing comes behind it.
    fn finish(&mut self, frame: &Frame, body: &[u8]) -> Result<(), ArchiveError> {
        if rows_at_end(body) != Some(self.rows) {
            let fault = format!("it ends after {} rows, which are not all", self.rows);
            return Err(damaged(frame.offset, &fault));
        }
        self.is_over()
    }

    fn is_over(&mut self) -> Result<(), ArchiveError> {
        match fill(&mut self.from, &mut [0])? {
            0 => Ok(()),
            _ => Err(damaged(self.offset, "there is something behind its end")),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ArchiveError> {
        let filled = fill(&mut self.from, bytes)?;
        self.offset += filled as u64;
        match filled == bytes.len() {
            true => Ok(()),
            false => Err(ArchiveError::Cut { bytes: self.offset }),
        }
    }
}

/// Reads a file ahead of whoever takes its rows, on a thread of its own, which ends with this value.
pub struct Reader(Ahead<ArchiveError>);

impl Reader {
    /// Reads the header, and then on.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn start(
        from: impl Read + Send + 'static,
        keys: Option<Arc<Keys>>,
    ) -> Result<Self, ArchiveError> {
        let mut decoder = Decoder::new(from, keys)?;
        Ok(Self(Ahead::start("firn-archive", move || decoder.rows())?))
    }

    /// The next rows, as [`Decoder::rows`] gives them.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn rows(&mut self) -> Result<Vec<Row>, ArchiveError> {
        let lost = || io::Error::other("the reading thread is gone").into();
        self.0.next(lost).await
    }
}

/// Reads a file to its end without keeping anything of it.
///
/// # Errors
/// See [`ArchiveError`].
pub fn verify(from: impl Read, keys: Option<Arc<Keys>>) -> Result<Summary, ArchiveError> {
    let mut decoder = Decoder::new(from, keys)?;
    while !decoder.rows()?.is_empty() {}
    Ok(decoder.summary())
}

/// Reads a file to its end, compares its checksums and opens what is sealed, without looking at the
/// rows: whether it is what was written. Tells `progress` how many bytes were read.
///
/// # Errors
/// See [`ArchiveError`].
pub fn verify_frames(
    from: impl Read,
    keys: Option<Arc<Keys>>,
    mut progress: impl FnMut(u64),
) -> Result<Summary, ArchiveError> {
    let mut decoder = Decoder::new(from, keys)?;
    loop {
        let frame = decoder.frame()?;
        progress(decoder.offset());
        let body = decoder.open(&frame)?;
        if frame.kind == END {
            decoder.rows = rows_at_end(&body).unwrap_or_default();
            decoder.finish(&frame, &body)?;
            return Ok(decoder.summary());
        }
    }
}

/// Reads a file to its end and compares its checksums only: whether it is whole, without its keys.
///
/// # Errors
/// See [`ArchiveError`].
pub fn verify_checksums(from: impl Read) -> Result<Summary, ArchiveError> {
    let mut decoder = Decoder::new(from, None)?;
    while decoder.frame()?.kind != END {}
    decoder.is_over()?;
    Ok(decoder.summary())
}

/// Writes a whole file.
///
/// # Errors
/// The file cannot be written.
pub fn write(
    mut to: impl Write,
    keys: Option<Arc<Keys>>,
    batches: impl IntoIterator<Item = Vec<Row>>,
) -> io::Result<u64> {
    let (mut encoder, header) = Encoder::new(keys)?;
    to.write_all(&header)?;
    for rows in batches {
        to.write_all(&encoder.rows(&rows)?)?;
    }
    let count = encoder.count();
    to.write_all(&encoder.end())?;
    to.flush()?;
    Ok(count)
}

/// How many rows the body of the end says there are.
fn rows_at_end(body: &[u8]) -> Option<u64> {
    body.try_into().map(u64::from_le_bytes).ok()
}

/// What checksums cover, and what seals are bound to, besides the body.
fn place(identity: &[u8; 16], number: u64, kind: u8) -> Vec<u8> {
    [b"archive", &identity[..], &number.to_le_bytes(), &[kind]].concat()
}

fn checksum(place: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(place), body)
}

/// Reads as much as there is.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match from.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn damaged(offset: u64, fault: &(impl ToString + ?Sized)) -> ArchiveError {
    ArchiveError::Damaged {
        offset,
        fault: fault.to_string(),
    }
}
