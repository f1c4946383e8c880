//! Where a message keeps its session description: as the whole body, or as one part of a
//! multipart body (RFC 5621). Everything around it passes untouched.

use std::ops::Range;

use sip::{Edit, Message, Name};

/// What the body of the moved message becomes.
pub enum Body<'a> {
    /// As it came.
    Same,
    /// None.
    Drop,
    /// As it came, but these bytes of it replaced.
    Replace(&'a Range<usize>, &'a [u8]),
}

impl Body<'_> {
    /// The message with this body.
    pub fn put(self, message: Message) -> Message {
        match self {
            Body::Same => message,
            body => {
                let mut edit = message.edit();
                body.write(&message, &mut edit);
                edit.finish()
            }
        }
    }

    /// Gives the message that is being edited this body.
    pub fn write(self, message: &Message, edit: &mut Edit<'_>) {
        match self {
            Body::Same => {}
            Body::Drop if message.body().is_empty() => {}
            Body::Drop => {
                edit.remove_body();
            }
            Body::Replace(range, new) => {
                edit.body_part(range.clone(), new);
            }
        }
    }
}

/// Where in the body the session description is; `None` if there is none.
pub fn description(message: &Message) -> Option<Range<usize>> {
    let body = message.body();
    if body.is_empty() {
        return None;
    }
    let kind = message.content_type()?;
    if is(kind, b"application/sdp") {
        // An encoded body cannot be read, and is nothing we can bridge.
        return message
            .header(Name::Other("Content-Encoding"))
            .is_none()
            .then_some(0..body.len());
    }
    if !media_type(kind)
        .get(..10)
        .is_some_and(|t| t.eq_ignore_ascii_case(b"multipart/"))
    {
        return None;
    }
    part(body, boundary(kind)?)
}

/// Whether the message carries a description, readable or not.
pub fn carries_description(message: &Message) -> bool {
    description(message).is_some()
        || (!message.body().is_empty()
            && message
                .content_type()
                .is_some_and(|kind| is(kind, b"application/sdp")))
}

fn media_type(kind: &[u8]) -> &[u8] {
    kind.split(|b| *b == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii()
}

fn is(kind: &[u8], wanted: &[u8]) -> bool {
    media_type(kind).eq_ignore_ascii_case(wanted)
}

fn boundary(kind: &[u8]) -> Option<&[u8]> {
    kind.split(|b| *b == b';').skip(1).find_map(|parameter| {
        let at = parameter.iter().position(|b| *b == b'=')?;
        let name = parameter.get(..at)?.trim_ascii();
        let value = parameter.get(at + 1..)?.trim_ascii();
        let value = value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""))
            .unwrap_or(value);
        (name.eq_ignore_ascii_case(b"boundary") && !value.is_empty() && value.len() <= 70)
            .then_some(value)
    })
}

/// The content of the first part that is a session description.
fn part(body: &[u8], boundary: &[u8]) -> Option<Range<usize>> {
    let delimiter = [b"--", boundary].concat();
    let mut at = find(body, &delimiter, 0)?;
    loop {
        let head = find(body, b"\r\n", at + delimiter.len())? + 2;
        let end = find(
            body,
            &[b"\r\n", delimiter.as_slice()].concat(),
            head.saturating_sub(2),
        )?;
        let content = find(body, b"\r\n\r\n", head.saturating_sub(2))? + 4;
        let lines = body.get(head..content)?.split(|b| *b == b'\n');
        let matches = lines.filter_map(|line| {
            let colon = line.iter().position(|b| *b == b':')?;
            let name = line.get(..colon)?.trim_ascii();
            let short = name.eq_ignore_ascii_case(b"c");
            (short || name.eq_ignore_ascii_case(b"content-type"))
                .then(|| line.get(colon + 1..))
                .flatten()
        });
        if content <= end
            && matches
                .into_iter()
                .any(|kind| is(kind.trim_ascii(), b"application/sdp"))
        {
            return Some(content..end);
        }
        at = end + 2;
    }
}

fn find(body: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let rest = body.get(from..)?;
    rest.windows(wanted.len())
        .position(|w| w == wanted)
        .map(|at| at + from)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(kind: &str, body: &str) -> Message {
        let text = format!(
            "INFO sip:b@x SIP/2.0\r\nVia: SIP/2.0/TLS u;branch=z9hG4bKq\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n\
             Call-ID: c\r\nCSeq: 1 INFO\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse(Bytes::from(text), &sip::Limits::default()).unwrap()
    }

    #[test]
    fn description_is_found_whole_or_in_a_part_and_replaced_in_place() {
        let parts = "--b1\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b1\r\n\
                     Content-Disposition: session\r\ncontent-type: application/SDP\r\n\r\nv=0\r\n\
                     \r\n--b1--\r\n";
        let table = [
            ("application/sdp", "v=0\r\n", Some("v=0\r\n")),
            ("Application/SDP;x=y", "v=0\r\n", Some("v=0\r\n")),
            ("multipart/mixed;boundary=b1", parts, Some("v=0\r\n")),
            ("multipart/mixed; boundary=\"b1\"", parts, Some("v=0\r\n")),
            ("multipart/mixed;boundary=b2", parts, None),
            ("multipart/mixed", parts, None),
            ("text/plain", "v=0\r\n", None),
        ];
        for (kind, body, expected) in table {
            let message = message(kind, body);
            let range = description(&message);
            let found = range.clone().map(|r| &body[r]);
            assert_eq!(found, expected, "{kind}");
            if let Some(range) = range {
                let new = Body::Replace(&range, b"v=1\r\n").put(message.clone());
                assert_eq!(new.body(), body.replace("v=0", "v=1").as_bytes());
            }
        }
    }

    #[test]
    fn broken_multipart_has_no_description_and_does_not_panic() {
        let whole = "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--";
        for end in 0..whole.len() {
            let _ = description(&message("multipart/mixed;boundary=b", &whole[..end]));
        }
    }
}
