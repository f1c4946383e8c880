//! What a node reads at start and keeps on disk: passwords, keys, the data folder and its lock.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Rng, Secret};
use config::{Config, LdapUser, Password, Role, SignInBy};

/// The largest file of passwords or credentials read, in bytes: 100,000 users fit.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A file that keeps a node from starting.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {cause}; {fix}")]
pub struct FileFault {
    /// What the file is.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: String,
    /// What to do.
    pub fix: &'static str,
}

const READABLE: &str = "check the path and that the user running causeway may read it";
const WRITABLE: &str = "check the path and that the user running causeway may write there";

/// The data folder, held by this process alone as long as one copy of this is there.
#[derive(Clone, Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: Arc<File>,
}

impl DataFolder {
    /// Makes the folder if it is missing, readable by its owner alone, and locks it.
    ///
    /// # Errors
    /// [`FileFault`], e.g. when another process holds it.
    pub fn open(path: &Path) -> Result<Self, FileFault> {
        let fault = |cause: String, fix| FileFault {
            what: "data folder",
            path: path.to_owned(),
            cause,
            fix,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| fault(e.to_string(), WRITABLE))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|e| fault(e.to_string(), WRITABLE))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataFolder {
                path: path.to_owned(),
                _lock: Arc::new(lock),
            }),
            Err(TryLockError::WouldBlock) => Err(fault(
                "another causeway uses it".into(),
                "stop the other one, or give this node a data folder of its own (`data`)",
            )),
            Err(TryLockError::Error(e)) => Err(fault(e.to_string(), WRITABLE)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// 32 secret bytes that stay the same from start to start.
    ///
    /// # Errors
    /// [`FileFault`].
    pub fn seed(&self, name: &str, rng: &mut Rng) -> Result<Secret<[u8; 32]>, FileFault> {
        let path = self.file(name);
        let fault = |cause: String, fix| FileFault {
            what: "key file",
            path: path.clone(),
            cause,
            fix,
        };
        match std::fs::read(&path) {
            Ok(bytes) => match <[u8; 32]>::try_from(bytes.as_slice()) {
                Ok(seed) => Ok(Secret::new(seed)),
                Err(_) => Err(fault(
                    format!("it holds {} bytes, not 32", bytes.len()),
                    "remove the file: a new key is made, and users sign in again",
                )),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let seed = rng.array();
                keep(&path, &seed).map_err(|e| fault(e.to_string(), WRITABLE))?;
                Ok(Secret::new(seed))
            }
            Err(e) => Err(fault(e.to_string(), READABLE)),
        }
    }
}

/// Writes a secret file beside its place and moves it there: a crash leaves the old state or the
/// new one.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The text of a file that an administrator wrote.
///
/// # Errors
/// [`FileFault`] if it is missing, unreadable, too large or no text.
pub fn text(what: &'static str, path: &Path) -> Result<Secret<String>, FileFault> {
    let fault = |cause: String| FileFault {
        what,
        path: path.to_owned(),
        cause,
        fix: READABLE,
    };
    let size = std::fs::metadata(path)
        .map_err(|e| fault(e.to_string()))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(fault(format!("{size} bytes are too many")));
    }
    std::fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|e| fault(e.to_string()))
}

/// The first line of a file.
///
/// # Errors
/// [`FileFault`], also if the line is empty.
pub fn first_line(what: &'static str, path: &Path) -> Result<Secret<String>, FileFault> {
    let text = text(what, path)?;
    let line = text.expose().lines().next().unwrap_or_default().trim_end();
    if line.is_empty() {
        return Err(FileFault {
            what,
            path: path.to_owned(),
            cause: "its first line is empty".into(),
            fix: "write the secret into the first line",
        });
    }
    Ok(Secret::new(line.to_owned()))
}

/// The configuration with every password that stands in a file of its own.
///
/// # Errors
/// [`FileFault`] of the first file that cannot be used.
pub fn with_passwords(mut config: Config) -> Result<Config, FileFault> {
    let passwords: Vec<&mut Password> = match &mut config.role {
        Role::Edge(edge) => edge.zones.iter_mut().map(|z| &mut z.password).collect(),
        Role::Core(core) => {
            let core = core.as_mut();
            let peers = core.peers.iter_mut().map(|p| &mut p.password);
            let publishers = core
                .unified_cm
                .iter_mut()
                .chain(&mut core.im_presence)
                .chain(&mut core.unity_connection)
                .map(|p| &mut p.password);
            let directories = core
                .domains
                .iter_mut()
                .filter_map(|d| match &mut d.sign_in {
                    SignInBy::Ldap(ldap) => match &mut ldap.user {
                        LdapUser::Search { bind, .. } => {
                            bind.as_mut().map(|(_, password)| password)
                        }
                        LdapUser::Template(_) => None,
                    },
                    _ => None,
                });
            peers.chain(publishers).chain(directories).collect()
        }
    };
    for password in passwords {
        if let Password::File(path) = password {
            *password = Password::Given(first_line("password file", path)?);
        }
    }
    if let Role::Core(core) = &mut config.role {
        for domain in &mut core.domains {
            with_provider(domain)?;
        }
    }
    Ok(config)
}

/// What stands of a domain's identity providers in files of its own.
fn with_provider(domain: &mut config::Domain) -> Result<(), FileFault> {
    for (_, _, secret) in domain.provider_secrets() {
        if let Password::File(path) = secret {
            *secret = Password::Given(first_line("client secret file", path)?);
        }
    }
    for (_, _, _, key) in domain.provider_keys() {
        if let Password::File(path) = key {
            *key = Password::Given(text(PROVIDER_KEY, path)?);
        }
    }
    if let Some(metadata) = domain.provider_metadata()
        && let Password::File(path) = metadata
    {
        *metadata = Password::Given(text(METADATA, path)?);
    }
    Ok(())
}

/// What a file with a key or certificate of single sign-on is called.
pub(crate) const PROVIDER_KEY: &str = "key of single sign-on";

/// What the file of an identity provider is called.
pub(crate) const METADATA: &str = "metadata of the identity provider";

/// Whether others than the owner may read a file; worth a warning for secrets.
pub fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| {
        let mode = Permissions::mode(&m.permissions());
        mode & 0o007 != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("causeway-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_data_folder_is_private_and_held_by_one_process() {
        let path = folder("data");
        let held = DataFolder::open(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let fault = DataFolder::open(&path).unwrap_err().to_string();
        assert!(fault.contains("another causeway"), "{fault}");
        drop(held);
        assert!(DataFolder::open(&path).is_ok());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_seed_stays_the_same_from_start_to_start() {
        let path = folder("seed");
        let mut rng = Rng::from_number(1);
        let first = DataFolder::open(&path)
            .unwrap()
            .seed("token_key", &mut rng)
            .unwrap();
        let again = DataFolder::open(&path)
            .unwrap()
            .seed("token_key", &mut rng)
            .unwrap();
        assert_eq!(first.expose(), again.expose());
        assert!(!is_exposed(&path.join("token_key")));
        std::fs::write(path.join("token_key"), b"short").unwrap();
        assert!(
            DataFolder::open(&path)
                .unwrap()
                .seed("token_key", &mut rng)
                .is_err()
        );
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn the_first_line_is_the_secret() {
        let path = folder("line");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("pw"), "hunter2\nnotes\n").unwrap();
        assert_eq!(
            first_line("password file", &path.join("pw"))
                .unwrap()
                .expose(),
            "hunter2"
        );
        std::fs::write(path.join("pw"), "\n").unwrap();
        let fault = first_line("password file", &path.join("pw"))
            .unwrap_err()
            .to_string();
        assert!(fault.contains("empty"), "{fault}");
        std::fs::remove_dir_all(&path).unwrap();
    }
}
