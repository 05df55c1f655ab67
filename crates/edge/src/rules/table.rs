//! Finding the rule for a request.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method as Verb;

use super::binding::{Binding, Rule};

/// Every rule of a contract, and the default route of every method.
#[derive(Debug)]
pub struct RouteTable {
    /// In the order in which they are tried.
    rules: Vec<Rule>,
    /// By path, `/package.Service/Method`; the verb is `POST`.
    defaults: HashMap<String, Arc<Binding>>,
}

/// What a verb and a path mean.
#[derive(Debug)]
pub(crate) enum Found<'t, 'p> {
    /// A binding, and what its template's variables took of the path.
    Binding(&'t Arc<Binding>, Vec<&'p str>),
    /// The path is known, with these verbs only.
    OtherVerbs(Vec<Verb>),
    /// Nothing.
    Nothing,
}

impl RouteTable {
    /// Takes rules in declared order.
    pub(super) fn new(rules: Vec<Rule>, defaults: HashMap<String, Arc<Binding>>) -> Self {
        let (with_verb, without): (Vec<_>, Vec<_>) = rules
            .into_iter()
            .rev()
            .partition(|rule| rule.template.has_verb());
        let rules = with_verb.into_iter().chain(without).collect();
        Self { rules, defaults }
    }

    /// How many rules there are, without the default routes.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Finds the binding for a request. `HEAD` means `GET` where no rule names it.
    pub(crate) fn find<'p>(&self, verb: &Verb, path: &'p str) -> Found<'_, 'p> {
        if let Some((binding, values)) = self.find_exact(verb, path) {
            return Found::Binding(binding, values);
        }
        if verb == Verb::HEAD
            && let Some((binding, values)) = self.find_exact(&Verb::GET, path)
        {
            return Found::Binding(binding, values);
        }
        match self.verbs(path) {
            verbs if verbs.is_empty() => Found::Nothing,
            verbs => Found::OtherVerbs(verbs),
        }
    }

    fn find_exact<'p>(&self, verb: &Verb, path: &'p str) -> Option<(&Arc<Binding>, Vec<&'p str>)> {
        for rule in &self.rules {
            if rule.verb.as_ref().is_none_or(|of_rule| of_rule == verb)
                && let Some(values) = rule.template.matches(path)
            {
                return Some((&rule.binding, values));
            }
        }
        let default = self.defaults.get(path).filter(|_| verb == Verb::POST)?;
        Some((default, Vec::new()))
    }

    /// The verbs that the path is served with, sorted.
    fn verbs(&self, path: &str) -> Vec<Verb> {
        let rules = self.rules.iter();
        let mut verbs: Vec<Verb> = rules
            .filter(|rule| rule.template.matches(path).is_some())
            .filter_map(|rule| rule.verb.clone())
            .chain(self.defaults.contains_key(path).then_some(Verb::POST))
            .collect();
        if verbs.contains(&Verb::GET) {
            verbs.push(Verb::HEAD);
        }
        verbs.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        verbs.dedup();
        verbs
    }
}
