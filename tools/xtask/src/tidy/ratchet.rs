//! How long a file may be.
//!
//! 600 lines of code, 1,000 with its tests. A file that is longer stands in `ratchet.txt` with the
//! length it has, and may only become shorter: when it does, `cargo xtask tidy --ratchet` writes
//! the new length down. A new file gets no entry.

use std::collections::BTreeMap;
use std::path::Path;

use crate::finding::Finding;
use crate::tree::{File, Tree};

/// Lines before the tests of a file.
const CODE_MAX: usize = 600;
/// Lines of a file with its tests.
const ALL_MAX: usize = 1000;
/// Where the exceptions stand: a path and a length a line.
const LIST: &str = "tools/xtask/ratchet.txt";

/// Files that are too long, or shorter than their entry says.
pub(crate) fn lengths(tree: &Tree) -> Vec<Finding> {
    let mut entries = entries(tree);
    let mut findings = Vec::new();
    for file in tree.ending("rs") {
        let length = excess(file);
        let cause = match (length, entries.remove(file.path.as_str())) {
            (Some(length), None) => {
                format!("{length} lines; {CODE_MAX} of code or {ALL_MAX} in all are the most")
            }
            (Some(length), Some(entry)) if length > entry => {
                format!("{length} lines, grown from {entry}")
            }
            (length, Some(entry)) if length.is_none_or(|length| length < entry) => {
                let cause = format!("shorter than its entry of {entry} lines");
                let finding =
                    Finding::new("tidy/ratchet", LIST, 0, format!("{}: {cause}", file.path));
                findings.push(finding.fix("cargo xtask tidy --ratchet"));
                continue;
            }
            _ => continue,
        };
        let finding = Finding::new("tidy/file-length", &file.path, 0, cause);
        findings.push(finding.fix("split it by noun or verb: `foo.rs` and `foo/`"));
    }
    for path in entries.keys() {
        let finding = Finding::new("tidy/ratchet", LIST, 0, format!("{path} is gone"));
        findings.push(finding.fix("cargo xtask tidy --ratchet"));
    }
    findings
}

/// Writes the present lengths of the files that have an entry, and drops entries without need.
pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let mut text = String::new();
    for (path, entry) in entries(&tree) {
        if let Some(length) = tree.get(path).and_then(excess) {
            text += &format!("{path} {}\n", length.min(entry));
        }
    }
    std::fs::write(root.join(LIST), text)?;
    Ok(())
}

/// A file's length if it is too long.
fn excess(file: &File) -> Option<usize> {
    let all = file.text.lines().count();
    let code = file
        .text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count();
    let is_test = file.path.contains("/tests/") || file.name() == "tests.rs";
    ((code > CODE_MAX && !is_test) || all > ALL_MAX).then_some(all)
}

fn entries(tree: &Tree) -> BTreeMap<&str, usize> {
    let text = tree.get(LIST).map_or("", |file| file.text.as_str());
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(path, length)| Some((path, length.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(lines: usize, tests: usize, list: &str) -> Vec<&'static str> {
        let text = format!(
            "{}#[cfg(test)]\n{}",
            "x\n".repeat(lines),
            "y\n".repeat(tests)
        );
        let tree = Tree::of(&[("a/b.rs", &text), (LIST, list)]);
        lengths(&tree).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn file_is_measured_without_and_with_its_tests() {
        assert!(rules(600, 399, "").is_empty());
        assert_eq!(rules(601, 0, ""), ["tidy/file-length"]);
        assert_eq!(rules(600, 400, ""), ["tidy/file-length"]);
    }

    #[test]
    fn entry_holds_a_file_at_its_length() {
        assert!(rules(700, 0, "a/b.rs 701\n").is_empty());
        assert_eq!(rules(700, 0, "a/b.rs 700\n"), ["tidy/file-length"]);
    }

    #[test]
    fn entry_without_need_is_found() {
        assert_eq!(rules(700, 0, "a/b.rs 702\n"), ["tidy/ratchet"]);
        assert_eq!(rules(10, 0, "a/b.rs 702\n"), ["tidy/ratchet"]);
        assert_eq!(rules(10, 0, "a/gone.rs 702\n"), ["tidy/ratchet"]);
    }
}
