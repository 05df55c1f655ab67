//! The cases of the bench that measure a function on a published SDK run, and give figures; they need
//! what that peer needs. What the figures are is not looked at: a test says nothing about speed.

mod cases;

/// The case, and how many figures it gives.
const CASES: [(&str, usize); 1] = [("kalix-node", 2)];

#[test]
fn the_case_of_a_published_sdk_gives_its_figures() {
    for figure in cases::figures(&CASES) {
        let value = figure["value"].as_f64();
        assert!(value.is_some_and(|it| it > 0.0), "{figure}");
    }
}
