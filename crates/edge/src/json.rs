//! Messages as proto3 JSON, by their run-time descriptors.
//!
//! Reading refuses unknown fields and says where a fault is: line, column and the path of the field.
//! Writing prints fields that hold their default, except those that can be told to be unset
//! (messages, `optional` fields and members of a oneof); names are lowerCamelCase, 64-bit numbers
//! and bytes are strings, enums are names.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter;

use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _,
    SerializeOptions,
};
use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, IntoDeserializer};
use serde_json::value::RawValue;

const READ: DeserializeOptions = DeserializeOptions::new();

const WRITE: SerializeOptions = SerializeOptions::new().skip_default_fields(false);

/// Reads a message.
///
/// # Errors
/// INVALID_ARGUMENT with the place of the fault.
pub(crate) fn read(message: &MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, Status> {
    let message = message.clone();
    let name = message.full_name().to_owned();
    located(&name, text, |json| {
        DynamicMessage::deserialize_with_options(message, json, &READ)
    })
}

/// Reads the value of one field: the result is a message that holds nothing else.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_field(field: &FieldDescriptor, text: &[u8]) -> Result<DynamicMessage, Status> {
    let message = field.parent_message().clone();
    located(field.full_name(), text, |json| {
        let only = iter::once((field.json_name(), FieldValue(json)));
        DynamicMessage::deserialize_with_options(message, MapDeserializer::new(only), &READ)
    })
}

/// Writes a message.
///
/// # Errors
/// INTERNAL if it holds an `Any` of a type that the contract lacks, or a time that has no text.
pub(crate) fn write(message: &DynamicMessage) -> Result<Vec<u8>, Status> {
    let mut text = serde_json::Serializer::new(Vec::with_capacity(128));
    match message.serialize_with_options(&mut text, &WRITE) {
        Ok(()) => Ok(text.into_inner()),
        Err(error) => Err(unprintable(message.descriptor().full_name(), &error)),
    }
}

/// Writes the value of one field of a message.
///
/// # Errors
/// As [`write()`].
pub(crate) fn write_field(
    message: &DynamicMessage,
    field: &FieldDescriptor,
) -> Result<Vec<u8>, Status> {
    let mut only = DynamicMessage::new(field.parent_message().clone());
    // The default stands in for what is unset: a response that is a field always has a value.
    only.set_field(field, message.get_field(field).into_owned());
    let text = write(&only)?;
    let fields: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_slice(&text).map_err(|error| unprintable(field.full_name(), &error))?;
    match fields.get(field.json_name()) {
        Some(value) => Ok(value.get().into()),
        None => Ok(b"null".to_vec()),
    }
}

/// Runs `read` over JSON text and gives its errors a place.
fn located<T>(
    name: &str,
    text: &[u8],
    read: impl FnOnce(
        serde_path_to_error::Deserializer<
            '_,
            '_,
            &mut serde_json::Deserializer<serde_json::de::SliceRead<'_>>,
        >,
    ) -> Result<T, serde_json::Error>,
) -> Result<T, Status> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let result = read(serde_path_to_error::Deserializer::new(
        &mut json, &mut track,
    ));
    match result.and_then(|value| json.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => Err(invalid(name, &track.path(), &error)),
    }
}

fn invalid(name: &str, path: &serde_path_to_error::Path, error: &serde_json::Error) -> Status {
    let full = error.to_string();
    // The library says the place in its own words at the end; it is said once, in ours.
    let cause = full.split(" at line ").next().unwrap_or(&full);
    let (line, column) = (error.line(), error.column());
    let at = match path.iter().next() {
        Some(_) => format!(" at field {path}"),
        None => String::new(),
    };
    let text =
        format!("the JSON is not valid for {name}{at}, line {line} column {column}: {cause}");
    Status::refused(GrpcCode::InvalidArgument, Code::JsonMalformed, text)
}

fn unprintable(name: &str, error: &serde_json::Error) -> Status {
    Status::refused(
        GrpcCode::Internal,
        Code::ReplyType,
        format!("the reply of type {name} cannot be printed as JSON: {error}"),
    )
}

/// A deserializer as the value of the one entry of a map.
struct FieldValue<D>(D);

impl<'de, D> IntoDeserializer<'de, D::Error> for FieldValue<D>
where
    D: Deserializer<'de>,
{
    type Deserializer = D;

    fn into_deserializer(self) -> D {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::testing::contract;

    fn note() -> MessageDescriptor {
        let text = r#"syntax = "proto3"; package test;
            import "google/protobuf/any.proto";
            import "google/protobuf/duration.proto";
            import "google/protobuf/field_mask.proto";
            import "google/protobuf/struct.proto";
            import "google/protobuf/timestamp.proto";
            import "google/protobuf/wrappers.proto";
            message Note {
              string text = 1;
              repeated Note notes = 2;
              map<string, Note> named = 3;
              google.protobuf.Any any = 4;
              google.protobuf.Duration duration = 5;
              google.protobuf.FieldMask mask = 6;
              google.protobuf.Struct struct = 7;
              google.protobuf.Value value = 8;
              google.protobuf.Timestamp time = 9;
              google.protobuf.FloatValue float = 10;
              bytes data = 11;
              Color color = 12;
              oneof one { int64 big = 13; double ratio = 14; }
              map<bool, Color> colors = 15;
            }
            enum Color { RED = 0; }"#;
        contract(text)
            .pool
            .get_message_by_name("test.Note")
            .unwrap()
    }

    #[test]
    fn faults_are_told_with_their_place() {
        let note = note();
        let check = |text: &str, expected: &str| {
            let status = read(&note, text.as_bytes()).unwrap_err();
            assert_eq!(status.firn, Some(Code::JsonMalformed));
            let expected = format!("the JSON is not valid for test.Note{expected}");
            assert_eq!(status.message, expected, "{text}");
        };
        check("", ", line 1 column 0: EOF while parsing a value");
        check(
            "{\n  \"nope\": 1\n}",
            ", line 2 column 8: unrecognized field name 'nope'",
        );
        check(
            r#"{"notes":[{},{"text":1}]}"#,
            " at field notes[1].text, line 1 column 22: invalid type: integer `1`, expected a string",
        );
        check(
            r#"{"named":{"a":{"color":"BLUE"}}}"#,
            " at field named.a.color, line 1 column 29: unrecognized enum value 'BLUE'",
        );
        check("{}x", ", line 1 column 3: trailing characters");
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = format!("{}{}", r#"{"notes":["#.repeat(5000), "]}".repeat(5000));
        let status = read(&note(), deep.as_bytes()).unwrap_err();
        assert!(status.message.contains("recursion"), "{}", status.message);
    }

    #[test]
    fn fuzzed_json_is_read_as_it_is_written_or_refused() {
        let note = note();
        bolero::check!().for_each(|text: &[u8]| {
            if let Ok(message) = read(&note, text)
                && let Ok(written) = write(&message)
            {
                let again = read(&note, &written).expect("what was written can be read");
                let bytes = again.encode_to_vec();
                assert!(DynamicMessage::decode(note.clone(), bytes.as_slice()).is_ok());
            }
        });
    }

    #[test]
    fn fuzzed_replies_are_written_or_refused() {
        let note = note();
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(message) = DynamicMessage::decode(note.clone(), bytes)
                && let Ok(text) = write(&message)
            {
                assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
                for field in note.fields() {
                    let _ = write_field(&message, &field);
                }
            }
        });
    }
}
