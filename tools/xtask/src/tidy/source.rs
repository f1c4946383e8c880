//! Rules for source files.

use crate::finding::Finding;
use crate::tree::{File, Tree};

/// Names that say nothing of what is inside.
const FORBIDDEN: [&str; 8] = [
    "common", "util", "utils", "helper", "helpers", "manager", "misc", "mod",
];

/// Every Rust file begins with what it is; every Python file and scenario too.
pub(crate) fn heads(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending("rs") {
        let first = file.text.lines().next().unwrap_or_default();
        let text = first.strip_prefix("//!").unwrap_or_default().trim();
        if text.is_empty() {
            let cause = "no `//!` head in the first line";
            let finding = Finding::new("tidy/head", &file.path, 1, cause);
            findings.push(finding.fix("say what it is, what goes in and out, its bounds"));
        }
    }
    for file in tree.files().filter(|file| is_python(file)) {
        let mut lines = file.text.lines().filter(|line| !line.starts_with('#'));
        if !lines.next().unwrap_or_default().starts_with("\"\"\"") {
            let cause = "no docstring at the head";
            findings.push(Finding::new("tidy/head", &file.path, 1, cause));
        }
    }
    findings
}

/// No file, folder or crate has a name that says nothing; `foo.rs` beside `foo/`, never `mod.rs`.
pub(crate) fn names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        for part in file.path.split('/') {
            let stem = part.split('.').next().unwrap_or(part);
            let words: Vec<&str> = stem.split(['_', '-']).collect();
            let is_code = matches!(file.ending(), "rs" | "py");
            let bad = words.iter().find(|word| FORBIDDEN.contains(*word));
            if let Some(bad) = bad.filter(|_| is_code) {
                let cause = format!("`{part}` is called `{bad}`");
                let finding = Finding::new("tidy/name", &file.path, 0, cause);
                findings.push(finding.fix("name it after the noun or verb it holds"));
            }
        }
    }
    findings
}

/// No `async` and no `.await` in an engine.
pub(crate) fn async_below_the_line(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree
        .ending("rs")
        .filter(|file| file.path.starts_with("crates/engine/"))
    {
        for (number, line) in file.lines() {
            if words(&code(line)).any(|word| matches!(word, "async" | "await")) {
                let cause = "`async` below the I/O line";
                let finding = Finding::new("tidy/async", &file.path, number, cause);
                findings.push(finding.fix("an engine takes `(now, input)` and gives outputs"));
            }
        }
    }
    findings
}

/// No test that is not run.
pub(crate) fn ignored_tests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending("rs") {
        for (number, line) in file.lines() {
            if code(line).trim_start().starts_with("#[ignore") {
                let cause = "a test that is not run";
                let finding = Finding::new("tidy/ignore", &file.path, number, cause);
                findings.push(finding.fix("mend it or remove it"));
            }
        }
    }
    findings
}

/// A line without its comment and without the contents of its strings.
fn code(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut in_string = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                chars.next();
            }
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if !in_string => kept.push(c),
            _ => {}
        }
    }
    kept
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

fn is_python(file: &File) -> bool {
    file.ending() == "py"
        || file
            .text
            .lines()
            .next()
            .is_some_and(|l| l.contains("python3"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str) -> usize {
        rule(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn file_without_a_head_is_found() {
        assert_eq!(found(heads, "a.rs", "use std::fmt;\n"), 1);
        assert_eq!(found(heads, "a.rs", "//!\n"), 1);
        assert_eq!(found(heads, "a.rs", "//! Names.\n"), 0);
        assert_eq!(found(heads, "a.py", "import os\n"), 1);
        assert_eq!(
            found(heads, "run", "#!/usr/bin/python3\n\"\"\"Runs.\"\"\"\n"),
            0
        );
    }

    #[test]
    fn empty_name_is_found_in_file_folder_and_compound() {
        for path in [
            "a/utils.rs",
            "a/common/x.rs",
            "a/mod.rs",
            "a/call_manager.rs",
            "helper.py",
        ] {
            assert_eq!(found(names, path, ""), 1, "{path}");
        }
        for path in ["a/model.rs", "a/commons.rs", "docs/common.md"] {
            assert_eq!(found(names, path, ""), 0, "{path}");
        }
    }

    #[test]
    fn async_is_found_below_the_line_only() {
        let path = "crates/engine/sip/src/lib.rs";
        assert_eq!(
            found(async_below_the_line, path, "pub async fn read() {}\n"),
            1
        );
        assert_eq!(
            found(async_below_the_line, path, "    let x = future.await;\n"),
            1
        );
        assert_eq!(
            found(
                async_below_the_line,
                path,
                "// no async\nlet x = \"async\";\n"
            ),
            0
        );
        assert_eq!(
            found(async_below_the_line, path, "fn awaiting_async_io() {}\n"),
            0
        );
        assert_eq!(
            found(
                async_below_the_line,
                "crates/io/net/src/lib.rs",
                "async fn a() {}\n"
            ),
            0
        );
    }

    #[test]
    fn ignored_test_is_found() {
        assert_eq!(
            found(ignored_tests, "a.rs", "    #[ignore = \"later\"]\n"),
            1
        );
        assert_eq!(found(ignored_tests, "a.rs", "// #[ignore]\n"), 0);
    }
}
