//! How the parts of an HTTP request and response belong to the fields of a method's messages.

use std::sync::Arc;

use firn_model::contract::Method;
use http::Method as Verb;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind};

use super::annotation::HttpRule;
use super::fields::{self, FieldPath, text_form};
use super::template::Template;

/// The full name of the message that stands for a raw body.
const HTTP_BODY: &str = "google.api.HttpBody";

/// A method and where its messages come from and go to.
#[derive(Debug)]
pub(crate) struct Binding {
    /// The method that is called.
    pub(crate) method: Arc<Method>,
    /// What the template's variables fill, in their order.
    pub(crate) variables: Vec<Bound>,
    /// What the request's body fills.
    pub(crate) body: Body,
    /// The field of the reply that is the response; the whole reply if none is named.
    pub(crate) response: Option<FieldDescriptor>,
}

/// The field that a variable fills.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The field.
    pub(crate) path: FieldPath,
    /// Whether its value may hold slashes.
    pub(crate) multiple: bool,
}

/// What the request's body fills.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing: it is not read.
    None,
    /// The whole request message.
    Whole,
    /// One field of it.
    Field(FieldDescriptor),
}

/// A legal rule: when it applies, and what it does then.
#[derive(Debug)]
pub(super) struct Rule {
    /// `None` is any verb.
    pub(super) verb: Option<Verb>,
    pub(super) template: Template,
    pub(super) binding: Arc<Binding>,
}

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the method's own; others may hang on it.
    Method,
    /// It hangs on the method's own, and none may hang on it.
    Additional,
}

impl Rule {
    /// What may not be said twice: the verb, and the template without names.
    pub(super) fn identity(&self) -> (String, String) {
        let verb = self.verb.as_ref().map_or("*", Verb::as_str);
        (verb.to_owned(), self.template.erased())
    }
}

impl Binding {
    /// The descriptors of the method's contract.
    pub(crate) fn pool(&self) -> &DescriptorPool {
        self.method.descriptor.parent_pool()
    }

    /// Whether the body is taken as it is, not as JSON.
    pub(crate) fn takes_raw_body(&self) -> bool {
        match &self.body {
            Body::None => false,
            Body::Whole => self.method.descriptor.input().full_name() == HTTP_BODY,
            Body::Field(field) => is_http_body(field),
        }
    }

    /// Whether the response is sent as it is, not as JSON.
    pub(crate) fn gives_raw_body(&self) -> bool {
        match &self.response {
            None => self.method.descriptor.output().full_name() == HTTP_BODY,
            Some(field) => is_http_body(field),
        }
    }
}

fn is_http_body(field: &FieldDescriptor) -> bool {
    let single = !field.is_list() && !field.is_map();
    matches!(field.kind(), Kind::Message(message) if single && message.full_name() == HTTP_BODY)
}

/// The route that every method has without any rule: the whole message in, the whole reply out.
pub(super) fn default(method: &Arc<Method>) -> (String, Arc<Binding>) {
    let binding = Binding {
        method: Arc::clone(method),
        variables: Vec::new(),
        body: Body::Whole,
        response: None,
    };
    (method.path(), Arc::new(binding))
}

/// Checks a rule against its method.
///
/// # Errors
/// What is wrong with it, to be read after the name of the rule.
pub(super) fn check(method: &Arc<Method>, rule: &HttpRule, place: Place) -> Result<Rule, String> {
    if place == Place::Additional && !rule.additional_bindings.is_empty() {
        return Err("is an additional binding with additional bindings of its own".to_owned());
    }
    let full_name = method.descriptor.full_name();
    if !rule.selector.is_empty() && rule.selector != full_name {
        let selector = &rule.selector;
        return Err(format!(
            "has the selector {selector:?}, which is not {full_name}"
        ));
    }
    let (verb, template) = rule.pattern().ok_or("names no verb and path")?;
    let verb = match verb {
        "*" => None,
        verb => {
            let verb = Verb::from_bytes(verb.as_bytes());
            Some(verb.map_err(|_| "has a custom verb that HTTP does not allow")?)
        }
    };
    let template = Template::parse(template)?;
    let variables = variables(method, &template)?;
    let body = body(method, verb.as_ref(), &rule.body)?;
    let response = response(method, &rule.response_body)?;
    Ok(Rule {
        verb,
        template,
        binding: Arc::new(Binding {
            method: Arc::clone(method),
            variables,
            body,
            response,
        }),
    })
}

fn variables(method: &Method, template: &Template) -> Result<Vec<Bound>, String> {
    let mut bound = Vec::new();
    for variable in template.variables() {
        let name = &variable.field;
        let path = fields::resolve(&method.descriptor.input(), name)
            .map_err(|why| format!("has the variable {name}, which {why}"))?;
        let last = path.last().expect("a field path is never empty");
        let fault = match () {
            () if last.is_map() => "is a map",
            () if last.is_list() => "is repeated",
            () if !text_form(&last.kind()) => "is a message without a text form",
            () => "",
        };
        if !fault.is_empty() {
            return Err(format!("has the variable {name}, whose field {fault}"));
        }
        let multiple = variable.multiple;
        bound.push(Bound { path, multiple });
    }
    Ok(bound)
}

fn body(method: &Method, verb: Option<&Verb>, name: &str) -> Result<Body, String> {
    if name.is_empty() {
        return Ok(Body::None);
    }
    if let Some(verb @ (&Verb::GET | &Verb::HEAD | &Verb::TRACE | &Verb::CONNECT)) = verb {
        return Err(format!("has a body, which {verb} requests do not have"));
    }
    if name == "*" {
        return Ok(Body::Whole);
    }
    let input = method.descriptor.input();
    match input.get_field_by_name(name) {
        Some(field) => Ok(Body::Field(field)),
        None => Err(format!(
            "has the body {name:?}, which is no field of {}",
            input.full_name()
        )),
    }
}

fn response(method: &Method, name: &str) -> Result<Option<FieldDescriptor>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    let output = method.descriptor.output();
    match output.get_field_by_name(name) {
        Some(field) => Ok(Some(field)),
        None => Err(format!(
            "has the response body {name:?}, which is no field of {}",
            output.full_name()
        )),
    }
}
