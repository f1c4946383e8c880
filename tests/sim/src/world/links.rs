//! The connections a core keeps up to its edges, as the driver does.

use base::Secret;
use node::io::{ConnId, Input};

use super::{Event, Hop, World};
use crate::pipe::Party;
use crate::ua::SECOND;

/// The first pause between attempts, and the longest.
const PAUSE: (u64, u64) = (SECOND / 2, 30 * SECOND);

impl World {
    /// Starts to dial every edge.
    pub(super) fn start_lanes(&mut self, core: usize) {
        let life = self.gateways[core].life;
        for edge in 0..self.plan.edges {
            for lane in 0..=self.plan.lanes {
                let wait = self.rng.below(SECOND / 5);
                self.schedule(
                    self.now + wait,
                    Event::Dial {
                        gateway: core,
                        life,
                        edge,
                        lane,
                    },
                );
            }
        }
        self.schedule(
            self.now + 5 * SECOND,
            Event::Greet {
                gateway: core,
                life,
            },
        );
    }

    pub(super) fn greet(&mut self, g: usize, life: u32) {
        if self.gateways[g].life != life {
            return;
        }
        let now = self.gateways[g].now(self.now).instant;
        self.gateways[g].workers.greet(now);
        self.workers_flush(g);
        self.schedule(self.now + 5 * SECOND, Event::Greet { gateway: g, life });
    }

    fn is_blocked(&self, edge: usize, core: usize) -> bool {
        self.blocked.contains(&(edge, self.gateways[core].index))
    }

    pub(super) fn dial(&mut self, core: usize, life: u32, edge: usize, lane: usize) {
        if self.gateways[core].life != life || self.gateways[core].engine.is_none() {
            return;
        }
        if self.gateways[edge].engine.is_none() || self.is_blocked(edge, core) {
            let wait = if self.is_blocked(edge, core) {
                5 * SECOND
            } else {
                0
            };
            let wait = wait + self.delay(Hop::Link);
            if lane == 0 {
                let conn = ConnId(u64::MAX - edge as u64);
                let why = format!("edge{} cannot be reached", edge + 1);
                let input = Box::new(Input::ControlDown { conn, why });
                self.schedule(
                    self.now + wait,
                    Event::Input {
                        gateway: core,
                        life,
                        input,
                    },
                );
            }
            return self.dial_again(core, edge, lane, wait);
        }
        let (ours, theirs) = (self.gateways[core].number(), self.gateways[edge].number());
        let party = |gateway, conn| match lane {
            0 => Party::Control { gateway, conn },
            _ => Party::Sip { gateway, conn },
        };
        let pipe = self.open([party(core, ours), party(edge, theirs)]);
        let now = self.now;
        let row = self.gateways[core].lanes.entry((edge, lane)).or_default();
        row.pipe = Some(pipe);
        row.since = now;
    }

    /// Dials once more after the pause, which grows.
    fn dial_again(&mut self, core: usize, edge: usize, lane: usize, extra: u64) {
        let life = self.gateways[core].life;
        let now = self.now;
        let row = self.gateways[core].lanes.entry((edge, lane)).or_default();
        if row.pipe.take().is_some() && now - row.since > 60 * SECOND || row.pause == 0 {
            row.pause = PAUSE.0;
        }
        let pause = row.pause;
        row.pause = (pause * 2).min(PAUSE.1);
        let wait = extra + pause + self.rng.below(pause / 2 + 1);
        self.schedule(
            now + wait,
            Event::Dial {
                gateway: core,
                life,
                edge,
                lane,
            },
        );
    }

    /// A connection of a core is gone: if it was a lane, it is dialled again.
    pub(super) fn lane_gone(&mut self, g: usize, pipe: u64) {
        let found = self.gateways[g]
            .lanes
            .iter()
            .find(|(_, l)| l.pipe == Some(pipe));
        if let Some((&(edge, lane), _)) = found {
            self.dial_again(g, edge, lane, 0);
        }
    }

    /// A control connection stands at one end: both ends export the same secrets.
    pub(super) fn control_up(&mut self, g: usize, conn: ConnId, pipe: u64, other: Party) {
        let Some(peer) = other.gateway() else { return };
        // What both ends of one TLS connection export, and nobody else.
        let mut rng = base::Rng::from_number(self.seed.wrapping_mul(1_000_003) ^ pipe);
        let (exported, media_secret) = (Secret::new(rng.array()), Secret::new(rng.array()));
        let remote = match self.gateways[peer].edge {
            true => (crate::house::edge_inner(self.gateways[peer].index), 7001),
            false => (
                crate::house::core_address(self.gateways[peer].index),
                30_000,
            ),
        };
        self.note(
            g,
            &format!("control connection with {}", self.gateways[peer].name),
        );
        let input = Input::ControlUp {
            conn,
            peer: self.gateways[peer].index,
            peer_name: self.fqdn(peer),
            remote: remote.into(),
            exported,
            media_secret,
        };
        self.feed(g, input);
    }

    pub(super) fn control_bytes(&mut self, g: usize, conn: ConnId, bytes: &[u8]) {
        if let Some(control) = self.gateways[g].controls.get_mut(&conn) {
            control.decoder.push(bytes);
        }
        loop {
            let Some(control) = self.gateways[g].controls.get_mut(&conn) else {
                return;
            };
            let (pipe, end) = (control.pipe, control.end);
            match control.decoder.next_message() {
                Ok(None) => return,
                Ok(Some(message)) => self.feed(g, Input::Control { conn, message }),
                Err(_) => return self.hang(pipe, end, "the bytes were no control frame"),
            }
        }
    }

    pub(super) fn fqdn(&self, g: usize) -> String {
        crate::house::fqdn(self.gateways[g].edge, self.gateways[g].index)
    }

    /// Whether the control lane of a link stands at both ends, by the nodes' own account.
    pub fn linked(&self, edge: usize, core: usize) -> bool {
        let up = |g: usize, peer: usize| {
            let node = &self.gateways[g];
            let now = node.now(self.now);
            node.engine.as_ref().is_some_and(|e| {
                let row = e.snapshot(now).links;
                row.get(peer).is_some_and(|l| l.up && l.sip_lanes > 0)
            })
        };
        up(edge, core) && up(self.core_number(core), edge)
    }
}
