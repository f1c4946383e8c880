//! Telephones and call control on their connections, and sign-ins.

use std::collections::BTreeMap;

use base::{Pii, Secret};
use node::gate::EdgeGateCore;
use node::io::{Input, Question, Reply, Shown};

use super::{Event, Hop, World};
use crate::digest::Login;
use crate::pbx::Way;
use crate::pipe::Party;
use crate::text::Text;
use crate::ua::{Phase, SECOND, Setup, Ua};
use crate::web::User;
use crate::{house, idp};

/// A telephone and its connection.
pub struct Person {
    /// The telephone.
    pub ua: Ua,
    /// The edge it uses next; `None` for an inside phone.
    pub edge: Option<usize>,
    /// Its connection.
    pub pipe: Option<u64>,
    /// Where requests go that name no other way, of a neighbour: a core.
    pub core: Option<usize>,
    /// It is a host of a foreign domain, and has connections where something is to be said.
    pub abroad: bool,
    /// Connections beside that one: from and to other cores, and dialled by a core.
    pub others: Vec<u64>,
    /// Connect again when the connection is gone.
    pub stays: bool,
    /// Its sign-in that is under way, where it looks after itself.
    pub signing: Option<usize>,
    /// How often in a row it was found refused.
    pub refused: u32,
    /// STUN keep-alives that were answered.
    pub stun_answers: u32,
    /// Where requests came from that are not answered yet, by branch.
    pub(super) came_by: BTreeMap<String, u64>,
    /// Where requests of the foreign host's went, by branch.
    pub(super) went_by: BTreeMap<String, u64>,
    buffers: BTreeMap<u64, Vec<u8>>,
    armed: Option<u64>,
}

/// A sign-in over HTTPS.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Who.
    pub person: usize,
    /// The answer as the client got it.
    pub reply: Option<Reply>,
}

impl Person {
    /// Whether it registers nowhere.
    fn is_neighbour(&self) -> bool {
        self.core.is_some() || self.abroad
    }
}

fn plain(status: u16) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: String::new(),
    }
}

impl World {
    pub(super) fn settle_people(&mut self) {
        for i in 0..self.plan.clients {
            let name = house::client(i);
            let real = house::client_address(&self.plan, i, false);
            let behind_nat = self.plan.nat && !self.plan.v6 && i % 2 == 1;
            let said = if behind_nat {
                [192, 168, 1, 10 + i as u8].into()
            } else {
                real
            };
            let setup = Setup {
                name: name.clone(),
                number: format!("10{:02}", if self.plan.twins { i - i % 2 } else { i } + 1),
                domain: house::CLUSTER.to_owned(),
                host: std::net::SocketAddr::new(said, 5061).to_string(),
                transport: "TLS",
                encrypted: true,
                media: real,
                signalled: said,
                login: Some(Login {
                    user: name.clone(),
                    password: format!("{name} pw"),
                    modern: i % 3 == 2,
                }),
                keeps: self.plan.keeps,
                own_domain: house::CLUSTER.to_owned(),
            };
            let user = User {
                password: format!("{name} pw"),
                number: setup.number.clone(),
            };
            self.web.users.insert(name, user);
            self.add(setup, Some(i % self.plan.edges));
        }
        for i in 0..self.plan.phones {
            let at: std::net::IpAddr = [10, 0, 0, 100 + i as u8].into();
            let setup = Setup {
                name: format!("phone{}", i + 1),
                number: format!("11{:02}", i + 1),
                domain: house::CLUSTER.to_owned(),
                host: format!("{at}:5060"),
                transport: "TCP",
                encrypted: false,
                media: at,
                signalled: at,
                login: None,
                keeps: false,
                own_domain: house::CLUSTER.to_owned(),
            };
            self.add(setup, None);
            let person = self.people.len() - 1;
            self.people[person].stays = true;
            self.people[person].ua.registration.wanted = true;
            self.schedule(self.now, Event::Connect(person));
        }
    }

    pub(super) fn add(&mut self, setup: Setup, edge: Option<usize>) {
        let ua = Ua::new(setup, self.rng.fork());
        let person = Person {
            ua,
            edge,
            pipe: None,
            core: None,
            abroad: false,
            others: Vec::new(),
            stays: false,
            signing: None,
            refused: 0,
            stun_answers: 0,
            came_by: BTreeMap::new(),
            went_by: BTreeMap::new(),
            buffers: BTreeMap::new(),
            armed: None,
        };
        self.people.push(person);
    }

    /// The telephone with this name.
    ///
    /// # Panics
    /// If there is none: a fault of the test.
    pub fn who(&self, name: &str) -> usize {
        let found = self.people.iter().position(|p| p.ua.setup.name == name);
        found.unwrap_or_else(|| panic!("nobody is called {name}"))
    }

    /// Does something with a telephone, and sends what it wants to send.
    pub fn with<T>(&mut self, person: usize, action: impl FnOnce(&mut Ua, u64) -> T) -> T {
        let now = self.now;
        let out = action(&mut self.people[person].ua, now);
        self.person_flush(person);
        out
    }

    /// Opens a telephone's connection, if it has none.
    pub fn connect(&mut self, i: usize) {
        if self.people[i].pipe.is_some() || self.people[i].abroad {
            return;
        }
        if self.people[i].core.is_some() {
            return self.connect_neighbour(i);
        }
        let far = match self.people[i].edge {
            None if !self.pbx_down => Some(Party::Pbx),
            Some(edge) if self.gateways[edge].engine.is_some() => {
                let conn = self.gateways[edge].number();
                Some(Party::Sip {
                    gateway: edge,
                    conn,
                })
            }
            _ => None,
        };
        match far {
            Some(far) => self.people[i].pipe = Some(self.open([Party::Ua(i), far])),
            None => self.connect_again(i),
        }
    }

    /// Tries again in a while, at the next edge.
    pub(super) fn connect_again(&mut self, i: usize) {
        if !self.people[i].stays {
            return;
        }
        // An edge that is there is tried again before another one.
        if let Some(edge) = self.people[i].edge
            && self.gateways[edge].engine.is_none()
        {
            self.next_edge(i);
        }
        let wait = SECOND + self.rng.below(2 * SECOND);
        self.schedule(self.now + wait, Event::Connect(i));
    }

    /// A client takes the next edge from its next connection on.
    pub fn next_edge(&mut self, i: usize) {
        let edges = self.plan.edges;
        if let Some(edge) = &mut self.people[i].edge {
            *edge = (*edge + 1) % edges;
        }
    }

    pub(super) fn person_connected(&mut self, i: usize, pipe: u64) {
        if self.people[i].pipe == Some(pipe) {
            self.people[i].buffers.clear();
            self.with(i, Ua::connected);
        }
    }

    pub(super) fn person_disconnected(&mut self, i: usize, pipe: u64) {
        self.people[i].others.retain(|other| *other != pipe);
        if self.people[i].abroad {
            self.way_lost(i, pipe);
        }
        self.people[i].came_by.retain(|_, by| *by != pipe);
        self.people[i].buffers.remove(&pipe);
        if self.people[i].pipe == Some(pipe) {
            self.people[i].pipe = None;
            // Nobody will say a word for it: its calls are ended by whoever is left.
            self.forgotten |= self.people[i]
                .ua
                .calls
                .iter()
                .any(|c| c.phase != Phase::Over);
            self.trace.note(
                self.now,
                &format!("{:>8} lost its connection", self.people[i].ua.setup.name),
            );
            self.with(i, Ua::disconnected);
            self.connect_again(i);
        }
    }

    /// A telephone closes its connection.
    pub fn disconnect(&mut self, i: usize) {
        if let Some(pipe) = self.people[i].pipe {
            self.close(pipe, 0, "closed by the client");
            self.person_disconnected(i, pipe);
        }
        for pipe in self.people[i].others.clone() {
            let end = self.end_of(pipe, i);
            self.close(pipe, end, "closed by the neighbour");
            self.person_disconnected(i, pipe);
        }
    }

    pub(super) fn person_bytes(&mut self, i: usize, pipe: u64, bytes: &[u8]) {
        let person = &mut self.people[i];
        let buffer = person.buffers.entry(pipe).or_default();
        buffer.extend_from_slice(bytes);
        // A Binding response stands between messages (RFC 5626 §3.5.2).
        while buffer.starts_with(&[1, 1]) && buffer.len() >= 20 {
            let length = u16::from_be_bytes([buffer[2], buffer[3]]);
            let length = 20 + usize::from(length);
            if buffer.len() < length {
                return;
            }
            buffer.drain(..length);
            person.stun_answers += 1;
        }
        if buffer.first() == Some(&1) {
            return;
        }
        while let Some(text) = self.people[i].buffers.get_mut(&pipe).and_then(Text::take) {
            let now = self.now;
            if text.status().is_none() && self.people[i].is_neighbour() {
                let branch = crate::dialog::branch(&text).to_owned();
                self.people[i].came_by.insert(branch, pipe);
            }
            self.people[i].ua.receive(now, &text);
            self.person_flush(i);
        }
    }

    /// A telephone asks whether its way stands; gives whether it hears that it does, in time for
    /// a foul network.
    pub fn asks_by_stun(&mut self, i: usize) -> bool {
        let Some(pipe) = self.people[i].pipe else {
            return false;
        };
        let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[i as u8; 12]].concat();
        let before = self.people[i].stun_answers;
        self.transmit(pipe, 0, &request);
        self.run_until(12 * SECOND, |w| w.people[i].stun_answers > before)
    }

    pub(super) fn person_due(&mut self, i: usize) {
        let now = self.now;
        if self.people[i].armed == Some(now) {
            self.people[i].armed = None;
        }
        self.with(i, Ua::tick);
    }

    fn person_flush(&mut self, i: usize) {
        let messages = self.people[i].ua.take();
        let datagrams = self.people[i].ua.take_datagrams();
        if self.people[i].is_neighbour() {
            for text in messages {
                self.neighbour_says(i, &text);
            }
        } else if let Some(pipe) = self.people[i].pipe {
            let name = self.people[i].ua.setup.name.clone();
            for text in messages {
                let bytes = self.garnished(pipe, 0, &text);
                self.note_sip(&name, pipe, 0, &bytes);
                self.transmit(pipe, 0, &bytes);
            }
        }
        for (from, to, bytes) in datagrams {
            self.throw(from, to, bytes);
        }
        let next = self.people[i].ua.next();
        if let Some(at) = next
            && self.people[i]
                .armed
                .is_none_or(|armed| armed > at || armed < self.now)
        {
            self.people[i].armed = Some(at.max(self.now));
            self.schedule(at, Event::Person(i));
        }
    }

    // ---- call control ----

    pub(super) fn pbx_bytes(&mut self, pipe: u64, bytes: &[u8]) {
        let buffer = self.pbx_buffers.entry(pipe).or_default();
        buffer.extend_from_slice(bytes);
        while let Some(text) = self.pbx_buffers.get_mut(&pipe).and_then(Text::take) {
            self.pbx.receive(self.now, pipe, &text);
            self.pbx_flush();
        }
    }

    /// Call control ends every call, as it does when nobody refreshes a session.
    pub fn call_control_hangs_up(&mut self) {
        self.pbx.hang_up_all(self.now);
        self.pbx_flush();
    }

    pub(super) fn pbx_due(&mut self) {
        if self.pbx_armed == Some(self.now) {
            self.pbx_armed = None;
        }
        self.pbx.tick(self.now);
        self.pbx_flush();
    }

    pub(super) fn pbx_flush(&mut self) {
        let mut lost: Vec<String> = Vec::new();
        for (way, text) in self.pbx.take() {
            let Some((pipe, end)) = self.pbx_way(way) else {
                if text.status().is_none() {
                    lost.push(crate::dialog::branch(&text).to_owned());
                }
                continue;
            };
            if text.status().is_none() && text.method() != "ACK" && text.method() != "CANCEL" {
                let branch = crate::dialog::branch(&text).to_owned();
                self.pbx.went(&branch, pipe);
            }
            let bytes = self.garnished(pipe, end, &text);
            self.note_sip("cucm", pipe, end, &bytes);
            self.transmit(pipe, end, &bytes);
        }
        if !lost.is_empty() {
            for branch in lost {
                self.pbx.unsent(self.now, &branch);
            }
            return self.pbx_flush();
        }
        if let Some(at) = self.pbx.next()
            && self
                .pbx_armed
                .is_none_or(|armed| armed > at || armed < self.now)
        {
            self.pbx_armed = Some(at.max(self.now));
            self.schedule(at, Event::Pbx);
        }
    }

    /// The connection a message of call control takes, and its end of it.
    fn pbx_way(&mut self, way: Way) -> Option<(u64, usize)> {
        let address = match way {
            Way::Conn(pipe) => {
                let row = self.pipes.get(&pipe)?;
                let end = row.ends.iter().position(|p| *p == Party::Pbx)?;
                return Some((pipe, end));
            }
            Way::Address(address) => address,
        };
        let to = |p: &Party| {
            p.gateway().is_some_and(|g| {
                !self.gateways[g].edge
                    && house::core_address(self.gateways[g].index) == address.ip()
            })
        };
        let standing = self
            .pipes
            .iter()
            .find(|(_, p)| p.ends[0] == Party::Pbx && p.open[0] && to(&p.ends[1]));
        if let Some((&pipe, _)) = standing {
            return Some((pipe, 0));
        }
        let core = (0..self.gateways.len()).find(|g| {
            let node = &self.gateways[*g];
            !node.edge && house::core_address(node.index) == address.ip()
        });
        let Some(core) = core.filter(|_| address.port() == 5060) else {
            self.findings
                .push(format!("call control is to send to {address}"));
            return None;
        };
        let party = match self.gateways[core].engine {
            Some(_) => {
                let conn = self.gateways[core].number();
                Party::Sip {
                    gateway: core,
                    conn,
                }
            }
            None => Party::Stranger,
        };
        let dead = party == Party::Stranger;
        let pipe = self.open([Party::Pbx, party]);
        if dead {
            // Nobody listens: the dialling end is refused.
            self.close(pipe, 1, "connection refused");
        }
        Some((pipe, 0))
    }

    // ---- sign-in ----

    /// A client asks for `get_edge_config` with its password, or another one.
    pub fn sign_in(&mut self, i: usize, password: Option<&str>) -> usize {
        let number = self.sign_ins.len();
        self.sign_ins.push(SignIn {
            person: i,
            reply: None,
        });
        let login = self.people[i].ua.setup.login.clone();
        let user = login
            .as_ref()
            .map_or("nobody", |l| l.user.as_str())
            .to_owned();
        let own = login.as_ref().map_or("", |l| l.password.as_str());
        let password = password.unwrap_or(own).to_owned();
        let edge = self.people[i].edge.unwrap_or(0);
        let wait = self.delay(Hop::Outside);
        self.after(wait, move |w| {
            w.sign_in_at_edge(number, edge, user, password)
        });
        // A client's patience.
        self.after(40 * SECOND, move |w| w.sign_ins[number].answer(plain(504)));
        number
    }

    fn sign_in_at_edge(&mut self, number: usize, edge: usize, user: String, password: String) {
        let gate = self.gateways[edge].gate.clone();
        let core = gate.and_then(|g| g.serving(house::DOMAIN).next().map(|c| c.peer));
        let Some(core) = core.filter(|_| self.gateways[edge].engine.is_some()) else {
            return self.sign_ins[number].answer(plain(502));
        };
        let g = self.core_number(core);
        let wait = self.delay(Hop::Link);
        self.after(wait, move |w| {
            if w.gateways[g].engine.is_none() {
                return w.sign_ins[number].answer(plain(502));
            }
            let id = w.gateways[g].ask(number);
            let person = w.sign_ins[number].person;
            let question = Question::SignIn(node::io::SignIn {
                peer: edge,
                client: Some(w.people[person].ua.setup.media),
                domain: house::DOMAIN.to_owned(),
                user: Pii::new(user),
                password: Secret::new(password),
                target: "get_edge_config?service_name=_cisco-uds&service_name=_cuplogin".into(),
                user_agent: "sim".into(),
            });
            w.feed(g, Input::Ask { id, question });
        });
    }

    /// A browser's request of single sign-on, at an edge.
    pub fn browse(&mut self, edge: usize, target: &str, cookie: &str, token: &str) -> usize {
        let number = self.sign_ins.len();
        self.sign_ins.push(SignIn {
            person: 0,
            reply: None,
        });
        let asked = node::io::SsoRequest {
            peer: edge,
            client: Some(self.people[0].ua.setup.media),
            domain: idp::DOMAIN.to_owned(),
            target: target.to_owned(),
            form: None,
            cookie: Some(cookie.to_owned()),
            shown: match token {
                "" => Shown::Nothing,
                token => Shown::Sessions(vec![token.to_owned()]),
            },
            user_agent: "sim".into(),
        };
        let now = self.gateways[edge].now(self.now).unix;
        let gate = self.gateways[edge].gate.clone();
        let core = gate.and_then(|gate| {
            let path = target.split('?').next().unwrap_or_default();
            let issued = |core: &EdgeGateCore| core.token_key.verify(now, token).is_ok();
            let cores = gate.answering(idp::DOMAIN, path, Some(cookie), issued);
            cores.first().map(|core| core.peer)
        });
        let Some(core) = core.filter(|_| self.gateways[edge].engine.is_some()) else {
            self.sign_ins[number].answer(plain(502));
            return number;
        };
        let g = self.core_number(core);
        let wait = self.delay(Hop::Outside) + self.delay(Hop::Link);
        self.after(wait, move |w| {
            let id = w.gateways[g].ask(number);
            let question = Question::Sso(Box::new(asked));
            w.feed(g, Input::Ask { id, question });
        });
        number
    }

    pub(super) fn signed_in(&mut self, number: usize, reply: Reply) {
        let wait = self.delay(Hop::Link) + self.delay(Hop::Outside);
        self.after(wait, move |w| w.sign_ins[number].answer(reply));
    }
}

impl SignIn {
    fn answer(&mut self, reply: Reply) {
        self.reply.get_or_insert(reply);
    }
}
