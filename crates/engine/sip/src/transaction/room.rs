//! What the far end of a flow takes: a message that grew too large on its way through a node is
//! refused here, alone, before the far end loses the connection over it.
//!
//! In: [`Room`] of a flow, from its beginning to its end. A request that does not fit is not sent
//! (513), an answer goes out as 502, an ACK is lost; each is told ([`Event::TooLarge`]). Bounds:
//! one row a flow that has one.

use super::{Event, RequestError, ServerKey, Transactions};
use crate::{FlowId, Message};

/// What the far end of a flow takes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// What its reader allows.
    pub limits: crate::Limits,
    /// A whole message, in bytes.
    pub bytes_max: usize,
}

impl Room {
    fn admits(&self, message: &Message) -> bool {
        message.bytes().len() <= self.bytes_max && self.limits.admit(message)
    }
}

impl RequestError {
    /// The status and reason for whoever wanted it sent.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            RequestError::TooLarge => (513, "Message Too Large"),
            RequestError::Full | RequestError::NotARequest => (503, "Service Unavailable"),
        }
    }
}

impl Transactions {
    /// Says that a flow carries the requests of many, until [`Transactions::flow_down`]. What those
    /// of any other hold in rows is bounded (1 MiB).
    pub fn share(&mut self, flow: FlowId) {
        self.budget.share(flow);
    }

    /// Says what the far end of a flow takes, until [`Transactions::flow_down`]. Without it, it is
    /// given everything.
    pub fn give_room(&mut self, flow: FlowId, room: Room) {
        self.rooms.insert(flow, room);
    }

    /// Whether a message may go out; its user learns if not.
    pub(super) fn may_go(&mut self, flow: FlowId, message: &Message) -> bool {
        let fits = self.rooms.get(&flow).is_none_or(|r| r.admits(message));
        if !fits {
            let message = message.clone();
            self.core.tell(Event::TooLarge { flow, message });
        }
        fits
    }

    /// An answer as the asking flow can take it; nothing if it is provisional, or fits in no form.
    pub(super) fn fitting(&mut self, key: ServerKey, response: Message) -> Option<Message> {
        let row = self.servers.get(key.0)?;
        let Some(room) = self.rooms.get(&row.flow).filter(|r| !r.admits(&response)) else {
            return Some(response);
        };
        let tag = response.to().ok().and_then(|to| to.tag()).unwrap_or(b"");
        let tag = String::from_utf8_lossy(tag);
        let answer = row.request.reply(502, "Answer Too Large", &tag).build();
        let fits = response.status() >= 200 && room.admits(&answer);
        self.core.tell(Event::TooLarge {
            flow: row.flow,
            message: response,
        });
        fits.then_some(answer)
    }
}
