//! Values of headers, read when asked for (RFC 3261 §20, §25.1).

use memchr::{memchr, memchr2, memchr3};

use crate::HeaderError;
use crate::class::{
    below, equal, has_no_uri_byte, is_sent_by, is_token, is_token_byte, number, until,
};

/// Takes blanks and line ends off both ends.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// The comma-separated elements of one field; commas inside quotes and angle brackets do not
/// separate.
pub(crate) struct Values<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Values<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Values { rest: Some(value) }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let end = split(rest, b',');
            let value = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            self.rest = end.and_then(|e| rest.get(e + 1..));
            let value = trim(value);
            if !value.is_empty() {
                return Some(value);
            }
        }
    }
}

/// Where the first `mark` outside quotes and angle brackets stands.
fn split(bytes: &[u8], mark: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr3(mark, b'"', b'<', bytes.get(at..)?)?;
        match bytes.get(at)? {
            b'"' if mark != b'"' => at = after_quoted(bytes, at + 1)?,
            b'<' if mark != b'<' => at += 1 + memchr(b'>', bytes.get(at..)?)?,
            _ => return Some(at),
        }
    }
}

/// Where the quoted string ends that `at` lies in: after its closing quote.
fn after_quoted(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// A parameter's name and its value.
type Parameter<'a> = (&'a [u8], Option<&'a [u8]>);

/// The first parameter and what follows it, if it is as parameters mostly are: a token, perhaps
/// with a value that is a quoted string or has neither blanks, quotes nor angle brackets. It ends
/// with the bytes, at a semicolon or, in a `LIST`, at a comma.
#[inline(always)]
fn usual<const LIST: bool>(bytes: &[u8]) -> Option<(Parameter<'_>, &[u8])> {
    let end = until(bytes, |word| {
        equal(word, b'=') | equal(word, b';') | if LIST { equal(word, b',') } else { 0 }
    });
    let (name, rest) = bytes.split_at_checked(end)?;
    if !is_token(name) {
        return None;
    }
    let (value, rest) = match rest {
        [b'=', b'"', ..] => {
            let end = after_quoted(rest, 2)?;
            (Some(rest.get(1..end)?), rest.get(end..)?)
        }
        [b'=', rest @ ..] => {
            let end = until(rest, |word| {
                let odd = below(word, b' ' + 1) | equal(word, b';');
                let odd = odd | equal(word, b'"') | equal(word, b'<');
                odd | if LIST { equal(word, b',') } else { 0 }
            });
            (Some(rest.get(..end)?), rest.get(end..)?)
        }
        _ => (None, rest),
    };
    match rest.first() {
        None | Some(b';') => Some(((name, value), rest)),
        Some(b',') if LIST => Some(((name, value), rest)),
        _ => None,
    }
}

/// The first parameter and what follows its semicolon, if it is as parameters mostly are.
fn plain(bytes: &[u8]) -> Option<(Parameter<'_>, &[u8])> {
    let (parameter, rest) = usual::<false>(bytes)?;
    Some((parameter, rest.get(1..).unwrap_or_default()))
}

/// One address as most are, in angle brackets and without a display name, at the front of a list:
/// what follows its comma. Nothing if it is bad, or has to be looked at more closely.
#[inline]
pub(crate) fn after_address(list: &[u8]) -> Option<&[u8]> {
    let inner = list.strip_prefix(b"<")?;
    let close = memchr(b'>', inner)?;
    if !is_uri(inner.get(..close)?) {
        return None;
    }
    let mut rest = inner.get(close + 1..)?;
    loop {
        match rest {
            [] => return Some(rest),
            [b',', left @ ..] => return Some(left.trim_ascii_start()),
            [b';', left @ ..] => {
                let ((_, value), left) = usual::<true>(left)?;
                if value.is_some_and(<[u8]>::is_empty) {
                    return None;
                }
                rest = left;
            }
            _ => return None,
        }
    }
}

/// `;name=value` parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Params(bytes)
    }

    /// Each name with its value, quotes still on it.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                if let Some((parameter, left)) = plain(rest) {
                    rest = left;
                    return Some(parameter);
                }
                let end = split(rest, b';').unwrap_or(rest.len());
                let one = trim(rest.get(..end).unwrap_or_default());
                rest = rest.get(end + 1..).unwrap_or_default();
                if one.is_empty() {
                    continue;
                }
                return Some(match split(one, b'=') {
                    Some(eq) => (
                        trim(one.get(..eq).unwrap_or_default()),
                        Some(trim(one.get(eq + 1..).unwrap_or_default())),
                    ),
                    None => (one, None),
                });
            }
        })
    }

    /// Whether each has a token for a name and, if it has a value, a good one, which may be nothing
    /// unless there must be `values`; and the first that is called `wanted`, as [`Params::get`]
    /// gives it.
    fn judge(self, values: bool, wanted: &[u8]) -> Option<Option<&'a [u8]>> {
        let (mut rest, mut found) = (self.0, None);
        let mut note = |name: &[u8], value: Option<&'a [u8]>| {
            if found.is_none() && name.eq_ignore_ascii_case(wanted) {
                found = Some(value.unwrap_or_default());
            }
        };
        while let Some(((name, value), left)) = plain(rest) {
            if values && value.is_some_and(<[u8]>::is_empty) {
                return None;
            }
            note(name, value);
            rest = left;
        }
        if !rest.is_empty() {
            for (name, value) in Params(rest).iter() {
                let good = |value: &[u8]| is_value(value) || (!values && value.is_empty());
                if !is_token(name) || !value.is_none_or(good) {
                    return None;
                }
                note(name, value);
            }
        }
        Some(found)
    }

    /// A parameter's value: nothing inside if it has none.
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.unwrap_or_default())
    }

    /// The bytes from the first semicolon's follower on.
    pub fn raw(self) -> &'a [u8] {
        self.0
    }
}

/// An address with an optional display name and parameters.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// The display name, quotes still on it.
    pub display: &'a [u8],
    /// The URI.
    pub uri: &'a [u8],
    /// What follows the URI.
    pub params: Params<'a>,
    tag: Option<&'a [u8]>,
}

impl<'a> NameAddr<'a> {
    /// Reads `"Name" <uri>;params` or `uri;params`. In the second form parameters belong to the
    /// header (RFC 3261 §20.10).
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        Self::tolerant(value).filter(Self::is_strict)
    }

    /// Whether the display name follows its grammar.
    pub(crate) fn is_strict(&self) -> bool {
        is_display(self.display)
    }

    /// As [`NameAddr::parse`], with a display name of any bytes: some write names without the
    /// quotes they need.
    #[inline]
    pub(crate) fn tolerant(value: &'a [u8]) -> Option<Self> {
        let open = match value.first() {
            Some(b'<') => Some(0),
            _ => angle(value),
        };
        let (display, uri, rest) = match open {
            Some(open) => {
                let display = trim(value.get(..open)?);
                let inner = value.get(open + 1..)?;
                let close = memchr(b'>', inner)?;
                (display, inner.get(..close)?, inner.get(close + 1..)?)
            }
            None => {
                let end = memchr(b';', value).unwrap_or(value.len());
                let uri = trim(value.get(..end)?);
                // Commas, semicolons and question marks need the brackets (RFC 3261 §20).
                if memchr2(b'?', b',', uri).is_some() {
                    return None;
                }
                (&b""[..], uri, value.get(end..)?)
            }
        };
        if !is_uri(uri) {
            return None;
        }
        let rest = trim(rest);
        let params = match rest.split_first() {
            None => &b""[..],
            Some((b';', params)) => params,
            Some(_) => return None,
        };
        let params = Params(params);
        Some(NameAddr {
            display,
            uri,
            params,
            tag: params.judge(true, b"tag")?,
        })
    }

    /// Parts that were read before.
    pub(crate) fn of_parts([display, uri, params]: [&'a [u8]; 3], tag: Option<&'a [u8]>) -> Self {
        NameAddr {
            display,
            uri,
            params: Params(params),
            tag,
        }
    }

    /// The tag parameter.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.tag
    }

    /// A parameter's value: nothing inside if it has none.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.get(name)
    }
}

/// Where the first `<` outside quotes stands.
fn angle(value: &[u8]) -> Option<usize> {
    split(value, b'<')
}

/// A quoted string, or tokens with blanks between them; bytes above 127 pass.
fn is_display(display: &[u8]) -> bool {
    match display {
        [] => true,
        [b'"', inner @ .., b'"'] => is_quoted(inner),
        tokens => tokens
            .iter()
            .all(|b| *b >= 128 || b.is_ascii_whitespace() || is_token_byte(*b)),
    }
}

/// Whether bytes may stand between quotes: no quote that is not escaped, no backslash at the end.
fn is_quoted(inner: &[u8]) -> bool {
    if memchr2(b'"', b'\\', inner).is_none() {
        return true;
    }
    let mut escaped = false;
    for b in inner {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return false,
            _ => {}
        }
    }
    !escaped
}

/// A scheme, a colon and something without blanks or brackets.
fn is_uri(uri: &[u8]) -> bool {
    let more = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let Some(colon) = uri.iter().position(|b| !more(b)) else {
        return false;
    };
    uri.first().is_some_and(u8::is_ascii_alphabetic)
        && uri.get(colon) == Some(&b':')
        && uri.len() > colon + 1
        && !has_no_uri_byte(uri)
}

/// A parameter's value: a quoted string, or anything without blanks.
fn is_value(value: &[u8]) -> bool {
    match value {
        [b'"', inner @ .., b'"'] => is_quoted(inner),
        plain => !plain.is_empty() && !plain.iter().any(|b| *b <= b' ' || *b == b'"'),
    }
}

/// A value of Contact.
#[derive(Clone, Copy, Debug)]
pub enum Contact<'a> {
    /// `*`.
    Star,
    /// An address.
    Address(NameAddr<'a>),
}

impl<'a> Contact<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// [`HeaderError::Malformed`].
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        if value == b"*" {
            return Ok(Contact::Star);
        }
        NameAddr::parse(value)
            .map(Contact::Address)
            .ok_or(HeaderError::Malformed("Contact"))
    }
}

/// CSeq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number, below 2³¹ (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method as it came.
    pub method: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// Reads a value.
    ///
    /// # Errors
    /// [`HeaderError::Malformed`].
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let bad = HeaderError::Malformed("CSeq");
        // As it mostly is: few digits, one blank, a token.
        if let Some(blank @ 1..10) = value.iter().position(|b| !b.is_ascii_digit())
            && let Some((digits, [b' ', method @ ..])) = value.split_at_checked(blank)
            && is_token(method)
        {
            let number = digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
            return Ok(CSeq { number, method });
        }
        let mut parts = value
            .split(u8::is_ascii_whitespace)
            .filter(|p| !p.is_empty());
        let (Some(n), Some(method), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad);
        };
        let n = number(n)
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n < 1 << 31 && is_token(method));
        Ok(CSeq {
            number: n.ok_or(bad)?,
            method,
        })
    }
}

/// A Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    raw: &'a [u8],
    transport: &'a [u8],
    sent_by: &'a [u8],
    params: Params<'a>,
    branch: Option<&'a [u8]>,
}

impl<'a> Via<'a> {
    /// Reads a value; blanks may stand around the slashes (RFC 4475 §3.1.1.1).
    ///
    /// # Errors
    /// [`HeaderError::Malformed`].
    pub fn parse(raw: &'a [u8]) -> Result<Self, HeaderError> {
        Self::read(raw).ok_or(HeaderError::Malformed("Via"))
    }

    fn read(raw: &'a [u8]) -> Option<Self> {
        let rest = match raw.strip_prefix(b"SIP/2.0/") {
            Some(rest) => rest,
            None => {
                let (protocol, rest) = cut(raw, b'/')?;
                let (version, rest) = cut(rest, b'/')?;
                if !protocol.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
                    return None;
                }
                rest
            }
        };
        let rest = trim(rest);
        let blank = rest.iter().position(u8::is_ascii_whitespace)?;
        let (transport, rest) = rest.split_at_checked(blank)?;
        let end = memchr(b';', rest).unwrap_or(rest.len());
        let sent_by = trim(rest.get(..end)?);
        let params = Params(rest.get(end + 1..).unwrap_or_default());
        if !is_token(transport) || !is_sent_by(sent_by) {
            return None;
        }
        Some(Via {
            raw,
            transport,
            sent_by,
            params,
            branch: params.judge(false, b"branch")?,
        })
    }

    /// Parts that were read before, as [`Via::parts`] gives them, and the branch.
    pub(crate) fn of_parts(
        [raw, transport, sent_by, params]: [&'a [u8]; 4],
        branch: Option<&'a [u8]>,
    ) -> Self {
        Via {
            raw,
            transport,
            sent_by,
            params: Params(params),
            branch,
        }
    }

    /// All of it, the transport, the sent-by, the parameters.
    pub(crate) fn parts(&self) -> [&'a [u8]; 4] {
        [self.raw, self.transport, self.sent_by, self.params.0]
    }

    /// The value as it came.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// `UDP`, `TCP`, `TLS`, …
    pub fn transport(&self) -> &'a [u8] {
        self.transport
    }

    /// `host` or `host:port`.
    pub fn sent_by(&self) -> &'a [u8] {
        self.sent_by
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.branch
    }

    /// A parameter's value: nothing inside if it has none.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.get(name)
    }
}

fn cut(bytes: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(mark, bytes)?;
    Some((trim(bytes.get(..at)?), bytes.get(at + 1..)?))
}
