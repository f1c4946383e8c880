//! A message: one buffer, and where its parts lie (RFC 3261 §7).
//!
//! In: the bytes of one whole message. Out: spans into those bytes; values are read when asked
//! for. Nothing is copied, and what is not edited ([`crate::Edit`]) leaves as it came: order,
//! case, folding, compact names, bytes that are no UTF-8. Bounds: [`Limits`].

mod check;
mod facts;
mod scan;

use bytes::Bytes;

use crate::class::number;
use crate::header::{CSeq, Contact, NameAddr, Values, Via};
use crate::name::{Name, UNKNOWN};
use crate::{Edit, HeaderError, Limits, Method, ParseError, ResponseBuilder};
pub(crate) use facts::Facts;
pub(crate) use scan::{Head, Span, Start, written};

/// A request or a response.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    pub(crate) head: Head,
    body_end: u32,
    /// What was read when it was judged; nothing for a message of our own.
    facts: Facts,
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
    #[inline]
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
        let mut message = Message::empty();
        message.head.read(&bytes, limits)?;
        message.bytes = bytes;
        message.check(limits)?;
        let rest = message.bytes.len() - message.head.end as usize;
        let length = match message.content_length()? {
            None => rest,
            Some(n) if n > limits.body_bytes_max => return Err(ParseError::Limit("body")),
            Some(n) if n > rest => return Err(ParseError::Short),
            Some(n) => n,
        };
        if length > limits.body_bytes_max {
            return Err(ParseError::Limit("body"));
        }
        message.body_end = message.head.end + length as u32;
        message.bytes.truncate(message.body_end as usize);
        Ok(message)
    }

    /// Finds the parts of the head without judging them; the message has no bytes yet.
    #[inline(always)]
    pub(crate) fn head(bytes: &[u8], limits: &Limits) -> Result<Message, ParseError> {
        let mut message = Message::empty();
        message.head.read(bytes, limits)?;
        Ok(message)
    }

    #[inline(always)]
    fn empty() -> Message {
        Message {
            bytes: Bytes::new(),
            head: Head::empty(),
            body_end: 0,
            facts: Facts::NONE,
        }
    }

    /// Gives a head its bytes.
    pub(crate) fn with(mut self, bytes: Bytes) -> Message {
        self.body_end = bytes.len() as u32;
        self.bytes = bytes;
        self
    }

    /// What we wrote ourselves, not judged: it may be larger than what we take from others.
    pub(crate) fn unbounded(bytes: Bytes) -> Result<Message, ParseError> {
        Ok(Message::head(&bytes, &Limits::unbounded())?.with(bytes))
    }

    /// What we wrote ourselves, with its parts where we put them.
    pub(crate) fn of_parts(bytes: Bytes, head: Head, facts: Facts) -> Message {
        Message {
            body_end: bytes.len() as u32,
            bytes,
            head,
            facts,
        }
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether a fresh reading finds what is known of the parts of its fields.
    pub(crate) fn is_as_known(&self) -> bool {
        let unread = Message {
            facts: Facts::NONE,
            ..self.clone()
        };
        self.facts.are_those_of(&unread)
    }

    pub(crate) fn check(&mut self, limits: &Limits) -> Result<(), ParseError> {
        self.facts = check::check(self, limits)?;
        Ok(())
    }

    /// The number in Content-Length; several must agree.
    fn content_length(&self) -> Result<Option<usize>, ParseError> {
        self.head.content_length(&self.bytes)
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

    /// Its start line and header, in memory of their own.
    pub(crate) fn only_head(&self) -> Message {
        let head = self.slice(0, self.head.end);
        Message {
            bytes: Bytes::copy_from_slice(head),
            head: self.head.clone(),
            body_end: self.head.end,
            facts: self.facts,
        }
    }

    /// What it is and how large, for people.
    pub fn measure(&self) -> String {
        let what = match self.status() {
            0 => {
                let method = String::from_utf8_lossy(self.method_bytes());
                method.chars().take(16).collect()
            }
            status => status.to_string(),
        };
        let (whole, body) = (self.bytes.len(), self.body().len());
        let fields = self.fields_len();
        format!("{what} of {whole} bytes: {fields} header fields, {body} bytes of body")
    }

    /// How many header fields it has.
    pub(crate) fn fields_len(&self) -> usize {
        self.head.fields_len()
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.head.start, Start::Request { .. })
    }

    /// The method: of the request line, or of a response's CSeq.
    pub fn method(&self) -> Method {
        match self.head.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => Method::of(self.method_bytes()),
        }
    }

    /// The method as it came.
    pub fn method_bytes(&self) -> &[u8] {
        match self.head.start {
            Start::Request { method_end, .. } => self.slice(0, method_end),
            Start::Response { .. } => self.cseq().map_or(b"", |c| c.method),
        }
    }

    /// The request URI; nothing for a response.
    pub fn request_uri(&self) -> &[u8] {
        match self.head.start {
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
        match self.head.start {
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
        match self.head.start {
            Start::Request { .. } => 0,
            Start::Response { status } => status,
        }
    }

    /// The reason phrase; nothing for a request.
    pub fn reason(&self) -> &[u8] {
        match self.head.start {
            Start::Request { .. } => b"",
            Start::Response { .. } => self
                .slice(12, self.head.first.saturating_sub(2))
                .trim_ascii(),
        }
    }

    pub(crate) fn value_of(&self, span: &Span) -> &[u8] {
        let (from, to) = span.trimmed(&self.bytes);
        self.slice(from, to)
    }

    fn name_of(&self, span: &Span) -> &[u8] {
        self.slice(span.start, span.name_end(&self.bytes))
    }

    pub(crate) fn is_named(&self, span: &Span, name: Name) -> bool {
        match name {
            Name::Other(other) => {
                span.name() == UNKNOWN && self.name_of(span).eq_ignore_ascii_case(other.as_bytes())
            }
            known => span.name() == known.index(),
        }
    }

    /// All header fields in order.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'_>> {
        self.head
            .spans
            .iter()
            .enumerate()
            .map(|(index, span)| Field {
                name: self.name_of(span),
                id: Name::at(span.name()),
                value: self.value_of(span),
                index,
            })
    }

    /// The value of the first field of a name.
    #[inline]
    pub fn header(&self, name: Name) -> Option<&[u8]> {
        let span = match name {
            Name::Other(_) => self.head.spans.iter().find(|s| self.is_named(s, name)),
            known => self.head.first_of(known.index()),
        };
        span.map(|s| self.value_of(s))
    }

    /// The values of all fields of a known name, in order.
    pub fn fields_of(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        let spans = self.head.all_of(name.index());
        spans.map(|span| self.value_of(span))
    }

    /// The comma-separated elements of all fields of a name, in order.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        let (known, other) = match name {
            Name::Other(_) => (None, Some(self.head.spans.iter())),
            known => (Some(self.head.all_of(known.index())), None),
        };
        let other = other.into_iter().flatten();
        known
            .into_iter()
            .flatten()
            .chain(other.filter(move |s| self.is_named(s, name)))
            .flat_map(|s| Values::new(self.value_of(s)))
    }

    /// The topmost Via.
    ///
    /// # Errors
    /// [`HeaderError`] if there is none, or it cannot be read.
    #[inline]
    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        if let Some(via) = self.facts.via(&self.bytes) {
            return Ok(via);
        }
        let via = self.values(Name::Via).next();
        Via::parse(via.ok_or(HeaderError::Missing("Via"))?)
    }

    /// All Vias, the topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.values(Name::Via).map(Via::parse)
    }

    /// From or To, whether it is known already or not.
    fn read_address(&self, name: Name, word: &'static str) -> Result<NameAddr<'_>, HeaderError> {
        let value = self.header(name).ok_or(HeaderError::Missing(word))?;
        NameAddr::tolerant(value).ok_or(HeaderError::Malformed(word))
    }

    /// From.
    ///
    /// # Errors
    /// [`HeaderError`] if there is none, or it cannot be read.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        if let Some(from) = self.facts.from(&self.bytes) {
            return Ok(from);
        }
        self.read_address(Name::From, "From")
    }

    /// To.
    ///
    /// # Errors
    /// [`HeaderError`] if there is none, or it cannot be read.
    #[inline]
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        if let Some(to) = self.facts.to(&self.bytes) {
            return Ok(to);
        }
        self.read_address(Name::To, "To")
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
    #[inline]
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        if let Some(cseq) = self.facts.cseq(&self.bytes) {
            return Ok(cseq);
        }
        self.read_cseq()
    }

    fn read_cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        let value = self.header(Name::CSeq);
        CSeq::parse(value.ok_or(HeaderError::Missing("CSeq"))?)
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
        self.slice(self.head.end, self.body_end)
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
