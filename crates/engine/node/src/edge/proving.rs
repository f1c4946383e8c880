//! Requests outside of dialogs on a connection that nobody registered on: a client that has just
//! come here from another edge may have something to say before its next refresh.
//!
//! In: such a request. Out: 407 with our challenges (RFC 3261 §22.3); or, with an answer under a
//! fresh nonce, the request on its way to a core, without an identity of ours. The core checks
//! the digest and that From is an address of record of that user; a wrong one counts as it does
//! in a REGISTER. What is not tried: requests that only dialogs have, and senders without an
//! address. Bounds: those of strangers (`guests`), and of wrong digests (`replies`).

use base::Now;
use sip::nonce::Verdict;
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Name, Uri};

use super::Edge;

/// What only dialogs have.
pub(super) const ONLY_INSIDE: [Method; 4] =
    [Method::Bye, Method::Update, Method::Prack, Method::Info];

impl Edge {
    /// Whether somebody may prove by a request who he is.
    pub(super) fn may_prove(&self, flow: FlowId, message: &Message, inside: bool) -> bool {
        let named = |from: sip::NameAddr<'_>| Uri::parse(from.uri).is_ok_and(|u| u.user.is_some());
        !inside
            && !self.relay.is_known(flow)
            && !ONLY_INSIDE.contains(&message.method())
            && message.from().is_ok_and(named)
    }

    /// Lets a request through that answers a challenge, and challenges any other.
    pub(super) fn prove(&mut self, now: Now, key: ServerKey, flow: FlowId, message: &Message) {
        match self.nonce_of(now, message, Name::ProxyAuthorization) {
            Verdict::Fresh => {}
            Verdict::Stale => return self.challenge(now, key, message, true),
            Verdict::Forged => {
                self.challenge(now, key, message, false);
                return self.refused(now, flow);
            }
        }
        let source = self.station.remote(flow).map(|a| a.ip());
        if let Some(rest) = source.and_then(|ip| self.strikes.banned(now.instant, ip)) {
            return self.later(now, key, message, rest.as_secs() + 1);
        }
        if self.has_failed(now, flow) {
            let (status, reason) = (403, "Wrong Credentials");
            return self.station.answer(now, key, message, status, reason);
        }
        let Some((index, _)) = self.route(flow, message) else {
            self.wait_for_core(now, key, flow, message);
            return;
        };
        self.routes.insert(flow, index);
        self.ask_first_core(key, flow, index);
        self.client_other(now, key, flow, message, false);
    }
}
