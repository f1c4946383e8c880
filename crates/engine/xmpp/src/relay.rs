//! A client's stream to its server, from the first header until a resource is bound: passed on
//! whole element by whole element, and read on the way.
//!
//! Before sign-in a client may speak when the server waits for it, and only to sign in: an element
//! goes in, an answer comes back, whatever the client sends ahead waits. So a stranger's stanza
//! never reaches the server, and a client that sends its new header early loses nothing. Once a
//! resource is bound, or an earlier session goes on, [`Relay::into_directions`] gives what is
//! needed to pass bytes without reading them.
//!
//! Nothing is added, dropped or changed but features, and these only where asked
//! ([`Features::Rewrite`]). Bounds: [`Limits::STRANGER`] and [`Limits::SERVER_GREETING`],
//! [`TRIES_MAX`] failed sign-ins.

use base::Pii;

use crate::collector::Collector;
use crate::header::StreamHeader;
use crate::tree::Node;
use crate::{Framer, Kind, Limits, Name, Violation, features, ns, sasl};

/// The longest condition that is told; the standard's are shorter (RFC 6120 §8.3.3).
const WORD_MAX: usize = 40;

/// Failed sign-ins on one stream (RFC 6120 §6.4.5 recommends 2 to 5).
pub const TRIES_MAX: u32 = 5;

/// What becomes of the server's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// They pass as they are.
    Pass,
    /// What a proxy that ends TLS cannot keep is cut.
    Rewrite,
}

/// Something that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A header of either side.
    Header(StreamHeader),
    /// The server's features.
    Features,
    /// The client signs in, or answers a challenge.
    Auth,
    /// The server challenges.
    Challenge,
    /// The server has accepted.
    SignedIn,
    /// The server has refused.
    SignInFailed,
    /// The client asks for a resource.
    Bind,
    /// The server refuses the resource, with this condition (RFC 6120 §7.6.2, §8.3.3).
    BindRefused(String),
    /// The session stands, under this full address as far as known.
    Bound(Pii<String>),
    /// Anything else.
    Element(Name),
    /// One side has ended its stream.
    Closed,
}

impl Seen {
    /// In a word, for a log: `stream`, `auth`, `bind` or the element's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Seen::Header(_) | Seen::Features | Seen::Closed => "stream",
            Seen::Auth | Seen::Challenge | Seen::SignedIn | Seen::SignInFailed => "auth",
            Seen::Bind | Seen::BindRefused(_) | Seen::Bound(_) => "bind",
            Seen::Element(name) => name.as_str(),
        }
    }
}

/// One direction of a stream that is only to be framed from now on.
#[derive(Debug)]
pub struct Direction {
    /// As it stands.
    pub framer: Framer,
    /// What it has seen and has not passed: the beginning of an element.
    pub pending: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The server has not offered anything yet.
    Greeting,
    /// The client is to sign in.
    Asking,
    /// The server is to answer.
    Answering,
    /// Signed in, without a resource.
    SignedIn,
    /// With one.
    Bound,
}

/// The stream as it stands.
#[derive(Debug)]
pub struct Relay {
    client: Collector,
    server: Collector,
    features: Features,
    phase: Phase,
    domain: String,
    mechanism: String,
    user: Option<Pii<String>>,
    failures: u32,
    /// The client has asked for a resource.
    binding: bool,
    resumable: bool,
}

impl Relay {
    /// Before the client's header.
    pub fn new(features: Features) -> Self {
        Relay {
            client: Collector::new(Limits::STRANGER),
            server: Collector::new(Limits::SERVER_GREETING),
            features,
            phase: Phase::Greeting,
            domain: String::new(),
            mechanism: String::new(),
            user: None,
            failures: 0,
            binding: false,
            resumable: false,
        }
    }

    /// Whether the client's bytes are wanted now. Until they are they wait unread.
    pub fn client_may_speak(&self) -> bool {
        match self.phase {
            Phase::Greeting => !self.client.framer.is_open(),
            Phase::Answering => false,
            Phase::Asking | Phase::SignedIn | Phase::Bound => true,
        }
    }

    /// Whether sign-in is over.
    pub fn is_signed_in(&self) -> bool {
        matches!(self.phase, Phase::SignedIn | Phase::Bound)
    }

    /// Whether nothing needs reading any more.
    pub fn is_bound(&self) -> bool {
        self.phase == Phase::Bound
    }

    /// Whether the server keeps the session for a while when the connection is lost (XEP-0198), so
    /// that a loss had better look like one.
    pub fn is_resumable(&self) -> bool {
        self.resumable
    }

    /// Who signs in, as far as the client's own words tell.
    pub fn user(&self) -> Option<&Pii<String>> {
        self.user.as_ref()
    }

    /// The server's stream tag, once its header has passed.
    pub fn server_root(&self) -> &[u8] {
        self.server.framer.root()
    }

    /// The client's and the server's direction, as they stand.
    pub fn into_directions(self) -> [Direction; 2] {
        [self.client, self.server].map(|collector| Direction {
            framer: collector.framer,
            pending: collector.buffer,
        })
    }

    /// Takes bytes of the client up to the end of an element; adds what goes on to `out`. Tells how
    /// many bytes were taken, and what passed.
    ///
    /// # Errors
    /// The client broke the protocol.
    pub fn from_client(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Seen>), Violation> {
        let (taken, over) = self.client.take(bytes)?;
        let seen = match over {
            None => {
                pass_keep_alive(&mut self.client, out);
                return Ok((taken, None));
            }
            Some(Kind::Header) => Seen::Header(self.client_header()?),
            Some(Kind::Close) => Seen::Closed,
            Some(Kind::Element(name)) if self.is_signed_in() => self.client_stanza(name),
            Some(Kind::Element(name)) => self.client_sign_in(name)?,
        };
        let element = self.client.element();
        out.extend_from_slice(match seen {
            Seen::Header(_) => element.trim_ascii_start(),
            _ => element,
        });
        self.client.forget();
        Ok((taken, Some(seen)))
    }

    fn client_header(&mut self) -> Result<StreamHeader, Violation> {
        let header = self.client.read_header()?;
        header.check_client()?;
        if self.phase == Phase::Greeting {
            self.domain = header.to.clone().unwrap_or_default();
        } else if !header.is_for(&self.domain) {
            return Err(Violation::OtherDomain);
        }
        Ok(header)
    }

    fn client_stanza(&mut self, name: Name) -> Seen {
        let binds = name == Name::Iq
            && memchr::memmem::find(self.client.element(), ns::BIND.as_bytes()).is_some();
        self.binding |= binds;
        if binds {
            Seen::Bind
        } else {
            Seen::Element(name)
        }
    }

    fn client_sign_in(&mut self, name: Name) -> Result<Seen, Violation> {
        if name.is_stanza() {
            return Err(Violation::NotSignedIn);
        }
        let nodes = self.client.read_element()?;
        let root = nodes.first().ok_or(Violation::OutOfPlace)?;
        if root.is(ns::STREAM, "error") {
            return Ok(Seen::Element(name));
        }
        if !matches!(&*root.namespace, ns::SASL | ns::SASL2) {
            return Err(Violation::OutOfPlace);
        }
        if self.failures >= TRIES_MAX {
            return Err(Violation::Tries);
        }
        if let Some(mechanism) = root.attribute("mechanism") {
            self.mechanism = mechanism.to_owned();
            self.user = None;
        }
        if self.user.is_none() {
            let initial = nodes
                .iter()
                .find(|n| n.is(ns::SASL2, "initial-response"))
                .unwrap_or(root);
            self.user = sasl::user(&self.mechanism, &initial.text);
        }
        self.phase = Phase::Answering;
        Ok(Seen::Auth)
    }

    /// Takes bytes of the server, as [`Relay::from_client`] does of the client.
    ///
    /// # Errors
    /// The server broke the protocol.
    pub fn from_server(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Seen>), Violation> {
        let (taken, over) = self.server.take(bytes)?;
        let seen = match over {
            None => {
                pass_keep_alive(&mut self.server, out);
                return Ok((taken, None));
            }
            Some(Kind::Header) => Seen::Header(self.server.read_header()?),
            Some(Kind::Close) => Seen::Closed,
            Some(Kind::Element(name)) => {
                let nodes = self.server.read_element()?;
                let seen = self.server_element(name, &nodes);
                if seen == Seen::Features && self.features == Features::Rewrite {
                    let element = self.server.element();
                    let spaces = element.len() - element.trim_ascii_start().len();
                    out.extend_from_slice(element.get(..spaces).unwrap_or_default());
                    let element = element.get(spaces..).unwrap_or_default();
                    out.extend_from_slice(&features::rewrite(element, &nodes));
                    self.server.forget();
                    return Ok((taken, Some(seen)));
                }
                seen
            }
        };
        out.extend_from_slice(self.server.element());
        self.server.forget();
        self.change(&seen);
        Ok((taken, Some(seen)))
    }

    fn server_element(&mut self, name: Name, nodes: &[Node]) -> Seen {
        let Some(root) = nodes.first() else {
            return Seen::Element(name);
        };
        if root.is(ns::STREAM, "features") {
            if self.phase == Phase::Greeting {
                self.phase = Phase::Asking;
            }
            return Seen::Features;
        }
        self.resumable |= nodes.iter().any(|n| n.is_resumption());
        if self.is_signed_in() {
            return self.server_stanza(name, nodes);
        }
        match (&*root.namespace, &*root.name) {
            (ns::SASL | ns::SASL2, "challenge" | "continue") => Seen::Challenge,
            (ns::SASL | ns::SASL2, "failure") => Seen::SignInFailed,
            (ns::SASL, "success") => Seen::SignedIn,
            (ns::SASL2, "success") => self.success2(nodes),
            _ => Seen::Element(name),
        }
    }

    /// Sign-in by XEP-0388: the stream goes on without a restart, perhaps with a resource.
    fn success2(&mut self, nodes: &[Node]) -> Seen {
        self.phase = Phase::SignedIn;
        self.client.framer.set_limits(Limits::SIGNED_IN);
        let address = nodes
            .iter()
            .find(|n| n.is(ns::SASL2, "authorization-identifier"))
            .map(|n| Pii::new(n.text.trim().to_owned()));
        let resumed = nodes.iter().any(|n| n.is(ns::MANAGEMENT, "resumed"));
        match address {
            Some(address) if resumed || address.expose().contains('/') => Seen::Bound(address),
            address => {
                self.user = address.or(self.user.take());
                Seen::SignedIn
            }
        }
    }

    fn server_stanza(&self, name: Name, nodes: &[Node]) -> Seen {
        let address = || {
            let bound = nodes
                .iter()
                .position(|n| n.depth == 1 && n.is(ns::BIND, "bind"))?;
            let jid = nodes.get(bound + 1).filter(|n| n.is(ns::BIND, "jid"))?;
            Some(Pii::new(jid.text.trim().to_owned()))
        };
        let refused = || {
            let is_error = nodes.first()?.attribute("type") == Some("error");
            let condition = |n: &&Node| n.depth == 2 && n.namespace == ns::STANZAS;
            let found = nodes.iter().find(condition);
            let word = found
                .map(|n| n.name.as_str())
                .filter(|w| w.len() <= WORD_MAX);
            let word = word.unwrap_or("an error");
            (is_error && self.binding).then(|| Seen::BindRefused(word.to_owned()))
        };
        match name {
            Name::Iq => address()
                .map(Seen::Bound)
                .or_else(refused)
                .unwrap_or(Seen::Element(name)),
            Name::Resumed => Seen::Bound(self.address()),
            _ => Seen::Element(name),
        }
    }

    /// The address of a resumed session, whose resource nobody says.
    fn address(&self) -> Pii<String> {
        match &self.user {
            Some(user) if user.expose().contains('@') => user.clone(),
            Some(user) => Pii::new(format!("{}@{}", user.expose(), self.domain)),
            None => Pii::new(self.domain.clone()),
        }
    }

    /// What the server's word changes, once it has passed.
    fn change(&mut self, seen: &Seen) {
        match seen {
            Seen::Challenge => self.phase = Phase::Asking,
            Seen::SignInFailed => {
                self.failures += 1;
                self.phase = Phase::Asking;
            }
            // Unless it came by XEP-0388, both sides begin anew (RFC 6120 §6.4.6).
            Seen::SignedIn if self.phase != Phase::SignedIn => {
                self.phase = Phase::SignedIn;
                self.client.restart(Limits::SIGNED_IN);
                self.server.restart(Limits::SERVER_GREETING);
            }
            Seen::Bound(_) => {
                self.phase = Phase::Bound;
                self.server.framer.set_limits(Limits::SERVER);
            }
            _ => {}
        }
    }
}

/// White space between elements is for whoever waits for a sign of life.
fn pass_keep_alive(collector: &mut Collector, out: &mut Vec<u8>) {
    if collector.framer.is_between() {
        out.extend_from_slice(collector.element());
        collector.forget();
    }
}
