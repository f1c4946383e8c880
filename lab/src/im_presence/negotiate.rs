//! How an XMPP client gets in: stream, STARTTLS, SASL, bind (RFC 6120 §4 to §7).
//!
//! Passwords pass under TLS only. Mechanisms: PLAIN with the user's password (RFC 4616), and
//! CISCO-VTG-TOKEN with a one-time password from the SOAP interface. Bounds: 10 s for each step,
//! three tries to sign in, 256 stanzas waiting for a slow reader.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use minidom::Element;
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_xmpp::xmlstream::{AcceptedStream, StreamHeader, Timeouts, XmlStream, accept_stream};
use xmpp_parsers::bind::BindFeature;
use xmpp_parsers::ns;
use xmpp_parsers::starttls::StartTls;
use xmpp_parsers::stream_error::{DefinedCondition, StreamError};
use xmpp_parsers::stream_features::StreamFeatures;

use super::Shared;
use super::session;
use crate::world::{DOMAIN, secret};

const STEP: Duration = Duration::from_secs(10);
const TRIES_MAX: usize = 3;
const VTG_TOKEN: &str = "CISCO-VTG-TOKEN";

/// Accepts clients until the runtime ends.
pub async fn serve(address: SocketAddr, shared: Arc<Shared>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    let shared = shared.clone();
                    // Whatever a client does wrong ends its own stream.
                    tokio::spawn(async move { client(stream, &shared).await.ok() });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    Ok(bound)
}

/// One client, from its first byte to its last.
async fn client(stream: TcpStream, shared: &Shared) -> Result<()> {
    let tls = timeout(STEP, start_tls(BufReader::new(stream))).await??;
    let tls = timeout(STEP, shared.tls.accept(tls)).await??;
    let accepted = timeout(STEP, accept(BufReader::new(tls))).await??;
    let features = StreamFeatures {
        sasl_mechanisms: BTreeSet::from(["PLAIN".to_owned(), VTG_TOKEN.to_owned()]),
        ..StreamFeatures::default()
    };
    let stream = head(accepted, &features).await?;
    let (accepted, user) = timeout(STEP * 3, sign_in(stream, shared)).await??;
    let session_feature =
        Element::builder("session", SESSION).append(Element::builder("optional", SESSION).build());
    let features = StreamFeatures {
        bind: Some(BindFeature { required: false }),
        others: vec![session_feature.build()],
        ..StreamFeatures::default()
    };
    let stream = head(accepted, &features).await?;
    session::run(stream, &user, shared).await
}

/// The namespace of the session that RFC 3921 wanted, which old clients still ask for.
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";

async fn accept<S: AsyncBufRead + AsyncWrite + Unpin>(io: S) -> io::Result<AcceptedStream<S>> {
    let timeouts = Timeouts {
        read_timeout: Duration::from_secs(300),
        response_timeout: Duration::from_secs(60),
    };
    accept_stream(io, ns::JABBER_CLIENT, timeouts).await
}

/// Sends our head and what we offer; another domain than ours is refused.
async fn head<S: AsyncBufRead + AsyncWrite + Unpin + Send>(
    accepted: AcceptedStream<S>,
    features: &StreamFeatures,
) -> Result<XmlStream<S, Element>> {
    let known = accepted
        .header()
        .to
        .as_deref()
        .is_none_or(|to| to.eq_ignore_ascii_case(DOMAIN));
    let ours = StreamHeader {
        from: Some(Cow::Borrowed(DOMAIN)),
        to: None,
        id: Some(Cow::Owned(secret(16))),
    };
    let pending = accepted.send_header(ours).await?;
    if !known {
        let error = StreamError {
            condition: DefinedCondition::HostUnknown,
            texts: BTreeMap::new(),
            application_specific: Vec::new(),
        };
        pending.send_error(&error).await?;
        bail!("another domain");
    }
    Ok(pending.send_features(features).await?)
}

/// The part before TLS.
async fn start_tls(io: BufReader<TcpStream>) -> Result<TcpStream> {
    let features = StreamFeatures {
        starttls: Some(StartTls { required: true }),
        ..StreamFeatures::default()
    };
    let mut stream = head(accept(io).await?, &features).await?;
    let Some(Ok(asked)) = stream.next().await else {
        bail!("the client left")
    };
    if !asked.is("starttls", ns::TLS) {
        fail(&mut stream, "policy-violation").await;
        bail!("no STARTTLS");
    }
    stream.send(&Element::bare("proceed", ns::TLS)).await?;
    let io = stream.into_inner();
    // Bytes that came with the request would be read as if they came under TLS.
    ensure!(io.buffer().is_empty(), "bytes behind starttls");
    Ok(io.into_inner())
}

/// SASL, to the restarted stream and the user's name.
async fn sign_in<S: AsyncBufRead + AsyncWrite + Unpin + Send>(
    mut stream: XmlStream<S, Element>,
    shared: &Shared,
) -> Result<(AcceptedStream<S>, String)> {
    for _ in 0..TRIES_MAX {
        let Some(Ok(asked)) = stream.next().await else {
            bail!("the client left")
        };
        if !asked.is("auth", ns::SASL) {
            fail(&mut stream, "not-authorized").await;
            bail!("no auth");
        }
        let data = STANDARD
            .decode(asked.text().trim())
            .ok()
            .and_then(|d| String::from_utf8(d).ok());
        let refused = match (asked.attr("mechanism"), data) {
            (_, None) => "incorrect-encoding",
            (Some("PLAIN"), Some(data)) => match plain(&data, shared) {
                Some(user) => return accepted(stream, user).await,
                None => "not-authorized",
            },
            (Some(VTG_TOKEN), Some(data)) => match token(&data, shared) {
                Some(user) => return accepted(stream, user).await,
                None => "not-authorized",
            },
            _ => "invalid-mechanism",
        };
        let refusal =
            Element::builder("failure", ns::SASL).append(Element::bare(refused, ns::SASL));
        stream.send(&refusal.build()).await?;
    }
    fail(&mut stream, "policy-violation").await;
    bail!("too many tries")
}

async fn accepted<S: AsyncBufRead + AsyncWrite + Unpin + Send>(
    stream: XmlStream<S, Element>,
    user: String,
) -> Result<(AcceptedStream<S>, String)> {
    Ok((
        stream
            .accept_reset(&Element::bare("success", ns::SASL))
            .await?,
        user,
    ))
}

/// `authzid NUL authcid NUL password`.
fn plain(data: &str, shared: &Shared) -> Option<String> {
    let mut parts = data.split('\0');
    let (act_as, name, password) = (parts.next()?, parts.next()?, parts.next()?);
    let user = shared.accounts.check(local(name)?, password)?;
    (act_as.is_empty() || local(act_as)?.eq_ignore_ascii_case(&user.name))
        .then(|| user.name.clone())
}

/// `userid=… NUL token=…`.
fn token(data: &str, shared: &Shared) -> Option<String> {
    let (user, token) = data.split_once('\0')?;
    let user = local(user.strip_prefix("userid=")?)?;
    let user = shared.accounts.world.user(user)?;
    let token = token.strip_prefix("token=")?.trim_end_matches('\0');
    shared
        .tokens
        .redeem(&user.name, token)
        .then(|| user.name.clone())
}

/// The user's name of `name` or `name@our domain`.
fn local(name: &str) -> Option<&str> {
    match name.split_once('@') {
        None => Some(name),
        Some((local, domain)) => domain.eq_ignore_ascii_case(DOMAIN).then_some(local),
    }
}

/// A stream error, as far as the client still reads, and the end.
pub async fn fail<S: AsyncBufRead + AsyncWrite + Unpin>(
    stream: &mut XmlStream<S, Element>,
    condition: &str,
) {
    let error = Element::builder("error", ns::STREAM).append(Element::bare(
        condition,
        "urn:ietf:params:xml:ns:xmpp-streams",
    ));
    let _ = timeout(STEP, async {
        stream.send(&error.build()).await?;
        stream.shutdown().await
    })
    .await;
}
