//! `firn entity`: a look at what is stored.

use std::process::ExitCode;

use clap::ArgMatches;
use firn_model::code::Code;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::http;
use crate::exit::Failure;

/// Runs the command.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    super::run(async {
        match flags.subcommand() {
            Some(("list", flags)) => list(flags).await,
            Some(("get", flags)) => get(flags).await,
            Some(("events", flags)) => events(flags).await,
            _ => unreachable!("clap refuses a missing and an unknown command"),
        }
    })
}

async fn list(flags: &ArgMatches) -> Result<(), Failure> {
    let mut query = format!("?limit={}", limit(flags));
    if let Some(after) = flags.get_one::<String>("after") {
        query.push_str(&format!("&after={}", escaped(after)));
    }
    let answer = ask(flags, "", &query).await?;
    if flags.get_flag("json") {
        println!("{answer}");
        return Ok(());
    }
    for id in answer["ids"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        println!("{id}");
    }
    if answer["more"] == Value::Bool(true) {
        eprintln!("there may be more: --after the last id, or a higher --limit");
    }
    Ok(())
}

async fn get(flags: &ArgMatches) -> Result<(), Failure> {
    let mut query = format!("?id={}", escaped(text(flags, "id")));
    if let Some(at) = flags.get_one::<u64>("at") {
        query.push_str(&format!("&at={at}"));
    }
    let answer = ask(flags, "/state", &query).await?;
    if flags.get_flag("json") {
        println!("{answer}");
        return Ok(());
    }
    println!(
        "{} {} ({})",
        word(&answer["component"]),
        word(&answer["id"]),
        word(&answer["kind"])
    );
    if let Some(until) = answer["deletedUntilMs"].as_u64() {
        println!("deleted; its tombstone stays until {until} ms after 1970");
    }
    if answer["deleted"] == Value::Bool(true) {
        println!("deleted, for ever");
    }
    if let Some(data_type) = answer["type"].as_str() {
        println!("{data_type} {}", replicated(&answer["state"]));
    } else if !answer["state"].is_null() {
        println!("state {}", pretty(&answer["state"]));
    }
    for (name, text) in answer["tags"].as_object().into_iter().flatten() {
        println!("tag {name} {}", word(text));
    }
    if let Some(snapshot) = answer["snapshot"].as_object() {
        println!(
            "snapshot at {} {}",
            snapshot["sequence"],
            pretty(&snapshot["state"])
        );
    }
    print_events(&answer["events"]);
    if answer["lastSequence"].as_u64().is_some_and(|last| last > 0) {
        println!(
            "version {} of {}",
            answer["sequence"], answer["lastSequence"]
        );
    }
    Ok(())
}

async fn events(flags: &ArgMatches) -> Result<(), Failure> {
    let mut query = format!("?id={}&limit={}", escaped(text(flags, "id")), limit(flags));
    if let Some(after) = flags.get_one::<u64>("after") {
        query.push_str(&format!("&after={after}"));
    }
    let answer = ask(flags, "/events", &query).await?;
    if flags.get_flag("json") {
        println!("{answer}");
        return Ok(());
    }
    if let Some(trimmed) = answer["trimmed"].as_u64() {
        eprintln!(
            "events up to {trimmed} were trimmed ({})",
            Code::VersionTrimmed
        );
    }
    print_events(&answer["events"]);
    if answer["more"] == Value::Bool(true) {
        eprintln!("there may be more: --after the last number, or a higher --limit");
    }
    Ok(())
}

async fn ask(flags: &ArgMatches, what: &str, query: &str) -> Result<Value, Failure> {
    let component = escaped(text(flags, "storage"));
    http::get(
        text(flags, "admin"),
        &format!("/v1/entities/{component}{what}{query}"),
    )
    .await
}

fn print_events(events: &Value) {
    for event in events.as_array().into_iter().flatten() {
        println!("{:>6} {}", event["sequence"], pretty(&event["event"]));
    }
}

/// The value of a replicated entity: payloads as elsewhere, sets in brackets, maps in braces.
fn replicated(value: &Value) -> String {
    match value {
        Value::Array(items) if items.iter().any(|item| item.get("key").is_some()) => {
            let entry = |item: &Value| {
                let (key, value) = (pretty(&item["key"]), replicated(&item["value"]));
                format!("{key}: {value}")
            };
            let entries: Vec<String> = items.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(replicated).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) if fields.contains_key("type") => pretty(value),
        other => other.to_string(),
    }
}

/// A decoded payload: its type's short name and its content.
fn pretty(payload: &Value) -> String {
    let type_url = payload["type"].as_str().unwrap_or_default();
    let name = type_url.rsplit(['/', '.']).next().unwrap_or(type_url);
    match payload.get("value") {
        Some(value) => format!("{name} {value}"),
        None => format!("{type_url} base64 {}", word(&payload["base64"])),
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn text<'a>(flags: &'a ArgMatches, name: &str) -> &'a str {
    flags.get_one::<String>(name).map_or("", String::as_str)
}

fn limit(flags: &ArgMatches) -> u32 {
    flags.get_one("limit").copied().unwrap_or(50)
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replicated_values_are_shown_by_their_shape() {
        let check = |value: Value, expected: &str| assert_eq!(replicated(&value), expected);
        let text = |text: &str| json!({ "type": "type.kalix.io/string", "value": text });
        check(json!(-3), "-3");
        check(json!([]), "[]");
        check(json!([text("a"), text("b")]), r#"[string "a", string "b"]"#);
        let map = json!([{ "key": text("k"), "value": [text("a")] }]);
        check(map, r#"{string "k": [string "a"]}"#);
        let votes = json!({ "own": true, "yes": 1, "members": 1 });
        check(votes, r#"{"members":1,"own":true,"yes":1}"#);
    }
}
