//! A message with its name, as states, events and elements are stored.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

/// What every type URL begins with.
const PREFIX: &str = "type.googleapis.com/";

/// Messages that can be stored with their names: all that `firn-sdk-build` generates, and text,
/// numbers and bytes, which are stored as the wrappers of `google.protobuf`.
pub trait Storable: Message + Name + Default + 'static {}

impl<M: Message + Name + Default + 'static> Storable for M {}

/// `google.protobuf.Any`, with bytes that are shared and not copied.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct Any {
    /// `type.googleapis.com/` and the full name of the message, in UTF-8.
    #[prost(bytes = "bytes", tag = "1")]
    pub type_url: Bytes,
    /// The message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Any {
    /// Stores a message with its name.
    pub fn pack<M: Storable>(message: &M) -> Self {
        Self {
            type_url: type_url::<M>(),
            value: message.encode_to_vec().into(),
        }
    }

    /// The full name of the message: what follows the last `/` of the type URL.
    #[must_use]
    pub fn name(&self) -> &str {
        let url = std::str::from_utf8(&self.type_url).unwrap_or_default();
        url.rsplit_once('/').map_or(url, |(_, name)| name)
    }

    /// Whether it holds such a message.
    #[must_use]
    pub fn is<M: Storable>(&self) -> bool {
        self.type_url == type_url::<M>() || self.name() == M::full_name()
    }

    /// The message.
    ///
    /// # Errors
    /// If it is another one, or damaged.
    pub fn unpack<M: Storable>(&self) -> Result<M, UnpackError> {
        if !self.is::<M>() {
            return Err(UnpackError::Other {
                expected: M::full_name(),
                found: self.name().to_owned(),
            });
        }
        self.decode()
    }

    /// The message, whose name the caller has compared.
    pub(crate) fn decode<M: Storable>(&self) -> Result<M, UnpackError> {
        M::decode(self.value.clone()).map_err(|cause| UnpackError::Damaged {
            name: M::full_name(),
            cause,
        })
    }

    /// The same with bytes of its own, so that it does not keep alive what it was read from.
    pub(crate) fn detached(&self) -> Self {
        Self {
            type_url: known_url(&self.type_url),
            value: Bytes::copy_from_slice(&self.value),
        }
    }
}

/// Why a message could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// It is another message.
    #[error("a {found:?} where a {expected} was expected")]
    Other {
        /// The name that was asked for.
        expected: String,
        /// The name that is there.
        found: String,
    },
    /// The bytes are no such message.
    #[error("a {name} cannot be decoded")]
    Damaged {
        /// The name of the message.
        name: String,
        /// What is wrong with the bytes.
        #[source]
        cause: DecodeError,
    },
}

thread_local! {
    // A type's URL never changes; making one takes two allocations.
    static URLS: RefCell<HashMap<TypeId, Bytes>> = RefCell::default();
}

/// The type URL of a message.
pub(crate) fn type_url<M: Storable>() -> Bytes {
    URLS.with_borrow_mut(|urls| {
        let url = urls.entry(TypeId::of::<M>());
        url.or_insert_with(|| format!("{PREFIX}{}", M::full_name()).into())
            .clone()
    })
}

/// A URL with bytes of its own; one that this thread knows is shared.
fn known_url(url: &Bytes) -> Bytes {
    URLS.with_borrow(|urls| {
        let known = urls.values().find(|known| *known == url);
        known.map_or_else(|| Bytes::copy_from_slice(url), Clone::clone)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back() {
        let any = Any::pack(&"tea".to_owned());
        assert_eq!(any.name(), "google.protobuf.StringValue");
        assert_eq!(any.unpack::<String>().unwrap(), "tea");
        assert_eq!(any.detached(), any);
    }

    #[test]
    fn another_and_a_damaged_one_are_told_apart() {
        let mut any = Any::pack(&7_i64);
        assert!(matches!(
            any.unpack::<String>(),
            Err(UnpackError::Other { .. })
        ));
        any.value = Bytes::from_static(b"\xff");
        assert!(matches!(
            any.unpack::<i64>(),
            Err(UnpackError::Damaged { .. })
        ));
    }
}
