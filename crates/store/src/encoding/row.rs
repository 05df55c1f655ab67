//! The rows that nearly every commit writes, in the form of their messages in
//! [`crate::rows::value`].

use bytes::Bytes;
use firn_model::id::{EntityKey, Slot, SlotSequence};
use firn_model::payload::Payload;

use super::VERSION;
use super::direct::{key, key_len, number, number_len, payload, payload_len};
use crate::entity::Timestamp;
use crate::rows::value::ChangeKind;

/// The stored form of an [`EventRow`](crate::rows::value::EventRow).
pub(crate) fn event(
    at: Timestamp,
    (slot, sequence): (Slot, SlotSequence),
    event: &Payload,
) -> Bytes {
    let slot = u64::from(slot.number());
    let numbers = number_len(at.0) + number_len(slot) + number_len(sequence.0);
    let mut bytes = Vec::with_capacity(1 + numbers + payload_len(event));
    bytes.push(VERSION);
    number(1, at.0, &mut bytes);
    number(2, slot, &mut bytes);
    number(3, sequence.0, &mut bytes);
    payload(4, event, &mut bytes);
    bytes.into()
}

/// The stored form of a [`ChangeRow`](crate::rows::value::ChangeRow).
pub(crate) fn change(
    entity_key: &EntityKey,
    at: Timestamp,
    generation: u64,
    kind: &ChangeKind,
) -> Bytes {
    let numbers = number_len(at.0) + number_len(generation);
    let length = 1 + key_len(entity_key) + numbers + kind.encoded_len();
    let mut bytes = Vec::with_capacity(length);
    bytes.push(VERSION);
    key(1, entity_key, &mut bytes);
    number(2, at.0, &mut bytes);
    number(3, generation, &mut bytes);
    kind.encode(&mut bytes);
    bytes.into()
}
