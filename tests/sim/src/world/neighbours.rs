//! Who is in a call and registers nowhere: a neighbour on a trunk behind the cores, and a host of a
//! foreign domain before the edges.
//!
//! The neighbour dials a core and is dialled by cores, as SIP over TCP has it (RFC 3261 §18): its
//! answers go where the requests came from, its requests where their first Route leads. In: what
//! its telephone says. Out: the same on the connection that it takes. Bounds: a connection to and
//! from each core.

use node::io::{ConnId, Target};

use super::{Event, World};
use crate::house;
use crate::pipe::Party;
use crate::text::Text;
use crate::ua::{Setup, Ua};

impl World {
    pub(super) fn settle_neighbours(&mut self) {
        if !self.plan.neighbours {
            return;
        }
        let (trunk, abroad) = (house::NEIGHBOUR.into(), house::FOREIGN.into());
        let secure = self.plan.secure_trunk;
        let setup = |name: &str, number: &str, media: std::net::IpAddr, outside: bool| Setup {
            name: name.to_owned(),
            number: number.to_owned(),
            domain: house::DOMAIN.to_owned(),
            own_domain: match outside {
                true => house::FOREIGN_DOMAIN.to_owned(),
                false => media.to_string(),
            },
            host: format!("{media}:{}", if outside { 5061 } else { 5060 }),
            transport: if outside { "TLS" } else { "TCP" },
            encrypted: outside || secure,
            media,
            signalled: media,
            login: None,
            keeps: false,
        };
        self.add(setup("trunk", house::TRUNK_NUMBER, trunk, false), None);
        self.add(setup("foreign", "boss", abroad, true), Some(0));
        let all = self.people.len();
        self.people[all - 2].core = Some(0);
        for person in all - 2..all {
            self.people[person].stays = true;
            self.schedule(self.now, Event::Connect(person));
        }
    }

    /// Which end of a connection is a telephone's.
    pub(super) fn end_of(&self, pipe: u64, i: usize) -> usize {
        let row = self.pipes.get(&pipe);
        row.and_then(|p| p.ends.iter().position(|e| *e == Party::Ua(i)))
            .unwrap_or(0)
    }

    /// The neighbour dials its core, or the next one where that is dead.
    pub(super) fn connect_neighbour(&mut self, i: usize) {
        let core = self.people[i].core.unwrap_or(0);
        match self.dial_core(i, core) {
            Some(pipe) => self.people[i].pipe = Some(pipe),
            None => {
                self.people[i].core = Some((core + 1) % self.plan.cores);
                self.connect_again(i);
            }
        }
    }

    fn dial_core(&mut self, i: usize, core: usize) -> Option<u64> {
        let g = self.core_number(core);
        self.gateways[g].engine.as_ref()?;
        let conn = self.gateways[g].number();
        Some(self.open([Party::Ua(i), Party::Sip { gateway: g, conn }]))
    }

    /// The neighbour that a core dials, if it is one.
    pub(super) fn neighbour_at(&self, target: &Target) -> Option<usize> {
        let here = |i: &usize| {
            let person = &self.people[*i];
            person.core.is_some() && person.ua.setup.media.to_string() == target.host
        };
        let found = (0..self.people.len()).find(here)?;
        (target.port == 5060 && target.tls.is_none()).then_some(found)
    }

    pub(super) fn neighbour_dialled(&mut self, g: usize, conn: ConnId, i: usize) {
        let pipe = self.open([Party::Sip { gateway: g, conn }, Party::Ua(i)]);
        self.people[i].others.push(pipe);
    }

    /// A message of the neighbour's, by the way it takes.
    pub(super) fn neighbour_says(&mut self, i: usize, text: &Text) {
        let pipe = match text.status() {
            Some(_) => {
                let branch = crate::dialog::branch(text);
                self.people[i].came_by.get(branch).copied()
            }
            None => self.neighbour_way(i, text),
        };
        let Some(pipe) = pipe.filter(|pipe| self.pipes.contains_key(pipe)) else {
            return;
        };
        let (end, name) = (self.end_of(pipe, i), self.people[i].ua.setup.name.clone());
        let bytes = self.garnished(pipe, end, text);
        self.note_sip(&name, pipe, end, &bytes);
        self.transmit(pipe, end, &bytes);
    }

    /// A connection to the core that the first Route, or the target, of a request names.
    fn neighbour_way(&mut self, i: usize, text: &Text) -> Option<u64> {
        let route = crate::dialog::values(text, "Route").first().copied();
        let next = crate::pbx::address(route.unwrap_or(text.uri()));
        let core = (0..self.plan.cores)
            .find(|core| next.is_some_and(|n| n.ip() == house::core_address(*core)));
        let Some(core) = core else {
            return self.people[i].pipe;
        };
        let g = self.core_number(core);
        let person = &self.people[i];
        let all = person.pipe.iter().chain(&person.others);
        let mut all = all.filter(|pipe| {
            let row = self.pipes.get(*pipe);
            row.is_some_and(|p| {
                p.open[self.end_of(**pipe, i)] && p.ends.iter().any(|e| e.gateway() == Some(g))
            })
        });
        if let Some(pipe) = all.next().copied() {
            return Some(pipe);
        }
        let pipe = self.dial_core(i, core)?;
        self.people[i].others.push(pipe);
        Some(pipe)
    }

    /// Whether a telephone that registers nowhere has its connection.
    pub fn neighbour_linked(&self, i: usize) -> bool {
        let ua: &Ua = &self.people[i].ua;
        ua.linked
    }
}
