//! The product's binary: the one that `CAUSEWAY` names, or one built now.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use super::say;

/// Finds or builds the program.
///
/// # Errors
/// If it does not build, or `CAUSEWAY` names no file.
pub async fn find() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("CAUSEWAY") {
        let path = Path::new(&given);
        return path
            .canonicalize()
            .with_context(|| format!("CAUSEWAY names {}, which is not there", path.display()));
    }
    say("building the program (the first time takes minutes)");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // No `--package`: the default members together, as `cargo lab` was built. Alone, the program
    // would have its dependencies with other features and compile them again.
    build
        .current_dir(&root)
        .args(["build", "--bin", "causeway"]);
    build.arg("--message-format=json-render-diagnostics");
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    build
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let done = build.output().await.context(
        "cargo cannot be started; set CAUSEWAY=/path/to/causeway to use a program built before",
    )?;
    if !done.status.success() {
        bail!("the program does not build; see above");
    }
    let lines = String::from_utf8_lossy(&done.stdout);
    let built = lines.lines().filter_map(executable).next_back();
    built.context("cargo built no binary called causeway")
}

/// The executable that a line of cargo's messages tells of.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let ours = message["target"]["name"] == "causeway";
    ours.then(|| message["executable"].as_str().map(PathBuf::from))
        .flatten()
}
