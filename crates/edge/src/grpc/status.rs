//! Statuses as gRPC headers or trailers.

use base64::Engine as _;
use bytes::Bytes;
use firn_model::status::Status;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;

use crate::head::BASE64;

/// The header, or trailer, with Firn's own code.
pub(crate) const FIRN_CODE: HeaderName = HeaderName::from_static("firn-code");

/// The header, or trailer, with the gRPC status number.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The header, or trailer, with the percent-encoded text.
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The header, or trailer, with the whole status as a `google.rpc.Status`, base64
/// (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The longest details of a status, in bytes: see [`MESSAGE_BYTES_MAX`]. Longer ones are left out,
/// since a part of them would not parse.
const DETAILS_BYTES_MAX: usize = 4096;

/// What `grpc-message` must encode besides everything outside ASCII.
const MESSAGE_ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The longest text of a status, in bytes before encoding, which may make it three times as long:
/// common clients refuse header sections above 8 KiB, and would show no status at all.
const MESSAGE_BYTES_MAX: usize = 2048;

/// Adds the status of a call to headers or trailers; `None` is OK.
pub(crate) fn add_to(headers: &mut HeaderMap, status: Option<&Status>) {
    let Some(status) = status else {
        headers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
        return;
    };
    headers.insert(GRPC_STATUS, HeaderValue::from(status.code as i32));
    if let Some(message) = message(&status.message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if let Some(details) = details(status) {
        headers.insert(GRPC_STATUS_DETAILS, details);
    }
    if let Some(code) = firn_code(status) {
        headers.insert(FIRN_CODE, code);
    }
}

/// `google.rpc.Status`.
#[derive(Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcDetail>,
}

/// `google.protobuf.Any`.
#[derive(Message)]
struct RpcDetail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

fn details(status: &Status) -> Option<HeaderValue> {
    if status.details.is_empty() {
        return None;
    }
    let details = status.details.iter().map(|detail| RpcDetail {
        type_url: detail.type_url.to_string(),
        value: detail.bytes.clone(),
    });
    let whole = RpcStatus {
        code: status.code as i32,
        message: status.message.clone(),
        details: details.collect(),
    };
    if whole.encoded_len() > DETAILS_BYTES_MAX {
        return None;
    }
    HeaderValue::try_from(BASE64.encode(whole.encode_to_vec())).ok()
}

/// The value of the header with Firn's own code, if the status has one.
pub(crate) fn firn_code(status: &Status) -> Option<HeaderValue> {
    HeaderValue::try_from(status.firn?.to_string()).ok()
}

fn message(text: &str) -> Option<HeaderValue> {
    if text.is_empty() {
        return None;
    }
    let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
    let encoded = utf8_percent_encode(&text[..end], MESSAGE_ESCAPED).to_string();
    HeaderValue::try_from(encoded).ok()
}

#[cfg(test)]
mod tests {
    use firn_model::code::Code;
    use firn_model::payload::Payload;
    use firn_model::status::GrpcCode;

    use super::*;

    fn written(status: Option<&Status>) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        add_to(&mut headers, status);
        let lines = headers.iter();
        lines
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    fn pairs(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        let lines = lines.iter();
        lines
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn status_is_number_encoded_text_and_code() {
        assert_eq!(written(None), pairs(&[("grpc-status", "0")]));
        let chosen = Status::chosen(GrpcCode::NotFound, "100% weg: ü\n");
        let expected = [
            ("grpc-status", "5"),
            ("grpc-message", "100%25 weg: %C3%BC%0A"),
        ];
        assert_eq!(written(Some(&chosen)), pairs(&expected));
        let refused = Status::refused(GrpcCode::Unavailable, Code::ShuttingDown, "");
        let expected = [("grpc-status", "14"), ("firn-code", "FIRN-3019")];
        assert_eq!(written(Some(&refused)), pairs(&expected));
    }

    #[test]
    fn details_travel_whole_or_not_at_all() {
        let with = |detail: Vec<u8>| {
            let mut status = Status::chosen(GrpcCode::NotFound, "gone");
            status.details = vec![Payload::new("t/D", detail)];
            status
        };
        // {1: 5, 2: "gone", 3: {1: "t/D", 2: "x"}}
        let bytes = b"\x08\x05\x12\x04gone\x1a\x08\x0a\x03t/D\x12\x01x";
        let expected = BASE64.encode(bytes);
        assert_eq!(details(&with(b"x".to_vec())).unwrap(), expected);
        assert_eq!(details(&with(vec![0; DETAILS_BYTES_MAX])), None);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "ü".repeat(MESSAGE_BYTES_MAX);
        let value = message(&text).unwrap();
        assert_eq!(value.len(), MESSAGE_BYTES_MAX * 3);
        let odd = message(&format!("x{text}")).unwrap();
        assert_eq!(odd.len(), 1 + (MESSAGE_BYTES_MAX - 2) * 3);
    }
}
