//! Random changes, over few elements so that they meet.

use firn_model::payload::Payload;
use firn_model::replicated::{
    Clock, DataType, Delta, EntriesDelta, MapDelta, SetDelta, Votes, Write,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(super) const TYPES: [DataType; 11] = [
    DataType::GrowCounter,
    DataType::Counter,
    DataType::GrowSet,
    DataType::Set,
    DataType::Flag,
    DataType::Register,
    DataType::Map,
    DataType::Vote,
    DataType::CounterMap,
    DataType::RegisterMap,
    DataType::MultiMap,
];

pub(super) fn payload(name: &str) -> Payload {
    Payload::new(format!("t/{}", name.len()), name.as_bytes().to_vec())
}

pub(super) fn payloads() -> impl Strategy<Value = Payload> {
    select(&["a", "b", "cc"][..]).prop_map(payload)
}

fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.12)
}

pub(super) fn types() -> impl Strategy<Value = DataType> {
    select(&TYPES[..])
}

/// Changes of a type, with maps in maps up to a depth.
pub(super) fn changes(data_type: DataType, depth: u32) -> BoxedStrategy<Delta> {
    match data_type {
        DataType::GrowCounter => (0..4_u64).prop_map(Delta::GrowCounter).boxed(),
        DataType::Counter => counts().prop_map(Delta::Counter).boxed(),
        DataType::GrowSet => vec(payloads(), 0..3).prop_map(Delta::GrowSet).boxed(),
        DataType::Set => sets().prop_map(Delta::Set).boxed(),
        DataType::Flag => any::<bool>().prop_map(Delta::Flag).boxed(),
        DataType::Register => writes().prop_map(Delta::Register).boxed(),
        DataType::Map => maps(depth).prop_map(Delta::Map).boxed(),
        DataType::Vote => any::<bool>()
            .prop_map(|own| {
                Delta::Vote(Votes {
                    own,
                    ..Votes::default()
                })
            })
            .boxed(),
        DataType::CounterMap => entries(counts()).prop_map(Delta::CounterMap).boxed(),
        DataType::RegisterMap => entries(writes()).prop_map(Delta::RegisterMap).boxed(),
        DataType::MultiMap => entries(sets()).prop_map(Delta::MultiMap).boxed(),
    }
}

fn counts() -> impl Strategy<Value = i64> {
    -4..5_i64
}

fn sets() -> impl Strategy<Value = SetDelta> {
    (rarely(), vec(payloads(), 0..2), vec(payloads(), 0..3)).prop_map(
        |(cleared, removed, added)| SetDelta {
            cleared,
            removed,
            added,
        },
    )
}

fn writes() -> impl Strategy<Value = Write> {
    let clock = prop_oneof![
        Just(Clock::Default),
        Just(Clock::Reverse),
        (0..4_i64).prop_map(Clock::Custom),
        (0..4_i64).prop_map(Clock::CustomAutoIncrement),
    ];
    (payloads(), clock).prop_map(|(value, clock)| Write { value, clock })
}

fn entries<T: std::fmt::Debug>(
    values: impl Strategy<Value = T>,
) -> impl Strategy<Value = EntriesDelta<T>> {
    let updated = vec((payloads(), values), 0..3);
    (rarely(), vec(payloads(), 0..2), updated).prop_map(|(cleared, removed, updated)| {
        EntriesDelta {
            cleared,
            removed,
            updated,
        }
    })
}

fn maps(depth: u32) -> impl Strategy<Value = MapDelta> {
    let inner = move || {
        types()
            .prop_filter("deep enough", move |data_type| {
                depth > 0 || *data_type < DataType::Map
            })
            .prop_flat_map(move |data_type| changes(data_type, depth.saturating_sub(1)))
    };
    let values = || vec((payloads(), inner()), 0..3);
    (rarely(), vec(payloads(), 0..2), values(), values()).prop_map(
        |(cleared, removed, updated, added)| MapDelta {
            cleared,
            removed,
            updated,
            added,
        },
    )
}
