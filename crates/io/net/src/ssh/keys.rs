//! Ed25519 keys in OpenSSH's formats, and who is let in by them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Algorithm, PrivateKey};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::Error;

const WHAT: &str = "SSH key";
const MAKE_WRITABLE: &str = "check the path and that the user running causeway may write there";
const WANT_KEY: &str = "remove the file, and a new key is made at the next start; the peer learns \
                        it over the control connection";

/// Our own Ed25519 key.
#[derive(Clone)]
pub struct Key(Arc<PrivateKey>);

impl Key {
    /// A new key.
    ///
    /// # Errors
    /// [`Error::Ssh`] if the operating system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let failed = |cause: &str| Error::Ssh {
            cause: cause.to_owned(),
            fix: "check that the operating system gives randomness (/dev/urandom)",
        };
        let mut seed = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(seed.as_mut()).map_err(|_| failed("no randomness for a key"))?;
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let key = PrivateKey::new(pair, USER_COMMENT).map_err(|e| failed(&e.to_string()))?;
        Ok(Key(Arc::new(key)))
    }

    /// The key in `path`, or a new one written there, readable by its owner alone.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`].
    pub fn load_or_generate(path: &Path) -> Result<Self, Error> {
        match std::fs::read(path) {
            Ok(text) => Self::read(path, &Zeroizing::new(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::generate()?;
                key.write(path)?;
                Ok(key)
            }
            Err(source) => Err(file_error(path, source)),
        }
    }

    fn read(path: &Path, text: &[u8]) -> Result<Self, Error> {
        let wrong = |cause: String| Error::Content {
            what: WHAT,
            path: path.to_owned(),
            cause,
            fix: WANT_KEY,
        };
        let key = PrivateKey::from_openssh(text).map_err(|e| wrong(e.to_string()))?;
        if key.is_encrypted() || key.algorithm() != Algorithm::Ed25519 {
            return Err(wrong("it is no unencrypted Ed25519 key".into()));
        }
        Ok(Key(Arc::new(key)))
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        let text = self
            .0
            .to_openssh(LineEnding::LF)
            .map_err(|e| Error::Content {
                what: WHAT,
                path: path.to_owned(),
                cause: e.to_string(),
                fix: WANT_KEY,
            })?;
        // Written beside and moved into place: a crash leaves the old state or the new one.
        let beside = path.with_extension("new");
        let written = || {
            let _ = std::fs::remove_file(&beside);
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        };
        written().map_err(|e| file_error(path, e))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::of(self.0.public_key())
    }

    pub(super) fn private(&self) -> Arc<PrivateKey> {
        self.0.clone()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public())
    }
}

const USER_COMMENT: &str = super::USER;

fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        what: WHAT,
        path: path.to_owned(),
        fix: MAKE_WRITABLE,
        source,
    }
}

/// An Ed25519 public key; shown and read in OpenSSH format, compared without its comment.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(russh::keys::ssh_key::public::KeyData);

impl PublicKey {
    pub(super) fn of(key: &russh::keys::PublicKey) -> Self {
        PublicKey(key.key_data().clone())
    }
}

impl FromStr for PublicKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |cause: String| Error::Ssh {
            cause,
            fix: "give an Ed25519 public key in OpenSSH format: ssh-ed25519 AAAA…",
        };
        let key = russh::keys::PublicKey::from_openssh(text)
            .map_err(|e| wrong(format!("no OpenSSH public key: {e}")))?;
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(wrong(format!(
                "a key of type {} is not taken",
                key.algorithm()
            )));
        }
        Ok(PublicKey::of(&key))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = russh::keys::PublicKey::new(self.0.clone(), "");
        f.write_str(key.to_openssh().map_err(|_| fmt::Error)?.trim_end())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who is let in: a key for each peer, changed at run time. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Pins(Arc<watch::Sender<BTreeMap<usize, PublicKey>>>);

impl Default for Pins {
    fn default() -> Self {
        Pins(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Pins {
    /// From now on `peer` must show `key`; `None` lets it in no more. Sessions under another key
    /// of this peer end.
    pub fn set(&self, peer: usize, key: Option<PublicKey>) {
        self.0.send_modify(|pins| {
            match key {
                Some(key) => pins.insert(peer, key),
                None => pins.remove(&peer),
            };
        });
    }

    /// The key of a peer.
    pub fn of(&self, peer: usize) -> Option<PublicKey> {
        self.0.borrow().get(&peer).cloned()
    }

    /// Waits until a key is pinned for `peer`.
    pub async fn wait(&self, peer: usize) -> PublicKey {
        let mut changes = self.0.subscribe();
        loop {
            if let Some(key) = changes.borrow_and_update().get(&peer) {
                return key.clone();
            }
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }

    pub(super) fn holder(&self, key: &PublicKey) -> Option<usize> {
        self.0
            .borrow()
            .iter()
            .find(|(_, k)| *k == key)
            .map(|(peer, _)| *peer)
    }

    /// Waits until `peer` is pinned to something else than `key`.
    pub async fn revoked(&self, peer: usize, key: &PublicKey) {
        let mut changes = self.0.subscribe();
        // The sender lives in `self`.
        let _ = changes.wait_for(|pins| pins.get(&peer) != Some(key)).await;
    }
}
