//! The lab's certificate authority: made on the spot, it signs for edges, cores and servers.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate chain and its private key, as files.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain, PEM.
    pub chain: PathBuf,
    /// The private key, PEM, readable by the owner alone.
    pub key: PathBuf,
}

/// Signs certificates with a key that never leaves this process.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
    /// The authority's own certificate, PEM.
    pub certificate: PathBuf,
}

impl Authority {
    /// Makes a new authority and writes its certificate to `dir/ca.pem`; what it signs goes to
    /// `dir/certificates`.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(dir: &Path) -> Result<Authority> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Causeway lab authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let issuer = CertifiedIssuer::self_signed(params, key)?;
        let certificate = dir.join("ca.pem");
        write(&certificate, &issuer.pem(), 0o644)?;
        let dir = dir.join("certificates");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Authority {
            issuer,
            dir,
            certificate,
        })
    }

    /// A folder for another authority's files.
    ///
    /// # Errors
    /// The disk's.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.dir.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// A certificate for server and client use. The first name is also the subject and the
    /// files' name.
    ///
    /// # Errors
    /// The disk's, or a name that is none.
    pub fn issue(&self, names: &[&str], address: IpAddr) -> Result<Issued> {
        let first = names
            .first()
            .copied()
            .context("a certificate needs a name")?;
        let mut params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())?;
        params.subject_alt_names.push(SanType::IpAddress(address));
        params.distinguished_name = named(first);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let issued = Issued {
            chain: self.dir.join(format!("{first}.pem")),
            key: self.dir.join(format!("{first}.key")),
        };
        write(&issued.chain, &certificate.pem(), 0o644)?;
        write(&issued.key, &key.serialize_pem(), 0o600)?;
        Ok(issued)
    }
}

impl Issued {
    /// Accepts TLS connections with this certificate, without asking for the client's.
    ///
    /// # Errors
    /// The disk's.
    pub fn acceptor(&self) -> Result<TlsAcceptor> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(&self.chain)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Issued {
    /// The same, but who connects must show a certificate of that authority.
    ///
    /// # Errors
    /// The disk's.
    pub fn mutual(&self, authority: &Path) -> Result<TlsAcceptor> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(&self.chain)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Causeway lab");
    subject.push(DnType::CommonName, name);
    subject
}

/// Writes a file that others may or may not read.
///
/// # Errors
/// The disk's.
pub fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let open = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path);
    let mut file = open.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
