//! The stream of a value entity.

use firn_model::decision::{Answer, Decision, Mutation};
use firn_model::payload::Payload;

use super::Violation;
use super::instance::{Command, Instance, Out, Reply, stream_failure};
use super::parts;
use crate::superset::{
    ValueEntityAction, ValueEntityInit, ValueEntityInitState, ValueEntityReply,
    ValueEntityStreamIn, ValueEntityStreamOut, value_entity_action::Action,
    value_entity_stream_in as stream_in, value_entity_stream_out as stream_out,
};

/// The first message of a stream. The state's wrapper is there even when there is no state.
pub fn init(instance: Instance<'_>, state: Option<Payload>) -> ValueEntityStreamIn {
    message(stream_in::Message::Init(ValueEntityInit {
        service_name: instance.service.to_owned(),
        entity_id: instance.entity_id.to_owned(),
        state: Some(ValueEntityInitState {
            value: state.map(parts::any),
        }),
    }))
}

/// A command.
pub fn command(command: Command<'_>) -> ValueEntityStreamIn {
    message(stream_in::Message::Command(command.message()))
}

/// Reads one message of the function.
///
/// # Errors
/// Any [`Violation`] that concerns values.
pub fn read(out: ValueEntityStreamOut) -> Result<Out, Violation> {
    match out.message.ok_or(Violation::NoContent)? {
        stream_out::Message::Reply(it) => reply(it).map(Out::Reply),
        stream_out::Message::Failure(it) => Ok(Out::Failure(stream_failure(it))),
    }
}

fn reply(reply: ValueEntityReply) -> Result<Reply, Violation> {
    let mut answer = parts::answer(reply.client_action)?;
    if let Answer::Failure(failure) = &mut answer {
        // A restart replays events; a value entity has none.
        failure.restart = false;
    }
    let mutation = match reply.state_action {
        Some(action) => mutation(action, reply.command_id)?,
        None => Mutation::Nothing,
    };
    Ok(Reply {
        command_id: reply.command_id,
        decision: Decision {
            answer,
            mutation,
            effects: parts::effects(reply.side_effects)?,
            timers: Vec::new(),
        },
        snapshot_dropped: false,
    })
}

fn mutation(action: ValueEntityAction, command_id: i64) -> Result<Mutation, Violation> {
    match action
        .action
        .ok_or(Violation::NoStateAction { command_id })?
    {
        Action::Update(update) => {
            let value = update.value.ok_or(Violation::NoValue { command_id })?;
            Ok(Mutation::Set(parts::payload(value)?))
        }
        Action::Delete(delete) => Ok(Mutation::Delete {
            grace: delete.cleanup_after.map(parts::duration),
        }),
    }
}

fn message(message: stream_in::Message) -> ValueEntityStreamIn {
    ValueEntityStreamIn {
        message: Some(message),
    }
}
