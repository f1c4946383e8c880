//! SAML 2.0 as service provider: the Web Browser SSO profile (saml-profiles-2.0 §4.1), a request by
//! redirect and a response by HTTP-POST.
//!
//! - [`metadata`]: the provider's, read; ours, written.
//! - [`request`]: the request a browser carries to the provider.
//! - [`response`]: what it brings back, checked.
//! - `signature`, `xml`: XML Signature with exclusive canonicalisation, as much of it as SAML needs
//!   and no more; all else is refused.
//!
//! What is signed is what is read: the assertion is taken as the very element that a good signature
//! covers, ids are looked up nowhere, and a document with comments, processing instructions, type
//! definitions or a second assertion is refused whole.

pub mod metadata;
pub mod request;
pub mod response;
mod signature;
mod xml;

pub use metadata::Provider;
pub use request::Signer;

/// The largest response read, in bytes of XML.
pub const RESPONSE_BYTES_MAX: usize = 128 * 1024;

/// Who we are, and where browsers come back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Our entity id.
    pub entity: String,
    /// Our assertion consumer service.
    pub consumer: String,
}

const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const POST: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";
const REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";

/// A dateTime of XML in UTC (saml-core-2.0 §1.3.3).
fn time(text: &str) -> Option<base::UnixTime> {
    let text = text.trim().strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let form = whole.len() == 19 && whole.is_ascii();
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    let marked = marks
        .iter()
        .all(|(at, m)| whole.get(*at..at + 1) == Some(m));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !form || !marked || !digits(fraction) {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits_of = whole.get(from..to).filter(|t| digits(t));
        digits_of?.parse::<u64>().ok()
    };
    let date = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let clock = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    crate::certificate::unix(date.0, date.1, date.2, clock.0, clock.1, clock.2)
}

/// The same, written.
fn written(time: base::UnixTime) -> String {
    let (year, month, day, hour, minute, second, _) = time.civil();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Text for an attribute or element.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c < ' ' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
