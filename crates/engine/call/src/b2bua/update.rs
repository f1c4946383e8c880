//! UPDATE (RFC 3311): offers and session refreshes outside an INVITE.

use base::Id;
use sip::transaction::ServerKey;
use sip::{Message, Method};

use super::body::{self, Body};
use super::call::{End, Phase};
use super::invite::Moved;
use super::relay::hidden;
use super::{B2bua, Cause, Context, EndedBy, Event, GONE, Refusal};

impl B2bua {
    pub(super) fn update(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        fork: usize,
        key: ServerKey,
        message: &Message,
    ) -> Result<(), Refusal> {
        let call = self.calls.get(id).ok_or(GONE)?;
        if body::carries_description(message) {
            // RFC 3311 §5.2: one offer at a time.
            let same = call
                .exchanges
                .iter()
                .any(|e| e.method == Method::Update && e.from == from && e.server.is_some());
            if same {
                return Err(Refusal::new(500, "Another UPDATE Pending"));
            }
            if call.bridge.is_pending() {
                return Err(Refusal::new(491, "Request Pending"));
            }
        }
        let moved = self
            .bridge_body(cx, id, from, message, false)
            .map_err(|error| self.media_refused(id, error))?;
        let offer = matches!(moved, Moved::New(..));
        let sent = self.carry(
            cx,
            id,
            from,
            fork,
            key,
            message,
            message,
            moved.as_body(),
            offer,
        );
        if sent.is_err() && offer {
            self.roll_back(cx, id);
        }
        sent
    }

    /// Once a call is answered, an UPDATE's answer is its last; before that the INVITE's may come.
    fn seal_update(&mut self, id: Id) {
        if let Some(call) = self.calls.get_mut(id)
            && matches!(call.phase, Phase::Answered(_))
        {
            call.bridge.seal();
        }
    }

    pub(super) fn update_response(
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
        let request = exchange.request.clone();
        match response.status() {
            101..=199 => {
                self.pass_back(cx, id, at, server, response, Body::Same);
            }
            200..=299 => {
                let moved = if offer {
                    self.bridge_body(cx, id, from.other(), response, true)
                } else if body::carries_description(response) {
                    Ok(Moved::Drop) // answers nothing
                } else {
                    Ok(Moved::Same)
                };
                let body = moved.as_ref().map_or(Body::Drop, Moved::as_body);
                let shown = self.session_shown(id, &request, response);
                self.pass_back(cx, id, at, server, &shown, body);
                self.done(id, client, true);
                self.seal_update(id);
                match moved {
                    Ok(_) if offer => {
                        // Accepted without an answer: nothing has changed.
                        self.roll_back(cx, id);
                        self.session_settled(cx, id, from, &request, response);
                        self.tell(Some(id), Event::MediaChanged);
                    }
                    Ok(_) => self.session_settled(cx, id, from, &request, response),
                    Err(error) => {
                        self.tell(Some(id), Event::MediaRefused(error));
                        let cause = Cause::Media(error);
                        self.hang_up(cx, id, EndedBy::Us, cause, 488, "Not Acceptable Here");
                    }
                }
            }
            _ => {
                self.pass_back(cx, id, at, server, response, hidden(response));
                self.done(id, client, true);
                if offer {
                    self.roll_back(cx, id);
                }
            }
        }
    }
}
