//! Where a request for a SIP URI is sent: server location by NAPTR, SRV and addresses (RFC 3263
//! §4, RFC 2782).
//!
//! In: a URI, the transports the caller speaks, and answers of DNS. Out: questions for DNS, and in
//! the end [`Places`], in the order to try them. The order follows from the answers and the
//! generator alone, not from which answer came first.
//!
//! ```
//! use sip::locate::{Answer, Naptr, Question, Search, Service, Transport};
//!
//! let uri = sip::Uri::parse(b"sip:bob@example.test").unwrap();
//! let rng = base::Rng::from_number(1);
//! let mut search = Search::new(&uri, &[Transport::Tls, Transport::Tcp], rng);
//! while let Some(question) = search.poll_question() {
//!     // A driver asks DNS and comes back later; several questions may be under way at once.
//!     let answer = match &question {
//!         Question::Naptr(_) => Answer::Absent,
//!         Question::Service(name) if name == "_sips._tcp.example.test" => {
//!             Answer::Service(vec![Service::new(10, 0, 5061, "sip1.example.test")])
//!         }
//!         Question::Service(_) => Answer::Absent,
//!         Question::Address(_) => Answer::Address(vec!["192.0.2.7".parse().unwrap()]),
//!     };
//!     search.answer(&question, answer);
//! }
//! let mut places = search.take_result().unwrap().unwrap();
//! let first = places.next().unwrap();
//! assert_eq!(first.socket().to_string(), "192.0.2.7:5061");
//! assert_eq!(first.tls_name.as_deref(), Some("example.test"));
//! // It refused the connection, or answered 503: the next one, with a new branch (§4.3).
//! assert!(places.next().is_none());
//! ```
//!
//! The name a certificate must show is the URI's host, never a name that DNS gave (RFC 5922 §4).
//! Not done here: where a response goes (§5) – it goes back on the flow its request came in on –
//! and whether an address may be dialled at all, which is the caller's policy.
//!
//! Bounds: [`NAPTR_MAX`] and [`SERVICES_MAX`] records of one answer are read, [`HOSTS_MAX`] names
//! looked up, [`PLACES_MAX`] places kept. Time is the caller's: each question wants an answer, and
//! [`Answer::Failed`] is one.

mod record;

use std::net::{IpAddr, SocketAddr};

use base::Rng;
use smallvec::SmallVec;

use crate::{Host, Uri};
use record::in_order;

pub use record::{Answer, Naptr, Question, Service};

/// NAPTR records of one answer that are read.
pub const NAPTR_MAX: usize = 32;

/// SRV records of one answer that are read.
pub const SERVICES_MAX: usize = 32;

/// Names whose addresses are asked for.
pub const HOSTS_MAX: usize = 16;

/// Places kept.
pub const PLACES_MAX: usize = 32;

/// Bytes of the longest name that is asked for (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// What a request is carried by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// The port where none is said (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }

    /// As a Via names it.
    pub fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// The labels of its SRV records (RFC 3263 §4.1).
    fn labels(self) -> &'static str {
        match self {
            Transport::Udp => "_sip._udp",
            Transport::Tcp => "_sip._tcp",
            Transport::Tls => "_sips._tcp",
        }
    }

    /// The transport that a NAPTR service names.
    fn of_naptr(service: &str) -> Option<Transport> {
        [
            ("SIP+D2U", Transport::Udp),
            ("SIP+D2T", Transport::Tcp),
            ("SIPS+D2T", Transport::Tls),
        ]
        .into_iter()
        .find_map(|(name, transport)| name.eq_ignore_ascii_case(service).then_some(transport))
    }
}

/// One place to send a request to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How.
    pub transport: Transport,
    /// The name the address was found under; the address itself if there was none.
    pub host: String,
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The name the certificate must show, over TLS.
    pub tls_name: Option<String>,
}

impl Place {
    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// The places for a URI, the best first. [`Iterator::next`] gives the one to try, and after a
/// failure the one to try instead (RFC 3263 §4.3); [`fails_over`] tells which failures count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    all: Vec<Place>,
    at: usize,
}

impl Places {
    /// All of them, tried or not.
    pub fn all(&self) -> &[Place] {
        &self.all
    }
}

impl Iterator for Places {
    type Item = Place;
    fn next(&mut self) -> Option<Place> {
        let place = self.all.get(self.at)?.clone();
        self.at += 1;
        Some(place)
    }
}

/// Whether a response moves a client on to the next place: 503 alone (RFC 3263 §4.3). A connection
/// that fails and a transaction that times out do so too.
pub fn fails_over(status: u16) -> bool {
    status == 503
}

/// Why there is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The URI asks for a transport that the caller does not speak, or for none that exists.
    #[error("no transport for this URI is spoken here")]
    Transport,
    /// DNS knows no server for the name.
    #[error("DNS knows no SIP server for {0}")]
    NotFound(String),
    /// No DNS server answered.
    #[error("no DNS server answered for {0}")]
    NoAnswer(String),
}

impl LocateError {
    /// The status and reason for a request whose URI has no place.
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            // RFC 3261 §21.4.5: the domain is not one that is handled.
            LocateError::Transport | LocateError::NotFound(_) => (404, "Not Found"),
            // RFC 3261 §21.5.4: it may be known in a moment.
            LocateError::NoAnswer(_) => (503, "Service Unavailable"),
        }
    }
}

/// A question that was or will be asked.
struct Asked {
    question: Question,
    transport: Transport,
    answer: Option<Answer>,
}

/// A host whose addresses are wanted.
struct Wanted {
    transport: Transport,
    host: String,
    port: u16,
}

enum Stage {
    Naptr,
    /// SRV, and the transport if there are no records.
    Services(Transport),
    Hosts(Vec<Wanted>),
    Done(Option<Result<Places, LocateError>>),
}

/// The search for the places of one URI.
pub struct Search {
    /// RFC 3263's TARGET.
    target: String,
    /// The host of the URI, which a certificate must show.
    name: String,
    sips: bool,
    /// What the caller speaks, the best liked first.
    spoken: SmallVec<[Transport; 3]>,
    rng: Rng,
    stage: Stage,
    asked: Vec<Asked>,
    handed_out: usize,
}

impl Search {
    /// Begins for a URI. `spoken` lists the transports of the caller, the best liked first; the
    /// order decides where neither URI nor NAPTR does.
    pub fn new(uri: &Uri<'_>, spoken: &[Transport], rng: Rng) -> Self {
        let maddr = uri
            .param(b"maddr")
            .and_then(|m| std::str::from_utf8(m).ok())
            .filter(|m| !m.is_empty());
        let mut search = Search {
            target: maddr.map_or_else(|| plain(&uri.host), str::to_owned),
            name: plain(&uri.host),
            sips: uri.is_sips(),
            spoken: SmallVec::new(),
            rng,
            stage: Stage::Naptr,
            asked: Vec::new(),
            handed_out: 0,
        };
        for transport in spoken {
            let fits = !search.sips || *transport == Transport::Tls;
            if fits && !search.spoken.contains(transport) {
                search.spoken.push(*transport);
            }
        }
        search.begin(uri.param(b"transport"), uri.port);
        search
    }

    /// The next question; ask all there are, and again after each answer.
    pub fn poll_question(&mut self) -> Option<Question> {
        let asked = self.asked.get(self.handed_out)?;
        self.handed_out += 1;
        Some(asked.question.clone())
    }

    /// Takes the answer to a question. One that was not asked, or was answered, changes nothing.
    pub fn answer(&mut self, question: &Question, answer: Answer) {
        let waiting = self
            .asked
            .iter_mut()
            .find(|a| a.answer.is_none() && a.question == *question);
        let Some(asked) = waiting else { return };
        asked.answer = Some(answer);
        if self.asked.iter().all(|a| a.answer.is_some()) {
            self.handed_out = 0;
            let answers = std::mem::take(&mut self.asked);
            self.step(answers);
        }
    }

    /// The places, once, when all questions are answered.
    pub fn take_result(&mut self) -> Option<Result<Places, LocateError>> {
        match &mut self.stage {
            Stage::Done(result) => result.take(),
            _ => None,
        }
    }

    /// RFC 3263 §4.1.
    fn begin(&mut self, param: Option<&[u8]>, port: Option<u16>) {
        let transport = match param {
            None => None,
            Some(name) => match self.named(name) {
                Some(transport) => Some(transport),
                None => return self.done(Err(LocateError::Transport)),
            },
        };
        let Some(default) = transport.or_else(|| self.default_transport()) else {
            return self.done(Err(LocateError::Transport));
        };
        let address: Option<IpAddr> = self.target.trim_matches(['[', ']']).parse().ok();
        if address.is_none() && !askable(&self.target) || port == Some(0) {
            return self.not_found();
        }
        match (address, port, transport) {
            (Some(address), port, _) => {
                let place = Place {
                    transport: default,
                    host: address.to_string(),
                    address,
                    port: port.unwrap_or(default.default_port()),
                    tls_name: (default == Transport::Tls).then(|| self.name.clone()),
                };
                self.done(Ok(vec![place]));
            }
            (None, Some(port), _) => self.want_target(default, port),
            (None, None, Some(transport)) => self.want_services(&[transport], transport),
            (None, None, None) => {
                let question = Question::Naptr(self.target.clone());
                self.ask(question, default);
            }
        }
    }

    /// The transport a URI parameter names, if it is spoken. `transport=tcp` in a SIPS URI means
    /// TLS over TCP (RFC 3261 §26.2.2).
    fn named(&self, name: &[u8]) -> Option<Transport> {
        let transport = match name.to_ascii_lowercase().as_slice() {
            b"udp" => Transport::Udp,
            b"tcp" if self.sips => Transport::Tls,
            b"tcp" => Transport::Tcp,
            b"tls" => Transport::Tls,
            _ => return None,
        };
        self.spoken.contains(&transport).then_some(transport)
    }

    /// UDP for SIP, TLS over TCP for SIPS; a caller without UDP takes TCP, one without that TLS.
    fn default_transport(&self) -> Option<Transport> {
        let order = [Transport::Udp, Transport::Tcp, Transport::Tls];
        order.into_iter().find(|t| self.spoken.contains(t))
    }

    fn ask(&mut self, question: Question, transport: Transport) {
        self.asked.push(Asked {
            question,
            transport,
            answer: None,
        });
    }

    fn want_services(&mut self, transports: &[Transport], without: Transport) {
        for transport in transports {
            let name = format!("{}.{}", transport.labels(), self.target);
            self.ask(Question::Service(name), *transport);
        }
        self.stage = Stage::Services(without);
    }

    fn want_target(&mut self, transport: Transport, port: u16) {
        let host = self.target.clone();
        self.want_hosts(vec![Wanted {
            transport,
            host,
            port,
        }]);
    }

    fn want_hosts(&mut self, wanted: Vec<Wanted>) {
        for one in &wanted {
            let question = Question::Address(one.host.clone());
            if self.asked.iter().all(|a| a.question != question) {
                self.ask(question, one.transport);
            }
        }
        self.stage = Stage::Hosts(wanted);
    }

    fn step(&mut self, answers: Vec<Asked>) {
        match std::mem::replace(&mut self.stage, Stage::Done(None)) {
            Stage::Naptr => self.naptr(answers),
            Stage::Services(without) => self.services(answers, without),
            Stage::Hosts(wanted) => self.hosts(&wanted, &answers),
            done @ Stage::Done(_) => self.stage = done,
        }
    }

    /// RFC 3263 §4.1: what is not spoken is passed over; without anything left, SRV of each
    /// transport. A server that does not answer for NAPTR counts as one that has none: there are
    /// firewalls that let nothing pass but what they know, and SIPS stays TLS either way.
    fn naptr(&mut self, answers: Vec<Asked>) {
        let mut records = match answers.into_iter().find_map(|a| a.answer) {
            Some(Answer::Naptr(records)) => records,
            _ => Vec::new(),
        };
        records.truncate(NAPTR_MAX);
        records.sort_by_key(|r| (r.order, r.preference));
        let mut first = None;
        for record in records {
            let transport = Transport::of_naptr(&record.service);
            let Some(transport) = transport.filter(|t| self.spoken.contains(t)) else {
                continue;
            };
            let name = record.replacement.trim_end_matches('.');
            let question = Question::Service(name.to_owned());
            let again = self.asked.iter().any(|a| a.question == question);
            if record.flags.eq_ignore_ascii_case("s") && askable(name) && !again {
                first.get_or_insert(transport);
                self.ask(question, transport);
            }
        }
        match (first, self.default_transport()) {
            (Some(first), _) => self.stage = Stage::Services(first),
            (None, Some(default)) => self.want_services(&self.spoken.clone(), default),
            (None, None) => self.done(Err(LocateError::Transport)),
        }
    }

    /// RFC 3263 §4.2 and RFC 2782.
    fn services(&mut self, answers: Vec<Asked>, without: Transport) {
        let (mut wanted, mut failed, mut declined) = (Vec::new(), false, false);
        for asked in answers {
            match asked.answer {
                Some(Answer::Service(mut records)) => {
                    records.truncate(SERVICES_MAX);
                    let (decided, offered): (Vec<_>, Vec<_>) = records
                        .into_iter()
                        .partition(|r| matches!(r.target.as_str(), "" | "."));
                    declined |= !decided.is_empty() && asked.transport == without;
                    let ordered = in_order(offered, &mut self.rng).into_iter();
                    wanted.extend(ordered.map(|r| Wanted {
                        transport: asked.transport,
                        host: r.target.trim_end_matches('.').to_owned(),
                        port: r.port,
                    }));
                }
                Some(Answer::Failed) => failed = true,
                _ => {}
            }
        }
        wanted.retain(|w| askable(&w.host) && w.port != 0);
        wanted.truncate(HOSTS_MAX);
        if !wanted.is_empty() {
            self.want_hosts(wanted);
        } else if failed {
            // To guess an address while records may exist would be to send it astray.
            self.done(Err(LocateError::NoAnswer(self.target.clone())));
        } else if declined {
            self.not_found();
        } else {
            self.want_target(without, without.default_port());
        }
    }

    fn hosts(&mut self, wanted: &[Wanted], answers: &[Asked]) {
        let mut places: Vec<Place> = Vec::new();
        for one in wanted {
            let answer = answers
                .iter()
                .find(|a| a.question.name() == one.host)
                .and_then(|a| a.answer.as_ref());
            let Some(Answer::Address(addresses)) = answer else {
                continue;
            };
            for address in addresses {
                let place = Place {
                    transport: one.transport,
                    host: one.host.clone(),
                    address: *address,
                    port: one.port,
                    tls_name: (one.transport == Transport::Tls).then(|| self.name.clone()),
                };
                let same =
                    |p: &Place| p.transport == place.transport && p.socket() == place.socket();
                if places.len() < PLACES_MAX && !places.iter().any(same) {
                    places.push(place);
                }
            }
        }
        let failed = answers
            .iter()
            .any(|a| matches!(a.answer, Some(Answer::Failed)));
        match (places.is_empty(), failed) {
            (false, _) => self.done(Ok(places)),
            (true, true) => self.done(Err(LocateError::NoAnswer(self.target.clone()))),
            (true, false) => self.not_found(),
        }
    }

    fn not_found(&mut self) {
        self.done(Err(LocateError::NotFound(self.target.clone())));
    }

    fn done(&mut self, result: Result<Vec<Place>, LocateError>) {
        self.stage = Stage::Done(Some(result.map(|all| Places { all, at: 0 })));
    }
}

/// A host as DNS and certificates write it: without brackets or a final dot.
fn plain(host: &Host<'_>) -> String {
    match host {
        Host::Name(name) => name.trim_end_matches('.').to_ascii_lowercase(),
        Host::V4(address) => address.to_string(),
        Host::V6(address) => address.to_string(),
    }
}

/// Whether DNS can be asked for a name.
fn askable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.split('.').all(|label| (1..=63).contains(&label.len()))
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests;
