//! TLS 1.2 and 1.3 with one provider, aws-lc-rs: AEAD suites with ephemeral keys only.
//!
//! In: PEM files. Out: configurations for the four uses, and streams with what the handshake
//! proved. Certificates and trust change without a restart: a listener keeps its configuration in
//! a [`Live`] cell and loads it afresh for each connection. On mutual TLS no session is resumed, so
//! a change of trust or names holds from the next connection on (RFC 8446 §2.2: a resumed session
//! is not verified again).

mod files;
mod guests;
mod handshake;
mod inside;
mod lean;
mod links;
mod names;
mod refused;
mod seen;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};

use crate::Error;

pub use files::{Identity, Trust};
pub use guests::{inside_facing, proven};
pub use handshake::{
    Stream, accept, accept_lean, cause, connect, explain, export, into_parts, negotiated, peer,
};
pub use lean::Lean;
pub use links::{link_client, link_server, named_client};
pub use names::{NameMismatch, PeerCertificate};
pub use seen::{Seen, SeenPeer};

/// Makes aws-lc-rs the provider of the whole process. Called first in `main`; again is harmless.
pub fn install() {
    // The error only says that a provider is there already, and it can be no other one.
    let _ = aws_lc_rs::default_provider().install_default();
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The configuration of a listener for clients: our certificate, no client certificate, session
/// tickets, no early data. `alpn` in order of preference; empty for none.
///
/// # Errors
/// [`Error::Tls`] if the provider refuses.
pub fn client_facing(identity: &Identity, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(identity.resolver());
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The same, and clients are asked for a certificate of one of `authorities`: with `required` those
/// without one are refused, without it only those with a wrong one. No session tickets, so that
/// each connection proves anew.
///
/// # Errors
/// [`Error::Tls`] if the provider refuses.
pub fn client_asking(
    identity: &Identity,
    authorities: &Trust,
    required: bool,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(authorities.roots(), provider());
    let verifier = match required {
        true => verifier.build(),
        false => verifier.allow_unauthenticated().build(),
    };
    let verifier = verifier.map_err(|e| rustls::Error::General(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity.resolver());
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The configuration towards inside servers. Without `trust` the server's certificate is not
/// checked at all (an administrator's choice per server); with it chain and name are.
///
/// # Errors
/// [`Error::Tls`] if the provider refuses.
pub fn inside_client(trust: Option<&Trust>, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let mut config = match trust {
        Some(trust) => builder
            .dangerous()
            .with_custom_certificate_verifier(inside::Telling::new(trust)?)
            .with_no_client_auth(),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(links::Unverified::new()))
            .with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The configuration towards call control: chain and name of its certificate are checked, and
/// ours is shown if it asks, as Unified CM does on an encrypted line. Without `trust` its
/// certificate is not checked (an administrator's choice per server).
///
/// # Errors
/// [`Error::Tls`] if the provider refuses.
pub fn inside_mutual(
    identity: &Identity,
    trust: Option<&Trust>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let ours = identity.client_resolver();
    Ok(Arc::new(match trust {
        Some(trust) => builder
            .dangerous()
            .with_custom_certificate_verifier(inside::Telling::new(trust)?)
            .with_client_cert_resolver(ours),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(links::Unverified::new()))
            .with_client_cert_resolver(ours),
    }))
}

/// A value that can be replaced while others use it; cheap to clone and to read.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// Holds `value` until [`Live::set`].
    pub fn new(value: Arc<T>) -> Self {
        Live(Arc::new(ArcSwap::new(value)))
    }

    /// The present value.
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces it for all who hold this cell.
    pub fn set(&self, value: Arc<T>) {
        self.0.store(value);
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Live(Arc::clone(&self.0))
    }
}
