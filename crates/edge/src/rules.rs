//! HTTP rules: which verb and path calls which method, as the contract's `google.api.http` options
//! say.
//!
//! [`compile`] reads a contract once. Rules that cannot be served as they are written refuse it; two
//! rules that could never be told apart do too. Rules that overlap are served: the later one, in the
//! order of the declaration, is tried first.
//!
//! # What is legal
//! Everything that `google.api.http` describes, and a little more: path variables may name nested
//! fields, enums and the well-known types that have a text form; a body may be any field that is not
//! inside another message; a custom rule may have any verb, `*` meaning all. A body on `GET` or
//! `HEAD` is not legal, nor on `TRACE` or `CONNECT`.
//!
//! # Order
//! A rule whose template ends in `:verb` is tried before all that do not: a variable may hold a `:`,
//! and would otherwise swallow the verb.

mod annotation;
mod template;

mod binding;
pub(crate) mod fields;
mod locate;

mod table;

use std::collections::HashMap;
use std::iter;
use std::sync::Arc;

use firn_model::code::Code;
use firn_model::contract::{Contract, Finding, Method};

use self::annotation::HttpRule;
use self::binding::Place;
pub(crate) use self::binding::{Binding, Body};
pub(crate) use self::table::Found;
pub use self::table::RouteTable;

/// Makes the routes of a contract.
///
/// # Errors
/// Every rule that is not legal (FIRN-2008) or that another one repeats (FIRN-2009), with its place
/// in the function's proto files where they say it.
pub fn compile(contract: &Contract) -> Result<RouteTable, Vec<Finding>> {
    match compile_all(contract) {
        (table, findings) if findings.is_empty() => Ok(table),
        (_, findings) => Err(findings),
    }
}

/// The verbs and templates that call a method, for people: its rules, then the default route.
pub fn routes(method: &Method) -> Vec<String> {
    let declared = annotation::read(&method.descriptor);
    let rules = declared.iter().flat_map(flatten);
    let default = format!("POST {}", method.path());
    rules
        .map(|(rule, _)| rule.shown())
        .chain([default])
        .collect()
}

/// Makes the routes of every rule that is legal, and says what is wrong with the others.
pub(crate) fn compile_all(contract: &Contract) -> (RouteTable, Vec<Finding>) {
    let mut rules = Vec::new();
    let mut findings = Vec::new();
    let mut known: HashMap<(String, String), String> = HashMap::new();
    for method in in_declared_order(contract) {
        let declared = annotation::read(&method.descriptor);
        for (declared, place) in declared.iter().flat_map(flatten) {
            let shown = format!("the HTTP rule {} of {}", declared.shown(), method.path());
            let rule = match binding::check(&method, declared, place) {
                Ok(rule) => rule,
                Err(why) => {
                    let text = format!("{shown} {why}");
                    findings.push(finding(Code::HttpRuleIllegal, text, &method));
                    continue;
                }
            };
            if let Some(other) = known.get(&rule.identity()) {
                let text = format!("{shown} has the same verb and template as {other}");
                findings.push(finding(Code::HttpRuleTwice, text, &method));
                continue;
            }
            known.insert(rule.identity(), shown);
            rules.push(rule);
        }
    }
    let defaults = contract.methods().map(binding::default).collect();
    (RouteTable::new(rules, defaults), findings)
}

/// The methods as the function's files declare them, service by service.
fn in_declared_order(contract: &Contract) -> Vec<Arc<Method>> {
    let mut methods: Vec<_> = contract.methods().map(Arc::clone).collect();
    methods.sort_by_cached_key(|method| {
        let service = &method.component.service;
        let components = &contract.components;
        let component = components.iter().position(|c| c.service == *service);
        (component, method.descriptor.index(), method.path())
    });
    methods
}

/// A rule and its additional bindings.
fn flatten(rule: &HttpRule) -> impl Iterator<Item = (&HttpRule, Place)> {
    let additional = rule.additional_bindings.iter();
    iter::once((rule, Place::Method)).chain(additional.map(|rule| (rule, Place::Additional)))
}

fn finding(code: Code, text: String, method: &Method) -> Finding {
    Finding {
        code,
        text,
        service: Some(method.component.service.to_string()),
        location: locate::http_rule(&method.descriptor),
    }
}

#[cfg(test)]
mod tests;
