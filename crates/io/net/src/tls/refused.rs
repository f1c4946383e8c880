//! Why a peer's certificate was refused: whose it was, who issued it, which names it has, and which
//! was wanted (F349); and the one certificate that counts although webpki does not take it.

use std::fmt;
use std::sync::Arc;

use base::line;
use rustls::{CertificateError, OtherError};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::files::Trust;
use super::names::{self, PeerCertificate};

/// The most that is told of the names that were wanted, in bytes.
const WANTED_MAX: usize = 300;

/// Why a peer's certificate was refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// What webpki says.
    pub(super) why: CertificateError,
    /// The certificate, for people.
    about: String,
    /// The names that were wanted.
    wanted: String,
}

impl Refused {
    /// The same error, telling the certificate and the names that were wanted.
    pub(super) fn of(
        error: rustls::Error,
        trust: &Trust,
        der: &CertificateDer<'_>,
        wanted: &str,
        now: UnixTime,
    ) -> rustls::Error {
        let as_authority = is_as_authority(&error);
        let rustls::Error::InvalidCertificate(why) = error else {
            return error;
        };
        let why = match as_authority {
            // What stands against it is not that it is an authority's, but what else is amiss.
            true if trust.is_exactly(der) && is_within(der, now) => {
                CertificateError::NotValidForName
            }
            true if trust.is_exactly(der) => CertificateError::Expired,
            true if names::is_self_issued(der) => CertificateError::UnknownIssuer,
            _ => why,
        };
        let refused = Refused {
            why,
            about: names::about(der),
            wanted: line(wanted, WANTED_MAX).into_owned(),
        };
        let other = OtherError(Arc::new(refused));
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.why {
            CertificateError::UnknownIssuer => "its authority is not trusted".to_owned(),
            CertificateError::BadSignature => {
                "its authority is not the trusted one of that name".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("{} is no name of it", self.wanted)
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has run out".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet".into()
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "it is not for this use (extendedKeyUsage)".into()
            }
            CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::CaUsedAsEndEntity) => "it is an authority's".into(),
                _ => other.to_string(),
            },
            other => other.to_string(),
        };
        write!(
            f,
            "the certificate is refused: {what}; it is {}",
            self.about
        )?;
        match self.wanted.is_empty() {
            true => Ok(()),
            false => write!(f, "; wanted was {}", self.wanted),
        }
    }
}

impl std::error::Error for Refused {}

/// Whether a certificate counts although webpki refuses it: it is itself among those that are
/// trusted, and all that stands against it is that it is an authority's, as most self-signed
/// certificates of servers are. A path of that very certificate needs no more (RFC 5280 §6.1). Its
/// dates count as ever; names are for the caller.
pub(super) fn is_pinned(
    trust: &Trust,
    der: &CertificateDer<'_>,
    error: &rustls::Error,
    now: UnixTime,
) -> bool {
    is_as_authority(error) && is_within(der, now) && trust.is_exactly(der)
}

/// Whether webpki refuses a certificate because it is an authority's: it looks at that first.
fn is_as_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    let why = other.0.downcast_ref::<webpki::Error>();
    matches!(why, Some(webpki::Error::CaUsedAsEndEntity))
}

fn is_within(der: &CertificateDer<'_>, now: UnixTime) -> bool {
    PeerCertificate::of(der).is_ok_and(|shown| {
        (shown.not_before.as_secs()..=shown.not_after.as_secs()).contains(&now.as_secs())
    })
}
