//! Users whom an administrator has signed out on a core: their tokens are refused here too, their
//! connections are closed, and the other cores are told, each with the time by its own clock.

use base::{Now, UnixTime};
use policy::signed_out::SignOut;

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
            if !link.signed_out.note(out.clone()) {
                continue;
            }
            fresh.push(out);
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
            self.pass_sign_outs(index, other, &fresh);
        }
        let old = policy::token::LIFE;
        if let Some(link) = self.links.get_mut(index) {
            link.signed_out.forget(now.unix, old * 2);
        }
        if !fresh.is_empty() {
            self.publish();
        }
    }

    /// A core came up: it is told what the others know.
    pub(super) fn pass_all_sign_outs(&mut self, index: usize) {
        for from in (0..self.links.len()).filter(|from| *from != index) {
            let known = self.links.get(from).map(|l| l.signed_out.iter());
            let outs: Vec<SignOut> = known.into_iter().flatten().cloned().collect();
            self.pass_sign_outs(from, index, &outs);
        }
    }

    fn pass_sign_outs(&mut self, from: usize, to: usize, outs: &[SignOut]) {
        let skew = |index: usize| self.links.get(index).and_then(|l| l.skew_ms).unwrap_or(0);
        let later = skew(to).saturating_sub(skew(from));
        let outs = outs.iter().map(|out| traversal::SignOut {
            user: out.user.clone(),
            domain: out.domain.clone(),
            at: UnixTime::from_millis(out.at.as_millis().saturating_add_signed(later)),
            id: out.id,
            flows: Vec::new(),
        });
        let outs: Vec<traversal::SignOut> = outs.collect();
        if outs.is_empty() {
            return;
        }
        let Some(link) = self.links.get_mut(to) else {
            return;
        };
        let messages = link.tell_sign_outs(&outs).into_iter();
        let messages = messages.map(|(conn, message)| Output::Control { conn, message });
        self.station.out.extend(messages);
    }
}
