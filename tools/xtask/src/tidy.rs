//! The rules of the tree's text.
//!
//! Each rule is a function from the whole tree to findings, and has a test that plants a breach.

mod checklist;
mod docs;
mod manifests;
pub(crate) mod ratchet;
mod scenarios;
mod source;
mod text;

use std::path::Path;

use crate::finding::Finding;
use crate::tree::Tree;

/// A rule.
type Rule = fn(&Tree) -> Vec<Finding>;

/// All rules.
const RULES: &[Rule] = &[
    text::long_lines,
    text::trailing_space,
    text::machine_paths,
    text::private_keys,
    source::heads,
    source::names,
    source::async_below_the_line,
    source::ignored_tests,
    ratchet::lengths,
    checklist::checklist,
    docs::links,
    docs::named_items,
    manifests::members,
    manifests::reasons,
    scenarios::complete,
];

/// All breaches of the rules.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let tree = Tree::read(root)?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}
