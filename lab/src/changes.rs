//! What can be changed at the servers inside while the lab runs, as their administrators would.
//!
//! `cargo lab change --dir DIR NAME…` writes the names to `DIR/changes`; the simulated servers look
//! at it whenever they are asked. Without names all is as it was.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::terminal;

/// A change, or a fault, of Unified CM's administration side.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A second node joins the cluster: cucm2
    NodeAdded,
    /// The second node is called cucm9, with `node-added`
    NodeRenamed,
    /// Phones register with the second node at port 5062, with `node-added`
    PortChanged,
    /// The cluster goes into mixed mode, or out of it
    MixedModeToggled,
    /// There is one more secure profile, whose name no certificate holds
    ProfileAdded,
    /// The AXL web service is off: 404 and a page
    AxlOff,
    /// AXL answers after two seconds
    AxlSlow,
    /// AXL throttles: 503
    AxlBusy,
    /// The account that asks is locked: 401
    AccountLocked,
    /// It lacks its role: 403
    RoleMissing,
    /// UDS answers after half a second
    UdsSlow,
    /// UDS throttles: 503
    UdsBusy,
    /// All users' accounts are locked: 401 for good passwords
    UsersLocked,
    /// A region allows video calls 384 kbit/s (F341)
    RegionLimited,
    /// Unified CM's web services show a certificate that they signed themselves
    SelfSigned,
    /// Neither cluster knows users of the other: the lookup service is off
    IlsOff,
}

/// The second node's name while it has not been renamed.
pub const SECOND: &str = "cucm2.example.test";
/// Its name afterwards.
pub const RENAMED: &str = "cucm9.example.test";
/// The profile that is added.
pub const PROFILE: &str = "added-profile.example.test";

/// Which changes there are now; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    set: Vec<Change>,
    file: Option<PathBuf>,
}

impl Changes {
    /// Goes by the file of a lab's folder from now on.
    pub fn follow(&self, dir: &Path) {
        self.lock().file = Some(path(dir));
    }

    /// These and no others.
    ///
    /// # Errors
    /// The disk's.
    pub fn set(&self, changes: &[Change]) -> Result<()> {
        let mut state = self.lock();
        state.set = changes.to_vec();
        match &state.file {
            Some(file) => write(file, changes),
            None => Ok(()),
        }
    }

    /// Whether this one is.
    pub fn has(&self, change: Change) -> bool {
        let state = self.lock();
        match &state.file {
            None => state.set.contains(&change),
            Some(file) => {
                let text = std::fs::read_to_string(file).unwrap_or_default();
                text.lines().any(|line| line == name(change))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("changes")
}

fn name(change: Change) -> String {
    let value = change.to_possible_value();
    value.map(|v| v.get_name().to_owned()).unwrap_or_default()
}

fn write(file: &Path, changes: &[Change]) -> Result<()> {
    let lines: String = changes.iter().map(|c| name(*c) + "\n").collect();
    // Renamed into place: whoever reads meanwhile sees the old or the new.
    let beside = file.with_extension("new");
    std::fs::write(&beside, lines).with_context(|| beside.display().to_string())?;
    std::fs::rename(&beside, file).with_context(|| file.display().to_string())
}

/// `cargo lab change`.
///
/// # Errors
/// No lab runs there, or the disk's.
pub fn run(dir: &Path, changes: &[Change]) -> Result<ExitCode> {
    let lab = dir.join("lab.json");
    anyhow::ensure!(lab.exists(), "{} is not there: no lab runs", lab.display());
    write(&path(dir), changes)?;
    let names: Vec<String> = changes.iter().map(|c| name(*c)).collect();
    terminal::remark(&match names.as_slice() {
        [] => "the servers inside are as they were".to_owned(),
        names => format!("the servers inside: {}", names.join(", ")),
    });
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_another_process_are_seen_and_taken_back() {
        let dir = std::env::temp_dir().join(format!("lab-changes-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let changes = Changes::default();
        changes.set(&[Change::AxlOff]).unwrap();
        assert!(changes.has(Change::AxlOff));
        changes.follow(&dir);
        assert!(!changes.has(Change::AxlOff));
        assert!(run(&dir, &[Change::NodeAdded]).is_err(), "no lab runs");
        std::fs::write(dir.join("lab.json"), "{}").unwrap();
        run(&dir, &[Change::NodeAdded, Change::PortChanged]).unwrap();
        assert!(changes.has(Change::NodeAdded) && changes.has(Change::PortChanged));
        assert!(!changes.has(Change::NodeRenamed));
        run(&dir, &[]).unwrap();
        assert!(!changes.has(Change::NodeAdded));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
