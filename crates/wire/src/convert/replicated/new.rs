//! The new layout: the second generation of Akka Serverless, and Kalix.

use firn_model::payload::Payload;
use firn_model::replicated::{
    Change, Consistency, Delta, EntriesDelta, InvalidDelta, MapDelta, Reply, StateAction,
};

use super::data::{self, Depth, Read, Written, anys, elements};
use super::{Layout, NoCounterpart, Out, Streaming, reply};
use crate::convert::Violation;
use crate::convert::instance::{Command, Instance};
use crate::convert::parts::{self, any};
use crate::superset::replicated_entity_delta::Delta as Wire;
use crate::superset::replicated_entity_state_action::Action;
use crate::superset::{
    ReplicatedCounterDelta, ReplicatedCounterMapDelta, ReplicatedCounterMapEntryDelta,
    ReplicatedEntityDelete, ReplicatedEntityDelta, ReplicatedEntityInit, ReplicatedEntityReply,
    ReplicatedEntityStateAction, ReplicatedEntityStreamIn, ReplicatedEntityStreamOut,
    ReplicatedMapDelta, ReplicatedMapEntryDelta, ReplicatedMultiMapDelta,
    ReplicatedMultiMapEntryDelta, ReplicatedRegisterMapDelta, ReplicatedRegisterMapEntryDelta,
    replicated_entity_stream_in as stream_in, replicated_entity_stream_out as stream_out,
};

/// The new layout.
#[derive(Debug, Default)]
pub struct New;

impl Layout for New {
    type In = ReplicatedEntityStreamIn;
    type Out = ReplicatedEntityStreamOut;

    fn init(
        &mut self,
        instance: Instance<'_>,
        value: Option<Delta>,
    ) -> Result<Self::In, NoCounterpart> {
        Ok(message(stream_in::Message::Init(ReplicatedEntityInit {
            service_name: instance.service.to_owned(),
            entity_id: instance.entity_id.to_owned(),
            delta: value.map(write).transpose()?,
        })))
    }

    fn delta(&mut self, delta: Delta) -> Result<Self::In, NoCounterpart> {
        Ok(message(stream_in::Message::Delta(write(delta)?)))
    }

    fn delete(&self) -> Self::In {
        message(stream_in::Message::Delete(ReplicatedEntityDelete {}))
    }

    fn command(&self, command: Command<'_>, _streaming: Streaming) -> Self::In {
        message(stream_in::Message::Command(command.message()))
    }

    fn stream_cancelled(&self, _entity_id: &str, _id: i64) -> Option<Self::In> {
        None
    }

    fn read(&mut self, out: Self::Out) -> Result<Out, Violation> {
        match out.message.ok_or(Violation::NoContent)? {
            stream_out::Message::Reply(it) => replied(it),
            stream_out::Message::Failure(it) => Ok(reply::failure(it)),
        }
    }
}

fn message(message: stream_in::Message) -> ReplicatedEntityStreamIn {
    ReplicatedEntityStreamIn {
        message: Some(message),
    }
}

fn replied(reply: ReplicatedEntityReply) -> Result<Out, Violation> {
    Ok(Out::Reply(Reply {
        command: reply.command_id,
        answer: reply::answer(reply.client_action)?,
        effects: parts::effects(reply.side_effects)?,
        change: reply.state_action.map(change),
        streamed: false,
    }))
}

/// How many replicas must confirm is in the component's settings.
fn change(action: ReplicatedEntityStateAction) -> Change {
    let action = match action.action {
        Some(Action::Update(delta)) => StateAction::Update(read(delta, Depth::OUTSIDE)),
        Some(Action::Delete(ReplicatedEntityDelete {})) => StateAction::Delete,
        None => StateAction::Update(Err(InvalidDelta::NoType)),
    };
    Change {
        action,
        consistency: Consistency::Local,
    }
}

fn read(delta: ReplicatedEntityDelta, depth: Depth) -> Read<Delta> {
    Ok(match delta.delta.ok_or(InvalidDelta::NoType)? {
        Wire::Counter(it) => Delta::Counter(it.change),
        Wire::ReplicatedSet(it) => Delta::Set(data::set(it)?),
        Wire::Register(it) => Delta::Register(data::register(it)?),
        Wire::ReplicatedMap(it) => Delta::Map(read_map(it, depth.deeper()?)?),
        Wire::ReplicatedCounterMap(it) => Delta::CounterMap(EntriesDelta {
            cleared: it.cleared,
            removed: elements(it.removed)?,
            updated: read_entries(it.updated, |entry| {
                data::entry(entry.key, entry.delta, |delta| Ok(delta.change))
            })?,
        }),
        Wire::ReplicatedRegisterMap(it) => Delta::RegisterMap(EntriesDelta {
            cleared: it.cleared,
            removed: elements(it.removed)?,
            updated: read_entries(it.updated, |entry| {
                data::entry(entry.key, entry.delta, data::register)
            })?,
        }),
        Wire::ReplicatedMultiMap(it) => Delta::MultiMap(EntriesDelta {
            cleared: it.cleared,
            removed: elements(it.removed)?,
            updated: read_entries(it.updated, |entry| {
                data::entry(entry.key, entry.delta, data::set)
            })?,
        }),
        Wire::Vote(it) => Delta::Vote(data::votes(it)),
    })
}

fn read_map(delta: ReplicatedMapDelta, depth: Depth) -> Read<MapDelta> {
    let entry =
        |it: ReplicatedMapEntryDelta| data::entry(it.key, it.delta, |delta| read(delta, depth));
    Ok(MapDelta {
        cleared: delta.cleared,
        removed: elements(delta.removed)?,
        updated: read_entries(delta.updated, entry)?,
        added: read_entries(delta.added, entry)?,
    })
}

fn read_entries<E, T>(
    entries: Vec<E>,
    read: impl Fn(E) -> Read<(Payload, T)>,
) -> Read<Vec<(Payload, T)>> {
    entries.into_iter().map(read).collect()
}

fn write(delta: Delta) -> Written<ReplicatedEntityDelta> {
    let delta = match delta {
        Delta::Counter(change) => Wire::Counter(ReplicatedCounterDelta { change }),
        Delta::Set(set) => Wire::ReplicatedSet(data::set_delta(set)),
        Delta::Register(write) => Wire::Register(data::register_delta(write)),
        Delta::Map(map) => Wire::ReplicatedMap(write_map(map)?),
        Delta::CounterMap(map) => Wire::ReplicatedCounterMap(ReplicatedCounterMapDelta {
            cleared: map.cleared,
            removed: anys(map.removed),
            updated: write_entries(map.updated, |(key, change)| {
                let (key, delta) = (Some(any(key)), Some(ReplicatedCounterDelta { change }));
                ReplicatedCounterMapEntryDelta { key, delta }
            }),
        }),
        Delta::RegisterMap(map) => Wire::ReplicatedRegisterMap(ReplicatedRegisterMapDelta {
            cleared: map.cleared,
            removed: anys(map.removed),
            updated: write_entries(map.updated, |(key, write)| {
                let (key, delta) = (Some(any(key)), Some(data::register_delta(write)));
                ReplicatedRegisterMapEntryDelta { key, delta }
            }),
        }),
        Delta::MultiMap(map) => Wire::ReplicatedMultiMap(ReplicatedMultiMapDelta {
            cleared: map.cleared,
            removed: anys(map.removed),
            updated: write_entries(map.updated, |(key, set)| {
                let (key, delta) = (Some(any(key)), Some(data::set_delta(set)));
                ReplicatedMultiMapEntryDelta { key, delta }
            }),
        }),
        Delta::Vote(votes) => Wire::Vote(data::vote_delta(votes)),
        Delta::GrowCounter(_) | Delta::GrowSet(_) | Delta::Flag(_) => {
            return Err(NoCounterpart(delta.data_type()));
        }
    };
    Ok(ReplicatedEntityDelta { delta: Some(delta) })
}

fn write_map(delta: MapDelta) -> Written<ReplicatedMapDelta> {
    let entry = |(key, delta): (Payload, Delta)| {
        Ok(ReplicatedMapEntryDelta {
            key: Some(any(key)),
            delta: Some(write(delta)?),
        })
    };
    Ok(ReplicatedMapDelta {
        cleared: delta.cleared,
        removed: anys(delta.removed),
        updated: delta
            .updated
            .into_iter()
            .map(entry)
            .collect::<Written<_>>()?,
        added: delta.added.into_iter().map(entry).collect::<Written<_>>()?,
    })
}

fn write_entries<T, E>(entries: Vec<(Payload, T)>, write: impl Fn((Payload, T)) -> E) -> Vec<E> {
    entries.into_iter().map(write).collect()
}
