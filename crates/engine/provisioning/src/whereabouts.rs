//! Where a user is at home for whom another has vouched, as a pure state machine: the sign-in of
//! [`crate::sign_in`] without a password.
//!
//! ```text
//! locate ── clusterUser on any node, each in turn ──▶ gather ── servers and inside SRV records,
//! side by side ──▶ found
//! ```
//! Where there is no Unified CM only the records are gathered. Bounds: [`LOOKUPS_MAX`] at once.

use base::HashMap;

use crate::edge_config::Server;
use crate::sign_in::Node;
use crate::uds::{self, percent_encode};

/// Lookups under way at once.
pub const LOOKUPS_MAX: usize = 2_000;

/// A question to the outside.
#[derive(Debug)]
pub enum Ask {
    /// GET over HTTPS, without credentials.
    Get {
        /// Comes back with the answer.
        id: u64,
        /// Whom.
        node: Node,
        /// Path and query.
        path: String,
    },
    /// SRV records.
    Service {
        /// Comes back with the answer.
        id: u64,
        /// The name.
        name: String,
    },
}

/// The answer to a question.
#[derive(Debug)]
pub enum Answer {
    /// Status and body, or why there is none.
    Got(Result<(u16, String), String>),
    /// Records in order, or none.
    Service(Option<Vec<Server>>),
}

/// How a lookup ended.
#[derive(Debug)]
pub enum Outcome {
    /// The nodes of the home cluster, the one that knew the user first, and the services asked for.
    Found {
        /// The nodes.
        nodes: Vec<Node>,
        /// The services.
        services: Vec<(String, Option<Vec<Server>>)>,
    },
    /// No cluster knows the user.
    Unknown,
    /// Some cluster may know, and cannot be asked.
    Unreachable {
        /// `host:port`.
        server: String,
        /// What was seen.
        why: String,
    },
    /// Too many are under way.
    Full,
}

struct Lookup {
    user: String,
    domain: String,
    nodes: Vec<Node>,
    next: usize,
    last: Option<(String, String)>,
    home: Option<Node>,
    servers: Vec<String>,
    services: Vec<(String, Option<Vec<Server>>)>,
    waiting: usize,
}

#[derive(Clone, Copy)]
enum Waiting {
    Home,
    Servers,
    Service(usize),
}

/// All lookups of a core.
#[derive(Default)]
pub struct Lookups {
    rows: HashMap<u64, Lookup>,
    asks: HashMap<u64, (u64, Waiting)>,
    next_ask: u64,
    out: Vec<Ask>,
    done: Vec<(u64, Outcome)>,
}

impl Lookups {
    /// Begins; `id` comes back with the outcome.
    pub fn begin(
        &mut self,
        id: u64,
        domain: &str,
        user: &str,
        services: Vec<String>,
        nodes: Vec<Node>,
    ) {
        if self.rows.len() >= LOOKUPS_MAX {
            return self.done.push((id, Outcome::Full));
        }
        let nowhere = nodes.is_empty();
        let lookup = Lookup {
            user: user.to_owned(),
            domain: domain.to_owned(),
            nodes,
            next: 0,
            last: None,
            home: None,
            servers: Vec::new(),
            services: services.into_iter().map(|name| (name, None)).collect(),
            waiting: 0,
        };
        self.rows.insert(id, lookup);
        if nowhere {
            self.gather(id);
        } else {
            self.locate(id);
        }
    }

    /// Questions to put, and lookups that have ended.
    pub fn take(&mut self) -> (Vec<Ask>, Vec<(u64, Outcome)>) {
        (
            std::mem::take(&mut self.out),
            std::mem::take(&mut self.done),
        )
    }

    /// Lookups under way.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes an answer.
    pub fn answer(&mut self, ask: u64, answer: Answer) {
        let Some((id, waiting)) = self.asks.remove(&ask) else {
            return;
        };
        let Some(lookup) = self.rows.get_mut(&id) else {
            return;
        };
        match (waiting, answer) {
            (Waiting::Home, Answer::Got(got)) => return self.located(id, got),
            (Waiting::Servers, Answer::Got(Ok((200, body)))) => {
                lookup.servers = uds::servers(&body).unwrap_or_default();
            }
            (Waiting::Service(i), Answer::Service(records)) => {
                if let Some((_, slot)) = lookup.services.get_mut(i) {
                    *slot = records;
                }
            }
            _ => {}
        }
        lookup.waiting = lookup.waiting.saturating_sub(1);
        self.gathered(id);
    }

    fn ask(&mut self, id: u64, waiting: Waiting, make: impl FnOnce(u64) -> Ask) {
        let ask = self.next_ask;
        self.next_ask += 1;
        self.asks.insert(ask, (id, waiting));
        self.out.push(make(ask));
    }

    fn locate(&mut self, id: u64) {
        let Some(lookup) = self.rows.get_mut(&id) else {
            return;
        };
        let Some(node) = lookup.nodes.get(lookup.next).cloned() else {
            let outcome = match lookup.last.take() {
                Some((server, why)) => Outcome::Unreachable { server, why },
                None => Outcome::Unknown,
            };
            self.rows.remove(&id);
            return self.done.push((id, outcome));
        };
        lookup.next += 1;
        let user = percent_encode(&lookup.user);
        let path = format!("/cucm-uds/clusterUser?username={user}");
        self.ask(id, Waiting::Home, |id| Ask::Get { id, node, path });
    }

    fn located(&mut self, id: u64, got: Result<(u16, String), String>) {
        let Some(lookup) = self.rows.get_mut(&id) else {
            return;
        };
        let Some(asked) = lookup.nodes.get(lookup.next.saturating_sub(1)).cloned() else {
            return;
        };
        let why = match got {
            Ok((200, body)) => match uds::cluster_user(&body) {
                Ok(Some(home)) => {
                    lookup.home = Some(Node {
                        host: home.host,
                        port: home.port,
                        ..asked
                    });
                    return self.gather(id);
                }
                // Another cluster may know the user, where ILS is missing (F070).
                Ok(None) => None,
                Err(e) => Some(e.to_string()),
            },
            Ok((status, _)) => Some(format!("status {status} for clusterUser")),
            Err(why) => Some(why),
        };
        if let Some(why) = why {
            lookup.last = Some((format!("{}:{}", asked.host, asked.port), why));
        }
        self.locate(id);
    }

    fn gather(&mut self, id: u64) {
        let Some(lookup) = self.rows.get_mut(&id) else {
            return;
        };
        let domain = &lookup.domain;
        let names = lookup.services.iter();
        let names: Vec<String> = names.map(|(n, _)| format!("{n}._tcp.{domain}")).collect();
        let home = lookup.home.clone();
        lookup.waiting = names.len() + usize::from(home.is_some());
        if let Some(node) = home {
            let path = "/cucm-uds/servers".to_owned();
            self.ask(id, Waiting::Servers, |id| Ask::Get { id, node, path });
        }
        for (i, name) in names.into_iter().enumerate() {
            self.ask(id, Waiting::Service(i), |id| Ask::Service { id, name });
        }
        self.gathered(id);
    }

    fn gathered(&mut self, id: u64) {
        if self.rows.get(&id).is_none_or(|lookup| lookup.waiting > 0) {
            return;
        }
        let Some(lookup) = self.rows.remove(&id) else {
            return;
        };
        let nodes = lookup.home.map_or_else(Vec::new, |home| {
            let other = |s: &&String| !s.eq_ignore_ascii_case(&home.host);
            let others = lookup.servers.iter().filter(other).map(|host| Node {
                host: host.clone(),
                ..home.clone()
            });
            std::iter::once(home.clone()).chain(others).collect()
        });
        let services = lookup.services;
        self.done.push((id, Outcome::Found { nodes, services }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str) -> Node {
        Node {
            host: host.into(),
            port: 8443,
            tls_verify: true,
            cluster: 0,
        }
    }

    /// Looks alice up on some nodes; `a` does not know her, `b` does, others are down.
    fn run(hosts: &[&str]) -> Outcome {
        let mut lookups = Lookups::default();
        let nodes = hosts.iter().map(|h| node(h)).collect();
        let services = vec!["_cisco-uds".to_owned()];
        lookups.begin(7, "example.test", "al ice", services, nodes);
        loop {
            let (asks, mut done) = lookups.take();
            if let Some((id, outcome)) = done.pop() {
                assert_eq!((id, lookups.len(), lookups.asks.len()), (7, 0, 0));
                return outcome;
            }
            assert!(!asks.is_empty(), "neither asks nor ends");
            for ask in asks {
                match ask {
                    Ask::Get { id, node, path } => {
                        let got = match (node.host.as_str(), path.as_str()) {
                            ("a", "/cucm-uds/clusterUser?username=al%20ice") => Ok((
                                200,
                                "<clusterUser><result found=\"false\"/></clusterUser>".into(),
                            )),
                            ("b", "/cucm-uds/clusterUser?username=al%20ice") => Ok((
                                200,
                                "<clusterUser><result found=\"true\"/><homeCluster>c</homeCluster>\
                                 </clusterUser>"
                                    .into(),
                            )),
                            ("c", "/cucm-uds/servers") => Ok((
                                200,
                                "<servers><server>C</server><server>c2</server></servers>".into(),
                            )),
                            _ => Err("connection refused".into()),
                        };
                        lookups.answer(id, Answer::Got(got));
                    }
                    Ask::Service { id, name } => {
                        assert_eq!(name, "_cisco-uds._tcp.example.test");
                        lookups.answer(id, Answer::Service(None));
                    }
                }
            }
        }
    }

    #[test]
    fn a_user_is_found_at_home_without_a_password() {
        let Outcome::Found { nodes, services } = run(&["down", "a", "b"]) else {
            panic!()
        };
        let hosts: Vec<&str> = nodes.iter().map(|n| n.host.as_str()).collect();
        assert_eq!((hosts, services.len()), (vec!["c", "c2"], 1));
        let Outcome::Found { nodes, services } = run(&[]) else {
            panic!()
        };
        assert_eq!((nodes.len(), services.len()), (0, 1));
    }

    #[test]
    fn nobody_is_unknown_as_long_as_a_cluster_cannot_be_asked() {
        assert!(matches!(run(&["a"]), Outcome::Unknown));
        let Outcome::Unreachable { server, why } = run(&["down", "a"]) else {
            panic!()
        };
        assert_eq!(
            (server.as_str(), why.as_str()),
            ("down:8443", "connection refused")
        );
    }
}
