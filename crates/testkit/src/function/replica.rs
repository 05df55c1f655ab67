//! Replicated entities in a script: their messages in the layout of a dialect, from the words of the
//! model.
//!
//! The bytes of each layout are held by the tests of `firn-wire`; here its conversions are taken for
//! granted.

use bytes::Bytes;
use firn_model::replicated::{Consistency, Delta};
use firn_wire::convert::instance::Instance;
use firn_wire::convert::replicated::{Layout as _, New, Old, States};
use firn_wire::dialect::{Deltas, Dialect};
use firn_wire::superset::crdt_state_action::Action as OldAction;
use firn_wire::superset::crdt_state_action01::Action as StatesAction;
use firn_wire::superset::crdt_stream_in::Message as OldIn;
use firn_wire::superset::crdt_stream_in01::Message as StatesIn;
use firn_wire::superset::crdt_stream_out::Message as OldOut;
use firn_wire::superset::crdt_stream_out01::Message as StatesOut;
use firn_wire::superset::crdt_unary_stream_out::Message as OldUnaryOut;
use firn_wire::superset::replicated_entity_state_action::Action as NewAction;
use firn_wire::superset::replicated_entity_stream_in::Message as NewIn;
use firn_wire::superset::replicated_entity_stream_out::Message as NewOut;
use firn_wire::superset::{
    Command, CrdtReply, CrdtReply01, CrdtStateAction, CrdtStateAction01,
    CrdtStreamCancelledResponse, CrdtStreamCancelledResponse01, CrdtStreamIn, CrdtStreamIn01,
    CrdtStreamOut, CrdtStreamOut01, CrdtStreamedMessage, CrdtUnaryStreamOut, Failure,
    ReplicatedEntityDelete, ReplicatedEntityReply, ReplicatedEntityStateAction,
    ReplicatedEntityStreamIn, ReplicatedEntityStreamOut, StreamCancelled,
};
use prost::Message;

use super::entity::{In, decode};
use super::message::Reply;

/// The opening of a replicated entity, with its value as a change from the empty one, if it has one.
///
/// # Panics
/// If the dialect cannot say the value.
pub fn replica_init(dialect: &Dialect, service: &str, entity_id: &str, value: Option<Delta>) -> In {
    let instance = Instance { service, entity_id };
    const SAYABLE: &str = "a value of a type that the dialect has";
    match dialect.deltas {
        Deltas::New => new(New.init(instance, value).expect(SAYABLE)),
        Deltas::Old => old(Old.init(instance, value).expect(SAYABLE)),
        Deltas::States => states(States::default().init(instance, value).expect(SAYABLE)),
    }
}

/// A change that came from elsewhere.
///
/// # Panics
/// If the dialect cannot say it.
pub fn replica_delta(dialect: &Dialect, delta: Delta) -> In {
    match dialect.deltas {
        Deltas::New => In::New(NewIn::Delta(new_delta(delta))),
        Deltas::Old => In::Old(OldIn::Delta(old_delta(delta))),
        Deltas::States => In::States(StatesIn::Changed(changed(delta))),
    }
}

/// A value that came from elsewhere to a function that had none: in the oldest dialect a message of
/// its own.
///
/// # Panics
/// If the dialect cannot say it.
pub fn replica_value(dialect: &Dialect, value: Delta) -> In {
    match dialect.deltas {
        Deltas::New | Deltas::Old => replica_delta(dialect, value),
        Deltas::States => In::States(StatesIn::State(state(value))),
    }
}

/// The entity was deleted elsewhere.
pub fn replica_delete(dialect: &Dialect) -> In {
    match dialect.deltas {
        Deltas::New => new(New.delete()),
        Deltas::Old => old(Old.delete()),
        Deltas::States => states(States::default().delete()),
    }
}

/// The caller of a streamed command has gone.
pub fn stream_cancelled(dialect: &Dialect, entity_id: &str, id: i64) -> In {
    let entity_id = entity_id.to_owned();
    let cancelled = StreamCancelled { entity_id, id };
    match dialect.deltas {
        Deltas::New | Deltas::Old => In::Old(OldIn::StreamCancelled(cancelled)),
        Deltas::States => In::States(StatesIn::StreamCancelled(cancelled)),
    }
}

/// The same command of a caller that takes a stream of replies.
pub fn streamed(command: Command) -> Command {
    Command {
        streamed: true,
        ..command
    }
}

/// What a reply does to a replicated entity.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Makes its value, as a change from the empty one: in the oldest dialect an action of its own.
    Create(Delta),
    /// Changes its value.
    Update(Delta),
    /// Deletes it.
    Delete,
    /// Says nothing.
    Nothing,
}

/// In which messages a function speaks about a replicated entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    New,
    Old,
    OldUnary,
    States,
}

impl Layout {
    pub(super) fn of(dialect: &Dialect) -> Self {
        match (dialect.deltas, dialect.streamed_commands) {
            (Deltas::New, _) => Self::New,
            (Deltas::Old, true) => Self::Old,
            (Deltas::Old, false) => Self::OldUnary,
            (Deltas::States, _) => Self::States,
        }
    }

    pub(super) fn read(self, message: Bytes) -> In {
        match self {
            Self::New => new(decode(message)),
            Self::Old | Self::OldUnary => old(decode(message)),
            Self::States => states(decode(message)),
        }
    }

    pub(super) fn reply(self, reply: Reply) -> Vec<u8> {
        match self {
            Self::New => new_out(NewOut::Reply(ReplicatedEntityReply {
                command_id: reply.command_id,
                client_action: reply.client_action,
                side_effects: reply.side_effects,
                state_action: reply.change.map(new_action),
            })),
            Self::Old => old_out(OldOut::Reply(old_reply(reply))),
            Self::OldUnary => old_unary_out(OldUnaryOut::Reply(old_reply(reply))),
            Self::States => states_out(StatesOut::Reply(CrdtReply01 {
                command_id: reply.command_id,
                client_action: reply.client_action,
                side_effects: reply.side_effects,
                state_action: reply
                    .change
                    .map(|change| states_action(change, reply.consistency)),
                streamed: reply.streamed,
            })),
        }
    }

    pub(super) fn failure(self, failure: Failure) -> Vec<u8> {
        match self {
            Self::New => new_out(NewOut::Failure(failure)),
            Self::Old => old_out(OldOut::Failure(failure)),
            Self::OldUnary => old_unary_out(OldUnaryOut::Failure(failure)),
            Self::States => states_out(StatesOut::Failure(failure)),
        }
    }

    pub(super) fn streamed_message(self, reply: Reply) -> Vec<u8> {
        let message = CrdtStreamedMessage {
            command_id: reply.command_id,
            client_action: reply.client_action,
            side_effects: reply.side_effects,
            end_stream: reply.ends,
        };
        match self {
            Self::Old => old_out(OldOut::StreamedMessage(message)),
            Self::States => states_out(StatesOut::StreamedMessage(message)),
            Self::New | Self::OldUnary => panic!("the dialect has no streamed commands"),
        }
    }

    pub(super) fn cancel_answer(self, reply: Reply) -> Vec<u8> {
        let Reply {
            command_id,
            side_effects,
            change,
            consistency,
            ..
        } = reply;
        match self {
            Self::Old => old_out(OldOut::StreamCancelledResponse(
                CrdtStreamCancelledResponse {
                    command_id,
                    side_effects,
                    state_action: change.map(|change| old_action(change, consistency)),
                },
            )),
            Self::States => states_out(StatesOut::StreamCancelledResponse(
                CrdtStreamCancelledResponse01 {
                    command_id,
                    side_effects,
                    state_action: change.map(|change| states_action(change, consistency)),
                },
            )),
            Self::New | Self::OldUnary => panic!("the dialect has no streamed commands"),
        }
    }
}

/// The id in the opening of a replicated entity, if that is what it is.
pub(super) fn opened(message: &In) -> Option<&str> {
    match message {
        In::New(NewIn::Init(init)) => Some(&init.entity_id),
        In::Old(OldIn::Init(init)) => Some(&init.entity_id),
        In::States(StatesIn::Init(init)) => Some(&init.entity_id),
        _ => None,
    }
}

fn new(message: ReplicatedEntityStreamIn) -> In {
    match message.message {
        Some(NewIn::Command(command)) => In::Command(command),
        Some(message) => In::New(message),
        None => In::Empty,
    }
}

fn old(message: CrdtStreamIn) -> In {
    match message.message {
        Some(OldIn::Command(command)) => In::Command(command),
        Some(message) => In::Old(message),
        None => In::Empty,
    }
}

fn states(message: CrdtStreamIn01) -> In {
    match message.message {
        Some(StatesIn::Command(command)) => In::Command(command),
        Some(message) => In::States(message),
        None => In::Empty,
    }
}

fn new_out(message: NewOut) -> Vec<u8> {
    let message = Some(message);
    ReplicatedEntityStreamOut { message }.encode_to_vec()
}

fn old_out(message: OldOut) -> Vec<u8> {
    let message = Some(message);
    CrdtStreamOut { message }.encode_to_vec()
}

fn old_unary_out(message: OldUnaryOut) -> Vec<u8> {
    let message = Some(message);
    CrdtUnaryStreamOut { message }.encode_to_vec()
}

fn states_out(message: StatesOut) -> Vec<u8> {
    let message = Some(message);
    CrdtStreamOut01 { message }.encode_to_vec()
}

fn old_reply(reply: Reply) -> CrdtReply {
    CrdtReply {
        command_id: reply.command_id,
        client_action: reply.client_action,
        side_effects: reply.side_effects,
        state_action: reply
            .change
            .map(|change| old_action(change, reply.consistency)),
        streamed: reply.streamed,
    }
}

fn new_action(change: Change) -> ReplicatedEntityStateAction {
    let action = match change {
        Change::Create(delta) | Change::Update(delta) => Some(NewAction::Update(new_delta(delta))),
        Change::Delete => Some(NewAction::Delete(ReplicatedEntityDelete {})),
        Change::Nothing => None,
    };
    ReplicatedEntityStateAction { action }
}

fn old_action(change: Change, consistency: Consistency) -> CrdtStateAction {
    let action = match change {
        Change::Create(delta) | Change::Update(delta) => Some(OldAction::Update(old_delta(delta))),
        Change::Delete => Some(OldAction::Delete(ReplicatedEntityDelete {})),
        Change::Nothing => None,
    };
    CrdtStateAction {
        action,
        write_consistency: number(consistency),
    }
}

fn states_action(change: Change, consistency: Consistency) -> CrdtStateAction01 {
    let action = match change {
        Change::Create(delta) => Some(StatesAction::Create(state(delta))),
        Change::Update(delta) => Some(StatesAction::Update(changed(delta))),
        Change::Delete => Some(StatesAction::Delete(ReplicatedEntityDelete {})),
        Change::Nothing => None,
    };
    CrdtStateAction01 {
        action,
        write_consistency: number(consistency),
    }
}

/// The number of a write consistency, which is the same in all families.
pub(super) fn number(consistency: Consistency) -> i32 {
    match consistency {
        Consistency::Local => 0,
        Consistency::Majority => 1,
        Consistency::All => 2,
    }
}

fn new_delta(delta: Delta) -> firn_wire::superset::ReplicatedEntityDelta {
    match New.delta(delta).map(|sent| sent.message) {
        Ok(Some(NewIn::Delta(delta))) => delta,
        other => panic!("{other:?}"),
    }
}

fn old_delta(delta: Delta) -> firn_wire::superset::CrdtDelta {
    match Old.delta(delta).map(|sent| sent.message) {
        Ok(Some(OldIn::Delta(delta))) => delta,
        other => panic!("{other:?}"),
    }
}

/// The first that a function is sent is a whole value.
fn state(value: Delta) -> firn_wire::superset::CrdtState01 {
    match States::default().delta(value).map(|sent| sent.message) {
        Ok(Some(StatesIn::State(state))) => state,
        other => panic!("{other:?}"),
    }
}

/// What it is sent after one is a change.
fn changed(delta: Delta) -> firn_wire::superset::CrdtDelta01 {
    let mut states = States::default();
    states.delta(Delta::Flag(false)).expect("a flag");
    match states.delta(delta).map(|sent| sent.message) {
        Ok(Some(StatesIn::Changed(delta))) => delta,
        other => panic!("{other:?}"),
    }
}
