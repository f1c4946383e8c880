//! A signed-in client: bind, then stanzas in and out until either side ends the stream.

use std::io::ErrorKind;

use anyhow::{Result, bail};
use futures_util::{SinkExt, StreamExt};
use minidom::Element;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::time::timeout;
use tokio_xmpp::xmlstream::{ReadError, XmlStream};
use xmpp_parsers::ns;

use super::Shared;
use super::negotiate::fail;
use super::router::{Mail, STANZAS, set};
use crate::command::Mistake;
use crate::world::{DOMAIN, secret};

const BIND_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);
const RESOURCE_BYTES_MAX: usize = 128;

/// Serves one client.
pub async fn run<S>(mut stream: XmlStream<S, Element>, user: &str, shared: &Shared) -> Result<()>
where
    S: AsyncBufRead + AsyncWrite + Unpin + Send,
{
    let conflict = shared
        .accounts
        .world
        .mistakes
        .contains(&Mistake::BindConflict);
    let resource = timeout(BIND_WITHIN, bind(&mut stream, user, conflict)).await??;
    let mut mail = shared.router.enter(user, &resource);
    let result = exchange(&mut stream, &mut mail, shared).await;
    shared.router.leave(&mail);
    result
}

/// Resource binding (RFC 6120 §7). With a conflict every resource is taken, as where nodes disagree
/// about who is at home where.
async fn bind<S>(stream: &mut XmlStream<S, Element>, user: &str, conflict: bool) -> Result<String>
where
    S: AsyncBufRead + AsyncWrite + Unpin + Send,
{
    loop {
        let Some(Ok(asked)) = stream.next().await else {
            bail!("the client left")
        };
        let id = asked.attr("id").unwrap_or_default().to_owned();
        let Some(bind) = asked.get_child("bind", ns::BIND) else {
            // Stream management is for bound streams, and not offered here.
            if asked.is("enable", "urn:xmpp:sm:3") {
                continue;
            }
            fail(stream, "not-authorized").await;
            bail!("a stanza before bind");
        };
        if conflict {
            let mut error = Element::bare("error", ns::JABBER_CLIENT);
            set(&mut error, "type", "cancel");
            set(&mut error, "code", "409");
            error.append_child(Element::bare("conflict", ns::XMPP_STANZAS));
            let mut refused = Element::bare("iq", ns::JABBER_CLIENT);
            set(&mut refused, "type", "error");
            set(&mut refused, "id", &id);
            refused.append_child(error);
            stream.send(&refused).await?;
            continue;
        }
        let wanted = bind
            .get_child("resource", ns::BIND)
            .map(|r| r.text().trim().to_owned());
        let fits = |r: &String| !r.is_empty() && r.len() <= RESOURCE_BYTES_MAX;
        let resource = wanted.filter(fits).unwrap_or_else(|| secret(20));
        let jid = Element::builder("jid", ns::BIND).append(format!("{user}@{DOMAIN}/{resource}"));
        let mut result = Element::bare("iq", ns::JABBER_CLIENT);
        set(&mut result, "type", "result");
        set(&mut result, "id", &id);
        result.append_child(
            Element::builder("bind", ns::BIND)
                .append(jid.build())
                .build(),
        );
        stream.send(&result).await?;
        return Ok(resource);
    }
}

async fn exchange<S>(
    stream: &mut XmlStream<S, Element>,
    mail: &mut Mail,
    shared: &Shared,
) -> Result<()>
where
    S: AsyncBufRead + AsyncWrite + Unpin + Send,
{
    loop {
        tokio::select! {
            outgoing = mail.receiver.recv() => match outgoing {
                Some(stanza) => stream.send(&stanza).await?,
                // The router let go: another client took the resource, or this one is too slow.
                None => {
                    fail(stream, "conflict").await;
                    bail!("replaced");
                }
            },
            incoming = stream.next() => match incoming {
                Some(Ok(stanza)) if is_stanza(&stanza) => {
                    shared.router.route(mail, stanza);
                }
                Some(Ok(other)) if other.ns() == "urn:xmpp:sm:3" => {
                    let why = Element::bare("feature-not-implemented", ns::XMPP_STANZAS);
                    let failed = Element::builder("failed", "urn:xmpp:sm:3").append(why);
                    stream.send(&failed.build()).await?;
                }
                Some(Ok(_)) => {
                    fail(stream, "unsupported-stanza-type").await;
                    bail!("no stanza");
                }
                // Silent for long: a ping tells whether anybody is there.
                Some(Err(ReadError::SoftTimeout)) => {
                    let mut ping = Element::bare("iq", ns::JABBER_CLIENT);
                    set(&mut ping, "type", "get");
                    set(&mut ping, "id", &secret(8));
                    set(&mut ping, "from", DOMAIN);
                    ping.append_child(Element::bare("ping", ns::PING));
                    stream.send(&ping).await?;
                }
                Some(Err(ReadError::StreamFooterReceived)) | None => {
                    let _ = stream.shutdown().await;
                    return Ok(());
                }
                Some(Err(ReadError::HardError(e))) if e.kind() == ErrorKind::InvalidData => {
                    fail(stream, "not-well-formed").await;
                    bail!("not XML");
                }
                Some(Err(e)) => bail!("{e}"),
            },
        }
    }
}

fn is_stanza(element: &Element) -> bool {
    element.ns() == ns::JABBER_CLIENT && STANZAS.contains(&element.name())
}
