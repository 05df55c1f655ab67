//! The cases of the bench that measure stores run, and give figures; they need PostgreSQL. What the
//! figures are is not looked at: a test says nothing about speed.

mod cases;

/// Cases, and how many figures each gives.
const CASES: [(&str, usize); 5] = [
    ("group-commit", 1),
    ("postgres", 1),
    ("load", 2),
    ("export", 4),
    ("encryption", 2),
];

#[test]
fn every_case_of_stores_gives_its_figures() {
    for figure in cases::figures(&CASES) {
        let value = figure["value"].as_f64();
        assert!(value.is_some_and(|it| it > 0.0), "{figure}");
    }
}
