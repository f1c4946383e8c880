//! Mutual TLS between edge and core: the chain and the subject name are checked on both sides
//! during the handshake, so that a stranger gets a TLS alert and never a byte of the lane.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::files::{Identity, Trust};
use super::names;
use super::refused::{Refused, is_pinned};
use crate::Error;

/// The listening side of a link: the peer must show a certificate of a trusted authority that
/// carries one of `accepted`. No session tickets, no early data.
///
/// # Errors
/// [`Error::Tls`] if the provider refuses, e.g. when `trust` is empty.
pub fn link_server(
    identity: &Identity,
    trust: &Trust,
    accepted: &[String],
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let chain = WebPkiClientVerifier::builder_with_provider(trust.roots(), super::provider())
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
    let verifier = NamedClient {
        chain,
        trust: trust.clone(),
        accepted: accepted.to_vec(),
    };
    let mut config = ServerConfig::builder_with_provider(super::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(identity.resolver());
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The dialling side of a link: shows our certificate and wants one that carries `expected`.
///
/// # Errors
/// [`Error::Tls`] if the provider refuses.
pub fn link_client(
    identity: &Identity,
    trust: &Trust,
    expected: &str,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    let provider = super::provider();
    let verifier = NamedServer {
        trust: trust.clone(),
        algorithms: provider.signature_verification_algorithms,
        accepted: vec![expected.to_owned()],
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(identity.client_resolver());
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// The configuration towards an inside server whose certificate must carry one of `accepted`: an
/// XMPP server shows its domain, or its host's name (RFC 6120 §13.7.2.1). Shows no certificate.
///
/// # Errors
/// [`Error::Tls`] if the provider refuses.
pub fn named_client(trust: &Trust, accepted: &[String]) -> Result<Arc<ClientConfig>, Error> {
    let provider = super::provider();
    let verifier = NamedServer {
        trust: trust.clone(),
        algorithms: provider.signature_verification_algorithms,
        accepted: accepted.to_vec(),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// What becomes of a chain that webpki has judged: its name is checked, and a refusal told in full.
fn judge(
    checked: Result<(), rustls::Error>,
    trust: &Trust,
    der: &CertificateDer<'_>,
    accepted: &[String],
    now: UnixTime,
) -> Result<(), rustls::Error> {
    if let Err(error) = checked
        && !is_pinned(trust, der, &error, now)
    {
        return Err(Refused::of(error, trust, der, &accepted.join(" or "), now));
    }
    let name = check_name(der, accepted)?;
    trust.saw(der, name);
    Ok(())
}

fn check_name<'a>(
    der: &CertificateDer<'_>,
    accepted: &'a [String],
) -> Result<&'a str, rustls::Error> {
    names::proves(der, accepted).map_err(|mismatch| {
        let other = OtherError(Arc::new(mismatch));
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
    })
}

/// Checks the chain as webpki does, then the name.
#[derive(Debug)]
struct NamedClient {
    chain: Arc<dyn ClientCertVerifier>,
    trust: Trust,
    accepted: Vec<String>,
}

impl ClientCertVerifier for NamedClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let checked = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)
            .map(|_| ());
        judge(checked, &self.trust, end_entity, &self.accepted, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Checks the chain, then the name, with the common name as fallback, which webpki lacks.
#[derive(Debug)]
struct NamedServer {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
    accepted: Vec<String>,
}

impl ServerCertVerifier for NamedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let checked = rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.trust.roots(),
            intermediates,
            now,
            self.algorithms.all,
        );
        judge(checked, &self.trust, end_entity, &self.accepted, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes any certificate: for inside servers whose check an administrator has switched off.
#[derive(Debug)]
pub(super) struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Unverified {
    pub(super) fn new() -> Self {
        Unverified {
            algorithms: super::provider().signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
