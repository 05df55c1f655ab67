//! Keys: which row holds what, in which order.
//!
//! Every key begins with one byte that names its [`Space`]; numbers are big endian, so that byte
//! order is their order. `S` is the storage name and `I` the stored id of an entity, each
//! [shortened](part) where it is longer than a key may be.
//!
//! | space | key after its byte | value |
//! |---|---|---|
//! | `Reached` | nothing | number of the last applied record of the log (u64) |
//! | `Head` | slot u16 | [`HeadRow`](super::value::HeadRow) |
//! | `Entity` | length of S u16, S, I | [`EntityRow`](super::value::EntityRow) |
//! | `State` | length of S u16, S, I | [`PayloadRow`](super::value::PayloadRow) |
//! | `Snapshot` | length of S u16, S, I | [`SnapshotRow`](super::value::SnapshotRow) |
//! | `Event` | length of S u16, S, length of I u16, I, generation u64, number u64 | [`EventRow`](super::value::EventRow) |
//! | `Reply` | length of S u16, S, length of I u16, I, generation u64, hash of method and key u128 | [`ReplyRow`](super::value::ReplyRow) |
//! | `Expiry` | time u64, then the whole key of the `Reply` row | empty |
//! | `Change` | slot u16, sequence u64 | [`ChangeRow`](super::value::ChangeRow) |
//! | `Outbox` | slot u16, sequence u64, index u32 | [`OutboxRow`](super::value::OutboxRow) |
//! | `Receipt` | receiving slot u16, sending slot u16, sequence u64, index u32 | empty |
//! | `Trimmed` | receiving slot u16, sending slot u16 | sequence below which receipts were dropped (u64) |
//! | `Garbage` | length of S u16, S, length of I u16, I, generation u64 | [`GarbageRow`](super::value::GarbageRow) |
//! | `Tombstone` | time u64, then the whole key of the `Entity` row | [`KeyPart`](crate::encoding::parts::KeyPart) |
//! | `Replica` | node u64, length of S u16, S, I | [`ReplicaRow`](super::value::ReplicaRow) |
//! | `ReplicaState` | node u64, length of S u16, S, I | [`ReplicaStateRow`](super::value::ReplicaStateRow) |
//! | `Timer` | length of S u16, S, length of I u16, I, name of the timer | [`TimerRow`](super::value::TimerRow) |
//! | `Due` | time u64, then the whole key of the `Timer` row | [`TimerIdRow`](super::value::TimerIdRow) |
//! | `Node` | name of the node, shortened like I | [`NodeRow`](super::value::NodeRow) |

use firn_model::id::{EffectId, EntityKey, NodeId, Slot, SlotSequence, StorageName};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::entity::Timestamp;
use crate::timer::{TimerId, TimerName};

/// Longest storage name that stands in a key as it is, in bytes. Names are written by programmers.
pub(crate) const STORAGE_BYTES_MAX: usize = 1024;

/// Longest id that stands in a key as it is, in bytes. Whole keys must stay below the 65,535 bytes
/// that fjall takes, also where a key holds another.
pub(crate) const ID_BYTES_MAX: usize = 32 * 1024;

/// Longest name of a timer that stands in a key as it is, in bytes: longer than any that a function
/// may give.
pub(crate) const TIMER_NAME_BYTES_MAX: usize = 1024;

const HASH_BYTES: usize = size_of::<u128>();

const _: () = assert!(
    STORAGE_BYTES_MAX + ID_BYTES_MAX + TIMER_NAME_BYTES_MAX + 3 * HASH_BYTES + 128
        < u16::MAX as usize
);

/// What a row is about: the first byte of its key. Part of the stored format, never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Space {
    Reached = 1,
    Head = 2,
    Entity = 3,
    State = 4,
    Snapshot = 5,
    Event = 6,
    Reply = 7,
    Expiry = 8,
    Change = 9,
    Outbox = 10,
    Receipt = 11,
    Trimmed = 12,
    Garbage = 13,
    Tombstone = 14,
    Replica = 15,
    ReplicaState = 16,
    Node = 17,
    Timer = 18,
    Due = 19,
}

/// The bytes of a key.
pub(crate) type Key = Vec<u8>;

/// The first key after every key that begins with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Key {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    unreachable!("a key begins with a space, and no space is 255")
}

/// The first key after `key`.
pub(crate) fn successor(mut key: Key) -> Key {
    key.push(0);
    key
}

/// The key of the number that the rows have reached in the log.
pub(crate) fn reached() -> Key {
    vec![Space::Reached as u8]
}

/// Every key of a space: from the first, up to but without the second.
pub(crate) fn whole(space: Space) -> (Key, Key) {
    (vec![space as u8], vec![space as u8 + 1])
}

/// The key of a slot's head.
pub(crate) fn head(slot: Slot) -> Key {
    Builder::new(Space::Head).u16(slot.number()).0
}

/// The key of an entity's own row, its state or its snapshot.
pub(crate) fn entity(space: Space, key: &EntityKey) -> Key {
    storage(space, &key.storage, key.id.len())
        .bytes(&part(key.id.as_bytes(), ID_BYTES_MAX))
        .0
}

/// The beginning of the keys of all entities of a component.
pub(crate) fn entities(storage_name: &StorageName) -> Key {
    storage(Space::Entity, storage_name, 0).0
}

/// The id in the key of an `Entity` row, unless it is a shortened one.
pub(crate) fn entity_id(key: &[u8]) -> Option<&[u8]> {
    names(key.get(1..)?)
        .map(|(_, id)| id)
        .filter(|id| id.len() <= ID_BYTES_MAX)
}

/// The entity in the key of a row that it has of its own, unless a part of it is shortened.
pub(crate) fn entity_of(key: &[u8]) -> Option<EntityKey> {
    entity_in(names(key.get(1..)?)?)
}

/// The key of an entity's row and the generation in the key of an `Event`, `Reply` or `Garbage` row.
pub(crate) fn generation_in(key: &[u8]) -> Option<(Key, u64)> {
    let (length, rest) = key.get(1..)?.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (storage, rest) = rest.split_at_checked(length)?;
    let (length_of_id, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length_of_id)))?;
    let (generation, _) = rest.split_first_chunk()?;
    let entity = Builder::new(Space::Entity).sized(storage).bytes(id).0;
    Some((entity, u64::from_be_bytes(*generation)))
}

/// The key of one event.
pub(crate) fn event(key: &EntityKey, generation: u64, number: u64) -> Key {
    generation_of(Space::Event, key, generation).u64(number).0
}

/// The number in the key of an `Event` row.
pub(crate) fn event_number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The key of a reply record.
pub(crate) fn reply(key: &EntityKey, generation: u64, method: &str, idempotency_key: &str) -> Key {
    let mut hash = Xxh3::new();
    hash.update(&(method.len() as u64).to_be_bytes());
    hash.update(method.as_bytes());
    hash.update(idempotency_key.as_bytes());
    generation_of(Space::Reply, key, generation)
        .bytes(&hash.digest128().to_be_bytes())
        .0
}

/// The key that finds a reply record by the time at which it may go.
pub(crate) fn expiry(expires: Timestamp, reply: &[u8]) -> Key {
    Builder::new(Space::Expiry).u64(expires.0).bytes(reply).0
}

/// The time in the key of an `Expiry` row, and the key of the record that it is about.
pub(crate) fn expiring(key: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (expires, reply) = key.get(1..)?.split_first_chunk()?;
    Some((Timestamp(u64::from_be_bytes(*expires)), reply))
}

/// The key that finds a deleted entity by the time at which its tombstone may go.
pub(crate) fn tombstone(until: Timestamp, key: &EntityKey) -> Key {
    let entity = entity(Space::Entity, key);
    Builder::new(Space::Tombstone).u64(until.0).bytes(&entity).0
}

/// The first key after all tombstones that may go at this time.
pub(crate) fn tombstones_end(until: Timestamp) -> Key {
    match until.0.checked_add(1) {
        Some(next) => Builder::new(Space::Tombstone).u64(next).0,
        None => whole(Space::Tombstone).1,
    }
}

/// The time in the key of a `Tombstone` row.
pub(crate) fn tombstone_until(key: &[u8]) -> Option<Timestamp> {
    let (until, _) = key.get(1..)?.split_first_chunk()?;
    Some(Timestamp(u64::from_be_bytes(*until)))
}

/// The key of a slot's change.
pub(crate) fn change(slot: Slot, sequence: SlotSequence) -> Key {
    Builder::new(Space::Change)
        .u16(slot.number())
        .u64(sequence.0)
        .0
}

/// The first key after all changes of a slot.
pub(crate) fn changes_end(slot: Slot) -> Key {
    after_prefix(&Builder::new(Space::Change).u16(slot.number()).0)
}

/// The sequence in the key of a `Change` row.
pub(crate) fn change_sequence(key: &[u8]) -> Option<SlotSequence> {
    key.last_chunk()
        .map(|bytes| SlotSequence(u64::from_be_bytes(*bytes)))
}

/// The key of an effect that is not yet delivered.
pub(crate) fn outbox(effect: EffectId) -> Key {
    Builder::new(Space::Outbox).effect(effect).0
}

/// The effect in the key of an `Outbox` row.
pub(crate) fn outbox_effect(key: &[u8]) -> Option<EffectId> {
    effect_in(key.get(1..)?)
}

/// The receiving slot and the effect in the key of a `Receipt` row.
pub(crate) fn receipt_of(key: &[u8]) -> Option<(Slot, EffectId)> {
    let (receiver, rest) = key.get(1..)?.split_first_chunk()?;
    let receiver = Slot::new(u16::from_be_bytes(*receiver))?;
    Some((receiver, effect_in(rest)?))
}

/// The receiving and the sending slot in the key of a `Trimmed` row.
pub(crate) fn trimmed_of(key: &[u8]) -> Option<(Slot, Slot)> {
    let (receiver, sender) = key.get(1..)?.split_first_chunk()?;
    let slot = |bytes| Slot::new(u16::from_be_bytes(bytes));
    Some((slot(*receiver)?, slot(sender.try_into().ok()?)?))
}

fn effect_in(bytes: &[u8]) -> Option<EffectId> {
    let (slot, rest) = bytes.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    Some(EffectId {
        slot: Slot::new(u16::from_be_bytes(*slot))?,
        sequence: SlotSequence(u64::from_be_bytes(*sequence)),
        index: u32::from_be_bytes(rest.try_into().ok()?),
    })
}

/// The key of the receipt of an effect.
pub(crate) fn receipt(receiver: Slot, effect: EffectId) -> Key {
    Builder::new(Space::Receipt)
        .u16(receiver.number())
        .effect(effect)
        .0
}

/// The first key at or after all receipts of `sender`'s effects with this sequence.
pub(crate) fn receipts_from(receiver: Slot, sender: Slot, sequence: SlotSequence) -> Key {
    Builder::new(Space::Receipt)
        .u16(receiver.number())
        .u16(sender.number())
        .u64(sequence.0)
        .0
}

/// The key of the sequence below which receipts were dropped.
pub(crate) fn trimmed(receiver: Slot, sender: Slot) -> Key {
    Builder::new(Space::Trimmed)
        .u16(receiver.number())
        .u16(sender.number())
        .0
}

/// The key of what is left of a generation that has ended.
pub(crate) fn garbage(key: &EntityKey, generation: u64) -> Key {
    generation_of(Space::Garbage, key, generation).0
}

/// The key of an event of a generation that has ended, from the key of its `Garbage` row.
pub(crate) fn garbage_event(garbage: &[u8], number: u64) -> Key {
    let mut key = garbage.to_vec();
    if let Some(space) = key.first_mut() {
        *space = Space::Event as u8;
    }
    key.extend(number.to_be_bytes());
    key
}

/// The key of a timer. Names of the function's own, and those of delayed effects, begin with a byte
/// of their own.
pub(crate) fn timer(id: &TimerId) -> Key {
    let key = storage(Space::Timer, &id.key.storage, id.key.id.len() + 32)
        .sized(&part(id.key.id.as_bytes(), ID_BYTES_MAX));
    match &id.name {
        TimerName::Own(name) => key
            .bytes(&[0])
            .bytes(&part(name.as_bytes(), TIMER_NAME_BYTES_MAX)),
        TimerName::Delayed(effect) => key.bytes(&[1]).effect(*effect),
    }
    .0
}

/// The key that finds a timer by the time at which it is due.
pub(crate) fn due(due: Timestamp, timer: &[u8]) -> Key {
    Builder::new(Space::Due).u64(due.0).bytes(timer).0
}

/// The first key after all timers that are due at this time.
pub(crate) fn due_end(until: Timestamp) -> Key {
    match until.0.checked_add(1) {
        Some(next) => due(Timestamp(next), &[]),
        None => whole(Space::Due).1,
    }
}

/// The time in the key of a `Due` row.
pub(crate) fn due_at(key: &[u8]) -> Option<Timestamp> {
    let (due, _) = key.get(1..)?.split_first_chunk()?;
    Some(Timestamp(u64::from_be_bytes(*due)))
}

/// The key of a node's replica, or of its state.
pub(crate) fn replica(space: Space, node: NodeId, key: &EntityKey) -> Key {
    replicas(space, node)
        .storage(&key.storage)
        .bytes(&part(key.id.as_bytes(), ID_BYTES_MAX))
        .0
}

/// The beginning of the keys of all replicas of a node.
pub(crate) fn replicas_of(node: NodeId) -> Key {
    replicas(Space::Replica, node).0
}

/// The beginning of the keys of all replicas that a node has of a component's entities.
pub(crate) fn replicas_in(node: NodeId, storage: &StorageName) -> Key {
    replicas(Space::Replica, node).storage(storage).0
}

/// The node in the key of a `Replica` row.
pub(crate) fn replica_node(key: &[u8]) -> Option<NodeId> {
    let (node, _) = key.get(1..)?.split_first_chunk()?;
    Some(NodeId(u64::from_be_bytes(*node)))
}

/// The entity in the key of a `Replica` row, unless a part of it is shortened.
pub(crate) fn replica_entity(key: &[u8]) -> Option<EntityKey> {
    entity_in(names(key.get(1 + size_of::<u64>()..)?)?)
}

fn entity_in((storage, id): (&[u8], &[u8])) -> Option<EntityKey> {
    if storage.len() > STORAGE_BYTES_MAX || id.len() > ID_BYTES_MAX {
        return None;
    }
    let storage = StorageName::new(str::from_utf8(storage).ok()?);
    Some(EntityKey::new(storage, str::from_utf8(id).ok()?))
}

/// The key of what is known of the node with this name.
pub(crate) fn node(name: &str) -> Key {
    Builder::new(Space::Node)
        .bytes(&part(name.as_bytes(), ID_BYTES_MAX))
        .0
}

/// A part of a key: the bytes as they are, or their beginning and a hash of all of them.
///
/// Only what is longer than `max` is shortened, and to more than `max`, so a shortened part never
/// equals one that stands as it is. The entity's row holds the full text of shortened parts.
pub(crate) fn part(bytes: &[u8], max: usize) -> std::borrow::Cow<'_, [u8]> {
    if bytes.len() <= max {
        return bytes.into();
    }
    let mut short = bytes[..max].to_vec();
    short.extend(xxh3_128(bytes).to_be_bytes());
    short.into()
}

/// The storage name and the id at the end of a key.
fn names(end: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, names) = end.split_first_chunk()?;
    names.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// The beginning of a key with a storage name, and room for so many bytes after it.
fn storage(space: Space, storage: &StorageName, room: usize) -> Builder {
    Builder::with_room(space, 2 + storage.as_str().len() + room).storage(storage)
}

fn replicas(space: Space, node: NodeId) -> Builder {
    Builder::new(space).u64(node.0)
}

fn generation_of(space: Space, key: &EntityKey, generation: u64) -> Builder {
    storage(space, &key.storage, 2 + key.id.len() + 2 * size_of::<u64>())
        .sized(&part(key.id.as_bytes(), ID_BYTES_MAX))
        .u64(generation)
}

struct Builder(Key);

impl Builder {
    fn new(space: Space) -> Self {
        Self::with_room(space, 16)
    }

    /// With room for so many bytes after the space, so that a key is not moved as it grows.
    fn with_room(space: Space, bytes: usize) -> Self {
        let mut key = Vec::with_capacity(1 + bytes);
        key.push(space as u8);
        Self(key)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn sized(self, bytes: &[u8]) -> Self {
        self.u16(bytes.len() as u16).bytes(bytes)
    }

    fn storage(self, storage: &StorageName) -> Self {
        self.sized(&part(storage.as_str().as_bytes(), STORAGE_BYTES_MAX))
    }

    fn u16(self, number: u16) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    fn effect(self, effect: EffectId) -> Self {
        self.u16(effect.slot.number())
            .u64(effect.sequence.0)
            .bytes(&effect.index.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(storage: &str, id: &str) -> EntityKey {
        EntityKey::new(StorageName::new(storage), id)
    }

    /// The layouts are part of the stored format; these bytes may never change.
    #[test]
    fn layouts_are_fixed() {
        let slot = |number| Slot::new(number).unwrap();
        let effect = EffectId {
            slot: slot(0x0102),
            sequence: SlotSequence(3),
            index: 4,
        };
        let cart = key_of("cart", "a");
        assert_eq!(head(slot(258)), [2, 1, 2]);
        assert_eq!(entity(Space::Entity, &cart), b"\x03\0\x04carta");
        assert_eq!(
            event(&cart, 1, 2),
            b"\x06\0\x04cart\0\x01a\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02"
        );
        assert_eq!(
            change(slot(258), SlotSequence(3)),
            [9, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]
        );
        assert_eq!(
            outbox(effect),
            [10, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4]
        );
        assert_eq!(
            receipt(slot(5), effect),
            [11, 0, 5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4]
        );
        assert_eq!(outbox_effect(&outbox(effect)), Some(effect));
        let of_node = replica(Space::Replica, NodeId(258), &cart);
        assert_eq!(of_node, b"\x0f\0\0\0\0\0\0\x01\x02\0\x04carta");
        assert_eq!(replica_node(&of_node), Some(NodeId(258)));
        assert_eq!(replica_entity(&of_node), Some(cart.clone()));
        assert_eq!(
            replica(Space::ReplicaState, NodeId(1), &cart),
            b"\x10\0\0\0\0\0\0\0\x01\0\x04carta"
        );
        assert_eq!(node("n"), b"\x11n");
        let tombstone = tombstone(Timestamp(5), &cart);
        assert_eq!(tombstone, b"\x0e\0\0\0\0\0\0\0\x05\x03\0\x04carta");
        assert_eq!(tombstone_until(&tombstone), Some(Timestamp(5)));
        let id = |name| TimerId {
            key: cart.clone(),
            name,
        };
        let own = timer(&id(TimerName::Own("t".into())));
        assert_eq!(own, b"\x12\0\x04cart\0\x01a\0t");
        assert_eq!(
            timer(&id(TimerName::Delayed(effect))),
            b"\x12\0\x04cart\0\x01a\x01\x01\x02\0\0\0\0\0\0\0\x03\0\0\0\x04"
        );
        let due = due(Timestamp(5), &own);
        assert_eq!(due, b"\x13\0\0\0\0\0\0\0\x05\x12\0\x04cart\0\x01a\0t");
        assert_eq!(due_at(&due), Some(Timestamp(5)));
    }

    #[test]
    fn entities_of_one_component_stand_together_in_order_of_their_ids() {
        let mut keys: Vec<Key> = [("b", "a"), ("aa", ""), ("a", "b"), ("a", ""), ("a", "a\0")]
            .iter()
            .map(|(storage, id)| entity(Space::Entity, &key_of(storage, id)))
            .collect();
        keys.sort();
        let expected = [("a", ""), ("a", "a\0"), ("a", "b"), ("b", "a"), ("aa", "")]
            .map(|(storage, id)| entity(Space::Entity, &key_of(storage, id)));
        assert_eq!(keys, expected);
    }

    #[test]
    fn long_ids_keep_apart_and_short() {
        let long = "x".repeat(2 * ID_BYTES_MAX);
        let longer = format!("{long}y");
        let keys = [&long, &longer].map(|id| event(&key_of("s", id), 0, 1));
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| key.len() < usize::from(u16::MAX)));
        let replicas =
            [&long, &longer].map(|id| replica(Space::Replica, NodeId(1), &key_of(&long, id)));
        assert_ne!(replicas[0], replicas[1]);
        assert_eq!(replica_entity(&replicas[0]), None);
        assert!(replicas[0].len() < usize::from(u16::MAX));
        let expiring = expiry(Timestamp(1), &reply(&key_of(&long, &long), 0, "m", "k"));
        assert!(expiring.len() < usize::from(u16::MAX));
    }

    #[test]
    fn the_end_of_a_prefix_carries_over_full_bytes() {
        assert_eq!(after_prefix(&[1, 2]), [1, 3]);
        assert_eq!(after_prefix(&[1, 255, 255]), [2]);
    }
}
