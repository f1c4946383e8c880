//! Route headers: those that name us taken off, strict routers served, ours put in (RFC 3261
//! §16.4, §16.6, §16.12; RFC 3327, RFC 3608, RFC 5658).
//!
//! In: a request, and a predicate that knows a URI of ours. Out: the request as it is meant, with
//! the URIs of ours that led it here; and the same for its next hop. Where those URIs point is the
//! caller's to say: a token in one is a flow ([`crate::token`]), and a dead one is answered
//! [`FLOW_FAILED`].
//!
//! ```
//! use sip::{Limits, Message, Uri, route};
//!
//! let text = "BYE sip:bob@192.0.2.4 SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
//!     Route: <sip:out@proxy.test;lr;r2=on>, <sip:in@proxy.test;lr;r2=on>, <sip:next.test;lr>\r\n\
//!     From: <sip:a@x>;tag=1\r\nTo: <sip:bob@x>;tag=2\r\nCall-ID: c\r\nCSeq: 2 BYE\r\n\
//!     Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
//! let bye = Message::parse(text.into(), &Limits::outside()).unwrap();
//! let ours = |uri: &Uri<'_>| uri.host.to_string() == "proxy.test";
//! let here = route::arrive(&bye, ours).unwrap();
//! assert_eq!(here.taken.len(), 2, "both halves of a double Record-Route");
//! let onward = route::leave(&here.message);
//! assert_eq!(onward.request_uri(), b"sip:bob@192.0.2.4");
//! assert_eq!(onward.routes().count(), 1);
//! ```
//!
//! Bounds: those of [`crate::Limits`]; at most two Routes of ours are taken off at a time.

use crate::{Edit, Message, Name, NameAddr, Uri};

/// What answers a request for a flow that is gone (RFC 5626 §5.3).
pub const FLOW_FAILED: (u16, &str) = (430, "Flow Failed");

/// Entries of a Service-Route that a client or a proxy keeps.
pub const SERVICE_ROUTES_MAX: usize = 16;

/// A request without the Routes that led it here.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The request, its Request-URI in place.
    pub message: Message,
    /// The URIs of ours that were taken off, in the order they stood.
    pub taken: Vec<Box<[u8]>>,
}

/// Takes off what led a request here: a Request-URI of ours that a strict router put there, and
/// the first Route if it is ours, with the second half of a double Record-Route.
///
/// # Errors
/// 400 if a Route cannot be read, or a strict router left a Request-URI of ours and no Route to
/// tell what was meant.
pub fn arrive(
    message: &Message,
    is_ours: impl Fn(&Uri<'_>) -> bool,
) -> Result<Arrived, (u16, &'static str)> {
    let bad = (400, "Bad Route");
    let uris: Vec<&[u8]> = message
        .routes()
        .map(|r| r.map(|r| r.uri))
        .collect::<Result<_, _>>()
        .map_err(|_| bad)?;
    let ours = |uri: &[u8]| Uri::parse(uri).is_ok_and(|u| u.param(b"lr").is_some() && is_ours(&u));
    let mut taken: Vec<Box<[u8]>> = Vec::new();
    let mut left = uris.as_slice();
    let mut target = None;
    // §16.4: only what we put into a Record-Route carries `lr`; as a Request-URI it was put there
    // by a strict router, and the last Route is what was meant.
    if ours(message.request_uri()) {
        if let Some((last, rest)) = left.split_last() {
            taken.push(Box::from(message.request_uri()));
            target = Some(*last);
            left = rest;
        } else if message.to().is_ok_and(|to| to.tag().is_some()) {
            return Err(bad);
        }
    }
    while let Some((first, rest)) = left.split_first() {
        let second = !taken.is_empty() && is_second(first);
        if !ours(first) || !(taken.is_empty() || second) {
            break;
        }
        taken.push(Box::from(*first));
        left = rest;
        if taken.len() > 1 || !is_second(first) {
            break;
        }
    }
    if taken.is_empty() {
        return Ok(Arrived {
            message: message.clone(),
            taken,
        });
    }
    let mut edit = message.edit();
    if let Some(target) = target {
        edit.request_uri(target);
    }
    let skip = uris.len() - left.len() - usize::from(target.is_some());
    set_routes(
        &mut edit,
        message,
        skip,
        usize::from(target.is_some()),
        None,
    );
    Ok(Arrived {
        message: edit.finish(),
        taken,
    })
}

/// The request as the next hop wants it: before a strict router its URI takes the Request-URI's
/// place, which goes to the end of the Routes (§16.6 step 6).
pub fn leave(message: &Message) -> Message {
    let Some(Ok(first)) = message.routes().next() else {
        return message.clone();
    };
    let loose = Uri::parse(first.uri).map_or(true, |u| u.param(b"lr").is_some());
    if loose {
        return message.clone();
    }
    let last = [b"<", message.request_uri(), b">"].concat();
    let mut edit = message.edit();
    edit.request_uri(first.uri);
    set_routes(&mut edit, message, 1, 0, Some(&last));
    edit.finish()
}

/// Writes the Routes anew: without the first `skip` and the last `cut`, with `last` behind them.
fn set_routes(
    edit: &mut Edit<'_>,
    message: &Message,
    skip: usize,
    cut: usize,
    last: Option<&[u8]>,
) {
    let all: Vec<&[u8]> = message.values(Name::Route).collect();
    let kept = all.get(skip..all.len().saturating_sub(cut));
    let mut value = kept.unwrap_or_default().join(&b", "[..]);
    if let Some(last) = last {
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(last);
    }
    if value.is_empty() {
        edit.remove(Name::Route);
    } else {
        edit.set(Name::Route, value);
    }
}

/// Whether a URI is a half of a double Record-Route.
fn is_second(uri: &[u8]) -> bool {
    Uri::parse(uri).is_ok_and(|u| u.param(b"r2").is_some())
}

/// Puts ourselves into the route set: once, or twice where the sides differ in transport or
/// address (RFC 5658 §4): `came` is our address on the side the request came from, `goes` on the
/// side it goes to. Each is `user@host:port;parameters` or the like, without `sip:` and `lr`.
pub fn record(edit: &mut Edit<'_>, came: &str, goes: &str) {
    if came == goes {
        edit.push_front(Name::RecordRoute, format!("<sip:{came};lr>"));
        return;
    }
    // The last one put in front stands first, which is the one the callee's side sends to. Two
    // insertions at one place keep the order they were asked for in, so they are one.
    let both = format!("<sip:{goes};lr;r2=on>, <sip:{came};lr;r2=on>");
    edit.push_front(Name::RecordRoute, both);
}

/// The Service-Route of an answer to a REGISTER: what new requests of its user are routed by
/// (RFC 3608 §5). Nothing if there are more than [`SERVICE_ROUTES_MAX`].
pub fn service_route(response: &Message) -> Vec<&[u8]> {
    let good = |v: &&[u8]| NameAddr::parse(v).is_some();
    let found: Vec<&[u8]> = response
        .values(Name::ServiceRoute)
        .filter(good)
        .take(SERVICE_ROUTES_MAX + 1)
        .collect();
    if found.len() > SERVICE_ROUTES_MAX {
        return Vec::new();
    }
    found
}

/// Whether a message lists an option tag under a name such as Supported or Require.
pub fn lists(message: &Message, name: Name, tag: &[u8]) -> bool {
    message
        .values(name)
        .any(|value| value.eq_ignore_ascii_case(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn request(uri: &str, routes: &[&str]) -> Message {
        let routes: String = routes.iter().map(|r| format!("Route: {r}\r\n")).collect();
        let text = format!(
            "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n{routes}\
             From: <sip:a@x>;tag=1\r\nTo: <sip:bob@x>;tag=2\r\nCall-ID: c\r\nCSeq: 2 BYE\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(text.into(), &Limits::outside()).unwrap()
    }

    fn ours(uri: &Uri<'_>) -> bool {
        uri.host.to_string() == "p.test"
    }

    fn routes(message: &Message) -> Vec<String> {
        let text = |v: &[u8]| String::from_utf8_lossy(v).into_owned();
        message.values(Name::Route).map(text).collect()
    }

    #[test]
    fn what_led_here_is_taken_off_and_nothing_else() {
        type Row<'a> = (&'a str, &'a [&'a str], usize, &'a str, &'a [&'a str]);
        let table: &[Row<'_>] = &[
            // Nothing of ours.
            ("sip:b@h", &[], 0, "sip:b@h", &[]),
            (
                "sip:b@h",
                &["<sip:q.test;lr>"],
                0,
                "sip:b@h",
                &["<sip:q.test;lr>"],
            ),
            // One Route, alone or before others, in one field or several.
            ("sip:b@h", &["<sip:t@p.test;lr>"], 1, "sip:b@h", &[]),
            (
                "sip:b@h",
                &["<sip:t@p.test;lr>, <sip:q.test;lr>", "<sip:r.test>"],
                1,
                "sip:b@h",
                &["<sip:q.test;lr>", "<sip:r.test>"],
            ),
            // Two of ours that belong together, and two that do not: a spiral comes back here.
            (
                "sip:b@h",
                &["<sip:p.test;lr;r2=on>, <sip:p.test:5;lr;r2=on>"],
                2,
                "sip:b@h",
                &[],
            ),
            (
                "sip:b@h",
                &["<sip:1@p.test;lr>, <sip:2@p.test;lr>"],
                1,
                "sip:b@h",
                &["<sip:2@p.test;lr>"],
            ),
            (
                "sip:b@h",
                &["<sip:p.test;lr;r2=on>, <sip:q.test;lr;r2=on>"],
                1,
                "sip:b@h",
                &["<sip:q.test;lr;r2=on>"],
            ),
            // Four halves are two visits.
            (
                "sip:b@h",
                &["<sip:1@p.test;lr;r2>, <sip:2@p.test;lr;r2>, <sip:3@p.test;lr;r2>"],
                2,
                "sip:b@h",
                &["<sip:3@p.test;lr;r2>"],
            ),
            // A strict router put us into the Request-URI (§16.12.1.2).
            ("sip:t@p.test;lr", &["<sip:b@h>"], 1, "sip:b@h", &[]),
            (
                "sip:t@p.test;lr",
                &["<sip:q.test;lr>", "<sip:b@h>"],
                1,
                "sip:b@h",
                &["<sip:q.test;lr>"],
            ),
            (
                "sip:1@p.test;lr;r2=on",
                &["<sip:2@p.test;lr;r2=on>, <sip:b@h>"],
                2,
                "sip:b@h",
                &[],
            ),
            // Without `lr` it is no Route of ours.
            (
                "sip:b@h",
                &["<sip:t@p.test>"],
                0,
                "sip:b@h",
                &["<sip:t@p.test>"],
            ),
            (
                "sip:b@p.test",
                &["<sip:q.test;lr>"],
                0,
                "sip:b@p.test",
                &["<sip:q.test;lr>"],
            ),
        ];
        for (uri, before, taken, target, after) in table {
            let arrived = arrive(&request(uri, before), ours).unwrap();
            assert_eq!(arrived.taken.len(), *taken, "{uri} {before:?}");
            let found = arrived.message.request_uri();
            assert_eq!(String::from_utf8_lossy(found), *target, "{before:?}");
            assert_eq!(routes(&arrived.message), *after, "{uri} {before:?}");
        }
    }

    #[test]
    fn a_request_uri_of_ours_in_a_dialog_without_a_route_is_refused() {
        let lost = arrive(&request("sip:t@p.test;lr", &[]), ours);
        assert_eq!(lost.map(|a| a.taken.len()), Err((400, "Bad Route")));
        // From call control, whose odd headers pass the reader.
        let text = request("sip:b@h", &["<sip:q.test;lr>"]);
        let odd = text.edit().set(Name::Route, "no address").finish();
        assert_eq!(
            arrive(&odd, ours).map(|a| a.taken.len()),
            Err((400, "Bad Route"))
        );
    }

    #[test]
    fn a_strict_router_gets_the_request_uri_and_gives_it_back() {
        let request = request("sip:b@h", &["<sip:strict.test>", "<sip:q.test;lr>"]);
        let left = leave(&request);
        assert_eq!(left.request_uri(), b"sip:strict.test");
        assert_eq!(routes(&left), ["<sip:q.test;lr>", "<sip:b@h>"]);
        // A strict router does the same once more: its next is q.test (§16.12.1.2).
        let alone = leave(&self::request("sip:b@h", &["<sip:strict.test>"]));
        assert_eq!(routes(&alone), ["<sip:b@h>"]);
        for loose in [&["<sip:q.test;lr>"][..], &[]] {
            let request = self::request("sip:b@h", loose);
            assert_eq!(leave(&request).bytes(), request.bytes());
        }
    }

    #[test]
    fn a_double_record_route_is_undone_from_both_ends() {
        let request = request("sip:b@h", &[]);
        let mut edit = request.edit();
        record(
            &mut edit,
            "1@p.test:5061;transport=tls",
            "2@p.test:7001;transport=tls",
        );
        let sent = edit.finish();
        let set: Vec<String> = sent
            .values(Name::RecordRoute)
            .map(|v| String::from_utf8_lossy(v).into_owned())
            .collect();
        assert_eq!(set.len(), 2);
        assert!(
            set[0].starts_with("<sip:2@"),
            "the callee's side is on top: {set:?}"
        );
        let joined = set.join(", ");
        let (mut callee, mut caller) = (vec![joined.as_str()], Vec::new());
        let reversed = format!("{}, {}", set[1], set[0]);
        caller.push(reversed.as_str());
        for (routes, first) in [(&mut callee, "sip:2@"), (&mut caller, "sip:1@")] {
            let arrived = arrive(&self::request("sip:b@h", routes), ours).unwrap();
            assert_eq!(arrived.taken.len(), 2);
            assert!(arrived.taken[0].starts_with(first.as_bytes()));
            assert_eq!(arrived.message.header(Name::Route), None);
        }
        let mut edit = request.edit();
        record(&mut edit, "p.test", "p.test");
        assert_eq!(edit.finish().values(Name::RecordRoute).count(), 1);
    }

    #[test]
    fn service_route_and_option_tags_are_read_as_lists() {
        let request = request("sip:b@h", &[]);
        let mut edit = request.edit();
        edit.push_back(Name::ServiceRoute, "<sip:o@h1;lr>, <sip:h2;lr>");
        edit.push_back(Name::ServiceRoute, "nonsense");
        edit.push_back(Name::Supported, "path, Outbound,gruu");
        let message = edit.finish();
        assert_eq!(
            service_route(&message),
            [&b"<sip:o@h1;lr>"[..], b"<sip:h2;lr>"]
        );
        assert!(lists(&message, Name::Supported, b"outbound"));
        assert!(!lists(&message, Name::Supported, b"out"));
        let mut edit = message.edit();
        edit.push_back(Name::ServiceRoute, ["<sip:h;lr>"; 20].join(","));
        assert_eq!(service_route(&edit.finish()).len(), 0);
    }
}
