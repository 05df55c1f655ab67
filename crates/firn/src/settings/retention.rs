//! What is kept of what is stored, as a file and flags say it: `[retention."shop.Cart"]` with `events`
//! and `ttl`, and `--retain-events` for components of which nothing is said.

use std::collections::BTreeMap;
use std::path::Path;

use firn_model::code::Code;
use firn_runtime::retention::{Events, Rule};

use super::Fault;
use super::value::duration;

/// The table of a file that says what is kept of components.
const TABLE: &str = "retention";

/// Which events are kept: `all`, a duration, or a number.
pub(crate) fn events(text: &str) -> Result<Events, String> {
    let wanted = "expected all, a time such as 30d, or how many to keep before the snapshot";
    if text == "all" {
        return Ok(Events::All);
    }
    if let Ok(count) = text.parse() {
        return Ok(Events::Last(count));
    }
    duration(text)
        .map(Events::For)
        .map_err(|_| wanted.to_owned())
}

/// Takes what a file says of components out of the file's table.
pub(super) fn take(
    table: &mut toml::Table,
    path: &Path,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, Rule> {
    let components = match table.remove(TABLE) {
        None => return BTreeMap::new(),
        Some(toml::Value::Table(components)) => components,
        Some(_) => {
            let text = format!("{TABLE} in {} is not a table", path.display());
            faults.push(bad(text));
            return BTreeMap::new();
        }
    };
    let mut rules = BTreeMap::new();
    for (name, value) in components {
        let place = format!("[{TABLE}.{name:?}] in {}", path.display());
        match rule(value) {
            Ok(rule) => {
                rules.insert(name, rule);
            }
            Err(text) => faults.push(bad(format!("{place}: {text}"))),
        }
    }
    rules
}

fn rule(value: toml::Value) -> Result<Rule, String> {
    let toml::Value::Table(values) = value else {
        return Err("it is not a table; write events and ttl below it".to_owned());
    };
    let mut rule = Rule::default();
    for (name, value) in values {
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            other => {
                return Err(format!(
                    "{name} is of type {}; write it as text",
                    other.type_str()
                ));
            }
        };
        let told = |reason: String| format!("{name} is {text:?}: {reason}");
        match name.as_str() {
            "events" => rule.events = Some(events(&text).map_err(told)?),
            "ttl" => rule.ttl = Some(duration(&text).map_err(told)?),
            _ => return Err(format!("{name} is not a setting of it; events and ttl are")),
        }
    }
    Ok(rule)
}

fn bad(text: String) -> Fault {
    Fault {
        code: Code::BadSetting,
        text,
        remedy: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(text: &str) -> (BTreeMap<String, Rule>, Vec<String>) {
        let mut table = text.parse().unwrap();
        let mut faults = Vec::new();
        let rules = take(&mut table, Path::new("firn.toml"), &mut faults);
        assert!(!table.contains_key(TABLE));
        (rules, faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn components_have_rules_of_their_own() {
        let text = "listen = \"127.0.0.1:1\"\n[retention.\"shop.Cart\"]\nevents = 100\n\
                    ttl = \"30d\"\n[retention.log]\nevents = \"all\"\n";
        let (rules, faults) = taken(text);
        assert_eq!(faults, Vec::<String>::new());
        let cart = Rule {
            events: Some(Events::Last(100)),
            ttl: Some(Duration::from_secs(30 * 24 * 3600)),
        };
        let log = Rule {
            events: Some(Events::All),
            ttl: None,
        };
        let expected = [("log", log), ("shop.Cart", cart)];
        assert_eq!(
            rules,
            expected.map(|(name, rule)| (name.to_owned(), rule)).into()
        );
        assert_eq!(taken("").0, BTreeMap::new());
        assert_eq!(events("5s"), Ok(Events::For(Duration::from_secs(5))));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let check = |text: &str, expected: &str| {
            let (rules, faults) = taken(text);
            assert_eq!((rules.len(), faults), (0, vec![expected.to_owned()]));
        };
        check(
            "retention = 1",
            "FIRN-1001 retention in firn.toml is not a table",
        );
        check(
            "[retention]\nlog = \"30d\"",
            "FIRN-1001 [retention.\"log\"] in firn.toml: it is not a table; write events and ttl below it",
        );
        check(
            "[retention.log]\nevent = 1",
            "FIRN-1001 [retention.\"log\"] in firn.toml: event is not a setting of it; events and ttl are",
        );
        check(
            "[retention.log]\nevents = \"some\"",
            "FIRN-1001 [retention.\"log\"] in firn.toml: events is \"some\": expected all, a time such \
             as 30d, or how many to keep before the snapshot",
        );
        check(
            "[retention.log]\nttl = true",
            "FIRN-1001 [retention.\"log\"] in firn.toml: ttl is of type boolean; write it as text",
        );
    }
}
