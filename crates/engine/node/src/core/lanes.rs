//! SIP lanes: each signs in with OPTIONS under the zone's credentials, and is asked again and
//! again whether it lives (`protocol.md` 5.3).

use std::time::Duration;

use base::{Instant, Now};
use sip::digest::Challenge;
use sip::transaction::ClientKey;
use sip::{FlowId, Message, Name, RequestBuilder};
use status::Kind;

use super::Core;

/// How often a lane is asked, and how long it may take to answer.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lanes of one link that went and may still be named by calls.
const ORPHANS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Connected, and the control lane is not up; or to be closed.
    Waiting,
    /// OPTIONS went out, with the zone's credentials if it was `answered`.
    Asked { client: ClientKey, answered: bool },
    /// Signed in.
    Ready { asked: Option<ClientKey> },
}

/// A SIP connection to an edge.
pub(super) struct Lane {
    pub(super) flow: FlowId,
    state: State,
    due: Instant,
}

impl Lane {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    fn asked(&self) -> Option<ClientKey> {
        match self.state {
            State::Waiting => None,
            State::Asked { client, .. } => Some(client),
            State::Ready { asked } => asked,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (self.state != State::Waiting).then_some(self.due)
    }
}

impl Core {
    pub(super) fn lane_up(&mut self, now: Now, index: usize, flow: FlowId) {
        let Some(link) = self.links.get_mut(index) else {
            return self.station.close(flow);
        };
        let up = link.is_up();
        link.lanes.push(Lane {
            flow,
            state: State::Waiting,
            due: now.instant,
        });
        if up {
            self.ask_lane(now, index, flow, None);
        }
    }

    pub(super) fn lane_down(&mut self, now: Now, index: usize, flow: FlowId, why: &str) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let was_ready = link.lanes.iter().any(|l| l.flow == flow && l.is_ready());
        link.lanes.retain(|l| l.flow != flow);
        if link.orphans.len() < ORPHANS_MAX {
            link.orphans.push(flow);
        }
        let (up, left) = (link.is_up(), link.ready_lanes());
        let name = link.peer.verify_name.clone();
        self.adopt_orphans(index);
        if was_ready && up {
            let proof = [
                ("edge", name),
                ("lane", "sip".into()),
                ("left", left.to_string()),
            ];
            self.board
                .event(&mut self.station.out, Kind::LaneDown, now, why, &proof);
        }
    }

    /// Calls on lanes that went go on over one that stands.
    fn adopt_orphans(&mut self, index: usize) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        for orphan in std::mem::take(&mut link.orphans) {
            match link.lane(&orphan.slot().to_be_bytes()) {
                Some(lane) => self.b2bua.flow_moved(orphan, lane),
                None => link.orphans.push(orphan),
            }
        }
    }

    /// The control lane is up: all lanes may sign in.
    pub(super) fn ask_lanes(&mut self, now: Now, index: usize) {
        let Some(link) = self.links.get(index) else {
            return;
        };
        let flows: Vec<FlowId> = link.lanes.iter().map(|l| l.flow).collect();
        for flow in flows {
            self.ask_lane(now, index, flow, None);
        }
    }

    /// Sends OPTIONS on a lane: to sign in, or to hear that it lives.
    fn ask_lane(&mut self, now: Now, index: usize, flow: FlowId, challenge: Option<&Challenge>) {
        let Some(link) = self.links.get(index) else {
            return;
        };
        let (edge, us) = (&link.peer.verify_name, &self.settings.fqdn);
        let uri = format!("sip:{edge}:{};transport=tls", link.peer.sip_port);
        let tag = self.station.rng.hex(8);
        let call = self.station.rng.hex(16);
        let mut request = RequestBuilder::new("OPTIONS", &uri)
            .header(Name::From, format!("<sip:{us}>;tag={tag}"))
            .header(Name::To, format!("<sip:{edge}>"))
            .header(Name::CallId, format!("{call}@{us}"))
            .header(Name::CSeq, "1 OPTIONS")
            .header(Name::MaxForwards, "70")
            .header(
                Name::UserAgent,
                format!("causeway/{}", self.settings.version),
            );
        if let Some(challenge) = challenge {
            let cnonce = self.station.rng.hex(16);
            let (user, password) = (&link.peer.user, link.peer.password.expose());
            let answer =
                sip::digest::respond(challenge, user, password, "OPTIONS", &uri, &cnonce, 1);
            request = request.header(Name::Authorization, answer);
        }
        let via = self.settings.edge_via();
        let sent = self
            .station
            .transactions
            .request(now, flow, true, &request.build(), &via);
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let Some(lane) = link.lanes.iter_mut().find(|l| l.flow == flow) else {
            return;
        };
        lane.due = now.instant + INTERVAL;
        let Ok(client) = sent else {
            // Our own table is full, of which a lane that is signed in is not to suffer.
            if !lane.is_ready() {
                self.station.close(flow);
            }
            return;
        };
        lane.state = match lane.state {
            State::Ready { .. } => State::Ready {
                asked: Some(client),
            },
            _ => State::Asked {
                client,
                answered: challenge.is_some(),
            },
        };
    }

    /// The lane whose OPTIONS this is.
    fn lane_of(&self, client: ClientKey) -> Option<(usize, FlowId, State)> {
        self.links.iter().enumerate().find_map(|(i, link)| {
            let lane = link.lanes.iter().find(|l| l.asked() == Some(client))?;
            Some((i, lane.flow, lane.state))
        })
    }

    pub(super) fn lane_response(&mut self, now: Now, client: ClientKey, message: &Message) {
        if message.status() < 200 {
            return;
        }
        let Some((index, flow, state)) = self.lane_of(client) else {
            return;
        };
        let challenge = message
            .header(Name::WwwAuthenticate)
            .and_then(Challenge::parse);
        match (message.status(), state, challenge) {
            (200..=299, _, _) => self.lane_ready(now, index, flow, state),
            // The edge has too much to do, and lives.
            (503, State::Ready { .. }, _) if message.header(Name::RetryAfter).is_some() => {
                self.lane_ready(now, index, flow, state);
            }
            (
                401,
                State::Asked {
                    answered: false, ..
                },
                Some(challenge),
            ) => {
                self.ask_lane(now, index, flow, Some(&challenge));
            }
            (status, _, _) => {
                let cause = format!("the edge answers {status} to the lane's OPTIONS");
                self.lane_failed(now, index, flow, &cause);
            }
        }
    }

    pub(super) fn lane_silent(&mut self, now: Now, client: ClientKey) {
        if let Some((index, flow, _)) = self.lane_of(client) {
            self.lane_failed(now, index, flow, "the edge does not answer OPTIONS");
        }
    }

    /// A lane that is of no use is closed; the driver dials another.
    fn lane_failed(&mut self, now: Now, index: usize, flow: FlowId, cause: &str) {
        self.station.close(flow);
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        if let Some(lane) = link.lanes.iter_mut().find(|l| l.flow == flow) {
            lane.state = State::Waiting;
        }
        let proof = [
            ("edge", link.peer.verify_name.clone()),
            ("lane", "sip".into()),
        ];
        self.board
            .event(&mut self.station.out, Kind::LaneDown, now, cause, &proof);
    }

    fn lane_ready(&mut self, now: Now, index: usize, flow: FlowId, state: State) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let Some(lane) = link.lanes.iter_mut().find(|l| l.flow == flow) else {
            return;
        };
        lane.state = State::Ready { asked: None };
        lane.due = now.instant + INTERVAL;
        if matches!(state, State::Asked { .. }) {
            let proof = [
                ("edge", link.peer.verify_name.clone()),
                ("lane", "sip".into()),
            ];
            self.adopt_orphans(index);
            self.board
                .event(&mut self.station.out, Kind::Lane, now, "signed in", &proof);
        }
    }

    pub(super) fn lanes_timeout(&mut self, now: Now, index: usize) {
        let Some(link) = self.links.get(index) else {
            return;
        };
        let is_due = |l: &&Lane| l.poll_timeout().is_some_and(|at| at <= now.instant);
        let due: Vec<(FlowId, bool)> = link
            .lanes
            .iter()
            .filter(is_due)
            .map(|l| (l.flow, l.is_ready() && l.asked().is_none()))
            .collect();
        for (flow, ask) in due {
            if ask {
                self.ask_lane(now, index, flow, None);
            } else {
                self.lane_failed(now, index, flow, "the edge does not answer OPTIONS");
            }
        }
    }
}
