//! What of a tree a replica does not know.

use std::collections::BTreeMap;

use crate::context::Context;
use crate::dot::{Dot, Dots};
use crate::dotted::Dotted;
use crate::element::Element;
use crate::entry::{Entry, Slot, Store};

impl Entry {
    /// A copy of what lives under dots that are not in `known`; the other dots go to `shared`.
    pub(crate) fn without(&self, known: &Context, shared: &mut Vec<Dot>) -> Option<Self> {
        let slots = self.slots.iter();
        let slots: Vec<Slot> = slots
            .filter_map(|slot| slot.without(known, shared))
            .collect();
        (!slots.is_empty()).then_some(Self {
            whole: false,
            slots,
        })
    }
}

impl Slot {
    fn without(&self, known: &Context, shared: &mut Vec<Dot>) -> Option<Self> {
        let presence = dots(&self.presence, known, shared).unwrap_or_default();
        let store = match &self.store {
            Store::Counter(shares) => Store::Counter(dotted(shares, known, shared)),
            Store::Set(elements) => Store::Set(tree(elements, |part| dots(part, known, shared))),
            Store::Flag(flag) => Store::Flag(dots(flag, known, shared).unwrap_or_default()),
            Store::Register(writes) => Store::Register(dotted(writes, known, shared)),
            Store::Vote(votes) => Store::Vote(dotted(votes, known, shared)),
            Store::Map(entries) => Store::Map(tree(entries, |entry| entry.without(known, shared))),
        };
        (!presence.is_empty() || !store.is_empty()).then_some(Self {
            data_type: self.data_type,
            presence,
            store,
        })
    }
}

fn tree<P>(
    tree: &BTreeMap<Element, P>,
    mut part: impl FnMut(&P) -> Option<P>,
) -> BTreeMap<Element, P> {
    tree.iter()
        .filter_map(|(element, whole)| part(whole).map(|part| (element.clone(), part)))
        .collect()
}

fn dots(dots: &Dots, known: &Context, shared: &mut Vec<Dot>) -> Option<Dots> {
    let mut rest = dots.clone();
    rest.retain(|dot| !known.contains(dot));
    shared.extend(dots.iter().filter(|dot| !rest.contains(*dot)));
    (!rest.is_empty()).then_some(rest)
}

fn dotted<T: Clone>(values: &Dotted<T>, known: &Context, shared: &mut Vec<Dot>) -> Dotted<T> {
    let mut rest = values.clone();
    rest.retain(|dot| !known.contains(dot));
    shared.extend(values.dots().filter(|dot| !rest.contains(*dot)));
    rest
}
