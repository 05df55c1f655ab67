//! Links between Markdown files: the file and the heading must exist.

use super::{File, Tree};

pub(super) fn broken(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.below("", ".md") {
        for (line, target) in targets(&file.text) {
            if let Err(fault) = resolve(tree, file, target) {
                faults.push(format!("{}:{line}: {target}: {fault}", file.path));
            }
        }
    }
    faults
}

/// The targets of all links with their line numbers; links in code are left out.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let in_code = line[..at].matches('`').count() % 2 == 1;
            if let (false, Some((target, _))) = (in_code, line[at + 2..].split_once(')')) {
                let target = target.split_whitespace().next().unwrap_or("");
                found.push((index + 1, target));
            }
        }
    }
    found
}

/// Looks a target up, seen from the file that holds it.
fn resolve(tree: &Tree, from: &File, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        from.path.clone()
    } else {
        join(&from.path, path).ok_or("leads out of the repository")?
    };
    if !tree.holds(&path) {
        return Err(format!("there is no {path}: correct or remove the link"));
    }
    let known = tree.file(&path).is_none_or(|file| {
        heading.is_empty()
            || file
                .text
                .lines()
                .filter_map(anchor)
                .any(|known| known == heading)
    });
    if known {
        Ok(())
    } else {
        Err(format!("{path} has no heading with the anchor {heading}"))
    }
}

/// The path of `target` as seen from the file `from`; `None` if it leaves the repository.
fn join(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The anchor that a heading gets when it is shown.
fn anchor(line: &str) -> Option<String> {
    let text = line
        .strip_prefix('#')?
        .trim_start_matches('#')
        .strip_prefix(' ')?;
    let kept = text.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    Some(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn links_are_followed() {
        let check = |link: &str, expected: usize| {
            let text = format!("# One\n{link}\n");
            let files = [
                ("docs/a.md", text.as_str()),
                ("docs/b/c.md", "## Two words, `x`\n"),
            ];
            assert_eq!(broken(&tree(&files)).len(), expected, "{link}");
        };
        check("[a](b/c.md)", 0);
        check("[a](./b)", 0);
        check("[a](../docs/b/c.md#two-words-x)", 0);
        check("[a](#one) and [b](https://example.org/x)", 0);
        check("`[a](none.md)`", 0);
        check("```\n[a](none.md)\n```", 0);
        check("[a](none.md)", 1);
        check("[a](b/c.md#three)", 1);
        check("[a](../../a.md)", 1);
        check("[a](#two) [b](none.md)", 2);
    }
}
