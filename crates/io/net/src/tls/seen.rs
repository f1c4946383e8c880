//! Certificates that peers showed: what an administrator is told of before they run out.
//!
//! Bounds: [`PEERS_MAX`] peers; the one that was heard of longest ago makes room. A certificate is
//! read once and not at every handshake.

use std::sync::{Arc, Mutex, PoisonError};

use base::line;
use rustls_pki_types::CertificateDer;

use super::names::PeerCertificate;

/// Peers that are remembered.
const PEERS_MAX: usize = 256;

/// The most that is kept of a name, in bytes.
const NAME_MAX: usize = 300;

/// A peer, and what it showed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPeer {
    /// The name under which it was wanted.
    pub wanted: String,
    /// Its certificate.
    pub certificate: PeerCertificate,
}

/// What peers showed of late; cheap to clone, and all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Vec<(CertificateDer<'static>, SeenPeer)>>>);

impl Seen {
    /// All of them, the latest last.
    pub fn peers(&self) -> Vec<SeenPeer> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().map(|(_, peer)| peer.clone()).collect()
    }

    /// A peer showed a certificate.
    pub(super) fn saw(&self, der: &CertificateDer<'_>, wanted: &str) {
        let wanted = line(wanted, NAME_MAX);
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = rows.iter().position(|(_, peer)| peer.wanted == wanted);
        if known.is_some_and(|at| rows.get(at).is_some_and(|(known, _)| known == der)) {
            return;
        }
        let Ok(certificate) = PeerCertificate::of(der) else {
            return;
        };
        match known {
            Some(at) => drop(rows.remove(at)),
            None if rows.len() >= PEERS_MAX => drop(rows.remove(0)),
            None => {}
        }
        let peer = SeenPeer {
            wanted: wanted.into_owned(),
            certificate,
        };
        rows.push((der.clone().into_owned(), peer));
    }
}
