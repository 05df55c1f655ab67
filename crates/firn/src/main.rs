//! The `firn` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    firn::command_line()
}
