//! Trust of the clients, and certificates for the houses that are compared.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Clients that trust the authorities of a file, and resume no session.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub(crate) fn clients(authorities: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(authorities)
        .with_context(|| format!("cannot read {}", authorities.display()))?;
    for certificate in certificates {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Writes an authority (`ca.pem`) and a certificate with an RSA key of 2048 bits (`node.pem`,
/// `node.key`) for those names.
///
/// # Errors
/// The disk's.
pub(crate) fn issue(folder: &Path, names: &[&str]) -> Result<()> {
    issue_with(folder, names, KeyKind::Rsa)
}

/// The kind of a certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// RSA of 2048 bits.
    Rsa,
    /// ECDSA with P-256.
    Ecdsa,
}

/// The same with a key of that kind.
///
/// # Errors
/// The disk's.
pub(crate) fn issue_with(folder: &Path, names: &[&str], kind: KeyKind) -> Result<()> {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "load");
    let authority = params.self_signed(&key)?;
    std::fs::write(folder.join("ca.pem"), authority.pem())?;
    let issuer = Issuer::new(params, key);
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let params = CertificateParams::new(names)?;
    let key = match kind {
        KeyKind::Rsa => {
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?
        }
        KeyKind::Ecdsa => KeyPair::generate()?,
    };
    let certificate = params.signed_by(&key, &issuer)?;
    std::fs::write(folder.join("node.pem"), certificate.pem())?;
    std::fs::write(folder.join("node.key"), key.serialize_pem())?;
    Ok(())
}
