//! The node's certificate, key and trust while it runs: loaded at start, taken anew when an
//! administrator says so or the files change, watched for the day they end.
//!
//! Whatever is made of them (a listener's configuration, a dialler's) is made by a `Slot` and
//! kept in a [`Live`] cell. A reload makes all of them first and only then puts them in place, so
//! either every leg has the new certificate or none. Connections that stand are not touched: the
//! next handshake on each leg uses what is new. What was refused leaves what was there.
//!
//! Bounds: files of at most 4 MiB; one reload at a time.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use certificates::trusted::{Store, TrustFault};
use config::{ClientCertificates, Config, Role};
use net::tls::{Identity, Live, PeerCertificate, Seen, Trust};

pub mod ends;
mod watch;

pub(crate) use watch::watch;

/// Why a certificate, key or trust was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// A file of the configuration, or what TLS makes of it.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// The folder of trusted authorities.
    #[error(transparent)]
    Trusted(#[from] TrustFault),
}

/// Puts what was made in its place.
type Commit = Box<dyn FnOnce() + Send>;

/// Makes one configuration of what is loaded.
type Slot = Box<dyn Fn(&Loaded) -> Result<Commit, net::Error> + Send + Sync>;

/// What the files hold.
pub struct Loaded {
    /// Our certificate and key.
    pub identity: Identity,
    /// Whom we trust.
    pub trust: Trust,
}

/// What a reload did.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The certificate that is shown from now on.
    pub certificate: Option<PeerCertificate>,
    /// Whether it is another one than before.
    pub changed: bool,
    /// How many authorities are trusted.
    pub trusted: usize,
}

/// The certificate and trust of a running node; cheap to clone.
#[derive(Clone)]
pub struct Certificates(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    store: Store,
    seen: Seen,
    now: ArcSwap<Loaded>,
    slots: Mutex<Vec<Slot>>,
    /// What the files looked like when they were last taken, or refused.
    looked: Mutex<Stamp>,
}

/// What tells one state of the files from another: change, size and inode of each.
type Stamp = Vec<Option<(i64, i64, u64, u64)>>;

impl Certificates {
    /// Loads what the configuration names.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn open(config: &Arc<Config>) -> Result<Self, NotTaken> {
        let store = Store::of(&config.data);
        let seen = Seen::default();
        let looked = stamp(config);
        let now = load(config, &store, &seen)?;
        Ok(Certificates(Arc::new(Inner {
            config: config.clone(),
            store,
            seen,
            now: ArcSwap::new(Arc::new(now)),
            slots: Mutex::new(Vec::new()),
            looked: Mutex::new(looked),
        })))
    }

    /// The state of the files when they were last taken, or refused.
    fn last_look(&self) -> Stamp {
        let looked = self.0.looked.lock();
        looked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is in use now.
    pub fn now(&self) -> Arc<Loaded> {
        self.0.now.load_full()
    }

    /// The folder of trusted authorities.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What peers showed of late.
    pub fn seen(&self) -> &Seen {
        &self.0.seen
    }

    /// The configuration that names the files.
    pub fn config(&self) -> &Arc<Config> {
        &self.0.config
    }

    /// A cell with what `make` makes, made anew at each reload.
    ///
    /// # Errors
    /// What `make` says.
    pub fn live<T: Send + Sync + 'static>(
        &self,
        make: impl Fn(&Loaded) -> Result<Arc<T>, net::Error> + Send + Sync + 'static,
    ) -> Result<Live<T>, net::Error> {
        let live = Live::new(make(&self.now())?);
        let cell = live.clone();
        let slot: Slot = Box::new(move |loaded| {
            let (made, cell) = (make(loaded)?, cell.clone());
            Ok(Box::new(move || cell.set(made)))
        });
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.push(slot);
        Ok(live)
    }

    /// Takes the files as they are now: on every leg, or on none.
    ///
    /// # Errors
    /// [`NotTaken`]; then what was there stays.
    pub fn reload(&self) -> Result<Reloaded, NotTaken> {
        // Held to the end: two reloads at once could each put half of theirs in place.
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what changes meanwhile is another state.
        let looked = stamp(&self.0.config);
        *self.0.looked.lock().unwrap_or_else(PoisonError::into_inner) = looked;
        let new = load(&self.0.config, &self.0.store, &self.0.seen)?;
        let made: Result<Vec<Commit>, net::Error> = slots.iter().map(|slot| slot(&new)).collect();
        made?.into_iter().for_each(|commit| commit());
        let mark = |loaded: &Loaded| loaded.identity.certificate().map(|c| c.fingerprint);
        let done = Reloaded {
            certificate: new.identity.certificate(),
            changed: mark(&new) != mark(&self.now()),
            trusted: new.trust.count(),
        };
        self.0.now.store(Arc::new(new));
        Ok(done)
    }
}

/// Every file and folder that a reload reads.
fn files(config: &Config) -> Vec<PathBuf> {
    let of = &config.certificate;
    let mut files = vec![of.chain.clone(), of.key.clone(), of.trusted.clone()];
    files.push(config.data.join(certificates::trusted::FOLDER));
    if let Role::Edge(edge) = &config.role {
        if let ClientCertificates::Request(path) | ClientCertificates::Require(path) =
            &edge.sip_client_certificates
        {
            files.push(path.clone());
        }
        files.extend(edge.business.as_ref().and_then(|b| b.trusted.clone()));
    }
    files
}

/// The state of those files now.
fn stamp(config: &Config) -> Stamp {
    let of = |file: &PathBuf| {
        let meta = std::fs::metadata(file).ok()?;
        Some((meta.ctime(), meta.ctime_nsec(), meta.size(), meta.ino()))
    };
    files(config).iter().map(of).collect()
}

/// The authorities that a configuration trusts: its file's, and those of the data folder.
///
/// # Errors
/// [`NotTaken`].
pub fn trust(config: &Config) -> Result<Trust, NotTaken> {
    trusted(&config.certificate.trusted, &Store::of(&config.data))
}

fn trusted(file: &Path, store: &Store) -> Result<Trust, NotTaken> {
    let more = store.list()?;
    let more: Vec<_> = more.iter().map(|c| c.der().clone()).collect();
    Ok(Trust::load(file)?.and(&more, file)?)
}

fn load(config: &Config, store: &Store, seen: &Seen) -> Result<Loaded, NotTaken> {
    let of = &config.certificate;
    Ok(Loaded {
        identity: Identity::load(&of.chain, &of.key)?,
        trust: trusted(&of.trusted, store)?.remembering(seen.clone()),
    })
}

#[cfg(test)]
mod tests;
