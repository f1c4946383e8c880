//! The ways that calls go by: connections that are replaced, clients that come back elsewhere or
//! never, links that are gone.
//!
//! In: what the node hears of them. Out: legs with another connection, or calls that end.

use base::Id;
use media::LinkId;
use sip::FlowId;

use super::call::{Call, End, Phase};
use super::{B2bua, CallId, Cause, Context, EndedBy, Side};

impl B2bua {
    /// The media link to an edge is gone: its calls end.
    pub fn link_down(&mut self, cx: &mut Context<'_>, link: LinkId) {
        let side = Side::Edge { link };
        let calls: Vec<Id> = self
            .calls
            .iter()
            .filter(|(_, c)| c.caller.side == side || c.callee.side == side)
            .map(|(id, _)| id)
            .collect();
        for id in calls {
            self.hang_up(cx, id, EndedBy::Us, Cause::LinkDown, 503, "Link Down");
        }
    }

    /// A connection has been replaced: requests of the legs on `old` take `new` from now on.
    pub fn flow_moved(&mut self, old: FlowId, new: FlowId) {
        for (_, call) in self.calls.iter_mut() {
            for leg in call.legs_mut() {
                if leg.face.flow == old {
                    leg.face.flow = new;
                }
            }
        }
    }

    /// The connection to the end of a client's call that is inside.
    pub fn inside_flow(&self, call: CallId) -> Option<FlowId> {
        let call = self.calls.get(call.0)?;
        let mut legs = [&call.caller, &call.callee].into_iter();
        legs.find(|leg| !leg.side.is_edge())
            .map(|leg| leg.face.flow)
    }

    /// Whether a leg of a call goes by a connection.
    pub fn uses(&self, flow: FlowId) -> bool {
        let of = |call: &Call| call.caller.face.flow == flow || call.callee.face.flow == flow;
        self.calls.iter().any(|(_, call)| of(call))
    }

    /// The client of a call that was answered is behind another edge now: requests for it take
    /// that way, and nothing that was asked on the old one ends it. Media follows with the next
    /// offer of either end.
    pub fn client_moved(
        &mut self,
        cx: &mut Context<'_>,
        id: CallId,
        to: Side,
        flow: FlowId,
        route: &[u8],
    ) {
        let Some(call) = self.calls.get_mut(id.0) else {
            return;
        };
        let end = match (call.caller.side.is_edge(), call.phase) {
            (_, Phase::Calling | Phase::Ending) => return,
            (true, _) => End::Caller,
            (false, _) => End::Callee,
        };
        let elsewhere = call.leg(end).side != to;
        for leg in call.legs_mut().into_iter().filter(|l| l.side.is_edge()) {
            leg.side = to;
            leg.face.flow = flow;
        }
        for fork in &mut call.forks {
            fork.dialog_mut(end).reroute(route);
        }
        if elsewhere {
            // It names streams of the old link.
            call.bridge.forget_description(end);
        }
        self.forsake(cx, id.0, end);
    }

    /// The client of a call has another connection to the same edge: nothing that was asked on the
    /// one before ends it.
    pub fn client_back(&mut self, cx: &mut Context<'_>, id: CallId) {
        let Some(call) = self.calls.get(id.0) else {
            return;
        };
        let mut ends = [End::Caller, End::Callee].into_iter();
        let client = ends.find(|end| call.leg(*end).side.is_edge());
        if let (Some(end), Phase::Answered(_)) = (client, call.phase) {
            self.forsake(cx, id.0, end);
        }
    }
}
