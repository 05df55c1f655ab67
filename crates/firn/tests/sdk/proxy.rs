//! The conformance kit's other side against this Firn, from the command line.

use std::process::Command;

use serde_json::Value;

use crate::language::firn;

/// What the random workload is made from, so that a failure can be looked at again.
const SEED: &str = "20261121";

#[test]
fn firn_keeps_the_protocol() {
    let folder = tempfile::tempdir().expect("a folder");
    let functions = format!("unix:{}", folder.path().join("functions").display());
    let mut kit = Command::new(firn());
    kit.args(["tck", "proxy", "127.0.0.1:0", "--functions", &functions])
        .args(["--token", "swordfish", "--seed", SEED, "--commands", "3000"])
        .args(["--format", "json", "--"])
        .arg(firn())
        .args(["proxy", "--family", "firn", "--function", "127.0.0.1:1"])
        .args(["--listen", "{clients}", "--admin", "127.0.0.1:0"])
        .args(["--function-listen", "{functions}"])
        .args(["--store", "embedded:{folder}", "--log", "warn"]);
    passes(kit, 50);
}

/// The kit finds nothing wrong in so many checks at least.
fn passes(mut kit: Command, checks_min: usize) {
    let output = kit.output().expect("the kit runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).expect("a report");
    let checks = report["checks"].as_array().expect("checks");
    let wrong: Vec<&Value> = checks
        .iter()
        .filter(|check| check["result"] != "passed")
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checks.len() > checks_min, "{}", checks.len());
}

/// The same for a family whose functions Firn dials.
fn keeps_the_protocol_of(family: &str) {
    let mut kit = Command::new(firn());
    kit.args(["tck", "proxy", "127.0.0.1:0", "--family", family])
        .args(["--function-listen", "127.0.0.1:0", "--timeout", "2m"])
        .args(["--seed", SEED, "--commands", "2000", "--format", "json"])
        .arg("--")
        .arg(firn())
        .args(["proxy", "--family", family, "--function", "{functions}"])
        .args(["--listen", "{clients}", "--admin", "127.0.0.1:0"])
        .args(["--function-listen", "127.0.0.1:0"])
        .args(["--store", "embedded:{folder}", "--log", "error"]);
    passes(kit, 100);
}

#[test]
fn firn_keeps_the_protocol_of_cloudstate() {
    keeps_the_protocol_of("cloudstate");
}

#[test]
fn firn_keeps_the_protocol_of_akka_serverless() {
    keeps_the_protocol_of("akka-serverless");
}

#[test]
fn firn_keeps_the_protocol_of_kalix() {
    keeps_the_protocol_of("kalix");
}
