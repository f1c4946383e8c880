//! Rules for the scenarios with real programs.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::interop::is_scenario;
use crate::tree::Tree;

const HOME: &str = "tests/interop/";

/// Each scenario has a README, its list of packages and an executable `run`; its number is its own.
pub(crate) fn complete(tree: &Tree) -> Vec<Finding> {
    let names: BTreeSet<&str> = tree
        .files()
        .filter_map(|file| file.path.strip_prefix(HOME)?.split_once('/'))
        .map(|(name, _)| name)
        .filter(|name| is_scenario(name))
        .collect();
    let mut findings = Vec::new();
    let mut numbers = BTreeSet::new();
    for name in names {
        let folder = format!("{HOME}{name}");
        if !numbers.insert(&name[..2]) {
            let cause = "its number is taken";
            findings.push(Finding::new("tidy/scenario", &folder, 0, cause));
        }
        for part in ["README.md", "packages", "run"] {
            let file = tree.get(&format!("{folder}/{part}"));
            let cause = match file {
                None => format!("has no `{part}`"),
                Some(file) if file.text.trim().is_empty() => format!("`{part}` is empty"),
                Some(file) if part == "run" && !file.executable => {
                    "`run` is not executable".to_owned()
                }
                Some(_) => continue,
            };
            findings.push(Finding::new("tidy/scenario", &folder, 0, cause));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_scenario_is_found() {
        let whole = [
            ("tests/interop/01-a/README.md", "A.\n"),
            ("tests/interop/01-a/packages", "curl\n"),
            ("tests/interop/01-a/run", "#!/usr/bin/python3\n"),
            ("tests/interop/harness/net.py", ""),
        ];
        assert_eq!(complete(&Tree::of(&whole)).len(), 0);
        assert_eq!(complete(&Tree::of(&whole[1..])).len(), 1);
        let plain = [
            whole[0],
            whole[1],
            ("tests/interop/01-a/run", "import os\n"),
        ];
        assert_eq!(complete(&Tree::of(&plain)).len(), 1);
        let twice = [&whole[..], &[("tests/interop/01-b/README.md", "B.\n")]].concat();
        assert_eq!(complete(&Tree::of(&twice)).len(), 3);
    }
}
