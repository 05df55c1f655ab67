//! Keys: where the requests of an entity's method name their entity.

use firn_model::code::Code;
use firn_model::contract::Finding;
use firn_model::key::{Key, KeyField, KeyKind};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use super::options::Options;
use super::place::{at_field, at_method};

/// Finds the key of a method of an entity.
///
/// # Errors
/// A finding if there is none, if there are two ways to name the entity, or if a marked field cannot
/// name anything.
pub(super) fn find(method: &MethodDescriptor, options: &Options) -> Result<Key, Finding> {
    let input = method.input();
    let marked = marked(&input, options);
    match (marked.as_slice(), options.generates_key(method)) {
        ([], true) => Ok(Key::Generated),
        ([], false) => Err(missing(method, &input)),
        ([field, ..], true) => Err(at_field(
            method,
            field,
            Code::KeyAndGenerator,
            format!(
                "method {} generates its key, but {} is marked as key",
                method.full_name(),
                field.full_name()
            ),
        )),
        (fields, false) => {
            let mut found = Vec::new();
            for field in fields {
                collect(method, field, options, &mut found)?;
            }
            Ok(Key::Fields(found))
        }
    }
}

/// The marked fields of a message, in the order in which they are written.
fn marked(message: &MessageDescriptor, options: &Options) -> Vec<FieldDescriptor> {
    let written = message.descriptor_proto().field.iter();
    written
        .filter_map(|field| message.get_field_by_name(field.name()))
        .filter(|field| options.is_key(field))
        .collect()
}

/// Adds a marked field; of a message, its own marked fields.
fn collect(
    method: &MethodDescriptor,
    field: &FieldDescriptor,
    options: &Options,
    found: &mut Vec<KeyField>,
) -> Result<(), Finding> {
    let nested = match field.kind() {
        Kind::Message(message) if options.nested_keys() && is_single(field) => message,
        _ => {
            found.push(key_field(method, &[field])?);
            return Ok(());
        }
    };
    let parts = marked(&nested, options);
    if parts.is_empty() {
        return Err(at_field(
            method,
            field,
            Code::KeyMissing,
            format!(
                "{} is marked as key, but no field of {} is",
                field.full_name(),
                nested.full_name()
            ),
        ));
    }
    for part in &parts {
        found.push(key_field(method, &[field, part])?);
    }
    Ok(())
}

/// The key of a method whose entity is named by these fields, written as dotted names.
///
/// # Errors
/// A finding if there is none, or one that the request does not have or that cannot name anything.
pub(crate) fn named(method: &MethodDescriptor, names: &[String]) -> Result<Key, Finding> {
    let input = method.input();
    if names.is_empty() {
        return Err(missing(method, &input));
    }
    let fields = names.iter().map(|name| {
        let path = path(&input, name).ok_or_else(|| {
            let text = format!(
                "method {} names its entity by {name}, which {} does not have",
                method.full_name(),
                input.full_name()
            );
            at_method(method, Code::KeyMissing, text)
        })?;
        key_field(method, &path.iter().collect::<Vec<_>>())
    });
    Ok(Key::Fields(fields.collect::<Result<_, _>>()?))
}

/// The fields from a message down to the one with this dotted name.
fn path(message: &MessageDescriptor, name: &str) -> Option<Vec<FieldDescriptor>> {
    let mut path: Vec<FieldDescriptor> = Vec::new();
    for part in name.split('.') {
        let message = match path.last() {
            None => message.clone(),
            Some(field) if is_single(field) => field.kind().as_message()?.clone(),
            Some(_) => return None,
        };
        path.push(message.get_field_by_name(part)?);
    }
    Some(path)
}

fn key_field(method: &MethodDescriptor, path: &[&FieldDescriptor]) -> Result<KeyField, Finding> {
    let last = path[path.len() - 1];
    let kind = key_kind(last).ok_or_else(|| {
        at_field(
            method,
            last,
            Code::KeyType,
            format!(
                "{} is to name the entity, but only single texts, integers, booleans and enums can name \
                 an entity",
                last.full_name()
            ),
        )
    })?;
    let names: Vec<&str> = path.iter().map(|field| field.name()).collect();
    Ok(KeyField {
        path: path.iter().map(|field| field.number()).collect(),
        name: names.join("."),
        kind,
    })
}

fn is_single(field: &FieldDescriptor) -> bool {
    !field.is_list() && !field.is_map()
}

fn key_kind(field: &FieldDescriptor) -> Option<KeyKind> {
    if !is_single(field) {
        return None;
    }
    match field.kind() {
        Kind::String => Some(KeyKind::String),
        Kind::Bool => Some(KeyKind::Bool),
        Kind::Int32 | Kind::Int64 | Kind::Enum(_) => Some(KeyKind::Signed),
        Kind::Uint32 | Kind::Uint64 => Some(KeyKind::Unsigned),
        Kind::Sint32 | Kind::Sint64 => Some(KeyKind::ZigZag),
        Kind::Fixed32 => Some(KeyKind::Fixed32),
        Kind::Sfixed32 => Some(KeyKind::SignedFixed32),
        Kind::Fixed64 => Some(KeyKind::Fixed64),
        Kind::Sfixed64 => Some(KeyKind::SignedFixed64),
        Kind::Float | Kind::Double | Kind::Bytes | Kind::Message(_) => None,
    }
}

fn missing(method: &MethodDescriptor, input: &MessageDescriptor) -> Finding {
    let text = format!(
        "method {} has no key: mark a field of {}",
        method.full_name(),
        input.full_name()
    );
    at_method(method, Code::KeyMissing, text)
}
