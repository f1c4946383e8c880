//! Chat over XMPP: STARTTLS, SASL, bind, presence, messages (RFC 6120, 6121).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use minidom::Element;
use rustls_pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_xmpp::xmlstream::{StreamHeader, Timeouts, XmlStream, initiate_stream};
use xmpp_parsers::ns;

use crate::ladder::Recorder;
use crate::sip::message::token;

const STEP: Duration = Duration::from_secs(10);
const WAITING: usize = 256;
const VTG_TOKEN: &str = "CISCO-VTG-TOKEN";

type Secure = XmlStream<BufReader<TlsStream<TcpStream>>, Element>;

/// How a user proves who he is.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// A one-time password of the presence server, or the password itself where a server does not
    /// take those.
    OneTime {
        /// The one-time password.
        token: String,
        /// The user's own.
        password: String,
    },
    /// The password itself, PLAIN.
    Password(String),
}

/// A session.
pub(crate) struct Chat {
    /// The full address that the server gave.
    pub(crate) address: String,
    /// TLS version, and the SASL mechanism.
    pub(crate) facts: String,
    out: mpsc::Sender<Element>,
    arrived: tokio::sync::Mutex<mpsc::Receiver<Element>>,
    recorder: Recorder,
    task: JoinHandle<()>,
}

/// Where to, and how.
pub(crate) struct Place {
    /// The address it dials from.
    pub(crate) local: IpAddr,
    /// The server, or the edge.
    pub(crate) server: SocketAddr,
    /// The domain, which the certificate must show (RFC 6120 §13.7.2).
    pub(crate) domain: String,
    /// How it dials TLS.
    pub(crate) tls: Arc<rustls::ClientConfig>,
    /// Where it writes what crosses it.
    pub(crate) recorder: Recorder,
}

impl Chat {
    /// Signs in and tells that it is there.
    ///
    /// # Errors
    /// Refused, with the step.
    pub(crate) async fn open(place: Place, user: &str, proof: &Proof) -> Result<Chat> {
        let signed = tokio::time::timeout(3 * STEP, sign_in(&place, user, proof)).await;
        let (stream, address, facts) = signed.context("signing in took too long")??;
        let (out, outgoing) = mpsc::channel(WAITING);
        let (sender, arrived) = mpsc::channel(WAITING);
        let recorder = place.recorder.clone();
        let task = tokio::spawn(run(stream, outgoing, sender, recorder.clone()));
        out.send(Element::bare("presence", ns::JABBER_CLIENT))
            .await
            .context("the stream ended")?;
        let arrived = tokio::sync::Mutex::new(arrived);
        Ok(Chat {
            address,
            facts,
            out,
            arrived,
            recorder,
            task,
        })
    }

    /// Writes to somebody.
    pub(crate) async fn send(&self, to: &str, text: &str) -> Result<String> {
        let id = token(8);
        let body = Element::builder("body", ns::JABBER_CLIENT)
            .append(text)
            .build();
        let message = Element::builder("message", ns::JABBER_CLIENT)
            .attr("to".try_into()?, to)
            .attr("id".try_into()?, id.as_str())
            .attr("type".try_into()?, "chat")
            .append(body)
            .build();
        self.recorder.note("xmpp", true, "message");
        self.out.send(message).await.context("the stream ended")?;
        Ok(id)
    }

    /// The next message with a body: from whom, and what.
    ///
    /// # Errors
    /// None came in time, or the stream ended.
    pub(crate) async fn message(&self, patience: Duration) -> Result<(String, String)> {
        let mut arrived = self.arrived.lock().await;
        let next = async {
            loop {
                let stanza = arrived.recv().await.context("the stream ended")?;
                let body = stanza
                    .get_child("body", ns::JABBER_CLIENT)
                    .map(Element::text);
                if let (true, Some(body)) = (stanza.name() == "message", body) {
                    let from = attribute(&stanza, "from");
                    return Ok((from, body));
                }
            }
        };
        tokio::time::timeout(patience, next)
            .await
            .with_context(|| format!("no message in {patience:?}"))?
    }

    /// Signs off.
    pub(crate) async fn close(mut self) {
        let gone = Element::builder("presence", ns::JABBER_CLIENT);
        if let Ok(kind) = "type".try_into() {
            let _ = self.out.send(gone.attr(kind, "unavailable").build()).await;
        }
        // The task ends the stream once nobody can ask it for more.
        self.out = mpsc::channel(1).0;
        let _ = tokio::time::timeout(Duration::from_secs(2), &mut self.task).await;
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes what is to go out and hands up what comes in, until either ends.
async fn run(
    mut stream: Secure,
    mut outgoing: mpsc::Receiver<Element>,
    arrived: mpsc::Sender<Element>,
    recorder: Recorder,
) {
    loop {
        tokio::select! {
            stanza = outgoing.recv() => match stanza {
                Some(stanza) => {
                    if stream.send(&stanza).await.is_err() {
                        return;
                    }
                }
                None => break,
            },
            stanza = stream.next() => match stanza {
                Some(Ok(stanza)) => {
                    recorder.note("xmpp", false, stanza.name());
                    // What nobody reads in time is lost to its reader alone.
                    let _ = arrived.try_send(stanza);
                }
                _ => return,
            },
        }
    }
    let _ = SinkExt::<&Element>::close(&mut stream).await;
}

async fn sign_in(place: &Place, user: &str, proof: &Proof) -> Result<(Secure, String, String)> {
    let socket = if place.server.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind((place.local, 0).into())?;
    let server = place.server;
    let tcp = socket
        .connect(server)
        .await
        .with_context(|| format!("connecting to {server}"))?;
    tcp.set_nodelay(true)?;
    let tcp = start_tls(tcp, &place.domain).await.context("STARTTLS")?;
    let name = ServerName::try_from(place.domain.clone())?;
    let tls = TlsConnector::from(Arc::clone(&place.tls))
        .connect(name, tcp)
        .await
        .with_context(|| format!("TLS with {server} as {}", place.domain))?;
    let version = tls.get_ref().1.protocol_version().and_then(|v| v.as_str());
    let version = version.unwrap_or_default().to_owned();
    let pending = initiate_stream(
        BufReader::new(tls),
        ns::JABBER_CLIENT,
        header(&place.domain),
        timeouts(),
    )
    .await?;
    let (features, mut stream) = pending.recv_features::<Element>().await?;
    let offers = |mechanism: &str| features.sasl_mechanisms.iter().any(|m| m == mechanism);
    let (mechanism, text) = match proof {
        Proof::OneTime { token, .. } if offers(VTG_TOKEN) => (
            VTG_TOKEN,
            format!("userid={user}@{}\0token={token}", place.domain),
        ),
        Proof::OneTime { password, .. } | Proof::Password(password) => {
            ("PLAIN", format!("\0{user}\0{password}"))
        }
    };
    if !offers(mechanism) {
        bail!(
            "{mechanism} is not offered, but {:?}",
            features.sasl_mechanisms
        );
    }
    let auth = Element::builder("auth", ns::SASL)
        .attr("mechanism".try_into()?, mechanism)
        .append(STANDARD.encode(text))
        .build();
    place.recorder.note("xmpp", true, "auth");
    stream.send(&auth).await?;
    let answer = next(&mut stream).await.context("SASL")?;
    place.recorder.note("xmpp", false, answer.name());
    if answer.name() != "success" {
        let why = answer
            .children()
            .next()
            .map(|c| c.name().to_owned())
            .unwrap_or_default();
        bail!("{mechanism} was answered {} {why}", answer.name());
    }
    let pending = stream
        .initiate_reset()
        .send_header(header(&place.domain))
        .await?;
    let (_, mut stream) = pending.recv_features::<Element>().await?;
    let address = bind(&mut stream).await.context("binding a resource")?;
    Ok((stream, address, format!("{version}, {mechanism}")))
}

/// The part in the clear.
async fn start_tls(tcp: TcpStream, domain: &str) -> Result<TcpStream> {
    let pending = initiate_stream(
        BufReader::new(tcp),
        ns::JABBER_CLIENT,
        header(domain),
        timeouts(),
    )
    .await?;
    let (features, mut stream) = pending.recv_features::<Element>().await?;
    if features.starttls.is_none() {
        bail!("it is not offered");
    }
    if !features.sasl_mechanisms.is_empty() {
        bail!(
            "mechanisms are offered in the clear: {:?}",
            features.sasl_mechanisms
        );
    }
    stream.send(&Element::bare("starttls", ns::TLS)).await?;
    let answer = next(&mut stream).await?;
    if !answer.is("proceed", ns::TLS) {
        bail!("it was answered {}", answer.name());
    }
    Ok(stream.into_inner().into_inner())
}

async fn bind(stream: &mut Secure) -> Result<String> {
    let resource = Element::builder("resource", ns::BIND)
        .append(format!("lab-{}", token(4)))
        .build();
    let bind = Element::builder("bind", ns::BIND).append(resource).build();
    let iq = Element::builder("iq", ns::JABBER_CLIENT)
        .attr("type".try_into()?, "set")
        .attr("id".try_into()?, "bind")
        .append(bind)
        .build();
    stream.send(&iq).await?;
    let answer = next(stream).await?;
    let address = answer
        .get_child("bind", ns::BIND)
        .and_then(|bind| bind.get_child("jid", ns::BIND))
        .map(Element::text);
    address.with_context(|| format!("the answer is {}", attribute(&answer, "type")))
}

async fn next<S>(stream: &mut XmlStream<S, Element>) -> Result<Element>
where
    S: tokio::io::AsyncBufRead + tokio::io::AsyncWrite + Unpin,
{
    let read = tokio::time::timeout(STEP, stream.next())
        .await
        .context("no answer")?;
    match read {
        Some(Ok(element)) => Ok(element),
        Some(Err(fault)) => bail!("{fault}"),
        None => bail!("the stream ended"),
    }
}

fn header(domain: &str) -> StreamHeader<'static> {
    StreamHeader {
        to: Some(Cow::Owned(domain.to_owned())),
        from: None,
        id: None,
    }
}

fn timeouts() -> Timeouts {
    Timeouts {
        read_timeout: Duration::from_secs(300),
        response_timeout: Duration::from_secs(300),
    }
}

fn attribute(element: &Element, name: &str) -> String {
    element.attr(name).unwrap_or_default().to_owned()
}
