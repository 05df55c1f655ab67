//! How much is done for a figure.

use std::time::Duration;

use crate::load::Load;

/// How much is done for a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As much as it takes to believe it.
    Full,
    /// Just so much that the case is seen to run; what comes out means nothing and is not judged.
    Brief,
}

impl Effort {
    /// How often something is done.
    pub(crate) fn rounds(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Brief => 1,
        }
    }

    /// How many entities there are.
    pub(crate) fn entities(self, full: u64) -> u64 {
        match self {
            Self::Full => full,
            Self::Brief => full / 100,
        }
    }

    /// How a server is loaded.
    pub(crate) fn load(self, full: Load) -> Load {
        match self {
            Self::Full => full,
            Self::Brief => Load {
                warm: Duration::from_millis(100),
                measured: Duration::from_millis(400),
                ..full
            },
        }
    }

    /// How a server is loaded with so many calls in a second.
    pub(crate) fn open(self, rate: f64, warm: Duration, measured: Duration) -> firn_load::Load {
        firn_load::Load::open(rate, warm, self.time(measured))
    }

    /// How long something is measured.
    pub(crate) fn time(self, full: Duration) -> Duration {
        match self {
            Self::Full => full,
            Self::Brief => Duration::from_millis(400),
        }
    }

    /// How long something is tried that is tried often.
    pub(crate) fn trial(self, full: Duration) -> Duration {
        match self {
            Self::Full => full,
            Self::Brief => Duration::from_millis(200),
        }
    }
}
