//! SIP URIs (RFC 3261 §19.1).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::class::number;
use memchr::memchr;

use crate::header::Params;

/// A URI that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URI is malformed")]
pub struct UriError;

/// The host of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name.
    Name(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

impl Host<'_> {
    /// Adds the host in lower case to a text.
    pub fn write_lower_case(&self, text: &mut String) {
        use fmt::Write;
        let from = text.len();
        // Writing to a string does not fail.
        let _ = write!(text, "{self}");
        if let Some(host) = text.get_mut(from..) {
            host.make_ascii_lowercase();
        }
    }

    /// Whether the host in lower case is this text.
    pub fn is_lower_case(&self, text: &[u8]) -> bool {
        match self {
            Host::Name(name) => {
                let same = |(ours, theirs): (u8, &u8)| ours.to_ascii_lowercase() == *theirs;
                name.len() == text.len() && name.bytes().zip(text).all(same)
            }
            // Few are addresses.
            address => address.to_string().as_bytes() == text,
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(n) => f.write_str(n),
            Host::V4(a) => a.fmt(f),
            Host::V6(a) => write!(f, "[{a}]"),
        }
    }
}

/// A SIP or SIPS URI.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// `sip` or `sips`, in the case it came.
    pub scheme: &'a [u8],
    /// The user part, escapes still in it.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The host.
    pub host: Host<'a>,
    /// The port.
    pub port: Option<u16>,
    /// `;name=value` parameters.
    pub params: Params<'a>,
    /// What follows the question mark.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a `sip:` or `sips:` URI.
    ///
    /// # Errors
    /// [`UriError`], also for other schemes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, UriError> {
        Self::read(bytes).ok_or(UriError)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let colon = bytes.iter().position(|b| *b == b':')?;
        let scheme = bytes.get(..colon)?;
        if scheme != b"sip"
            && !scheme.eq_ignore_ascii_case(b"sip")
            && !scheme.eq_ignore_ascii_case(b"sips")
        {
            return None;
        }
        let rest = bytes.get(colon + 1..)?;
        // The user part may hold `;` and `?`, but nothing a second `@` (RFC 3261 §25.1): two
        // readers could find two hosts in it.
        let (userinfo, rest) = match memchr(b'@', rest) {
            Some(at) => (Some(rest.get(..at)?), rest.get(at + 1..)?),
            None => (None, rest),
        };
        if memchr(b'@', rest).is_some() {
            return None;
        }
        let (user, password) = match userinfo {
            None => (None, None),
            Some(info) => match info.iter().position(|b| *b == b':') {
                Some(at) => (Some(info.get(..at)?), Some(info.get(at + 1..)?)),
                None => (Some(info), None),
            },
        };
        if user.is_some_and(<[u8]>::is_empty) {
            return None;
        }
        let question = memchr(b'?', rest);
        let headers = question.and_then(|q| rest.get(q + 1..)).unwrap_or_default();
        let rest = rest.get(..question.unwrap_or(rest.len()))?;
        let semicolon = memchr(b';', rest);
        let params = semicolon
            .and_then(|s| rest.get(s + 1..))
            .unwrap_or_default();
        let (host, port) = host_port(rest.get(..semicolon.unwrap_or(rest.len()))?)?;
        Some(Uri {
            scheme,
            user,
            password,
            host,
            port,
            params: Params::of(params),
            headers,
        })
    }

    /// Whether every byte of a URI, of whatever scheme, is one that RFC 3261 §25.1 or RFC 3986 §2
    /// let stand there, escapes are whole, and no parameter has an escaped name; `#` passes, which
    /// telephones dial without escaping it. Strangers are held to it: what call control cannot
    /// read may cost others their connection.
    pub fn is_clean(bytes: &[u8]) -> bool {
        let stands = |b: u8| b.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&b);
        let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        let whole = |(at, b): (usize, &u8)| *b != b'%' || (hex(at + 1) && hex(at + 2));
        if !bytes.iter().all(|b| stands(*b)) || !bytes.iter().enumerate().all(whole) {
            return false;
        }
        let at = memchr(b'@', bytes).map_or(0, |at| at + 1);
        let rest = bytes.get(at..).unwrap_or_default();
        let rest = rest.split(|b| *b == b'?').next().unwrap_or_default();
        let mut names = rest.split(|b| *b == b';').skip(1);
        names.all(|p| {
            !p.split(|b| *b == b'=')
                .next()
                .unwrap_or_default()
                .contains(&b'%')
        })
    }

    /// A parameter's value: nothing inside if it has none.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.get(name)
    }

    /// Whether the scheme is `sips`.
    pub fn is_sips(&self) -> bool {
        self.scheme.len() == 4
    }

    /// Whether two URIs are equal (RFC 3261 §19.1.4).
    pub fn same(&self, other: &Uri<'_>) -> bool {
        let host = match (self.host, other.host) {
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a.to_string() == b.to_string(),
        };
        let one_way = |a: &Uri<'_>, b: &Uri<'_>| {
            a.params
                .iter()
                .all(|(name, value)| match b.params.get(name) {
                    Some(v) => v.eq_ignore_ascii_case(value.unwrap_or_default()),
                    None => !["transport", "user", "ttl", "method", "maddr"]
                        .iter()
                        .any(|n| name.eq_ignore_ascii_case(n.as_bytes())),
                })
        };
        self.is_sips() == other.is_sips()
            && self.user.map(unescape) == other.user.map(unescape)
            && self.password == other.password
            && host
            && self.port == other.port
            && self.headers == other.headers
            && (self.params.raw() == other.params.raw()
                || one_way(self, other) && one_way(other, self))
    }
}

/// Reads `host[:port]`, IPv6 in brackets.
pub(crate) fn host_port(bytes: &[u8]) -> Option<(Host<'_>, Option<u16>)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':')?),
            };
            // RFC 3261's grammar let three colons stand where two do (RFC 5118 §4.10).
            let address = inside
                .parse()
                .or_else(|_| inside.replacen(":::", "::", 1).parse());
            (Host::V6(address.ok()?), port)
        }
        None => {
            let (host, port) = match memchr(b':', bytes) {
                Some(at) => (text.get(..at)?, text.get(at + 1..)),
                None => (text, None),
            };
            let name = !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
            // Only what begins with a digit can be an address.
            let digit = host.as_bytes().first().is_some_and(u8::is_ascii_digit);
            let host = match digit.then(|| host.parse()) {
                Some(Ok(v4)) => Host::V4(v4),
                _ if name => Host::Name(host),
                _ => return None,
            };
            (host, port)
        }
    };
    let port = match port {
        None => None,
        Some(port) => Some(number(port.as_bytes()).and_then(|n| u16::try_from(n).ok())?),
    };
    Some((host, port))
}

/// Undoes `%xx`.
pub fn unescape(bytes: &[u8]) -> Vec<u8> {
    let hex = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [a, b, tail @ ..]) => match (hex(*a), hex(*b)) {
                (Some(a), Some(b)) => {
                    out.push(a << 4 | b);
                    rest = tail;
                }
                _ => {
                    out.push(b'%');
                    rest = after;
                }
            },
            (b, tail) => {
                out.push(*b);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_taken_apart() {
        let u = Uri::parse(b"sip:al;ice%40x:pw@[2001:db8::1]:5061;transport=tls;lr?a=b").unwrap();
        assert_eq!(u.user, Some(&b"al;ice%40x"[..]));
        assert_eq!(u.password, Some(&b"pw"[..]));
        assert_eq!(u.host.to_string(), "[2001:db8::1]");
        assert_eq!(
            (u.port, u.param(b"transport"), u.param(b"LR")),
            (Some(5061), Some(&b"tls"[..]), Some(&b""[..]))
        );
        assert_eq!(u.headers, b"a=b");
        for bad in [
            "tel:+1",
            "sip:",
            "sip:@h",
            "sip:a@h:99999",
            "sip:a@[::1",
            "sip:a@b c",
            "sip:1100@192.0.2.1:8080;x=@example.com",
            "sip:1100@192.0.2.1?x=@example.com",
            "sip:a@b@example.com",
        ] {
            assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_bytes_of_the_grammar_are_clean() {
        for good in [
            "sip:*72#1100;phone-context=x@example.com:5060;transport=tcp?Subject=a%20b",
            "sips:al;ice%40x:pw@[2001:db8::1]",
            "tel:+1-201-555-0123;phone-context=example.com",
            "urn:service:sos.fire",
        ] {
            assert!(Uri::is_clean(good.as_bytes()), "{good}");
        }
        for bad in [
            "sip:a@example.com;m%61ddr=192.0.2.1",
            "sip:a@example.com;x=%",
            "sip:a@example.com;x=%4",
            "sip:11{}00@example.com",
            "sip:a|b@example.com",
            "sip:<a>@example.com",
            "sip:a\u{e9}@example.com",
        ] {
            assert!(!Uri::is_clean(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn equality_follows_rfc_3261_19_1_4() {
        let same = |a: &str, b: &str| {
            Uri::parse(a.as_bytes())
                .unwrap()
                .same(&Uri::parse(b.as_bytes()).unwrap())
        };
        assert!(same(
            "sip:%61lice@atlanta.com;transport=TCP",
            "sip:alice@AtLanTa.CoM;Transport=tcp"
        ));
        assert!(same(
            "sip:carol@chicago.com",
            "sip:carol@chicago.com;newparam=5"
        ));
        assert!(!same("SIP:ALICE@AtLanTa.CoM", "sip:alice@AtLanTa.CoM"));
        assert!(!same("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"));
        assert!(!same(
            "sip:bob@biloxi.com",
            "sip:bob@biloxi.com;transport=udp"
        ));
    }
}
