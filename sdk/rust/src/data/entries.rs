//! Maps: keys with data. One structure for all four kinds; they differ in what the values are and in
//! how a change is told.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use super::{
    Counter, DataType, Element, Piece, Register, ReplicatedData, Set, known, other, taken,
};
use crate::Any;
use crate::context::OpenError;
use crate::wire::{self, counter_map_delta, delta::Delta, multi_map_delta, register_map_delta};

/// Keys with numbers.
pub type CounterMap<K> = Entries<K, Counter>;

/// Keys with values, of which the last write wins.
pub type RegisterMap<K, T> = Entries<K, Register<T>>;

/// Keys with sets.
pub type MultiMap<K, T> = Entries<K, Set<T>>;

/// Keys with data of one type.
#[derive(Debug, Clone)]
pub struct Entries<K, V> {
    pub(super) entries: BTreeMap<Any, V>,
    pub(super) pending: Option<Box<Pending<V>>>,
    of: PhantomData<fn() -> K>,
}

/// What was changed, and how to take it back.
#[derive(Debug, Clone)]
pub(super) struct Pending<V> {
    /// All that was there, if it was cleared.
    cleared: Option<BTreeMap<Any, V>>,
    removed: BTreeMap<Any, V>,
    /// Keys that are new.
    created: BTreeSet<Any>,
    /// Keys whose values may have changed, also new ones.
    touched: BTreeSet<Any>,
}

/// A change of entries, before it is put into its message.
pub(super) struct Changes<D> {
    pub(super) cleared: bool,
    pub(super) removed: Vec<Any>,
    pub(super) updated: Vec<(Any, D)>,
    pub(super) added: Vec<(Any, D)>,
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            pending: None,
            of: PhantomData,
        }
    }
}

impl<V> Default for Pending<V> {
    fn default() -> Self {
        Self {
            cleared: None,
            removed: BTreeMap::new(),
            created: BTreeSet::new(),
            touched: BTreeSet::new(),
        }
    }
}

impl<K: Element, V: Piece> Entries<K, V> {
    /// What a key has.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(&key.to_any())
    }

    /// Removes a key; tells whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        self.remove_key(key.to_any())
    }

    fn remove_key(&mut self, key: Any) -> bool {
        let Some(mut value) = self.entries.remove(&key) else {
            return false;
        };
        let pending = self.pending.get_or_insert_default();
        pending.touched.remove(&key);
        if !pending.created.remove(&key) {
            value.undo();
            pending.removed.insert(key, value);
        }
        true
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        self.undo_entries();
        if !self.entries.is_empty() {
            let cleared = std::mem::take(&mut self.entries);
            self.pending.get_or_insert_default().cleared = Some(cleared);
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys with what they have, in the order of the keys' encodings.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|(key, value)| (known(key), value))
    }

    /// What a key has, to be changed; made if it is not there.
    pub(super) fn at_or(&mut self, key: &K, empty: impl FnOnce() -> V) -> &mut V {
        self.at_key(key.to_any(), empty)
    }

    pub(super) fn at_key(&mut self, key: Any, empty: impl FnOnce() -> V) -> &mut V {
        let pending = self.pending.get_or_insert_default();
        pending.touched.insert(key.clone());
        self.entries.entry(key).or_insert_with_key(|key| {
            pending.created.insert(key.clone());
            empty()
        })
    }

    /// Takes keys out, as a change of this handler.
    pub(super) fn redo_out(&mut self, cleared: bool, removed: &[Any]) {
        if cleared {
            self.clear();
        }
        for key in removed {
            self.remove_key(key.clone());
        }
    }

    pub(super) fn undo_entries(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        if let Some(before) = pending.cleared {
            self.entries = before;
            return;
        }
        for key in &pending.touched {
            if let Some(value) = self.entries.get_mut(key) {
                value.undo();
            }
        }
        for key in &pending.created {
            self.entries.remove(key);
        }
        self.entries.extend(pending.removed);
    }

    /// What changed; `taken` and `whole` say how of a value.
    pub(super) fn take_changes<D>(
        &mut self,
        taken: impl Fn(&mut V) -> Option<D>,
        whole: impl Fn(&V) -> D,
    ) -> Option<Changes<D>> {
        let pending = *self.pending.take()?;
        let mut changes = Changes {
            cleared: pending.cleared.is_some(),
            removed: pending.removed.into_keys().collect(),
            updated: Vec::new(),
            added: Vec::new(),
        };
        for key in pending.touched {
            let Some(value) = self.entries.get_mut(&key) else {
                continue;
            };
            let change = taken(value);
            if pending.created.contains(&key) {
                // All of a new value is its change, with the clocks of its writes.
                changes
                    .added
                    .push((key, change.unwrap_or_else(|| whole(value))));
            } else if let Some(change) = change {
                changes.updated.push((key, change));
            }
        }
        let nothing = !changes.cleared
            && changes.removed.is_empty()
            && changes.updated.is_empty()
            && changes.added.is_empty();
        (!nothing).then_some(changes)
    }

    pub(super) fn take_out(&mut self, cleared: bool, removed: &[Any]) {
        if cleared {
            self.entries.clear();
        }
        for key in removed {
            self.entries.remove(key);
        }
    }

    fn put(
        &mut self,
        key: &Any,
        change: impl FnOnce(&mut V) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        if let Some(value) = self.entries.get_mut(key) {
            return change(value);
        }
        let mut value = V::default();
        change(&mut value)?;
        self.entries.insert(taken::<K>(key)?, value);
        Ok(())
    }
}

impl<K: Element> CounterMap<K> {
    /// The number of a key; 0 if it is not there.
    #[must_use]
    pub fn value(&self, key: &K) -> i64 {
        self.get(key).map_or(0, Counter::value)
    }

    /// Changes the number of a key by so much.
    pub fn change(&mut self, key: &K, by: i64) {
        self.at(key).change(by);
    }

    /// The number of a key, to be changed; 0 if it was not there.
    pub fn at(&mut self, key: &K) -> &mut Counter {
        self.at_or(key, Counter::default)
    }
}

impl<K: Element> ReplicatedData for CounterMap<K> {
    const TYPE: DataType = DataType::CounterMap;
}

impl<K: Element> Piece for CounterMap<K> {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        let delta = match delta {
            Delta::CounterMap(delta) => delta,
            found => return Err(other(Self::TYPE, &found)),
        };
        self.take_out(delta.cleared, &delta.removed);
        for entry in delta.updated {
            let key = entry.key.unwrap_or_default();
            self.put(&key, |value| value.apply(Delta::Counter(entry.change)))?;
        }
        Ok(())
    }

    fn take_delta(&mut self) -> Option<Delta> {
        let changes = self.take_changes(Counter::take, Counter::value)?;
        Some(Delta::CounterMap(wire::CounterMapDelta {
            cleared: changes.cleared,
            removed: changes.removed,
            updated: counted(changes.updated.into_iter().chain(changes.added)),
        }))
    }

    fn whole(&self) -> Delta {
        let entries = self.entries.iter();
        let entries = entries.map(|(key, counter)| (key.clone(), counter.value()));
        Delta::CounterMap(wire::CounterMapDelta {
            updated: counted(entries),
            ..wire::CounterMapDelta::default()
        })
    }

    fn undo(&mut self) {
        self.undo_entries();
    }

    fn redo(&mut self, delta: &Delta) {
        let Delta::CounterMap(delta) = delta else {
            return;
        };
        self.redo_out(delta.cleared, &delta.removed);
        for entry in &delta.updated {
            let key = entry.key.clone().unwrap_or_default();
            let value = self.at_key(key, Counter::default);
            value.change(entry.change);
        }
    }
}

fn counted(entries: impl Iterator<Item = (Any, i64)>) -> Vec<counter_map_delta::Entry> {
    let entry = |(key, change)| counter_map_delta::Entry {
        key: Some(key),
        change,
    };
    entries.map(entry).collect()
}

impl<K: Element, T: Element> RegisterMap<K, T> {
    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &K) -> Option<T> {
        self.get(key).and_then(Register::get)
    }

    /// Writes the value of a key.
    pub fn set(&mut self, key: &K, value: &T) {
        self.at(key).set(value);
    }

    /// The register of a key, to be changed; empty if it was not there.
    pub fn at(&mut self, key: &K) -> &mut Register<T> {
        self.at_or(key, Register::default)
    }
}

impl<K: Element, T: Element> ReplicatedData for RegisterMap<K, T> {
    const TYPE: DataType = DataType::RegisterMap;
}

impl<K: Element, T: Element> Piece for RegisterMap<K, T> {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        let delta = match delta {
            Delta::RegisterMap(delta) => delta,
            found => return Err(other(Self::TYPE, &found)),
        };
        self.take_out(delta.cleared, &delta.removed);
        for entry in delta.updated {
            let key = entry.key.unwrap_or_default();
            let write = entry.write.unwrap_or_default();
            self.put(&key, |value| value.apply_write(&write))?;
        }
        Ok(())
    }

    fn take_delta(&mut self) -> Option<Delta> {
        let changes = self.take_changes(Register::take_write, Register::whole_write)?;
        Some(Delta::RegisterMap(wire::RegisterMapDelta {
            cleared: changes.cleared,
            removed: changes.removed,
            updated: written(changes.updated.into_iter().chain(changes.added)),
        }))
    }

    fn whole(&self) -> Delta {
        let entries = self.entries.iter();
        let entries = entries.map(|(key, register)| (key.clone(), register.whole_write()));
        Delta::RegisterMap(wire::RegisterMapDelta {
            updated: written(entries),
            ..wire::RegisterMapDelta::default()
        })
    }

    fn undo(&mut self) {
        self.undo_entries();
    }

    fn redo(&mut self, delta: &Delta) {
        let Delta::RegisterMap(delta) = delta else {
            return;
        };
        self.redo_out(delta.cleared, &delta.removed);
        for entry in &delta.updated {
            let key = entry.key.clone().unwrap_or_default();
            let value = self.at_key(key, Register::default);
            if let Some(write) = &entry.write {
                value.redo_write(write);
            }
        }
    }
}

fn written(entries: impl Iterator<Item = (Any, wire::Write)>) -> Vec<register_map_delta::Entry> {
    let entry = |(key, write)| register_map_delta::Entry {
        key: Some(key),
        write: Some(write),
    };
    entries.map(entry).collect()
}

impl<K: Element, T: Element> MultiMap<K, T> {
    /// The set of a key, to be changed; empty if it was not there.
    pub fn at(&mut self, key: &K) -> &mut Set<T> {
        self.at_or(key, Set::default)
    }
}

impl<K: Element, T: Element> ReplicatedData for MultiMap<K, T> {
    const TYPE: DataType = DataType::MultiMap;
}

impl<K: Element, T: Element> Piece for MultiMap<K, T> {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        let delta = match delta {
            Delta::MultiMap(delta) => delta,
            found => return Err(other(Self::TYPE, &found)),
        };
        self.take_out(delta.cleared, &delta.removed);
        for entry in delta.updated {
            let key = entry.key.unwrap_or_default();
            let change = entry.change.unwrap_or_default();
            self.put(&key, |value| value.apply_set(change))?;
        }
        Ok(())
    }

    fn take_delta(&mut self) -> Option<Delta> {
        let changes = self.take_changes(Set::take_set, Set::whole_set)?;
        Some(Delta::MultiMap(wire::MultiMapDelta {
            cleared: changes.cleared,
            removed: changes.removed,
            updated: changed(changes.updated.into_iter().chain(changes.added)),
        }))
    }

    fn whole(&self) -> Delta {
        let entries = self.entries.iter();
        let entries = entries.map(|(key, set)| (key.clone(), set.whole_set()));
        Delta::MultiMap(wire::MultiMapDelta {
            updated: changed(entries),
            ..wire::MultiMapDelta::default()
        })
    }

    fn undo(&mut self) {
        self.undo_entries();
    }

    fn redo(&mut self, delta: &Delta) {
        let Delta::MultiMap(delta) = delta else {
            return;
        };
        self.redo_out(delta.cleared, &delta.removed);
        for entry in &delta.updated {
            let key = entry.key.clone().unwrap_or_default();
            let value = self.at_key(key, Set::default);
            if let Some(change) = &entry.change {
                value.redo_set(change);
            }
        }
    }
}

fn changed(entries: impl Iterator<Item = (Any, wire::SetDelta)>) -> Vec<multi_map_delta::Entry> {
    let entry = |(key, change)| multi_map_delta::Entry {
        key: Some(key),
        change: Some(change),
    };
    entries.map(entry).collect()
}
