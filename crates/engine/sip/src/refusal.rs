//! The answer to a request that cannot be read (RFC 3261 §8.2.6.2, RFC 4475 §3.1.2): without
//! state, with what of Via, From, To, Call-ID and CSeq is there and clean.
//!
//! In: the bytes of a head, or of the part of one that came, and what is wrong with it. Out: a
//! response, or nothing where nobody could be answered: a response, an ACK, no Via, bytes of
//! another protocol. A value with a bare CR, LF or NUL in it is never repeated.
//!
//! Bounds: [`BYTES_MAX`] of values are repeated; a head with more gets no answer.

use bytes::Bytes;

use crate::class::is_token;
use crate::header::NameAddr;
use crate::{Limits, Message, Name, ParseError, ResponseBuilder};

/// Bytes of values that an answer repeats at most.
const BYTES_MAX: usize = 16 * 1024;

/// The To tag of every such answer: an ACK that carries it belongs to nothing.
pub(crate) const TAG: &[u8] = b"causeway-malformed";

/// The answer.
pub(crate) fn reply(head: &[u8], error: &ParseError, limits: &Limits) -> Option<Message> {
    let mut lines = Lines(head);
    let first = lines.next()?;
    let method = first.split(|b| *b == b' ').next().unwrap_or_default();
    let status_line = method
        .get(..4)
        .is_some_and(|m| m.eq_ignore_ascii_case(b"SIP/"));
    if status_line || method == b"ACK" || !is_token(method) {
        return None;
    }
    let (status, reason) = error.status();
    let mut builder = ResponseBuilder::bare(status, reason);
    let (mut vias, mut bytes, mut seen) = (0, 0, [false; 4]);
    for line in lines {
        let Some((name, value)) = field(line) else {
            continue;
        };
        let one = match Name::at(Name::find(name)) {
            Name::Via if vias < limits.vias_max => {
                vias += 1;
                None
            }
            Name::From => Some(0),
            Name::To => Some(1),
            Name::CallId => Some(2),
            Name::CSeq => Some(3),
            _ => continue,
        };
        // What may stand once is told once: the first counts.
        if one.is_some_and(|i| seen.get_mut(i).is_none_or(|s| std::mem::replace(s, true))) {
            continue;
        }
        bytes += value.len();
        if bytes > BYTES_MAX {
            return None;
        }
        let untagged =
            one == Some(1) && NameAddr::parse(value).is_some_and(|to| to.tag().is_none());
        builder = if untagged {
            builder.raw_header(name, &[value, b";tag=", TAG].concat())
        } else {
            builder.raw_header(name, value)
        };
    }
    if vias == 0 {
        return None;
    }
    let warning = format!("399 causeway \"{error}\"");
    Some(builder.header(Name::Warning, warning).build())
}

/// What stands for an answer that is too large to be read: a final one is taken for 502, so that
/// who waits for it need not wait for a timer. Nothing for a request or a provisional answer.
pub(crate) fn stand_in(head: &[u8], limits: &Limits) -> Option<Message> {
    let answer = Message::head(head, &Limits::unbounded()).ok()?;
    let answer = answer.with(Bytes::copy_from_slice(head));
    if answer.status() < 200 {
        return None;
    }
    let mut builder = ResponseBuilder::bare(502, "Answer Too Large");
    for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
        for value in answer.fields_of(name) {
            builder = builder.raw_header(name.as_str().as_bytes(), value);
        }
    }
    Message::parse(builder.build().bytes().clone(), limits).ok()
}

/// Name and value of a field, folds still in it; nothing if it is none, or is not clean.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    let value = line.get(colon + 1..)?.trim_ascii();
    let clean = |part: &[u8]| !part.iter().any(|b| matches!(b, b'\r' | b'\n' | 0));
    let folded = value
        .windows(3)
        .any(|w| matches!(w, [b'\r', b'\n', b' ' | b'\t']));
    let good = if folded {
        let mut rest = value;
        loop {
            match memchr::memmem::find(rest, b"\r\n") {
                Some(at) => {
                    let blank = matches!(rest.get(at + 2), Some(b' ' | b'\t'));
                    if !blank || !clean(rest.get(..at)?) {
                        break false;
                    }
                    rest = rest.get(at + 2..)?;
                }
                None => break clean(rest),
            }
        }
    } else {
        clean(value)
    };
    (good && is_token(name)).then_some((name, value))
}

/// The lines of a head, those that are folded as one; what no CRLF ends is no line.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let mut from = 0;
        loop {
            let end = from + memchr::memmem::find(self.0.get(from..)?, b"\r\n")?;
            if end == 0 {
                return None; // the empty line
            }
            if matches!(self.0.get(end + 2), Some(b' ' | b'\t')) {
                from = end + 2;
                continue;
            }
            let line = self.0.get(..end)?;
            self.0 = self.0.get(end + 2..)?;
            return Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &str = "Via: SIP/2.0/TLS h;branch=z9hG4bK1\r\nVia: SIP/2.0/TLS g\r\n\
        f: <sip:a@example.test>;tag=1\r\nTo : <sip:b@example.test>\r\nCall-ID: c\r\n\
        CSeq: 1\r\n  OPTIONS\r\n";

    fn answer(head: &str) -> Option<String> {
        let reply = reply(head.as_bytes(), &ParseError::Control, &Limits::outside())?;
        Some(String::from_utf8_lossy(reply.bytes()).into_owned())
    }

    #[test]
    fn what_can_be_read_is_repeated_and_nothing_else() {
        let found = answer(&format!(
            "OPTIONS sip:b SIP/7.0\r\n{FIELDS}To: <sip:x@y>\r\nX: a\0b\r\nno field\r\n\r\n"
        ));
        let want = "SIP/2.0 400 Bad Request\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\n\
            Via: SIP/2.0/TLS g\r\nf: <sip:a@example.test>;tag=1\r\n\
            To: <sip:b@example.test>;tag=causeway-malformed\r\nCall-ID: c\r\n\
            CSeq: 1    OPTIONS\r\n\
            Warning: 399 causeway \"a bare CR, LF or NUL stands in the header\"\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(found.as_deref(), Some(want));
    }

    #[test]
    fn unclean_values_are_not_repeated() {
        for bad in ["\0", "a\rVia: b", "a\nTo: b", "a\r\n b\nTo: c", "a\r\n b\0"] {
            let found = answer(&format!(
                "OPTIONS sip:b SIP/2.0\r\n{FIELDS}v: {bad}\r\n\r\n"
            ));
            let found = found.unwrap();
            assert_eq!(found.matches("SIP/2.0/TLS").count(), 2, "{bad:?}: {found}");
            assert!(!found.contains(['\0']) && found.matches("To:").count() == 1);
        }
    }

    #[test]
    fn nobody_is_answered_who_could_not_understand_it() {
        for head in [
            "",
            "\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "ACK sip:b SIP/2.0\r\nVia: SIP/2.0/TLS h\r\n\r\n",
            "SIP/7.0 200 OK\r\nVia: SIP/2.0/TLS h\r\n\r\n",
            "OPTIONS sip:b SIP/2.0\r\nTo: <sip:b>\r\n\r\n",
            "OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/TLS h",
            "\u{16}\u{3} x\r\nVia: SIP/2.0/TLS h\r\n\r\n",
        ] {
            assert_eq!(answer(head), None, "{head:?}");
        }
        let long = format!(
            "OPTIONS sip:b SIP/2.0\r\nVia: {}\r\n\r\n",
            "a".repeat(BYTES_MAX)
        );
        assert!(answer(&format!("{long}\r\n")).is_some());
        let long = long.replace("Via: ", "Via: aa");
        assert_eq!(answer(&long), None);
    }
}
