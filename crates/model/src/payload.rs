//! What travels in a `google.protobuf.Any`: a type URL and opaque bytes.

use bytes::Bytes;
use bytestring::ByteString;

/// The prefix of the type URL of an ordinary message; the full name follows.
pub const MESSAGE_PREFIX: &str = "type.googleapis.com/";

/// A typed value whose bytes Firn never re-encodes: sets and maps compare them as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Payload {
    /// The type URL, for example `type.googleapis.com/shop.Cart`.
    pub type_url: ByteString,
    /// The encoded value.
    pub bytes: Bytes,
}

impl Payload {
    /// A message of this type URL and these bytes.
    pub fn new(type_url: impl Into<ByteString>, bytes: impl Into<Bytes>) -> Self {
        Self {
            type_url: type_url.into(),
            bytes: bytes.into(),
        }
    }

    /// The full message name, if the type URL is that of an ordinary message.
    pub fn message_name(&self) -> Option<&str> {
        self.type_url.strip_prefix(MESSAGE_PREFIX)
    }
}

/// The type URL of the message with this full name.
pub fn message_url(full_name: &str) -> ByteString {
    ByteString::from(format!("{MESSAGE_PREFIX}{full_name}"))
}
