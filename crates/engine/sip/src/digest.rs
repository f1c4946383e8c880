//! Digest authentication (RFC 7616, RFC 8760): MD5 and SHA-256, each also with `-sess`.
//!
//! We ask with `qop=auth`. An answer with `qop=auth-int` is checked against the body as it came
//! ([`verify_with_body`]); where bodies are rewritten on the way, as an edge does to session
//! descriptions, it cannot be right, and [`verify`] refuses it. What the digest was made for is
//! told by [`covers`]. Comparisons take the same time whatever they hold; [`Algorithm::nobody`]
//! stands for a user who is not known, so that he costs as much work as one who is.

use std::fmt;

use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::class::number;
use crate::header::Values;
use crate::{Uri, unescape};

/// H(A1) of nobody, of the longest algorithm.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// For clients that know no other (RFC 3261 §22).
    Md5,
    /// RFC 8760.
    Sha256,
}

impl Algorithm {
    /// As the wire names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    fn find(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"MD5") {
            Some(Algorithm::Md5)
        } else if name.eq_ignore_ascii_case(b"SHA-256") {
            Some(Algorithm::Sha256)
        } else {
            None
        }
    }

    /// As [`Algorithm::find`], and whether it is the variant for sessions.
    fn find_any(name: &[u8]) -> Option<(Self, bool)> {
        if let Some(found) = Algorithm::find(name) {
            return Some((found, false));
        }
        let (stem, end) = name.split_at_checked(name.len().checked_sub(5)?)?;
        let session = end.eq_ignore_ascii_case(b"-sess");
        session
            .then(|| Algorithm::find(stem))
            .flatten()
            .map(|a| (a, true))
    }

    /// What stands for H(A1) of a user who is not known: as long as one, and nobody's.
    pub fn nobody(self) -> &'static str {
        match self {
            Algorithm::Md5 => NOBODY.split_at(32).0,
            Algorithm::Sha256 => NOBODY,
        }
    }

    /// The hash in lower-case hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> String {
        let hex = |bytes: &[u8]| {
            let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
            digits
                .filter_map(|d| char::from_digit(d.into(), 16))
                .collect()
        };
        match self {
            Algorithm::Md5 => {
                let mut h = Md5::new();
                parts.iter().for_each(|p| h.update(p));
                hex(&h.finalize())
            }
            Algorithm::Sha256 => {
                let mut h = Sha256::new();
                parts.iter().for_each(|p| h.update(p));
                hex(&h.finalize())
            }
        }
    }
}

/// A challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Who asks.
    pub realm: String,
    /// What the answer is bound to.
    pub nonce: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// Whether the last answer was right but its nonce too old.
    pub stale: bool,
    /// Comes back as it is.
    pub opaque: Option<String>,
    /// Whether `qop=auth` is offered.
    pub qop: bool,
}

impl Challenge {
    /// A challenge with `qop=auth`.
    pub fn new(realm: &str, nonce: &str, algorithm: Algorithm, stale: bool) -> Self {
        Challenge {
            realm: realm.to_owned(),
            nonce: nonce.to_owned(),
            algorithm,
            stale,
            opaque: None,
            qop: true,
        }
    }

    /// Reads the value of a WWW-Authenticate or Proxy-Authenticate; `None` for other schemes and
    /// unknown algorithms.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let params = Params::of(value)?;
        let text = |v: &[u8]| String::from_utf8_lossy(v).into_owned();
        let algorithm = match params.get(b"algorithm") {
            None => Algorithm::Md5,
            Some(name) => Algorithm::find(name)?,
        };
        Some(Challenge {
            realm: text(params.get(b"realm")?),
            nonce: text(params.get(b"nonce")?),
            algorithm,
            stale: params
                .get(b"stale")
                .is_some_and(|s| s.eq_ignore_ascii_case(b"true")),
            opaque: params.get(b"opaque").map(text),
            qop: params.get(b"qop").is_some_and(|q| {
                q.split(|b| *b == b',')
                    .any(|q| q.trim_ascii().eq_ignore_ascii_case(b"auth"))
            }),
        })
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest realm=\"{}\", nonce=\"{}\", algorithm={}",
            quoted(&self.realm),
            self.nonce,
            self.algorithm.as_str()
        )?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque=\"{opaque}\"")?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        if self.qop {
            f.write_str(", qop=\"auth\"")
        } else {
            Ok(())
        }
    }
}

/// An answer to a challenge.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Who answers.
    pub username: &'a [u8],
    /// Whom.
    pub realm: &'a [u8],
    /// The challenge's.
    pub nonce: &'a [u8],
    /// The URI hashed.
    pub uri: &'a [u8],
    /// The proof, in hexadecimal.
    pub response: &'a [u8],
    /// The hash.
    pub algorithm: Algorithm,
    /// Client nonce and count, if there is a `qop`.
    pub qop: Option<(&'a [u8], &'a [u8])>,
    /// Whether the body is hashed too: `qop=auth-int`.
    pub body: bool,
    /// The client nonce of a `-sess` algorithm.
    pub session: Option<&'a [u8]>,
}

impl<'a> Credentials<'a> {
    /// Reads the value of an Authorization or Proxy-Authorization.
    ///
    /// # Errors
    /// [`DigestError`] if it is of another scheme, or something is missing.
    pub fn parse(value: &'a [u8]) -> Result<Self, DigestError> {
        Self::read(value).ok_or(DigestError)
    }

    fn read(value: &'a [u8]) -> Option<Self> {
        const NAMES: [&[u8]; 9] = [
            b"username",
            b"realm",
            b"nonce",
            b"uri",
            b"response",
            b"algorithm",
            b"qop",
            b"cnonce",
            b"nc",
        ];
        let found = Params::of(value)?.all(NAMES);
        let [
            username,
            realm,
            nonce,
            uri,
            response,
            algorithm,
            qop,
            cnonce,
            nc,
        ] = found;
        let (algorithm, session) = match algorithm {
            None => (Algorithm::Md5, false),
            Some(name) => Algorithm::find_any(name)?,
        };
        let session = match session {
            true => Some(cnonce?),
            false => None,
        };
        let body = qop.is_some_and(|q| q.eq_ignore_ascii_case(b"auth-int"));
        let qop = match qop {
            None => None,
            Some(q) if body || q.eq_ignore_ascii_case(b"auth") => {
                let (cnonce, nc) = (cnonce?, nc?);
                if nc.len() != 8 || !nc.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                Some((cnonce, nc))
            }
            Some(_) => return None,
        };
        Some(Credentials {
            username: username?,
            realm: realm?,
            nonce: nonce?,
            uri: uri?,
            response: response?,
            algorithm,
            qop,
            body,
            session,
        })
    }
}

/// The credentials cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the digest credentials are malformed")]
pub struct DigestError;

/// H(user:realm:password), in lower-case hexadecimal (RFC 7616 §3.4.2).
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> String {
    algorithm.hash(&[
        user.as_bytes(),
        b":",
        realm.as_bytes(),
        b":",
        password.as_bytes(),
    ])
}

fn response(c: &Credentials<'_>, method: &[u8], ha1: &str, body: &[u8]) -> String {
    let hash = |parts: &[&[u8]]| c.algorithm.hash(parts);
    // RFC 7616 §3.4.2: what is kept of a password makes the key of a session.
    let session = c
        .session
        .map(|cnonce| hash(&[ha1.as_bytes(), b":", c.nonce, b":", cnonce]));
    let ha1 = session.as_deref().unwrap_or(ha1).as_bytes();
    let a2 = if c.body {
        let body = hash(&[body]);
        hash(&[method, b":", c.uri, b":", body.as_bytes()])
    } else {
        hash(&[method, b":", c.uri])
    };
    let a2 = a2.as_bytes();
    let qop: &[u8] = if c.body { b"auth-int" } else { b"auth" };
    match c.qop {
        None => hash(&[ha1, b":", c.nonce, b":", a2]),
        Some((cnonce, nc)) => hash(&[
            ha1, b":", c.nonce, b":", nc, b":", cnonce, b":", qop, b":", a2,
        ]),
    }
}

/// Whether the answer is right for the user whose H(A1), under the answer's algorithm, is given.
/// One over the body (`qop=auth-int`) is not: the body may have changed on its way.
pub fn verify(credentials: &Credentials<'_>, method: &[u8], ha1: &str) -> bool {
    verify_with_body(credentials, method, ha1, b"") & !credentials.body
}

/// As [`verify`], for a body that is as the client sent it.
pub fn verify_with_body(
    credentials: &Credentials<'_>,
    method: &[u8],
    ha1: &str,
    body: &[u8],
) -> bool {
    let want = response(credentials, method, ha1, body);
    let given = credentials.response.to_ascii_lowercase();
    want.as_bytes().ct_eq(&given).into()
}

/// Whether an answer was made for this Request-URI (RFC 7616 §3.4.6).
///
/// Proxies rewrite Request-URIs and clients spell them twice, so the two need not be the same
/// bytes: scheme `sip` or `sips`, parameters and headers do not count, hosts are compared without
/// regard to case, users with escapes undone, and the port that the scheme implies is the same as
/// none. A user in one and none in the other, another host or another port is another resource.
/// What is no SIP URI must be the same byte for byte.
pub fn covers(uri: &[u8], request_uri: &[u8]) -> bool {
    if uri == request_uri {
        return true;
    }
    let (Ok(a), Ok(b)) = (Uri::parse(uri), Uri::parse(request_uri)) else {
        return false;
    };
    let host = |u: &Uri<'_>| {
        let host = u.host.to_string().to_ascii_lowercase();
        host.strip_suffix('.').unwrap_or(&host).to_owned()
    };
    let port = |u: &Uri<'_>| u.port.filter(|p| !matches!(p, 5060 | 5061));
    a.user.map(unescape) == b.user.map(unescape) && host(&a) == host(&b) && port(&a) == port(&b)
}

/// Answers a challenge; gives the value of an Authorization.
pub fn respond(
    challenge: &Challenge,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
    cnonce: &str,
    count: u32,
) -> String {
    let nc = format!("{count:08x}");
    let credentials = Credentials {
        username: user.as_bytes(),
        realm: challenge.realm.as_bytes(),
        nonce: challenge.nonce.as_bytes(),
        uri: uri.as_bytes(),
        response: b"",
        algorithm: challenge.algorithm,
        qop: challenge.qop.then_some((cnonce.as_bytes(), nc.as_bytes())),
        body: false,
        session: None,
    };
    let ha1 = ha1(challenge.algorithm, user, &challenge.realm, password);
    let response = response(&credentials, method.as_bytes(), &ha1, b"");
    let mut out = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm={}",
        quoted(user),
        quoted(&challenge.realm),
        challenge.nonce,
        challenge.algorithm.as_str()
    );
    if challenge.qop {
        out.push_str(&format!(", qop=auth, cnonce=\"{cnonce}\", nc={nc}"));
    }
    if let Some(opaque) = &challenge.opaque {
        out.push_str(&format!(", opaque=\"{opaque}\""));
    }
    out
}

/// Text between quotes: with a quoted-pair where it has to be (RFC 3261 §25.1).
fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    match text.contains(['"', '\\']) {
        true => text.replace('\\', "\\\\").replace('"', "\\\"").into(),
        false => text.into(),
    }
}

/// `name=value` after the scheme, quotes taken off. A quoted value with a backslash in it is
/// refused: no client needs one, and parsers disagree about them.
struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    fn of(value: &'a [u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (scheme, rest) = value.split_at_checked(6)?;
        let blank = rest.first().is_some_and(u8::is_ascii_whitespace);
        (scheme.eq_ignore_ascii_case(b"Digest") && blank).then_some(Params(rest))
    }

    fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        let [value] = self.all([name]);
        value
    }

    /// The first readable value of each name, in one pass.
    fn all<const N: usize>(&self, names: [&[u8]; N]) -> [Option<&'a [u8]>; N] {
        let mut found = [None; N];
        for one in Values::new(self.0) {
            let Some(eq) = one.iter().position(|b| *b == b'=') else {
                continue;
            };
            let name = one.get(..eq).unwrap_or_default().trim_ascii();
            let same = |wanted: &&[u8]| wanted.eq_ignore_ascii_case(name);
            let place = names.iter().position(same);
            if let Some(place @ None) = place.and_then(|at| found.get_mut(at)) {
                *place = unquoted(one.get(eq + 1..).unwrap_or_default().trim_ascii());
            }
        }
        found
    }
}

/// A value without its quotes; none if it is empty, or holds more than plain text.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    let plain = |text: &[u8]| !text.iter().any(|b| matches!(b, b'"' | b'\\'));
    match value {
        [b'"', inner @ .., b'"'] if plain(inner) => Some(inner),
        [b'"', ..] | [] => None,
        text => plain(text).then_some(text),
    }
}

/// Reads an `nc` value.
pub fn count(nc: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(nc).ok()?, 16)
        .ok()
        .or_else(|| number(nc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_with_quotes_is_written_with_quoted_pairs() {
        let challenge = Challenge::new("ex\"am\\ple", "n", Algorithm::Md5, false).to_string();
        let want = r#"Digest realm="ex\"am\\ple", nonce="n""#;
        assert!(challenge.starts_with(want), "{challenge}");
    }

    /// RFC 7616 §3.9.1, whose method is GET.
    #[test]
    fn the_rfcs_own_example_verifies() {
        let table = [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (
                Algorithm::Sha256,
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ];
        for (algorithm, response) in table {
            let header = format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
                 uri=\"/dir/index.html\", algorithm={}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
                 cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
                 response=\"{response}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
                algorithm.as_str()
            );
            let c = Credentials::parse(header.as_bytes()).unwrap();
            let ha1 = ha1(
                algorithm,
                "Mufasa",
                "http-auth@example.org",
                "Circle of Life",
            );
            assert!(verify(&c, b"GET", &ha1));
            assert!(!verify(&c, b"PUT", &ha1));
        }
    }

    #[test]
    fn an_answer_to_our_challenge_verifies_and_survives_parsing() {
        let challenge = Challenge::new("example.test", "n0nce", Algorithm::Sha256, true);
        let again = Challenge::parse(challenge.to_string().as_bytes()).unwrap();
        assert_eq!(again, challenge);
        let answer = respond(&challenge, "alice", "pw", "REGISTER", "sip:h", "cn", 1);
        let c = Credentials::parse(answer.as_bytes()).unwrap();
        assert!(verify(
            &c,
            b"REGISTER",
            &ha1(Algorithm::Sha256, "alice", "example.test", "pw")
        ));
        assert!(!verify(
            &c,
            b"REGISTER",
            &ha1(Algorithm::Sha256, "alice", "example.test", "px")
        ));
    }

    /// Answers of the variants we never ask for, made by hand with another program's MD5.
    #[test]
    fn sessions_and_bodies_are_hashed_as_rfc_7616_wants() {
        let a1 = ha1(Algorithm::Md5, "alice", "r", "pw");
        let hash = |text: String| Algorithm::Md5.hash(&[text.as_bytes()]);
        let a2 = hash("REGISTER:sip:h".into());
        let body = hash(format!("REGISTER:sip:h:{}", hash("hello".into())));
        let key = hash(format!("{a1}:n:c"));
        let table = [
            (
                "algorithm=MD5-sess, qop=auth",
                hash(format!("{key}:n:00000001:c:auth:{a2}")),
            ),
            ("algorithm=MD5-SESS", hash(format!("{key}:n:{a2}"))),
            (
                "qop=auth-int",
                hash(format!("{a1}:n:00000001:c:auth-int:{body}")),
            ),
        ];
        for (parameters, response) in table {
            let header = format!(
                "Digest username=\"alice\", realm=\"r\", nonce=\"n\", uri=\"sip:h\", nc=00000001, \
                 cnonce=\"c\", response=\"{response}\", {parameters}"
            );
            let c = Credentials::parse(header.as_bytes()).unwrap();
            assert!(
                verify_with_body(&c, b"REGISTER", &a1, b"hello"),
                "{parameters}"
            );
            assert_eq!(verify_with_body(&c, b"REGISTER", &a1, b"hell"), !c.body);
            assert_eq!(verify(&c, b"REGISTER", &a1), !c.body, "{parameters}");
            assert!(!verify_with_body(
                &c,
                b"REGISTER",
                Algorithm::Md5.nobody(),
                b"hello"
            ));
        }
        // A session needs its nonce.
        let header =
            b"Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"x\", \
                       algorithm=MD5-sess";
        assert!(Credentials::parse(header).is_err());
    }

    #[test]
    fn a_digest_covers_its_own_request_uri_however_it_is_spelt() {
        for (uri, request) in [
            ("sip:example.test", "sip:example.test"),
            ("sip:example.test", "sips:EXAMPLE.test:5061;transport=tls"),
            ("sip:example.test:5060", "sip:example.test."),
            ("sip:%61lice@h;user=phone", "sip:alice@h"),
            ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
            ("tel:+1", "tel:+1"),
        ] {
            assert!(
                covers(uri.as_bytes(), request.as_bytes()),
                "{uri} {request}"
            );
            assert!(
                covers(request.as_bytes(), uri.as_bytes()),
                "{request} {uri}"
            );
        }
        for (uri, request) in [
            ("sip:example.test", "sip:example.org"),
            ("sip:example.test", "sip:a@example.test"),
            ("sip:a@h", "sip:b@h"),
            ("sip:a@h", "sip:A@h"),
            ("sip:h", "sip:h:5070"),
            ("sip:h", "/dir/index.html"),
            ("tel:+1", "tel:+2"),
            ("", "sip:h"),
        ] {
            assert!(
                !covers(uri.as_bytes(), request.as_bytes()),
                "{uri} {request}"
            );
            assert!(
                !covers(request.as_bytes(), uri.as_bytes()),
                "{request} {uri}"
            );
        }
    }

    #[test]
    fn malformed_credentials_are_refused() {
        for bad in [
            "",
            "Digest",
            "Basic YTpi",
            "Digest username=\"a\"",
            "Digest username=\"a\\\"b\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"x\"",
            "Digest username=\"a\", realm=\"r\", nonce=n\" x, uri=\"u\", response=\"x\"",
            "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"x\", \
             algorithm=none",
            "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"x\", \
             qop=auth, nc=zz, cnonce=\"c\"",
        ] {
            assert!(Credentials::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
