//! The core's B2BUA for INVITE dialogs: two legs of one call, signalling and media.
//!
//! In: INVITEs that the node has routed, everything that follows in their dialogs, events of the
//! transaction layer and of the media workers. Out: messages (through the transaction layer that
//! is lent with each call), media commands, events and call records ([`Output`]).
//!
//! - Both legs have the same Call-ID; tags, Contact, CSeq and routes are the leg's own. What is
//!   not ours passes byte for byte; which fields are, the module `cross` says.
//! - Towards an edge media is SRTP keyed by SDES in a stream of the link, never plain; inside it
//!   is RTP from a port pair of our own. The module `bridge` rewrites descriptions.
//! - 18x of up to [`Settings::forks_max`] targets, PRACK, UPDATE, re-INVITE, INFO, REFER, NOTIFY
//!   and MESSAGE go end to end; a 2xx is repeated until its ACK where the flow is unreliable.
//!
//! It routes nothing, authenticates nothing and opens no connection. Bounds: [`Settings`].
//!
//! ```text
//! b2bua.invite(&mut cx, key, message, caller, target);
//! while let Some(output) = b2bua.poll_output() { /* media, events, records */ }
//! ```

mod ack;
pub mod body;
mod bridge;
mod bye;
mod call;
mod cancel;
mod cross;
mod desk;
mod hangup;
mod invite;
mod media_legs;
mod own;
mod prack;
mod probe;
mod record;
mod refer;
mod reinvite;
mod relay;
mod session;
mod update;
mod ways;
mod withdraw;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use base::{HashMap, Id, Instant, Now, Queue, Rng, Slab, Timers};
use media::Command;
use media::ports::Allocator;
use sip::dialog::DialogError;
use sip::transaction::{ClientKey, Event as TransactionEvent, ServerKey, Transactions};
use sip::{Message, Method, Name};

use call::{Call, End, LegKey, Phase, Tick};
use desk::Desk;
use record::Draft;

pub use bridge::MediaError;
pub use call::{Caller, Encryption, Face, Ice, Side, Target};
pub use record::{Cause, EndedBy, MediaFigures, Record};

/// Bounds, times and addresses of the B2BUA.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Calls at once. As many again are kept that are over while their transactions run out; beyond
    /// that, the oldest of these goes. Default 2 000.
    pub calls_max: usize,
    /// Early dialogs of one call. Default 8.
    pub forks_max: usize,
    /// Requests under way within one call. Default 16.
    pub exchanges_max: usize,
    /// How long a call may ring without a further provisional response. Default 180 s.
    pub timer_c: Duration,
    /// What is asked for where neither end names a session interval. Default 1800 s; no less than
    /// 90 s (RFC 4028 §4).
    pub session_interval: Duration,
    /// How long after the end of a session interval without refresh a call is ended. Default
    /// 32 s: the other end should have done it by then.
    pub session_grace: Duration,
    /// The address call control is told for media.
    pub inside_advertise: IpAddr,
    /// Our own addresses inside. Default the one that call control is told.
    pub own: Vec<IpAddr>,
    /// Our own ports for media inside: whoever inside is told of one may send to it, as call
    /// control does between two of our clients. Default any.
    pub own_ports: std::ops::RangeInclusive<u16>,
    /// The address edges are told; they follow stream ids, not addresses.
    pub edge_address: IpAddr,
    /// The port edges are told. Default 36000.
    pub edge_port: u16,
    /// Suites offered to clients, and accepted from them, the preferred one first. Default
    /// AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32.
    pub suites: Vec<sdp::sdes::Suite>,
}

impl Settings {
    /// Defaults for an inside address and an address towards edges.
    pub fn new(inside: IpAddr, edge: IpAddr) -> Self {
        Settings {
            calls_max: 2_000,
            forks_max: 8,
            exchanges_max: 16,
            timer_c: Duration::from_secs(180),
            session_interval: Duration::from_secs(1_800),
            session_grace: Duration::from_secs(32),
            inside_advertise: inside,
            own: vec![inside],
            own_ports: 0..=u16::MAX,
            edge_address: edge,
            edge_port: 36_000,
            suites: vec![
                sdp::sdes::Suite::AesCm128HmacSha1_80,
                sdp::sdes::Suite::AesCm128HmacSha1_32,
            ],
        }
    }
}

/// What each input is lent.
pub struct Context<'a> {
    /// The time of the input.
    pub now: Now,
    /// The transaction layer; its outputs are to be carried out after the call.
    pub transactions: &'a mut Transactions,
    /// Inside port pairs.
    pub ports: &'a mut Allocator,
}

/// Names a call; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub Id);

/// What the B2BUA wants done or known.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once into a queue and once out"
)]
pub enum Output {
    /// For the media workers.
    Media(Command),
    /// Something happened to a call.
    Event {
        /// The call; `None` if it was refused before it became one.
        call: Option<CallId>,
        /// What.
        event: Event,
    },
    /// A call is over and its figures are complete.
    Record(Box<Record>),
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The INVITE went out.
    Started,
    /// A 18x came back.
    Ringing,
    /// A 2xx came back.
    Answered,
    /// Both ends agreed on media after the answer: anew, or at last.
    MediaChanged,
    /// The INVITE was refused by us before it went out.
    Refused {
        /// What was answered.
        status: u16,
        /// Why.
        cause: Cause,
    },
    /// A description could not be bridged; the call or the change was refused.
    MediaRefused(MediaError),
    /// Call control allows the client's video no more than a region does that nobody changed.
    LittleRate {
        /// In kbit/s.
        kbps: u32,
    },
    /// A media port could not be bound.
    BindFailed,
    /// No media came for a while.
    NoMedia,
    /// The call is over; its record follows.
    Ended {
        /// Who ended it.
        by: EndedBy,
        /// Why.
        cause: Cause,
    },
}

/// How many rows the tables hold; all zero (but for `refused` and `lost`) when idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls, those running out included.
    pub calls: usize,
    /// Legs by which messages find their call.
    pub legs: usize,
    /// Transactions that belong to calls.
    pub transactions: usize,
    /// Media legs.
    pub media: usize,
    /// Timers.
    pub timers: usize,
    /// Outputs lost because nobody took them.
    pub lost: u64,
}

/// The B2BUA of one core.
pub struct B2bua {
    rng: Rng,
    settings: Settings,
    calls: Slab<Call>,
    /// How many of them are over, and which, the oldest first; some may be gone already.
    over: usize,
    over_since: VecDeque<Id>,
    legs: HashMap<LegKey, Id>,
    by_server: HashMap<ServerKey, Id>,
    by_client: HashMap<ClientKey, Id>,
    timers: Timers<Tick>,
    studio: desk::Studio,
    out: Queue<Output>,
}

/// A refusal of a request: what to answer.
#[derive(Clone, Debug)]
struct Refusal {
    status: u16,
    reason: &'static str,
    cause: Cause,
}

impl Refusal {
    fn new(status: u16, reason: &'static str) -> Self {
        Refusal {
            status,
            reason,
            cause: Cause::Status(status),
        }
    }

    fn media(error: MediaError) -> Self {
        let (status, reason) = match error {
            MediaError::NoPorts => (503, "Service Unavailable"),
            _ => (488, "Not Acceptable Here"),
        };
        Refusal {
            status,
            reason,
            cause: Cause::Media(error),
        }
    }
}

impl B2bua {
    /// An idle B2BUA; `rng` gives tags, keys and stream ids.
    pub fn new(rng: Rng, settings: Settings) -> Self {
        let outputs = settings.calls_max.saturating_mul(40).saturating_add(64);
        let tracks = settings.calls_max.saturating_mul(2 * bridge::TRACKS_MAX);
        B2bua {
            rng,
            calls: Slab::new(settings.calls_max.saturating_mul(2)),
            over: 0,
            over_since: VecDeque::new(),
            legs: HashMap::default(),
            by_server: HashMap::default(),
            by_client: HashMap::default(),
            timers: Timers::default(),
            studio: desk::Studio::new(tracks),
            out: Queue::new(outputs),
            settings,
        }
    }

    /// New calls ask for another session interval where neither end names one.
    pub fn set_session_interval(&mut self, interval: Duration) {
        self.settings.session_interval = interval;
    }

    /// Takes an event of the transaction layer; gives back one that is not the B2BUA's.
    ///
    /// Requests and ACKs are given back: the node knows their side and hands them to
    /// [`B2bua::invite`], [`B2bua::request`] or [`B2bua::ack`].
    pub fn handle(
        &mut self,
        cx: &mut Context<'_>,
        event: TransactionEvent,
    ) -> Option<TransactionEvent> {
        match event {
            TransactionEvent::Response { key, message } => match self.by_client.get(&key) {
                Some(&id) => self.response(cx, id, key, &message),
                None => return Some(TransactionEvent::Response { key, message }),
            },
            TransactionEvent::Failed { key, why } => match self.by_client.get(&key) {
                Some(&id) => self.failed(cx, id, key, why),
                None => return Some(TransactionEvent::Failed { key, why }),
            },
            TransactionEvent::Closed { key } => match self.by_client.remove(&key) {
                Some(id) => self.closed(id, key),
                None => return Some(TransactionEvent::Closed { key }),
            },
            TransactionEvent::Cancelled { key, cancel } => match self.by_server.get(&key) {
                Some(&id) => self.cancelled(cx, id, key, &cancel),
                None => return Some(TransactionEvent::Cancelled { key, cancel }),
            },
            TransactionEvent::Ended { key, ending } => match self.by_server.remove(&key) {
                Some(id) => self.ended(cx, id, key),
                None => return Some(TransactionEvent::Ended { key, ending }),
            },
            other => return Some(other),
        }
        None
    }

    /// Whether a message within a dialog is for the B2BUA.
    pub fn owns(&self, from: Side, message: &Message) -> bool {
        self.find(from, message).is_some()
    }

    /// The call that a message within a dialog belongs to.
    pub fn call_of(&self, from: Side, message: &Message) -> Option<CallId> {
        self.find(from, message).map(|(id, ..)| CallId(id))
    }

    /// Takes a request within a dialog, an INVITE included. One that fits no call is answered
    /// 481.
    pub fn request(&mut self, cx: &mut Context<'_>, from: Side, key: ServerKey, message: Message) {
        if let Err(refusal) = self.dispatch(cx, from, key, &message) {
            refuse(cx, key, &message, &refusal);
        }
    }

    fn dispatch(
        &mut self,
        cx: &mut Context<'_>,
        from: Side,
        key: ServerKey,
        message: &Message,
    ) -> Result<(), Refusal> {
        let (id, end, fork) = self.find(from, message).ok_or(GONE)?;
        let call = self.calls.get_mut(id).ok_or(GONE)?;
        if call.phase == Phase::Ending {
            // Both ends hung up at once: the other's BYE is on its way.
            return match message.method() {
                Method::Bye => Err(Refusal::new(200, "OK")),
                _ => Err(GONE),
            };
        }
        let pair = call.forks.get_mut(fork).ok_or(GONE)?;
        if pair.lost {
            // We have acknowledged and ended it ourselves.
            return match message.method() {
                Method::Bye => Err(Refusal::new(200, "OK")),
                _ => Err(GONE),
            };
        }
        let dialog = pair.dialog_mut(end);
        match dialog.incoming(message) {
            Ok(()) => {}
            Err(DialogError::OutOfOrder) => return Err(Refusal::new(500, "CSeq Out Of Order")),
            Err(_) => return Err(Refusal::new(400, "Bad Request")),
        }
        call.doubt.met(end);
        match message.method() {
            Method::Bye => self.bye(cx, id, end, fork, key, message),
            Method::Invite => self.reinvite(cx, id, end, fork, key, message),
            Method::Update => self.update(cx, id, end, fork, key, message),
            Method::Prack => self.prack(cx, id, end, fork, key, message),
            _ => self.relay(cx, id, end, fork, key, message),
        }
    }

    /// The call, end and fork a message within a dialog belongs to. The same ids from another
    /// link belong to nothing.
    fn find(&self, from: Side, message: &Message) -> Option<(Id, End, usize)> {
        let key = LegKey {
            call_id: Box::from(message.call_id()),
            local_tag: Box::from(message.to().ok()?.tag()?),
            edge: from.is_edge(),
        };
        let id = *self.legs.get(&key)?;
        let call = self.calls.get(id)?;
        [End::Caller, End::Callee]
            .into_iter()
            .filter(|end| call.leg(*end).side == from)
            .find_map(|end| call.fork_of(end, message).map(|fork| (id, end, fork)))
    }

    fn response(&mut self, cx: &mut Context<'_>, id: Id, key: ClientKey, message: &Message) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        if call.client == Some(key) {
            self.invite_response(cx, id, message);
        } else {
            self.exchange_response(cx, id, key, message);
        }
    }

    /// Takes a media worker's report.
    pub fn media_event(&mut self, cx: &mut Context<'_>, event: &media::Event) {
        self.media_report(cx, event);
    }

    /// Runs every timer that is due.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some((_, tick)) = self.timers.pop(cx.now.instant) {
            match tick {
                Tick::TimerC(id) => self.timer_c(cx, id),
                Tick::Resend(id, server) => self.resend(cx, id, server),
                Tick::Session(id) => self.session_due(cx, id),
                Tick::Doubt(id) => self.doubt_due(cx, id),
                Tick::Linger(id) => self.lingered(id),
            }
        }
    }

    /// When [`B2bua::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next thing to do or know; take all after each call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// Rows in use.
    pub fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.len(),
            legs: self.legs.len(),
            transactions: self.by_client.len() + self.by_server.len(),
            media: self.studio.len(),
            timers: self.timers.len(),
            lost: self.out.refused(),
        }
    }

    /// Calls that are not running out.
    pub fn active(&self) -> usize {
        self.calls
            .iter()
            .filter(|(_, c)| c.phase != Phase::Ending)
            .count()
    }

    /// How many m-lines both ends of an answered call have agreed on; `None` while they have not.
    pub fn lines(&self, call: CallId) -> Option<usize> {
        let call = self.calls.get(call.0)?;
        let agreed = matches!(call.phase, Phase::Answered(_)) && call.bridge.is_settled();
        agreed.then(|| call.bridge.lines())
    }

    /// The media streams that a call has, agreed on or not.
    pub fn streams(&self, call: CallId) -> Option<usize> {
        Some(self.calls.get(call.0)?.bridge.lines())
    }

    fn tell(&mut self, call: Option<Id>, event: Event) {
        let _ = self.out.push(Output::Event {
            call: call.map(CallId),
            event,
        });
    }

    fn desk<'a>(&'a mut self, cx: &'a mut Context<'_>, call: Id) -> (Desk<'a>, &'a mut Slab<Call>) {
        let desk = Desk {
            now: cx.now,
            call,
            ports: cx.ports,
            studio: &mut self.studio,
            settings: &self.settings,
            rng: &mut self.rng,
            out: &mut self.out,
        };
        (desk, &mut self.calls)
    }
}

/// Why a request could not be sent on.
fn unsent(error: sip::transaction::RequestError) -> Refusal {
    let (status, reason) = error.status();
    Refusal::new(status, reason)
}

/// The request fits no dialog.
const GONE: Refusal = Refusal {
    status: 481,
    reason: "Call/Transaction Does Not Exist",
    cause: Cause::Status(481),
};

/// Answers a request that is not carried on.
fn refuse(cx: &mut Context<'_>, key: ServerKey, request: &Message, refusal: &Refusal) {
    let tag = format!("{:016x}", cx.now.instant.as_micros());
    let mut reply = request.reply(refusal.status, refusal.reason, &tag);
    if let Cause::Media(error) = refusal.cause {
        reply = reply.header(Name::Warning, format!("399 causeway \"{error}\""));
    }
    if matches!(refusal.status, 500 | 503) {
        reply = reply.header(Name::RetryAfter, b"2");
    }
    cx.transactions.respond(cx.now, key, reply.build());
}

#[cfg(test)]
mod tests;
