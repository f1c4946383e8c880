//! The edge–core link, below the sockets: who may link, what both sides tell one another, whether
//! the link lives and whether the clocks agree.
//!
//! The core dials the edge on 7001 with mutual TLS and the ALPN protocol [`ALPN`]. The driver owns
//! the connection and has checked the peer's certificate and subject name; this crate speaks the
//! frames inside. In: frames ([`frame`]) and time. Out: frames to send, and [`Event`]s.
//!
//! 1. The edge sends a [`Message::Challenge`].
//! 2. The core answers [`Message::Hello`]: who it is, a proof that it knows the zone's password
//!    bound to this very TLS connection ([`proof`]), and what the edge may serve.
//! 3. The edge answers [`Message::Welcome`] with its own proof, its SSH host key and its services,
//!    or [`Message::Refuse`] with cause and fix.
//! 4. Both send [`Message::Ping`] every [`KEEP_ALIVE`]; three unanswered end the link. Each answer
//!    gives the round trip and the difference of the two clocks.
//!
//! Other lanes (SIP, HTTP, XMPP, media) have connections of their own; they belong to the link of
//! the peer whose certificate name they show. Bounds: a frame is at most [`FRAME_BYTES_MAX`].

#![forbid(unsafe_code)]

mod acceptor;
mod dialer;
pub mod frame;
mod message;
pub mod proof;
mod pulse;

pub use acceptor::{Acceptor, Admission};
pub use dialer::Dialer;
pub use message::{
    DomainOffer, EdgeServices, Hello, Message, Refusal, SIGN_OUT_NAME_MAX, SIGN_OUTS_MAX,
    ServiceAddress, SignOut, VERSION, Welcome, ZONES_MAX,
};
pub use pulse::Pulse;

use std::time::Duration;

/// The ALPN protocol of the control lane on 7001.
pub const ALPN: &[u8] = b"causeway-control/1";

/// How often each side sends a ping.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long a peer may stay silent before the link is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(15);

/// How long the two sides have to finish the hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Clocks further apart than this raise an alarm: tokens and nonces carry times (F347).
pub const SKEW_ALARM: Duration = Duration::from_secs(5);

/// The largest frame either side takes, in bytes.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

/// The TLS exporter label whose 32 bytes bind the hello to its connection (RFC 8446 §7.5).
pub const EXPORTER_HELLO: &[u8] = b"EXPORTER-causeway-hello";

/// The TLS exporter label of the media multiplex's keys.
pub const EXPORTER_MEDIA: &[u8] = b"EXPORTER-causeway-media";

/// What the link tells the node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// On the edge: the core is who it says it is.
    CoreUp(Box<Hello>),
    /// On the core: the edge accepted us.
    EdgeUp(Box<Welcome>),
    /// What the core lets the edge serve has changed.
    Domains(Vec<DomainOffer>),
    /// On the edge: these zones of the core cannot be reached, and all others can.
    Zones(Vec<String>),
    /// The other node tells of users who were signed out.
    SignOuts(Vec<SignOut>),
    /// On the core: the client of this call is gone for good.
    CallLost {
        /// The call's Call-ID.
        call_id: String,
        /// The tag of the one who began it.
        tag: String,
    },
    /// A measurement.
    Measured {
        /// Round trip of a ping.
        round_trip: Duration,
        /// The peer's clock minus ours, in milliseconds.
        skew_ms: i64,
    },
    /// The link is to be closed; nothing more comes.
    Down(Fault),
}

/// Whether the alarm of clocks that differ stands after a measurement: from [`SKEW_ALARM`] on, and
/// once raised until they are within half of it, so that it does not come and go.
pub fn skew_alarm(raised: bool, skew_ms: i64) -> bool {
    let limit = SKEW_ALARM.as_millis() as u64;
    skew_ms.unsigned_abs() >= if raised { limit / 2 } else { limit }
}

/// A peer's clock against ours in words: `600.0 s behind`, `7.5 s ahead of`.
pub fn skew_in_words(skew_ms: i64) -> String {
    let way = if skew_ms < 0 { "behind" } else { "ahead of" };
    format!("{:.1} s {way}", skew_ms.unsigned_abs() as f64 / 1000.0)
}

/// Why a link ended, whose fault first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The peer sent something that is no frame of ours.
    #[error("the peer sent a malformed control frame: {0}")]
    Malformed(String),
    /// The peer's frame came at the wrong time.
    #[error("the peer sent {0} out of turn")]
    OutOfTurn(&'static str),
    /// No version in common.
    #[error("the peer speaks control version {theirs}, this node speaks {ours}")]
    Version {
        /// The peer's.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The zone user name or password is wrong.
    #[error("the traversal zone's user name or password differs on the two sides")]
    Credentials,
    /// The edge refused us, in its own words.
    #[error("the edge refused the link: {0}")]
    Refused(Refusal),
    /// The hello took too long.
    #[error("the hello took longer than {} s", HELLO_TIMEOUT.as_secs())]
    HelloTimeout,
    /// The peer fell silent.
    #[error("nothing heard for {} s", DEAD_AFTER.as_secs())]
    Silent,
    /// The peer said good-bye.
    #[error("the peer closed the link: {0}")]
    Bye(String),
}
