//! Who may depend on whom.
//!
//! The rule is the table of floors in `ARCHITECTURE.md`: what a crate may use is read from there,
//! so the document cannot say anything else than what holds. Besides: a dependency leads strictly
//! downward, no engine knows a runtime or a socket, what stands beside the house knows no crate of
//! it, and the product carries one TLS library.

mod metadata;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::finding::Finding;
use crate::quick::cargo;
use metadata::{Kind, Metadata};
use table::Table;

/// Where the table stands.
const HOUSE: &str = "ARCHITECTURE.md";
/// Below the I/O line none of these may appear, not even through another crate.
const ABOVE_THE_LINE: [&str; 12] = [
    "tokio",
    "mio",
    "async-io",
    "smol",
    "socket2",
    "hyper",
    "h2",
    "rustls",
    "russh",
    "hickory-resolver",
    "futures-executor",
    "rusqlite",
];
/// What the product must not carry, because one library of its kind is enough.
const TWICE: [&str; 4] = ["ring", "openssl-sys", "native-tls", "async-std"];

/// All breaches of the floors.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let metadata = Metadata::read(root)?;
    let text =
        std::fs::read_to_string(root.join(HOUSE)).with_context(|| format!("reading {HOUSE}"))?;
    let table = Table::parse(&text)?;
    let mut findings = by_table(&metadata, &table);
    findings.extend(below_the_line(&metadata));
    findings.extend(carried_twice(root)?);
    Ok(findings)
}

/// Where cargo builds.
pub(crate) fn target(root: &Path) -> anyhow::Result<PathBuf> {
    Ok(Metadata::read(root)?.target)
}

/// The table against the manifests.
fn by_table(metadata: &Metadata, table: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    let house: BTreeMap<&str, &metadata::Crate> = metadata
        .members
        .iter()
        .filter(|member| member.path.starts_with("crates/"))
        .map(|member| (member.short(), member))
        .collect();
    for row in table.rows() {
        if !house.contains_key(row.name.as_str()) {
            let cause = format!(
                "the table has `{}`, the workspace has no such crate",
                row.name
            );
            findings.push(Finding::new("floors/table", HOUSE, row.line, cause));
        }
    }
    for member in &metadata.members {
        let manifest = format!("{}/Cargo.toml", member.path);
        let inside: Vec<(&str, Kind)> = member
            .dependencies
            .iter()
            .filter_map(|(name, kind)| Some((house.get_key_value(short(name))?.0, *kind)))
            .map(|(name, kind)| (*name, kind))
            .collect();
        if !member.path.starts_with("crates/") {
            findings.extend(beside(member, &manifest, &inside));
            continue;
        }
        let Some(own) = table.get(member.short()) else {
            let cause = format!("`{}` has no row in the table of floors", member.short());
            let fix = format!("give it a floor in {HOUSE}");
            findings.push(Finding::new("floors/table", &manifest, 0, cause).fix(fix));
            continue;
        };
        for (name, kind) in inside {
            let Some(other) = table.get(name) else {
                continue;
            };
            if other.floor >= own.floor {
                let cause = format!(
                    "`{}` (floor {}) uses `{name}` (floor {}): not downward",
                    own.name, own.floor, other.floor
                );
                let fix = "move what is shared down, or the caller up";
                findings.push(Finding::new("floors/downward", &manifest, 0, cause).fix(fix));
            } else if kind == Kind::Normal && !own.may_use.contains(name) {
                let cause = format!("`{}` uses `{name}`, which its row does not allow", own.name);
                let fix = format!("do without, or change the row in {HOUSE} and say why");
                findings.push(Finding::new("floors/table", &manifest, 0, cause).fix(fix));
            }
        }
    }
    findings
}

/// What stands beside the house: `tests/` may use engines and the I/O crates it tests; the lab and
/// the tools know the product by the wire, the command line and the API.
fn beside(member: &metadata::Crate, manifest: &str, inside: &[(&str, Kind)]) -> Vec<Finding> {
    if member.path.starts_with("tests/") || member.path.starts_with("fuzz") {
        return Vec::new();
    }
    let finding = |&(name, _): &(&str, Kind)| {
        let cause = format!("`{}` uses `{name}`, a crate of the product", member.name);
        let fix = "know the product by the wire, the command line and the API";
        Finding::new("floors/beside", manifest, 0, cause).fix(fix)
    };
    inside.iter().map(finding).collect()
}

/// Nothing that waits or opens a socket, however deep, in an engine.
fn below_the_line(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in metadata
        .members
        .iter()
        .filter(|m| m.path.starts_with("crates/engine/"))
    {
        let reached = metadata.reach(&member.id);
        for name in ABOVE_THE_LINE {
            if reached.contains(name) {
                let cause = format!("`{}` brings in `{name}` below the I/O line", member.short());
                let fix = "engines are pure: give what is needed as an input, from above the line";
                let manifest = format!("{}/Cargo.toml", member.path);
                findings.push(Finding::new("floors/line", &manifest, 0, cause).fix(fix));
            }
        }
    }
    findings
}

/// What `cargo tree` says the product carries.
fn carried_twice(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let arguments = [
        "tree",
        "--locked",
        "--package",
        "causeway",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let answer = cargo(root, &arguments)
        .output()
        .context("running cargo tree")?;
    anyhow::ensure!(
        answer.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&answer.stderr).trim()
    );
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let carried: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let finding = |name: &&str| {
        let cause = format!("the product carries `{name}`");
        let fix = format!("cargo tree --package causeway --edges normal,build --invert {name}");
        Finding::new("floors/one-of-a-kind", "Cargo.lock", 0, cause).fix(fix)
    };
    Ok(TWICE
        .iter()
        .filter(|name| carried.contains(**name))
        .map(finding)
        .collect())
}

/// A crate's name within the house.
fn short(name: &str) -> &str {
    name.strip_prefix("causeway-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
| floor | crate | purpose | may use |
|---|---|---|---|
| 0 | `base` | ground | – |
| 1 | `sip` | messages | base |
| 1 | `sdp` | descriptions | base |
| 2 | `media` | packets | base sdp |
| 5 | `net` | sockets | 0–2 |
";

    fn metadata(edges: &[(&str, &str)]) -> Metadata {
        let paths = [
            ("causeway-base", "crates/engine/base"),
            ("causeway-sip", "crates/engine/sip"),
            ("causeway-sdp", "crates/engine/sdp"),
            ("causeway-media", "crates/engine/media"),
            ("causeway-net", "crates/io/net"),
            ("lab", "lab"),
            ("causeway-sim", "tests/sim"),
        ];
        Metadata::of(&paths, edges)
    }

    fn rules(edges: &[(&str, &str)]) -> Vec<&'static str> {
        let metadata = metadata(edges);
        let mut findings = by_table(&metadata, &Table::parse(TABLE).unwrap());
        findings.extend(below_the_line(&metadata));
        findings.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn downward_and_allowed_is_fine() {
        let edges = [
            ("causeway-sip", "causeway-base"),
            ("causeway-media", "causeway-sdp"),
            ("causeway-net", "causeway-media"),
            ("causeway-net", "tokio"),
            ("causeway-sim", "causeway-media"),
            ("lab", "tokio"),
        ];
        assert_eq!(rules(&edges), Vec::<&str>::new());
    }

    #[test]
    fn upward_and_sideways_are_found() {
        assert_eq!(
            rules(&[("causeway-base", "causeway-sip")]),
            ["floors/downward"]
        );
        assert_eq!(
            rules(&[("causeway-sip", "causeway-sdp")]),
            ["floors/downward"]
        );
    }

    #[test]
    fn downward_but_not_in_the_row_is_found() {
        assert_eq!(
            rules(&[("causeway-media", "causeway-sip")]),
            ["floors/table"]
        );
    }

    #[test]
    fn the_lab_may_not_know_the_product() {
        assert_eq!(rules(&[("lab", "causeway-sip")]), ["floors/beside"]);
    }

    #[test]
    fn a_runtime_below_the_line_is_found_however_deep() {
        let edges = [("causeway-sip", "innocent"), ("innocent", "tokio")];
        assert_eq!(rules(&edges), ["floors/line"]);
    }
}
