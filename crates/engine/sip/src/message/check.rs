//! What every message must have, once, and readable (RFC 3261 §8.1.1), and what more is asked of
//! strangers.

use super::facts::Facts;
use crate::class::is_token;
use crate::header::{NameAddr, Values, Via, after_address};
use crate::name::Name;
use crate::{HeaderError, Limits, Message, ParseError, Strictness};

impl From<HeaderError> for ParseError {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Missing(name) => ParseError::Missing(name),
            HeaderError::Malformed(name) => ParseError::Header(name),
        }
    }
}

/// Fields that stand once at most; all but the last must be there.
const ONCE: [(Name, &str); 5] = [
    (Name::From, "From"),
    (Name::To, "To"),
    (Name::CallId, "Call-ID"),
    (Name::CSeq, "CSeq"),
    (Name::MaxForwards, "Max-Forwards"),
];

pub(super) fn check(message: &Message, limits: &Limits) -> Result<Facts, ParseError> {
    for (name, word) in ONCE {
        if message.head.is_repeated(name.index()) {
            return Err(ParseError::Repeated(word));
        }
        if name != Name::MaxForwards && !message.head.has(name.index()) {
            return Err(ParseError::Missing(word));
        }
    }
    let via = vias(message, limits)?;
    let cseq = message.read_cseq()?;
    if message.is_request() && cseq.method != message.method_bytes() {
        return Err(ParseError::Header("CSeq"));
    }
    let call_id = message.call_id();
    // No blank stands in it, so neither does a fold, which another reader would take for one
    // (RFC 3261 §25.1).
    if call_id.is_empty() || call_id.iter().any(u8::is_ascii_whitespace) {
        return Err(ParseError::Header("Call-ID"));
    }
    let from = message.read_address(Name::From, "From")?;
    let to = message.read_address(Name::To, "To")?;
    let tag = |party: &NameAddr<'_>| party.tag().map_or(0, <[u8]>::len);
    for (bytes, word) in [
        (call_id.len(), "the Call-ID"),
        (tag(&from), "the From tag"),
        (tag(&to), "the To tag"),
        (cseq.method.len(), "the method"),
    ] {
        if bytes > limits.id_bytes_max {
            return Err(ParseError::Limit(word));
        }
    }
    // A tag has a value: one reader would take it for a dialog's, another for none (§25.1).
    for (party, word) in [(&from, "From"), (&to, "To")] {
        if party.tag().is_some_and(<[u8]>::is_empty) {
            return Err(ParseError::Header(word));
        }
    }
    let outside = limits.strictness == Strictness::Outside;
    if outside && !from.is_strict() {
        return Err(ParseError::Header("From"));
    }
    if outside && !to.is_strict() {
        return Err(ParseError::Header("To"));
    }
    for (name, word, many) in [
        (Name::Contact, "Contact", "the number of Contact values"),
        (Name::Route, "Route", "the number of Route values"),
        (
            Name::RecordRoute,
            "Record-Route",
            "the number of Record-Route values",
        ),
        (Name::Path, "Path", "the number of Path values"),
    ] {
        let mut count = 0;
        for span in message.head.all_of(name.index()) {
            let mut rest = message.value_of(span);
            // Each may become a Request-URI, here or at the other end.
            if rest.len() > limits.uri_bytes_max && has_long_uri(rest, limits) {
                return Err(ParseError::Limit("a URI in Contact, Route or Path"));
            }
            while outside && let Some(left) = after_address(rest) {
                (rest, count) = (left, count + 1);
            }
            for value in Values::new(rest) {
                count += 1;
                if count > limits.values_max {
                    break;
                }
                let star = name == Name::Contact && value == b"*";
                if outside && !star && NameAddr::parse(value).is_none() {
                    return Err(ParseError::Header(word));
                }
            }
            if count > limits.values_max {
                return Err(ParseError::Limit(many));
            }
        }
    }
    if outside {
        stranger(message)?;
    }
    Ok(Facts::of(message.bytes(), &via, &from, &to, &cseq))
}

fn has_long_uri(values: &[u8], limits: &Limits) -> bool {
    Values::new(values)
        .filter_map(NameAddr::parse)
        .any(|address| address.uri.len() > limits.uri_bytes_max)
}

fn vias<'m>(message: &'m Message, limits: &Limits) -> Result<Via<'m>, ParseError> {
    let (mut count, mut top) = (0, None);
    for span in message.head.all_of(Name::Via.index()) {
        for value in Values::new(message.value_of(span)) {
            count += 1;
            if count > limits.vias_max {
                return Err(ParseError::Limit("the number of Via values"));
            }
            if count == 1 || limits.strictness == Strictness::Outside {
                let via = Via::parse(value)?;
                match via.branch().map(<[u8]>::len) {
                    Some(0) => return Err(ParseError::Header("Via")),
                    Some(n) if n > limits.id_bytes_max => {
                        return Err(ParseError::Limit("a branch"));
                    }
                    _ => {}
                }
                top.get_or_insert(via);
            }
        }
    }
    top.ok_or(ParseError::Missing("Via"))
}

/// What call control and old telephones get away with, and a stranger does not: the messages of
/// RFC 4475 §3.1.2 that could still be carried.
fn stranger(message: &Message) -> Result<(), ParseError> {
    message.max_forwards()?;
    message.expires()?;
    // §3.1.2.11: a Request-URI has no header fields (RFC 3261 §19.1.1).
    let uri = message.request_uri();
    if memchr::memchr(b'?', uri).is_some()
        && crate::Uri::parse(uri).is_ok_and(|u| !u.headers.is_empty())
    {
        return Err(ParseError::Header("the Request-URI"));
    }
    // §3.1.2.12: there is no time zone but GMT (RFC 3261 §20.17).
    if let Some(date) = message.header(Name::Date)
        && !date.ends_with(b"GMT")
    {
        return Err(ParseError::Header("Date"));
    }
    match message.content_type() {
        Some(kind) if !is_media_type(kind) => Err(ParseError::Header("Content-Type")),
        _ => Ok(()),
    }
}

/// `type/subtype`, parameters behind it.
fn is_media_type(value: &[u8]) -> bool {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let kind = value.get(..end).unwrap_or_default();
    let Some(slash) = memchr::memchr(b'/', kind) else {
        return false;
    };
    let (main, sub) = kind.split_at_checked(slash).unwrap_or_default();
    is_token(main.trim_ascii()) && is_token(sub.get(1..).unwrap_or_default().trim_ascii())
}
