//! The cases of the bench that measure stores run, and give figures; they need PostgreSQL. What the
//! figures are is not looked at: a test says nothing about speed.

use std::process::Command;

use serde_json::Value;

/// Cases, and how many figures each gives.
const CASES: [(&str, usize); 5] = [
    ("group-commit", 1),
    ("postgres", 1),
    ("load", 2),
    ("export", 3),
    ("encryption", 2),
];

#[test]
fn every_case_of_stores_gives_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_firn-bench"))
        .args(CASES.map(|(name, _)| name))
        .args(["--brief", "--json"])
        .arg(&file)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}{faults}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let figures = report["figures"].as_array().unwrap();
    for (case, count) in CASES {
        let of_case = figures.iter().filter(|figure| figure["case"] == case);
        assert_eq!(of_case.count(), count, "{case}: {shown}");
    }
    for figure in figures {
        assert!(figure["holds"].is_null(), "nothing is promised: {figure}");
        let value = figure["value"].as_f64();
        assert!(value.is_some_and(|it| it > 0.0), "{figure}");
    }
}
