//! PRACK (RFC 3262): reliable provisional responses, end to end. Its RAck names the INVITE's
//! CSeq, which differs between the legs.

use base::Id;
use sip::dialog::RAck;
use sip::transaction::ServerKey;
use sip::{HeaderError, Message, Name};

use super::body;
use super::call::End;
use super::invite::Moved;
use super::{B2bua, Context, Event, GONE, Refusal};

impl B2bua {
    pub(super) fn prack(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        fork: usize,
        key: ServerKey,
        message: &Message,
    ) -> Result<(), Refusal> {
        let call = self.calls.get(id).ok_or(GONE)?;
        let rack = RAck::read(message).map_err(|error| match error {
            HeaderError::Missing(_) => Refusal::new(400, "No RAck"),
            HeaderError::Malformed(_) => Refusal::new(400, "Bad RAck"),
        })?;
        // Towards `from` the INVITE has the number in RAck; find its number on the other leg.
        let same = |request: &Message| request.cseq().is_ok_and(|c| c.number == rack.cseq);
        let crossing = call
            .exchanges
            .iter()
            .find(|e| e.from == from && same(&e.request));
        let number = match crossing {
            Some(exchange) => exchange.cseq,
            None => {
                let opening = call.opening.as_ref().filter(|_| from == End::Caller);
                let opening = opening.filter(|o| same(&o.received)).ok_or(GONE)?;
                opening.sent.cseq().map(|c| c.number).unwrap_or_default()
            }
        };
        let mut edit = message.edit();
        edit.set(Name::RAck, rack.value(number));
        let moved_rack = edit.finish();
        // The answer to an offer in a reliable provisional, or else an offer of its own.
        let answers = call.bridge.is_pending();
        let moved = self
            .bridge_body(cx, id, from, message, answers)
            .map_err(|error| self.media_refused(id, error))?;
        let offer = !answers && matches!(moved, Moved::New(..));
        let sent = self.carry(
            cx,
            id,
            from,
            fork,
            key,
            message,
            &moved_rack,
            moved.as_body(),
            offer,
        );
        if sent.is_err() && offer {
            self.roll_back(cx, id);
        }
        sent
    }

    pub(super) fn prack_response(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        at: usize,
        server: ServerKey,
        response: &Message,
    ) {
        let Some(exchange) = self.calls.get(id).and_then(|c| c.exchanges.get(at)) else {
            return;
        };
        let (from, client, offer) = (exchange.from, exchange.client, exchange.offer);
        let fin = response.status() >= 200;
        let moved = if offer && (200..300).contains(&response.status()) {
            self.bridge_body(cx, id, from.other(), response, true)
                .unwrap_or_else(|error| {
                    self.tell(Some(id), Event::MediaRefused(error));
                    Moved::Drop
                })
        } else if body::carries_description(response) {
            Moved::Drop // answers nothing
        } else {
            Moved::Same
        };
        self.pass_back(cx, id, at, server, response, moved.as_body());
        self.done(id, client, fin);
        if offer && fin {
            self.roll_back(cx, id);
        }
    }
}
