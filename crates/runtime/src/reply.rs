//! The shape of a reply: what an answer of a function becomes for its caller.

use bytes::{BufMut, Bytes, BytesMut};
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::contract::Method;
use firn_model::decision::Failure;
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;
use firn_model::policy::EmptyAnswer;
use firn_model::status::{GrpcCode, Status};

/// The type URL of a message that is itself a typed value.
const ANY_URL: &str = "type.googleapis.com/google.protobuf.Any";

/// A reply as the method's output type: a typed value is the message itself where that is declared.
pub(crate) fn typed(method: &Method, reply: Reply) -> Reply {
    if method.output_url != ANY_URL || reply.payload.type_url == ANY_URL {
        return reply;
    }
    let Reply {
        mut payload,
        metadata,
    } = reply;
    payload.bytes = encode_any(&payload.type_url, &payload.bytes);
    payload.type_url = method.output_url.clone();
    Reply { payload, metadata }
}

/// The name in a type URL; what stands before it is no part of the type.
pub(crate) fn type_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// The bytes of a `google.protobuf.Any`: type URL in field 1, value in field 2.
fn encode_any(type_url: &str, value: &[u8]) -> Bytes {
    fn field(buffer: &mut BytesMut, tag: u8, bytes: &[u8]) {
        buffer.put_u8(tag);
        let mut length = bytes.len();
        while length >= 0x80 {
            buffer.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        buffer.put_u8(length as u8);
        buffer.put_slice(bytes);
    }
    let mut buffer = BytesMut::with_capacity(type_url.len() + value.len() + 20);
    field(&mut buffer, 0x0a, type_url.as_bytes());
    field(&mut buffer, 0x12, value);
    buffer.freeze()
}

/// A failure that the function chose, as a status.
pub(crate) fn chosen(failure: Failure) -> Status {
    Status {
        details: failure.details,
        ..Status::chosen(failure.code.unwrap_or(GrpcCode::Unknown), failure.text)
    }
}

/// What the caller gets when the function said nothing.
pub(crate) fn nothing(method: &Method) -> Result<Reply, Status> {
    match method.component.policies.empty_answer {
        EmptyAnswer::EmptyMessage => Ok(Reply {
            payload: Payload::new(method.output_url.clone(), Bytes::new()),
            metadata: Metadata::default(),
        }),
        EmptyAnswer::Failure => Err(Status::refused(
            GrpcCode::Unknown,
            Code::NoReply,
            "the function gave no reply",
        )),
        EmptyAnswer::NotFound => Err(Status::refused(
            GrpcCode::NotFound,
            Code::NoReply,
            "the function ignored the request",
        )),
    }
}
