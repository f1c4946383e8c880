//! Who is in a call and registers nowhere: a neighbour on a trunk behind the cores, and a host of a
//! foreign domain before the edges.
//!
//! The neighbour dials a core and is dialled by cores, as SIP over TCP has it (RFC 3261 §18), and
//! so do the foreign host and edges: answers go where the requests came from, requests where their
//! first Route leads. The neighbour keeps a connection to a core and is lost with it; the foreign
//! host has connections where something is to be said, and its calls do not mind. In: what
//! their telephones say. Out: the same on the connection that it takes. Bounds: a connection to and
//! from each node.

use node::io::{ConnId, Target};

use super::{Event, World};
use crate::house;
use crate::pipe::Party;
use crate::text::Text;
use crate::ua::{Phase, SECOND, Setup, Ua};

/// How long a node waits for a connection that nobody answers.
const DIAL: u64 = 10 * SECOND;

/// What a host of a foreign domain does when an edge dials it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abroad {
    /// It takes the connection.
    Answers,
    /// Nobody listens there.
    Refuses,
    /// Nothing comes back.
    Vanished,
}

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
        self.add(setup("foreign", house::FOREIGN_NUMBER, abroad, true), None);
        let all = self.people.len();
        self.people[all - 2].core = Some(0);
        self.people[all - 2].stays = true;
        self.schedule(self.now, Event::Connect(all - 2));
        self.people[all - 1].abroad = true;
        let core = |index: usize| (house::core_address(index), 5060).into();
        self.pbx.trunks = (0..self.plan.cores).map(core).collect();
        self.with(all - 1, Ua::connected);
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
        self.dial_node(i, self.core_number(core))
    }

    fn dial_node(&mut self, i: usize, g: usize) -> Option<u64> {
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

    /// An edge dials a server of the foreign domain; gives whether it was one.
    pub(super) fn dialled_abroad(&mut self, g: usize, conn: ConnId, target: &Target) -> bool {
        let at = |address: std::net::Ipv4Addr| target.host == address.to_string();
        let known = at(house::FOREIGN) || at(house::FOREIGN_DEAD);
        let domain = target.tls.as_deref() == Some(house::FOREIGN_DOMAIN) && target.tls_verify;
        if !(known && domain && target.port == 5061 && self.gateways[g].edge) {
            return false;
        }
        let host = self.people.iter().position(|p| p.abroad);
        match (self.abroad, host.filter(|_| at(house::FOREIGN))) {
            (Abroad::Answers, Some(i)) => self.neighbour_dialled(g, conn, i),
            (Abroad::Vanished, _) => self.refuse_dial(g, conn, DIAL, "timed out"),
            _ => {
                let wait = self.delay(super::Hop::Outside);
                self.refuse_dial(g, conn, wait, "connection refused");
            }
        }
        true
    }

    /// The foreign host is not heard of for so long; what had been said stays unanswered.
    pub fn vanish_abroad(&mut self, wait: u64) {
        let Some(i) = self.people.iter().position(|p| p.abroad) else {
            return;
        };
        self.trace.note(self.now, " foreign has vanished");
        self.forgotten = true;
        self.abroad = Abroad::Vanished;
        for pipe in self.people[i].others.clone() {
            self.cut_silently(pipe);
        }
        self.after(wait, move |w| {
            w.abroad = Abroad::Answers;
            w.with(i, Ua::connected);
        });
    }

    /// A connection of the foreign host's is gone. What was asked on it has no answer, and calls
    /// that it answered or asked for on it come to nothing; a call that is up goes on by another.
    pub(super) fn way_lost(&mut self, i: usize, pipe: u64) {
        let person = &mut self.people[i];
        let of = |rows: &std::collections::BTreeMap<String, u64>| -> Vec<String> {
            let here = rows.iter().filter(|(_, by)| **by == pipe);
            here.map(|(branch, _)| branch.clone()).collect()
        };
        let (came, went) = (of(&person.came_by), of(&person.went_by));
        let before = person.ua.calls.iter().filter(|c| c.phase != Phase::Over);
        let before = before.count();
        person.ua.way_lost(&came, &went);
        let after = person.ua.calls.iter().filter(|c| c.phase != Phase::Over);
        self.forgotten |= after.count() != before;
        self.people[i].went_by.retain(|_, by| *by != pipe);
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
            if text.status().is_none() && self.people[i].abroad {
                let branch = crate::dialog::branch(text).to_owned();
                self.people[i].ua.way_lost(&[], &[branch]);
            }
            return;
        };
        if text.status().is_none() && self.people[i].abroad {
            let branch = crate::dialog::branch(text).to_owned();
            self.people[i].went_by.insert(branch, pipe);
        }
        let (end, name) = (self.end_of(pipe, i), self.people[i].ua.setup.name.clone());
        let bytes = self.garnished(pipe, end, text);
        self.note_sip(&name, pipe, end, &bytes);
        self.transmit(pipe, end, &bytes);
    }

    /// A connection to the node that the first Route, or the target, of a request names; of the
    /// foreign host to any edge where they name none.
    fn neighbour_way(&mut self, i: usize, text: &Text) -> Option<u64> {
        let route = crate::dialog::values(text, "Route").first().copied();
        let next = crate::pbx::address(route.unwrap_or(text.uri())).map(|next| next.ip());
        let abroad = self.people[i].abroad;
        let named = self
            .gateways
            .iter()
            .position(|node| match (node.edge, abroad) {
                (true, true) => next == Some(house::edge_outer(&self.plan, node.index)),
                (false, false) => next == Some(house::core_address(node.index)),
                _ => false,
            });
        let edges = self.gateways[..self.plan.edges].iter();
        let mut edges = edges.enumerate().filter(|(_, edge)| edge.engine.is_some());
        let any = edges.find(|_| abroad).map(|(g, _)| g);
        let Some(g) = named.or(any) else {
            return self.people[i].pipe;
        };
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
        let pipe = self.dial_node(i, g)?;
        self.people[i].others.push(pipe);
        Some(pipe)
    }

    /// Whether a telephone that registers nowhere has its connection.
    pub fn neighbour_linked(&self, i: usize) -> bool {
        let ua: &Ua = &self.people[i].ua;
        ua.linked
    }
}
