//! A telephone: a remote client on TLS with SRTP, or an inside phone on TCP with RTP.
//!
//! In: messages of its one connection, datagrams, time. Out: messages ([`Ua::take`]), datagrams
//! ([`Ua::take_datagrams`]), and what it found to be wrong ([`Ua::findings`]). It follows RFC 3261
//! to the letter, so that what goes wrong around it is not its fault.

mod answers;
mod audio;
mod call;
mod early;
mod messages;
mod moves;
mod registration;
mod requests;
mod session;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use base::Rng;

use crate::dialog;
use crate::digest::Login;
use crate::text::Text;

pub use audio::{FLOOR, Media};
pub use call::{Call, Phase};
pub use messages::Subscription;
pub use registration::{Registration, Standing};

/// Microseconds of a second.
pub const SECOND: u64 = 1_000_000;

/// What a telephone does with a call that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Rings for so many microseconds, then answers.
    Answer(u64),
    /// Refuses with a status.
    Refuse(u16),
    /// Rings until the caller gives up.
    Ring,
}

/// How a telephone goes about its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Provisional responses are reliable, where the caller can do that.
    pub reliable: bool,
    /// Is heard before it answers.
    pub early: bool,
    /// Calls without an offer.
    pub late_offer: bool,
    /// Wants its sessions refreshed.
    pub timer: bool,
    /// Knows no session timers, and wants to hear of none.
    pub ignorant: bool,
    /// Refreshes and changes by UPDATE.
    pub update: bool,
}

/// What its owner decides.
#[derive(Clone, Debug)]
pub struct Setup {
    /// For the trace.
    pub name: String,
    /// Its telephone number.
    pub number: String,
    /// The domain of those it calls.
    pub domain: String,
    /// The domain of its own address.
    pub own_domain: String,
    /// Host and port of its Via and Contact.
    pub host: String,
    /// `TLS` or `TCP`.
    pub transport: &'static str,
    /// Whether its media is encrypted.
    pub encrypted: bool,
    /// Where its media really is.
    pub media: IpAddr,
    /// Where it says its media is: another address behind NAT.
    pub signalled: IpAddr,
    /// How it authenticates.
    pub login: Option<Login>,
    /// Its calls outlive its connection, and go on over the next one (RFC 5626).
    pub keeps: bool,
}

/// A request that was sent.
#[derive(Clone, Debug)]
pub struct Pending {
    /// As it was sent.
    pub request: Text,
    /// The call it belongs to.
    pub call: Option<usize>,
    /// When.
    pub at: u64,
    /// A provisional answer has come.
    pub provisional: bool,
    /// The final answer.
    pub status: Option<u16>,
    /// The connection died before the final answer.
    pub lost: bool,
    /// It carries credentials.
    pub authenticated: bool,
}

/// What happens at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tick {
    Answer(usize),
    Unacked(usize),
    Again(usize),
    Audio(usize),
    Register,
    Renew(usize),
    Session(usize),
    Timeout(String),
}

/// A telephone.
pub struct Ua {
    /// What its owner decided.
    pub setup: Setup,
    /// What it does with calls that come in.
    pub plan: Plan,
    /// How it goes about its calls.
    pub manner: Manner,
    /// Between two packets of audio, in microseconds.
    pub pace: u64,
    /// Every subscription it ever had.
    pub subscriptions: Vec<Subscription>,
    /// Texts sent, answered 200, and received.
    pub texts: [u32; 3],
    /// Speaks on hold as well.
    pub rude: bool,
    /// Shares its screen: there are a second picture and floor control beside its audio.
    pub shares: bool,
    /// Whether its connection stands.
    pub linked: bool,
    deaf: bool,
    /// Every call it ever had.
    pub calls: Vec<Call>,
    /// Calls that it refused at once, which are not among those.
    pub refused: usize,
    /// Its registration.
    pub registration: Registration,
    /// Every request it ever sent, by branch.
    pub pending: BTreeMap<String, Pending>,
    /// What was wrong.
    pub findings: Vec<String>,
    rng: Rng,
    timers: BTreeMap<(u64, u64), Tick>,
    next_timer: u64,
    next_port: u16,
    /// Addresses it had in calls that go on elsewhere.
    left: Vec<SocketAddr>,
    /// It has a new address, and its calls do not know yet.
    moved: bool,
    out: VecDeque<Text>,
    datagrams: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Ua {
    /// One that has done nothing yet.
    pub fn new(setup: Setup, mut rng: Rng) -> Ua {
        Ua {
            registration: Registration::new(&setup, &mut rng),
            setup,
            plan: Plan::Answer(SECOND),
            manner: Manner::default(),
            pace: audio::PACE,
            subscriptions: Vec::new(),
            texts: [0; 3],
            rude: false,
            shares: false,
            linked: false,
            deaf: false,
            calls: Vec::new(),
            refused: 0,
            pending: BTreeMap::new(),
            findings: Vec::new(),
            rng,
            timers: BTreeMap::new(),
            next_timer: 0,
            next_port: 4000,
            left: Vec::new(),
            moved: false,
            out: VecDeque::new(),
            datagrams: VecDeque::new(),
        }
    }

    /// Messages to send, in order.
    pub fn take(&mut self) -> Vec<Text> {
        self.out.drain(..).collect()
    }

    /// Datagrams to send: from, to, bytes.
    pub fn take_datagrams(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        self.datagrams.drain(..).collect()
    }

    /// When [`Ua::tick`] has something to do.
    pub fn next(&self) -> Option<u64> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    fn arm(&mut self, at: u64, tick: Tick) {
        self.next_timer += 1;
        self.timers.insert((at, self.next_timer), tick);
    }

    fn find(&mut self, what: impl Into<String>) {
        let what = format!("{}: {}", self.setup.name, what.into());
        self.findings.push(what);
    }

    /// Its connection stands.
    pub fn connected(&mut self, now: u64) {
        self.linked = true;
        self.deaf = false;
        self.registration_connected(now);
    }

    /// Its connection is gone: requests under way have no answer, and its calls are over, or wait
    /// for the next connection.
    pub fn disconnected(&mut self, now: u64) {
        self.linked = false;
        self.out.clear();
        for pending in self.pending.values_mut().filter(|p| p.status.is_none()) {
            pending.lost = true;
        }
        for i in 0..self.calls.len() {
            let call = &mut self.calls[i];
            call.change = None;
            call.owed = None;
            if !(self.setup.keeps && call.phase == Phase::Up) {
                self.end(i, "connection");
            }
        }
        self.subscriptions_lost();
        self.registration_disconnected(now);
    }

    /// One of several connections is gone: requests that went out on it have no answer, and of
    /// calls only those go with it that had come or gone there and are not answered.
    pub fn way_lost(&mut self, came: &[String], went: &[String]) {
        let lost = |branch: &str, of: &[String]| of.iter().any(|known| known == branch);
        for (branch, pending) in &mut self.pending {
            // A CANCEL has its INVITE's branch.
            let branch = branch.split('/').next().unwrap_or_default();
            if pending.status.is_none() && lost(branch, went) {
                pending.lost = true;
            }
        }
        for i in 0..self.calls.len() {
            let call = &mut self.calls[i];
            let rings = call.phase == Phase::Ringing && lost(dialog::branch(&call.invite), came);
            if lost(&call.branch, went) {
                call.change = None;
            }
            let calls = call.phase == Phase::Calling && lost(&call.branch, went);
            if rings || calls {
                self.end(i, "connection");
            }
        }
    }

    /// Its connection lets nothing through any more, and it does not know.
    pub fn deafen(&mut self) {
        self.deaf = true;
        for pending in self.pending.values_mut().filter(|p| p.status.is_none()) {
            pending.lost = true;
        }
    }

    /// Takes a message.
    pub fn receive(&mut self, now: u64, text: &Text) {
        match text.status() {
            Some(status) => self.response(now, text, status),
            None => self.request(now, text),
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64) {
        while let Some((&key, _)) = self.timers.iter().next()
            && key.0 <= now
            && let Some(tick) = self.timers.remove(&key)
        {
            match tick {
                Tick::Answer(i) => self.answer(now, i),
                Tick::Unacked(i) => self.unacked(now, i),
                Tick::Again(i) => self.again(now, i),
                Tick::Audio(i) => self.speak(now, i),
                Tick::Register => self.register_due(now),
                Tick::Renew(n) => self.renew(now, n),
                Tick::Session(i) => self.session_due(now, i),
                Tick::Timeout(branch) => self.timed_out(now, &branch),
            }
        }
    }

    fn contact(&self) -> String {
        let at = &self.setup;
        let transport = at.transport.to_ascii_lowercase();
        format!(
            "<sip:{}@{};transport={transport}>",
            self.registration.contact, at.host
        )
    }

    /// Sends a request in a transaction of its own; gives the branch.
    fn send(&mut self, now: u64, mut request: Text, call: Option<usize>, auth: bool) -> String {
        let branch = format!("z9hG4bK{}", self.rng.hex(8));
        let via = format!(
            "SIP/2.0/{} {};branch={branch}",
            self.setup.transport, self.setup.host
        );
        request.fields.insert(0, ("Via".into(), via));
        let invite = request.method() == "INVITE";
        if request.method() != "ACK" {
            let pending = Pending {
                request: request.clone(),
                call,
                at: now,
                provisional: false,
                status: None,
                lost: !self.linked || self.deaf,
                authenticated: auth,
            };
            self.pending.insert(branch.clone(), pending);
            let wait = if invite { 200 } else { 32 };
            self.arm(now + wait * SECOND, Tick::Timeout(branch.clone()));
        }
        if self.linked {
            self.out.push_back(request);
        }
        branch
    }

    fn reply(&mut self, response: Text) {
        if self.linked {
            self.out.push_back(response);
        }
    }

    /// A request without an answer (RFC 3261, timers B and F). An INVITE is answered by the
    /// proxy's Timer C at the latest, 180 s after it was sent.
    fn timed_out(&mut self, now: u64, branch: &str) {
        let Some(pending) = self.pending.get_mut(branch) else {
            return;
        };
        if pending.status.is_some() || pending.lost {
            return;
        }
        pending.status = Some(408);
        let (request, call) = (pending.request.clone(), pending.call);
        let at = pending.at;
        let method = request.method().to_owned();
        self.find(format!("no answer to {method} sent at {} us", at));
        match method.as_str() {
            "REGISTER" => self.registration_failed(now, 408, None),
            "INVITE" | "BYE" => {
                if let Some(i) = call {
                    self.end(i, "timeout");
                }
            }
            _ => {
                if let Some(i) = call {
                    self.calls[i].updates = false;
                    self.calls[i].change = None;
                }
            }
        }
    }

    /// What is left open: transactions, calls. Empty once everything has come to an end.
    pub fn leftovers(&self) -> Vec<String> {
        let requests = self
            .pending
            .values()
            .filter(|p| p.status.is_none() && !p.lost);
        let requests = requests.map(|p| {
            let what = format!("{} {}", p.request.method(), p.request.field("Call-ID"));
            format!("{}: {what} never answered", self.setup.name)
        });
        let calls = self
            .calls
            .iter()
            .filter(|c| c.phase != Phase::Over)
            .map(|c| {
                format!(
                    "{}: call with {} is still {:?}",
                    self.setup.name, c.peer, c.phase
                )
            });
        let open = self.subscriptions.iter().filter(|s| !s.over);
        let subscriptions = open.map(|s| {
            let name = &self.setup.name;
            format!("{name}: still watches {}", s.number)
        });
        requests.chain(calls).chain(subscriptions).collect()
    }

    /// The call whose dialog a request belongs to.
    fn call_of(&self, text: &Text) -> Option<usize> {
        self.calls.iter().position(|c| {
            let mut dialogs = c.dialog.iter().chain(&c.early);
            dialogs.any(|d| d.matches(text))
        })
    }

    fn with_credentials(&mut self, now: u64, branch: &str, response: &Text) -> bool {
        let Some(pending) = self.pending.get(branch) else {
            return false;
        };
        let Some(login) = self.setup.login.clone().filter(|_| !pending.authenticated) else {
            return false;
        };
        let (call, mut request) = (pending.call, pending.request.clone());
        let cnonce = self.rng.hex(8);
        let uri = request.uri().to_owned();
        let Some((name, value)) = crate::digest::answer(&login, response, &uri, &cnonce) else {
            return false;
        };
        let method = request.method().to_owned();
        let last = match (method.as_str(), call) {
            ("REGISTER", _) => self.registration.cseq,
            (_, Some(i)) => {
                let dialogs = self.calls[i].dialog.iter().chain(&self.calls[i].early);
                dialogs.map(|d| d.cseq).max().unwrap_or(0)
            }
            (_, None) => self.cseq_outside(&request),
        };
        let cseq = dialog::cseq(&request).max(last) + 1;
        request.fields.retain(|(n, _)| n != "Via" && n != name);
        for (n, v) in &mut request.fields {
            if n == "CSeq" {
                *v = format!("{cseq} {method}");
            }
        }
        let request = request.with(name, value);
        match (method.as_str(), call) {
            ("REGISTER", _) => self.registration.cseq = cseq,
            ("INVITE", Some(i)) if self.calls[i].dialog.is_none() => {
                self.calls[i].invite = request.clone();
            }
            (_, Some(i)) => {
                let call = &mut self.calls[i];
                for dialog in call.dialog.iter_mut().chain(&mut call.early) {
                    dialog.cseq = cseq;
                }
            }
            (_, None) => self.number_outside(&request, cseq),
        }
        let branch = self.send(now, request, call, true);
        if let (Some(i), "INVITE") = (call, method.as_str()) {
            self.calls[i].branch = branch;
        }
        true
    }
}
