//! Values of fields from plain text: path variables and query parameters.

use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, MessageDescriptor, Value};

use crate::head::BASE64;
use crate::json;
use crate::rules::fields::wrapped;

/// Base64 as URLs need it, with or without padding.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value that `text` stands for in a field of this kind.
///
/// # Errors
/// What was expected instead.
pub(super) fn parse(kind: &Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Bool if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
        Kind::Bool if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
        Kind::Bool => Err("true or false".to_owned()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => number(text, Value::I32, "a 32-bit integer"),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => number(text, Value::I64, "a 64-bit integer"),
        Kind::Uint32 | Kind::Fixed32 => number(text, Value::U32, "an unsigned 32-bit integer"),
        Kind::Uint64 | Kind::Fixed64 => number(text, Value::U64, "an unsigned 64-bit integer"),
        Kind::Float => number(text, Value::F32, "a number"),
        Kind::Double => number(text, Value::F64, "a number"),
        Kind::String => Ok(Value::String(text.to_owned())),
        Kind::Bytes => {
            let bytes = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text));
            let bytes = bytes.map_err(|_| "base64")?;
            Ok(Value::Bytes(bytes.into()))
        }
        Kind::Enum(values) => enum_value(values, text),
        Kind::Message(message) => well_known(message, text).map(Value::Message),
    }
}

fn number<N: FromStr>(
    text: &str,
    value: fn(N) -> Value,
    expected: &'static str,
) -> Result<Value, String> {
    match text.parse() {
        Ok(number) => Ok(value(number)),
        Err(_) => Err(expected.to_owned()),
    }
}

/// An enum's value by name or by number; a number need not be known.
fn enum_value(values: &EnumDescriptor, text: &str) -> Result<Value, String> {
    if let Some(value) = values.get_value_by_name(text) {
        return Ok(Value::EnumNumber(value.number()));
    }
    match text.parse() {
        Ok(number) => Ok(Value::EnumNumber(number)),
        Err(_) => Err(format!("a name or number of {}", values.full_name())),
    }
}

/// A well-known type that has a text form: a wrapper as its value, others as in JSON.
fn well_known(message: &MessageDescriptor, text: &str) -> Result<DynamicMessage, String> {
    if let Some(field) = wrapped(message) {
        let mut wrapper = DynamicMessage::new(message.clone());
        wrapper.set_field(&field, parse(&field.kind(), text)?);
        return Ok(wrapper);
    }
    let expected = match message.full_name() {
        "google.protobuf.Timestamp" => "a time such as 2024-02-29T12:00:00Z",
        "google.protobuf.Duration" => "a duration in seconds such as 1.5s",
        "google.protobuf.FieldMask" => "field names separated by commas",
        other => return Err(format!("one of its fields: {other} has no text form")),
    };
    let quoted = serde_json::Value::from(text).to_string();
    json::read(message, quoted.as_bytes()).map_err(|_| expected.to_owned())
}
