//! What is checked before a request is sent on (RFC 3261 §16.3, RFC 5393 §4, §5).

use std::hash::{DefaultHasher, Hasher};

use super::Target;
use crate::class::number;
use crate::{Message, Name};

/// Why a request is not sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: &'static str,
}

/// A hash over what decides a request's way (RFC 5393 §4.2): the second half of our branch. A
/// request that comes back unchanged has it in a Via of ours; a spiral has another.
pub(super) fn mark(request: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut add = |part: &[u8]| {
        hasher.write(part);
        hasher.write_usize(part.len());
    };
    add(request.request_uri());
    add(request.call_id());
    add(request.from().ok().and_then(|f| f.tag()).unwrap_or(b""));
    add(request.to().ok().and_then(|t| t.tag()).unwrap_or(b""));
    add(request.header(Name::CSeq).unwrap_or_default());
    for name in [Name::Route, Name::ProxyRequire, Name::ProxyAuthorization] {
        for value in request.fields_of(name) {
            add(value);
        }
    }
    hasher.finish()
}

/// The Max-Forwards to send on.
pub(super) fn check(
    request: &Message,
    mark: u64,
    targets: &[Target],
    default_hops: u8,
) -> Result<u8, Refusal> {
    let hops = match request.max_forwards() {
        Ok(None) => default_hops,
        Ok(Some(0)) => {
            return Err(Refusal {
                status: 483,
                reason: "Too Many Hops",
            });
        }
        Ok(Some(hops)) => hops - 1,
        Err(_) => {
            return Err(Refusal {
                status: 400,
                reason: "Bad Max-Forwards",
            });
        }
    };
    if targets.is_empty() {
        return Err(Refusal {
            status: 480,
            reason: "Temporarily Unavailable",
        });
    }
    let ours = |branch: &[u8]| {
        let digits = branch
            .last_chunk::<17>()
            .and_then(|last| last.strip_prefix(b"."));
        let lower = digits.filter(|d| d.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        let text = lower.and_then(|digits| std::str::from_utf8(digits).ok());
        text.is_some_and(|text| u64::from_str_radix(text, 16) == Ok(mark))
    };
    let looped = request.vias().filter_map(Result::ok).any(|via| {
        via.branch().is_some_and(ours)
            && targets
                .iter()
                .any(|t| via.sent_by().eq_ignore_ascii_case(t.via.sent_by.as_bytes()))
    });
    if looped {
        return Err(Refusal {
            status: 482,
            reason: "Loop Detected",
        });
    }
    Ok(hops)
}

/// The header that bounds how wide a request forks (RFC 5393 §5.2).
pub(super) const MAX_BREADTH: Name = Name::Other("Max-Breadth");

/// What a request without one may be (§5.3.3).
const BREADTH_DEFAULT: u64 = 60;

/// The Max-Breadth each of `targets` branches is given; `None` if the request goes on as it came.
/// All together get what the request had. A request that does not fork is given none: it would be
/// as wide as before.
pub(super) fn breadth(request: &Message, targets: usize) -> Result<Option<u64>, Refusal> {
    let exceeded = Refusal {
        status: 440,
        reason: "Max-Breadth Exceeded",
    };
    let given = match request.header(MAX_BREADTH) {
        Some(value) => Some(number(value).ok_or(Refusal {
            status: 400,
            reason: "Bad Max-Breadth",
        })?),
        None => None,
    };
    let targets = targets as u64;
    match given {
        Some(breadth) if breadth < targets => Err(exceeded),
        None if BREADTH_DEFAULT < targets => Err(exceeded),
        _ if targets < 2 => Ok(None),
        given => Ok(Some(given.unwrap_or(BREADTH_DEFAULT).min(255) / targets)),
    }
}
