//! How full the tables may be: rows, and how many bytes those of requests that came in hold.
//!
//! A row outlives its answer by half a minute, so rows are bounded by bytes as well as by number:
//! in all, and on each flow that is not shared ([`Transactions::share`]). What a row does
//! not need once it has answered, its request's body, is given back then. Bounds: [`FLOW_MAX`],
//! [`ALL_MAX`]; one count a flow that holds something.

use base::{HashMap, HashSet, Slab};

use crate::{FlowId, Message, Method};

/// Bytes of requests that one client's flow may have in rows.
const FLOW_MAX: usize = 1024 * 1024;

/// Bytes of requests in all rows. Beyond it only [`SMALL`] ones are taken: who sends much is not
/// to keep others from calling.
const ALL_MAX: usize = 256 * 1024 * 1024;

/// A request of so many bytes is what telephones send.
const SMALL: usize = 8 * 1024;

/// Bodies that are worth a copy of what stands before them.
const LARGE_BODY: usize = 4 * 1024;

/// The part of each table that INVITEs leave to other requests, an eighth: a call that cannot end,
/// or a connection that cannot show that it lives, is worse than a call that cannot begin.
const KEPT: usize = 8;

/// Whether a table with room for `limit` rows takes no more requests of this method.
pub(super) fn is_full<T>(rows: &Slab<T>, limit: usize, method: Method) -> bool {
    let kept = if method == Method::Invite {
        limit / KEPT
    } else {
        0
    };
    rows.len() >= limit - kept
}

#[derive(Default)]
pub(super) struct Budget {
    all: usize,
    /// Those that hold something, and are not shared.
    flows: HashMap<FlowId, usize>,
    shared: HashSet<FlowId>,
}

impl Budget {
    pub(super) fn share(&mut self, flow: FlowId) {
        self.shared.insert(flow);
    }

    /// The rows of the flow have ended.
    pub(super) fn forget(&mut self, flow: FlowId) {
        self.shared.remove(&flow);
    }

    /// Whether a row may hold so many bytes more; it does then.
    pub(super) fn take(&mut self, flow: FlowId, bytes: usize) -> bool {
        let all = self.all + bytes;
        if all > ALL_MAX && bytes > SMALL {
            return false;
        }
        if !self.shared.contains(&flow) {
            let held = self.flows.entry(flow).or_default();
            if *held + bytes > FLOW_MAX {
                return false;
            }
            *held += bytes;
        }
        self.all = all;
        true
    }

    pub(super) fn give_back(&mut self, flow: FlowId, bytes: usize) {
        self.all = self.all.saturating_sub(bytes);
        if let Some(held) = self.flows.get_mut(&flow) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                self.flows.remove(&flow);
            }
        }
    }
}

/// The request without its body where that is large, in memory of its own; `None` if it is not.
pub(crate) fn slim(request: &Message) -> Option<Message> {
    (request.body().len() >= LARGE_BODY).then(|| request.only_head())
}
