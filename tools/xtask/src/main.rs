//! The house's rules and chores: `cargo xtask quick`, `cargo xtask test`, `cargo xtask --help`.
//!
//! Nothing here knows the product's code. It reads the tree as text, asks cargo for its metadata,
//! and runs programs. Every finding names a file, a line, a cause and a fix.

mod doctor;
mod finding;
mod floors;
mod interop;
mod quick;
mod step;
mod test;
mod tidy;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// The house's rules and chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Format, tidy, floors, clippy and unit tests: about a minute after a build
    Quick,
    /// Everything: quick, all tests, the tour, the scenarios with real programs
    Test {
        /// Only steps whose name contains one of these words
        #[arg(long, value_name = "WORD")]
        only: Vec<String>,
        /// Take what is installed; never ask the package manager
        #[arg(long)]
        no_install: bool,
    },
    /// The tree's text: lengths, names, heads, links, manifests, secrets
    Tidy {
        /// Write down the present lengths of files that are too long already
        #[arg(long)]
        ratchet: bool,
    },
    /// Who may depend on whom, by the table in ARCHITECTURE.md
    Floors,
    /// What this machine has of what the checks need
    Doctor,
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does a chore in the repository's root. True if all was well.
fn run(chore: Chore) -> anyhow::Result<bool> {
    let root = root()?;
    match chore {
        Chore::Quick => quick::run(&root),
        Chore::Test { only, no_install } => test::run(&root, &only, !no_install),
        Chore::Tidy { ratchet: true } => tidy::ratchet::write(&root).map(|()| true),
        Chore::Tidy { ratchet: false } => Ok(finding::report(&tidy::check(&root)?)),
        Chore::Floors => Ok(finding::report(&floors::check(&root)?)),
        Chore::Doctor => doctor::run(&root),
    }
}

/// The repository's root: two folders above this crate.
fn root() -> anyhow::Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = here.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let root = here
        .ancestors()
        .nth(2)
        .context("xtask stands in no repository")?;
    Ok(root.to_path_buf())
}
