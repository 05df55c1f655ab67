//! The old layout: Cloudstate 0.2 and, without streamed commands, the first generation of Akka
//! Serverless.

use firn_model::payload::Payload;
use firn_model::replicated::{
    CancelAnswer, Change, Delta, InvalidDelta, MapDelta, Reply, StateAction,
};

use super::data::{self, Depth, Read, Written, anys, elements};
use super::{Layout, NoCounterpart, Out, Streaming, reply};
use crate::convert::Violation;
use crate::convert::instance::{Command, Instance};
use crate::convert::parts::{self, any};
use crate::superset::crdt_delta::Delta as Wire;
use crate::superset::crdt_state_action::Action;
use crate::superset::{
    self, CrdtDelta, CrdtInit, CrdtReply, CrdtStateAction, CrdtStreamCancelledResponse,
    CrdtStreamIn, CrdtStreamOut, CrdtUnaryStreamOut, FlagDelta, GCounterDelta, GSetDelta,
    OrMapDelta, OrMapEntryDelta, ReplicatedCounterDelta, ReplicatedEntityDelete, StreamCancelled,
    crdt_stream_in as stream_in, crdt_stream_out as stream_out,
    crdt_unary_stream_out as unary_stream_out,
};

/// The old layout, with streamed commands.
#[derive(Debug, Default)]
pub struct Old;

impl Layout for Old {
    type In = CrdtStreamIn;
    type Out = CrdtStreamOut;

    fn init(
        &mut self,
        instance: Instance<'_>,
        value: Option<Delta>,
    ) -> Result<Self::In, NoCounterpart> {
        Ok(message(stream_in::Message::Init(CrdtInit {
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

    fn command(&self, command: Command<'_>, streaming: Streaming) -> Self::In {
        message(stream_in::Message::Command(superset::Command {
            streamed: streaming == Streaming::Streamed,
            ..command.message()
        }))
    }

    fn stream_cancelled(&self, entity_id: &str, id: i64) -> Option<Self::In> {
        let entity_id = entity_id.to_owned();
        let cancelled = StreamCancelled { entity_id, id };
        Some(message(stream_in::Message::StreamCancelled(cancelled)))
    }

    fn read(&mut self, out: Self::Out) -> Result<Out, Violation> {
        match out.message.ok_or(Violation::NoContent)? {
            stream_out::Message::Reply(it) => replied(it),
            stream_out::Message::StreamedMessage(it) => reply::streamed(it),
            stream_out::Message::StreamCancelledResponse(it) => cancelled(it),
            stream_out::Message::Failure(it) => Ok(reply::failure(it)),
        }
    }
}

/// The old layout, without streamed commands and without the types that only Cloudstate has.
#[derive(Debug, Default)]
pub struct OldUnary(Old);

impl Layout for OldUnary {
    type In = CrdtStreamIn;
    type Out = CrdtUnaryStreamOut;

    fn init(
        &mut self,
        instance: Instance<'_>,
        value: Option<Delta>,
    ) -> Result<Self::In, NoCounterpart> {
        value.as_ref().map_or(Ok(()), in_common)?;
        self.0.init(instance, value)
    }

    fn delta(&mut self, delta: Delta) -> Result<Self::In, NoCounterpart> {
        in_common(&delta)?;
        self.0.delta(delta)
    }

    fn delete(&self) -> Self::In {
        self.0.delete()
    }

    fn command(&self, command: Command<'_>, _streaming: Streaming) -> Self::In {
        self.0.command(command, Streaming::Unary)
    }

    fn stream_cancelled(&self, _entity_id: &str, _id: i64) -> Option<Self::In> {
        None
    }

    fn read(&mut self, out: Self::Out) -> Result<Out, Violation> {
        match out.message.ok_or(Violation::NoContent)? {
            unary_stream_out::Message::Reply(it) => replied(it),
            unary_stream_out::Message::Failure(it) => Ok(reply::failure(it)),
        }
    }
}

/// Refuses the types that only Cloudstate has.
fn in_common(delta: &Delta) -> Written<()> {
    match delta {
        Delta::GrowCounter(_) | Delta::GrowSet(_) | Delta::Flag(_) => {
            Err(NoCounterpart(delta.data_type()))
        }
        Delta::Map(map) => {
            let mut entries = map.updated.iter().chain(&map.added);
            entries.try_for_each(|(_, inside)| in_common(inside))
        }
        _ => Ok(()),
    }
}

fn message(message: stream_in::Message) -> CrdtStreamIn {
    CrdtStreamIn {
        message: Some(message),
    }
}

fn replied(reply: CrdtReply) -> Result<Out, Violation> {
    Ok(Out::Reply(Reply {
        command: reply.command_id,
        answer: reply::answer(reply.client_action)?,
        effects: parts::effects(reply.side_effects)?,
        change: reply.state_action.map(change),
        streamed: reply.streamed,
    }))
}

fn cancelled(response: CrdtStreamCancelledResponse) -> Result<Out, Violation> {
    Ok(Out::CancelAnswer(CancelAnswer {
        command: response.command_id,
        effects: parts::effects(response.side_effects)?,
        change: response.state_action.map(change),
    }))
}

fn change(action: CrdtStateAction) -> Change {
    let consistency = parts::consistency(action.write_consistency);
    let action = match action.action {
        Some(Action::Update(delta)) => StateAction::Update(read(delta, Depth::OUTSIDE)),
        Some(Action::Delete(ReplicatedEntityDelete {})) => StateAction::Delete,
        None => StateAction::Update(Err(InvalidDelta::NoType)),
    };
    Change {
        action,
        consistency,
    }
}

fn read(delta: CrdtDelta, depth: Depth) -> Read<Delta> {
    Ok(match delta.delta.ok_or(InvalidDelta::NoType)? {
        Wire::Gcounter(it) => Delta::GrowCounter(it.increment),
        Wire::Pncounter(it) => Delta::Counter(it.change),
        Wire::Gset(it) => Delta::GrowSet(elements(it.added)?),
        Wire::Orset(it) => Delta::Set(data::set(it)?),
        Wire::Lwwregister(it) => Delta::Register(data::register(it)?),
        Wire::Flag(it) => Delta::Flag(it.value),
        Wire::Ormap(it) => Delta::Map(read_map(it, depth.deeper()?)?),
        Wire::Vote(it) => Delta::Vote(data::votes(it)),
    })
}

fn read_map(delta: OrMapDelta, depth: Depth) -> Read<MapDelta> {
    let entry = |it: OrMapEntryDelta| data::entry(it.key, it.delta, |delta| read(delta, depth));
    Ok(MapDelta {
        cleared: delta.cleared,
        removed: elements(delta.removed)?,
        updated: delta.updated.into_iter().map(entry).collect::<Read<_>>()?,
        added: delta.added.into_iter().map(entry).collect::<Read<_>>()?,
    })
}

fn write(delta: Delta) -> Written<CrdtDelta> {
    let delta = match delta {
        Delta::GrowCounter(increment) => Wire::Gcounter(GCounterDelta { increment }),
        Delta::Counter(change) => Wire::Pncounter(ReplicatedCounterDelta { change }),
        Delta::GrowSet(added) => Wire::Gset(GSetDelta { added: anys(added) }),
        Delta::Set(set) => Wire::Orset(data::set_delta(set)),
        Delta::Register(write) => Wire::Lwwregister(data::register_delta(write)),
        Delta::Flag(value) => Wire::Flag(FlagDelta { value }),
        Delta::Map(map) => Wire::Ormap(write_map(map)?),
        Delta::Vote(votes) => Wire::Vote(data::vote_delta(votes)),
        Delta::CounterMap(_) | Delta::RegisterMap(_) | Delta::MultiMap(_) => {
            return Err(NoCounterpart(delta.data_type()));
        }
    };
    Ok(CrdtDelta { delta: Some(delta) })
}

fn write_map(delta: MapDelta) -> Written<OrMapDelta> {
    let entry = |(key, delta): (Payload, Delta)| {
        Ok(OrMapEntryDelta {
            key: Some(any(key)),
            delta: Some(write(delta)?),
        })
    };
    Ok(OrMapDelta {
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
