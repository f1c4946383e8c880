//! Connections and transactions: bytes below, requests and answers above.
//!
//! A [`Stack`] listens and dials over TCP and TLS, frames with `sipx-sip`, runs its transaction
//! machines and hands up [`Incoming`] requests through one channel, answers through the
//! [`Answers`] of the request that they answer. A connection that is open to an address is used
//! again, whoever opened it (RFC 5923 in spirit). CRLF keep-alives are answered (RFC 5626 §4.4.1).
//! Bounds: 256 connections, 1024 transactions of a kind, 64 answers waiting for a request's
//! owner, 256 requests waiting.

mod connection;
mod door;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use sipx_sip::transaction::{Dispatch, Output};
use sipx_sip::{
    Header, HeaderName, Message, Method, Reliability, Request, Response, Timer, Timers,
    TransactionKey, TransactionLayer, TuEvent, Uri,
};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

pub(crate) use self::door::Door;
use super::message;
use crate::ladder::Recorder;
use crate::names::Names;

const CONNECTIONS: usize = 256;
const TRANSACTIONS: usize = 1024;
const ANSWERS_WAITING: usize = 64;
const REQUESTS_WAITING: usize = 256;
const WRITES_WAITING: usize = 256;
const DIAL_PATIENCE: Duration = Duration::from_secs(5);

/// A stack; clones share it. Everything it runs ends when the last clone goes and [`Stack::stop`]
/// was called or its runtime ended.
#[derive(Clone)]
pub(crate) struct Stack(Arc<Inner>);

struct Inner {
    local: IpAddr,
    agent: &'static str,
    names: Option<Names>,
    dialing: Option<Arc<rustls::ClientConfig>>,
    recorder: Recorder,
    incoming: mpsc::Sender<Incoming>,
    next_flow: AtomicU64,
    room: Arc<Semaphore>,
    throttle: door::Throttle,
    turned_away: AtomicU64,
    dial: tokio::sync::Mutex<()>,
    rows: Mutex<Rows>,
    tasks: Mutex<JoinSet<()>>,
}

struct Rows {
    layer: TransactionLayer,
    flows: HashMap<u64, Flow>,
    clients: HashMap<TransactionKey, (Flow, mpsc::Sender<Answer>)>,
    servers: HashMap<TransactionKey, Flow>,
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Flow {
    id: u64,
    /// Our end of it.
    pub(crate) local: SocketAddr,
    /// The peer's end of it.
    pub(crate) peer: SocketAddr,
    /// Whether it is TLS.
    pub(crate) secure: bool,
    dialed: bool,
    out: mpsc::Sender<Bytes>,
    pong: Arc<Notify>,
}

/// A request that came in.
#[derive(Clone)]
pub(crate) struct Incoming {
    /// By which connection.
    pub(crate) flow: Flow,
    /// Its transaction; an `ACK` of a 2xx has none.
    pub(crate) key: Option<TransactionKey>,
    /// The request.
    pub(crate) request: Request,
}

/// An answer, or why there is none.
pub(crate) type Answer = Result<Response>;

/// Answers to one request.
pub(crate) struct Answers {
    request: Request,
    flow: Flow,
    receiver: mpsc::Receiver<Answer>,
}

impl Answers {
    /// The next answer.
    ///
    /// # Errors
    /// The transaction timed out, or its connection broke.
    pub(crate) async fn next(&mut self) -> Answer {
        let answer = self.receiver.recv().await;
        answer.unwrap_or_else(|| Err(anyhow!("{}: the transaction is over", self.request.method)))
    }

    /// The final answer, provisional ones passed over.
    pub(crate) async fn last(&mut self) -> Answer {
        loop {
            let response = self.next().await?;
            if response.status.is_final() {
                return Ok(response);
            }
        }
    }

    /// The request as it was sent.
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// The connection it went by.
    pub(crate) fn flow(&self) -> &Flow {
        &self.flow
    }
}

/// What a stack is made of.
pub(crate) struct Setup {
    /// The address it dials from.
    pub(crate) local: IpAddr,
    /// `User-Agent` and `Server`.
    pub(crate) agent: &'static str,
    /// Where it looks up names; `None` knows literal addresses only.
    pub(crate) names: Option<Names>,
    /// How it dials TLS; `None` cannot.
    pub(crate) dialing: Option<Arc<rustls::ClientConfig>>,
    /// Where it writes what crosses it.
    pub(crate) recorder: Recorder,
}

impl Stack {
    /// A stack, and what comes in.
    pub(crate) fn new(setup: Setup) -> (Stack, mpsc::Receiver<Incoming>) {
        let (incoming, receiver) = mpsc::channel(REQUESTS_WAITING);
        let rows = Rows {
            layer: TransactionLayer::new(Timers::default()),
            flows: HashMap::new(),
            clients: HashMap::new(),
            servers: HashMap::new(),
        };
        let inner = Inner {
            local: setup.local,
            agent: setup.agent,
            names: setup.names,
            dialing: setup.dialing,
            recorder: setup.recorder,
            incoming,
            next_flow: AtomicU64::new(1),
            room: Arc::new(Semaphore::new(CONNECTIONS)),
            throttle: door::Throttle::default(),
            turned_away: AtomicU64::new(0),
            dial: tokio::sync::Mutex::new(()),
            rows: Mutex::new(rows),
            tasks: Mutex::default(),
        };
        (Stack(Arc::new(inner)), receiver)
    }

    /// Listens for plain connections, or for TLS if a configuration is given.
    pub(crate) async fn listen(
        &self,
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        door: Door,
    ) -> Result<SocketAddr> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address}"))?;
        let bound = listener.local_addr()?;
        let (stack, door) = (self.clone(), Arc::new(door));
        self.spawn(async move {
            loop {
                let Ok((stream, peer)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                stack.accept(stream, peer, tls.clone(), door.clone());
            }
        });
        Ok(bound)
    }

    /// A connection to that address: one that is open, or a new one. `name` is what the peer's
    /// certificate must show, and asks for TLS.
    pub(crate) async fn connect(&self, peer: SocketAddr, name: Option<&str>) -> Result<Flow> {
        let _one_at_a_time = self.0.dial.lock().await;
        let secure = name.is_some();
        if let Some(flow) = self.open_flow(peer, secure) {
            return Ok(flow);
        }
        tokio::time::timeout(DIAL_PATIENCE, self.dial(peer, name))
            .await
            .with_context(|| format!("no connection to {peer} in {DIAL_PATIENCE:?}"))?
    }

    /// A connection to where that URI points: its address or name, port and transport.
    pub(crate) async fn reach(&self, uri: &Uri) -> Result<Flow> {
        let host = uri
            .host()
            .with_context(|| format!("{uri} names no host"))?
            .to_string();
        let host = host.trim_matches(['[', ']']).to_owned();
        let ip = match (host.parse(), &self.0.names) {
            (Ok(ip), _) => ip,
            (Err(_), Some(names)) => names.address(&host).await?,
            (Err(_), None) => bail!("{host} is a name, and there is no DNS"),
        };
        let secure = uri.scheme().is_secure()
            || uri
                .transport()
                .is_some_and(|transport| transport.eq_ignore_ascii_case(b"tls"));
        let port = uri.port().unwrap_or(if secure { 5061 } else { 5060 });
        self.connect((ip, port).into(), secure.then_some(host.as_str()))
            .await
    }

    /// Sends a request in a transaction of its own.
    pub(crate) async fn request(&self, flow: &Flow, mut request: Request) -> Result<Answers> {
        self.finish(flow, &mut request)?;
        self.begin(flow, request).await
    }

    /// Cancels an `INVITE` that was sent (RFC 3261 §9.1).
    pub(crate) async fn cancel(&self, invite: &Request, flow: &Flow) -> Result<Answers> {
        let mut cancel = Request::new(Method::Cancel, invite.uri.clone());
        let via = invite
            .headers
            .get(&HeaderName::Via)
            .context("an INVITE with Via")?;
        cancel.headers.push(via.clone());
        for name in [
            HeaderName::Route,
            HeaderName::From,
            HeaderName::To,
            HeaderName::CallId,
        ] {
            for header in invite.headers.get_all(&name) {
                cancel.headers.push(header.clone());
            }
        }
        let number = message::sequence(&invite.headers).context("an INVITE with CSeq")?;
        message::add(
            &mut cancel.headers,
            HeaderName::CSeq,
            format!("{number} CANCEL"),
        )?;
        message::add(&mut cancel.headers, HeaderName::MaxForwards, "70")?;
        message::add(&mut cancel.headers, HeaderName::ContentLength, "0")?;
        self.begin(flow, cancel).await
    }

    /// Sends an `ACK` for a 2xx, which has no transaction.
    pub(crate) async fn acknowledge(&self, flow: &Flow, mut ack: Request) -> Result<()> {
        self.finish(flow, &mut ack)?;
        self.write(flow, &Message::Request(ack)).await
    }

    /// Answers a request.
    pub(crate) async fn respond(&self, incoming: &Incoming, mut response: Response) -> Result<()> {
        let key = incoming.key.as_ref().context("an ACK is not answered")?;
        if response.headers.get(&HeaderName::Server).is_none() {
            let server = Header::build(HeaderName::Server, self.0.agent)?;
            response
                .headers
                .insert(response.headers.len().saturating_sub(1), server);
        }
        let outputs = self.rows().layer.send_response(key, response);
        self.perform(key, &incoming.flow, outputs).await;
        Ok(())
    }

    /// Answers a request with a status and nothing else.
    pub(crate) async fn refuse(&self, incoming: &Incoming, code: u16, reason: &str) -> Result<()> {
        let response = message::answer(&incoming.request, code, reason, &message::token(8))?;
        self.respond(incoming, response).await
    }

    /// Sends a keep-alive and waits for its answer (RFC 5626 §4.4.1).
    pub(crate) async fn ping(&self, flow: &Flow, patience: Duration) -> Result<Duration> {
        self.probe(flow, Bytes::from_static(b"\r\n\r\n"), patience)
            .await
    }

    /// Sends a STUN binding request and waits for its answer, or any other sign of life.
    ///
    /// # Errors
    /// None came.
    pub(crate) async fn bind(&self, flow: &Flow, patience: Duration) -> Result<Duration> {
        self.probe(flow, door::request(rand::random()).into(), patience)
            .await
    }

    async fn probe(&self, flow: &Flow, bytes: Bytes, patience: Duration) -> Result<Duration> {
        let start = std::time::Instant::now();
        let pong = flow.pong.notified();
        flow.out
            .send(bytes)
            .await
            .context("the connection is closed")?;
        tokio::time::timeout(patience, pong)
            .await
            .context("no pong")?;
        Ok(start.elapsed())
    }

    /// Connections refused because their certificate showed none of the names asked for.
    #[cfg(test)]
    pub(crate) fn turned_away(&self) -> u64 {
        self.0
            .turned_away
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Ends every connection, listener and transaction.
    pub(crate) fn stop(&self) {
        self.0.tasks().abort_all();
        let mut rows = self.rows();
        rows.flows.clear();
        rows.clients.clear();
        rows.servers.clear();
        rows.layer = TransactionLayer::new(Timers::default());
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something until it ends or the stack stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    async fn receive(&self, flow: &Flow, message: Message) {
        self.0.recorder.sip(false, &message);
        let dispatch = {
            let mut rows = self.rows();
            let (_, servers) = rows.layer.len();
            if servers >= TRANSACTIONS && message.as_request().is_some() {
                return;
            }
            rows.layer.receive(message, Reliability::Reliable)
        };
        match dispatch {
            Dispatch::Matched { key, outputs } | Dispatch::Created { key, outputs } => {
                self.perform(&key, flow, outputs).await;
            }
            Dispatch::Unmatched(message) => {
                if let Message::Request(request) = *message {
                    self.deliver(Incoming {
                        flow: flow.clone(),
                        key: None,
                        request,
                    })
                    .await;
                }
            }
        }
    }

    async fn deliver(&self, incoming: Incoming) {
        let _ = self.0.incoming.send(incoming).await;
    }

    /// `Via`, `Max-Forwards`, `User-Agent` and `Content-Length`, where they lack.
    fn finish(&self, flow: &Flow, request: &mut Request) -> Result<()> {
        let transport = if flow.secure { "TLS" } else { "TCP" };
        let branch = message::token(12);
        let via = format!(
            "SIP/2.0/{transport} {};branch=z9hG4bK{branch};rport",
            flow.local
        );
        request
            .headers
            .push_front(Header::build(HeaderName::Via, via)?);
        let defaults = [
            (HeaderName::MaxForwards, "70"),
            (HeaderName::UserAgent, self.0.agent),
            (HeaderName::ContentLength, "0"),
        ];
        for (name, value) in defaults {
            if request.headers.get(&name).is_none() {
                message::add(&mut request.headers, name, value)?;
            }
        }
        Ok(())
    }

    async fn begin(&self, flow: &Flow, request: Request) -> Result<Answers> {
        let (sender, receiver) = mpsc::channel(ANSWERS_WAITING);
        let (key, outputs) = {
            let mut rows = self.rows();
            if rows.clients.len() >= TRANSACTIONS {
                bail!("more than {TRANSACTIONS} requests under way");
            }
            let (key, outputs) = rows
                .layer
                .send_request(request.clone(), Reliability::Reliable)
                .context("a request with Via")?;
            rows.clients.insert(key.clone(), (flow.clone(), sender));
            (key, outputs)
        };
        self.perform(&key, flow, outputs).await;
        Ok(Answers {
            request,
            flow: flow.clone(),
            receiver,
        })
    }

    /// Does what a transaction asks for.
    async fn perform(&self, key: &TransactionKey, flow: &Flow, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(message) => {
                    let flow = self
                        .rows()
                        .servers
                        .get(key)
                        .cloned()
                        .unwrap_or_else(|| flow.clone());
                    let _ = self.write(&flow, &message).await;
                }
                Output::SetTimer { timer, after } => {
                    self.set_timer(key.clone(), flow.clone(), timer, after)
                }
                Output::ToTu(event) => self.tell(key, flow, *event).await,
                Output::Terminated(_) => {
                    let mut rows = self.rows();
                    rows.clients.remove(key);
                    rows.servers.remove(key);
                }
                // A timer that fires late finds its machine gone and does nothing.
                _ => {}
            }
        }
    }

    fn set_timer(&self, key: TransactionKey, flow: Flow, timer: Timer, after: Duration) {
        let stack = self.clone();
        self.spawn(async move {
            tokio::time::sleep(after).await;
            let outputs = stack.rows().layer.on_timer(&key, timer);
            Box::pin(stack.perform(&key, &flow, outputs)).await;
        });
    }

    async fn tell(&self, key: &TransactionKey, flow: &Flow, event: TuEvent) {
        let answer = match event {
            TuEvent::Request(request) => {
                self.rows().servers.insert(key.clone(), flow.clone());
                let key = Some(key.clone());
                return self
                    .deliver(Incoming {
                        flow: flow.clone(),
                        key,
                        request: *request,
                    })
                    .await;
            }
            TuEvent::Ack(request) => {
                return self
                    .deliver(Incoming {
                        flow: flow.clone(),
                        key: None,
                        request: *request,
                    })
                    .await;
            }
            TuEvent::Response(response) => Ok(*response),
            TuEvent::Timeout => Err(anyhow!("no answer in time")),
            _ => Err(anyhow!("the connection broke")),
        };
        let sender = self
            .rows()
            .clients
            .get(key)
            .map(|(_, sender)| sender.clone());
        if let Some(sender) = sender {
            // Whoever asked may have stopped listening.
            let _ = sender.try_send(answer);
        }
    }

    async fn write(&self, flow: &Flow, message: &Message) -> Result<()> {
        self.0.recorder.sip(true, message);
        flow.out
            .send(message.to_bytes())
            .await
            .map_err(|_| anyhow!("the connection is closed"))
    }
}

impl Inner {
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
