//! Room for calls: of all, and of one user behind whichever edges.
//!
//! In: INVITEs that want to begin, calls that begin and end. Out: 503 with a time to come back
//! (RFC 3261 §21.5.4), and what is told of it. An edge bounds its users as well; this bounds one
//! that comes by several, or by an edge that does not. Calls between parties inside have no user.
//! A call that grows goes on. Bounds: a row for each user with a call, `calls.per_user_max` calls
//! in it.

use base::{HashMap, Now};
use call::b2bua::CallId;
use call::limits::{CallType, Limit, News};
use call::registration::core::RegistrationId;
use sip::transaction::ServerKey;
use sip::{Message, Name};
use status::Kind;

use super::Core;
use super::calls::{Owner, offered_lines};

/// Calls by user and directory.
pub(super) type Shares = HashMap<(String, Box<str>), Vec<CallId>>;

impl Core {
    /// A call is of a client's.
    pub(super) fn own(&mut self, call: CallId, owner: Owner) {
        let key = (owner.user.clone(), owner.directory.clone());
        self.shares.entry(key).or_default().push(call);
        self.owners.insert(call, owner);
    }

    /// A call is over.
    pub(super) fn disown(&mut self, call: CallId) {
        let Some(owner) = self.owners.remove(&call) else {
            return;
        };
        let key = (owner.user, owner.directory);
        if let Some(calls) = self.shares.get_mut(&key) {
            calls.retain(|c| *c != call);
            if calls.is_empty() {
                self.shares.remove(&key);
            }
        }
    }

    /// Whether the user of a registration may have this call as well.
    pub(super) fn has_share(&self, row: Option<RegistrationId>, message: &Message) -> bool {
        let Some(draft) = row.and_then(|row| Some(&self.registrar.get(row)?.draft)) else {
            return true;
        };
        let key = (draft.user.clone(), draft.directory.clone());
        let Some(calls) = self.shares.get(&key) else {
            return true;
        };
        let streams = calls.iter().filter_map(|call| self.b2bua.streams(*call));
        // Who is asked to offer will have one at least.
        let wanted = offered_lines(message).unwrap_or(1).max(1);
        let limits = &self.settings.limits;
        calls.len() < limits.per_user_max
            && streams.sum::<usize>() + wanted <= limits.media_per_user_max
    }

    pub(super) fn no_share(&mut self, now: Now, key: ServerKey, message: &Message) {
        let limits = &self.settings.limits;
        let proof = [
            ("max", limits.per_user_max.to_string()),
            ("media_max", limits.media_per_user_max.to_string()),
        ];
        let cause = "one user has calls.per_user_max calls, or calls.media_per_user_max streams";
        self.full(now, key, message, cause, &proof);
    }

    /// There are as many calls as there may be: another core may have room (RFC 3261 §21.5.4).
    pub(super) fn no_room(
        &mut self,
        now: Now,
        key: ServerKey,
        message: &Message,
        kind: CallType,
        limit: Limit,
    ) {
        let limits = self.ledger.limits();
        let (cause, max) = match limit {
            Limit::Calls => ("calls.concurrent_max is reached", Some(limits.calls_max)),
            Limit::Licences => ("calls.licences are all in use", limits.licences),
        };
        let proof = [
            ("type", kind.name().to_owned()),
            ("max", max.unwrap_or_default().to_string()),
        ];
        self.full(now, key, message, cause, &proof);
    }

    fn full(
        &mut self,
        now: Now,
        key: ServerKey,
        message: &Message,
        cause: &str,
        proof: &[(&'static str, String)],
    ) {
        let (out, kind) = (&mut self.station.out, Kind::CallsFull);
        self.board.caused(out, kind, now, None, cause, proof);
        let wait = 5 + self.station.rng.below(10);
        let tag = self.station.rng.hex(8);
        let reply = message
            .reply(503, "Service Unavailable", &tag)
            .header(Name::RetryAfter, wait.to_string());
        self.station.respond(now, key, reply.build());
    }

    /// A limit of calls is near, or no longer.
    pub(super) fn limit_news(&mut self, now: Now, news: Option<News>) {
        let Some(news) = news else { return };
        let cause = match news.limit {
            Limit::Calls => "calls.concurrent_max",
            Limit::Licences => "calls.licences",
        };
        let proof = [
            ("used", news.used.to_string()),
            ("max", news.max.to_string()),
        ];
        let kind = if news.near {
            Kind::CallsNear
        } else {
            Kind::CallsFar
        };
        let out = &mut self.station.out;
        self.board.event(out, kind, now, cause, &proof);
    }
}
