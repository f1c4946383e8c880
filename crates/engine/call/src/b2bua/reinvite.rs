//! INVITE within a call: hold, resume, target and session refresh, added media.

use base::Id;
use sip::transaction::ServerKey;
use sip::{Message, Method};

use super::call::{End, Phase, Unacked};
use super::invite::Moved;
use super::relay::hidden;
use super::{B2bua, Cause, Context, EndedBy, Event, GONE, Refusal};

impl B2bua {
    pub(super) fn reinvite(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        fork: usize,
        key: ServerKey,
        message: &Message,
    ) -> Result<(), Refusal> {
        let call = self.calls.get(id).ok_or(GONE)?;
        if call.phase != Phase::Answered(fork) {
            // RFC 3261 §14.2: the INVITE that it is in the middle of is its own, or ours.
            return Err(match from {
                End::Caller => Refusal::new(500, "Another INVITE Pending"),
                End::Callee => Refusal::new(491, "Request Pending"),
            });
        }
        // RFC 3261 §14.2: one INVITE at a time. The same end's second gets 500, the other end's
        // 491, so that both back off by different times.
        let under_way = call.exchanges.iter().filter(|e| e.method == Method::Invite);
        let mut waiting = under_way
            .map(|e| e.server.map(|_| e.from))
            .chain(call.unacked.iter().map(|u| Some(u.from)));
        // One of our own, which refreshes the session, is nobody's second.
        if let Some(other) = waiting.next() {
            return Err(if other == Some(from) {
                Refusal::new(500, "Another INVITE Pending")
            } else {
                Refusal::new(491, "Request Pending")
            });
        }
        if call.bridge.is_pending() {
            return Err(Refusal::new(491, "Request Pending"));
        }
        cx.transactions
            .respond(cx.now, key, message.reply(100, "Trying", "").build());
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

    pub(super) fn reinvite_response(
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
        let (from, fork, client) = (exchange.from, exchange.fork, exchange.client);
        let (offer, cseq_out) = (exchange.offer, exchange.cseq);
        let request = exchange.request.clone();
        let cseq_in = exchange
            .request
            .cseq()
            .map(|c| c.number)
            .unwrap_or_default();
        match response.status() {
            101..=199 => {
                let moved = self.bridge_body(cx, id, from.other(), response, offer);
                let moved = moved.unwrap_or(Moved::Drop);
                self.pass_back(cx, id, at, server, response, moved.as_body());
            }
            200..=299 => {
                let moved = match self.bridge_body(cx, id, from.other(), response, offer) {
                    Ok(moved) => moved,
                    Err(error) => {
                        self.tell(Some(id), Event::MediaRefused(error));
                        return self.refuse_answer(cx, id, at, Cause::Media(error));
                    }
                };
                let wants_answer = !offer && matches!(moved, Moved::New(..));
                let reliable = cx.transactions.server_reliable(server).unwrap_or(true);
                let shown = self.session_shown(id, &request, response);
                let out = self.pass_back(cx, id, at, server, &shown, moved.as_body());
                self.done(id, client, true);
                let Some(response_out) = out else { return };
                self.await_ack(
                    cx,
                    id,
                    Unacked {
                        server,
                        client,
                        from,
                        fork,
                        cseq_in,
                        cseq_out,
                        wants_answer,
                        response: response_out,
                        reliable,
                        wait_ms: 500,
                        since: cx.now.instant,
                        timer: None,
                    },
                );
                self.session_settled(cx, id, from, &request, response);
                if offer {
                    // Accepted without an answer: nothing has changed.
                    self.roll_back(cx, id);
                    self.tell(Some(id), Event::MediaChanged);
                }
            }
            _ => {
                self.pass_back(cx, id, at, server, response, hidden(response));
                self.done(id, client, true);
                self.roll_back(cx, id);
            }
        }
    }

    /// The other end accepted a change in a way that cannot be bridged: there is no going back
    /// from its 2xx, so the call ends.
    fn refuse_answer(&mut self, cx: &mut Context<'_>, id: Id, at: usize, cause: Cause) {
        let Some(exchange) = self.calls.get(id).and_then(|c| c.exchanges.get(at)) else {
            return;
        };
        let (server, client) = (exchange.server, exchange.client);
        let answer = exchange
            .request
            .reply(488, "Not Acceptable Here", "")
            .build();
        self.acknowledge_exchange(cx, id, at);
        if let Some(server) = server {
            cx.transactions.respond(cx.now, server, answer);
        }
        self.done(id, client, true);
        self.hang_up(cx, id, EndedBy::Us, cause, 488, "Not Acceptable Here");
    }

    /// A response to an INVITE whose call is over: its sender was answered 487, and a 2xx is
    /// owed nothing but its ACK.
    pub(super) fn reinvite_outlived(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        at: usize,
        response: &Message,
    ) {
        let Some(exchange) = self.calls.get(id).and_then(|c| c.exchanges.get(at)) else {
            return;
        };
        let client = exchange.client;
        if (200..300).contains(&response.status()) {
            self.acknowledge_exchange(cx, id, at);
        }
        self.done(id, client, response.status() >= 200);
    }

    pub(super) fn acknowledge_exchange(&mut self, cx: &mut Context<'_>, id: Id, at: usize) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let Some(exchange) = call.exchanges.get(at) else {
            return;
        };
        let to = exchange.from.other();
        let (fork, cseq, client) = (exchange.fork, exchange.cseq, exchange.client);
        let face = call.leg(to).face.clone();
        if let Some(pair) = call.forks.get_mut(fork) {
            let ack = pair.dialog(to).ack(cseq).build();
            cx.transactions.send(face.flow, &ack, &face.via);
            pair.acked(to, client, ack);
        }
    }
}
