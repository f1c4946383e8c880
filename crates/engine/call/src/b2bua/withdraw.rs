//! A call that can go another way: its INVITE met a flow that is gone, and nobody heard of it.

use sip::Message;
use sip::transaction::{ClientKey, ServerKey};

use super::call::{Phase, Side};
use super::{B2bua, CallId, Context};

impl B2bua {
    /// The call that an INVITE of ours began.
    pub fn call_under(&self, client: ClientKey) -> Option<CallId> {
        let id = self.by_client.get(&client)?;
        let call = self.calls.get(*id)?;
        (call.client == Some(client)).then_some(CallId(*id))
    }

    /// Takes a call back that has rung nowhere; its INVITE has no final answer yet, and may begin
    /// another. `None`, and nothing changed, if the caller has heard of it, or has given up.
    pub fn withdraw(
        &mut self,
        cx: &mut Context<'_>,
        client: ClientKey,
    ) -> Option<(ServerKey, Message)> {
        let CallId(id) = self.call_under(client)?;
        let call = self.calls.get(id)?;
        let unheard = call.phase == Phase::Calling && call.forks.is_empty();
        if !unheard || call.caller.side != Side::Inside {
            return None;
        }
        let (server, invite) = (call.server, call.opening.as_ref()?.received.clone());
        self.by_client.remove(&client);
        self.by_server.remove(&server);
        self.discard(cx, id);
        Some((server, invite))
    }
}
