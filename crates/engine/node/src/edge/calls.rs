//! The media side of each call on the edge: which client ports and which streams of the link
//! belong together.
//!
//! The edge is a proxy: it keeps no dialog, only, for each dialog a client has, the list of its
//! m-lines ([`streams`]) and the moment at which it is given up. A call is known by its Call-ID,
//! the tag of who began it and the client's flow: a hairpin or a fork may carry one Call-ID on
//! several legs. Every way a call can end frees its ports: an answer that refuses it, a BYE on
//! its way, and for all that gets lost a bound in time ([`Doom`]).

mod family;
mod shares;
mod streams;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::{HashMap, Id, Instant, Now, Pii, Rng, Slab, TimerId, Timers, UnixTime};
use call::limits::Content;
use media::ports::Allocator;
use media::{Command, Counters, LegId, LinkId, PortPair, StreamId};
use sip::{FlowId, Message};
use smallvec::SmallVec;

use family::{Family, Moving};
pub(crate) use shares::{Holder, Shares};
pub(crate) use streams::Exchange;
use streams::Stream;

/// How long a call may go without an answer: longer than any ringing a proxy allows.
const RING_MAX: Duration = Duration::from_secs(15 * 60);

/// How long an answered call may go without any signalling, if its ends agreed on no session
/// interval.
const IDLE_MAX: Duration = Duration::from_secs(12 * 3600);

/// What a session interval (RFC 4028) is given on top: its refresh may be late.
const SESSION_GRACE: Duration = Duration::from_secs(64);

/// How long the calls of a client whose connection is gone wait for it to come back.
pub(crate) const RETURN_MAX: Duration = Duration::from_secs(60);

/// The same before a call is answered: who hears it ring does not wait a minute for nobody.
pub(crate) const EARLY_RETURN_MAX: Duration = Duration::from_secs(15);

/// How soon a core is looked for again that is to be told of a lost client. That ends with the
/// link's own time: then all its calls are over.
const LINK_WAIT: Duration = Duration::from_secs(2);

/// Calls of one flow.
const FLOW_CALLS_MAX: usize = 64;

/// What a row shows of a name, in bytes.
const TEXT_MAX: usize = 256;

/// What a Call-ID and a tag may have together, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// Names a call.
pub(crate) type CallId = Id;

/// What messages call it: Call-ID, and the tag of who began it, in one row of bytes, off the heap
/// while it is only looked for.
#[derive(Clone, Debug)]
struct CallKey {
    bytes: SmallVec<[u8; 128]>,
    /// Where the tag begins.
    tag: usize,
}

impl CallKey {
    /// By the tag of From, or of To.
    fn of(message: &Message, by_from: bool) -> Option<CallKey> {
        let party = if by_from {
            message.from()
        } else {
            message.to()
        };
        let tag = party.ok()?.tag().filter(|t| !t.is_empty())?;
        let mut bytes = SmallVec::from_slice(message.call_id());
        // A tag has no blank in it, nor has a Call-ID.
        bytes.push(b' ');
        bytes.extend_from_slice(tag);
        let tag = bytes.len() - tag.len();
        Some(CallKey { bytes, tag })
    }
}

/// One dialog of a client, as far as media goes.
pub(crate) struct Call {
    /// Call-ID, a blank, the tag of who began it.
    key: Box<[u8]>,
    /// Where the tag begins.
    tag: usize,
    pub(crate) link: LinkId,
    pub(crate) flow: FlowId,
    pub(crate) began: Now,
    pub(crate) by_client: bool,
    /// A foreign domain has it, and no client of ours.
    pub(crate) abroad: bool,
    holder: Holder,
    pub(crate) answered: Option<UnixTime>,
    pub(crate) from: Pii<String>,
    pub(crate) to: Pii<String>,
    media: Vec<Option<Stream>>,
    /// The family of the client's signalling when it last described its media, and that of its
    /// media then.
    described: Option<(Family, Family)>,
    /// What an offer that is under way would change.
    moving: Option<Box<Moving>>,
    /// Where its RTP has been verified to come from.
    verified: Option<IpAddr>,
    /// The figures of m-lines that are closed already.
    closed: Vec<(LegId, String, Counters)>,
    /// How many m-lines were open when it ended.
    lines: Option<usize>,
    idle: Duration,
    timer: Option<TimerId>,
    /// It was told that the client sends nothing, and nothing has come since.
    silent: bool,
    /// Its beginning was told: an INVITE that is only asked for credentials is no call.
    told: bool,
    /// The client's connection is gone, and it has not come back.
    gone: bool,
}

impl Call {
    /// Whether it may wait for its client without an answer: a client that calls, or one that
    /// rings. A device that has not rung may have another connection, and is asked by that one.
    fn is_early(&self) -> bool {
        self.answered.is_none() && (self.by_client || self.told)
    }

    pub(crate) fn call_id(&self) -> String {
        let end = self.tag.saturating_sub(1);
        text(self.key.get(..end).unwrap_or_default())
    }

    /// Its Call-ID and the tag of who began it, whole.
    pub(crate) fn names(&self) -> (String, String) {
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let end = self.tag.saturating_sub(1);
        (text(self.key.get(..end)), text(self.key.get(self.tag..)))
    }

    /// What it counts as: video while it is being set up (F277). Of one that ended before it was,
    /// what was offered; `None` if nothing was.
    pub(crate) fn content(&self) -> Option<Content> {
        let open = self.media.iter().flatten().count();
        match (self.answered, self.lines) {
            (Some(_), lines) => Some(Content::of(lines.unwrap_or(open))),
            (None, None) => Some(Content::Video),
            (None, Some(0)) => None,
            (None, Some(lines)) => Some(Content::of(lines)),
        }
    }

    /// The tag of who began it.
    pub(crate) fn tag(&self) -> String {
        text(self.key.get(self.tag..).unwrap_or_default())
    }
}

/// Why a call is given up when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    /// Nobody answered, and nobody gave up.
    Ring,
    /// Nothing was heard for a session interval, or for [`IDLE_MAX`].
    Idle,
    /// The client's connection is gone, and it did not come back.
    ClientGone,
}

impl Doom {
    pub(crate) fn why(self) -> &'static str {
        match self {
            Doom::Ring => "never answered",
            Doom::Idle => "no sign of life in its session interval",
            Doom::ClientGone => "the client's connection was lost and it did not come back",
        }
    }
}

/// Why a call, or a description, cannot be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The description cannot be read, or names what it must not.
    NotAcceptable,
    /// No line of a client's description can be carried.
    NothingCarried,
    /// No port or row is left.
    Exhausted,
    /// Its user has as much as one may have.
    Share,
    /// It is there already (RFC 3261 §8.2.2.2).
    Merged,
    /// There is no such call.
    Unknown,
}

impl Refusal {
    /// Status and reason of the answer.
    pub(crate) fn answer(self) -> (u16, &'static str) {
        match self {
            Refusal::NotAcceptable | Refusal::NothingCarried => (488, "Not Acceptable Here"),
            Refusal::Exhausted | Refusal::Share => (503, "Service Unavailable"),
            Refusal::Merged => (482, "Loop Detected"),
            Refusal::Unknown => (481, "Call/Transaction Does Not Exist"),
        }
    }
}

/// Where clients of one address family send media.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) ports: Allocator,
    /// What clients are told.
    pub(crate) advertise: IpAddr,
}

/// All calls.
pub(crate) struct Calls {
    rows: Slab<Call>,
    index: HashMap<Box<[u8]>, SmallVec<[CallId; 1]>>,
    by_flow: HashMap<FlowId, Vec<CallId>>,
    by_leg: HashMap<LegId, CallId>,
    streams: HashMap<(LinkId, StreamId), LegId>,
    timers: Timers<(CallId, Doom)>,
    shares: Shares,
    /// One of each family that is served, or of one.
    outside: Vec<Outside>,
    /// What the core is told; it follows stream ids, not addresses.
    link: SocketAddr,
    rng: Rng,
    next_leg: u64,
    commands: Vec<Command>,
}

/// How a call begins.
pub(crate) struct Beginning<'a> {
    pub(crate) link: LinkId,
    pub(crate) flow: FlowId,
    pub(crate) by_client: bool,
    /// A foreign domain is at the other end of the flow.
    pub(crate) abroad: bool,
    pub(crate) holder: Holder,
    pub(crate) invite: &'a Message,
}

impl Calls {
    /// Rows of each table, by name.
    pub(crate) fn census(&self) -> [(&'static str, usize); 9] {
        [
            ("calls", self.rows.len()),
            ("calls by dialog", self.index.len()),
            ("calls by flow", self.by_flow.len()),
            ("legs", self.by_leg.len()),
            ("streams", self.streams.len()),
            ("holders of calls", self.shares.len()),
            ("call timers", self.timers.len()),
            ("ports", self.ports_in_use()),
            ("media commands", self.commands.len()),
        ]
    }

    pub(crate) fn new(
        outside: Vec<Outside>,
        link: SocketAddr,
        rng: Rng,
        (limit, shares): (usize, Shares),
    ) -> Self {
        Calls {
            rows: Slab::new(limit),
            index: HashMap::default(),
            by_flow: HashMap::default(),
            by_leg: HashMap::default(),
            streams: HashMap::default(),
            timers: Timers::default(),
            shares,
            outside,
            link,
            rng,
            next_leg: 0,
            commands: Vec::new(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (CallId, &Call)> {
        self.rows.iter()
    }

    pub(crate) fn get(&self, id: CallId) -> Option<&Call> {
        self.rows.get(id)
    }

    /// Whether a call has begun, and nobody has answered it.
    pub(crate) fn is_unanswered(&self, id: CallId) -> bool {
        self.get(id).is_some_and(|c| c.answered.is_none())
    }

    /// Whether a flow has a call.
    pub(crate) fn on(&self, flow: FlowId) -> bool {
        self.by_flow.contains_key(&flow)
    }

    pub(crate) fn ports_in_use(&self) -> usize {
        self.outside.iter().map(|o| o.ports.in_use()).sum()
    }

    /// Nothing comes any more to these pairs.
    pub(crate) fn rested(&mut self, pairs: &[PortPair]) {
        self.outside.iter_mut().for_each(|o| o.ports.rested(pairs));
    }

    pub(crate) fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// A dialog begins.
    pub(crate) fn begin(&mut self, now: Now, b: &Beginning<'_>) -> Result<CallId, Refusal> {
        let key = CallKey::of(b.invite, true).ok_or(Refusal::NotAcceptable)?;
        if key.bytes.len() > KEY_BYTES_MAX + 1 {
            return Err(Refusal::NotAcceptable);
        }
        if self.of_key(&key, b.flow).is_some() {
            return Err(Refusal::Merged);
        }
        let on_flow = self.by_flow.get(&b.flow).map_or(0, Vec::len);
        if on_flow >= FLOW_CALLS_MAX {
            return Err(Refusal::Exhausted);
        }
        self.shares.may_begin(&b.holder)?;
        let uri = |a: Result<sip::NameAddr<'_>, sip::HeaderError>| {
            Pii::new(a.map_or_else(|_| String::new(), |a| text(a.uri)))
        };
        let call = Call {
            key: Box::from(&*key.bytes),
            tag: key.tag,
            link: b.link,
            flow: b.flow,
            began: now,
            by_client: b.by_client,
            abroad: b.abroad,
            holder: b.holder.clone(),
            answered: None,
            from: uri(b.invite.from()),
            to: uri(b.invite.to()),
            media: Vec::new(),
            described: None,
            moving: None,
            verified: None,
            closed: Vec::new(),
            lines: None,
            idle: IDLE_MAX,
            timer: None,
            silent: false,
            told: false,
            gone: false,
        };
        let id = self.rows.insert(call).map_err(|_| Refusal::Exhausted)?;
        let key = Box::from(&*key.bytes);
        self.index.entry(key).or_default().push(id);
        self.by_flow.entry(b.flow).or_default().push(id);
        self.shares.began(b.holder.clone(), id);
        self.doom(now.instant, id, Doom::Ring, RING_MAX);
        Ok(id)
    }

    fn of_key(&self, key: &CallKey, flow: FlowId) -> Option<CallId> {
        let ids = self.index.get(&*key.bytes)?;
        ids.iter()
            .copied()
            .find(|id| self.rows.get(*id).is_some_and(|c| c.flow == flow))
    }

    /// The call that a message to or from a client belongs to, whoever began it.
    pub(crate) fn of(&self, message: &Message, flow: FlowId) -> Option<CallId> {
        let keys = [true, false]
            .into_iter()
            .filter_map(|by| CallKey::of(message, by));
        keys.into_iter().find_map(|key| self.of_key(&key, flow))
    }

    /// Whether a message names a call that is another client's alone.
    pub(crate) fn is_anothers(&self, message: &Message, flow: FlowId) -> bool {
        self.of(message, flow).is_none()
            && [true, false]
                .into_iter()
                .filter_map(|by| CallKey::of(message, by))
                .any(|key| self.index.contains_key(&*key.bytes))
    }

    /// The calls a final answer to an INVITE is for that nobody has answered, whoever's they are.
    pub(crate) fn unanswered(&self, answer: &Message) -> Vec<CallId> {
        let ids = CallKey::of(answer, true).and_then(|key| self.index.get(&*key.bytes));
        let waits = |id: &&CallId| self.get(**id).is_some_and(|c| c.answered.is_none());
        ids.into_iter().flatten().filter(waits).copied().collect()
    }

    /// A call's beginning is to be told now; gives the call the first time.
    pub(crate) fn tell(&mut self, id: CallId) -> Option<&Call> {
        let call = self.rows.get_mut(id).filter(|c| !c.told)?;
        call.told = true;
        Some(call)
    }

    /// A call was answered; a session interval that was agreed on bounds its silence.
    pub(crate) fn answered(&mut self, now: Now, id: CallId) {
        if let Some(call) = self.rows.get_mut(id) {
            call.answered.get_or_insert(now.unix);
        }
    }

    /// A call gave a sign of life; `interval` is the session interval if one was agreed on.
    pub(crate) fn alive(&mut self, now: Instant, id: CallId, interval: Option<Duration>) {
        let speaks = |c: &&mut Call| c.answered.is_some() && !c.gone;
        let Some(call) = self.rows.get_mut(id).filter(speaks) else {
            return;
        };
        if let Some(interval) = interval {
            call.idle = (interval + SESSION_GRACE).min(IDLE_MAX);
        }
        let idle = call.idle;
        self.doom(now, id, Doom::Idle, idle);
    }

    fn doom(&mut self, now: Instant, id: CallId, doom: Doom, after: Duration) {
        let Some(call) = self.rows.get_mut(id) else {
            return;
        };
        if let Some(timer) = call.timer.take() {
            self.timers.disarm(timer);
        }
        call.timer = Some(self.timers.arm(now + after, (id, doom)));
    }

    /// How long what is under way on a flow is to wait for its client, should it go now.
    pub(crate) fn rest_of(&self, flow: FlowId) -> Option<Duration> {
        let ids = self.by_flow.get(&flow)?;
        let early = |id: &CallId| self.get(*id).is_some_and(Call::is_early);
        ids.iter().any(early).then_some(EARLY_RETURN_MAX)
    }

    /// A client's connection is gone: calls wait for it, answered ones longer than those that
    /// ring. Gives those that do not.
    pub(crate) fn flow_down(&mut self, now: Instant, flow: FlowId) -> Vec<CallId> {
        let mut end = Vec::new();
        for id in self.by_flow.get(&flow).cloned().unwrap_or_default() {
            let Some(call) = self.rows.get_mut(id) else {
                continue;
            };
            call.gone = true;
            let wait = match (call.answered, call.is_early()) {
                (Some(_), _) => RETURN_MAX,
                (None, true) => EARLY_RETURN_MAX,
                (None, false) => {
                    end.push(id);
                    continue;
                }
            };
            self.doom(now, id, Doom::ClientGone, wait);
        }
        end
    }

    /// A client came back on another connection, and its calls with it.
    pub(crate) fn moved(&mut self, now: Instant, from: FlowId, to: FlowId) {
        for id in self.by_flow.remove(&from).unwrap_or_default() {
            if let Some(call) = self.rows.get_mut(id) {
                call.flow = to;
                call.gone = false;
                let (doom, after) = match call.answered {
                    Some(_) => (Doom::Idle, call.idle),
                    None => (Doom::Ring, RING_MAX),
                };
                self.by_flow.entry(to).or_default().push(id);
                self.doom(now, id, doom, after);
            }
        }
    }

    /// A call whose time has come waits on: the core that has it cannot be told.
    pub(crate) fn wait_for_link(&mut self, now: Instant, id: CallId) {
        self.doom(now, id, Doom::ClientGone, LINK_WAIT);
    }

    /// The next call whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(CallId, Doom)> {
        self.timers.pop(now).map(|(_, due)| due)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// A dialog is over; its ports are free.
    pub(crate) fn end(&mut self, now: Instant, id: CallId) -> Option<Call> {
        let mut call = self.rows.remove(id)?;
        if let Some(timer) = call.timer.take() {
            self.timers.disarm(timer);
        }
        if let Some(ids) = self.index.get_mut(&call.key) {
            ids.retain(|i| *i != id);
            if ids.is_empty() {
                self.index.remove(&call.key);
            }
        }
        self.shares.ended(&call.holder, id);
        if let Some(ids) = self.by_flow.get_mut(&call.flow) {
            ids.retain(|i| *i != id);
            if ids.is_empty() {
                self.by_flow.remove(&call.flow);
            }
        }
        call.lines = Some(call.media.iter().flatten().count());
        self.unused(now, call.moving.take());
        for stream in std::mem::take(&mut call.media).into_iter().flatten() {
            call.closed.push(self.free(now, call.link, stream));
        }
        for (leg, _, _) in &call.closed {
            self.by_leg.remove(leg);
        }
        Some(call)
    }

    /// Which call a leg belongs to.
    pub(crate) fn of_leg(&self, leg: LegId) -> Option<CallId> {
        self.by_leg.get(&leg).copied()
    }

    /// The dialogs that run over a link.
    pub(crate) fn over(&self, link: LinkId) -> Vec<CallId> {
        self.rows
            .iter()
            .filter(|(_, c)| c.link == link)
            .map(|(id, _)| id)
            .collect()
    }
}

/// Bytes for people to read, at most [`TEXT_MAX`] of them.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..TEXT_MAX).unwrap_or(bytes)).into_owned()
}
