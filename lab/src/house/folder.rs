//! The lab's folder: configurations, certificates, data and logs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::settings;
use crate::file::LabFile;
use crate::world::{NODES_MAX, secret};

/// The longest path: the local socket of a node in it is at most 107 bytes (unix(7)).
const BYTES_MAX: usize = 70;

/// A folder; a temporary one goes with this value, unless it is to be kept.
pub struct Folder {
    /// The absolute path.
    pub path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// The folder given, without what an earlier lab left there, or a temporary one.
    ///
    /// # Errors
    /// The disk's, or a path that is too long.
    pub fn open(given: Option<&Path>) -> Result<Folder> {
        let (path, temporary) = match given {
            Some(path) => (path.to_owned(), false),
            None => (
                std::env::temp_dir().join(format!("causeway-lab-{}", secret(8))),
                true,
            ),
        };
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let folder = Folder {
            path: path.canonicalize()?,
            temporary,
        };
        if folder.path.as_os_str().len() > BYTES_MAX {
            let shown = folder.path.display();
            bail!("{shown} is too long for the sockets in it: choose a folder with a shorter path");
        }
        let _ = fs::remove_file(LabFile::path(&folder.path));
        for number in 1..=NODES_MAX {
            for kind in ["edge", "core"] {
                let old = folder.path.join(format!("{kind}{number}"));
                if old.join(settings::FILE).exists() {
                    let removed = fs::remove_dir_all(&old);
                    removed.with_context(|| format!("cannot remove {}", old.display()))?;
                }
            }
        }
        Ok(folder)
    }

    /// Leaves a temporary folder on the disk, for whoever looks for a reason.
    pub fn keep(&mut self) {
        self.temporary = false;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_file(LabFile::path(&self.path));
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
