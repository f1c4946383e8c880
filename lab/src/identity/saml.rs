//! SAML 2.0: a request by HTTP-Redirect is answered by HTTP-POST with a signed assertion.
//!
//! What is signed is written in its exclusive canonical form to begin with (attributes in order,
//! namespaces where they are used, no empty-element tags), so no canonicaliser is needed.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minidom::Element;
use sha2::{Digest, Sha256};

use super::keys::Keys;
use super::{LIFE_S, now_s};
use crate::web::{Answer, Request, escaped};
use crate::world::secret;

const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
const XMLDSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const REQUEST_MAX: usize = 16 * 1024;
/// How far back a clock may be.
const SLACK_S: u64 = 5;

/// What the product is given to know the provider by.
pub(super) fn metadata(origin: &str, keys: &Keys) -> String {
    let certificate = STANDARD.encode(&keys.certificate);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <md:EntityDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" \
         entityID=\"{origin}/metadata\"><md:IDPSSODescriptor WantAuthnRequestsSigned=\"false\" \
         protocolSupportEnumeration=\"{PROTOCOL}\"><md:KeyDescriptor use=\"signing\">\
         <ds:KeyInfo xmlns:ds=\"{XMLDSIG}\"><ds:X509Data><ds:X509Certificate>{certificate}\
         </ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>\
         <md:SingleSignOnService Binding=\"{REDIRECT}\" Location=\"{origin}/saml\"/>\
         </md:IDPSSODescriptor></md:EntityDescriptor>\n"
    )
}

/// A page that posts the response; 400 to what is no request.
pub(super) fn answer(origin: &str, keys: &Keys, user: &str, request: &Request) -> Answer {
    let answered = read(request).and_then(|asked| {
        let response = response(origin, keys, user, &asked)?;
        let relay = request.asked("RelayState").unwrap_or_default();
        Ok(format!(
            "<!DOCTYPE html><html><body><form method=\"post\" action=\"{}\">\
             <input type=\"hidden\" name=\"SAMLResponse\" value=\"{}\">\
             <input type=\"hidden\" name=\"RelayState\" value=\"{}\">\
             <input type=\"submit\" value=\"Go on\"></form></body></html>\n",
            escaped(&asked.consumer),
            STANDARD.encode(response),
            escaped(relay),
        ))
    });
    match answered {
        Ok(page) => Answer::new(200, "text/html;charset=utf-8", page),
        Err(fault) => Answer::new(400, "text/plain", format!("{fault:#}\n")),
    }
}

/// What a request asks for.
struct Asked {
    id: String,
    consumer: String,
    service: String,
}

/// saml-bindings-2.0 §3.4.4.1: base64 of DEFLATE.
fn read(request: &Request) -> Result<Asked> {
    let text = request.asked("SAMLRequest").context("no SAMLRequest")?;
    let bytes = STANDARD.decode(text).context("SAMLRequest in base64")?;
    let xml = miniz_oxide::inflate::decompress_to_vec_with_limit(&bytes, REQUEST_MAX)
        .map_err(|fault| anyhow::anyhow!("SAMLRequest in DEFLATE: {fault}"))?;
    let root = Element::from_reader(&xml[..]).context("an XML document")?;
    anyhow::ensure!(root.is("AuthnRequest", PROTOCOL), "no AuthnRequest");
    let attribute = |name: &str| root.attr(name).map(str::to_owned).context("an attribute");
    let issuer = root.get_child("Issuer", ASSERTION).context("no Issuer")?;
    Ok(Asked {
        id: attribute("ID")?,
        consumer: attribute("AssertionConsumerServiceURL")?,
        service: issuer.text(),
    })
}

/// A response around a signed assertion.
fn response(origin: &str, keys: &Keys, user: &str, asked: &Asked) -> Result<String> {
    let (now, issuer) = (now_s(), format!("{origin}/metadata"));
    let at = time(now);
    let (head, rest) = assertion(&issuer, user, asked, now);
    let assertion = signed(keys, &head, &rest)?;
    Ok(format!(
        "<samlp:Response xmlns:samlp=\"{PROTOCOL}\" ID=\"_{}\" Version=\"2.0\" \
         IssueInstant=\"{at}\" Destination=\"{}\" InResponseTo=\"{}\">\
         <saml:Issuer xmlns:saml=\"{ASSERTION}\">{issuer}</saml:Issuer><samlp:Status>\
         <samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/>\
         </samlp:Status>{assertion}</samlp:Response>",
        secret(24),
        escaped(&asked.consumer),
        escaped(&asked.id),
    ))
}

/// What is signed of an assertion: its beginning up to the issuer, behind which the signature
/// belongs, with its id, and the rest.
struct Head {
    id: String,
    text: String,
}

/// An assertion in canonical form, in two parts.
fn assertion(issuer: &str, user: &str, asked: &Asked, now: u64) -> (Head, String) {
    let (at, until) = (time(now), time(now + LIFE_S));
    let (before, id) = (
        time(now.saturating_sub(SLACK_S)),
        format!("_{}", secret(24)),
    );
    let text = format!(
        "<saml:Assertion xmlns:saml=\"{ASSERTION}\" ID=\"{id}\" IssueInstant=\"{at}\" \
         Version=\"2.0\"><saml:Issuer>{issuer}</saml:Issuer>"
    );
    let rest = format!(
        "<saml:Subject><saml:NameID \
         Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:transient\">{}</saml:NameID>\
         <saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\">\
         <saml:SubjectConfirmationData InResponseTo=\"{}\" NotOnOrAfter=\"{until}\" \
         Recipient=\"{}\"></saml:SubjectConfirmationData></saml:SubjectConfirmation>\
         </saml:Subject><saml:Conditions NotBefore=\"{before}\" NotOnOrAfter=\"{until}\">\
         <saml:AudienceRestriction><saml:Audience>{}</saml:Audience></saml:AudienceRestriction>\
         </saml:Conditions><saml:AuthnStatement AuthnInstant=\"{at}\"><saml:AuthnContext>\
         <saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password\
         </saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>\
         <saml:AttributeStatement><saml:Attribute Name=\"uid\"><saml:AttributeValue>{}\
         </saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>",
        secret(24),
        canonical(&asked.id),
        canonical(&asked.consumer),
        canonical(&asked.service),
        canonical(user),
    );
    (Head { id, text }, rest)
}

/// The assertion with its signature (XML Signature 1.1 §3.1).
fn signed(keys: &Keys, head: &Head, rest: &str) -> Result<String> {
    let digest = Sha256::digest(format!("{}{rest}", head.text));
    let info = format!(
        "<ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\">\
         </ds:SignatureMethod><ds:Reference URI=\"#{}\"><ds:Transforms>\
         <ds:Transform Algorithm=\"{XMLDSIG}enveloped-signature\"></ds:Transform>\
         <ds:Transform Algorithm=\"{EXCLUSIVE}\"></ds:Transform></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\">\
         </ds:DigestMethod><ds:DigestValue>{}</ds:DigestValue></ds:Reference>",
        head.id,
        STANDARD.encode(digest),
    );
    let alone = format!("<ds:SignedInfo xmlns:ds=\"{XMLDSIG}\">{info}</ds:SignedInfo>");
    let value = STANDARD.encode(keys.sign(alone.as_bytes())?);
    Ok(format!(
        "{}<ds:Signature xmlns:ds=\"{XMLDSIG}\"><ds:SignedInfo>{info}</ds:SignedInfo>\
         <ds:SignatureValue>{value}</ds:SignatureValue></ds:Signature>{rest}",
        head.text
    ))
}

/// Text that canonical form writes alike in attributes and in content: what would differ does not
/// occur in names and addresses, and is taken out.
fn canonical(text: &str) -> String {
    let plain = text
        .chars()
        .filter(|c| !c.is_control() && !"\"'>".contains(*c));
    let plain: String = plain.collect();
    plain.replace('&', "&amp;").replace('<', "&lt;")
}

/// `2026-11-25T15:04:05Z`.
fn time(seconds: u64) -> String {
    // Civil date from days since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, day) = (z / 146_097, z % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}
