//! What a proxy checks of a well-formed request before it routes it (RFC 3261 §16.3).

use crate::{Message, Method, Name, Uri};

/// Checks a request from outside.
///
/// # Errors
/// The status and reason to answer with.
pub fn request(message: &Message) -> Result<(), (u16, &'static str)> {
    let uri = message.request_uri();
    let colon = uri.iter().position(|b| *b == b':').unwrap_or(0);
    let scheme = uri.get(..colon).unwrap_or_default();
    let sip = scheme.eq_ignore_ascii_case(b"sip") || scheme.eq_ignore_ascii_case(b"sips");
    // Calls for help name a service (RFC 5031).
    let service = uri
        .get(..12)
        .is_some_and(|p| p.eq_ignore_ascii_case(b"urn:service:"));
    if !sip && !service && !scheme.eq_ignore_ascii_case(b"tel") {
        return Err((416, "Unsupported URI Scheme"));
    }
    let two_hosts = !sip && uri.contains(&b'@');
    if (sip && Uri::parse(uri).is_err()) || !Uri::is_clean(uri) || two_hosts {
        return Err((400, "Bad Request"));
    }
    if message.max_forwards().map_err(|_| (400, "Bad Request"))? == Some(0)
        && message.method() != Method::Options
    {
        return Err((483, "Too Many Hops"));
    }
    if message.values(Name::ProxyRequire).next().is_some() && message.method() != Method::Cancel {
        return Err((420, "Bad Extension"));
    }
    Ok(())
}
