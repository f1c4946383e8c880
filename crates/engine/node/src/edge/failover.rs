//! A client's digest that its core does not accept goes to the next core: users sign in with one
//! of several, and each knows its own (`AR` of `x-cisco-mra-ha=AR_SK`, `protocol.md` 5.5).
//!
//! In: a core's 401 or 407 without a challenge, which means that the digest is wrong or the user
//! unknown there, to a REGISTER or to what a client proves itself by. Out: the same request to a
//! core that has not seen it, or nothing if there is none. A
//! digest is good at every core: the nonce is the edge's, and each core checks that it is fresh.
//! Which core has a request is known by the request, not by its connection: another one of the
//! same client may go round meanwhile. Bounds: each core is asked once; [`ASKING_MAX`] requests
//! at once, and the answer to one more is its core's.

use base::{HashMap, Now};
use sip::nonce::Verdict;
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Name};

use super::{Edge, Side};

/// Requests under way that more than one core may be asked about.
const ASKING_MAX: usize = 10_000;

/// Cores that were asked about a request.
pub(super) struct Asked {
    flow: FlowId,
    /// The one that has it now.
    last: usize,
    /// Those that did not accept it.
    before: Vec<usize>,
}

/// Those of all such requests under way, where there is more than one core.
pub(super) type Asking = HashMap<ServerKey, Asked>;

impl Edge {
    /// A request whose digest is to be checked goes to its first core.
    pub(super) fn ask_first_core(&mut self, key: ServerKey, flow: FlowId, core: usize) {
        if self.links.len() > 1 && self.asking.len() < ASKING_MAX {
            let asked = Asked {
                flow,
                last: core,
                before: Vec::new(),
            };
            self.asking.insert(key, asked);
        }
    }

    /// Passes a request on to the next core, if the answer is one core's opinion of a digest and
    /// another may have its own. Gives whether it did.
    pub(super) fn ask_next_core(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        request: &Message,
        answer: &Message,
    ) -> bool {
        if answer.status() < 200 {
            return false;
        }
        let Some(mut asked) = self.asking.remove(&key) else {
            return false;
        };
        let (status, asks, answers) = match request.method() {
            Method::Register => (401, Name::WwwAuthenticate, Name::Authorization),
            _ => (407, Name::ProxyAuthenticate, Name::ProxyAuthorization),
        };
        let opinion = answer.status() == status && answer.header(asks).is_none();
        if !opinion || self.station.side(flow) != Some(Side::Client) {
            if answer.status() < 300 {
                self.routes.insert(flow, asked.last);
            }
            return false;
        }
        // One that began after the nonce was made never looked at the digest.
        let looked = self.verdict_at(now, Some(asked.last), request, answers) == Verdict::Fresh;
        asked.before.push(asked.last);
        let next = self.cores_for(flow, request);
        let next = next.into_iter().find(|(i, _)| !asked.before.contains(i));
        let Some((index, lane)) = next.filter(|_| looked) else {
            // None of them takes it: the connection's way stays what it was.
            return false;
        };
        asked.last = index;
        if request.method() != Method::Register {
            // Its call, if it is for one, was with the core that did not want it.
            self.settle(now, flow, request, answer);
            self.routes.insert(flow, index);
            self.asking.insert(key, asked);
            self.client_other(now, key, flow, request, false);
            return true;
        }
        let token = self.tokens.seal(flow);
        let Ok(again) = self.relay.request(flow, &token, request) else {
            return false;
        };
        self.asking.insert(key, asked);
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
