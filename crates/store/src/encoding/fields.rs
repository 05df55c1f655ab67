//! Fields: a stored message read where it stands, field by field.
//!
//! For what one answer has many of. A message of its own for each would be made only to be taken
//! apart again.

use super::{Fault, VERSION};

/// The longest varint, in bytes.
const VARINT_BYTES_MAX: usize = 10;

/// The fields of a message that are still to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// A number or a truth.
    Varint(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// A number of fixed length: nothing that is read this way has one.
    Fixed,
}

impl<'a> Fields<'a> {
    /// The fields of a stored value: what [`encode`](super::encode) made.
    pub(crate) fn of_stored(value: &'a [u8]) -> Result<Self, Fault> {
        match value.split_first() {
            None => Err(Fault::Empty),
            Some((&VERSION, message)) => Ok(Self(message)),
            Some((&version, _)) => Err(Fault::Version(version)),
        }
    }

    /// The fields of a message that stands in another.
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field and its tag; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, Fault> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| malformed("a key is too large"))?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.skip(size_of::<u64>())?,
            2 => Field::Bytes(self.bytes()?),
            5 => self.skip(size_of::<u32>())?,
            // Groups, which nothing of ours ever had, and what does not exist.
            kind => return Err(unknown_kind(kind)),
        };
        match key >> 3 {
            0 => Err(malformed("a field has the tag 0")),
            tag => Ok(Some((tag, field))),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.varint()?;
        let split = usize::try_from(length).ok();
        let split = split.and_then(|length| self.0.split_at_checked(length));
        let (bytes, rest) = split.ok_or_else(ends_early)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn skip(&mut self, count: usize) -> Result<Field<'a>, Fault> {
        self.0 = self.0.get(count..).ok_or_else(ends_early)?;
        Ok(Field::Fixed)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Fault> {
        match self.0 {
            // Nearly all: keys, lengths and small numbers.
            [byte @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for (index, &byte) in self.0.iter().take(VARINT_BYTES_MAX).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                // Of the last byte only the lowest bit fits.
                if index + 1 == VARINT_BYTES_MAX && byte > 1 {
                    break;
                }
                self.0 = &self.0[index + 1..];
                return Ok(number);
            }
        }
        if self.0.len() < VARINT_BYTES_MAX {
            return Err(ends_early());
        }
        Err(malformed("a number is too long"))
    }
}

/// A field whose kind is not the one that its writer gives it.
#[cold]
pub(crate) fn wrong_kind(tag: u32) -> Fault {
    malformed(&format!("field {tag} is of the wrong kind"))
}

#[cold]
fn unknown_kind(kind: u32) -> Fault {
    malformed(&format!("a field is of kind {kind}"))
}

#[cold]
fn ends_early() -> Fault {
    malformed("it ends early")
}

#[cold]
fn malformed(why: &str) -> Fault {
    Fault::Malformed(why.to_owned())
}
