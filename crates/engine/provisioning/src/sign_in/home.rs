//! Where a user is at home: `clusterUser`, asked of any node, each in turn (`protocol.md` §2.3).
//!
//! In: what a node answered. Out: whom to ask next, or how the search ended. It asks nobody itself,
//! and knows no password. A node that cannot be asked is never taken for one that does not know the
//! user. Bounds: each node is asked once; [`HOMES_MAX`] nodes of the home cluster come out of it.

use super::{HOMES_MAX, Node};
use crate::uds;

/// A search under way.
pub(super) struct Search {
    nodes: Vec<Node>,
    next: usize,
    /// Who could not be asked last, and why.
    silent: Option<(String, String)>,
    /// Who has answered, and whether they knew the user.
    lookups: Vec<(Node, bool)>,
}

/// How it goes on.
pub(super) enum Found {
    /// To be asked next.
    Ask(Node),
    /// The node that the user's home cluster named, and others of that cluster.
    Home { home: Node, others: Vec<Node> },
    /// Every cluster could be asked, and none knows the user.
    Nowhere,
    /// Some cluster may know the user, and cannot be asked.
    Silent { server: String, why: String },
}

impl Search {
    pub(super) fn new(nodes: Vec<Node>) -> Self {
        Search {
            nodes,
            next: 0,
            silent: None,
            lookups: Vec::new(),
        }
    }

    /// Who has answered, and whether they knew the user: taken out.
    pub(super) fn lookups(&mut self) -> Vec<(Node, bool)> {
        std::mem::take(&mut self.lookups)
    }

    /// Whom to ask next.
    pub(super) fn go_on(&mut self) -> Found {
        if let Some(node) = self.nodes.get(self.next).cloned() {
            self.next += 1;
            return Found::Ask(node);
        }
        match self.silent.take() {
            Some((server, why)) => Found::Silent { server, why },
            None if self.nodes.is_empty() => Found::Silent {
                server: "Unified CM".into(),
                why: "no node is configured or discovered".into(),
            },
            None => Found::Nowhere,
        }
    }

    /// What the node has answered that was asked last.
    pub(super) fn heard(&mut self, got: Result<(u16, String), String>) -> Found {
        let Some(asked) = self.nodes.get(self.next.saturating_sub(1)) else {
            return self.go_on();
        };
        let why = match got {
            Ok((200, body)) => match uds::cluster_user(&body) {
                Ok(Some(home)) => {
                    let verify = asked.tls_verify;
                    self.lookups.push((asked.clone(), true));
                    return self.home(verify, home.host, home.port);
                }
                // This node's clusters do not know the user; another one's may, where ILS is
                // missing (F070).
                Ok(None) => {
                    self.lookups.push((asked.clone(), false));
                    None
                }
                Err(e) => Some(e.to_string()),
            },
            Ok((status, _)) => Some(format!("status {status} for clusterUser")),
            Err(why) => Some(why),
        };
        if let Some(why) = why {
            self.silent = Some((format!("{}:{}", asked.host, asked.port), why));
        }
        self.go_on()
    }

    fn home(&self, tls_verify: bool, host: String, port: u16) -> Found {
        let known = |n: &&Node| n.host.eq_ignore_ascii_case(&host);
        let cluster = self.nodes.iter().find(known).map(|n| n.cluster);
        let others = self.nodes.iter().filter(|n| Some(n.cluster) == cluster);
        let others = others.filter(|n| !known(n)).take(HOMES_MAX - 1);
        // The last one is asked first.
        let mut others: Vec<Node> = others.cloned().collect();
        others.reverse();
        let home = Node {
            host,
            port,
            tls_verify,
            cluster: cluster.unwrap_or(usize::MAX),
        };
        Found::Home { home, others }
    }
}
