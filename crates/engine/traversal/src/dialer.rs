//! The core's side of a link.

use base::{Instant, Now, Rng, Secret};

use crate::message;
use crate::proof::{self, Exported};
use crate::{
    DomainOffer, Event, Fault, HELLO_TIMEOUT, Hello, Message, Pulse, SignOut, VERSION, Welcome,
    ZONES_MAX,
};

enum State {
    Waiting { since: Instant },
    Greeted { since: Instant },
    Up(Pulse),
    Down,
}

/// One control connection as the core sees it.
pub struct Dialer {
    hello: Hello,
    password: Secret<String>,
    exported: Exported,
    state: State,
    send: Vec<Message>,
    events: Vec<Event>,
}

impl Dialer {
    /// Begins on a connection whose certificate has been checked. `hello` needs no proof, nonce
    /// or clock yet; `exported` is the connection's [`crate::EXPORTER_HELLO`] secret.
    pub fn new(
        now: Now,
        rng: &mut Rng,
        hello: Hello,
        password: Secret<String>,
        exported: Exported,
    ) -> Self {
        Dialer {
            hello: Hello {
                nonce: rng.hex(32),
                version: VERSION,
                ..hello
            },
            password,
            exported,
            state: State::Waiting { since: now.instant },
            send: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Takes a message from the edge.
    pub fn handle(&mut self, now: Now, message: Message) {
        match (&mut self.state, message) {
            (State::Down, _) => {}
            (State::Waiting { since }, Message::Challenge { version, nonce, .. }) => {
                let since = *since;
                if version != VERSION {
                    return self.fall(Fault::Version {
                        theirs: version,
                        ours: VERSION,
                    });
                }
                let password = self.password.expose().as_bytes();
                self.hello.proof = proof::core(password, &self.hello.user, &nonce, &self.exported);
                self.hello.clock = now.unix;
                self.send.push(Message::Hello(Box::new(self.hello.clone())));
                self.state = State::Greeted { since };
            }
            (State::Greeted { .. }, Message::Welcome(welcome)) => self.welcome(now, welcome),
            (State::Greeted { .. }, Message::Refuse(why)) => self.fall(Fault::Refused(why)),
            (State::Up(pulse), message) => {
                pulse.heard(now.instant);
                match message {
                    Message::Ping { sequence, .. } => {
                        self.send.push(Message::Pong {
                            sequence,
                            clock: now.unix,
                        });
                    }
                    Message::Pong { sequence, clock } => {
                        self.events.extend(pulse.pong(now, sequence, clock));
                    }
                    Message::SignOuts { outs } => {
                        let outs = message::sign_outs_heard(outs);
                        self.events.push(Event::SignOuts(outs));
                    }
                    Message::CallLost { call_id, tag } => {
                        self.events.push(Event::CallLost { call_id, tag });
                    }
                    Message::Bye { reason } => self.fall(Fault::Bye(reason)),
                    Message::Unknown => {}
                    other => self.fall(Fault::OutOfTurn(other.name())),
                }
            }
            (_, other) => self.fall(Fault::OutOfTurn(other.name())),
        }
    }

    fn welcome(&mut self, now: Now, welcome: Box<Welcome>) {
        let (password, nonce) = (self.password.expose().as_bytes(), &self.hello.nonce);
        let want = proof::edge(password, &self.hello.user, nonce, &self.exported);
        if !proof::same(&welcome.proof, &want) {
            return self.fall(Fault::Credentials);
        }
        self.state = State::Up(Pulse::new(now.instant));
        self.events.push(Event::EdgeUp(welcome));
    }

    /// Tells the edge what it may serve from now on.
    pub fn offer(&mut self, domains: Vec<DomainOffer>) {
        if matches!(self.state, State::Up(_)) {
            self.send.push(Message::Domains {
                domains: domains.clone(),
            });
        }
        self.hello.domains = domains;
    }

    /// Tells the edge which zones of call control cannot be reached; before the link is up it does
    /// nothing.
    pub fn zones(&mut self, down: &[String]) {
        if matches!(self.state, State::Up(_)) {
            let down = down.iter().take(ZONES_MAX).cloned().collect();
            self.send.push(Message::Zones { down });
        }
    }

    /// Tells the other node of users who were signed out; before the link is up it does nothing.
    pub fn sign_outs(&mut self, outs: &[SignOut]) {
        if matches!(self.state, State::Up(_)) {
            self.send.extend(message::sign_outs(outs));
        }
    }

    fn fall(&mut self, fault: Fault) {
        self.state = State::Down;
        self.events.push(Event::Down(fault));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        match &mut self.state {
            State::Waiting { since } | State::Greeted { since }
                if now.instant.since(*since) >= HELLO_TIMEOUT =>
            {
                self.fall(Fault::HelloTimeout);
            }
            State::Up(pulse) => match pulse.beat(now) {
                Ok(ping) => self.send.extend(ping),
                Err(fault) => self.fall(fault),
            },
            State::Waiting { .. } | State::Greeted { .. } | State::Down => {}
        }
    }

    /// When [`Dialer::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { since } | State::Greeted { since } => Some(*since + HELLO_TIMEOUT),
            State::Up(pulse) => Some(pulse.next()),
            State::Down => None,
        }
    }

    /// Messages to send, in order.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.send)
    }

    /// What happened, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
