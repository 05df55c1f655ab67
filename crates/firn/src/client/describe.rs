//! `firn describe`: the contract, as a person reads it.

use std::process::ExitCode;

use clap::ArgMatches;
use serde_json::Value;

use super::http;

/// Runs the command.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    super::run(async {
        let address = flags.get_one::<String>("admin").map_or("", String::as_str);
        let contract = http::get(address, "/v1/contract").await?;
        if flags.get_flag("json") {
            println!("{contract}");
        } else {
            print!("{}", text(&contract));
        }
        Ok(())
    })
}

/// The contract as lines.
fn text(contract: &Value) -> String {
    let mut out = String::new();
    let who: Vec<&str> = ["name", "version", "family", "sdk", "runtime"]
        .iter()
        .filter_map(|field| contract[*field].as_str())
        .filter(|word| !word.is_empty() && *word != "none")
        .collect();
    out.push_str(&format!("{}\n", who.join(", ")));
    for component in list(&contract["components"]) {
        let (service, kind) = (word(&component["service"]), word(&component["kind"]));
        out.push_str(&format!("\n{service} ({kind})\n"));
        for method in list(&component["methods"]) {
            out.push_str(&method_lines(method));
        }
    }
    let warnings = list(&contract["warnings"]);
    if !warnings.is_empty() {
        out.push_str("\nnot served, or to be known:\n");
    }
    for warning in warnings {
        out.push_str(&format!(
            "  {} {}\n",
            word(&warning["code"]),
            word(&warning["text"])
        ));
    }
    out
}

fn method_lines(method: &Value) -> String {
    let stream = |field: &str| {
        if method[field] == Value::Bool(true) {
            "stream "
        } else {
            ""
        }
    };
    let mut lines = format!(
        "  {}({}{}) -> {}{}\n",
        word(&method["name"]),
        stream("streamsIn"),
        word(&method["input"]),
        stream("streamsOut"),
        word(&method["output"]),
    );
    for rule in list(&method["http"]) {
        lines.push_str(&format!("      {}\n", word(rule)));
    }
    lines
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
