//! Encoding: states, patches and contexts as they are stored and sent.
//!
//! One byte for the version, one for the kind, and then what [`write`] describes. A thing has one
//! form only, so equal states are equal bytes, and bytes in any other form are refused: a decoded
//! thing encodes to the bytes it came from.
//!
//! - New reader, old data: it tells by the version byte what to expect.
//! - Old reader, new data: refused, as damage is. There are no fields to skip: what a replica does
//!   not understand it must not drop, or the others would take it for removed. A cluster has to know
//!   that all members read a version before one of them writes it.
//! - Old writer after new: as old reader.
//!
//! Fixtures of the released version stand in the tests.

mod read;
mod write;

use bytes::Bytes;

use crate::context::Context;
use crate::state::{Patch, State};
use firn_model::limit::MAP_DEPTH_MAX;
use read::Reader;
use write::Writer;

/// The version of the encoding.
const VERSION: u8 = 1;

/// What follows the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Context = 1,
    Patch = 2,
}

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early.
    #[error("the bytes end within {0}")]
    Short(&'static str),
    /// They go on after the end.
    #[error("{0} bytes too many")]
    Long(usize),
    /// The version is not known here.
    #[error("the bytes have version {0}, this Firn knows {VERSION}")]
    Version(u8),
    /// They hold something else.
    #[error("the bytes are of kind {0}, which is not the one asked for")]
    Kind(u8),
    /// Something is as no writer writes it.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// Things that must ascend do not.
    #[error("{0} are out of order")]
    Order(&'static str),
    /// Maps are nested too deeply.
    #[error("maps are nested more than {MAP_DEPTH_MAX} deep")]
    TooDeep,
}

impl Context {
    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(Kind::Context);
        writer.context(self);
        writer.finish()
    }

    /// The context of these bytes.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, Kind::Context)?;
        let context = reader.context()?;
        reader.finish()?;
        Ok(context)
    }
}

impl Patch {
    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(Kind::Patch);
        writer.context(&self.context);
        writer.set(&self.killed);
        writer.set(&self.kept);
        writer.entry(&self.root);
        writer.finish()
    }

    /// The patch of these bytes. Those of a [`State`] are those of a patch too.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, Kind::Patch)?;
        let patch = reader.patch()?;
        reader.finish()?;
        Ok(patch)
    }
}

impl State {
    /// Its bytes; equal for replicas that have seen the same.
    pub fn encode(&self) -> Bytes {
        self.0.encode()
    }

    /// The state of these bytes.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let patch = Patch::decode(bytes)?;
        if patch.root.whole && patch.killed.is_empty() && patch.kept.is_empty() {
            Ok(Self(patch))
        } else {
            Err(DecodeError::Invalid("a state that is part of one only"))
        }
    }
}

#[cfg(test)]
mod tests;
