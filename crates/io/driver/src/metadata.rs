//! What travels beside a request or stream from edge to core, as header fields of its HTTP/2
//! request, and what is kept out on the way.
//!
//! The core believes these fields because they come through its own link; the edge removes any
//! that a client sends. Nothing here opens a door: the core judges target, token and path itself.

use std::net::SocketAddr;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};

/// The client's address and port.
pub const CLIENT: HeaderName = HeaderName::from_static("causeway-client");
/// Names the request in the logs of both nodes.
pub const TRACE: HeaderName = HeaderName::from_static("causeway-trace");
/// The edge's name.
pub const EDGE: HeaderName = HeaderName::from_static("causeway-edge");
/// `<scheme>/<host>/<port>` of a proxied request.
pub const TARGET: HeaderName = HeaderName::from_static("causeway-target");
/// The service domain.
pub const DOMAIN: HeaderName = HeaderName::from_static("causeway-domain");
/// TLS version and cipher suite of a client's XMPP stream.
pub const TLS: HeaderName = HeaderName::from_static("causeway-tls");
/// The stream header of a client's XMPP stream, in base64.
pub const STREAM: HeaderName = HeaderName::from_static("causeway-stream");

/// Marks an answer that is the core's own and no inside server's; it goes no further than the edge.
pub const OWN: HeaderName = HeaderName::from_static("causeway-own");

/// The name of the session cookie.
pub const COOKIE_NAME: &str = "X-Auth";

/// Removes what a client could use to speak in our name or in another proxy's. Servers of the
/// kind of CGI read `_` as `-` (RFC 3875 §4.1.18), so here it is one, too.
pub fn strip_forged(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|name| match name.as_str() {
            name if name.contains('_') => {
                let name = name.replace('_', "-");
                is_forged(&name) || matches!(&*name, "content-length" | "transfer-encoding")
            }
            name => is_forged(name),
        })
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
}

/// Whether credentials or a challenge are of a kind that signs a connection in and not a request
/// (MS-NTHT; RFC 4559 §6). Connections to inside servers are shared among users: whoever came next
/// would be the one before.
pub fn signs_connections_in(value: &HeaderValue) -> bool {
    let schemes = value.as_bytes().split(|b| *b == b',');
    let mut schemes = schemes.filter_map(|s| s.trim_ascii().split(u8::is_ascii_whitespace).next());
    schemes.any(|s| s.eq_ignore_ascii_case(b"NTLM") || s.eq_ignore_ascii_case(b"Negotiate"))
}

/// Keeps those values of a field that are as they should be, in their order.
pub fn keep_if(headers: &mut HeaderMap, name: &HeaderName, fine: impl Fn(&HeaderValue) -> bool) {
    let all = headers.get_all(name);
    if all.iter().all(&fine) {
        return;
    }
    let kept: Vec<HeaderValue> = all.iter().filter(|v| fine(v)).cloned().collect();
    headers.remove(name);
    for value in kept {
        headers.append(name, value);
    }
}

fn is_forged(name: &str) -> bool {
    name.starts_with("causeway-")
        || name.starts_with("x-forwarded-")
        || matches!(
            name,
            "forwarded"
                | "via"
                | "x-real-ip"
                | "x-client-ip"
                | "client-ip"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "x-cluster-client-ip"
                | "x-original-forwarded-for"
                | "remote-user"
                | "x-remote-user"
                | "x-original-url"
                | "x-rewrite-url"
                | "x-original-host"
                | "x-host"
                | "x-http-method-override"
                | "x-http-method"
                | "x-method-override"
                | "proxy"
                | "early-data"
                | "expect"
        )
}

/// A field's text.
pub fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// The client's address.
pub fn client(headers: &HeaderMap) -> Option<SocketAddr> {
    text(headers, &CLIENT).and_then(|v| v.parse().ok())
}

/// The session tokens a client shows; more than one is tried in turn (at most 4).
pub fn session_cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value.trim_matches('"'))
        .take(4)
}

/// The bearer token a client shows (RFC 6750 §2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, &AUTHORIZATION)?.split_once(' ')?;
    let token = token.trim();
    let fine = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ');
    fine.then_some(token)
}

/// The value of the first cookie of a name.
pub fn cookie<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let fields = headers.get_all(COOKIE).iter();
    let pairs = fields
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'));
    let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value)
}

/// Takes the session cookie out of what goes inside.
pub fn remove_session_cookie(headers: &mut HeaderMap) {
    let kept: Vec<String> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .map(str::trim)
        .filter(|pair| {
            !pair.is_empty()
                && pair
                    .split_once('=')
                    .is_none_or(|(name, _)| name != COOKIE_NAME)
        })
        .map(str::to_owned)
        .collect();
    headers.remove(COOKIE);
    if let Ok(value) = HeaderValue::from_str(&kept.join("; "))
        && !value.is_empty()
    {
        headers.insert(COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_cookie_is_found_and_kept_outside() {
        let mut headers = HeaderMap::new();
        headers.append(
            COOKIE,
            "JSESSIONID=1; X-Auth=abc;x-auth=no".parse().unwrap(),
        );
        headers.append(COOKIE, "X-Auth=\"def\"".parse().unwrap());
        assert_eq!(
            session_cookies(&headers).collect::<Vec<_>>(),
            ["abc", "def"]
        );
        remove_session_cookie(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().count(), 1);
        assert_eq!(headers[COOKIE], "JSESSIONID=1; x-auth=no");
        headers.insert(COOKIE, "X-Auth=abc".parse().unwrap());
        remove_session_cookie(&mut headers);
        assert!(!headers.contains_key(COOKIE));
    }

    #[test]
    fn forged_fields_are_removed() {
        let mut headers = HeaderMap::new();
        for name in [
            "causeway-client",
            "x-forwarded-for",
            "Forwarded",
            "x-original-url",
            "True-Client-IP",
            "cf-connecting-ip",
            "X-Cluster-Client-IP",
            "x-original-forwarded-for",
            "Remote-User",
            "x-remote-user",
            "X_Forwarded_For",
            "x-forwarded_proto",
            "x_real-ip",
            "remote_user",
            "causeway_client",
            "transfer_encoding",
            "content_length",
            "x_forwarder",
            "accept",
        ] {
            headers.insert(name.parse::<HeaderName>().unwrap(), "x".parse().unwrap());
        }
        strip_forged(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "x_forwarder"]);
    }
}
