//! What of an inside server's answer goes outside.
//!
//! Inside names stay inside: `Location`, `Content-Location`, `Refresh` and `Link` come in the
//! edge's form where they lead to what a client may ask for, cookies are bound to that server's
//! path on the edge. A redirect to anything else makes the answer a 502; of the other fields the
//! one that cannot be told goes. Fields that would speak for the whole origin, which is the edge's,
//! go too, and those that tell what runs inside. Bodies pass as they are.

use config::allow_list::read_url;
use http::header::{
    CONTENT_LOCATION, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, REFRESH, SET_COOKIE,
    WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use net::http::{Body, strip_hop_by_hop};
use provisioning::path::{EdgePath, Scheme, Server};

use crate::guard::Ruling;
use crate::http_core::{HttpCore, Refusal};
use crate::metadata;

/// Links of one answer that are looked at; with more the field goes.
const LINKS_MAX: usize = 8;

/// What tells of the inside, or speaks for the whole origin.
const KEPT_INSIDE: &[&str] = &[
    "x-powered-by",
    "x-aspnet-version",
    "x-aspnetmvc-version",
    "x-backend-server",
    "x-served-by",
    "x-upstream",
    "sourcemap",
    "alt-svc",
    "public-key-pins",
    "public-key-pins-report-only",
    "expect-ct",
    "nel",
    "report-to",
    "reporting-endpoints",
    "clear-site-data",
    "service-worker-allowed",
    "strict-transport-security",
    "traceresponse",
    "server-timing",
];

/// Why a reference cannot be told outside.
enum Untold {
    /// It is no URL of HTTP.
    NoUrl,
    /// No rule lets it through.
    Denied(Box<(Server, String)>),
    /// It leads where nothing may.
    Never,
    /// DNS does not let us judge.
    Unknown(Box<(Server, net::Error)>),
}

impl HttpCore {
    /// The answer as it may go outside.
    pub(crate) async fn outside(
        &self,
        domain: &str,
        server: &Server,
        user: &str,
        mut response: Response<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let headers = response.headers_mut();
        strip_hop_by_hop(headers);
        metadata::strip_forged(headers);
        for name in KEPT_INSIDE {
            headers.remove(*name);
        }
        metadata::keep_if(headers, &WWW_AUTHENTICATE, |v| {
            !metadata::signs_connections_in(v)
        });
        if let Some(location) = headers.remove(LOCATION) {
            let Ok(location) = location.to_str() else {
                let cause = "a redirect that is no URL";
                return Err(Refusal::new(StatusCode::BAD_GATEWAY, cause));
            };
            let value = self.redirect(domain, server, user, location).await?;
            headers.insert(LOCATION, value);
        }
        self.refer(domain, server, headers, CONTENT_LOCATION).await;
        self.refer(domain, server, headers, REFRESH).await;
        self.refer(domain, server, headers, LINK).await;
        if headers.contains_key(SET_COOKIE) {
            let segment = EdgePath::encode(domain, Some(server));
            let bound = |v: &HeaderValue| bind_cookie(v.to_str().ok()?, &segment)?.parse().ok();
            let cookies: Vec<HeaderValue> = headers
                .get_all(SET_COOKIE)
                .iter()
                .filter_map(bound)
                .collect();
            headers.remove(SET_COOKIE);
            for cookie in cookies {
                headers.append(SET_COOKIE, cookie);
            }
        }
        Ok(response)
    }

    /// A field that refers to something, in the edge's form; else it goes.
    async fn refer(
        &self,
        domain: &str,
        server: &Server,
        headers: &mut HeaderMap,
        name: HeaderName,
    ) {
        let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        headers.remove(&name);
        if values.len() > LINKS_MAX {
            return;
        }
        for value in values {
            let Some(text) = value.to_str().ok() else {
                continue;
            };
            let told = match name {
                REFRESH => self.refresh(domain, server, text).await,
                LINK => self.links(domain, server, text).await,
                _ => self.told(domain, server, text).await.ok(),
            };
            if let Some(value) = told.and_then(|t| HeaderValue::try_from(t).ok()) {
                headers.append(name.clone(), value);
            }
        }
    }

    /// `SECONDS` or `SECONDS; url=URL`.
    async fn refresh(&self, domain: &str, server: &Server, text: &str) -> Option<String> {
        let (seconds, url) = refresh_parts(text)?;
        match url {
            None => Some(seconds.to_owned()),
            Some(url) => {
                let told = self.told(domain, server, url).await.ok()?;
                Some(format!("{seconds}; url={told}"))
            }
        }
    }

    /// `<URL>; parameters, <URL>; …` (RFC 8288).
    async fn links(&self, domain: &str, server: &Server, text: &str) -> Option<String> {
        let mut out = String::with_capacity(text.len() + 64);
        let mut rest = text;
        for _ in 0..LINKS_MAX {
            let (before, from) = rest.split_once('<')?;
            let (url, after) = from.split_once('>')?;
            // A parameter may name a URL of its own, as `anchor` does.
            if leads(before) {
                return None;
            }
            let told = self.told(domain, server, url).await.ok()?;
            out.push_str(&format!("{before}<{told}>"));
            rest = after;
            if !rest.contains('<') {
                out.push_str(rest);
                return (!leads(rest)).then_some(out);
            }
        }
        None
    }

    /// A redirect of `server` in the edge's form.
    async fn redirect(
        &self,
        domain: &str,
        server: &Server,
        user: &str,
        location: &str,
    ) -> Result<HeaderValue, Refusal> {
        let refused = |cause| Refusal::new(StatusCode::BAD_GATEWAY, cause);
        let told = match self.told(domain, server, location).await {
            Ok(told) => told,
            Err(Untold::NoUrl) => return Err(refused("a redirect that is no URL")),
            Err(Untold::Never) => return Err(refused("a redirect to a forbidden server")),
            Err(Untold::Unknown(what)) => {
                self.unreachable(&what.0, &what.1);
                return Err(refused("a redirect that DNS does not let us judge"));
            }
            Err(Untold::Denied(what)) => {
                self.guard.refused(&what.0, "GET", &what.1, user, true);
                return Err(refused("a redirect to a forbidden server"));
            }
        };
        told.parse()
            .map_err(|_| refused("a redirect that is no URL"))
    }

    /// A reference of `server` in the edge's form.
    async fn told(&self, domain: &str, server: &Server, location: &str) -> Result<String, Untold> {
        if !is_plain(location) {
            return Err(Untold::NoUrl);
        }
        let before_path = location.split(['/', '?', '#']).next().unwrap_or_default();
        if !location.starts_with('/') && !before_path.contains(':') {
            // Relative: the client resolves it against the edge's path.
            return Ok(location.to_owned());
        }
        let (to, path) = follow(server, location).ok_or(Untold::NoUrl)?;
        if to != *server {
            let path_alone = path.split(['?', '#']).next().unwrap_or_default();
            // Where the client goes with GET; other methods are judged when they come.
            match self.guard.judge(&to, "GET", path_alone).await {
                Ruling::Pass { .. } | Ruling::NoAddress { rule: Some(_), .. } => {}
                // Nothing that a rule could let through.
                Ruling::Never { .. } => return Err(Untold::Never),
                Ruling::NoAddress { rule: None, error } => {
                    return Err(Untold::Unknown(Box::new((to, error))));
                }
                Ruling::Deny => {
                    let path = path_alone.to_owned();
                    return Err(Untold::Denied(Box::new((to, path))));
                }
            }
        }
        Ok(format!("/{}{path}", EdgePath::encode(domain, Some(&to))))
    }
}

/// Whether browsers read it as it stands: blanks and controls they drop, and `\` is a `/` to them.
fn is_plain(reference: &str) -> bool {
    !reference
        .bytes()
        .any(|b| b <= 0x20 || b == 0x7f || b == b'\\')
}

/// Whether parameters of a link may name a server.
fn leads(parameters: &str) -> bool {
    parameters.contains("//") || parameters.contains(|c: char| c == '\\' || c.is_control())
}

/// The seconds of a `Refresh`, and its URL.
fn refresh_parts(text: &str) -> Option<(&str, Option<&str>)> {
    let (seconds, rest) = text.split_once([';', ',']).unwrap_or((text, ""));
    let (seconds, rest) = (seconds.trim(), rest.trim());
    if seconds.is_empty() || !seconds.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if rest.is_empty() {
        return Some((seconds, None));
    }
    let named = rest.get(..3).is_some_and(|n| n.eq_ignore_ascii_case("url"));
    let url = match rest.split_once('=') {
        Some((name, url)) if named && name.trim().len() == 3 => url.trim(),
        _ => rest,
    };
    let url = url.trim_matches(['"', '\'']);
    Some((seconds, Some(url)))
}

/// Where a `Location` of `server` leads: the server, and the path with its query and fragment.
fn follow(server: &Server, location: &str) -> Option<(Server, String)> {
    if !is_plain(location) {
        return None;
    }
    if let Some(rest) = location.strip_prefix("//") {
        return absolute(server.scheme, rest);
    }
    if location.starts_with('/') {
        return Some((server.clone(), location.to_owned()));
    }
    match location.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
            absolute(Scheme::Https, rest)
        }
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => absolute(Scheme::Http, rest),
        _ => None,
    }
}

fn absolute(scheme: Scheme, rest: &str) -> Option<(Server, String)> {
    let url = read_url(&format!("{}://{rest}", scheme.as_str())).ok()?;
    let plain = format!("{}/{}/{}", url.scheme, url.host, url.port);
    let server = Server::parse(&plain).ok()?;
    let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Some((server, path))
}

/// Binds an inside server's cookie to that server's path on the edge; our own cookie's name is
/// refused.
fn bind_cookie(cookie: &str, segment: &str) -> Option<String> {
    let mut attributes = cookie.split(';').map(str::trim);
    let pair = attributes.next()?;
    let (name, _) = pair.split_once('=')?;
    if name.trim().eq_ignore_ascii_case(metadata::COOKIE_NAME) {
        return None;
    }
    let mut path = "/";
    let mut out = pair.to_owned();
    for attribute in attributes {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("path") && value.starts_with('/') {
            path = value;
        } else if !name.eq_ignore_ascii_case("path")
            && !name.eq_ignore_ascii_case("domain")
            && !name.eq_ignore_ascii_case("secure")
            && !attribute.is_empty()
        {
            out.push_str("; ");
            out.push_str(attribute);
        }
    }
    Some(format!("{out}; Path=/{segment}{path}; Secure"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_is_read_as_browsers_do() {
        for (text, parts) in [
            ("5", Some(("5", None))),
            ("5; url=/a", Some(("5", Some("/a")))),
            (
                "0;URL='http://h.test/'",
                Some(("0", Some("http://h.test/"))),
            ),
            ("0, http://h.test/", Some(("0", Some("http://h.test/")))),
            ("x; url=/a", None),
            ("", None),
        ] {
            assert_eq!(refresh_parts(text), parts, "{text}");
        }
    }

    #[test]
    fn a_cookie_is_bound_to_its_servers_path_on_the_edge() {
        for (cookie, bound) in [
            ("a=1", Some("a=1; Path=/SEG/; Secure")),
            (
                "a=1; Domain=corp.test; path=/x; HttpOnly; SameSite=Lax; Secure",
                Some("a=1; HttpOnly; SameSite=Lax; Path=/SEG/x; Secure"),
            ),
            (
                "a=1; DOMAIN = corp.test; Path=x",
                Some("a=1; Path=/SEG/; Secure"),
            ),
            ("X-Auth=stolen", None),
            ("x-auth =stolen", None),
            ("no pair", None),
        ] {
            assert_eq!(bind_cookie(cookie, "SEG").as_deref(), bound, "{cookie}");
        }
    }

    #[test]
    fn a_redirect_is_read_as_a_rules_url_is() {
        let from = Server::parse("https/web.test/8443").unwrap();
        for (location, server, path) in [
            ("/a?b", "https/web.test/8443", "/a?b"),
            ("//Other.test?x=1", "https/other.test/443", "/?x=1"),
            ("HTTP://[2001:db8::9]:/a#b", "http/2001:db8::9/80", "/a#b"),
            ("http://other.test.:8080", "http/other.test/8080", "/"),
        ] {
            let (to, rest) = follow(&from, location).unwrap();
            assert_eq!((to.to_string(), rest.as_str()), (server.to_owned(), path));
        }
        for bad in [
            "ftp://web.test/",
            "https://u@web.test/",
            "https://web.test:99999/",
            "https://web.test:x/",
            "https://127.1/",
            "https://[::10.0.0.9]/",
            "https:///a",
            "https://web.test\\@other.test/",
        ] {
            assert!(follow(&from, bad).is_none(), "{bad}");
        }
    }
}
