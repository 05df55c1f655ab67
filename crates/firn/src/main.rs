//! The `firn` binary.

use std::process::ExitCode;

/// The store frees rows by the hundred thousand when a memtable has become a file. The allocator of
/// glibc then joins what was freed with its lock held, for some 30 ms in which no commit could be
/// made (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    firn::command_line()
}
