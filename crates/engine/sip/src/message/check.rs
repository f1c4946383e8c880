//! What every message must have, once, and readable (RFC 3261 §8.1.1), and what more is asked of
//! strangers.

use crate::class::is_token;
use crate::header::{NameAddr, Via};
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

pub(super) fn check(message: &Message, limits: &Limits) -> Result<(), ParseError> {
    for (name, word) in ONCE {
        if message.head.is_repeated(name.index()) {
            return Err(ParseError::Repeated(word));
        }
        if name != Name::MaxForwards && !message.head.has(name.index()) {
            return Err(ParseError::Missing(word));
        }
    }
    vias(message, limits)?;
    let cseq = message.cseq()?;
    if message.is_request() && cseq.method != message.method_bytes() {
        return Err(ParseError::Header("CSeq"));
    }
    let call_id = message.call_id();
    if call_id.is_empty() {
        return Err(ParseError::Header("Call-ID"));
    }
    let (from, to) = (message.from()?, message.to()?);
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
    for (name, word) in [
        (Name::Contact, "the number of Contact values"),
        (Name::Route, "the number of Route values"),
        (Name::RecordRoute, "the number of Record-Route values"),
        (Name::Path, "the number of Path values"),
    ] {
        if message.head.has(name.index()) && message.values(name).nth(limits.values_max).is_some() {
            return Err(ParseError::Limit(word));
        }
    }
    match limits.strictness {
        Strictness::Outside if !from.is_strict() => Err(ParseError::Header("From")),
        Strictness::Outside if !to.is_strict() => Err(ParseError::Header("To")),
        Strictness::Outside => stranger(message),
        Strictness::Trusted => Ok(()),
    }
}

fn vias(message: &Message, limits: &Limits) -> Result<(), ParseError> {
    let mut count = 0;
    for value in message.values(Name::Via) {
        count += 1;
        if count > limits.vias_max {
            return Err(ParseError::Limit("the number of Via values"));
        }
        if count == 1 || limits.strictness == Strictness::Outside {
            let via = Via::parse(value)?;
            if via.branch().is_some_and(|b| b.len() > limits.id_bytes_max) {
                return Err(ParseError::Limit("a branch"));
            }
        }
    }
    if count == 0 {
        return Err(ParseError::Missing("Via"));
    }
    Ok(())
}

/// What call control and old telephones get away with, and a stranger does not: the messages of
/// RFC 4475 §3.1.2 that could still be carried.
fn stranger(message: &Message) -> Result<(), ParseError> {
    message.max_forwards()?;
    message.expires()?;
    if message.contacts().any(|c| c.is_err()) {
        return Err(ParseError::Header("Contact"));
    }
    if message.routes().any(|r| r.is_err()) {
        return Err(ParseError::Header("Route"));
    }
    if message.record_routes().any(|r| r.is_err()) {
        return Err(ParseError::Header("Record-Route"));
    }
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
