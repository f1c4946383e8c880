//! Metadata (saml-metadata-2.0): the identity provider's, which an administrator hands over, and
//! ours for the provider.
//!
//! Metadata is trusted because of who put it there; a signature on it is not looked at. Its
//! certificates carry keys: which dates stand in them decides nothing, but is told. Bounds:
//! [`BYTES_MAX`], `KEYS_MAX`.

use base::UnixTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::signature::SIGNATURE;
use super::xml::{elements, parse, text};
use super::{METADATA, POST, PROTOCOL, REDIRECT, Service, Signer, escape, signature};
use crate::certificate::Certificate;
use crate::url::Url;

/// The largest metadata read, in bytes.
pub const BYTES_MAX: usize = 1024 * 1024;

/// Signing keys of a provider.
const KEYS_MAX: usize = 8;

/// An identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its entity id.
    pub entity: String,
    /// Where a browser takes a request to, by redirect.
    pub sign_in: Url,
    /// When the last of its certificates ends or ended.
    pub until: UnixTime,
    /// Whether it wants requests to be signed.
    pub wants_signed: bool,
    pub(super) keys: Vec<Vec<u8>>,
}

impl Provider {
    /// Reads metadata with one identity provider in it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(xml: &str) -> Result<Provider, String> {
        if xml.len() > BYTES_MAX {
            return Err("the metadata is larger than 1 MiB".into());
        }
        let document = parse(xml.trim_start_matches('\u{feff}'));
        let document = document.map_err(|e| format!("the metadata cannot be read: {e}"))?;
        let is = |name| move |n: &roxmltree::Node<'_, '_>| n.has_tag_name((METADATA, name));
        let mut roles = document.descendants().filter(is("IDPSSODescriptor"));
        let (Some(role), None) = (roles.next(), roles.next()) else {
            return Err("the metadata does not hold exactly one IDPSSODescriptor".into());
        };
        let entity = role.parent_element().filter(is("EntityDescriptor"));
        let entity = entity.and_then(|n| n.attribute("entityID"));
        let entity = entity.filter(|e| !e.is_empty() && e.len() <= 1024);
        let entity = entity.ok_or("the metadata has no entityID")?.to_owned();
        let mut services = elements(role).filter(is("SingleSignOnService"));
        let service = services.find(|n| n.attribute("Binding") == Some(REDIRECT));
        let location = service.and_then(|n| n.attribute("Location"));
        let location = location.ok_or("no SingleSignOnService has the HTTP-Redirect binding")?;
        let sign_in = Url::read(location).map_err(|e| format!("SingleSignOnService: {e}"))?;
        let mut found = Vec::new();
        for key in elements(role).filter(is("KeyDescriptor")) {
            if key.attribute("use").is_some_and(|u| u != "signing") {
                continue;
            }
            let within = key.descendants();
            let is = |n: &roxmltree::Node<'_, '_>| {
                n.has_tag_name((signature::SIGNATURE, "X509Certificate"))
            };
            for certificate in within.filter(is) {
                let text: String = text(certificate).unwrap_or_default();
                let text: String = text.split_ascii_whitespace().collect();
                let der = STANDARD.decode(text).ok();
                let read = der.and_then(|der| Certificate::read(&der));
                found.push(read.ok_or("a certificate in the metadata cannot be read")?);
            }
        }
        if found.len() > KEYS_MAX {
            return Err("the metadata has more than 8 signing certificates".into());
        }
        let until = found.iter().map(|c| c.until).max();
        let until = until.ok_or("the metadata has no signing certificate")?;
        let wants = role.attribute("WantAuthnRequestsSigned").map(str::trim);
        Ok(Provider {
            wants_signed: matches!(wants, Some("true" | "1")),
            entity,
            sign_in,
            until,
            keys: found.into_iter().map(|c| c.key).collect(),
        })
    }
}

impl Service {
    /// Our metadata, for the provider, with the consumer services of our other edges, and the
    /// certificate of the key that signs our requests.
    pub fn metadata(&self, others: &[String], signer: Option<&Signer>) -> String {
        let entity = escape(&self.entity);
        let consumers = std::iter::once(&self.consumer).chain(others).enumerate();
        let consumers: String = consumers
            .map(|(index, consumer)| {
                let (consumer, default) = (escape(consumer), index == 0);
                format!(
                    "  <md:AssertionConsumerService Binding=\"{POST}\" Location=\"{consumer}\" \
                     index=\"{index}\" isDefault=\"{default}\"/>\n"
                )
            })
            .collect();
        let signed = signer.is_some();
        let key = signer.map_or_else(String::new, |signer| {
            let certificate = STANDARD.encode(signer.certificate());
            format!(
                "  <md:KeyDescriptor use=\"signing\"><ds:KeyInfo xmlns:ds=\"{SIGNATURE}\">\
                 <ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate>\
                 </ds:X509Data></ds:KeyInfo></md:KeyDescriptor>\n"
            )
        });
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <md:EntityDescriptor xmlns:md=\"{METADATA}\" entityID=\"{entity}\">\n \
             <md:SPSSODescriptor AuthnRequestsSigned=\"{signed}\" WantAssertionsSigned=\"true\" \
             protocolSupportEnumeration=\"{PROTOCOL}\">\n{key}{consumers} \
             </md:SPSSODescriptor>\n</md:EntityDescriptor>\n"
        )
    }
}
