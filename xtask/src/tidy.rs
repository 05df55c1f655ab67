//! The project's rules that a program can check, each a small pure function over the files.
//!
//! A fault says what to do instead. Lists of exceptions carry reasons, and an exception that is no
//! longer needed is a fault too, so the lists can only shrink to the truth.

mod clock;
mod codes;
mod crates;
mod links;
mod source;
mod words;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;

/// Every text file of the repository that is not ignored, with what it holds.
#[derive(Default)]
pub(crate) struct Tree {
    files: Vec<File>,
}

/// One file. The text of a file that is not UTF-8 is empty.
pub(crate) struct File {
    /// From the repository's folder, with `/`.
    path: String,
    text: String,
}

/// A rule: a name that completes "checks that …", and the faults it finds.
struct Rule {
    name: &'static str,
    check: fn(&Tree) -> Vec<String>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "crates depend only on crates below them",
        check: crates::order,
    },
    Rule {
        name: "the test kit is a development dependency only",
        check: crates::testkit,
    },
    Rule {
        name: "crates know nothing of what is not their business",
        check: crates::ignorance,
    },
    Rule {
        name: "every crate begins by saying what it is",
        check: crates::described,
    },
    Rule {
        name: "nothing is left unfinished or switched off",
        check: source::unfinished,
    },
    Rule {
        name: "files stay readable in one go",
        check: source::sizes,
    },
    Rule {
        name: "time comes from the clock that was passed in",
        check: clock::direct,
    },
    Rule {
        name: "every error code has a page, and every page a code",
        check: codes::pages,
    },
    Rule {
        name: "every error code is produced by a test",
        check: codes::tested,
    },
    Rule {
        name: "links between documents lead somewhere",
        check: links::broken,
    },
    Rule {
        name: "no file names a machine or a package mirror",
        check: words::foreign,
    },
];

/// Checks all rules and prints the faults.
pub(crate) fn run(root: &Path) -> Result<Outcome> {
    let tree = read(root)?;
    let mut outcome = Outcome::default();
    for rule in RULES {
        let faults = (rule.check)(&tree);
        if faults.is_empty() {
            outcome.counts.passed += 1;
            continue;
        }
        outcome = outcome.plus(Outcome::failed(rule.name));
        for fault in faults {
            println!("    {fault}");
            outcome.failures.push(format!("  {fault}"));
        }
    }
    println!("  {} rules over {} files", RULES.len(), tree.files.len());
    Ok(outcome)
}

/// Reads what git knows and what it does not ignore.
fn read(root: &Path) -> Result<Tree> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!("git: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut tree = Tree::default();
    for path in String::from_utf8(output.stdout)?.split_terminator('\0') {
        // Deleted files are still known to git; links to folders are not files.
        if root.join(path).is_file() {
            let text = String::from_utf8(fs::read(root.join(path))?).unwrap_or_default();
            tree.files.push(File {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(tree)
}

impl Tree {
    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Files below a folder (`"crates/"`) with this ending (`".rs"`).
    fn below<'a>(&'a self, folder: &'a str, ending: &'a str) -> impl Iterator<Item = &'a File> {
        self.files
            .iter()
            .filter(move |file| file.path.starts_with(folder) && file.path.ends_with(ending))
    }

    /// Whether a file or folder with this path exists.
    fn holds(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self
                .files
                .iter()
                .any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

impl File {
    /// Whether the whole file is tests.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
    }

    /// The program, and the tests after it, of a Rust file.
    fn program_and_tests(&self) -> (&str, &str) {
        if self.is_test() {
            return ("", &self.text);
        }
        let at = self.text.find("\n#[cfg(test)]").unwrap_or(self.text.len());
        self.text.split_at(at)
    }

    /// Lines with their numbers, without line comments.
    fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
        text.lines().enumerate().map(|(index, line)| {
            let comment = line
                .match_indices("//")
                .find(|(at, _)| !line[..*at].ends_with(':'))
                .map_or(line.len(), |(at, _)| at);
            (index + 1, &line[..comment])
        })
    }
}

/// Whether a text holds `mark` as a whole word.
fn mentions(text: &str, mark: &str) -> bool {
    text.match_indices(mark).any(|(at, _)| {
        let next = text[at + mark.len()..].chars().next();
        next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
    })
}

/// An exception from a rule.
struct Allowed {
    path: &'static str,
    reason: &'static str,
}

/// Drops the faults of files that are allowed, and adds one for each exception without a fault.
fn without_allowed(found: Vec<(String, String)>, allowed: &[Allowed], list: &str) -> Vec<String> {
    let stale = allowed
        .iter()
        .filter(|allowed| found.iter().all(|(path, _)| path != allowed.path))
        .map(|allowed| {
            format!(
                "{}: needs no exception any more ({}): remove it from {list}",
                allowed.path, allowed.reason
            )
        });
    let stale: Vec<String> = stale.collect();
    let faults = found
        .into_iter()
        .filter(|(path, _)| allowed.iter().all(|allowed| path != allowed.path))
        .map(|(_, fault)| fault);
    faults.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of these files, for the tests of the rules.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Tree {
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn tests_are_told_from_the_program() {
        let tree = tree(&[
            ("crates/a/src/lib.rs", "one\n#[cfg(test)]\nmod tests {}"),
            ("crates/a/tests/b.rs", "two"),
        ]);
        let parts = |path| tree.file(path).unwrap().program_and_tests();
        assert_eq!(
            parts("crates/a/src/lib.rs"),
            ("one", "\n#[cfg(test)]\nmod tests {}")
        );
        assert_eq!(parts("crates/a/tests/b.rs"), ("", "two"));
    }

    #[test]
    fn comments_are_not_code() {
        let lines: Vec<&str> = File::code("a // b\nhttp://c\n// d")
            .map(|(_, line)| line)
            .collect();
        assert_eq!(lines, ["a ", "http://c", ""]);
    }

    #[test]
    fn an_exception_without_a_fault_is_a_fault() {
        let allowed = [Allowed {
            path: "a.rs",
            reason: "old",
        }];
        let fault = |path: &str| vec![(path.to_owned(), format!("{path} is bad"))];
        assert!(without_allowed(fault("a.rs"), &allowed, "LIST").is_empty());
        let faults = without_allowed(fault("b.rs"), &allowed, "LIST");
        assert_eq!(faults.len(), 2);
        assert!(faults[1].contains("LIST"));
    }
}
