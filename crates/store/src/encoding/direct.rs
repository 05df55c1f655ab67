//! Writing what nearly every commit has without making messages of it first: names are not copied
//! twice, payloads are not shared, and no length is measured more often than it is written.
//!
//! Each function appends one field as the message beside it in [`super::parts`] encodes it; a test
//! holds both together.

use firn_model::id::EntityKey;
use firn_model::payload::Payload;

/// A field whose value is a number.
const VARINT: u32 = 0;

/// A field whose value has a length before it.
const SIZED: u32 = 2;

/// A number; one that is 0 is left out.
pub(super) fn number(tag: u32, value: u64, bytes: &mut Vec<u8>) {
    if value != 0 {
        varint(u64::from(tag << 3 | VARINT), bytes);
        varint(value, bytes);
    }
}

/// The length of a [`number`] as a field whose tag is below 16.
pub(super) fn number_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}

/// Bytes or a text; empty ones are left out.
fn text(tag: u32, value: &[u8], bytes: &mut Vec<u8>) {
    if !value.is_empty() {
        begin(tag, value.len(), bytes);
        bytes.extend_from_slice(value);
    }
}

/// The length of a [`text`] as a field whose tag is below 16.
fn text_len(value: &[u8]) -> usize {
    if value.is_empty() {
        0
    } else {
        sized_len(value.len())
    }
}

/// [`KeyPart`](super::parts::KeyPart).
pub(crate) fn key(tag: u32, key: &EntityKey, bytes: &mut Vec<u8>) {
    begin(tag, key_contents_len(key), bytes);
    text(1, key.storage.as_str().as_bytes(), bytes);
    text(2, key.id.as_bytes(), bytes);
}

/// The length of a [`key`] as a field whose tag is below 16.
pub(crate) fn key_len(key: &EntityKey) -> usize {
    sized_len(key_contents_len(key))
}

fn key_contents_len(key: &EntityKey) -> usize {
    text_len(key.storage.as_str().as_bytes()) + text_len(key.id.as_bytes())
}

/// [`PayloadPart`](super::parts::PayloadPart).
pub(super) fn payload(tag: u32, payload: &Payload, bytes: &mut Vec<u8>) {
    begin(tag, payload_contents_len(payload), bytes);
    text(1, payload.type_url.as_bytes(), bytes);
    text(2, &payload.bytes, bytes);
}

/// The length of a [`payload`] as a field whose tag is below 16.
pub(super) fn payload_len(payload: &Payload) -> usize {
    sized_len(payload_contents_len(payload))
}

fn payload_contents_len(payload: &Payload) -> usize {
    text_len(payload.type_url.as_bytes()) + text_len(&payload.bytes)
}

/// The beginning of a message of this length.
pub(super) fn begin(tag: u32, length: usize, bytes: &mut Vec<u8>) {
    varint(u64::from(tag << 3 | SIZED), bytes);
    varint(length as u64, bytes);
}

/// The length of a field with a tag below 16 whose value has this length.
fn sized_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// An integer in groups of seven bits, the lowest first.
fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}
