//! The numbered scenarios with real programs: their packages, and their runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::floors;
use crate::step::{Board, Counts, Verdict};

/// A scenario has a limit of 4 minutes of its own.
const LIMIT: Duration = Duration::from_secs(6 * 60);
/// Debian's way to say that services are not to be started when they are installed.
const START_NO_SERVICE: &str = "/usr/sbin/policy-rc.d";

/// Runs every scenario in the order of its number.
pub(crate) fn run(root: &Path, board: &mut Board, install: bool) -> anyhow::Result<()> {
    let scenarios = scenarios(root)?;
    let wanted: Vec<&(String, PathBuf)> = scenarios
        .iter()
        .filter(|(name, _)| board.wants(&step(name)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let missing = missing(wanted.iter().map(|(_, folder)| folder.as_path()))?;
    if !missing.is_empty() {
        if install && is_root() {
            board.step("interop packages", || install_packages(&missing));
        } else {
            let list: Vec<&str> = missing.iter().map(String::as_str).collect();
            println!(
                "\nNOT INSTALLED, scenarios that need them are skipped: {}",
                list.join(" ")
            );
        }
    }
    let program = floors::target(root)?.join("debug/causeway");
    for (name, folder) in wanted {
        let mut command = Command::new(folder.join("run"));
        command.arg("--program").arg(&program).current_dir(root);
        board.program(&step(name), command, Verdict::Lines, LIMIT);
    }
    Ok(())
}

/// The scenarios by number: name and folder.
pub(crate) fn scenarios(root: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let home = root.join("tests/interop");
    let mut found = Vec::new();
    for entry in fs::read_dir(&home).with_context(|| format!("reading {}", home.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_scenario(&name) {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a folder's name is a scenario's, as `01-baresip-kamailio`.
pub(crate) fn is_scenario(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() > 3 && bytes[..2].iter().all(u8::is_ascii_digit) && bytes[2] == b'-'
}

/// The packages of these scenarios that are not installed, and Python, which all of them need.
pub(crate) fn missing<'a>(
    folders: impl Iterator<Item = &'a Path>,
) -> anyhow::Result<BTreeSet<String>> {
    let mut wanted = BTreeSet::from(["python3".to_owned()]);
    for folder in folders {
        let text = fs::read_to_string(folder.join("packages"))
            .with_context(|| format!("reading the packages of {}", folder.display()))?;
        wanted.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned),
        );
    }
    wanted.retain(|package| !is_installed(package));
    Ok(wanted)
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|answer| answer.stdout == b"installed")
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|answer| answer.stdout.trim_ascii() == b"0")
}

/// One `apt-get update`, one `apt-get install`. No service is started: the scenarios start what
/// they need in namespaces of their own.
fn install_packages(packages: &BTreeSet<String>) -> anyhow::Result<Counts> {
    let list: Vec<&str> = packages.iter().map(String::as_str).collect();
    println!("installing {}", list.join(" "));
    let ours = !Path::new(START_NO_SERVICE).exists();
    if ours {
        fs::write(START_NO_SERVICE, "#!/bin/sh\nexit 101\n")?;
        Command::new("chmod")
            .args(["755", START_NO_SERVICE])
            .status()?;
    }
    let updated = apt_get(&["update"]);
    let install = ["install", "--yes", "--no-install-recommends"];
    let installed = apt_get(&[&install[..], &list].concat());
    if ours {
        fs::remove_file(START_NO_SERVICE)?;
    }
    if installed? {
        return Ok(Counts::one(true));
    }
    let update = if updated? {
        ""
    } else {
        " (apt-get update failed as well)"
    };
    Ok(Counts::skip(format!(
        "apt-get install {} failed{update}",
        list.join(" ")
    )))
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<bool> {
    let status = Command::new("apt-get")
        .args(["-q", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("running apt-get")?;
    Ok(status.success())
}

fn step(scenario: &str) -> String {
    format!("interop {scenario}")
}
