//! What browsers and clients are answered: pages without a script, and documents.

use crate::io::Reply;

/// Nothing of ours is kept, framed, or loads anything.
const HEADERS: [(&str, &str); 4] = [
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
];

fn reply(status: u16, kind: &str, body: String) -> Reply {
    let mut headers: Vec<(&'static str, String)> =
        HEADERS.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
    headers.push(("Content-Type", kind.to_owned()));
    Reply {
        status,
        headers,
        body,
    }
}

fn page(status: u16, title: &str, text: &str) -> Reply {
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         </head><body><h1>{title}</h1><p>{text}</p></body></html>\n"
    );
    reply(status, "text/html;charset=utf-8", body)
}

/// The last page of a sign-in.
pub(super) fn signed_in() -> Reply {
    page(200, "Signed in", "You may close this window.")
}

/// The last page of one that came to nothing; `why` is a text of ours.
pub(super) fn refused(status: u16, why: &str) -> Reply {
    let text =
        format!("{why} Begin again in the application, or tell your administrator the time.");
    page(status, "Not signed in", &text)
}

/// The last page of one whose core is gone.
pub(super) fn gone() -> Reply {
    let text = "The server at which this sign-in began is no longer there. Nothing is wrong with \
                your account: begin again in the application.";
    page(410, "Begin again", text)
}

/// On to another address.
pub(super) fn redirect(location: String, cookie: Option<String>) -> Reply {
    let mut reply = page(302, "Sign in", "You are being sent on.");
    reply.headers.push(("Location", location));
    if let Some(cookie) = cookie {
        reply.headers.push(("Set-Cookie", cookie));
    }
    reply
}

/// How a domain signs in.
pub(super) struct Offered<'a> {
    pub(super) domain: &'a str,
    pub(super) password: bool,
    pub(super) tokens: bool,
    /// Where browsers sign in.
    pub(super) authorize: Option<String>,
}

/// The answer to `get_edge_sso`. What others answer is not public, so the names are ours.
pub(super) fn offered(of: &Offered<'_>) -> Reply {
    let mut body = format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<getEdgeSsoResponse version=\"1.0\">\n \
         <domain>{}</domain>\n <sso>{}</sso>\n <basic>{}</basic>\n <bearer>{}</bearer>\n",
        of.domain,
        of.authorize.is_some(),
        of.password,
        of.tokens,
    );
    if let Some(url) = &of.authorize {
        body.push_str(&format!(" <authorizeUrl>{url}</authorizeUrl>\n"));
    }
    body.push_str("</getEdgeSsoResponse>\n");
    reply(200, "text/xml;charset=utf-8", body)
}

/// A document of XML.
pub(super) fn xml(body: String) -> Reply {
    reply(200, "application/samlmetadata+xml", body)
}
