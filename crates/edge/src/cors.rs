//! Calls from web pages of other origins: preflights, and the headers that let a page read.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Response, StatusCode, header,
};

use crate::body::Body;
use crate::config::{Config, Origins};

/// How long a browser may remember a preflight, in seconds: the most that browsers grant.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// What a page may read of every response, besides the headers that it has.
const ALWAYS_EXPOSED: [HeaderName; 3] = [
    crate::grpc::status::GRPC_STATUS,
    crate::grpc::status::GRPC_MESSAGE,
    crate::grpc::status::FIRN_CODE,
];

/// The answer to a preflight; `None` if the request is none, or from an origin that may not call.
pub(crate) fn preflight<B>(config: &Config, request: &Request<B>) -> Option<Response<Body>> {
    let headers = request.headers();
    let verb = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if request.method() != Verb::OPTIONS {
        return None;
    }
    allowed(config, headers)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, verb.clone());
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
    if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    Some(response)
}

/// The value that allows the origin of a request; `None` if it has none or may not call.
pub(crate) fn allowed(config: &Config, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    match &config.allowed_origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::Listed(origins) => origins.contains(origin).then(|| origin.clone()),
    }
}

/// Lets pages of an allowed origin read a response.
pub(crate) fn add(allowed: HeaderValue, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    let mut names: Vec<String> = headers.keys().map(HeaderName::to_string).collect();
    names.extend(ALWAYS_EXPOSED.map(|name| name.to_string()));
    names.sort();
    names.dedup();
    if let Ok(names) = HeaderValue::try_from(names.join(",")) {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
    // The answer depends on who asks, unless all may.
    if allowed != "*" {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
}
