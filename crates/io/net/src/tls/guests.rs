//! Hosts inside that connect to us by TLS: whoever has a certificate may show it, and what it
//! proves is found out afterwards. Nobody is refused for one, since a phone may have none at all; the node
//! decides what a host without may do.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::files::{Identity, Trust};
use super::handshake::Stream;
use super::names::PeerCertificate;
use super::refused::is_pinned;
use crate::Error;

/// The most names of one certificate that count.
const NAMES_MAX: usize = 64;

/// The configuration of a listener for hosts inside: our certificate, and theirs is asked for. No
/// session tickets, so that each connection proves anew.
///
/// # Errors
/// [`Error::Tls`] if the provider refuses.
pub fn inside_facing(identity: &Identity) -> Result<Arc<ServerConfig>, Error> {
    let provider = super::provider();
    let asking = Asking(provider.signature_verification_algorithms);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(asking))
        .with_cert_resolver(identity.resolver());
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The names that the peer's certificate proves: those it carries, if it is good for a TLS client
/// or server under a chain of `trust`, or is trusted itself. None if it showed none.
pub fn proven<S>(stream: &Stream<S>, trust: &Trust) -> Vec<String> {
    let (_, state) = stream.get_ref();
    let Some((own, others)) = state.peer_certificates().and_then(<[_]>::split_first) else {
        return Vec::new();
    };
    let now = UnixTime::now();
    let shown = PeerCertificate::of(own).ok();
    let names = shown.filter(|_| is_good(own, others, trust, now));
    let names = names.map(|shown| match (shown.dns_names, shown.common_name) {
        (names, _) if !names.is_empty() => names,
        (_, common_name) => common_name.into_iter().collect(),
    });
    let mut names = names.unwrap_or_default();
    names.retain(|name| !name.contains(char::is_whitespace));
    names.truncate(NAMES_MAX);
    names
}

/// Whether a certificate is good for either end of TLS: public authorities issue some for servers
/// alone.
fn is_good(
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    trust: &Trust,
    now: UnixTime,
) -> bool {
    let provider = super::provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let chain = WebPkiClientVerifier::builder_with_provider(trust.roots(), provider).build();
    if chain.is_ok_and(|chain| chain.verify_client_cert(own, others, now).is_ok()) {
        return true;
    }
    let checked = ParsedCertificate::try_from(own).and_then(|own| {
        let roots = trust.roots();
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &own, &roots, others, now, algorithms,
        )
    });
    match checked {
        Ok(()) => true,
        Err(error) => is_pinned(trust, own, &error, now),
    }
}

/// Asks for a certificate, and takes whatever is shown and signed for.
#[derive(Debug)]
struct Asking(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
