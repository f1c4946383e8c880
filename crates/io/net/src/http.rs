//! HTTP towards strangers and towards inside servers.
//!
//! - [`front`]: one connection of a client on 8443: HTTP/1.1 or HTTP/2 as ALPN decided, strict
//!   framing, limits on time and size.
//! - [`inside`]: requests to an address that was resolved and judged already; no redirects, no
//!   second look at DNS.
//! - [`framing`]: where one HTTP/1 request ends and the next begins, without doubt.
//! - [`strip_hop_by_hop`]: what must not cross a proxy (RFC 9110 §7.6.1).

pub mod framing;
pub mod front;
mod guard;
pub mod inside;
mod paced;

use http::HeaderMap;
use http::header::{
    CONNECTION, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

pub use crate::lane::{Body, empty, full};
pub use framing::Violation;
pub use paced::{BodyFault, Pace, paced};

/// Removes the fields that belong to one connection, and those that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|n| n.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_names_is_stripped_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("accept", "text/xml"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["accept"]
        );
    }
}
