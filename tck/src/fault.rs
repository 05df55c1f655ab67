//! What a function does wrong.

use std::fmt;

/// A requirement that was not kept: what was expected, and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The requirement, for example `R24`.
    pub requirement: &'static str,
    /// What the function should have done.
    pub expected: String,
    /// What it did.
    pub came: String,
}

impl Fault {
    pub(crate) fn new(
        requirement: &'static str,
        expected: impl Into<String>,
        came: impl Into<String>,
    ) -> Self {
        Self {
            requirement,
            expected: expected.into(),
            came: came.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}; came {}",
            self.requirement, self.expected, self.came
        )
    }
}
