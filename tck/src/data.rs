//! Replicated values, as the kit keeps them.
//!
//! [`Data::apply`] takes deltas as a function sends them, [`Data::step`] does a step of a request,
//! [`Data::delta`] says a value as the change that leads to it, and [`Data::change`] says a step done
//! elsewhere as a delta. What the four say about one step agrees, or the kit is wrong.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::Any;

use crate::proto::model::data_step::Step;
use crate::proto::model::{self, Value, ValueEntry};
use crate::proto::v1::delta::Delta as Kind;
use crate::proto::v1::{
    self, CounterMapDelta, DataType, Delta, Elements, MapDelta, MapEntry, MultiMapDelta,
    RegisterMapDelta, SetDelta, Votes, counter_map_delta, multi_map_delta, register_map_delta,
};
use crate::proto::{text, text_of};

/// A value of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    GrowCounter(u64),
    Counter(i64),
    GrowSet(BTreeSet<String>),
    Set(BTreeSet<String>),
    Flag(bool),
    Register(String),
    Map(BTreeMap<String, Data>),
    Vote { own: bool, yes: u32, members: u32 },
    CounterMap(BTreeMap<String, i64>),
    RegisterMap(BTreeMap<String, String>),
    MultiMap(BTreeMap<String, BTreeSet<String>>),
}

/// Why a delta cannot be applied.
pub(crate) type Misfit = String;

fn texts(elements: &[Any]) -> Result<Vec<String>, Misfit> {
    let one = |any: &Any| {
        text_of(any).ok_or_else(|| format!("{} where a firn.tck.v1.Text should be", any.type_url))
    };
    elements.iter().map(one).collect()
}

fn key(any: Option<&Any>) -> Result<String, Misfit> {
    let any = any.ok_or("an entry without a key")?;
    Ok(texts(std::slice::from_ref(any))?.remove(0))
}

fn written(write: Option<&v1::Write>) -> Result<String, Misfit> {
    let write = write.ok_or("an entry without a write")?;
    let Some(value) = &write.value else {
        return Ok(String::new());
    };
    Ok(texts(std::slice::from_ref(value))?.remove(0))
}

fn apply_set(set: &mut BTreeSet<String>, delta: &SetDelta) -> Result<(), Misfit> {
    if delta.cleared {
        set.clear();
    }
    for removed in texts(&delta.removed)? {
        set.remove(&removed);
    }
    set.extend(texts(&delta.added)?);
    Ok(())
}

/// Clears and removes, as every delta of a map begins.
fn prune<V>(map: &mut BTreeMap<String, V>, cleared: bool, removed: &[Any]) -> Result<(), Misfit> {
    if cleared {
        map.clear();
    }
    for key in texts(removed)? {
        map.remove(&key);
    }
    Ok(())
}

impl Data {
    /// The empty value of a type.
    pub(crate) fn empty(data_type: DataType) -> Self {
        match data_type {
            DataType::Unspecified | DataType::GrowCounter => Self::GrowCounter(0),
            DataType::Counter => Self::Counter(0),
            DataType::GrowSet => Self::GrowSet(BTreeSet::new()),
            DataType::Set => Self::Set(BTreeSet::new()),
            DataType::Flag => Self::Flag(false),
            DataType::Register => Self::Register(String::new()),
            DataType::Map => Self::Map(BTreeMap::new()),
            DataType::Vote => Self::Vote {
                own: false,
                yes: 0,
                members: 0,
            },
            DataType::CounterMap => Self::CounterMap(BTreeMap::new()),
            DataType::RegisterMap => Self::RegisterMap(BTreeMap::new()),
            DataType::MultiMap => Self::MultiMap(BTreeMap::new()),
        }
    }

    /// The empty value of the type that a delta is of.
    fn empty_of(delta: &Delta) -> Result<Self, Misfit> {
        let data_type = match delta.delta.as_ref().ok_or("a delta of no type")? {
            Kind::GrowCounter(_) => DataType::GrowCounter,
            Kind::Counter(_) => DataType::Counter,
            Kind::GrowSet(_) => DataType::GrowSet,
            Kind::Set(_) => DataType::Set,
            Kind::Flag(_) => DataType::Flag,
            Kind::Register(_) => DataType::Register,
            Kind::Map(_) => DataType::Map,
            Kind::Vote(_) => DataType::Vote,
            Kind::CounterMap(_) => DataType::CounterMap,
            Kind::RegisterMap(_) => DataType::RegisterMap,
            Kind::MultiMap(_) => DataType::MultiMap,
        };
        Ok(Self::empty(data_type))
    }

    /// The value that a delta from the empty one leads to.
    pub(crate) fn of(delta: &Delta) -> Result<Self, Misfit> {
        let mut value = Self::empty_of(delta)?;
        value.apply(delta)?;
        Ok(value)
    }

    /// Applies a delta.
    pub(crate) fn apply(&mut self, delta: &Delta) -> Result<(), Misfit> {
        match (self, delta.delta.as_ref().ok_or("a delta of no type")?) {
            (Self::GrowCounter(number), Kind::GrowCounter(by)) => *number += by,
            (Self::Counter(number), Kind::Counter(by)) => *number += by,
            (Self::GrowSet(set), Kind::GrowSet(added)) => set.extend(texts(&added.elements)?),
            (Self::Set(set), Kind::Set(delta)) => apply_set(set, delta)?,
            (Self::Flag(on), Kind::Flag(turned)) => *on |= turned,
            (Self::Register(value), Kind::Register(write)) => *value = written(Some(write))?,
            (Self::Map(map), Kind::Map(delta)) => {
                prune(map, delta.cleared, &delta.removed)?;
                for MapEntry { key: name, delta } in &delta.updated {
                    let change = delta.as_ref().ok_or("an entry without a delta")?;
                    match map.get_mut(&key(name.as_ref())?) {
                        Some(value) => value.apply(change)?,
                        None => return Err("an update of a key that the map has not".into()),
                    }
                }
                for MapEntry { key: name, delta } in &delta.added {
                    let change = delta.as_ref().ok_or("an entry without a delta")?;
                    let mut value = Self::empty_of(change)?;
                    value.apply(change)?;
                    if map.insert(key(name.as_ref())?, value).is_some() {
                        return Err("an addition of a key that the map has already".into());
                    }
                }
            }
            (Self::Vote { own, yes, members }, Kind::Vote(votes)) => {
                (*own, *yes, *members) = (votes.own, votes.yes, votes.members);
            }
            (Self::CounterMap(map), Kind::CounterMap(delta)) => {
                prune(map, delta.cleared, &delta.removed)?;
                for entry in &delta.updated {
                    *map.entry(key(entry.key.as_ref())?).or_default() += entry.change;
                }
            }
            (Self::RegisterMap(map), Kind::RegisterMap(delta)) => {
                prune(map, delta.cleared, &delta.removed)?;
                for entry in &delta.updated {
                    map.insert(key(entry.key.as_ref())?, written(entry.write.as_ref())?);
                }
            }
            (Self::MultiMap(map), Kind::MultiMap(delta)) => {
                prune(map, delta.cleared, &delta.removed)?;
                for entry in &delta.updated {
                    let change = entry.change.as_ref().ok_or("an entry without a change")?;
                    apply_set(map.entry(key(entry.key.as_ref())?).or_default(), change)?;
                }
            }
            (own, other) => return Err(format!("{other:?} for {own:?}")),
        }
        Ok(())
    }

    /// The value as the change that leads to it from the empty one.
    pub(crate) fn delta(&self) -> Delta {
        let all = |set: &BTreeSet<String>| set.iter().map(|one| text(one)).collect();
        let of_set = |set: &BTreeSet<String>| SetDelta {
            added: all(set),
            ..SetDelta::default()
        };
        let kind = match self {
            Self::GrowCounter(number) => Kind::GrowCounter(*number),
            Self::Counter(number) => Kind::Counter(*number),
            Self::GrowSet(set) => Kind::GrowSet(Elements { elements: all(set) }),
            Self::Set(set) => Kind::Set(of_set(set)),
            Self::Flag(on) => Kind::Flag(*on),
            Self::Register(value) => Kind::Register(write_of(value)),
            Self::Map(map) => Kind::Map(MapDelta {
                added: map
                    .iter()
                    .map(|(key, value)| entry(key, value.delta()))
                    .collect(),
                ..MapDelta::default()
            }),
            Self::Vote { own, yes, members } => Kind::Vote(Votes {
                own: *own,
                yes: *yes,
                members: *members,
            }),
            Self::CounterMap(map) => {
                let entry = |(key, change): (&String, &i64)| counter_map_delta::Entry {
                    key: Some(text(key)),
                    change: *change,
                };
                Kind::CounterMap(CounterMapDelta {
                    updated: map.iter().map(entry).collect(),
                    ..CounterMapDelta::default()
                })
            }
            Self::RegisterMap(map) => {
                let entry = |(key, value): (&String, &String)| register_map_delta::Entry {
                    key: Some(text(key)),
                    write: Some(write_of(value)),
                };
                Kind::RegisterMap(RegisterMapDelta {
                    updated: map.iter().map(entry).collect(),
                    ..RegisterMapDelta::default()
                })
            }
            Self::MultiMap(map) => {
                let entry = |(key, set): (&String, &BTreeSet<String>)| multi_map_delta::Entry {
                    key: Some(text(key)),
                    change: Some(of_set(set)),
                };
                Kind::MultiMap(MultiMapDelta {
                    updated: map.iter().map(entry).collect(),
                    ..MultiMapDelta::default()
                })
            }
        };
        Delta { delta: Some(kind) }
    }

    /// Does a step.
    pub(crate) fn step(&mut self, step: &Step) {
        match (self, step) {
            (Self::GrowCounter(number), Step::Change(by)) => *number += by.unsigned_abs(),
            (Self::Counter(number), Step::Change(by)) => *number += by,
            (Self::GrowSet(set) | Self::Set(set), Step::Add(element)) => {
                set.insert(element.clone());
            }
            (Self::Set(set), Step::Remove(element)) => {
                set.remove(element);
            }
            (Self::Set(set), Step::Clear(_)) => set.clear(),
            (Self::Flag(on), Step::TurnOn(_)) => *on = true,
            (Self::Register(value), Step::Write(write)) => value.clone_from(&write.text),
            (Self::Vote { own, yes, .. }, Step::Vote(vote)) => {
                *yes = (*yes + u32::from(*vote)).saturating_sub(u32::from(*own));
                *own = *vote;
            }
            (Self::Map(map), Step::At(at)) => {
                let data_type = DataType::try_from(at.data_type.cast_signed());
                let empty = Self::empty(data_type.unwrap_or(DataType::Unspecified));
                if let Some(step) = inner(at) {
                    map.entry(at.key.clone()).or_insert(empty).step(step);
                }
            }
            (Self::CounterMap(map), Step::At(at)) => {
                if let Some(Step::Change(by)) = inner(at) {
                    *map.entry(at.key.clone()).or_default() += by;
                }
            }
            (Self::RegisterMap(map), Step::At(at)) => {
                if let Some(Step::Write(write)) = inner(at) {
                    map.insert(at.key.clone(), write.text.clone());
                }
            }
            (Self::MultiMap(map), Step::At(at)) => {
                if let Some(step) = inner(at) {
                    let mut set = Self::Set(std::mem::take(map.entry(at.key.clone()).or_default()));
                    set.step(step);
                    if let Self::Set(set) = set {
                        map.insert(at.key.clone(), set);
                    }
                }
            }
            (Self::Map(map), step) => step_map(map, step),
            (Self::CounterMap(map), step) => step_map(map, step),
            (Self::RegisterMap(map), step) => step_map(map, step),
            (Self::MultiMap(map), step) => step_map(map, step),
            _ => {}
        }
    }

    /// A step that is done elsewhere, as the delta that tells of it.
    pub(crate) fn change(&self, step: &Step) -> Delta {
        let some = |element: &str| vec![text(element)];
        let kind = match (self, step) {
            (Self::GrowCounter(_), Step::Change(by)) => Kind::GrowCounter(by.unsigned_abs()),
            (Self::Counter(_), Step::Change(by)) => Kind::Counter(*by),
            (Self::GrowSet(_), Step::Add(element)) => Kind::GrowSet(Elements {
                elements: some(element),
            }),
            (Self::Set(_), step) => Kind::Set(set_change(step)),
            (Self::Flag(_), _) => Kind::Flag(true),
            (Self::Register(_), Step::Write(write)) => Kind::Register(write_of(&write.text)),
            (Self::Map(map), Step::At(at)) => {
                let mut delta = MapDelta::default();
                if let (Some(value), Some(step)) = (map.get(&at.key), inner(at)) {
                    delta.updated = vec![entry(&at.key, value.change(step))];
                } else {
                    let mut after = self.clone();
                    after.step(step);
                    if let Self::Map(after) = after
                        && let Some(value) = after.get(&at.key)
                    {
                        delta.added = vec![entry(&at.key, value.delta())];
                    }
                }
                Kind::Map(delta)
            }
            (Self::Map(_), step) => Kind::Map(MapDelta {
                cleared: matches!(step, Step::Clear(_)),
                removed: removed(step),
                ..MapDelta::default()
            }),
            (Self::CounterMap(_), step) => {
                let mut delta = CounterMapDelta {
                    cleared: matches!(step, Step::Clear(_)),
                    removed: removed(step),
                    ..CounterMapDelta::default()
                };
                if let Step::At(at) = step
                    && let Some(Step::Change(change)) = inner(at)
                {
                    delta.updated = vec![counter_map_delta::Entry {
                        key: Some(text(&at.key)),
                        change: *change,
                    }];
                }
                Kind::CounterMap(delta)
            }
            (Self::RegisterMap(_), step) => {
                let mut delta = RegisterMapDelta {
                    cleared: matches!(step, Step::Clear(_)),
                    removed: removed(step),
                    ..RegisterMapDelta::default()
                };
                if let Step::At(at) = step
                    && let Some(Step::Write(write)) = inner(at)
                {
                    delta.updated = vec![register_map_delta::Entry {
                        key: Some(text(&at.key)),
                        write: Some(write_of(&write.text)),
                    }];
                }
                Kind::RegisterMap(delta)
            }
            (Self::MultiMap(_), step) => {
                let mut delta = MultiMapDelta {
                    cleared: matches!(step, Step::Clear(_)),
                    removed: removed(step),
                    ..MultiMapDelta::default()
                };
                if let Step::At(at) = step
                    && let Some(step) = inner(at)
                {
                    delta.updated = vec![multi_map_delta::Entry {
                        key: Some(text(&at.key)),
                        change: Some(set_change(step)),
                    }];
                }
                Kind::MultiMap(delta)
            }
            (own, step) => {
                let mut after = own.clone();
                after.step(step);
                return after.delta();
            }
        };
        Delta { delta: Some(kind) }
    }

    /// The value as a reply shows it.
    pub(crate) fn value(&self) -> Value {
        let mut value = Value::default();
        match self {
            Self::GrowCounter(number) => value.number = number.cast_signed(),
            Self::Counter(number) => value.number = *number,
            Self::GrowSet(set) | Self::Set(set) => value.elements = set.iter().cloned().collect(),
            Self::Flag(on) => value.on = *on,
            Self::Register(text) => value.text.clone_from(text),
            Self::Vote { own, yes, members } => {
                (value.on, value.number, value.members) = (*own, i64::from(*yes), *members);
            }
            Self::Map(map) => value.entries = entries(map, Self::value),
            Self::CounterMap(map) => {
                value.entries = entries(map, |number| Self::Counter(*number).value());
            }
            Self::RegisterMap(map) => {
                value.entries = entries(map, |text| Self::Register(text.clone()).value());
            }
            Self::MultiMap(map) => {
                // Whether a key without values is one is left open.
                value.entries = entries(map, |set| Self::Set(set.clone()).value());
                value.entries.retain(|entry| {
                    entry
                        .value
                        .as_ref()
                        .is_some_and(|value| !value.elements.is_empty())
                });
            }
        }
        value
    }
}

/// What is done to the value of a key.
fn inner(at: &model::At) -> Option<&Step> {
    at.step.as_deref()?.step.as_ref()
}

fn step_map<V>(map: &mut BTreeMap<String, V>, step: &Step) {
    match step {
        Step::Remove(key) => {
            map.remove(key);
        }
        Step::Clear(_) => map.clear(),
        _ => {}
    }
}

fn set_change(step: &Step) -> SetDelta {
    SetDelta {
        cleared: matches!(step, Step::Clear(_)),
        removed: removed(step),
        added: match step {
            Step::Add(element) => vec![text(element)],
            _ => Vec::new(),
        },
    }
}

fn removed(step: &Step) -> Vec<Any> {
    match step {
        Step::Remove(element) => vec![text(element)],
        _ => Vec::new(),
    }
}

fn write_of(value: &str) -> v1::Write {
    v1::Write {
        value: (!value.is_empty()).then(|| text(value)),
        ..v1::Write::default()
    }
}

fn entry(key: &str, delta: Delta) -> MapEntry {
    MapEntry {
        key: Some(text(key)),
        delta: Some(delta),
    }
}

fn entries<V>(map: &BTreeMap<String, V>, value: impl Fn(&V) -> Value) -> Vec<ValueEntry> {
    map.iter()
        .map(|(key, inner)| ValueEntry {
            key: key.clone(),
            value: Some(value(inner)),
        })
        .collect()
}
