//! What goes wrong on purpose.

use node::io::Input;

use super::{Event, Hop, Plan, World};
use crate::house;
use crate::pipe::Party;
use crate::ua::SECOND;

impl World {
    /// Starts a node that is dead.
    pub fn start(&mut self, g: usize) {
        if self.gateways[g].engine.is_some() {
            return;
        }
        self.gateways[g].began = self.now;
        self.note(g, "starts");
        let rng = self.rng.fork();
        let now = self.gateways[g].now(self.now);
        let (index, edge) = (self.gateways[g].index, self.gateways[g].edge);
        let engine = match edge {
            true => house::edge(now, rng, index, &self.plan),
            false => {
                let kept = self.gateways[g].kept.values().cloned().collect();
                house::core(now, rng, index, &self.plan, kept)
            }
        };
        self.gateways[g].engine = Some(engine);
        self.drain(g);
        if !edge {
            self.start_lanes(g);
        }
    }

    /// Puts another engine in a node's place.
    pub fn usurp(&mut self, g: usize, engine: Box<dyn node::Engine>) {
        self.kill(g);
        self.gateways[g].began = self.now;
        self.gateways[g].usurped = true;
        // Its clients find nobody there whom they trust, and go elsewhere.
        for i in 0..self.people.len() {
            if self.people[i].edge == Some(g) {
                self.next_edge(i);
            }
        }
        self.gateways[g].engine = Some(engine);
        self.drain(g);
    }

    /// Makes a node look at the time, though nothing is due.
    pub fn nudge(&mut self, g: usize) {
        let now = self.gateways[g].now(self.now);
        if let Some(engine) = &mut self.gateways[g].engine {
            engine.handle_timeout(now);
        }
        self.drain(g);
    }

    /// SIGKILL: the system closes what the node had open.
    pub fn kill(&mut self, g: usize) {
        self.note(g, "is killed");
        self.forgotten = true;
        let mine: Vec<(u64, usize)> = self
            .pipes
            .iter()
            .filter_map(|(id, p)| {
                let end = p.ends.iter().position(|e| e.gateway() == Some(g))?;
                Some((*id, end))
            })
            .collect();
        self.gateways[g].die();
        for (pipe, end) in mine {
            self.close(pipe, end, "connection reset by peer");
        }
    }

    /// Call control dies, and later comes back without its memory.
    pub fn kill_pbx(&mut self) {
        self.trace.note(self.now, "    cucm is killed");
        self.pbx_down = true;
        self.pbx.forget();
        let mine: Vec<(u64, usize)> = self
            .pipes
            .iter()
            .filter_map(|(id, p)| Some((*id, p.ends.iter().position(|e| *e == Party::Pbx)?)))
            .collect();
        for (pipe, end) in mine {
            self.close(pipe, end, "connection reset by peer");
        }
    }

    /// Call control is back.
    pub fn start_pbx(&mut self) {
        self.trace.note(self.now, "    cucm starts");
        self.pbx_down = false;
    }

    /// Cuts a connection in the middle: both ends are told, soon.
    pub fn cut(&mut self, pipe: u64) {
        let Some(row) = self.pipes.get_mut(&pipe) else {
            return;
        };
        row.silent = true;
        self.watch.gone(pipe);
        for end in [0, 1] {
            let at = self.now + self.rng.below(SECOND);
            self.schedule(
                at,
                Event::Gone {
                    pipe,
                    end,
                    why: "connection reset by peer",
                },
            );
        }
    }

    /// Cuts a connection in the middle, and nobody is told until the system gives up.
    pub fn cut_silently(&mut self, pipe: u64) {
        let Some(row) = self.pipes.get_mut(&pipe) else {
            return;
        };
        row.silent = true;
        let ends = row.ends;
        self.watch.gone(pipe);
        for (end, party) in ends.into_iter().enumerate() {
            if let Party::Ua(i) = party {
                self.people[i].ua.deafen();
            }
            let at = self.now + 20 * SECOND + self.rng.below(60 * SECOND);
            self.schedule(
                at,
                Event::Gone {
                    pipe,
                    end,
                    why: "connection timed out",
                },
            );
        }
    }

    /// A firewall forgets a telephone's connection: neither end knows until it times out.
    pub fn half_open(&mut self, i: usize) {
        if let Some(pipe) = self.people[i].pipe {
            self.note_person(i, "has a connection that is half open");
            self.cut_silently(pipe);
        }
    }

    /// A client's NAT gives the audio of its calls other ports, and tells nobody.
    pub fn rebind(&mut self, i: usize) {
        self.note_person(i, "has other ports from its NAT");
        self.with(i, |ua, now| ua.rebind(now));
    }

    /// A client goes to another network in the middle of everything: its connection is dead, and
    /// it comes back from another address.
    pub fn travel(&mut self, i: usize) {
        let home = crate::house::client_address(&self.plan, i, false);
        let away = self.people[i].ua.setup.media == home;
        let address = crate::house::client_address(&self.plan, i, away);
        self.note_person(i, &format!("moves to {address}"));
        let pipe = self.people[i].pipe;
        if let Some(pipe) = pipe {
            self.cut_silently(pipe);
        }
        self.with(i, |ua, _| ua.travel(address));
        if let Some(pipe) = pipe {
            self.person_disconnected(i, pipe);
        }
    }

    /// An administrator changes a node's settings: those of a plan, with more text at their end.
    pub fn configure(&mut self, g: usize, plan: &Plan, more: &str) {
        self.note(g, "has other settings");
        let (edge, index) = (self.gateways[g].edge, self.gateways[g].index);
        let config = house::configuration(edge, index, plan, more);
        self.feed(g, Input::Configured(config));
    }

    /// A node's wall clock jumps.
    pub fn jump(&mut self, g: usize, ms: i64) {
        self.note(g, &format!("has its clock set by {ms} ms"));
        self.gateways[g].skew_ms += ms;
    }

    fn note_person(&mut self, i: usize, what: &str) {
        let line = format!("{:>8} {what}", self.people[i].ua.setup.name);
        self.trace.note(self.now, &line);
    }

    /// The connections between an edge and a core.
    pub fn lanes_between(&self, edge: usize, core: usize) -> Vec<u64> {
        let core = self.core_number(core);
        let is = |p: Party| p.gateway() == Some(edge) || p.gateway() == Some(core);
        let all = self
            .pipes
            .iter()
            .filter(|(_, p)| is(p.ends[0]) && is(p.ends[1]));
        all.map(|(id, _)| *id).collect()
    }

    /// A firewall between an edge and a core forgets everything and lets nothing through.
    pub fn block(&mut self, edge: usize, core: usize, silently: bool) {
        self.trace.note(
            self.now,
            &format!("   the link edge{} - core{} is cut", edge + 1, core + 1),
        );
        self.blocked.push((edge, core));
        for pipe in self.lanes_between(edge, core) {
            if silently {
                self.cut_silently(pipe)
            } else {
                self.cut(pipe)
            }
        }
    }

    /// It lets things through again.
    pub fn unblock(&mut self, edge: usize, core: usize) {
        self.trace.note(
            self.now,
            &format!("   the link edge{} - core{} is back", edge + 1, core + 1),
        );
        self.blocked.retain(|b| *b != (edge, core));
    }

    /// A stranger opens a connection to an edge's SIP port; gives the pipe, whose first end is
    /// the stranger's.
    pub fn stranger(&mut self, edge: usize) -> u64 {
        let conn = self.gateways[edge].number();
        self.strangers.insert(self.next_pipe, Vec::new());
        self.open([
            Party::Stranger,
            Party::Sip {
                gateway: edge,
                conn,
            },
        ])
    }

    /// How long a message takes at most on a hop.
    pub fn slowest(&self, hop: Hop) -> u64 {
        let weather = self.weather(hop);
        weather.latency + weather.jitter
    }
}
