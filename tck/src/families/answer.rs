//! What a function says: the reverse of [`super::convert`], for a function of the kit's own.

use bytes::Bytes;
use prost::Message as _;
use prost_types::Any;

use super::contract::{Declared, descriptors};
use super::convert::{bytes_of, kind, output, to_metadata};
use super::delta;
use super::dialect::{Dialect, Family, Kind};
use super::stream::{Out, Unread, read};
use super::wire::{
    self, Component, EntitySettings, GenericSettings, PassivationStrategy, Spec, action_response,
    client_action, state_action, value_action,
};
use crate::oracle::Asked;
use crate::proto::TYPE_URL;
use crate::proto::v1::{self, Decision, History, Opening, decision, effect, mutation, opening};
use crate::record::Record;

/// What a function with all model services answers to discovery.
pub(crate) fn spec(dialect: Dialect) -> Spec {
    let (major, minor) = match dialect {
        Dialect::Cloudstate01 => (0, 0),
        dialect => dialect.family().version(),
    };
    let declared = dialect
        .services()
        .filter_map(|service| Declared::of(dialect, service));
    Spec {
        proto: Bytes::from_static(descriptors(dialect.family())),
        components: declared.map(|one| one.component(dialect)).collect(),
        service_info: Some(wire::ServiceInfo {
            service_name: "tck".into(),
            service_version: "1".into(),
            service_runtime: "kit".into(),
            support_library_name: "firn-tck".into(),
            support_library_version: env!("CARGO_PKG_VERSION").into(),
            protocol_major_version: major,
            protocol_minor_version: minor,
            env: [].into(),
        }),
    }
}

impl Declared {
    /// The component that says it.
    pub(crate) fn component(&self, dialect: Dialect) -> Component {
        let strategy = self.passivate_after_ms.map(|timeout| PassivationStrategy {
            timeout: Some(wire::TimeoutPassivationStrategy { timeout }),
        });
        let bytes = |bytes: Vec<u8>| Some(Bytes::from(bytes));
        let mut component = Component {
            component_type: self.component_type.clone(),
            service_name: self.service.clone(),
            third: None,
            fourth: None,
        };
        if dialect.family() == Family::Cloudstate {
            component.third = bytes(self.storage.clone().into_bytes());
            component.fourth = strategy.map(|one| one.encode_to_vec().into());
        } else if self.storage.is_empty() {
            let settings = GenericSettings {
                forward_headers: self.headers.clone(),
            };
            component.fourth = bytes(settings.encode_to_vec());
        } else {
            let write_consistency = self.write_consistency;
            let is_replicated = self.component_type == dialect.component_type(Kind::Data);
            let settings = EntitySettings {
                entity_type: self.storage.clone(),
                passivation_strategy: strategy,
                forward_headers: self.headers.clone(),
                replicated_entity: is_replicated
                    .then_some(wire::ReplicatedEntitySettings { write_consistency }),
            };
            component.third = bytes(settings.encode_to_vec());
        }
        component
    }
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
