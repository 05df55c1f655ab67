//! Names of things that live longer than one request: entities, slots and their fencing numbers.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// How many slots there are: the unit of ownership, ordering and failure.
///
/// A power of two well above the number of lanes and nodes anybody runs, and small enough that a
/// table with one row for each costs nothing. Fixed for ever: it is part of the stored format.
pub const SLOTS: u16 = 16_384;

/// The name under which a component's data is kept (persistence id, entity type).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorageName(Arc<str>);

impl StorageName {
    /// Names a component's data.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StorageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an entity within its component, in two forms.
///
/// Old protocols join the parts of a key with `-` and no escaping, so that `("a-b", "c")` and
/// `("a", "b-c")` look the same to the function. They must not share state, so the form under which
/// Firn stores escapes the parts; the form that the function sees does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntityId {
    stored: Arc<str>,
    shown: Option<Arc<str>>,
}

impl EntityId {
    /// An id of one part: stored and shown alike.
    pub fn single(id: impl Into<Arc<str>>) -> Self {
        Self {
            stored: id.into(),
            shown: None,
        }
    }

    /// An id of several parts, in their declared order.
    ///
    /// ```
    /// # use firn_model::id::EntityId;
    /// let (left, right) = (EntityId::joined(&["a-b", "c"]), EntityId::joined(&["a", "b-c"]));
    /// assert_eq!(left.shown(), right.shown());
    /// assert_ne!(left.stored(), right.stored());
    /// ```
    pub fn joined(parts: &[&str]) -> Self {
        if let [only] = parts {
            return Self::single(*only);
        }
        let escaped: Vec<String> = parts
            .iter()
            .map(|part| part.replace('\\', "\\\\").replace('-', "\\-"))
            .collect();
        Self {
            stored: escaped.join("-").into(),
            shown: Some(parts.join("-").into()),
        }
    }

    /// The unambiguous form, used for storage and for the slot.
    pub fn stored(&self) -> &Arc<str> {
        &self.stored
    }

    /// The form the function sees in `entity_id`.
    pub fn shown(&self) -> &Arc<str> {
        self.shown.as_ref().unwrap_or(&self.stored)
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

/// An entity's identity in the store: storage name and stored id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey {
    /// Whose data it is.
    pub storage: StorageName,
    /// The stored form of the entity's id.
    pub id: Arc<str>,
}

impl EntityKey {
    /// The key of `id` in `storage`.
    pub fn new(storage: StorageName, id: impl Into<Arc<str>>) -> Self {
        Self {
            storage,
            id: id.into(),
        }
    }

    /// The slot the entity belongs to, for ever.
    pub fn slot(&self) -> Slot {
        Slot::of(self)
    }
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.storage, self.id)
    }
}

/// One of [`SLOTS`] buckets of entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

impl Slot {
    /// The slot of an entity: XXH3-64 with seed 0 over the storage name's length in bytes (u32,
    /// little-endian), the storage name, and the entity id; modulo [`SLOTS`].
    pub fn of(key: &EntityKey) -> Self {
        let storage = key.storage.as_str().as_bytes();
        let length = (storage.len() as u32).to_le_bytes();
        let hash = hash_of([&length, storage, key.id.as_bytes()]);
        Self((hash % u64::from(SLOTS)) as u16)
    }

    /// The slot with this number, if there is one.
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// The slot's number, below [`SLOTS`].
    pub fn number(self) -> u16 {
        self.0
    }

    /// Which of so many shares it belongs to, where slots are divided evenly: its number modulo theirs,
    /// of which there is at least one.
    pub fn share_of(self, shares: usize) -> usize {
        usize::from(self.0) % shares.max(1)
    }

    /// Every slot in order of number.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }
}

/// XXH3-64 with seed 0 over parts, one behind the other. The usual ones are short: put together
/// first, they take little more than half of the instructions that they take one by one.
fn hash_of(parts: [&[u8]; 3]) -> u64 {
    let mut room = [0; 128];
    let mut rest = &mut room[..];
    for part in parts {
        let Some((place, behind)) = rest.split_at_mut_checked(part.len()) else {
            let mut hash = Xxh3::new();
            parts.iter().for_each(|part| hash.update(part));
            return hash.digest();
        };
        place.copy_from_slice(part);
        rest = behind;
    }
    let length = parts.iter().map(|part| part.len()).sum();
    xxh3_64(&room[..length])
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A node for as long as its data lives: drawn at random when its store is made, so that a new store
/// is a new node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One run of a node: every start takes the next number, durably, before the first update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub NonZeroU32);

impl Incarnation {
    /// The first run.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The run after this one, unless the numbers are used up.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

/// Who makes the updates of replicated data: a node in one of its runs. Never used twice, so that a
/// node that comes back from an older state repeats nothing that others hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    /// The node.
    pub node: NodeId,
    /// Its run.
    pub incarnation: Incarnation,
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.incarnation.0)
    }
}

/// The fencing number of a slot's ownership. A write with an older one than the stored is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch(pub u64);

/// The number of a commit within its slot: 1, 2, 3… without gaps; 0 is "none yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SlotSequence(pub u64);

impl SlotSequence {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SlotSequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The identity of an effect: who caused it, in which commit, and which of its effects it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectId {
    /// The slot of the entity that caused it.
    pub slot: Slot,
    /// The commit that carried it.
    pub sequence: SlotSequence,
    /// Its place in that commit's list of effects, from 0.
    pub index: u32,
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.slot, self.sequence, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash is part of the stored format; these values may never change.
    #[test]
    fn slot_of_an_entity_is_fixed() {
        let slot = |storage: &str, id: &str| {
            EntityKey::new(StorageName::new(storage), id)
                .slot()
                .number()
        };
        assert_eq!(
            [
                slot("cart", "alice"),
                slot("cart", "bob"),
                slot("", ""),
                slot("ca", "rtalice")
            ],
            [5503, 15536, 6461, 11612]
        );
    }

    #[test]
    fn slots_do_not_depend_on_how_the_hash_is_made() {
        for length in 0..300 {
            let (storage, id) = ("s".repeat(length / 3), "i".repeat(length));
            let mut hash = Xxh3::new();
            hash.update(&(storage.len() as u32).to_le_bytes());
            hash.update(storage.as_bytes());
            hash.update(id.as_bytes());
            let expected = (hash.digest() % u64::from(SLOTS)) as u16;
            let slot = EntityKey::new(StorageName::new(storage), id).slot();
            assert_eq!(slot.number(), expected);
        }
    }

    #[test]
    fn parts_never_collide() {
        let check = |left: &[&str], right: &[&str]| {
            assert_ne!(
                EntityId::joined(left).stored(),
                EntityId::joined(right).stored()
            );
        };
        check(&["a-b", "c"], &["a", "b-c"]);
        check(&["a\\", "b"], &["a", "\\b"]);
        check(&["a\\-b", "c"], &["a-b", "c"]);
        check(&["", "-"], &["-", ""]);
    }
}
