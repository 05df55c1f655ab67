//! Where a method's HTTP rule stands in the function's proto files.

use firn_model::contract::Location;
use prost_reflect::MethodDescriptor;

/// The number of the field `options` in `MethodDescriptorProto`.
const OPTIONS: i32 = 4;

/// The number of the option `google.api.http`.
const HTTP: i32 = 72_295_728;

/// The place of the rule, else of its method; `None` if the descriptors hold no places.
pub(super) fn http_rule(method: &MethodDescriptor) -> Option<Location> {
    let file = method.parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let at_method = method.path();
    let at_rule = [at_method, &[OPTIONS, HTTP]].concat();
    let span_of = |wanted: &dyn Fn(&[i32]) -> bool| {
        let mut places = info.location.iter();
        places.find(|place| wanted(&place.path)).map(|p| &p.span)
    };
    let span = span_of(&|path| path.starts_with(&at_rule))
        .or_else(|| span_of(&|path| path == at_method))?;
    Some(Location {
        file: file.name().to_owned(),
        line: u32::try_from(*span.first()?).ok()?,
        column: u32::try_from(*span.get(1)?).ok()?,
    })
}
