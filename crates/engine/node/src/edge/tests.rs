//! An edge between a client and a core that are no more than the bytes they send.

mod business;
mod calls;
mod claims;
mod clients;
mod early;
mod failover;
mod families;
mod hostile;
mod links;
mod load;
mod proving;
mod torture;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;

use base::{Secret, UnixTime};
use bytes::Bytes;
use config::{Certificate, Config, Log, LogFormat, MediaService, Password, Role, Service, Zone};
use media::Command;
use sip::{Limits, Message, Method, Name};
use traversal::{Dialer, DomainOffer, Hello};

use super::*;
use crate::io::Transport;

const REALM: &str = "example.test";
const PASSWORD: &str = "open sesame";
/// Where clients come from.
const CLIENT: &str = "198.51.100.7:4000";
/// The first connection of a core.
const LANE: ConnId = ConnId(1000);
const CONTROL: ConnId = ConnId(2000);

fn service(address: &str) -> Service {
    let listen: SocketAddr = address.parse().unwrap();
    Service {
        listen: vec![listen],
        advertise_host: "edge.example.test".into(),
        advertise_port: listen.port(),
    }
}

/// Two zones, one with two names; media on eight port pairs.
fn config() -> Arc<Config> {
    config_with(None)
}

/// The same, with or without calls of foreign domains.
fn config_with(business: Option<config::Business>) -> Arc<Config> {
    let zone = |name: &str, names: &[&str]| Zone {
        name: name.into(),
        verify_names: names.iter().map(|n| (*n).to_owned()).collect(),
        user: "traversal".into(),
        password: Password::Given(Secret::new(PASSWORD.into())),
        hop_count: 15,
    };
    let edge = config::Edge {
        https: service("192.0.2.10:8443"),
        sip: service("192.0.2.10:5061"),
        business,
        sip_realm: REALM.into(),
        sip_digest: vec![
            config::DigestAlgorithm::Sha256,
            config::DigestAlgorithm::Md5,
        ],
        xmpp: service("192.0.2.10:5222"),
        media: MediaService {
            listen: "192.0.2.10".parse().unwrap(),
            advertise: "203.0.113.10".parse().unwrap(),
            other: None,
            ports: 36002..=36017,
        },
        traversal: config::Traversal {
            sip: "192.0.2.11:7001".parse().unwrap(),
            ssh: "192.0.2.11:2222".parse().unwrap(),
            xmpp: "192.0.2.11:7400".parse().unwrap(),
            media: "192.0.2.11".parse().unwrap(),
            media_ports: (36000, 36001),
            media_advertise: "192.0.2.11".parse().unwrap(),
        },
        zones: vec![zone("inside", &["core1.test", "core2.test"])],
        connections_per_source_max: 100,
        connections_max: 20_000,
        rates: config::Rates::default(),
        sip_client_certificates: config::ClientCertificates::Off,
    };
    Arc::new(Config {
        name: "edge".parse().unwrap(),
        domain: "example.test".parse().unwrap(),
        data: PathBuf::new(),
        dns: Vec::new(),
        certificate: Certificate {
            chain: PathBuf::new(),
            key: PathBuf::new(),
            trusted: PathBuf::new(),
            chat_node_aliases: Vec::new(),
        },
        log: Log {
            level: "info".into(),
            format: LogFormat::Text,
            file: None,
        },
        administration: Vec::new(),
        administration_token: None,
        overload: config::Overload::default(),
        role: Role::Edge(Box::new(edge)),
    })
}

/// The edge, and everything it has said.
struct Bench {
    edge: Edge,
    now: Now,
    sent: VecDeque<(ConnId, Message)>,
    stun: Vec<(ConnId, Bytes)>,
    closed: Vec<ConnId>,
    paused: Vec<ConnId>,
    media: Vec<Command>,
    events: Vec<::status::Event>,
    control: VecDeque<(ConnId, traversal::Message)>,
    control_closed: Vec<ConnId>,
    pins: Vec<(usize, Option<String>)>,
    gate: Arc<crate::gate::EdgeGate>,
    resolves: Vec<(crate::io::AskId, crate::io::Resolve)>,
    dials: Vec<(ConnId, crate::io::Target)>,
    dialer: Option<Dialer>,
    cseq: u32,
}

impl Bench {
    /// An edge that nobody has dialled.
    fn alone() -> Self {
        Bench::of(&config())
    }

    fn of(config: &Arc<Config>) -> Self {
        let now = Now {
            instant: Instant::ZERO,
            unix: UnixTime::from_millis(1_700_000_000_000),
        };
        let identity = EdgeIdentity {
            ssh_host_key: "ssh-ed25519 AAAA edge".into(),
            version: "0.1.0".into(),
        };
        let mut bench = Bench {
            edge: Edge::new(now, Rng::from_number(7), config, identity),
            now,
            sent: VecDeque::new(),
            stun: Vec::new(),
            closed: Vec::new(),
            paused: Vec::new(),
            media: Vec::new(),
            events: Vec::new(),
            control: VecDeque::new(),
            control_closed: Vec::new(),
            pins: Vec::new(),
            gate: Arc::default(),
            resolves: Vec::new(),
            dials: Vec::new(),
            dialer: None,
            cseq: 1,
        };
        bench.drain();
        bench
    }

    /// An edge with a core that has one SIP connection.
    fn linked() -> Self {
        let mut bench = Bench::alone();
        bench.link(CONTROL, 0, "i1");
        bench.lane(LANE, 0);
        bench.events.clear();
        bench
    }

    /// An edge with a core and a client on connection 1 that is registered as 1001.
    fn registered() -> Self {
        let mut bench = Bench::linked();
        bench.connect(ConnId(1));
        bench.register(ConnId(1), "1001", PHONE);
        bench.events.clear();
        bench
    }

    fn drain(&mut self) {
        while let Some(output) = self.edge.poll_output() {
            match output {
                Output::Send { conn, bytes } if bytes.first().is_some_and(|b| *b < 4) => {
                    self.stun.push((conn, bytes));
                }
                Output::Send { conn, bytes } => {
                    let message = Message::parse(bytes, &Limits::outside()).unwrap();
                    self.sent.push_back((conn, message));
                }
                Output::Close { conn } => self.closed.push(conn),
                Output::Pause { conn, .. } => self.paused.push(conn),
                Output::Media(command) => self.media.push(command),
                Output::Event(event) => self.events.push(event),
                Output::Control { conn, message } => self.control.push_back((conn, message)),
                Output::CloseControl { conn } => self.control_closed.push(conn),
                Output::PinSsh { peer, key } => self.pins.push((peer, key)),
                Output::EdgeGate(gate) => self.gate = gate,
                Output::Resolve { id, question } => self.resolves.push((id, question)),
                Output::Connect { conn, target } => self.dials.push((conn, target)),
                other => panic!("an edge does not say {other:?}"),
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.edge.handle(self.now, input);
        self.drain();
    }

    /// Runs every timer up to `seconds` from now, each at its time.
    fn wait(&mut self, seconds: u64) {
        let until = self.now.plus(Duration::from_secs(seconds));
        while let Some(at) = self.edge.poll_timeout().filter(|at| *at <= until.instant) {
            self.now = self.now.plus(at.since(self.now.instant));
            self.edge.handle_timeout(self.now);
            self.drain();
            self.answer_pings();
        }
        self.now = until;
    }

    // ---- links ----

    fn link(&mut self, conn: ConnId, peer: usize, instance: &str) {
        self.try_link(conn, peer, hello(peer, instance), PASSWORD);
    }

    fn try_link(&mut self, conn: ConnId, peer: usize, hello: Hello, password: &str) {
        let exported = [7; 32];
        let mut rng = Rng::from_number(conn.0);
        let password = Secret::new(password.to_owned());
        self.dialer = Some(Dialer::new(self.now, &mut rng, hello, password, exported));
        self.input(Input::ControlUp {
            conn,
            peer,
            peer_name: format!("core{}.test", peer + 1),
            remote: "192.0.2.20:40000".parse().unwrap(),
            exported: Secret::new(exported),
            media_secret: Secret::new([9; 64]),
        });
        self.answer_pings();
    }

    /// Lets the core's end of the control connection answer.
    fn answer_pings(&mut self) {
        while let Some(dialer) = &mut self.dialer {
            let Some((conn, message)) = self.control.pop_front() else {
                return;
            };
            dialer.handle(self.now, message);
            for message in dialer.take_messages() {
                self.input(Input::Control { conn, message });
            }
        }
    }

    fn lane(&mut self, conn: ConnId, peer: usize) {
        assert_eq!(self.try_lane(conn, peer, "traversal", PASSWORD), 200);
    }

    /// Signs a lane in; gives the last answer.
    fn try_lane(&mut self, conn: ConnId, peer: usize, user: &str, password: &str) -> u16 {
        self.input(Input::Connected {
            conn,
            facts: facts(Side::Lane { peer }, "192.0.2.20:41000"),
        });
        let first = self.options(conn, "");
        if first.status() != 401 {
            return first.status();
        }
        let challenge = first.header(Name::WwwAuthenticate).unwrap();
        let challenge = sip::digest::Challenge::parse(challenge).unwrap();
        let answer = sip::digest::respond(
            &challenge,
            user,
            password,
            "OPTIONS",
            "sip:edge.example.test",
            "c",
            1,
        );
        self.options(conn, &format!("Authorization: {answer}\r\n"))
            .status()
    }

    fn options(&mut self, conn: ConnId, fields: &str) -> Message {
        let request = self.request("OPTIONS", "sip:edge.example.test", "core", "core", fields);
        self.frame(conn, request);
        self.take(conn)
    }

    // ---- messages ----

    fn connect(&mut self, conn: ConnId) {
        self.input(Input::Connected {
            conn,
            facts: facts(Side::Client, CLIENT),
        });
    }

    fn disconnect(&mut self, conn: ConnId) {
        self.input(Input::Disconnected {
            conn,
            why: "closed by the peer".into(),
        });
    }

    fn frame(&mut self, conn: ConnId, message: Message) {
        self.input(Input::Frame {
            conn,
            frame: Frame::Message(message),
        });
    }

    /// A request outside of dialogs; each has a branch of its own.
    fn request(&mut self, method: &str, uri: &str, from: &str, to: &str, fields: &str) -> Message {
        self.cseq += 1;
        let n = self.cseq;
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.1:4000;branch=z9hG4bK{n}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{from}@example.test>;tag=f{n}\r\n\
             To: <sip:{to}@example.test>\r\nCall-ID: call{n}\r\nCSeq: {n} {method}\r\n\
             {fields}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::outside()).unwrap()
    }

    /// A request in the dialog of `invite`, whose answer was `answer`; `forward` if it goes the
    /// way the INVITE went. `routes` are its route set.
    fn within(
        &mut self,
        method: &str,
        answer: &Message,
        forward: bool,
        routes: &[String],
        body: &str,
    ) -> Message {
        self.cseq += 1;
        let n = self.cseq;
        let (from, to) = (
            answer.header(Name::From).unwrap(),
            answer.header(Name::To).unwrap(),
        );
        let (from, to) = if forward { (from, to) } else { (to, from) };
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let routes: String = routes.iter().map(|r| format!("Route: {r}\r\n")).collect();
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let message = format!(
            "{method} sip:peer@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS x:1;branch=z9hG4bKw{n}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {n} {method}\r\n\
             {routes}{kind}Content-Length: {}\r\n\r\n{body}",
            text(from),
            text(to),
            text(answer.call_id()),
            body.len(),
        );
        Message::parse(Bytes::from(message), &Limits::outside()).unwrap()
    }

    /// The next message that went out on a connection.
    fn take(&mut self, conn: ConnId) -> Message {
        let at = self.sent.iter().position(|(c, _)| *c == conn);
        let at = at.unwrap_or_else(|| panic!("nothing for {conn:?}: {:?}", self.story()));
        self.sent.remove(at).map(|(_, m)| m).unwrap()
    }

    /// What is waiting to be looked at, in short.
    fn story(&self) -> Vec<String> {
        let what = |m: &Message| match m.is_request() {
            true => String::from_utf8_lossy(m.method_bytes()).into_owned(),
            false => m.status().to_string(),
        };
        self.sent
            .iter()
            .map(|(c, m)| format!("{}@{}", what(m), c.0))
            .collect()
    }

    /// Sends a client's request and gives the answer the edge makes by itself.
    fn refused(&mut self, conn: ConnId, request: Message) -> u16 {
        self.frame(conn, request);
        let answer = self.take(conn);
        assert!(self.sent.is_empty(), "{:?}", self.story());
        answer.status()
    }

    /// Answers a request that went to the core, or to a client.
    fn reply(
        &mut self,
        conn: ConnId,
        request: &Message,
        status: u16,
        tag: &str,
        edit: &[(Name, &str)],
    ) {
        let mut reply = request.reply(status, "Any", tag);
        for (name, value) in edit {
            reply = reply.header(*name, value);
        }
        self.frame(conn, reply.build());
    }

    fn reply_sdp(&mut self, conn: ConnId, request: &Message, status: u16, tag: &str, sdp: &str) {
        let reply = request
            .reply(status, "OK", tag)
            .body("application/sdp", sdp)
            .build();
        self.frame(conn, reply);
    }

    // ---- registrations ----

    /// A REGISTER with an answer to the challenge that the edge gives.
    fn register_request(&mut self, conn: ConnId, line: &str, fields: &str) -> Message {
        let first = self.request("REGISTER", "sip:example.test", line, line, fields);
        self.frame(conn, first);
        let challenge = self.take(conn);
        assert_eq!(challenge.status(), 401);
        let offered = challenge.header(Name::WwwAuthenticate).unwrap();
        let offered = sip::digest::Challenge::parse(offered).unwrap();
        let answer = sip::digest::respond(
            &offered,
            "alice",
            "secret",
            "REGISTER",
            "sip:example.test",
            "c",
            1,
        );
        let fields = format!("Authorization: {answer}\r\n{fields}");
        self.request("REGISTER", "sip:example.test", line, line, &fields)
    }

    /// Registers through the core, which grants two minutes; gives what the core got.
    fn register(&mut self, conn: ConnId, line: &str, fields: &str) -> Message {
        let request = self.register_request(conn, line, fields);
        self.frame(conn, request);
        let inside = self.take(LANE);
        self.reply(LANE, &inside, 200, "core", &[(Name::Expires, "120")]);
        assert_eq!(self.take(conn).status(), 200);
        inside
    }

    /// The token route that leads to the client on `conn`, from the Path of a REGISTER.
    fn path(register: &Message) -> String {
        String::from_utf8_lossy(register.header(Name::Path).unwrap()).into_owned()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.events.iter().map(|e| e.kind).collect()
    }

    fn ports_in_use(&self) -> u64 {
        self.edge.snapshot(self.now).counters.media_ports_in_use
    }
}

const PHONE: &str =
    "Contact: <sip:a@10.0.0.1:4000>;+sip.instance=\"<urn:uuid:1>\"\r\nExpires: 3600\r\n";

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
    m=audio 5000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:k\r\n";

/// A description of a core, its stream named.
fn from_core(stream: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 192.0.2.11\r\nt=0 0\r\n\
         m=audio 36000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:k\r\n\
         a=x-causeway-stream:{stream}\r\n"
    )
}

fn facts(side: Side, remote: &str) -> Facts {
    Facts {
        side,
        local: "192.0.2.10:5061".parse().unwrap(),
        remote: remote.parse().unwrap(),
        transport: Transport::Tls,
        peer_name: None,
    }
}

fn hello(peer: usize, instance: &str) -> Hello {
    let key = policy::token::TokenKey::from_seed(&[peer as u8; 32]).unwrap();
    Hello {
        version: traversal::VERSION,
        node: format!("core{}.test", peer + 1),
        instance: instance.to_owned(),
        user: "traversal".into(),
        proof: String::new(),
        nonce: String::new(),
        clock: UnixTime::default(),
        ssh_key: "ssh-ed25519 AAAA core".into(),
        token_key: key.public().to_hex(),
        domains: vec![DomainOffer {
            name: "example.test".parse().unwrap(),
            sip: true,
            im_presence: true,
            federation: false,
            tokens: false,
            sso: false,
        }],
    }
}

fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// The value of the first attribute of a name in a description.
fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines()
        .find_map(|l| l.strip_prefix(&format!("a={name}:")))
}

fn hidden(event: &::status::Event) -> bool {
    let text = event.to_string();
    !text.contains("1001") && !text.contains("198.51.100.7") && !text.contains("alice")
}
