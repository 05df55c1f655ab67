//! Values as functions hold them: changes applied to plain data.

use std::collections::{BTreeMap, BTreeSet};

use firn_model::payload::Payload;
use firn_model::replicated::{DataType, Delta, EntriesDelta, SetDelta, Votes};

/// An element as it is compared.
type Key = (String, Vec<u8>);

/// A plain value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plain {
    Counter(i128),
    Set(BTreeSet<Key>),
    Flag(bool),
    Register(Option<Key>),
    Vote(Votes),
    Map(BTreeMap<Key, (DataType, Plain)>),
}

fn key(payload: &Payload) -> Key {
    (payload.type_url.to_string(), payload.bytes.to_vec())
}

impl Plain {
    pub(super) fn empty(data_type: DataType) -> Self {
        match data_type {
            DataType::GrowCounter | DataType::Counter => Self::Counter(0),
            DataType::GrowSet | DataType::Set => Self::Set(BTreeSet::new()),
            DataType::Flag => Self::Flag(false),
            DataType::Register => Self::Register(None),
            DataType::Vote => Self::Vote(Votes::default()),
            _ => Self::Map(BTreeMap::new()),
        }
    }

    /// The value that a change from the empty one leads to.
    pub(super) fn of(delta: &Delta) -> Self {
        let mut plain = Self::empty(delta.data_type());
        plain.apply(delta);
        plain
    }

    pub(super) fn apply(&mut self, delta: &Delta) {
        match (self, delta) {
            (Self::Counter(count), Delta::GrowCounter(by)) => *count += i128::from(*by),
            (Self::Counter(count), Delta::Counter(by)) => *count += i128::from(*by),
            (Self::Set(elements), Delta::GrowSet(added)) => elements.extend(added.iter().map(key)),
            (Self::Set(elements), Delta::Set(change)) => set(elements, change),
            (Self::Flag(flag), Delta::Flag(on)) => *flag |= on,
            (Self::Register(value), Delta::Register(write)) => *value = Some(key(&write.value)),
            (Self::Vote(votes), Delta::Vote(new)) => *votes = *new,
            (Self::Map(entries), Delta::Map(change)) => {
                remove(entries, change.cleared, &change.removed);
                for (payload, delta) in &change.updated {
                    let entry = entries.get_mut(&key(payload));
                    let (data_type, value) = entry.expect("what is updated is there");
                    assert_eq!(*data_type, delta.data_type());
                    value.apply(delta);
                }
                for (payload, delta) in &change.added {
                    let new = (delta.data_type(), Self::of(delta));
                    let old = entries.insert(key(payload), new);
                    assert_eq!(old, None, "what is added is not there");
                }
            }
            (Self::Map(entries), Delta::CounterMap(change)) => {
                uniform(entries, change, |by| Delta::Counter(*by));
            }
            (Self::Map(entries), Delta::RegisterMap(change)) => {
                uniform(entries, change, |write| Delta::Register(write.clone()));
            }
            (Self::Map(entries), Delta::MultiMap(change)) => {
                uniform(entries, change, |set| Delta::Set(set.clone()));
            }
            (plain, delta) => panic!("{delta:?} does not fit {plain:?}"),
        }
    }
}

fn set(elements: &mut BTreeSet<Key>, change: &SetDelta) {
    if change.cleared {
        elements.clear();
    }
    for payload in &change.removed {
        assert!(elements.remove(&key(payload)), "what is removed was there");
    }
    for payload in &change.added {
        assert!(elements.insert(key(payload)), "what is added was not there");
    }
}

fn remove(entries: &mut BTreeMap<Key, (DataType, Plain)>, cleared: bool, removed: &[Payload]) {
    if cleared {
        entries.clear();
    }
    for payload in removed {
        let old = entries.remove(&key(payload));
        assert!(old.is_some(), "what is removed was there");
    }
}

fn uniform<T>(
    entries: &mut BTreeMap<Key, (DataType, Plain)>,
    change: &EntriesDelta<T>,
    delta: impl Fn(&T) -> Delta,
) {
    remove(entries, change.cleared, &change.removed);
    for (payload, by) in &change.updated {
        let delta = delta(by);
        let empty = || (delta.data_type(), Plain::empty(delta.data_type()));
        let entry = entries.entry(key(payload)).or_insert_with(empty);
        entry.1.apply(&delta);
    }
}
