//! The oldest layout, of Cloudstate 0.1: whole values and changes are different messages.
//!
//! The function is sent a whole value as long as it has none, and changes once it has. It has one
//! when it was sent one, and when it made one itself. A whole value is a change from the empty one,
//! so reading and writing it is all that this layout has besides the old one.

use firn_model::payload::Payload;
use firn_model::replicated::{
    CancelAnswer, Change, Delta, InvalidDelta, MapDelta, Reply, SetDelta, StateAction, Votes,
};

use super::data::{self, Depth, Read, Written, anys, elements};
use super::{Layout, NoCounterpart, Out, Streaming, reply};
use crate::convert::Violation;
use crate::convert::instance::{Command, Instance};
use crate::convert::parts::{self, any};
use crate::superset::crdt_delta01::Delta as WireDelta;
use crate::superset::crdt_state_action01::Action;
use crate::superset::crdt_state01::State as WireState;
use crate::superset::{
    self, CrdtDelta01, CrdtInit01, CrdtReply01, CrdtState01, CrdtStateAction01,
    CrdtStreamCancelledResponse01, CrdtStreamIn01, CrdtStreamOut01, FlagDelta, GCounterDelta,
    GCounterState, GSetDelta, GSetState, OrMapDelta01, OrMapEntry01, OrMapEntryDelta01,
    OrMapState01, OrSetState, PnCounterState, ReplicatedCounterDelta, ReplicatedEntityDelete,
    StreamCancelled, VoteState, crdt_stream_in01 as stream_in, crdt_stream_out01 as stream_out,
};

/// The layout with whole values.
#[derive(Debug, Default)]
pub struct States {
    /// Whether the function has a value, so that it understands changes.
    has_value: bool,
}

impl Layout for States {
    type In = CrdtStreamIn01;
    type Out = CrdtStreamOut01;

    fn init(
        &mut self,
        instance: Instance<'_>,
        value: Option<Delta>,
    ) -> Result<Self::In, NoCounterpart> {
        self.has_value = value.is_some();
        Ok(message(stream_in::Message::Init(CrdtInit01 {
            service_name: instance.service.to_owned(),
            entity_id: instance.entity_id.to_owned(),
            state: value.map(write_state).transpose()?,
        })))
    }

    fn delta(&mut self, delta: Delta) -> Result<Self::In, NoCounterpart> {
        Ok(message(if self.has_value {
            stream_in::Message::Changed(write_delta(delta)?)
        } else {
            let state = write_state(delta)?;
            self.has_value = true;
            stream_in::Message::State(state)
        }))
    }

    fn delete(&self) -> Self::In {
        message(stream_in::Message::Deleted(ReplicatedEntityDelete {}))
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
            stream_out::Message::Reply(it) => self.replied(it),
            stream_out::Message::StreamedMessage(it) => reply::streamed(it),
            stream_out::Message::StreamCancelledResponse(it) => self.cancelled(it),
            stream_out::Message::Failure(it) => Ok(reply::failure(it)),
        }
    }
}

impl States {
    fn replied(&mut self, reply: CrdtReply01) -> Result<Out, Violation> {
        Ok(Out::Reply(Reply {
            command: reply.command_id,
            answer: reply::answer(reply.client_action)?,
            effects: parts::effects(reply.side_effects)?,
            change: reply.state_action.map(|action| self.change(action)),
            streamed: reply.streamed,
        }))
    }

    fn cancelled(&mut self, response: CrdtStreamCancelledResponse01) -> Result<Out, Violation> {
        Ok(Out::CancelAnswer(CancelAnswer {
            command: response.command_id,
            effects: parts::effects(response.side_effects)?,
            change: response.state_action.map(|action| self.change(action)),
        }))
    }

    fn change(&mut self, action: CrdtStateAction01) -> Change {
        let consistency = parts::consistency(action.write_consistency);
        // Also if it cannot be understood: the function holds it all the same.
        self.has_value |= matches!(action.action, Some(Action::Create(_) | Action::Update(_)));
        let action = match action.action {
            Some(Action::Create(state)) => StateAction::Update(read_state(state, Depth::OUTSIDE)),
            Some(Action::Update(delta)) => StateAction::Update(read_delta(delta, Depth::OUTSIDE)),
            Some(Action::Delete(ReplicatedEntityDelete {})) => StateAction::Delete,
            None => StateAction::Update(Err(InvalidDelta::NoType)),
        };
        Change {
            action,
            consistency,
        }
    }
}

fn message(message: stream_in::Message) -> CrdtStreamIn01 {
    CrdtStreamIn01 {
        message: Some(message),
    }
}

fn read_state(state: CrdtState01, depth: Depth) -> Read<Delta> {
    Ok(match state.state.ok_or(InvalidDelta::NoType)? {
        WireState::Gcounter(it) => Delta::GrowCounter(it.value),
        WireState::Pncounter(it) => Delta::Counter(it.value),
        WireState::Gset(it) => Delta::GrowSet(elements(it.items)?),
        WireState::Orset(it) => Delta::Set(SetDelta {
            added: elements(it.items)?,
            ..SetDelta::default()
        }),
        WireState::Lwwregister(it) => Delta::Register(data::register(it)?),
        WireState::Flag(it) => Delta::Flag(it.value),
        WireState::Ormap(it) => Delta::Map(MapDelta {
            added: read_states(it.entries, depth.deeper()?)?,
            ..MapDelta::default()
        }),
        WireState::Vote(it) => Delta::Vote(Votes {
            own: it.self_vote,
            yes: it.votes_for,
            members: it.total_voters,
        }),
    })
}

fn read_states(entries: Vec<OrMapEntry01>, depth: Depth) -> Read<Vec<(Payload, Delta)>> {
    let entry = |it: OrMapEntry01| data::entry(it.key, it.value, |state| read_state(state, depth));
    entries.into_iter().map(entry).collect()
}

/// Writes what a change makes of the empty value.
fn write_state(delta: Delta) -> Written<CrdtState01> {
    let state = match delta {
        Delta::GrowCounter(value) => WireState::Gcounter(GCounterState { value }),
        Delta::Counter(value) => WireState::Pncounter(PnCounterState { value }),
        Delta::GrowSet(added) => WireState::Gset(GSetState { items: anys(added) }),
        Delta::Set(set) => WireState::Orset(OrSetState {
            items: anys(set.added),
        }),
        Delta::Register(write) => WireState::Lwwregister(data::register_delta(write)),
        Delta::Flag(value) => WireState::Flag(FlagDelta { value }),
        Delta::Map(map) => WireState::Ormap(OrMapState01 {
            entries: write_states(map.added)?,
        }),
        Delta::Vote(votes) => WireState::Vote(VoteState {
            votes_for: votes.yes,
            total_voters: votes.members,
            self_vote: votes.own,
        }),
        Delta::CounterMap(_) | Delta::RegisterMap(_) | Delta::MultiMap(_) => {
            return Err(NoCounterpart(delta.data_type()));
        }
    };
    Ok(CrdtState01 { state: Some(state) })
}

fn write_states(entries: Vec<(Payload, Delta)>) -> Written<Vec<OrMapEntry01>> {
    let entry = |(key, delta): (Payload, Delta)| {
        Ok(OrMapEntry01 {
            key: Some(any(key)),
            value: Some(write_state(delta)?),
        })
    };
    entries.into_iter().map(entry).collect()
}

fn read_delta(delta: CrdtDelta01, depth: Depth) -> Read<Delta> {
    Ok(match delta.delta.ok_or(InvalidDelta::NoType)? {
        WireDelta::Gcounter(it) => Delta::GrowCounter(it.increment),
        WireDelta::Pncounter(it) => Delta::Counter(it.change),
        WireDelta::Gset(it) => Delta::GrowSet(elements(it.added)?),
        WireDelta::Orset(it) => Delta::Set(data::set(it)?),
        WireDelta::Lwwregister(it) => Delta::Register(data::register(it)?),
        WireDelta::Flag(it) => Delta::Flag(it.value),
        WireDelta::Ormap(it) => Delta::Map(read_map(it, depth.deeper()?)?),
        WireDelta::Vote(it) => Delta::Vote(data::votes(it)),
    })
}

fn read_map(delta: OrMapDelta01, depth: Depth) -> Read<MapDelta> {
    let updated =
        |it: OrMapEntryDelta01| data::entry(it.key, it.delta, |delta| read_delta(delta, depth));
    Ok(MapDelta {
        cleared: delta.cleared,
        removed: elements(delta.removed)?,
        updated: delta
            .updated
            .into_iter()
            .map(updated)
            .collect::<Read<_>>()?,
        added: read_states(delta.added, depth)?,
    })
}

fn write_delta(delta: Delta) -> Written<CrdtDelta01> {
    let delta = match delta {
        Delta::GrowCounter(increment) => WireDelta::Gcounter(GCounterDelta { increment }),
        Delta::Counter(change) => WireDelta::Pncounter(ReplicatedCounterDelta { change }),
        Delta::GrowSet(added) => WireDelta::Gset(GSetDelta { added: anys(added) }),
        Delta::Set(set) => WireDelta::Orset(data::set_delta(set)),
        Delta::Register(write) => WireDelta::Lwwregister(data::register_delta(write)),
        Delta::Flag(value) => WireDelta::Flag(FlagDelta { value }),
        Delta::Map(map) => WireDelta::Ormap(write_map(map)?),
        Delta::Vote(votes) => WireDelta::Vote(data::vote_delta(votes)),
        Delta::CounterMap(_) | Delta::RegisterMap(_) | Delta::MultiMap(_) => {
            return Err(NoCounterpart(delta.data_type()));
        }
    };
    Ok(CrdtDelta01 { delta: Some(delta) })
}

fn write_map(delta: MapDelta) -> Written<OrMapDelta01> {
    let updated = |(key, delta): (Payload, Delta)| {
        Ok(OrMapEntryDelta01 {
            key: Some(any(key)),
            delta: Some(write_delta(delta)?),
        })
    };
    Ok(OrMapDelta01 {
        cleared: delta.cleared,
        removed: anys(delta.removed),
        updated: delta
            .updated
            .into_iter()
            .map(updated)
            .collect::<Written<_>>()?,
        added: write_states(delta.added)?,
    })
}
