//! The request that a browser carries to the provider (saml-core-2.0 §3.4.1, saml-bindings-2.0
//! §3.4).
//!
//! It is not signed: whom the provider answers is fixed by the metadata it holds of us, and what it
//! answers is signed and names this request.

use base::UnixTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ASSERTION, POST, PROTOCOL, Provider, Service, escape, written};

/// Where a browser is sent to sign in. `id` names the request, as an XML name; `relay` comes back
/// beside the response.
pub fn redirect(
    service: &Service,
    provider: &Provider,
    now: UnixTime,
    id: &str,
    relay: &str,
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
    let fields = [("SAMLRequest", message.as_str()), ("RelayState", relay)];
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
