//! Certificates, keys and trust from PEM files, with errors that name the file, cause and cure.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::Error;
use crate::tls::names::{PeerCertificate, rsa_bits};
use crate::tls::seen::Seen;

const MAKE_READABLE: &str = "check the path and that the user running causeway may read it";
const WANT_CHAIN: &str =
    "give a PEM file with the server's certificate first and its intermediates after it";
const WANT_KEY: &str = "give a PEM file with one unencrypted private key (PKCS#8, PKCS#1 or SEC1)";
const WANT_TRUST: &str = "give a PEM file with the certificates of the authorities to trust";
const WANT_LONGER: &str =
    "make a key of 2048 bits or more, or on P-256, and have the certificate issued for it";
const WANT_PAIR: &str =
    "give the key the certificate was requested with, or have the certificate issued again";

/// The shortest RSA key that TLS takes here, in bits.
const RSA_BITS_MIN: usize = 2048;

/// The largest PEM file read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Our certificate chain and its private key, checked to belong together.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads both files.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Content`], naming the file and what to do.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, Error> {
        let chain_pem = read("certificate", chain)?;
        let key_pem = read("key", key)?;
        Self::from_pem(&chain_pem, &key_pem).map_err(|e| e.at(chain, key))
    }

    /// From PEM texts; what is wrong is told for files named `certificate` and `key`.
    ///
    /// # Errors
    /// [`Error::Content`].
    pub fn from_texts(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        Self::from_pem(chain, key).map_err(|e| e.at(Path::new("certificate"), Path::new("key")))
    }

    fn from_pem(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, Flaw> {
        let chain = certificates(chain_pem).map_err(|c| Flaw::Chain(c, WANT_CHAIN))?;
        let Some(first) = chain.first() else {
            return Err(Flaw::Chain("holds no certificate".into(), WANT_CHAIN));
        };
        PeerCertificate::of(first).map_err(|c| Flaw::Chain(c, WANT_CHAIN))?;
        if let Some(bits) = rsa_bits(first).filter(|bits| *bits < RSA_BITS_MIN) {
            let cause = format!("its RSA key has {bits} bits: {RSA_BITS_MIN} are the least");
            return Err(Flaw::Chain(cause, WANT_LONGER));
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| match e {
            pem::Error::NoItemsFound => {
                let locked = String::from_utf8_lossy(key_pem).contains("ENCRYPTED");
                let cause = if locked {
                    "the key is encrypted"
                } else {
                    "holds no private key"
                };
                Flaw::Key(cause.into(), WANT_KEY)
            }
            e => Flaw::Key(e.to_string(), WANT_KEY),
        })?;
        let certified =
            CertifiedKey::from_der(chain, key, &super::provider()).map_err(|e| match e {
                rustls::Error::InconsistentKeys(_) => Flaw::Key(
                    "the key does not belong to the certificate".into(),
                    WANT_PAIR,
                ),
                e => Flaw::Key(e.to_string(), WANT_KEY),
            })?;
        Ok(Identity {
            certified: Arc::new(certified),
        })
    }

    /// Our chain, our own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Our own certificate as a peer sees it.
    pub fn certificate(&self) -> Option<PeerCertificate> {
        self.certified
            .cert
            .first()
            .and_then(|c| PeerCertificate::of(c).ok())
    }

    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(SingleCertAndKey::from(self.certified.clone()))
    }

    pub(crate) fn client_resolver(&self) -> Arc<dyn rustls::client::ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(self.certified.clone()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate())
            .finish()
    }
}

/// The authorities we trust.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    /// The certificates themselves: a server's own may be among them.
    exact: Arc<Vec<CertificateDer<'static>>>,
    seen: Seen,
}

impl Trust {
    /// Reads a PEM file with one certificate or more.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Content`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let pem = read("trusted certificates", path)?;
        Self::from_pem(&pem, path)
    }

    /// From a PEM text; what is wrong is told for a file named `trusted`.
    ///
    /// # Errors
    /// [`Error::Content`].
    pub fn from_text(pem: &[u8]) -> Result<Self, Error> {
        Self::from_pem(pem, Path::new("trusted"))
    }

    fn from_pem(pem: &[u8], path: &Path) -> Result<Self, Error> {
        let flawed = |cause: String| Error::Content {
            what: "trusted certificates",
            path: path.to_owned(),
            cause,
            fix: WANT_TRUST,
        };
        let mut roots = RootCertStore::empty();
        let exact = certificates(pem).map_err(flawed)?;
        for (nth, der) in exact.iter().enumerate() {
            roots
                .add(der.clone())
                .map_err(|e| flawed(format!("certificate {}: {e}", nth + 1)))?;
        }
        if roots.is_empty() {
            return Err(flawed("holds no certificate".into()));
        }
        Ok(Trust {
            roots: Arc::new(roots),
            exact: Arc::new(exact),
            seen: Seen::default(),
        })
    }

    /// The same with more authorities; a certificate that is there already counts once. Two of one
    /// name are two authorities.
    ///
    /// # Errors
    /// [`Error::Content`], naming `from`.
    pub fn and(mut self, more: &[CertificateDer<'static>], from: &Path) -> Result<Self, Error> {
        let mut roots = RootCertStore::clone(&self.roots);
        let mut exact = Vec::clone(&self.exact);
        for der in more {
            if exact.contains(der) {
                continue;
            }
            roots.add(der.clone()).map_err(|e| Error::Content {
                what: "trusted certificates",
                path: from.to_owned(),
                cause: e.to_string(),
                fix: WANT_TRUST,
            })?;
            exact.push(der.clone());
        }
        (self.roots, self.exact) = (Arc::new(roots), Arc::new(exact));
        Ok(self)
    }

    /// The same, and peers' certificates that are checked against it are remembered there.
    #[must_use]
    pub fn remembering(mut self, seen: Seen) -> Self {
        self.seen = seen;
        self
    }

    /// The certificates themselves, in the order of their files.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.exact
    }

    /// Whether a certificate is itself one of those that are trusted.
    pub(super) fn is_exactly(&self, der: &CertificateDer<'_>) -> bool {
        self.exact.iter().any(|trusted| trusted == der)
    }

    /// A peer that was wanted under some name showed a certificate.
    pub(super) fn saw(&self, der: &CertificateDer<'_>, wanted: &str) {
        self.seen.saw(der, wanted);
    }

    /// How many authorities there are.
    pub fn count(&self) -> usize {
        self.roots.len()
    }

    /// Why a peer that trusts the same authorities would refuse an identity at a moment; `None`
    /// if it would not. Names are not looked at, and of the two uses only one that the certificate
    /// has: [`PeerCertificate::for_server`] and [`PeerCertificate::for_client`] tell of those.
    pub fn refusal(&self, identity: &Identity, now: base::UnixTime) -> Option<String> {
        let (first, rest) = identity.certified.cert.split_first()?;
        let usage = match identity.certificate()? {
            shown if !shown.for_server && shown.for_client => webpki::KeyUsage::client_auth(),
            _ => webpki::KeyUsage::server_auth(),
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
        let verified = webpki::EndEntityCert::try_from(first).and_then(|certificate| {
            let algorithms = webpki::ALL_VERIFICATION_ALGS;
            certificate
                .verify_for_usage(algorithms, &self.roots.roots, rest, now, usage, None, None)
                .map(drop)
        });
        match verified {
            Ok(()) => None,
            Err(webpki::Error::UnknownIssuer) => {
                Some("none of the authorities in trusted signed it".into())
            }
            Err(webpki::Error::CaUsedAsEndEntity) => {
                Some("it is an authority's certificate, not a node's".into())
            }
            Err(e) => Some(e.to_string()),
        }
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }
}

/// What is wrong, before the file's name is known.
enum Flaw {
    Chain(String, &'static str),
    Key(String, &'static str),
}

impl Flaw {
    fn at(self, chain: &Path, key: &Path) -> Error {
        match self {
            Flaw::Chain(cause, fix) => Error::Content {
                what: "certificate",
                path: chain.to_owned(),
                cause,
                fix,
            },
            Flaw::Key(cause, fix) => Error::Content {
                what: "key",
                path: key.to_owned(),
                cause,
                fix,
            },
        }
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File {
        what,
        path: path.to_owned(),
        fix: MAKE_READABLE,
        source,
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        return Err(Error::Content {
            what,
            path: path.to_owned(),
            cause: format!("{size} bytes are too many"),
            fix: "give a PEM file of at most 4 MiB",
        });
    }
    std::fs::read(path).map_err(failed)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Self-signed, RSA with 1024 bits; its key is kept nowhere.
    const SHORT: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIICGDCCAYGgAwIBAgIUK83HeqlpziJ8k4/RDfPUpz82YD0wDQYJKoZIhvcNAQEL\n\
BQAwHTEbMBkGA1UEAwwSc2hvcnQuZXhhbXBsZS50ZXN0MCAXDTI2MTEyNTAxNTIx\n\
MFoYDzIxMjYxMTAxMDE1MjEwWjAdMRswGQYDVQQDDBJzaG9ydC5leGFtcGxlLnRl\n\
c3QwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBANp5gMYphhThdse3Xz6v1/6S\n\
Bmd3Sp7cQjC8PGmTGtl5ASu50P422vGy3LONK71vapYSH9u0yehZoBLpL7abUxFk\n\
28JCoTK2E6G6zDGqVmkET9bAnaZsIzEePK31OvYA3tjiAXbUeTJNipg11Y+Gaqef\n\
9157TBjgH9BucAHCLz/dAgMBAAGjUzBRMB0GA1UdDgQWBBQWCPCA4fUAyhJoet6E\n\
8VbWRZHzcDAfBgNVHSMEGDAWgBQWCPCA4fUAyhJoet6E8VbWRZHzcDAPBgNVHRMB\n\
Af8EBTADAQH/MA0GCSqGSIb3DQEBCwUAA4GBAH9OVvtA00N0js3wq1SJM33qq0ej\n\
HW2PvRsXnRcQX/Fqs8K3toRdok3/WobKq1KMA01iVZmNzpf7MwR7SFUuIlwxHKvN\n\
6ad4PpL0ORgx8URP2qkpyv/eMUvYK/8U6sRSa3yFi0Qog1WsKI0IRQ1p24jRqb/F\n\
wxaQycRvREQfhnxW\n\
-----END CERTIFICATE-----\n";

    #[test]
    fn identity_with_a_short_rsa_key_is_refused_with_its_length() {
        let error = Identity::from_texts(SHORT.as_bytes(), b"").unwrap_err();
        assert!(error.to_string().contains("1024 bits"), "{error}");
    }
}
