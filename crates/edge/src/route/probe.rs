//! Probes: whether the port answers at all.

use http::{Method as Verb, Request, Response, StatusCode};

use crate::body::Body;

/// The header of Knative's probes.
const KNATIVE: &str = "k-network-probe";

/// The answer to a probe; `None` if the request is none.
pub(super) fn answer<B>(request: &Request<B>) -> Option<Response<Body>> {
    if let Some(probe) = request.headers().get(KNATIVE) {
        if probe == "queue" {
            return Some(Response::new(Body::whole("queue")));
        }
        let text = format!("header {KNATIVE} must be queue\n");
        let mut response = Response::new(Body::whole(text));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Some(response);
    }
    if request.uri().path() != "/" {
        return None;
    }
    match *request.method() {
        Verb::GET => Some(Response::new(Body::whole("Firn is listening.\n"))),
        Verb::HEAD => Some(Response::new(Body::empty())),
        _ => None,
    }
}
