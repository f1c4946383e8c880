//! Keys and certificates in PEM (RFC 7468), as an administrator hands them over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The largest file read, in bytes.
const BYTES_MAX: usize = 64 * 1024;

/// The first block of a label; `None` if there is no PEM at all.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn block(text: &str, label: &str) -> Result<Option<Vec<u8>>, &'static str> {
    if text.len() > BYTES_MAX {
        return Err("it is larger than 64 KiB");
    }
    if !text.contains("-----BEGIN ") {
        return Ok(None);
    }
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let rest = text.split_once(&begin).map(|(_, rest)| rest);
    let body = rest.and_then(|rest| rest.split_once(&end));
    let (body, _) = body.ok_or("it holds another kind of PEM than is wanted")?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| "its PEM is no base64")?;
    Ok(Some(der))
}

/// A private key that no passphrase protects.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(crate) fn private_key(text: &str) -> Result<Option<Vec<u8>>, &'static str> {
    if text.contains("-----BEGIN RSA PRIVATE KEY-----") {
        return Err("it is in PKCS #1: write it as PKCS #8 (openssl pkcs8 -topk8 -nocrypt)");
    }
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err("it has a passphrase: take that off (openssl pkcs8 -topk8 -nocrypt)");
    }
    block(text, "PRIVATE KEY")
}
