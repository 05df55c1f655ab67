//! Messages from the body, the query and the path of a request.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body::Body as HttpBody;
use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};

use super::params::Params;
use super::split::Splitter;
use crate::body::next_data;
use crate::call::Messages;
use crate::grpc::too_large;
use crate::json;
use crate::rules::{Binding, Body};

/// Reads a request: its one message, or how its stream begins.
///
/// # Errors
/// What is wrong with the path, the query, the content type or the body.
pub(super) async fn messages<B>(
    binding: &Arc<Binding>,
    values: &[&str],
    request: Request<B>,
    bytes_max: usize,
) -> Result<Messages, Status>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    let (parts, body) = request.into_parts();
    let maker = Maker {
        binding: Arc::clone(binding),
        params: Params::read(binding, values, parts.uri.query())?,
        content_type: parts.headers.get(header::CONTENT_TYPE).cloned(),
    };
    let streams_in = binding.method.streams_in();
    if matches!(binding.body, Body::None) {
        let message = maker.message(None)?;
        return Ok(match streams_in {
            true => Messages::Many(stream::iter([Ok(message)]).boxed()),
            false => Messages::One(message),
        });
    }
    if !body.is_end_stream() {
        check_encoding(&parts.headers)?;
    }
    if streams_in {
        if !body.is_end_stream() {
            maker.check_content_type()?;
        }
        return Ok(Messages::Many(match binding.takes_raw_body() {
            true => raw_messages(maker, body, bytes_max),
            false => json_messages(maker, body, bytes_max),
        }));
    }
    let body = whole(body, bytes_max).await?;
    if !body.is_empty() {
        maker.check_content_type()?;
    }
    maker.message(Some(body)).map(Messages::One)
}

/// Makes the messages of one request.
struct Maker {
    binding: Arc<Binding>,
    params: Params,
    content_type: Option<HeaderValue>,
}

impl Maker {
    /// A message from a body, or from a part of it.
    fn message(&self, body: Option<Bytes>) -> Result<Bytes, Status> {
        let mut message = self.params.query.clone();
        match (&self.binding.body, body) {
            (Body::None, _) | (_, None) => {}
            (Body::Whole, Some(body)) => {
                message = self.content(&self.binding.method.descriptor.input(), body)?;
            }
            (Body::Field(field), Some(body)) => match field.kind() {
                Kind::Message(raw) if self.binding.takes_raw_body() => {
                    message.set_field(field, Value::Message(self.raw(&raw, body)));
                }
                _ if is_blank(&body) => {}
                _ => {
                    let only = json::read_field(field, &body)?;
                    if only.has_field(field) {
                        message.set_field(field, only.get_field(field).into_owned());
                    }
                }
            },
        }
        self.params.finish(&mut message);
        Ok(Bytes::from(message.encode_to_vec()))
    }

    /// The message that a whole body stands for.
    fn content(&self, input: &MessageDescriptor, body: Bytes) -> Result<DynamicMessage, Status> {
        if self.binding.takes_raw_body() {
            return Ok(self.raw(input, body));
        }
        match is_blank(&body) {
            true => Ok(DynamicMessage::new(input.clone())),
            false => json::read(input, &body),
        }
    }

    /// A `google.api.HttpBody` of these bytes.
    fn raw(&self, http_body: &MessageDescriptor, body: Bytes) -> DynamicMessage {
        let mut message = DynamicMessage::new(http_body.clone());
        let content_type = self.content_type.as_ref();
        if let Some(text) = content_type.and_then(|value| value.to_str().ok()) {
            message.set_field_by_name("content_type", Value::String(text.to_owned()));
        }
        message.set_field_by_name("data", Value::Bytes(body));
        message
    }

    /// Refuses a body that says it is no JSON.
    fn check_content_type(&self) -> Result<(), Status> {
        let Some(content_type) = &self.content_type else {
            return Ok(());
        };
        if self.binding.takes_raw_body() || is_json(content_type) {
            return Ok(());
        }
        Err(Status::refused(
            GrpcCode::InvalidArgument,
            Code::ContentType,
            format!(
                "a body of type {} is not served: send application/json",
                String::from_utf8_lossy(content_type.as_bytes())
            ),
        ))
    }
}

/// Whether a content type stands for JSON, whatever its parameters.
fn is_json(content_type: &HeaderValue) -> bool {
    const TYPES: [&str; 4] = [
        "application/json",
        "application/jsonl",
        "application/ndjson",
        "application/x-ndjson",
    ];
    let Ok(text) = content_type.to_str() else {
        return false;
    };
    let media_type = text.split(';').next().unwrap_or(text).trim();
    let media_type = media_type.to_ascii_lowercase();
    TYPES.contains(&media_type.as_str())
        || (media_type.starts_with("application/")
            && !media_type.starts_with("application/grpc")
            && media_type.ends_with("+json"))
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Status> {
    match headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Ok(()),
        Some(other) => Err(Status::refused(
            GrpcCode::Unimplemented,
            Code::EncodingUnsupported,
            format!(
                "a body compressed with {:?} is not supported: send it as it is",
                String::from_utf8_lossy(other)
            ),
        )),
    }
}

fn is_blank(body: &[u8]) -> bool {
    body.iter().all(u8::is_ascii_whitespace)
}

/// The whole body, if it is not above the limit.
async fn whole<B>(mut body: B, bytes_max: usize) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let Some(first) = next_data(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() && first.len() <= bytes_max {
        return Ok(first);
    }
    let mut all = BytesMut::from(first);
    loop {
        if all.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        match next_data(&mut body).await? {
            Some(more) => all.extend_from_slice(&more),
            None => return Ok(all.freeze()),
        }
    }
}

/// Each piece of the body, as it arrives, as a message of its own.
fn raw_messages<B>(maker: Maker, body: B, bytes_max: usize) -> crate::backend::MessageStream
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    stream::unfold(Some((maker, body)), move |state| async move {
        let (maker, mut body) = state?;
        let message = match next_data(&mut body).await {
            Ok(None) => return None,
            Ok(Some(piece)) if piece.len() > bytes_max => Err(too_large(bytes_max)),
            Ok(Some(piece)) => maker.message(Some(piece)),
            Err(status) => Err(status),
        };
        let state = message.is_ok().then_some((maker, body));
        Some((message, state))
    })
    .boxed()
}

/// Each JSON value of the body as a message.
fn json_messages<B>(maker: Maker, body: B, bytes_max: usize) -> crate::backend::MessageStream
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    let values = Values {
        body,
        splitter: Some(Splitter::default()),
        bytes_max,
    };
    stream::unfold(Some((maker, values)), |state| async {
        let (maker, mut values) = state?;
        let value = values.next().await.transpose()?;
        let message = value.and_then(|value| maker.message(Some(value)));
        let state = message.is_ok().then_some((maker, values));
        Some((message, state))
    })
    .boxed()
}

/// The JSON values of a body.
struct Values<B> {
    body: B,
    /// `None` after the end of the body.
    splitter: Option<Splitter>,
    bytes_max: usize,
}

impl<B> Values<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            let Some(splitter) = &mut self.splitter else {
                return Ok(None);
            };
            let value = splitter.next();
            let bytes = value.as_ref().map_or(splitter.waiting(), Bytes::len);
            if bytes > self.bytes_max {
                return Err(too_large(self.bytes_max));
            }
            if value.is_some() {
                return Ok(value);
            }
            match next_data(&mut self.body).await? {
                Some(more) => splitter.push(&more),
                None => return Ok(self.splitter.take().and_then(Splitter::finish)),
            }
        }
    }
}
