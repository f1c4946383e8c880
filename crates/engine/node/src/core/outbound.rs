//! Requests on their way to the inside: the zones to try, the connection to wait for, and what is
//! done once it stands. Bounds: [`PARKED_MAX`] requests wait at once.

use base::{Map, Now};
use call::registration::core::RegistrationId;
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Name};

use super::Core;
use super::between::Between;
use super::calls::Way;
use super::registrations::Plan;

/// Requests that wait for a connection at once.
const PARKED_MAX: usize = 2_000;

/// What is done with a request once a connection to call control stands.
pub(super) enum Purpose {
    Register(Box<Plan>),
    /// A client's INVITE.
    Invite {
        row: RegistrationId,
        lane: FlowId,
        message: Message,
    },
    /// Any other request, as call control gets it.
    Other {
        message: Message,
    },
    /// A call of a foreign domain.
    Business {
        link: media::LinkId,
        lane: FlowId,
        message: Message,
    },
    /// A request of one neighbour for another, as it came in.
    Trunk {
        message: Message,
        from: String,
    },
}

/// One place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// The zone: one server of it.
    pub(super) zone: String,
    /// The destination as search rules made it; `None` where none was asked.
    pub(super) alias: Option<String>,
}

/// A request that waits for a connection.
pub(super) struct Parked {
    /// Counts them: they leave in the order in which they came.
    number: u64,
    flow: FlowId,
    hop: Hop,
    rest: Vec<Hop>,
    purpose: Purpose,
}

impl Core {
    /// Sends a request to the first of these zones that can be reached.
    pub(super) fn route_out(
        &mut self,
        now: Now,
        key: ServerKey,
        zones: Vec<String>,
        purpose: Purpose,
    ) {
        let hops = zones.into_iter().map(|zone| Hop { zone, alias: None });
        self.route_by(now, key, hops.collect(), purpose);
    }

    /// The same, each with its own destination.
    pub(super) fn route_by(&mut self, now: Now, key: ServerKey, hops: Vec<Hop>, purpose: Purpose) {
        let mut rest = hops.into_iter();
        while let Some(hop) = rest.next() {
            if let Some(link) = self.edge_named(&hop.zone) {
                if let Purpose::Trunk { message, .. } = &purpose
                    && let Some(lane) = link.lane(message.call_id())
                {
                    let message = message.clone();
                    return self.call_abroad(now, key, &hop, lane, message);
                }
                continue;
            }
            let dialled = self.zone_flow(now, &hop.zone);
            // Also one that another zone has already.
            if let Some(flow) = self.zone(&hop.zone).and_then(|z| z.standing()) {
                return self.deliver(now, key, hop, rest.collect(), flow, purpose);
            }
            if self.parked.len() >= PARKED_MAX {
                break;
            }
            if let Some(flow) = dialled {
                let rest = rest.collect();
                self.next_parked += 1;
                self.parked.insert(
                    key,
                    Parked {
                        number: self.next_parked,
                        flow,
                        hop,
                        rest,
                        purpose,
                    },
                );
                return;
            }
        }
        self.unavailable(now, key);
    }

    fn unavailable(&mut self, now: Now, key: ServerKey) {
        let Some(request) = self.station.transactions.server_request(key).cloned() else {
            return;
        };
        if let Some(answer) = self.trials.remove(&key).and_then(|t| t.answer) {
            return self.station.respond(now, key, answer);
        }
        let wait = 3 + self.station.rng.below(5);
        let tag = self.station.rng.hex(8);
        let reply = request
            .reply(503, "Service Unavailable", &tag)
            .header(Name::RetryAfter, wait.to_string());
        self.station.respond(now, key, reply.build());
    }

    fn deliver(
        &mut self,
        now: Now,
        key: ServerKey,
        hop: Hop,
        rest: Vec<Hop>,
        flow: FlowId,
        purpose: Purpose,
    ) {
        let zone = hop.zone.as_str();
        match purpose {
            Purpose::Register(plan) => self.send_register(now, key, zone, flow, *plan),
            Purpose::Invite { row, lane, message } => {
                let again = (!rest.is_empty()).then(|| message.clone());
                let searched = self.as_searched(&hop, message, true);
                let again = again.map(|message| Purpose::Invite { row, lane, message });
                let elsewhere = servers(&hop, rest, again);
                let way = Way { row, lane, flow };
                self.call_inside(now, key, way, zone, searched, elsewhere);
            }
            Purpose::Other { message } => {
                let tls = self.zone(zone).is_some_and(|z| z.tls());
                let via = self.settings.inside_via(tls);
                let message = self.as_searched(&hop, message, false);
                self.station.send_on(now, key, flow, via, message, u8::MAX);
            }
            Purpose::Business {
                link,
                lane,
                message,
            } => {
                let again = (!rest.is_empty()).then(|| message.clone());
                let searched = self.as_searched(&hop, message, true);
                let again = again.map(|message| Purpose::Business {
                    link,
                    lane,
                    message,
                });
                let elsewhere = servers(&hop, rest, again);
                let to = (zone, flow);
                self.call_business(now, key, (link, lane), to, searched, elsewhere);
            }
            Purpose::Trunk { message, from } => {
                self.send_trunk(now, key, hop, rest, flow, message, from);
            }
        }
    }

    fn parked_on(&self, flow: FlowId) -> Vec<ServerKey> {
        let rows = self.parked.iter().filter(|(_, p)| p.flow == flow);
        let rows = rows.map(|(key, p)| (p.number, *key));
        rows.collect::<Map<_, _>>().into_values().collect()
    }

    /// The connection stands: what waited for it is sent.
    pub(super) fn release_parked(&mut self, now: Now, flow: FlowId) {
        for key in self.parked_on(flow) {
            if let Some(parked) = self.parked.remove(&key) {
                let Parked { hop, rest, .. } = parked;
                self.deliver(now, key, hop, rest, flow, parked.purpose);
            }
        }
    }

    /// The connection never came to be: what waited for it goes another way, or is answered.
    pub(super) fn move_parked(&mut self, now: Now, flow: FlowId) {
        for key in self.parked_on(flow) {
            if let Some(parked) = self.parked.remove(&key) {
                self.route_by(now, key, parked.rest, parked.purpose);
            }
        }
    }

    /// A client took its INVITE back while it waited.
    pub(super) fn parked_cancelled(&mut self, now: Now, key: ServerKey) {
        if self.parked.remove(&key).is_some()
            && let Some(request) = self.station.transactions.server_request(key).cloned()
        {
            self.station
                .answer(now, key, &request, 487, "Request Terminated");
        }
    }
}

/// Where a call may go beside where it goes now, if anywhere.
fn servers(hop: &Hop, rest: Vec<Hop>, again: Option<Purpose>) -> Option<Between> {
    let ruled = hop.alias.is_some();
    again.map(|purpose| Between::Servers {
        rest,
        ruled,
        purpose: Box::new(purpose),
    })
}
