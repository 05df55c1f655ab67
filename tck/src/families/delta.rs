//! Replicated data on the wire, as the deltas of firn.v1 and back.
//!
//! Elements and keys are primitive strings there and a `Text` here; a register's value is a `Text` in
//! both. Which number a type has is the dialect's. Cloudstate 0.1 also has whole values, which are
//! deltas from the empty value here.

use bytes::Bytes;
use prost::Message as _;
use prost_types::Any;

use super::dialect::Dialect;
use super::stream::{field, only_field, read};
use super::wire;
use crate::proto::v1::delta::Delta as Kind;
use crate::proto::v1::{
    self, CounterMapDelta, DataType, Delta, Elements, MultiMapDelta, RegisterMapDelta, Votes,
    counter_map_delta, multi_map_delta, register_map_delta,
};

/// Why a delta cannot be read.
pub(crate) type Misfit = String;

const TYPES: [DataType; 11] = [
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

fn type_of(kind: &Kind) -> DataType {
    match kind {
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
    }
}

fn number(dialect: Dialect, kind: &Kind) -> u32 {
    let number = dialect.number(type_of(kind));
    number.expect("the kit uses the types that the dialect has")
}

fn texts(dialect: Dialect, elements: &[Any]) -> Vec<Any> {
    let one = |any| dialect.element_to_theirs(any);
    elements.iter().map(one).collect()
}

fn own_texts(dialect: Dialect, elements: &[Any]) -> Vec<Any> {
    let one = |any| dialect.element_to_own(any);
    elements.iter().map(one).collect()
}

fn signed(number: u32) -> i32 {
    number.cast_signed()
}

// ---------------------------------------------------------------------------------------------
// To the wire

/// A delta as the dialect has it.
pub(crate) fn encode(dialect: Dialect, delta: &Delta) -> Bytes {
    let Some(kind) = &delta.delta else {
        return Bytes::new();
    };
    let entry = |entry: &v1::MapEntry, encode: fn(Dialect, &Delta) -> Bytes| wire::MapEntry {
        key: entry.key.as_ref().map(|key| dialect.element_to_theirs(key)),
        delta: entry.delta.as_ref().map(|delta| encode(dialect, delta)),
    };
    let map_entry = |key: &Option<Any>, delta: Vec<u8>| wire::MapEntry {
        key: key.as_ref().map(|key| dialect.element_to_theirs(key)),
        delta: Some(delta.into()),
    };
    let bytes = match kind {
        Kind::GrowCounter(increment) => wire::GrowCounterDelta {
            increment: *increment,
        }
        .encode_to_vec(),
        Kind::Counter(change) => wire::CounterDelta { change: *change }.encode_to_vec(),
        Kind::GrowSet(elements) => wire::GrowSetDelta {
            added: texts(dialect, &elements.elements),
        }
        .encode_to_vec(),
        Kind::Set(delta) => set(dialect, delta).encode_to_vec(),
        Kind::Flag(value) => wire::FlagDelta { value: *value }.encode_to_vec(),
        Kind::Register(write) => register(dialect, write).encode_to_vec(),
        Kind::Map(delta) => wire::MapDelta {
            cleared: delta.cleared,
            removed: texts(dialect, &delta.removed),
            updated: delta.updated.iter().map(|one| entry(one, encode)).collect(),
            // Cloudstate 0.1 adds whole values.
            added: delta
                .added
                .iter()
                .map(|one| entry(one, encode_whole))
                .collect(),
        }
        .encode_to_vec(),
        Kind::Vote(votes) => wire::VoteDelta {
            self_vote: votes.own,
            votes_for: signed(votes.yes),
            total_voters: signed(votes.members),
        }
        .encode_to_vec(),
        Kind::CounterMap(delta) => {
            let entry = |entry: &counter_map_delta::Entry| {
                let change = wire::CounterDelta {
                    change: entry.change,
                };
                map_entry(&entry.key, change.encode_to_vec())
            };
            let updated = delta.updated.iter().map(entry).collect();
            map(dialect, delta.cleared, &delta.removed, updated).encode_to_vec()
        }
        Kind::RegisterMap(delta) => {
            let entry = |entry: &register_map_delta::Entry| {
                let write = entry.write.clone().unwrap_or_default();
                map_entry(&entry.key, register(dialect, &write).encode_to_vec())
            };
            let updated = delta.updated.iter().map(entry).collect();
            map(dialect, delta.cleared, &delta.removed, updated).encode_to_vec()
        }
        Kind::MultiMap(delta) => {
            let entry = |entry: &multi_map_delta::Entry| {
                let change = entry.change.clone().unwrap_or_default();
                map_entry(&entry.key, set(dialect, &change).encode_to_vec())
            };
            let updated = delta.updated.iter().map(entry).collect();
            map(dialect, delta.cleared, &delta.removed, updated).encode_to_vec()
        }
    };
    field(number(dialect, kind), bytes)
}

fn set(dialect: Dialect, delta: &v1::SetDelta) -> wire::SetDelta {
    wire::SetDelta {
        cleared: delta.cleared,
        removed: texts(dialect, &delta.removed),
        added: texts(dialect, &delta.added),
    }
}

fn register(dialect: Dialect, write: &v1::Write) -> wire::RegisterDelta {
    wire::RegisterDelta {
        value: write.value.as_ref().map(|value| dialect.to_theirs(value)),
        clock: write.clock,
        custom_clock_value: write.custom,
    }
}

fn map(
    dialect: Dialect,
    cleared: bool,
    removed: &[Any],
    updated: Vec<wire::MapEntry>,
) -> wire::MapDelta {
    wire::MapDelta {
        cleared,
        removed: texts(dialect, removed),
        updated,
        added: Vec::new(),
    }
}

/// A whole value, given as the delta that leads to it, as the dialect has it.
pub(crate) fn encode_whole(dialect: Dialect, delta: &Delta) -> Bytes {
    if dialect != Dialect::Cloudstate01 {
        return encode(dialect, delta);
    }
    let Some(kind) = &delta.delta else {
        return Bytes::new();
    };
    let bytes = match kind {
        Kind::Counter(value) => wire::CounterState { value: *value }.encode_to_vec(),
        // Only the added elements: the delta is from the empty set.
        Kind::Set(delta) => wire::GrowSetDelta {
            added: texts(dialect, &delta.added),
        }
        .encode_to_vec(),
        Kind::Map(delta) => {
            let entries = delta.added.iter().map(|entry| wire::MapEntry {
                key: entry.key.as_ref().map(|key| dialect.element_to_theirs(key)),
                delta: entry
                    .delta
                    .as_ref()
                    .map(|delta| encode_whole(dialect, delta)),
            });
            wire::MapState {
                entries: entries.collect(),
            }
            .encode_to_vec()
        }
        Kind::Vote(votes) => wire::VoteState {
            votes_for: votes.yes,
            total_voters: votes.members,
            self_vote: votes.own,
        }
        .encode_to_vec(),
        // The others are as their deltas.
        _ => return encode(dialect, delta),
    };
    field(number(dialect, kind), bytes)
}

// ---------------------------------------------------------------------------------------------
// From the wire

/// The type of a delta and what it says.
fn typed(dialect: Dialect, bytes: &Bytes) -> Result<(DataType, Bytes), Misfit> {
    let (number, bytes) = only_field(bytes)?.ok_or("a delta of no type")?;
    let mut types = TYPES.into_iter();
    let data = types.find(|data| dialect.number(*data) == Some(number));
    let data = data.ok_or_else(|| format!("a delta of number {number}, which there is not"))?;
    Ok((data, bytes))
}

/// A delta of the dialect.
pub(crate) fn decode(dialect: Dialect, bytes: &Bytes) -> Result<Delta, Misfit> {
    let (data, bytes) = typed(dialect, bytes)?;
    let key = |entry: &wire::MapEntry| entry.key.as_ref().map(|key| dialect.element_to_own(key));
    let kind = match data {
        DataType::Unspecified => return Err("a delta of no type".into()),
        DataType::GrowCounter => {
            Kind::GrowCounter(read::<wire::GrowCounterDelta>(bytes)?.increment)
        }
        DataType::Counter => Kind::Counter(read::<wire::CounterDelta>(bytes)?.change),
        DataType::GrowSet => Kind::GrowSet(Elements {
            elements: own_texts(dialect, &read::<wire::GrowSetDelta>(bytes)?.added),
        }),
        DataType::Set => Kind::Set(own_set(dialect, &read(bytes)?)),
        DataType::Flag => Kind::Flag(read::<wire::FlagDelta>(bytes)?.value),
        DataType::Register => Kind::Register(own_register(dialect, &read(bytes)?)),
        DataType::Vote => {
            let votes: wire::VoteDelta = read(bytes)?;
            Kind::Vote(Votes {
                own: votes.self_vote,
                yes: votes.votes_for.cast_unsigned(),
                members: votes.total_voters.cast_unsigned(),
            })
        }
        DataType::Map => {
            let delta: wire::MapDelta = read(bytes)?;
            let entry = |entry: &wire::MapEntry, added: bool| {
                let delta = entry.delta.as_ref().ok_or("an entry without a delta")?;
                let delta = match added {
                    true => decode_whole(dialect, delta)?,
                    false => decode(dialect, delta)?,
                };
                Ok::<_, Misfit>(v1::MapEntry {
                    key: key(entry),
                    delta: Some(delta),
                })
            };
            let entries = |all: &[wire::MapEntry], added| {
                let all = all.iter().map(|one| entry(one, added));
                all.collect::<Result<_, Misfit>>()
            };
            Kind::Map(v1::MapDelta {
                cleared: delta.cleared,
                removed: own_texts(dialect, &delta.removed),
                updated: entries(&delta.updated, false)?,
                added: entries(&delta.added, true)?,
            })
        }
        DataType::CounterMap => {
            let delta: wire::MapDelta = read(bytes)?;
            let entry = |entry: &wire::MapEntry| {
                let change: wire::CounterDelta = read(entry.delta.clone().unwrap_or_default())?;
                Ok::<_, Misfit>(counter_map_delta::Entry {
                    key: key(entry),
                    change: change.change,
                })
            };
            Kind::CounterMap(CounterMapDelta {
                cleared: delta.cleared,
                removed: own_texts(dialect, &delta.removed),
                updated: delta.updated.iter().map(entry).collect::<Result<_, _>>()?,
            })
        }
        DataType::RegisterMap => {
            let delta: wire::MapDelta = read(bytes)?;
            let entry = |entry: &wire::MapEntry| {
                let write = read(entry.delta.clone().unwrap_or_default())?;
                Ok::<_, Misfit>(register_map_delta::Entry {
                    key: key(entry),
                    write: Some(own_register(dialect, &write)),
                })
            };
            Kind::RegisterMap(RegisterMapDelta {
                cleared: delta.cleared,
                removed: own_texts(dialect, &delta.removed),
                updated: delta.updated.iter().map(entry).collect::<Result<_, _>>()?,
            })
        }
        DataType::MultiMap => {
            let delta: wire::MapDelta = read(bytes)?;
            let entry = |entry: &wire::MapEntry| {
                let change = read(entry.delta.clone().unwrap_or_default())?;
                Ok::<_, Misfit>(multi_map_delta::Entry {
                    key: key(entry),
                    change: Some(own_set(dialect, &change)),
                })
            };
            Kind::MultiMap(MultiMapDelta {
                cleared: delta.cleared,
                removed: own_texts(dialect, &delta.removed),
                updated: delta.updated.iter().map(entry).collect::<Result<_, _>>()?,
            })
        }
    };
    Ok(Delta { delta: Some(kind) })
}

fn own_set(dialect: Dialect, delta: &wire::SetDelta) -> v1::SetDelta {
    v1::SetDelta {
        cleared: delta.cleared,
        removed: own_texts(dialect, &delta.removed),
        added: own_texts(dialect, &delta.added),
    }
}

fn own_register(dialect: Dialect, delta: &wire::RegisterDelta) -> v1::Write {
    v1::Write {
        value: delta.value.as_ref().map(|value| dialect.to_own(value)),
        clock: delta.clock,
        custom: delta.custom_clock_value,
    }
}

/// A whole value of the dialect, as the delta that leads to it.
pub(crate) fn decode_whole(dialect: Dialect, bytes: &Bytes) -> Result<Delta, Misfit> {
    let (data, inner) = typed(dialect, bytes)?;
    if dialect != Dialect::Cloudstate01 {
        return decode(dialect, bytes);
    }
    let kind = match data {
        DataType::Counter => Kind::Counter(read::<wire::CounterState>(inner)?.value),
        DataType::Set => Kind::Set(v1::SetDelta {
            added: own_texts(dialect, &read::<wire::GrowSetDelta>(inner)?.added),
            ..v1::SetDelta::default()
        }),
        DataType::Map => {
            let state: wire::MapState = read(inner)?;
            let entry = |entry: &wire::MapEntry| {
                let value = entry.delta.as_ref().ok_or("an entry without a value")?;
                Ok::<_, Misfit>(v1::MapEntry {
                    key: entry.key.as_ref().map(|key| dialect.element_to_own(key)),
                    delta: Some(decode_whole(dialect, value)?),
                })
            };
            Kind::Map(v1::MapDelta {
                added: state.entries.iter().map(entry).collect::<Result<_, _>>()?,
                ..v1::MapDelta::default()
            })
        }
        DataType::Vote => {
            let votes: wire::VoteState = read(inner)?;
            Kind::Vote(Votes {
                own: votes.self_vote,
                yes: votes.votes_for,
                members: votes.total_voters,
            })
        }
        _ => return decode(dialect, bytes),
    };
    Ok(Delta { delta: Some(kind) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;

    const DIALECTS: [Dialect; 5] = [
        Dialect::Cloudstate01,
        Dialect::Cloudstate02,
        Dialect::AkkaServerlessA,
        Dialect::AkkaServerlessB,
        Dialect::Kalix,
    ];

    fn steps(dialect: Dialect, data: DataType) -> Vec<crate::proto::model::data_step::Step> {
        use crate::proto::model::data_step::Step;
        use crate::proto::model::{At, DataStep, Nothing, Write};
        let at = |key: &str, data_type: DataType, step| {
            Step::At(Box::new(At {
                key: key.into(),
                data_type: (data_type as i32).cast_unsigned(),
                step: Some(Box::new(DataStep { step: Some(step) })),
            }))
        };
        let write = |text: &str| {
            Step::Write(Write {
                text: text.into(),
                clock: 2,
                custom: 7,
            })
        };
        match data {
            DataType::Unspecified => Vec::new(),
            DataType::GrowCounter => vec![Step::Change(3), Step::Change(0)],
            DataType::Counter => vec![Step::Change(3), Step::Change(-70)],
            DataType::GrowSet => vec![Step::Add("a".into()), Step::Add(String::new())],
            DataType::Set => vec![
                Step::Add("a".into()),
                Step::Add("b".into()),
                Step::Remove("a".into()),
                Step::Clear(Nothing {}),
            ],
            DataType::Flag => vec![Step::TurnOn(Nothing {})],
            DataType::Register => vec![write("a"), write("b")],
            DataType::Vote => vec![Step::Vote(true), Step::Vote(false)],
            DataType::Map => {
                let nested = TYPES.into_iter().filter(|one| {
                    *one != DataType::Map && dialect.number(*one).is_some() && (*one as i32) < 9
                });
                let each = nested.flat_map(|one| {
                    let key = format!("{one:?}");
                    steps(dialect, one)
                        .into_iter()
                        .map(move |step| at(&key, one, step))
                });
                let inner = at("inner", DataType::Counter, Step::Change(4));
                each.chain([at("m", DataType::Map, inner), Step::Remove("m".into())])
                    .collect()
            }
            DataType::CounterMap => vec![
                at("a", data, Step::Change(4)),
                at("a", data, Step::Change(-5)),
                Step::Remove("a".into()),
            ],
            DataType::RegisterMap => vec![at("a", data, write("x")), Step::Clear(Nothing {})],
            DataType::MultiMap => vec![
                at("a", data, Step::Add("x".into())),
                at("a", data, Step::Remove("x".into())),
                Step::Clear(Nothing {}),
            ],
        }
    }

    /// Values and changes are the same after they went over the wire.
    #[test]
    fn data_goes_over_the_wire_and_back() {
        for dialect in DIALECTS {
            for data in TYPES {
                if dialect.number(data).is_none() {
                    continue;
                }
                let mut value = Data::empty(data);
                let mut theirs = value.clone();
                for step in steps(dialect, data) {
                    let change = value.change(&step);
                    value.step(&step);
                    let came = decode(dialect, &encode(dialect, &change)).expect("a delta");
                    assert_eq!(came, change, "{dialect:?} {data:?} {step:?}");
                    theirs.apply(&came).expect("it fits");
                    assert_eq!(theirs.value(), value.value(), "{dialect:?} {step:?}");
                    let whole = value.delta();
                    let came = decode_whole(dialect, &encode_whole(dialect, &whole));
                    assert_eq!(came.as_ref(), Ok(&whole), "{dialect:?} {data:?}");
                }
            }
        }
    }

    /// Exact bytes, which the encoders of two generations must not share by mistake.
    #[test]
    fn bytes_are_those_of_the_generation() {
        let counter = Delta {
            delta: Some(Kind::Counter(-2)),
        };
        let bytes = |dialect| encode(dialect, &counter).to_vec();
        assert_eq!(bytes(Dialect::Kalix), [0x0a, 2, 8, 3]);
        assert_eq!(bytes(Dialect::AkkaServerlessB), [0x0a, 2, 8, 3]);
        assert_eq!(bytes(Dialect::AkkaServerlessA), [0x12, 2, 8, 3]);
        assert_eq!(bytes(Dialect::Cloudstate02), [0x12, 2, 8, 3]);
        let two = Delta {
            delta: Some(Kind::Counter(2)),
        };
        assert_eq!(
            encode_whole(Dialect::Cloudstate01, &two).to_vec(),
            [0x12, 2, 8, 2]
        );
        let set = Data::Set(["a".to_owned()].into()).delta();
        let bytes = encode(Dialect::Kalix, &set);
        let url = b"type.kalix.io/string";
        assert!(
            bytes.windows(url.len()).any(|part| part == url),
            "{bytes:?}"
        );
    }
}
