//! The `firn` binary.

use std::process::ExitCode;

/// The allocator of glibc joins what was freed with its lock held; after much was freed at once that
/// took 30 ms, in which no commit could be made (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    firn::command_line()
}
