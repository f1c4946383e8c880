//! What edge and core have in common below their rules: connections, transactions, the proxy,
//! and the way out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use base::{Instant, Now, Rng};
use sip::proxy::{self, Proxy, Reply};
use sip::transaction::{self, Event, Room, ServerKey, Transactions, ViaOptions};
use sip::{FlowId, Message, Method, Name};

use crate::flows::Flows;
use crate::io::{ConnId, Facts, Output, Side, Target};
use crate::resting::Resting;

/// Something a node has to decide about.
pub(crate) enum Item {
    /// Of the transaction layer, and no part of a proxied request.
    Event(Event),
    /// A response to a proxied request, before it is sent.
    Reply(Reply),
}

/// The SIP machinery of a node.
pub(crate) struct Station {
    pub(crate) flows: Flows,
    pub(crate) transactions: Transactions,
    pub(crate) proxy: Proxy,
    pub(crate) out: VecDeque<Output>,
    pub(crate) rng: Rng,
    /// What waits for who was on a flow that is gone.
    resting: Resting,
}

impl Station {
    pub(crate) fn new(rng: &mut Rng, flows_max: usize) -> Self {
        Station {
            flows: Flows::new(flows_max),
            transactions: Transactions::new(rng.fork(), transaction::Limits::default()),
            proxy: Proxy::new(proxy::Settings::default()),
            out: VecDeque::new(),
            rng: rng.fork(),
            resting: Resting::default(),
        }
    }

    /// The next thing to decide; sends what needs no decision.
    pub(crate) fn next(&mut self, now: Now) -> Option<Item> {
        loop {
            if let Some(reply) = self.proxy.poll_reply() {
                return Some(Item::Reply(reply));
            }
            match self.transactions.poll_output()? {
                transaction::Output::Send { flow, bytes } if self.resting.is(flow) => {
                    self.resting.keep(flow, bytes);
                }
                transaction::Output::Send { flow, .. } if self.flows.get(flow).is_none() => {
                    // It was gone before this was written: nobody else will say so.
                    self.transactions.flow_down(now, flow);
                }
                transaction::Output::Send { flow, bytes } => {
                    if self.flows.get(flow).is_none() {
                        // A connection that went before it was sent on fails at once, not by
                        // timeout.
                        self.transactions.flow_down(now, flow);
                    }
                    self.out.extend(self.flows.send(flow, bytes));
                }
                transaction::Output::Event(event) => {
                    if let Some(event) = self.proxy.handle(now, &mut self.transactions, event) {
                        return Some(Item::Event(event));
                    }
                }
            }
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.transactions.handle_timeout(now);
        self.proxy.handle_timeout(now, &mut self.transactions);
        while let Some(flow) = self.resting.pop(now.instant) {
            self.transactions.flow_down(now, flow);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [
            self.transactions.poll_timeout(),
            self.proxy.poll_timeout(),
            self.resting.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A connection came in; `None` if there is no room, and it is closed.
    pub(crate) fn accepted(&mut self, conn: ConnId, facts: Facts) -> Option<FlowId> {
        let flow = self.flows.accepted(conn, &facts);
        match flow {
            None => self.out.push_back(Output::Close { conn }),
            Some(flow) if facts.side != Side::Client => self.shared(flow, facts.side),
            Some(_) => {}
        }
        flow
    }

    /// A connection carries the requests of many.
    fn shared(&mut self, flow: FlowId, side: Side) {
        self.transactions.share(flow);
        if matches!(side, Side::Lane { .. }) {
            // The other node reads with these.
            let limits = sip::Limits::lane();
            let bytes_max = usize::MAX;
            self.transactions
                .give_room(flow, Room { limits, bytes_max });
        }
    }

    /// A dialled connection stands: what waited for it leaves.
    pub(crate) fn connected(&mut self, conn: ConnId, facts: Facts) {
        let waiting = self.flows.connected(conn, &facts);
        self.out.extend(
            waiting
                .into_iter()
                .map(|bytes| Output::Send { conn, bytes }),
        );
    }

    /// A connection to `target`: the one that is there, or a new one.
    pub(crate) fn dial(&mut self, target: Target) -> Option<FlowId> {
        if let Some(flow) = self.flows.dialled_to(&target) {
            return Some(flow);
        }
        let (flow, output) = self.flows.dial(target)?;
        self.out.push_back(output);
        self.shared(flow, Side::Inside);
        Some(flow)
    }

    /// A connection is gone, and with it what waited on it.
    pub(crate) fn gone(&mut self, now: Now, conn: ConnId) -> Option<(FlowId, Option<Side>)> {
        self.gone_for(now, conn, None)
    }

    /// The same; if `rest` is a time, what is under way waits so long for [`Station::moved`].
    pub(crate) fn gone_for(
        &mut self,
        now: Now,
        conn: ConnId,
        rest: Option<Duration>,
    ) -> Option<(FlowId, Option<Side>)> {
        let (flow, row) = self.flows.gone(conn)?;
        match rest {
            Some(rest) => self.resting.begin(now.instant + rest, flow),
            None => self.transactions.flow_down(now, flow),
        }
        let dialled = row.target().map(|_| Side::Inside);
        Some((flow, row.side().or(dialled)))
    }

    /// Who was on a flow is on another one now.
    pub(crate) fn moved(&mut self, from: FlowId, to: FlowId) {
        let kept = self.resting.end(from);
        let sent = kept.into_iter().filter_map(|b| self.flows.send(to, b));
        self.out.extend(sent);
        self.transactions.moved(from, to);
    }

    /// Whether a flow is gone, and who was on it may come back on another.
    pub(crate) fn is_resting(&self, flow: FlowId) -> bool {
        self.resting.is(flow)
    }

    /// Flows that are gone, and waited for.
    pub(crate) fn resting_len(&self) -> usize {
        self.resting.len()
    }

    pub(crate) fn close(&mut self, flow: FlowId) {
        if let Some(row) = self.flows.get(flow) {
            self.out.push_back(Output::Close { conn: row.conn });
        }
    }

    pub(crate) fn side(&self, flow: FlowId) -> Option<Side> {
        self.flows.get(flow)?.side()
    }

    pub(crate) fn remote(&self, flow: FlowId) -> Option<SocketAddr> {
        self.flows.get(flow)?.remote()
    }

    pub(crate) fn respond(&mut self, now: Now, key: ServerKey, message: Message) {
        self.transactions.respond(now, key, message);
    }

    /// Answers with nothing but a status.
    pub(crate) fn answer(
        &mut self,
        now: Now,
        key: ServerKey,
        request: &Message,
        status: u16,
        reason: &str,
    ) {
        if request.method() != Method::Ack {
            let tag = self.rng.hex(8);
            self.respond(now, key, request.reply(status, reason, &tag).build());
        }
    }

    /// Sends a request on to one flow, with at most some Max-Forwards.
    pub(crate) fn send_on(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        via: ViaOptions,
        request: Message,
        hops_max: u8,
    ) {
        let target = proxy::Target {
            hops_max,
            flow,
            reliable: true,
            via,
            request,
        };
        self.proxy
            .forward(now, &mut self.transactions, key, vec![target]);
    }

    /// Gives up an INVITE that was sent on and that nobody has answered; whether there was one.
    pub(crate) fn give_up(&mut self, now: Now, key: ServerKey) -> bool {
        self.proxy.give_up(now, &mut self.transactions, key)
    }

    /// Sends on the ACK of a 2xx, which belongs to no transaction. It loses a hop like any other
    /// request (RFC 3261 §16.6 step 3); without one left it goes nowhere, and nobody is answered.
    pub(crate) fn ack_on(&mut self, flow: FlowId, via: &ViaOptions, ack: &Message) {
        let hops = match ack.max_forwards() {
            Ok(None) => proxy::Settings::default().max_forwards,
            Ok(Some(0)) | Err(_) => return,
            Ok(Some(hops)) => hops - 1,
        };
        self.transactions.send_changed(flow, ack, via, |edit| {
            edit.set(Name::MaxForwards, hops.to_string());
        });
    }

    /// The message with the sender's true address in its Via (RFC 3261 §18.2.1, RFC 3581).
    pub(crate) fn with_source(&self, flow: FlowId, message: &Message) -> Message {
        self.remote(flow)
            .map_or_else(|| message.clone(), |a| transaction::received(message, a))
    }
}

/// Whether a request belongs to a dialog.
pub(crate) fn in_dialog(message: &Message) -> bool {
    message.to().is_ok_and(|to| to.tag().is_some())
}

/// A message with at most this Max-Forwards.
pub(crate) fn limited(message: &Message, hops: u8) -> Message {
    match message.max_forwards() {
        Ok(there) if there.is_none_or(|there| there > hops) => {
            let mut edit = message.edit();
            edit.set(Name::MaxForwards, hops.to_string());
            edit.finish()
        }
        _ => message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sip::transaction::Why;

    #[test]
    fn an_ack_loses_a_hop_and_goes_nowhere_without_one() {
        let mut station = Station::new(&mut Rng::from_number(1), 4);
        let via = ViaOptions {
            transport: "TLS",
            sent_by: "b".into(),
            parameters: String::new(),
        };
        let facts = Facts {
            side: Side::Client,
            local: SocketAddr::from(([203, 0, 113, 1], 5061)),
            remote: SocketAddr::from(([198, 51, 100, 1], 40_000)),
            transport: crate::io::Transport::Tls,
            peer_name: None,
        };
        let flow = station.accepted(ConnId(1), facts).unwrap();
        for (given, sent) in [("70", Some(69)), ("1", Some(0)), ("0", None)] {
            let text = format!(
                "ACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
                 From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: e\r\n\
                 CSeq: 1 ACK\r\nMax-Forwards: {given}\r\nContent-Length: 0\r\n\r\n"
            );
            let ack = Message::parse(Bytes::from(text), &sip::Limits::trusted()).unwrap();
            station.ack_on(flow, &via, &ack);
            assert!(station.next(Now::default()).is_none());
            let out = station.out.pop_front().map(|output| match output {
                Output::Send { bytes, .. } => Message::parse(bytes, &sip::Limits::trusted())
                    .unwrap()
                    .max_forwards()
                    .unwrap(),
                other => panic!("{other:?}"),
            });
            assert_eq!(out, sent.map(Some), "Max-Forwards {given}");
        }
    }

    #[test]
    fn a_request_on_a_flow_that_is_gone_fails_at_once() {
        let now = Now::default();
        let mut station = Station::new(&mut Rng::from_number(1), 4);
        let text = "BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
                    From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: e\r\n\
                    CSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
        let bye = Message::parse(Bytes::from_static(text.as_bytes()), &sip::Limits::trusted());
        let via = ViaOptions {
            transport: "TLS",
            sent_by: "b".into(),
            parameters: String::new(),
        };
        let gone = base::Id::new(3, 9);
        station
            .transactions
            .request(now, gone, true, &bye.unwrap(), &via)
            .unwrap();
        let Some(Item::Event(Event::Failed { why, .. })) = station.next(now) else {
            panic!("nobody was told");
        };
        assert_eq!(why, Why::FlowDown);
        assert!(station.out.is_empty());
    }
}
