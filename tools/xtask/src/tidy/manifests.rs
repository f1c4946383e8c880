//! Rules for manifests.

use toml::{Table, Value};

use crate::finding::Finding;
use crate::tree::{File, Tree};

/// What every crate takes from the workspace.
const SHARED: [&str; 4] = ["version", "edition", "rust-version", "license"];
/// Where each dependency has its reason.
const REASONS: &str = "docs/dependencies.md";

/// Every crate says what it is, takes the workspace's settings and lints, and takes dependencies
/// by the workspace's versions.
pub(crate) fn members(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let manifests = tree.files().filter(|file| file.name() == "Cargo.toml");
    for file in manifests.filter(|file| file.path != "Cargo.toml") {
        let Ok(manifest) = file.text.parse::<Table>() else {
            findings.push(Finding::new("tidy/manifest", &file.path, 0, "is no TOML"));
            continue;
        };
        if manifest.contains_key("workspace") {
            continue; // a workspace of its own, as the fuzz targets for nightly
        }
        let mut wrong = |cause: String| {
            findings.push(Finding::new("tidy/manifest", &file.path, 0, cause));
        };
        let package = manifest.get("package").and_then(Value::as_table);
        let package = package.cloned().unwrap_or_default();
        if package
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
        {
            wrong("no description".to_owned());
        }
        for key in SHARED {
            if !from_workspace(package.get(key)) {
                wrong(format!("`{key}` is not the workspace's"));
            }
        }
        if !from_workspace(manifest.get("lints")) {
            wrong("does not take the workspace's lints".to_owned());
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let list = manifest.get(section).and_then(Value::as_table);
            for (name, value) in list.into_iter().flatten() {
                if !from_workspace(Some(value)) {
                    wrong(format!(
                        "`{name}` has a version of its own, not the workspace's"
                    ));
                }
            }
        }
    }
    findings
}

/// Every dependency from outside has its reason in `docs/dependencies.md`, and no other has.
pub(crate) fn reasons(tree: &Tree) -> Vec<Finding> {
    let Some(workspace) = tree.get("Cargo.toml") else {
        return Vec::new();
    };
    let wanted = outside(workspace);
    let Some(document) = tree.get(REASONS) else {
        return vec![Finding::new("tidy/reason", REASONS, 0, "is missing")];
    };
    let given: Vec<(usize, &str)> = document
        .lines()
        .filter_map(|(number, line)| Some((number, line.strip_prefix("| `")?.split_once('`')?.0)))
        .collect();
    let mut findings = Vec::new();
    for name in &wanted {
        if !given.iter().any(|(_, given)| given == name) {
            let cause = format!("`{name}` has no reason");
            let fix = format!("add a line ``| `{name}` | why |``, or do without");
            findings.push(Finding::new("tidy/reason", REASONS, 0, cause).fix(fix));
        }
    }
    for (number, name) in given {
        if !wanted.iter().any(|wanted| wanted == name) {
            let cause = format!("`{name}` is no dependency of the workspace");
            findings.push(Finding::new("tidy/reason", REASONS, number, cause));
        }
    }
    findings
}

/// The workspace's dependencies that are no crate of the house.
fn outside(workspace: &File) -> Vec<String> {
    let manifest: Table = workspace.text.parse().unwrap_or_default();
    let list = manifest
        .get("workspace")
        .and_then(|w| w.get("dependencies"));
    let list = list.and_then(Value::as_table).cloned().unwrap_or_default();
    list.into_iter()
        .filter(|(_, value)| value.get("path").is_none())
        .map(|(name, _)| name)
        .collect()
}

fn from_workspace(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")) == Some(&Value::Boolean(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"x\"\ndescription = \"X\"\nversion.workspace = true\n\
        edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\
        [lints]\nworkspace = true\n[dependencies]\nserde = { workspace = true }\n";

    fn found(text: &str) -> usize {
        members(&Tree::of(&[("crates/x/Cargo.toml", text)])).len()
    }

    #[test]
    fn manifest_that_goes_its_own_way_is_found() {
        assert_eq!(found(GOOD), 0);
        assert_eq!(found(&GOOD.replace("description = \"X\"\n", "")), 1);
        assert_eq!(
            found(&GOOD.replace("edition.workspace = true", "edition = \"2021\"")),
            1
        );
        assert_eq!(found(&GOOD.replace("[lints]\nworkspace = true\n", "")), 1);
        assert_eq!(found(&GOOD.replace("{ workspace = true }", "\"1\"")), 1);
    }

    #[test]
    fn dependency_without_reason_and_reason_without_dependency_are_found() {
        let manifest = "[workspace.dependencies]\nserde = \"1\"\nsip = { path = \"x\" }\n";
        let found = |document: &str| {
            reasons(&Tree::of(&[("Cargo.toml", manifest), (REASONS, document)])).len()
        };
        assert_eq!(found("| `serde` | reads the file |\n"), 0);
        assert_eq!(found("nothing\n"), 1);
        assert_eq!(found("| `serde` | x |\n| `rand` | y |\n"), 1);
    }
}
