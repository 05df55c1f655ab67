//! Runs cases of the bench in brief.

use std::process::Command;

use serde_json::Value;

/// Runs cases in brief; each gives as many figures as stand beside it, of which none is judged. Gives
/// all figures.
pub(crate) fn figures(cases: &[(&str, usize)]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_firn-bench"))
        .args(cases.iter().map(|(name, _)| name))
        .args(["--brief", "--json"])
        .arg(&file)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}{faults}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let figures = report["figures"].as_array().unwrap();
    for (case, count) in cases {
        let of_case = figures.iter().filter(|figure| figure["case"] == *case);
        assert_eq!(of_case.count(), *count, "{case}: {shown}");
    }
    for figure in figures {
        assert!(figure["holds"].is_null(), "nothing is promised: {figure}");
    }
    figures.clone()
}
