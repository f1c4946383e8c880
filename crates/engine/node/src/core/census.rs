//! How full each table of the core is.

use super::Core;

impl Core {
    pub(super) fn rows(&self) -> Vec<(&'static str, usize)> {
        let transactions = self.station.transactions.counts();
        let calls = self.b2bua.counts();
        let mut rows = vec![
            ("client transactions", transactions.clients),
            ("server transactions", transactions.servers),
            ("transaction timers", transactions.timers),
            ("registrations under way", self.under_way.len()),
            ("contacts under way", self.busy.len()),
            ("register timers", self.answers_due.len()),
            ("parked requests", self.parked.len()),
            ("requests with another try", self.trials.len()),
            ("questions to trunks", self.probes.len()),
            ("registrations to be taken out", self.outs.leaving.len()),
            ("owners of calls", self.owners.len()),
            ("users with calls", self.shares.len()),
            ("calls between zones", self.betweens.len()),
            ("certificates of hosts inside", self.proven.len()),
            ("calls with neighbours", self.neighbours.len()),
            ("calls that clients may name", self.grants.len()),
            ("calls that trunks may make", self.referred.len()),
            ("calls counted", self.ledger.len()),
            ("called places", self.called.len()),
            ("silent calls", self.silences.len()),
            ("digests seen", self.admission.len()),
            ("calls", calls.calls),
            ("call legs", calls.legs),
            ("call transactions", calls.transactions),
            ("media legs", calls.media),
            ("call timers", calls.timers),
        ];
        rows.extend(self.station.proxy.census());
        rows.extend(self.registrar.census());
        rows.extend(self.sso.census());
        rows
    }
}
