//! Clients' requests that come while a core is on its way.
//!
//! A core that was restarted, or whose connection broke, is back within a second or two; so is a
//! freshly started edge's first core. What clients send meanwhile waits for it, and only after
//! [`PATIENCE`] is told 503. Bound: [`PARKED_MAX`] requests; one more is told at once.
//!
//! Requests of one call keep their order (their CSeq has to rise, RFC 3261 §12.2.2): what comes
//! while an earlier one waits, waits behind it, though another core may have come for it.

use std::collections::VecDeque;
use std::time::Duration;

use base::{Instant, Now};
use sip::transaction::ServerKey;
use sip::{FlowId, Message};

use super::Edge;

/// How long a request waits: less than a person does, and far less than its own timer (32 s).
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests that wait at a time.
const PARKED_MAX: usize = 1024;

/// How long a new edge takes its first core to be on its way.
const START: Duration = Duration::from_secs(15);

struct Parked {
    until: Instant,
    key: ServerKey,
    flow: FlowId,
    message: Message,
}

/// Requests that wait, oldest first.
pub(super) struct Parking {
    began: Instant,
    rows: VecDeque<Parked>,
}

impl Parking {
    pub(super) fn new(now: Now) -> Self {
        Parking {
            began: now.instant,
            rows: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.rows.front().map(|p| p.until)
    }

    /// Takes a request out that waits no more, if it waited.
    fn take(&mut self, key: ServerKey) -> Option<Parked> {
        let at = self.rows.iter().position(|p| p.key == key)?;
        self.rows.remove(at)
    }

    /// Whether a request of this client's in the same call waits.
    fn holds(&self, flow: FlowId, call_id: &[u8]) -> bool {
        self.rows
            .iter()
            .any(|p| p.flow == flow && p.message.call_id() == call_id)
    }

    /// The last one waits until then, and takes the place that this gives it.
    fn rank_last(&mut self, until: Instant) {
        if let Some(mut last) = self.rows.pop_back() {
            last.until = until;
            let at = self.rows.partition_point(|p| p.until <= until);
            self.rows.insert(at, last);
        }
    }

    /// The requests of the same client in the same call, oldest first.
    fn take_followers(&mut self, gone: &Parked) -> Vec<Parked> {
        let call_id = gone.message.call_id();
        let (followers, others) = std::mem::take(&mut self.rows)
            .into_iter()
            .partition(|p| p.flow == gone.flow && p.message.call_id() == call_id);
        self.rows = others;
        Vec::from(followers)
    }

    pub(super) fn flow_down(&mut self, flow: FlowId) {
        self.rows.retain(|p| p.flow != flow);
    }
}

impl Edge {
    /// Has a request wait for a core, or tells its client that there is none. Whether it waits.
    pub(super) fn wait_for_core(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        message: &Message,
    ) -> bool {
        let starting = now.instant.since(self.parking.began) < START;
        let coming = starting || self.links.iter().any(|l| l.is_up() || l.give_up.is_some());
        if !coming || self.parking.rows.len() >= PARKED_MAX {
            self.no_core(now, key, message);
            return false;
        }
        self.parking.rows.push_back(Parked {
            until: now.instant + PATIENCE,
            key,
            flow,
            message: message.clone(),
        });
        true
    }

    /// Has a request wait whose predecessor in the call does.
    pub(super) fn waits_its_turn(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        message: &Message,
    ) -> bool {
        let waits = self.parking.holds(flow, message.call_id());
        if waits {
            self.wait_for_core(now, key, flow, message);
        }
        waits
    }

    /// A core's lane has signed in: what waited goes on.
    pub(super) fn core_came(&mut self, now: Now) {
        for parked in std::mem::take(&mut self.parking.rows) {
            self.pass_again(now, parked);
        }
    }

    fn pass_again(&mut self, now: Now, parked: Parked) {
        let before = self.parking.rows.len();
        self.client_passed(now, parked.key, parked.flow, &parked.message);
        // This core was not the one it needs: it goes on waiting as long as it would have.
        if self.parking.rows.len() > before {
            self.parking.rank_last(parked.until);
        }
    }

    /// Tells those that have waited long enough.
    pub(super) fn parking_timeout(&mut self, now: Now) {
        while self
            .parking
            .poll_timeout()
            .is_some_and(|at| at <= now.instant)
        {
            if let Some(parked) = self.parking.rows.pop_front() {
                self.no_core(now, parked.key, &parked.message);
                self.hung_up(now, parked.flow, &parked.message);
                self.let_followers(now, &parked);
            }
        }
    }

    /// What waited behind a request that waits no more may have a core of its own.
    fn let_followers(&mut self, now: Now, gone: &Parked) {
        for parked in self.parking.take_followers(gone) {
            self.pass_again(now, parked);
        }
    }

    /// A client took its request back while it waited (RFC 3261 §9.2).
    pub(super) fn cancelled(&mut self, now: Now, key: ServerKey) {
        if let Some(gone) = self.parking.take(key) {
            self.station
                .answer(now, key, &gone.message, 487, "Request Terminated");
            self.let_followers(now, &gone);
        }
    }
}
