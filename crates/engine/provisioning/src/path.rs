//! The first segment of an edge's HTTPS path: which domain, and which inside server (`protocol.md`
//! §2.1).
//!
//! base64url or base64, padded or not, of `domain` or of `domain/scheme/host/port`. Every
//! spelling of an address but the plain one is refused, so that no two parts of the product can
//! read one differently.

use std::fmt;

use base::DomainName;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// The longest segment read, in characters.
pub const CHARACTERS_MAX: usize = 1024;

/// A segment that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path does not begin with an encoded domain")]
pub struct PathError;

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain, inside only.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As a URL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// The method of a request of the edge's own lane, by the path after the domain; `None` if there is
/// no such request (`protocol.md` 2.1, 2.6).
pub fn own_method(path: &str) -> Option<&'static str> {
    match path.trim_matches('/') {
        "get_edge_config" | "get_edge_sso" | "authorize" | "oidc" | "metadata" | "signed_in" => {
            Some("GET")
        }
        "fedlet" => Some("POST"),
        _ => None,
    }
}

/// An inside server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// A name in lower case, or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Server {
    /// Reads `scheme/host/port`.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse(text: &str) -> Result<Server, PathError> {
        let mut parts = text.split('/');
        let (scheme, host, port) = (parts.next(), parts.next(), parts.next());
        let (Some(scheme), Some(host), Some(port), None) = (scheme, host, port, parts.next())
        else {
            return Err(PathError);
        };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(PathError),
        };
        let digits =
            !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
        if !digits || port.starts_with('0') {
            return Err(PathError);
        }
        let port = port.parse().map_err(|_| PathError)?;
        Ok(Server {
            scheme,
            host: config::inside::host(host).map_err(|_| PathError)?,
            port,
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.scheme.as_str(), self.host, self.port)
    }
}

/// The first segment, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgePath {
    /// The service domain, in lower case.
    pub domain: String,
    /// The inside server; `None` for the edge's own requests.
    pub server: Option<Server>,
}

impl EdgePath {
    /// Reads a segment.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn decode(segment: &str) -> Result<EdgePath, PathError> {
        if segment.is_empty() || segment.len() > CHARACTERS_MAX {
            return Err(PathError);
        }
        let bytes = URL_SAFE
            .decode(segment)
            .or_else(|_| STANDARD.decode(segment))
            .map_err(|_| PathError)?;
        let text = String::from_utf8(bytes).map_err(|_| PathError)?;
        let (domain, server) = match text.split_once('/') {
            None => (text.as_str(), None),
            Some((domain, rest)) => (domain, Some(Server::parse(rest)?)),
        };
        if domain.ends_with('.') {
            return Err(PathError);
        }
        let domain = domain.parse::<DomainName>().map_err(|_| PathError)?;
        Ok(EdgePath {
            domain: domain.into(),
            server,
        })
    }

    /// Writes a segment, base64url without padding.
    pub fn encode(domain: &str, server: Option<&Server>) -> String {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        match server {
            None => URL_SAFE_NO_PAD.encode(domain),
            Some(server) => URL_SAFE_NO_PAD.encode(format!("{domain}/{server}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD as PADDED, URL_SAFE_NO_PAD};

    #[test]
    fn the_guides_samples_are_read() {
        let cucm = Server {
            scheme: Scheme::Https,
            host: "cucm1.example.com".into(),
            port: 8443,
        };
        let table = [
            ("ZXhhbXBsZS5jb20", None),
            ("ZXhhbXBsZS5jb20=", None),
            (
                "ZXhhbXBsZS5jb20vaHR0cHMvY3VjbTEuZXhhbXBsZS5jb20vODQ0Mw",
                Some(cucm),
            ),
        ];
        for (segment, server) in table {
            let path = EdgePath::decode(segment).unwrap();
            assert_eq!(
                (path.domain.as_str(), &path.server),
                ("example.com", &server)
            );
            let again = EdgePath::encode("example.com", server.as_ref());
            assert_eq!(again, segment.trim_end_matches('='));
        }
    }

    #[test]
    fn every_odd_spelling_is_refused() {
        for host in [
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "1",
            "[::ffff:127.0.0.1]",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "[::1",
            "a_b.test",
            "a b",
            "",
            "a/b",
            "host%00",
            "user@host",
            "host:80",
            "évil.test",
            "a..b",
            "-a",
            "host.test.",
            "127.0.0.1 ",
            "\u{ff11}27.0.0.1",
            "1.2.3",
            "999.1.1.1",
            "host\0",
        ] {
            let segment = URL_SAFE_NO_PAD.encode(format!("example.com/https/{host}/8443"));
            assert_eq!(EdgePath::decode(&segment), Err(PathError), "{host:?}");
        }
        for rest in [
            "https/h/",
            "https/h/0",
            "https/h/080",
            "https/h/65536",
            "https/h/-1",
            "https/h/+1",
            "https/h",
            "https",
            "",
            "ftp/h/21",
            "file/h/1",
            "HTTPS/h/443",
            "https/h/443/x",
            "https//443",
            "gopher/h/70",
        ] {
            let segment = URL_SAFE_NO_PAD.encode(format!("example.com/{rest}"));
            assert_eq!(EdgePath::decode(&segment), Err(PathError), "{rest:?}");
        }
        for segment in [
            "",
            "!",
            "====",
            "ZXhhbXBsZS5jb2",
            "%5A",
            "Lg",
            "Li4",
            "AAAA",
            "a b",
        ] {
            assert_eq!(EdgePath::decode(segment), Err(PathError), "{segment:?}");
        }
        // Encoded twice it is no domain.
        let twice = PADDED.encode(PADDED.encode("example.com/https/h/443"));
        assert_eq!(EdgePath::decode(&twice), Err(PathError));
    }

    #[test]
    fn plain_addresses_are_kept_as_they_are() {
        for host in ["10.0.0.9", "127.0.0.1", "2001:db8::9", "::1"] {
            let segment = URL_SAFE_NO_PAD.encode(format!("example.com/http/{host}/80"));
            assert_eq!(
                EdgePath::decode(&segment).unwrap().server.unwrap().host,
                host
            );
        }
    }
}
