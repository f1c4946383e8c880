//! Everything: the rules, all tests, the tour, the scenarios with real programs.

use std::path::Path;
use std::time::Duration;

use crate::interop;
use crate::quick::{self, BUILD, SLOW_AND_FAILED, TESTS, cargo, has_cargo};
use crate::step::{Board, Verdict};

/// The tour takes well under a minute, and so do the mistakes.
const TOUR: Duration = Duration::from_secs(5 * 60);

/// Runs all steps that `only` wants (all, if it is empty). `install`: missing Debian packages of
/// the scenarios may be installed, if this is root.
pub(crate) fn run(root: &Path, only: &[String], install: bool) -> anyhow::Result<bool> {
    let mut board = Board::new(only);
    quick::rules(root, &mut board);
    let mut docs = cargo(
        root,
        &["doc", "--workspace", "--no-deps", "--keep-going", "--quiet"],
    );
    docs.env("RUSTDOCFLAGS", "-D warnings");
    board.program("rustdoc", docs, Verdict::Exit, BUILD);

    if has_cargo(root, "nextest") {
        let arguments = [
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            SLOW_AND_FAILED,
        ];
        board.program("tests", cargo(root, &arguments), Verdict::Lines, TESTS);
        let arguments = ["test", "--workspace", "--doc", "--no-fail-fast"];
        board.program("doc tests", cargo(root, &arguments), Verdict::Lines, TESTS);
    } else {
        let arguments = ["test", "--workspace", "--no-fail-fast"];
        board.program("tests", cargo(root, &arguments), Verdict::Lines, TESTS);
    }

    let product = cargo(
        root,
        &["build", "--package", "causeway", "--package", "lab"],
    );
    board.program("build", product, Verdict::Exit, BUILD);
    board.program("tour", cargo(root, &["lab"]), Verdict::Lines, TOUR);
    let mistakes = cargo(root, &["lab", "mistakes"]);
    board.program("mistakes", mistakes, Verdict::Lines, TOUR);
    interop::run(root, &mut board, install)?;
    Ok(board.close())
}
