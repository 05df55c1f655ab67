//! Paths of fields in a message, and which fields have a text form.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// How deep a dotted name may reach, in fields.
///
/// Deeper than any message that people write by hand; far from what recursion over it could not
/// stand, since a name comes from whoever calls.
const DEPTH_MAX: usize = 32;

/// The fields from a message down to one of its fields; never empty.
pub(crate) type FieldPath = Vec<FieldDescriptor>;

/// The field that a dotted name means, by proto names or JSON names.
///
/// # Errors
/// What is wrong with the name.
pub(crate) fn resolve(message: &MessageDescriptor, name: &str) -> Result<FieldPath, String> {
    let mut path = FieldPath::new();
    let mut message = message.clone();
    for (i, part) in name.split('.').enumerate() {
        if i == DEPTH_MAX {
            return Err(format!("names a field more than {DEPTH_MAX} messages deep"));
        }
        if let Some(outer) = path.last() {
            message = inside(outer)?;
        }
        let field = message
            .get_field_by_name(part)
            .or_else(|| message.get_field_by_json_name(part))
            .ok_or_else(|| format!("names no field of {}: {part:?}", message.full_name()))?;
        path.push(field);
    }
    Ok(path)
}

/// The message that a single field holds.
fn inside(field: &FieldDescriptor) -> Result<MessageDescriptor, String> {
    match field.kind() {
        Kind::Message(message) if !field.is_list() && !field.is_map() => Ok(message),
        _ => Err(format!(
            "names a field inside {}, which is not a single message",
            field.full_name()
        )),
    }
}

/// Whether a value of this kind can be written as plain text, outside JSON.
pub(crate) fn text_form(kind: &Kind) -> bool {
    match kind {
        Kind::Message(message) => {
            wrapped(message).is_some()
                || matches!(
                    message.full_name(),
                    "google.protobuf.Timestamp"
                        | "google.protobuf.Duration"
                        | "google.protobuf.FieldMask"
                )
        }
        _ => true,
    }
}

/// The one field of a wrapper of a scalar, such as `google.protobuf.Int64Value`.
pub(crate) fn wrapped(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    const WRAPPERS: [&str; 9] = [
        "BoolValue",
        "BytesValue",
        "DoubleValue",
        "FloatValue",
        "Int32Value",
        "Int64Value",
        "StringValue",
        "UInt32Value",
        "UInt64Value",
    ];
    let name = message.full_name().strip_prefix("google.protobuf.")?;
    WRAPPERS.contains(&name).then(|| message.get_field(1))?
}
