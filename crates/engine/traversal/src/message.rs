//! The messages of the control lane.

use std::fmt;

use base::{DomainName, Pii, UnixTime};
use serde::{Deserialize, Serialize};

/// The version of the control lane that this program speaks.
pub const VERSION: u32 = 1;

/// Zones told of at once.
pub const ZONES_MAX: usize = 500;

/// Sign-outs told of in one message.
pub const SIGN_OUTS_MAX: usize = 200;

/// Bytes of a user's name, of a domain, and of a connection's token, in a sign-out.
pub const SIGN_OUT_NAME_MAX: usize = 512;

/// Bytes of the sign-outs of one message: half a frame, so that what is around them has room.
const SIGN_OUTS_BYTES_MAX: usize = crate::FRAME_BYTES_MAX / 2;

/// Connections told of with one sign-out; if there are more, it is told again with the others.
const FLOWS_MAX: usize = 100;

/// A user who was signed out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignOut {
    /// The user.
    pub user: Pii<String>,
    /// In which domain; in all of them if empty.
    pub domain: String,
    /// What is from then or before is void, by the core's clock.
    pub at: UnixTime,
    /// Tells one sign-out from another, on whatever node.
    pub id: u64,
    /// Core to edge: tokens of the client connections that are the user's.
    #[serde(default)]
    pub flows: Vec<String>,
    /// Whether it was told before, and this is about more connections.
    #[serde(default)]
    pub more: bool,
}

impl SignOut {
    /// Whether its names are of a length that a node takes, and have no control characters, which
    /// would be six bytes each when it is passed on.
    pub fn is_fit(&self) -> bool {
        let fit = |s: &str| s.len() <= SIGN_OUT_NAME_MAX && !s.contains(char::is_control);
        fit(self.user.expose()) && fit(&self.domain)
    }
}

/// The messages that tell of sign-outs, each shorter than a frame; those that no node would take
/// are left out.
pub(crate) fn sign_outs(outs: &[SignOut]) -> Vec<Message> {
    let (mut messages, mut lot, mut bytes) = (Vec::new(), Vec::new(), 0);
    for part in outs.iter().filter(|out| out.is_fit()).flat_map(parts) {
        let more = serde_json::to_vec(&part).map_or(usize::MAX, |json| json.len() + 1);
        if more > SIGN_OUTS_BYTES_MAX {
            continue;
        }
        if lot.len() >= SIGN_OUTS_MAX || bytes + more > SIGN_OUTS_BYTES_MAX {
            let outs = std::mem::take(&mut lot);
            messages.push(Message::SignOuts { outs });
            bytes = 0;
        }
        bytes += more;
        lot.push(part);
    }
    if !lot.is_empty() {
        messages.push(Message::SignOuts { outs: lot });
    }
    messages
}

/// A sign-out as often as its connections need.
fn parts(out: &SignOut) -> Vec<SignOut> {
    let fit = |flow: &&String| flow.len() <= SIGN_OUT_NAME_MAX && flow.is_ascii();
    let flows: Vec<String> = out.flows.iter().filter(fit).cloned().collect();
    let with = |(n, flows): (usize, &[String])| SignOut {
        user: out.user.clone(),
        domain: out.domain.clone(),
        flows: flows.to_vec(),
        more: out.more || n > 0,
        ..*out
    };
    match flows.is_empty() {
        true => vec![with((0, &[]))],
        false => flows.chunks(FLOWS_MAX).enumerate().map(with).collect(),
    }
}

/// What is taken of sign-outs that were heard.
pub(crate) fn sign_outs_heard(mut outs: Vec<SignOut>) -> Vec<SignOut> {
    outs.truncate(SIGN_OUTS_MAX);
    outs.retain(SignOut::is_fit);
    outs
}

/// One message of the control lane.
///
/// Unknown fields are passed over and unknown messages end in [`Message::Unknown`], so that two
/// nodes of neighbouring versions understand one another while an upgrade is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
pub enum Message {
    /// Edge to core, first.
    Challenge {
        /// The version the edge speaks.
        version: u32,
        /// 32 random bytes in hexadecimal.
        nonce: String,
        /// The edge's clock.
        clock: UnixTime,
    },
    /// Core to edge, second.
    Hello(Box<Hello>),
    /// Edge to core, third: the link is up.
    Welcome(Box<Welcome>),
    /// Edge to core, third: it is not, and why.
    Refuse(Refusal),
    /// Keep-alive and measurement.
    Ping {
        /// Counts up.
        sequence: u64,
        /// The sender's clock.
        clock: UnixTime,
    },
    /// The answer to a ping.
    Pong {
        /// The ping's.
        sequence: u64,
        /// The answerer's clock.
        clock: UnixTime,
    },
    /// Core to edge: what the edge may serve from now on.
    Domains {
        /// All of them.
        domains: Vec<DomainOffer>,
    },
    /// Core to edge: the zones of call control that cannot be reached, once when the link is up and
    /// whenever that changes. An edge that does not know it takes every zone for well.
    Zones {
        /// The names of those that cannot; at most [`ZONES_MAX`].
        down: Vec<String>,
    },
    /// Either way: users who were signed out by an administrator, all of late when the link comes
    /// up and each as it happens. The edge refuses their tokens, closes what is theirs, and tells
    /// its other cores.
    SignOuts {
        /// At most [`SIGN_OUTS_MAX`].
        outs: Vec<SignOut>,
    },
    /// Edge to core: a client's connection was lost in a call, and it did not come back. A core
    /// that does not know it keeps the call until its ends are silent.
    CallLost {
        /// The call's Call-ID.
        call_id: String,
        /// The tag of the one who began it, on the edge's side.
        tag: String,
    },
    /// Either way: the sender closes the link in good order.
    Bye {
        /// Why, for the peer's log.
        reason: String,
    },
    /// A message of a later version.
    #[serde(other)]
    Unknown,
}

impl Message {
    /// The message's name, for events.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Challenge { .. } => "challenge",
            Message::Hello(_) => "hello",
            Message::Welcome(_) => "welcome",
            Message::Refuse(_) => "refuse",
            Message::Ping { .. } => "ping",
            Message::Pong { .. } => "pong",
            Message::Domains { .. } => "domains",
            Message::Zones { .. } => "zones",
            Message::SignOuts { .. } => "sign-outs",
            Message::CallLost { .. } => "call-lost",
            Message::Bye { .. } => "bye",
            Message::Unknown => "an unknown message",
        }
    }
}

/// The core's introduction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The version the core speaks.
    pub version: u32,
    /// The core's fully qualified name.
    pub node: String,
    /// Random, the same for the life of the core's process: another one means that its calls
    /// are gone.
    pub instance: String,
    /// The zone's user name.
    pub user: String,
    /// [`crate::proof::core`] in hexadecimal.
    pub proof: String,
    /// 32 random bytes in hexadecimal, for the edge's proof.
    pub nonce: String,
    /// The core's clock.
    pub clock: UnixTime,
    /// The public key the core shows on 2222, in OpenSSH format.
    pub ssh_key: String,
    /// The Ed25519 public key that checks the core's session tokens, in hexadecimal.
    pub token_key: String,
    /// What the edge may serve.
    pub domains: Vec<DomainOffer>,
}

/// A domain and what of it the edge may serve (F101–F107).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainOffer {
    /// The domain.
    pub name: DomainName,
    /// SIP registrations and provisioning.
    pub sip: bool,
    /// Instant messaging and presence.
    pub im_presence: bool,
    /// XMPP federation.
    pub federation: bool,
    /// Whether the core judges bearer tokens of an issuer of the domain. An edge or core of before
    /// knows none.
    #[serde(default)]
    pub tokens: bool,
    /// Whether its users sign in by an identity provider.
    #[serde(default)]
    pub sso: bool,
}

/// The edge's introduction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version the edge speaks.
    pub version: u32,
    /// The edge's fully qualified name.
    pub node: String,
    /// Random, the same for the life of the edge's process: another one means that its relays
    /// are gone.
    pub instance: String,
    /// [`crate::proof::edge`] in hexadecimal.
    pub proof: String,
    /// The edge's clock.
    pub clock: UnixTime,
    /// The host key the edge shows on 2222, in OpenSSH format.
    pub ssh_host_key: String,
    /// Where clients reach the edge.
    pub services: EdgeServices,
}

/// Where clients reach an edge, as `get_edge_config` tells them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeServices {
    /// HTTPS, by default 8443.
    pub https: ServiceAddress,
    /// SIP over TLS, by default 5061.
    pub sip: ServiceAddress,
    /// XMPP, by default 5222.
    pub xmpp: ServiceAddress,
    /// The digest realm of the edge's SIP challenges.
    pub sip_realm: String,
    /// The address the core writes into SDP towards this edge; media itself follows stream ids.
    pub media_address: std::net::IpAddr,
    /// The link's RTP port, by default 36000.
    pub media_port: u16,
}

/// A host and a port as a client should use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAddress {
    /// A name, or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why the edge does not take the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong.
    pub cause: String,
    /// What an administrator can do.
    pub fix: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cause, self.fix)
    }
}
