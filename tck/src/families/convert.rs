//! What goes over the wire, as what firn.v1 has for it, and back.
//!
//! Versions are firn.v1's alone: a decision gets the one that its mutation leaves.

use bytes::Bytes;
use prost::Message as _;
use prost_types::Any;

use super::delta;
use super::dialect::{Dialect, Kind};
use super::stream::{In, Out, Unread, read};
use super::wire::{
    self, action_response, client_action, metadata_entry, state_action, value_action,
};
use crate::fault::Fault;
use crate::oracle::Asked;
use crate::proto::TYPE_URL;
use crate::proto::v1::metadata::{Entry, entry};
use crate::proto::v1::{
    self, CallEffect, Decision, History, Metadata, Opening, Update, decision, effect, mutation,
    opening,
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

/// What a stream began with; the reverse of [`begin`].
pub(crate) fn opening(
    dialect: Dialect,
    kind: Kind,
    init: &wire::Init,
    events: &[wire::Event],
) -> Result<Opening, Unread> {
    let own = |any: &Any| dialect.to_own(any);
    let mut opening = Opening {
        entity_id: init.entity_id.clone(),
        ..Opening::default()
    };
    let state = init.state.clone();
    opening.state = match kind {
        Kind::Action => None,
        Kind::Value => {
            let state: wire::ValueInitState = read(state.ok_or("a beginning without a state")?)?;
            state
                .value
                .as_ref()
                .map(|any| opening::State::Value(own(any)))
        }
        Kind::Events => {
            let snapshot: Option<wire::Snapshot> = state.map(read).transpose()?;
            let before = snapshot.as_ref().map_or(0, |one| one.snapshot_sequence);
            for (sequence, event) in (before + 1..).zip(events) {
                if event.sequence != sequence {
                    let came = event.sequence;
                    return Err(format!("event {came} where {sequence} should be"));
                }
            }
            opening.version = before.cast_unsigned() + events.len() as u64;
            let events = events.iter().filter_map(|event| event.payload.as_ref());
            Some(opening::State::History(History {
                snapshot: snapshot.and_then(|one| one.snapshot).as_ref().map(own),
                snapshot_version: before.cast_unsigned(),
                events: events.map(own).collect(),
            }))
        }
        Kind::Data => {
            let state = state.map(|bytes| delta::decode_whole(dialect, &bytes));
            state.transpose()?.map(opening::State::Data)
        }
    };
    Ok(opening)
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

/// The request that a command of this kind brings.
pub(crate) fn asked(dialect: Dialect, kind: Kind, payload: Option<&Any>) -> Result<Asked, Unread> {
    let name = match kind {
        Kind::Data => "DataRequest",
        _ => "Request",
    };
    let bytes = bytes_of(dialect, name, payload)?;
    match kind {
        Kind::Data => read(bytes).map(Asked::Data),
        _ => read(bytes).map(Asked::Steps),
    }
}

/// The bytes of a payload that has to be this message of the model.
fn bytes_of(dialect: Dialect, name: &str, payload: Option<&Any>) -> Result<Bytes, Unread> {
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

/// Service, payload and metadata of a target on the wire.
fn to_target(
    dialect: Dialect,
    target: &v1::Target,
) -> (String, Option<Any>, Option<wire::Metadata>) {
    let mut services = dialect.services();
    let service = services.find(|one| one.name() == target.service);
    let payload = Any {
        type_url: format!("{TYPE_URL}{}.Request", dialect.family().model()),
        value: target.message.to_vec(),
    };
    (
        service.map_or_else(|| target.service.clone(), |one| dialect.service(one)),
        Some(payload),
        target.metadata.as_ref().map(to_metadata),
    )
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

fn to_effects(dialect: Dialect, effects: &[v1::Effect]) -> Vec<wire::SideEffect> {
    let one = |effect: &v1::Effect| match &effect.effect {
        Some(effect::Effect::Call(call)) => {
            let target = call.target.clone().unwrap_or_default();
            let (service_name, payload, metadata) = to_target(dialect, &target);
            Some(wire::SideEffect {
                service_name,
                command_name: target.method,
                payload,
                synchronous: call.wait,
                metadata,
            })
        }
        _ => None,
    };
    effects.iter().filter_map(one).collect()
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

fn to_failure(dialect: Dialect, command: u64, given: &v1::Failure) -> wire::Failure {
    wire::Failure {
        command_id: command.cast_signed(),
        description: given.message.clone(),
        restart: false,
        grpc_status_code: match dialect.has_codes() {
            true => given.code,
            false => 0,
        },
    }
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

fn to_answer(dialect: Dialect, output: &str, decision: &Decision) -> Option<client_action::Action> {
    Some(match decision.answer.as_ref()? {
        decision::Answer::Reply(bytes) => client_action::Action::Reply(wire::Answer {
            payload: Some(Any {
                type_url: format!("{TYPE_URL}{}.{output}", dialect.family().model()),
                value: bytes.to_vec(),
            }),
            metadata: decision.metadata.as_ref().map(to_metadata),
        }),
        decision::Answer::Forward(target) => {
            let (service_name, payload, metadata) = to_target(dialect, target);
            client_action::Action::Forward(wire::Forward {
                service_name,
                command_name: target.method.clone(),
                payload,
                metadata,
            })
        }
        decision::Answer::Failure(given) => {
            client_action::Action::Failure(to_failure(dialect, decision.command, given))
        }
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

/// A decision as an answer on an entity's stream. In Cloudstate 0.1 the first update of an entity, whose
/// record does not exist before, is to be the whole value.
pub(crate) fn reply(dialect: Dialect, record: &Record, decision: &Decision) -> Out {
    let command_id = decision.command.cast_signed();
    let action = to_answer(dialect, output(record.service), decision);
    let client_action = action.map(|action| wire::ClientAction {
        action: Some(action),
    });
    let side_effects = to_effects(dialect, &decision.effects);
    let mutation = decision.mutation.as_ref();
    let mutation = mutation.and_then(|one| one.mutation.as_ref());
    match kind(dialect, record.service) {
        Kind::Action | Kind::Value => Out::Value(wire::ValueReply {
            command_id,
            client_action,
            side_effects,
            state_action: mutation.and_then(|mutation| {
                let action = match mutation {
                    mutation::Mutation::Set(any) => {
                        value_action::Action::Update(wire::ValueUpdate {
                            value: Some(dialect.to_theirs(any)),
                        })
                    }
                    mutation::Mutation::Delete(_) => {
                        value_action::Action::Delete(wire::ValueDelete::default())
                    }
                    _ => return None,
                };
                Some(wire::ValueAction {
                    action: Some(action),
                })
            }),
        }),
        Kind::Events => {
            let append = match mutation {
                Some(mutation::Mutation::Append(append)) => append.clone(),
                _ => v1::Append::default(),
            };
            let theirs = |any: &Any| dialect.to_theirs(any);
            Out::Events(wire::EventSourcedReply {
                command_id,
                client_action,
                side_effects,
                events: append.events.iter().map(theirs).collect(),
                snapshot: append.snapshot.as_ref().map(theirs),
                delete: None,
            })
        }
        Kind::Data => Out::Data(wire::ReplicatedReply {
            command_id,
            client_action,
            side_effects,
            state_action: mutation.and_then(|one| state_action(dialect, record, one)),
            streamed: false,
        }),
    }
}

/// The state action of a replicated entity that a mutation is.
pub(crate) fn state_action(
    dialect: Dialect,
    record: &Record,
    mutation: &mutation::Mutation,
) -> Option<wire::StateAction> {
    let is_old = dialect == Dialect::Cloudstate01;
    let (action, consistency) = match mutation {
        mutation::Mutation::Update(update) => {
            let delta = update.delta.as_ref()?;
            let action = match (is_old, &record.data) {
                (false, _) => state_action::Action::Update(delta::encode(dialect, delta)),
                (true, Some(_)) => state_action::Action::OldUpdate(delta::encode(dialect, delta)),
                (true, None) => {
                    state_action::Action::OldCreate(delta::encode_whole(dialect, delta))
                }
            };
            (action, update.consistency)
        }
        mutation::Mutation::Delete(_) if is_old => {
            (state_action::Action::OldDelete(wire::Empty {}), 0)
        }
        mutation::Mutation::Delete(_) => (state_action::Action::Delete(wire::Empty {}), 0),
        _ => return None,
    };
    // In Akka Serverless and Kalix the component says the consistency.
    let consistency = match dialect.has_streamed_commands() {
        true => consistency,
        false => 0,
    };
    Some(wire::StateAction {
        action: Some(action),
        write_consistency: if is_old { 0 } else { consistency },
        old_write_consistency: if is_old { consistency } else { 0 },
    })
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

/// A decision as an action's answer.
pub(crate) fn to_response(dialect: Dialect, decision: &Decision) -> wire::ActionResponse {
    let response = to_answer(dialect, "Reply", decision).map(|action| match action {
        client_action::Action::Failure(failure) => action_response::Response::Failure(failure),
        client_action::Action::Reply(reply) => action_response::Response::Reply(reply),
        client_action::Action::Forward(forward) => action_response::Response::Forward(forward),
    });
    wire::ActionResponse {
        side_effects: to_effects(dialect, &decision.effects),
        response,
    }
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
