//! The edge's side of a link.

use base::{Instant, Now, Rng, Secret};

use crate::message;
use crate::proof::{self, Exported};
use crate::{
    EdgeServices, Event, Fault, HELLO_TIMEOUT, Hello, Message, Pulse, Refusal, SignOut, VERSION,
    Welcome, ZONES_MAX,
};

/// What the edge demands of the core, and tells it.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The edge's fully qualified name.
    pub node: String,
    /// See [`Welcome::instance`].
    pub instance: String,
    /// The zone's user name.
    pub user: String,
    /// The zone's password.
    pub password: Secret<String>,
    /// The edge's SSH host key, in OpenSSH format.
    pub ssh_host_key: String,
    /// Where clients reach the edge.
    pub services: EdgeServices,
}

enum State {
    Challenged { nonce: String, since: Instant },
    Up(Pulse),
    Down,
}

/// One control connection as the edge sees it.
pub struct Acceptor {
    admission: Admission,
    exported: Exported,
    state: State,
    send: Vec<Message>,
    events: Vec<Event>,
}

impl Acceptor {
    /// Greets a core whose certificate has been checked. `exported` is the connection's
    /// [`crate::EXPORTER_HELLO`] secret.
    pub fn new(now: Now, rng: &mut Rng, admission: Admission, exported: Exported) -> Self {
        let nonce = rng.hex(32);
        let first = Message::Challenge {
            version: VERSION,
            nonce: nonce.clone(),
            clock: now.unix,
        };
        Acceptor {
            admission,
            exported,
            state: State::Challenged {
                nonce,
                since: now.instant,
            },
            send: vec![first],
            events: Vec::new(),
        }
    }

    /// Takes a message from the core.
    pub fn handle(&mut self, now: Now, message: Message) {
        match (&mut self.state, message) {
            (State::Down, _) => {}
            (State::Challenged { nonce, .. }, Message::Hello(hello)) => {
                let nonce = std::mem::take(nonce);
                self.hello(now, &nonce, hello);
            }
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
                    Message::Domains { domains } => self.events.push(Event::Domains(domains)),
                    Message::Zones { mut down } => {
                        down.truncate(ZONES_MAX);
                        self.events.push(Event::Zones(down));
                    }
                    Message::SignOuts { outs } => {
                        let outs = message::sign_outs_heard(outs);
                        self.events.push(Event::SignOuts(outs));
                    }
                    Message::Bye { reason } => self.fall(Fault::Bye(reason)),
                    Message::Unknown => {}
                    other => self.fall(Fault::OutOfTurn(other.name())),
                }
            }
            (_, other) => self.fall(Fault::OutOfTurn(other.name())),
        }
    }

    fn hello(&mut self, now: Now, nonce: &str, hello: Box<Hello>) {
        let a = &self.admission;
        let password = a.password.expose().as_bytes();
        if hello.version != VERSION {
            self.refuse(
                Fault::Version {
                    theirs: hello.version,
                    ours: VERSION,
                },
                "install the same release on edge and core",
            );
        } else if hello.user != a.user
            || !proof::same(
                &hello.proof,
                &proof::core(password, &a.user, nonce, &self.exported),
            )
        {
            self.refuse(
                Fault::Credentials,
                "set the same user and password in the edge's traversal.zone and the core's \
                 traversal.peer",
            );
        } else {
            self.send.push(Message::Welcome(Box::new(Welcome {
                version: VERSION,
                node: a.node.clone(),
                instance: a.instance.clone(),
                proof: proof::edge(password, &a.user, &hello.nonce, &self.exported),
                clock: now.unix,
                ssh_host_key: a.ssh_host_key.clone(),
                services: a.services.clone(),
            })));
            self.state = State::Up(Pulse::new(now.instant));
            self.events.push(Event::CoreUp(hello));
        }
    }

    fn refuse(&mut self, fault: Fault, fix: &str) {
        self.send.push(Message::Refuse(Refusal {
            cause: fault.to_string(),
            fix: fix.to_owned(),
        }));
        self.fall(fault);
    }

    /// Tells the other node of users who were signed out; before the link is up it does nothing.
    pub fn sign_outs(&mut self, outs: &[SignOut]) {
        if matches!(self.state, State::Up(_)) {
            self.send.extend(message::sign_outs(outs));
        }
    }

    /// Tells the core that a client is lost in a call; before the link is up it does nothing.
    pub fn call_lost(&mut self, call_id: String, tag: String) {
        if matches!(self.state, State::Up(_)) {
            self.send.push(Message::CallLost { call_id, tag });
        }
    }

    fn fall(&mut self, fault: Fault) {
        self.state = State::Down;
        self.events.push(Event::Down(fault));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        match &mut self.state {
            State::Challenged { since, .. } if now.instant.since(*since) >= HELLO_TIMEOUT => {
                self.fall(Fault::HelloTimeout);
            }
            State::Up(pulse) => match pulse.beat(now) {
                Ok(ping) => self.send.extend(ping),
                Err(fault) => self.fall(fault),
            },
            State::Challenged { .. } | State::Down => {}
        }
    }

    /// When [`Acceptor::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Challenged { since, .. } => Some(*since + HELLO_TIMEOUT),
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
