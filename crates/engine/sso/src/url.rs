//! Addresses of identity providers, and the forms that travel to and from them.
//!
//! `https` alone: what a provider says decides who signs in.

use config::inside;

/// Characters of an address.
const CHARACTERS_MAX: usize = 2048;

/// An `https` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// A name in lower case, or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, never empty.
    pub path: String,
    text: String,
}

impl Url {
    /// Reads `https://host[:port][/path][?query]`.
    ///
    /// # Errors
    /// What is wrong, in a few words.
    pub fn read(text: &str) -> Result<Url, &'static str> {
        let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\');
        if text.len() > CHARACTERS_MAX || !text.bytes().all(fits) {
            return Err("it holds characters that no address has");
        }
        let rest = text.strip_prefix("https://").ok_or("it is not https")?;
        if rest.contains('#') {
            return Err("it has a fragment");
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let digits = port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse().ok().filter(|p| digits && *p != 0);
                (host, port.ok_or("its port is none")?)
            }
            _ => (authority, 443),
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err("its host is none");
        }
        let host = inside::host(bare.unwrap_or(host)).map_err(|_| "its host is none")?;
        let path = match path.chars().next() {
            Some('/') => path.to_owned(),
            _ => format!("/{path}"),
        };
        Ok(Url {
            host,
            port,
            path,
            text: text.to_owned(),
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// With further fields in its query.
    pub fn with(&self, fields: &[(&str, &str)]) -> String {
        let between = if self.text.contains('?') { '&' } else { '?' };
        format!("{}{between}{}", self.text, form(fields))
    }
}

/// Fields as a form or query writes them.
pub fn form(fields: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", escape(value));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// A value as a form or query writes it: unreserved characters stay (RFC 3986 §2.3).
pub fn escape(value: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The one value of a field in a form or query. A field that stands twice has none.
pub fn field(form: &str, name: &str) -> Option<String> {
    let mut found = form
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(n, _)| *n == name)
        .map(|(_, value)| value);
    let value = found.next()?;
    if found.next().is_some() {
        return None;
    }
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = value.get(at + 1..at + 3)?;
                if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                out.push(u8::from_str_radix(digits, 16).ok()?);
                at += 2;
            }
            byte => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_addresses_are_read() {
        let url = Url::read("https://IdP.example.test:8443/realm?x=1").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("idp.example.test", 8443, "/realm?x=1")
        );
        assert_eq!(
            url.with(&[("a", "b c&")]),
            "https://IdP.example.test:8443/realm?x=1&a=b%20c%26"
        );
        let bare = Url::read("https://[2001:db8::1]").unwrap();
        assert_eq!(
            (bare.host.as_str(), bare.port, bare.path.as_str()),
            ("2001:db8::1", 443, "/")
        );
        for bad in [
            "http://a.test/",
            "https://u@a.test/",
            "https://a.test:0/",
            "https://a.test:x/",
            "https://",
            "https://a.test/#x",
            "https://a.test/ b",
            "https://2001:db8::1/",
            "https://127.1/",
            "https://a.test\\@b.test",
        ] {
            assert!(Url::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_has_one_value_or_none() {
        assert_eq!(field("a=1&b=x%2By+z", "b").as_deref(), Some("x+y z"));
        assert_eq!(field("a=1&a=2", "a"), None);
        assert_eq!(field("a=%zz", "a"), None);
        assert_eq!(field("a=%ff", "a"), None);
        assert_eq!(field("a=%", "a"), None);
        let value = "é &=+%";
        assert_eq!(field(&form(&[("v", value)]), "v").as_deref(), Some(value));
    }
}
