//! Users whom an administrator has signed out on a core: their tokens are refused here too, their
//! connections are closed, and the other cores are told, each with the time by its own clock. A
//! core that was away is told what the others know; of what their tables, or a message to it, have
//! no room for, it is told the floor below which all is void.

use base::{HashSet, Now, Pii, UnixTime};
use policy::signed_out::{ROWS_MAX, SignOut};

use super::Edge;
use crate::io::Output;

impl Edge {
    /// A core tells of sign-outs.
    pub(super) fn sign_outs(&mut self, now: Now, index: usize, outs: Vec<traversal::SignOut>) {
        let mut fresh = Vec::new();
        for told in outs {
            let Some(link) = self.links.get_mut(index) else {
                return;
            };
            let out = SignOut {
                user: told.user,
                domain: told.domain,
                at: told.at,
                id: told.id,
            };
            if !told.more {
                if !link.signed_out.note(out.clone()) {
                    continue;
                }
                fresh.push(out);
            }
            for token in &told.flows {
                // A core speaks of its own clients alone.
                if let Some(flow) = self.tokens.open(token.as_bytes())
                    && self.routes.get(&flow) == Some(&index)
                {
                    self.station.close(flow);
                }
            }
        }
        for other in (0..self.links.len()).filter(|other| *other != index) {
            let outs = self.by_clock_of(index, other, &fresh);
            self.pass_sign_outs(other, &outs);
        }
        let old = policy::token::LIFE;
        if let Some(link) = self.links.get_mut(index) {
            link.signed_out.forget(now.unix, old * 2);
        }
        if !fresh.is_empty() {
            self.publish();
        }
    }

    /// A core came up: it is told what the others know, of each sign-out once.
    pub(super) fn pass_all_sign_outs(&mut self, index: usize) {
        let (mut told, mut passed) = (HashSet::default(), Vec::new());
        for from in (0..self.links.len()).filter(|from| *from != index) {
            let known = self.links.get(from).map(|l| l.signed_out.records());
            let fresh = known.into_iter().flatten();
            let fresh = fresh.filter(|out| told.insert(out.id));
            let fresh: Vec<SignOut> = fresh.cloned().collect();
            passed.extend(self.by_clock_of(from, index, &fresh));
        }
        let (floors, mut rows): (Vec<_>, Vec<_>) = passed.into_iter().partition(is_floor);
        rows.sort_by_key(|out| std::cmp::Reverse(out.at));
        let dropped = rows.split_off(rows.len().min(ROWS_MAX));
        let below = floors.iter().chain(&dropped).map(|out| out.at).max();
        let floor = below.map(|at| traversal::SignOut {
            user: Pii::new(String::new()),
            domain: String::new(),
            at,
            id: !at.as_millis(),
            flows: Vec::new(),
            more: false,
        });
        // The oldest first, as they came.
        let passed: Vec<_> = floor.into_iter().chain(rows.into_iter().rev()).collect();
        self.pass_sign_outs(index, &passed);
    }

    /// What a core told, by the clock of another one.
    fn by_clock_of(&self, from: usize, to: usize, outs: &[SignOut]) -> Vec<traversal::SignOut> {
        let skew = |index: usize| self.links.get(index).and_then(|l| l.skew_ms).unwrap_or(0);
        let later = skew(to).saturating_sub(skew(from));
        let outs = outs.iter().map(|out| traversal::SignOut {
            user: out.user.clone(),
            domain: out.domain.clone(),
            at: UnixTime::from_millis(out.at.as_millis().saturating_add_signed(later)),
            id: out.id,
            flows: Vec::new(),
            more: false,
        });
        outs.collect()
    }

    fn pass_sign_outs(&mut self, to: usize, outs: &[traversal::SignOut]) {
        let Some(link) = self.links.get_mut(to) else {
            return;
        };
        let messages = link.tell_sign_outs(outs).into_iter();
        let messages = messages.map(|(conn, message)| Output::Control { conn, message });
        self.station.out.extend(messages);
    }
}

fn is_floor(out: &traversal::SignOut) -> bool {
    out.user.expose().is_empty() && out.domain.is_empty()
}
