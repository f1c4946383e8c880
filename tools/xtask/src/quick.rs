//! The checks of every few minutes: about a minute after a build.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::finding;
use crate::step::{Board, Counts, Verdict};
use crate::{floors, tidy};

/// A compile from nothing on a slow machine.
pub(crate) const BUILD: Duration = Duration::from_secs(20 * 60);
/// A compile and all tests of the workspace.
pub(crate) const TESTS: Duration = Duration::from_secs(30 * 60);

/// What nextest tells while it runs.
pub(crate) const SLOW_AND_FAILED: &str = "--status-level=slow";

/// Format, tidy, floors, clippy, unit tests.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    let mut board = Board::new(&[]);
    rules(root, &mut board);
    let mut arguments = vec!["test", "--workspace", "--lib", "--bins", "--no-fail-fast"];
    if has_cargo(root, "nextest") {
        arguments.splice(0..1, ["nextest", "run", SLOW_AND_FAILED]);
    }
    board.program("unit tests", cargo(root, &arguments), Verdict::Lines, TESTS);
    Ok(board.close())
}

/// The rules that need no test to run.
pub(crate) fn rules(root: &Path, board: &mut Board) {
    tool(root, board, "format", &["fmt", "--all", "--check"]);
    board.step("tidy", || {
        Ok(Counts::one(finding::report(&tidy::check(root)?)))
    });
    board.step("floors", || {
        Ok(Counts::one(finding::report(&floors::check(root)?)))
    });
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    tool(root, board, "clippy", &clippy);
}

/// A step by a cargo subcommand that a bare tool chain may lack.
fn tool(root: &Path, board: &mut Board, name: &str, arguments: &[&str]) {
    if has_cargo(root, arguments[0]) {
        board.program(name, cargo(root, arguments), Verdict::Exit, BUILD);
    } else {
        let why = format!(
            "no `cargo {0}`: rustup component add rustfmt clippy",
            arguments[0]
        );
        board.step(name, || Ok(Counts::skip(why)));
    }
}

/// A cargo command in the repository.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root);
    // What cargo sets for this very crate must not reach the builds it starts.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Whether cargo has this subcommand.
pub(crate) fn has_cargo(root: &Path, subcommand: &str) -> bool {
    let answer = cargo(root, &[subcommand, "--version"]).output();
    answer.is_ok_and(|answer| answer.status.success())
}
