//! Calls of foreign domains, which an edge brings unauthenticated (`[business]` there).
//!
//! The edge marks such an INVITE in its Record-Route. The mark gives nothing: what bears it has no
//! registration, no identity and no credentials, and goes where search rules lead requests of the
//! [`DEFAULT_ZONE`], which by default is nowhere. Only a new INVITE may bear it; what follows in
//! the dialog is the B2BUA's.

use base::{Now, Pii};
use config::routing::DEFAULT_ZONE;
use policy::search::Asker;
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Name, NameAddr, Uri};
use status::Kind;

use super::Core;
use super::outbound::Purpose;
use super::registrations::host_of;
use super::routing::unprivileged;
use super::search::alias_of;

/// The parameter of an edge's Record-Route that says so.
pub(crate) const MARK: &[u8] = b"business";

impl Core {
    /// Whether an edge says that a request is a foreign domain's.
    pub(super) fn is_business(&self, message: &Message) -> bool {
        let recorded = message.values(Name::RecordRoute).next();
        let marked = recorded
            .and_then(NameAddr::parse)
            .and_then(|address| Uri::parse(address.uri).ok())
            .is_some_and(|uri| uri.params.get(MARK).is_some());
        marked && message.method() == Method::Invite
    }

    /// A foreign domain calls.
    pub(super) fn business(
        &mut self,
        now: Now,
        key: ServerKey,
        lane: FlowId,
        peer: usize,
        message: Message,
    ) {
        if let Err((status, reason)) = self.may_go_to(now, &message) {
            return self.station.answer(now, key, &message, status, reason);
        }
        let Some(link) = self.links.get(peer).map(|l| l.id) else {
            return;
        };
        let from = message.from().ok().and_then(|from| host_of(from.uri));
        if from.is_none_or(|host| self.is_home(&host) || self.settings.is_us(&host)) {
            let from = message.from().map(|f| f.uri.to_vec()).unwrap_or_default();
            let proof = [("from", Pii::new(String::from_utf8_lossy(&from)).to_string())];
            let cause = "a foreign host calls under an address of a served domain";
            let (out, kind) = (&mut self.station.out, Kind::FromRefused);
            self.board.stranger(out, kind, now, cause, &proof);
            return self
                .station
                .answer(now, key, &message, 403, "From Is Not Yours");
        }
        let Some(alias) = alias_of(message.request_uri()) else {
            let (status, reason) = (416, "Unsupported URI Scheme");
            return self.station.answer(now, key, &message, status, reason);
        };
        let asker = Asker {
            zone: DEFAULT_ZONE,
            local: false,
            authenticated: false,
        };
        let hops = self.hops(&self.plan.search(&alias, &asker));
        if hops.is_empty() {
            let edge = self.links.get(peer).map(|l| l.peer.verify_name.clone());
            return self.not_found(now, key, &message, &alias, &asker, edge);
        }
        let message = unprivileged(&message);
        let mut edit = message.edit();
        for name in [Name::Route, Name::Authorization, Name::ProxyAuthorization] {
            edit.remove(name);
        }
        let message = edit.finish();
        let purpose = Purpose::Business {
            link,
            lane,
            message,
        };
        self.route_by(now, key, hops, purpose);
    }
}
