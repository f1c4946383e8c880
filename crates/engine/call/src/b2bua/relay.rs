//! Requests that only pass: INFO, REFER, NOTIFY, MESSAGE, SUBSCRIBE, OPTIONS and what we do not
//! know; and the way of every request within a dialog and of its responses.

use base::Id;
use sip::transaction::{ClientKey, ServerKey, Why};
use sip::{Message, Method};

use super::body::{self, Body};
use super::bridge::MediaError;
use super::call::{End, Exchange, Phase};
use super::invite::Moved;
use super::own::AWAY;
use super::{B2bua, Cause, Context, EndedBy, Event, GONE, Refusal, cross, refuse, session};

impl B2bua {
    /// Carries a request across as it is, but for the dialogs that it names.
    pub(super) fn relay(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        fork: usize,
        key: ServerKey,
        message: &Message,
    ) -> Result<(), Refusal> {
        let side = self.calls.get(id).ok_or(GONE)?.leg(from).side;
        let moved = self.map_references(side, message);
        self.carry(cx, id, from, fork, key, message, &moved, Body::Same, false)
    }

    /// Carries `message` across; `original` is what came in, whose responses go back.
    #[expect(
        clippy::too_many_arguments,
        reason = "the whole of what a crossing request is"
    )]
    pub(super) fn carry(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        fork: usize,
        key: ServerKey,
        original: &Message,
        message: &Message,
        body: Body<'_>,
        offer: bool,
    ) -> Result<(), Refusal> {
        let hops = cross::hops(message).ok_or(Refusal::new(483, "Too Many Hops"))?;
        let limit = self.settings.exchanges_max;
        let interval = self.session_seconds(id);
        let call = self.calls.get_mut(id).ok_or(GONE)?;
        if call.exchanges.len() >= limit {
            return Err(Refusal::new(500, "Too Many Requests Pending"));
        }
        let to = from.other();
        let face = call.leg(to).face.clone();
        let refreshes = matches!(message.method(), Method::Invite | Method::Update);
        let asking = match call.phase {
            Phase::Answered(_) if refreshes => {
                Some(session::asking(message, interval, call.session.least))
            }
            _ => None,
        };
        let message = asking.as_ref().unwrap_or(message);
        let dialog = call.forks.get_mut(fork).ok_or(GONE)?.dialog_mut(to);
        let cseq = dialog.next_cseq();
        let out = cross::request(message, dialog, cseq, hops, &face.contact, body);
        let client = cx
            .transactions
            .request(cx.now, face.flow, face.reliable, &out, &face.via)
            .map_err(super::unsent)?;
        call.open += 1;
        call.exchanges.push(Exchange {
            server: Some(key),
            client,
            from,
            fork,
            request: original.clone(),
            method: original.method(),
            offer,
            cseq,
            cancelled: false,
        });
        self.by_server.insert(key, id);
        self.by_client.insert(client, id);
        Ok(())
    }

    /// A response to a request that was carried across, or to a BYE of our own.
    pub(super) fn exchange_response(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        client: ClientKey,
        response: &Message,
    ) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let Some(at) = call.exchanges.iter().position(|e| e.client == client) else {
            // A 2xx to a re-INVITE that is already done.
            let known = call.forks.iter().enumerate().find_map(|(i, fork)| {
                let acked = fork.acks.iter().find(|a| a.client == client)?;
                Some((i, acked.to))
            });
            match known {
                Some((fork, end)) if response.status() >= 200 => {
                    self.repeat_ack(cx, id, end, fork);
                }
                Some(_) => {}
                None => B2bua::acknowledge_forsaken(cx, call, response),
            }
            return;
        };
        if response.status() == 100 {
            return;
        }
        let fin = response.status() >= 200;
        let Some(exchange) = call.exchanges.get(at) else {
            return;
        };
        if fin && let Some(pair) = call.forks.get_mut(exchange.fork) {
            pair.dialog_mut(exchange.from.other()).answered(response);
        }
        if !matches!(response.status(), 408 | 430 | 481) {
            call.doubt.met(exchange.from.other());
        }
        if exchange.server.is_some() && self.is_ours(cx, id, at, response) {
            return;
        }
        self.hand_back(cx, id, at, response);
    }

    /// A response to the request at this place is the sender's, or to a request of ours.
    fn hand_back(&mut self, cx: &mut Context<'_>, id: Id, at: usize, response: &Message) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let Some(exchange) = call.exchanges.get(at) else {
            return;
        };
        let (client, fin) = (exchange.client, response.status() >= 200);
        let (over, ours) = (call.phase == Phase::Ending, exchange.server.is_none());
        // The other end does not know the dialog any more (RFC 3261 §12.2.1.2, RFC 5057).
        let lost = (response.status() == 481 || response.status() == 408 && !ours)
            && exchange.method != Method::Bye
            && call.phase == Phase::Answered(exchange.fork);
        match (exchange.method, exchange.server) {
            (_, None) if !fin => {}
            (Method::Options, None) => {
                let end = call.exchanges.swap_remove(at).from.other();
                self.probed(cx, id, end, Some(response.status()));
            }
            (Method::Invite | Method::Update, None) if !over => {
                self.refreshed(cx, id, at, response);
            }
            (Method::Invite, _) if over => self.reinvite_outlived(cx, id, at, response),
            (_, None) => drop(call.exchanges.swap_remove(at)),
            (_, Some(server)) if over => {
                self.pass_back(cx, id, at, server, response, hidden(response));
                self.done(id, client, fin);
            }
            (Method::Invite, Some(server)) => self.reinvite_response(cx, id, at, server, response),
            (Method::Update, Some(server)) => self.update_response(cx, id, at, server, response),
            (Method::Prack, Some(server)) => self.prack_response(cx, id, at, server, response),
            (_, Some(server)) => {
                // What another method's answer says of media (OPTIONS) is true of one leg only.
                self.pass_back(cx, id, at, server, response, hidden(response));
                self.done(id, client, fin);
            }
        }
        if lost {
            let status = response.status();
            self.hang_up(
                cx,
                id,
                EndedBy::Us,
                Cause::Status(status),
                status,
                "Dialog Is Gone",
            );
        }
    }

    /// Whether a refusal of the other party's request is not for it to hear, and was dealt with.
    fn is_ours(&mut self, cx: &mut Context<'_>, id: Id, at: usize, response: &Message) -> bool {
        match response.status() {
            408 => self.missed_by_edge(cx, id, at),
            422 if self.asks_again(id, at, response) => {
                self.ask_anew_at(cx, id, at);
                true
            }
            _ => false,
        }
    }

    /// An edge says that nothing came in answer to the other party's request. Gives whether the
    /// asker was told so that the call goes on.
    fn missed_by_edge(&mut self, cx: &mut Context<'_>, id: Id, at: usize) -> bool {
        let Some(exchange) = self.calls.get(id).and_then(|call| call.exchanges.get(at)) else {
            return false;
        };
        let (asked, method) = ((exchange.from.other(), exchange.fork), exchange.method);
        if !self.client_missed(cx, id, asked, method) {
            return false;
        }
        let Some(call) = self.calls.get_mut(id) else {
            return false;
        };
        let exchange = call.exchanges.swap_remove(at);
        if let Some(server) = exchange.server {
            refuse(cx, server, &exchange.request, &AWAY);
        }
        if exchange.offer || exchange.method == Method::Invite {
            self.roll_back(cx, id);
        }
        true
    }

    /// Gives a response to the end its request came from.
    pub(super) fn pass_back(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        at: usize,
        server: ServerKey,
        response: &Message,
        body: Body<'_>,
    ) -> Option<Message> {
        let call = self.calls.get(id)?;
        let exchange = call.exchanges.get(at)?;
        let contact = &call.leg(exchange.from).face.contact;
        let out = cross::response(&exchange.request, response, b"", contact, body);
        cx.transactions.respond(cx.now, server, out.clone());
        Some(out)
    }

    /// Takes an answered exchange off the table.
    pub(super) fn done(&mut self, id: Id, client: ClientKey, fin: bool) {
        if fin && let Some(call) = self.calls.get_mut(id) {
            call.exchanges.retain(|e| e.client != client);
        }
    }

    /// No response came to a request.
    pub(super) fn failed(&mut self, cx: &mut Context<'_>, id: Id, key: ClientKey, why: Why) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.client == Some(key) {
            if call.phase == Phase::Calling {
                self.invite_failed(cx, id, why);
            }
            return;
        }
        let Some(at) = call.exchanges.iter().position(|e| e.client == key) else {
            return;
        };
        let exchange = call.exchanges.swap_remove(at);
        let Some(server) = exchange.server else {
            // A connection that is gone is replaced; silence is an answer.
            if exchange.method == Method::Options && why == Why::Timeout {
                self.probed(cx, id, exchange.from.other(), None);
            } else if session::is_refresh(&exchange) {
                self.refresh_failed(cx, id, &exchange, why);
            }
            return;
        };
        let asked = (exchange.from.other(), exchange.fork);
        let missed = why == Why::Timeout && self.client_missed(cx, id, asked, exchange.method);
        // The other end of a BYE is gone anyway; for the rest 408 says so (RFC 3261 §12.2.1.2).
        let (status, text) = match (exchange.method, why) {
            (Method::Bye, _) => (200, "OK"),
            (_, Why::Timeout) => (408, "Request Timeout"),
            (_, Why::FlowDown) => (480, "Temporarily Unavailable"),
        };
        if missed {
            refuse(cx, server, &exchange.request, &AWAY);
        } else {
            let answer = exchange.request.reply(status, text, "").build();
            cx.transactions.respond(cx.now, server, answer);
        }
        if exchange.offer || exchange.method == Method::Invite {
            self.roll_back(cx, id);
        }
        // An end that is silent is gone; a connection that is gone is replaced.
        let stands = self.calls.get(id).map(|c| c.phase) == Some(Phase::Answered(exchange.fork));
        if stands && why == Why::Timeout && exchange.method != Method::Bye && !missed {
            self.hang_up(cx, id, EndedBy::Us, Cause::Timeout, 408, "Request Timeout");
        }
    }

    /// The description in a message that comes from `from`, as the other end gets it.
    pub(super) fn bridge_body(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        message: &Message,
        answers: bool,
    ) -> Result<Moved, MediaError> {
        let Some(range) = body::description(message) else {
            let hidden = body::carries_description(message);
            return if hidden {
                Err(MediaError::Unreadable)
            } else {
                Ok(Moved::Same)
            };
        };
        let text = message.body().get(range.clone()).unwrap_or_default();
        let early = !message.is_request() && message.status() < 200;
        let new = if answers {
            self.bridge_answer(cx, id, from, text, early)?
        } else {
            self.bridge_offer(cx, id, from, text)?
        };
        Ok(Moved::New(range, new))
    }

    pub(super) fn media_refused(&mut self, id: Id, error: MediaError) -> Refusal {
        self.tell(Some(id), Event::MediaRefused(error));
        Refusal::media(error)
    }
}

/// The body of a response whose description, if any, is not to be bridged.
pub(super) fn hidden(response: &Message) -> Body<'static> {
    if body::carries_description(response) {
        Body::Drop
    } else {
        Body::Same
    }
}
