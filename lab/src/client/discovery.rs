//! Finding the edge of a domain, and trusting it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::names::Names;

/// An edge as the public DNS tells it.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// Its name, which its certificate must show.
    pub(crate) name: String,
    /// Address and port of its HTTPS.
    pub(crate) https: SocketAddr,
}

/// Edges of a domain by `_collab-edge._tls`, the preferred first.
///
/// # Errors
/// No record, or a target without an address.
pub(crate) async fn discover(names: &Names, domain: &str) -> Result<Vec<Edge>> {
    let servers = names
        .servers(&format!("_collab-edge._tls.{domain}"))
        .await?;
    if servers.is_empty() {
        bail!("no edge is published for {domain}");
    }
    let mut edges = Vec::new();
    for server in servers {
        let address = names.address(&server.name).await?;
        edges.push(Edge {
            name: server.name,
            https: (address, server.port).into(),
        });
    }
    Ok(edges)
}

/// A TLS client that trusts the authorities of that PEM file and no others.
///
/// # Errors
/// The file is missing or holds no certificate.
pub(crate) fn trust(authorities: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    let shown = authorities.display();
    let certificates =
        CertificateDer::pem_file_iter(authorities).with_context(|| format!("reading {shown}"))?;
    for certificate in certificates {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        bail!("{shown} holds no certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
