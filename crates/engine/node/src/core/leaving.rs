//! Registrations that a sign-out ends are taken out at call control, so that it stops ringing them.
//!
//! Each is a REGISTER of the core's own with `expires=0`, over the zone by which the client had
//! registered. They are sent at [`PER_SECOND`], so that the sign-out of a whole domain is no flood,
//! and none is sent for a contact that has registered anew meanwhile. A zone that is away is tried
//! [`TRIES`] times. What call control does not take is told (2013): it rings until that
//! registration runs out. Bounds: [`WAITING_MAX`] wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Map, Now, Pii, TokenBucket};
use call::registration::core::{Draft, RegistrationId};
use sip::Message;
use sip::transaction::ClientKey;
use status::Kind;

use super::Core;

/// Registrations that wait to be taken out.
const WAITING_MAX: usize = 20_000;

/// How many are taken out a second.
const PER_SECOND: u32 = 200;

/// How often a zone is looked for that is away.
const TRIES: u8 = 5;

/// How long between.
const AGAIN: Duration = Duration::from_secs(2);

/// One of them.
struct Leave {
    draft: Draft,
    request: Message,
    tries: u8,
    not_before: Instant,
}

/// All of them.
pub(super) struct Leaving {
    waiting: VecDeque<Leave>,
    /// Those sent, with whose they are and by which zone.
    asked: Map<ClientKey, (Pii<String>, Arc<str>)>,
    pace: TokenBucket,
    pub(super) due: Option<Instant>,
}

impl Leaving {
    pub(super) fn new() -> Self {
        Leaving {
            waiting: VecDeque::new(),
            asked: Map::new(),
            pace: TokenBucket::new(PER_SECOND, PER_SECOND),
            due: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.asked.len()
    }
}

impl Core {
    /// A registration is about to end here: call control is to end it, too.
    pub(super) fn leave_inside(&mut self, now: Now, row: RegistrationId) {
        let Some(draft) = self.registrar.get(row).map(|b| b.draft.clone()) else {
            return;
        };
        let tls = self.zone(&draft.zone).is_some_and(|zone| zone.tls());
        let at = self.settings.inside(tls);
        let rng = &mut self.station.rng;
        let call_id = format!("{}@{}", rng.hex(16), self.settings.fqdn);
        let tag = rng.hex(8);
        let Some(request) = self.registrar.leave(row, &at, &tag, &call_id) else {
            return;
        };
        if self.outs.leaving.waiting.len() >= WAITING_MAX {
            let cause = "too many registrations end at once";
            return self.left_alone(now, &draft.user, &draft.zone, cause);
        }
        self.outs.leaving.waiting.push_back(Leave {
            draft,
            request,
            tries: 0,
            not_before: now.instant,
        });
        self.outs.leaving.due = Some(now.instant);
    }

    /// Sends those whose turn it is.
    pub(super) fn leaving_timeout(&mut self, now: Now) {
        if self.outs.leaving.due.is_none_or(|due| due > now.instant) {
            return;
        }
        self.outs.leaving.due = None;
        while let Some(next) = self.outs.leaving.waiting.front() {
            if next.not_before > now.instant {
                self.outs.leaving.due = Some(next.not_before);
                return;
            }
            if let Err(wait) = self.outs.leaving.pace.take(now.instant) {
                self.outs.leaving.due = Some(now.instant + wait);
                return;
            }
            if let Some(leave) = self.outs.leaving.waiting.pop_front() {
                base::tighten(&mut self.outs.leaving.waiting);
                self.leave_now(now, leave);
            }
        }
    }

    fn leave_now(&mut self, now: Now, mut leave: Leave) {
        // It has registered anew, or is about to.
        if self.registrar.find(&leave.draft).is_some() {
            return;
        }
        let name = leave.draft.zone.clone();
        self.zone_flow(now, &name);
        let zone = self
            .zone(&name)
            .and_then(|z| Some((z.standing()?, z.tls())));
        let Some((flow, tls)) = zone else {
            leave.tries += 1;
            if leave.tries >= TRIES {
                let cause = "it cannot be reached";
                return self.left_alone(now, &leave.draft.user, &name, cause);
            }
            leave.not_before = now.instant + AGAIN;
            return self.outs.leaving.waiting.push_back(leave);
        };
        let via = self.settings.inside_via(tls);
        let transactions = &mut self.station.transactions;
        match transactions.request(now, flow, true, &leave.request, &via) {
            Ok(client) => {
                let user = Pii::new(leave.draft.user);
                self.outs.leaving.asked.insert(client, (user, name));
            }
            Err(_) => self.left_alone(now, &leave.draft.user, &name, "too much is under way"),
        }
    }

    /// A request of the core's own was answered, or was not; gives whether it was one.
    pub(super) fn own_answered(&mut self, now: Now, key: ClientKey, status: Option<u16>) -> bool {
        self.probe_answered(now, key, status) || self.leave_answered(now, key, status)
    }

    /// Call control has answered such a REGISTER, or has not; gives whether it was one.
    fn leave_answered(&mut self, now: Now, client: ClientKey, status: Option<u16>) -> bool {
        if status.is_some_and(|s| s < 200) {
            return self.outs.leaving.asked.contains_key(&client);
        }
        let Some((user, zone)) = self.outs.leaving.asked.remove(&client) else {
            return false;
        };
        let cause = match status {
            // Nothing to end is as good.
            Some(200..=299 | 404 | 410 | 481) => return true,
            Some(status) => format!("it answers {status}"),
            None => "it does not answer".to_owned(),
        };
        self.left_alone(now, user.expose(), &zone, &cause);
        true
    }

    fn left_alone(&mut self, now: Now, user: &str, zone: &str, cause: &str) {
        let proof = [
            ("user", Pii::new(user).to_string()),
            ("zone", zone.to_owned()),
        ];
        let (out, kind) = (&mut self.station.out, Kind::LeaveRefused);
        self.board.warned(out, kind, now, None, cause, &proof);
    }
}
