//! The guard of the hot path: the instructions of a command, held against `bench/counts.toml`.
//!
//! The program that counts is `firn-bench counts`; the programs are built as optimised as released
//! ones, but crate by crate, which takes a fraction of the time.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::setup::{self, Need};

/// What `cargo xtask counts` runs, built.
///
/// # Errors
/// Something that is needed is missing, or the programs do not build.
pub(crate) fn command(root: &Path, arguments: &[&str]) -> Result<Command> {
    setup::prepare(root, &[Need::Valgrind])?;
    let programs = build::programs(root, Profile::Counted, &["firn", "cart", "firn-bench"])?;
    let mut command = Command::new(programs.join("firn-bench"));
    command.arg("counts").args(arguments);
    Ok(command)
}
