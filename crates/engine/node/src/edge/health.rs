//! Which zone of call control each client is registered in, and whether its core says that it is
//! dead: what the answer to a client's STUN keep-alive depends on (`protocol.md` 5.5).
//!
//! In: the zone in a core's 2xx to a REGISTER, and a core's list of dead zones. Out: whether a
//! client's way ends at a dead one. A client whose zone is not known is taken for well. Bounds: a
//! zone a flow; [`NAMES_MAX`] names, each kept once.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::HashMap;
use call::registration::ZONE_FIELD;
use sip::{FlowId, Message};

/// Zones of all cores.
const NAMES_MAX: usize = 2_000;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Clients' zones.
#[derive(Default)]
pub(super) struct Health {
    zones: HashMap<FlowId, Arc<str>>,
    names: BTreeSet<Arc<str>>,
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
        if name.len() > NAME_BYTES_MAX {
            return;
        }
        let kept = self.names.get(name).cloned().or_else(|| {
            let room = self.names.len() < NAMES_MAX;
            room.then(|| Arc::from(name))
        });
        match kept {
            Some(name) => {
                self.names.insert(name.clone());
                self.zones.insert(flow, name);
            }
            None => self.forget(flow),
        }
    }

    /// A flow is gone, or nobody is registered on it any more.
    pub(super) fn forget(&mut self, flow: FlowId) {
        self.zones.remove(&flow);
    }

    /// Whether a client's zone is one of these.
    pub(super) fn is_in(&self, flow: FlowId, dead: &[String]) -> bool {
        let zone = self.zones.get(&flow);
        zone.is_some_and(|zone| dead.iter().any(|d| **d == **zone))
    }
}
