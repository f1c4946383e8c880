//! What `cargo metadata` says of the workspace, as far as the floors need it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::quick::cargo;

/// The workspace and what it resolves to.
pub(crate) struct Metadata {
    /// The crates of the workspace.
    pub(crate) members: Vec<Crate>,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// Every package's name by id.
    names: BTreeMap<String, String>,
    /// Every package's normal and build dependencies, by id.
    edges: BTreeMap<String, Vec<String>>,
}

/// One crate of the workspace.
pub(crate) struct Crate {
    /// Cargo's id of it.
    pub(crate) id: String,
    /// Its name, as `causeway-sip`.
    pub(crate) name: String,
    /// Its folder, relative to the root.
    pub(crate) path: String,
    /// Its dependencies as the manifest has them.
    pub(crate) dependencies: Vec<(String, Kind)>,
}

impl Crate {
    /// Its name within the house, as `sip`.
    pub(crate) fn short(&self) -> &str {
        super::short(&self.name)
    }
}

/// What a dependency is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Part of the crate, or of its build.
    Normal,
    /// For its tests only.
    Test,
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// If cargo fails or its answer has another form.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let arguments = ["metadata", "--format-version", "1", "--locked"];
        let answer = cargo(root, &arguments)
            .output()
            .context("running cargo metadata")?;
        anyhow::ensure!(
            answer.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&answer.stderr).trim()
        );
        Self::parse(&serde_json::from_slice(&answer.stdout)?)
            .context("cargo metadata has a form that is not known")
    }

    fn parse(value: &Value) -> Option<Self> {
        let root = value["workspace_root"].as_str()?;
        let ids: BTreeSet<&str> = value["workspace_members"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let mut members = Vec::new();
        let mut names = BTreeMap::new();
        for package in value["packages"].as_array()? {
            let id = package["id"].as_str()?;
            let name = package["name"].as_str()?;
            names.insert(id.to_owned(), name.to_owned());
            if ids.contains(id) {
                let folder = Path::new(package["manifest_path"].as_str()?).parent()?;
                members.push(Crate {
                    id: id.to_owned(),
                    name: name.to_owned(),
                    path: folder.strip_prefix(root).ok()?.to_str()?.to_owned(),
                    dependencies: dependencies(&package["dependencies"])?,
                });
            }
        }
        let mut edges = BTreeMap::new();
        for node in value["resolve"]["nodes"].as_array()? {
            let mut to = Vec::new();
            for dep in node["deps"].as_array()? {
                if dep["dep_kinds"]
                    .as_array()?
                    .iter()
                    .any(|kind| kind["kind"] != "dev")
                {
                    to.push(dep["pkg"].as_str()?.to_owned());
                }
            }
            edges.insert(node["id"].as_str()?.to_owned(), to);
        }
        let target = PathBuf::from(value["target_directory"].as_str()?);
        Some(Self {
            members,
            target,
            names,
            edges,
        })
    }

    /// The names of all that a package brings with it, however deep, tests left out.
    pub(crate) fn reach(&self, id: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            for next in self.edges.get(id).into_iter().flatten() {
                if seen.insert(next.as_str()) {
                    left.push(next);
                }
            }
        }
        seen.into_iter()
            .filter_map(|id| self.names.get(id))
            .map(String::as_str)
            .collect()
    }

    /// A workspace of these members (name, folder) and edges (from, to), for tests of the rules.
    #[cfg(test)]
    pub(crate) fn of(members: &[(&str, &str)], edges: &[(&str, &str)]) -> Self {
        let to = |from: &str| -> Vec<String> {
            edges
                .iter()
                .filter(|(f, _)| *f == from)
                .map(|(_, to)| (*to).to_owned())
                .collect()
        };
        let crates = members.iter().map(|&(name, path)| Crate {
            id: name.to_owned(),
            name: name.to_owned(),
            path: path.to_owned(),
            dependencies: to(name).into_iter().map(|to| (to, Kind::Normal)).collect(),
        });
        let all: BTreeSet<&str> = edges
            .iter()
            .flat_map(|(a, b)| [*a, *b])
            .chain(members.iter().map(|m| m.0))
            .collect();
        Self {
            members: crates.collect(),
            target: PathBuf::new(),
            names: all
                .iter()
                .map(|name| ((*name).to_owned(), (*name).to_owned()))
                .collect(),
            edges: all
                .iter()
                .map(|name| ((*name).to_owned(), to(name)))
                .collect(),
        }
    }
}

fn dependencies(list: &Value) -> Option<Vec<(String, Kind)>> {
    let mut all = Vec::new();
    for dependency in list.as_array()? {
        let kind = if dependency["kind"] == "dev" {
            Kind::Test
        } else {
            Kind::Normal
        };
        all.push((dependency["name"].as_str()?.to_owned(), kind));
    }
    Some(all)
}
