//! ACKs for 2xx responses, both ways: carried across, repeated, or missed.
//!
//! A 2xx is end to end (RFC 3261 §13.3.1.4): on an unreliable flow it is sent again, T1 doubling
//! to T2, until the ACK comes; without one for 64*T1 the call ends.

use std::time::Duration;

use base::Id;
use sip::transaction::ServerKey;
use sip::{Message, Name};

use super::body::{self, Body};
use super::bridge::MediaError;
use super::call::{End, Side, Tick, Unacked};
use super::invite::Moved;
use super::{B2bua, Cause, Context, EndedBy, Event, cross};

/// T2, in milliseconds.
const WAIT_MAX_MS: u64 = 4_000;

/// 64*T1.
const GIVE_UP: Duration = Duration::from_secs(32);

impl B2bua {
    /// Takes an ACK for a 2xx. One that fits nothing is dropped.
    pub fn ack(&mut self, cx: &mut Context<'_>, from: Side, message: &Message) {
        let Some((id, end, fork)) = self.find(from, message) else {
            return;
        };
        let Ok(cseq) = message.cseq().map(|c| c.number) else {
            return;
        };
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let waiting = call
            .unacked
            .iter()
            .position(|u| u.from == end && u.fork == fork && u.cseq_in == cseq);
        let Some(unacked) = waiting.map(|at| call.unacked.swap_remove(at)) else {
            return;
        };
        if let Some(timer) = unacked.timer {
            self.timers.disarm(timer);
        }
        let moved = if unacked.wants_answer {
            match body::description(message) {
                None => Err(MediaError::NoAnswer),
                Some(_) => self.bridge_body(cx, id, end, message, true),
            }
        } else if body::carries_description(message) {
            Ok(Moved::Drop) // nothing to answer
        } else {
            Ok(Moved::Same)
        };
        let body = moved.as_ref().map_or(Body::Drop, Moved::as_body);
        self.pass_ack(cx, id, &unacked, message, body);
        if let Some(call) = self.calls.get_mut(id) {
            call.bridge.seal();
        }
        self.session_trim(id);
        match moved {
            Ok(_) if unacked.wants_answer => self.tell(Some(id), Event::MediaChanged),
            Ok(_) => {}
            Err(error) => {
                self.tell(Some(id), Event::MediaRefused(error));
                let cause = Cause::Media(error);
                self.hang_up(cx, id, EndedBy::Us, cause, 488, "Not Acceptable Here");
            }
        }
    }

    fn pass_ack(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        unacked: &Unacked,
        message: &Message,
        body: Body<'_>,
    ) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let to = unacked.from.other();
        let face = call.leg(to).face.clone();
        let Some(fork) = call.forks.get_mut(unacked.fork) else {
            return;
        };
        let hops = cross::hops(message).unwrap_or(1);
        let ack = cross::request(
            message,
            fork.dialog(to),
            unacked.cseq_out,
            hops,
            &face.contact,
            body,
        );
        cx.transactions.send(face.flow, &ack, &face.via);
        fork.acked(to, unacked.client, ack);
    }

    /// A 2xx has gone out; its ACK is awaited.
    pub(super) fn await_ack(&mut self, cx: &mut Context<'_>, id: Id, mut unacked: Unacked) {
        let wait = if unacked.reliable {
            GIVE_UP
        } else {
            Duration::from_millis(unacked.wait_ms)
        };
        let tick = Tick::Resend(id, unacked.server);
        unacked.timer = Some(self.timers.arm(cx.now.instant + wait, tick));
        if let Some(call) = self.calls.get_mut(id) {
            call.unacked.push(unacked);
        }
    }

    /// Sends a 2xx once more, or gives up on its ACK.
    pub(super) fn resend(&mut self, cx: &mut Context<'_>, id: Id, server: ServerKey) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let Some(unacked) = call.unacked.iter_mut().find(|u| u.server == server) else {
            return;
        };
        unacked.timer = None;
        if cx.now.instant - unacked.since >= GIVE_UP {
            // Whatever we could not pass on must still be acknowledged before the BYE.
            self.acknowledge_for(cx, id, server);
            return self.hang_up(cx, id, EndedBy::Us, Cause::NoAck, 408, "No ACK");
        }
        cx.transactions
            .respond(cx.now, server, unacked.response.clone());
        unacked.wait_ms = (unacked.wait_ms * 2).min(WAIT_MAX_MS);
        let left = GIVE_UP.saturating_sub(cx.now.instant - unacked.since);
        let wait = Duration::from_millis(unacked.wait_ms).min(left);
        unacked.timer = Some(
            self.timers
                .arm(cx.now.instant + wait, Tick::Resend(id, server)),
        );
    }

    /// Acknowledges by ourselves what an end never did.
    fn acknowledge_for(&mut self, cx: &mut Context<'_>, id: Id, server: ServerKey) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let Some(at) = call.unacked.iter().position(|u| u.server == server) else {
            return;
        };
        let unacked = call.unacked.swap_remove(at);
        let to = unacked.from.other();
        let face = call.leg(to).face.clone();
        let Some(fork) = call.forks.get_mut(unacked.fork) else {
            return;
        };
        let ack = fork.dialog(to).ack(unacked.cseq_out).build();
        cx.transactions.send(face.flow, &ack, &face.via);
        fork.acked(to, unacked.client, ack);
    }

    /// Acknowledges a 2xx of the callee to the first INVITE by ourselves: nobody else will.
    pub(super) fn acknowledge(&mut self, cx: &mut Context<'_>, id: Id, fork: usize) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let (Some(client), Some(opening)) = (call.client, &call.opening) else {
            return;
        };
        let cseq = opening.sent.cseq().map(|c| c.number).unwrap_or_default();
        let face = call.callee.face.clone();
        let Some(pair) = call.forks.get_mut(fork) else {
            return;
        };
        let mut ack = pair.callee.ack(cseq);
        if let Some(agent) = opening.received.header(Name::UserAgent) {
            ack = ack.header(Name::UserAgent, agent);
        }
        let ack = ack.build();
        cx.transactions.send(face.flow, &ack, &face.via);
        pair.acked(End::Callee, client, ack);
    }

    /// A 2xx came once more: so does its ACK, if there was one yet.
    pub(super) fn repeat_ack(&mut self, cx: &mut Context<'_>, id: Id, to: End, fork: usize) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        let face = &call.leg(to).face;
        if let Some(ack) = call.forks.get(fork).and_then(|f| f.ack_to(to)) {
            cx.transactions.send(face.flow, ack, &face.via);
        }
    }

    /// Stops waiting for every ACK of a call.
    pub(super) fn forget_acks(&mut self, id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        for unacked in call.unacked.drain(..) {
            if let Some(timer) = unacked.timer {
                self.timers.disarm(timer);
            }
        }
    }
}
