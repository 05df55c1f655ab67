//! What no Rust file may hold, and how long it may be.

use super::{File, Tree};

/// Lines without tests above which a file is to be split by concept.
const LINES_MAX: usize = 700;

/// Marks of unfinished or switched-off code, and what to do instead. Split, so that this file does
/// not hold them itself.
const UNFINISHED: &[(&str, &str)] = &[
    (
        concat!("todo", "!("),
        "finish it, or return an error that names what is missing",
    ),
    (
        concat!("unimplemented", "!("),
        "finish it, or return an error that names what is missing",
    ),
    (
        concat!("dbg", "!("),
        "remove it, or log with fields through tracing",
    ),
    (concat!("#[ig", "nore"), "mend or delete the test"),
];

pub(super) fn unfinished(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.below("", ".rs") {
        for (line, code) in File::code(&file.text) {
            for (mark, instead) in UNFINISHED.iter().filter(|(mark, _)| code.contains(mark)) {
                faults.push(format!("{}:{line}: {mark}: {instead}", file.path));
            }
        }
    }
    faults
}

pub(super) fn sizes(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.below("", ".rs") {
        let lines = file.program_and_tests().0.lines().count();
        let generated = file
            .text
            .lines()
            .next()
            .is_some_and(|line| line.contains("@generated"));
        if lines > LINES_MAX && !generated {
            let fault = format!(
                "{}: {lines} lines without tests, {LINES_MAX} are enough: split it by concept",
                file.path
            );
            found.push(fault);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn unfinished_code_is_found_and_comments_are_not() {
        for (mark, _) in UNFINISHED {
            let text = format!("// {mark}\nlet a = {mark});");
            let faults = unfinished(&tree(&[("crates/a/src/lib.rs", &text)]));
            assert_eq!(faults.len(), 1);
            assert!(
                faults[0].starts_with("crates/a/src/lib.rs:2: "),
                "{}",
                faults[0]
            );
        }
    }

    #[test]
    fn long_files_are_found_and_tests_do_not_count() {
        let long = "line\n".repeat(LINES_MAX + 1);
        let tests = format!("line\n#[cfg(test)]\n{long}");
        let generated = format!("// This file is @generated.\n{long}");
        let check = |path, text, expected| {
            let faults = sizes(&tree(&[(path, text)])).len();
            assert_eq!(faults, expected, "{path}");
        };
        check("crates/a/src/lib.rs", &long, 1);
        check("crates/a/src/lib.rs", &tests, 0);
        check("crates/a/src/lib.rs", &generated, 0);
        check("crates/a/tests/long.rs", &long, 0);
    }
}
