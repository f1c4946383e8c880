//! A sign-in, from credentials to what `get_edge_config` needs, as a pure state machine
//! (`protocol.md` §2.3).
//!
//! ```text
//! Unified CM: locate ── clusterUser on any node, each in turn ──▶ authenticate ── devices at
//! home, with the user's own password ──▶ gather ── servers, user, extensions, inside SRV records,
//! side by side ──▶ granted
//! another directory: prove ── one question ──▶ gather ── SRV records ──▶ granted
//! another has vouched: locate, if there is a Unified CM ──▶ gather ── servers, inside SRV records
//! ──▶ found
//! ```
//! A home cluster whose first node does not answer is asked at another of its nodes. A server that
//! cannot be reached is never an answer of "wrong password": the outcome says which server and why.
//! What was wrong a moment ago is wrong without asking (`refused`). Bounds: [`SESSIONS_MAX`] at
//! once, and as many of users for whom another has vouched, names of [`USER_MAX`] bytes,
//! [`HOMES_MAX`] nodes of a home cluster, and the rates of `rates`.

mod ask;
mod home;
mod rates;
mod refused;

use std::time::Duration;

pub use ask::{Answer, Ask, Asked, By, Granted, Node, Outcome, Proven, Unproven, Vouched};
use base::{HashMap, Instant, Pii, Rng, Secret};
use home::{Found, Search};
use rates::Rates;
use refused::Refused;

use crate::edge_config::Server;
use crate::uds::{self, percent_encode};

/// Sign-ins under way at once.
pub const SESSIONS_MAX: usize = 2_000;

/// Bytes of a user name; Unified CM itself allows 128 characters.
pub const USER_MAX: usize = 256;

/// Nodes of a home cluster that are asked about a password, until one answers.
pub const HOMES_MAX: usize = 3;

/// Bytes of a password; longer ones nobody has.
pub const PASSWORD_MAX: usize = 1024;

/// Why a sign-in is refused whose user was found on no node.
pub const UNKNOWN: &str = "no cluster knows the user";

enum Step {
    Locate(Search),
    Authenticate {
        home: Node,
        /// Nodes of the same cluster, to be asked next.
        others: Vec<Node>,
    },
    Prove,
    Gather {
        /// `None` where there is no cluster.
        home: Option<Node>,
        devices: Vec<String>,
        waiting: usize,
    },
}

struct Session {
    began: Instant,
    domain: String,
    user: String,
    /// `None` if another has vouched for the user.
    password: Option<Secret<String>>,
    step: Step,
    /// Who was asked where the user is at home, and whether they knew.
    lookups: Vec<(Node, bool)>,
    name: Option<uds::User>,
    extensions: Vec<String>,
    servers: Vec<String>,
    services: Vec<(String, Option<Vec<Server>>)>,
}

impl Session {
    /// The user's own credentials.
    fn basic(&self) -> Option<(Pii<String>, Secret<String>)> {
        let password = self.password.clone()?;
        Some((Pii::new(self.user.clone()), password))
    }

    /// The SRV records to ask for.
    fn names(&self) -> Vec<String> {
        let asked = self.services.iter();
        asked
            .map(|(n, _)| format!("{n}._tcp.{}", self.domain))
            .collect()
    }
}

#[derive(Clone, Copy)]
enum Waiting {
    Step,
    Servers,
    User,
    Extensions,
    Service(usize),
}

/// Whether a directory may take a name for another one that is written without what nobody sees:
/// blanks at the ends or in a row, other blanks than the space, controls, and what RFC 4518 §2.2
/// maps to nothing. One person would have several accounts, and several rates.
fn is_odd(user: &str) -> bool {
    let unseen = |c: char| {
        (c.is_whitespace() && c != ' ')
            || c.is_control()
            || matches!(
                c,
                '\u{ad}' | '\u{34f}' | '\u{1806}' | '\u{180b}'..='\u{180e}'
            )
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
            || matches!(c, '\u{fff9}'..='\u{fffc}' | '\u{1d173}'..='\u{1d17a}')
            || matches!(c, '\u{e0000}'..='\u{e007f}')
    };
    user.starts_with(' ') || user.ends_with(' ') || user.contains("  ") || user.contains(unseen)
}

/// All sign-ins of a core.
pub struct SignIns {
    sessions: HashMap<u64, Session>,
    /// Those of them for whom another has vouched.
    vouched: usize,
    asks: HashMap<u64, (u64, Waiting)>,
    rates: Rates,
    refused: Refused,
    next_ask: u64,
    out: Vec<Ask>,
    done: Vec<(u64, Outcome)>,
}

impl SignIns {
    /// None yet; `rng` keys the table of rates.
    pub fn new(rng: &mut Rng) -> Self {
        SignIns {
            sessions: HashMap::default(),
            vouched: 0,
            asks: HashMap::default(),
            rates: Rates::new(rng),
            refused: Refused::new(rng),
            next_ask: 0,
            out: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Begins; `id` comes back with the outcome.
    pub fn begin(&mut self, now: Instant, id: u64, asked: Asked) {
        let Asked {
            domain,
            user,
            password,
            services,
            by,
        } = asked;
        if is_odd(&user) {
            let why = "a user name with odd blanks or characters that nobody sees";
            return self.done.push((id, Outcome::Unauthorized { why }));
        }
        let (long_user, long) = (
            user.len() > USER_MAX,
            password.expose().len() > PASSWORD_MAX,
        );
        if long_user || long || user.is_empty() || password.expose().is_empty() {
            let why = match (long_user, long) {
                (true, _) => "a user name that is too long",
                (false, true) => "a password that is too long",
                // A directory takes an empty password for no password at all (RFC 4513 §5.1.2).
                (false, false) => "no user name or no password",
            };
            return self.done.push((id, Outcome::Unauthorized { why }));
        }
        if self.sessions.len() - self.vouched >= SESSIONS_MAX {
            return self.done.push((id, Outcome::Full));
        }
        if let Err(wait) = self.rates.take(now, &user) {
            return self.done.push((id, Outcome::Limited { wait }));
        }
        if let Some(why) = self.refused.why(now, &domain, &user, password.expose()) {
            return self.done.push((id, Outcome::Unauthorized { why }));
        }
        let step = match by {
            By::Uds(nodes) => Step::Locate(Search::new(nodes)),
            By::Directory => Step::Prove,
        };
        let proving = matches!(step, Step::Prove);
        let session = Session {
            began: now,
            domain,
            user,
            password: Some(password),
            step,
            lookups: Vec::new(),
            name: None,
            extensions: Vec::new(),
            servers: Vec::new(),
            services: services.into_iter().map(|name| (name, None)).collect(),
        };
        self.sessions.insert(id, session);
        if proving {
            self.prove(id);
        } else {
            self.locate(id);
        }
    }

    /// Begins for a user for whom another has vouched; `id` comes back with the outcome. Without
    /// nodes, nobody is asked where the user is at home.
    pub fn vouched(&mut self, now: Instant, id: u64, vouched: Vouched) {
        if self.vouched >= SESSIONS_MAX {
            return self.done.push((id, Outcome::Full));
        }
        let homeless = vouched.nodes.is_empty();
        let services = vouched.services.into_iter();
        let session = Session {
            began: now,
            domain: vouched.domain,
            user: vouched.user,
            password: None,
            step: Step::Locate(Search::new(vouched.nodes)),
            lookups: Vec::new(),
            name: None,
            extensions: Vec::new(),
            servers: Vec::new(),
            services: services.map(|name| (name, None)).collect(),
        };
        self.sessions.insert(id, session);
        self.vouched += 1;
        if homeless {
            self.gather(id, None, Vec::new());
        } else {
            self.locate(id);
        }
    }

    /// A wrong password of a user that was seen elsewhere, as in a chat server's refusal: counts
    /// like one of a sign-in. The wait, if there were too many.
    ///
    /// # Errors
    /// How long until the user may try again.
    pub fn wrong_elsewhere(&mut self, now: Instant, user: &str) -> Result<(), Duration> {
        self.rates.take(now, user)
    }

    /// Ends the sign-ins of a user that are under way; their numbers. A name as it was typed is
    /// asked about without its domain, as directories may be shared.
    pub fn abandon(&mut self, is_user: impl Fn(&str, &str) -> bool) -> Vec<u64> {
        let of_user = |s: &Session| match &s.password {
            Some(_) => is_user(&s.user, ""),
            None => is_user(&s.user, &s.domain),
        };
        let ended = self.sessions.iter().filter(|(_, s)| of_user(s));
        let ended: Vec<u64> = ended.map(|(id, _)| *id).collect();
        for id in &ended {
            self.remove(*id);
        }
        self.asks.retain(|_, (id, _)| !ended.contains(id));
        ended
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
                Step::Locate(_) => self.located(id, got),
                Step::Authenticate { .. } => self.authenticated(id, got),
                Step::Prove | Step::Gather { .. } => {}
            },
            (Waiting::Step, Answer::Proved(proved)) => {
                if matches!(session.step, Step::Prove) {
                    self.proved(id, proved);
                }
            }
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

    fn remove(&mut self, id: u64) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.vouched -= usize::from(session.password.is_none());
        Some(session)
    }

    fn end(&mut self, id: u64, outcome: Outcome) {
        if let Some(session) = self.remove(id)
            && let Some(password) = &session.password
        {
            let Session { domain, user, .. } = &session;
            match outcome {
                Outcome::Unauthorized { why } => {
                    let password = (why != UNKNOWN).then(|| password.expose().as_str());
                    self.refused
                        .note(session.began, domain, user, password, why);
                }
                _ => self.rates.give_back(user),
            }
        }
        self.done.push((id, outcome));
    }

    /// Asks the next node where the user is at home.
    fn locate(&mut self, id: u64) {
        if let Some(Step::Locate(search)) = self.sessions.get_mut(&id).map(|s| &mut s.step) {
            let found = search.go_on();
            self.found(id, found);
        }
    }

    fn located(&mut self, id: u64, got: Result<(u16, String), String>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Step::Locate(search) = &mut session.step {
            let found = search.heard(got);
            if matches!(found, Found::Home { .. }) {
                session.lookups = search.lookups();
            }
            self.found(id, found);
        }
    }

    fn found(&mut self, id: u64, found: Found) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        match found {
            Found::Ask(node) => {
                let user = percent_encode(&session.user);
                let path = format!("/cucm-uds/clusterUser?username={user}");
                self.ask(id, Waiting::Step, |id| Ask::Get {
                    id,
                    node,
                    path,
                    basic: None,
                });
            }
            Found::Home { home, .. } if session.password.is_none() => {
                self.gather(id, Some(home), Vec::new());
            }
            Found::Home { home, others } => self.authenticate(id, home, others),
            Found::Nowhere => self.end(id, Outcome::Unauthorized { why: UNKNOWN }),
            Found::Silent { server, why } => self.end(id, Outcome::Unreachable { server, why }),
        }
    }

    fn authenticate(&mut self, id: u64, home: Node, others: Vec<Node>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let path = format!("/cucm-uds/user/{}/devices", percent_encode(&session.user));
        let basic = session.basic();
        let asked = home.clone();
        session.step = Step::Authenticate {
            home: asked,
            others,
        };
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
        let Step::Authenticate { home, others } = &mut session.step else {
            return;
        };
        let home = home.clone();
        let server = format!("{}:{}", home.host, home.port);
        let silent = match &got {
            Ok((status, _)) => *status >= 500,
            Err(_) => true,
        };
        if silent && let Some(other) = others.pop() {
            let others = std::mem::take(others);
            return self.authenticate(id, other, others);
        }
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
        self.gather(id, Some(home), devices);
    }

    /// Asks, side by side, for all that the document needs.
    fn gather(&mut self, id: u64, home: Option<Node>, devices: Vec<String>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (names, basic) = (session.names(), session.basic());
        let path = format!("/cucm-uds/user/{}", percent_encode(&session.user));
        let mut gets = Vec::new();
        if home.is_some() {
            gets.push((Waiting::Servers, "/cucm-uds/servers".to_owned(), None));
            if basic.is_some() {
                let extensions = format!("{path}/extensions");
                gets.push((Waiting::Extensions, extensions, basic.clone()));
                gets.push((Waiting::User, path, basic));
            }
        }
        session.step = Step::Gather {
            home: home.clone(),
            devices,
            // One more, so that it also ends where there is nothing to ask.
            waiting: gets.len() + names.len() + 1,
        };
        if let Some(home) = home {
            for (waiting, path, basic) in gets {
                let node = home.clone();
                self.ask(id, waiting, |id| Ask::Get {
                    id,
                    node,
                    path,
                    basic,
                });
            }
        }
        for (i, name) in names.into_iter().enumerate() {
            self.ask(id, Waiting::Service(i), |id| Ask::Service { id, name });
        }
        self.gathered(id);
    }

    /// Asks the domain's directory.
    fn prove(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let Some((user, password)) = session.basic() else {
            return;
        };
        let domain = session.domain.clone();
        self.ask(id, Waiting::Step, |id| Ask::Prove {
            id,
            domain,
            user,
            password,
        });
    }

    fn proved(&mut self, id: u64, proved: Result<Proven, Unproven>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let proven = match proved {
            Ok(proven) => proven,
            Err(Unproven::Wrong(why)) => return self.end(id, Outcome::Unauthorized { why }),
            Err(Unproven::Unreachable { server, why }) => {
                return self.end(id, Outcome::Unreachable { server, why });
            }
        };
        session.name = Some(uds::User {
            name: proven.account,
            lines: proven.lines,
        });
        self.gather(id, None, Vec::new());
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
        let Some(session) = self.remove(id) else {
            return;
        };
        let Step::Gather { home, devices, .. } = session.step else {
            return;
        };
        let cluster = home.as_ref().map(|home| home.cluster);
        let mut lookups = session.lookups;
        lookups.retain(|(node, _)| Some(node.cluster) != cluster);
        let mut nodes: Vec<Node> = home.iter().cloned().collect();
        if let Some(home) = home {
            let is_home = |s: &&String| s.eq_ignore_ascii_case(&home.host);
            let others = session.servers.iter().filter(|s| !is_home(s));
            nodes.extend(others.map(|s| Node {
                host: s.clone(),
                ..home.clone()
            }));
        }
        let services = session.services;
        let Some(password) = session.password else {
            return self.done.push((id, Outcome::Found { nodes, services }));
        };
        self.rates.give_back(&session.user);
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
                password,
                lines,
                devices,
                nodes,
                lookups,
                services,
            })),
        ));
    }
}

#[cfg(test)]
mod tests;
