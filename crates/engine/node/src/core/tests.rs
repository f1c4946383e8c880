//! A core between a small edge and a small inside, under a virtual clock: text in, text out.

use std::path::Path;
use std::time::Duration;

use ::status::SignOutReport;
use base::{Pii, Secret, UnixTime};
use bytes::Bytes;
use policy::credentials::Kept;
use policy::signed_out::SignOut;
use provisioning::sign_in::{Proven, Unproven};
use sip::digest::{Algorithm, Challenge};
use sip::nonce::NonceKey;
use sip::{Limits, Message, Method, Name};
use traversal::{Acceptor, Admission as Zone_, EdgeServices, ServiceAddress};

use super::*;
use crate::gate::CoreGate;
use crate::io::{
    Answer, Fetch, FetchError, Fetched, Question, Record, Resolve, SignIn, Target, Transport,
};

mod business;
mod calls;
mod clusters;
mod directories;
mod flows;
mod forged;
mod limits;
mod links;
mod load;
mod naming;
mod refusals;
mod registering;
mod senders;
mod servers;
mod signed_out;
mod signing_in;
mod single_sign_on;
mod taking;
mod telephones;
mod transfers;
mod trunks;

const HEAD: &str = r#"
role = "core"
name = "core1"
domain = "corp.example.test"
[certificate]
chain = "server.pem"
key = "server.key"
trusted = "ca.pem"
[service.sip]
listen = ["10.0.0.20:5060"]
[service.media]
listen = "10.0.0.20"
ports = "40000-40099"
[[traversal.peer]]
name = "edge1"
dial = "192.0.2.11"
verify_name = "edge1.example.test"
user = "traversal"
password = "zone"
[[domains]]
name = "example.test"
[[domains]]
name = "chat.test"
sip = false
"#;

const UNIFIED_CM: &str = r#"
[[unified_cm]]
publisher = "cucm1.example.test"
user = "axl"
password = "pw"
"#;

const REGISTRAR: &str = r#"
[[call_control]]
name = "kamailio"
address = "10.0.0.5:5060"
[[call_control]]
name = "spare"
address = "10.0.0.6:5060"
"#;

const CONTROL: ConnId = ConnId(1);
const LANE: ConnId = ConnId(2);
const REALM: &str = "example.test";

/// What the inside's web servers answer.
type Inside = fn(&Fetch) -> Result<(u16, String), String>;

/// Priority, weight, port and target.
type Records = Vec<(u16, u16, u16, String)>;

struct World {
    core: Core,
    now: Now,
    rng: Rng,
    nonces: NonceKey,
    acceptor: Option<Acceptor>,
    inside: Inside,
    /// Servers of call control that nobody answers at.
    down: Vec<&'static str>,
    /// The edge hears, and does not answer OPTIONS.
    mute: bool,
    /// The edge's table of transactions is full.
    busy: bool,
    /// Servers that do not answer yet.
    slow: Vec<&'static str>,
    connects: Vec<(ConnId, Target)>,
    closed: Vec<ConnId>,
    sent: Vec<(ConnId, Message)>,
    media: Vec<::media::Command>,
    events: Vec<::status::Event>,
    answers: Vec<crate::io::Reply>,
    /// Users of bearer tokens, or the refusals.
    borne: Vec<Result<String, crate::io::Reply>>,
    reports: Vec<::status::SearchReport>,
    pins: Vec<Option<String>>,
    gate: Option<Arc<CoreGate>>,
    kept: Vec<Kept>,
    signed_out: Vec<SignOut>,
    sign_outs: Vec<SignOutReport>,
    chats: Vec<bool>,
    /// What a domain's directory says of a user and a password.
    directory: fn(&str, &str) -> Result<Proven, Unproven>,
    /// Streams that were to end.
    ended: Vec<SignOut>,
    servers: Vec<::status::servers::ServersReport>,
    record: ::status::servers::ServersRecord,
    fetched: Vec<String>,
    /// SRV records by name.
    services: Vec<(&'static str, Records)>,
    /// Addresses by name.
    addresses: Vec<(&'static str, Vec<&'static str>)>,
    /// Names whose SRV records were asked for.
    services_asked: Vec<String>,
    /// DNS does not answer.
    dns_is_slow: bool,
    /// Whether requests to servers are never answered.
    fetches_hang: bool,
    branches: u32,
}

fn identity() -> CoreIdentity {
    let line = |user: &str, password: &str, more: &str| {
        let ha1 = |a| sip::digest::ha1(a, user, REALM, password);
        format!(
            "{user}:{REALM}:{}:{}{more}\n",
            ha1(Algorithm::Md5),
            ha1(Algorithm::Sha256)
        )
    };
    CoreIdentity {
        version: "0.1.0".into(),
        ssh_key: "ssh-ed25519 CORE".into(),
        token_seed: Secret::new([7; 32]),
        users: Some(Secret::new(
            line("1001", "pw", "") + &line("1002", "pw", ":+49 30 5551001"),
        )),
        kept: Vec::new(),
        signed_out: Vec::new(),
        servers: ::status::servers::ServersRecord::default(),
        certificate_names: Vec::new(),
    }
}

fn load(text: &str) -> Arc<config::Config> {
    let config = config::load(text, Path::new("/etc/causeway/core.toml"));
    Arc::new(config.unwrap_or_else(|e| panic!("{e:?}")).config)
}

fn no_inside(_: &Fetch) -> Result<(u16, String), String> {
    Err("connection refused".into())
}

impl World {
    /// Nothing has connected yet.
    fn unlinked(extra: &str, inside: Inside) -> Self {
        World::of(&format!("{HEAD}{extra}"), inside)
    }

    /// The same with another head.
    fn of(text: &str, inside: Inside) -> Self {
        World::configured(&load(text), inside)
    }

    fn configured(config: &Arc<config::Config>, inside: Inside) -> Self {
        let now = Now {
            unix: UnixTime::from_millis(1_790_000_000_000),
            ..Now::default()
        };
        let mut rng = Rng::from_number(1);
        let core = Core::new(now, rng.fork(), config, identity());
        let nonces = NonceKey::new(&mut rng);
        let mut world = World {
            core,
            now,
            rng,
            nonces,
            acceptor: None,
            inside,
            down: Vec::new(),
            mute: false,
            busy: false,
            slow: Vec::new(),
            connects: Vec::new(),
            closed: Vec::new(),
            sent: Vec::new(),
            media: Vec::new(),
            events: Vec::new(),
            answers: Vec::new(),
            borne: Vec::new(),
            reports: Vec::new(),
            pins: Vec::new(),
            gate: None,
            kept: Vec::new(),
            signed_out: Vec::new(),
            sign_outs: Vec::new(),
            chats: Vec::new(),
            directory: |_, _| panic!("a directory is asked"),
            ended: Vec::new(),
            servers: Vec::new(),
            record: ::status::servers::ServersRecord::default(),
            fetched: Vec::new(),
            services: Vec::new(),
            addresses: Vec::new(),
            services_asked: Vec::new(),
            dns_is_slow: false,
            fetches_hang: false,
            branches: 0,
        };
        world.settle();
        world
    }

    /// The core is killed and started again `after` a while; nobody has connected since.
    fn restart(&mut self, extra: &str, after: Duration) {
        self.now = Now {
            instant: base::Instant::ZERO,
            ..self.now.plus(after)
        };
        let identity = CoreIdentity {
            kept: std::mem::take(&mut self.kept),
            signed_out: std::mem::take(&mut self.signed_out),
            servers: self.record.clone(),
            ..identity()
        };
        let config = load(&format!("{HEAD}{extra}"));
        self.core = Core::new(self.now, self.rng.fork(), &config, identity);
        self.acceptor = None;
        self.connects.clear();
        self.sent.clear();
        self.settle();
    }

    /// A link with a lane that has signed in.
    fn new(extra: &str, inside: Inside) -> Self {
        let mut world = World::unlinked(extra, inside);
        world.link("i1");
        world.lane();
        world
    }

    /// An edge's control connection comes up.
    fn link(&mut self, instance: &str) {
        self.link_under("zone", instance);
    }

    /// The edge knows this password of the zone.
    fn link_under(&mut self, password: &str, instance: &str) {
        let service = |port| ServiceAddress {
            host: "edge1.example.test".into(),
            port,
        };
        let admission = Zone_ {
            node: "edge1.example.test".into(),
            instance: instance.into(),
            user: "traversal".into(),
            password: Secret::new(password.into()),
            ssh_host_key: "ssh-ed25519 EDGE".into(),
            services: EdgeServices {
                https: service(8443),
                sip: service(5061),
                xmpp: service(5222),
                sip_realm: REALM.into(),
                media_address: [192, 0, 2, 11].into(),
                media_port: 36_000,
            },
        };
        self.acceptor = Some(Acceptor::new(self.now, &mut self.rng, admission, [9; 32]));
        self.give(Input::ControlUp {
            conn: CONTROL,
            peer: 0,
            peer_name: "edge1.example.test".into(),
            remote: "192.0.2.11:7001".parse().unwrap(),
            exported: Secret::new([9; 32]),
            media_secret: Secret::new([8; 64]),
        });
    }

    fn lane(&mut self) {
        self.connect(LANE, Side::Lane { peer: 0 }, "192.0.2.11:7001");
    }

    fn connect(&mut self, conn: ConnId, side: Side, remote: &str) {
        let facts = Facts {
            side,
            local: "10.0.0.20:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            transport: if side == Side::Inside {
                Transport::Tcp
            } else {
                Transport::Tls
            },
            peer_name: None,
        };
        self.give(Input::Connected { conn, facts });
    }

    fn give(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(output) = self.core.poll_output() {
                self.carry_out(output);
            }
            let Some(acceptor) = &mut self.acceptor else {
                return;
            };
            let messages = acceptor.take_messages();
            if messages.is_empty() {
                return;
            }
            for message in messages {
                let input = Input::Control {
                    conn: CONTROL,
                    message,
                };
                self.core.handle(self.now, input);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { conn, bytes } => {
                let message = Message::parse(bytes, &Limits::trusted()).unwrap();
                if conn == LANE && message.is_request() && is_options(&message) {
                    if !self.mute {
                        self.answer_options(&message);
                    }
                    return;
                }
                self.sent.push((conn, message));
            }
            Output::Connect { conn, target } => {
                self.connects.push((conn, target.clone()));
                if self.down.contains(&target.host.as_str()) {
                    let why = "connection refused".into();
                    self.core
                        .handle(self.now, Input::Disconnected { conn, why });
                } else if !self.slow.contains(&target.host.as_str()) {
                    let named = target.host.parse::<std::net::IpAddr>();
                    let ip = named.unwrap_or([10, 0, 0, 5].into());
                    let remote = std::net::SocketAddr::new(ip, target.port);
                    self.connect(conn, Side::Inside, &remote.to_string());
                }
            }
            Output::Close { conn } => self.closed.push(conn),
            Output::Control { message, .. } => {
                if let Some(acceptor) = &mut self.acceptor {
                    acceptor.handle(self.now, message);
                }
            }
            Output::CloseControl { .. } => {}
            Output::Media(command) => self.media.push(command),
            Output::Answer {
                answer: Answer::SignIn(reply),
                ..
            } => self.answers.push(reply),
            Output::Answer {
                answer: Answer::Bearer(found),
                ..
            } => self.borne.push(found.map(Pii::into_inner)),
            Output::Answer {
                answer: Answer::Search(report),
                ..
            } => self.reports.push(*report),
            Output::Answer {
                answer: Answer::SignOut(report),
                ..
            } => self.sign_outs.extend(report.map(|r| *r)),
            Output::Answer {
                answer: Answer::Chat(may),
                ..
            } => self.chats.push(may),
            Output::Prove {
                id, user, password, ..
            } => {
                let result = (self.directory)(user.expose(), password.expose());
                self.core.handle(self.now, Input::Proved { id, result });
            }
            Output::EndStreams(out) => self.ended.push(out),
            Output::Fetch { .. } if self.fetches_hang => {}
            Output::Fetch { id, request } => {
                self.fetched
                    .push(format!("{} {}", request.host, request.path));
                let server = format!("{}:{}", request.host, request.port);
                let result = (self.inside)(&request)
                    .map(|(status, body)| Fetched {
                        status,
                        body: Bytes::from(body),
                    })
                    .map_err(|why| FetchError {
                        server,
                        fault: crate::io::FetchFault::Unreachable,
                        why,
                    });
                self.core.handle(self.now, Input::Fetched { id, result });
            }
            Output::Resolve { .. } if self.dns_is_slow => {}
            Output::Resolve {
                id,
                question: Resolve::Address(name),
            } => {
                let known = self.addresses.iter().find(|(n, _)| *n == name);
                let result = match known {
                    Some((_, all)) => {
                        let all = all.iter().map(|ip| ip.parse().unwrap());
                        Ok(crate::io::Resolved::Address(all.collect()))
                    }
                    None => Err(crate::io::DnsError::NotFound(name)),
                };
                self.core.handle(self.now, Input::Resolved { id, result });
            }
            Output::Resolve {
                id,
                question: Resolve::Naptr(name) | Resolve::Service(name),
            } => {
                self.services_asked.push(name.clone());
                let known = self.services.iter().find(|(n, _)| *n == name);
                let result = match known {
                    Some((_, records)) => Ok(crate::io::Resolved::Service(records.clone())),
                    None => Err(crate::io::DnsError::NotFound(name)),
                };
                self.core.handle(self.now, Input::Resolved { id, result });
            }
            Output::CoreGate(gate) => self.gate = Some(gate),
            Output::EdgeGate(_) => panic!("a core has no edge's gate"),
            Output::Pause { .. } => panic!("a core keeps nobody waiting"),
            Output::PinSsh { key, .. } => self.pins.push(key),
            Output::Keep(record) => match *record {
                Record::SignedIn(kept) => self.kept.push(kept),
                Record::SignedOut(out) => {
                    let (id, failure) = (out.id, None);
                    self.signed_out.push(out);
                    self.core.handle(self.now, Input::Kept { id, failure });
                }
            },
            Output::Answer {
                answer: Answer::AllowList(taken),
                ..
            } => assert!(taken),
            Output::Answer {
                answer: Answer::Servers(report),
                ..
            } => self.servers.push(*report),
            Output::KeepServers(record) => self.record = *record,
            Output::Event(event) => self.events.push(event),
        }
    }

    /// As an edge answers the OPTIONS of a lane.
    fn answer_options(&mut self, request: &Message) {
        if self.busy {
            let busy = request.reply(503, "Service Unavailable", "e");
            return self.take(LANE, busy.header(Name::RetryAfter, "3").build());
        }
        let realm = "edge1.example.test";
        let answered = request.header(Name::Authorization).is_some_and(|value| {
            let c = sip::digest::Credentials::parse(value).unwrap();
            let ha1 = sip::digest::ha1(Algorithm::Sha256, "traversal", realm, "zone");
            sip::digest::verify(&c, b"OPTIONS", &ha1)
        });
        let first = self.core.links[0].ready_lanes() == 0;
        let reply = if answered || !first {
            request.reply(200, "OK", "e").build()
        } else {
            let nonce = self.nonces.issue(self.now, b"lane");
            let challenge = Challenge::new(realm, &nonce, Algorithm::Sha256, false);
            let value = challenge.to_string();
            request
                .reply(401, "Unauthorized", "e")
                .header(Name::WwwAuthenticate, value)
                .build()
        };
        self.take(LANE, reply);
    }

    /// A message comes in.
    fn take(&mut self, conn: ConnId, message: Message) {
        let frame = Frame::Message(message);
        self.core.handle(self.now, Input::Frame { conn, frame });
        self.settle();
    }

    /// A request comes in, with a Via of its sender on top.
    fn ask(&mut self, conn: ConnId, text: &str) -> Message {
        self.branches += 1;
        let (line, rest) = text.split_once("\r\n").unwrap();
        let via = format!("Via: SIP/2.0/TLS sender;branch=z9hG4bK-{}", self.branches);
        let request = message(&format!("{line}\r\n{via}\r\n{rest}"));
        self.take(conn, request.clone());
        request
    }

    /// All that was sent on a connection since the last look.
    fn out(&mut self, conn: ConnId) -> Vec<Message> {
        let (mine, rest) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|(c, _)| *c == conn);
        self.sent = rest;
        let mine: Vec<(ConnId, Message)> = mine;
        mine.into_iter().map(|(_, m)| m).collect()
    }

    /// The one message that was sent on a connection, a 100 aside.
    fn one(&mut self, conn: ConnId) -> Message {
        let mut out = self.out(conn);
        out.retain(|m| m.status() != 100);
        assert_eq!(out.len(), 1, "{out:#?}");
        out.remove(0)
    }

    /// Time passes, and all that is due is done.
    fn wait(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end.instant) {
            self.now = self
                .now
                .plus(at.since(self.now.instant).max(Duration::from_millis(1)));
            if let Some(acceptor) = &mut self.acceptor {
                acceptor.handle_timeout(self.now);
            }
            self.core.handle_timeout(self.now);
            self.settle();
        }
        self.now = self.now.plus(end.instant.since(self.now.instant));
    }

    /// The connection last dialled to a host.
    fn dialled(&self, host: &str) -> ConnId {
        self.connects
            .iter()
            .rev()
            .find(|(_, t)| t.host == host)
            .unwrap()
            .0
    }

    fn kinds(&self) -> Vec<Kind> {
        self.events.iter().map(|e| e.kind).collect()
    }

    fn answer_of(&self, name: Name, user: &str, password: &str, method: &str) -> String {
        self.answer_for(name, (user, password), method, "sip:example.test")
    }

    /// An answer to a challenge, for a request to `uri`.
    fn answer_for(
        &self,
        name: Name,
        (user, password): (&str, &str),
        method: &str,
        uri: &str,
    ) -> String {
        let nonce = self.nonces.issue(self.now, REALM.as_bytes());
        let challenge = Challenge::new(REALM, &nonce, Algorithm::Sha256, false);
        let value = sip::digest::respond(&challenge, user, password, method, uri, "cn", 1);
        format!("{}: {value}\r\n", name.as_str())
    }

    /// A client's REGISTER as the edge passes it on.
    fn register(&mut self, user: &str, password: &str, token: &str, fields: &str) -> Message {
        let authorization = self.answer_of(Name::Authorization, user, password, "REGISTER");
        let text = format!(
            "REGISTER sip:example.test SIP/2.0\r\n\
             Path: <sip:{token}@edge1.example.test:5061;transport=tls;lr>\r\n\
             From: <sip:{user}@example.test>;tag=a\r\nTo: <sip:{user}@example.test>\r\n\
             Call-ID: reg-{user}\r\nCSeq: {} REGISTER\r\n{authorization}{fields}\
             Content-Length: 0\r\n\r\n",
            self.branches + 1,
        );
        self.ask(LANE, &text)
    }

    /// A client is registered with the first registrar; gives the REGISTER as that got it.
    fn registered(&mut self, user: &str, token: &str) -> Message {
        let contact =
            format!("Contact: <sip:{user}@198.51.100.7:5555;transport=tls>\r\nExpires: 600\r\n");
        self.register(user, "pw", token, &contact);
        let inside = self.dialled("10.0.0.5");
        let request = self.one(inside);
        let reply = request
            .reply(200, "OK", "k")
            .header(Name::Contact, request.header(Name::Contact).unwrap())
            .header(Name::Expires, "600")
            .build();
        self.take(inside, reply);
        assert_eq!(self.one(LANE).status(), 200);
        request
    }
}

fn is_options(message: &Message) -> bool {
    message.method() == Method::Options && message.header(Name::Route).is_none()
}

fn message(text: &str) -> Message {
    Message::parse(Bytes::from(text.to_owned()), &Limits::trusted()).unwrap()
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8(value.unwrap_or_default().to_vec()).unwrap()
}
