//! More than the core can handle: what of edges' requests is refused, and what is told of it.
//!
//! In: how long messages have waited for the node ([`crate::overload`]). Out: 503 with a time to
//! come back, spread so that not all come at once (RFC 3261 §21.5.4), for new work first, for what
//! belongs to calls and for refreshes last; never for what ends a call, and for calls for help.
//! What comes from inside is not refused: call control has no other core to go to for the client
//! that it calls. An edge passes the 503 on, as a 500 with the same time (RFC 3261 §16.7). Bounds:
//! none but its few numbers.

use std::time::Duration;

use ::status::Kind;
use base::Now;
use sip::transaction::ServerKey;
use sip::{Message, Method, Name, NameAddr, Uri};

use super::Core;
use crate::overload::{Class, Told, is_emergency};
use crate::station::in_dialog;

impl Core {
    /// So long have messages waited for this node.
    pub(super) fn waited(&mut self, now: Now, waited: Duration) {
        let told = self.overload.waited(now.instant, waited);
        self.tell_overload(now, told);
    }

    pub(super) fn overload_timeout(&mut self, now: Now) {
        let told = self.overload.handle_timeout(now.instant);
        self.tell_overload(now, told);
    }

    /// Whether a request of an edge is refused because there is too much to do.
    ///
    /// An edge that brings little is heard while another floods us.
    pub(super) fn sheds(&mut self, now: Now, peer: usize, message: &Message) -> bool {
        self.overload.heard(now.instant, peer);
        let high = self.overload.is_high();
        high && self.overload.sheds_of(peer, self.class_of(peer, message))
    }

    /// 503 with a time to come back.
    pub(super) fn shed(&mut self, now: Now, key: ServerKey, message: &Message) {
        self.board.counters.shed += 1;
        let wait = 1 + self.station.rng.below(10);
        let tag = self.station.rng.hex(8);
        let reply = message
            .reply(503, "Service Unavailable", &tag)
            .header(Name::RetryAfter, wait.to_string());
        self.station.respond(now, key, reply.build());
    }

    fn class_of(&self, peer: usize, message: &Message) -> Class {
        let inside = in_dialog(message);
        let known = || self.is_registered(peer, message);
        match message.method() {
            Method::Register if known() => Class::Refresh,
            Method::Bye | Method::Prack | Method::Cancel if inside => Class::Vital,
            _ if inside => Class::InDialog,
            // An edge's own: it asks whether the core lives.
            Method::Options if self.is_for_us(message) => Class::Vital,
            _ if is_emergency(message) => Class::Vital,
            _ if !known() => Class::Stranger,
            _ => Class::New,
        }
    }

    /// Whether the flow that the edge recorded has a registration.
    fn is_registered(&self, peer: usize, message: &Message) -> bool {
        let way = match message.method() {
            Method::Register => message.values(Name::Path).next(),
            _ => message.values(Name::RecordRoute).next(),
        };
        let address = way.and_then(NameAddr::parse);
        let token = address.and_then(|a| Uri::parse(a.uri).ok()?.user);
        token.is_some_and(|t| self.registrar.on_flow(peer, t).next().is_some())
    }

    fn tell_overload(&mut self, now: Now, told: Option<Told>) {
        let (kind, cause, proof) = match told {
            Some(Told::Began(waited)) => {
                let cause = format!("messages wait {} ms for the node", waited.as_millis());
                let links = self.links.iter().filter(|l| l.is_up()).count();
                let registrations = ("registrations", self.registrar.len().to_string());
                let proof = vec![("edges", links.to_string()), registrations];
                (Kind::Overloaded, cause, proof)
            }
            Some(Told::Over) => {
                let cause = "for five seconds nothing has waited".to_owned();
                let proof = ("refused_since_start", self.board.counters.shed.to_string());
                (Kind::OverloadOver, cause, vec![proof])
            }
            None => return,
        };
        let out = &mut self.station.out;
        self.board.event(out, kind, now, &cause, &proof);
    }
}
