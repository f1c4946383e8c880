//! The inside's servers as they are told of: rows and history for administrators, refreshes on
//! demand, and what outlives a restart.
//!
//! Bounds: [`REFRESHES_MAX`] administrators wait at once; the history holds
//! [`::status::servers::HISTORY_MAX`] changes.

use std::collections::VecDeque;

use ::status::Kind;
use ::status::servers::{
    Difference, HISTORY_MAX, KnownServer, ServerBrief, ServerChange, ServerRow, ServerState,
    ServersQuestion, ServersRecord, ServersReport, named,
};
use base::Now;

use super::Core;
use super::checks::QUIET;
use super::discovery::Publisher;
use super::reading::untold;
use crate::io::{Answer, AskId, Output};

/// Administrators who wait for servers at once.
const REFRESHES_MAX: usize = 32;

/// What has changed at the servers, the latest first.
pub(super) type History = VecDeque<ServerChange>;

/// An administrator who waits for servers to answer.
pub(super) struct Refresh {
    id: AskId,
    /// Which have not yet.
    left: Vec<usize>,
    name: String,
}

/// What an edge answers: servers are its core's.
pub(crate) fn no_servers(now: Now) -> ServersReport {
    ServersReport {
        at: now.unix,
        refused: "this node is an edge, and servers are its core's".into(),
        ..ServersReport::default()
    }
}

impl Core {
    /// What an earlier process knew counts until a server tells something else.
    pub(super) fn remember_servers(&mut self, record: &ServersRecord) {
        for publisher in &mut self.publishers {
            let is = |k: &&KnownServer| {
                k.kind == publisher.kind() && k.name.eq_ignore_ascii_case(&publisher.server.address)
            };
            let Some(known) = record.servers.iter().find(is) else {
                continue;
            };
            publisher.facts = known.facts.clone();
            publisher.read_at = Some(known.read_at);
            publisher.remembered = true;
        }
        self.history = record.history.iter().take(HISTORY_MAX).cloned().collect();
    }

    /// Hands out what is to outlive a restart.
    pub(super) fn keep_servers(&mut self) {
        let known = self.publishers.iter().filter_map(|p| {
            Some(KnownServer {
                name: p.server.address.clone(),
                kind: p.kind(),
                read_at: p.read_at?,
                facts: p.facts.clone(),
            })
        });
        let record = ServersRecord {
            servers: known.collect(),
            history: self.history.iter().cloned().collect(),
        };
        let out = &mut self.station.out;
        out.push_back(Output::KeepServers(Box::new(record)));
    }

    /// A server has told something else than before.
    pub(super) fn changed(&mut self, now: Now, address: &str, server: &str, found: Difference) {
        if found.changes.is_empty() {
            return;
        }
        for what in &found.changes {
            self.history.push_front(ServerChange {
                at: now.unix,
                server: address.to_owned(),
                what: what.clone(),
            });
        }
        self.history.truncate(HISTORY_MAX);
        let out = &mut self.station.out;
        let proof = [("publisher", server.to_owned())];
        let changes = found.changes.join("; ");
        self.board
            .event(out, Kind::ServersChanged, now, &changes, &proof);
    }

    /// Tells of nodes that are listed no longer, a publisher's once in [`QUIET`]; of those that
    /// have gone meanwhile, and have not come back, the next time.
    pub(super) fn nodes_gone(&mut self, now: Now, index: usize, server: &str) {
        const WHAT: &str = "nodes gone";
        let Some(publisher) = self.publishers.get_mut(index) else {
            return;
        };
        let nodes = &publisher.facts.nodes;
        publisher
            .gone
            .retain(|gone| !nodes.iter().any(|n| n.name.eq_ignore_ascii_case(gone)));
        publisher.gone.sort();
        publisher.gone.dedup();
        let told = publisher.told_at.get(WHAT);
        let lately = told.is_some_and(|at| now.instant < *at + QUIET);
        if publisher.gone.is_empty() || lately {
            return;
        }
        publisher.told_at.insert(WHAT, now.instant);
        let gone = named(publisher.gone.iter().map(String::as_str));
        publisher.gone.clear();
        let proof = [("publisher", server.to_owned()), ("node", gone)];
        let cause = "the publisher does not list it any more";
        let out = &mut self.station.out;
        self.board.event(out, Kind::NodeGone, now, cause, &proof);
    }

    /// An administrator asks.
    pub(super) fn servers_asked(&mut self, now: Now, id: AskId, asked: ServersQuestion) {
        let ServersQuestion::Refresh { name } = asked else {
            let report = self.servers_report(now, "");
            return self.answer_servers(id, report);
        };
        let meant = |p: &Publisher| name.is_empty() || p.server.address.eq_ignore_ascii_case(&name);
        let publishers = self.publishers.iter().enumerate();
        let left: Vec<usize> = publishers
            .filter(|(_, p)| meant(p))
            .map(|(i, _)| i)
            .collect();
        let mut report = self.servers_report(now, &name);
        if left.is_empty() {
            if !name.is_empty() {
                report.refused = format!("{name} is no server of the configuration");
            }
            return self.answer_servers(id, report);
        }
        if self.refreshes.len() >= REFRESHES_MAX {
            report.refused = "too many wait for servers already".into();
            return self.answer_servers(id, report);
        }
        for index in &left {
            // One that is under way and not whole is followed by a whole one.
            self.read_server(*index, true);
        }
        self.refreshes.push(Refresh { id, left, name });
    }

    /// Whether somebody waits for a server.
    pub(super) fn is_awaited(&self, index: usize) -> bool {
        self.refreshes.iter().any(|r| r.left.contains(&index))
    }

    /// A server has answered whole, or has not: who waited for it last is told.
    pub(super) fn refreshed(&mut self, now: Now, index: usize) {
        let mut waiting = std::mem::take(&mut self.refreshes);
        waiting
            .iter_mut()
            .for_each(|r| r.left.retain(|i| *i != index));
        let (done, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|r| r.left.is_empty());
        self.refreshes = rest;
        for refresh in done {
            let report = self.servers_report(now, &refresh.name);
            self.answer_servers(refresh.id, report);
        }
    }

    /// Whoever waits for servers is told what is known of those that there are now.
    pub(super) fn refreshes_end(&mut self, now: Now) {
        for refresh in std::mem::take(&mut self.refreshes) {
            let report = self.servers_report(now, &refresh.name);
            self.answer_servers(refresh.id, report);
        }
    }

    fn answer_servers(&mut self, id: AskId, report: ServersReport) {
        let answer = Answer::Servers(Box::new(report));
        self.station.out.push_back(Output::Answer { id, answer });
    }

    /// All servers, or the one of this name.
    fn servers_report(&self, now: Now, name: &str) -> ServersReport {
        let meant = |server: &str| name.is_empty() || server.eq_ignore_ascii_case(name);
        let rows = self.publishers.iter().filter(|p| meant(&p.server.address));
        let history = self.history.iter().filter(|c| meant(&c.server));
        ServersReport {
            at: now.unix,
            servers: rows.map(|p| self.server_row(p)).collect(),
            history: history.cloned().collect(),
            refused: String::new(),
        }
    }

    /// How each is.
    pub(super) fn servers_in_brief(&self) -> Vec<ServerBrief> {
        let brief = |p: &Publisher| ServerBrief {
            name: p.server.address.clone(),
            kind: p.kind(),
            state: self.server_state(p).0,
            read_at: p.read_at,
        };
        self.publishers.iter().map(brief).collect()
    }

    /// How a server is, why, and what to do.
    fn server_state<'a>(&self, publisher: &'a Publisher) -> (ServerState, &'a str, &'a str) {
        let linked = self.links.iter().any(|l| l.is_up());
        match &publisher.fault {
            Some((cause, fix)) => (ServerState::Failed, cause.as_str(), fix.as_str()),
            None if publisher.remembered => (
                ServerState::Asked,
                "what it told an earlier process counts until it answers",
                "",
            ),
            None if publisher.read_at.is_none() => (ServerState::Asked, "", ""),
            None if linked => (ServerState::Active, "", ""),
            None => (
                ServerState::Inactive,
                "no traversal zone is up",
                "see causeway status for the link, and why it is down",
            ),
        }
    }

    fn server_row(&self, publisher: &Publisher) -> ServerRow {
        let (state, cause, fix) = self.server_state(publisher);
        let missing = publisher.untold.iter();
        ServerRow {
            name: publisher.server.address.clone(),
            port: publisher.server.port,
            kind: publisher.kind(),
            state,
            cause: cause.to_owned(),
            fix: fix.to_owned(),
            facts: publisher.facts.clone(),
            read_at: publisher.read_at,
            remembered: publisher.remembered,
            heard_at: publisher.heard_at,
            untold: missing
                .map(|(part, why)| format!("{}: {why}", untold(*part)))
                .collect(),
            checks: publisher.findings.iter().map(|f| f.check.clone()).collect(),
        }
    }
}
