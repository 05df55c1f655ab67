//! Services that the edge answers itself: server reflection (v1 and v1alpha) and health.
//!
//! They come after the function's own: a function that declares one of these names serves it.

mod health;
pub(crate) mod reflection;

use std::sync::Arc;

use bytes::Bytes;
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::payload::Payload;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use prost::Message;

use crate::backend::{MessageStream, ReplyStream};
use crate::state::State;

/// A built-in method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    /// `ServerReflectionInfo` of the service with this name.
    Reflection(&'static str),
    HealthCheck,
    HealthWatch,
}

impl Builtin {
    /// The built-in method at a gRPC path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo" => {
                Self::Reflection("grpc.reflection.v1.ServerReflection")
            }
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => {
                Self::Reflection("grpc.reflection.v1alpha.ServerReflection")
            }
            "/grpc.health.v1.Health/Check" => Self::HealthCheck,
            "/grpc.health.v1.Health/Watch" => Self::HealthWatch,
            _ => return None,
        })
    }

    /// Whether requests are a stream.
    pub(crate) fn streams_in(self) -> bool {
        matches!(self, Self::Reflection(_))
    }

    /// Whether replies are a stream.
    pub(crate) fn streams_out(self) -> bool {
        self != Self::HealthCheck
    }

    /// Answers a call.
    pub(crate) fn open(self, state: &Arc<State>, messages: MessageStream) -> ReplyStream {
        match self {
            Self::Reflection(service) => reflection::serve(state, service, messages),
            Self::HealthCheck => {
                let state = Arc::clone(state);
                let answer = move |message| health::check(&state, &message?);
                messages.map(answer).boxed()
            }
            Self::HealthWatch => health::watch(state, messages),
        }
    }
}

fn reply(message: &impl Message) -> Reply {
    Reply {
        payload: Payload::new("", message.encode_to_vec()),
        ..Reply::default()
    }
}

fn decode<M: Message + Default>(message: &Bytes) -> Result<M, Status> {
    M::decode(message.clone()).map_err(|error| {
        Status::refused(
            GrpcCode::InvalidArgument,
            Code::PayloadMalformed,
            format!("the request does not parse: {error}"),
        )
    })
}
