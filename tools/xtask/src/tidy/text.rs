//! Rules for lines of any file.

use crate::finding::Finding;
use crate::tree::{File, Tree};

/// Columns a line of Rust may have.
const RUST: usize = 100;
/// Columns a line of Python or shell may have.
const SCRIPT: usize = 120;
/// Folders that belong to one machine. Written in halves, so that this file may be read as well.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Use", "rs/"),
];

/// Lines of Rust have at most 100 columns, lines of Python and shell 120.
pub(crate) fn long_lines(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().filter(|file| is_code(file)) {
        let most = if file.ending() == "rs" { RUST } else { SCRIPT };
        for (number, line) in file.lines() {
            let columns = line.chars().count();
            if columns > most {
                let cause = format!("{columns} columns, more than {most}");
                let finding = Finding::new("tidy/line-length", &file.path, number, cause);
                findings.push(finding.fix("break the line; a long text goes on with `\\`"));
            }
        }
    }
    findings
}

/// No blanks at the end of a line, no tab in Rust, one newline at the end of a file.
pub(crate) fn trailing_space(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().filter(|file| is_ours(file)) {
        for (number, line) in file.lines() {
            if line.ends_with([' ', '\t', '\r']) {
                let cause = "blanks at the end of the line";
                findings.push(Finding::new(
                    "tidy/trailing-space",
                    &file.path,
                    number,
                    cause,
                ));
            }
            if file.ending() == "rs" && line.contains('\t') {
                let cause = "a tab";
                findings.push(Finding::new(
                    "tidy/trailing-space",
                    &file.path,
                    number,
                    cause,
                ));
            }
        }
        if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
            let cause = "the file does not end with one newline";
            findings.push(Finding::new("tidy/trailing-space", &file.path, 0, cause));
        }
    }
    findings
}

/// No path that only one machine has.
pub(crate) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().filter(|file| is_ours(file)) {
        for (number, line) in file.lines() {
            for path in MACHINE_PATHS {
                if let Some(at) = find_path(line, path) {
                    let cause = format!("a path of one machine: {}", first_word(&line[at..]));
                    let finding = Finding::new("tidy/machine-path", &file.path, number, cause);
                    findings.push(finding.fix("name it relative to the repository, or as FILE"));
                }
            }
        }
    }
    findings
}

/// No private key anywhere in the tree: tests make their own.
pub(crate) fn private_keys(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        for (number, line) in file.lines() {
            let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
            if begins && holds_key(file, number) {
                let cause = "a private key";
                let finding = Finding::new("tidy/private-key", &file.path, number, cause);
                findings.push(finding.fix("make keys when they are needed, never check them in"));
            }
        }
    }
    findings
}

/// Whether the text after a PEM header is a key: 40 characters of base64 within three lines.
fn holds_key(file: &File, number: usize) -> bool {
    file.text.lines().skip(number - 1).take(3).any(|line| {
        line.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)))
            .any(|word| word.len() >= 40)
    })
}

/// A path's place in a line, if something follows it and it does not go on from another path.
fn find_path(line: &str, path: &str) -> Option<usize> {
    line.match_indices(path).map(|(at, _)| at).find(|&at| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/:$})".contains(c))
            && after.is_some_and(|c| c.is_ascii_lowercase())
    })
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| c.is_whitespace() || "\"'`)".contains(c))
        .next()
        .unwrap_or(text)
}

/// Code: Rust, Python, shell.
fn is_code(file: &File) -> bool {
    matches!(file.ending(), "rs" | "py" | "sh") || (file.text.starts_with("#!") && file.executable)
}

/// Everything but test data, lock files and licences.
fn is_ours(file: &File) -> bool {
    let data = file.path.contains("/torture/") || file.path.contains("/corpus/");
    !data && file.ending() != "lock" && !file.path.contains("regressions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Tree::of(&[(path, text)]))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn long_line_is_found_by_columns_not_bytes() {
        let text = format!("{}\n{}\n", "é".repeat(100), "e".repeat(101));
        assert_eq!(lines(long_lines, "a.rs", &text), [2]);
        assert_eq!(lines(long_lines, "a.py", &text), Vec::<usize>::new());
        assert_eq!(
            lines(long_lines, "a.md", &text.repeat(2)),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn blanks_and_missing_newline_are_found() {
        assert_eq!(lines(trailing_space, "a.md", "a \nb"), [1, 0]);
        assert_eq!(lines(trailing_space, "a.md", "a\nb\n"), Vec::<usize>::new());
        assert_eq!(
            lines(trailing_space, "a/torture/a.dat", "a \r\n"),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn path_of_one_machine_is_found() {
        for path in MACHINE_PATHS {
            assert_eq!(
                lines(machine_paths, "a.rs", &format!("x\nopen(\"{path}me/x\")\n")),
                [2]
            );
            let further = format!("https://a.test{path}me, target{path}me, {path}\n");
            assert_eq!(lines(machine_paths, "a.rs", &further), Vec::<usize>::new());
        }
    }

    #[test]
    fn private_key_is_found_and_its_mere_header_is_not() {
        let header = concat!("-----BEGIN PRIVATE", " KEY-----");
        let key = format!("{header}\n{}\n", "MC4CAQAwBQYDK2VwBCIEIJ".repeat(2));
        assert_eq!(lines(private_keys, "a.pem", &key), [1]);
        let mention = format!("if line == \"{header}\" {{\n");
        assert_eq!(lines(private_keys, "a.rs", &mention), Vec::<usize>::new());
    }
}
