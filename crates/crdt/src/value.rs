//! Values: what a function sees of an entity.

pub(crate) mod counter;
pub(crate) mod register;

use std::collections::{BTreeMap, BTreeSet};

use firn_model::id::NodeId;
use firn_model::payload::Payload;
use firn_model::replicated::{
    Clock, DataType, Delta, EntriesDelta, MapDelta, SetDelta, Votes, Write,
};

use crate::dot::Dots;
use crate::dotted::Dotted;
use crate::element::Element;
use crate::entry::{Entry, Kind, Slot, Store};
use crate::state::State;

/// A state as it is to be read.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The state.
    pub state: &'a State,
    /// Whose function reads it.
    pub me: NodeId,
    /// The members whose votes count.
    pub members: &'a BTreeSet<NodeId>,
}

impl State {
    /// The entity's value, as the change that leads to it from the empty value of its type; none if
    /// there is no value.
    pub fn value(&self, me: NodeId, members: &BTreeSet<NodeId>) -> Option<Delta> {
        let view = View {
            state: self,
            me,
            members,
        };
        self.0.root.shown().map(|slot| view.initial(slot))
    }
}

impl View<'_> {
    /// The change that leads from the empty value to a slot's.
    pub(crate) fn initial(&self, slot: &Slot) -> Delta {
        match (slot.data_type, &slot.store) {
            (DataType::GrowCounter, Store::Counter(shares)) => {
                Delta::GrowCounter(counter::grown(shares))
            }
            (_, Store::Counter(shares)) => Delta::Counter(counter::counted(shares)),
            (DataType::GrowSet, Store::Set(elements)) => Delta::GrowSet(payloads(elements.keys())),
            (_, Store::Set(elements)) => Delta::Set(set(elements)),
            (_, Store::Flag(dots)) => Delta::Flag(!dots.is_empty()),
            (_, Store::Register(writes)) => Delta::Register(register(writes)),
            (_, Store::Vote(votes)) => Delta::Vote(self.votes(votes)),
            (data_type, Store::Map(entries)) => self.map(data_type, entries),
        }
    }

    fn map(&self, data_type: DataType, entries: &BTreeMap<Element, Entry>) -> Delta {
        match data_type {
            DataType::CounterMap => {
                let counted = |shares: &Dotted<i128>| counter::counted(shares);
                Delta::CounterMap(uniform(entries, counted))
            }
            DataType::RegisterMap => Delta::RegisterMap(uniform(entries, register)),
            DataType::MultiMap => Delta::MultiMap(uniform(entries, set)),
            _ => {
                let added = shown(entries);
                let initial = |(key, slot): (&Element, _)| (key.payload(), self.initial(slot));
                Delta::Map(MapDelta {
                    added: added.map(initial).collect(),
                    ..MapDelta::default()
                })
            }
        }
    }

    /// The votes of the members; a node's is its latest.
    pub(crate) fn votes(&self, votes: &Dotted<bool>) -> Votes {
        let latest: BTreeMap<NodeId, bool> = votes
            .iter()
            .map(|(dot, vote)| (dot.replica.node, *vote))
            .collect();
        let counts = |node: &&NodeId| latest.get(node).copied().unwrap_or_default();
        Votes {
            own: counts(&&self.me),
            yes: self.members.iter().filter(counts).count() as u32,
            members: self.members.len() as u32,
        }
    }
}

/// The entries of a map that have a value to show, each with it.
pub(crate) fn shown(entries: &BTreeMap<Element, Entry>) -> impl Iterator<Item = (&Element, &Slot)> {
    entries
        .iter()
        .filter_map(|(key, entry)| Some((key, entry.shown()?)))
}

pub(crate) fn payloads<'a>(elements: impl IntoIterator<Item = &'a Element>) -> Vec<Payload> {
    elements.into_iter().map(Element::payload).collect()
}

/// The change that leads to a map of values of one kind.
fn uniform<K: Kind, T>(
    entries: &BTreeMap<Element, Entry>,
    value: impl Fn(&K) -> T,
) -> EntriesDelta<T> {
    let initial = |(key, slot): (&Element, &Slot)| (key.payload(), value(K::of(&slot.store)));
    EntriesDelta {
        updated: shown(entries).map(initial).collect(),
        ..EntriesDelta::default()
    }
}

pub(crate) fn set(elements: &BTreeMap<Element, Dots>) -> SetDelta {
    SetDelta {
        added: payloads(elements.keys()),
        ..SetDelta::default()
    }
}

/// The write that leads to a register's value. A register that is shown has one.
pub(crate) fn register(writes: &Dotted<crate::entry::Written>) -> Write {
    let winner = register::winner(writes).map(|(_, written)| written.value.payload());
    Write {
        value: winner.unwrap_or_default(),
        clock: Clock::Default,
    }
}
