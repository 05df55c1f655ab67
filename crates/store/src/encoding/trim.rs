//! The stored form of a [`Trim`], as the log of the embedded store holds it.

use bytes::Bytes;

use super::parts::KeyPart;
use super::{Fault, decode, encode_into};
use crate::retention::Trim;

/// [`Trim`].
#[derive(Clone, PartialEq, prost::Message)]
struct TrimMessage {
    #[prost(message, optional, tag = "1")]
    key: Option<KeyPart>,
    #[prost(uint64, tag = "2")]
    through: u64,
}

/// Appends the stored form of a trim.
pub(crate) fn encode_trim(trim: &Trim, bytes: &mut Vec<u8>) {
    let message = TrimMessage {
        key: Some((&trim.key).into()),
        through: trim.through,
    };
    encode_into(&message, bytes);
}

/// The trim that was stored.
pub(crate) fn decode_trim(bytes: Bytes) -> Result<Trim, Fault> {
    let message: TrimMessage = decode(bytes)?;
    let key: KeyPart = message.key.ok_or(Fault::Field("the entity of a trim"))?;
    Ok(Trim {
        key: key.into(),
        through: message.through,
    })
}

#[cfg(test)]
mod tests {
    use firn_model::id::{EntityKey, StorageName};

    use super::*;

    /// What version 1 stores. A later version must still read it; it may never change.
    #[test]
    fn stored_form_is_fixed() {
        let trim = Trim {
            key: EntityKey::new(StorageName::new("cart"), "a"),
            through: 300,
        };
        let mut bytes = Vec::new();
        encode_trim(&trim, &mut bytes);
        assert_eq!(bytes, b"\x01\x0a\x09\x0a\x04cart\x12\x01a\x10\xac\x02");
        assert_eq!(decode_trim(bytes.into()), Ok(trim));
        let nobody = decode_trim(Bytes::from_static(b"\x01\x10\x01"));
        assert_eq!(nobody, Err(Fault::Field("the entity of a trim")));
    }
}
