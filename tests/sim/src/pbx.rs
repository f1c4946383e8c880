//! Call control inside: a registrar and a B2BUA that gives each leg a Call-ID of its own, as
//! Unified CM does.
//!
//! In: messages by connection, time. Out: messages with the way they take ([`Pbx::take`]), and
//! what the core did wrong ([`Pbx::findings`]). Bodies pass from leg to leg as they are.

mod bridge;
mod messages;
mod transfer;
mod within;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use base::Rng;

use crate::dialog::{self, Dialog};
use crate::text::Text;
use crate::ua::SECOND;

/// How long a registration lasts, in seconds.
pub const GRANTED: u64 = 120;

/// How long a telephone rings before the call is given up.
const PATIENCE: u64 = 40 * SECOND;

/// How long a request other than INVITE waits for its answer (RFC 3261 §17.1.2.2).
const TIMER_F: u64 = 32 * SECOND;

/// Which way a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A connection that stands.
    Conn(u64),
    /// A connection to this address, new if there is none.
    Address(SocketAddr),
}

struct Binding {
    /// Call-ID and CSeq of the REGISTER it comes from.
    order: (String, u32),
    contact: String,
    routes: Vec<String>,
    conn: u64,
    until: u64,
}

/// A Contact, the routes to it, and the way.
type Place = (String, Vec<String>, Way);

struct Leg {
    way: Way,
    dialog: Option<Dialog>,
    invite: Text,
    /// The dialog is confirmed and has not been ended.
    up: bool,
}

struct Bridge {
    legs: [Leg; 2],
    tag: String,
    /// The first INVITE has had its final answer.
    answered: bool,
    cancel: bool,
    /// Devices of the number that was called rang; the first that answers has the call.
    forked: bool,
    /// One of them has answered.
    won: bool,
    /// What the caller is told in place of 487.
    instead: Option<(u16, &'static str)>,
    /// An INVITE within the dialog is under way, sent to this leg.
    change: Option<usize>,
    /// CSeq numbers of 2xx that wait for their ACK: to leg, number there, by number here.
    acks: BTreeMap<(usize, u32), u32>,
}

/// A request of ours.
struct Pending {
    bridge: u64,
    /// The leg it went to.
    leg: usize,
    request: Text,
    /// The request it carries on, and the way back.
    from: Option<(Way, Text)>,
    conn: Option<u64>,
    at: u64,
    provisional: bool,
    /// It has had its CANCEL.
    cancelled: bool,
}

/// Call control.
pub struct Pbx {
    /// Its own address.
    pub address: SocketAddr,
    /// Its domain.
    pub domain: String,
    /// Cores by which foreign domains are called, one after the other.
    pub trunks: Vec<SocketAddr>,
    /// Dial the device's registered address, even where the connection it registered by stands.
    pub dials: bool,
    /// REGISTERs seen, with what the core added: number, Contact, Path.
    pub registered: Vec<(String, String, Vec<String>)>,
    /// INVITEs that came in: the caller's number, and who the core says it is.
    pub asserted: Vec<(String, String)>,
    /// What was wrong.
    pub findings: Vec<String>,
    /// By number and device.
    bindings: BTreeMap<(String, String), Binding>,
    bridges: BTreeMap<u64, Bridge>,
    pending: BTreeMap<String, Pending>,
    transfers: BTreeMap<String, transfer::Step>,
    /// Requests that were given up: their answers are late.
    timed_out: BTreeSet<String>,
    subscriptions: BTreeMap<String, messages::Watcher>,
    /// Subscriptions that were ever granted.
    pub watched: u32,
    /// Transfers that were made.
    pub transferred: u32,
    next_bridge: u64,
    timers: BTreeMap<(u64, u64), u64>,
    next_timer: u64,
    rng: Rng,
    out: VecDeque<(Way, Text)>,
}

/// The address a SIP URI names; `None` if it is a name.
pub fn address(uri: &str) -> Option<SocketAddr> {
    let rest = Text::inside_brackets(uri);
    let rest = rest.split_once(':').map_or(rest, |(_, r)| r);
    let host = rest.rsplit_once('@').map_or(rest, |(_, h)| h);
    let host = host.split([';', '?']).next()?;
    host.parse()
        .ok()
        .or_else(|| format!("{host}:5060").parse().ok())
}

/// Whether an address is an inside phone's, which dials and is not dialled.
fn is_phone(address: SocketAddr) -> bool {
    matches!(address.ip(), std::net::IpAddr::V4(a) if a.octets()[3] >= 100)
}

/// The user part of a SIP URI.
pub fn user(uri: &str) -> &str {
    let rest = Text::inside_brackets(uri);
    let rest = rest.split_once(':').map_or(rest, |(_, r)| r);
    rest.split_once('@').map_or("", |(u, _)| u)
}

impl Pbx {
    /// One that knows nobody yet.
    pub fn new(address: SocketAddr, domain: &str, rng: Rng) -> Pbx {
        Pbx {
            address,
            domain: domain.to_owned(),
            trunks: Vec::new(),
            dials: false,
            registered: Vec::new(),
            asserted: Vec::new(),
            findings: Vec::new(),
            bindings: BTreeMap::new(),
            bridges: BTreeMap::new(),
            pending: BTreeMap::new(),
            transfers: BTreeMap::new(),
            timed_out: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            watched: 0,
            transferred: 0,
            next_bridge: 0,
            timers: BTreeMap::new(),
            next_timer: 0,
            rng,
            out: VecDeque::new(),
        }
    }

    /// Messages to send, in order.
    pub fn take(&mut self) -> Vec<(Way, Text)> {
        self.out.drain(..).collect()
    }

    /// A request went out on this connection.
    pub fn went(&mut self, branch: &str, conn: u64) {
        if let Some(pending) = self.pending.get_mut(branch) {
            pending.conn = Some(conn);
        }
    }

    /// A request has no way out.
    pub fn unsent(&mut self, now: u64, branch: &str) {
        if let Some(pending) = self.pending.remove(branch) {
            self.failed(now, pending, 503, "Service Unavailable");
        }
    }

    /// Numbers that are registered.
    pub fn numbers(&self) -> Vec<&str> {
        let all: BTreeSet<&str> = self.bindings.keys().map(|(n, _)| n.as_str()).collect();
        all.into_iter().collect()
    }

    /// Everything it knew is gone: it was restarted.
    pub fn forget(&mut self) {
        self.bindings.clear();
        self.bridges.clear();
        self.pending.clear();
        self.transfers.clear();
        self.subscriptions.clear();
        self.timers.clear();
        self.out.clear();
    }

    /// When [`Pbx::tick`] has something to do.
    pub fn next(&self) -> Option<u64> {
        let due = self.timers.keys().next().map(|(at, _)| *at);
        let news = self.subscriptions.values().map(|s| s.due).min();
        let silent = self
            .pending
            .values()
            .filter(|p| p.request.method() != "INVITE");
        let silent = silent.map(|p| p.at + TIMER_F).min();
        [due, news, silent].into_iter().flatten().min()
    }

    /// Calls that are not over.
    pub fn leftovers(&self) -> Vec<String> {
        let requests = self.pending.values().map(|p| {
            format!(
                "call control waits for an answer to {} sent at {} us",
                p.request.method(),
                p.at
            )
        });
        let up = self
            .bridges
            .values()
            .filter(|b| b.legs.iter().any(|l| l.up));
        up.map(|_| "call control has a call".to_owned())
            .chain(requests)
            .collect()
    }

    /// Where a number is registered: its Contact, the routes to it, and the way.
    fn locate(&self, now: u64, number: &str) -> Option<Place> {
        self.locate_all(now, number).into_iter().next()
    }

    /// Where all devices of a number are, the one that was registered last first.
    fn locate_all(&self, now: u64, number: &str) -> Vec<Place> {
        if number == crate::house::FOREIGN_NUMBER && !self.trunks.is_empty() {
            let core = self.trunks[self.next_bridge as usize % self.trunks.len()];
            let target = format!("sip:{number}@{}", crate::house::FOREIGN_DOMAIN);
            return vec![(target, Vec::new(), Way::Address(core))];
        }
        let mine = self.bindings.iter().filter(|((n, _), _)| n == number);
        let mut mine: Vec<&Binding> = mine.map(|(_, b)| b).filter(|b| b.until > now).collect();
        mine.sort_by_key(|b| std::cmp::Reverse(b.until));
        mine.into_iter().filter_map(|b| self.place(b)).collect()
    }

    fn place(&self, binding: &Binding) -> Option<Place> {
        let (target, routes) = (binding.contact.clone(), binding.routes.clone());
        let hop = address(routes.first().map_or(target.as_str(), String::as_str));
        let standing = binding.conn != u64::MAX;
        let way = match hop {
            Some(hop) if (self.dials || !standing) && !is_phone(hop) => Way::Address(hop),
            _ if standing => Way::Conn(binding.conn),
            _ => return None,
        };
        Some((target, routes, way))
    }

    fn find(&mut self, what: String) {
        self.findings.push(format!("call control: {what}"));
    }

    fn send(&mut self, way: Way, text: Text) {
        self.out.push_back((way, text));
    }

    /// Takes a message.
    pub fn receive(&mut self, now: u64, conn: u64, text: &Text) {
        if text.status().is_some() {
            return self.response(now, conn, text);
        }
        let in_dialog = Text::tag(text.field("To")).is_some();
        match (text.method(), in_dialog) {
            ("REGISTER", _) => self.register(now, conn, text),
            ("INVITE", false) => self.invite(now, conn, text),
            ("CANCEL", _) => self.cancel(now, conn, text),
            ("MESSAGE", false) => self.message(now, conn, text),
            ("SUBSCRIBE", _) => self.subscribe(now, conn, text),
            ("REFER", true) => self.refer(now, conn, text),
            (_, true) => self.within(now, conn, text),
            ("ACK", _) => {}
            ("OPTIONS", _) => self.answer(conn, text, 200, "OK"),
            _ => self.answer(conn, text, 405, "Method Not Allowed"),
        }
    }

    fn answer(&mut self, conn: u64, text: &Text, status: u16, reason: &str) {
        let tag = self.rng.hex(6);
        self.send(Way::Conn(conn), Text::response(text, status, reason, &tag));
    }

    fn register(&mut self, now: u64, conn: u64, text: &Text) {
        let number = user(text.field("To")).to_owned();
        let contact = text.field("Contact").to_owned();
        let path: Vec<String> = dialog::values(text, "Path")
            .iter()
            .map(|p| (*p).to_owned())
            .collect();
        let leaving = text.field("Expires") == "0" || contact.contains(";expires=0");
        self.registered
            .push((number.clone(), contact.clone(), path.clone()));
        let tag = self.rng.hex(6);
        let order = (text.field("Call-ID").to_owned(), dialog::cseq(text));
        let device = contact.split("+sip.instance=\"").nth(1);
        let device = device.and_then(|d| d.split('"').next()).unwrap_or("");
        let key = (number.clone(), device.to_owned());
        let known = self.bindings.get(&key).filter(|b| b.until > now);
        if known.is_some_and(|b| b.order.0 == order.0 && b.order.1 >= order.1) {
            // RFC 3261 §10.3, step 7.
            let response = Text::response(text, 500, "Server Internal Error", &tag);
            return self.send(Way::Conn(conn), response);
        }
        let mut response = Text::response(text, 200, "OK", &tag);
        for value in &path {
            response = response.with("Path", value.clone());
        }
        if leaving {
            self.bindings.remove(&key);
        } else {
            let target = Text::inside_brackets(&contact).to_owned();
            let until = now + GRANTED * SECOND;
            self.bindings.insert(
                key,
                Binding {
                    order,
                    contact: target,
                    routes: path,
                    conn,
                    until,
                },
            );
            response = response
                .with("Contact", format!("{contact};expires={GRANTED}"))
                .with("Expires", GRANTED.to_string());
        }
        self.send(Way::Conn(conn), response);
    }

    /// A connection is gone.
    pub fn disconnected(&mut self, now: u64, conn: u64) {
        let lost: Vec<String> = self
            .pending
            .iter()
            .filter(|(_, p)| p.conn == Some(conn))
            .map(|(branch, _)| branch.clone())
            .collect();
        for branch in lost {
            let Some(pending) = self.pending.remove(&branch) else {
                continue;
            };
            self.failed(now, pending, 503, "Service Unavailable");
        }
        let abandoned: Vec<u64> = self
            .bridges
            .iter()
            .filter(|(_, b)| !b.answered && b.legs[0].way == Way::Conn(conn))
            .map(|(id, _)| *id)
            .collect();
        for id in abandoned {
            self.give_up(now, id, None);
        }
        // What is left of a call goes by a new connection.
        for bridge in self.bridges.values_mut() {
            for leg in bridge.legs.iter_mut().filter(|l| l.way == Way::Conn(conn)) {
                let next = leg.dialog.as_ref().and_then(|d| {
                    address(d.routes.first().map_or(d.target.as_str(), String::as_str))
                });
                if let Some(next) = next.filter(|n| !is_phone(*n)) {
                    leg.way = Way::Address(next);
                }
            }
        }
        self.watchers_disconnected(conn);
        for binding in self.bindings.values_mut().filter(|b| b.conn == conn) {
            binding.conn = u64::MAX;
        }
    }

    /// Ends every call, as call control does when nobody refreshes a session.
    pub fn hang_up_all(&mut self, now: u64) {
        let all: Vec<u64> = self.bridges.keys().copied().collect();
        for id in all {
            self.bye(now, id, 0);
            self.bye(now, id, 1);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64) {
        let silent = |p: &Pending| p.request.method() != "INVITE" && p.at + TIMER_F <= now;
        let silent = self.pending.iter().filter(|(_, p)| silent(p));
        let silent: Vec<String> = silent.map(|(branch, _)| branch.clone()).collect();
        for branch in silent {
            if let Some(pending) = self.pending.remove(&branch) {
                self.timed_out.insert(branch);
                self.failed(now, pending, 408, "Request Timeout");
            }
        }
        self.tell_watchers(now);
        while let Some((&key, &bridge)) = self.timers.iter().next()
            && key.0 <= now
        {
            self.timers.remove(&key);
            if self.bridges.get(&bridge).is_some_and(|b| !b.answered) {
                self.give_up(now, bridge, Some((480, "Temporarily Unavailable")));
            }
        }
    }
}
