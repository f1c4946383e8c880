//! The edge: it stands on the internet, and holds no key of the inside.
//!
//! SIP from clients is challenged, stripped of what only we may say, marked with a flow token and
//! sent to a core; SIP from a core is sent to the flow its token names, and nowhere else. The
//! rooms: [`clients`] and [`lanes`] route requests, [`replies`] edits responses, [`calls`] knows
//! ports and streams, [`guests`] how much a client may ask for, [`proving`] who is heard without a
//! registration, [`links`] and [`linking`] the cores, [`status`] tells what happened.
//!
//! Bounds: [`FLOWS_MAX`] connections, [`CALLS_MAX`] calls and the configured ports, the
//! registrations of [`call::registration::edge::Settings`], the configured rates
//! ([`config::Rates`]), [`STRANGER_MAX`] for a connection to say who it is.

mod business;
mod calls;
mod census;
mod clients;
mod failover;
mod guests;
mod health;
mod lanes;
mod linking;
mod links;
mod outward;
mod parking;
mod proving;
mod questions;
mod replies;
mod settings;
mod sign_out;
mod snapshot;
mod status;
mod stun;

use std::sync::Arc;
use std::time::Duration;

use ::media::ports::{Allocator, REST};
use ::status::Kind;
use base::{HashMap, Instant, Map, Now, Rng, Timers};
use call::registration::edge::{Change, EdgeRelay};
use sip::nonce::NonceKey;
use sip::token::TokenKey;
use sip::transaction::{Event, ViaOptions};
use sip::{FlowId, Frame, Message};

use crate::Engine;
use crate::io::{ConnId, Facts, Input, Output, Report, Side};
use crate::station::{Item, Station};
use crate::strikes::Strikes;
use calls::{CallId, Calls, Outside, Shares};
use guests::Guests;
use links::{Candidate, Link};
use parking::Parking;
pub use settings::EdgeIdentity;
use settings::Settings;
use status::Ledger;

/// SIP connections at once, of all kinds.
const FLOWS_MAX: usize = 100_000;

/// Calls at once; ports bound them further.
const CALLS_MAX: usize = 20_000;

/// How long a connection may stay that shows neither a registration nor the zone's password.
const STRANGER_MAX: Duration = Duration::from_secs(60);

/// What an edge says of search rules.
const NO_RULES: &str = "an edge has no rules: what clients send goes to a linked core";

/// What an edge says to a question about search rules.
pub(crate) fn no_rules(asked: ::status::SearchQuestion) -> ::status::SearchReport {
    ::status::SearchReport {
        outcome: ::status::SearchOutcome::NoRules,
        note: NO_RULES.into(),
        fix: "ask the core, or with the core's file".into(),
        from: asked.from,
        to: asked.to,
        ..Default::default()
    }
}

/// The edge node.
pub struct Edge {
    settings: Settings,
    rng: Rng,
    /// Random, the same for the life of this process.
    instance: String,
    station: Station,
    relay: EdgeRelay,
    tokens: TokenKey,
    nonces: NonceKey,
    calls: Calls,
    links: Vec<Link>,
    candidates: Map<ConnId, (usize, Candidate)>,
    /// Which link a client's registration went by, so that its requests go the same way.
    routes: HashMap<FlowId, usize>,
    health: health::Health,
    asking: failover::Asking,
    guests: Guests,
    strikes: Strikes,
    /// Digests in a row that a connection had wrong, and when the last one was.
    wrong: HashMap<FlowId, (u32, Instant)>,
    /// Connections that have to have said who they are by then.
    strangers: Timers<FlowId>,
    parking: Parking,
    attempts: business::Attempts,
    peers: business::Peers,
    abroad: outward::Abroad,
    ledger: Ledger,
}

impl Edge {
    /// An edge that has not heard from anybody.
    ///
    /// # Panics
    /// If the configuration is a core's: a fault of the caller.
    pub fn new(
        now: Now,
        mut rng: Rng,
        config: &Arc<config::Config>,
        identity: EdgeIdentity,
    ) -> Self {
        let settings = Settings::of(config, identity, &mut rng);
        let links = settings.peers.iter().cloned().enumerate();
        let media = &settings.media;
        let outside = media.addresses().map(|(listen, advertise)| Outside {
            ports: Allocator::new(listen, media.ports.clone(), REST, &mut rng),
            advertise,
        });
        let outside: Vec<Outside> = outside.collect();
        let (link, shares) = (settings.link_address(), Shares::new(&settings.rates));
        let mut edge = Edge {
            instance: rng.hex(16),
            station: Station::new(&mut rng, FLOWS_MAX),
            relay: EdgeRelay::new(settings.relay()),
            tokens: TokenKey::new(&mut rng),
            nonces: NonceKey::new(&mut rng),
            calls: Calls::new(outside, link, rng.fork(), (CALLS_MAX, shares)),
            links: links.map(|(index, peer)| Link::new(index, peer)).collect(),
            candidates: Map::new(),
            routes: HashMap::default(),
            health: health::Health::default(),
            asking: HashMap::default(),
            guests: Guests::new(&settings.rates, &settings.overload),
            strikes: Strikes::default(),
            wrong: HashMap::default(),
            strangers: Timers::default(),
            parking: Parking::new(now),
            attempts: business::Attempts::default(),
            peers: business::Peers::default(),
            abroad: outward::Abroad::default(),
            ledger: Ledger::new(),
            settings,
            rng,
        };
        edge.publish();
        edge
    }

    // ---- SIP connections ----

    fn connected(&mut self, now: Now, conn: ConnId, facts: Facts) {
        if conn.0 >= ConnId::DIALLED {
            return self.outward_up(now, conn, facts);
        }
        let known = match facts.side {
            Side::Client => true,
            Side::Lane { peer } => peer < self.links.len(),
            Side::Inside => false,
        };
        if !known {
            return self.station.out.push_back(Output::Close { conn });
        }
        let client = facts.side == Side::Client;
        let proved = facts.peer_name.clone().map(|n| (facts.remote.ip(), n));
        let Some(flow) = self.station.accepted(conn, facts) else {
            return;
        };
        self.strangers.arm(now.instant + STRANGER_MAX, flow);
        if client {
            self.guests.came(flow);
            if let Some((source, name)) = proved {
                self.ledger.certificate(now, source, &name);
                self.peers.proved(flow, name);
            }
        }
    }

    fn disconnected(&mut self, now: Now, conn: ConnId, why: &str) {
        let flow = self.station.flows.by_conn(conn);
        let rest = flow.and_then(|flow| self.calls.rest_of(flow));
        let Some((flow, side)) = self.station.gone_for(now, conn, rest) else {
            return;
        };
        if conn.0 >= ConnId::DIALLED {
            self.outward_down(now, flow, why);
        }
        self.routes.remove(&flow);
        self.health.forget(flow);
        self.asker_gone(flow);
        self.guests.went(flow);
        self.wrong.remove(&flow);
        self.peers.flow_down(flow);
        if let Some(Side::Lane { peer }) = side {
            let Some(link) = self.links.get_mut(peer) else {
                return;
            };
            if link.drop_lane(flow) {
                let left = link.lanes.len();
                self.ledger.lane(now, link, "SIP", left, Some(why));
            }
            return;
        }
        self.parking.flow_down(flow);
        for gone in self.relay.flow_down(now, flow) {
            self.ledger.binding(now, Kind::Unregistered, &gone, why);
        }
        for id in self.calls.flow_down(now.instant, flow) {
            self.end_call(
                now,
                id,
                "the client's connection was lost before it was answered",
            );
        }
    }

    /// A minute has passed since a flow came up, or since its last registration went.
    fn stranger(&mut self, now: Now, flow: FlowId) {
        let Some(side) = self.station.side(flow) else {
            return;
        };
        let known = match side {
            Side::Lane { peer } => self
                .links
                .get(peer)
                .is_some_and(|l| l.lanes.contains(&flow)),
            _ => self.relay.is_known(flow),
        };
        if known {
            return;
        }
        if self.calls.on(flow) {
            // It lost its registration while it speaks: it may finish.
            self.strangers.arm(now.instant + STRANGER_MAX, flow);
        } else {
            self.station.close(flow);
        }
    }

    fn frame(&mut self, now: Now, conn: ConnId, frame: Frame) {
        let Some(flow) = self.station.flows.by_conn(conn) else {
            return;
        };
        if self.guests.is_cut(flow) {
            return;
        }
        match frame {
            Frame::Message(message) if self.is_noise(now, flow, &message) => {}
            Frame::Message(message) if self.is_forged(flow, &message) => {
                let source = self.station.remote(flow).map(|a| a.ip());
                let cause = "sip: a response to a request that went to another";
                self.ledger.caused(now, Kind::Violation, source, cause);
                self.refused(now, flow);
            }
            Frame::Message(message) => {
                let message = self.with_source(flow, message);
                self.station.transactions.receive(now, flow, true, message);
            }
            Frame::Bad {
                error,
                reply,
                fatal,
            } => {
                if let Some(reply) = reply {
                    let reply = self.station.with_source(flow, &reply);
                    self.station.out.push_back(Output::Send {
                        conn,
                        bytes: reply.bytes().clone(),
                    });
                }
                if fatal {
                    self.station.out.push_back(Output::Close { conn });
                }
                let source = self.station.remote(flow).map(|a| a.ip());
                self.ledger
                    .caused(now, Kind::Violation, source, &format!("sip: {error}"));
                self.refused(now, flow);
            }
            Frame::Stun(bytes) => self.stun(conn, flow, &bytes),
            // Answered where the socket is.
            Frame::Ping | Frame::Pong => {}
        }
    }

    /// A request of anybody but a core with its true source in it, for all who answer it and all
    /// who pass it on.
    fn with_source(&self, flow: FlowId, message: Message) -> Message {
        let of_a_core = matches!(self.station.side(flow), Some(Side::Lane { .. }));
        if of_a_core || !message.is_request() {
            return message;
        }
        self.station.with_source(flow, &message)
    }

    /// Lets the transaction layer and the proxy speak until both are quiet.
    fn pump(&mut self, now: Now) {
        while let Some(item) = self.station.next(now) {
            match item {
                Item::Event(event) => self.event(now, event),
                Item::Reply(reply) => self.reply(now, reply),
            }
        }
        let commands = self.calls.take_commands();
        self.station
            .out
            .extend(commands.into_iter().map(Output::Media));
        while let Some(event) = self.ledger.pop() {
            self.station.out.push_back(Output::Event(event));
        }
    }

    fn event(&mut self, now: Now, event: Event) {
        match event {
            Event::Request { key, flow, message } => match self.station.side(flow) {
                Some(Side::Client) => self.client_request(now, key, flow, &message),
                Some(Side::Lane { peer }) => self.lane_request(now, key, flow, peer, &message),
                _ => {}
            },
            Event::Ack { flow, message } => match self.station.side(flow) {
                Some(Side::Client) => self.client_ack(now, flow, &message),
                Some(Side::Lane { peer }) => self.lane_ack(now, flow, peer, &message),
                _ => {}
            },
            Event::StrayResponse { flow, .. } => {
                let source = self.station.remote(flow).map(|a| a.ip());
                let cause = "sip: a response to no request of ours";
                self.ledger.caused(now, Kind::Violation, source, cause);
            }
            Event::Cancelled { key, .. } => {
                self.cancelled(now, key);
                self.outward_cancelled(now, key);
            }
            Event::Ended { key, .. } => {
                self.asking.remove(&key);
                self.outward_ended(key);
            }
            Event::TooLarge { flow, message } => self.too_large(now, flow, &message),
            // What has no context here has been answered already, or never came from us.
            Event::Response { .. } | Event::Failed { .. } | Event::Closed { .. } => {}
        }
    }

    /// What our Via says towards a client or a core.
    fn via(&self, side: Side) -> ViaOptions {
        let sent_by = match side {
            Side::Client => self.settings.sip_address(),
            _ => self.settings.fqdn.clone(),
        };
        ViaOptions {
            transport: "TLS",
            sent_by,
            parameters: String::new(),
        }
    }

    // ---- registrations, calls, media ----

    fn changed(&mut self, now: Now, flow: FlowId, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Added(b) => {
                    self.ledger
                        .binding(now, Kind::Registered, &b, "the core accepted it");
                }
                Change::Removed(b) => {
                    self.ledger
                        .binding(now, Kind::Unregistered, &b, "the client took it out");
                    self.unknown(now, flow);
                }
                Change::Expired(flow, b) => {
                    self.ledger
                        .binding(now, Kind::Unregistered, &b, "it was not refreshed");
                    self.unknown(now, flow);
                }
                Change::Moved { from, to } => {
                    self.calls.moved(now.instant, from, to);
                    self.station.moved(from, to);
                    let source = self.station.remote(to).map(|a| a.ip());
                    self.ledger.moved(now, source);
                    // The connection it left has nothing more to do here.
                    if !self.relay.is_known(from) {
                        self.station.close(from);
                    }
                }
            }
        }
    }

    /// A flow may have lost its last registration.
    fn unknown(&mut self, now: Now, flow: FlowId) {
        if !self.relay.is_known(flow) {
            self.health.forget(flow);
            self.strangers.arm(now.instant + STRANGER_MAX, flow);
        }
    }

    /// Somebody heard of a call, or it ends: from here on it is one.
    fn tell_call(&mut self, now: Now, id: CallId) {
        if let Some(call) = self.calls.tell(id) {
            self.ledger.call_began(now, call);
        }
    }

    /// An INVITE was asked for credentials: if nobody has heard of the call, there was none, and
    /// nothing is told of it.
    fn challenged(&mut self, now: Now, id: CallId, status: u16) {
        if self.calls.tell(id).is_some() {
            if let Some(call) = self.calls.end(now.instant, id) {
                self.call_over(call.flow);
            }
        } else {
            self.end_call(now, id, &format!("answered {status}"));
        }
    }

    fn end_call(&mut self, now: Now, id: CallId, why: &str) {
        self.tell_call(now, id);
        if let Some(call) = self.calls.end(now.instant, id) {
            self.ledger.call_ended(now, &call, why);
            self.call_over(call.flow);
        }
    }

    fn media(&mut self, now: Now, event: media::Event) {
        match event {
            media::Event::BindFailed { leg, address } => {
                self.ledger.bind_failed(now, address);
                if let Some(id) = self.calls.of_leg(leg) {
                    self.end_call(now, id, "a media port could not be opened");
                }
            }
            media::Event::NoMedia { leg, since } => {
                if let Some(call) = self.calls.silent(leg) {
                    self.ledger.no_media(now, call, since.as_secs());
                }
            }
            media::Event::Counters {
                leg,
                counters,
                last,
            } => {
                if last && counters.strangers > 0 {
                    let cause = "packets from addresses that are not the client's";
                    self.ledger.caused(now, Kind::MediaDropped, None, cause);
                }
                if last && counters.malformed > 0 {
                    let cause = "packets that are neither RTP nor RTCP";
                    self.ledger.caused(now, Kind::MediaDropped, None, cause);
                }
                if !self.calls.count(leg, counters) {
                    self.ledger.count_ended(leg, counters);
                }
            }
            media::Event::LinkState { link, up, .. } => {
                let Some(link) = self.links.iter_mut().find(|l| l.id == link) else {
                    return;
                };
                if link.media_up != up {
                    link.media_up = up;
                    if up || link.is_up() {
                        self.ledger.media_link(now, link);
                    }
                }
            }
            media::Event::Latched { leg, address } => {
                self.calls.latched(leg, address.ip());
            }
            media::Event::Rested { pairs } => self.calls.rested(&pairs),
            media::Event::Installed { .. } => {}
        }
    }
}

impl Engine for Edge {
    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected { conn, facts } => self.connected(now, conn, facts),
            Input::Frame { conn, frame } => self.frame(now, conn, frame),
            Input::Disconnected { conn, why } => self.disconnected(now, conn, &why),
            Input::ControlUp {
                conn,
                peer,
                exported,
                media_secret,
                ..
            } => {
                self.control_up(now, conn, peer, &exported, media_secret);
            }
            Input::Control { conn, message } => self.control(now, conn, message),
            Input::ControlDown { conn, why } => self.control_down(now, conn, &why),
            Input::Lane {
                peer,
                lane,
                connections,
                why,
            } => {
                self.lane(now, peer, lane, connections, why.as_deref());
            }
            Input::Media(event) => self.media(now, event),
            Input::Report(report) => {
                if let Report::LinkRefused { cause, .. } = &report {
                    self.certificate_refused(cause);
                }
                self.ledger.report(now, report);
            }
            Input::Waited(waited) => self.waited(now, waited),
            Input::HostClock(row) => self.ledger.clock(now, row),
            Input::Configured(config) => self.configured(&config),
            Input::Ask { id, question } => self.answer_question(now, id, question),
            Input::Resolved { id, result } => self.outward_resolved(now, id, result),
            // An edge asks nobody else, and knows no answer.
            Input::Kept { .. }
            | Input::Fetched { .. }
            | Input::Proved { .. }
            | Input::Users { .. } => {}
        }
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.station.handle_timeout(now);
        for change in self.relay.handle_timeout(now) {
            if let Change::Expired(flow, _) = &change {
                self.changed(now, *flow, vec![change]);
            }
        }
        while let Some((_, flow)) = self.strangers.pop(now.instant) {
            self.stranger(now, flow);
        }
        while let Some((id, doom)) = self.calls.pop_due(now.instant) {
            self.doomed(now, id, doom);
        }
        self.links_timeout(now);
        self.parking_timeout(now);
        self.guests_timeout(now);
        self.business_timeout(now);
        self.ledger.handle_timeout(now);
        self.pump(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.station.out.pop_front();
        base::tighten(&mut self.station.out);
        output
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [
            self.station.poll_timeout(),
            self.relay.poll_timeout(),
            self.calls.poll_timeout(),
            self.ledger.poll_timeout(),
            self.parking.poll_timeout(),
            self.guests.poll_timeout(),
            self.strangers.next(),
            self.peers.poll_timeout(),
        ]
        .into_iter()
        .chain(self.links.iter().map(Link::poll_timeout))
        .chain(self.candidates.values().map(|(_, c)| c.poll_timeout()))
        .flatten()
        .min()
    }

    fn snapshot(&self, now: Now) -> ::status::Snapshot {
        self.picture(now)
    }

    fn census(&self) -> Vec<(&'static str, usize)> {
        self.rows()
    }
}

#[cfg(test)]
mod tests;
