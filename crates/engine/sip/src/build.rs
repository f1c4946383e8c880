//! Messages of our own.

use bytes::Bytes;

use crate::{Message, Method, Name};

/// Room for the head of nearly every message that we write.
const HEAD_BYTES: usize = 960;

fn status_line(status: u16, reason: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(HEAD_BYTES);
    line.extend_from_slice(b"SIP/2.0 ");
    line.extend_from_slice(Digits::of(status.into()).as_ref());
    for part in [" ", reason, "\r\n"] {
        line.extend_from_slice(part.as_bytes());
    }
    line
}

/// Writes a request.
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl RequestBuilder {
    /// Begins with the request line.
    pub fn new(method: impl AsRef<[u8]>, uri: impl AsRef<[u8]>) -> Self {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        for part in [method.as_ref(), b" ", uri.as_ref(), b" SIP/2.0\r\n"] {
            head.extend_from_slice(part);
        }
        RequestBuilder {
            head,
            body: Vec::new(),
        }
    }

    /// Adds a field at the end.
    #[must_use]
    pub fn header(mut self, name: Name, value: impl AsRef<[u8]>) -> Self {
        field(&mut self.head, name, value.as_ref());
        self
    }

    /// Adds a field under a name as it came from elsewhere.
    #[must_use]
    pub fn raw_header(mut self, name: &[u8], value: &[u8]) -> Self {
        raw(&mut self.head, name, value);
        self
    }

    /// Sets the body and its type.
    #[must_use]
    pub fn body(mut self, content_type: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        field(&mut self.head, Name::ContentType, content_type.as_ref());
        self.body = body.as_ref().to_vec();
        self
    }

    /// The message.
    pub fn build(self) -> Message {
        finish(self.head, &self.body)
    }
}

/// Writes a response.
#[derive(Clone, Debug)]
pub struct ResponseBuilder {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl ResponseBuilder {
    /// Begins with the status line and nothing else.
    pub(crate) fn bare(status: u16, reason: &str) -> Self {
        ResponseBuilder {
            head: status_line(status, reason),
            body: Vec::new(),
        }
    }

    pub(crate) fn new(request: &Message, status: u16, reason: &str, to_tag: &str) -> Self {
        let mut head = status_line(status, reason);
        let dialog = matches!(
            request.method(),
            Method::Invite | Method::Subscribe | Method::Refer | Method::Notify
        ) && status > 100
            && status < 300;
        for f in request.fields() {
            match f.id {
                Name::Via | Name::From | Name::CallId | Name::CSeq => {
                    raw(&mut head, f.name, f.value);
                }
                Name::RecordRoute if dialog => raw(&mut head, f.name, f.value),
                Name::To => {
                    let tagged = request.to().is_ok_and(|to| to.tag().is_some());
                    if tagged || to_tag.is_empty() || status == 100 {
                        raw(&mut head, f.name, f.value);
                    } else {
                        let value = [f.value, b";tag=", to_tag.as_bytes()].concat();
                        raw(&mut head, f.name, &value);
                    }
                }
                _ => {}
            }
        }
        ResponseBuilder {
            head,
            body: Vec::new(),
        }
    }

    /// Adds a field at the end.
    #[must_use]
    pub fn header(mut self, name: Name, value: impl AsRef<[u8]>) -> Self {
        field(&mut self.head, name, value.as_ref());
        self
    }

    /// Adds a field under a name as it came from elsewhere.
    #[must_use]
    pub fn raw_header(mut self, name: &[u8], value: &[u8]) -> Self {
        raw(&mut self.head, name, value);
        self
    }

    /// Sets the body and its type.
    #[must_use]
    pub fn body(mut self, content_type: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        field(&mut self.head, Name::ContentType, content_type.as_ref());
        self.body = body.as_ref().to_vec();
        self
    }

    /// The message.
    pub fn build(self) -> Message {
        finish(self.head, &self.body)
    }
}

fn field(head: &mut Vec<u8>, name: Name, value: &[u8]) {
    raw(head, name.as_str().as_bytes(), value);
}

/// A number in decimal, off the heap.
pub(crate) struct Digits {
    digits: [u8; 20],
    /// Where they begin.
    from: usize,
}

impl Digits {
    pub(crate) fn of(mut number: usize) -> Digits {
        let (mut digits, mut from) = ([0; 20], 20);
        loop {
            from -= 1;
            if let Some(digit) = digits.get_mut(from) {
                *digit = b'0' + (number % 10) as u8;
            }
            number /= 10;
            if number == 0 || from == 0 {
                return Digits { digits, from };
            }
        }
    }
}

impl AsRef<[u8]> for Digits {
    fn as_ref(&self) -> &[u8] {
        self.digits.get(self.from..).unwrap_or_default()
    }
}

/// Writes a field; line ends inside a value (a fold, or worse) become blanks.
fn raw(head: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    let from = head.len();
    head.extend_from_slice(value);
    if memchr::memchr2(b'\r', b'\n', value).is_some() {
        for byte in head.iter_mut().skip(from) {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }
    head.extend_from_slice(b"\r\n");
}

fn finish(mut head: Vec<u8>, body: &[u8]) -> Message {
    head.reserve(40 + body.len());
    head.extend_from_slice(b"Content-Length: ");
    head.extend_from_slice(Digits::of(body.len()).as_ref());
    head.extend_from_slice(b"\r\n\r\n");
    head.extend_from_slice(body);
    match Message::unbounded(Bytes::from(head)) {
        Ok(message) => message,
        // The start line was ours and malformed: a reader gets what cannot be mistaken.
        Err(_) => unbuildable(),
    }
}

/// Stands for a message that was asked for with a malformed method or URI.
fn unbuildable() -> Message {
    const BYTES: &[u8] = b"SIP/2.0 500 Server Internal Error\r\nContent-Length: 0\r\n\r\n";
    #[allow(clippy::expect_used)]
    Message::unbounded(Bytes::from_static(BYTES)).expect("a constant")
}
