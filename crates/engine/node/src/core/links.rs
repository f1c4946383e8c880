//! The edges: their control connections, what they say of themselves, their media.

use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Duration;

use base::{FixedState, Instant, Now, Secret, UnixTime};
use media::{Command, LinkId, LinkKeys, PortPair};
use sip::FlowId;
use status::Kind;
use traversal::{Dialer, Event, Fault, Hello, VERSION, Welcome};

use super::Core;
use super::lanes::Lane;
use super::settings::Peer;
use crate::io::{ConnId, Output};

/// How long calls are kept when a link is lost: as long as the edge keeps them.
const GRACE: Duration = Duration::from_secs(30);

struct Control {
    conn: ConnId,
    dialer: Dialer,
    media_secret: Secret<[u8; 64]>,
    remote: SocketAddr,
}

/// The link to one edge.
pub(super) struct Link {
    pub(super) peer: Peer,
    pub(super) id: LinkId,
    control: Option<Control>,
    /// What the edge says of itself, while the link is up.
    welcome: Option<Box<Welcome>>,
    /// What it said last.
    pub(super) last: Option<Box<Welcome>>,
    /// What its clock showed when it was linked first.
    pub(super) first_clock: Option<UnixTime>,
    pub(super) lanes: Vec<Lane>,
    /// Lanes that went while calls may have been on them.
    pub(super) orphans: Vec<FlowId>,
    /// Our sockets for its media.
    ports: Option<PortPair>,
    pub(super) http: usize,
    pub(super) xmpp: usize,
    pub(super) media_up: bool,
    pub(super) round_trip: Option<Duration>,
    pub(super) skew_ms: Option<i64>,
    pub(super) since: Option<Now>,
    pub(super) why: Option<String>,
    pub(super) skewed: bool,
    /// Whether it was told that this skew makes digests fail.
    pub(super) skew_blamed: bool,
    /// Why is known from the edge or by ourselves: how its connection then ended says less.
    concluded: bool,
    give_up: Option<Instant>,
}

impl Link {
    pub(super) fn new(index: usize, peer: Peer) -> Self {
        Link {
            peer,
            id: LinkId(index as u32),
            control: None,
            welcome: None,
            last: None,
            first_clock: None,
            lanes: Vec::new(),
            orphans: Vec::new(),
            ports: None,
            http: 0,
            xmpp: 0,
            media_up: false,
            round_trip: None,
            skew_ms: None,
            since: None,
            why: Some("not connected yet".into()),
            skewed: false,
            skew_blamed: false,
            concluded: false,
            give_up: None,
        }
    }

    pub(super) fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_deref()
    }

    /// Whether it holds a port pair for its media.
    pub(super) fn has_ports(&self) -> bool {
        self.ports.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        self.welcome.is_some()
    }

    /// Whether a lane has signed in.
    pub(super) fn is_ready(&self, flow: FlowId) -> bool {
        self.is_up() && self.lanes.iter().any(|l| l.flow == flow && l.is_ready())
    }

    pub(super) fn ready_lanes(&self) -> usize {
        self.lanes.iter().filter(|l| l.is_ready()).count()
    }

    /// The lane for what concerns somebody, whose flow's token is `whom`. While the lanes stand it
    /// is the same one: what is sent after one another arrives so, and CSeq rises at the client
    /// (RFC 3261 §12.2.2 has it answer 500 otherwise).
    pub(super) fn lane(&self, whom: &[u8]) -> Option<FlowId> {
        if !self.is_up() {
            return None;
        }
        let turn = FixedState::default().hash_one(whom) as usize;
        let ready: Vec<FlowId> = self
            .lanes
            .iter()
            .filter(|l| l.is_ready())
            .map(|l| l.flow)
            .collect();
        ready.get(turn % ready.len().max(1)).copied()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let control = self.control.as_ref().and_then(|c| c.dialer.poll_timeout());
        let lanes = self.lanes.iter().filter_map(Lane::poll_timeout);
        [control, self.give_up]
            .into_iter()
            .flatten()
            .chain(lanes)
            .min()
    }
}

impl Core {
    pub(super) fn control_up(
        &mut self,
        now: Now,
        conn: ConnId,
        index: usize,
        remote: SocketAddr,
        exported: &Secret<[u8; 32]>,
        media_secret: Secret<[u8; 64]>,
    ) {
        let hello = self.hello(now, index);
        let Some(link) = self.links.get_mut(index) else {
            return self.station.out.push_back(Output::CloseControl { conn });
        };
        let password = link.peer.password.clone();
        let dialer = Dialer::new(now, &mut self.rng, hello, password, *exported.expose());
        link.concluded = false;
        let old = link.control.replace(Control {
            conn,
            dialer,
            media_secret,
            remote,
        });
        if let Some(old) = old {
            self.station
                .out
                .push_back(Output::CloseControl { conn: old.conn });
            self.link_down(now, index, "the connection was replaced");
        }
        self.link_work(now, index, None);
    }

    fn hello(&self, now: Now, index: usize) -> Hello {
        let user = self
            .links
            .get(index)
            .map(|l| l.peer.user.clone())
            .unwrap_or_default();
        Hello {
            version: VERSION,
            node: self.settings.fqdn.clone(),
            instance: self.instance.clone(),
            user,
            proof: String::new(),
            nonce: String::new(),
            clock: now.unix,
            ssh_key: self.settings.ssh_key.clone(),
            token_key: self.tokens.public().to_hex(),
            domains: self.settings.domains.clone(),
        }
    }

    fn link_of(&self, conn: ConnId) -> Option<usize> {
        let of = |l: &Link| l.control.as_ref().is_some_and(|c| c.conn == conn);
        self.links.iter().position(of)
    }

    pub(super) fn control(&mut self, now: Now, conn: ConnId, message: traversal::Message) {
        if let Some(index) = self.link_of(conn) {
            self.link_work(now, index, Some(message));
        }
    }

    pub(super) fn control_down(&mut self, now: Now, conn: ConnId, why: &str) {
        if let Some(index) = self.link_of(conn) {
            let up = self.links.get(index).is_some_and(Link::is_up);
            if let Some(link) = self.links.get_mut(index) {
                link.control = None;
            }
            if up {
                return self.link_down(now, index, why);
            }
            return self.attempt_failed(now, index, why);
        }
        // An attempt that failed carries the peer in its number.
        let index = usize::try_from(u64::MAX - conn.0).unwrap_or(usize::MAX);
        self.attempt_failed(now, index, why);
    }

    /// The edge could not be linked with; told once for each reason.
    fn attempt_failed(&mut self, now: Now, index: usize, why: &str) {
        let Some(link) = self.links.get_mut(index).filter(|l| !l.is_up()) else {
            return;
        };
        if std::mem::take(&mut link.concluded) {
            return;
        }
        if link.why.replace(why.to_owned()).as_deref() != Some(why) {
            let proof = [("edge", link.peer.verify_name.clone())];
            self.board
                .event(&mut self.station.out, Kind::LinkDown, now, why, &proof);
        }
    }

    /// Lets a control connection work: a message, or time.
    pub(super) fn link_work(
        &mut self,
        now: Now,
        index: usize,
        message: Option<traversal::Message>,
    ) {
        let Some(control) = self.links.get_mut(index).and_then(|l| l.control.as_mut()) else {
            return;
        };
        match message {
            Some(message) => control.dialer.handle(now, message),
            None => control.dialer.handle_timeout(now),
        }
        let conn = control.conn;
        let messages = control.dialer.take_messages();
        let events = control.dialer.take_events();
        let outputs = messages
            .into_iter()
            .map(|message| Output::Control { conn, message });
        self.station.out.extend(outputs);
        for event in events {
            match event {
                Event::EdgeUp(welcome) => self.link_up(now, index, welcome),
                Event::Measured {
                    round_trip,
                    skew_ms,
                } => {
                    self.measured(now, index, round_trip, skew_ms);
                }
                Event::Down(fault) => {
                    self.station.out.push_back(Output::CloseControl { conn });
                    if let Some(link) = self.links.get_mut(index) {
                        link.control = None;
                        link.concluded = true;
                    }
                    self.fault(now, index, &fault);
                    self.link_down(now, index, &fault.to_string());
                }
                Event::SignOuts(outs) => self.sign_outs_heard(now, index, outs),
                Event::CallLost { call_id, tag } => self.client_lost(now, index, &call_id, &tag),
                Event::CoreUp(_) | Event::Domains(_) | Event::Zones(_) => {}
            }
        }
    }

    fn fault(&mut self, now: Now, index: usize, fault: &Fault) {
        let refused = matches!(
            fault,
            Fault::Refused(_) | Fault::Credentials | Fault::Version { .. }
        );
        let Some(link) = self.links.get(index).filter(|_| refused) else {
            return;
        };
        let proof = [("edge", link.peer.verify_name.clone())];
        let cause = fault.to_string();
        self.board.event(
            &mut self.station.out,
            Kind::LinkRefused,
            now,
            &cause,
            &proof,
        );
    }

    fn measured(&mut self, now: Now, index: usize, round_trip: Duration, skew_ms: i64) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        link.round_trip = Some(round_trip);
        link.skew_ms = Some(skew_ms);
        let skewed = traversal::skew_alarm(link.skewed, skew_ms);
        if skewed == link.skewed {
            return;
        }
        link.skewed = skewed;
        link.skew_blamed = false;
        let words = traversal::skew_in_words(skew_ms);
        let cause = format!("the edge's clock is {words} this node's");
        let kind = if skewed {
            Kind::ClockSkew
        } else {
            Kind::ClocksAgree
        };
        self.skew_event(now, index, kind, &cause);
    }

    /// Tells of a link's clocks, with the numbers.
    fn skew_event(&mut self, now: Now, index: usize, kind: Kind, cause: &str) {
        let Some(link) = self.links.get(index) else {
            return;
        };
        let trip = link.round_trip.unwrap_or_default();
        let proof = [
            ("edge", link.peer.verify_name.clone()),
            ("skew_ms", link.skew_ms.unwrap_or_default().to_string()),
            ("round_trip_us", trip.as_micros().to_string()),
        ];
        self.board
            .event(&mut self.station.out, kind, now, cause, &proof);
    }

    /// A digest was refused as stale. If it would be fresh with the clocks set right, the client
    /// is asked again for ever: that is said, once for each time that the clocks differ.
    pub(super) fn blame_skew(&mut self, now: Now, index: usize, nonce: &[u8]) {
        let Some(link) = self
            .links
            .get_mut(index)
            .filter(|l| l.skewed && !l.skew_blamed)
        else {
            return;
        };
        let (Some(skew_ms), Some(issued)) = (link.skew_ms, sip::nonce::issued(nonce)) else {
            return;
        };
        let age_ms = now.unix.skew_ms(issued).saturating_add(skew_ms);
        if !(-1_000..=sip::nonce::LIFE.as_millis() as i64).contains(&age_ms) {
            return;
        }
        link.skew_blamed = true;
        let words = traversal::skew_in_words(skew_ms);
        let cause = format!(
            "the edge's clock is {words} this node's: digests are refused as stale, and clients \
             of that edge cannot register or call"
        );
        self.skew_event(now, index, Kind::ClockSkew, &cause);
    }

    fn link_up(&mut self, now: Now, index: usize, welcome: Box<Welcome>) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let restarted = link
            .last
            .as_ref()
            .is_some_and(|l| l.instance != welcome.instance);
        link.last = Some(welcome.clone());
        link.first_clock.get_or_insert(welcome.clock);
        link.welcome = Some(welcome.clone());
        link.since = Some(now);
        link.why = None;
        link.give_up = None;
        let id = link.id;
        let mut cause = String::new();
        if restarted {
            let gone = self.registrar.of_peer(index);
            cause = format!("the edge was restarted; {} registrations ended", gone.len());
            for registration in gone {
                self.registrar.remove(registration);
            }
            self.end_calls_over(now, id);
        }
        let key = Some(welcome.ssh_host_key.clone());
        self.station
            .out
            .push_back(Output::PinSsh { peer: index, key });
        self.media_up(now, index);
        let proof = [("edge", welcome.node.clone())];
        self.board
            .event(&mut self.station.out, Kind::LinkUp, now, &cause, &proof);
        self.tell_zones_to(index);
        self.outs.linked(now, index);
        self.tell_all_sign_outs(index);
        self.ask_lanes(now, index);
    }

    /// Tells an edge which domains there are.
    pub(super) fn tell_domains_to(&mut self, index: usize) {
        let Some(control) = self.links.get_mut(index).and_then(|l| l.control.as_mut()) else {
            return;
        };
        control.dialer.offer(self.settings.domains.clone());
        let conn = control.conn;
        let messages = control.dialer.take_messages().into_iter();
        let outputs = messages.map(|message| Output::Control { conn, message });
        self.station.out.extend(outputs);
    }

    /// Tells an edge which zones are dead.
    pub(super) fn tell_zones_to(&mut self, index: usize) {
        let Some(control) = self.links.get_mut(index).and_then(|l| l.control.as_mut()) else {
            return;
        };
        control.dialer.zones(&self.zones_dead);
        let conn = control.conn;
        let messages = control.dialer.take_messages().into_iter();
        let outputs = messages.map(|message| Output::Control { conn, message });
        self.station.out.extend(outputs);
    }

    /// Tells an edge of users who were signed out.
    pub(super) fn tell_sign_outs(&mut self, index: usize, outs: &[traversal::SignOut]) {
        let Some(control) = self.links.get_mut(index).and_then(|l| l.control.as_mut()) else {
            return;
        };
        control.dialer.sign_outs(outs);
        let conn = control.conn;
        let messages = control.dialer.take_messages().into_iter();
        let outputs = messages.map(|message| Output::Control { conn, message });
        self.station.out.extend(outputs);
    }

    /// Opens the media of a link, under the keys of its control connection.
    fn media_up(&mut self, now: Now, index: usize) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let Some(control) = &link.control else { return };
        if link.ports.is_none() {
            link.ports = self.ports.allocate(now.instant);
        }
        let Some(local) = link.ports else {
            let (out, cause) = (
                &mut self.station.out,
                "no port is left for the link's media",
            );
            return self.board.event(out, Kind::PortsExhausted, now, cause, &[]);
        };
        let (rtp, rtcp) = link.peer.media_ports;
        let ip = control.remote.ip();
        let dial = PortPair {
            rtp: SocketAddr::new(ip, rtp),
            rtcp: SocketAddr::new(ip, rtcp),
        };
        self.station.out.push_back(Output::Media(Command::LinkUp {
            link: link.id,
            keys: LinkKeys::exported(&control.media_secret),
            local: vec![local],
            dial: Some(vec![dial]),
        }));
    }

    /// The control connection is gone: the lanes go with it, and come back with it.
    fn link_down(&mut self, now: Now, index: usize, why: &str) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        link.why = Some(why.to_owned());
        link.since = None;
        link.round_trip = None;
        if link.welcome.take().is_none() {
            return;
        }
        link.give_up = Some(now.instant + GRACE);
        link.media_up = false;
        let flows: Vec<FlowId> = link.lanes.iter().map(|l| l.flow).collect();
        let (id, name) = (link.id, link.peer.verify_name.clone());
        for flow in flows {
            self.station.close(flow);
        }
        self.station
            .out
            .push_back(Output::Media(Command::LinkDown { link: id }));
        self.station.out.push_back(Output::PinSsh {
            peer: index,
            key: None,
        });
        self.board.event(
            &mut self.station.out,
            Kind::LinkDown,
            now,
            why,
            &[("edge", name)],
        );
    }

    /// Takes what the media workers tell.
    pub(super) fn media(&mut self, now: Now, event: &::media::Event) {
        if let ::media::Event::LinkState { link, up, .. } = event {
            return self.media_link(now, *link, *up);
        }
        if let ::media::Event::Rested { pairs } = event {
            return self.ports.rested(pairs);
        }
        if let ::media::Event::Counters {
            counters,
            last: true,
            ..
        } = event
        {
            let seen = [
                (counters.forged, "packets whose SRTP tag was wrong"),
                (counters.malformed, "packets that are neither RTP nor RTCP"),
            ];
            for (_, cause) in seen.iter().filter(|(count, _)| *count > 0) {
                let out = &mut self.station.out;
                self.board
                    .caused(out, Kind::MediaDropped, now, None, cause, &[]);
            }
        }
        let (b2bua, mut cx) = self.calls(now);
        b2bua.media_event(&mut cx, event);
    }

    /// The media workers tell of a link's media.
    pub(super) fn media_link(&mut self, now: Now, id: LinkId, up: bool) {
        let Some(link) = self.links.iter_mut().find(|l| l.id == id) else {
            return;
        };
        if std::mem::replace(&mut link.media_up, up) == up {
            return;
        }
        let proof = [("edge", link.peer.verify_name.clone())];
        let (kind, cause) = if up {
            (Kind::MediaLink, "up")
        } else {
            (
                Kind::MediaLinkDown,
                "the edge does not answer on its media ports",
            )
        };
        if up || link.is_up() {
            self.board
                .event(&mut self.station.out, kind, now, cause, &proof);
        }
    }

    /// Does what is due of links and lanes.
    pub(super) fn links_timeout(&mut self, now: Now) {
        for index in 0..self.links.len() {
            self.link_work(now, index, None);
            let Some(link) = self.links.get_mut(index) else {
                continue;
            };
            let id = link.id;
            if link.give_up.take_if(|at| *at <= now.instant).is_some() {
                link.orphans.clear();
                self.end_calls_over(now, id);
            }
            self.lanes_timeout(now, index);
        }
    }

    pub(super) fn links_poll_timeout(&self) -> Option<Instant> {
        self.links.iter().filter_map(Link::poll_timeout).min()
    }
}

/// A sign-out as it is told an edge, with the client connections that are the user's.
pub(super) fn told(out: &policy::signed_out::SignOut, flows: Vec<String>) -> traversal::SignOut {
    traversal::SignOut {
        user: out.user.clone(),
        domain: out.domain.clone(),
        at: out.at,
        id: out.id,
        flows,
        more: false,
    }
}
