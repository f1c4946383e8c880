//! What a client may say of itself, and what it may have others fetch.
//!
//! In: header fields as they came from outside. Out: whether they go on. Fields that only a
//! trusted node may write are taken out by their parsed name, whatever its case or spelling
//! ([`is_privileged`], [`is_claim`]): every `P-` field but two, also one that nobody knows, for a
//! field that we do not know may be one that call control trusts. What passes: everything else,
//! byte for byte. That holds for `Privacy` (RFC 3323: a user may ask to be unknown), `Geolocation`
//! (RFC 6442: a location the client states, and is told to be as good as its word), `Call-Info` of
//! Unified CM (`urn:x-cisco-…`) and for `X-` fields that are not ours.
//!
//! `Call-Info`, `Alert-Info` and `Error-Info` may name what the other side's telephone is to fetch
//! or play (RFC 3261 §20.4, §20.9, §20.18 warn of it). A telephone inside would fetch from inside:
//! a client could have it ask any web server there. So values whose URI is not of a scheme that
//! names without being fetched ([`PASSES`]) are taken out, each by itself ([`links`]).

use sip::{Edit, Message, Method, Name, NameAddr};

/// Header fields that only a trusted node may write, in lower case; a final `*` stands for any
/// rest. Of `P-` fields (RFC 3427 §4.1: "private" ones) every one is such, known or not, but those
/// of [`HARMLESS`]. The rest are what 3GPP's trust domain says of a caller (TS 24.229 §4.4).
const PRIVILEGED: [&[u8]; 18] = [
    b"p-*",
    b"remote-party-id",
    b"history-info",
    b"diversion",
    b"cc-diversion",
    b"feature-caps",
    b"path",
    b"service-route",
    b"identity",
    b"identity-info",
    b"attestation-info",
    b"origination-id",
    b"additional-identity",
    b"priority-verstat",
    b"relayed-charge",
    b"restoration-info",
    b"service-interact-info",
    b"x-causeway-*",
];

/// `P-` fields that clients write and nobody acts on: the kind of network they are in (RFC 7315
/// §4.4: written by the user agent; only what says `network-provided` is the network's word) and
/// what they counted of a call's media.
const HARMLESS: [&[u8]; 2] = [ACCESS_NETWORK, b"p-rtp-stat"];

const ACCESS_NETWORK: &[u8] = b"p-access-network-info";

/// Fields whose URIs others may fetch, in lower case.
const LINKING: [&[u8]; 3] = [b"call-info", b"alert-info", b"error-info"];

/// What makes a telephone answer by itself, ring in its own way or show somebody else, in lower
/// case: of a stranger nothing of it goes on. A telephone that answers by itself is a bug in the
/// room (RFC 5373 §5); who answers for whom a stranger does not say.
const OF_FRIENDS: [&[u8]; 11] = [
    b"call-info",
    b"alert-info",
    b"error-info",
    b"answer-mode",
    b"priv-answer-mode",
    b"auto-answer",
    b"x-auto-answer",
    b"answer-after",
    b"reply-to",
    b"referred-by",
    b"b",
];

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
    let Some(first) = name.first().map(u8::to_ascii_lowercase) else {
        return false;
    };
    // Most names differ from all of these in where they begin or in their length.
    let among = |list: &[&[u8]]| {
        let near = |wanted: &&&[u8]| {
            let begins = wanted.first() == Some(&first);
            begins && (wanted.len() == name.len() || wanted.ends_with(b"*"))
        };
        list.iter()
            .filter(near)
            .any(|wanted| reads_as(name, wanted))
    };
    let compact = name.len() == 1 && matches!(first, b'y' | b'n');
    (compact || among(&PRIVILEGED)) && !among(&HARMLESS)
}

/// Whether a field of a client goes out: it [is privileged](is_privileged), or says that the
/// network wrote it (RFC 7315 §4.4, `network-provided`).
pub fn is_claim(name: &[u8], value: &[u8]) -> bool {
    const WORD: &[u8] = b"network-provided";
    let networks = || {
        value
            .windows(WORD.len())
            .any(|w| w.eq_ignore_ascii_case(WORD))
    };
    is_privileged(name) || reads_as(name, ACCESS_NETWORK) && networks()
}

/// Whether a field of a foreign domain's goes out beside [claims](is_claim), by its name as it
/// came. `b` is Referred-By (RFC 3892 §2.1).
pub fn is_for_friends(name: &[u8]) -> bool {
    OF_FRIENDS.iter().any(|wanted| reads_as(name, wanted))
}

/// Whether a request makes a telephone take a call, or hold one: `NOTIFY` with `Event: talk` or
/// `hold`, as many telephones understand it.
pub fn commands_a_phone(message: &Message) -> bool {
    let event = message.header(Name::Event).unwrap_or_default();
    let package = event.split(|b| *b == b';').next().unwrap_or_default();
    let package = package.trim_ascii();
    let commands: [&[u8]; 2] = [b"talk", b"hold"];
    message.method() == Method::Notify && commands.iter().any(|c| package.eq_ignore_ascii_case(c))
}

/// Whether a name as it came is one in lower case, or begins as one that ends with `*`; `_` counts
/// as `-`.
fn reads_as(name: &[u8], wanted: &[u8]) -> bool {
    let name = name.trim_ascii();
    let same = |(wanted, byte): (&u8, &u8)| match byte {
        b'_' => *wanted == b'-',
        byte => *wanted == byte.to_ascii_lowercase(),
    };
    let begins = |stem: &[u8]| name.len() >= stem.len() && stem.iter().zip(name).all(same);
    match wanted.strip_suffix(b"*") {
        Some(stem) => begins(stem),
        None => name.len() == wanted.len() && begins(wanted),
    }
}

/// The fields of a message that name something to fetch, each by its number, with what may stay of
/// it; `None` if nothing may.
pub fn links(message: &Message) -> Vec<(usize, Option<Vec<u8>>)> {
    let named = |name: &[u8]| LINKING.iter().any(|l| reads_as(name, l));
    let fields = message.fields().filter(|f| named(f.name));
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
            "P-Unknown",
            "p-",
            "CC-Diversion",
            "Attestation-Info",
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
            "P-RTP-Stat",
            "Priority",
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

    #[test]
    fn what_makes_a_telephone_answer_by_itself_is_for_friends_in_any_spelling() {
        for name in [
            "Call-Info",
            "alert-info",
            "Alert_Info",
            "Answer-Mode",
            "PRIV_ANSWER-MODE",
            "Reply-To",
            "Referred_By",
            "B",
            "X-Auto-Answer",
        ] {
            assert!(is_for_friends(name.as_bytes()), "{name}");
        }
        for name in ["Allow", "Subject", "Priority", "Contact", "Accept", "Via"] {
            assert!(!is_for_friends(name.as_bytes()), "{name}");
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
            "Call_Info: <http://intranet/>;purpose=icon\r\n",
            "ALERT_INFO: <http://intranet/>\r\n",
            "Call-Info: \"urn:\" <ftp://intranet/>\r\n",
        ] {
            assert_eq!(of(goes), [None], "{goes}");
        }
        let both =
            format!("Call-Info: <http://a,b/>;purpose=icon, {cisco}, \"a\\\",\" <gopher:x>\r\n");
        assert_eq!(of(&both), [Some(cisco.to_owned())]);
    }
}
