//! Where the parts of a head lie: one pass over its bytes (RFC 3261 §7).
//!
//! In: bytes that begin with a start line. Out: a [`Head`] of spans. Values are not looked into.
//! Line ends are CRLF alone; a bare CR or LF, or a NUL that is no quoted pair, is refused, so that
//! no two readers can disagree about where a field ends.

use memchr::memchr;
use smallvec::SmallVec;

use crate::class::{below, has_no_uri_byte, is_token, is_token_byte, number};
use crate::name::{self, Name, UNKNOWN};
use crate::{Limits, Method, ParseError};

/// One header field's place in the buffer, in twelve bytes: a message has many and is moved often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Where the name begins.
    pub(crate) start: u32,
    /// After the last CRLF of the field.
    pub(crate) end: u32,
    /// Four numbers of a byte each, in one word, so that they are written at once: the name, how
    /// long it is if the colon follows it at once, the bytes between the colon and the value
    /// without the blanks around it, and the bytes between that value and `end`.
    shape: u32,
}

/// A length that has to be found in the bytes again.
const LONG: u32 = 255;

/// A length in one byte, if it fits.
#[inline(always)]
fn short(length: usize) -> u32 {
    length.min(LONG as usize) as u32
}

#[inline(always)]
fn shape(name: u8, length: u32, lead: u32, trail: u32) -> u32 {
    u32::from(name) | length << 8 | lead << 16 | trail << 24
}

impl Span {
    /// The name's place in the table of those that are known.
    #[inline(always)]
    pub(crate) fn name(&self) -> u8 {
        self.shape as u8
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.shape >> 8 & 255
    }

    #[inline(always)]
    fn lead(&self) -> u32 {
        self.shape >> 16 & 255
    }

    #[inline(always)]
    fn trail(&self) -> u32 {
        self.shape >> 24
    }

    /// Where the name ends, and where the value begins: after the colon.
    #[inline(always)]
    fn name_and_value(&self, bytes: &[u8]) -> (u32, u32) {
        if self.length() == LONG {
            return self.long_name(bytes);
        }
        let end = self.start + self.length();
        (end, end + 1)
    }

    #[cold]
    fn long_name(&self, bytes: &[u8]) -> (u32, u32) {
        let line = bytes.get(self.start as usize..self.end as usize);
        let line = line.unwrap_or_default();
        let colon = memchr(b':', line).unwrap_or(line.len());
        let name = line.get(..colon).unwrap_or_default();
        let blanks = name.iter().rev();
        let blanks = blanks.take_while(|b| matches!(b, b' ' | b'\t')).count();
        let colon = self.start + colon as u32;
        (colon - blanks as u32, colon + 1)
    }

    /// Where the name ends.
    #[inline]
    pub(crate) fn name_end(&self, bytes: &[u8]) -> u32 {
        self.name_and_value(bytes).0
    }

    /// Where the value begins, after the colon.
    #[inline]
    pub(crate) fn value(&self, bytes: &[u8]) -> u32 {
        self.name_and_value(bytes).1
    }

    /// The value without the blanks around it.
    #[inline(always)]
    pub(crate) fn trimmed(&self, bytes: &[u8]) -> (u32, u32) {
        let (length, lead, trail) = (self.length(), self.lead(), self.trail());
        if length == LONG || lead == LONG || trail == LONG {
            return self.long_value(bytes);
        }
        (self.start + length + 1 + lead, self.end - trail)
    }

    #[cold]
    fn long_value(&self, bytes: &[u8]) -> (u32, u32) {
        let value = self.value(bytes);
        let whole = bytes.get(value as usize..self.end as usize);
        let whole = whole.unwrap_or_default();
        let line = whole.get(..whole.len().saturating_sub(2));
        let (from, to) = match line {
            Some(line) if memchr(b'\n', line).is_none() => blanks_off(line),
            _ => folded(whole),
        };
        (value + from as u32, value + to as u32)
    }

    /// The same field elsewhere in a buffer.
    #[inline]
    pub(crate) fn moved(mut self, by: i64) -> Span {
        self.start = (i64::from(self.start) + by) as u32;
        self.end = (i64::from(self.end) + by) as u32;
        self
    }

    /// A field that goes on in another line.
    fn unfold(&mut self, bytes: &[u8], end: usize) {
        self.end = end as u32;
        let value = self.value(bytes) as usize;
        let whole = bytes.get(value..end).unwrap_or_default();
        let (from, to) = folded(whole);
        let (lead, trail) = (short(from), short(whole.len() - to));
        self.shape = shape(self.name(), self.length(), lead, trail);
    }
}

/// Where the value lies in what is between a colon and the line's end: without blanks around it.
#[inline(always)]
fn blanks_off(line: &[u8]) -> (usize, usize) {
    let blanks = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    // As a rule one blank before the value and none behind it.
    let mut from = 0;
    while blanks(line.get(from)) {
        from += 1;
    }
    let mut to = line.len();
    while to > from && blanks(line.get(to - 1)) {
        to -= 1;
    }
    (from, to)
}

/// The same for a value of several lines, line ends with it.
fn folded(whole: &[u8]) -> (usize, usize) {
    let left = whole.trim_ascii_start();
    let from = whole.len() - left.len();
    (from, from + left.trim_ascii_end().len())
}

/// The spans of a message, few enough to stay off the heap as a rule.
pub(crate) type Spans = SmallVec<[Span; 24]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Request {
        method: Method,
        method_end: u32,
        uri_end: u32,
    },
    Response {
        status: u16,
    },
}

/// Names whose first field is remembered: all of the table.
const REMEMBERED: usize = crate::name::KNOWN;

/// No field, or one behind the 254th.
const NONE: u8 = u8::MAX;

/// A start line and header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: Start,
    pub(crate) spans: Spans,
    /// After the start line's CRLF.
    pub(crate) first: u32,
    /// After the empty line.
    pub(crate) end: u32,
    /// The number of the first field of each remembered name.
    firsts: [u8; REMEMBERED],
    /// A bit for each remembered name that stands more than once.
    twice: u64,
}

impl Head {
    /// A head of nothing.
    pub(crate) fn empty() -> Head {
        Head {
            start: Start::Response { status: 0 },
            spans: SmallVec::new(),
            first: 0,
            end: 0,
            firsts: [NONE; REMEMBERED],
            twice: 0,
        }
    }

    /// Whether reading bytes of our own finds the same parts.
    pub(crate) fn is_that_of(&self, bytes: &[u8]) -> bool {
        let mut head = Head::empty();
        head.read(bytes, &Limits::unbounded()).is_ok() && head == *self
    }

    /// Reads a head into one of nothing; what follows it is not looked at.
    pub(super) fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), ParseError> {
        let line_end = line_end(bytes, 0, false)?.ok_or(ParseError::StartLine)?;
        let line = bytes.get(..line_end).unwrap_or_default();
        self.start = start_line(line, limits)?;
        let first = line_end + 2;
        self.first = first as u32;
        let (mut at, mut folds, mut count) = (first, 0, 0);
        loop {
            let end = line_end_of_field(bytes, at)?;
            if end == at {
                self.end = (at + 2) as u32;
                return Ok(());
            }
            if matches!(bytes.get(at), Some(b' ' | b'\t')) {
                folds += 1;
                let last = self.spans.last_mut().ok_or(ParseError::HeaderLine)?;
                last.unfold(bytes, end + 2);
                if folds > limits.folds_max {
                    return Err(ParseError::Limit("the number of folded lines"));
                }
            } else {
                if count >= limits.fields_max {
                    return Err(ParseError::Limit("the number of header fields"));
                }
                let span = field(bytes, at, end)?;
                self.remember(span.name(), count);
                self.spans.push(span);
                count += 1;
            }
            at = end + 2;
            if at > limits.head_bytes_max {
                return Err(ParseError::Limit("the header"));
            }
        }
    }

    /// The number in Content-Length of these bytes; several must agree.
    pub(crate) fn content_length(&self, bytes: &[u8]) -> Result<Option<usize>, ParseError> {
        let name = Name::ContentLength.index();
        if self.first_of(name).is_none() {
            return Ok(None);
        }
        let mut found = None;
        for span in self.all_of(name) {
            let (from, to) = span.trimmed(bytes);
            let digits = bytes.get(from as usize..to as usize).unwrap_or_default();
            let n = number(digits).filter(|_| digits.len() <= 9);
            let n = n.ok_or(ParseError::ContentLength)? as usize;
            if found.is_some_and(|f| f != n) {
                return Err(ParseError::ContentLength);
            }
            found = Some(n);
        }
        Ok(found)
    }

    /// Adds the field that follows.
    pub(crate) fn push(&mut self, span: Span) {
        self.remember(span.name(), self.spans.len());
        self.spans.push(span);
    }

    fn remember(&mut self, name: u8, number: usize) {
        let number = u8::try_from(number).unwrap_or(NONE);
        if let Some(first) = self.firsts.get_mut(usize::from(name)) {
            if *first == NONE {
                *first = number;
            } else {
                self.twice |= 1 << name;
            }
        }
    }

    pub(super) fn fields_len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is a field of a known name.
    pub(super) fn has(&self, name: u8) -> bool {
        self.first_of(name).is_some()
    }

    /// The first field of a known name.
    #[inline]
    pub(crate) fn first_of(&self, name: u8) -> Option<&Span> {
        match self.firsts.get(usize::from(name)) {
            Some(&NONE) if self.spans.len() < usize::from(NONE) => None,
            Some(&number) if number != NONE => self.spans.get(usize::from(number)),
            _ => self.spans.iter().find(|s| s.name() == name),
        }
    }

    /// The fields of a known name.
    pub(crate) fn all_of(&self, name: u8) -> impl Iterator<Item = &Span> {
        let first = match self.firsts.get(usize::from(name)) {
            Some(&NONE) if self.spans.len() < usize::from(NONE) => self.spans.len(),
            Some(&number) if number != NONE => usize::from(number),
            _ => 0,
        };
        let most = if self.is_repeated(name) {
            usize::MAX
        } else {
            1
        };
        let rest = self.spans.get(first..).unwrap_or_default().iter();
        rest.filter(move |s| s.name() == name).take(most)
    }

    /// Whether a field has a known name and is the only one that has.
    pub(crate) fn is_single(&self, span: &Span) -> bool {
        usize::from(span.name()) < REMEMBERED && !self.is_repeated(span.name())
    }

    /// Whether a remembered name stands more than once.
    pub(super) fn is_repeated(&self, name: u8) -> bool {
        1u64.checked_shl(name.into())
            .is_some_and(|bit| self.twice & bit != 0)
    }
}

#[inline(always)]
fn line_end_of_field(bytes: &[u8], at: usize) -> Result<usize, ParseError> {
    if let Some(rest) = bytes.get(at..)
        && let Some(found) = control(rest)
        && let Some([b'\r', b'\n', ..]) = rest.get(found..)
    {
        return Ok(at + found);
    }
    line_end(bytes, at, true)?.ok_or(ParseError::HeaderLine)
}

/// Where the line that begins at `at` has its CRLF. A NUL may stand in a header behind a backslash
/// (RFC 4475 §3.1.1.2).
#[inline(never)]
fn line_end(bytes: &[u8], at: usize, pairs: bool) -> Result<Option<usize>, ParseError> {
    let mut from = at;
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let Some(found) = control(rest).map(|n| from + n) else {
            return Ok(None);
        };
        match (bytes.get(found), bytes.get(found + 1)) {
            (Some(b'\r'), Some(b'\n')) => return Ok(Some(found)),
            (Some(b'\r'), None) => return Ok(None),
            (Some(0), _) if pairs && found > at && bytes.get(found - 1) == Some(&b'\\') => {
                from = found + 1;
            }
            (Some(byte), _) if !matches!(byte, b'\r' | b'\n' | 0) => from = found + 1,
            _ => return Err(ParseError::Control),
        }
    }
}

/// The first byte below 14: CR, LF and NUL are, and little else that comes. Eight at a time: most
/// lines are too short for a search that has to be called.
#[inline(always)]
fn control(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut at = 0;
    for block in blocks {
        // Sixteen at a time, if the compiler is any good.
        if !block.iter().fold(false, |any, byte| any | (*byte < 14)) {
            at += 32;
            continue;
        }
        let (words, _) = block.as_chunks::<8>();
        let &[a, b, c, d] = words else { return None };
        let (a, b, c, d) = (low(a), low(b), low(c), low(d));
        // Chosen without a branch: where a line ends is nothing that can be guessed.
        let (front, front_at) = if a != 0 { (a, at) } else { (b, at + 8) };
        let (back, back_at) = if c != 0 { (c, at + 16) } else { (d, at + 24) };
        let (word, word_at) = if a | b != 0 {
            (front, front_at)
        } else {
            (back, back_at)
        };
        return Some(word_at + word.trailing_zeros() as usize / 8);
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        let low = low(*word);
        if low != 0 {
            return Some(at + low.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    Some(at + rest.iter().position(|b| *b < 14)?)
}

/// The high bits of bytes below 14, of which the lowest one is right.
fn low(word: [u8; 8]) -> u64 {
    below(u64::from_le_bytes(word), 14)
}

fn start_line(line: &[u8], limits: &Limits) -> Result<Start, ParseError> {
    if let Some(start) = usual_request_line(line, limits) {
        return Ok(start);
    }
    let sip = |part: &[u8]| {
        part.get(..4)
            .is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/"))
    };
    if sip(line) {
        return status_line(line);
    }
    let space = |part: &[u8]| memchr(b' ', part);
    let method_end = space(line).ok_or(ParseError::StartLine)?;
    let (method, rest) = line.split_at_checked(method_end).unwrap_or_default();
    let rest = rest.get(1..).unwrap_or_default();
    let uri_length = space(rest).ok_or(ParseError::StartLine)?;
    let (uri, version) = rest.split_at_checked(uri_length).unwrap_or_default();
    let version = version.get(1..).unwrap_or_default();
    if space(version).is_some() || uri.is_empty() || !is_token(method) {
        return Err(ParseError::StartLine);
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(if sip(version) {
            ParseError::Version
        } else {
            ParseError::StartLine
        });
    }
    if has_no_uri_byte(uri) {
        return Err(ParseError::StartLine);
    }
    if uri.len() > limits.uri_bytes_max {
        return Err(ParseError::Limit("the Request-URI"));
    }
    Ok(Start::Request {
        method: Method::of(method),
        method_end: method_end as u32,
        uri_end: (method_end + 1 + uri_length) as u32,
    })
}

/// A request line as nearly all are: read in one go, and not judged if there is anything about it.
fn usual_request_line(line: &[u8], limits: &Limits) -> Option<Start> {
    let rest = line.strip_suffix(b" SIP/2.0")?;
    let method_end = rest.iter().position(|b| !is_token_byte(*b))?;
    let (method, uri) = rest.split_at_checked(method_end)?;
    let uri = uri.strip_prefix(b" ")?;
    if method.is_empty() || uri.is_empty() || uri.len() > limits.uri_bytes_max {
        return None;
    }
    if has_no_uri_byte(uri) {
        return None;
    }
    Some(Start::Request {
        method: Method::of(method),
        method_end: method_end as u32,
        uri_end: rest.len() as u32,
    })
}

fn status_line(line: &[u8]) -> Result<Start, ParseError> {
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
    Ok(Start::Response { status })
}

/// Where the name of a field ends, where its colon stands, and which name it is. Most are found in
/// a window of the buffer that has always the same size.
#[inline(always)]
fn field_name(bytes: &[u8], line: &[u8], at: usize) -> Result<(usize, usize, u8), ParseError> {
    if let Some(window) = bytes.get(at..).and_then(<[u8]>::first_chunk)
        && let Some(length) = name::colon(window)
        && length < line.len()
        && let Some(found) = Name::find_in(window, length)
    {
        return Ok((length, length, found));
    }
    let colon = line
        .iter()
        .position(|b| *b == b':')
        .ok_or(ParseError::HeaderLine)?;
    // Blanks may stand before the colon (RFC 3261 §7.3.1): the name is what is before them.
    let mut length = colon;
    while length > 0 && matches!(line.get(length - 1), Some(b' ' | b'\t')) {
        length -= 1;
    }
    let bytes = line.get(..length).unwrap_or_default();
    let name = Name::find(bytes);
    // A name that is known is a token.
    if name == UNKNOWN && !is_token(bytes) {
        return Err(ParseError::HeaderLine);
    }
    Ok((length, colon, name))
}

/// The field in the line from `at` to `end`.
#[inline(always)]
fn field(bytes: &[u8], at: usize, end: usize) -> Result<Span, ParseError> {
    let line = bytes.get(at..end).unwrap_or_default();
    let (length, colon, name) = field_name(bytes, line, at)?;
    let (from, to) = blanks_off(line.get(colon + 1..).unwrap_or_default());
    let length = if length == colon { short(length) } else { LONG };
    let trail = line.len() + 2 - (colon + 1 + to);
    Ok(Span {
        start: at as u32,
        end: (end + 2) as u32,
        shape: shape(name, length, short(from), short(trail)),
    })
}

/// The field that we wrote from `at` to the end of `bytes`; nothing if another reader would not
/// see exactly one there.
#[inline(never)]
pub(crate) fn written(bytes: &[u8], at: usize) -> Option<Span> {
    let end = line_end_of_field(bytes, at).ok()?;
    let whole = end + 2 == bytes.len() && end > at;
    if !whole || matches!(bytes.get(at), Some(b' ' | b'\t')) {
        return None;
    }
    field(bytes, at, end).ok()
}
