//! Files of certificates: a request and its key kept in the data folder, a new chain put in the
//! configuration's place.
//!
//! A key is written for its owner alone, and is never put over another one: what was there stays
//! beside it as `.old`. If this runs as root for a node that does not, what it writes belongs to
//! whom the old file, or the data folder, belongs to.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base::{Secret, UnixTime};
use certificates::names::Known;
use certificates::request::{self, Made, RequestFault, Wish};
use certificates::{Certificate, Finding, Flaw, Grade, Report, read};
use config::Config;
use net::tls::Identity;

/// The folder in the data folder.
const FOLDER: &str = "certificate";

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum FilesFault {
    /// The system refused.
    #[error("{path}: {source}; check that the user running this may read and write there")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// There is no key for the chain.
    #[error(
        "there is no key for this certificate: neither the request's nor the one in use belongs \
         to it; name its key with --key FILE"
    )]
    NoKey,
    /// It could not be used.
    #[error("it cannot be used: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Unusable(Vec<Finding>),
    /// It could be used, and something is wrong with it.
    #[error(
        "it was not put in place: {}; with --force it is",
        .0.first().map(ToString::to_string).unwrap_or_default()
    )]
    Amiss(Vec<Finding>),
    /// The request could not be made.
    #[error(transparent)]
    Request(#[from] RequestFault),
    /// What is trusted could not be read.
    #[error(transparent)]
    Trust(#[from] driver::certificates::NotTaken),
}

fn fault(path: &Path) -> impl Fn(std::io::Error) -> FilesFault {
    move |source| FilesFault::File {
        path: path.to_owned(),
        source,
    }
}

/// Where a request of a node is kept.
pub fn request_path(config: &Config) -> PathBuf {
    config.data.join(FOLDER).join("request.pem")
}

/// Where its key is kept until the certificate comes.
pub fn request_key_path(config: &Config) -> PathBuf {
    config.data.join(FOLDER).join("request.key")
}

/// Everybody whom a node trusts.
///
/// # Errors
/// [`FilesFault::Trust`].
pub fn trusted(config: &Config) -> Result<Vec<Certificate>, FilesFault> {
    let trust = driver::certificates::trust(config)?;
    let ders = trust.certificates().iter();
    let read = ders.filter_map(|der| Certificate::from_der(der).ok());
    Ok(read.collect())
}

/// Makes a key and a request, and keeps both in the data folder. A request that waits already is
/// kept beside it as `.old`, with its key.
///
/// # Errors
/// [`FilesFault`].
pub fn request(config: &Config, wish: &Wish) -> Result<Made, FilesFault> {
    let made = request::make(wish)?;
    let folder = config.data.join(FOLDER);
    let build = |path: &Path| {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(fault(path))
    };
    build(&config.data)?;
    build(&folder)?;
    let like = std::fs::metadata(&config.data).map_err(fault(&config.data))?;
    own(&folder, &like);
    put(
        &request_key_path(config),
        made.key.expose().as_bytes(),
        0o600,
        &like,
    )?;
    put(&request_path(config), made.request.as_bytes(), 0o644, &like)?;
    Ok(made)
}

/// Puts a chain, and the key that belongs to it, in the place that the configuration names. The
/// key is the one given, or else the request's, or else the one in use: whichever belongs to it.
///
/// # Errors
/// [`FilesFault`]; then nothing has been changed.
pub fn install(
    config: &Config,
    known: &Known,
    chain: &[u8],
    key: Option<&[u8]>,
    force: bool,
    now: UnixTime,
) -> Result<Report, FilesFault> {
    let of = &config.certificate;
    let trusted = trusted(config)?;
    let judge = |key: Option<&[u8]>| super::judge(config, known, &trusted, (chain, key), now);
    let key = match key {
        Some(key) => Secret::new(key.to_vec()),
        None => match own_key(config, judge(None).chain.as_slice()) {
            Some(key) => key,
            None => {
                let report = judge(None);
                let unusable = report.chain.is_empty();
                return Err(match unusable {
                    true => FilesFault::Unusable(report.findings),
                    false => FilesFault::NoKey,
                });
            }
        },
    };
    let report = judge(Some(key.expose()));
    let errors = report.findings.iter().filter(|f| f.grade == Grade::Error);
    let errors: Vec<Finding> = errors.cloned().collect();
    if let Err(e) = Identity::from_texts(chain, key.expose()) {
        let told = Finding::new(Flaw::RefusedByTls, "TLS cannot use it", e.to_string());
        let told = if errors.is_empty() {
            vec![told]
        } else {
            errors
        };
        return Err(FilesFault::Unusable(told));
    }
    // A missing use or name is the administrator's to judge: the legs are named.
    let lasting = |f: &&Finding| !matches!(f.flaw, Flaw::NoServerUse | Flaw::NoClientUse);
    let amiss: Vec<Finding> = errors.iter().filter(lasting).cloned().collect();
    if !amiss.is_empty() && !force {
        return Err(FilesFault::Amiss(amiss));
    }
    let folder = |path: &Path| {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).to_owned();
        std::fs::metadata(&parent).map_err(fault(&parent))
    };
    let like = |path: &Path| std::fs::metadata(path).or_else(|_| folder(path));
    put(&of.key, key.expose(), 0o600, &like(&of.key)?)?;
    put(&of.chain, chain, 0o644, &like(&of.chain)?)?;
    // The request is answered.
    let _ = std::fs::remove_file(request_key_path(config));
    let _ = std::fs::remove_file(request_path(config));
    Ok(report)
}

/// The request's key or the one in use, whichever belongs to one of these certificates.
fn own_key(config: &Config, chain: &[Certificate]) -> Option<Secret<Vec<u8>>> {
    let paths = [request_key_path(config), config.certificate.key.clone()];
    let mut keys = paths.iter().filter_map(|path| read::file(path).ok());
    keys.find(|key| {
        let public = certificates::inspect::public_key(key);
        public.is_some_and(|public| chain.iter().any(|c| c.public_key() == public))
    })
    .map(Secret::new)
}

/// Writes a file beside its place and moves it there; what was there stays as `.old`.
fn put(path: &Path, bytes: &[u8], mode: u32, like: &Metadata) -> Result<(), FilesFault> {
    let named = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (beside, old) = (named(".new"), named(".old"));
    let write = || {
        let _ = std::fs::remove_file(&beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        own(&beside, like);
        if like.is_file() {
            // A group that could read the old one can read the new one, and nobody else.
            let kept = like.permissions().mode() & 0o640;
            let group = std::fs::Permissions::from_mode(mode | kept);
            std::fs::set_permissions(&beside, group)?;
        }
        // The old one is never missing: a second name for it, then the new one in its place.
        let _ = std::fs::remove_file(&old);
        match std::fs::hard_link(path, &old) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                std::fs::copy(path, &old).map(drop)?;
            }
            _ => {}
        }
        std::fs::rename(&beside, path)?;
        match path.parent().filter(|p| !p.as_os_str().is_empty()) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(fault(path))
}

/// Gives a file the owner of another; only root can, and only root needs to.
fn own(path: &Path, like: &Metadata) {
    let _ = std::os::unix::fs::chown(path, Some(like.uid()), Some(like.gid()));
}

#[cfg(test)]
mod tests;
