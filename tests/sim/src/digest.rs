//! The client's side of digest authentication (RFC 7616, RFC 2617), on text.

use md5::{Digest, Md5};
use sha2::Sha256;

use crate::text::Text;

/// What a client knows.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
    /// Take SHA-256 where it is offered; most telephones take MD5.
    pub modern: bool,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn hash(algorithm: &str, text: &str) -> String {
    if algorithm.eq_ignore_ascii_case("SHA-256") {
        hex(&Sha256::digest(text))
    } else {
        hex(&Md5::digest(text))
    }
}

/// A parameter of a challenge.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    challenge.split([',', ' ']).find_map(|p| {
        let (n, v) = p.trim().split_once('=')?;
        n.eq_ignore_ascii_case(name).then(|| v.trim_matches('"'))
    })
}

/// The field that answers the challenge in `response` for a request with this URI: its name and
/// value; `None` if there is no challenge that can be answered.
pub fn answer(
    login: &Login,
    response: &Text,
    uri: &str,
    cnonce: &str,
) -> Option<(&'static str, String)> {
    let (challenge, name) = match response.status()? {
        401 => ("WWW-Authenticate", "Authorization"),
        407 => ("Proxy-Authenticate", "Proxy-Authorization"),
        _ => return None,
    };
    let algorithm_of = |v: &'_ str| parameter(v, "algorithm").unwrap_or("MD5").to_owned();
    let all = || response.all(challenge).filter(|v| v.starts_with("Digest"));
    let liked = if login.modern { "SHA-256" } else { "MD5" };
    let found = all()
        .find(|v| algorithm_of(v).eq_ignore_ascii_case(liked))
        .or_else(|| all().next())?;
    let algorithm = algorithm_of(found);
    let (realm, nonce) = (parameter(found, "realm")?, parameter(found, "nonce")?);
    let user = &login.user;
    let ha1 = hash(&algorithm, &format!("{user}:{realm}:{}", login.password));
    let ha2 = hash(&algorithm, &format!("{}:{uri}", response.method()));
    let (proof, more) = match parameter(found, "qop") {
        Some(_) => (
            format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"),
            format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\""),
        ),
        None => (format!("{ha1}:{nonce}:{ha2}"), String::new()),
    };
    let proof = hash(&algorithm, &proof);
    let value = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{proof}\", algorithm={algorithm}{more}"
    );
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2617 §3.5.
    #[test]
    fn the_example_of_the_rfc_is_answered() {
        let login = Login {
            user: "Mufasa".into(),
            password: "Circle Of Life".into(),
            modern: false,
        };
        let response = Text::request("x", "y").with("CSeq", "1 GET").with(
            "WWW-Authenticate",
            "Digest realm=\"testrealm@host.com\", qop=\"auth\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"",
        );
        let response = Text {
            start: "SIP/2.0 401 No".into(),
            ..response
        };
        let (name, value) = answer(&login, &response, "/dir/index.html", "0a4f113b").unwrap();
        assert_eq!(name, "Authorization");
        assert!(
            value.contains("response=\"6629fae49393a05397450978507c4ef1\""),
            "{value}"
        );
    }
}
