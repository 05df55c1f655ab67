//! What a request is, decided in a fixed order.
//!
//! 0. A preflight of a browser: may a page call at all.
//! 1. gRPC, by content type; the path names a method of the function, or a built-in one.
//! 2. A rule of the contract, by verb and path.
//! 3. `POST /package.Service/Method`, the default route of every method.
//! 4. A probe: `GET /`, or Knative's.
//! 5. Nothing: 404, with the nearest name.

mod probe;

use std::sync::Arc;

use firn_model::code::Code;
use firn_model::contract::{Contract, Method};
use firn_model::policy::HttpErrors;
use firn_model::status::{GrpcCode, Status};
use http::{Request, Response};
use hyper::body::Incoming;

use crate::body::Body;
use crate::builtin::Builtin;
use crate::cors;
use crate::grpc::{self, Wire};
use crate::rules::Found;
use crate::state::State;
use crate::transcode::{self, refuse};

/// The longest path for which a refusal looks for the nearest name, in bytes: the search costs the
/// product of both lengths for every method.
const NEAREST_BYTES_MAX: usize = 256;

/// Who answers a gRPC path.
pub(crate) enum Target {
    /// A method of the function.
    Method(Arc<Method>),
    /// A method of the edge itself.
    Builtin(Builtin),
}

/// Answers one request, for whatever origin it comes from.
pub(crate) async fn serve(state: Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let allowed = cors::allowed(&state.config, request.headers());
    let mut response = match cors::preflight(&state.config, &request) {
        Some(response) => response,
        None => answer(&state, request).await,
    };
    if let Some(allowed) = allowed {
        cors::add(allowed, &mut response);
    }
    response
}

async fn answer(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    if let Some(wire) = Wire::of(request.headers()) {
        let target = target(state, request.uri().path());
        return grpc::serve(state, wire, target, request).await;
    }
    let (verb, path) = (request.method().clone(), request.uri().path().to_owned());
    let routes = state.routes();
    let found = match &routes {
        Some(routes) => routes.table.find(&verb, &path),
        None => Found::Nothing,
    };
    if let Found::Binding(binding, values) = found {
        return transcode::serve(state, binding, &values, request).await;
    }
    if let Some(response) = probe::answer(&request) {
        return response;
    }
    match (found, &routes) {
        (_, None) => refuse::refused(&no_contract(), HttpErrors::PlainText),
        (found, Some(routes)) => {
            let policy = refuse::common_shape(&routes.contract);
            match found {
                Found::OtherVerbs(verbs) => refuse::other_verbs(&verb, &path, &verbs, policy),
                _ => refuse::refused(&path_unknown(&routes.contract, &request), policy),
            }
        }
    }
}

/// Who answers this gRPC path.
fn target(state: &State, path: &str) -> Result<Target, Status> {
    let routes = state.routes();
    if let Some(method) = routes.as_ref().and_then(|r| r.contract.method(path)) {
        return Ok(Target::Method(Arc::clone(method)));
    }
    if let Some(builtin) = Builtin::at(path) {
        return Ok(Target::Builtin(builtin));
    }
    let Some(routes) = routes else {
        return Err(no_contract());
    };
    let text = format!("{path} is not a method that is served");
    Err(Status::refused(
        GrpcCode::Unimplemented,
        Code::MethodUnknown,
        text + &nearest(&routes.contract, path),
    ))
}

fn path_unknown<B>(contract: &Contract, request: &Request<B>) -> Status {
    let (verb, path) = (request.method(), request.uri().path());
    let text = format!("nothing is served at {verb} {path}");
    Status::refused(
        GrpcCode::NotFound,
        Code::PathUnknown,
        text + &nearest(contract, path),
    )
}

/// The end of a refusal's text: the nearest name, if there is one worth telling.
fn nearest(contract: &Contract, path: &str) -> String {
    if path.len() > NEAREST_BYTES_MAX {
        return String::new();
    }
    match contract.nearest(path) {
        Some(nearest) => format!(": the nearest name is {nearest}"),
        None => String::new(),
    }
}

fn no_contract() -> Status {
    Status::refused(
        GrpcCode::Unavailable,
        Code::FunctionUnavailable,
        "the function is not connected yet: start it, or look into Firn's log for why it was refused",
    )
}
