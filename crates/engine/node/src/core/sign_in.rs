//! Sign-ins: `get_edge_config` with a user's password, checked by the home cluster, answered with
//! a session token and the way to everything (`protocol.md` 2.2–2.4).
//!
//! Who guesses is held back by source: ten wrong passwords within five minutes, and nobody signs
//! in from there for five more. The source is what the edge reports, and an edge that was taken
//! over could lie about it, so a wide limit by user stays behind this one; it is not for those
//! whose password need not be asked about. [`GUESSES_MAX`] sign-ins of a source are under way at
//! once, so that it cannot guess much faster than it is answered.

mod known;

pub(super) use known::Known;
use std::net::IpAddr;
use std::time::Duration;

use base::{HashMap, Instant, Now, Pii, Rng, UnixTime};
use policy::credentials::SignedIn;
use policy::signed_out::Lot;
use policy::token::LIFE;
use provisioning::edge_config::{EdgeConfig, services_asked};
use provisioning::sign_in::{
    Answer as Got, Ask, By, Granted, Node, Outcome, Proven, SignIns, UNKNOWN, USER_MAX, Unproven,
};
use status::{Event, Kind, SessionRow};
use traversal::EdgeServices;

use super::settings::Judge;
use super::{Asked, Core};
use crate::io::{
    Answer, AskId, DnsError, Fetch, FetchError, Fetched, Output, Record, Reply, Resolve, Resolved,
    SignIn,
};
use crate::strikes::{Strikes, whole};

/// Sign-ins whose documents are kept for the next time.
const PROFILES_MAX: usize = 20_000;

/// Sign-ins under way from one source.
const GUESSES_MAX: usize = 100;

/// A sign-in under way.
pub(super) struct Pending {
    id: AskId,
    peer: usize,
    client: Option<IpAddr>,
    domain: String,
    pub(super) user: String,
    user_agent: String,
    /// Of who signed in otherwise: the session's token, if there is one, and its end.
    session: Option<(Option<String>, UnixTime)>,
}

/// What a sign-in learnt, kept as long as its password need not be asked about.
pub(super) struct Profile {
    user: String,
    nodes: Vec<Node>,
    services: Services,
}

type Services = Vec<(String, Option<Vec<(u16, u16, u16, String)>>)>;

/// All that is kept of sign-ins.
pub(super) struct Desk {
    pub(super) engine: SignIns,
    pub(super) pending: HashMap<u64, Pending>,
    profiles: HashMap<(String, String), Profile>,
    strikes: Strikes,
    next: u64,
}

impl Desk {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Desk {
            engine: SignIns::new(rng),
            pending: HashMap::default(),
            profiles: HashMap::default(),
            strikes: Strikes::default(),
            next: 0,
        }
    }

    /// How long a source has to wait, and why.
    fn refused(&self, now: Instant, source: IpAddr) -> Option<(Duration, &'static str)> {
        if let Some(rest) = self.strikes.banned(now, source) {
            return Some((rest, "too many wrong passwords from this source"));
        }
        let source = whole(source);
        let of_source = |p: &&Pending| p.client.is_some_and(|ip| whole(ip) == source);
        let under_way = self.pending.values().filter(of_source).count();
        let cause = "too many sign-ins from this source at once";
        (under_way >= GUESSES_MAX).then_some((Duration::from_secs(5), cause))
    }
}

impl Core {
    pub(super) fn sign_in(&mut self, now: Now, id: AskId, asked: SignIn) {
        let answer = |core: &mut Core, reply: Reply| core.answer(id, reply);
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        if path.trim_matches('/') != "get_edge_config" {
            let cause = "no request of the edge's own lane";
            let (out, source) = (&mut self.station.out, asked.client);
            let proof = [("domain", asked.domain)];
            self.board
                .caused(out, Kind::HttpRefused, now, source, cause, &proof);
            return answer(self, plain(404));
        }
        let domain = asked.domain.to_ascii_lowercase();
        let served = self
            .settings
            .domain(&domain)
            .is_some_and(|d| d.sip || d.im_presence);
        if !served {
            let proof = [("domain", domain)];
            let (out, cause) = (&mut self.station.out, "the domain is not served");
            self.board
                .stranger(out, Kind::HttpRefused, now, cause, &proof);
            return answer(self, plain(403));
        }
        if self.sso.takes_no_password(&domain) {
            let challenge = ("WWW-Authenticate", format!("Bearer realm=\"{domain}\""));
            let reply = Reply {
                headers: vec![challenge],
                ..plain(401)
            };
            return answer(self, reply);
        }
        let (user, services) = (asked.user.into_inner(), services_asked(query));
        let pending = Pending {
            id,
            peer: asked.peer,
            client: asked.client,
            domain: domain.clone(),
            user: user.clone(),
            user_agent: asked.user_agent,
            session: None,
        };
        let refused = pending
            .client
            .and_then(|ip| self.desk.refused(now.instant, ip));
        if let Some((wait, cause)) = refused {
            return self.limited(now, &pending, wait, cause);
        }
        if self
            .credentials
            .recognises(now.instant, &domain, &user, asked.password.expose())
            && let Some(profile) = self.desk.profiles.get(&(user.clone(), domain.clone()))
            && let Some(found) = subset(&profile.services, &services)
        {
            let (name, nodes) = (profile.user.clone(), profile.nodes.clone());
            return self.granted(now, &pending, &name, &nodes, found);
        }
        let number = self.desk.next;
        self.desk.next += 1;
        self.desk.pending.insert(number, pending);
        let by = match self.settings.signs_in_by(&domain) {
            Judge::UnifiedCm => By::Uds(self.uds_nodes()),
            Judge::Directory => By::Directory,
        };
        let password = asked.password;
        let asked = provisioning::sign_in::Asked {
            domain,
            user,
            password,
            services,
            by,
        };
        self.desk.engine.begin(now.instant, number, asked);
    }

    fn answer(&mut self, id: AskId, reply: Reply) {
        self.station.out.push_back(Output::Answer {
            id,
            answer: Answer::SignIn(reply),
        });
    }

    /// Puts the questions of sign-ins, and ends those that are done.
    pub(super) fn sign_ins_work(&mut self, now: Now) {
        loop {
            let (asks, done) = self.desk.engine.take();
            if asks.is_empty() && done.is_empty() {
                return;
            }
            for ask in asks {
                self.put(ask);
            }
            for (number, outcome) in done {
                if let Some(pending) = self.desk.pending.remove(&number) {
                    self.outcome(now, &pending, outcome);
                }
            }
        }
    }

    fn put(&mut self, ask: Ask) {
        match ask {
            Ask::Get {
                id: number,
                node,
                path,
                basic,
            } => {
                let id = self.ask(Asked::SignIn(number));
                self.station.out.push_back(Output::Fetch {
                    id,
                    request: Fetch {
                        method: "GET",
                        scheme: "https",
                        host: node.host,
                        port: node.port,
                        path,
                        basic,
                        headers: vec![("Accept", "application/xml".into())],
                        body: String::new(),
                        tls_verify: node.tls_verify,
                    },
                });
            }
            Ask::Prove {
                id: number,
                domain,
                user,
                password,
            } => {
                let id = self.ask(Asked::SignIn(number));
                self.station.out.push_back(Output::Prove {
                    id,
                    domain,
                    user,
                    password,
                });
            }
            Ask::Service { id: number, name } => {
                let id = self.ask(Asked::SignIn(number));
                let question = Resolve::Service(name);
                self.station.out.push_back(Output::Resolve { id, question });
            }
        }
    }

    pub(super) fn sign_in_fetched(&mut self, number: u64, result: Result<Fetched, FetchError>) {
        let got = match result {
            Ok(f) => Ok((f.status, String::from_utf8_lossy(&f.body).into_owned())),
            Err(e) => Err(e.why),
        };
        self.desk.engine.answer(number, Got::Got(got));
    }

    pub(super) fn sign_in_proved(&mut self, number: u64, result: Result<Proven, Unproven>) {
        self.desk.engine.answer(number, Got::Proved(result));
    }

    pub(super) fn sign_in_resolved(&mut self, number: u64, result: Result<Resolved, DnsError>) {
        let records = match result {
            Ok(Resolved::Service(records)) if !records.is_empty() => Some(records),
            _ => None,
        };
        self.desk.engine.answer(number, Got::Service(records));
    }

    fn outcome(&mut self, now: Now, pending: &Pending, outcome: Outcome) {
        match outcome {
            Outcome::Granted(granted) => self.keep(now, pending, *granted),
            Outcome::Found { nodes, services } => {
                let user = pending.user.clone();
                self.granted(now, pending, &user, &nodes, services);
            }
            Outcome::Full => {
                let cause = "too many sign-ins at once";
                self.tell(now, Kind::SignInLimited, pending, cause, None);
                self.answer(pending.id, later(503, 5));
            }
            // Whoever has vouched for the user: no password was wrong.
            Outcome::Unauthorized { why } if pending.session.is_some() => {
                self.board.counters.sign_ins_refused += 1;
                self.tell(now, Kind::SignInRefused, pending, why, None);
                self.answer(pending.id, plain(403));
            }
            Outcome::Unauthorized { why } => {
                self.board.counters.sign_ins_refused += 1;
                self.board.counters.wrong_credentials += 1;
                self.tell(now, Kind::SignInRefused, pending, why, None);
                self.strike(now, pending);
                let realm = ("WWW-Authenticate", "Basic realm=\"Cisco-Edge\"".into());
                self.answer(
                    pending.id,
                    Reply {
                        headers: vec![realm],
                        ..plain(401)
                    },
                );
            }
            Outcome::Unreachable { server, why } => {
                self.tell(now, Kind::SignInUnreachable, pending, &why, Some(server));
                self.answer(pending.id, plain(502));
            }
            Outcome::Limited { wait } => {
                self.limited(now, pending, wait, "too many sign-ins of this user");
            }
        }
    }

    /// A wrong password from a source counts against it, whatever service it was for.
    fn strike(&mut self, now: Now, pending: &Pending) {
        if let Some(ip) = pending.client
            && self.desk.strikes.strike(now.instant, ip)
        {
            let cause = "ten wrong passwords within five minutes";
            self.tell(now, Kind::Banned, pending, cause, None);
        }
    }

    /// Whether a client may begin a chat stream.
    pub(super) fn chat_asked(&mut self, now: Now, id: AskId, client: IpAddr) {
        let banned = self.desk.strikes.banned(now.instant, client).is_some();
        let answer = Answer::Chat(!banned);
        self.station.out.push_back(Output::Answer { id, answer });
    }

    /// A chat server has refused a password: it counts like one of a sign-in.
    pub(super) fn chat_refused(
        &mut self,
        now: Now,
        id: AskId,
        client: IpAddr,
        user: Option<Pii<String>>,
        domain: String,
    ) {
        self.board.counters.sign_ins_refused += 1;
        self.board.counters.wrong_credentials += 1;
        let pending = Pending {
            id,
            peer: 0,
            client: Some(client),
            domain,
            user: user.map(Pii::into_inner).unwrap_or_default(),
            user_agent: String::new(),
            session: None,
        };
        let cause = "the chat server refused the password";
        self.tell(now, Kind::SignInRefused, &pending, cause, None);
        self.strike(now, &pending);
        let user = pending.user.as_str();
        let slow = (1..=USER_MAX).contains(&user.len())
            && self.desk.engine.wrong_elsewhere(now.instant, user).is_err();
        let banned = self.desk.strikes.banned(now.instant, client).is_some();
        let answer = Answer::Chat(!slow && !banned);
        self.station.out.push_back(Output::Answer { id, answer });
    }

    fn limited(&mut self, now: Now, pending: &Pending, wait: Duration, cause: &str) {
        self.board.counters.sign_ins_refused += 1;
        // Rounded up: who comes back too early is refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.tell(now, Kind::SignInLimited, pending, cause, None);
        self.answer(pending.id, later(429, seconds.max(1)));
    }

    fn tell(
        &mut self,
        now: Now,
        kind: Kind,
        pending: &Pending,
        cause: &str,
        server: Option<String>,
    ) {
        let mut proof = vec![("domain", pending.domain.clone())];
        if pending.user.len() <= USER_MAX {
            proof.push(("user", Pii::new(&pending.user).to_string()));
        }
        if matches!(kind, Kind::SignInRefused | Kind::SignInLimited) {
            let (out, source) = (&mut self.station.out, pending.client);
            if cause == UNKNOWN {
                // No guess at a password: somebody may have to look at the clusters (F339).
                return self.board.warned(out, kind, now, source, cause, &proof);
            }
            return self.board.caused(out, kind, now, source, cause, &proof);
        }
        let mut event = Event::new(kind, now.unix, cause);
        event.proof = proof;
        if let Some(client) = pending.client {
            event = event.with_address("client", client);
        }
        if let Some(server) = server {
            event = event.with("server", server);
        }
        self.board.placed(&mut self.station.out, now, event);
    }

    /// The password is good: it is kept for SIP, as a hash for the realm of each edge.
    fn keep(&mut self, now: Now, pending: &Pending, granted: Granted) {
        self.clusters_shown(now, &granted);
        let mut realms: Vec<String> = self
            .links
            .iter()
            .filter_map(|l| l.last.as_ref())
            .map(|w| w.services.sip_realm.clone())
            .collect();
        realms.sort();
        realms.dedup();
        // Digests are over the name as the client types it; Unified CM keeps it in its own case.
        let typed = [pending.user.as_str(), granted.user.as_str()];
        let names = if typed[0] == typed[1] {
            &typed[..1]
        } else {
            &typed[..]
        };
        for name in names {
            let signed_in = SignedIn {
                domain: &pending.domain,
                user: name,
                account: &granted.user,
                password: &granted.password,
                realms: &realms,
                lines: granted.lines.clone(),
                devices: granted.devices.clone(),
            };
            if let Some(kept) = self.credentials.keep(now, signed_in) {
                let record = Box::new(Record::SignedIn(kept));
                self.station.out.push_back(Output::Keep(record));
            }
        }
        if self.desk.profiles.len() < PROFILES_MAX {
            let profile = Profile {
                user: granted.user.clone(),
                nodes: granted.nodes.clone(),
                services: granted.services.clone(),
            };
            let key = (pending.user.clone(), pending.domain.clone());
            self.desk.profiles.insert(key, profile);
        }
        self.granted(
            now,
            pending,
            &granted.user,
            &granted.nodes,
            granted.services,
        );
    }

    fn granted(
        &mut self,
        now: Now,
        pending: &Pending,
        user: &str,
        nodes: &[Node],
        services: Services,
    ) {
        let Some(here) = self.edge_services(pending.peer).cloned() else {
            let link = self.links.get(pending.peer);
            let edge = link.map(|l| l.peer.verify_name.clone());
            let cause = "the edge has not said yet where clients reach it";
            self.tell(now, Kind::SignInUnreachable, pending, cause, edge);
            return self.answer(pending.id, later(503, 5));
        };
        let (token, expires) = match &pending.session {
            None => (None, now.unix.plus(LIFE)),
            Some((token, until)) => (token.clone(), *until),
        };
        let (keys, rng) = (&self.tokens, &mut self.rng);
        let domain = &pending.domain;
        let token = token.unwrap_or_else(|| keys.issue_until(now.unix, rng, user, domain, expires));
        let body = self.edge_config(pending, &here, nodes, services).to_xml();
        let cookie = session_cookie(&here, &token, expires);
        self.board.counters.sign_ins += 1;
        let edge = self
            .links
            .get(pending.peer)
            .map(|l| l.peer.verify_name.clone());
        self.board.signed_in(SessionRow {
            user: Pii::new(user.to_owned()),
            domain: pending.domain.clone(),
            user_agent: pending.user_agent.chars().take(200).collect(),
            edge: edge.unwrap_or_default(),
            since: now.unix,
            expires,
            ended: None,
        });
        self.tell(now, Kind::SignedIn, pending, "", None);
        let headers = vec![
            ("Set-Cookie", cookie),
            ("Content-Type", "text/xml;charset=utf-8".into()),
            ("Cache-Control", "no-store".into()),
        ];
        self.answer(
            pending.id,
            Reply {
                status: 200,
                headers,
                body,
            },
        );
    }

    /// Where clients reach an edge, as it said last.
    pub(super) fn edge_services(&self, peer: usize) -> Option<&EdgeServices> {
        self.links.get(peer)?.last.as_ref().map(|w| &w.services)
    }

    fn edge_config(
        &self,
        pending: &Pending,
        here: &EdgeServices,
        nodes: &[Node],
        services: Services,
    ) -> EdgeConfig {
        // The edge that was asked comes first, then the others that are up.
        let others = self
            .links
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != pending.peer);
        let others = others.filter_map(|(_, l)| Some(&l.welcome()?.services));
        let edges: Vec<&EdgeServices> = std::iter::once(here).chain(others).collect();
        let list = |of: fn(&EdgeServices) -> &traversal::ServiceAddress| {
            edges
                .iter()
                .map(|e| (of(e).host.clone(), of(e).port))
                .collect::<Vec<_>>()
        };
        let offer = self.settings.domain(&pending.domain);
        let (sip, im) = offer.map_or((false, false), |d| (d.sip, d.im_presence));
        let inside = self.settings.inside(true);
        EdgeConfig {
            services,
            tftp: nodes.iter().map(|n| n.host.clone()).collect(),
            sip: if sip { list(|e| &e.sip) } else { Vec::new() },
            route: sip.then(|| {
                format!(
                    "<sip:{};transport=tls;zone-id={};directed;lr>",
                    inside.host_port,
                    pending.peer + 1
                )
            }),
            xmpp: if im { list(|e| &e.xmpp) } else { Vec::new() },
            https: list(|e| &e.https),
            uds: nodes.iter().map(|n| (n.host.clone(), n.port)).collect(),
        }
    }

    /// Sign-ins of users who are signed out: what was learnt goes, and what is under way ends.
    pub(super) fn desk_signs_out(&mut self, lot: &Lot<'_>) {
        let out = |user: &str, domain: &str| lot.of(user, domain).is_some();
        let profiles = &mut self.desk.profiles;
        profiles.retain(|(typed, domain), p| !out(typed, domain) && !out(&p.user, domain));
        for number in self.desk.engine.abandon(out) {
            if let Some(pending) = self.desk.pending.remove(&number) {
                self.answer(pending.id, later(503, 1));
            }
        }
    }

    /// Forgets who has not signed in for long.
    pub(super) fn forget_users(&mut self, now: Now) {
        self.forget_sign_outs(now);
        self.credentials.clean_up(now.instant);
        if self.desk.profiles.len() >= PROFILES_MAX {
            self.desk.profiles.clear();
        }
    }
}

/// The records asked for, if all of them are known.
fn subset(known: &Services, asked: &[String]) -> Option<Services> {
    let find = |name: &String| known.iter().find(|(n, _)| n == name).cloned();
    asked.iter().map(find).collect()
}

/// The cookie of a session.
pub(super) fn session_cookie(here: &EdgeServices, token: &str, expires: UnixTime) -> String {
    let domain = cookie_domain(&here.https.host);
    let expires = expires.http_date();
    format!("X-Auth={token}; Expires={expires}; {domain}Path=/; Secure; HttpOnly")
}

/// Cookies are for all edges of a domain (`protocol.md` 2.2); an address has no domain.
fn cookie_domain(host: &str) -> String {
    match host.split_once('.') {
        Some((_, rest)) if host.parse::<IpAddr>().is_err() && rest.contains('.') => {
            format!("Domain=.{rest}; ")
        }
        _ => String::new(),
    }
}

/// A refusal with a time to come back, in seconds.
fn later(status: u16, seconds: u64) -> Reply {
    Reply {
        headers: vec![("Retry-After", seconds.to_string())],
        ..plain(status)
    }
}

fn plain(status: u16) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: String::new(),
    }
}
