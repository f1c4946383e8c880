//! Whose a call is: a client's and nobody's who knows its tags; on whatever edge the client is.
//!
//! In: requests within calls as edges send them. Out: whether they are heard, and where the call
//! goes on. An edge asserts who sent a request; it is believed as far as that one is registered
//! behind it.

use base::Now;
use call::b2bua::{CallId, Side as Leg};
use call::registration::core::{Binding, Draft, aor_of};
use sip::{Message, Method, Name, NameAddr};

use super::Core;

impl Core {
    /// The call of a client that speaks from behind another edge than it did: the edge must assert
    /// an identity that is registered behind it and is the call's. The call goes on there.
    pub(super) fn moved(&mut self, now: Now, peer: usize, message: &Message) -> Option<Leg> {
        let mut sides = self.links.iter().map(|l| Leg::Edge { link: l.id });
        let (side, call) =
            sides.find_map(|side| Some((side, self.b2bua.call_of(side, message)?)))?;
        let owner = self.owners.get(&call)?;
        let place = self
            .asserted(peer, message)
            .find(|b| owner.is(b))
            .map(|b| b.place.clone())?;
        match message.method() {
            // It needs no way back.
            Method::Bye => Some(side),
            _ => self.call_follows(now, call, &place),
        }
    }

    /// An edge says that a call's client was lost there and did not come back. A client that has
    /// registered at another edge meanwhile is behind that one, with its call.
    pub(super) fn client_lost(&mut self, now: Now, peer: usize, call_id: &str, tag: &str) {
        let Some(link) = self.links.get(peer) else {
            return;
        };
        let side = Leg::Edge { link: link.id };
        let (b2bua, mut cx) = self.calls(now);
        b2bua.client_lost(&mut cx, side, call_id.as_bytes(), tag.as_bytes());
        self.calls_work(now);
    }

    /// Whether a call is of or to a foreign domain, and so no client's.
    pub(super) fn is_strangers(&self, call: CallId) -> bool {
        !self.owners.contains_key(&call)
    }

    /// Whether a request in a call of a client behind this edge is that client's: another who is
    /// registered there and knows the call by its tags is not. A client that the edge asserts, and
    /// of whom nothing is known any more, has lost its registration in mid-call.
    pub(super) fn may_speak(&self, call: CallId, peer: usize, message: &Message) -> bool {
        let (Some(owner), Some(aor)) = (self.owners.get(&call), asserted_aor(message)) else {
            return true;
        };
        if owner.has(&aor) {
            return true;
        }
        let mut known = self.asserted(peer, message).peekable();
        known.peek().is_none() || known.any(|b| owner.is(b))
    }

    /// Whether a request in a dialog that is no call is of the registration that the dialog is of:
    /// the edge must assert it, or another of the same user.
    pub(super) fn speaks_for(&self, peer: usize, binding: &Binding, message: &Message) -> bool {
        let own = &binding.draft;
        let is_own = |d: &Draft| {
            let same_user = d.user == own.user && d.directory == own.directory;
            d.aor == own.aor || !own.user.is_empty() && same_user
        };
        self.asserted(peer, message).any(is_own)
    }

    /// The registrations behind an edge of whom it asserts to have sent a request.
    fn asserted<'a>(&'a self, peer: usize, message: &Message) -> impl Iterator<Item = &'a Draft> {
        let aor = asserted_aor(message);
        let rows = self.registrar.iter().map(|(_, b)| &b.draft);
        rows.filter(move |d| d.place.peer == peer && Some(&d.aor) == aor.as_ref())
    }
}

/// The address of record that an edge asserts to have sent a request.
fn asserted_aor(message: &Message) -> Option<String> {
    let asserted = message.values(Name::PAssertedIdentity).next()?;
    let address = NameAddr::parse(asserted)?;
    aor_of(address.uri).map(|(_, aor)| aor)
}
