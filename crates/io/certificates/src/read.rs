//! What a certificate says, and what a file holds in its place.
//!
//! In: bytes of a file (PEM, RFC 7468). Out: [`Certificate`]s in the file's order, or the [`Flaw`]
//! that says what the file is instead. Nothing is judged here, and nothing read here is trusted:
//! every text of a certificate is cut to one line.

use std::net::IpAddr;

use base::{UnixTime, line};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::flaw::{Finding, Flaw};

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most certificates of one file.
pub const CERTIFICATES_MAX: usize = 2_000;

/// The most that is kept of a name or an issuer, in bytes.
const TEXT_MAX: usize = 300;

/// A public key's kind and strength.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, with its bits.
    Rsa(usize),
    /// A curve by its name, as `P-256`.
    Ec(String),
    /// Ed25519.
    Ed25519,
    /// Something else, by its identifier.
    Other(String),
}

impl std::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyKind::Rsa(bits) => write!(f, "RSA {bits}"),
            KeyKind::Ec(curve) => write!(f, "EC {curve}"),
            KeyKind::Ed25519 => f.write_str("Ed25519"),
            KeyKind::Other(id) => f.write_str(id),
        }
    }
}

/// What extendedKeyUsage allows (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// id-kp-serverAuth, or any.
    pub server: bool,
    /// id-kp-clientAuth, or any.
    pub client: bool,
}

/// What keyUsage allows (RFC 5280 §4.2.1.3), as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// Sign a handshake.
    pub digital_signature: bool,
    /// Sign certificates.
    pub cert_sign: bool,
}

/// Whether one certificate signed another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// It did.
    Yes,
    /// It did not.
    No,
    /// The algorithm is not known here.
    Unknown,
}

/// One certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    subject_raw: Vec<u8>,
    issuer_raw: Vec<u8>,
    key_raw: Vec<u8>,
    /// Whose it is.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// Names of type dNSName in subjectAltName.
    pub dns_names: Vec<String>,
    /// Names of type iPAddress.
    pub addresses: Vec<IpAddr>,
    /// Names of other types, with their type, as `URI:sip:example.com`.
    pub other_names: Vec<String>,
    /// In hexadecimal.
    pub serial: String,
    /// SHA-256 over the certificate, in lower-case hexadecimal.
    pub fingerprint: String,
    /// From when on it is valid.
    pub not_before: UnixTime,
    /// When it runs out.
    pub not_after: UnixTime,
    /// Its public key.
    pub key: KeyKind,
    /// What it is signed with, as `sha256WithRSAEncryption`.
    pub signature: String,
    /// Whether that is a digest that is broken: MD2, MD5 or SHA-1.
    pub weak_signature: bool,
    /// 1 to 3.
    pub version: u32,
    /// Whether basicConstraints makes it an authority, and how many intermediates it allows.
    pub authority: Option<Option<u32>>,
    /// keyUsage, if it has one.
    pub key_usage: Option<KeyUsage>,
    /// extendedKeyUsage, if it has one.
    pub uses: Option<Uses>,
    /// Critical extensions that nobody here understands.
    pub unknown_critical: Vec<String>,
    /// Where its issuer's certificate can be fetched, if it says (RFC 5280 §4.2.2.1).
    pub issuer_at: Option<String>,
}

impl Certificate {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|e| format!("no X.509 certificate ({e})"))?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow it", rest.len()));
        }
        let moment = |time: x509_parser::time::ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
            UnixTime::from_millis(seconds.saturating_mul(1000))
        };
        let common_name = parsed.subject().iter_common_name().next();
        let common_name = common_name.and_then(|n| n.as_str().ok()).map(shown);
        let serial = parsed.raw_serial().iter();
        let serial: String = serial.map(|b| format!("{b:02x}")).collect();
        let mut read = Certificate {
            der: CertificateDer::from(der.to_vec()),
            subject_raw: parsed.subject().as_raw().to_vec(),
            issuer_raw: parsed.issuer().as_raw().to_vec(),
            key_raw: parsed.public_key().raw.to_vec(),
            subject: shown(&parsed.subject().to_string()),
            issuer: shown(&parsed.issuer().to_string()),
            common_name,
            dns_names: Vec::new(),
            addresses: Vec::new(),
            other_names: Vec::new(),
            serial: shown(&serial),
            fingerprint: fingerprint(der),
            not_before: moment(parsed.validity().not_before),
            not_after: moment(parsed.validity().not_after),
            key: key_kind(&parsed),
            signature: String::new(),
            weak_signature: false,
            version: parsed.version().0.saturating_add(1),
            authority: None,
            key_usage: None,
            uses: None,
            unknown_critical: Vec::new(),
            issuer_at: None,
        };
        (read.signature, read.weak_signature) =
            signature(&parsed.signature_algorithm.algorithm.to_id_string());
        for extension in parsed.extensions() {
            read.take(extension)?;
        }
        Ok(read)
    }

    fn take(&mut self, extension: &x509_parser::prelude::X509Extension<'_>) -> Result<(), String> {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().for_each(|n| self.name(n));
            }
            ParsedExtension::BasicConstraints(basic) if basic.ca => {
                self.authority = Some(basic.path_len_constraint);
            }
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = Some(KeyUsage {
                    digital_signature: usage.digital_signature(),
                    cert_sign: usage.key_cert_sign(),
                });
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.uses = Some(Uses {
                    server: usage.server_auth || usage.any,
                    client: usage.client_auth || usage.any,
                });
            }
            ParsedExtension::AuthorityInfoAccess(access) => {
                // id-ad-caIssuers
                let issuers = access
                    .iter()
                    .find(|a| a.access_method.to_id_string() == "1.3.6.1.5.5.7.48.2");
                if let Some(GeneralName::URI(uri)) = issuers.map(|a| &a.access_location) {
                    self.issuer_at = Some(shown(uri));
                }
            }
            ParsedExtension::ParseError { .. } => {
                let oid = extension.oid.to_id_string();
                return Err(format!("its extension {oid} cannot be read"));
            }
            ParsedExtension::UnsupportedExtension { oid } if extension.critical => {
                self.unknown_critical.push(oid.to_id_string());
            }
            _ => {}
        }
        Ok(())
    }

    fn name(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push(shown(name)),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                self.addresses.extend(address.ok());
            }
            GeneralName::URI(uri) => self.other_names.push(shown(&format!("URI:{uri}"))),
            GeneralName::RFC822Name(mail) => {
                self.other_names.push(shown(&format!("email:{mail}")));
            }
            GeneralName::OtherName(oid, value) => {
                let (oid, text) = (oid.to_id_string(), tail(value));
                let kind = match oid.as_str() {
                    "1.3.6.1.5.5.7.8.7" => "SRVName",
                    "1.3.6.1.5.5.7.8.5" => "XmppAddr",
                    other => other,
                };
                self.other_names.push(shown(&format!("{kind}:{text}")));
            }
            _ => {}
        }
    }

    /// The certificate itself.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Its SubjectPublicKeyInfo, in DER.
    pub fn public_key(&self) -> &[u8] {
        &self.key_raw
    }

    /// In PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// Whether subject and issuer are one.
    pub fn is_self_issued(&self) -> bool {
        self.subject_raw == self.issuer_raw
    }

    /// Whether it signed itself.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_issued() && self.signed_by(self) != Signed::No
    }

    /// Whether another one's subject is this one's issuer.
    pub fn names_issuer(&self, issuer: &Certificate) -> bool {
        self.issuer_raw == issuer.subject_raw
    }

    /// Whether another one's key made this one's signature.
    pub fn signed_by(&self, issuer: &Certificate) -> Signed {
        // Shorter keys are refused by the library without a look at the signature.
        if matches!(issuer.key, KeyKind::Rsa(bits) if bits < 2048) {
            return Signed::Unknown;
        }
        let (Ok((_, ours)), Ok((_, theirs))) = (
            X509Certificate::from_der(&self.der),
            X509Certificate::from_der(&issuer.der),
        ) else {
            return Signed::Unknown;
        };
        match ours.verify_signature(Some(theirs.public_key())) {
            Ok(()) => Signed::Yes,
            Err(x509_parser::error::X509Error::SignatureVerificationError) => Signed::No,
            Err(_) => Signed::Unknown,
        }
    }

    /// Whether it carries a name (RFC 9525 §6.3): in subjectAltName, or as common name where there
    /// is no dNSName. A wildcard stands for one label.
    pub fn carries(&self, name: &str) -> bool {
        if let Ok(address) = name.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let same = |held: &str| {
            let rest = held.strip_prefix("*.");
            held.eq_ignore_ascii_case(name)
                || rest.is_some_and(|rest| {
                    let parent = name.split_once('.').map(|(_, parent)| parent);
                    parent.is_some_and(|parent| parent.eq_ignore_ascii_case(rest))
                })
        };
        if self.dns_names.is_empty() {
            return self.common_name.as_deref().is_some_and(same);
        }
        self.dns_names.iter().any(|held| same(held))
    }

    /// All its names in a row.
    pub fn names(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let all: Vec<String> = self
            .dns_names
            .iter()
            .cloned()
            .chain(addresses)
            .chain(self.other_names.iter().cloned())
            .collect();
        match (all.as_slice(), &self.common_name) {
            ([], None) => "no name at all".into(),
            ([], Some(common_name)) => format!("CN {common_name}"),
            (all, _) => shown(&all.join(", ")),
        }
    }

    /// In a few words: whose, by whom, and its fingerprint.
    pub fn about(&self) -> String {
        let issuer = match self.is_self_issued() {
            true => "issued by itself".to_owned(),
            false => format!("issued by {}", self.issuer),
        };
        format!("{}, {issuer}, SHA-256 {}", self.names(), self.mark())
    }

    /// The beginning of its fingerprint, for people.
    pub fn mark(&self) -> String {
        let start = self.fingerprint.get(..16).unwrap_or_default();
        format!("{start}…")
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

/// A file's bytes; of one that is too large as many as show that it is.
///
/// # Errors
/// What the system says.
pub fn file(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    let file = std::fs::File::open(path)?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The certificates of a file, in its order.
///
/// # Errors
/// The finding that says what the file is instead.
pub fn certificates(file: &[u8]) -> Result<Vec<Certificate>, Finding> {
    if file.len() > FILE_BYTES_MAX {
        let seen = format!("{} bytes", file.len());
        return Err(Finding::new(
            Flaw::TooMuch,
            "the file is too large to be a chain",
            seen,
        ));
    }
    let labels = labels(file);
    if labels.is_empty() {
        return Err(no_text(file));
    }
    let mut found = Vec::new();
    for (nth, der) in CertificateDer::pem_slice_iter(file).enumerate() {
        if nth == CERTIFICATES_MAX {
            let seen = format!("more than {CERTIFICATES_MAX} certificates");
            return Err(Finding::new(Flaw::TooMuch, "the file holds too many", seen));
        }
        let read = der.map_err(|e| e.to_string());
        let read = read.and_then(|der| Certificate::from_der(&der));
        let place = format!("certificate {} of the file", nth + 1);
        found.push(read.map_err(|why| {
            Finding::new(Flaw::Unreadable, format!("{place} cannot be read"), why)
        })?);
    }
    if found.is_empty() {
        return Err(in_its_place(&labels));
    }
    Ok(found)
}

/// What a PEM file holds that holds no certificate.
fn in_its_place(labels: &[String]) -> Finding {
    let seen = format!("it holds {}", labels.join(", "));
    let is = |what: &str| labels.iter().any(|l| l == what);
    let (flaw, cause) = if is("CERTIFICATE REQUEST") || is("NEW CERTIFICATE REQUEST") {
        (
            Flaw::RequestInstead,
            "the file holds a request, not what was issued for it",
        )
    } else if is("PKCS7") || is("CMS") {
        (Flaw::Pkcs7, "the certificates are wrapped as PKCS#7")
    } else if is("TRUSTED CERTIFICATE") {
        (
            Flaw::TrustedForm,
            "the certificate is in OpenSSL's own form",
        )
    } else if is("CERTIFICATE") {
        (Flaw::Unreadable, "the certificate is cut off")
    } else {
        (Flaw::NoCertificate, "the file holds no certificate")
    };
    Finding::new(flaw, cause, seen)
}

/// What a file is that is no PEM.
fn no_text(file: &[u8]) -> Finding {
    let of = |flaw, cause: &str, proof: &str| Finding::new(flaw, cause, proof);
    if matches!(file.get(..2), Some([0xff, 0xfe] | [0xfe, 0xff])) {
        let proof = "it begins with the mark of UTF-16";
        return of(Flaw::Utf16, "the file is text in UTF-16", proof);
    }
    if file.first() == Some(&0x30) {
        if Certificate::from_der(file).is_ok() {
            let cause = "the certificate is in DER, and PEM is wanted";
            return of(Flaw::Der, cause, "it reads as one certificate in DER");
        }
        // PFX ::= SEQUENCE { version INTEGER {v3(3)} … (RFC 7292 §4).
        if file
            .get(..16)
            .is_some_and(|f| f.windows(3).any(|w| w == [2, 1, 3]))
        {
            let cause = "certificate and key are sealed together as PKCS#12";
            return of(Flaw::Pkcs12, cause, "it begins as PKCS#12, version 3");
        }
        // id-signedData (RFC 5652 §5.1).
        const SIGNED_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
        let start = file.get(..32).unwrap_or(file);
        if start.windows(9).any(|w| w == SIGNED_DATA) {
            let cause = "the certificates are wrapped as PKCS#7";
            return of(Flaw::Pkcs7, cause, "it begins with signedData");
        }
    }
    let seen = match file.len() {
        0 => "it is empty".to_owned(),
        n => format!("{n} bytes without a line -----BEGIN CERTIFICATE-----"),
    };
    of(Flaw::NoCertificate, "the file holds no certificate", &seen)
}

/// The labels of a PEM file (RFC 7468 §2), at most 64 of them.
pub(crate) fn labels(file: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(file);
    let label = |line: &str| {
        let label = line.trim().strip_prefix("-----BEGIN ")?;
        Some(shown(label.strip_suffix("-----")?))
    };
    text.lines().filter_map(label).take(64).collect()
}

/// A document in PEM (RFC 7468 §3): lines of 64 characters.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let mut out = format!("-----BEGIN {label}-----\n");
    for row in der.chunks(48) {
        STANDARD.encode_string(row, &mut out);
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

fn shown(text: &str) -> String {
    line(text, TEXT_MAX).into_owned()
}

/// The text at the end of a tagged string: the printable tail.
fn tail(value: &[u8]) -> String {
    let from = value.iter().rposition(|b| !(0x20..0x7f).contains(b));
    let text = value.get(from.map_or(0, |at| at + 1)..).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn key_kind(parsed: &X509Certificate<'_>) -> KeyKind {
    let key = parsed.public_key();
    let algorithm = key.algorithm.algorithm.to_id_string();
    let curve = || {
        let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
        Some(match curve.to_id_string().as_str() {
            "1.2.840.10045.3.1.7" => "P-256".to_owned(),
            "1.3.132.0.34" => "P-384".to_owned(),
            "1.3.132.0.35" => "P-521".to_owned(),
            "1.3.132.0.10" => "secp256k1".to_owned(),
            other => other.to_owned(),
        })
    };
    match algorithm.as_str() {
        "1.2.840.113549.1.1.1" => match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => KeyKind::Rsa(rsa.key_size()),
            _ => KeyKind::Other("unreadable RSA".into()),
        },
        "1.2.840.113549.1.1.10" => KeyKind::Other("RSASSA-PSS".into()),
        "1.2.840.10045.2.1" => match curve() {
            Some(curve) => KeyKind::Ec(curve),
            None => KeyKind::Other("EC without a named curve".into()),
        },
        "1.3.101.112" => KeyKind::Ed25519,
        "1.3.101.113" => KeyKind::Other("Ed448".into()),
        "1.2.840.10040.4.1" => KeyKind::Other("DSA".into()),
        other => KeyKind::Other(shown(other)),
    }
}

/// A signature's name, and whether its digest is broken.
fn signature(oid: &str) -> (String, bool) {
    let (name, weak) = match oid {
        "1.2.840.113549.1.1.2" => ("md2WithRSAEncryption", true),
        "1.2.840.113549.1.1.4" => ("md5WithRSAEncryption", true),
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => ("sha1WithRSAEncryption", true),
        "1.2.840.10045.4.1" => ("ecdsa-with-SHA1", true),
        "1.2.840.10040.4.3" => ("dsa-with-sha1", true),
        "1.2.840.113549.1.1.10" => ("rsassaPss", false),
        "1.2.840.113549.1.1.11" => ("sha256WithRSAEncryption", false),
        "1.2.840.113549.1.1.12" => ("sha384WithRSAEncryption", false),
        "1.2.840.113549.1.1.13" => ("sha512WithRSAEncryption", false),
        "1.2.840.10045.4.3.2" => ("ecdsa-with-SHA256", false),
        "1.2.840.10045.4.3.3" => ("ecdsa-with-SHA384", false),
        "1.2.840.10045.4.3.4" => ("ecdsa-with-SHA512", false),
        "1.3.101.112" => ("Ed25519", false),
        other => (other, false),
    };
    (shown(name), weak)
}

/// SHA-256 in lower-case hexadecimal.
fn fingerprint(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_that_is_written_is_read_again_whatever_its_length() {
        for length in 0..200_u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let text = pem("CERTIFICATE", &bytes);
            let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
            assert_eq!(read.as_ref(), bytes, "{text}");
            assert!(text.lines().all(|line| line.len() <= 64));
        }
    }

    #[test]
    fn a_name_is_carried_as_it_stands_or_under_a_star_for_one_label() {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["a.test", "*.b.test", "192.0.2.1"].map(str::to_owned);
        let params = rcgen::CertificateParams::new(names.to_vec()).unwrap();
        let made = params.self_signed(&key).unwrap();
        let read = Certificate::from_der(made.der()).unwrap();
        for (name, held) in [
            ("A.test", true),
            ("x.b.test", true),
            ("b.test", false),
            ("x.y.b.test", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
        ] {
            assert_eq!(read.carries(name), held, "{name}");
        }
        assert_eq!(read.names(), "a.test, *.b.test, 192.0.2.1");
    }
}
