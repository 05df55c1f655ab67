//! Encoding: the messages in which writes and rows are stored.
//!
//! Every stored value is one byte for the version of its encoding and then a protobuf message that
//! is defined here, by hand, beside its conversion to and from the model. The messages belong to
//! the stored format: fields are added, never renumbered or reused.
//!
//! - New reader, old data: a field that was not written yet reads as its default.
//! - Old reader, new data: unknown fields are skipped; whatever must not be skipped gets a new
//!   version byte, which an old reader refuses as damage, after the `format` file of the folder has
//!   refused it with a better text.
//! - Old writer after new: refused by the `format` file.
//!
//! Fixtures of the released version stand in the tests of this module.

pub(crate) mod direct;
pub(crate) mod fields;
pub(crate) mod parts;
pub(crate) mod record;
pub(crate) mod replica;
pub(crate) mod row;
pub(crate) mod trim;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;

/// The version of every encoding in this crate.
pub(crate) const VERSION: u8 = 1;

/// Why stored bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// There is nothing at all.
    #[error("the value is empty")]
    Empty,
    /// The version byte is not ours.
    #[error("the value has version {0}, this Firn knows {VERSION}")]
    Version(u8),
    /// It is of a kind that is not ours.
    #[error("the value is of kind {0}, which this Firn does not know")]
    Kind(u8),
    /// It cannot be opened.
    #[error("{0}")]
    Sealed(crate::seal::UnsealError),
    /// The message does not parse.
    #[error("the message does not parse: {0}")]
    Malformed(String),
    /// A field holds what its writer never writes.
    #[error("{0} is missing or not valid")]
    Field(&'static str),
}

/// The stored form of a message.
pub(crate) fn encode(message: &impl Message) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    encode_into(message, &mut bytes);
    bytes.into()
}

/// Appends the stored form of a message.
pub(crate) fn encode_into(message: &impl Message, bytes: &mut Vec<u8>) {
    bytes.put_u8(VERSION);
    message
        .encode(bytes)
        .expect("a vector grows to what a message needs");
}

/// The message that was stored.
pub(crate) fn decode<M: Message + Default>(mut bytes: Bytes) -> Result<M, Fault> {
    match bytes.try_get_u8() {
        Err(_) => Err(Fault::Empty),
        Ok(VERSION) => M::decode(bytes).map_err(|error| Fault::Malformed(error.to_string())),
        Ok(version) => Err(Fault::Version(version)),
    }
}

#[cfg(test)]
mod tests;
