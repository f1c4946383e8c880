//! A client's REGISTER that its core does not accept goes to the next core: users sign in with one
//! of several, and each knows its own (`AR` of `x-cisco-mra-ha=AR_SK`, `protocol.md` 5.5).
//!
//! In: a core's 401 without a challenge, which means that the digest is wrong or the user unknown
//! there. Out: the same REGISTER to a core that has not seen it, or nothing if there is none. A
//! digest is good at every core: the nonce is the edge's, and each core checks that it is fresh.
//! Bounds: each core is asked once; [`ASKING_MAX`] REGISTERs at once.

use base::{HashMap, Now};
use sip::nonce::Verdict;
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Name};

use super::{Edge, Side};

/// REGISTERs that more than one core is asked about.
const ASKING_MAX: usize = 10_000;

/// Cores that were asked about a REGISTER.
pub(super) struct Asked {
    flow: FlowId,
    cores: Vec<usize>,
}

/// Those of all REGISTERs that go round.
pub(super) type Asking = HashMap<ServerKey, Asked>;

impl Edge {
    /// Passes a REGISTER on to the next core, if the answer is one core's opinion and another may
    /// have its own. Gives whether it did.
    pub(super) fn ask_next_core(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        request: &Message,
        answer: &Message,
    ) -> bool {
        let opinion = request.method() == Method::Register
            && answer.status() == 401
            && answer.header(Name::WwwAuthenticate).is_none()
            && self.station.side(flow) == Some(Side::Client);
        if !opinion {
            if answer.status() >= 200 {
                self.asking.remove(&key);
            }
            return false;
        }
        let mut asked = self.asking.remove(&key).unwrap_or_else(|| Asked {
            flow,
            cores: Vec::new(),
        });
        let Some(last) = self.routes.get(&flow).copied() else {
            return false;
        };
        asked.cores.push(last);
        // One that began after the nonce was made never looked at the digest.
        let looked = self.verdict_for(now, flow, request, Name::Authorization) == Verdict::Fresh;
        let room = self.asking.len() < ASKING_MAX;
        let next = self.cores_for(flow, request);
        let next = next.into_iter().find(|(i, _)| !asked.cores.contains(i));
        let Some((index, lane)) = next.filter(|_| looked && room) else {
            // None of them takes it: the first one's word counts.
            if let Some(first) = asked.cores.first() {
                self.routes.insert(flow, *first);
            }
            return false;
        };
        let token = self.tokens.seal(flow);
        let outside = self.station.with_source(flow, request);
        let Ok(again) = self.relay.request(flow, &token, &outside) else {
            return false;
        };
        self.asking.insert(key, asked);
        self.routes.insert(flow, index);
        self.send_on(now, key, lane, Side::Lane { peer: index }, again);
        true
    }

    /// A client is gone, and with it what it waits for.
    pub(super) fn asker_gone(&mut self, flow: FlowId) {
        if !self.asking.is_empty() {
            self.asking.retain(|_, asked| asked.flow != flow);
        }
    }
}
