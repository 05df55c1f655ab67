//! Failures as a `google.rpc.Status` in JSON.
//!
//! ```text
//! {"code": 5, "message": "no such cart", "details": [{"@type": "type.googleapis.com/shop.Hint", …}]}
//! ```
//!
//! The details are those of the function, each an `Any` in JSON, by the contract's descriptors or
//! those of `google/rpc/error_details.proto`, which a function need not bring. One of another type is
//! not lost: its bytes are its `value`, in base64. A failure that Firn found has one detail, a
//! `google.rpc.ErrorInfo` with Firn's code as the reason.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firn_model::payload::Payload;
use firn_model::status::Status;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};

use crate::json;

/// Who gives the reasons of an `ErrorInfo`.
const DOMAIN: &str = "firn";

/// The messages that whoever speaks of failures may use.
static STANDARD_DETAILS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .expect("the descriptors of google.rpc are whole")
});

/// Messages whose JSON is no object of their fields: within an `Any` it stands in `value`.
const SPECIAL: [&str; 17] = [
    "google.protobuf.Any",
    "google.protobuf.BoolValue",
    "google.protobuf.BytesValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.Duration",
    "google.protobuf.Empty",
    "google.protobuf.FieldMask",
    "google.protobuf.FloatValue",
    "google.protobuf.Int32Value",
    "google.protobuf.Int64Value",
    "google.protobuf.ListValue",
    "google.protobuf.StringValue",
    "google.protobuf.Struct",
    "google.protobuf.Timestamp",
    "google.protobuf.UInt32Value",
    "google.protobuf.UInt64Value",
    "google.protobuf.Value",
];

/// The failure; `pool` describes what the function adds.
pub(super) fn status(status: &Status, pool: &DescriptorPool) -> String {
    let mut details: Vec<Value> = status.details.iter().map(|of| detail(of, pool)).collect();
    details.extend(status.firn.map(|code| {
        json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "domain": DOMAIN,
            "reason": code.to_string(),
        })
    }));
    // In the order in which a person reads it.
    format!(
        r#"{{"code":{},"message":{},"details":{}}}"#,
        status.code as i32,
        Value::from(status.message.as_str()),
        Value::from(details)
    )
}

fn detail(payload: &Payload, pool: &DescriptorPool) -> Value {
    let type_url = payload.type_url.to_string();
    let mut detail = serde_json::Map::from_iter([("@type".to_owned(), type_url.into())]);
    match printed(payload, pool) {
        Some((descriptor, Value::Object(fields))) if !is_special(&descriptor) => {
            detail.extend(fields);
        }
        Some((_, value)) => drop(detail.insert("value".to_owned(), value)),
        None => {
            let bytes = STANDARD.encode(&payload.bytes);
            detail.insert("value".to_owned(), bytes.into());
        }
    }
    Value::Object(detail)
}

/// The detail's own JSON, if its type is known and its bytes are of it.
fn printed(payload: &Payload, pool: &DescriptorPool) -> Option<(MessageDescriptor, Value)> {
    // What stands before the name says who describes the type; here it is always the contract.
    let (_, name) = payload.type_url.rsplit_once('/')?;
    let known = pool.get_message_by_name(name);
    let descriptor = known.or_else(|| STANDARD_DETAILS.get_message_by_name(name))?;
    let message = DynamicMessage::decode(descriptor.clone(), payload.bytes.clone()).ok()?;
    let text = json::write(&message).ok()?;
    Some((descriptor, serde_json::from_slice(&text).ok()?))
}

fn is_special(descriptor: &MessageDescriptor) -> bool {
    SPECIAL.contains(&descriptor.full_name())
}

#[cfg(test)]
mod tests {
    use firn_model::code::Code;
    use firn_model::status::GrpcCode;
    use prost::Message as _;
    use tonic_types::pb;

    use super::*;
    use crate::testing::contract;

    fn check(details: Vec<Payload>, expected: &str) {
        let text = "syntax = \"proto3\"; package test; import \"google/protobuf/duration.proto\";
            message Hint { string text = 1; int64 big = 2; }
            message Uses { google.protobuf.Duration duration = 1; }";
        let mut failure = Status::chosen(GrpcCode::NotFound, "no such cart");
        failure.details = details;
        let found = status(&failure, &contract(text).pool);
        let expected = format!(r#"{{"code":5,"message":"no such cart","details":{expected}}}"#);
        assert_eq!(found, expected);
    }

    #[test]
    fn details_are_printed_by_their_descriptors() {
        let payload =
            |name: &str, bytes: Vec<u8>| Payload::new(format!("type.googleapis.com/{name}"), bytes);
        check(vec![], "[]");
        // Field 1 "tea", field 2 7.
        check(
            vec![payload("test.Hint", b"\x0a\x03tea\x10\x07".to_vec())],
            r#"[{"@type":"type.googleapis.com/test.Hint","big":"7","text":"tea"}]"#,
        );
        check(
            vec![payload("google.protobuf.Duration", b"\x08\x02".to_vec())],
            r#"[{"@type":"type.googleapis.com/google.protobuf.Duration","value":"2s"}]"#,
        );
        let info = pb::ResourceInfo {
            resource_name: "alice".to_owned(),
            ..pb::ResourceInfo::default()
        };
        check(
            vec![payload("google.rpc.ResourceInfo", info.encode_to_vec())],
            r#"[{"@type":"type.googleapis.com/google.rpc.ResourceInfo","description":"","owner":"","resourceName":"alice","resourceType":""}]"#,
        );
    }

    #[test]
    fn details_that_nobody_describes_are_not_lost() {
        check(
            vec![
                Payload::new("type.googleapis.com/test.Other", b"\x01\x02".to_vec()),
                // Not a Hint.
                Payload::new("type.googleapis.com/test.Hint", b"\xff".to_vec()),
                Payload::new("json.firn/x", b"{}".to_vec()),
            ],
            r#"[{"@type":"type.googleapis.com/test.Other","value":"AQI="},{"@type":"type.googleapis.com/test.Hint","value":"/w=="},{"@type":"json.firn/x","value":"e30="}]"#,
        );
    }

    #[test]
    fn code_of_firn_is_the_reason() {
        let failure = Status::refused(GrpcCode::InvalidArgument, Code::IdEmpty, "empty");
        let expected = r#"{"code":3,"message":"empty","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","domain":"firn","reason":"FIRN-3004"}]}"#;
        let found = status(&failure, &DescriptorPool::new());
        assert_eq!(found, expected);
    }

    #[test]
    fn every_message_with_json_of_its_own_is_known() {
        let pool = DescriptorPool::global();
        for name in SPECIAL {
            assert!(pool.get_message_by_name(name).is_some(), "{name}");
        }
    }
}
