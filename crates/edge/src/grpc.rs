//! gRPC over HTTP/2, all four shapes, and gRPC-Web, which is the same in another wrapping.
//!
//! Messages are passed on as they are: [`frames`] takes them out of the request's body,
//! [`answer`] puts replies into the response's. What fails before the first reply is answered with
//! headers alone, what fails later with trailers; [`status`] writes both.

mod answer;
mod encoding;
mod frames;
pub(crate) mod status;
mod web;

use std::sync::Arc;

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::Method;
use firn_model::policy::HttpErrors;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method as Verb, Request, Response, Version, header};
use http_body::Body as HttpBody;

use self::encoding::Encoding;
pub(crate) use self::encoding::too_large;
use self::frames::Frames;
use crate::body::Body;
use crate::builtin::Builtin;
use crate::call::{self, Answer, Messages};
use crate::route::Target;
use crate::state::State;
use crate::transcode::refuse;

/// Which wrapping a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// gRPC proper: trailers are HTTP trailers.
    Grpc,
    /// gRPC-Web: trailers are a last frame of the body.
    Web,
    /// The same, all of it as base64.
    WebText,
}

impl Wire {
    /// The wrapping that a request's content type names; `None` if it is no gRPC.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::named(headers.get(header::CONTENT_TYPE)?.to_str().ok()?)
    }

    fn named(media_range: &str) -> Option<Self> {
        match media_range.split(';').next()?.trim() {
            "application/grpc" | "application/grpc+proto" => Some(Self::Grpc),
            "application/grpc-web" | "application/grpc-web+proto" => Some(Self::Web),
            "application/grpc-web-text" | "application/grpc-web-text+proto" => Some(Self::WebText),
            _ => None,
        }
    }

    /// The wrapping of the response: a web client may ask for another one than it sends.
    fn of_response(self, headers: &HeaderMap) -> Self {
        if self == Self::Grpc {
            return self;
        }
        let accepted = headers.get_all(header::ACCEPT);
        accepted
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(Self::named)
            .find(|wire| *wire != Self::Grpc)
            .unwrap_or(self)
    }

    /// The content type of responses.
    fn content_type(self) -> HeaderValue {
        match self {
            Self::Grpc => HeaderValue::from_static("application/grpc"),
            Self::Web => HeaderValue::from_static("application/grpc-web+proto"),
            Self::WebText => HeaderValue::from_static("application/grpc-web-text+proto"),
        }
    }
}

/// Answers one gRPC request.
pub(crate) async fn serve<B>(
    state: &Arc<State>,
    wire: Wire,
    target: Result<Target, Status>,
    request: Request<B>,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    if wire == Wire::Grpc && request.version() < Version::HTTP_2 {
        return refuse::refused(&needs_http2(), HttpErrors::PlainText);
    }
    if request.method() != Verb::POST {
        let (verb, path) = (request.method(), request.uri().path());
        return refuse::other_verbs(verb, path, &[Verb::POST], HttpErrors::PlainText);
    }
    let accepted = Encoding::accepted(request.headers());
    let answer_wire = wire.of_response(request.headers());
    let answered = match target {
        Ok(Target::Method(method)) => served(state, wire, &method, request).await,
        Ok(Target::Builtin(builtin)) => built_in(state, wire, builtin, request).await,
        Err(status) => Err(status),
    };
    match answered {
        Ok(reply) => answer::respond(reply, answer_wire, accepted),
        Err(status) => answer::refuse(&status, answer_wire),
    }
}

async fn served<B>(
    state: &Arc<State>,
    wire: Wire,
    method: &Arc<Method>,
    request: Request<B>,
) -> Result<Answer, Status>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    let head = call::admit(state, method, request.headers())?;
    let mut frames = frames(state, wire, request)?;
    let messages = match method.streams_in() {
        true => Messages::Many(frames.into_stream().boxed()),
        false => Messages::One(call::in_time(&head, frames.only()).await?),
    };
    call::call(state, head, messages).await
}

async fn built_in<B>(
    state: &Arc<State>,
    wire: Wire,
    builtin: Builtin,
    request: Request<B>,
) -> Result<Answer, Status>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    let mut frames = frames(state, wire, request)?;
    let messages = match builtin.streams_in() {
        true => frames.into_stream().boxed(),
        false => stream::iter([Ok(frames.only().await?)]).boxed(),
    };
    call::begin(builtin.open(state, messages), builtin.streams_out()).await
}

fn frames<B>(state: &State, wire: Wire, request: Request<B>) -> Result<Frames<B>, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let encoding = Encoding::of_request(request.headers())?;
    let bytes_max = state.config.message_bytes_max;
    Ok(Frames::new(request.into_body(), wire, encoding, bytes_max))
}

fn needs_http2() -> Status {
    Status::refused(
        GrpcCode::Unimplemented,
        Code::ContentType,
        "gRPC needs HTTP/2: over HTTP/1.1 send gRPC-Web or JSON",
    )
}
