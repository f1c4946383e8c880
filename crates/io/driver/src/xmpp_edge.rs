//! Port 5222 on the edge: clients' XMPP streams, secured here and passed to a core.
//!
//! A stream begins without TLS and must ask for it, or begins with TLS at once (XEP-0368); a TLS
//! handshake's first byte tells which. The domain is judged against the gate's snapshot, before
//! TLS and again after it. Then one byte pipe in the XMPP lane leads to a core that serves
//! the domain, which judges everything again; a core that fails is followed by the next. What
//! passes is framed both ways.
//!
//! A refusal is a stream error (RFC 6120 §4.9.3): `host-unknown` for a domain that is not served,
//! `remote-connection-failed` when no core or no server is there, `resource-constraint` when the
//! lane is full.
//!
//! Bounds: caps for each source, [`Times`], 20 s for a core's answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, Request, StatusCode};
use net::lane::{EdgeLane, Pipe};
use net::tls;
use node::gate::EdgeGate;
use rustls::ServerConfig;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use xmpp::relay::{Features, Seen};
use xmpp::starttls::{Heard, Responder};
use xmpp::{Condition, Relay, StreamHeader, Violation, answer};

use crate::listen::{self, Caps, Sources};
use crate::metadata;
use crate::signal::Handle;
pub use crate::xmpp_pump::Times;
use crate::xmpp_pump::{Duplex, Pump, Track, arrived, say_and_close, write};

/// The application protocol of XMPP clients (XEP-0368 §3), for [`tls::client_facing`].
pub const ALPN: [&[u8]; 1] = [b"xmpp-client"];

const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// The core has 15 s to reach a server.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// The first byte of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

const READ: usize = 4 * 1024;

/// The XMPP service of an edge.
#[derive(Clone)]
pub struct XmppEdge {
    /// The way to the node.
    pub handle: Handle,
    /// Made by [`tls::client_facing`] with [`ALPN`].
    pub config: tls::Live<ServerConfig>,
    /// The node's verdicts.
    pub gate: tls::Live<EdgeGate>,
    /// The XMPP lane of each peer, in the order of the node's peers.
    pub lanes: Arc<[EdgeLane]>,
    /// This edge's name.
    pub name: Arc<str>,
    /// How many connections there may be.
    pub caps: Caps,
    /// How long clients may take.
    pub times: Times,
    /// Numbers streams.
    pub streams: Arc<AtomicU64>,
}

impl XmppEdge {
    /// Accepts until told to stop.
    pub async fn run(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let sources = Sources::new(self.caps).telling(self.handle.clone());
        // Streams' names must be hard to guess (RFC 6120 §4.7.3): hashed under a key of this run.
        let names = std::hash::RandomState::new();
        listen::accept(listener, sources, stop, move |stream, remote| {
            let edge = self.clone();
            let number = self.streams.fetch_add(1, Ordering::Relaxed);
            let track = Track {
                handle: self.handle.clone(),
                number,
                id: number.to_string().into(),
                client: remote,
                sides: ["client", "lane"],
            };
            let began = Instant::now();
            let name = format!("{:016x}", std::hash::BuildHasher::hash_one(&names, number));
            Visit {
                edge,
                track,
                began,
                name,
            }
            .run(stream)
        })
        .await;
    }
}

/// One client's connection.
struct Visit {
    edge: XmppEdge,
    track: Track,
    began: Instant,
    /// The name of a stream that this edge answers itself.
    name: String,
}

/// Why a client goes no further.
enum Refusal {
    /// It broke the protocol.
    Broke(Violation),
    /// It is told why.
    Told(Condition, String),
    /// It is gone, or said good-bye.
    Gone,
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Refusal::Broke(violation)
    }
}

impl Visit {
    async fn run(self, mut stream: TcpStream) {
        net::socket::tune(&stream);
        let mut first = [0];
        match timeout(self.edge.times.header, stream.peek(&mut first)).await {
            Ok(Ok(1..)) => {}
            _ => return,
        }
        let direct = first == [TLS_HANDSHAKE];
        if !direct {
            let mut greeted = false;
            let late = self.began + self.edge.times.sign_in;
            let asked = match timeout_at(late, self.plain(&mut stream, &mut greeted)).await {
                Ok(asked) => asked,
                Err(_) => Err(too_slow("asking for TLS")),
            };
            if let Err(refusal) = asked {
                return self.refuse(&mut stream, greeted, refusal).await;
            }
        }
        match tls::accept(self.edge.config.get(), stream, HANDSHAKE_MAX).await {
            Ok(stream) => self.secured(stream, direct).await,
            // Scanners and clients that dislike our certificate: worth a count, not a line.
            Err(e) => tracing::debug!(error = %e, "a client's TLS handshake failed"),
        }
    }

    /// Without TLS: hears the client out until it asks for TLS, and consents.
    async fn plain(&self, stream: &mut TcpStream, greeted: &mut bool) -> Result<(), Refusal> {
        let mut responder = Responder::default();
        let mut buffer = vec![0; READ];
        loop {
            let read = match (*greeted, stream.read(&mut buffer)) {
                (true, read) => read.await,
                (false, read) => timeout(self.edge.times.header, read)
                    .await
                    .map_err(|_| too_slow("the stream header"))?,
            };
            let read = arrived(read).map_err(|_| Refusal::Gone)?;
            let mut rest = buffer.get(..read).unwrap_or_default();
            while !rest.is_empty() {
                let (taken, heard) = responder.hear(rest)?;
                rest = rest.get(taken..).unwrap_or_default();
                match heard {
                    Heard::Nothing => {}
                    Heard::Closed => return Err(Refusal::Gone),
                    Heard::Header(header) => {
                        self.track.came(0, "stream");
                        let (domain, _) = self.judge(&header)?;
                        let offer = answer::header(&domain, &self.name) + answer::STARTTLS_FEATURES;
                        self.track.went(0, "stream");
                        *greeted = true;
                        write(stream, offer.as_bytes())
                            .await
                            .map_err(|_| Refusal::Gone)?;
                    }
                    Heard::StartTls => {
                        self.track.came(0, "starttls");
                        if !rest.trim_ascii().is_empty() {
                            // Whoever put them there cannot be the client (RFC 6120 §5.4.3.3).
                            tracing::debug!(
                                id = &*self.track.id,
                                bytes = rest.len(),
                                "bytes sent ahead of a TLS handshake were dropped"
                            );
                        }
                        self.track.went(0, "starttls");
                        let proceed = answer::PROCEED.as_bytes();
                        return write(stream, proceed).await.map_err(|_| Refusal::Gone);
                    }
                }
            }
        }
    }

    /// The served domain that a header names, and the cores that serve it, best first.
    fn judge(&self, header: &StreamHeader) -> Result<(String, Vec<usize>), Refusal> {
        let gate = self.edge.gate.get();
        if gate.cores.is_empty() {
            return Err(unreachable("no core is linked"));
        }
        let to = header.to.as_deref().unwrap_or_default();
        let to = to.strip_suffix('.').unwrap_or(to);
        let (mut domain, mut peers) = (None, Vec::new());
        for core in gate.serving(to) {
            let offer = core
                .domains
                .iter()
                .find(|d| d.im_presence && header.is_for(d.name.as_str()));
            if let Some(offer) = offer {
                domain = Some(offer.name.as_str().to_owned());
                peers.push(core.peer);
            }
        }
        match domain {
            Some(domain) => Ok((domain, peers)),
            None => Err(unknown()),
        }
    }

    /// With TLS: the stream begins anew, and goes to a core.
    async fn secured(self, mut stream: tls::Stream<TcpStream>, direct: bool) {
        let mut relay = Relay::new(Features::Pass);
        let mut held = Vec::new();
        let opened = match self.open(&mut stream, &mut relay, &mut held).await {
            Ok((hello, domain, peers)) => {
                let facts = tls_facts(&stream, direct);
                let pipe = self.connect(&hello, &domain, &peers, &facts).await;
                pipe.map(|pipe| (pipe, domain))
            }
            Err(refusal) => Err(refusal),
        };
        let (pipe, domain) = match opened {
            Ok(opened) => opened,
            Err(refusal) => return self.refuse(&mut stream, false, refusal).await,
        };
        self.track.went(1, "stream");
        let pump = Pump {
            track: self.track,
            client: stream,
            server: pipe,
            relay,
            domain,
            held,
            heard: Vec::new(),
            outs: None,
            began: self.began,
            times: self.edge.times,
        };
        let (end, _) = pump.run().await;
        tracing::debug!(why = end.why(), "an XMPP stream ended");
    }

    /// Reads the header; gives it with its domain and the cores that serve it.
    async fn open(
        &self,
        stream: &mut tls::Stream<TcpStream>,
        relay: &mut Relay,
        held: &mut Vec<u8>,
    ) -> Result<(Vec<u8>, String, Vec<usize>), Refusal> {
        let until = Instant::now() + self.edge.times.header;
        let (mut buffer, mut hello) = (vec![0; READ], Vec::new());
        loop {
            let read = timeout_at(until, stream.read(&mut buffer))
                .await
                .map_err(|_| too_slow("the stream header"))?;
            let read = arrived(read).map_err(|_| Refusal::Gone)?;
            let said = buffer.get(..read).unwrap_or_default();
            let (taken, seen) = relay.from_client(said, &mut hello)?;
            if let Some(Seen::Header(header)) = seen {
                self.track.came(0, "stream");
                held.extend_from_slice(said.get(taken..).unwrap_or_default());
                let (domain, peers) = self.judge(&header)?;
                return Ok((hello, domain, peers));
            }
        }
    }

    /// A pipe to the first core that takes the stream.
    async fn connect(
        &self,
        hello: &[u8],
        domain: &str,
        peers: &[usize],
        facts: &str,
    ) -> Result<Pipe, Refusal> {
        let mut refusal = unreachable("no XMPP lane to a core is up");
        for lane in peers.iter().filter_map(|peer| self.edge.lanes.get(*peer)) {
            if !lane.is_up() {
                continue;
            }
            let request = self.request(hello, domain, facts)?;
            refusal = match timeout(CONNECT_MAX, lane.connect(request)).await {
                Ok(Ok(Ok(pipe))) => return Ok(pipe),
                Ok(Ok(Err(StatusCode::FORBIDDEN))) => unknown(),
                // Whoever guesses does not go on to the next core.
                Ok(Ok(Err(StatusCode::TOO_MANY_REQUESTS))) => {
                    let text = "too many wrong passwords: try again later";
                    return Err(Refusal::Told(Condition::PolicyViolation, text.into()));
                }
                Ok(Ok(Err(StatusCode::BAD_GATEWAY))) => {
                    unreachable("the domain's server cannot be reached")
                }
                Ok(Ok(Err(_))) | Ok(Err(net::Error::Lane(_) | net::Error::LaneDown)) => {
                    unreachable("the core failed")
                }
                Ok(Err(net::Error::LaneFull)) => {
                    Refusal::Told(Condition::ResourceConstraint, "too many streams".into())
                }
                Ok(Err(_)) => unreachable("the core failed"),
                Err(_) => unreachable("the core did not answer"),
            };
        }
        Err(refusal)
    }

    fn request(&self, hello: &[u8], domain: &str, facts: &str) -> Result<Request<()>, Refusal> {
        let fields: [(HeaderName, String); 6] = [
            (metadata::CLIENT, self.track.client.to_string()),
            (metadata::TRACE, self.track.id.to_string()),
            (metadata::EDGE, self.edge.name.to_string()),
            (metadata::DOMAIN, domain.to_owned()),
            (metadata::TLS, facts.to_owned()),
            (metadata::STREAM, STANDARD.encode(hello)),
        ];
        let mut request = Request::builder().uri(domain);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        request.body(()).map_err(|_| {
            Refusal::Told(
                Condition::InternalServerError,
                "the stream cannot be carried".into(),
            )
        })
    }

    /// Ends a stream that this edge answers itself.
    async fn refuse<S: Duplex>(&self, stream: &mut S, greeted: bool, refusal: Refusal) {
        let (condition, text) = match refusal {
            Refusal::Gone => {
                let close = if greeted {
                    answer::close(b"stream:stream")
                } else {
                    String::new()
                };
                return say_and_close(stream, &close).await;
            }
            Refusal::Broke(violation) => {
                self.track.violation(violation);
                (violation.condition(), violation.to_string())
            }
            Refusal::Told(condition, text) => {
                tracing::debug!(
                    id = &*self.track.id,
                    condition = condition.as_str(),
                    cause = text,
                    "an XMPP stream was refused"
                );
                (condition, text)
            }
        };
        let mut words = String::new();
        if !greeted {
            words = answer::header(&self.edge.name, &self.name);
        }
        words.push_str(&answer::error(b"stream:stream", condition, &text));
        self.track.went(0, "stream");
        say_and_close(stream, &words).await;
    }
}

fn unknown() -> Refusal {
    Refusal::Told(
        Condition::HostUnknown,
        "the domain is not served here".into(),
    )
}

fn unreachable(text: &str) -> Refusal {
    Refusal::Told(Condition::RemoteConnectionFailed, text.to_owned())
}

fn too_slow(what: &str) -> Refusal {
    Refusal::Told(Condition::PolicyViolation, format!("{what} took too long"))
}

/// Version and cipher suite, and how TLS began.
fn tls_facts(stream: &tls::Stream<TcpStream>, direct: bool) -> String {
    let (_, state) = stream.get_ref();
    let version = state
        .protocol_version()
        .and_then(|v| v.as_str())
        .unwrap_or("unknown");
    let suite = state
        .negotiated_cipher_suite()
        .and_then(|s| s.suite().as_str())
        .unwrap_or("unknown");
    let how = if direct { "direct" } else { "starttls" };
    format!("{version} {suite} {how}")
}
