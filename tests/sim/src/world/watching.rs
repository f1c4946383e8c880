//! Every message is looked at as it leaves its sender, and dressed before it does.

use super::World;
use crate::dialog;
use crate::garnish::garnish;
use crate::pipe::Party;
use crate::text::Text;
use crate::watch::{Place, Who};

impl World {
    fn who_is(&self, party: Party) -> Option<Who> {
        let node = |g: usize| {
            let node = &self.gateways[g];
            (!node.usurped).then(|| Who {
                name: node.name.clone(),
                life: Some(node.life),
                core: !node.edge,
            })
        };
        match party {
            Party::Sip { gateway, .. } | Party::Control { gateway, .. } => node(gateway),
            Party::Stranger => None,
            Party::Ua(_) | Party::Pbx => Some(Who {
                name: self.party_name(party),
                life: None,
                core: false,
            }),
        }
    }

    pub(super) fn watched(&mut self, pipe: u64, end: usize, bytes: &[u8]) {
        let Some(row) = self.pipes.get(&pipe).filter(|row| !row.forged) else {
            return;
        };
        let ends = row.ends;
        if let (Some(from), Some(to)) = (self.who_is(ends[end]), self.who_is(ends[1 - end])) {
            let (place, now) = (Place { pipe, end }, self.now);
            self.watch.message(now, place, &from, &to, bytes);
            // What leaves for nowhere is not answered.
            let row = self.pipes.get(&pipe);
            if row.is_none_or(|row| row.silent || !row.open[0] || !row.open[1]) {
                self.watch.gone(pipe);
            }
        }
    }

    /// Bytes of the test's own on a connection of somebody else's: nothing that is said on it is
    /// held to any rule from now on.
    pub fn forge(&mut self, pipe: u64, end: usize, bytes: &[u8]) {
        if let Some(row) = self.pipes.get_mut(&pipe) {
            row.forged = true;
        }
        self.watch.gone(pipe);
        self.transmit(pipe, end, bytes);
    }

    /// A message of a telephone or of call control as it goes out: with a trace, and with fields
    /// that nobody understands.
    pub(super) fn garnished(&mut self, pipe: u64, end: usize, text: &Text) -> Vec<u8> {
        let trace = self.watch.trace();
        let place = Place { pipe, end };
        let refusal = text.method() == "ACK"
            && self
                .watch
                .asked_here(place, &format!("INVITE {}", dialog::branch(text)));
        let alone = text.status().is_none() && (refusal || text.method() == "CANCEL");
        garnish(&mut self.rng, &text.to_bytes(), trace, alone)
    }
}
