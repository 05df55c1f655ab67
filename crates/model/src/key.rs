//! Which entity a request is for: reads the key fields out of an encoded message.
//!
//! Only the key fields are read; everything else in the message is skipped, not decoded and not
//! copied. A field that occurs more than once counts as protobuf merges it: the last one wins.

use std::str;

use bytes::Buf;
use prost_reflect::prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, skip_field,
};

use crate::id::EntityId;
use crate::limit::ID_BYTES_MAX;

/// Where a method's requests name their entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Nowhere: the method belongs to an action.
    None,
    /// In these fields, in this order.
    Fields(Vec<KeyField>),
    /// Nowhere: each request gets a new random id (Kalix key generator).
    Generated,
}

/// One field that names the entity, or a part of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyField {
    /// The field numbers from the request message down to the field.
    pub path: Vec<u32>,
    /// The field's dotted name, for messages to people.
    pub name: String,
    /// How its value becomes text.
    pub kind: KeyKind,
}

/// The type of a key field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Text as it is.
    String,
    /// `true` or `false`.
    Bool,
    /// A varint read as signed 64-bit: `int32`, `int64`, enums.
    Signed,
    /// A varint read as unsigned: `uint32`, `uint64`.
    Unsigned,
    /// A zig-zag varint: `sint32`, `sint64`.
    ZigZag,
    /// `fixed32`.
    Fixed32,
    /// `sfixed32`.
    SignedFixed32,
    /// `fixed64`.
    Fixed64,
    /// `sfixed64`.
    SignedFixed64,
}

/// Why a request names no entity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not a message, or the key field has another type in them.
    #[error("the request does not parse at field {field}")]
    Malformed {
        /// The dotted name of the key field that was being looked for.
        field: String,
    },
    /// The id is empty.
    #[error("the entity id is empty: set field {field}")]
    Empty {
        /// The dotted names of the key fields, joined with commas.
        field: String,
    },
    /// The id is too long.
    #[error("the entity id has {bytes} bytes, more than {ID_BYTES_MAX}: shorten field {field}")]
    TooLong {
        /// The dotted names of the key fields, joined with commas.
        field: String,
        /// The length of the id as it would be stored.
        bytes: usize,
    },
}

/// Reads the entity id out of an encoded request.
///
/// # Errors
/// [`KeyError::Malformed`] if the bytes cannot be a message with these fields, [`KeyError::Empty`]
/// if every part of the id is empty, [`KeyError::TooLong`] above [`ID_BYTES_MAX`].
pub fn entity_id(fields: &[KeyField], message: &[u8]) -> Result<EntityId, KeyError> {
    let mut parts = Vec::with_capacity(fields.len());
    for field in fields {
        let mut part = field.kind.default_text().to_owned();
        read(field, &field.path, message, &mut part).ok_or_else(|| KeyError::Malformed {
            field: field.name.clone(),
        })?;
        parts.push(part);
    }
    if parts.iter().all(String::is_empty) {
        let field = names(fields);
        return Err(KeyError::Empty { field });
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let id = EntityId::joined(&parts);
    match id.stored().len() {
        ..=ID_BYTES_MAX => Ok(id),
        bytes => Err(KeyError::TooLong {
            field: names(fields),
            bytes,
        }),
    }
}

fn names(fields: &[KeyField]) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    names.join(", ")
}

/// Walks `message` for the field at `path`; puts the text of the last occurrence into `part`.
/// `None` if the bytes cannot be read.
fn read(field: &KeyField, path: &[u32], mut message: &[u8], part: &mut String) -> Option<()> {
    let (&number, rest) = path.split_first()?;
    while message.has_remaining() {
        let (found, wire_type) = decode_key(&mut message).ok()?;
        if found != number {
            skip_field(wire_type, found, &mut message, DecodeContext::default()).ok()?;
        } else if rest.is_empty() {
            *part = field.kind.text(wire_type, &mut message)?;
        } else if wire_type == WireType::LengthDelimited {
            read(field, rest, delimited(&mut message)?, part)?;
        } else {
            return None;
        }
    }
    Some(())
}

/// Takes a length-delimited value off the front.
fn delimited<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(message).ok()?).ok()?;
    let (value, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(value)
}

impl KeyKind {
    /// The text of an unset field.
    fn default_text(self) -> &'static str {
        match self {
            Self::String => "",
            Self::Bool => "false",
            _ => "0",
        }
    }

    /// Takes one value off the front and gives its text; `None` if it is of another type.
    fn text(self, wire_type: WireType, message: &mut &[u8]) -> Option<String> {
        match (self, wire_type) {
            (Self::String, WireType::LengthDelimited) => {
                str::from_utf8(delimited(message)?).ok().map(str::to_owned)
            }
            (Self::Bool, WireType::Varint) => Some((varint(message)? != 0).to_string()),
            (Self::Signed, WireType::Varint) => Some((varint(message)? as i64).to_string()),
            (Self::Unsigned, WireType::Varint) => Some(varint(message)?.to_string()),
            (Self::ZigZag, WireType::Varint) => {
                let value = varint(message)?;
                Some(((value >> 1) as i64 ^ -((value & 1) as i64)).to_string())
            }
            (Self::Fixed32, WireType::ThirtyTwoBit) => {
                Some(take(message)?.get_u32_le().to_string())
            }
            (Self::SignedFixed32, WireType::ThirtyTwoBit) => {
                Some(take(message)?.get_i32_le().to_string())
            }
            (Self::Fixed64, WireType::SixtyFourBit) => {
                Some(take8(message)?.get_u64_le().to_string())
            }
            (Self::SignedFixed64, WireType::SixtyFourBit) => {
                Some(take8(message)?.get_i64_le().to_string())
            }
            _ => None,
        }
    }
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    decode_varint(message).ok()
}

fn take<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    split(message, 4)
}

fn take8<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    split(message, 8)
}

fn split<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (value, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(path: &[u32], name: &str, kind: KeyKind) -> KeyField {
        KeyField {
            path: path.to_vec(),
            name: name.to_owned(),
            kind,
        }
    }

    fn id(fields: &[KeyField], message: &[u8]) -> Result<String, KeyError> {
        entity_id(fields, message).map(|id| id.shown().to_string())
    }

    #[test]
    fn id_has_a_longest_stored_form() {
        let one = [field(&[1], "a", KeyKind::String)];
        let two = [one[0].clone(), field(&[2], "b", KeyKind::Bool)];
        let text = |bytes: usize, of: &str| {
            let mut message = vec![0x0a];
            prost_reflect::prost::encoding::encode_varint(bytes as u64, &mut message);
            message.extend(of.repeat(bytes).bytes());
            message
        };
        let check = |fields: &[KeyField], message: &[u8], stored: usize| {
            let expected = match stored {
                ..=ID_BYTES_MAX => Ok(()),
                bytes => Err(KeyError::TooLong {
                    field: names(fields),
                    bytes,
                }),
            };
            assert_eq!(entity_id(fields, message).map(|_| ()), expected);
        };
        check(&one, &text(ID_BYTES_MAX, "x"), ID_BYTES_MAX);
        check(&one, &text(ID_BYTES_MAX + 1, "x"), ID_BYTES_MAX + 1);
        check(&one, &text(5 << 20, "x"), 5 << 20);
        // With a dash and the other part; what separates the parts is escaped.
        check(&two, &text(ID_BYTES_MAX - 6, "x"), ID_BYTES_MAX);
        check(&two, &text(ID_BYTES_MAX - 6, "-"), 2 * ID_BYTES_MAX - 6);
    }

    #[test]
    fn string_key_is_found_among_other_fields() {
        // field 3 varint 7, field 1 "a", field 2 bytes "zz", field 1 "bob"
        let message = [
            0x18, 7, 0x0a, 1, b'a', 0x12, 2, b'z', b'z', 0x0a, 3, b'b', b'o', b'b',
        ];
        assert_eq!(
            id(&[field(&[1], "user", KeyKind::String)], &message),
            Ok("bob".into())
        );
    }

    #[test]
    fn numbers_become_decimal_text() {
        let check = |kind, message: &[u8], expected: &str| {
            assert_eq!(id(&[field(&[1], "n", kind)], message), Ok(expected.into()));
        };
        check(
            KeyKind::Signed,
            &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            "-1",
        );
        check(KeyKind::Unsigned, &[8, 5], "5");
        check(KeyKind::ZigZag, &[8, 3], "-2");
        check(KeyKind::Bool, &[8, 1], "true");
        check(KeyKind::Bool, &[], "false");
        check(KeyKind::Signed, &[], "0");
        check(KeyKind::Fixed32, &[13, 1, 0, 0, 0], "1");
        check(
            KeyKind::SignedFixed64,
            &[9, 255, 255, 255, 255, 255, 255, 255, 255],
            "-1",
        );
    }

    #[test]
    fn nested_key_is_read_through_its_message() {
        let message = [0x12, 3, 0x0a, 1, b'x', 0x12, 3, 0x0a, 1, b'y'];
        assert_eq!(
            id(&[field(&[2, 1], "key.id", KeyKind::String)], &message),
            Ok("y".into())
        );
    }

    #[test]
    fn empty_id_names_the_fields() {
        let fields = [
            field(&[1], "a", KeyKind::String),
            field(&[2], "b", KeyKind::String),
        ];
        assert_eq!(
            id(&fields, &[]),
            Err(KeyError::Empty {
                field: "a, b".into()
            })
        );
    }

    #[test]
    fn wrong_type_names_the_field() {
        let fields = [field(&[1], "user", KeyKind::String)];
        let malformed = Err(KeyError::Malformed {
            field: "user".into(),
        });
        assert_eq!(id(&fields, &[8, 1]), malformed);
        assert_eq!(id(&fields, &[0x0a, 9, b'a']), malformed);
        assert_eq!(id(&fields, &[0x0a, 1, 0xff]), malformed);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = id(&[field(&[1], "a", KeyKind::String), field(&[2, 3], "b", KeyKind::Signed)], &bytes);
        }
    }
}
