//! What came of tests and rules.

/// Tests that passed and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
        }
    }
}

/// What came of tests: how many, and the lines that were printed about those that failed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    /// Something around the tests went wrong: it counts as one failure.
    pub(crate) fn failed(why: &str) -> Self {
        let line = format!("failed: {why}");
        println!("  {line}");
        Self {
            counts: Counts {
                passed: 0,
                failed: 1,
            },
            failures: vec![line],
        }
    }

    pub(crate) fn plus(mut self, other: Self) -> Self {
        self.failures.extend(other.failures);
        Self {
            counts: self.counts.plus(other.counts),
            failures: self.failures,
        }
    }
}
