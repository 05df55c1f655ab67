//! Services and methods, as constants that know their types, and requests for them.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::wire::{self, effect};
use crate::{Any, Metadata, Storable};

/// A gRPC service, with the descriptors of everything that it needs. Generated: `cart::SERVICE`.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    pub(crate) name: &'static str,
    pub(crate) descriptors: &'static [u8],
}

impl Service {
    /// A service by its full name, with a serialized `google.protobuf.FileDescriptorSet`.
    #[must_use]
    pub const fn new(name: &'static str, descriptors: &'static [u8]) -> Self {
        Self { name, descriptors }
    }

    /// Its full name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// One request, one reply.
#[derive(Debug, Clone, Copy)]
pub enum Unary {}

/// Many requests, one reply.
#[derive(Debug, Clone, Copy)]
pub enum StreamIn {}

/// One request, many replies.
#[derive(Debug, Clone, Copy)]
pub enum StreamOut {}

/// Many requests, many replies.
#[derive(Debug, Clone, Copy)]
pub enum StreamBoth {}

/// A method of a service with its types. Generated: `cart::ADD_ITEM`.
pub struct Method<Req, Res, Shape = Unary> {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    types: PhantomData<fn(Req) -> (Res, Shape)>,
}

impl<Req, Res, Shape> Clone for Method<Req, Res, Shape> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Req, Res, Shape> Copy for Method<Req, Res, Shape> {}

impl<Req, Res, Shape> std::fmt::Debug for Method<Req, Res, Shape> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.name)
    }
}

impl<Req, Res, Shape> Method<Req, Res, Shape> {
    /// A method by the full name of its service and its own.
    #[must_use]
    pub const fn new(service: &'static str, name: &'static str) -> Self {
        Self {
            service,
            name,
            types: PhantomData,
        }
    }

    /// Its name in the service.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The full name of its service.
    #[must_use]
    pub const fn service(&self) -> &'static str {
        self.service
    }
}

impl<Req: Message, Res> Method<Req, Res> {
    /// A request for this method: what forwards, effects, timers and calls take.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "requests are made to be sent"
    )]
    pub fn with(self, request: Req) -> Target<Res> {
        Target {
            service: self.service,
            method: self.name,
            message: request.encode_to_vec().into(),
            metadata: Metadata::default(),
            reply: PhantomData,
        }
    }
}

/// A method with a request for it.
#[derive(Debug, Clone)]
pub struct Target<Res> {
    pub(crate) service: &'static str,
    pub(crate) method: &'static str,
    pub(crate) message: Bytes,
    metadata: Metadata,
    reply: PhantomData<fn() -> Res>,
}

impl<Res> Target<Res> {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, text: impl Into<String>) -> Self {
        self.metadata.add(name, text);
        self
    }

    /// As an effect for which the caller waits.
    #[must_use]
    pub fn wait(self) -> Effect {
        self.effect(true, None)
    }

    /// As an effect that happens so much later, also after restarts of everything.
    #[must_use]
    pub fn after(self, delay: Duration) -> Effect {
        self.effect(false, Some(delay))
    }

    fn effect(self, wait: bool, delay: Option<Duration>) -> Effect {
        Effect(wire::Effect {
            effect: Some(effect::Effect::Call(wire::CallEffect {
                target: Some(self.into_wire()),
                wait,
                delay: delay.map(duration),
            })),
        })
    }

    pub(crate) fn into_wire(self) -> wire::Target {
        wire::Target {
            service: self.service.to_owned(),
            method: self.method.to_owned(),
            message: self.message,
            metadata: self.metadata.into_wire(),
        }
    }
}

/// Something else to be done once the decision is durable.
#[derive(Debug, Clone)]
pub struct Effect(pub(crate) wire::Effect);

impl<Res> From<Target<Res>> for Effect {
    /// A call whose answer goes nowhere.
    fn from(target: Target<Res>) -> Self {
        target.effect(false, None)
    }
}

impl Effect {
    /// A message to a topic.
    #[must_use]
    pub fn publish(topic: &str, message: &impl Storable, metadata: Metadata) -> Self {
        Self(wire::Effect {
            effect: Some(effect::Effect::Publish(wire::Publish {
                topic: topic.to_owned(),
                message: Some(Any::pack(message)),
                metadata: metadata.into_wire(),
            })),
        })
    }
}

/// What a unary handler answers: its reply, or what another method answers.
#[derive(Debug)]
pub enum Answer<Res> {
    /// This.
    Reply(Res),
    /// Whatever that other method answers.
    Forward(Target<Res>),
}

impl<Res> From<Res> for Answer<Res> {
    fn from(reply: Res) -> Self {
        Self::Reply(reply)
    }
}

impl<Res> From<Target<Res>> for Answer<Res> {
    fn from(target: Target<Res>) -> Self {
        Self::Forward(target)
    }
}

/// As the message; what is longer than it can say becomes its longest.
pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration {
        // The most that the message allows, about 10,000 years.
        seconds: 315_576_000_000,
        nanos: 0,
    })
}
