//! A call that can go another way: its INVITE met a flow that is gone, or a server that does not
//! take it, perhaps after that had rung.
//!
//! A proxy that tries one server after the other does so whatever was heard of the one before (RFC
//! 3261 §16.7, steps 5 and 6): what rang there is an early dialog of its own, and what the next
//! server says another, as of an INVITE that forks. So the next attempt is a call with a tag of its
//! own; requests within the early dialogs of the one before are answered 481.

use sip::Message;
use sip::transaction::{ClientKey, ServerKey};

use super::call::{Call, End, Phase, Side};
use super::{B2bua, CallId, Cause, Context, EndedBy, GONE, refuse};

impl B2bua {
    /// The call that an INVITE of ours began.
    pub fn call_under(&self, client: ClientKey) -> Option<CallId> {
        let id = self.by_client.get(&client)?;
        let call = self.calls.get(*id)?;
        (call.client == Some(client)).then_some(CallId(*id))
    }

    /// Takes a call back; its INVITE has no final answer yet, and may begin another. `None`, and
    /// nothing changed, if it has been answered, or the caller has given up, or is behind an edge
    /// and has heard of it: edges give early dialogs their media one stream a call.
    pub fn withdraw(
        &mut self,
        cx: &mut Context<'_>,
        client: ClientKey,
    ) -> Option<(ServerKey, Message)> {
        let CallId(id) = self.call_under(client)?;
        let call = self.calls.get(id)?;
        let may = call.caller.side == Side::Inside || call.forks.is_empty();
        if call.phase != Phase::Calling || !may {
            return None;
        }
        let (server, invite) = (call.server, call.opening.as_ref()?.received.clone());
        // A PRACK or an UPDATE that was on its way to the server before.
        let under_way = call.exchanges.iter();
        let owed = under_way.filter_map(|e| Some((e.server?, e.request.clone())));
        for (server, request) in owed.collect::<Vec<_>>() {
            refuse(cx, server, &request, &GONE);
        }
        self.by_client.remove(&client);
        self.by_server.remove(&server);
        self.discard(cx, id);
        Some((server, invite))
    }

    /// The client on this side of a call is gone for good; `tag` is a tag of its dialog.
    pub fn client_lost(&mut self, cx: &mut Context<'_>, side: Side, call_id: &[u8], tag: &[u8]) {
        let of = |call: &Call| {
            [End::Caller, End::Callee].into_iter().any(|end| {
                let mut dialogs = call.forks.iter().map(|fork| fork.dialog(end));
                call.leg(end).side == side
                    && dialogs.any(|d| d.local_tag() == tag || d.remote_tag() == tag)
            })
        };
        let found = self
            .calls
            .iter()
            .filter(|(_, call)| *call.call_id == *call_id && of(call));
        for id in found.map(|(id, _)| id).collect::<Vec<_>>() {
            self.hang_up(cx, id, EndedBy::Us, Cause::ClientLost, 480, "Client Lost");
        }
    }
}
