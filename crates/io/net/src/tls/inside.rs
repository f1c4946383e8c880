//! The check of an inside server's certificate: chain and name as webpki does, or the very
//! certificate that is trusted; where it is refused, that is told in full ([`Refused`]).

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::files::Trust;
use super::names;
use super::refused::{Refused, is_pinned};
use crate::Error;

/// Checks, and tells.
#[derive(Debug)]
pub(super) struct Telling {
    webpki: Arc<WebPkiServerVerifier>,
    trust: Trust,
}

impl Telling {
    /// # Errors
    /// [`Error::Tls`] if there is no authority to trust.
    pub(super) fn new(trust: &Trust) -> Result<Arc<Self>, Error> {
        let builder = WebPkiServerVerifier::builder_with_provider(trust.roots(), super::provider());
        let refused = |e: rustls::server::VerifierBuilderError| {
            Error::Tls(rustls::Error::General(e.to_string()))
        };
        Ok(Arc::new(Telling {
            webpki: builder.build().map_err(refused)?,
            trust: trust.clone(),
        }))
    }
}

impl ServerCertVerifier for Telling {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let checked = self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let wanted = server_name.to_str();
        if let Err(error) = checked {
            let accepted = [wanted.clone().into_owned()];
            let named = || names::proves(end_entity, &accepted).is_ok();
            if !is_pinned(&self.trust, end_entity, &error, now) || !named() {
                return Err(Refused::of(error, &self.trust, end_entity, &wanted, now));
            }
        }
        self.trust.saw(end_entity, &wanted);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
