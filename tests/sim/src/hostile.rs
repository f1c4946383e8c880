//! An edge in an attacker's hands: it holds the zone's password and a good certificate, and says
//! whatever the test wants on its SIP lane.
//!
//! The control lane is the product's own acceptor, since a hostile edge would run just that.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use base::{Instant, Now, Rng, Secret};
use node::Engine;
use node::io::{ConnId, Input, Output, Side};
use sip::Frame;
use traversal::{Acceptor, Admission, EdgeServices, Message, ServiceAddress};

use crate::house;
use crate::text::Text;

/// What the test shares with the edge it has put in place.
#[derive(Default)]
pub struct Strings {
    /// Bytes to send on a lane, at the next chance.
    pub say: VecDeque<Vec<u8>>,
    /// Messages to send on the control lane.
    pub control: VecDeque<Message>,
    /// What the core sent on lanes, but for the link's own OPTIONS.
    pub heard: Vec<Text>,
}

/// The hostile edge.
pub struct HostileEdge {
    strings: Arc<Mutex<Strings>>,
    index: usize,
    rng: Rng,
    acceptor: Option<(ConnId, Acceptor)>,
    lane: Option<ConnId>,
    out: VecDeque<Output>,
}

impl HostileEdge {
    /// One that stands in for the edge of this number.
    pub fn new(index: usize, rng: Rng, strings: Arc<Mutex<Strings>>) -> HostileEdge {
        HostileEdge {
            strings,
            index,
            rng,
            acceptor: None,
            lane: None,
            out: VecDeque::new(),
        }
    }

    fn admission(&self) -> Admission {
        let service = |port| ServiceAddress {
            host: house::fqdn(true, self.index),
            port,
        };
        Admission {
            node: house::fqdn(true, self.index),
            instance: "hostile".into(),
            user: "traversal".into(),
            password: Secret::new("zone password".into()),
            ssh_host_key: "ssh-ed25519 AAAA".into(),
            services: EdgeServices {
                https: service(8443),
                sip: service(5061),
                xmpp: service(5222),
                sip_realm: house::DOMAIN.into(),
                media_address: house::edge_inner(self.index),
                media_port: 36000,
            },
        }
    }

    fn work(&mut self) {
        let Ok(mut strings) = self.strings.lock() else {
            return;
        };
        if let Some((conn, acceptor)) = &mut self.acceptor {
            let conn = *conn;
            let own = acceptor.take_messages();
            for message in own.into_iter().chain(strings.control.drain(..)) {
                self.out.push_back(Output::Control { conn, message });
            }
            acceptor.take_events();
        }
        if let Some(conn) = self.lane {
            for bytes in strings.say.drain(..) {
                self.out.push_back(Output::Send {
                    conn,
                    bytes: bytes.into(),
                });
            }
        }
    }
}

impl Engine for HostileEdge {
    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::ControlUp { conn, exported, .. } => {
                let admission = self.admission();
                let acceptor = Acceptor::new(now, &mut self.rng, admission, *exported.expose());
                self.acceptor = Some((conn, acceptor));
            }
            Input::Control { message, .. } => {
                if let Some((_, acceptor)) = &mut self.acceptor {
                    acceptor.handle(now, message);
                }
            }
            Input::ControlDown { .. } => self.acceptor = None,
            Input::Connected { conn, facts } if matches!(facts.side, Side::Lane { .. }) => {
                self.lane = Some(conn);
            }
            Input::Disconnected { conn, .. } if self.lane == Some(conn) => self.lane = None,
            Input::Frame {
                conn,
                frame: Frame::Message(message),
            } => {
                let Some(text) = Text::take(&mut message.bytes().to_vec()) else {
                    return;
                };
                if text.status().is_none() && text.method() == "OPTIONS" {
                    let bytes = Text::response(&text, 200, "OK", "hostile")
                        .to_bytes()
                        .into();
                    self.out.push_back(Output::Send { conn, bytes });
                } else if let Ok(mut strings) = self.strings.lock() {
                    strings.heard.push(text);
                }
            }
            _ => {}
        }
        self.work();
    }

    fn handle_timeout(&mut self, now: Now) {
        if let Some((_, acceptor)) = &mut self.acceptor {
            acceptor.handle_timeout(now);
        }
        self.work();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.acceptor.as_ref().and_then(|(_, a)| a.poll_timeout())
    }

    fn snapshot(&self, now: Now) -> status::Snapshot {
        status::Snapshot {
            at: now.unix,
            ..status::Snapshot::default()
        }
    }
}
