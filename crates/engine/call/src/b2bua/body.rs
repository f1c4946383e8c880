//! Where a message keeps its session description: as the whole body, or as one part of a
//! multipart body (RFC 5621, RFC 2046 §5.1). Everything around it passes untouched.
//!
//! What anybody could read as a description is at one place that is read and edited here, or the
//! message is taken for unreadable and refused: readers differ in what they make of a broken body.
//! Bounds: `DEPTH_MAX` bodies in one another; each byte is looked at a few times for each.

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

/// Where in the body the session description is; `None` if there is none, or if it cannot be read
/// and edited for certain.
pub fn description(message: &Message) -> Option<Range<usize>> {
    match find(message) {
        Found::One(range) => Some(range),
        Found::Nothing | Found::Hidden => None,
    }
}

/// Whether the message carries a description, or what anybody could take for one.
pub fn carries_description(message: &Message) -> bool {
    !matches!(find(message), Found::Nothing)
}

/// What a body holds.
enum Found {
    Nothing,
    /// One description, at a place that every reader finds.
    One(Range<usize>),
    /// Something that one reader takes for a description and another does not: more than one, an
    /// encoded one, one in a broken or unclosed part, or one of no type.
    Hidden,
}

/// Multipart bodies in one another that are read.
const DEPTH_MAX: usize = 4;

fn find(message: &Message) -> Found {
    let body = message.body();
    if body.is_empty() {
        return Found::Nothing;
    }
    let mut kinds = message.fields_of(Name::ContentType);
    let (kind, doubled) = (kinds.next().unwrap_or_default(), kinds.next().is_some());
    let is_sdp = message.fields_of(Name::ContentType).any(is_description);
    if is_sdp {
        let plain = !doubled && !message.fields().any(|f| is_encoding(f.name, f.value));
        return if plain {
            Found::One(0..body.len())
        } else {
            Found::Hidden
        };
    }
    let mut parts = Parts::default();
    if is_multipart(kind) && !doubled {
        parts.read(body, 0..body.len(), kind, DEPTH_MAX);
    }
    match (parts.found, parts.broken) {
        (Some((head, content)), false) => {
            let outside = [body.get(..head), body.get(content.end..)];
            match outside.into_iter().flatten().any(looks_like_one) {
                true => Found::Hidden,
                false => Found::One(content),
            }
        }
        (None, false) if !looks_like_one(body) => Found::Nothing,
        (None, true) if !looks_like_one(body) => Found::Nothing,
        _ => Found::Hidden,
    }
}

/// A media type without blanks and folds, which may stand around its slash, and without parameters.
fn media_type(kind: &[u8]) -> impl Iterator<Item = u8> {
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default();
    let bytes = kind.iter().filter(|b| !b.is_ascii_whitespace());
    bytes.map(u8::to_ascii_lowercase)
}

fn is_description(kind: &[u8]) -> bool {
    media_type(kind).eq(b"application/sdp".iter().copied())
}

fn is_multipart(kind: &[u8]) -> bool {
    media_type(kind).take(10).eq(b"multipart/".iter().copied())
}

/// Whether a field says that the content is not what its bytes look like.
fn is_encoding(name: &[u8], value: &[u8]) -> bool {
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    let plain: [&[u8]; 3] = [b"7bit", b"8bit", b"binary"];
    let transfer = is("content-transfer-encoding");
    let plain = plain.iter().any(|p| value.eq_ignore_ascii_case(p));
    is("content-encoding") || is("e") || (transfer && !plain)
}

/// The boundary of a multipart body (RFC 2046 §5.1.1), if exactly one is given.
fn boundary(kind: &[u8]) -> Option<Vec<u8>> {
    let (mut found, mut rest) = (None, after(kind, b';')?);
    loop {
        let equals = rest.iter().position(|b| matches!(b, b'=' | b';'))?;
        let name = rest.get(..equals)?.trim_ascii();
        let mut value = Vec::new();
        if rest.get(equals) == Some(&b'=') {
            let raw = rest.get(equals + 1..)?.trim_ascii_start();
            let (read, left) = parameter_value(raw)?;
            (value, rest) = (read, left);
        } else {
            rest = rest.get(equals..)?;
        }
        if name.eq_ignore_ascii_case(b"boundary") && found.replace(value).is_some() {
            return None;
        }
        match after(rest, b';') {
            Some(more) if more.contains(&b'=') => rest = more,
            _ => break,
        }
    }
    found.filter(|b| !b.is_empty() && b.len() <= 70)
}

fn after(text: &[u8], byte: u8) -> Option<&[u8]> {
    let at = text.iter().position(|b| *b == byte)?;
    text.get(at + 1..)
}

/// A parameter's value, a token or a quoted string, and what follows it.
fn parameter_value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    if text.first() != Some(&b'"') {
        let end = text.iter().position(|b| *b == b';').unwrap_or(text.len());
        return Some((text.get(..end)?.trim_ascii().to_vec(), text.get(end..)?));
    }
    let (mut value, mut at) = (Vec::new(), 1);
    loop {
        match text.get(at)? {
            b'"' => return Some((value, text.get(at + 1..)?)),
            b'\\' => {
                value.push(*text.get(at + 1)?);
                at += 2;
            }
            byte => {
                value.push(*byte);
                at += 1;
            }
        }
    }
}

/// The lines of a text, each with where it begins and ends without its CRLF.
fn lines(body: &[u8], within: Range<usize>) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let (mut at, end) = (within.start, within.end);
    std::iter::from_fn(move || {
        let rest = body.get(at..end).filter(|r| !r.is_empty())?;
        let length = memchr::memmem::find(rest, b"\r\n");
        let (from, to) = (at, length.map_or(end, |n| at + n));
        at = length.map_or(end, |n| at + n + 2);
        Some((from, to, body.get(from..to)?))
    })
}

/// The parts of a multipart body, read in one pass a depth.
#[derive(Default)]
struct Parts {
    /// Where the header of the only description's part begins, and its content.
    found: Option<(usize, Range<usize>)>,
    /// There is a second description, or one of which another reader may think otherwise.
    broken: bool,
    /// Bytes of lines that were looked at.
    #[cfg(test)]
    steps: usize,
}

impl Parts {
    fn read(&mut self, body: &[u8], within: Range<usize>, kind: &[u8], depth: usize) {
        let Some(boundary) = boundary(kind) else {
            self.broken = true;
            return;
        };
        let delimiter = [b"--", boundary.as_slice()].concat();
        let (mut part, mut closed) = (None, false);
        for (from, to, line) in lines(body, within) {
            #[cfg(test)]
            {
                self.steps += line.len() + 2;
            }
            let Some(rest) = line.strip_prefix(delimiter.as_slice()) else {
                continue;
            };
            let last = rest.starts_with(b"--");
            let rest = rest.strip_prefix(b"--").unwrap_or(rest);
            // Behind a delimiter stands nothing but blanks. Another reader ends a part here.
            self.broken |= closed || rest.iter().any(|b| !matches!(b, b' ' | b'\t'));
            if let Some(begin) = part.take() {
                // The CRLF before a delimiter belongs to it.
                let end = from.saturating_sub(2).max(begin);
                self.part(body, begin..end, depth);
            }
            closed |= last;
            part = (!last).then_some((to + 2).min(body.len()));
        }
        self.broken |= !closed;
    }

    /// Reads one part: its header, and what it holds.
    fn part(&mut self, body: &[u8], within: Range<usize>, depth: usize) {
        let mut content = None;
        let mut header: Vec<Vec<u8>> = Vec::new();
        for (_, to, line) in lines(body, within.clone()) {
            #[cfg(test)]
            {
                self.steps += line.len() + 2;
            }
            // Another reader would end a line here, or the header.
            let bare = line.iter().any(|b| matches!(b, b'\r' | b'\n'));
            match line.first() {
                None => {
                    content = Some((to + 2).min(within.end)..within.end);
                    break;
                }
                Some(b' ' | b'\t') => match header.last_mut() {
                    Some(last) => last.extend_from_slice(line),
                    None => self.broken = true,
                },
                Some(_) => header.push(line.to_vec()),
            }
            self.broken |= bare;
        }
        let (mut kind, mut kinds, mut encoded) = (Vec::new(), 0, false);
        for line in &header {
            let Some(colon) = line.iter().position(|b| *b == b':') else {
                continue;
            };
            let (name, value) = line.split_at_checked(colon).unwrap_or_default();
            let (name, value) = (name.trim_ascii(), value.get(1..).unwrap_or_default());
            encoded |= is_encoding(name, value.trim_ascii());
            if name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"c") {
                kinds += 1;
                kind = value.trim_ascii().to_vec();
            }
        }
        let Some(content) = content else { return };
        if is_multipart(&kind) && kinds == 1 && depth > 1 {
            // One that is encoded, or is too deep, is looked at as text.
            return self.read(body, content, &kind, depth - 1);
        }
        if is_description(&kind) {
            let second = self.found.is_some();
            self.broken |= second || encoded || kinds > 1;
            self.found = Some((within.start, content));
        }
    }
}

/// Whether a reader who is less exact may find a description here: a line that begins one, a
/// line of media, or the type.
fn looks_like_one(text: &[u8]) -> bool {
    let typed = memchr::memchr_iter(b'/', text).any(|at| {
        let (before, after) = text.split_at_checked(at).unwrap_or_default();
        let before = before.trim_ascii_end();
        let after = after.get(1..).unwrap_or_default().trim_ascii_start();
        let main = before.len().checked_sub(11).and_then(|n| before.get(n..));
        main.is_some_and(|m| m.eq_ignore_ascii_case(b"application"))
            && after
                .get(..3)
                .is_some_and(|s| s.eq_ignore_ascii_case(b"sdp"))
    });
    let begins = |line: &[u8]| matches!(line, [b'v' | b'm', b'=', ..]);
    typed || text.split(|b| matches!(b, b'\r' | b'\n')).any(begins)
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
            ("text/plain", "hello\r\n", None),
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

    const SDP: &str = "v=0\r\nm=audio 1 RTP/AVP 0\r\n";

    fn parts(head: &str) -> String {
        format!("--b1\r\n{head}\r\n{SDP}\r\n--b1--\r\n")
    }

    #[test]
    fn description_that_readers_may_differ_on_is_hidden() {
        const TYPE: &str = "Content-Type: application/sdp\r\n";
        let (b1, plain) = ("multipart/mixed;boundary=b1", parts(TYPE));
        let second = plain.replacen("--b1--\r\n", &plain, 1);
        let deep = |n: usize| {
            let part = |inner: String, n: usize| {
                let kind = format!("Content-Type: multipart/mixed;boundary=n{n}");
                format!(
                    "--n{}\r\n{kind}\r\n\r\n{inner}\r\n--n{}--\r\n",
                    n + 1,
                    n + 1
                )
            };
            let inner = plain.replace("b1", "n0");
            (0..n).fold(inner, part)
        };
        let long = "b".repeat(71);
        let read: [(&str, String); 7] = [
            (b1, plain.clone()),
            (b1, parts("Content-Type:\r\n application/sdp\r\n")),
            (b1, parts("content-type : Application / SDP ;x=y\r\n")),
            (
                "multipart/mixed; x=\"a;boundary=zz\"; BOUNDARY = \"b1\"",
                plain.clone(),
            ),
            ("multipart/mixed;boundary=\"b\\1\";y", plain.clone()),
            ("multipart/mixed;boundary=n2", deep(2)),
            (b1, plain.replace("--b1\r\n", "--b1 \t\r\n")),
        ];
        for (kind, body) in read {
            let range =
                description(&message(kind, &body)).unwrap_or_else(|| panic!("{kind} {body}"));
            assert_eq!(&body[range], SDP, "{kind}");
        }
        let table: [(&str, String); 21] = [
            ("x/y", SDP.into()),
            ("text/plain\r\nContent-Type: application/sdp", SDP.into()),
            ("application/sdp\r\nc: text/plain", SDP.into()),
            ("application/sdp\r\ne: gzip", SDP.into()),
            (
                "application/sdp\r\nContent-Transfer-Encoding: base64",
                "djA=".into(),
            ),
            (
                b1,
                parts("Content-Transfer-Encoding: base64\r\nContent-Type: application/sdp\r\n"),
            ),
            (b1, parts("")),
            (
                b1,
                parts("Content-Type: application/sdp\r\nContent-Type: text/plain\r\n"),
            ),
            (b1, second.clone()),
            ("multipart/alternative;boundary=b1", second),
            ("multipart/mixed;boundary=zz;boundary=b1", plain.clone()),
            ("multipart/mixed", plain.clone()),
            (
                &format!("multipart/mixed;boundary={long}"),
                plain.replace("b1", &long),
            ),
            (b1, plain.replace("\r\n", "\n")),
            (b1, plain.replace("--b1--\r\n", "")),
            (b1, format!("{plain}{SDP}")),
            (b1, format!("{SDP}{plain}")),
            (b1, format!("--b1X\r\n\r\nx\r\n{plain}")),
            (
                "message/sip",
                format!("INVITE a SIP/2.0\r\n{TYPE}\r\n{SDP}"),
            ),
            ("multipart/mixed;boundary=n5", deep(5)),
            (
                b1,
                parts(&format!("X: y\n\n{}{TYPE}", SDP.replace('\r', ""))),
            ),
        ];
        for (kind, body) in table {
            let message = message(kind, &body);
            assert_eq!(description(&message), None, "{kind} {body}");
            assert!(carries_description(&message), "{kind} {body}");
        }
    }

    #[test]
    fn body_without_a_description_passes() {
        let parts = parts("Content-Type: text/plain\r\n").replace(SDP, "hello, m=x v=0");
        for (kind, body) in [
            ("text/plain", "hello"),
            (
                "application/x-cisco-remotecc-request+xml",
                "<a>application/x</a>\r\n",
            ),
            ("multipart/mixed;boundary=b1", parts.as_str()),
            ("multipart/mixed", parts.as_str()),
        ] {
            assert!(!carries_description(&message(kind, body)), "{kind}");
        }
    }

    #[test]
    fn work_on_a_body_grows_with_its_length_and_no_faster() {
        let shapes = [
            "--b\r\n",
            "--b\r\n\r\n",
            "--b\r\nContent-Type: a\r\n",
            "--b\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n",
            "--bx\r\n",
            "--b--\r\n",
            "\r\n",
            "a:\r\n ",
            " / ",
        ];
        for shape in shapes {
            let steps = |n: usize| {
                let body = shape.repeat(n);
                let mut parts = Parts::default();
                let kind = b"multipart/mixed;boundary=b";
                parts.read(body.as_bytes(), 0..body.len(), kind, DEPTH_MAX);
                parts.steps
            };
            let (once, twice) = (steps(1000), steps(2000));
            assert!(twice <= 2 * once + 100, "{shape:?}: {once} {twice}");
            assert!(
                once <= 3 * DEPTH_MAX * shape.len() * 1000,
                "{shape:?}: {once}"
            );
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
