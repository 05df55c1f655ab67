//! Differences: what a function has to be told when its entity's value changed.

use std::collections::BTreeMap;

use firn_model::replicated::{DataType, Delta, EntriesDelta, MapDelta, SetDelta, Write};

use crate::dot::Dots;
use crate::dotted::Dotted;
use crate::element::Element;
use crate::entry::{Entry, Kind, Slot, Written};
use crate::state::Presence;
use crate::value::{self, View, counter, payloads, shown};

/// How one value differs from another, for a function that holds the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// They are the same.
    Same,
    /// This change leads to the new value.
    Changed(Delta),
    /// No change leads to it: what only grows has shrunk, or the type is another. The function has
    /// to begin anew.
    Incompatible,
    /// The entity was deleted.
    Deleted,
}

/// How the value differs that a function has (`old`) from the one it should have (`new`).
pub fn difference(old: View<'_>, new: View<'_>) -> Difference {
    match (old.state.presence(), new.state.presence()) {
        (Presence::Deleted, Presence::Deleted) | (Presence::Absent, Presence::Absent) => {
            return Difference::Same;
        }
        (_, Presence::Deleted) => return Difference::Deleted,
        _ => {}
    }
    match (old.state.0.root.shown(), new.state.0.root.shown()) {
        (None, Some(slot)) if !old.state.is_deleted() => Difference::Changed(new.initial(slot)),
        (Some(before), Some(after)) => match (Two { old, new }).slots(before, after) {
            Change::Same => Difference::Same,
            Change::By(delta) => Difference::Changed(delta),
            Change::Incompatible => Difference::Incompatible,
        },
        _ => Difference::Incompatible,
    }
}

/// How a part of a value changed.
enum Change<T> {
    Same,
    By(T),
    Incompatible,
}

/// Both sides of a difference.
struct Two<'a> {
    old: View<'a>,
    new: View<'a>,
}

/// A map's entries.
type Entries = BTreeMap<Element, Entry>;

impl<T> Change<T> {
    fn map<U>(self, map: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Self::Same => Change::Same,
            Self::By(change) => Change::By(map(change)),
            Self::Incompatible => Change::Incompatible,
        }
    }
}

impl<T: Default + PartialEq> Change<T> {
    /// The change, unless it changes nothing.
    fn some(change: T) -> Self {
        if change == T::default() {
            Self::Same
        } else {
            Self::By(change)
        }
    }
}

impl Two<'_> {
    fn slots(&self, old: &Slot, new: &Slot) -> Change<Delta> {
        if old.data_type != new.data_type {
            return Change::Incompatible;
        }
        match new.data_type {
            DataType::GrowCounter => both(old, new, grown).map(Delta::GrowCounter),
            DataType::Counter => both(old, new, counted).map(Delta::Counter),
            DataType::GrowSet => both(old, new, added).map(Delta::GrowSet),
            DataType::Set => both(old, new, set).map(Delta::Set),
            DataType::Flag => both(old, new, flag).map(Delta::Flag),
            DataType::Register => both(old, new, register).map(Delta::Register),
            DataType::Vote => self.votes(Kind::of(&old.store), Kind::of(&new.store)),
            DataType::Map => {
                let (old, new) = (Kind::of(&old.store), Kind::of(&new.store));
                self.map(old, new).map(Delta::Map)
            }
            DataType::CounterMap => {
                let initial = |shares: &Dotted<i128>| counter::counted(shares);
                uniform(old, new, counted, initial).map(Delta::CounterMap)
            }
            DataType::RegisterMap => {
                uniform(old, new, register, value::register).map(Delta::RegisterMap)
            }
            DataType::MultiMap => uniform(old, new, set, value::set).map(Delta::MultiMap),
        }
    }

    fn votes(&self, old: &Dotted<bool>, new: &Dotted<bool>) -> Change<Delta> {
        let (old, new) = (self.old.votes(old), self.new.votes(new));
        if old == new {
            Change::Same
        } else {
            Change::By(Delta::Vote(new))
        }
    }

    fn map(&self, old: &Entries, new: &Entries) -> Change<MapDelta> {
        if let Some(change) = emptied(old, new) {
            return change.map(|cleared| MapDelta {
                cleared,
                ..MapDelta::default()
            });
        }
        let mut delta = MapDelta::default();
        for (key, old, new) in pairs(shown(old), shown(new)) {
            let change = match (old, new) {
                (Some(old), Some(new)) => self.slots(old, new),
                _ => Change::Incompatible,
            };
            match change {
                Change::Same => {}
                Change::By(change) => delta.updated.push((key.payload(), change)),
                Change::Incompatible => {
                    delta.removed.extend(old.map(|_| key.payload()));
                    let initial = new.map(|slot| (key.payload(), self.new.initial(slot)));
                    delta.added.extend(initial);
                }
            }
        }
        Change::some(delta)
    }
}

/// Compares the data of two slots of one type.
fn both<K: Kind, T>(old: &Slot, new: &Slot, compare: fn(&K, &K) -> Change<T>) -> Change<T> {
    compare(K::of(&old.store), K::of(&new.store))
}

/// Compares two maps whose values are all of one type.
fn uniform<K: Kind, T: PartialEq>(
    old: &Slot,
    new: &Slot,
    compare: fn(&K, &K) -> Change<T>,
    initial: impl Fn(&K) -> T,
) -> Change<EntriesDelta<T>> {
    let (old, new) = (Entries::of(&old.store), Entries::of(&new.store));
    if let Some(change) = emptied(old, new) {
        return change.map(|cleared| EntriesDelta {
            cleared,
            ..EntriesDelta::default()
        });
    }
    let mut delta = EntriesDelta::default();
    for (key, old, new) in pairs(shown(old), shown(new)) {
        let change = match (old, new) {
            (Some(old), Some(new)) => both(old, new, compare),
            _ => Change::Incompatible,
        };
        match change {
            Change::Same => {}
            Change::By(change) => delta.updated.push((key.payload(), change)),
            Change::Incompatible => {
                delta.removed.extend(old.map(|_| key.payload()));
                let initial = new.map(|slot| (key.payload(), initial(K::of(&slot.store))));
                delta.updated.extend(initial);
            }
        }
    }
    Change::some(delta)
}

/// The change to a map without entries: none of it if there were none, else that it is cleared.
fn emptied(old: &Entries, new: &Entries) -> Option<Change<bool>> {
    let cleared = || Change::some(shown(old).next().is_some());
    shown(new).next().is_none().then(cleared)
}

fn grown(old: &Dotted<i128>, new: &Dotted<i128>) -> Change<u64> {
    let by = counter::grown(new).checked_sub(counter::grown(old));
    by.map_or(Change::Incompatible, Change::some)
}

fn counted(old: &Dotted<i128>, new: &Dotted<i128>) -> Change<i64> {
    let by = counter::counted(new).checked_sub(counter::counted(old));
    by.map_or(Change::Incompatible, Change::some)
}

fn flag(old: &Dots, new: &Dots) -> Change<bool> {
    match (old.is_empty(), new.is_empty()) {
        (true, false) => Change::By(true),
        (false, true) => Change::Incompatible,
        _ => Change::Same,
    }
}

fn register(old: &Dotted<Written>, new: &Dotted<Written>) -> Change<Write> {
    let value = |writes| value::register::winner(writes).map(|(_, written)| &written.value);
    if value(old) == value(new) {
        Change::Same
    } else {
        Change::By(value::register(new))
    }
}

fn added(
    old: &BTreeMap<Element, Dots>,
    new: &BTreeMap<Element, Dots>,
) -> Change<Vec<firn_model::payload::Payload>> {
    let (removed, added) = members(old, new);
    if removed.is_empty() {
        Change::some(payloads(added))
    } else {
        Change::Incompatible
    }
}

fn set(old: &BTreeMap<Element, Dots>, new: &BTreeMap<Element, Dots>) -> Change<SetDelta> {
    let (removed, added) = members(old, new);
    let cleared = removed.len() + added.len() > new.len() && !removed.is_empty();
    Change::some(if cleared {
        SetDelta {
            cleared,
            ..value::set(new)
        }
    } else {
        SetDelta {
            cleared,
            removed: payloads(removed),
            added: payloads(added),
        }
    })
}

/// What left a set and what came.
fn members<'a>(
    old: &'a BTreeMap<Element, Dots>,
    new: &'a BTreeMap<Element, Dots>,
) -> (Vec<&'a Element>, Vec<&'a Element>) {
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for (element, old, new) in pairs(old.iter(), new.iter()) {
        match (old, new) {
            (Some(_), None) => removed.push(element),
            (None, Some(_)) => added.push(element),
            _ => {}
        }
    }
    (removed, added)
}

/// Goes along two ascending sequences at once.
fn pairs<'a, T>(
    old: impl Iterator<Item = (&'a Element, T)>,
    new: impl Iterator<Item = (&'a Element, T)>,
) -> impl Iterator<Item = (&'a Element, Option<T>, Option<T>)> {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    std::iter::from_fn(move || {
        let first = match (old.peek(), new.peek()) {
            (Some((old, _)), Some((new, _))) => (*old).min(*new),
            (Some((only, _)), None) | (None, Some((only, _))) => *only,
            (None, None) => return None,
        };
        let old = old.next_if(|(element, _)| *element == first);
        let new = new.next_if(|(element, _)| *element == first);
        let value = |(_, value)| value;
        Some((first, old.map(value), new.map(value)))
    })
}
