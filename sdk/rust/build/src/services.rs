//! What is generated for a service: a module of constants.

use std::fmt::Write as _;

use prost_build::{Comments, Method, Service, ServiceGenerator};

/// Writes the modules of services.
pub(crate) struct Constants {
    /// The file with the descriptors, in `OUT_DIR`.
    pub(crate) descriptors: String,
}

impl ServiceGenerator for Constants {
    fn generate(&mut self, service: Service, code: &mut String) {
        let name = full_name(&service);
        let module = snake(&service.name);
        let mut body = String::new();
        comments(
            &service.comments,
            0,
            &mut body,
            &format!("The service `{name}`."),
        );
        let _ = write!(
            body,
            "pub mod {module} {{
    /// The service, with everything that Firn is told of it.
    pub const SERVICE: ::firn_sdk::Service = ::firn_sdk::Service::new(
        \"{name}\",
        include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")),
    );
",
            file = self.descriptors
        );
        for method in &service.methods {
            constant(&name, method, &mut body);
        }
        body.push_str("}\n");
        code.push_str(&body);
    }
}

fn constant(service: &str, method: &Method, code: &mut String) {
    let shape = match (method.client_streaming, method.server_streaming) {
        (false, false) => "Unary",
        (true, false) => "StreamIn",
        (false, true) => "StreamOut",
        (true, true) => "StreamBoth",
    };
    comments(
        &method.comments,
        1,
        code,
        &format!("The method `{}`.", method.proto_name),
    );
    let _ = write!(
        code,
        "    pub const {constant}: ::firn_sdk::Method<{input}, {output}, ::firn_sdk::{shape}> =
        ::firn_sdk::Method::new(\"{service}\", \"{name}\");
",
        constant = snake(&method.name).to_uppercase(),
        input = from_below(&method.input_type),
        output = from_below(&method.output_type),
        name = method.proto_name,
    );
}

fn comments(comments: &Comments, level: u8, code: &mut String, otherwise: &str) {
    if comments.leading.is_empty() {
        let indent = "    ".repeat(level.into());
        let _ = writeln!(code, "{indent}/// {otherwise}");
    } else {
        comments.append_with_indent(level, code);
    }
}

/// The path of a type, seen from a module within the package's.
fn from_below(path: &str) -> String {
    let absolute = path.starts_with("::") || path.starts_with("crate::") || path == "()";
    let primitive = matches!(path, "bool" | "f32" | "f64" | "i32" | "i64" | "u32" | "u64");
    if absolute || primitive {
        path.to_owned()
    } else {
        format!("super::{path}")
    }
}

fn full_name(service: &Service) -> String {
    if service.package.is_empty() {
        service.proto_name.clone()
    } else {
        format!("{}.{}", service.package, service.proto_name)
    }
}

/// `AddItem` as `add_item`, `HTTPCall` as `http_call`.
fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let after = letters.get(at + 1);
        let begins_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                before != '_'
                    && (!before.is_uppercase() || after.is_some_and(|after| after.is_lowercase()))
            });
        if begins_word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_snake_case() {
        for (name, expected) in [
            ("AddItem", "add_item"),
            ("HTTPCall", "http_call"),
            ("GetV2", "get_v2"),
            ("get_it", "get_it"),
            ("A", "a"),
        ] {
            assert_eq!(snake(name), expected);
        }
    }

    #[test]
    fn types_are_named_from_the_services_module() {
        for (path, expected) in [
            ("AddItem", "super::AddItem"),
            ("super::other::A", "super::super::other::A"),
            ("()", "()"),
            ("::prost_types::Any", "::prost_types::Any"),
            ("bool", "bool"),
        ] {
            assert_eq!(from_below(path), expected);
        }
    }
}
