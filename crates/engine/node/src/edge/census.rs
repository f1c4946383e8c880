//! How full each table of the edge is.

use super::Edge;

impl Edge {
    pub(super) fn rows(&self) -> Vec<(&'static str, usize)> {
        let transactions = self.station.transactions.counts();
        let mut rows = vec![
            ("client transactions", transactions.clients),
            ("server transactions", transactions.servers),
            ("transaction timers", transactions.timers),
            ("routes", self.routes.len()),
            ("registers that go round", self.asking.len()),
            ("wrong digests", self.wrong.len()),
            ("strangers", self.strangers.len()),
            ("parked requests", self.parking.len()),
            ("resting flows", self.station.resting_len()),
        ];
        rows.extend(self.guests.census());
        rows.extend(self.health.census());
        rows.extend(self.station.proxy.census());
        rows.extend(self.relay.census());
        rows.extend(self.calls.census());
        rows.extend(self.peers.census());
        rows
    }
}
