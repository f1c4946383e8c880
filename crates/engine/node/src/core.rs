//! The core: it stands inside, dials the edges, and checks all that comes from them again.
//!
//! A client's credentials are checked here, against Unified CM at sign-in and against what was
//! kept of it at each registration. Its requests go to the zone it registered in, calls through
//! the B2BUA, and what call control sends it goes to the edge and flow that its registration
//! names. The rooms: `links` and `lanes` know the edges, `zones` and `discovery` the inside,
//! `sign_in` and `registrations` who is who, `routing` and `calls` what goes where.

mod allowed;
mod between;
mod business;
mod calls;
mod census;
mod checks;
mod clusters;
mod configured;
mod destination;
mod discovery;
mod dry_run;
mod lanes;
mod leaving;
mod links;
mod load;
mod outbound;
mod outward;
mod ownership;
mod questions;
mod reading;
mod referring;
mod refusals;
mod registrations;
mod routing;
mod search;
mod senders;
mod servers;
mod settings;
mod shares;
mod sign_in;
mod sign_out;
mod sso;
mod status;
mod taking;
mod targets;
mod trunks;
mod zones;

use std::sync::Arc;
use std::time::Duration;

use ::media::ports::{Allocator, REST};
use ::status::{Kind, Snapshot};
use base::{HashMap, Instant, Map, Now, Rng, Timers};
use call::b2bua::{self, B2bua, Side as Leg};
use call::limits::{Ledger, Limits};
use call::registration::core::{Admission, Place, Registrar, RegistrationId};
use policy::credentials::Credentials;
use policy::token::TokenKey;
use provisioning::axl::Duty;
use sip::proxy::Reply;
use sip::transaction::{ClientKey, Event, ServerKey};
use sip::{FlowId, Frame};

use crate::Engine;
use crate::io::{AskId, ConnId, Facts, Input, Output, Side};
use crate::station::{Item, Station};
pub use allowed::configured_allow_list;
pub(crate) use business::MARK as BUSINESS;
use discovery::{Part, Publisher, Service};
pub use dry_run::dry_run;
use links::Link;
use outbound::Parked;
pub(crate) use servers::no_servers;
pub use settings::CoreIdentity;
use settings::Settings;
use zones::Zone;

/// SIP connections at once, of all kinds.
const FLOWS_MAX: usize = 10_000;

/// How often kept credentials, and calls on hold, are looked through.
const CLEAN_UP: Duration = Duration::from_secs(60);

/// What a question of ours was for.
enum Asked {
    /// Something a publisher, or a voicemail server, is to tell.
    Server(usize, Part),
    /// A registrar's SRV records.
    Service(usize),
    /// The addresses of a host that may send.
    Sender(String),
    /// A question of a sign-in.
    SignIn(u64),
    /// A question of single sign-on.
    Sso(sso::Why),
}

/// The core node.
pub struct Core {
    settings: Settings,
    overload: crate::overload::Overload,
    rng: Rng,
    instance: String,
    station: Station,
    links: Vec<Link>,
    zones: Vec<Zone>,
    publishers: Vec<Publisher>,
    /// What has changed at them.
    history: servers::History,
    /// Administrators who wait for them to be asked.
    refreshes: Vec<servers::Refresh>,
    services: Vec<Service>,
    tokens: TokenKey,
    credentials: Credentials,
    admission: Admission,
    desk: sign_in::Desk,
    outs: sign_out::Outs,
    sso: sso::Sso,
    registrar: Registrar,
    under_way: registrations::UnderWay,
    /// Contacts that are in them, with how often.
    busy: HashMap<RegistrationId, u32>,
    /// When their answers should be there.
    answers_due: Timers<ServerKey>,
    parked: Map<ServerKey, Parked>,
    next_parked: u64,
    /// Transforms and rules, with those that discovery brings.
    plan: policy::search::Plan,
    /// Requests between neighbours that may try another zone.
    trials: Map<ServerKey, trunks::Trial>,
    trunk_key: sip::token::TokenKey,
    /// OPTIONS of ours to trunks, with the zone asked.
    probes: Map<ClientKey, String>,
    /// Trunks whose port is a line's, which have been told of.
    conflicts: Vec<clusters::Conflict>,
    /// Connections that call control made, with the zone whose calls are on them.
    inbound: HashMap<FlowId, String>,
    senders: senders::Senders,
    zones_changed: bool,
    /// Zones that edges were told are dead.
    zones_dead: Vec<String>,
    b2bua: B2bua,
    ledger: Ledger<b2bua::CallId>,
    ports: Allocator,
    starting: Option<calls::Starting>,
    /// What is starting was told of before: it goes another way.
    again: bool,
    /// Calls towards clients, with where those were when they were called.
    called: HashMap<b2bua::CallId, Place>,
    /// Whose calls they are.
    owners: HashMap<b2bua::CallId, calls::Owner>,
    shares: shares::Shares,
    /// Whom calls are between, where both are inside.
    betweens: HashMap<b2bua::CallId, between::Between>,
    /// Names that certificates of hosts proved which connected to us inside: one row a connection.
    proven: HashMap<FlowId, String>,
    /// Where requests within subscriptions go.
    targets: targets::Targets,
    /// Calls of clients and foreign domains with a neighbour, and that one.
    neighbours: HashMap<b2bua::CallId, trunks::End>,
    /// Calls that clients were asked to name, and those that they asked trunks to make.
    grants: taking::Grants,
    referred: referring::Referred,
    /// Calls without media, with when their ends were last asked.
    silences: HashMap<b2bua::CallId, Instant>,
    asked: HashMap<u64, Asked>,
    next_ask: u64,
    clean_up: Instant,
    board: status::Board,
}

impl Core {
    /// A core that knows nobody yet. Passwords of `config` must stand in it
    /// ([`config::Password::Given`]).
    pub fn new(
        now: Now,
        mut rng: Rng,
        config: &Arc<config::Config>,
        identity: CoreIdentity,
    ) -> Core {
        let settings = Settings::of(config, &identity);
        let mut calls = b2bua::Settings::new(settings.media.advertise, settings.media.advertise);
        calls.edge_port = 36_000;
        (calls.own, calls.own_ports) = settings.own_media();
        calls.session_interval = settings.limits.session_interval;
        let limits = Limits {
            licences: settings.limits.licences,
            calls_max: settings.limits.concurrent_max,
        };
        // A call that is over keeps its row until what is under way has run out.
        calls.calls_max = limits.calls_max.saturating_mul(2);
        let (listen, ports) = (settings.media.listen, settings.media.ports.clone());
        let links = settings.peers.iter().cloned().enumerate();
        let ask = |list: &[settings::Server], duty| -> Vec<Publisher> {
            list.iter()
                .map(|s| Publisher::new(now, s.clone(), duty))
                .collect()
        };
        let mut publishers = ask(&settings.unified_cm, Duty::VoiceVideo);
        publishers.extend(ask(&settings.im_presence, Duty::ImPresence));
        publishers.extend(ask(&settings.unity_connection, Duty::Voicemail));
        let services = settings.call_control.iter();
        let mut core = Core {
            instance: rng.hex(16),
            overload: crate::overload::Overload::new(&settings.overload),
            station: Station::new(&mut rng, FLOWS_MAX),
            links: links.map(|(i, peer)| Link::new(i, peer)).collect(),
            zones: Vec::new(),
            publishers,
            history: servers::History::default(),
            refreshes: Vec::new(),
            services: services.map(|c| Service::new(now, c)).collect(),
            tokens: settings::token_key(&identity, &mut rng),
            credentials: Credentials::new(&mut rng, settings.refresh, settings.cleanup),
            admission: Admission::new(now),
            desk: sign_in::Desk::new(&mut rng),
            outs: sign_out::Outs::new(&identity.signed_out),
            sso: sso::Sso::new(now, &mut rng, config),
            registrar: Registrar::new(&identity.token_seed, &mut rng),
            under_way: HashMap::default(),
            busy: HashMap::default(),
            answers_due: Timers::default(),
            parked: Map::new(),
            next_parked: 0,
            plan: policy::search::Plan::default(),
            trials: Map::new(),
            trunk_key: sip::token::TokenKey::derived(identity.token_seed.expose(), b"trunks"),
            probes: Map::new(),
            conflicts: Vec::new(),
            inbound: HashMap::default(),
            senders: senders::Senders::new(settings.sip_from.clone()),
            zones_changed: false,
            zones_dead: Vec::new(),
            b2bua: B2bua::new(rng.fork(), calls),
            ledger: Ledger::new(limits),
            ports: Allocator::new(listen, ports, REST, &mut rng),
            starting: None,
            again: false,
            called: HashMap::default(),
            owners: HashMap::default(),
            shares: HashMap::default(),
            betweens: HashMap::default(),
            proven: HashMap::default(),
            targets: targets::Targets::default(),
            neighbours: HashMap::default(),
            grants: taking::Grants::default(),
            referred: referring::Referred::default(),
            silences: HashMap::default(),
            asked: HashMap::default(),
            next_ask: 0,
            clean_up: now.instant + CLEAN_UP,
            board: status::Board::new(),
            settings,
            rng,
        };
        core.load_users(now, &identity);
        for kept in &identity.kept {
            let names = [kept.user.expose(), kept.account.expose()];
            let out = |name: &&String| core.outs.known.is_void(name, &kept.domain, kept.since);
            if !names.iter().any(out) {
                core.credentials.restore(now, kept);
            }
        }
        core.remember_servers(&identity.servers);
        core.arrange(now);
        core.discovery_timeout(now);
        core.services_timeout(now);
        core.sso_begins(now);
        core
    }

    /// A core that is asked what a configuration says, and never runs.
    fn offline(now: Now, config: &Arc<config::Config>) -> Core {
        Core::new(now, Rng::from_number(0), config, CoreIdentity::nobody())
    }

    /// A number for a question.
    fn ask(&mut self, asked: Asked) -> AskId {
        let id = self.next_ask;
        self.next_ask += 1;
        self.asked.insert(id, asked);
        AskId(id)
    }

    // ---- SIP connections ----

    fn connected(&mut self, now: Now, conn: ConnId, facts: Facts) {
        if conn.0 >= ConnId::DIALLED {
            self.station.connected(conn, facts);
            if let Some(flow) = self.station.flows.by_conn(conn) {
                self.sender_reached(flow);
            }
            return self.zone_up(now, conn);
        }
        let side = facts.side;
        let proven = facts.peer_name.clone();
        match (side, self.station.accepted(conn, facts)) {
            (Side::Inside, Some(flow)) => {
                if let Some(names) = proven {
                    self.proven.insert(flow, names);
                }
            }
            (Side::Lane { peer }, Some(flow)) => self.lane_up(now, peer, flow),
            (Side::Client, Some(flow)) => self.station.close(flow),
            (Side::Inside, _) | (_, None) => {}
        }
    }

    fn disconnected(&mut self, now: Now, conn: ConnId, why: &str) {
        let Some((flow, side)) = self.station.gone(now, conn) else {
            return;
        };
        match side {
            Some(Side::Lane { peer }) => self.lane_down(now, peer, flow, why),
            Some(Side::Inside) => {
                self.proven.remove(&flow);
                self.inside_down(now, flow, why);
            }
            Some(Side::Client) | None => {}
        }
    }

    fn frame(&mut self, now: Now, conn: ConnId, frame: Frame) {
        let Some(flow) = self.station.flows.by_conn(conn) else {
            return;
        };
        match frame {
            Frame::Message(mut message) => {
                if !self.may_send(now, flow, &message) {
                    return;
                }
                let lane = matches!(self.station.side(flow), Some(Side::Lane { .. }));
                if lane && !message.is_request() {
                    message = self.redirected(now, &message);
                }
                self.targets.heard(&message, lane);
                self.station.transactions.receive(now, flow, true, message);
            }
            Frame::Bad {
                error,
                reply,
                fatal,
            } => {
                if let Some(reply) = reply {
                    let bytes = reply.bytes().clone();
                    self.station.out.push_back(Output::Send { conn, bytes });
                }
                if fatal {
                    self.station.out.push_back(Output::Close { conn });
                }
                self.board.counters.violations += 1;
                let event = ::status::Event::new(Kind::Violation, now.unix, error.to_string());
                let mut event = event.with("protocol", "sip");
                if let Some(source) = self.station.remote(flow) {
                    event = event.with_address("source", source.ip());
                }
                self.board.placed(&mut self.station.out, now, event);
            }
            Frame::Ping | Frame::Pong | Frame::Stun(_) => {}
        }
    }

    /// Lets transactions, proxy and B2BUA speak until all are quiet.
    fn pump(&mut self, now: Now) {
        loop {
            while let Some(item) = self.station.next(now) {
                match item {
                    Item::Event(event) => self.event(now, event),
                    Item::Reply(reply) => self.reply(now, reply),
                }
            }
            self.sign_ins_work(now);
            if !self.calls_work(now) {
                return self.tell_zones();
            }
        }
    }

    fn event(&mut self, now: Now, event: Event) {
        let elsewhere = match &event {
            Event::Response { key, message } => match message.status() {
                430 => self.call_again(now, *key),
                status => self.call_elsewhere(now, *key, Some(status)),
            },
            Event::Failed { key, .. } => self.call_elsewhere(now, *key, None),
            _ => false,
        };
        if elsewhere {
            return;
        }
        let (b2bua, mut cx) = self.calls(now);
        let Some(event) = b2bua.handle(&mut cx, event) else {
            return;
        };
        match event {
            Event::Request { key, flow, message } => match self.station.side(flow) {
                Some(Side::Lane { peer }) => self.lane_request(now, key, flow, peer, message),
                Some(Side::Inside) => self.inside_request(now, key, flow, message),
                Some(Side::Client) | None => {}
            },
            Event::Ack { flow, message } => {
                let from = match self.station.side(flow) {
                    Some(Side::Lane { peer }) => self
                        .links
                        .get(peer)
                        .filter(|l| l.is_ready(flow))
                        .map(|l| Leg::Edge { link: l.id }),
                    Some(Side::Inside) => Some(Leg::Inside),
                    Some(Side::Client) | None => None,
                };
                let Some(from) = from else { return };
                if from == Leg::Inside && self.trunk_ack(flow, &message) {
                    return;
                }
                let call = self.b2bua.call_of(from, &message);
                let heard = |call| from != Leg::Inside || self.may_be_heard(call, flow);
                if !call.is_none_or(heard) {
                    return;
                }
                let (b2bua, mut cx) = self.calls(now);
                b2bua.ack(&mut cx, from, &message);
            }
            Event::Cancelled { key, .. } => self.parked_cancelled(now, key),
            Event::Response { key, message } => {
                if !self.own_answered(now, key, Some(message.status())) {
                    self.lane_response(now, key, &message);
                }
            }
            Event::Failed { key, .. } => {
                if !self.own_answered(now, key, None) {
                    self.lane_silent(now, key);
                }
            }
            Event::Ended { key, .. } => {
                // A REGISTER under way stays: call control may accept it all the same, and if it
                // says nothing, that says something of call control.
                self.parked.remove(&key);
                self.trials.remove(&key);
            }
            Event::TooLarge { flow, message } => self.too_large(now, flow, &message),
            Event::Closed { .. } | Event::StrayResponse { .. } => {}
        }
    }

    /// A response to a request that was sent on.
    fn reply(&mut self, now: Now, reply: Reply) {
        let (key, mut message) = (reply.server, reply.message);
        let request = self.station.transactions.server_request(key).cloned();
        match request {
            // Also if its client is gone: call control has accepted it all the same.
            _ if self.under_way.contains_key(&key) => {
                message = self.registered_reply(now, key, message);
            }
            Some(request) if message.status() == 430 => {
                return self.flow_lost(now, key, &request);
            }
            _ => {
                if let Some(message) = self.next_trial(now, key, message) {
                    self.station.respond(now, key, message);
                }
                return;
            }
        }
        self.station.respond(now, key, message);
    }
}

impl Engine for Core {
    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected { conn, facts } => self.connected(now, conn, facts),
            Input::Frame { conn, frame } => self.frame(now, conn, frame),
            Input::Disconnected { conn, why } => self.disconnected(now, conn, &why),
            Input::ControlUp {
                conn,
                peer,
                remote,
                exported,
                media_secret,
                ..
            } => {
                self.control_up(now, conn, peer, remote, &exported, media_secret);
            }
            Input::Control { conn, message } => self.control(now, conn, message),
            Input::ControlDown { conn, why } => self.control_down(now, conn, &why),
            Input::Lane {
                peer,
                lane,
                connections,
                why,
            } => {
                self.lane_report(now, peer, lane, connections, why);
            }
            Input::Media(event) => self.media(now, &event),
            Input::Ask { id, question } => self.answer_question(now, id, question),
            Input::Kept { id, failure } => self.sign_out_kept(id, failure),
            Input::Fetched { id, result } => match self.asked.remove(&id.0) {
                Some(Asked::Server(index, part)) => self.server_answered(now, index, part, result),
                Some(Asked::SignIn(number)) => self.sign_in_fetched(number, result),
                Some(Asked::Sso(why)) => self.sso_fetched(now, why, result),
                Some(Asked::Service(_) | Asked::Sender(_)) | None => {}
            },
            Input::Resolved { id, result } => match self.asked.remove(&id.0) {
                Some(Asked::SignIn(number)) => self.sign_in_resolved(number, result),
                Some(Asked::Service(index)) => self.service_answered(now, index, result),
                Some(Asked::Sender(host)) => self.sender_resolved(now, &host, result),
                _ => {}
            },
            Input::Proved { id, result } => {
                if let Some(Asked::SignIn(number)) = self.asked.remove(&id.0) {
                    self.sign_in_proved(number, result);
                }
            }
            Input::Users {
                domain,
                digests,
                gone,
            } => self.users_changed(now, &domain, digests, &gone),
            Input::Report(report) => self.report(now, report),
            Input::Waited(waited) => self.waited(now, waited),
            Input::HostClock(row) => self.board.clock(&mut self.station.out, now, row),
            Input::Configured(config) => self.configured(now, &config),
        }
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.station.handle_timeout(now);
        let (b2bua, mut cx) = self.calls(now);
        b2bua.handle_timeout(&mut cx);
        self.registrations_timeout(now);
        self.links_timeout(now);
        self.dial_zones(now);
        self.probes_timeout(now);
        self.discovery_timeout(now);
        self.services_timeout(now);
        self.senders_timeout(now);
        self.overload_timeout(now);
        self.issuers_timeout(now);
        self.outs_timeout(now);
        self.board.handle_timeout(&mut self.station.out, now);
        if self.clean_up <= now.instant {
            self.clean_up = now.instant + CLEAN_UP;
            self.forget_users(now);
            self.held_calls(now);
            self.leave_zones();
        }
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
            self.b2bua.poll_timeout(),
            self.registrar.poll_timeout(),
            self.answers_due.next(),
            self.links_poll_timeout(),
            self.zones_poll_timeout(),
            self.discovery_poll_timeout(),
            self.senders.poll_timeout(),
            self.board.poll_timeout(),
            self.overload.poll_timeout(),
            self.issuers_poll_timeout(),
            self.outs.poll_timeout(),
            Some(self.clean_up),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn snapshot(&self, now: Now) -> Snapshot {
        self.look(now)
    }

    fn census(&self) -> Vec<(&'static str, usize)> {
        self.rows()
    }
}

#[cfg(test)]
mod tests;
