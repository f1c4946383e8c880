//! What a client may say of itself, and what it may have others fetch.
//!
//! In: header fields as they came from outside. Out: whether they go on. Fields that only a
//! trusted node may write are taken out by their parsed name, whatever its case or spelling
//! ([`is_privileged`]). What passes: everything else, byte for byte. That holds for `Privacy`
//! (RFC 3323: a user may ask to be unknown), `Geolocation` (RFC 6442: a location the client
//! states, and is told to be as good as its word), `Call-Info` of Unified CM (`urn:x-cisco-…`) and
//! for `X-` fields that are not ours.
//!
//! `Call-Info`, `Alert-Info` and `Error-Info` may name what the other side's telephone is to fetch
//! or play (RFC 3261 §20.4, §20.9, §20.18 warn of it). A telephone inside would fetch from inside:
//! a client could have it ask any web server there. So values whose URI is not of a scheme that
//! names without being fetched ([`PASSES`]) are taken out, each by itself ([`links`]).

use sip::{Edit, Message, NameAddr};

/// Header fields that only a trusted node may write, in lower case; a final `*` stands for any
/// rest.
const PRIVILEGED: [&[u8]; 25] = [
    b"p-asserted-*",
    b"p-preferred-*",
    b"p-associated-uri",
    b"p-answer-state",
    b"p-called-party-id",
    b"p-charge-info",
    b"p-charging-*",
    b"p-dcs-*",
    b"p-early-media",
    b"p-media-authorization",
    b"p-profile-key",
    b"p-refused-uri-list",
    b"p-served-user",
    b"p-user-database",
    b"p-visited-network-id",
    b"p-private-network-indication",
    b"remote-party-id",
    b"history-info",
    b"diversion",
    b"feature-caps",
    b"path",
    b"service-route",
    b"identity",
    b"identity-info",
    b"x-causeway-*",
];

/// Fields whose URIs others may fetch, in lower case.
const LINKING: [&[u8]; 3] = [b"call-info", b"alert-info", b"error-info"];

/// Schemes of URIs that nobody fetches.
const PASSES: [&[u8]; 9] = [
    b"urn", b"sip", b"sips", b"tel", b"cid", b"im", b"pres", b"xmpp", b"mailto",
];

/// Whether a header field may be written by a trusted node only, by its name as it came (RFC 3325
/// §8, RFC 7315, RFC 5009, RFC 5806, RFC 6809, RFC 7044). None of them has a compact form but
/// Identity's `y` and Identity-Info's `n` (RFC 4474).
///
/// `_` counts as `-`: some servers read `P_Asserted_Identity` as the field it resembles.
pub fn is_privileged(name: &[u8]) -> bool {
    let name = name.trim_ascii();
    let same = |(wanted, byte): (&u8, &u8)| match byte {
        b'_' => *wanted == b'-',
        byte => *wanted == byte.to_ascii_lowercase(),
    };
    let begins = |stem: &[u8]| name.len() >= stem.len() && stem.iter().zip(name).all(same);
    matches!(name, [b'y' | b'Y' | b'n' | b'N'])
        || PRIVILEGED.iter().any(|p| match p.strip_suffix(b"*") {
            Some(stem) => begins(stem),
            None => name.len() == p.len() && begins(p),
        })
}

/// The fields of a message that name something to fetch, each by its number, with what may stay of
/// it; `None` if nothing may.
pub fn links(message: &Message) -> Vec<(usize, Option<Vec<u8>>)> {
    let named = |name: &[u8]| LINKING.iter().any(|l| name.eq_ignore_ascii_case(l));
    let fields = message.fields().filter(|f| named(f.name.trim_ascii()));
    fields
        .filter_map(|field| {
            let values = split(field.value);
            let kept: Vec<&[u8]> = values.iter().copied().filter(|v| may_pass(v)).collect();
            if kept.len() == values.len() {
                return None;
            }
            let rest = (!kept.is_empty()).then(|| kept.join(&b", "[..]));
            Some((field.index, rest))
        })
        .collect()
}

/// Takes out of a message that is being edited what [`links`] finds in it.
pub fn without_links(message: &Message, edit: &mut Edit<'_>) {
    for (index, rest) in links(message) {
        match rest {
            Some(rest) => edit.replace_field(index, rest),
            None => edit.remove_fields(|f| f.index == index),
        };
    }
}

/// Whether the URI of one value is of a scheme that passes. What cannot be read does not.
fn may_pass(value: &[u8]) -> bool {
    let uri = NameAddr::parse(value).map(|address| address.uri);
    let scheme = uri.and_then(|uri| uri.split(|b| *b == b':').next());
    scheme.is_some_and(|s| PASSES.iter().any(|p| s.eq_ignore_ascii_case(p)))
}

/// Values between commas that stand in neither quotes nor angle brackets.
fn split(field: &[u8]) -> Vec<&[u8]> {
    let (mut quoted, mut escaped, mut inside) = (false, false, false);
    let at_comma = |byte: &u8| {
        let was_escaped = std::mem::replace(&mut escaped, false);
        match byte {
            b'\\' if quoted => escaped = !was_escaped,
            b'"' if !inside && !was_escaped => quoted = !quoted,
            b'<' if !quoted => inside = true,
            b'>' if !quoted => inside = false,
            b',' => return !quoted && !inside,
            _ => {}
        }
        false
    };
    let values = field.split(at_comma).map(<[u8]>::trim_ascii);
    values.filter(|v| !v.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn privileged_fields_are_known_in_any_case_and_others_pass() {
        for name in [
            "P-Asserted-Identity",
            "P-Asserted-Service",
            "P-Preferred-Identity",
            "P-Early-Media",
            "P-Charge-Info",
            "Feature-Caps",
            "Identity-Info",
            "REMOTE-PARTY-ID",
            "p-charging-vector",
            "Path",
            "y",
            "P_Asserted_Identity",
            "Remote_Party-ID",
            "x_causeway_anything",
        ] {
            assert!(is_privileged(name.as_bytes()), "{name}");
        }
        for name in [
            "P-Access-Network-Info",
            "Call-Info",
            "X-cisco-foo",
            "X-TAATag",
            "Geolocation",
            "Via",
            "Privacy",
        ] {
            assert!(!is_privileged(name.as_bytes()), "{name}");
        }
    }

    fn of(fields: &str) -> Vec<Option<String>> {
        let text = format!(
            "INVITE sip:a@example.test SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
             From: <sip:1001@example.test>;tag=a\r\nTo: <sip:1001@example.test>\r\n\
             Call-ID: c1\r\nCSeq: 1 INVITE\r\n{fields}Content-Length: 0\r\n\r\n"
        );
        let message = Message::parse(Bytes::from(text), &sip::Limits::outside()).unwrap();
        let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
        let found = links(&message).into_iter();
        found.map(|(_, rest)| rest.map(text)).collect()
    }

    #[test]
    fn links_that_a_telephone_would_fetch_are_taken_out_and_names_stay() {
        let cisco = "<urn:x-cisco-remotecc:callinfo>; orientation=to; security=NotAuthenticated";
        for passes in [
            format!("Call-Info: {cisco}\r\n"),
            "Alert-Info: <urn:alert:service:call-waiting>\r\n".into(),
            "Call-Info: <sip:conf@example.test>;purpose=info\r\n".into(),
            "X-Call-Info: <http://10.0.0.1/>\r\n".into(),
        ] {
            assert_eq!(of(&passes), [], "{passes}");
        }
        for goes in [
            "Alert-Info: <http://10.0.0.1/ring.wav>\r\n",
            "alert-info : <file:///etc/passwd>\r\n",
            "Error-Info: http://intranet/\r\n",
            "Call-Info: HTTPS://intranet/ ;purpose=icon\r\n",
            "Call-Info: <//intranet/>\r\n",
            "Call-Info: \"urn:\" <ftp://intranet/>\r\n",
        ] {
            assert_eq!(of(goes), [None], "{goes}");
        }
        let both =
            format!("Call-Info: <http://a,b/>;purpose=icon, {cisco}, \"a\\\",\" <gopher:x>\r\n");
        assert_eq!(of(&both), [Some(cisco.to_owned())]);
    }
}
