//! Flows that are gone while something is under way on them whose client may come back.
//!
//! In: what would have been sent there. Out: that, for the client's new flow, or word that its time
//! is over. Bounds: a row for each such flow, of which there are never more than there were flows;
//! [`KEPT_MAX`] messages each, beyond which the oldest of them go: what is repeated (RFC 3261
//! §13.3.1.4, §17) comes again.

use std::collections::VecDeque;

use base::{HashMap, Instant, TimerId, Timers};
use bytes::Bytes;
use sip::FlowId;

/// Messages that wait for one client.
const KEPT_MAX: usize = 16;

#[derive(Default)]
pub(crate) struct Resting {
    rows: HashMap<FlowId, (TimerId, VecDeque<Bytes>)>,
    timers: Timers<FlowId>,
}

impl Resting {
    pub(crate) fn begin(&mut self, until: Instant, flow: FlowId) {
        let timer = self.timers.arm(until, flow);
        if let Some((old, _)) = self.rows.insert(flow, (timer, VecDeque::new())) {
            self.timers.disarm(old);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is(&self, flow: FlowId) -> bool {
        self.rows.contains_key(&flow)
    }

    pub(crate) fn keep(&mut self, flow: FlowId, bytes: Bytes) {
        if let Some((_, kept)) = self.rows.get_mut(&flow) {
            if kept.len() >= KEPT_MAX {
                kept.pop_front();
            }
            kept.push_back(bytes);
        }
    }

    /// Who was there is back, or is not waited for any more; gives what waited.
    pub(crate) fn end(&mut self, flow: FlowId) -> VecDeque<Bytes> {
        let Some((timer, kept)) = self.rows.remove(&flow) else {
            return VecDeque::new();
        };
        self.timers.disarm(timer);
        kept
    }

    /// The next flow whose time is over.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<FlowId> {
        let (_, flow) = self.timers.pop(now)?;
        self.rows.remove(&flow);
        Some(flow)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}
