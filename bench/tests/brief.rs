//! The cases of the bench that measure the engine and the SDKs of firn.v1 run, and give figures. What
//! the figures are is not looked at: a test says nothing about speed. A case that fails is told, and
//! others go on.

mod cases;

use std::process::Command;

use serde_json::Value;

/// Cases, and how many figures each gives.
const CASES: [(&str, usize); 14] = [
    ("throughput", 3),
    ("own", 12),
    ("json", 4),
    ("overhead", 1),
    ("tails", 3),
    ("steady", 1),
    ("curve", 2),
    ("lanes", 2),
    ("active", 2),
    ("own-cache", 2),
    ("storm", 2),
    ("replay", 1),
    ("known", 2),
    ("own-sdks", 4),
];

#[test]
fn every_case_gives_its_figures() {
    for figure in cases::figures(&CASES) {
        let is_rate = figure["what"]
            .as_str()
            .is_some_and(|it| it.contains("rate"));
        let value = figure["value"].as_f64();
        assert!(!is_rate || value.is_some_and(|it| it > 0.0), "{figure}");
    }
}

#[test]
fn a_case_that_fails_is_told_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_firn-bench"))
        .args(["own-sdks", "replay", "--brief", "--json"])
        .arg(&file)
        // Nothing that an SDK needs can be found.
        .env("PATH", folder.path())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let faults = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{shown}{faults}");
    assert!(faults.contains("the case own-sdks failed: "), "{faults}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["failed"][0]["case"], "own-sdks", "{report}");
    assert_eq!(report["figures"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["figures"][0]["case"], "replay", "{report}");
}
