//! `get_edge_config` of a user for whom another has vouched: the home cluster is looked up, and
//! nobody is asked about a password.

use std::net::IpAddr;

use base::{Now, UnixTime};
use provisioning::whereabouts::{Answer as Got, Ask, Outcome};

use super::{Pending, plain};
use crate::core::sso::Why;
use crate::core::{Asked, Core};
use crate::io::{AskId, DnsError, Fetch, FetchError, Fetched, Output, Reply, Resolve, Resolved};
use status::Kind;

/// Such a user.
pub(in crate::core) struct Known {
    pub(in crate::core) id: AskId,
    pub(in crate::core) peer: usize,
    pub(in crate::core) client: Option<IpAddr>,
    pub(in crate::core) domain: String,
    pub(in crate::core) user: String,
    pub(in crate::core) user_agent: String,
    pub(in crate::core) services: Vec<String>,
    /// Until when the session lasts.
    pub(in crate::core) until: UnixTime,
    /// Its token, if it has one already.
    pub(in crate::core) token: Option<String>,
}

impl Core {
    pub(in crate::core) fn sign_in_known(&mut self, known: Known) {
        let number = self.desk.next;
        self.desk.next += 1;
        let pending = Pending {
            id: known.id,
            peer: known.peer,
            client: known.client,
            domain: known.domain,
            user: known.user,
            user_agent: known.user_agent,
            session: Some((known.token, known.until)),
        };
        let (domain, user) = (pending.domain.clone(), pending.user.clone());
        self.desk.pending.insert(number, pending);
        let nodes = self.uds_nodes();
        let lookups = &mut self.desk.lookups;
        lookups.begin(number, &domain, &user, known.services, nodes);
    }

    /// Puts the questions of lookups, and ends those that are done; whether there was anything.
    pub(super) fn lookups_work(&mut self, now: Now) -> bool {
        let (asks, done) = self.desk.lookups.take();
        let worked = !asks.is_empty() || !done.is_empty();
        for ask in asks {
            self.put_lookup(ask);
        }
        for (number, outcome) in done {
            if let Some(pending) = self.desk.pending.remove(&number) {
                self.looked_up_home(now, &pending, outcome);
            }
        }
        worked
    }

    fn put_lookup(&mut self, ask: Ask) {
        match ask {
            Ask::Get { id, node, path } => {
                let id = self.ask(Asked::Sso(Why::Home(id)));
                let request = Fetch {
                    method: "GET",
                    scheme: "https",
                    host: node.host,
                    port: node.port,
                    path,
                    basic: None,
                    headers: vec![("Accept", "application/xml".into())],
                    body: String::new(),
                    tls_verify: node.tls_verify,
                };
                self.station.out.push_back(Output::Fetch { id, request });
            }
            Ask::Service { id, name } => {
                let id = self.ask(Asked::Sso(Why::Home(id)));
                let question = Resolve::Service(name);
                self.station.out.push_back(Output::Resolve { id, question });
            }
        }
    }

    pub(in crate::core) fn home_fetched(
        &mut self,
        number: u64,
        result: Result<Fetched, FetchError>,
    ) {
        let got = match result {
            Ok(f) => Ok((f.status, String::from_utf8_lossy(&f.body).into_owned())),
            Err(e) => Err(e.why),
        };
        self.desk.lookups.answer(number, Got::Got(got));
    }

    pub(in crate::core) fn home_resolved(
        &mut self,
        number: u64,
        result: Result<Resolved, DnsError>,
    ) {
        let records = match result {
            Ok(Resolved::Service(records)) if !records.is_empty() => Some(records),
            _ => None,
        };
        self.desk.lookups.answer(number, Got::Service(records));
    }

    fn looked_up_home(&mut self, now: Now, pending: &Pending, outcome: Outcome) {
        let later = |status| Reply {
            headers: vec![("Retry-After", "5".to_owned())],
            ..plain(status)
        };
        match outcome {
            Outcome::Found { nodes, services } => {
                let user = pending.user.clone();
                self.granted(now, pending, &user, &nodes, services);
            }
            Outcome::Unknown => {
                self.board.counters.sign_ins_refused += 1;
                let kind = Kind::SignInRefused;
                self.tell(now, kind, pending, super::UNKNOWN, None);
                self.answer(pending.id, plain(403));
            }
            Outcome::Unreachable { server, why } => {
                self.tell(now, Kind::SignInUnreachable, pending, &why, Some(server));
                self.answer(pending.id, plain(502));
            }
            Outcome::Full => self.answer(pending.id, later(503)),
        }
    }
}
