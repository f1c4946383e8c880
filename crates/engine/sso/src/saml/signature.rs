//! One enveloped XML signature (XML Signature 1.1 §3.2), as SAML 2.0 profiles it (saml-core-2.0
//! §5.4): one reference, to the element that the signature stands in, by its own id.
//!
//! RSA with SHA-256, SHA-384 or SHA-512; SHA-1 is refused. Keys come from the provider's metadata
//! alone: `KeyInfo` is not looked at.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Node;

use super::xml::{canonical, elements, only, text};

pub(super) const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

/// Prefixes of a list for inclusive treatment.
const PREFIXES_MAX: usize = 16;

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    #[error("the signature is malformed: {0}")]
    Malformed(&'static str),
    #[error("the signature's algorithm {0:?} is not taken; RSA with SHA-256 is")]
    Algorithm(String),
    #[error("what was signed has been changed")]
    Digest,
    #[error("the signature is by none of the provider's keys")]
    Key,
}

use SignatureError::{Algorithm, Malformed};

/// Checks the signature that stands in `parent`; false if there is none.
pub(super) fn check(parent: Node<'_, '_>, keys: &[Vec<u8>]) -> Result<bool, SignatureError> {
    let found = only(parent, SIGNATURE, "Signature").map_err(Malformed)?;
    let Some(signature) = found else {
        return Ok(false);
    };
    let child = |of, name| {
        let found = only(of, SIGNATURE, name).map_err(Malformed)?;
        found.ok_or(Malformed("an element is missing"))
    };
    let known = ["SignedInfo", "SignatureValue", "KeyInfo"];
    if elements(signature).any(|n| !known.contains(&n.tag_name().name())) {
        return Err(Malformed("it holds objects of its own"));
    }
    let info = child(signature, "SignedInfo")?;
    let method = child(info, "CanonicalizationMethod")?;
    if attribute(method) != EXCLUSIVE {
        return Err(Algorithm(attribute(method).to_owned()));
    }
    let parameters = rsa(attribute(child(info, "SignatureMethod")?))?;
    let reference = child(info, "Reference")?;
    if elements(info).count() != 3 {
        return Err(Malformed("it has more than one reference"));
    }
    covers(parent, signature, reference)?;
    let prefixes = inclusive(method)?;
    let signed = canonical(info, None, &prefixes).ok_or(Malformed("no canonical form"))?;
    let value = base64(child(signature, "SignatureValue")?)?;
    let by = |key: &&Vec<u8>| {
        let key = UnparsedPublicKey::new(parameters, key);
        key.verify(&signed, &value).is_ok()
    };
    keys.iter()
        .find(by)
        .map(|_| true)
        .ok_or(SignatureError::Key)
}

/// Whether the reference is to all of `parent` but the signature, and its digest is right.
fn covers(
    parent: Node<'_, '_>,
    signature: Node<'_, '_>,
    reference: Node<'_, '_>,
) -> Result<(), SignatureError> {
    let id = parent.attribute("ID").unwrap_or_default();
    let to = reference.attribute("URI").unwrap_or_default();
    if id.is_empty() || to.strip_prefix('#') != Some(id) {
        return Err(Malformed("it refers to another element"));
    }
    let child = |name| {
        let found = only(reference, SIGNATURE, name).map_err(Malformed)?;
        found.ok_or(Malformed("an element is missing"))
    };
    let transforms: Vec<_> = elements(child("Transforms")?).collect();
    let [enveloped, exclusive] = transforms[..] else {
        return Err(Malformed("its transforms are not the two of SAML"));
    };
    if attribute(enveloped) != ENVELOPED || attribute(exclusive) != EXCLUSIVE {
        return Err(Malformed("its transforms are not the two of SAML"));
    }
    let prefixes = inclusive(exclusive)?;
    let bytes = canonical(parent, Some(signature.id()), &prefixes);
    let bytes = bytes.ok_or(Malformed("no canonical form"))?;
    let algorithm = match attribute(child("DigestMethod")?) {
        "http://www.w3.org/2001/04/xmlenc#sha256" => &SHA256,
        "http://www.w3.org/2001/04/xmldsig-more#sha384" => &SHA384,
        "http://www.w3.org/2001/04/xmlenc#sha512" => &SHA512,
        other => return Err(Algorithm(other.to_owned())),
    };
    let value = base64(child("DigestValue")?)?;
    if digest::digest(algorithm, &bytes).as_ref() == value {
        Ok(())
    } else {
        Err(SignatureError::Digest)
    }
}

fn attribute<'a>(node: Node<'a, '_>) -> &'a str {
    node.attribute("Algorithm").unwrap_or_default()
}

fn rsa(name: &str) -> Result<&'static RsaParameters, SignatureError> {
    match name {
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256" => Ok(&RSA_PKCS1_2048_8192_SHA256),
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384" => Ok(&RSA_PKCS1_2048_8192_SHA384),
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512" => Ok(&RSA_PKCS1_2048_8192_SHA512),
        other => Err(Algorithm(crate::bearer::shortened(other))),
    }
}

/// The prefixes of an `InclusiveNamespaces` list.
fn inclusive<'a>(method: Node<'a, '_>) -> Result<Vec<&'a str>, SignatureError> {
    let list = only(method, EXCLUSIVE, "InclusiveNamespaces").map_err(Malformed)?;
    if elements(method).count() != usize::from(list.is_some()) {
        return Err(Malformed("its canonicalisation has parameters of its own"));
    }
    let list = list.and_then(|l| l.attribute("PrefixList"));
    let prefixes = list.unwrap_or_default().split_whitespace();
    let prefixes: Vec<&str> = prefixes
        .map(|p| if p == "#default" { "" } else { p })
        .collect();
    if prefixes.len() > PREFIXES_MAX {
        return Err(Malformed("its list of prefixes is too long"));
    }
    Ok(prefixes)
}

fn base64(node: Node<'_, '_>) -> Result<Vec<u8>, SignatureError> {
    let text = text(node).ok_or(Malformed("a value is no text"))?;
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD
        .decode(text)
        .map_err(|_| Malformed("a value is no base64"))
}
