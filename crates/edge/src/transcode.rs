//! HTTP/JSON: a request becomes the message of a method, the reply becomes a response.
//!
//! [`request`] makes messages from the body, the query and the path, [`response`] makes bodies from
//! replies, [`refuse`] says what went wrong.
//!
//! # Choices
//! The served families differ from each other, and from `google.api.http`, in details. Chosen is
//! what their existing clients rely on:
//! - A value in a path is decoded like one in a query: `%XX`, and `+` is a space. Send `%2B` for a
//!   plus. In a variable of several segments `%2F` stays as it is, so that it cannot be taken for a
//!   separator.
//! - A variable may be empty and may hold `:`.
//! - Query parameters are read unless the body is the whole message; unknown ones are refused. Where
//!   they name the same field, the path has the last word, then the body, then the query.
//! - A JSON body may say `application/json` with any parameters, another `+json` type, or nothing;
//!   other types are refused with 415. An empty body is an empty message, whatever its type.
//! - `google.api.HttpBody` takes and gives raw bodies in requests as well as in responses.
//! - A stream of replies is one JSON object per line as `application/json`, server-sent events for
//!   who accepts `text/event-stream`, and raw bytes for `HttpBody`. A stream of requests is JSON
//!   values one after the other; a body with one value is a stream of one message.
//! - A failure after the first reply can no longer be an HTTP status: it is a last line
//!   `{"error": …}`, an event named `error`, or, in a raw stream, an aborted transfer. The error is
//!   `{"code", "message", "firnCode"}`, or the `google.rpc.Status` of components that fail so.

mod params;
mod percent;
pub(crate) mod refuse;
mod request;
mod response;
mod split;
mod text;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method as Verb, Request, Response, header};
use http_body::Body as HttpBody;

use crate::body::Body;
use crate::call;
use crate::rules::Binding;
use crate::state::State;

/// Answers one HTTP request with the method of `binding`; `values` are what the template's variables
/// took of the path.
pub(crate) async fn serve<B>(
    state: &Arc<State>,
    binding: &Arc<Binding>,
    values: &[&str],
    request: Request<B>,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    let format = response::Format::choose(binding, request.headers());
    let policy = binding.method.component.policies.http_errors;
    let head = match call::admit(state, &binding.method, request.headers()) {
        Ok(head) => head,
        Err(status) => return refuse::refused(&status, policy),
    };
    let is_head = request.method() == Verb::HEAD;
    let bytes_max = state.config.message_bytes_max;
    let reading = request::messages(binding, values, request, bytes_max);
    let messages = match call::in_time(&head, reading).await {
        Ok(messages) => messages,
        Err(status) => return refuse::refused(&status, policy),
    };
    let response = match call::call(state, head, messages).await {
        Ok(answer) => response::respond(binding, answer, format),
        Err(failure) => refuse::failed(&failure, policy, binding.pool()),
    };
    match is_head {
        true => without_body(response),
        false => response,
    }
}

/// The answer to `HEAD`: the headers that `GET` would have had.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    *response.body_mut() = Body::empty();
    response
}
