//! `firn call`.

use std::process::ExitCode;

use clap::ArgMatches;

/// Runs the command.
pub(crate) fn run(_flags: &ArgMatches) -> ExitCode {
    ExitCode::SUCCESS
}
