//! Control connections: from a stranger with a certificate to a link, and to its end.

use std::sync::Arc;

use base::{Now, Secret};
use media::LinkId;
use traversal::{Fault, Hello};

use super::Edge;
use super::calls::{CallId, Doom};
use super::links::{Candidate, Happened, Wants};
use super::status::lane_name;
use crate::gate::{EdgeGate, EdgeGateCore};
use crate::io::{ConnId, Lane, Output};

/// Control connections whose hello is not finished.
const CANDIDATES_MAX: usize = 64;

impl Edge {
    pub(super) fn control_up(
        &mut self,
        now: Now,
        conn: ConnId,
        index: usize,
        exported: &Secret<[u8; 32]>,
        media_secret: Secret<[u8; 64]>,
    ) {
        let full = self.candidates.len() >= CANDIDATES_MAX;
        let Some(link) = self.links.get(index).filter(|_| !full) else {
            return self.station.out.push_back(Output::CloseControl { conn });
        };
        let admission = self.settings.admission(&self.instance, &link.peer);
        let rng = &mut self.rng;
        let candidate = Candidate::greet(now, rng, conn, admission, exported, media_secret);
        self.candidates.insert(conn, (index, candidate));
        self.candidate(now, conn, None);
    }

    pub(super) fn control(&mut self, now: Now, conn: ConnId, message: traversal::Message) {
        if self.candidates.contains_key(&conn) {
            return self.candidate(now, conn, Some(message));
        }
        let found = self
            .links
            .iter()
            .position(|l| l.control_conn() == Some(conn));
        if let Some(index) = found {
            self.work(now, index, Some(message));
        }
    }

    /// Lets a link's control connection work: a message, or time.
    fn work(&mut self, now: Now, index: usize, message: Option<traversal::Message>) {
        if let Some(link) = self.links.get_mut(index) {
            let wants = link.work(now, message);
            self.carry_out(now, index, wants);
        }
    }

    /// Lets a control connection whose hello is not finished go on.
    fn candidate(&mut self, now: Now, conn: ConnId, message: Option<traversal::Message>) {
        let Some((index, mut candidate)) = self.candidates.remove(&conn) else {
            return;
        };
        match message {
            Some(message) => candidate.acceptor().handle(now, message),
            None => candidate.acceptor().handle_timeout(now),
        }
        for message in candidate.acceptor().take_messages() {
            self.station
                .out
                .push_back(Output::Control { conn, message });
        }
        for event in candidate.acceptor().take_events() {
            match event {
                traversal::Event::CoreUp(hello) => {
                    return self.promote(now, index, conn, candidate, hello);
                }
                traversal::Event::Down(fault) => {
                    return self.refuse_link(now, index, conn, &fault.to_string());
                }
                _ => {}
            }
        }
        self.candidates.insert(conn, (index, candidate));
    }

    /// The candidate's hello was good: it is the link now.
    fn promote(
        &mut self,
        now: Now,
        index: usize,
        conn: ConnId,
        candidate: Candidate,
        hello: Box<Hello>,
    ) {
        if policy::token::PublicKey::from_hex(&hello.token_key).is_none() {
            return self.refuse_link(now, index, conn, "the key of its session tokens is no key");
        }
        // Its name is the issuer of its tokens: a core must not speak for another.
        let theirs = |l: &super::Link| l.hello.as_ref().is_some_and(|h| h.node == hello.node);
        if self
            .links
            .iter()
            .enumerate()
            .any(|(i, l)| i != index && theirs(l))
        {
            let why = format!("{} is linked in another place", hello.node);
            return self.refuse_link(now, index, conn, &why);
        }
        if let Some(link) = self.links.get_mut(index) {
            let wants = link.promote(now, candidate, hello);
            self.carry_out(now, index, wants);
            // The first ping is due at once.
            self.work(now, index, None);
        }
    }

    fn refuse_link(&mut self, now: Now, index: usize, conn: ConnId, why: &str) {
        self.station.out.push_back(Output::CloseControl { conn });
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        if !link.is_up() {
            link.why = Some(format!("refused: {why}"));
        }
        self.ledger.link_refused(now, link, why);
    }

    /// Somebody's certificate was refused. Nobody knows whose it was, so every core that is
    /// missed shows why it may be.
    pub(super) fn certificate_refused(&mut self, cause: &str) {
        for link in self.links.iter_mut().filter(|l| !l.is_up()) {
            link.why = Some(format!("refused: {cause}"));
        }
    }

    pub(super) fn control_down(&mut self, now: Now, conn: ConnId, why: &str) {
        if self.candidates.remove(&conn).is_some() {
            return;
        }
        let found = self
            .links
            .iter()
            .position(|l| l.control_conn() == Some(conn));
        if let Some(index) = found {
            self.link_down(now, index, why);
        }
    }

    /// Does what is due on links and on connections that want to become links.
    pub(super) fn links_timeout(&mut self, now: Now) {
        for index in 0..self.links.len() {
            let given_up = self.links.get_mut(index).and_then(|link| {
                link.give_up
                    .take_if(|at| *at <= now.instant)
                    .map(|_| link.id)
            });
            if let Some(id) = given_up {
                self.end_calls_over(now, id, "the core did not come back");
            }
            self.work(now, index, None);
        }
        let due: Vec<ConnId> = self
            .candidates
            .iter()
            .filter(|(_, (_, c))| c.poll_timeout().is_some_and(|at| at <= now.instant))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in due {
            self.candidate(now, conn, None);
        }
    }

    fn carry_out(&mut self, now: Now, index: usize, wants: Wants) {
        for (conn, message) in wants.send {
            self.station
                .out
                .push_back(Output::Control { conn, message });
        }
        for conn in wants.close {
            self.station.out.push_back(Output::CloseControl { conn });
        }
        for happened in wants.happened {
            match happened {
                Happened::Up { restarted } => self.link_up(now, index, restarted),
                Happened::Offers => self.publish(),
                Happened::Skewed => {
                    if let Some(link) = self.links.get(index) {
                        self.ledger.skew(now, link);
                    }
                    self.publish();
                }
                Happened::SignOuts(outs) => self.sign_outs(now, index, outs),
                Happened::Down(fault) => self.fault(now, index, &fault),
            }
        }
    }

    fn fault(&mut self, now: Now, index: usize, fault: &Fault) {
        self.link_down(now, index, &fault.to_string());
    }

    /// A call's time has come. If its client is lost, the core is told, which ends it inside.
    pub(super) fn doomed(&mut self, now: Now, id: CallId, doom: Doom) {
        if doom == Doom::ClientGone {
            if self.calls.is_unanswered(id) {
                // Its transactions tell the core.
                let why = "the client's connection was lost before it was answered";
                return self.end_call(now, id, why);
            }
            if let Some(call) = self.calls.get(id)
                && let Some(link) = self.links.get_mut(call.link.0 as usize)
            {
                if !link.is_up() {
                    return self.calls.wait_for_link(now.instant, id);
                }
                let (call_id, tag) = call.names();
                let messages = link.tell_call_lost(call_id, tag).into_iter();
                let messages = messages.map(|(conn, message)| Output::Control { conn, message });
                self.station.out.extend(messages);
            }
        }
        self.end_call(now, id, doom.why());
    }

    fn link_up(&mut self, now: Now, index: usize, restarted: bool) {
        if restarted {
            // Its calls are gone, and so are the connections of the process that had them.
            if let Some(id) = self.links.get(index).map(|l| l.id) {
                self.end_calls_over(now, id, "the core was restarted");
            }
            self.close_lanes(index);
        }
        let Some(link) = self.links.get(index) else {
            return;
        };
        let key = link.hello.as_ref().map(|h| h.ssh_key.clone());
        self.station
            .out
            .push_back(Output::PinSsh { peer: index, key });
        if let Some(secret) = link.media_secret() {
            let command = self.settings.media_link(link.id, secret);
            self.station.out.push_back(Output::Media(command));
        }
        self.ledger.link_up(now, link, restarted);
        self.pass_all_sign_outs(index);
        self.publish();
    }

    fn link_down(&mut self, now: Now, index: usize, why: &str) {
        self.close_lanes(index);
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        link.lost(now, why.to_owned());
        let link_id = link.id;
        self.station
            .out
            .push_back(Output::Media(media::Command::LinkDown { link: link_id }));
        self.station.out.push_back(Output::PinSsh {
            peer: index,
            key: None,
        });
        if let Some(link) = self.links.get(index) {
            self.ledger.link_down(now, link, why);
        }
        self.publish();
    }

    /// Closes the SIP connections of a link; they have to show the password anew.
    fn close_lanes(&mut self, index: usize) {
        let lanes = self
            .links
            .get_mut(index)
            .map(|l| std::mem::take(&mut l.lanes));
        for flow in lanes.unwrap_or_default() {
            self.station.close(flow);
        }
    }

    fn end_calls_over(&mut self, now: Now, link: LinkId, why: &str) {
        for id in self.calls.over(link) {
            self.end_call(now, id, why);
        }
    }

    /// A lane that the node does not see has `connections` now.
    pub(super) fn lane(
        &mut self,
        now: Now,
        peer: usize,
        lane: Lane,
        connections: usize,
        why: Option<&str>,
    ) {
        let Some(link) = self.links.get_mut(peer) else {
            return;
        };
        let slot = match lane {
            Lane::Http => &mut link.http,
            Lane::Xmpp => &mut link.xmpp,
        };
        let before = std::mem::replace(slot, connections);
        if before == connections {
            return;
        }
        let why = why.or((connections < before).then_some("a connection ended"));
        self.ledger
            .lane(now, link, lane_name(lane), connections, why);
    }

    /// Publishes what HTTP and XMPP tasks may let through.
    pub(super) fn publish(&mut self) {
        let cores = self.links.iter().enumerate().filter_map(|(peer, link)| {
            let hello = link.hello.as_ref()?;
            Some(EdgeGateCore {
                peer,
                node: hello.node.clone(),
                token_key: policy::token::PublicKey::from_hex(&hello.token_key)?,
                domains: hello.domains.clone(),
                signed_out: link.signed_out.clone(),
                skew_ms: link.skew_ms.filter(|_| link.skewed),
            })
        });
        let gate = EdgeGate {
            cores: cores.collect(),
        };
        self.station.out.push_back(Output::EdgeGate(Arc::new(gate)));
    }
}
