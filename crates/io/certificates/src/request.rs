//! A certificate signing request (PKCS#10, RFC 2986) with the names that are needed, and the key
//! for it.
//!
//! In: a [`Wish`]. Out: request and key in PEM. The request asks for serverAuth and clientAuth
//! (F197, F200); all names are dNSNames (F220, F222). The key is made here and nowhere else;
//! whoever writes it down does so for its owner alone.
//! Bounds: 500 names, texts of the subject of 64 bytes (RFC 5280 appendix A.1, ub-common-name).

use std::net::IpAddr;

use base::Secret;
use rcgen::string::PrintableString;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, RsaKeySize, SanType,
};

use crate::names::is_host_name;

/// The most names of a request.
pub const NAMES_MAX: usize = 500;

/// The longest text of the subject, in bytes.
const TEXT_MAX: usize = 64;

/// The kind of key that is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyChoice {
    /// RSA of 2048 bits: every client and every authority takes it.
    #[default]
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits: a handshake costs several times as much.
    Rsa4096,
    /// ECDSA on P-256: the cheapest handshake; some old room systems do not take it.
    EcP256,
    /// ECDSA on P-384.
    EcP384,
}

/// What is requested.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The subject's common name; left out if it is longer than a subject may hold.
    pub common_name: String,
    /// Names for subjectAltName: hosts, or addresses.
    pub names: Vec<String>,
    /// The subject's organisation.
    pub organisation: Option<String>,
    /// Its unit.
    pub unit: Option<String>,
    /// Its town.
    pub locality: Option<String>,
    /// Its state or province.
    pub state: Option<String>,
    /// Its country, as two letters.
    pub country: Option<String>,
    /// The kind of key.
    pub key: KeyChoice,
}

/// A request and its key.
#[derive(Clone)]
pub struct Made {
    /// The request, in PEM.
    pub request: String,
    /// The key, in PEM (PKCS#8).
    pub key: Secret<String>,
}

/// Why there is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// A name cannot stand in a certificate.
    #[error(
        "{0} is no name of a host: letters, digits, hyphens and dots, 63 to a label; name hosts \
         and domains"
    )]
    Name(String),
    /// Too many names.
    #[error("{0} names are more than {NAMES_MAX}; spread them over several certificates")]
    TooMany(usize),
    /// No name at all.
    #[error("there is no name to request; name one with --name")]
    Nameless,
    /// A part of the subject is too long or otherwise wrong.
    #[error("{0} of the subject: {1}")]
    Subject(&'static str, &'static str),
    /// The library of cryptography refused.
    #[error("the key or the request could not be made: {0}")]
    Library(String),
}

/// Makes a key and the request for it. RSA keys take up to a second or more.
///
/// # Errors
/// [`RequestFault`].
pub fn make(wish: &Wish) -> Result<Made, RequestFault> {
    let params = params(wish)?;
    let library = |e: rcgen::Error| RequestFault::Library(e.to_string());
    let key = key(wish.key).map_err(library)?;
    let request = params.serialize_request(&key).map_err(library)?;
    Ok(Made {
        request: crate::read::pem("CERTIFICATE REQUEST", request.der()),
        key: Secret::new(key.serialize_pem()),
    })
}

pub(crate) fn key(choice: KeyChoice) -> Result<KeyPair, rcgen::Error> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    match choice {
        KeyChoice::Rsa2048 => rsa(RsaKeySize::_2048),
        KeyChoice::Rsa3072 => rsa(RsaKeySize::_3072),
        KeyChoice::Rsa4096 => rsa(RsaKeySize::_4096),
        KeyChoice::EcP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyChoice::EcP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
    }
}

fn params(wish: &Wish) -> Result<CertificateParams, RequestFault> {
    if wish.names.is_empty() {
        return Err(RequestFault::Nameless);
    }
    if wish.names.len() > NAMES_MAX {
        return Err(RequestFault::TooMany(wish.names.len()));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(wish)?;
    for name in &wish.names {
        let alt = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                let bare = name.strip_prefix("*.").unwrap_or(name);
                if !is_host_name(bare) {
                    return Err(RequestFault::Name(base::line(name, 300).into_owned()));
                }
                let text = name.to_ascii_lowercase().try_into();
                SanType::DnsName(text.map_err(|_| RequestFault::Name(name.clone()))?)
            }
        };
        if !params.subject_alt_names.contains(&alt) {
            params.subject_alt_names.push(alt);
        }
    }
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if matches!(
        wish.key,
        KeyChoice::Rsa2048 | KeyChoice::Rsa3072 | KeyChoice::Rsa4096
    ) {
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    Ok(params)
}

fn subject(wish: &Wish) -> Result<DistinguishedName, RequestFault> {
    let mut name = DistinguishedName::new();
    if let Some(country) = &wish.country {
        let letters = country.len() == 2 && country.bytes().all(|b| b.is_ascii_alphabetic());
        let text = PrintableString::try_from(country.to_ascii_uppercase());
        match (letters, text) {
            (true, Ok(text)) => name.push(DnType::CountryName, DnValue::PrintableString(text)),
            _ => return Err(RequestFault::Subject("the country", "give two letters")),
        }
    }
    for (what, kind, text) in [
        ("the state", DnType::StateOrProvinceName, &wish.state),
        ("the town", DnType::LocalityName, &wish.locality),
        (
            "the organisation",
            DnType::OrganizationName,
            &wish.organisation,
        ),
        ("the unit", DnType::OrganizationalUnitName, &wish.unit),
    ] {
        let Some(text) = text else {
            continue;
        };
        if text.is_empty() || text.len() > TEXT_MAX || text.contains(char::is_control) {
            let fix = "give 1 to 64 bytes without control characters";
            return Err(RequestFault::Subject(what, fix));
        }
        name.push(kind, text.as_str());
    }
    if !wish.common_name.is_empty() && wish.common_name.len() <= TEXT_MAX {
        name.push(DnType::CommonName, wish.common_name.as_str());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(names: &[&str]) -> Wish {
        Wish {
            common_name: "node.example.test".into(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            key: KeyChoice::EcP256,
            ..Wish::default()
        }
    }

    #[test]
    fn a_request_that_cannot_be_is_refused_by_what_is_wrong() {
        let fault = |wish: &Wish| make(wish).map(|_| ()).unwrap_err();
        assert_eq!(fault(&wish(&[])), RequestFault::Nameless);
        let odd = RequestFault::Name("under_score".into());
        assert_eq!(fault(&wish(&["under_score"])), odd);
        let many: Vec<String> = (0..501).map(|n| format!("h{n}.test")).collect();
        let many = Wish {
            names: many,
            ..wish(&[])
        };
        assert_eq!(fault(&many), RequestFault::TooMany(501));
        let land = Wish {
            country: Some("Germany".into()),
            ..wish(&["a.test"])
        };
        let said = RequestFault::Subject("the country", "give two letters");
        assert_eq!(fault(&land), said);
        let long = Wish {
            unit: Some("x".repeat(65)),
            ..wish(&["a.test"])
        };
        assert!(matches!(fault(&long), RequestFault::Subject("the unit", _)));
    }
}
