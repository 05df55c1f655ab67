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
    let output = kit.output().expect("the kit runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).expect("a report");
    let checks = report["checks"].as_array().expect("checks");
    let wrong: Vec<&Value> = checks
        .iter()
        .filter(|check| check["result"] != "passed")
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checks.len() > 50, "{}", checks.len());
}
