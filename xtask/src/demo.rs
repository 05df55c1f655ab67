//! Shows what Firn does, with a kill in the middle.

use std::path::Path;

use anyhow::Result;

/// What happens when everything was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// Stay up, to be tried.
    StayUp,
    /// Stop everything.
    End,
}

pub(crate) fn run(_root: &Path, _afterwards: Afterwards) -> Result<bool> {
    Ok(false)
}
