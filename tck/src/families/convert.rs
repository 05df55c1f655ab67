//! What goes over the wire, as what firn.v1 has for it, and back.
//!
//! Versions are firn.v1's alone: a decision gets the one that its mutation leaves.

use bytes::Bytes;
use prost::Message as _;
use prost_types::Any;

use super::delta;
use super::dialect::{Dialect, Kind};
use super::stream::{In, Out, Unread};
use super::wire::{
    self, action_response, client_action, metadata_entry, state_action, value_action,
};
use crate::fault::Fault;
use crate::oracle::Asked;
use crate::proto::TYPE_URL;
use crate::proto::v1::metadata::{Entry, entry};
use crate::proto::v1::{
    self, CallEffect, Decision, Metadata, Update, decision, effect, mutation, opening,
};
use crate::record::Record;
use crate::service::Service;
use crate::show;

/// The kind of a service that the dialect has.
pub(crate) fn kind(dialect: Dialect, service: Service) -> Kind {
    let kind = dialect.kind(service);
    kind.expect("the kit uses the services that the dialect has")
}

// ---------------------------------------------------------------------------------------------
// Beginnings and requests

/// What a stream of this entity begins with: its beginning, and events.
pub(crate) fn begin(dialect: Dialect, entity_id: &str, record: &Record) -> Vec<In> {
    let kind = kind(dialect, record.service);
    let theirs = |any: &Any| dialect.to_theirs(any);
    let mut init = wire::Init {
        service_name: dialect.service(record.service),
        entity_id: entity_id.to_owned(),
        state: None,
    };
    let mut events = Vec::new();
    match (kind, record.opening(entity_id).state) {
        (Kind::Value, state) => {
            let value = match &state {
                Some(opening::State::Value(any)) => Some(theirs(any)),
                _ => None,
            };
            // Present also if there is nothing.
            init.state = Some(wire::ValueInitState { value }.encode_to_vec().into());
        }
        (Kind::Events, Some(opening::State::History(history))) => {
            let before = history.snapshot_version.cast_signed();
            init.state = history.snapshot.as_ref().map(|snapshot| {
                let snapshot = wire::Snapshot {
                    snapshot_sequence: before,
                    snapshot: Some(theirs(snapshot)),
                };
                snapshot.encode_to_vec().into()
            });
            events = (before + 1..)
                .zip(&history.events)
                .map(|(sequence, event)| {
                    In::Event(wire::Event {
                        sequence,
                        payload: Some(theirs(event)),
                    })
                })
                .collect();
        }
        (Kind::Data, Some(opening::State::Data(data))) => {
            init.state = Some(delta::encode_whole(dialect, &data));
        }
        _ => {}
    }
    events.insert(0, In::Init(init));
    events
}

/// A message of the dialect's model.
pub(crate) fn payload(dialect: Dialect, name: &str, message: &impl prost::Message) -> Any {
    Any {
        type_url: format!("{TYPE_URL}{}.{name}", dialect.family().model()),
        value: message.encode_to_vec(),
    }
}

/// A request as the payload of a command.
pub(crate) fn request(dialect: Dialect, asked: &Asked) -> Any {
    match asked {
        Asked::Steps(request) => payload(dialect, "Request", request),
        Asked::Data(request) => payload(dialect, "DataRequest", request),
    }
}

/// The bytes of a payload that has to be this message of the model.
pub(super) fn bytes_of(
    dialect: Dialect,
    name: &str,
    payload: Option<&Any>,
) -> Result<Bytes, Unread> {
    let expected = format!("{TYPE_URL}{}.{name}", dialect.family().model());
    match payload {
        None => Err(format!("no payload where {expected} should be")),
        Some(any) if any.type_url == expected => Ok(any.value.clone().into()),
        Some(any) => Err(format!("{} where {expected} should be", any.type_url)),
    }
}

// ---------------------------------------------------------------------------------------------
// Metadata, forwards, effects, failures

pub(crate) fn metadata(given: &wire::Metadata) -> Metadata {
    let entries = given.entries.iter().map(|one| Entry {
        key: one.key.clone(),
        value: one.value.as_ref().map(|value| match value {
            metadata_entry::Value::StringValue(text) => entry::Value::Text(text.clone()),
            metadata_entry::Value::BytesValue(bytes) => entry::Value::Binary(bytes.clone()),
        }),
    });
    Metadata {
        entries: entries.collect(),
    }
}

pub(crate) fn to_metadata(given: &Metadata) -> wire::Metadata {
    let entries = given.entries.iter().map(|one| wire::MetadataEntry {
        key: one.key.clone(),
        value: one.value.as_ref().map(|value| match value {
            entry::Value::Text(text) => metadata_entry::Value::StringValue(text.clone()),
            entry::Value::Binary(bytes) => metadata_entry::Value::BytesValue(bytes.clone()),
        }),
    });
    wire::Metadata {
        entries: entries.collect(),
    }
}

/// A target as firn.v1 has it. One that is none of the model keeps its names.
fn target(
    dialect: Dialect,
    service: &str,
    method: &str,
    payload: Option<&Any>,
    metadata_of: Option<&wire::Metadata>,
) -> Result<v1::Target, Unread> {
    Ok(v1::Target {
        service: match dialect.service_of(service) {
            Some(service) => service.name(),
            None => service.to_owned(),
        },
        method: method.to_owned(),
        message: bytes_of(dialect, "Request", payload)?,
        metadata: metadata_of.map(metadata),
    })
}

fn effects(dialect: Dialect, given: &[wire::SideEffect]) -> Result<Vec<v1::Effect>, Unread> {
    let one = |given: &wire::SideEffect| {
        let target = target(
            dialect,
            &given.service_name,
            &given.command_name,
            given.payload.as_ref(),
            given.metadata.as_ref(),
        )?;
        Ok(v1::Effect {
            effect: Some(effect::Effect::Call(CallEffect {
                target: Some(target),
                wait: given.synchronous,
                delay: None,
            })),
        })
    };
    given.iter().map(one).collect()
}

fn failure(dialect: Dialect, given: &wire::Failure) -> decision::Answer {
    const UNKNOWN: i32 = 2;
    let code = match given.grpc_status_code {
        0 => UNKNOWN,
        _ if !dialect.has_codes() => UNKNOWN,
        code => code,
    };
    decision::Answer::Failure(v1::Failure {
        code,
        message: given.description.clone(),
        details: Vec::new(),
    })
}

// ---------------------------------------------------------------------------------------------
// Answers

type Answer = (Option<decision::Answer>, Option<Metadata>);

fn answer(
    dialect: Dialect,
    output: &str,
    action: Option<client_action::Action>,
) -> Result<Answer, Unread> {
    Ok(match action {
        None => (None, None),
        Some(client_action::Action::Reply(reply)) => {
            let bytes = bytes_of(dialect, output, reply.payload.as_ref())?;
            let metadata = reply.metadata.as_ref().map(metadata);
            (Some(decision::Answer::Reply(bytes)), metadata)
        }
        Some(client_action::Action::Forward(forward)) => {
            let target = target(
                dialect,
                &forward.service_name,
                &forward.command_name,
                forward.payload.as_ref(),
                forward.metadata.as_ref(),
            )?;
            (Some(decision::Answer::Forward(target)), None)
        }
        Some(client_action::Action::Failure(given)) => (Some(failure(dialect, &given)), None),
    })
}

/// The message that methods of a service return.
pub(crate) fn output(service: Service) -> &'static str {
    match service {
        Service::Data(_) => "Value",
        _ => "Reply",
    }
}

/// What a function answered on an entity's stream, as a decision on this record.
///
/// A streamed message and the answer to a cancellation have the form of one, too; a snapshot that was
/// requested has not.
pub(crate) fn decision(dialect: Dialect, record: &Record, out: &Out) -> Result<Decision, Fault> {
    let misfit = |requirement: &'static str| {
        move |came: Unread| Fault::new(requirement, "an answer that the protocol has", came)
    };
    let output = output(record.service);
    let (command, action, side_effects, mutation) = match out {
        Out::Value(reply) => (
            reply.command_id,
            &reply.client_action,
            &reply.side_effects,
            value_mutation(dialect, reply).map_err(misfit("F31"))?,
        ),
        Out::Events(reply) => (
            reply.command_id,
            &reply.client_action,
            &reply.side_effects,
            events_mutation(dialect, reply).map_err(misfit("F42"))?,
        ),
        Out::Data(reply) => (
            reply.command_id,
            &reply.client_action,
            &reply.side_effects,
            data_mutation(dialect, reply.state_action.as_ref()).map_err(misfit("F51"))?,
        ),
        Out::Streamed(message) => (
            message.command_id,
            &message.client_action,
            &message.side_effects,
            None,
        ),
        Out::Cancelled(response) => (
            response.command_id,
            &None,
            &response.side_effects,
            data_mutation(dialect, response.state_action.as_ref()).map_err(misfit("F58"))?,
        ),
        Out::Failure(given) => {
            return Ok(Decision {
                command: given.command_id.cast_unsigned(),
                answer: Some(failure(dialect, given)),
                version: record.version,
                ..Decision::default()
            });
        }
        Out::Snapshot(_) => {
            let came = show::short(&format!("{out:?}"));
            return Err(Fault::new("F43", "an answer to a command", came));
        }
    };
    let action = action.clone().and_then(|action| action.action);
    let (answer, metadata) = answer(dialect, output, action).map_err(misfit("F14"))?;
    let version = record.version
        + match &mutation {
            None => 0,
            Some(mutation::Mutation::Append(append)) => append.events.len() as u64,
            Some(_) => 1,
        };
    Ok(Decision {
        command: command.cast_unsigned(),
        metadata,
        mutation: mutation.map(|mutation| v1::Mutation {
            mutation: Some(mutation),
        }),
        effects: effects(dialect, side_effects).map_err(misfit("F21"))?,
        version,
        answer,
        ..Decision::default()
    })
}

fn value_mutation(
    dialect: Dialect,
    reply: &wire::ValueReply,
) -> Result<Option<mutation::Mutation>, Unread> {
    let Some(action) = &reply.state_action else {
        return Ok(None);
    };
    match &action.action {
        None => Err("a state action with nothing in it".into()),
        Some(value_action::Action::Delete(_)) => {
            Ok(Some(mutation::Mutation::Delete(v1::Delete {})))
        }
        Some(value_action::Action::Update(update)) => {
            let value = update.value.as_ref().ok_or("an update without a value")?;
            Ok(Some(mutation::Mutation::Set(dialect.to_own(value))))
        }
    }
}

fn events_mutation(
    dialect: Dialect,
    reply: &wire::EventSourcedReply,
) -> Result<Option<mutation::Mutation>, Unread> {
    if reply.delete.is_some() {
        return Ok(Some(mutation::Mutation::Delete(v1::Delete {})));
    }
    if reply.events.is_empty() {
        return match &reply.snapshot {
            Some(_) => Err("a snapshot without events".into()),
            None => Ok(None),
        };
    }
    let own = |any: &Any| dialect.to_own(any);
    Ok(Some(mutation::Mutation::Append(v1::Append {
        events: reply.events.iter().map(own).collect(),
        snapshot: reply.snapshot.as_ref().map(own),
    })))
}

fn data_mutation(
    dialect: Dialect,
    action: Option<&wire::StateAction>,
) -> Result<Option<mutation::Mutation>, Unread> {
    let Some(action) = action else {
        return Ok(None);
    };
    let is_old = dialect == Dialect::Cloudstate01;
    let update = |delta| {
        let consistency = match is_old {
            true => action.old_write_consistency,
            false => action.write_consistency,
        };
        Some(mutation::Mutation::Update(Update {
            delta: Some(delta),
            consistency,
        }))
    };
    match &action.action {
        Some(state_action::Action::Update(bytes)) if !is_old => {
            delta::decode(dialect, bytes).map(update)
        }
        Some(state_action::Action::OldUpdate(bytes)) if is_old => {
            delta::decode(dialect, bytes).map(update)
        }
        Some(state_action::Action::OldCreate(bytes)) if is_old => {
            delta::decode_whole(dialect, bytes).map(update)
        }
        Some(state_action::Action::Delete(_)) if !is_old => {
            Ok(Some(mutation::Mutation::Delete(v1::Delete {})))
        }
        Some(state_action::Action::OldDelete(_)) if is_old => {
            Ok(Some(mutation::Mutation::Delete(v1::Delete {})))
        }
        other => Err(format!("the state action {other:?}")),
    }
}

/// What an action answered, as a decision.
pub(crate) fn response(
    dialect: Dialect,
    response: &wire::ActionResponse,
) -> Result<Decision, Fault> {
    let misfit = |came: Unread| Fault::new("F14", "a response that the protocol has", came);
    let action = response.response.clone().map(|response| match response {
        action_response::Response::Failure(failure) => client_action::Action::Failure(failure),
        action_response::Response::Reply(reply) => client_action::Action::Reply(reply),
        action_response::Response::Forward(forward) => client_action::Action::Forward(forward),
    });
    let (answer, metadata) = answer(dialect, "Reply", action).map_err(misfit)?;
    Ok(Decision {
        metadata,
        effects: effects(dialect, &response.side_effects).map_err(misfit)?,
        answer,
        ..Decision::default()
    })
}

/// A fault that the oracle found, with the requirement of the families.
pub(crate) fn fault(fault: Fault, kind: Kind) -> Fault {
    let requirement = match (fault.requirement, kind) {
        ("R21", Kind::Action) => "F60",
        ("R21" | "R50", Kind::Value) => "F31",
        ("R21", Kind::Events) => "F40",
        ("R23", _) if fault.expected.starts_with("the reply's header") => "F22",
        ("R23", _) if fault.expected.starts_with("Target") => "F20",
        ("R23", _) => "F19",
        ("R28", _) => "F21",
        ("R25", Kind::Value) => "F31",
        ("R25" | "R24", Kind::Events) => "F41",
        ("R51", _) => "F42",
        ("R21" | "R25" | "R52", Kind::Data) => "F51",
        ("R55", _) => "F60",
        (other, _) => other,
    };
    Fault {
        requirement,
        ..fault
    }
}
