//! The cases of the bench that measure a function on a published SDK run, and give figures; they need
//! what that peer needs. What the figures are is not looked at: a test says nothing about speed.

use std::process::Command;

use serde_json::Value;

/// The case, and how many figures it gives.
const CASE: (&str, usize) = ("kalix-node", 2);

#[test]
fn the_case_of_a_published_sdk_gives_its_figures() {
    let (case, count) = CASE;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_firn-bench"))
        .args([case, "--brief", "--json"])
        .arg(&file)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}{faults}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let figures = report["figures"].as_array().unwrap();
    assert_eq!(figures.len(), count, "{shown}");
    for figure in figures {
        assert_eq!(figure["case"], case, "{figure}");
        assert!(figure["holds"].is_null(), "nothing is promised: {figure}");
        let value = figure["value"].as_f64();
        assert!(value.is_some_and(|it| it > 0.0), "{figure}");
    }
}
