//! Which zone of call control each client is registered in, and whether its core says that it is
//! dead: what the answer to a client's STUN keep-alive depends on (`protocol.md` 5.5).
//!
//! In: the zone in a core's 2xx to a REGISTER, and a core's list of dead zones. Out: whether a
//! client's way ends at a dead one. A client whose zone is not known is taken for well. Bounds: a
//! zone a flow; [`NAMES_MAX`] names, each kept once.

use base::{HashMap, Map};
use call::registration::ZONE_FIELD;
use sip::{FlowId, Message};

/// Zones of all cores.
const NAMES_MAX: usize = 2_000;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Clients' zones.
#[derive(Default)]
pub(super) struct Health {
    /// By the number of the zone's name: a client has a row here.
    zones: HashMap<FlowId, u16>,
    names: Vec<String>,
    numbers: Map<String, u16>,
}

impl Health {
    /// Rows of each table, by name.
    pub(super) fn census(&self) -> [(&'static str, usize); 2] {
        [
            ("zones of flows", self.zones.len()),
            ("names of zones", self.names.len()),
        ]
    }

    /// A core has accepted a client's REGISTER.
    pub(super) fn registered(&mut self, flow: FlowId, response: &Message) {
        let named = |name: &[u8]| name.eq_ignore_ascii_case(ZONE_FIELD.as_bytes());
        let mut fields = response.fields();
        let Some(field) = fields.find(|f| named(f.name)) else {
            return;
        };
        let name = std::str::from_utf8(field.value).unwrap_or_default();
        match self.number(name) {
            Some(number) => {
                self.zones.insert(flow, number);
            }
            None => self.forget(flow),
        }
    }

    /// The number of a name; `None` if there is no room for another.
    fn number(&mut self, name: &str) -> Option<u16> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.names.len() >= NAMES_MAX || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let number = u16::try_from(self.names.len()).ok()?;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Some(number)
    }

    /// A flow is gone, or nobody is registered on it any more.
    pub(super) fn forget(&mut self, flow: FlowId) {
        self.zones.remove(&flow);
    }

    /// Whether a client's zone is one of these.
    pub(super) fn is_in(&self, flow: FlowId, dead: &[String]) -> bool {
        let number = self.zones.get(&flow).map(|n| usize::from(*n));
        let name = number.and_then(|number| self.names.get(number));
        name.is_some_and(|name| dead.contains(name))
    }
}
