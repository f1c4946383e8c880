//! Connections and datagrams on their way.

use std::net::SocketAddr;

use node::io::{Facts, Input, Side, Transport};
use sip::Frame;

use super::{Event, Hop, World};
use crate::gateway::{Control, Gateway, Socket};
use crate::pipe::{Party, Pipe, Weather};
use crate::text::Text;
use crate::ua::SECOND;

/// A SIP connection on which nothing is heard for so long is closed by the driver.
const IDLE: u64 = 400 * SECOND;

impl World {
    pub(super) fn weather(&self, hop: Hop) -> Weather {
        self.plan.weather[hop as usize]
    }

    pub(super) fn delay(&mut self, hop: Hop) -> u64 {
        let weather = self.weather(hop);
        weather.latency + self.rng.below(weather.jitter + 1)
    }

    fn hop_of(&self, ends: [Party; 2]) -> Hop {
        match ends {
            [a, b] if a.gateway().is_some() && b.gateway().is_some() => Hop::Link,
            [_, Party::Pbx] | [Party::Pbx, _] => Hop::Inside,
            [Party::Ua(i), _] | [_, Party::Ua(i)] if self.people[i].core.is_some() => Hop::Inside,
            _ => Hop::Outside,
        }
    }

    /// A new connection; each end learns of it in its time.
    pub(super) fn open(&mut self, ends: [Party; 2]) -> u64 {
        let id = self.next_pipe;
        self.next_pipe += 1;
        let hop = self.hop_of(ends);
        let there = self.now + self.delay(hop);
        let back = there + self.delay(hop);
        let mut pipe = Pipe::new(self.now, ends);
        pipe.arrival = [back, there];
        self.pipes.insert(id, pipe);
        self.schedule(there, Event::Opened { pipe: id, end: 1 });
        self.schedule(back, Event::Opened { pipe: id, end: 0 });
        id
    }

    /// Sends bytes from one end of a connection to the other.
    pub fn transmit(&mut self, pipe: u64, from: usize, bytes: &[u8]) {
        let Some(row) = self.pipes.get(&pipe) else {
            return;
        };
        if !row.open[from] {
            return;
        }
        let to = 1 - from;
        let (hop, last) = (self.hop_of(row.ends), row.arrival[to]);
        let weather = self.weather(hop);
        let mut at = last.max(self.now + self.delay(hop));
        // One stall at a time: what waits behind it comes at once when it is over.
        let stalled = last > self.now + SECOND;
        if self.rng.below(1000) < weather.stall_permille && !stalled {
            at += SECOND + self.rng.below(5 * SECOND);
        }
        let split = self.rng.below(1000) < weather.split_permille && bytes.len() > 1;
        let cut = if split {
            1 + self.rng.below(bytes.len() as u64 - 1) as usize
        } else {
            0
        };
        let (first, second) = bytes.split_at(cut);
        if split {
            self.schedule(
                at,
                Event::Arrive {
                    pipe,
                    end: to,
                    bytes: first.to_vec(),
                },
            );
            at += self.rng.below(weather.jitter + 1);
        }
        self.schedule(
            at,
            Event::Arrive {
                pipe,
                end: to,
                bytes: second.to_vec(),
            },
        );
        if let Some(row) = self.pipes.get_mut(&pipe) {
            row.arrival[to] = at;
        }
    }

    /// One end closes: it hears nothing more; the other learns it after what is under way.
    pub fn close(&mut self, pipe: u64, end: usize, why: &'static str) {
        let Some(row) = self.pipes.get_mut(&pipe) else {
            return;
        };
        if !std::mem::replace(&mut row.open[end], false) {
            return;
        }
        self.watch.gone(pipe);
        let other = 1 - end;
        let (ends, last, silent) = (row.ends, row.arrival[other], row.silent);
        if row.open[other] && !silent {
            let hop = self.hop_of(ends);
            let at = last.max(self.now + self.delay(hop));
            self.schedule(
                at,
                Event::Gone {
                    pipe,
                    end: other,
                    why,
                },
            );
        }
        if self.pipes.get(&pipe).is_some_and(Pipe::is_over) {
            self.pipes.remove(&pipe);
        }
    }

    pub(super) fn opened(&mut self, pipe: u64, end: usize) {
        let Some(row) = self.pipes.get(&pipe) else {
            return;
        };
        if !row.open[end] || row.silent {
            return;
        }
        let (me, other) = (row.ends[end], row.ends[1 - end]);
        match me {
            Party::Sip { gateway, conn } => {
                let outside =
                    self.gateways[gateway].edge && matches!(other, Party::Ua(_) | Party::Stranger);
                let framer = Gateway::framer(outside);
                let (side, local, remote) = self.facts(gateway, me, other, end);
                let transport = match side {
                    Side::Inside if !self.gateways[gateway].edge => Transport::Tcp,
                    _ => Transport::Tls,
                };
                let peer_name = match side {
                    Side::Lane { .. } => other.gateway().map(|g| self.fqdn(g)),
                    _ => None,
                };
                let facts = Facts {
                    side,
                    local,
                    remote,
                    transport,
                    peer_name,
                };
                self.gateways[gateway]
                    .sockets
                    .insert(conn, Socket { pipe, end, framer });
                self.schedule(self.now + IDLE, Event::Idle { pipe, end });
                self.feed(gateway, Input::Connected { conn, facts });
            }
            Party::Control { gateway, conn } => {
                let decoder = traversal::frame::Decoder::default();
                self.gateways[gateway]
                    .controls
                    .insert(conn, Control { pipe, end, decoder });
                self.control_up(gateway, conn, pipe, other);
            }
            Party::Ua(i) => self.person_connected(i, pipe),
            Party::Pbx | Party::Stranger => {}
        }
    }

    fn facts(
        &mut self,
        gateway: usize,
        _me: Party,
        other: Party,
        end: usize,
    ) -> (Side, SocketAddr, SocketAddr) {
        self.ephemeral = self.ephemeral.wrapping_add(1).max(40_000);
        let port = self.ephemeral;
        let node = &self.gateways[gateway];
        let at = |address: std::net::IpAddr, port: u16| SocketAddr::new(address, port);
        match other {
            Party::Sip { gateway: peer, .. } | Party::Control { gateway: peer, .. } => {
                let (e, c) = if node.edge {
                    (node.index, peer)
                } else {
                    (peer, gateway)
                };
                let edge = at(crate::house::edge_inner(e), 7001);
                let core = at(crate::house::core_address(c - self.plan.edges), port);
                let lane = Side::Lane {
                    peer: self.gateways[peer].index,
                };
                if node.edge {
                    (lane, edge, core)
                } else {
                    (lane, core, edge)
                }
            }
            Party::Pbx => {
                let core = crate::house::core_address(node.index);
                let pbx = self.pbx.address;
                match end {
                    0 => (Side::Inside, at(core, port), pbx),
                    _ => (Side::Inside, at(core, 5060), at(pbx.ip(), port)),
                }
            }
            Party::Ua(i) if self.people[i].core.is_some() => {
                let core = crate::house::core_address(node.index);
                let host = self.people[i].ua.setup.media;
                match end {
                    0 => (Side::Inside, at(core, port), at(host, 5060)),
                    _ => (Side::Inside, at(core, 5060), at(host, port)),
                }
            }
            Party::Ua(i) if self.people[i].abroad && end == 0 => {
                let edge = crate::house::edge_outer(&self.plan, node.index);
                let host = self.people[i].ua.setup.media;
                (Side::Client, at(edge, port), at(host, 5061))
            }
            Party::Ua(i) => {
                let remote = at(self.people[i].ua.setup.media, port);
                (
                    Side::Client,
                    at(crate::house::edge_outer(&self.plan, node.index), 5061),
                    remote,
                )
            }
            Party::Stranger => {
                let edge = at(crate::house::edge_outer(&self.plan, node.index), 5061);
                (Side::Client, edge, at([203, 0, 113, 200].into(), port))
            }
        }
    }

    pub(super) fn arrive(&mut self, pipe: u64, end: usize, bytes: &[u8]) {
        let now = self.now;
        let Some(row) = self.pipes.get_mut(&pipe) else {
            return;
        };
        if !row.open[end] || row.silent {
            return;
        }
        row.heard[end] = now;
        match row.ends[end] {
            Party::Sip { gateway, conn } => {
                let Some(socket) = self.gateways[gateway].sockets.get_mut(&conn) else {
                    return;
                };
                socket.framer.push(bytes);
                self.frames(gateway, conn, pipe, end);
            }
            Party::Control { gateway, conn } => self.control_bytes(gateway, conn, bytes),
            Party::Ua(i) => self.person_bytes(i, pipe, bytes),
            Party::Pbx => self.pbx_bytes(pipe, bytes),
            Party::Stranger => self
                .strangers
                .entry(pipe)
                .or_default()
                .extend_from_slice(bytes),
        }
    }

    /// Hands every whole frame of a connection to its node.
    fn frames(&mut self, gateway: usize, conn: node::io::ConnId, pipe: u64, end: usize) {
        loop {
            let Some(socket) = self.gateways[gateway].sockets.get_mut(&conn) else {
                return;
            };
            match socket.framer.next_frame() {
                None => return,
                Some(Frame::Ping) => self.transmit(pipe, end, b"\r\n"),
                Some(Frame::Pong) => {}
                Some(frame) => {
                    let fatal = matches!(&frame, Frame::Bad { fatal: true, .. });
                    self.feed(gateway, Input::Frame { conn, frame });
                    if fatal {
                        self.after(2 * SECOND, move |w| {
                            w.hang(pipe, end, "the bytes were no SIP")
                        });
                        return;
                    }
                }
            }
        }
    }

    /// A node's own end closes, and the node is told.
    pub(super) fn hang(&mut self, pipe: u64, end: usize, why: &'static str) {
        let Some(row) = self.pipes.get(&pipe).filter(|r| r.open[end]) else {
            return;
        };
        let me = row.ends[end];
        self.close(pipe, end, why);
        self.tell(me, pipe, why);
    }

    pub(super) fn gone(&mut self, pipe: u64, end: usize, why: &'static str) {
        let Some(row) = self.pipes.get_mut(&pipe) else {
            return;
        };
        if !std::mem::replace(&mut row.open[end], false) {
            return;
        }
        let me = row.ends[end];
        if row.is_over() {
            self.pipes.remove(&pipe);
        }
        self.watch.gone(pipe);
        self.tell(me, pipe, why);
    }

    /// Tells a party that its connection is gone.
    fn tell(&mut self, party: Party, pipe: u64, why: &'static str) {
        match party {
            Party::Sip { gateway, conn } => {
                self.gateways[gateway].sockets.remove(&conn);
                self.lane_gone(gateway, pipe);
                self.feed(
                    gateway,
                    Input::Disconnected {
                        conn,
                        why: why.to_owned(),
                    },
                );
            }
            Party::Control { gateway, conn } => {
                self.gateways[gateway].controls.remove(&conn);
                self.lane_gone(gateway, pipe);
                self.feed(
                    gateway,
                    Input::ControlDown {
                        conn,
                        why: why.to_owned(),
                    },
                );
            }
            Party::Ua(i) => self.person_disconnected(i, pipe),
            Party::Pbx => {
                self.pbx.disconnected(self.now, pipe);
                self.pbx_flush();
            }
            Party::Stranger => {}
        }
    }

    pub(super) fn idle(&mut self, pipe: u64, end: usize) {
        let Some(row) = self.pipes.get(&pipe).filter(|r| r.open[end]) else {
            return;
        };
        let due = row.heard[end] + IDLE;
        if due <= self.now {
            self.hang(pipe, end, "nothing was heard for 400 s");
        } else {
            self.schedule(due, Event::Idle { pipe, end });
        }
    }

    /// Who is at an end, for the trace.
    pub(super) fn party_name(&self, party: Party) -> String {
        match party {
            Party::Sip { gateway, .. } | Party::Control { gateway, .. } => {
                self.gateways[gateway].name.clone()
            }
            Party::Ua(i) => self.people[i].ua.setup.name.clone(),
            Party::Pbx => "cucm".into(),
            Party::Stranger => "stranger".into(),
        }
    }

    pub(super) fn other_end(&self, pipe: u64, end: usize) -> Option<Party> {
        Some(self.pipes.get(&pipe)?.ends[1 - end])
    }

    /// Notes a SIP message that leaves an end.
    pub(super) fn note_sip(&mut self, from: &str, pipe: u64, end: usize, bytes: &[u8]) {
        let to = self
            .other_end(pipe, end)
            .map_or("nobody".into(), |p| self.party_name(p));
        let mut line = format!("{from:>8} > {to:<8} (bytes)");
        if let Some(text) = Text::take(&mut bytes.to_vec()) {
            let method = if text.status().is_some() {
                text.method()
            } else {
                ""
            };
            let id: String = text.field("Call-ID").chars().take(8).collect();
            line = format!("{from:>8} > {to:<8} {} {method} [{id}]", text.start);
            let ends = self
                .pipes
                .get(&pipe)
                .map(|p| [p.ends[end], p.ends[1 - end]]);
            if ends.is_some_and(|ends| matches!(ends[0], Party::Ua(_))) {
                self.told_keys.extend(keys_in(&text));
            }
            if let Some(what) = ends.and_then(|ends| self.crosses_wrongly(ends, &text)) {
                self.findings.push(format!("{line}: {what}"));
            }
        }
        self.trace.note(self.now, &line);
        self.trace.bytes(bytes);
        self.watched(pipe, end, bytes);
    }

    /// What must not cross a node's border, if this message carries it.
    fn crosses_wrongly(&self, ends: [Party; 2], text: &Text) -> Option<&'static str> {
        let Party::Sip { gateway, .. } = ends[0] else {
            return None;
        };
        let sdp = text.field("Content-Type").starts_with("application/sdp");
        let body = |part: &str| sdp && text.body.contains(part);
        let edge = self.gateways[gateway].edge;
        match ends[1] {
            Party::Ua(_) | Party::Stranger if edge && (body("10.0.0.") || body("192.0.2.")) => {
                Some("an inside address in a description for a client")
            }
            Party::Ua(_) if edge && body("RTP/AVP") => Some("media outside that is not encrypted"),
            Party::Ua(_) | Party::Stranger | Party::Pbx if body("x-causeway-") => {
                Some("the link's own names beyond the link")
            }
            Party::Pbx if body("a=crypto") => Some("a client's key inside"),
            Party::Ua(i) if !edge && body("a=crypto") && !self.people[i].ua.setup.encrypted => {
                Some("a client's key inside")
            }
            Party::Ua(_) if keys_in(text).any(|key| self.told_keys.contains(&key)) => {
                Some("a key of another leg")
            }
            Party::Pbx | Party::Ua(_)
                if !edge && (body("198.51.100.") || body("203.0.113.") || body("2001:db8:")) =>
            {
                Some("an outside address in a description for the inside")
            }
            Party::Sip { .. } if edge && text.all("P-Asserted-Identity").count() > 1 => {
                Some("an identity that the edge did not give")
            }
            Party::Sip { .. } if edge && text.body.contains("m=audio") && !body("x-causeway-") => {
                Some("media without a stream of the link")
            }
            _ => None,
        }
    }

    // ---- datagrams ----

    /// Sends a datagram.
    pub fn throw(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.trace.bytes(&bytes);
        let hop = match (crate::house::zone(from.ip()), crate::house::zone(to.ip())) {
            (Hop::Link, _) | (_, Hop::Link) => Hop::Link,
            (Hop::Outside, _) | (_, Hop::Outside) => Hop::Outside,
            _ => Hop::Inside,
        };
        if hop != Hop::Inside && bytes.windows(11).any(|w| w == b"to be heard") {
            self.findings
                .push(format!("plain audio from {from} to {to}"));
        }
        if hop == Hop::Link && bytes.ends_with(crate::ua::FLOOR) {
            self.findings
                .push(format!("plain floor control from {from} to {to}"));
        }
        let weather = self.weather(hop);
        if self.rng.below(1000) < weather.loss_permille {
            return;
        }
        let copies = if self.rng.below(1000) < weather.twice_permille {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut at = self.now + self.delay(hop);
            if self.rng.below(1000) < weather.late_permille {
                at += self.rng.below(2 * weather.jitter + 1);
            }
            self.schedule(
                at,
                Event::Datagram {
                    from,
                    to,
                    bytes: bytes.clone(),
                },
            );
        }
    }

    pub(super) fn datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = self.now;
        if let Some(g) = self.gateways.iter().position(|g| g.workers.owns(to)) {
            let at = self.gateways[g].now(now).instant;
            self.datagrams[0] += 1;
            self.gateways[g].workers.datagram(at, from, to, bytes);
            return self.workers_flush(g);
        }
        if let Some(person) = self.people.iter_mut().find(|p| p.ua.owns(to)) {
            self.datagrams[0] += 1;
            return person.ua.datagram(now, to, bytes);
        }
        self.datagrams[1] += 1;
        if !crate::house::is_known(to.ip())
            && !self.people.iter().any(|p| p.ua.setup.signalled == to.ip())
        {
            self.findings.push(format!(
                "media was sent from {from} to {to}, which is nobody's"
            ));
        }
    }
}

/// Keys that a description tells.
fn keys_in(text: &Text) -> impl Iterator<Item = String> + '_ {
    let keys = text.body.split("inline:").skip(1);
    keys.map(|rest| {
        rest.chars()
            .take_while(|c| !c.is_whitespace() && *c != '|')
            .collect()
    })
}
