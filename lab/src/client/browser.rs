//! A browser, as far as log-ins need one: names by the public DNS, a jar of cookies, redirects that
//! are shown and not followed, and forms that are filled in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper::Method;

use super::web::{Asked, Identity, Reply, Web};
use crate::ladder::Recorder;
use crate::names::Names;
use crate::web::encoded;

/// The browser.
pub(crate) struct Browser {
    local: IpAddr,
    tls: Arc<rustls::ClientConfig>,
    names: Names,
    recorder: Recorder,
    /// By host and name.
    cookies: BTreeMap<(String, String), String>,
}

/// What came back for an address.
pub(crate) struct Page {
    /// The address.
    pub(crate) url: String,
    /// The answer.
    pub(crate) reply: Reply,
}

/// An address in its parts.
struct Url<'a> {
    host: &'a str,
    port: u16,
    path: &'a str,
}

fn url(text: &str) -> Result<Url<'_>> {
    let rest = text
        .strip_prefix("https://")
        .with_context(|| format!("{text} is no https"))?;
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, port.parse().context("a port")?),
        None => (place, 443),
    };
    let path = path
        .split('#')
        .next()
        .filter(|path| !path.is_empty())
        .unwrap_or("/");
    Ok(Url { host, port, path })
}

impl Browser {
    /// One at that address, which trusts as `tls` does.
    pub(crate) fn new(
        local: IpAddr,
        tls: Arc<rustls::ClientConfig>,
        names: Names,
        recorder: Recorder,
    ) -> Browser {
        Browser {
            local,
            tls,
            names,
            recorder,
            cookies: BTreeMap::new(),
        }
    }

    /// Opens an address.
    ///
    /// # Errors
    /// It is none, or nobody answers there; a status is no error.
    pub(crate) async fn open(&mut self, url: &str) -> Result<Page> {
        self.ask(Method::GET, url, None).await
    }

    /// Sends the form of a page, with its hidden fields and with what is filled in.
    ///
    /// # Errors
    /// The page has no form; else as of [`Browser::open`].
    pub(crate) async fn send(&mut self, page: &Page, filled: &[(&str, &str)]) -> Result<Page> {
        let html = page.reply.text();
        let action = attribute(&html, "<form", "action").context("no form on the page")?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for input in html
            .split("<input")
            .skip(1)
            .filter(|i| i.contains("type=\"hidden\""))
        {
            let name = attribute(input, "", "name").unwrap_or_default();
            fields.push((name, attribute(input, "", "value").unwrap_or_default()));
        }
        let filled = filled
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        fields.extend(filled);
        let to = if action.starts_with('/') {
            let Url { host, port, .. } = url(&page.url)?;
            format!("https://{host}:{port}{action}")
        } else {
            action
        };
        self.ask(Method::POST, &to, Some(form(&fields))).await
    }

    /// Posts a form to an address, as a program does.
    ///
    /// # Errors
    /// As of [`Browser::open`].
    pub(crate) async fn post(&mut self, url: &str, fields: &[(&str, &str)]) -> Result<Page> {
        let fields = fields
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let fields: Vec<(String, String)> = fields.collect();
        self.ask(Method::POST, url, Some(form(&fields))).await
    }

    async fn ask(&mut self, method: Method, at: &str, form: Option<String>) -> Result<Page> {
        let Url { host, port, path } = url(at)?;
        let address = SocketAddr::new(self.names.address(host).await?, port);
        let web = Web::new(
            self.local,
            address,
            host,
            Arc::clone(&self.tls),
            self.recorder.clone(),
        );
        let own = self.cookies.iter().filter(|((of, _), _)| of == host);
        let own: Vec<String> = own
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let headers = match own.as_slice() {
            [] => Vec::new(),
            own => vec![("cookie", own.join("; "))],
        };
        let asked = Asked {
            method,
            path,
            body: form.map(|form| ("application/x-www-form-urlencoded", form)),
            headers: &headers,
        };
        let reply = web.send(&Identity::default(), asked).await?;
        for cookie in reply.headers.get_all("set-cookie") {
            let pair = cookie.to_str().ok().and_then(|c| c.split(';').next());
            if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                let key = (host.to_owned(), name.trim().to_owned());
                self.cookies.insert(key, value.to_owned());
            }
        }
        Ok(Page {
            url: at.to_owned(),
            reply,
        })
    }
}

impl Page {
    /// Where it sends the browser on to.
    ///
    /// # Errors
    /// Nowhere.
    pub(crate) fn leads_to(&self) -> Result<&str> {
        let (status, text) = (self.reply.status, self.reply.text());
        let location = self.reply.header("location").filter(|_| status == 302);
        location.with_context(|| format!("{status} without another address: {text}"))
    }
}

/// A value in a query or fragment.
pub(crate) fn value_of(url: &str, name: &str) -> Option<String> {
    let (_, rest) = url.split_once(['?', '#'])?;
    let mut pairs = rest
        .split(['&', '#'])
        .filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(key, _)| *key == name);
    found.map(|(_, value)| crate::web::decoded(value))
}

fn form(fields: &[(String, String)]) -> String {
    let pair = |(name, value): &(String, String)| format!("{}={}", encoded(name), encoded(value));
    let pairs: Vec<String> = fields.iter().map(pair).collect();
    pairs.join("&")
}

/// The value of an attribute behind that mark.
fn attribute(html: &str, mark: &str, name: &str) -> Option<String> {
    let tag = &html[html.find(mark)? + mark.len()..];
    let tag = &tag[..tag.find('>')?];
    let rest = &tag[tag.find(&format!("{name}=\""))? + name.len() + 2..];
    let value = &rest[..rest.find('"')?];
    let plain = value
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"");
    Some(
        plain
            .replace("&apos;", "'")
            .replace("&#39;", "'")
            .replace("&amp;", "&"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_of_a_page_is_read_with_its_entities() {
        let html = "<form method=\"post\" action=\"/login?a=1&amp;b=2\"><input name=\"user\">\
            <input type=\"hidden\" name=\"RelayState\" value=\"&lt;x&gt;\"></form>";
        assert_eq!(
            attribute(html, "<form", "action").as_deref(),
            Some("/login?a=1&b=2")
        );
        let hidden = html.split("<input").nth(2).unwrap();
        assert_eq!(attribute(hidden, "", "value").as_deref(), Some("<x>"));
        assert_eq!(attribute(html, "<table", "id"), None);
    }

    #[test]
    fn address_without_port_or_path_is_read() {
        let found = url("https://idp1.example.test").unwrap();
        assert_eq!(
            (found.host, found.port, found.path),
            ("idp1.example.test", 443, "/")
        );
        let found = url("https://edge1.example.test:8443/a/b?c=d#e").unwrap();
        assert_eq!((found.port, found.path), (8443, "/a/b?c=d"));
        assert!(url("http://edge1.example.test/").is_err());
        assert_eq!(
            value_of("x://y#access_token=a%20b&state=s", "state").as_deref(),
            Some("s")
        );
    }
}
