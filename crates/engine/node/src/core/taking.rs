//! Who may name a call, so that it is taken over, joined or spoken of: Replaces (RFC 3891), Join
//! (RFC 3911), Target-Dialog (RFC 4538), a Refer-To with one of the former, softkeys.
//!
//! RFC 3891 §3 and §7 leave it to the callee whether who knows a call's ids may have it. The ids
//! are no secret: whoever was ever in a call knows them, and traces do. The core speaks for the
//! call here, since it translates the names ([`call::b2bua::B2bua::named_calls`]), and lets only
//! these name a client's call:
//!
//! - the client itself, on any of its devices, and who shares its line: the same user, or the same
//!   address of record;
//! - with an INVITE, the client that a REFER named the call to, which the core itself carried from
//!   inside to it, for [`GRANT`] (RFC 5589 §7: the transferee of an attended transfer);
//! - whatever comes from inside: call control judges for itself.
//!
//! A foreign caller as transferee is not served: a REFER that is carried to it gives it no grant.
//!
//! In: requests of clients, REFERs to clients. Out: whether they go on; what does not is answered
//! 481, as if there were no such call, and told as event 2009. What names no call of ours passes
//! as it is: call control knows it or does not. Bounds: [`GRANTS_MAX`] of such REFERs are
//! remembered, the latest.

use std::collections::VecDeque;
use std::time::Duration;

use base::{Instant, Now, Pii};
use call::b2bua::{CallId, Side as Leg};
use call::registration::core::RegistrationId;
use sip::{Message, Method};
use status::Kind;

use super::Core;
use super::calls::Owner;

/// How long a client may do what a REFER asked of it. It does so at once; a person who is asked
/// first takes longer.
const GRANT: Duration = Duration::from_secs(120);

/// REFERs that are remembered at once.
const GRANTS_MAX: usize = 1_000;

/// Who a client is: a user, if known, at an address of record, on a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) user: String,
    /// The directory that knows the user ([`call::registration::core::Draft::directory`]).
    pub(super) directory: Box<str>,
    pub(super) aor: String,
    /// Its edge, and that one's name for its connection.
    pub(super) flow: (usize, Vec<u8>),
}

impl Who {
    /// Whether both are one user, or share a line. Of whom only a flow is known, since a call came
    /// for it right after a restart, is whoever else is on it.
    fn is(&self, other: &Who) -> bool {
        let same_user = if self.user.is_empty() || other.user.is_empty() {
            self.flow == other.flow
        } else {
            self.user == other.user && self.directory == other.directory
        };
        self.aor == other.aor || same_user
    }
}

/// A client was asked to name a call.
struct Grant {
    call: CallId,
    who: Who,
    until: Instant,
}

/// What clients were asked, the oldest first.
#[derive(Default)]
pub(super) struct Grants(VecDeque<Grant>);

impl Grants {
    fn give(&mut self, now: Instant, call: CallId, who: &Who) {
        self.0.retain(|g| g.call != call || g.who != *who);
        while self.0.front().is_some_and(|g| g.until <= now) || self.0.len() >= GRANTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Grant {
            call,
            who: who.clone(),
            until: now + GRANT,
        });
    }

    fn has(&self, now: Instant, call: CallId, who: &Who) -> bool {
        let mut grants = self.0.iter();
        grants.any(|g| g.call == call && g.until > now && g.who.is(who))
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A call is over: nobody can take it.
    pub(super) fn over(&mut self, call: CallId) {
        self.0.retain(|g| g.call != call);
    }
}

impl Core {
    /// Whether a client may name the calls that its request names; tells of one that may not.
    pub(super) fn may_name(
        &mut self,
        now: Now,
        side: Leg,
        message: &Message,
        who: Option<&Who>,
    ) -> bool {
        let named = self.b2bua.named_calls(side, message);
        let invites = message.method() == Method::Invite;
        let may = |call: &CallId| {
            let Some(who) = who else { return false };
            let own = self.owners.get(call).is_some_and(|o| o.who().is(who));
            own || invites && self.grants.has(now.instant, *call, who)
        };
        if named.iter().all(may) {
            return true;
        }
        let method = String::from_utf8_lossy(message.method_bytes()).into_owned();
        let aor = who.map_or("a foreign domain", |w| w.aor.as_str());
        let call = String::from_utf8_lossy(message.call_id()).into_owned();
        let proof = [
            ("from", Pii::new(aor.to_owned()).to_string()),
            ("method", method),
            ("call", Pii::new(call).to_string()),
        ];
        let cause = "a client names a call of another's, to take it over or join it";
        let out = &mut self.station.out;
        self.board
            .stranger(out, Kind::TakeoverRefused, now, cause, &proof);
        false
    }

    /// A request from inside is carried to a client: what calls a REFER names to it, it may name.
    pub(super) fn carried(&mut self, now: Now, message: &Message, who: Option<Who>) {
        let Some(who) = who.filter(|_| message.method() == Method::Refer) else {
            return;
        };
        for call in self.b2bua.named_calls(Leg::Inside, message) {
            self.grants.give(now.instant, call, &who);
        }
    }

    /// The client of a registration.
    pub(super) fn who(&self, row: RegistrationId) -> Option<Who> {
        let draft = &self.registrar.get(row)?.draft;
        Some(Who {
            user: draft.user.clone(),
            directory: draft.directory.clone(),
            aor: draft.aor.clone(),
            flow: (draft.place.peer, draft.place.token.clone()),
        })
    }

    /// The client whose call it is.
    pub(super) fn whose(&self, call: Option<CallId>) -> Option<Who> {
        self.owners.get(&call?).map(Owner::who)
    }
}
