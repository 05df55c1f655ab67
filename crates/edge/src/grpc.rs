//! gRPC over HTTP/2, all four shapes, and gRPC-Web, which is the same in another wrapping.
//!
//! Messages are passed on as they are: [`frames`] takes them out of the request's body,
//! [`answer`] puts replies into the response's. What fails before the first reply is answered with
//! headers alone, what fails later with trailers; [`status`] writes both.

mod answer;
mod encoding;
mod frames;
pub(crate) mod status;

use std::sync::Arc;

use bytes::Bytes;
use firn_model::call::CallHead;
use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Body as HttpBody;

use self::encoding::Encoding;
pub(crate) use self::encoding::too_large;
use self::frames::Frames;
use crate::body::Body;
use crate::call::{self, Messages};
use crate::route::Target;
use crate::state::State;

/// Which wrapping a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// gRPC proper: trailers are HTTP trailers.
    Grpc,
}

impl Wire {
    /// The wrapping that a request's content type names; `None` if it is no gRPC.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type.split(';').next()?.trim();
        match media_type {
            "application/grpc" | "application/grpc+proto" => Some(Self::Grpc),
            _ => None,
        }
    }

    /// The content type of responses.
    fn content_type(self) -> HeaderValue {
        match self {
            Self::Grpc => HeaderValue::from_static("application/grpc"),
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
    let accepted = Encoding::accepted(request.headers());
    let answered = async {
        if request.version() < Version::HTTP_2 && wire == Wire::Grpc {
            return Err(needs_http2());
        }
        match target? {
            Target::Method(method) => {
                let head = call::admit(state, &method, request.headers())?;
                served(state, head, request).await
            }
        }
    };
    match answered.await {
        Ok(reply) => answer::respond(reply, wire, accepted),
        Err(status) => answer::refuse(&status, wire),
    }
}

async fn served<B>(
    state: &Arc<State>,
    head: CallHead,
    request: Request<B>,
) -> Result<call::Answer, Status>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    let encoding = Encoding::of_request(request.headers())?;
    let bytes_max = state.config.message_bytes_max;
    let mut frames = Frames::new(request.into_body(), encoding, bytes_max);
    let messages = match head.method.streams_in() {
        true => Messages::Many(frames.into_stream().boxed()),
        false => Messages::One(frames.only().await?),
    };
    call::call(state, head, messages).await
}

fn needs_http2() -> Status {
    Status::refused(
        GrpcCode::Unimplemented,
        Code::ContentType,
        "gRPC needs HTTP/2: over HTTP/1.1 send gRPC-Web or JSON",
    )
}
