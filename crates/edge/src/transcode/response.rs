//! Replies as HTTP responses.

use std::sync::Arc;

use bytes::Bytes;
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use prost_reflect::{DynamicMessage, Value};

use super::refuse;
use crate::backend::ReplyStream;
use crate::body::{Body, BodyFrame, Chunk, CutOff};
use crate::call::Answer;
use crate::json;
use crate::metadata;
use crate::rules::Binding;

/// The content type of a response in JSON.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The content type of a raw response that names none.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How replies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON; in a stream one value per line.
    Json,
    /// Server-sent events with JSON in them; without a stream plain JSON.
    Events,
    /// The bytes of `google.api.HttpBody`.
    Raw,
}

impl Format {
    /// The format for a request with these headers.
    pub(super) fn choose(binding: &Binding, headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT);
        let mut accepted = accepted
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        if binding.gives_raw_body() {
            Self::Raw
        } else if accepted.any(|range| range.trim().starts_with("text/event-stream")) {
            Self::Events
        } else {
            Self::Json
        }
    }
}

/// The response to a call that was answered.
pub(super) fn respond(binding: &Arc<Binding>, answer: Answer, format: Format) -> Response<Body> {
    let responded = match answer {
        Answer::One(reply) => single(binding, &reply, format),
        Answer::Many { first, rest } => streamed(binding, first, rest, format),
    };
    let policy = binding.method.component.policies.http_errors;
    responded.unwrap_or_else(|status| refuse::refused(&status, policy))
}

fn single(binding: &Binding, reply: &Reply, format: Format) -> Result<Response<Body>, Status> {
    let part = Part::of(binding, reply, format)?;
    let mut response = Response::new(Body::whole(part.bytes));
    set_head(&mut response, reply, part.content_type.unwrap_or(JSON));
    if let StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED = response.status() {
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    Ok(response)
}

fn streamed(
    binding: &Arc<Binding>,
    first: Option<Reply>,
    rest: ReplyStream,
    format: Format,
) -> Result<Response<Body>, Status> {
    let mut content_type = match format {
        Format::Json => JSON,
        Format::Events => HeaderValue::from_static("text/event-stream"),
        Format::Raw => BYTES,
    };
    let Some(first) = first else {
        let mut response = Response::new(Body::empty());
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        return Ok(response);
    };
    let part = Part::of(binding, &first, format)?;
    if let Some(of_part) = part.content_type.clone() {
        content_type = of_part;
    }
    let chunk = part.in_stream(format);
    let rest = frames(Arc::clone(binding), rest, format);
    let frames = stream::iter([Ok(Frame::data(chunk))]).chain(rest).boxed();
    let mut response = Response::new(Body::Streamed(frames));
    set_head(&mut response, &first, content_type);
    if format == Format::Events {
        let no_cache = HeaderValue::from_static("no-cache");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_cache);
    }
    Ok(response)
}

fn set_head(response: &mut Response<Body>, reply: &Reply, content_type: HeaderValue) {
    metadata::add_to(response.headers_mut(), &reply.metadata);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    if let Some(status) = metadata::http_status(&reply.metadata) {
        *response.status_mut() = status;
    }
}

/// The replies after the first.
fn frames(
    binding: Arc<Binding>,
    replies: ReplyStream,
    format: Format,
) -> BoxStream<'static, BodyFrame> {
    stream::unfold(Some((binding, replies)), move |state| async move {
        let (binding, mut replies) = state?;
        let part = replies.next().await?;
        let part = part.and_then(|reply| Part::of(&binding, &reply, format));
        Some(match part {
            Ok(part) => {
                let frame = Frame::data(part.in_stream(format));
                (Ok(frame), Some((binding, replies)))
            }
            Err(status) => (last_frame(&binding, &status, format), None),
        })
    })
    .boxed()
}

/// What a stream that fails ends with.
fn last_frame(binding: &Binding, status: &Status, format: Format) -> BodyFrame {
    let policy = binding.method.component.policies.http_errors;
    let error = refuse::in_stream(status, policy, binding.pool());
    let text = match format {
        Format::Json => format!("{{\"error\":{error}}}\n"),
        Format::Events => format!("event: error\ndata: {error}\n\n"),
        Format::Raw => return Err(CutOff),
    };
    Ok(Frame::data(Chunk::plain(Bytes::from(text))))
}

/// The part of a response that one reply is.
struct Part {
    bytes: Bytes,
    /// What a raw body says of itself; `None` for JSON.
    content_type: Option<HeaderValue>,
}

impl Part {
    fn of(binding: &Binding, reply: &Reply, format: Format) -> Result<Self, Status> {
        let output = binding.method.descriptor.output();
        let message = DynamicMessage::decode(output, reply.payload.bytes.clone())
            .map_err(|error| not_as_declared(binding, &error.to_string()))?;
        if format == Format::Raw {
            return Ok(Self::raw(binding, &message, reply));
        }
        let text = match &binding.response {
            None => json::write(&message)?,
            Some(field) => json::write_field(&message, field)?,
        };
        Ok(Self {
            bytes: Bytes::from(text),
            content_type: None,
        })
    }

    /// The bytes of a `google.api.HttpBody`, which is the message or its response field.
    fn raw(binding: &Binding, message: &DynamicMessage, reply: &Reply) -> Self {
        let field = binding.response.as_ref();
        let field = field.map(|field| message.get_field(field));
        let message = field
            .as_ref()
            .and_then(|value| value.as_message())
            .unwrap_or(message);
        let bytes = match message.get_field_by_name("data").as_deref() {
            Some(Value::Bytes(data)) => data.clone(),
            _ => Bytes::new(),
        };
        let own = match message.get_field_by_name("content_type").as_deref() {
            Some(Value::String(text)) if !text.is_empty() => HeaderValue::from_str(text).ok(),
            _ => None,
        };
        let content_type = own.or_else(|| metadata::content_type(&reply.metadata));
        Self {
            bytes,
            content_type: Some(content_type.unwrap_or(BYTES)),
        }
    }

    fn in_stream(self, format: Format) -> Chunk {
        let (before, after): (&[u8], &[u8]) = match format {
            Format::Json => (b"", b"\n"),
            Format::Events => (b"data: ", b"\n\n"),
            Format::Raw => return Chunk::plain(self.bytes),
        };
        Chunk::plain(Bytes::from([before, &self.bytes[..], after].concat()))
    }
}

fn not_as_declared(binding: &Binding, why: &str) -> Status {
    let text = format!(
        "the reply of {} is not a {}: {why}",
        binding.method.path(),
        binding.method.descriptor.output().full_name()
    );
    Status::refused(GrpcCode::Internal, Code::ReplyType, text)
}
