//! The map whose values are of any type.

use super::{
    Counter, CounterMap, DataType, Element, Entries, Flag, GrowCounter, GrowSet, MultiMap, Piece,
    Register, RegisterMap, ReplicatedData, Set, Vote, other, taken,
};
use crate::Any;
use crate::context::OpenError;
use crate::wire::{self, delta::Delta};

/// Keys with data of any type, also maps.
pub type Map<K> = Entries<K, MapValue>;

/// What a key of a [`Map`] has. Elements and keys within are [`Any`], since they can be anything.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each is what its type says")]
pub enum MapValue {
    GrowCounter(GrowCounter),
    Counter(Counter),
    GrowSet(GrowSet<Any>),
    Set(Set<Any>),
    Flag(Flag),
    Register(Register<Any>),
    Map(Map<Any>),
    Vote(Vote),
    CounterMap(CounterMap<Any>),
    RegisterMap(RegisterMap<Any, Any>),
    MultiMap(MultiMap<Any, Any>),
}

/// Does the same with whatever the value is.
macro_rules! each {
    ($value:expr, $it:ident => $do:expr) => {
        match $value {
            MapValue::GrowCounter($it) => $do,
            MapValue::Counter($it) => $do,
            MapValue::GrowSet($it) => $do,
            MapValue::Set($it) => $do,
            MapValue::Flag($it) => $do,
            MapValue::Register($it) => $do,
            MapValue::Map($it) => $do,
            MapValue::Vote($it) => $do,
            MapValue::CounterMap($it) => $do,
            MapValue::RegisterMap($it) => $do,
            MapValue::MultiMap($it) => $do,
        }
    };
}

impl MapValue {
    /// The empty value of a type.
    #[must_use]
    pub fn empty(data_type: DataType) -> Self {
        match data_type {
            DataType::GrowCounter => Self::GrowCounter(GrowCounter::default()),
            DataType::Counter => Self::Counter(Counter::default()),
            DataType::GrowSet => Self::GrowSet(GrowSet::default()),
            DataType::Set => Self::Set(Set::default()),
            DataType::Flag => Self::Flag(Flag::default()),
            DataType::Register => Self::Register(Register::default()),
            DataType::Map => Self::Map(Map::default()),
            DataType::Vote => Self::Vote(Vote::default()),
            DataType::CounterMap => Self::CounterMap(CounterMap::default()),
            DataType::RegisterMap => Self::RegisterMap(RegisterMap::default()),
            DataType::MultiMap => Self::MultiMap(MultiMap::default()),
        }
    }

    /// Of which type it is.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        fn of<D: ReplicatedData>(_: &D) -> DataType {
            D::TYPE
        }
        each!(self, it => of(it))
    }
}

impl Default for MapValue {
    fn default() -> Self {
        Self::empty(DataType::Map)
    }
}

impl Piece for MapValue {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        each!(self, it => it.apply(delta))
    }

    fn take_delta(&mut self) -> Option<Delta> {
        each!(self, it => it.take_delta())
    }

    fn whole(&self) -> Delta {
        each!(self, it => it.whole())
    }

    fn undo(&mut self) {
        each!(self, it => it.undo());
    }

    fn redo(&mut self, delta: &Delta) {
        each!(self, it => it.redo(delta));
    }
}

/// The type whose change this is.
fn type_of(delta: &Delta) -> DataType {
    match delta {
        Delta::GrowCounter(_) => DataType::GrowCounter,
        Delta::Counter(_) => DataType::Counter,
        Delta::GrowSet(_) => DataType::GrowSet,
        Delta::Set(_) => DataType::Set,
        Delta::Flag(_) => DataType::Flag,
        Delta::Register(_) => DataType::Register,
        Delta::Map(_) => DataType::Map,
        Delta::Vote(_) => DataType::Vote,
        Delta::CounterMap(_) => DataType::CounterMap,
        Delta::RegisterMap(_) => DataType::RegisterMap,
        Delta::MultiMap(_) => DataType::MultiMap,
    }
}

impl<K: Element> Map<K> {
    /// What a key has, to be changed; if it was not there, the empty value of the type.
    pub fn at(&mut self, key: &K, data_type: DataType) -> &mut MapValue {
        self.at_or(key, || MapValue::empty(data_type))
    }
}

impl<K: Element> ReplicatedData for Map<K> {
    const TYPE: DataType = DataType::Map;
}

impl<K: Element> Piece for Map<K> {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        let map = match delta {
            Delta::Map(map) => map,
            found => return Err(other(Self::TYPE, &found)),
        };
        self.take_out(map.cleared, &map.removed);
        for (key, delta) in map.updated.into_iter().filter_map(pair) {
            // One of a key that is gone, or of another type, is ignored.
            if let Some(value) = self.entries.get_mut(&key)
                && value.data_type() == type_of(&delta)
            {
                value.apply(delta)?;
            }
        }
        for (key, delta) in map.added.into_iter().filter_map(pair) {
            let data_type = type_of(&delta);
            match self.entries.get_mut(&key) {
                // Made here and elsewhere at once: both count.
                Some(value) if value.data_type() == data_type => value.apply(delta)?,
                _ => {
                    let mut value = MapValue::empty(data_type);
                    value.apply(delta)?;
                    self.entries.insert(taken::<K>(&key)?, value);
                }
            }
        }
        Ok(())
    }

    fn take_delta(&mut self) -> Option<Delta> {
        let changes = self.take_changes(MapValue::take_delta, MapValue::whole)?;
        Some(Delta::Map(wire::MapDelta {
            cleared: changes.cleared,
            removed: changes.removed,
            updated: changes.updated.into_iter().map(entry).collect(),
            added: changes.added.into_iter().map(entry).collect(),
        }))
    }

    fn whole(&self) -> Delta {
        let entries = self.entries.iter();
        let entries = entries.map(|(key, value)| entry((key.clone(), value.whole())));
        Delta::Map(wire::MapDelta {
            added: entries.collect(),
            ..wire::MapDelta::default()
        })
    }

    fn undo(&mut self) {
        self.undo_entries();
    }

    fn redo(&mut self, delta: &Delta) {
        let Delta::Map(map) = delta else { return };
        self.redo_out(map.cleared, &map.removed);
        for (key, delta) in map.updated.iter().cloned().filter_map(pair) {
            if self.entries.contains_key(&key) {
                self.at_key(key, MapValue::default).redo(&delta);
            }
        }
        for (key, delta) in map.added.iter().cloned().filter_map(pair) {
            let data_type = type_of(&delta);
            let value = self.at_key(key, || MapValue::empty(data_type));
            value.redo(&delta);
        }
    }
}

fn entry((key, delta): (Any, Delta)) -> wire::MapEntry {
    wire::MapEntry {
        key: Some(key),
        delta: Some(wire::Delta { delta: Some(delta) }),
    }
}

/// An entry with its parts; one that lacks them says nothing.
fn pair(entry: wire::MapEntry) -> Option<(Any, Delta)> {
    Some((entry.key.unwrap_or_default(), entry.delta?.delta?))
}
