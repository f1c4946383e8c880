//! What the core does with the XMPP streams that come through an edge's lane.
//!
//! The domain is judged again, by the header that the server will see. The domain's servers are
//! tried in order, each at all its addresses, and secured as the configuration says; nothing else
//! is ever dialled. A server that answers gets the client's own header, and from there on
//! everything is framed again: a hostile edge gains nothing that a client would not. Features are
//! rewritten, since the client's TLS ends at the edge.
//!
//! Who has guessed passwords, here or at sign-in, is told to wait; who is signed out loses the
//! stream.
//!
//! 403 tells the edge that the domain is not served, 429 that the client has to wait, 502 that no
//! server can be reached, after which errors go to the client in the stream.
//!
//! Bounds: 3 s to connect, 5 s to open a stream, 15 s in all; [`Times`].

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use net::lane::{self, Body};
use net::tls::{self, Trust};
use node::gate::{CoreGate, InsideTls, XmppServer};
use node::io::{Answer, Question, Report};
use policy::signed_out::SignOut;
use rustls::ClientConfig;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};
use xmpp::relay::{Features, Seen};
use xmpp::starttls::{Initiator, Next, Wish};
use xmpp::{Relay, answer};

use crate::metadata;
use crate::signal::Handle;
pub use crate::xmpp_pump::Times;
use crate::xmpp_pump::{Duplex, End, Pump, Track, arrived, write};

const DIAL_MAX: Duration = Duration::from_secs(3);
const OPEN_MAX: Duration = Duration::from_secs(5);
const WHOLE_MAX: Duration = Duration::from_secs(15);
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// The longest header taken from an edge, in base64: twice what a client may send.
const HELLO_MAX: usize = 8 * 1024;

/// The XMPP service of a core; cheap to clone.
#[derive(Clone)]
pub struct XmppCore {
    /// The way to the node.
    pub handle: Handle,
    /// The node's verdicts.
    pub gate: tls::Live<CoreGate>,
    /// Finds servers.
    pub resolver: net::dns::Resolver,
    /// Whom a server's certificate must come from where it is checked; it must carry the domain or
    /// the server's name.
    pub trust: tls::Live<Trust>,
    /// TLS without a check, for [`InsideTls::Opportunistic`]: [`tls::inside_client`] without trust.
    pub unchecked: Arc<ClientConfig>,
    /// How long clients may take.
    pub times: Times,
    /// Tells of users who are signed out.
    pub outs: broadcast::Sender<SignOut>,
    /// Numbers streams.
    pub streams: Arc<AtomicU64>,
    /// Ends all streams.
    pub stop: watch::Receiver<bool>,
}

/// What a stream's request says.
struct Asked {
    track: Track,
    domain: String,
    relay: Relay,
    /// The client's header.
    hello: Vec<u8>,
}

/// A stream to a server.
struct Opened {
    server: Box<dyn Duplex>,
    /// `host:port`.
    name: String,
    /// What it has said.
    heard: Vec<u8>,
}

impl XmppCore {
    /// Answers one request that came by the lane of a peer.
    pub async fn answer(self, _peer: usize, request: Request<Incoming>) -> Response<Body> {
        let began = Instant::now();
        let outs = self.outs.subscribe();
        let asked = match self.judge(&request) {
            Ok(asked) => asked,
            Err(status) => return refused(status),
        };
        let client = asked.track.client.ip();
        let may = self.handle.ask(Question::Chat { client }).await;
        if matches!(may, Ok(Answer::Chat(false))) {
            return refused(StatusCode::TOO_MANY_REQUESTS);
        }
        let opened = match timeout(WHOLE_MAX, self.open(&asked)).await {
            Ok(Some(opened)) => opened,
            Ok(None) | Err(_) => return refused(StatusCode::BAD_GATEWAY),
        };
        asked.track.went(1, "stream");
        let mut stop = self.stop.clone();
        let times = self.times;
        tokio::spawn(async move {
            let work = async {
                // The lane breaking before the pipe stands means that nobody waits for it.
                if let Ok(pipe) = lane::upgraded(request).await {
                    pump(asked, opened, pipe, began, (times, outs)).await;
                }
            };
            tokio::select! {
                () = work => {}
                // The sender being gone means that the program stops, too.
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
        Response::new(lane::empty())
    }

    fn judge(&self, request: &Request<Incoming>) -> Result<Asked, StatusCode> {
        if request.method() != Method::CONNECT {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let headers = request.headers();
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let trace = field(headers, &metadata::TRACE);
        let track = Track {
            handle: self.handle.clone(),
            number: self.streams.fetch_add(1, Ordering::Relaxed),
            id: trace.chars().take(32).collect::<String>().into(),
            client: metadata::client(headers).unwrap_or(nowhere),
            sides: ["lane", "inside"],
        };
        let encoded = field(headers, &metadata::STREAM);
        if encoded.len() > HELLO_MAX {
            return Err(StatusCode::BAD_REQUEST);
        }
        let said = STANDARD
            .decode(encoded)
            .map_err(|_| StatusCode::BAD_REQUEST)?;
        let (mut relay, mut hello) = (Relay::new(Features::Rewrite), Vec::new());
        let passed = relay.from_client(&said, &mut hello).map_err(|violation| {
            track.violation(violation);
            StatusCode::BAD_REQUEST
        })?;
        let (taken, Some(Seen::Header(header))) = passed else {
            return Err(StatusCode::BAD_REQUEST);
        };
        if taken != said.len() {
            return Err(StatusCode::BAD_REQUEST);
        }
        track.came(0, "stream");
        let gate = self.gate.get();
        let served = gate
            .domains
            .iter()
            .find(|d| d.im_presence && header.is_for(d.name.as_str()));
        let domain = served
            .ok_or(StatusCode::FORBIDDEN)?
            .name
            .as_str()
            .to_owned();
        tracing::debug!(
            id = &*track.id,
            client = %track.client,
            edge = field(headers, &metadata::EDGE),
            tls = field(headers, &metadata::TLS),
            "an XMPP stream came"
        );
        Ok(Asked {
            track,
            domain,
            relay,
            hello,
        })
    }

    /// The first of the domain's servers that answers.
    async fn open(&self, asked: &Asked) -> Option<Opened> {
        let mut servers = self.gate.get().xmpp.clone();
        servers.retain(|server| server.domain.eq_ignore_ascii_case(&asked.domain));
        if servers.is_empty() {
            let why = "no XMPP server is configured or discovered for the domain";
            unreachable(&asked.track, asked.domain.clone(), why.into());
        }
        for server in &servers {
            let name = format!("{}:{}", server.host, server.port);
            match self.try_server(asked, server).await {
                Ok((stream, heard)) => {
                    return Some(Opened {
                        server: stream,
                        name,
                        heard,
                    });
                }
                Err(why) => unreachable(&asked.track, name, why),
            }
        }
        None
    }

    async fn try_server(
        &self,
        asked: &Asked,
        server: &XmppServer,
    ) -> Result<(Box<dyn Duplex>, Vec<u8>), String> {
        let dialled =
            crate::dial::tcp(&self.resolver, &server.host, server.port, None, DIAL_MAX).await;
        let stream = dialled.map_err(|e| e.to_string())?;
        net::socket::tune(&stream);
        match timeout(OPEN_MAX, self.greet(asked, server, stream)).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("no stream within {} s", OPEN_MAX.as_secs())),
        }
    }

    /// Opens a stream, secured as `server` wants it.
    async fn greet(
        &self,
        asked: &Asked,
        server: &XmppServer,
        mut stream: TcpStream,
    ) -> Result<(Box<dyn Duplex>, Vec<u8>), String> {
        let mut initiator = Initiator::new(match server.tls {
            InsideTls::Off => Wish::Never,
            InsideTls::Opportunistic => Wish::IfOffered,
            InsideTls::Required => Wish::Always,
        });
        write(&mut stream, &asked.hello).await?;
        net::socket::prompt(&stream);
        match listen_to(asked, &mut stream, &mut initiator).await? {
            Next::Handshake => {}
            _ => return Ok((Box::new(stream), initiator.into_heard())),
        }
        asked.track.came(1, "starttls");
        let config = match server.tls {
            InsideTls::Required => {
                let names = [asked.domain.clone(), server.host.clone()];
                tls::named_client(&self.trust.get(), &names).map_err(|e| e.to_string())?
            }
            InsideTls::Off | InsideTls::Opportunistic => self.unchecked.clone(),
        };
        let secured = tls::connect(config, &asked.domain, stream, HANDSHAKE_MAX).await;
        let mut stream = secured.map_err(|e| e.to_string())?;
        initiator.secured();
        write(&mut stream, &asked.hello).await?;
        net::socket::prompt(stream.get_ref().0);
        listen_to(asked, &mut stream, &mut initiator).await?;
        Ok((Box::new(stream), initiator.into_heard()))
    }
}

/// Hears the server out until the stream is open or to be secured.
async fn listen_to<S: Duplex>(
    asked: &Asked,
    stream: &mut S,
    initiator: &mut Initiator,
) -> Result<Next, String> {
    let mut buffer = vec![0; 4 * 1024];
    loop {
        let read = arrived(stream.read(&mut buffer).await)?;
        let chunk = buffer.get(..read).unwrap_or_default();
        match initiator.hear(chunk).map_err(|e| e.to_string())? {
            Next::Read => {}
            Next::Ask => {
                asked.track.went(1, "starttls");
                write(stream, answer::STARTTLS.as_bytes()).await?;
            }
            next @ (Next::Handshake | Next::Open) => return Ok(next),
        }
    }
}

async fn pump(
    asked: Asked,
    opened: Opened,
    pipe: lane::Pipe,
    began: Instant,
    (times, outs): (Times, broadcast::Receiver<SignOut>),
) {
    let Opened {
        server,
        name,
        heard,
    } = opened;
    let track = asked.track.clone();
    let pump = Pump {
        track: asked.track,
        client: pipe,
        server,
        relay: asked.relay,
        domain: asked.domain,
        held: Vec::new(),
        heard,
        outs: Some(outs),
        began,
        times,
    };
    let (end, up) = pump.run().await;
    tracing::debug!(id = &*track.id, why = end.why(), "an XMPP stream ended");
    match &end {
        // A server that goes down ends many sessions: one that signs in tells as much as all.
        End::ServerLost(_) if !up => unreachable(&track, name, end.why()),
        End::ServerBroke(_) => unreachable(&track, name, end.why()),
        _ => {}
    }
}

fn field<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    metadata::text(headers, name).unwrap_or_default()
}

fn unreachable(track: &Track, server: String, why: String) {
    track.report(Report::InsideUnreachable { server, why });
}

fn refused(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(lane::empty());
    *response.status_mut() = status;
    response
}
