//! Places: where in a function's proto files something stands.

use firn_model::code::Code;
use firn_model::contract::{Finding, Location};
use prost_reflect::{FieldDescriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor};

/// A finding about the contract as a whole.
pub(crate) fn finding(code: Code, text: String) -> Finding {
    Finding {
        code,
        text,
        service: None,
        location: None,
    }
}

/// The same finding about a service.
pub(crate) fn about(service: &str, finding: Finding) -> Finding {
    Finding {
        service: Some(service.to_owned()),
        ..finding
    }
}

/// A finding about a service, at its place.
pub(crate) fn at_service(service: &ServiceDescriptor, code: Code, text: String) -> Finding {
    Finding {
        location: location(&service.parent_file(), service.path()),
        ..about(service.full_name(), finding(code, text))
    }
}

/// A finding about a method, at its place.
pub(crate) fn at_method(method: &MethodDescriptor, code: Code, text: String) -> Finding {
    Finding {
        location: location(&method.parent_file(), method.path()),
        ..about(method.parent_service().full_name(), finding(code, text))
    }
}

/// A finding about a field of a method's request, at the field's place.
pub(crate) fn at_field(
    method: &MethodDescriptor,
    field: &FieldDescriptor,
    code: Code,
    text: String,
) -> Finding {
    Finding {
        location: location(&field.parent_file(), field.path()),
        ..at_method(method, code, text)
    }
}

/// The place of an element, if the function sent source information.
fn location(file: &FileDescriptor, path: &[i32]) -> Option<Location> {
    let source = file.file_descriptor_proto().source_code_info.as_ref()?;
    let place = source.location.iter().find(|place| place.path == path)?;
    Some(Location {
        file: file.name().to_owned(),
        line: u32::try_from(*place.span.first()?).ok()?,
        column: u32::try_from(*place.span.get(1)?).ok()?,
    })
}
