//! Entries: the tree of live data, as states and patches hold it.
//!
//! An [`Entry`] is what stands at the root of an entity and at each key of a map. It can hold data of
//! several types at once, because two replicas may create it at the same time with different types:
//! both stay, each in a [`Slot`], and the one with the smallest type is shown, on every replica the
//! same. A slot holds the dots of its presence, so that an empty value can be there, and its data.
//!
//! In a patch, what is named without a live dot says "dead here", and `whole` says that all below
//! counts as named. A state is whole at its root, names nothing dead, and has no other `whole`.

use std::collections::BTreeMap;

use firn_model::replicated::DataType;

use crate::dot::{Dot, Dots};
use crate::dotted::Dotted;
use crate::element::Element;

/// What is at the root of an entity, or at a key of a map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    pub(crate) whole: bool,
    /// By type, ascending; nearly always one.
    pub(crate) slots: Vec<Slot>,
}

/// Data of one type in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) data_type: DataType,
    pub(crate) presence: Dots,
    /// Always of the kind that [`Store::new`] makes for the type.
    pub(crate) store: Store,
}

/// The data itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// What each replica added, of both types of counter. A share can be far beyond the range of a
    /// counter's value, because others' shares may hold against it.
    Counter(Dotted<i128>),
    Set(BTreeMap<Element, Dots>),
    Flag(Dots),
    Register(Dotted<Written>),
    Vote(Dotted<bool>),
    /// All types of map.
    Map(BTreeMap<Element, Entry>),
}

/// A write to a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) stamp: i64,
    pub(crate) value: Element,
}

impl Entry {
    pub(crate) fn slot(&self, data_type: DataType) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.data_type == data_type)
    }

    /// The slot of a type, made if it is missing.
    pub(crate) fn slot_mut(&mut self, data_type: DataType) -> &mut Slot {
        let place = self
            .slots
            .binary_search_by_key(&data_type, |slot| slot.data_type);
        let place = place.unwrap_or_else(|place| {
            self.slots.insert(place, Slot::new(data_type));
            place
        });
        &mut self.slots[place]
    }

    /// The slot that is shown.
    pub(crate) fn shown(&self) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.is_shown(|_| true))
    }

    pub(crate) fn dots(&self, each: &mut dyn FnMut(Dot)) {
        for slot in &self.slots {
            slot.presence.iter().for_each(&mut *each);
            slot.store.dots(each);
        }
    }
}

impl Slot {
    pub(crate) fn new(data_type: DataType) -> Self {
        Self {
            data_type,
            presence: Dots::default(),
            store: Store::new(data_type),
        }
    }

    /// Whether a value can be shown when the dots that `alive` accepts are alive. A register without
    /// a write has no value to show.
    pub(crate) fn is_shown(&self, alive: impl Fn(Dot) -> bool) -> bool {
        let present = || self.presence.iter().any(&alive);
        match &self.store {
            Store::Counter(shares) => present() || shares.dots().any(&alive),
            Store::Set(elements) => {
                present() || elements.values().any(|dots| dots.iter().any(&alive))
            }
            Store::Flag(dots) => present() || dots.iter().any(&alive),
            Store::Register(writes) => writes.dots().any(&alive),
            Store::Vote(votes) => present() || votes.dots().any(&alive),
            Store::Map(entries) => present() || entries.values().any(|entry| entry.any(&alive)),
        }
    }
}

impl Entry {
    fn any(&self, alive: &dyn Fn(Dot) -> bool) -> bool {
        self.slots.iter().any(|slot| slot.is_shown(alive))
    }
}

impl Store {
    pub(crate) fn new(data_type: DataType) -> Self {
        match data_type {
            DataType::GrowCounter | DataType::Counter => Self::Counter(Dotted::default()),
            DataType::GrowSet | DataType::Set => Self::Set(BTreeMap::new()),
            DataType::Flag => Self::Flag(Dots::default()),
            DataType::Register => Self::Register(Dotted::default()),
            DataType::Vote => Self::Vote(Dotted::default()),
            DataType::Map | DataType::CounterMap | DataType::RegisterMap | DataType::MultiMap => {
                Self::Map(BTreeMap::new())
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Counter(shares) => shares.is_empty(),
            Self::Set(elements) => elements.is_empty(),
            Self::Flag(dots) => dots.is_empty(),
            Self::Register(writes) => writes.is_empty(),
            Self::Vote(votes) => votes.is_empty(),
            Self::Map(entries) => entries.is_empty(),
        }
    }

    pub(crate) fn dots(&self, each: &mut dyn FnMut(Dot)) {
        match self {
            Self::Counter(shares) => shares.dots().for_each(each),
            Self::Set(elements) => elements
                .values()
                .flat_map(|dots| dots.iter())
                .for_each(each),
            Self::Flag(dots) => dots.iter().for_each(each),
            Self::Register(writes) => writes.dots().for_each(each),
            Self::Vote(votes) => votes.dots().for_each(each),
            Self::Map(entries) => entries.values().for_each(|entry| entry.dots(each)),
        }
    }
}

/// A kind of data that a store can hold.
pub(crate) trait Kind {
    /// The data of a store that is known to be of this kind, because its slot's type says so.
    fn of(store: &Store) -> &Self;

    /// The same, to change it.
    fn of_mut(store: &mut Store) -> &mut Self;
}

macro_rules! kinds {
    ($($variant:ident: $kind:ty,)*) => {$(
        impl Kind for $kind {
            fn of(store: &Store) -> &Self {
                match store {
                    Store::$variant(kind) => kind,
                    _ => unreachable!("slots of one type have stores of one kind"),
                }
            }

            fn of_mut(store: &mut Store) -> &mut Self {
                match store {
                    Store::$variant(kind) => kind,
                    _ => unreachable!("slots of one type have stores of one kind"),
                }
            }
        }
    )*};
}

kinds! {
    Counter: Dotted<i128>,
    Set: BTreeMap<Element, Dots>,
    Flag: Dots,
    Register: Dotted<Written>,
    Vote: Dotted<bool>,
    Map: BTreeMap<Element, Entry>,
}
