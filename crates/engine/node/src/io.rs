//! What goes into a node and what comes out: the whole seam between engines and sockets.
//!
//! The driver feeds [`Input`]s to the one thread that owns the node and carries out its
//! [`Output`]s. A question to the outside carries an id, and its answer comes back with that id.

mod question;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::{Pii, Secret};
use bytes::Bytes;
use policy::credentials::Kept;
use policy::signed_out::SignOut;
use provisioning::sign_in::{Proven, Unproven};
use sip::locate::{self, Naptr};
use status::servers::ServersRecord;

use crate::gate::{CoreGate, EdgeGate};
pub use question::{Answer, Question, Reply, Shown, SignIn, SsoRequest};

/// Names a connection. The driver numbers those it accepts from 0 up, the node those it asks for
/// from [`ConnId::DIALLED`] up; a number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl ConnId {
    /// The first number of a connection that the node asked for.
    pub const DIALLED: u64 = 1 << 63;
}

/// Names a question to the node, or of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// Where a SIP connection came from or leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From the internet, on the edge.
    Client,
    /// Between edge and core, on the SIP lane of the named peer (index into the configured
    /// traversal zones on the edge, peers on the core).
    Lane {
        /// The zone or peer.
        peer: usize,
    },
    /// Between the core and call control.
    Inside,
}

/// A connection as the driver made it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which side it belongs to.
    pub side: Side,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// `TLS` or `TCP`, as a Via names it.
    pub transport: Transport,
    /// The certificate name the peer proved: on a lane, or of a client that was asked for one. Of a
    /// host inside that connected by TLS: all names that its certificate proves, a space between.
    pub peer_name: Option<String>,
}

/// A transport, as a Via names it (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// As a Via writes it.
    pub fn via(self) -> &'static str {
        match self {
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// As a URI parameter writes it.
    pub fn param(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

/// What the driver tells the node.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "moved twice a message, never kept in a table"
)]
pub enum Input {
    /// A SIP connection is there, accepted or dialled.
    Connected {
        /// Its number.
        conn: ConnId,
        /// What it is.
        facts: Facts,
    },
    /// A frame came in on it.
    Frame {
        /// The connection.
        conn: ConnId,
        /// What the framer made of the bytes.
        frame: sip::Frame,
    },
    /// It is gone, or never came to be.
    Disconnected {
        /// The connection.
        conn: ConnId,
        /// Why, for people.
        why: String,
    },
    /// A control connection stands; its peer's certificate and name have been checked.
    ControlUp {
        /// Its number.
        conn: ConnId,
        /// Index of the traversal zone (edge) or peer (core) in the configuration.
        peer: usize,
        /// The name the certificate proved.
        peer_name: String,
        /// The other end.
        remote: SocketAddr,
        /// Secret of [`traversal::EXPORTER_HELLO`].
        exported: Secret<[u8; 32]>,
        /// Secret of [`traversal::EXPORTER_MEDIA`].
        media_secret: Secret<[u8; 64]>,
    },
    /// A message came in on it.
    Control {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: traversal::Message,
    },
    /// It is gone.
    ControlDown {
        /// The connection.
        conn: ConnId,
        /// Why, for people.
        why: String,
    },
    /// A lane with connections of its own changed.
    Lane {
        /// Index of the zone or peer.
        peer: usize,
        /// Which.
        lane: Lane,
        /// Connections up now.
        connections: usize,
        /// Why the last one went, if one did.
        why: Option<String>,
    },
    /// The media workers report.
    Media(media::Event),
    /// A task asks the node.
    Ask {
        /// Comes back with the answer.
        id: AskId,
        /// What.
        question: Question,
    },
    /// An HTTP request of the node was answered.
    Fetched {
        /// The request's.
        id: AskId,
        /// Status and body, or why there is none.
        result: Result<Fetched, FetchError>,
    },
    /// A DNS question of the node was answered.
    Resolved {
        /// The question's.
        id: AskId,
        /// The answer.
        result: Result<Resolved, DnsError>,
    },
    /// A domain's directory has judged a password.
    Proved {
        /// The question's.
        id: AskId,
        /// Whom it vouches for, or why for nobody.
        result: Result<Proven, Unproven>,
    },
    /// On the core: the users of a domain's file, at the start and whenever the file has changed.
    Users {
        /// The domain.
        domain: String,
        /// What digests of those users are checked with, where the file has it.
        digests: Vec<policy::credentials::FileUser>,
        /// Who is no longer in it, or has another password.
        gone: Vec<Pii<String>>,
    },
    /// A [`Record::SignedOut`] is on the disk, or is not.
    Kept {
        /// Its number.
        id: u64,
        /// Why it is not.
        failure: Option<String>,
    },
    /// Something a task saw that the node keeps account of.
    Report(Report),
    /// The longest that a SIP message of late has waited between its socket and the node.
    Waited(Duration),
    /// What the machine's kernel says of its clock.
    HostClock(status::ClockRow),
    /// The configuration has changed. The node takes up what it can while it runs
    /// ([`config::document::effect`]); the rest is as it was at the start, whatever stands here.
    Configured(Arc<config::Config>),
}

/// A lane that carries its streams in connections the node does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// HTTP in SSH on 2222.
    Http,
    /// XMPP in TLS on 7400.
    Xmpp,
}

/// An HTTP request the node wants made inside.
#[derive(Debug)]
pub struct Fetch {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// Name or address; resolved by the driver, verified against the certificate.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// User name and password for Basic.
    pub basic: Option<(Pii<String>, Secret<String>)>,
    /// Further header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// Whether the server's certificate is checked.
    pub tls_verify: bool,
}

/// The answer to a [`Fetch`].
#[derive(Debug)]
pub struct Fetched {
    /// The status code.
    pub status: u16,
    /// The body, at most 4 MiB.
    pub body: Bytes,
}

/// Why a [`Fetch`] has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{server} cannot be reached: {why}")]
pub struct FetchError {
    /// `host:port`.
    pub server: String,
    /// Where it went wrong.
    pub fault: FetchFault,
    /// What was seen.
    pub why: String,
}

/// Where a [`Fetch`] went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FetchFault {
    /// Its name has no address.
    Name,
    /// Nobody answers at the address.
    Unreachable,
    /// Its certificate is not accepted.
    Certificate,
    /// It speaks no TLS, or none that we speak.
    Tls,
    /// It took the connection and did not answer in time.
    Silent,
    /// Anything else.
    #[default]
    Other,
}

/// A DNS question of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// NAPTR records of a name.
    Naptr(String),
    /// SRV records of a name.
    Service(String),
    /// Addresses of a name.
    Address(String),
}

/// The answer to a [`Resolve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// NAPTR records, in any order.
    Naptr(Vec<Naptr>),
    /// Priority, weight, port, target, in the order to try (RFC 2782); none if the domain says
    /// that it decidedly does not offer the service.
    Service(Vec<(u16, u16, u16, String)>),
    /// Addresses.
    Address(Vec<IpAddr>),
}

impl From<locate::Question> for Resolve {
    fn from(question: locate::Question) -> Self {
        match question {
            locate::Question::Naptr(name) => Resolve::Naptr(name),
            locate::Question::Service(name) => Resolve::Service(name),
            locate::Question::Address(name) => Resolve::Address(name),
        }
    }
}

/// An answer as a search for a SIP server takes it.
pub fn located(result: Result<Resolved, DnsError>) -> locate::Answer {
    match result {
        Ok(Resolved::Naptr(records)) => locate::Answer::Naptr(records),
        Ok(Resolved::Service(records)) => {
            let service = |(p, w, port, target): &(_, _, _, String)| {
                locate::Service::new(*p, *w, *port, target)
            };
            let mut found: Vec<_> = records.iter().map(service).collect();
            if found.is_empty() {
                found.push(locate::Service::new(0, 0, 0, "."));
            }
            locate::Answer::Service(found)
        }
        Ok(Resolved::Address(addresses)) => locate::Answer::Address(addresses),
        Err(DnsError::NotFound(_)) => locate::Answer::Absent,
        Err(DnsError::NoAnswer(..)) => locate::Answer::Failed,
    }
}

/// Why a name has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name, or the record, does not exist.
    #[error("{0} does not exist in DNS")]
    NotFound(String),
    /// No server answered.
    #[error("no DNS server answered for {0}: {1}")]
    NoAnswer(String, String),
}

/// What tasks report for events, counters and tables.
#[derive(Clone, Debug)]
pub enum Report {
    /// A request was refused before it reached the inside.
    HttpRefused {
        /// The client.
        client: IpAddr,
        /// The status it got.
        status: u16,
        /// Why, in a few words.
        cause: String,
        /// The request's trace id.
        trace: String,
    },
    /// An inside web server could not be reached.
    InsideUnreachable {
        /// `host:port`.
        server: String,
        /// What was seen.
        why: String,
    },
    /// An XMPP stream signed in.
    XmppUp {
        /// Names the stream.
        id: u64,
        /// The full address after binding.
        jid: Pii<String>,
        /// The client.
        client: IpAddr,
    },
    /// A chat server refuses a session to who signed in.
    XmppRefused {
        /// Who.
        user: Pii<String>,
        /// The client.
        client: IpAddr,
        /// The server's word, as `conflict`.
        condition: String,
    },
    /// An XMPP stream ended.
    XmppDown {
        /// Names the stream.
        id: u64,
        /// Why.
        why: String,
    },
    /// Credentials that were kept, or were to be kept, will not outlive a restart.
    CredentialsLost {
        /// What is lost, and why.
        cause: String,
    },
    /// A domain's file of users cannot be used any more.
    UsersFile {
        /// The domain.
        domain: String,
        /// The file, and what is wrong with it.
        cause: String,
    },
    /// A node that wanted to link showed a certificate that is not accepted.
    LinkRefused {
        /// The node.
        source: SocketAddr,
        /// What is wrong with the certificate, and what to do.
        cause: String,
    },
    /// Something is to be told of certificates.
    Certificate(CertificateNews),
    /// Connections come faster than one source, or all together, may make them.
    Flooded {
        /// The client.
        source: IpAddr,
        /// Of what there was too much.
        cause: String,
    },
    /// A peer broke a protocol and lost its connection.
    Violation {
        /// `sip`, `http`, `xmpp`, `ssh`, `tls`, `link`.
        protocol: &'static str,
        /// The peer.
        source: SocketAddr,
        /// What it did.
        cause: String,
    },
}

/// What a task that looks after certificates has to tell.
#[derive(Clone, Debug)]
pub struct CertificateNews {
    /// Which event it is.
    pub kind: status::Kind,
    /// Why, in words.
    pub cause: String,
    /// What was seen.
    pub proof: Vec<(&'static str, String)>,
    /// The names of the node's own certificate, if they are to be taken as new.
    pub names: Option<Vec<String>>,
}

/// What the node wants done.
#[derive(Debug)]
pub enum Output {
    /// Write these bytes to a SIP connection.
    Send {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: Bytes,
    },
    /// Dial a SIP connection to call control.
    Connect {
        /// Its number from now on.
        conn: ConnId,
        /// Where to.
        target: Target,
    },
    /// Close a SIP connection once what was sent has left.
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// Do not read from a SIP connection for a while.
    Pause {
        /// The connection.
        conn: ConnId,
        /// How long.
        time: Duration,
    },
    /// Write a message to a control connection.
    Control {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: traversal::Message,
    },
    /// Close a control connection once what was sent has left.
    CloseControl {
        /// The connection.
        conn: ConnId,
    },
    /// A command for the media workers.
    Media(media::Command),
    /// The answer to a question.
    Answer {
        /// The question's.
        id: AskId,
        /// The answer.
        answer: Answer,
    },
    /// Make an HTTP request inside.
    Fetch {
        /// Comes back with the answer.
        id: AskId,
        /// The request.
        request: Fetch,
    },
    /// Ask DNS.
    Resolve {
        /// Comes back with the answer.
        id: AskId,
        /// The question.
        question: Resolve,
    },
    /// Ask a domain's directory about a password.
    Prove {
        /// Comes back with the answer.
        id: AskId,
        /// The domain.
        domain: String,
        /// The name as typed.
        user: Pii<String>,
        /// The password.
        password: Secret<String>,
    },
    /// The verdicts that HTTP and XMPP tasks read, on the edge.
    EdgeGate(Arc<EdgeGate>),
    /// The same on the core.
    CoreGate(Arc<CoreGate>),
    /// Which SSH key a peer must show on 2222 from now on (`None`: nobody gets in).
    PinSsh {
        /// Index of the zone or peer.
        peer: usize,
        /// The key in OpenSSH format: on the edge the core's, on the core the edge's host key.
        key: Option<String>,
    },
    /// Store this for the next start.
    Keep(Box<Record>),
    /// End the chat streams of a user who was signed out.
    EndStreams(SignOut),
    /// Store this for the next start ([`crate::CoreIdentity::servers`]), in place of what was
    /// stored before.
    KeepServers(Box<ServersRecord>),
    /// For the log, the history and the alarms.
    Event(status::Event),
}

/// What is stored for the next start.
#[derive(Clone, Debug)]
pub enum Record {
    /// For [`crate::CoreIdentity::kept`], in place of what was stored for its user.
    SignedIn(Kept),
    /// For [`crate::CoreIdentity::signed_out`]; the node waits for [`Input::Kept`].
    SignedOut(SignOut),
}

/// Where to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether to speak TLS, and which name the certificate must show.
    pub tls: Option<String>,
    /// Whether the certificate is checked; of no meaning without TLS.
    pub tls_verify: bool,
    /// The local address to dial from, if it matters.
    pub from: Option<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_dns_becomes_one_of_a_search() {
        let row = |target: &str| vec![locate::Service::new(1, 2, 5061, target)];
        let table = [
            (
                Ok(Resolved::Service(vec![(1, 2, 5061, "a".to_owned())])),
                locate::Answer::Service(row("a")),
            ),
            (
                Ok(Resolved::Service(Vec::new())),
                locate::Answer::Service(vec![locate::Service::new(0, 0, 0, ".")]),
            ),
            (Err(DnsError::NotFound("a".into())), locate::Answer::Absent),
            (
                Err(DnsError::NoAnswer("a".into(), "timed out".into())),
                locate::Answer::Failed,
            ),
        ];
        for (answer, want) in table {
            assert_eq!(located(answer), want);
        }
    }
}
