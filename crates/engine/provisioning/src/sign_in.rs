//! A sign-in, from credentials to what `get_edge_config` needs, as a pure state machine
//! (`protocol.md` §2.3).
//!
//! ```text
//! locate ── clusterUser on any node, each in turn ──▶ authenticate ── devices at home, with the
//! user's own password ──▶ gather ── servers, user, extensions, inside SRV records, side by side
//! ──▶ granted
//! ```
//! A server that cannot be reached is never an answer of "wrong password": the outcome says which
//! server and why. Bounds: [`SESSIONS_MAX`] at once, names of [`USER_MAX`] bytes, and the rates of
//! `rates`.

mod rates;

use std::time::Duration;

use base::{HashMap, Instant, Pii, Rng, Secret};
use rates::Rates;

use crate::edge_config::Server;
use crate::uds::{self, percent_encode};

/// Sign-ins under way at once.
pub const SESSIONS_MAX: usize = 2_000;

/// Bytes of a user name; Unified CM itself allows 128 characters.
pub const USER_MAX: usize = 256;

/// Why a sign-in is refused whose user was found on no node.
pub const UNKNOWN: &str = "no cluster knows the user";

/// A node of Unified CM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name or address.
    pub host: String,
    /// Its HTTPS port.
    pub port: u16,
    /// Whether its certificate is checked.
    pub tls_verify: bool,
}

/// A question to the outside.
#[derive(Debug)]
pub enum Ask {
    /// GET over HTTPS.
    Get {
        /// Comes back with the answer.
        id: u64,
        /// Whom.
        node: Node,
        /// Path and query.
        path: String,
        /// Credentials.
        basic: Option<(Pii<String>, Secret<String>)>,
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

/// How a sign-in ended.
#[derive(Debug)]
pub enum Outcome {
    /// The password is good.
    Granted(Box<Granted>),
    /// Wrong password, or nobody knows the user.
    Unauthorized {
        /// For the event, not for the client.
        why: &'static str,
    },
    /// The inside cannot be reached.
    Unreachable {
        /// `host:port`.
        server: String,
        /// What was seen.
        why: String,
    },
    /// Too many tries.
    Limited {
        /// When to try again.
        wait: Duration,
    },
}

/// What a good sign-in has learnt.
#[derive(Debug)]
pub struct Granted {
    /// The user id as Unified CM keeps it.
    pub user: String,
    /// The password that was good.
    pub password: Secret<String>,
    /// The user's numbers.
    pub lines: Vec<String>,
    /// The user's devices.
    pub devices: Vec<String>,
    /// Nodes of the home cluster, the one that knew the user first.
    pub nodes: Vec<Node>,
    /// The services asked for.
    pub services: Vec<(String, Option<Vec<Server>>)>,
}

enum Step {
    Locate {
        next: usize,
        last: Option<String>,
    },
    Authenticate {
        home: Node,
    },
    Gather {
        home: Node,
        devices: Vec<String>,
        waiting: usize,
    },
}

struct Session {
    domain: String,
    user: String,
    password: Secret<String>,
    nodes: Vec<Node>,
    step: Step,
    name: Option<uds::User>,
    extensions: Vec<String>,
    servers: Vec<String>,
    services: Vec<(String, Option<Vec<Server>>)>,
}

#[derive(Clone, Copy)]
enum Waiting {
    Step,
    Servers,
    User,
    Extensions,
    Service(usize),
}

/// All sign-ins of a core.
pub struct SignIns {
    sessions: HashMap<u64, Session>,
    asks: HashMap<u64, (u64, Waiting)>,
    rates: Rates,
    next_ask: u64,
    out: Vec<Ask>,
    done: Vec<(u64, Outcome)>,
}

impl SignIns {
    /// None yet; `rng` keys the table of rates.
    pub fn new(rng: &mut Rng) -> Self {
        SignIns {
            sessions: HashMap::default(),
            asks: HashMap::default(),
            rates: Rates::new(rng),
            next_ask: 0,
            out: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Begins; `id` comes back with the outcome.
    #[expect(
        clippy::too_many_arguments,
        reason = "a sign-in's facts, taken over at once"
    )]
    pub fn begin(
        &mut self,
        now: Instant,
        id: u64,
        domain: &str,
        user: &str,
        password: Secret<String>,
        services: Vec<String>,
        nodes: Vec<Node>,
    ) {
        if user.len() > USER_MAX {
            let why = "a user name that is too long";
            return self.done.push((id, Outcome::Unauthorized { why }));
        }
        if self.sessions.len() >= SESSIONS_MAX {
            let wait = Duration::from_secs(5);
            return self.done.push((id, Outcome::Limited { wait }));
        }
        if let Err(wait) = self.rates.take(now, user) {
            return self.done.push((id, Outcome::Limited { wait }));
        }
        let session = Session {
            domain: domain.to_owned(),
            user: user.to_owned(),
            password,
            nodes,
            step: Step::Locate {
                next: 0,
                last: None,
            },
            name: None,
            extensions: Vec::new(),
            servers: Vec::new(),
            services: services.into_iter().map(|name| (name, None)).collect(),
        };
        self.sessions.insert(id, session);
        self.locate(id);
    }

    /// Questions to put, and sign-ins that have ended.
    pub fn take(&mut self) -> (Vec<Ask>, Vec<(u64, Outcome)>) {
        (
            std::mem::take(&mut self.out),
            std::mem::take(&mut self.done),
        )
    }

    /// Sign-ins under way.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether a question is one of a sign-in's.
    pub fn waits_for(&self, ask: u64) -> bool {
        self.asks.contains_key(&ask)
    }

    /// Takes an answer.
    pub fn answer(&mut self, ask: u64, answer: Answer) {
        let Some((id, waiting)) = self.asks.remove(&ask) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        match (waiting, answer) {
            (Waiting::Step, Answer::Got(got)) => match &session.step {
                Step::Locate { .. } => self.located(id, got),
                Step::Authenticate { .. } => self.authenticated(id, got),
                Step::Gather { .. } => {}
            },
            (Waiting::Servers, Answer::Got(got)) => {
                if let Ok((200, body)) = got {
                    session.servers = uds::servers(&body).unwrap_or_default();
                }
                self.gathered(id);
            }
            (Waiting::User, Answer::Got(got)) => {
                if let Ok((200, body)) = got {
                    session.name = uds::user(&body).ok();
                }
                self.gathered(id);
            }
            (Waiting::Extensions, Answer::Got(got)) => {
                if let Ok((200, body)) = got {
                    session.extensions = uds::extensions(&body).unwrap_or_default();
                }
                self.gathered(id);
            }
            (Waiting::Service(i), Answer::Service(records)) => {
                if let Some((_, slot)) = session.services.get_mut(i) {
                    *slot = records;
                }
                self.gathered(id);
            }
            _ => self.gathered(id),
        }
    }

    fn ask(&mut self, id: u64, waiting: Waiting, make: impl FnOnce(u64) -> Ask) {
        let ask = self.next_ask;
        self.next_ask += 1;
        self.asks.insert(ask, (id, waiting));
        self.out.push(make(ask));
    }

    fn end(&mut self, id: u64, outcome: Outcome) {
        if let Some(session) = self.sessions.remove(&id)
            && !matches!(outcome, Outcome::Unauthorized { .. })
        {
            self.rates.give_back(&session.user);
        }
        self.done.push((id, outcome));
    }

    /// Asks the next node where the user is at home.
    fn locate(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Step::Locate { next, last } = &mut session.step else {
            return;
        };
        let Some(node) = session.nodes.get(*next).cloned() else {
            let outcome = match last.take() {
                Some(why) => {
                    let server = session
                        .nodes
                        .last()
                        .map_or_else(|| "Unified CM".into(), |n| format!("{}:{}", n.host, n.port));
                    Outcome::Unreachable { server, why }
                }
                None if session.nodes.is_empty() => Outcome::Unreachable {
                    server: "Unified CM".into(),
                    why: "no node is configured or discovered".into(),
                },
                None => Outcome::Unauthorized { why: UNKNOWN },
            };
            return self.end(id, outcome);
        };
        *next += 1;
        let path = format!(
            "/cucm-uds/clusterUser?username={}",
            percent_encode(&session.user)
        );
        self.ask(id, Waiting::Step, |id| Ask::Get {
            id,
            node,
            path,
            basic: None,
        });
    }

    fn located(&mut self, id: u64, got: Result<(u16, String), String>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Step::Locate { next, last } = &mut session.step else {
            return;
        };
        let asked = session.nodes.get(next.saturating_sub(1)).cloned();
        let why = match got {
            Ok((200, body)) => match uds::cluster_user(&body) {
                Ok(Some(home)) => {
                    let verify = asked.is_none_or(|n| n.tls_verify);
                    let home = Node {
                        host: home.host,
                        port: home.port,
                        tls_verify: verify,
                    };
                    return self.authenticate(id, home);
                }
                // This node's clusters do not know the user; another one's may, where ILS is
                // missing (F070).
                Ok(None) => None,
                Err(e) => Some(e.to_string()),
            },
            Ok((status, _)) => Some(format!("status {status} for clusterUser")),
            Err(why) => Some(why),
        };
        if let Some(why) = why {
            *last = Some(why);
        }
        self.locate(id);
    }

    fn authenticate(&mut self, id: u64, home: Node) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let path = format!("/cucm-uds/user/{}/devices", percent_encode(&session.user));
        let basic = Some((Pii::new(session.user.clone()), session.password.clone()));
        session.step = Step::Authenticate { home: home.clone() };
        self.ask(id, Waiting::Step, |id| Ask::Get {
            id,
            node: home,
            path,
            basic,
        });
    }

    fn authenticated(&mut self, id: u64, got: Result<(u16, String), String>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Step::Authenticate { home } = &session.step else {
            return;
        };
        let home = home.clone();
        let server = format!("{}:{}", home.host, home.port);
        let devices = match got {
            Ok((200, body)) => uds::devices(&body).unwrap_or_default(),
            Ok((401 | 404, _)) => {
                let why = "the home cluster refused the password";
                return self.end(id, Outcome::Unauthorized { why });
            }
            Ok((status, _)) => {
                let why = format!("status {status} for devices");
                return self.end(id, Outcome::Unreachable { server, why });
            }
            Err(why) => return self.end(id, Outcome::Unreachable { server, why }),
        };
        let names: Vec<String> = session
            .services
            .iter()
            .map(|(n, _)| format!("{n}._tcp.{}", session.domain))
            .collect();
        let basic = Some((Pii::new(session.user.clone()), session.password.clone()));
        let path = format!("/cucm-uds/user/{}", percent_encode(&session.user));
        let waiting = names.len() + 3;
        session.step = Step::Gather {
            home: home.clone(),
            devices,
            waiting,
        };
        let (node, whole) = (home.clone(), basic.clone());
        let extensions = format!("{path}/extensions");
        self.ask(id, Waiting::Extensions, |id| Ask::Get {
            id,
            node,
            path: extensions,
            basic: whole,
        });
        let node = home.clone();
        let servers = "/cucm-uds/servers".to_owned();
        self.ask(id, Waiting::Servers, |id| Ask::Get {
            id,
            node,
            path: servers,
            basic: None,
        });
        self.ask(id, Waiting::User, |id| Ask::Get {
            id,
            node: home,
            path,
            basic,
        });
        for (i, name) in names.into_iter().enumerate() {
            self.ask(id, Waiting::Service(i), |id| Ask::Service { id, name });
        }
    }

    fn gathered(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Step::Gather { waiting, .. } = &mut session.step else {
            return;
        };
        *waiting = waiting.saturating_sub(1);
        if *waiting > 0 {
            return;
        }
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        let Step::Gather { home, devices, .. } = session.step else {
            return;
        };
        self.rates.give_back(&session.user);
        let mut nodes = vec![home.clone()];
        let others = session
            .servers
            .iter()
            .filter(|s| !s.eq_ignore_ascii_case(&home.host));
        nodes.extend(others.map(|s| Node {
            host: s.clone(),
            ..home.clone()
        }));
        let user = session.name.unwrap_or(uds::User {
            name: session.user,
            lines: Vec::new(),
        });
        let mut lines = user.lines;
        lines.extend(session.extensions);
        lines.sort();
        lines.dedup();
        self.done.push((
            id,
            Outcome::Granted(Box::new(Granted {
                user: user.name,
                password: session.password,
                lines,
                devices,
                nodes,
                services: session.services,
            })),
        ));
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
        }
    }

    fn none() -> SignIns {
        SignIns::new(&mut Rng::from_number(1))
    }

    fn begin(nodes: &[&str]) -> SignIns {
        let mut s = none();
        let nodes = nodes.iter().map(|n| node(n)).collect();
        let services = vec!["_cisco-uds".to_owned()];
        let password = Secret::new("pw".to_owned());
        s.begin(
            Instant::ZERO,
            7,
            "example.test",
            "Alice",
            password,
            services,
            nodes,
        );
        s
    }

    /// Answers every question by `serve(host, path, has credentials)`, until the sign-in ends.
    fn run(
        mut s: SignIns,
        serve: impl Fn(&str, &str, bool) -> Result<(u16, String), String>,
    ) -> Outcome {
        loop {
            let (asks, mut done) = s.take();
            if let Some((id, outcome)) = done.pop() {
                assert_eq!((id, s.len(), s.asks.len()), (7, 0, 0));
                return outcome;
            }
            assert!(!asks.is_empty(), "neither asks nor ends");
            for ask in asks {
                match ask {
                    Ask::Get {
                        id,
                        node,
                        path,
                        basic,
                    } => {
                        let got = serve(&node.host, &path, basic.is_some());
                        s.answer(id, Answer::Got(got));
                    }
                    Ask::Service { id, name } => {
                        assert_eq!(name, "_cisco-uds._tcp.example.test");
                        let records = vec![(1, 1, 8443, "b".into())];
                        s.answer(id, Answer::Service(Some(records)));
                    }
                }
            }
        }
    }

    fn unified_cm(host: &str, path: &str, basic: bool) -> Result<(u16, String), String> {
        let ok = |body: &str| Ok((200, body.to_owned()));
        match (host, path, basic) {
            ("down", ..) => Err("connection refused".into()),
            ("a", p, _) if p.starts_with("/cucm-uds/clusterUser") => {
                ok("<clusterUser><result found=\"false\"/></clusterUser>")
            }
            (_, p, _) if p.starts_with("/cucm-uds/clusterUser") => ok("<clusterUser>\
                 <result found=\"true\"/><homeCluster>b</homeCluster></clusterUser>"),
            ("b", "/cucm-uds/user/Alice/devices", true) => {
                ok("<devices><device><name>CSFALICE</name></device></devices>")
            }
            ("b", "/cucm-uds/user/Alice", true) => {
                ok("<user><userName>alice</userName><phoneNumber>1001</phoneNumber></user>")
            }
            ("b", "/cucm-uds/user/Alice/extensions", true) => ok("<extensions><extension>\
                 <directoryNumber>1002</directoryNumber></extension><extension>\
                 <directoryNumber>1001</directoryNumber></extension></extensions>"),
            ("b", "/cucm-uds/servers", _) => {
                ok("<servers><server>b</server><server>b2</server></servers>")
            }
            _ => Ok((401, String::new())),
        }
    }

    #[test]
    fn a_user_is_found_on_any_cluster_and_normalised() {
        let Outcome::Granted(g) = run(begin(&["down", "a", "b"]), unified_cm) else {
            panic!()
        };
        assert_eq!(
            (g.user.as_str(), g.lines.as_slice()),
            ("alice", &["1001".to_owned(), "1002".to_owned()][..])
        );
        assert_eq!(
            g.nodes.iter().map(|n| n.host.as_str()).collect::<Vec<_>>(),
            ["b", "b2"]
        );
        assert_eq!(g.devices, ["CSFALICE"]);
        assert_eq!(g.services[0].1.as_ref().unwrap()[0].3, "b");
    }

    #[test]
    fn a_wrong_password_is_unauthorized_and_an_unreachable_inside_never_is() {
        let refuse = |host: &str, path: &str, basic: bool| {
            if basic {
                Ok((401, String::new()))
            } else {
                unified_cm(host, path, basic)
            }
        };
        assert!(matches!(
            run(begin(&["b"]), refuse),
            Outcome::Unauthorized { .. }
        ));
        assert!(matches!(
            run(begin(&["a"]), unified_cm),
            Outcome::Unauthorized { .. }
        ));
        for nodes in [&["down"][..], &["a", "down"], &[]] {
            assert!(
                matches!(run(begin(nodes), unified_cm), Outcome::Unreachable { .. }),
                "{nodes:?}"
            );
        }
        let broken = |_: &str, _: &str, _: bool| Ok((503, String::new()));
        assert!(matches!(
            run(begin(&["b"]), broken),
            Outcome::Unreachable { .. }
        ));
    }

    /// Begins one more sign-in, and answers whether it may go on.
    fn tries(s: &mut SignIns, id: u64, user: &str) -> bool {
        let password = Secret::new(String::new());
        let nodes = vec![node("b")];
        s.begin(Instant::ZERO, id, "d", user, password, vec![], nodes);
        !s.done
            .pop()
            .is_some_and(|(_, o)| matches!(o, Outcome::Limited { .. }))
    }

    #[test]
    fn a_user_whose_password_is_wrong_too_often_waits_and_nobody_else_does() {
        let mut s = none();
        let most = u64::from(rates::WRONG_MAX);
        assert!((0..most).all(|id| tries(&mut s, id, "alice")));
        assert!(!tries(&mut s, most, "ALICE"));
        assert!(tries(&mut s, most + 1, "bob"));
    }

    #[test]
    fn sign_ins_that_were_not_wrong_count_for_nothing() {
        let mut s = none();
        for id in 0..10 * u64::from(rates::WRONG_MAX) {
            assert!(tries(&mut s, id, "alice"));
            for ask in s.take().0 {
                let Ask::Get { id, .. } = ask else { panic!() };
                s.answer(id, Answer::Got(Err("connection refused".into())));
            }
        }
    }

    #[test]
    fn a_user_name_that_is_too_long_is_refused_and_not_kept() {
        let mut s = none();
        let password = Secret::new(String::new());
        let user = "a".repeat(USER_MAX + 1);
        s.begin(
            Instant::ZERO,
            1,
            "d",
            &user,
            password,
            vec![],
            vec![node("b")],
        );
        assert!(matches!(
            s.take().1[..],
            [(1, Outcome::Unauthorized { .. })]
        ));
        assert!(s.is_empty() && s.rates.is_empty());
    }
}
