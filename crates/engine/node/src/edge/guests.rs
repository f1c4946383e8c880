//! How much a client's connection may ask for, and when it has asked too much.
//!
//! Every request of a client passes here before anything else is done for it. What is refused is
//! told 503 with a time to come back, spread so that not all come at once. Who goes on in spite of
//! it is cut off: too many refusals and nothing achieved end a connection. Bounds: the settings'
//! ([`config::Rates`]), [`SOURCES_MAX`] sources and [`USERS_MAX`] users.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use ::status::Kind;
use base::{HashMap, HashSet, Instant, Now, TokenBucket};
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method};

use super::Edge;
use crate::buckets::Buckets;
use crate::io::Output;
use crate::overload::{Class, Overload, Told, is_emergency};
use crate::station::in_dialog;
use crate::strikes::whole;

/// Refusals a second that a connection is forgiven.
const FORGIVEN: u32 = 1;

/// Sources and users that are counted by themselves.
const SOURCES_MAX: usize = 10_000;
const USERS_MAX: usize = 50_000;

/// When a registration that was not answered counts no more (RFC 3261 §17.1.2.2, Timer F).
const REGISTER_TIME: Duration = Duration::from_secs(32);

/// How long the noisiest are not read from, and how many they are.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSED_MAX: usize = 16;

/// How many requests of all kinds a connection may send for each that begins something: its ACK,
/// its CANCEL. A repetition on a reliable transport is nobody's need (RFC 3261 §17.1.1.2).
const REPEATS: u32 = 3;

/// Requests of a connection before they are counted: most clients send few, and there is a row for
/// each.
const COUNTED: u16 = 100;

/// Messages within [`PAUSE`] that make a connection noisy.
const NOISY: u32 = 20;

/// One client's connection.
struct Guest {
    rate: TokenBucket,
    /// Those that it had, if it had any: most never do, and there is a row for each client.
    refusals: Option<Box<TokenBucket>>,
    /// Requests of all kinds, also CANCELs and repetitions, which begin nothing: from
    /// [`COUNTED`] of them on.
    all: Option<Box<TokenBucket>>,
    /// How many there were until then.
    first: u16,
    /// Messages since the noisiest were last looked for.
    heard: u32,
    cut: bool,
}

/// All of them.
pub(super) struct Guests {
    rows: HashMap<FlowId, Guest>,
    rates: config::Rates,
    sources: Buckets<IpAddr>,
    users: Buckets<String>,
    overload: Overload,
    looked: Instant,
    registering: VecDeque<(Instant, ServerKey)>,
    unanswered: HashSet<ServerKey>,
}

impl Guests {
    pub(super) fn new(rates: &config::Rates, overload: &config::Overload) -> Self {
        let of = |rate: u32| (rate, rate.saturating_mul(rates.burst));
        Guests {
            rows: HashMap::default(),
            rates: *rates,
            sources: Buckets::new(of(rates.requests_per_source), SOURCES_MAX),
            users: Buckets::new(of(rates.requests_per_user), USERS_MAX),
            overload: Overload::new(overload),
            looked: Instant::ZERO,
            registering: VecDeque::new(),
            unanswered: HashSet::default(),
        }
    }

    /// Other settings. Who is connected keeps the connection's rate; sources and users that are
    /// counted with another rate begin anew.
    pub(super) fn configure(&mut self, rates: &config::Rates, overload: &config::Overload) {
        self.overload.configure(overload);
        let Guests { sources, users, .. } = Guests::new(rates, overload);
        let old = std::mem::replace(&mut self.rates, *rates);
        let burst = old.burst != rates.burst;
        if burst || old.requests_per_source != rates.requests_per_source {
            self.sources = sources;
        }
        if burst || old.requests_per_user != rates.requests_per_user {
            self.users = users;
        }
    }

    pub(super) fn came(&mut self, flow: FlowId) {
        let rate = self.rates.requests_per_connection;
        let guest = Guest {
            all: None,
            first: 0,
            rate: TokenBucket::new(rate, rate.saturating_mul(self.rates.burst)),
            refusals: None,
            heard: 0,
            cut: false,
        };
        self.rows.insert(flow, guest);
    }

    pub(super) fn went(&mut self, flow: FlowId) {
        self.rows.remove(&flow);
    }

    /// Whether a connection has been cut off: what still comes of it is not heard.
    pub(super) fn is_cut(&self, flow: FlowId) -> bool {
        self.rows.get(&flow).is_some_and(|g| g.cut)
    }

    /// A connection achieved something.
    pub(super) fn achieved(&mut self, flow: FlowId) {
        if let Some(guest) = self.rows.get_mut(&flow) {
            guest.refusals = None;
        }
    }

    /// A new registration goes to a core; false if there are too many under way.
    pub(super) fn registers(&mut self, now: Instant, key: ServerKey) -> bool {
        self.expire(now);
        if self.registering.len() >= self.rates.registrations_pending_max.saturating_mul(2) {
            let open = &self.unanswered;
            self.registering.retain(|(_, key)| open.contains(key));
        }
        if self.unanswered.len() >= self.rates.registrations_pending_max {
            return false;
        }
        if self.unanswered.insert(key) {
            self.registering.push_back((now, key));
        }
        true
    }

    /// A registration was answered.
    pub(super) fn registered(&mut self, now: Instant, key: ServerKey) {
        if self.unanswered.remove(&key) {
            self.expire(now);
        }
    }

    /// Forgets what was answered, and what never will be.
    fn expire(&mut self, now: Instant) {
        while let Some((since, oldest)) = self.registering.front().copied() {
            if self.unanswered.contains(&oldest) && now.since(since) < REGISTER_TIME {
                break;
            }
            self.registering.pop_front();
            base::tighten(&mut self.registering);
            self.unanswered.remove(&oldest);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.registering.front();
        [
            self.overload.poll_timeout(),
            self.sources.poll_timeout(),
            self.users.poll_timeout(),
            oldest.map(|(since, _)| *since + REGISTER_TIME),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How full each table is.
    pub(super) fn census(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("guests", self.rows.len()),
            ("counted sources", self.sources.len()),
            ("counted users", self.users.len()),
            ("new registrations", self.registering.len()),
            ("unanswered registrations", self.unanswered.len()),
        ]
    }

    /// The connections that have said most of late.
    fn noisiest(&mut self, now: Instant) -> Vec<FlowId> {
        if now.since(self.looked) < PAUSE {
            return Vec::new();
        }
        self.looked = now;
        let noisy = self.rows.iter().filter(|(_, g)| g.heard >= NOISY);
        let mut noisy: Vec<(u32, FlowId)> = noisy.map(|(flow, g)| (g.heard, *flow)).collect();
        noisy.sort_unstable_by(|a, b| b.cmp(a));
        noisy.truncate(PAUSED_MAX);
        for guest in self.rows.values_mut() {
            guest.heard = 0;
        }
        noisy.into_iter().map(|(_, flow)| flow).collect()
    }
}

impl Edge {
    /// Whether something is done for a request; if not, it has been answered.
    pub(super) fn may_enter(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        message: &Message,
    ) -> bool {
        let class = self.class_of(flow, message);
        let Some(guest) = self.guests.rows.get_mut(&flow) else {
            return true;
        };
        guest.heard = guest.heard.saturating_add(1);
        let flood = guest.rate.take(now.instant).is_err();
        let cause = if flood {
            // A BYE frees more than it costs, once for each call.
            let ends = message.method() == Method::Bye && self.calls.of(message, flow).is_some();
            (!ends).then_some("sip: too many requests")
        } else if self.guests.overload.sheds(class) {
            self.ledger.counters.shed += 1;
            self.busy(now, key, message);
            self.refused(now, flow);
            return false;
        } else {
            self.over_share(now, flow, message, class)
        };
        let Some(cause) = cause else { return true };
        let source = self.station.remote(flow).map(|a| a.ip());
        self.ledger.caused(now, Kind::Flooded, source, cause);
        self.busy(now, key, message);
        self.refused(now, flow);
        false
    }

    /// Whether a request of a client is one too many, whatever it is: it is not read.
    pub(super) fn is_noise(&mut self, now: Now, flow: FlowId, message: &Message) -> bool {
        let guest = self.guests.rows.get_mut(&flow);
        let Some(guest) = guest.filter(|_| message.is_request()) else {
            return false;
        };
        if guest.first < COUNTED {
            guest.first += 1;
            return false;
        }
        let rate = self.guests.rates.requests_per_connection;
        let rate = rate.saturating_mul(REPEATS);
        let most = rate.saturating_mul(self.guests.rates.burst);
        let fresh = || Box::new(TokenBucket::new(rate, most));
        let all = guest.all.get_or_insert_with(fresh);
        if all.take(now.instant).is_ok() {
            return false;
        }
        guest.heard = guest.heard.saturating_add(1);
        let source = self.station.remote(flow).map(|a| a.ip());
        let cause = "sip: too many CANCELs or repeated requests";
        self.ledger.caused(now, Kind::Flooded, source, cause);
        self.refused(now, flow);
        true
    }

    /// Whether an ACK is passed on: it cannot be refused, only dropped.
    pub(super) fn may_ack(&mut self, now: Now, flow: FlowId) -> bool {
        let Some(guest) = self.guests.rows.get_mut(&flow) else {
            return true;
        };
        guest.heard = guest.heard.saturating_add(1);
        if guest.rate.take(now.instant).is_ok() {
            return true;
        }
        let source = self.station.remote(flow).map(|a| a.ip());
        let cause = "sip: too many requests";
        self.ledger.caused(now, Kind::Flooded, source, cause);
        self.refused(now, flow);
        false
    }

    /// Whether the source of a stranger, or a user, asks for more than its share of new work.
    fn over_share(
        &mut self,
        now: Now,
        flow: FlowId,
        message: &Message,
        class: Class,
    ) -> Option<&'static str> {
        match class {
            Class::Stranger => {
                let source = whole(self.station.remote(flow)?.ip());
                let more = !self.guests.sources.take(now.instant, source);
                more.then_some("sip: too many requests of clients that are not registered")
            }
            Class::New => {
                let user = self.relay.identity(flow, message)?.user();
                let user = (*user.expose()).to_owned();
                let more = !self.guests.users.take(now.instant, user);
                more.then_some("sip: too many requests of one user")
            }
            Class::InDialog | Class::Refresh | Class::Vital => None,
        }
    }

    fn class_of(&self, flow: FlowId, message: &Message) -> Class {
        let known = self.relay.is_known(flow);
        let inside = in_dialog(message);
        match message.method() {
            Method::Register if known => Class::Refresh,
            Method::Bye | Method::Prack | Method::Cancel if inside => Class::Vital,
            _ if inside && (known || self.calls.of(message, flow).is_some()) => Class::InDialog,
            _ if !known => Class::Stranger,
            _ if is_emergency(message) => Class::Vital,
            _ => Class::New,
        }
    }

    /// One more refusal of a connection; it may be the one too many.
    pub(super) fn refused(&mut self, now: Now, flow: FlowId) {
        let most = self.guests.rates.refusals_max;
        let Some(guest) = self.guests.rows.get_mut(&flow) else {
            return;
        };
        let fresh = || Box::new(TokenBucket::new(FORGIVEN, most));
        let refusals = guest.refusals.get_or_insert_with(fresh);
        if guest.cut || refusals.take(now.instant).is_ok() {
            return;
        }
        guest.cut = true;
        self.station.close(flow);
        let source = self.station.remote(flow).map(|a| a.ip());
        let cause = format!("sip: it went on in spite of {most} refusals");
        self.ledger.caused(now, Kind::FloodCut, source, &cause);
    }

    /// So long have messages waited for this node.
    pub(super) fn waited(&mut self, now: Now, waited: Duration) {
        let told = self.guests.overload.waited(now.instant, waited);
        self.tell_overload(now, told);
        if !self.guests.overload.drowns() {
            return;
        }
        for flow in self.guests.noisiest(now.instant) {
            if let Some(row) = self.station.flows.get(flow) {
                let (conn, time) = (row.conn, PAUSE);
                self.station.out.push_back(Output::Pause { conn, time });
            }
        }
    }

    pub(super) fn guests_timeout(&mut self, now: Now) {
        self.guests.expire(now.instant);
        self.guests.sources.handle_timeout(now.instant);
        self.guests.users.handle_timeout(now.instant);
        let told = self.guests.overload.handle_timeout(now.instant);
        self.tell_overload(now, told);
    }

    fn tell_overload(&mut self, now: Now, told: Option<Told>) {
        match told {
            Some(Told::Began(waited)) => self.ledger.overloaded(now, waited),
            Some(Told::Over) => self.ledger.overload_over(now),
            None => {}
        }
    }
}
