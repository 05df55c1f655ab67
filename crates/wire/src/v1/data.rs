//! Replicated values: changes of them, in both directions.

use firn_model::limit::MAP_DEPTH_MAX;
use firn_model::payload::Payload;
use firn_model::replicated::{
    Clock, Consistency, DataType, Delta, EntriesDelta, InvalidDelta, MapDelta, SetDelta, Votes,
    Write,
};

use super::message as wire;
use crate::convert::parts::{any, payload};
use crate::superset::Any;

/// What is read, or why not.
type Read<T> = Result<T, InvalidDelta>;

/// A change of the function.
///
/// # Errors
/// [`InvalidDelta`] if it cannot be understood.
pub fn read(delta: wire::Delta) -> Read<Delta> {
    read_at(delta, 0)
}

fn read_at(delta: wire::Delta, depth: usize) -> Read<Delta> {
    use wire::delta::Delta as Wire;

    Ok(match delta.delta.ok_or(InvalidDelta::NoType)? {
        Wire::GrowCounter(grown) => Delta::GrowCounter(grown),
        Wire::Counter(change) => Delta::Counter(change),
        Wire::GrowSet(it) => Delta::GrowSet(elements(it.elements)?),
        Wire::Set(it) => Delta::Set(set(it)?),
        Wire::Flag(is_on) => Delta::Flag(is_on),
        Wire::Register(it) => Delta::Register(register(it)?),
        Wire::Map(it) => Delta::Map(map(it, depth + 1)?),
        Wire::Vote(it) => Delta::Vote(Votes {
            own: it.own,
            yes: it.yes,
            members: it.members,
        }),
        Wire::CounterMap(it) => Delta::CounterMap(EntriesDelta {
            cleared: it.cleared,
            removed: elements(it.removed)?,
            updated: each(it.updated, |entry| Ok((key(entry.key)?, entry.change)))?,
        }),
        Wire::RegisterMap(it) => Delta::RegisterMap(EntriesDelta {
            cleared: it.cleared,
            removed: elements(it.removed)?,
            updated: each(it.updated, |entry| {
                let write = entry.write.ok_or(InvalidDelta::NoEntryDelta)?;
                Ok((key(entry.key)?, register(write)?))
            })?,
        }),
        Wire::MultiMap(it) => Delta::MultiMap(EntriesDelta {
            cleared: it.cleared,
            removed: elements(it.removed)?,
            updated: each(it.updated, |entry| {
                let change = entry.change.ok_or(InvalidDelta::NoEntryDelta)?;
                Ok((key(entry.key)?, set(change)?))
            })?,
        }),
    })
}

fn map(delta: wire::MapDelta, depth: usize) -> Read<MapDelta> {
    if depth > MAP_DEPTH_MAX {
        return Err(InvalidDelta::TooDeep(MAP_DEPTH_MAX));
    }
    let entry = |entry: wire::MapEntry| {
        let delta = entry.delta.ok_or(InvalidDelta::NoEntryDelta)?;
        Ok((key(entry.key)?, read_at(delta, depth)?))
    };
    Ok(MapDelta {
        cleared: delta.cleared,
        removed: elements(delta.removed)?,
        updated: each(delta.updated, entry)?,
        added: each(delta.added, entry)?,
    })
}

fn set(delta: wire::SetDelta) -> Read<SetDelta> {
    Ok(SetDelta {
        cleared: delta.cleared,
        removed: elements(delta.removed)?,
        added: elements(delta.added)?,
    })
}

fn register(write: wire::Write) -> Read<Write> {
    use wire::write::Clock as Wire;

    let clock = match Wire::try_from(write.clock) {
        Ok(Wire::Default) => Clock::Default,
        Ok(Wire::Reverse) => Clock::Reverse,
        Ok(Wire::Custom) => Clock::Custom(write.custom),
        Ok(Wire::CustomAutoIncrement) => Clock::CustomAutoIncrement(write.custom),
        Err(_) => return Err(InvalidDelta::Clock(write.clock)),
    };
    let value = element(write.value.ok_or(InvalidDelta::NoValue)?)?;
    Ok(Write { value, clock })
}

fn key(any: Option<Any>) -> Read<Payload> {
    element(any.ok_or(InvalidDelta::NoKey)?)
}

fn elements(anys: Vec<Any>) -> Read<Vec<Payload>> {
    each(anys, element)
}

fn element(any: Any) -> Read<Payload> {
    let payload = payload(any).map_err(|_| InvalidDelta::TypeUrl)?;
    match payload.type_url.is_empty() {
        true => Err(InvalidDelta::NoTypeUrl),
        false => Ok(payload),
    }
}

fn each<A, B>(all: Vec<A>, read: impl Fn(A) -> Read<B>) -> Read<Vec<B>> {
    all.into_iter().map(read).collect()
}

/// A change for the function; nothing is copied.
pub fn write(delta: Delta) -> wire::Delta {
    use wire::delta::Delta as Wire;

    let delta = match delta {
        Delta::GrowCounter(grown) => Wire::GrowCounter(grown),
        Delta::Counter(change) => Wire::Counter(change),
        Delta::GrowSet(added) => Wire::GrowSet(wire::Elements {
            elements: anys(added),
        }),
        Delta::Set(set) => Wire::Set(set_delta(set)),
        Delta::Flag(is_on) => Wire::Flag(is_on),
        Delta::Register(write) => Wire::Register(register_write(write)),
        Delta::Map(map) => Wire::Map(wire::MapDelta {
            cleared: map.cleared,
            removed: anys(map.removed),
            updated: map_entries(map.updated),
            added: map_entries(map.added),
        }),
        Delta::Vote(votes) => Wire::Vote(wire::Votes {
            own: votes.own,
            yes: votes.yes,
            members: votes.members,
        }),
        Delta::CounterMap(map) => Wire::CounterMap(wire::CounterMapDelta {
            cleared: map.cleared,
            removed: anys(map.removed),
            updated: entries(map.updated, |key, change| wire::counter_map_delta::Entry {
                key,
                change,
            }),
        }),
        Delta::RegisterMap(map) => Wire::RegisterMap(wire::RegisterMapDelta {
            cleared: map.cleared,
            removed: anys(map.removed),
            updated: entries(map.updated, |key, write| wire::register_map_delta::Entry {
                key,
                write: Some(register_write(write)),
            }),
        }),
        Delta::MultiMap(map) => Wire::MultiMap(wire::MultiMapDelta {
            cleared: map.cleared,
            removed: anys(map.removed),
            updated: entries(map.updated, |key, set| wire::multi_map_delta::Entry {
                key,
                change: Some(set_delta(set)),
            }),
        }),
    };
    wire::Delta { delta: Some(delta) }
}

fn map_entries(all: Vec<(Payload, Delta)>) -> Vec<wire::MapEntry> {
    entries(all, |key, delta| wire::MapEntry {
        key,
        delta: Some(write(delta)),
    })
}

fn entries<T, E>(all: Vec<(Payload, T)>, entry: impl Fn(Option<Any>, T) -> E) -> Vec<E> {
    all.into_iter()
        .map(|(key, value)| entry(Some(any(key)), value))
        .collect()
}

fn set_delta(set: SetDelta) -> wire::SetDelta {
    wire::SetDelta {
        cleared: set.cleared,
        removed: anys(set.removed),
        added: anys(set.added),
    }
}

fn register_write(write: Write) -> wire::Write {
    use wire::write::Clock as Wire;

    let (clock, custom) = match write.clock {
        Clock::Default => (Wire::Default, 0),
        Clock::Reverse => (Wire::Reverse, 0),
        Clock::Custom(at) => (Wire::Custom, at),
        Clock::CustomAutoIncrement(at) => (Wire::CustomAutoIncrement, at),
    };
    wire::Write {
        value: Some(any(write.value)),
        clock: clock.into(),
        custom,
    }
}

fn anys(payloads: Vec<Payload>) -> Vec<Any> {
    payloads.into_iter().map(any).collect()
}

/// The type of data that a contract names; `None` if it names none that Firn knows.
pub fn data_type(number: i32) -> Option<DataType> {
    use wire::DataType as Wire;

    Some(match Wire::try_from(number).ok()? {
        Wire::Unspecified => return None,
        Wire::GrowCounter => DataType::GrowCounter,
        Wire::Counter => DataType::Counter,
        Wire::GrowSet => DataType::GrowSet,
        Wire::Set => DataType::Set,
        Wire::Flag => DataType::Flag,
        Wire::Register => DataType::Register,
        Wire::Map => DataType::Map,
        Wire::Vote => DataType::Vote,
        Wire::CounterMap => DataType::CounterMap,
        Wire::RegisterMap => DataType::RegisterMap,
        Wire::MultiMap => DataType::MultiMap,
    })
}

/// How many replicas must hold a change; what is not known counts as none but this.
pub fn consistency(number: i32) -> Consistency {
    match wire::Consistency::try_from(number) {
        Ok(wire::Consistency::All) => Consistency::All,
        Ok(wire::Consistency::Majority) => Consistency::Majority,
        Ok(wire::Consistency::Local) | Err(_) => Consistency::Local,
    }
}
