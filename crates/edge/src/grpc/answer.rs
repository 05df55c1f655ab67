//! Replies as a response: headers with the first, a frame for each, the status at the end.

use std::collections::VecDeque;

use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;

use super::Wire;
use super::encoding::{self, Encoding};
use super::status;
use super::web;
use crate::backend::ReplyStream;
use crate::body::{Body, Chunk};
use crate::call::Answer;
use crate::metadata;

/// A response that says only why there is none: by headers alone, in gRPC-Web by the body's trailers,
/// where every client looks for them.
pub(crate) fn refuse(failure: &Status, wire: Wire) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, wire.content_type());
    if failure.firn == Some(Code::EncodingUnsupported) {
        headers.insert("grpc-accept-encoding", encoding::SUPPORTED);
    }
    if wire == Wire::Grpc {
        status::add_to(headers, Some(failure));
    } else {
        let frames = VecDeque::from([Frame::trailers(trailers(Some(failure)))]);
        *response.body_mut() = web::wrap(Body::Fixed(frames), wire);
    }
    response
}

/// A response with replies.
pub(crate) fn respond(answer: Answer, wire: Wire, accepted: Encoding) -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, wire.content_type());
    if accepted == Encoding::Gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    let body = match answer {
        Answer::One(reply) => {
            metadata::add_to(&mut headers, &reply.metadata);
            match frame(reply, accepted) {
                Ok(chunk) => Body::with_trailers(chunk, trailers(None)),
                Err(failure) => return refuse(&failure, wire),
            }
        }
        Answer::Many { first: None, .. } => {
            Body::Fixed(VecDeque::from([Frame::trailers(trailers(None))]))
        }
        Answer::Many {
            first: Some(first),
            rest,
        } => {
            metadata::add_to(&mut headers, &first.metadata);
            Body::Streamed(frames(first, rest, accepted))
        }
    };
    let mut response = Response::new(web::wrap(body, wire));
    *response.headers_mut() = headers;
    response
}

/// The frames of a stream of replies, and its trailers.
fn frames(
    first: Reply,
    rest: ReplyStream,
    accepted: Encoding,
) -> stream::BoxStream<'static, crate::body::BodyFrame> {
    let replies = stream::iter([Ok(first)]).chain(rest);
    stream::unfold(Some(replies), move |replies| async move {
        let mut replies = replies?;
        let next = replies.next().await;
        match next.map(|reply| reply.and_then(|reply| frame(reply, accepted))) {
            Some(Ok(chunk)) => Some((Ok(Frame::data(chunk)), Some(replies))),
            Some(Err(failure)) => Some((Ok(Frame::trailers(trailers(Some(&failure)))), None)),
            None => Some((Ok(Frame::trailers(trailers(None))), None)),
        }
    })
    .boxed()
}

fn frame(reply: Reply, accepted: Encoding) -> Result<Chunk, Status> {
    let message = reply.payload.bytes;
    let chunk = match accepted.compress(&message) {
        Some(compressed) => Chunk::framed(1, compressed),
        None => Chunk::framed(0, message),
    };
    chunk.ok_or_else(|| {
        Status::refused(
            GrpcCode::ResourceExhausted,
            Code::MessageTooLarge,
            "the reply is larger than 4 GiB, the limit of gRPC",
        )
    })
}

fn trailers(failure: Option<&Status>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(3);
    status::add_to(&mut trailers, failure);
    trailers
}
