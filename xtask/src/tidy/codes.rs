//! Error codes: each with a page, each produced by a test.

use std::collections::{BTreeMap, BTreeSet};

use super::{Tree, mentions};

const CODES: &str = "crates/model/src/code.rs";
const PAGES: &str = "docs/errors/";
const INDEX: &str = "docs/errors/README.md";

/// Codes that no test produces yet. The list may only shrink.
const UNTESTED: &[u16] = &[];

/// The codes in the enum: `Name = 1234,`.
fn codes(tree: &Tree) -> BTreeMap<u16, String> {
    let text = tree.file(CODES).map_or("", |file| &file.text);
    text.lines()
        .filter_map(|line| {
            let (name, number) = line.trim().strip_suffix(',')?.split_once(" = ")?;
            Some((number.parse().ok()?, name.to_owned()))
        })
        .collect()
}

pub(super) fn pages(tree: &Tree) -> Vec<String> {
    let codes = codes(tree);
    if codes.is_empty() {
        return vec![format!("{CODES}: no codes found")];
    }
    let mut faults = Vec::new();
    let index = tree.file(INDEX).map_or("", |file| &file.text);
    for (number, name) in &codes {
        let page = format!("{PAGES}FIRN-{number}.md");
        let title = format!("# FIRN-{number}: ");
        match tree.file(&page) {
            None => faults.push(format!("{page}: write the page of {name}")),
            Some(file) if !file.text.starts_with(&title) => {
                faults.push(format!("{page}: begin with `{title}` and the code's title"));
            }
            Some(_) => {}
        }
        if !index.contains(&format!("(FIRN-{number}.md)")) {
            faults.push(format!("{INDEX}: link FIRN-{number}.md"));
        }
    }
    for file in tree.below(PAGES, ".md").filter(|file| file.path != INDEX) {
        let number = file.path[PAGES.len()..].strip_prefix("FIRN-");
        let number = number.and_then(|rest| rest.strip_suffix(".md")?.parse().ok());
        if number.is_none_or(|number: u16| !codes.contains_key(&number)) {
            faults.push(format!(
                "{}: there is no such code: remove the page",
                file.path
            ));
        }
    }
    faults
}

pub(super) fn tested(tree: &Tree) -> Vec<String> {
    tested_but(tree, UNTESTED)
}

fn tested_but(tree: &Tree, untested: &[u16]) -> Vec<String> {
    let tests: Vec<&str> = tree
        .below("crates/", ".rs")
        .map(|file| file.program_and_tests().1)
        .collect();
    let untested: BTreeSet<u16> = untested.iter().copied().collect();
    let codes = codes(tree);
    let mut faults = Vec::new();
    for (number, name) in &codes {
        let marks = [format!("FIRN-{number}"), format!("Code::{name}")];
        let seen = tests
            .iter()
            .any(|text| marks.iter().any(|mark| mentions(text, mark)));
        match (seen, untested.contains(number)) {
            (false, false) => faults.push(format!(
                "FIRN-{number} ({name}): write a test that produces it and names it"
            )),
            (true, true) => {
                faults.push(format!("FIRN-{number} is tested: remove it from UNTESTED"));
            }
            _ => {}
        }
    }
    let unknown = untested.iter().filter(|number| !codes.contains_key(number));
    faults.extend(unknown.map(|number| format!("UNTESTED holds {number}, which is no code")));
    faults
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    const ENUM: (&str, &str) = (CODES, "    BadSetting = 1001,\n    Bad = 1002,\n");

    #[test]
    fn codes_and_pages_belong_together() {
        let good = [
            ENUM,
            (
                "docs/errors/README.md",
                "[a](FIRN-1001.md) [b](FIRN-1002.md)",
            ),
            ("docs/errors/FIRN-1001.md", "# FIRN-1001: a"),
            ("docs/errors/FIRN-1002.md", "# FIRN-1002: b"),
        ];
        assert!(pages(&tree(&good)).is_empty());
        assert_eq!(pages(&tree(&good[..3])).len(), 1);
        let stray = [&good[..], &[("docs/errors/FIRN-9.md", "# FIRN-9: c")]].concat();
        assert_eq!(pages(&tree(&stray)).len(), 1);
        assert_eq!(pages(&tree(&[])).len(), 1);
    }

    #[test]
    fn codes_are_tested_unless_listed() {
        let by_name = ("crates/a/tests/b.rs", "Code::BadSetting");
        let by_number = ("crates/a/src/c.rs", "x\n#[cfg(test)]\n\"FIRN-1002\"");
        assert!(tested_but(&tree(&[ENUM, by_name, by_number]), &[]).is_empty());
        assert!(tested_but(&tree(&[ENUM, by_name]), &[1002]).is_empty());
        assert_eq!(tested_but(&tree(&[ENUM, by_name]), &[]).len(), 1);
        assert_eq!(
            tested_but(&tree(&[ENUM, by_name, by_number]), &[1002, 7]).len(),
            2
        );
    }
}
