//! Decisions in the words of the model, and entities in those of the function.

use std::time::Duration;

use bytestring::ByteString;
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::contract::{Kind, Method};
use firn_model::decision::{Answer, Append, Decision, Effect, Failure, Forward, Mutation, Tags};
use firn_model::limit::{
    DELAY_MAX, EFFECTS_MAX, TAG_BYTES_MAX, TAGS_MAX, TIMER_NAME_BYTES_MAX, TIMER_REPEAT_MIN,
    TIMERS_MAX,
};
use firn_model::metadata::{Entry, Metadata, Value};
use firn_model::payload::Payload;
use firn_model::replicated::{self, StateAction};
use firn_model::status::{GrpcCode, Status};

use super::contract::Shape;
use super::data;
use super::message as wire;
use super::timer;
use crate::convert::parts::{any, payload};
use crate::superset::Any;

/// Why a decision is refused. Nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Its mutation is of another model than its component (R25).
    #[error("its component is of kind {kind}, which cannot answer with {mutation}")]
    Model {
        /// The component's model.
        kind: Kind,
        /// The mutation, in the words of the protocol.
        mutation: &'static str,
    },
    /// A state or event is of a type that the contract does not name (R25).
    #[error("{what} is of type {type_url:?}, which the contract does not name")]
    Type {
        /// What it is.
        what: &'static str,
        /// Its type.
        type_url: String,
    },
    /// A state, event or snapshot is missing where there must be one.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It leaves another version than Firn has (R24).
    #[error("the decision leaves version {theirs}, but with it the entity is at version {ours}")]
    Version {
        /// What the function says.
        theirs: u64,
        /// What it is.
        ours: u64,
    },
    /// A message for a topic, and no broker is set up (R30).
    #[error("a message for topic {0:?}, and no broker is set up")]
    NoBroker(String),
    /// The text of a payload's type is no text.
    #[error("a type URL is not UTF-8")]
    TypeUrl,
    /// An actor would have too many tags (R54).
    #[error("an actor would have {0} tags, more than {TAGS_MAX}")]
    Tags(usize),
    /// A tag is too long.
    #[error("tag {0:?} has more than {TAG_BYTES_MAX} bytes")]
    TagBytes(String),
    /// A delay is negative, or longer than anything may wait (R29).
    #[error("a delay is negative, or longer than {} days", DELAY_MAX.as_secs() / 86_400)]
    Delay,
    /// An effect is waited for and has a delay.
    #[error("an effect with a delay cannot be waited for")]
    DelayedWait,
    /// It causes more effects than it may (R28).
    #[error("a decision causes {0} effects, more than {EFFECTS_MAX}")]
    Effects(usize),
    /// It changes more timers than it may.
    #[error("a decision changes {0} timers, more than {TIMERS_MAX}")]
    Timers(usize),
    /// A timer has no name, or one that is too long.
    #[error("the name of a timer has {0} bytes; it must have 1 to {TIMER_NAME_BYTES_MAX}")]
    TimerName(usize),
    /// A timer repeats too often.
    #[error("a timer repeats each {0:?}; it must be {TIMER_REPEAT_MIN:?} at least")]
    Repeat(Duration),
    /// A timer calls something else than its own component.
    #[error("timer {name} calls {method:?}, which is no unary method of its component")]
    TimerMethod {
        /// The timer.
        name: String,
        /// What it calls.
        method: String,
    },
    /// The message of a timer names another entity than its own, or none.
    #[error("the message of timer {0} does not name its entity")]
    TimerTarget(String),
}

impl Unfit {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Model { .. }
            | Self::Type { .. }
            | Self::Missing(_)
            | Self::TypeUrl
            | Self::Tags(_)
            | Self::TagBytes(_)
            | Self::Delay
            | Self::DelayedWait
            | Self::Effects(_)
            | Self::Timers(_)
            | Self::TimerName(_)
            | Self::Repeat(_)
            | Self::TimerMethod { .. }
            | Self::TimerTarget(_) => Code::MutationUnfit,
            Self::Version { .. } => Code::DecisionVersion,
            Self::NoBroker(_) => Code::NoBroker,
        }
    }
}

/// What a function lacks of an entity: its first command's opening (R40).
pub fn opening(kind: Kind, entity_id: &str, state: State) -> wire::Opening {
    use wire::opening::State as Wire;

    let (version, state) = match state {
        State::Value(state) => (0, state.map(|state| Wire::Value(any(state)))),
        State::History {
            snapshot,
            events,
            version,
        } => {
            let (snapshot_version, snapshot) = snapshot.unzip();
            let history = wire::History {
                snapshot: snapshot.map(any),
                snapshot_version: snapshot_version.unwrap_or(0),
                events: events.into_iter().map(any).collect(),
            };
            (version, Some(Wire::History(history)))
        }
        State::Actor(None, tags) if tags.is_empty() => (0, None),
        State::Actor(state, tags) => {
            // Without a type there is no state, only tags.
            let state = state.filter(|state| !state.type_url.is_empty()).map(any);
            (0, Some(Wire::Actor(wire::Actor { state, tags })))
        }
        State::Replicated(value) => (0, value.map(|value| Wire::Data(data::write(value)))),
    };
    debug_assert!(kind.is_entity(), "actions have no state");
    wire::Opening {
        entity_id: entity_id.to_owned(),
        version,
        state,
    }
}

/// An entity's state, as it is loaded.
#[derive(Debug, Clone)]
pub enum State {
    /// Of a value entity.
    Value(Option<Payload>),
    /// Of an event sourced entity.
    History {
        /// The newest snapshot, with the number of the last event in it.
        snapshot: Option<(u64, Payload)>,
        /// The events after it.
        events: Vec<Payload>,
        /// The number of the last event.
        version: u64,
    },
    /// Of an actor, with its tags.
    Actor(Option<Payload>, Tags),
    /// Of a replicated entity.
    Replicated(Option<replicated::Delta>),
}

/// Headers for the function or its caller.
pub fn metadata(metadata: Metadata) -> Option<wire::Metadata> {
    use wire::metadata::entry::Value as Wire;

    if metadata.is_empty() {
        return None;
    }
    let entries = metadata
        .entries
        .into_iter()
        .map(|entry| wire::metadata::Entry {
            key: entry.key.to_string(),
            value: Some(match entry.value {
                Value::Text(text) => Wire::Text(text.to_string()),
                Value::Binary(bytes) => Wire::Binary(bytes),
            }),
        });
    Some(wire::Metadata {
        entries: entries.collect(),
    })
}

/// Headers of the function, in their order; one without a value is dropped.
pub fn read_metadata(metadata: Option<wire::Metadata>) -> Metadata {
    use wire::metadata::entry::Value as Wire;

    let entries = metadata.unwrap_or_default().entries.into_iter();
    let entries = entries.filter_map(|entry| {
        let value = match entry.value? {
            Wire::Text(text) => Value::Text(text.into()),
            Wire::Binary(bytes) => Value::Binary(bytes),
        };
        Some(Entry {
            key: entry.key.into(),
            value,
        })
    });
    Metadata {
        entries: entries.collect(),
    }
}

/// A failure for the function: what became of a call.
pub fn failure(status: &Status) -> wire::Failure {
    wire::Failure {
        code: status.code as i32,
        message: match status.firn {
            Some(code) => format!("{} ({code})", status.message),
            None => status.message.clone(),
        },
        details: status.details.iter().cloned().map(any).collect(),
    }
}

/// A failure of the function. A code that gRPC does not know is UNKNOWN.
pub fn read_failure(failure: wire::Failure) -> Result<Failure, Unfit> {
    Ok(Failure {
        text: failure.message,
        code: Some(GrpcCode::from_number(failure.code).unwrap_or(GrpcCode::Unknown)),
        details: each(failure.details, read_any)?,
        restart: false,
    })
}

/// Another method with a request for it.
pub fn read_target(target: wire::Target) -> Forward {
    Forward {
        service: target.service,
        method: target.method,
        // Its type is that of the method's input, whatever that is.
        payload: Payload::new("", target.message),
        metadata: read_metadata(target.metadata),
    }
}

/// A reply of a method.
pub fn read_reply(
    method: &Method,
    message: bytes::Bytes,
    metadata: Option<wire::Metadata>,
) -> Reply {
    Reply {
        payload: Payload {
            type_url: method.output_url.clone(),
            bytes: message,
        },
        metadata: read_metadata(metadata),
    }
}

/// What the caller gets.
fn answer(
    method: &Method,
    answer: Option<wire::decision::Answer>,
    metadata: Option<wire::Metadata>,
) -> Result<Answer, Unfit> {
    use wire::decision::Answer as Wire;

    Ok(match answer {
        None => Answer::Nothing,
        Some(Wire::Reply(message)) => Answer::Reply(read_reply(method, message, metadata)),
        Some(Wire::Forward(target)) => Answer::Forward(read_target(target)),
        Some(Wire::Failure(it)) => Answer::Failure(read_failure(it)?),
    })
}

/// What else is to be done.
pub fn read_effects(effects: Vec<wire::Effect>) -> Result<Vec<Effect>, Unfit> {
    use wire::effect::Effect as Wire;

    if effects.len() > EFFECTS_MAX {
        return Err(Unfit::Effects(effects.len()));
    }
    let effects = effects.into_iter().filter_map(|effect| effect.effect);
    effects
        .map(|effect| match effect {
            Wire::Publish(publish) => Err(Unfit::NoBroker(publish.topic)),
            Wire::Call(call) if call.wait && call.delay.is_some() => Err(Unfit::DelayedWait),
            Wire::Call(call) => Ok(Effect {
                call: read_target(
                    call.target
                        .ok_or(Unfit::Missing("the target of an effect"))?,
                ),
                synchronous: call.wait,
                delay: match call.delay {
                    None => None,
                    delay => Some(timer::delay(delay)?),
                },
            }),
        })
        .collect()
}

/// A decision on an action: what the caller gets, and effects.
///
/// # Errors
/// [`Unfit`] if it cannot be one of an action.
pub fn read_action(
    decision: wire::Decision,
    method: &Method,
) -> Result<(Answer, Vec<Effect>), Unfit> {
    let answer = answer(method, decision.answer, decision.metadata)?;
    if matches!(answer, Answer::Failure(_)) {
        return Ok((answer, Vec::new()));
    }
    if let Some(mutation) = decision.mutation.and_then(|it| it.mutation) {
        return Err(unfit(Kind::Action, &mutation));
    }
    timer::none(&decision.timers, Kind::Action)?;
    Ok((answer, read_effects(decision.effects)?))
}

/// An entity as its function knows it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The stored form of its id.
    pub id: &'a str,
    /// The version that the last decision has left.
    pub version: u64,
}

/// A decision on a value or event sourced entity, or an actor, and the version that it leaves.
///
/// # Errors
/// [`Unfit`] if the entity cannot be changed like that (R24, R25).
pub fn read_decision(
    decision: wire::Decision,
    method: &Method,
    shape: &Shape,
    entity: Known<'_>,
) -> Result<(Decision, u64), Unfit> {
    let kind = method.component.kind;
    let answer = answer(method, decision.answer, decision.metadata)?;
    // Nothing else counts beside a failure (R23).
    let (mutation, effects, timers) = match answer {
        Answer::Failure(_) => (None, Vec::new(), Vec::new()),
        _ => (
            decision.mutation.and_then(|it| it.mutation),
            read_effects(decision.effects)?,
            timer::changes(decision.timers, method, shape, entity.id)?,
        ),
    };
    let mutation = match mutation {
        None => Mutation::Nothing,
        Some(mutation) => read_mutation(mutation, kind, shape)?,
    };
    let leaves = leaves(&mutation, kind, entity.version);
    // Of a failure nothing else counts, the version neither (R23).
    if decision.version != leaves && !matches!(answer, Answer::Failure(_)) {
        return Err(Unfit::Version {
            theirs: decision.version,
            ours: leaves,
        });
    }
    let decision = Decision {
        answer,
        mutation,
        effects,
        timers,
    };
    Ok((decision, leaves))
}

/// The version that a mutation leaves of an entity at `version` (R24).
fn leaves(mutation: &Mutation, kind: Kind, version: u64) -> u64 {
    match mutation {
        Mutation::Nothing => version,
        Mutation::Append(append) => version + append.events.len() as u64,
        Mutation::Delete { .. } if kind == Kind::EventSourced => 0,
        Mutation::Set(_) | Mutation::Actor { .. } | Mutation::Delete { .. } => version + 1,
    }
}

fn read_mutation(
    mutation: wire::mutation::Mutation,
    kind: Kind,
    shape: &Shape,
) -> Result<Mutation, Unfit> {
    use wire::mutation::Mutation as Wire;

    match (mutation, kind) {
        (Wire::Set(state), Kind::Value) => Ok(Mutation::Set(state_of(state, "the state", shape)?)),
        (Wire::Actor(actor), Kind::Actor) => read_actor(actor, shape),
        (Wire::Delete(wire::Delete {}), Kind::Value | Kind::EventSourced | Kind::Actor) => {
            Ok(Mutation::Delete { grace: None })
        }
        (Wire::Append(append), Kind::EventSourced) => {
            if append.events.is_empty() {
                return Err(Unfit::Missing("an event to append"));
            }
            let snapshot = append.snapshot;
            Ok(Mutation::Append(Append {
                events: each(append.events, |event| event_of(event, shape))?,
                snapshot: snapshot
                    .map(|snapshot| state_of(snapshot, "the snapshot", shape))
                    .transpose()?,
                delete: None,
            }))
        }
        (other, kind) => Err(unfit(kind, &other)),
    }
}

fn read_actor(actor: wire::Actor, shape: &Shape) -> Result<Mutation, Unfit> {
    let wire::Actor { state, tags } = actor;
    if tags.len() > TAGS_MAX {
        return Err(Unfit::Tags(tags.len()));
    }
    let is_long = |(name, text): &(&String, &String)| name.len().max(text.len()) > TAG_BYTES_MAX;
    if let Some((name, _)) = tags.iter().find(is_long) {
        return Err(Unfit::TagBytes(name.chars().take(80).collect()));
    }
    let state = match state {
        Some(state) => state_of(state, "the state", shape)?,
        None => Payload::default(),
    };
    Ok(Mutation::Actor { state, tags })
}

fn unfit(kind: Kind, mutation: &wire::mutation::Mutation) -> Unfit {
    use wire::mutation::Mutation as Wire;

    let mutation = match mutation {
        Wire::Set(_) => "a new state",
        Wire::Delete(_) => "a delete",
        Wire::Append(_) => "events",
        Wire::Update(_) => "a change of replicated data",
        Wire::Actor(_) => "the state of an actor",
    };
    Unfit::Model { kind, mutation }
}

fn state_of(any: Any, what: &'static str, shape: &Shape) -> Result<Payload, Unfit> {
    let payload = read_any(any)?;
    match payload.type_url == shape.state {
        true => Ok(payload),
        false => Err(unknown_type(what, payload.type_url)),
    }
}

fn event_of(any: Any, shape: &Shape) -> Result<Payload, Unfit> {
    let payload = read_any(any)?;
    match shape.events.contains(&payload.type_url) {
        true => Ok(payload),
        false => Err(unknown_type("an event", payload.type_url)),
    }
}

fn unknown_type(what: &'static str, type_url: ByteString) -> Unfit {
    Unfit::Type {
        what,
        type_url: type_url.to_string(),
    }
}

fn read_any(any: Any) -> Result<Payload, Unfit> {
    payload(any).map_err(|_| Unfit::TypeUrl)
}

/// What of a decision on a replicated entity is not about a particular answer.
#[derive(Debug)]
pub struct ReplicaDecision {
    /// What the caller gets.
    pub answer: Answer,
    /// What else is to be done.
    pub effects: Vec<Effect>,
    /// What changes.
    pub change: Option<replicated::Change>,
}

/// A decision on a replicated entity.
///
/// # Errors
/// [`Unfit`] if the entity cannot be changed like that (R25). A delta that cannot be understood is
/// handed on, for the engine fails its command alone.
pub fn read_replicated(
    decision: wire::Decision,
    method: &Method,
    shape: &Shape,
) -> Result<ReplicaDecision, Unfit> {
    use wire::mutation::Mutation as Wire;

    let answer = answer(method, decision.answer, decision.metadata)?;
    if matches!(answer, Answer::Failure(_)) {
        return Ok(ReplicaDecision {
            answer,
            effects: Vec::new(),
            change: None,
        });
    }
    timer::none(&decision.timers, Kind::Replicated)?;
    let change = match decision.mutation.and_then(|it| it.mutation) {
        None => None,
        Some(Wire::Delete(wire::Delete {})) => Some(replicated::Change {
            action: StateAction::Delete,
            consistency: replicated::Consistency::Local,
        }),
        Some(Wire::Update(update)) => {
            let delta = data::read(update.delta.unwrap_or_default());
            if let (Ok(delta), Some(declared)) = (&delta, shape.data)
                && delta.data_type() != declared
            {
                return Err(Unfit::Type {
                    what: "the change",
                    type_url: delta.data_type().to_string(),
                });
            }
            Some(replicated::Change {
                action: StateAction::Update(delta),
                consistency: data::consistency(update.consistency),
            })
        }
        Some(other) => return Err(unfit(Kind::Replicated, &other)),
    };
    Ok(ReplicaDecision {
        answer,
        effects: read_effects(decision.effects)?,
        change,
    })
}

fn each<A, B>(all: Vec<A>, read: impl Fn(A) -> Result<B, Unfit>) -> Result<Vec<B>, Unfit> {
    all.into_iter().map(read).collect()
}
