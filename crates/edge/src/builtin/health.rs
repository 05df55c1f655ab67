//! `grpc.health.v1.Health`: whether the edge serves, as a whole (the empty name) or one service.
//!
//! Serving means that there is a contract and that the edge was not told to stop.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use futures_util::stream;
use prost::Message;
use tokio::time;

use crate::backend::{MessageStream, ReplyStream};
use crate::state::State;

/// How often a watched service is looked at: often enough for whoever routes by it, and cheap, since
/// it is one comparison.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// Answers one check.
pub(super) fn check(state: &State, message: &Bytes) -> Result<Reply, Status> {
    let request: Request = super::decode(message)?;
    match serving(state, &request.service) {
        ServingStatus::ServiceUnknown => Err(Status::refused(
            GrpcCode::NotFound,
            Code::MethodUnknown,
            format!("{} is not a service that is served", request.service),
        )),
        known => Ok(answer(known)),
    }
}

/// Tells the state of a service, and every change of it, until the client goes or the edge stops.
pub(super) fn watch(state: &Arc<State>, mut messages: MessageStream) -> ReplyStream {
    let state = Arc::clone(state);
    let watched = async move {
        let message = messages.next().await.transpose()?.unwrap_or_default();
        super::decode::<Request>(&message)
    };
    stream::once(watched)
        .flat_map(move |request| match request {
            Ok(request) => changes(Arc::clone(&state), request.service),
            Err(status) => stream::iter([Err(status)]).boxed(),
        })
        .boxed()
}

fn changes(state: Arc<State>, service: String) -> ReplyStream {
    stream::unfold(Some((None, service)), move |step| {
        let state = Arc::clone(&state);
        async move {
            let (last, service) = step?;
            loop {
                let stopping = state.draining.is_cancelled();
                let now = serving(&state, &service);
                if last != Some(now) {
                    return Some((Ok(answer(now)), Some((Some(now), service))));
                }
                if stopping {
                    return Some((Err(shutting_down()), None));
                }
                tokio::select! {
                    biased;
                    () = state.draining.cancelled() => {}
                    () = time::sleep(WATCH_INTERVAL) => {}
                }
            }
        }
    })
    .boxed()
}

fn serving(state: &State, service: &str) -> ServingStatus {
    let contract = state.backend.contract();
    let known = |service: &str| match &contract {
        Some(contract) => contract.components.iter().any(|c| *c.service == *service),
        None => false,
    };
    if !service.is_empty() && !known(service) {
        ServingStatus::ServiceUnknown
    } else if contract.is_some() && !state.draining.is_cancelled() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

fn answer(serving: ServingStatus) -> Reply {
    super::reply(&Response {
        status: serving as i32,
    })
}

fn shutting_down() -> Status {
    Status::refused(
        GrpcCode::Unavailable,
        Code::ShuttingDown,
        "Firn is shutting down",
    )
}
