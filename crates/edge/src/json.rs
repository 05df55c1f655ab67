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
