//! Words that tie the repository to one machine or one network.

use super::Tree;

/// What no file may mention, and what to write instead. Split, so that this file does not hold
/// them itself.
const FOREIGN: &[(&str, &str)] = &[
    (
        concat!("/wo", "rk/"),
        "write a path from the repository's folder",
    ),
    (
        concat!("/ro", "ot/"),
        "write a path from the repository's folder, or `~`",
    ),
    (
        concat!("artifac", "tory"),
        "name the public registry's package, without an address",
    ),
    (concat!("registry.npm", "js."), MAKE_LOCK),
    (concat!("registry.yarn", "pkg."), MAKE_LOCK),
    (
        concat!("files.pythonhost", "ed."),
        "pin by version and hash, without an address",
    ),
    (
        concat!("repo1.ma", "ven."),
        "leave the repository to the user's settings",
    ),
    (
        concat!("repo.ma", "ven."),
        "leave the repository to the user's settings",
    ),
];

const MAKE_LOCK: &str = "make the lock file with `npm install --omit-lockfile-registry-resolved`";

pub(super) fn foreign(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in &tree.files {
        for (word, instead) in FOREIGN {
            let line = file.text.lines().position(|line| line.contains(word));
            if let Some(line) = line {
                faults.push(format!("{}:{}: {word}: {instead}", file.path, line + 1));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn foreign_words_are_found_with_their_line() {
        for (word, _) in FOREIGN {
            let text = format!("fine\nnot {word}fine");
            let faults = foreign(&tree(&[("a/b.txt", &text)]));
            assert_eq!(faults.len(), 1);
            assert!(faults[0].starts_with("a/b.txt:2: "), "{}", faults[0]);
        }
    }
}
