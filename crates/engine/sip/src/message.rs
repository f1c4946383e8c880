//! A message: one buffer, and where its parts lie (RFC 3261 §7).
//!
//! In: the bytes of one whole message. Out: spans into those bytes; values are read when asked
//! for. Nothing is copied, and what is not edited ([`crate::Edit`]) leaves as it came: order,
//! case, folding, compact names, bytes that are no UTF-8. Bounds: [`Limits`].

use bytes::Bytes;
use memchr::memchr;
use smallvec::SmallVec;

use crate::header::{CSeq, Contact, NameAddr, Values, Via, trim};
use crate::name::{Name, UNKNOWN};
use crate::{Edit, HeaderError, Limits, Method, ParseError, ResponseBuilder, Strictness};

/// One header field's place in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Where the name begins.
    pub(crate) start: u32,
    /// Where the name ends.
    pub(crate) name_end: u32,
    /// Where the value begins, after the colon.
    pub(crate) value: u32,
    /// After the last CRLF of the field.
    pub(crate) end: u32,
    pub(crate) name: u8,
}

/// A request or a response.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    /// Method end and request URI end, or 0 and the status.
    start: Start,
    pub(crate) head_end: u32,
    pub(crate) spans: SmallVec<[Span; 24]>,
    body_end: u32,
    /// After the start line's CRLF.
    pub(crate) first: u32,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Request {
        method: Method,
        method_end: u32,
        uri_end: u32,
    },
    Response {
        status: u16,
    },
}

/// One header field.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The name as it came.
    pub name: &'a [u8],
    /// The name if it is known; [`Name::Other`] with nothing if not.
    pub id: Name,
    /// The value, without the blanks around it; folds are still in it.
    pub value: &'a [u8],
    /// Its number in the message, from 0.
    pub index: usize,
}

impl Message {
    /// Reads one whole message. Bytes after the body that Content-Length tells are cut off
    /// (RFC 3261 §18.3).
    ///
    /// # Errors
    /// [`ParseError`], whose [`ParseError::status`] is the answer.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
        let mut message = Message::head(bytes, limits)?;
        message.check(limits)?;
        let rest = message.bytes.len() - message.head_end as usize;
        let length = match message.content_length()? {
            None => rest,
            Some(n) if n > limits.body_bytes_max => return Err(ParseError::Limit("body")),
            Some(n) if n > rest => return Err(ParseError::Short),
            Some(n) => n,
        };
        if length > limits.body_bytes_max {
            return Err(ParseError::Limit("body"));
        }
        message.body_end = message.head_end + length as u32;
        message.bytes.truncate(message.body_end as usize);
        Ok(message)
    }

    /// Finds the parts of the start line and header without judging them.
    pub(crate) fn head(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
        let line_end = find_crlf(&bytes, 0).ok_or(ParseError::StartLine)?;
        let start = start_line(bytes.get(..line_end).unwrap_or_default())?;
        let first = line_end + 2;
        let mut spans = SmallVec::new();
        let mut at = first;
        let mut folds = 0;
        loop {
            let end = find_crlf(&bytes, at).ok_or(ParseError::HeaderLine)?;
            if end == at {
                at += 2;
                break;
            }
            let line = bytes.get(at..end).unwrap_or_default();
            if has_control(line) {
                return Err(ParseError::Control);
            }
            if matches!(line.first(), Some(b' ' | b'\t')) {
                folds += 1;
                let last: &mut Span = spans.last_mut().ok_or(ParseError::HeaderLine)?;
                last.end = (end + 2) as u32;
                if folds > limits.folds_max {
                    return Err(ParseError::Limit("the number of folded lines"));
                }
            } else {
                if spans.len() >= limits.fields_max {
                    return Err(ParseError::Limit("the number of header fields"));
                }
                spans.push(field(line, at, end)?);
            }
            at = end + 2;
            if at > limits.head_bytes_max {
                return Err(ParseError::Limit("the header"));
            }
        }
        let body_end = bytes.len() as u32;
        Ok(Message {
            bytes,
            start,
            head_end: at as u32,
            spans,
            body_end,
            first: first as u32,
        })
    }

    /// What every message must have, once, and readable (RFC 3261 §8.1.1).
    fn check(&self, limits: &Limits) -> Result<(), ParseError> {
        if self.values(Name::Via).take(limits.vias_max + 1).count() > limits.vias_max {
            return Err(ParseError::Limit("the number of Via values"));
        }
        for (name, word) in [
            (Name::From, "From"),
            (Name::To, "To"),
            (Name::CallId, "Call-ID"),
            (Name::CSeq, "CSeq"),
            (Name::MaxForwards, "Max-Forwards"),
        ] {
            match self.fields().filter(|f| f.id == name).take(2).count() {
                0 if name != Name::MaxForwards => return Err(ParseError::Missing(word)),
                2 => return Err(ParseError::Repeated(word)),
                _ => {}
            }
        }
        let malformed = |e: HeaderError| match e {
            HeaderError::Missing(n) => ParseError::Missing(n),
            HeaderError::Malformed(n) => ParseError::Header(n),
        };
        self.top_via().map_err(malformed)?;
        self.from().map_err(malformed)?;
        self.to().map_err(malformed)?;
        let cseq = self.cseq().map_err(malformed)?;
        if self.is_request() && cseq.method != self.method_bytes() {
            return Err(ParseError::Header("CSeq"));
        }
        if self.call_id().is_empty() {
            return Err(ParseError::Header("Call-ID"));
        }
        if limits.strictness == Strictness::Outside {
            self.max_forwards().map_err(malformed)?;
            self.expires().map_err(malformed)?;
            if self.vias().any(|v| v.is_err()) {
                return Err(ParseError::Header("Via"));
            }
            if self.contacts().any(|c| c.is_err()) {
                return Err(ParseError::Header("Contact"));
            }
        }
        Ok(())
    }

    /// The number in Content-Length; several must agree.
    pub(crate) fn content_length(&self) -> Result<Option<usize>, ParseError> {
        let mut found = None;
        for field in self.fields().filter(|f| f.id == Name::ContentLength) {
            let digits = field.value;
            if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
                return Err(ParseError::ContentLength);
            }
            let n = digits.iter().fold(0, |n, d| n * 10 + usize::from(d - b'0'));
            if found.is_some_and(|f| f != n) {
                return Err(ParseError::ContentLength);
            }
            found = Some(n);
        }
        Ok(found)
    }

    /// The whole message as it goes on the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn slice(&self, from: u32, to: u32) -> &[u8] {
        self.bytes
            .get(from as usize..to as usize)
            .unwrap_or_default()
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method: of the request line, or of a response's CSeq.
    pub fn method(&self) -> Method {
        match self.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => Method::of(self.method_bytes()),
        }
    }

    /// The method as it came.
    pub fn method_bytes(&self) -> &[u8] {
        match self.start {
            Start::Request { method_end, .. } => self.slice(0, method_end),
            Start::Response { .. } => self.cseq().map_or(b"", |c| c.method),
        }
    }

    /// The request URI; nothing for a response.
    pub fn request_uri(&self) -> &[u8] {
        match self.start {
            Start::Request {
                method_end,
                uri_end,
                ..
            } => self.slice(method_end + 1, uri_end),
            Start::Response { .. } => b"",
        }
    }

    /// Where the request URI lies.
    pub(crate) fn request_uri_span(&self) -> Option<(u32, u32)> {
        match self.start {
            Start::Request {
                method_end,
                uri_end,
                ..
            } => Some((method_end + 1, uri_end)),
            Start::Response { .. } => None,
        }
    }

    /// The status; 0 for a request.
    pub fn status(&self) -> u16 {
        match self.start {
            Start::Request { .. } => 0,
            Start::Response { status } => status,
        }
    }

    /// The reason phrase; nothing for a request.
    pub fn reason(&self) -> &[u8] {
        match self.start {
            Start::Request { .. } => b"",
            Start::Response { .. } => self.slice(12, self.first.saturating_sub(2)).trim_ascii(),
        }
    }

    pub(crate) fn value_of(&self, span: &Span) -> &[u8] {
        trim(self.slice(span.value, span.end))
    }

    pub(crate) fn is_named(&self, span: &Span, name: Name) -> bool {
        match name {
            Name::Other(other) => {
                span.name == UNKNOWN
                    && self
                        .slice(span.start, span.name_end)
                        .eq_ignore_ascii_case(other.as_bytes())
            }
            known => span.name == known.index(),
        }
    }

    /// All header fields in order.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'_>> {
        self.spans.iter().enumerate().map(|(index, span)| Field {
            name: self.slice(span.start, span.name_end),
            id: Name::at(span.name),
            value: self.value_of(span),
            index,
        })
    }

    /// The value of the first field of a name.
    pub fn header(&self, name: Name) -> Option<&[u8]> {
        self.spans
            .iter()
            .find(|s| self.is_named(s, name))
            .map(|s| self.value_of(s))
    }

    /// The comma-separated elements of all fields of a name, in order.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.spans
            .iter()
            .filter(move |s| self.is_named(s, name))
            .flat_map(|s| Values::new(self.value_of(s)))
    }

    /// The topmost Via.
    ///
    /// # Errors
    /// [`HeaderError`] if there is none, or it cannot be read.
    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        Via::parse(
            self.values(Name::Via)
                .next()
                .ok_or(HeaderError::Missing("Via"))?,
        )
    }

    /// All Vias, the topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.values(Name::Via).map(Via::parse)
    }

    fn address(&self, name: Name, word: &'static str) -> Result<NameAddr<'_>, HeaderError> {
        let value = self.header(name).ok_or(HeaderError::Missing(word))?;
        NameAddr::parse(value).ok_or(HeaderError::Malformed(word))
    }

    /// From.
    ///
    /// # Errors
    /// [`HeaderError`] if there is none, or it cannot be read.
    #[allow(clippy::should_implement_trait)]
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(Name::From, "From")
    }

    /// To.
    ///
    /// # Errors
    /// [`HeaderError`] if there is none, or it cannot be read.
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(Name::To, "To")
    }

    /// Contact values in order.
    pub fn contacts(&self) -> impl Iterator<Item = Result<Contact<'_>, HeaderError>> {
        self.values(Name::Contact).map(Contact::parse)
    }

    fn addresses(
        &self,
        name: Name,
        word: &'static str,
    ) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(name)
            .map(move |v| NameAddr::parse(v).ok_or(HeaderError::Malformed(word)))
    }

    /// Route values in order.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(Name::Route, "Route")
    }

    /// Record-Route values in order.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(Name::RecordRoute, "Record-Route")
    }

    /// Path values in order.
    pub fn paths(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(Name::Path, "Path")
    }

    /// Call-ID; nothing if it is absent.
    pub fn call_id(&self) -> &[u8] {
        self.header(Name::CallId).unwrap_or_default()
    }

    /// CSeq.
    ///
    /// # Errors
    /// [`HeaderError`] if there is none, or it cannot be read.
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        CSeq::parse(
            self.header(Name::CSeq)
                .ok_or(HeaderError::Missing("CSeq"))?,
        )
    }

    /// Max-Forwards.
    ///
    /// # Errors
    /// [`HeaderError`] if it is no number from 0 to 255.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        let Some(value) = self.header(Name::MaxForwards) else {
            return Ok(None);
        };
        let n = number(value).and_then(|n| u8::try_from(n).ok());
        n.map(Some).ok_or(HeaderError::Malformed("Max-Forwards"))
    }

    /// Expires, in seconds; what is larger than 32 bits counts as the largest (RFC 4475 §3.1.2.4
    /// is refused by its CSeq).
    ///
    /// # Errors
    /// [`HeaderError`] if it is no number.
    pub fn expires(&self) -> Result<Option<u32>, HeaderError> {
        let Some(value) = self.header(Name::Expires) else {
            return Ok(None);
        };
        number(value)
            .map(|n| Some(u32::try_from(n).unwrap_or(u32::MAX)))
            .ok_or(HeaderError::Malformed("Expires"))
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.slice(self.head_end, self.body_end)
    }

    /// Content-Type.
    pub fn content_type(&self) -> Option<&[u8]> {
        self.header(Name::ContentType)
    }

    /// Begins to change a copy.
    pub fn edit(&self) -> Edit<'_> {
        Edit::new(self)
    }

    /// Begins a response to this request: Via, From, To with `to_tag` if it has none, Call-ID
    /// and CSeq are copied (RFC 3261 §8.2.6); Record-Route too, for what makes a dialog.
    pub fn reply(&self, status: u16, reason: &str, to_tag: &str) -> ResponseBuilder {
        ResponseBuilder::new(self, status, reason, to_tag)
    }
}

/// A decimal number of at most 20 digits; larger ones saturate.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0u64, |n, d| {
        n.saturating_mul(10).saturating_add(u64::from(d - b'0'))
    }))
}

/// The next CRLF from `at` on; a bare LF before it is left in for the caller to see.
fn find_crlf(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let lf = at + memchr(b'\n', bytes.get(at..)?)?;
        if lf > 0 && bytes.get(lf - 1) == Some(&b'\r') {
            return Some(lf - 1);
        }
        at = lf + 1;
    }
}

/// Whether a bare CR or LF, or a NUL that is no quoted pair (RFC 4475 §3.1.1.2), stands in a line.
fn has_control(line: &[u8]) -> bool {
    let bare = |b: &u8| matches!(b, b'\n' | b'\r');
    line.iter().any(bare)
        || memchr(0, line).is_some_and(|first| {
            let pair = |i: usize| i > 0 && line.get(i - 1) == Some(&b'\\');
            line.iter()
                .enumerate()
                .skip(first)
                .any(|(i, b)| *b == 0 && !pair(i))
        })
}

fn start_line(line: &[u8]) -> Result<Start, ParseError> {
    if line.iter().any(|b| matches!(b, b'\n' | b'\r' | 0)) {
        return Err(ParseError::Control);
    }
    if line
        .get(..4)
        .is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/"))
    {
        if !line
            .get(..8)
            .is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/2.0 "))
        {
            return Err(ParseError::Version);
        }
        let status = line.get(8..11).ok_or(ParseError::StartLine)?;
        if !status.iter().all(u8::is_ascii_digit) || !matches!(line.get(11), Some(b' ') | None) {
            return Err(ParseError::StartLine);
        }
        let status = status.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
        if !(100..700).contains(&status) {
            return Err(ParseError::StartLine);
        }
        return Ok(Start::Response { status });
    }
    let mut parts = line.split(|b| *b == b' ');
    let (method, uri, version) = (parts.next(), parts.next(), parts.next());
    let (Some(method), Some(uri), Some(version)) = (method, uri, version) else {
        return Err(ParseError::StartLine);
    };
    if parts.next().is_some() || uri.is_empty() || !is_token(method) {
        return Err(ParseError::StartLine);
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        let sip = version
            .get(..4)
            .is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/"));
        return Err(if sip {
            ParseError::Version
        } else {
            ParseError::StartLine
        });
    }
    if uri
        .iter()
        .any(|b| matches!(b, b'<' | b'>' | b'"') || *b <= b' ' || *b == 127)
    {
        return Err(ParseError::StartLine);
    }
    let method_end = method.len() as u32;
    Ok(Start::Request {
        method: Method::of(method),
        method_end,
        uri_end: method_end + 1 + uri.len() as u32,
    })
}

fn field(line: &[u8], at: usize, end: usize) -> Result<Span, ParseError> {
    let colon = memchr(b':', line).ok_or(ParseError::HeaderLine)?;
    // Blanks may stand before the colon (RFC 3261 §7.3.1): the name is what is before them.
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    if !is_token(name) {
        return Err(ParseError::HeaderLine);
    }
    Ok(Span {
        start: at as u32,
        name_end: (at + name.len()) as u32,
        value: (at + colon + 1) as u32,
        end: (end + 2) as u32,
        name: Name::find(name),
    })
}

/// Whether bytes are a token (RFC 3261 §25.1).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
                )
        })
}
