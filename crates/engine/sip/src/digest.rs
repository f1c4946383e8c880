//! Digest authentication (RFC 7616, RFC 8760): MD5 and SHA-256, `qop=auth`.

use std::fmt;

use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::class::number;
use crate::header::Values;

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

    /// The hash in lower-case hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
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
            self.realm,
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
    /// Client nonce and count, if `qop=auth`.
    pub qop: Option<(&'a [u8], &'a [u8])>,
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
        let algorithm = match algorithm {
            None => Algorithm::Md5,
            Some(name) => Algorithm::find(name)?,
        };
        let qop = match qop {
            None => None,
            Some(q) if q.eq_ignore_ascii_case(b"auth") => {
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

fn response(c: &Credentials<'_>, method: &[u8], ha1: &str) -> String {
    let a2 = c.algorithm.hash(&[method, b":", c.uri]);
    let (ha1, a2) = (ha1.as_bytes(), a2.as_bytes());
    match c.qop {
        None => c.algorithm.hash(&[ha1, b":", c.nonce, b":", a2]),
        Some((cnonce, nc)) => c
            .algorithm
            .hash(&[ha1, b":", c.nonce, b":", nc, b":", cnonce, b":auth:", a2]),
    }
}

/// Whether the answer is right for the user whose H(A1), under the answer's algorithm, is given.
pub fn verify(credentials: &Credentials<'_>, method: &[u8], ha1: &str) -> bool {
    let want = response(credentials, method, ha1);
    let given = credentials.response.to_ascii_lowercase();
    want.as_bytes().ct_eq(&given).into()
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
    };
    let ha1 = ha1(challenge.algorithm, user, &challenge.realm, password);
    let response = response(&credentials, method.as_bytes(), &ha1);
    let mut out = format!(
        "Digest username=\"{user}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm={}",
        challenge.realm,
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
