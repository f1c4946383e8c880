//! One call: two legs, the dialogs on them, what is under way. Plain data; the verbs are in
//! files of their own.

use base::{Id, Instant, TimerId};
use sip::dialog::Dialog;
use sip::transaction::{ClientKey, ServerKey, ViaOptions};
use sip::{FlowId, Message, Method};

use super::bridge::Bridge;
use super::own::Doubt;
use super::record::Draft;
use super::session::Session;
use media::LinkId;

/// Which way a leg leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// To a remote client, through an edge. Media is SRTP in a stream of the link.
    Edge {
        /// The link to that edge.
        link: LinkId,
    },
    /// To call control, or another system inside. Media is what the leg's [`Encryption`] says.
    Inside,
}

impl Side {
    pub(super) fn is_edge(self) -> bool {
        matches!(self, Side::Edge { .. })
    }
}

/// What media on a leg towards the inside is. Towards an edge it is always encrypted.
///
/// Keys are this leg's own in any case: what one leg's key opens, no other leg's does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encryption {
    /// RTP; what offers nothing else is refused.
    #[default]
    Off,
    /// Encrypted where the far end can: offers are RTP/AVP with keys beside, and both RTP/SAVP
    /// and RTP/AVP are taken.
    BestEffort,
    /// SRTP; what offers nothing else is refused.
    Force,
}

/// What becomes of ICE (RFC 8839) in descriptions between an edge and an inside leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ice {
    /// Its lines are removed both ways.
    #[default]
    Remove,
    /// The client's pass to the inside; the inside's are removed.
    Inward,
    /// They pass both ways, byte for byte.
    Pass,
}

impl Ice {
    /// Whether its lines stay in a description on its way to the edge, or to the inside.
    pub(super) fn passes(self, to_edge: bool) -> bool {
        match self {
            Ice::Remove => false,
            Ice::Inward => !to_edge,
            Ice::Pass => true,
        }
    }
}

/// How we appear on a leg, and the flow its requests take.
#[derive(Clone, Debug)]
pub struct Face {
    /// The flow for our requests on this leg. See [`B2bua::flow_moved`](super::B2bua::flow_moved).
    pub flow: FlowId,
    /// False for UDP.
    pub reliable: bool,
    /// What our Via says.
    pub via: ViaOptions,
    /// The URI of our Contact, without angle brackets.
    pub contact: Vec<u8>,
    /// What media there is. Not read on a leg towards an edge.
    pub encryption: Encryption,
    /// What becomes of ICE candidates. Not read on a leg towards an edge.
    pub ice: Ice,
}

/// Where a call goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which way.
    pub side: Side,
    /// How we appear there.
    pub face: Face,
    /// The Request-URI of the INVITE.
    pub request_uri: Vec<u8>,
    /// Its Route entries, in order, with angle brackets.
    pub routes: Vec<Vec<u8>>,
}

/// Where a call comes from.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Which way.
    pub side: Side,
    /// How we appear there, and the flow for requests towards the caller.
    pub face: Face,
}

/// One end of a call: the caller's leg or the callee's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum End {
    /// The leg the INVITE came in on.
    Caller,
    /// The leg it went out on.
    Callee,
}

impl End {
    pub(super) fn other(self) -> End {
        match self {
            End::Caller => End::Callee,
            End::Callee => End::Caller,
        }
    }
}

/// One leg.
pub(super) struct Leg {
    pub(super) side: Side,
    pub(super) face: Face,
}

/// What finds a call from a message within a dialog: never the Call-ID alone, which both legs
/// share (and, where call control is a proxy, even two calls).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LegKey {
    pub(super) call_id: Box<[u8]>,
    pub(super) local_tag: Box<[u8]>,
    pub(super) edge: bool,
}

/// A pair of dialogs that face each other: one for each answer that call control forked to.
pub(super) struct Fork {
    pub(super) caller: Dialog,
    pub(super) callee: Dialog,
    /// The ACK last sent to each end, for a 2xx that comes once more; until none can.
    pub(super) acks: Vec<Acked>,
    /// Another fork was answered.
    pub(super) lost: bool,
    /// What it last answered before any was answered for good: it may be heard again.
    pub(super) answer: Option<Box<[u8]>>,
}

/// An ACK that was sent, as it went out but for its Via.
pub(super) struct Acked {
    /// The end that it went to.
    pub(super) to: End,
    /// The INVITE's transaction.
    pub(super) client: ClientKey,
    pub(super) ack: Message,
}

impl Fork {
    /// An ACK was sent to an end.
    pub(super) fn acked(&mut self, to: End, client: ClientKey, ack: Message) {
        self.acks.retain(|a| a.to != to);
        self.acks.push(Acked { to, client, ack });
    }

    /// The ACK last sent to an end.
    pub(super) fn ack_to(&self, to: End) -> Option<&Message> {
        self.acks.iter().find(|a| a.to == to).map(|a| &a.ack)
    }

    pub(super) fn dialog(&self, end: End) -> &Dialog {
        match end {
            End::Caller => &self.caller,
            End::Callee => &self.callee,
        }
    }

    pub(super) fn dialog_mut(&mut self, end: End) -> &mut Dialog {
        match end {
            End::Caller => &mut self.caller,
            End::Callee => &mut self.callee,
        }
    }
}

/// A request that is being carried across, or one of our own.
pub(super) struct Exchange {
    /// Whose request it is; `None` for one of our own: a BYE, a refresh, a question.
    pub(super) server: Option<ServerKey>,
    pub(super) client: ClientKey,
    /// The end it came from.
    pub(super) from: End,
    pub(super) fork: usize,
    /// As it came in; for our own, as it went out.
    pub(super) request: Message,
    pub(super) method: Method,
    /// Its body was an offer, so descriptions in its responses are answers.
    pub(super) offer: bool,
    /// Its CSeq number on the way out.
    pub(super) cseq: u32,
    /// Its sender has taken it back.
    pub(super) cancelled: bool,
}

/// A 2xx to an INVITE that waits for its ACK.
pub(super) struct Unacked {
    pub(super) server: ServerKey,
    pub(super) client: ClientKey,
    /// The end that owes the ACK.
    pub(super) from: End,
    pub(super) fork: usize,
    /// The INVITE's CSeq number at that end, and at the other.
    pub(super) cseq_in: u32,
    pub(super) cseq_out: u32,
    /// The 2xx carried an offer: the ACK must carry the answer.
    pub(super) wants_answer: bool,
    /// The 2xx, for retransmission on an unreliable flow.
    pub(super) response: Message,
    pub(super) reliable: bool,
    /// The wait before the next retransmission, in milliseconds.
    pub(super) wait_ms: u64,
    pub(super) since: Instant,
    pub(super) timer: Option<TimerId>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The INVITE has no final answer.
    Calling,
    /// Answered by this fork.
    Answered(usize),
    /// Over; what is under way runs out.
    Ending,
}

/// The INVITE that makes a call: as it came in, and as it went out.
pub(super) struct Opening {
    pub(super) received: Message,
    pub(super) sent: Message,
}

/// One call.
pub(super) struct Call {
    pub(super) call_id: Box<[u8]>,
    pub(super) phase: Phase,
    pub(super) caller: Leg,
    pub(super) callee: Leg,
    /// The INVITE that makes the call, while responses to it may come.
    pub(super) opening: Option<Box<Opening>>,
    pub(super) server: ServerKey,
    /// `None` until it went out.
    pub(super) client: Option<ClientKey>,
    /// The INVITE carried an offer.
    pub(super) offer: bool,
    /// Our tags: towards the caller where no fork gives another, and towards the callee.
    pub(super) caller_tag: String,
    pub(super) callee_tag: String,
    pub(super) forks: Vec<Fork>,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) unacked: Vec<Unacked>,
    pub(super) bridge: Bridge,
    pub(super) draft: Draft,
    pub(super) timer_c: Option<TimerId>,
    pub(super) session: Session,
    pub(super) doubt: Doubt,
    pub(super) linger: Option<TimerId>,
    /// Client transactions the layer below still has rows for.
    pub(super) open: usize,
}

impl Call {
    pub(super) fn leg(&self, end: End) -> &Leg {
        match end {
            End::Caller => &self.caller,
            End::Callee => &self.callee,
        }
    }

    pub(super) fn legs_mut(&mut self) -> [&mut Leg; 2] {
        [&mut self.caller, &mut self.callee]
    }

    /// The fork whose dialog at `end` a message belongs to.
    pub(super) fn fork_of(&self, end: End, message: &Message) -> Option<usize> {
        self.forks
            .iter()
            .position(|fork| fork.dialog(end).matches(message))
    }

    /// A client transaction's row is gone: what was kept for its responses goes, too.
    pub(super) fn forget_transaction(&mut self, key: ClientKey) {
        if self.client == Some(key) && self.phase != Phase::Calling {
            self.opening = None;
        }
        for fork in &mut self.forks {
            fork.acks.retain(|a| a.client != key);
            fork.acks.shrink_to_fit();
        }
        self.forks.shrink_to_fit();
        self.exchanges.shrink_to_fit();
        self.unacked.shrink_to_fit();
    }

    /// Keys under which this call is found.
    pub(super) fn keys(&self) -> Vec<LegKey> {
        let mut keys = vec![self.key(End::Callee, self.callee_tag.as_bytes())];
        for fork in &self.forks {
            keys.push(self.key(End::Caller, fork.caller.local_tag()));
        }
        keys
    }

    pub(super) fn key(&self, end: End, local_tag: &[u8]) -> LegKey {
        LegKey {
            call_id: self.call_id.clone(),
            local_tag: Box::from(local_tag),
            edge: self.leg(end).side.is_edge(),
        }
    }
}

/// What a timer of the B2BUA is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// The callee has not answered.
    TimerC(Id),
    /// Send the 2xx once more, or give up on its ACK.
    Resend(Id, ServerKey),
    /// The session is to be refreshed, or nobody has done it.
    Session(Id),
    /// An end that was not met is asked once more.
    Doubt(Id),
    /// The call has ended and its media figures are late.
    Linger(Id),
}
