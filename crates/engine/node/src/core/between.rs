//! Calls between two zones whose media is not the same: the B2BUA takes them, ends SRTP on either
//! side or both with keys of its own, and media passes the core.
//!
//! | zone that calls | zone called | offer | the call is |
//! |---|---|---|---|
//! | any | of the same policy | any | proxied, media passes by |
//! | `force` | `force` | any | taken: every offer and answer of the call must be held to it |
//! | `off` | another | encrypted throughout | proxied: there is nothing to convert |
//! | any | of another policy | any other | taken |
//! | none: nobody's neighbour | `force` | any | taken |
//! | none | without encryption | encrypted | taken |
//!
//! In: INVITEs on their way from zone to zone ([`Core::send_trunk`]). Out: whether they are calls
//! of the B2BUA, who may speak in such a call, and where it goes if a zone does not know it; and
//! where a call of a client's goes whose server does not take it. Bounds: one row a call.

use base::Now;
use call::b2bua::{
    CallId, Caller, Cause, Encryption, EndedBy, Event, Face, Ice, Side as Leg, Target,
};
use call::limits::Place;
use sip::transaction::{ClientKey, ServerKey};
use sip::{FlowId, Message, Method, Name};

use super::Core;
use super::calls::Party;
use super::outbound::{Hop, Purpose};
use super::trunks::{End, Trial, is_elsewhere};
use super::zones::Zone;

/// What is known of a call that may go elsewhere.
pub(super) enum Between {
    /// It is one between two zones.
    Zones {
        /// Those.
        ends: [End; 2],
        /// Where else it may go.
        trial: Box<Trial>,
    },
    /// It is one of a client's, or of a foreign domain's, that has not been answered.
    Servers {
        /// Where else it may go.
        rest: Vec<Hop>,
        /// A rule led it where it is, and not the client's registration.
        ruled: bool,
        /// The INVITE, as it goes to any of them.
        purpose: Box<Purpose>,
    },
}

impl Between {
    /// Whether a server's answer, or that there is none, sends the call elsewhere. Whom one server
    /// of call control does not know, none of its others does; but one may serve where another
    /// cannot (RFC 3263 §4.3).
    fn goes_on(&self, status: Option<u16>) -> bool {
        match self {
            Between::Zones { trial, .. } => {
                let more = !trial.rest.is_empty() || trial.answer.is_some();
                more && status.is_none_or(is_elsewhere)
            }
            Between::Servers { ruled: true, .. } => status.is_none_or(is_elsewhere),
            Between::Servers { ruled: false, .. } => status.is_none_or(|s| s == 503),
        }
    }

    /// Whether it need not be known of once the call is answered.
    pub(super) fn ends_with_the_answer(&self) -> bool {
        matches!(self, Between::Servers { .. })
    }
}

/// What the media of a request's offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It has none: the other side is to make one.
    Nothing,
    /// Some of it is not encrypted.
    Plain,
    /// All of it is encrypted.
    Secured,
}

impl Offered {
    pub(super) fn of(message: &Message) -> Offered {
        let body = String::from_utf8_lossy(message.body());
        let mut lines = body.lines().filter_map(|l| l.strip_prefix("m=")).peekable();
        let secured = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let port = words.nth(1).unwrap_or_default();
            let profile = words.next().unwrap_or_default();
            port == "0" || profile.contains("SAVP") || !profile.contains("AVP")
        };
        if lines.peek().is_none() {
            Offered::Nothing
        } else if lines.all(secured) {
            Offered::Secured
        } else {
            Offered::Plain
        }
    }
}

/// What media is on both sides if it is to be converted; `None` if it passes by. Without a policy
/// is who is nobody's neighbour.
fn converted(
    from: Option<Encryption>,
    to: Encryption,
    offer: Offered,
) -> Option<(Encryption, Encryption)> {
    use Encryption::{BestEffort, Force, Off};
    let Some(from) = from else {
        let converts = match to {
            Force => true,
            Off => offer == Offered::Secured,
            BestEffort => false,
        };
        return converts.then_some((BestEffort, to));
    };
    let passes = match (from, offer) {
        (Force, _) => false,
        (Off, Offered::Secured) => true,
        _ => from == to,
    };
    (!passes).then_some((from, to))
}

impl Core {
    /// What media is on both sides of a call to a zone, if the B2BUA has to take it.
    pub(super) fn converts(
        &self,
        key: ServerKey,
        to: &Zone,
        message: &Message,
    ) -> Option<(Encryption, Encryption)> {
        if message.method() != Method::Invite {
            return None;
        }
        let flow = self.station.transactions.server_flow(key)?;
        let from = self.sender(flow).map(Zone::encryption);
        converted(from, to.encryption(), Offered::of(message))
    }

    /// A call of one zone for another, with what media is on each side.
    pub(super) fn call_between(
        &mut self,
        now: Now,
        key: ServerKey,
        (hop, flow): (Hop, FlowId),
        trial: Trial,
        (from, to): (Encryption, Encryption),
    ) {
        let caller = self.station.transactions.server_flow(key);
        let (Some(zone), Some(theirs)) = (self.zone(&hop.zone), caller) else {
            return;
        };
        let place = match zone.trunk {
            Some(_) => Place::Neighbour,
            None => Place::CallControl,
        };
        let ends = [End::read(&trial.from), Some(End::zone(&zone.of))];
        let [Some(one), Some(other)] = ends else {
            return;
        };
        let tls = zone.tls();
        let searched = self.as_searched(&hop, trial.message.clone(), true);
        let mut edit = searched.edit();
        edit.remove(Name::Route);
        let message = edit.finish();
        let caller = Caller {
            side: Leg::Inside,
            face: self.neighbour_face(theirs, self.is_tls(theirs), from),
        };
        let target = Target {
            side: Leg::Inside,
            face: self.neighbour_face(flow, tls, to),
            request_uri: message.request_uri().to_vec(),
            routes: Vec::new(),
        };
        // Should the connection go that the caller made, the call goes on over ours.
        let made = self.station.flows.get(theirs);
        let made = made.is_some_and(|f| f.target().is_none());
        if let Some(zone) = self.sender(theirs).filter(|_| made) {
            let name = zone.name.clone();
            self.inbound.insert(theirs, name);
        }
        let ends = [one, other];
        let trial = Box::new(trial);
        let party = Party::neighbours(place, Between::Zones { ends, trial });
        self.begin(now, key, message, (caller, target), party);
    }

    /// How we appear in such a call.
    fn neighbour_face(&self, flow: FlowId, tls: bool, encryption: Encryption) -> Face {
        Face {
            flow,
            reliable: true,
            via: self.settings.inside_via(tls),
            contact: self.settings.inside(tls).uri("trunk").into_bytes(),
            encryption,
            ice: Ice::Remove,
        }
    }

    /// Whether a connection may speak in a call: in one between two zones they alone may; in one
    /// with a neighbour that one alone; in one of call control's any of its nodes, and phones
    /// behind it, but no neighbour.
    pub(super) fn may_be_heard(&self, call: CallId, flow: FlowId) -> bool {
        if let Some(Between::Zones { ends, .. }) = self.betweens.get(&call) {
            return ends.iter().any(|end| self.is_end(end, flow));
        }
        match self.neighbours.get(&call) {
            Some(end) => self.is_end(end, flow),
            None => self.mere_neighbour(flow).is_none(),
        }
    }

    /// A server does not know what a call was for, or cannot be asked, or not any more: the call
    /// goes to the next, one between zones also if it has rung, or gets the first answer where none
    /// is left. Gives whether it does either. There is no `status` where there is no answer.
    pub(super) fn call_elsewhere(
        &mut self,
        now: Now,
        client: ClientKey,
        status: Option<u16>,
    ) -> bool {
        let call = self.b2bua.call_under(client);
        let goes_on = |b: &Between| b.goes_on(status);
        let Some(call) = call.filter(|call| self.betweens.get(call).is_some_and(goes_on)) else {
            return false;
        };
        let (b2bua, mut cx) = self.calls(now);
        let Some((key, invite)) = b2bua.withdraw(&mut cx, client) else {
            return false;
        };
        let trial = match self.betweens.remove(&call) {
            Some(Between::Zones { trial, .. }) => trial,
            Some(Between::Servers { rest, purpose, .. }) => {
                self.call_over(now, call);
                self.again = true;
                self.route_by(now, key, rest, *purpose);
                self.again = false;
                return true;
            }
            None => return false,
        };
        let status = status.unwrap_or(408);
        let Trial {
            rest,
            message,
            from,
            answer,
        } = *trial;
        // The first answer counts where no zone knows better.
        if let (true, Some(first)) = (rest.is_empty(), &answer) {
            let (by, cause) = (EndedBy::Callee, Cause::Status(first.status()));
            self.station.respond(now, key, first.clone());
            self.call_event(now, Some(call), Event::Ended { by, cause });
            return true;
        }
        self.call_over(now, call);
        let reason = if status == 408 {
            "Request Timeout"
        } else {
            "Not Here"
        };
        let tag = self.station.rng.hex(8);
        let answer = answer.unwrap_or_else(|| invite.reply(status, reason, &tag).build());
        let trial = Trial {
            rest: Vec::new(),
            message: message.clone(),
            from: from.clone(),
            answer: Some(answer),
        };
        self.trials.insert(key, trial);
        self.again = true;
        self.route_by(now, key, rest, Purpose::Trunk { message, from });
        self.again = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Offered::{Nothing, Plain, Secured};
    use super::converted;
    use call::b2bua::Encryption::{BestEffort, Force, Off};

    #[test]
    fn a_call_is_converted_where_the_zones_differ_and_what_is_offered_does_not_fit() {
        for policy in [Force, BestEffort, Off] {
            for offer in [Plain, Secured] {
                let held = (policy == Force).then_some((Force, Force));
                assert_eq!(converted(Some(policy), policy, offer), held);
            }
        }
        assert_eq!(converted(Some(Off), Off, Nothing), None);
        assert_eq!(converted(Some(Force), Force, Nothing), Some((Force, Force)));
        assert_eq!(converted(Some(Off), Force, Plain), Some((Off, Force)));
        assert_eq!(converted(Some(Off), Force, Nothing), Some((Off, Force)));
        assert_eq!(converted(Some(Off), Force, Secured), None);
        assert_eq!(converted(Some(Force), Off, Secured), Some((Force, Off)));
        let best = Some((BestEffort, Off));
        assert_eq!(converted(Some(BestEffort), Off, Secured), best);
        // Who has no policy gets what it can take.
        assert_eq!(converted(None, Force, Plain), Some((BestEffort, Force)));
        assert_eq!(converted(None, Off, Secured), best);
        let held = Some((BestEffort, Force));
        assert_eq!(converted(None, Force, Secured), held);
        assert_eq!(converted(None, BestEffort, Plain), None);
        assert_eq!(converted(None, Off, Plain), None);
    }
}
