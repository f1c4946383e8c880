//! The authorities that a node trusts beside those of `certificate.trusted`: a folder with one file
//! for each, named by SHA-256 over the certificate. So two certificates of one name live side by
//! side, and none is put in place of another.
//!
//! A file is written beside its place and moved there: whoever reads the folder meanwhile sees all
//! of a certificate or nothing. Bounds: [`TRUSTED_MAX`] certificates.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base::UnixTime;

use crate::flaw::Finding;
use crate::read::{self, Certificate, FILE_BYTES_MAX};

/// The most authorities in the folder.
pub const TRUSTED_MAX: usize = 500;

/// The folder's name in the data folder.
pub const FOLDER: &str = "trusted";

/// So many digits of a fingerprint name a certificate at least.
const MARK_MIN: usize = 8;

/// Why the folder is not as it should be, or stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum TrustFault {
    /// The system refused.
    #[error("{path}: {source}; check that the user running causeway may read and write there")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// What was given is no certificate.
    #[error("{0}")]
    Content(Box<Finding>),
    /// A file of the folder is no certificate any more.
    #[error("{path}: {cause}; remove the file, and add the certificate again")]
    Spoilt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Too many.
    #[error("there are {TRUSTED_MAX} already; remove those that are no longer needed")]
    Full,
    /// No certificate, or several, have a fingerprint that begins so.
    #[error("{0}; causeway ctl certificate trusted list shows the fingerprints")]
    Which(String),
}

/// What became of a certificate that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The certificate.
    pub certificate: Certificate,
    /// Whether it was there before.
    pub known: bool,
    /// What an administrator should know of it.
    pub note: Option<String>,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The one in a data folder. It need not be there yet.
    pub fn of(data: &Path) -> Self {
        let folder = data.join(FOLDER);
        Store { folder }
    }

    /// All that are trusted, by subject and then by fingerprint.
    ///
    /// # Errors
    /// [`TrustFault::File`], [`TrustFault::Spoilt`].
    pub fn list(&self) -> Result<Vec<Certificate>, TrustFault> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.fault(&self.folder, e)),
            Ok(entries) => entries,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| self.fault(&self.folder, e))?.path();
            if path.extension().is_none_or(|e| e != "pem") {
                continue;
            }
            if found.len() == TRUSTED_MAX {
                return Err(TrustFault::Full);
            }
            found.push(self.one(&path)?);
        }
        found.sort_by(|a, b| (&a.subject, &a.fingerprint).cmp(&(&b.subject, &b.fingerprint)));
        Ok(found)
    }

    fn one(&self, path: &Path) -> Result<Certificate, TrustFault> {
        let text = std::fs::read(path).map_err(|e| self.fault(path, e))?;
        let spoilt = |cause: &str| TrustFault::Spoilt {
            path: path.to_owned(),
            cause: cause.to_owned(),
        };
        let read = read::certificates(&text).map_err(|finding| spoilt(&finding.cause))?;
        let named = |c: &&Certificate| {
            path.file_stem()
                .is_some_and(|s| s == c.fingerprint.as_str())
        };
        match read.as_slice() {
            [one] if named(&one) => Ok(one.clone()),
            _ => Err(spoilt(
                "it does not hold the one certificate that it is named after",
            )),
        }
    }

    /// Adds every certificate of a file.
    ///
    /// # Errors
    /// [`TrustFault`]; then nothing has been added, unless the system refused half way.
    pub fn add(&self, file: &[u8], now: UnixTime) -> Result<Vec<Added>, TrustFault> {
        if file.len() > FILE_BYTES_MAX {
            return Err(TrustFault::Full);
        }
        let new = read::certificates(file).map_err(|f| TrustFault::Content(Box::new(f)))?;
        let there = self.list()?;
        let mut added: Vec<Added> = Vec::new();
        for certificate in new {
            let known =
                there.contains(&certificate) || added.iter().any(|a| a.certificate == certificate);
            let note = note(&certificate, &there, now);
            added.push(Added {
                certificate,
                known,
                note,
            });
        }
        let more = added.iter().filter(|a| !a.known).count();
        if there.len() + more > TRUSTED_MAX {
            return Err(TrustFault::Full);
        }
        for one in added.iter().filter(|a| !a.known) {
            self.keep(&one.certificate)?;
        }
        Ok(added)
    }

    /// Takes out the one whose fingerprint begins so; at least eight digits, colons and case do not
    /// matter.
    ///
    /// # Errors
    /// [`TrustFault::Which`] if it is none or several, [`TrustFault::File`].
    pub fn remove(&self, fingerprint: &str) -> Result<Certificate, TrustFault> {
        let mark = fingerprint.replace([':', ' '], "").to_ascii_lowercase();
        if mark.len() < MARK_MIN {
            let why = format!("{mark} is too short: give {MARK_MIN} digits or more");
            return Err(TrustFault::Which(why));
        }
        let mut all = self.list()?;
        all.retain(|c| c.fingerprint.starts_with(&mark));
        match all.as_slice() {
            [one] => {
                let path = self.path(one);
                std::fs::remove_file(&path).map_err(|e| self.fault(&path, e))?;
                Ok(one.clone())
            }
            [] => Err(TrustFault::Which(format!("no fingerprint begins {mark}"))),
            some => {
                let why = format!("{} fingerprints begin {mark}", some.len());
                Err(TrustFault::Which(why))
            }
        }
    }

    fn path(&self, certificate: &Certificate) -> PathBuf {
        self.folder.join(format!("{}.pem", certificate.fingerprint))
    }

    fn keep(&self, certificate: &Certificate) -> Result<(), TrustFault> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder);
        made.map_err(|e| self.fault(&self.folder, e))?;
        let path = self.path(certificate);
        let beside = path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o644)
                .open(&beside)?;
            file.write_all(certificate.pem().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|e| self.fault(&path, e))
    }

    fn fault(&self, path: &Path, source: std::io::Error) -> TrustFault {
        TrustFault::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// What is worth a word about a certificate that is to be trusted.
fn note(new: &Certificate, there: &[Certificate], now: UnixTime) -> Option<String> {
    if new.not_after < now {
        return Some(format!(
            "it ran out at {}: nothing that it signed is taken",
            new.not_after
        ));
    }
    if now < new.not_before {
        return Some(format!("it is valid from {} on", new.not_before));
    }
    if new.authority.is_none() {
        return Some("it is no authority's: this very certificate is trusted, and no other".into());
    }
    let namesake = there.iter().find(|c| c.subject == new.subject && *c != new);
    namesake.map(|c| {
        format!(
            "another one of the same name is trusted as well, SHA-256 {}: both count",
            c.mark()
        )
    })
}

#[cfg(test)]
mod tests;
