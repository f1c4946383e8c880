//! The request that a browser carries to the provider (saml-core-2.0 §3.4.1, saml-bindings-2.0
//! §3.4).
//!
//! Whom the provider answers is fixed by the metadata it holds of us, and what it answers is signed
//! and names this request; so nothing depends on a signature of ours. A provider that wants one
//! gets it ([`Signer`]): RSA-SHA256 over the query as it is sent (saml-bindings-2.0 §3.4.4.1).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base::UnixTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ASSERTION, POST, PROTOCOL, Provider, Service, escape, written};
use crate::certificate::Certificate;
use crate::pem;
use crate::url::form;

/// The signature that a provider is shown.
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";

/// Signs requests.
pub struct Signer {
    key: RsaKeyPair,
    certificate: Vec<u8>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Of an RSA key (PKCS #8) and its certificate, both in PEM.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(key: &str, certificate: &str) -> Result<Signer, String> {
        let key = pem::private_key(key).and_then(|der| der.ok_or("it is no PEM"));
        let key = key.and_then(|der| {
            RsaKeyPair::from_pkcs8(&der).map_err(|_| "it is no RSA key of 2048 to 8192 bits")
        });
        let key = key.map_err(|e| format!("sign_in.signing_key_file: {e}"))?;
        let der = pem::block(certificate, "CERTIFICATE").and_then(|der| der.ok_or("it is no PEM"));
        let read = der.and_then(|der| {
            let read = Certificate::read(&der).ok_or("it cannot be read")?;
            Ok((der, read.key))
        });
        let (certificate, public) =
            read.map_err(|e| format!("sign_in.signing_certificate_file: {e}"))?;
        let signer = Signer { key, certificate };
        let parsed = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public);
        match signer.sign(b"").map(|signed| parsed.verify(b"", &signed)) {
            Some(Ok(())) => Ok(signer),
            _ => Err("sign_in.signing_certificate_file is of another key than \
                      signing_key_file"
                .into()),
        }
    }

    /// Its certificate, in DER.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        let hash = digest(&SHA256, message);
        let signed = self
            .key
            .sign_digest(&RSA_PKCS1_SHA256, &hash, &mut signature);
        signed.ok().map(|()| signature)
    }
}

/// Where a browser is sent to sign in. `id` names the request, as an XML name; `relay` comes back
/// beside the response.
pub fn redirect(
    service: &Service,
    provider: &Provider,
    now: UnixTime,
    id: &str,
    relay: &str,
    signer: Option<&Signer>,
) -> String {
    let xml = format!(
        "<samlp:AuthnRequest xmlns:samlp=\"{PROTOCOL}\" ID=\"{}\" Version=\"2.0\" \
         IssueInstant=\"{}\" Destination=\"{}\" ProtocolBinding=\"{POST}\" \
         AssertionConsumerServiceURL=\"{}\"><saml:Issuer xmlns:saml=\"{ASSERTION}\">{}\
         </saml:Issuer></samlp:AuthnRequest>",
        escape(id),
        written(now),
        escape(provider.sign_in.as_str()),
        escape(&service.consumer),
        escape(&service.entity),
    );
    let message = STANDARD.encode(deflate(xml.as_bytes()));
    let mut fields = vec![("SAMLRequest", message.as_str()), ("RelayState", relay)];
    let signature;
    if let Some(signer) = signer {
        fields.push(("SigAlg", RSA_SHA256));
        let signed = signer.sign(form(&fields).as_bytes());
        signature = STANDARD.encode(signed.unwrap_or_default());
        fields.push(("Signature", signature.as_str()));
    }
    provider.sign_in.with(&fields)
}

/// DEFLATE in stored blocks (RFC 1951 §3.2.4): a request is short, so nothing is gained by more.
fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 5);
    let mut blocks = bytes.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    out
}
