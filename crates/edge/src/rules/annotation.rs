//! The option `google.api.http` of a method, read by its number.
//!
//! The option's bytes are decoded here, so it is found whether or not the function's descriptors
//! hold the file that declares it.

use prost::Message;
use prost_reflect::MethodDescriptor;

/// The part of `google.protobuf.MethodOptions` that is read here.
#[derive(Clone, PartialEq, Message)]
struct MethodOptions {
    #[prost(message, optional, tag = "72295728")]
    http: Option<HttpRule>,
}

/// `google.api.HttpRule`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpRule {
    #[prost(string, tag = "1")]
    pub(super) selector: String,
    #[prost(oneof = "Pattern", tags = "2, 3, 4, 5, 6, 8")]
    pub(super) pattern: Option<Pattern>,
    #[prost(string, tag = "7")]
    pub(super) body: String,
    #[prost(message, repeated, tag = "11")]
    pub(super) additional_bindings: Vec<HttpRule>,
    #[prost(string, tag = "12")]
    pub(super) response_body: String,
}

/// The verb and the path template of a rule.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Pattern {
    #[prost(string, tag = "2")]
    Get(String),
    #[prost(string, tag = "3")]
    Put(String),
    #[prost(string, tag = "4")]
    Post(String),
    #[prost(string, tag = "5")]
    Delete(String),
    #[prost(string, tag = "6")]
    Patch(String),
    #[prost(message, tag = "8")]
    Custom(CustomHttpPattern),
}

/// `google.api.CustomHttpPattern`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CustomHttpPattern {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    path: String,
}

impl HttpRule {
    /// The verb and the template; `None` if the rule has no pattern.
    pub(super) fn pattern(&self) -> Option<(&str, &str)> {
        Some(match self.pattern.as_ref()? {
            Pattern::Get(path) => ("GET", path),
            Pattern::Put(path) => ("PUT", path),
            Pattern::Post(path) => ("POST", path),
            Pattern::Delete(path) => ("DELETE", path),
            Pattern::Patch(path) => ("PATCH", path),
            Pattern::Custom(custom) => (&custom.kind, &custom.path),
        })
    }

    /// The rule as people name it: its verb and template.
    pub(super) fn shown(&self) -> String {
        match self.pattern() {
            Some((verb, template)) => format!("`{verb} {template}`"),
            None => "without a pattern".to_owned(),
        }
    }
}

/// The rule of a method, if it has one that can be read.
pub(super) fn read(method: &MethodDescriptor) -> Option<HttpRule> {
    let options = method.options().encode_to_vec();
    MethodOptions::decode(options.as_slice()).ok()?.http
}
