//! Nobody reads the system's clock but those who pass it on.
//!
//! `tokio::time::Instant` is the clock of drivers: it stands still in tests that pause it. The
//! standard library's clocks do not, and machines get the time as an argument.

use super::{Allowed, File, Tree, mentions, without_allowed};

/// Files that may read the standard library's clocks.
const READERS: &[Allowed] = &[
    Allowed {
        path: "crates/runtime/src/driver.rs",
        reason: "the wall clock enters here; lanes get it with each event",
    },
    Allowed {
        path: "crates/runtime/src/vigil.rs",
        reason: "how long a thread stays awake; by a clock that a test has stopped it would for ever",
    },
    Allowed {
        path: "crates/store/src/embedded.rs",
        reason: "how long a flush took, for metrics",
    },
    Allowed {
        path: "crates/store/src/embedded/backlog.rs",
        reason: "the applier's batches are paced; no data depends on it",
    },
    Allowed {
        path: "crates/store/src/clock.rs",
        reason: "it is the seam: tests pass another clock",
    },
];

pub(super) fn direct(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.below("crates/", ".rs") {
        if file.path.starts_with("crates/testkit/") {
            continue;
        }
        let program = file.program_and_tests().0;
        let paused = program.contains("use tokio::time::") && !imports_standard_instant(program);
        for (line, code) in File::code(program) {
            let instant = mentions(code, "Instant::now") && !code.contains("tokio::time::Instant");
            if mentions(code, "SystemTime::now") || (instant && !paused) {
                let fault = format!(
                    "{}:{line}: take the time as an argument (machines), or use \
                     tokio::time::Instant (drivers)",
                    file.path
                );
                found.push((file.path.clone(), fault));
            }
        }
    }
    without_allowed(found, READERS, "READERS")
}

/// Whether `Instant` without a path is the standard library's.
fn imports_standard_instant(program: &str) -> bool {
    program
        .lines()
        .any(|line| line.starts_with("use std::time::") && line.contains("Instant"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn the_systems_clock_is_found_and_tokios_is_not() {
        let check = |text: &str, expected: usize| {
            let faults = direct(&tree(&[("crates/a/src/b.rs", text)]));
            assert_eq!(faults.len() - READERS.len(), expected, "{text}");
        };
        check("use std::time::Instant;\nlet a = Instant::now();", 1);
        check("let a = std::time::Instant::now();", 1);
        check("let a = SystemTime::now();", 1);
        check("use tokio::time::Instant;\nlet a = Instant::now();", 0);
        check("let a = tokio::time::Instant::now();", 0);
        check(
            "// SystemTime::now()\n#[cfg(test)]\nmod tests { SystemTime::now() }",
            0,
        );
        check("let a = now.elapsed();", 0);
    }
}
