//! The repository as text: what git tracks and what it does not ignore.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// All files of the repository, by path.
pub(crate) struct Tree {
    files: Vec<File>,
}

/// One file.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// Its text; empty if it is not UTF-8.
    pub(crate) text: String,
    /// Whether its owner may execute it.
    pub(crate) executable: bool,
}

impl File {
    /// The file's ending without the dot, or nothing.
    pub(crate) fn ending(&self) -> &str {
        self.name()
            .rsplit_once('.')
            .map_or("", |(_, ending)| ending)
    }

    /// The file's name without its folders.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }
}

impl Tree {
    /// Reads the repository at `root`. Without git, every file outside `target` and `.git`.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let paths = tracked(root).unwrap_or_else(|| {
            let mut found = Vec::new();
            walk(root, "", &mut found);
            found
        });
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let full = root.join(&path);
            let Ok(data) = fs::symlink_metadata(&full) else {
                continue;
            }; // deleted, not committed
            if !data.is_file() {
                continue;
            }
            let bytes = fs::read(&full).with_context(|| format!("reading {path}"))?;
            let executable = data.permissions().mode() & 0o100 != 0;
            files.push(File {
                path,
                text: String::from_utf8(bytes).unwrap_or_default(),
                executable,
            });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// A tree of these paths and texts.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |&(path, text): &(&str, &str)| File {
            path: path.to_owned(),
            text: text.to_owned(),
            executable: text.starts_with("#!"),
        };
        Self {
            files: files.iter().map(file).collect(),
        }
    }

    /// All files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    /// The files with this ending.
    pub(crate) fn ending(&self, ending: &str) -> impl Iterator<Item = &File> {
        self.files
            .iter()
            .filter(move |file| file.ending() == ending)
    }

    /// The file at `path`.
    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether there is a file or a folder at `path`.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        path.is_empty()
            || self
                .files
                .iter()
                .any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

/// What git knows of, and what is new and not ignored.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let arguments = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let answer = Command::new("git")
        .args(arguments)
        .current_dir(root)
        .output()
        .ok()?;
    if !answer.status.success() {
        return None;
    }
    let text = String::from_utf8(answer.stdout).ok()?;
    let mut paths: Vec<String> = text
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    Some(paths)
}

/// Every file below `folder`, leaving out what is built and what git keeps.
fn walk(root: &Path, folder: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_file() {
            found.push(path);
        } else if kind.is_dir() && !["target", ".git", "__pycache__"].contains(&name.as_str()) {
            walk(root, &path, found);
        }
    }
}
