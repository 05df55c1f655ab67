//! The frames of a script, in few words.

use std::time::Duration;

use bytes::Bytes;
use firn_wire::superset::Any;
use firn_wire::v1::message::{
    Actor, Append, Call, CallEffect, CallResult, Cancel, Change, Close, Closed, Command, Contract,
    Credit, Decision, Delete, Delta, Effect, Failure, Goodbye, Hello, History, Info, Metadata,
    Mutation, Opening, Publish, Reply, Target, Timer, Update, call_result, decision, effect,
    firn_frame, function_frame, metadata, mutation, opening, timer,
};
use prost::Message;

use crate::caller::Response;

/// A Hello with this contract.
pub fn hello(contract: &Contract) -> Hello {
    Hello {
        info: Some(Info {
            name: "played".to_owned(),
            version: "1".to_owned(),
            runtime: "none".to_owned(),
            sdk: "test".to_owned(),
            process: "p".to_owned(),
        }),
        contract: Some(contract.clone()),
        ..Hello::default()
    }
}

/// A response of the model.
pub fn said(message: &str) -> Bytes {
    let message = message.to_owned();
    Response { message }.encode_to_vec().into()
}

/// Headers of text.
pub fn text_headers(entries: &[(&str, &str)]) -> Metadata {
    let entries = entries.iter().map(|&(key, value)| metadata::Entry {
        key: key.to_owned(),
        value: Some(metadata::entry::Value::Text(value.to_owned())),
    });
    Metadata {
        entries: entries.collect(),
    }
}

/// An entity that has nothing yet, of a value or replicated kind.
pub fn empty(entity_id: &str) -> Opening {
    Opening {
        entity_id: entity_id.to_owned(),
        ..Opening::default()
    }
}

/// A value entity with a state.
pub fn holding(entity_id: &str, state: Any) -> Opening {
    Opening {
        state: Some(opening::State::Value(state)),
        ..empty(entity_id)
    }
}

/// A replicated entity with a value.
pub fn replica(entity_id: &str, value: Delta) -> Opening {
    Opening {
        state: Some(opening::State::Data(value)),
        ..empty(entity_id)
    }
}

/// An event sourced entity, with the snapshot and its number, if there is one.
pub fn history(entity_id: &str, snapshot: Option<(u64, Any)>, events: &[Any]) -> Opening {
    let (snapshot_version, snapshot) = snapshot.unzip();
    let snapshot_version = snapshot_version.unwrap_or(0);
    Opening {
        entity_id: entity_id.to_owned(),
        version: snapshot_version + events.len() as u64,
        state: Some(opening::State::History(History {
            snapshot,
            snapshot_version,
            events: events.to_vec(),
        })),
    }
}

/// The decision on a command, to be added to.
#[derive(Debug, Clone, Default)]
pub struct Decided(pub Decision);

/// A decision that says nothing yet.
pub fn decided(command: u64) -> Decided {
    Decided(Decision {
        command,
        ..Decision::default()
    })
}

impl Decided {
    /// Replies with this message.
    #[must_use]
    pub fn saying(mut self, message: &str) -> Self {
        self.0.answer = Some(decision::Answer::Reply(said(message)));
        self
    }

    /// Lets another method answer.
    #[must_use]
    pub fn forward(mut self, target: Target) -> Self {
        self.0.answer = Some(decision::Answer::Forward(target));
        self
    }

    /// Fails the command.
    #[must_use]
    pub fn failing(mut self, code: tonic::Code, message: &str, details: &[Any]) -> Self {
        self.0.answer = Some(decision::Answer::Failure(Failure {
            code: code as i32,
            message: message.to_owned(),
            details: details.to_vec(),
        }));
        self
    }

    /// With headers for the caller.
    #[must_use]
    pub fn with_headers(mut self, entries: &[(&str, &str)]) -> Self {
        self.0.metadata = Some(text_headers(entries));
        self
    }

    /// The version that is left.
    #[must_use]
    pub fn leaving(mut self, version: u64) -> Self {
        self.0.version = version;
        self
    }

    /// Changes the entity.
    #[must_use]
    pub fn changing(mut self, mutation: mutation::Mutation) -> Self {
        self.0.mutation = Some(Mutation {
            mutation: Some(mutation),
        });
        self
    }

    /// Replaces the state of a value.
    #[must_use]
    pub fn set(self, state: Any) -> Self {
        self.changing(mutation::Mutation::Set(state))
    }

    /// Deletes the entity.
    #[must_use]
    pub fn delete(self) -> Self {
        self.changing(mutation::Mutation::Delete(Delete {}))
    }

    /// Appends events, and a snapshot if there is one.
    #[must_use]
    pub fn append(self, events: &[Any], snapshot: Option<Any>) -> Self {
        self.changing(mutation::Mutation::Append(Append {
            events: events.to_vec(),
            snapshot,
        }))
    }

    /// Changes replicated data.
    #[must_use]
    pub fn update(self, delta: firn_wire::v1::message::delta::Delta) -> Self {
        self.changing(mutation::Mutation::Update(Update {
            delta: Some(Delta { delta: Some(delta) }),
            consistency: 0,
        }))
    }

    /// Replaces the state of an actor.
    #[must_use]
    pub fn actor(self, state: Any) -> Self {
        self.changing(mutation::Mutation::Actor(Actor {
            state: Some(state),
            ..Actor::default()
        }))
    }

    /// Causes an effect.
    #[must_use]
    pub fn causing(mut self, effect: effect::Effect) -> Self {
        self.0.effects.push(Effect {
            effect: Some(effect),
        });
        self
    }

    /// Sets a timer.
    #[must_use]
    pub fn timer(mut self, name: &str, after: Duration, method: &str) -> Self {
        self.0.timers.push(Timer {
            name: name.to_owned(),
            action: Some(timer::Action::Set(timer::Schedule {
                after: after.try_into().ok(),
                method: method.to_owned(),
                ..timer::Schedule::default()
            })),
        });
        self
    }
}

/// A method with a request for it.
pub fn target(service: &str, method: &str, request: &impl Message) -> Target {
    Target {
        service: service.to_owned(),
        method: method.to_owned(),
        message: request.encode_to_vec().into(),
        metadata: None,
    }
}

/// A further call.
pub fn call_effect(target: Target, wait: bool) -> effect::Effect {
    effect::Effect::Call(CallEffect {
        target: Some(target),
        wait,
        delay: None,
    })
}

/// A further call, after a time.
pub fn delayed(target: Target, delay: Duration) -> effect::Effect {
    effect::Effect::Call(CallEffect {
        target: Some(target),
        wait: false,
        delay: delay.try_into().ok(),
    })
}

/// A message to a topic.
pub fn publish(topic: &str, message: Any) -> effect::Effect {
    effect::Effect::Publish(Publish {
        topic: topic.to_owned(),
        message: Some(message),
        metadata: None,
    })
}

/// A reply of a streamed call that is not its end.
pub fn reply(command: u64, message: &str) -> Reply {
    Reply {
        command,
        message: said(message),
        ..Reply::default()
    }
}

/// Leave to send more.
pub fn credit(command: u64, amount: u32) -> Credit {
    Credit { command, amount }
}

/// A call through Firn; `command` is the one that is handled.
pub fn call(id: u64, command: u64, target: Target) -> Call {
    Call {
        id,
        command,
        target: Some(target),
        timeout_ms: 0,
    }
}

/// The answer to a call that went well.
pub fn called(id: u64, message: &str) -> CallResult {
    CallResult {
        id,
        result: Some(call_result::Result::Reply(said(message))),
        metadata: None,
    }
}

/// The word that an incarnation is let go of.
pub fn closed(incarnation: u64) -> Closed {
    Closed { incarnation }
}

/// The word that an incarnation is over.
pub fn close(incarnation: u64) -> Close {
    Close { incarnation }
}

/// The word that nobody waits for a command or call.
pub fn cancel(id: u64) -> Cancel {
    Cancel { id }
}

/// What can be sent or expected as a frame.
pub trait Framed<F> {
    /// It as a frame.
    fn framed(self) -> F;
}

impl Framed<function_frame::Frame> for function_frame::Frame {
    fn framed(self) -> function_frame::Frame {
        self
    }
}

impl Framed<firn_frame::Frame> for firn_frame::Frame {
    fn framed(self) -> firn_frame::Frame {
        self
    }
}

impl Framed<function_frame::Frame> for Decided {
    fn framed(self) -> function_frame::Frame {
        function_frame::Frame::Decision(self.0)
    }
}

macro_rules! frames {
    ($($side:ident: $($kind:ident)*;)*) => {$($(
        impl Framed<$side::Frame> for $kind {
            fn framed(self) -> $side::Frame {
                $side::Frame::$kind(self)
            }
        }
    )*)*};
}

frames! {
    function_frame: Hello Decision Reply Credit Closed Call Cancel Goodbye;
    firn_frame: Command Cancel Change Close Credit CallResult Goodbye;
}
