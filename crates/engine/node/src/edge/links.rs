//! The cores that may dial this edge, and those that have.

use std::time::Duration;

use base::{Instant, Now, Rng, Secret};
use media::LinkId;
use policy::signed_out::SignedOut;
use sip::FlowId;
use traversal::{Acceptor, Admission, DomainOffer, Event, Fault, Hello, Message, SignOut};

use crate::io::ConnId;

/// SIP connections of one link.
pub(crate) const LANES_MAX: usize = 32;

/// How long the calls of a lost link are kept for its return.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// A core that may link: one of a zone's names.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// How many servers a request may pass from there on.
    pub(crate) hop_count: u8,
    /// The zone's name.
    pub(crate) zone: String,
    /// The name its certificate must show.
    pub(crate) name: String,
    /// The zone's credentials.
    pub(crate) user: String,
    /// The zone's credentials.
    pub(crate) password: Secret<String>,
}

/// The link of one peer.
pub(crate) struct Link {
    pub(crate) peer: Peer,
    pub(crate) id: LinkId,
    control: Option<Control>,
    pub(crate) hello: Option<Box<Hello>>,
    /// SIP connections that have authenticated, oldest first.
    pub(crate) lanes: Vec<FlowId>,
    last_instance: Option<String>,
    /// When the core's process was first seen.
    pub(crate) began: Now,
    pub(crate) http: usize,
    pub(crate) xmpp: usize,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) skew_ms: Option<i64>,
    pub(crate) since: Option<Now>,
    /// Whether the clocks differed at the last measurement.
    pub(crate) skewed: bool,
    /// Whether media frames of the core come in.
    pub(crate) media_up: bool,
    /// Why it is down, in words.
    pub(crate) why: Option<String>,
    /// Zones of call control that it cannot reach.
    pub(crate) dead_zones: Vec<String>,
    /// Users whom it has signed out, by its clock.
    pub(crate) signed_out: SignedOut,
    /// When its calls are given up, while it is down.
    pub(crate) give_up: Option<Instant>,
}

struct Control {
    conn: ConnId,
    acceptor: Acceptor,
    media_secret: Secret<[u8; 64]>,
}

impl Link {
    pub(crate) fn new(index: usize, peer: Peer) -> Self {
        Link {
            peer,
            id: LinkId(index as u32),
            control: None,
            hello: None,
            lanes: Vec::new(),
            last_instance: None,
            began: Now::default(),
            http: 0,
            xmpp: 0,
            round_trip: None,
            skew_ms: None,
            since: None,
            skewed: false,
            media_up: false,
            why: None,
            dead_zones: Vec::new(),
            signed_out: SignedOut::default(),
            give_up: None,
        }
    }

    /// Whether the core is linked.
    pub(crate) fn is_up(&self) -> bool {
        self.hello.is_some()
    }

    /// The SIP connection on which a client's requests go: always the same while the set of them
    /// is, so that an ACK is not overtaken by what follows it.
    pub(crate) fn lane(&self, client: FlowId) -> Option<FlowId> {
        if !self.is_up() || self.lanes.is_empty() {
            return None;
        }
        self.lanes
            .get(client.slot() as usize % self.lanes.len())
            .copied()
    }

    /// Whether the core lets this edge serve the SIP of a domain.
    pub(crate) fn serves_sip(&self, domain: &str) -> bool {
        self.offers()
            .any(|d| d.sip && d.name.as_str().eq_ignore_ascii_case(domain))
    }

    pub(crate) fn offers(&self) -> impl Iterator<Item = &DomainOffer> {
        self.hello.iter().flat_map(|h| h.domains.iter())
    }

    pub(crate) fn media_secret(&self) -> Option<&Secret<[u8; 64]>> {
        self.control.as_ref().map(|c| &c.media_secret)
    }

    pub(crate) fn control_conn(&self) -> Option<ConnId> {
        self.control.as_ref().map(|c| c.conn)
    }

    /// A SIP connection is no longer ours; true if it was.
    pub(crate) fn drop_lane(&mut self, flow: FlowId) -> bool {
        let before = self.lanes.len();
        self.lanes.retain(|f| *f != flow);
        self.lanes.len() != before
    }
}

/// A control connection whose hello is not finished.
pub(crate) struct Candidate {
    control: Control,
}

impl Candidate {
    /// A control connection stands; it takes the place of an older one only once its hello is
    /// good, so that nobody without the password can push a living core out.
    pub(crate) fn greet(
        now: Now,
        rng: &mut Rng,
        conn: ConnId,
        admission: Admission,
        exported: &Secret<[u8; 32]>,
        media_secret: Secret<[u8; 64]>,
    ) -> Candidate {
        let acceptor = Acceptor::new(now, rng, admission, *exported.expose());
        Candidate {
            control: Control {
                conn,
                acceptor,
                media_secret,
            },
        }
    }

    pub(crate) fn acceptor(&mut self) -> &mut Acceptor {
        &mut self.control.acceptor
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.control.acceptor.poll_timeout()
    }
}

/// What a link wants done after it was handled.
#[derive(Default)]
pub(crate) struct Wants {
    pub(crate) send: Vec<(ConnId, Message)>,
    pub(crate) close: Vec<ConnId>,
    pub(crate) happened: Vec<Happened>,
}

/// What happened to a link.
pub(crate) enum Happened {
    /// It came up; the flag says whether the core is another process than before.
    Up { restarted: bool },
    /// What it serves has changed.
    Offers,
    /// The clocks differ, or agree, and did not before.
    Skewed,
    /// It tells of users who were signed out.
    SignOuts(Vec<SignOut>),
    /// It went down.
    Down(Fault),
}

impl Link {
    /// The candidate's hello was good: it is the link now.
    pub(crate) fn promote(&mut self, now: Now, candidate: Candidate, hello: Box<Hello>) -> Wants {
        let mut wants = Wants::default();
        if let Some(old) = self.control.replace(candidate.control) {
            wants.close.push(old.conn);
        }
        let restarted = self
            .hello
            .as_ref()
            .is_some_and(|old| old.instance != hello.instance)
            || self.give_up.is_some() && self.last_instance.as_ref() != Some(&hello.instance);
        if self.last_instance.as_ref() != Some(&hello.instance) {
            self.began = now;
        }
        self.last_instance = Some(hello.instance.clone());
        self.hello = Some(hello);
        self.dead_zones.clear();
        self.since = Some(now);
        self.why = None;
        self.give_up = None;
        wants.happened.push(Happened::Up { restarted });
        wants
    }

    /// Lets the link's control connection work: a message, or time.
    pub(crate) fn work(&mut self, now: Now, message: Option<Message>) -> Wants {
        let mut wants = Wants::default();
        let Some(control) = &mut self.control else {
            return wants;
        };
        match message {
            Some(message) => control.acceptor.handle(now, message),
            None => control.acceptor.handle_timeout(now),
        }
        let conn = control.conn;
        wants.send.extend(
            control
                .acceptor
                .take_messages()
                .into_iter()
                .map(|m| (conn, m)),
        );
        for event in control.acceptor.take_events() {
            match event {
                Event::Domains(domains) => {
                    if let Some(hello) = &mut self.hello {
                        hello.domains = domains;
                    }
                    wants.happened.push(Happened::Offers);
                }
                Event::Zones(dead) => self.dead_zones = dead,
                Event::SignOuts(outs) => wants.happened.push(Happened::SignOuts(outs)),
                Event::Measured {
                    round_trip,
                    skew_ms,
                } => {
                    self.round_trip = Some(round_trip);
                    self.skew_ms = Some(skew_ms);
                    let skewed = traversal::skew_alarm(self.skewed, skew_ms);
                    if skewed != self.skewed {
                        wants.happened.push(Happened::Skewed);
                    }
                    self.skewed = skewed;
                }
                Event::Down(fault) => {
                    wants.close.push(conn);
                    wants.happened.push(Happened::Down(fault));
                }
                Event::CoreUp(_) | Event::EdgeUp(_) | Event::CallLost { .. } => {}
            }
        }
        wants
    }

    /// Tells the core of users who were signed out; what to send.
    pub(crate) fn tell_sign_outs(&mut self, outs: &[SignOut]) -> Vec<(ConnId, Message)> {
        let Some(control) = &mut self.control else {
            return Vec::new();
        };
        control.acceptor.sign_outs(outs);
        let messages = control.acceptor.take_messages().into_iter();
        messages.map(|m| (control.conn, m)).collect()
    }

    /// Tells the core that a client is lost in a call; what to send.
    pub(crate) fn tell_call_lost(&mut self, id: String, tag: String) -> Vec<(ConnId, Message)> {
        let Some(control) = &mut self.control else {
            return Vec::new();
        };
        control.acceptor.call_lost(id, tag);
        let messages = control.acceptor.take_messages().into_iter();
        messages.map(|m| (control.conn, m)).collect()
    }

    /// The control connection is gone.
    pub(crate) fn lost(&mut self, now: Now, why: String) {
        self.control = None;
        self.hello = None;
        self.since = None;
        self.round_trip = None;
        self.skew_ms = None;
        self.skewed = false;
        self.media_up = false;
        self.why = Some(why);
        self.give_up = Some(now.instant + GRACE);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let control = self
            .control
            .as_ref()
            .and_then(|c| c.acceptor.poll_timeout());
        [control, self.give_up].into_iter().flatten().min()
    }
}
