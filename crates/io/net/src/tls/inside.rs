//! The check of an inside server's certificate: chain and name as webpki does, and where it is
//! refused, whose certificate it was, who issued it and what was expected (F349).

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::files::Trust;
use super::names;
use crate::Error;

/// Why an inside server's certificate was refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// What webpki says.
    pub(super) why: CertificateError,
    /// The certificate, for people.
    about: String,
    expected: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.why {
            CertificateError::UnknownIssuer => "its authority is not trusted".to_owned(),
            CertificateError::BadSignature => {
                "its authority is not the trusted one of that name".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("{} is no name of it", self.expected)
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has run out".into()
            }
            other => other.to_string(),
        };
        write!(
            f,
            "the certificate is refused: {what}; it is {}",
            self.about
        )
    }
}

impl std::error::Error for Refused {}

/// Checks, and tells.
#[derive(Debug)]
pub(super) struct Telling(Arc<WebPkiServerVerifier>);

impl Telling {
    /// # Errors
    /// [`Error::Tls`] if there is no authority to trust.
    pub(super) fn new(trust: &Trust) -> Result<Arc<Self>, Error> {
        let builder = WebPkiServerVerifier::builder_with_provider(trust.roots(), super::provider());
        let refused = |e: rustls::server::VerifierBuilderError| {
            Error::Tls(rustls::Error::General(e.to_string()))
        };
        Ok(Arc::new(Telling(builder.build().map_err(refused)?)))
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
        let checked =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        checked.map_err(|error| match error {
            rustls::Error::InvalidCertificate(why) => {
                let refused = Refused {
                    why,
                    about: names::about(end_entity),
                    expected: server_name.to_str().into_owned(),
                };
                let other = OtherError(Arc::new(refused));
                rustls::Error::InvalidCertificate(CertificateError::Other(other))
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
