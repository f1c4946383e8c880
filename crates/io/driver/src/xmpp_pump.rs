//! Moves one client's stream between two connections, on the edge and on the core alike.
//!
//! Until a resource is bound, elements pass one by one and are read ([`Relay`]); then chunks pass
//! as they come and are framed only, each direction at its own pace. A side that reads slowly slows
//! down its own stream and no other.
//!
//! How a stream ends matters to its session (XEP-0198 §5): `</stream:stream>` passes and is waited
//! for from the other side; a lost connection is passed on as a loss when the server keeps the
//! session to be resumed, and told to the client as a stream error when it does not. A client that
//! breaks the protocol is told so; the server only sees its connection go.
//!
//! Bounds: [`Times`]; one element or chunk in each direction.

mod half;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use node::io::{Answer, Input, Question, Report};
use policy::signed_out::SignOut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use xmpp::relay::Seen;
use xmpp::{Condition, Kind, Name, Relay, Violation, answer};

use crate::signal::Handle;
use crate::wire;
use half::Half;

/// How long the other side has to end its stream, too.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How long a refused client has to take its error.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What is read at a time before a resource is bound.
const READ: usize = 4 * 1024;

/// A connection, whatever is below.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For each header of its own. Default 10 s.
    pub header: Duration,
    /// From the connection to sign-in. Default 30 s.
    pub sign_in: Duration,
    /// From the connection to a resource. Default 60 s.
    pub bind: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            header: Duration::from_secs(10),
            sign_in: Duration::from_secs(30),
            bind: Duration::from_secs(60),
        }
    }
}

/// A stream's names, for the log and the node.
#[derive(Clone)]
pub(crate) struct Track {
    pub(crate) handle: Handle,
    /// Names it to this node.
    pub(crate) number: u64,
    /// Names it in the logs of both.
    pub(crate) id: Arc<str>,
    /// The client.
    pub(crate) client: SocketAddr,
    /// The words for both sides: `client` and `lane`, or `lane` and `inside`.
    pub(crate) sides: [&'static str; 2],
}

impl Track {
    /// A line about something that came from `side` (0 the client's, 1 the server's).
    pub(crate) fn came(&self, side: usize, what: &str) {
        wire::line(
            "xmpp",
            "in",
            self.sides.get(side).copied().unwrap_or_default(),
            what,
            &self.id,
        );
    }

    /// A line about something that went to `side`.
    pub(crate) fn went(&self, side: usize, what: &str) {
        wire::line(
            "xmpp",
            "out",
            self.sides.get(side).copied().unwrap_or_default(),
            what,
            &self.id,
        );
    }

    fn crossed(&self, from: usize, what: &str) {
        self.came(from, what);
        self.went(1 - from, what);
    }

    /// Tells the node; a node that is swamped has better things to count.
    pub(crate) fn report(&self, report: Report) {
        let _ = self.handle.try_input(Input::Report(report));
    }

    /// Tells the node that the client broke the protocol.
    pub(crate) fn violation(&self, violation: Violation) {
        tracing::debug!(id = &*self.id, %violation, "an XMPP client broke the protocol");
        self.report(Report::Violation {
            protocol: "xmpp",
            source: self.client,
            cause: violation.to_string(),
        });
    }
}

/// Why a stream is over.
#[derive(Debug)]
pub(crate) enum End {
    /// Both sides, or one of them in good order.
    Closed,
    /// The client's connection.
    ClientLost(String),
    /// The server's.
    ServerLost(String),
    /// The client broke the protocol.
    ClientBroke(Violation),
    /// The server did.
    ServerBroke(Violation),
    /// The client took too long.
    TooSlow(&'static str),
    /// Too many wrong passwords.
    TooManyTries,
    /// An administrator signed the user out.
    SignedOut,
}

impl End {
    /// Why, for people.
    pub(crate) fn why(&self) -> String {
        match self {
            End::Closed => "closed".into(),
            End::ClientLost(why) => format!("the client's connection was lost: {why}"),
            End::ServerLost(why) => format!("the server's connection was lost: {why}"),
            End::ClientBroke(violation) => format!("the client sent {violation}"),
            End::ServerBroke(violation) => format!("the server sent {violation}"),
            End::TooSlow(what) => format!("{what} took too long"),
            End::TooManyTries => "too many wrong passwords".into(),
            End::SignedOut => "the user was signed out".into(),
        }
    }
}

/// A stream under way.
pub(crate) struct Pump<C, S> {
    pub(crate) track: Track,
    /// The client's connection, or the lane that leads to it.
    pub(crate) client: C,
    /// The server's connection, or the lane that leads to it.
    pub(crate) server: S,
    /// The stream as it stands: the client's header has passed.
    pub(crate) relay: Relay,
    /// The domain it is for.
    pub(crate) domain: String,
    /// Bytes of the client that came after its header.
    pub(crate) held: Vec<u8>,
    /// Bytes of the server that have been read already.
    pub(crate) heard: Vec<u8>,
    /// On the core: users who are signed out.
    pub(crate) outs: Option<broadcast::Receiver<SignOut>>,
    /// When the client connected.
    pub(crate) began: Instant,
    pub(crate) times: Times,
}

/// What `negotiate` has seen beside its outcome.
#[derive(Default)]
struct Noted {
    /// A session stood.
    up: bool,
    /// One side sent a stream error.
    failed: bool,
    /// The client is being written to.
    writing: bool,
    /// The local part of its address.
    bound: Option<String>,
}

/// Waits until one of these names is signed out, `*` being any; for ever where nobody tells.
async fn signed_out(outs: &mut Option<broadcast::Receiver<SignOut>>, names: &[&str], domain: &str) {
    let Some(outs) = outs else {
        return std::future::pending().await;
    };
    loop {
        let is = |out: &SignOut, name: &&str| {
            let local = name.split('@').next().unwrap_or(name);
            *name == "*" || out.is_of(name, domain) || out.is_of(local, domain)
        };
        match outs.recv().await {
            Ok(out) if names.iter().any(|name| is(&out, name)) => return,
            Ok(_) => {}
            // One was missed, and it may have been about these.
            Err(broadcast::error::RecvError::Lagged(_)) if !names.is_empty() => return,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

impl<C: Duplex, S: Duplex> Pump<C, S> {
    /// Moves everything until the stream is over. Tells why, and whether a session stood.
    pub(crate) async fn run(mut self) -> (End, bool) {
        let mut noted = Noted::default();
        let bind = self.began + self.times.bind;
        let negotiated = match timeout_at(bind, self.negotiate(&mut noted)).await {
            Ok(negotiated) => negotiated,
            Err(_) => Err(End::TooSlow("binding a resource")),
        };
        let Pump {
            track,
            mut client,
            mut server,
            relay,
            held,
            heard,
            domain,
            mut outs,
            ..
        } = self;
        let resumable = relay.is_resumable();
        let said = relay.user().map(|user| user.expose().clone());
        let names: Vec<&str> = [said.as_deref(), noted.bound.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let [up, down] = relay.into_directions();
        let mut halves = [Half::new(up, true), Half::new(down, !noted.writing)];
        halves[1].resumable = resumable;
        halves[1].failed = noted.failed;
        let end = match negotiated {
            Ok(closed) => {
                if closed != Some(0) {
                    halves[0].give(&held, &mut |kind| track.crossed(0, word(kind)));
                }
                if closed != Some(1) {
                    halves[1].give(&heard, &mut |kind| track.crossed(1, word(kind)));
                }
                let names = if names.is_empty() { &["*"][..] } else { &names };
                tokio::select! {
                    end = splice(&track, &mut halves, &mut client, &mut server, closed) => end,
                    () = signed_out(&mut outs, names, &domain) => End::SignedOut,
                }
            }
            Err(end) => end,
        };
        drop(server);
        if noted.up {
            track.report(Report::XmppDown {
                id: track.number,
                why: end.why(),
            });
        }
        let [_, down] = halves;
        farewell(&track, &domain, &mut client, &down, &end).await;
        (end, noted.up)
    }

    /// Until a resource is bound, or one side (told by its number) ends its stream.
    async fn negotiate(&mut self, noted: &mut Noted) -> Result<Option<usize>, End> {
        if let Some(closed) = self.server_says(noted).await? {
            return Ok(Some(closed));
        }
        let (mut from_client, mut from_server) = (vec![0; READ], vec![0; READ]);
        loop {
            while self.relay.client_may_speak() && !self.held.is_empty() && !self.relay.is_bound() {
                if let Some(closed) = self.client_says().await? {
                    return Ok(Some(closed));
                }
            }
            if self.relay.is_bound() {
                return Ok(None);
            }
            let late = self.began + self.times.sign_in;
            // Who has signed in without saying who it is goes with anybody.
            let known = self.relay.user().map(|user| user.expose().as_str());
            let names = known.or(self.relay.is_signed_in().then_some("*"));
            tokio::select! {
                () = signed_out(&mut self.outs, names.as_slice(), &self.domain) => {
                    return Err(End::SignedOut);
                }
                read = self.client.read(&mut from_client), if self.relay.client_may_speak() => {
                    let read = arrived(read).map_err(End::ClientLost)?;
                    self.held.extend_from_slice(from_client.get(..read).unwrap_or_default());
                }
                read = self.server.read(&mut from_server) => {
                    let read = arrived(read).map_err(End::ServerLost)?;
                    self.heard.extend_from_slice(from_server.get(..read).unwrap_or_default());
                    if let Some(closed) = self.server_says(noted).await? {
                        return Ok(Some(closed));
                    }
                }
                () = sleep_until(late), if !self.relay.is_signed_in() => {
                    return Err(End::TooSlow("signing in"));
                }
            }
        }
    }

    /// Passes on one element of what the client has said.
    async fn client_says(&mut self) -> Result<Option<usize>, End> {
        let mut out = Vec::new();
        let passed = self.relay.from_client(&self.held, &mut out);
        let (taken, seen) = passed.map_err(End::ClientBroke)?;
        self.held.drain(..taken);
        let sent = write(&mut self.server, &out).await;
        // It may hold a password.
        out.fill(0);
        sent.map_err(End::ServerLost)?;
        if let Some(seen) = &seen {
            self.track.crossed(0, seen.as_str());
        }
        Ok((seen == Some(Seen::Closed)).then_some(0))
    }

    /// A password was refused: on the core, which keeps account, what the node is asked then.
    fn refusal(&self) -> Option<(Handle, Question)> {
        self.outs.as_ref()?;
        let question = Question::ChatRefused {
            client: self.track.client.ip(),
            user: self.relay.user().cloned(),
            domain: self.domain.clone(),
        };
        Some((self.track.handle.clone(), question))
    }

    /// Passes on what the server has said, up to the word that leaves nothing more to read.
    async fn server_says(&mut self, noted: &mut Noted) -> Result<Option<usize>, End> {
        while !self.heard.is_empty() && !self.relay.is_bound() {
            let mut out = Vec::new();
            let passed = self.relay.from_server(&self.heard, &mut out);
            let (taken, seen) = passed.map_err(End::ServerBroke)?;
            self.heard.drain(..taken);
            noted.writing = true;
            write(&mut self.client, &out)
                .await
                .map_err(End::ClientLost)?;
            noted.writing = false;
            let Some(seen) = seen else { continue };
            self.track.crossed(1, seen.as_str());
            match seen {
                Seen::Bound(jid) if !noted.up => {
                    noted.up = true;
                    noted.bound = jid.expose().split('@').next().map(str::to_owned);
                    let client = self.track.client.ip();
                    self.track.report(Report::XmppUp {
                        id: self.track.number,
                        jid,
                        client,
                    });
                }
                Seen::BindRefused(condition) => {
                    let user = self.relay.user().cloned();
                    self.track.report(Report::XmppRefused {
                        user: user.unwrap_or_else(|| base::Pii::new(String::new())),
                        client: self.track.client.ip(),
                        condition,
                    });
                }
                Seen::SignInFailed => {
                    tracing::debug!(id = &*self.track.id, "an XMPP sign-in was refused");
                    if let Some((handle, question)) = self.refusal() {
                        // The node being gone means that the program stops.
                        let answer = handle.ask(question).await;
                        if matches!(answer, Ok(Answer::Chat(false))) {
                            return Err(End::TooManyTries);
                        }
                    }
                }
                Seen::Element(Name::Error) => noted.failed = true,
                Seen::Closed => return Ok(Some(1)),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Moves chunks both ways until the stream is over. `closed` names a side that has ended its stream
/// already.
async fn splice<C: Duplex, S: Duplex>(
    track: &Track,
    halves: &mut [Half; 2],
    client: &mut C,
    server: &mut S,
    closed: Option<usize>,
) -> End {
    let [up, down] = halves;
    let (mut up_open, mut down_open) = (closed != Some(0), closed != Some(1));
    if closed.is_some() && down.failed {
        return End::Closed;
    }
    let mut deadline = (!up_open || !down_open).then(|| Instant::now() + CLOSE_MAX);
    while up_open || down_open {
        let step = poll_fn(|cx| {
            let (mut client, mut server) = (Pin::new(&mut *client), Pin::new(&mut *server));
            if up_open {
                let see = &mut |kind| track.crossed(0, word(kind));
                if let Poll::Ready(ended) = up.poll(cx, client.as_mut(), server.as_mut(), see) {
                    return Poll::Ready((0, ended));
                }
            }
            if down_open {
                let see = &mut |kind| track.crossed(1, word(kind));
                if let Poll::Ready(ended) = down.poll(cx, server.as_mut(), client.as_mut(), see) {
                    return Poll::Ready((1, ended));
                }
            }
            Poll::Pending
        });
        let (side, ended) = match deadline {
            None => step.await,
            Some(at) => match timeout_at(at, step).await {
                Ok(step) => step,
                Err(_) => return End::Closed,
            },
        };
        match (side, ended) {
            (_, half::Ended::Closed) if up.failed || down.failed => return End::Closed,
            (0, half::Ended::Closed) => up_open = false,
            (_, half::Ended::Closed) => down_open = false,
            // The other side has said good-bye: nothing is lost.
            _ if !(up_open && down_open) => return End::Closed,
            (0, half::Ended::ReadLost(why)) | (1, half::Ended::WriteLost(why)) => {
                return End::ClientLost(why);
            }
            (0, half::Ended::Broke(violation)) => return End::ClientBroke(violation),
            (_, half::Ended::Broke(violation)) => return End::ServerBroke(violation),
            (_, half::Ended::ReadLost(why) | half::Ended::WriteLost(why)) => {
                return End::ServerLost(why);
            }
        }
        deadline.get_or_insert_with(|| Instant::now() + CLOSE_MAX);
    }
    End::Closed
}

/// The last word to the client, as far as one can be said.
async fn farewell<C: Duplex>(track: &Track, domain: &str, client: &mut C, down: &Half, end: &End) {
    let told = match end {
        End::Closed | End::ClientLost(_) => None,
        End::ClientBroke(violation) => {
            track.violation(*violation);
            Some((violation.condition(), violation.to_string()))
        }
        End::ServerLost(_) if down.resumable => None,
        End::ServerLost(_) => {
            let text = "the connection to the server was lost".to_owned();
            Some((Condition::RemoteConnectionFailed, text))
        }
        End::ServerBroke(_) => {
            let text = "the server broke the protocol".to_owned();
            Some((Condition::InternalServerError, text))
        }
        End::TooSlow(what) => Some((Condition::PolicyViolation, format!("{what} took too long"))),
        End::TooManyTries => Some((Condition::PolicyViolation, end.why())),
        End::SignedOut => Some((Condition::NotAuthorized, end.why())),
    };
    match told {
        Some((condition, text)) if down.is_between() => {
            let root = down.framer.root();
            let error = if root.is_empty() {
                answer::header(domain, &track.id) + &answer::error(root, condition, &text)
            } else {
                answer::error(root, condition, &text)
            };
            track.went(0, "stream");
            say_and_close(client, &error).await;
        }
        _ => say_and_close(client, "").await,
    }
}

/// Writes the last words and closes, so that they arrive: what the client still sends is read
/// away for a while, since unread bytes would turn the close into a reset.
pub(crate) async fn say_and_close<C: Duplex>(client: &mut C, words: &str) {
    let farewell = async {
        client.write_all(words.as_bytes()).await?;
        client.flush().await?;
        client.shutdown().await?;
        let mut sink = vec![0; READ];
        for _ in 0..64 {
            if client.read(&mut sink).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // A client that does not listen has what it wants.
    let _ = timeout(FAREWELL_MAX, farewell).await;
}

/// Writes all and flushes; the error for people.
pub(crate) async fn write<S: Duplex>(to: &mut S, bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    written.await.map_err(|e| e.to_string())
}

/// How many bytes came; the error for people.
pub(crate) fn arrived(read: std::io::Result<usize>) -> Result<usize, String> {
    match read {
        Ok(0) => Err("closed".into()),
        Ok(read) => Ok(read),
        Err(e) => Err(e.to_string()),
    }
}

/// In a word, for the log.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Header | Kind::Close => "stream",
        Kind::Element(name) => name.as_str(),
    }
}
