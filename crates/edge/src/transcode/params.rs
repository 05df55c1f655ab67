//! Path variables and query parameters, as parts of a request message.

use std::collections::HashSet;

use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, Value};

use super::percent::{self, Keep};
use super::text;
use crate::rules::fields::{self, FieldPath};
use crate::rules::{Binding, Body};

/// What a request says besides its body.
pub(super) struct Params {
    /// A message with the fields of the query.
    pub(super) query: DynamicMessage,
    /// What the path's variables say, in their order.
    variables: Vec<(FieldPath, Value)>,
}

impl Params {
    /// Reads the path's variables and the query.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with the name of the parameter.
    pub(super) fn read(
        binding: &Binding,
        values: &[&str],
        query: Option<&str>,
    ) -> Result<Self, Status> {
        let input = binding.method.descriptor.input();
        let query = match (&binding.body, query) {
            (Body::Whole, _) | (_, None) => DynamicMessage::new(input),
            (Body::None | Body::Field(_), Some(query)) => read_query(input, query)?,
        };
        Ok(Self {
            query,
            variables: read_variables(binding, values)?,
        })
    }

    /// Puts what the path says into a message: it has the last word.
    pub(super) fn finish(&self, message: &mut DynamicMessage) {
        for (path, value) in &self.variables {
            put(message, path, value.clone());
        }
    }
}

fn read_variables(binding: &Binding, values: &[&str]) -> Result<Vec<(FieldPath, Value)>, Status> {
    let mut variables = Vec::with_capacity(values.len());
    for (bound, text) in binding.variables.iter().zip(values) {
        let keep = match bound.multiple {
            true => Keep::Slash,
            false => Keep::Nothing,
        };
        let name = dotted(&bound.path);
        let value = percent::decode(text, keep)
            .map_err(|why| malformed(&format!("the path variable {name} {why}")))?;
        let value = text::parse(&last(&bound.path).kind(), &value).map_err(|expected| {
            malformed(&format!(
                "the path variable {name} is {value:?}: expected {expected}"
            ))
        })?;
        variables.push((bound.path.clone(), value));
    }
    Ok(variables)
}

fn read_query(input: MessageDescriptor, query: &str) -> Result<DynamicMessage, Status> {
    let mut message = DynamicMessage::new(input.clone());
    let mut seen = HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent::decode(name, Keep::Nothing)
            .map_err(|why| malformed(&format!("the name of the query parameter {name:?} {why}")))?;
        let refused = |why: String| malformed(&format!("the query parameter {name:?} {why}"));
        let value = percent::decode(value, Keep::Nothing).map_err(|why| refused(why.to_owned()))?;
        let path = fields::resolve(&input, &name).map_err(refused)?;
        let field = last(&path);
        if field.is_map() {
            return Err(refused(
                "is a map, which no query parameter can hold".to_owned(),
            ));
        }
        let value = text::parse(&field.kind(), &value)
            .map_err(|expected| refused(format!("is {value:?}: expected {expected}")))?;
        let numbers: Vec<u32> = path.iter().map(FieldDescriptor::number).collect();
        if !seen.insert(numbers) && !field.is_list() {
            return Err(refused(
                "is there twice, but the field is not repeated".to_owned(),
            ));
        }
        put(&mut message, &path, value);
    }
    Ok(message)
}

/// Sets a field, or adds to it if it is repeated.
fn put(message: &mut DynamicMessage, path: &[FieldDescriptor], value: Value) {
    let Some((field, inner)) = path.split_first() else {
        return;
    };
    if !inner.is_empty() {
        if let Some(inside) = message.get_field_mut(field).as_message_mut() {
            put(inside, inner, value);
        }
    } else if field.is_list() {
        if let Some(values) = message.get_field_mut(field).as_list_mut() {
            values.push(value);
        }
    } else {
        message.set_field(field, value);
    }
}

fn last(path: &FieldPath) -> &FieldDescriptor {
    path.last().expect("a field path is never empty")
}

fn dotted(path: &FieldPath) -> String {
    let names: Vec<&str> = path.iter().map(FieldDescriptor::name).collect();
    names.join(".")
}

fn malformed(text: &str) -> Status {
    Status::refused(GrpcCode::InvalidArgument, Code::ParameterMalformed, text)
}
