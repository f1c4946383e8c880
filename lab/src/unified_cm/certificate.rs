//! The certificate of Unified CM's web services: of the lab's authority, or signed by itself while
//! that is so ([`Change::SelfSigned`]). Which one is chosen for each handshake.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::authority::Issued;
use crate::changes::{Change, Changes};
use crate::world::Host;

#[derive(Debug)]
struct Shown {
    issued: Arc<CertifiedKey>,
    own: Arc<CertifiedKey>,
    changes: Changes,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = match self.changes.has(Change::SelfSigned) {
            true => &self.own,
            false => &self.issued,
        };
        Some(Arc::clone(shown))
    }
}

/// Accepts TLS connections of a node with the one or the other.
///
/// # Errors
/// The disk's, or a name that is none.
pub fn acceptor(node: &Host, issued: &Issued, changes: &Changes) -> Result<TlsAcceptor> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&issued.chain)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&issued.key)?;
    let issued = CertifiedKey::from_der(chain, key, &provider)?;
    let mut params = CertificateParams::new(vec![node.fqdn.clone()])?;
    params
        .subject_alt_names
        .push(SanType::IpAddress(node.address));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let own = vec![params.self_signed(&key)?.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let own = CertifiedKey::from_der(own, key, &provider)?;
    let shown = Shown {
        issued: Arc::new(issued),
        own: Arc::new(own),
        changes: changes.clone(),
    };
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    // Whoever resumes a session sees no certificate; a server that gets another one restarts.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(TlsAcceptor::from(Arc::new(config)))
}
