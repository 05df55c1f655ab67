//! What a request is, decided in a fixed order: gRPC by path, then everything else.

use std::sync::Arc;

use firn_model::code::Code;
use firn_model::contract::Method;
use firn_model::status::{GrpcCode, Status};
use http::{Method as Verb, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::body::Body;
use crate::grpc::{self, Wire};
use crate::state::State;

/// The longest path for which a refusal looks for the nearest name, in bytes: the search costs the
/// product of both lengths for every method.
const NEAREST_BYTES_MAX: usize = 256;

/// Who answers a gRPC path.
pub(crate) enum Target {
    /// A method of the function.
    Method(Arc<Method>),
}

/// Answers one request.
pub(crate) async fn serve(state: Arc<State>, request: Request<Incoming>) -> Response<Body> {
    if let Some(wire) = Wire::of(request.headers()) {
        let target = target(&state, request.uri().path());
        return grpc::serve(&state, wire, target, request).await;
    }
    if request.method() == Verb::GET && request.uri().path() == "/" {
        return Response::new(Body::whole("Firn serves here.\n"));
    }
    let mut response = Response::new(Body::whole("not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// Who answers this gRPC path.
fn target(state: &State, path: &str) -> Result<Target, Status> {
    let Some(routes) = state.routes() else {
        return Err(no_contract());
    };
    if let Some(method) = routes.contract.method(path) {
        return Ok(Target::Method(Arc::clone(method)));
    }
    let mut text = format!("{path} is not a method that is served");
    if path.len() <= NEAREST_BYTES_MAX
        && let Some(nearest) = routes.contract.nearest(path)
    {
        text.push_str(": the nearest name is ");
        text.push_str(nearest);
    }
    Err(Status::refused(
        GrpcCode::Unimplemented,
        Code::MethodUnknown,
        text,
    ))
}

fn no_contract() -> Status {
    Status::refused(
        GrpcCode::Unavailable,
        Code::FunctionUnavailable,
        "the function is not connected yet: start it, or look into Firn's log for why it was refused",
    )
}
