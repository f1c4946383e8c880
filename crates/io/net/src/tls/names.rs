//! Whose a certificate is: subject names, fingerprint, dates.

use std::fmt;

use base::{UnixTime, line};
use rustls_pki_types::{CertificateDer, ServerName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

/// What a certificate says about its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Names of type dNSName in subjectAltName.
    pub dns_names: Vec<String>,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// SHA-256 over the certificate, in lower-case hexadecimal.
    pub fingerprint: String,
    /// The moment from which it is valid.
    pub not_before: UnixTime,
    /// The moment it runs out.
    pub not_after: UnixTime,
    /// Whether it is good for a TLS server: it has no extendedKeyUsage, or one with
    /// id-kp-serverAuth (RFC 5280 §4.2.1.12).
    pub for_server: bool,
    /// Whether it is good for a TLS client: the same of id-kp-clientAuth.
    pub for_client: bool,
}

impl PeerCertificate {
    /// Reads a certificate; the error is what is wrong with it.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(der)
            .map_err(|e| format!("holds no X.509 certificate ({e})"))?;
        let dns_names = parsed
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|san| {
                san.value
                    .general_names
                    .iter()
                    .filter_map(|n| match n {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        _ => None,
                    })
                    .collect()
            })
            .unwrap_or_default();
        let common_name = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|n| n.as_str().ok());
        let usage = parsed
            .extended_key_usage()
            .map_err(|e| format!("holds an extendedKeyUsage that cannot be read ({e})"))?;
        let moment = |time: x509_parser::time::ASN1Time| {
            UnixTime::from_millis(u64::try_from(time.timestamp()).unwrap_or(0) * 1000)
        };
        Ok(PeerCertificate {
            for_server: usage.as_ref().is_none_or(|u| u.value.server_auth),
            for_client: usage.as_ref().is_none_or(|u| u.value.client_auth),
            dns_names,
            common_name: common_name.map(str::to_owned),
            fingerprint: fingerprint(der),
            not_before: moment(parsed.validity().not_before),
            not_after: moment(parsed.validity().not_after),
        })
    }

    /// Whether it carries a name (RFC 6125 §6.4; a wildcard stands for one label).
    pub fn carries(&self, name: &str) -> bool {
        let same = |held: &str| {
            held.eq_ignore_ascii_case(name)
                || held.strip_prefix("*.").is_some_and(|rest| {
                    name.split_once('.')
                        .is_some_and(|(_, n)| n.eq_ignore_ascii_case(rest))
                })
        };
        if self.dns_names.is_empty() {
            return self.common_name.as_deref().is_some_and(same);
        }
        self.dns_names.iter().any(|held| same(held))
    }

    /// All names, for people.
    pub fn shown(&self) -> String {
        match (&self.dns_names[..], &self.common_name) {
            ([], None) => "no name at all".into(),
            ([], Some(common_name)) => format!("CN {common_name}"),
            (names, _) => names.join(", "),
        }
    }
}

/// The most that is told of a certificate's names, or of its issuer, in bytes.
const ABOUT_MAX: usize = 300;

/// A certificate in a few words: its names, who issued it, and its fingerprint.
pub(super) fn about(der: &CertificateDer<'_>) -> String {
    let Ok(shown) = PeerCertificate::of(der) else {
        return "unreadable".into();
    };
    let parsed = X509Certificate::from_der(der).ok();
    let issuer = parsed.map_or_else(String::new, |(_, c)| match c.issuer() == c.subject() {
        true => "self-signed".into(),
        false => format!("issued by {}", c.issuer()),
    });
    let mark = shown.fingerprint.get(..16).unwrap_or_default();
    // Both are whatever the certificate says, and end in the log.
    let names = shown.shown();
    let (names, issuer) = (line(&names, ABOUT_MAX), line(&issuer, ABOUT_MAX));
    format!("for {names}, {issuer}, SHA-256 {mark}…")
}

/// Whether subject and issuer are one.
pub(super) fn is_self_issued(der: &CertificateDer<'_>) -> bool {
    let parsed = X509Certificate::from_der(der);
    parsed.is_ok_and(|(_, c)| c.issuer() == c.subject())
}

/// The bits of a certificate's RSA key; `None` for a key of another kind.
pub(crate) fn rsa_bits(der: &CertificateDer<'_>) -> Option<usize> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    match parsed.public_key().parsed().ok()? {
        PublicKey::RSA(key) => Some(key.key_size()),
        _ => None,
    }
}

/// SHA-256 in lower-case hexadecimal.
fn fingerprint(der: &[u8]) -> String {
    use std::fmt::Write;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest
        .as_ref()
        .iter()
        .fold(String::with_capacity(64), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
}

/// Finds the first of `accepted` that the certificate carries: a dNSName (or iPAddress) in
/// subjectAltName, or, where there is no dNSName, the common name (RFC 6125 §6.4).
pub(crate) fn proves<'a>(
    der: &CertificateDer<'_>,
    accepted: &'a [String],
) -> Result<&'a str, NameMismatch> {
    let shown = PeerCertificate::of(der).ok();
    let parsed = webpki::EndEntityCert::try_from(der).ok();
    for name in accepted {
        let by_san = parsed.as_ref().is_some_and(|cert| {
            ServerName::try_from(name.as_str())
                .is_ok_and(|n| cert.verify_is_valid_for_subject_name(&n).is_ok())
        });
        let by_common_name = shown.as_ref().is_some_and(|cert| {
            cert.dns_names.is_empty()
                && cert
                    .common_name
                    .as_ref()
                    .is_some_and(|cn| cn.eq_ignore_ascii_case(name))
        });
        if by_san || by_common_name {
            return Ok(name);
        }
    }
    Err(NameMismatch {
        presented: shown.map_or_else(|| "an unreadable certificate".into(), |c| c.shown()),
        expected: accepted.to_vec(),
    })
}

/// The peer proved to be somebody, but nobody we expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameMismatch {
    /// The names of its certificate.
    pub presented: String,
    /// The names we accept.
    pub expected: Vec<String>,
}

impl fmt::Display for NameMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the peer's certificate is for {}, but {} was expected",
            self.presented,
            self.expected.join(" or ")
        )
    }
}

impl std::error::Error for NameMismatch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_names_itself_over_several_lines_is_told_in_one_short_one() {
        let mut params = rcgen::CertificateParams::default();
        let name = format!("x\nERROR forged{}", "y".repeat(9_999));
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let told = about(certificate.der());
        assert!(told.starts_with("for CN x·ERROR forged"), "{told}");
        assert!(!told.contains(char::is_control) && told.len() < 800);
    }
}
