//! What travels beside a request or stream from edge to core, as header fields of its HTTP/2
//! request, and what is kept out on the way.
//!
//! The core believes these fields because they come through its own link; the edge removes any
//! that a client sends. Nothing here opens a door: the core judges target, token and path itself.

use std::net::SocketAddr;

use http::HeaderMap;
use http::header::{COOKIE, HeaderName, HeaderValue};

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

/// The name of the session cookie.
pub const COOKIE_NAME: &str = "X-Auth";

/// Removes what a client could use to speak in our name or in another proxy's.
pub fn strip_forged(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
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
        })
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
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

/// Refuses paths that two servers could read in two ways: dot segments in any disguise, encoded
/// separators, control characters, broken escapes.
///
/// # Errors
/// What is wrong, in a few words.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("a path that does not begin with a slash");
    }
    for segment in path.split('/') {
        let decoded = decode_segment(segment)?;
        // What servlet containers cut off (`..;x`) must not turn the rest into a dot segment.
        let bare = decoded.split(|b| *b == b';').next().unwrap_or_default();
        if matches!(bare, b"." | b"..") {
            return Err("a dot segment in the path");
        }
    }
    Ok(())
}

fn decode_segment(segment: &str) -> Result<Vec<u8>, &'static str> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                match (digit(bytes.next()), digit(bytes.next())) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err("a broken escape in the path"),
                }
            }
            b'#' | b'?' => return Err("a delimiter in the path"),
            byte => byte,
        };
        if matches!(byte, b'/' | b'\\') || byte < 0x20 || byte == 0x7f {
            return Err("a separator or control character in a path segment");
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_two_meanings_are_refused() {
        for good in [
            "/",
            "/cucm-uds/user/alice/devices",
            "/a%20b/c;v=1/.well-known/...",
            "/a//b",
        ] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "/../x",
            "/a/..",
            "/./a",
            "/%2e%2e/x",
            "/%2E./x",
            "/..;/x",
            "/..;a=b/x",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/%",
            "/%2",
            "/%zz",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

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
            "accept",
        ] {
            headers.insert(name.parse::<HeaderName>().unwrap(), "x".parse().unwrap());
        }
        strip_forged(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
