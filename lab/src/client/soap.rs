//! Signing in to presence over SOAP, for a one-time password that XMPP takes.

use anyhow::{Context, Result, bail};
use hyper::Method;

use super::edge_config::{descendant, element};
use super::web::{Asked, Identity, Web};

const KIND: &str = "application/soap+xml; charset=utf-8";
const ACTION: &str = "urn:cisco:epas:soap/EpasSoapServiceInterface";

/// The one-time password of that user, from a presence server behind `lane`.
///
/// # Errors
/// The edge or the server refuses.
pub(crate) async fn one_time_password(
    web: &Web,
    who: &Identity,
    lane: &str,
    (name, password): (&str, &str),
) -> Result<String> {
    let login = format!(
        "<login xmlns=\"urn:cisco:epas:soap\" client-version=\"9.7.0.18474\" client-type=\"CUPC\" \
         force=\"true\"><username>{name}</username><password>{password}</password></login>"
    );
    let key = ask(web, who, lane, "login", "", &login, "session-key").await?;
    let header = format!("<session-key xmlns=\"urn:cisco:epas:soap\">{key}</session-key>");
    let body = "<get-onetime-password xmlns=\"urn:cisco:epas:soap\"/>";
    ask(
        web,
        who,
        lane,
        "get-onetime-password",
        &header,
        body,
        "password",
    )
    .await
}

async fn ask(
    web: &Web,
    who: &Identity,
    lane: &str,
    operation: &str,
    header: &str,
    body: &str,
    wanted: &str,
) -> Result<String> {
    let envelope = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope \
         xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\"><soap:Header>{header}\
         </soap:Header><soap:Body>{body}</soap:Body></soap:Envelope>"
    );
    let asked = Asked {
        method: Method::POST,
        path: &format!("/{lane}/EPASSoap/service/v80"),
        body: Some((KIND, envelope)),
        headers: &[("soapaction", format!("\"{ACTION}/{operation}\""))],
    };
    let reply = web.send(who, asked).await?;
    if reply.status != 200 {
        bail!("{operation} was answered {}", reply.status);
    }
    let document = element(&reply.body)?;
    let found = descendant(&document, wanted)
        .with_context(|| format!("{operation}: no {wanted} in the answer"))?;
    Ok(found.text())
}
