//! `get_edge_config` of a user for whom another has vouched: the home cluster is looked up, and
//! nobody is asked about a password.

use std::net::IpAddr;

use base::{Now, UnixTime};
use provisioning::sign_in::Vouched;

use super::Pending;
use crate::core::Core;
use crate::io::AskId;

/// Such a user.
pub(in crate::core) struct Known {
    pub(in crate::core) id: AskId,
    pub(in crate::core) peer: usize,
    pub(in crate::core) client: Option<IpAddr>,
    pub(in crate::core) domain: String,
    pub(in crate::core) user: String,
    pub(in crate::core) user_agent: String,
    pub(in crate::core) services: Vec<String>,
    /// Until when the session lasts.
    pub(in crate::core) until: UnixTime,
    /// Its token, if it has one already.
    pub(in crate::core) token: Option<String>,
}

impl Core {
    pub(in crate::core) fn sign_in_known(&mut self, now: Now, known: Known) {
        let number = self.desk.next;
        self.desk.next += 1;
        let vouched = Vouched {
            domain: known.domain.clone(),
            user: known.user.clone(),
            services: known.services,
            nodes: self.uds_nodes(),
        };
        let pending = Pending {
            id: known.id,
            peer: known.peer,
            client: known.client,
            domain: known.domain,
            user: known.user,
            user_agent: known.user_agent,
            session: Some((known.token, known.until)),
        };
        self.desk.pending.insert(number, pending);
        self.desk.engine.vouched(now.instant, number, vouched);
    }
}
