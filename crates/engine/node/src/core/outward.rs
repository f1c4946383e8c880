//! To a client: by the flow that its registration names or, where the edge has lost that one, by
//! the next flow of the same device (RFC 5626 §5.3).
//!
//! In: requests from inside with the registration they are for, and an edge's 430. Out: the
//! request to an edge; or 480, since call control knows no flows, only clients that are away. A
//! device has other flows if it registered with several `reg-id`s, at several edges as a rule.

use base::Now;
use call::b2bua::Side as Leg;
use call::registration::core::{DialogMark, End, Place, RegistrationId};
use sip::transaction::{ClientKey, ServerKey};
use sip::{FlowId, Message, Method, Name};

use super::Core;
use super::calls::Way;
use crate::station::limited;

impl Core {
    /// Sends a request of call control to a client; `by_route` if our own Route named it.
    pub(super) fn outward(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        (row, by_route): (RegistrationId, bool),
        message: Message,
    ) {
        if let Some(lane) = self.lane_to(row) {
            return self.send_outward(now, key, flow, (row, lane, by_route), message);
        }
        match self.next_flow(row) {
            Some((row, lane)) => self.send_outward(now, key, flow, (row, lane, false), message),
            None => self.away(now, key, &message),
        }
    }

    fn away(&mut self, now: Now, key: ServerKey, message: &Message) {
        let (status, reason) = (480, "Temporarily Unavailable");
        self.station.answer(now, key, message, status, reason);
    }

    /// A lane to the edge that a client is at.
    fn lane_to(&self, row: RegistrationId) -> Option<FlowId> {
        let place = &self.registrar.get(row)?.draft.place;
        self.links.get(place.peer)?.lane(&place.token)
    }

    /// Another flow of a client's device that can be reached.
    fn next_flow(&self, row: RegistrationId) -> Option<(RegistrationId, FlowId)> {
        let others = self.registrar.other_flows(row);
        others
            .into_iter()
            .find_map(|id| Some((id, self.lane_to(id)?)))
    }

    fn send_outward(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        (row, lane, by_route): (RegistrationId, FlowId, bool),
        message: Message,
    ) {
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        if message.method() == Method::Invite && !in_dialog {
            return self.call_outside(now, key, Way { row, lane, flow }, by_route, message);
        }
        let Some(draft) = self.registrar.get(row).map(|b| b.draft.clone()) else {
            return;
        };
        self.carried(now, &message, self.who(row));
        let message = self.b2bua.map_references(Leg::Inside, &message);
        let message = limited(&message, self.link_hops(draft.place.peer));
        let mut edit = message.edit();
        // Whatever the dialog's route set says, the client is where it registered last.
        edit.remove(Name::Route);
        edit.push_front(Name::Route, &draft.place.path);
        if !in_dialog {
            if !by_route {
                edit.request_uri(&draft.contact);
            }
            let tls = self.is_tls(flow);
            if let Some(dialog) = DialogMark::begun(&message, End::To) {
                edit.push_front(Name::RecordRoute, self.record_route(row, dialog, tls));
            }
        }
        let request = edit.finish();
        let via = self.settings.edge_via();
        self.station.send_on(now, key, lane, via, request, u8::MAX);
    }

    /// The edge has lost the client that a request was for. What was registered there is gone; the
    /// request goes to the next flow of the device, or is answered.
    pub(super) fn flow_lost(&mut self, now: Now, key: ServerKey, request: &Message) {
        let row = self.registrar.locate(request).map(|(row, _)| row);
        let next = row.and_then(|row| self.fail_flow_of(now, row));
        let flow = self.station.transactions.server_flow(key);
        match next.zip(flow) {
            Some(((row, lane), flow)) => {
                self.send_outward(now, key, flow, (row, lane, false), request.clone());
            }
            None => self.away(now, key, request),
        }
    }

    /// A client's flow is gone; gives the next one of its device.
    fn fail_flow_of(&mut self, now: Now, row: RegistrationId) -> Option<(RegistrationId, FlowId)> {
        let next = self.next_flow(row);
        let place = self.registrar.get(row).map(|b| b.draft.place.clone())?;
        self.flow_failed(now, &place);
        next
    }

    /// The edge has lost the client that an INVITE was sent to, and nobody has heard of the call
    /// yet: it goes to the next flow of the device. Gives whether it does.
    pub(super) fn call_again(&mut self, now: Now, client: ClientKey) -> bool {
        let Some(call) = self.b2bua.call_under(client) else {
            return false;
        };
        let Some(place) = self.called.get(&call).cloned() else {
            return false;
        };
        let Some(row) = self.row_at(&place) else {
            return false;
        };
        let Some((row, lane)) = self.next_flow(row) else {
            return false;
        };
        let (b2bua, mut cx) = self.calls(now);
        let Some((key, invite)) = b2bua.withdraw(&mut cx, client) else {
            return false;
        };
        self.call_over(now, call);
        self.flow_failed(now, &place);
        if let Some(flow) = self.station.transactions.server_flow(key) {
            self.again = true;
            self.call_outside(now, key, Way { row, lane, flow }, false, invite);
            self.again = false;
        }
        true
    }

    fn row_at(&self, place: &Place) -> Option<RegistrationId> {
        let mut rows = self.registrar.on_flow(place.peer, &place.token);
        rows.next().map(|(id, _)| id)
    }
}
