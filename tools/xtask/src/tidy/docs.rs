//! Rules for documents: what they point at is there.

use crate::finding::Finding;
use crate::tree::{File, Tree};

/// Every relative link leads to a file or folder, and its anchor to a heading.
pub(crate) fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending("md") {
        for link in links_of(file) {
            let Some((target, anchor)) = local(&link.target) else {
                continue;
            };
            let path = resolve(&file.path, target);
            if !tree.has(&path) {
                let cause = format!("`{}` leads nowhere", link.target);
                findings.push(Finding::new("tidy/link", &file.path, link.line, cause));
            } else if !anchor.is_empty() {
                let there = tree.get(&path).is_some_and(|file| {
                    file.ending() != "md" || headings(file).any(|heading| slug(heading) == anchor)
                });
                if !there {
                    let cause = format!("`{}` names no heading", link.target);
                    findings.push(Finding::new("tidy/link", &file.path, link.line, cause));
                }
            }
        }
    }
    findings
}

/// A link to a Rust file whose text is code, as ``[`Core::invite`](../x.rs)``, names an item of
/// that file: so a document notices when what it tells of moves.
pub(crate) fn named_items(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending("md") {
        for link in links_of(file) {
            let Some((target, _)) = local(&link.target) else {
                continue;
            };
            let Some(code) = link
                .text
                .strip_prefix('`')
                .and_then(|t| t.strip_suffix('`'))
            else {
                continue;
            };
            let Some(source) = tree.get(&resolve(&file.path, target)) else {
                continue;
            };
            let name = code
                .rsplit("::")
                .next()
                .unwrap_or(code)
                .trim_end_matches("()");
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            if source.ending() == "rs" && is_name && !defines(source, name) {
                let cause = format!("`{name}` is not defined in {}", source.path);
                findings.push(Finding::new(
                    "tidy/named-item",
                    &file.path,
                    link.line,
                    cause,
                ));
            }
        }
    }
    findings
}

/// A link in a document.
struct Link {
    line: usize,
    text: String,
    target: String,
}

/// Every `[text](target)` outside code blocks.
fn links_of(file: &File) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, text) in prose(file) {
        let mut rest = text;
        while let Some(middle) = rest.find("](") {
            let (before, after) = (&rest[..middle], &rest[middle + 2..]);
            let Some(end) = after.find(')') else { break };
            let text = before.rfind('[').map_or("", |start| &before[start + 1..]);
            let target = after[..end].split(' ').next().unwrap_or_default();
            links.push(Link {
                line,
                text: text.to_owned(),
                target: target.to_owned(),
            });
            rest = &after[end..];
        }
    }
    links
}

/// The lines outside code blocks.
fn prose(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    file.lines().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// A link's path and anchor, if it stays in the repository.
fn local(target: &str) -> Option<(&str, &str)> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    Some(target.split_once('#').unwrap_or((target, "")))
}

/// A link's target as a path from the root.
fn resolve(from: &str, target: &str) -> String {
    if target.is_empty() {
        return from.to_owned();
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                if parts.pop().is_none() {
                    return "outside the repository".to_owned();
                }
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn headings(file: &File) -> impl Iterator<Item = &str> {
    prose(file)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| line.trim_start_matches('#').trim())
}

/// A heading's anchor as forges make it.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Whether a source defines an item, variant, field or method of this name.
fn defines(source: &File, name: &str) -> bool {
    const KEYWORDS: [&str; 8] = [
        "fn",
        "struct",
        "enum",
        "trait",
        "const",
        "type",
        "mod",
        "macro_rules!",
    ];
    source
        .text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
        .any(|line| {
            let words: Vec<&str> = line
                .split(|c: char| !(c.is_alphanumeric() || "_!".contains(c)))
                .collect();
            words
                .windows(2)
                .any(|pair| KEYWORDS.contains(&pair[0]) && pair[1] == name)
                || line
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([',', '(', ' ', ':', '{']))
                || line
                    .strip_prefix("pub ")
                    .and_then(|l| l.strip_prefix(name))
                    .is_some_and(|rest| rest.starts_with(':'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(document: &str) -> usize {
        let tree = Tree::of(&[
            ("docs/a.md", document),
            ("docs/b.md", "# Of ports, 5061\n```\n# no heading\n```\n"),
            (
                "crates/x/src/lib.rs",
                "//! X.\npub struct Core;\nimpl Core { pub fn invite() {} }\n",
            ),
        ]);
        links(&tree).len() + named_items(&tree).len()
    }

    #[test]
    fn link_that_leads_nowhere_is_found() {
        assert_eq!(
            rules("[b](b.md) [x](../crates/x) [w](https://example.test/none)\n"),
            0
        );
        assert_eq!(rules("[b](c.md)\n"), 1);
        assert_eq!(rules("[b](../../b.md)\n"), 1);
        assert_eq!(rules("```\n[b](c.md)\n```\n"), 0);
    }

    #[test]
    fn anchor_without_a_heading_is_found() {
        assert_eq!(rules("[b](b.md#of-ports-5061)\n"), 0);
        assert_eq!(rules("[b](b.md#no-heading)\n"), 1);
    }

    #[test]
    fn item_that_moved_is_found() {
        assert_eq!(rules("[`Core::invite`](../crates/x/src/lib.rs)\n"), 0);
        assert_eq!(rules("[`Core`](../crates/x/src/lib.rs)\n"), 0);
        assert_eq!(rules("[`Core::bye`](../crates/x/src/lib.rs)\n"), 1);
    }
}
