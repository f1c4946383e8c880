//! Whether DNS is split as remote access needs it: what must be found from where, and what must
//! not (F047–F058).
//!
//! In: a configuration and answers ([`super::View`]). Out: [`Finding`]s, each with cause, proof
//! and fix. [`wanted`] and [`judge`] ask nothing; [`look`] does. An edge sees the DMZ's view, which
//! need not be the internet's: another server can be asked.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base::HostName;
use config::{Config, Core, Edge, Role};
use net::dns::Resolver;
use net::dns::lookup::{Kind, Points};
use serde_json::json;

use super::{Answer, Question, View};
use crate::show::clean;

/// Which side of the firewall is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What clients on the internet see.
    Outside,
    /// What the core and clients in the office see.
    Inside,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It works without, or for some.
    Warning,
    /// It cannot be told: a server did not answer.
    Unknown,
    /// Somebody will not get in.
    Error,
}

/// What is wrong with one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub grade: Grade,
    /// The name.
    pub name: String,
    /// What is wrong, and what comes of it.
    pub cause: String,
    /// What was seen.
    pub proof: String,
    /// What to do.
    pub fix: String,
}

/// Something that DNS must say, or must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    name: String,
    what: What,
    /// What comes of it if it is otherwise.
    else_: String,
    grade: Grade,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A service, which leads to this host and port among others if one is known.
    Service(Option<(String, u16)>),
    /// A service that must not be there.
    Hidden,
    /// A host with an address; one with a record of this service will do.
    Host(Option<String>),
}

/// What a node of this configuration needs of DNS. `domains` are served ones, beside those of the
/// configuration itself.
pub fn wanted(config: &Config, side: Side, domains: &[String]) -> Vec<Want> {
    let mut list = List(Vec::new());
    match (&config.role, side) {
        (Role::Edge(edge), Side::Outside) => list.of_edge(config, edge, domains),
        (Role::Core(core), Side::Outside) => {
            for domain in named(core, domains) {
                list.outside(&domain, None, None);
            }
            for peer in &core.peers {
                list.host(
                    &peer.verify_name,
                    "clients cannot reach the edge",
                    Grade::Error,
                );
            }
        }
        (Role::Core(core), Side::Inside) => list.of_core(core, domains),
        (Role::Edge(_), Side::Inside) => {
            for domain in domains {
                list.inside(domain, true, true);
            }
        }
    }
    list.0
}

/// The domains of a core's configuration, and others.
fn named(core: &Core, more: &[String]) -> BTreeSet<String> {
    let own = core.domains.iter().map(|d| d.name.to_string());
    own.chain(more.iter().cloned()).collect()
}

struct List(Vec<Want>);

impl List {
    fn add(&mut self, name: &str, what: What, else_: &str, grade: Grade) {
        let name = name.trim_end_matches('.').to_lowercase();
        if self.0.iter().all(|w| w.name != name || w.what != what) {
            let else_ = else_.to_owned();
            self.0.push(Want {
                name,
                what,
                else_,
                grade,
            });
        }
    }

    /// A host; an address needs no DNS.
    fn host(&mut self, name: &str, else_: &str, grade: Grade) {
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_err() {
            self.add(name, What::Host(None), else_, grade);
        }
    }

    /// What must be seen of a domain on the internet, and what must not (F047, F048, F054).
    fn outside(
        &mut self,
        domain: &str,
        https: Option<(String, u16)>,
        sip: Option<((String, u16), Grade)>,
    ) {
        self.add(
            &format!("_collab-edge._tls.{domain}"),
            What::Service(https),
            "clients outside do not find the edge and cannot sign in",
            Grade::Error,
        );
        let (leads, grade) = match sip {
            Some((leads, grade)) => (Some(leads), grade),
            None => (None, Grade::Warning),
        };
        self.add(
            &format!("_sips._tcp.{domain}"),
            What::Service(leads),
            "others do not find where calls to the domain go",
            grade,
        );
        for service in ["_cisco-uds._tcp", "_cuplogin._tcp"] {
            self.add(
                &format!("{service}.{domain}"),
                What::Hidden,
                "clients outside take themselves for inside, and never ask the edge",
                Grade::Error,
            );
        }
    }

    fn of_edge(&mut self, config: &Config, edge: &Edge, domains: &[String]) {
        let at = |s: &config::Service| (s.advertise_host.to_lowercase(), s.advertise_port);
        let called = edge.business.as_ref().is_some_and(|b| b.accept);
        let grade = if called { Grade::Error } else { Grade::Warning };
        for domain in domains {
            self.outside(domain, Some(at(&edge.https)), Some((at(&edge.sip), grade)));
        }
        self.host(
            &config.fqdn(),
            "core and clients cannot reach the edge by its name",
            Grade::Error,
        );
        for (service, what) in [
            (&edge.https, "clients cannot reach HTTPS"),
            (&edge.sip, "clients cannot reach SIP"),
            (&edge.xmpp, "clients cannot reach XMPP"),
        ] {
            self.host(&service.advertise_host, what, Grade::Error);
        }
    }

    /// What must be seen of a domain inside (F051).
    fn inside(&mut self, domain: &str, sip: bool, im: bool) {
        if sip {
            self.add(
                &format!("_cisco-uds._tcp.{domain}"),
                What::Service(None),
                "clients in the office do not find Unified CM, and the edge's clients are not \
                 told where it is",
                Grade::Error,
            );
        }
        if im {
            self.add(
                &format!("_cuplogin._tcp.{domain}"),
                What::Service(None),
                "clients in the office do not find IM and presence",
                Grade::Warning,
            );
        }
    }

    fn of_core(&mut self, core: &Core, domains: &[String]) {
        let discovered = !core.unified_cm.is_empty();
        for domain in named(core, domains) {
            let row = core.domains.iter().find(|d| d.name.as_str() == domain);
            let sip = row.is_none_or(|d| d.sip) && discovered;
            let im = row.is_none_or(|d| d.im_presence) && !core.im_presence.is_empty();
            self.inside(&domain, sip, im);
        }
        for peer in &core.peers {
            self.host(&peer.dial, "the core cannot dial the edge", Grade::Error);
        }
        let publishers = [&core.unified_cm, &core.im_presence, &core.unity_connection];
        for publisher in publishers.into_iter().flatten() {
            self.host(
                &publisher.address,
                "the core cannot ask the publisher for its cluster",
                Grade::Error,
            );
        }
        for control in &core.call_control {
            let else_ = "registrations and calls cannot reach call control";
            let service = if control.tls {
                "_sips._tcp"
            } else {
                "_sip._tcp"
            };
            if control.srv && control.host.parse::<IpAddr>().is_err() {
                let service = format!("{service}.{}", control.host.to_lowercase());
                self.add(
                    &control.host,
                    What::Host(Some(service)),
                    else_,
                    Grade::Error,
                );
            } else {
                self.host(&control.host, else_, Grade::Error);
            }
        }
        for server in &core.xmpp {
            self.host(&server.host, "chat cannot reach its server", Grade::Error);
        }
        for peer in core.routing.neighbors.iter().flat_map(|zone| &zone.peers) {
            self.host(peer, "calls cannot reach the zone's peer", Grade::Error);
        }
        for rule in &core.allow_list {
            let else_ = "clients get nothing from a server of the allow list";
            self.host(&rule.host, else_, Grade::Warning);
        }
    }
}

/// Asks for all that is wanted, and then for the addresses of what services lead to.
pub async fn look(resolver: &Resolver, wants: &[Want]) -> View {
    let both = |name: &str| [(name.to_owned(), Kind::A), (name.to_owned(), Kind::Aaaa)];
    let mut asked: Vec<Question> = Vec::new();
    for want in wants {
        match &want.what {
            What::Service(_) | What::Hidden => asked.push((want.name.clone(), Kind::Srv)),
            What::Host(service) => {
                asked.extend(both(&want.name));
                asked.extend(service.clone().map(|name| (name, Kind::Srv)));
            }
        }
    }
    let mut view = super::ask(resolver, asked).await;
    let mut hosts = BTreeSet::new();
    for (_, answer) in view.iter().filter(|((_, kind), _)| *kind == Kind::Srv) {
        hosts.extend(
            services(answer)
                .map(|(host, _)| host)
                .filter(|h| !h.is_empty()),
        );
    }
    let more: Vec<Question> = hosts.iter().flat_map(|host| both(host)).collect();
    let more = more
        .into_iter()
        .filter(|question| !view.contains_key(question));
    let more = super::ask(resolver, more.collect::<Vec<_>>()).await;
    view.extend(more);
    view
}

fn services(answer: &Answer) -> impl Iterator<Item = (String, u16)> {
    answer.records().iter().filter_map(|r| match &r.points {
        Points::Service(host, port) => Some((host.to_lowercase(), *port)),
        _ => None,
    })
}

/// Compares what is wanted with what was answered; the worst first.
pub fn judge(wants: &[Want], side: Side, view: &View) -> Vec<Finding> {
    let mut judge = Judge {
        side,
        view,
        findings: Vec::new(),
        hosts_done: BTreeSet::new(),
    };
    // What is said of a host is said once, for the worst that comes of it.
    let mut wants: Vec<&Want> = wants.iter().collect();
    wants.sort_by_key(|w| std::cmp::Reverse(w.grade));
    for want in wants {
        match &want.what {
            What::Service(leads) => judge.service(want, leads.as_ref()),
            What::Hidden => judge.hidden(want),
            What::Host(service) => judge.host(want, service.as_deref()),
        }
    }
    judge.findings.sort_by_key(|f| std::cmp::Reverse(f.grade));
    judge.findings
}

struct Judge<'a> {
    side: Side,
    view: &'a View,
    findings: Vec<Finding>,
    hosts_done: BTreeSet<String>,
}

impl Judge<'_> {
    fn say(
        &mut self,
        grade: Grade,
        name: &str,
        cause: impl Into<String>,
        (proof, fix): (String, String),
    ) {
        self.findings.push(Finding {
            grade,
            name: name.to_owned(),
            cause: cause.into(),
            proof,
            fix,
        });
    }

    /// Where a record is to be made.
    fn zone(&self) -> &'static str {
        match self.side {
            Side::Outside => "public DNS",
            Side::Inside => "the inside DNS",
        }
    }

    fn silent(&mut self, name: &str, why: &str) {
        let fix = "check that the servers of dns.servers run and can be reached from this node \
                   on UDP and TCP 53";
        self.say(
            Grade::Unknown,
            name,
            "it cannot be told, since DNS does not answer",
            (why.to_owned(), fix.to_owned()),
        );
    }

    fn service(&mut self, want: &Want, leads: Option<&(String, u16)>) {
        let name = &want.name;
        let answer = self.view.get(&(name.clone(), Kind::Srv));
        let to = leads.map_or("PORT HOST.".to_owned(), |(h, p)| format!("{p} {h}."));
        let fix = format!("publish in {}: {name}. SRV 10 10 {to}", self.zone());
        let found: Vec<(String, u16)> = match answer {
            None | Some(Answer::Absent) => {
                let cause = format!("the record is missing: {}", want.else_);
                let proof = format!("{name} SRV: does not exist");
                return self.say(want.grade, name, cause, (proof, fix));
            }
            Some(Answer::Silent(why)) => return self.silent(name, why),
            Some(answer @ Answer::Found(_)) => services(answer).collect(),
        };
        let proof = records(name, answer);
        if found.iter().all(|(host, _)| host.is_empty()) {
            let cause = format!(
                "the domain says that it has no such service: {}",
                want.else_
            );
            return self.say(want.grade, name, cause, (proof, fix));
        }
        if let Some(leads) = leads.filter(|leads| !found.contains(leads)) {
            let (host, port) = leads;
            let cause =
                format!("no record leads to this edge, which clients reach at {host}:{port}");
            let fix = format!("{fix}; or set advertise to what is published, if that leads here");
            self.say(Grade::Warning, name, cause, (proof, fix));
        }
        for (host, _) in found.into_iter().filter(|(host, _)| !host.is_empty()) {
            if let Err(e) = host.parse::<HostName>() {
                let cause = format!("it leads to {host}, which no host can be called: {e}");
                let fix = "name the host with letters, digits and hyphens only".to_owned();
                self.say(Grade::Error, name, cause, (records(name, answer), fix));
            }
            let else_ = format!("{name} leads there: {}", want.else_);
            self.address(&host, &else_, want.grade);
        }
    }

    fn hidden(&mut self, want: &Want) {
        let name = &want.name;
        match self.view.get(&(name.clone(), Kind::Srv)) {
            None | Some(Answer::Absent) => {}
            Some(Answer::Silent(why)) => self.silent(name, why),
            answer @ Some(Answer::Found(_)) => {
                let cause = format!("the record can be seen from outside: {}", want.else_);
                let fix = "take it out of public DNS and keep it in the inside DNS alone (split \
                           DNS); if this node asks inside servers, set dns.servers of the edge to \
                           public ones";
                let proof = records(name, answer);
                self.say(want.grade, name, cause, (proof, fix.to_owned()));
            }
        }
    }

    fn host(&mut self, want: &Want, service: Option<&str>) {
        let srv = service.and_then(|s| self.view.get(&(s.to_owned(), Kind::Srv)));
        let Some(answer @ Answer::Found(_)) = srv else {
            return self.address(&want.name, &want.else_, want.grade);
        };
        let found: Vec<String> = services(answer).map(|(host, _)| host).collect();
        if found.iter().all(String::is_empty) {
            let name = service.unwrap_or(&want.name);
            let cause = format!("DNS says that nobody offers the service: {}", want.else_);
            let fix = format!(
                "publish in {}: {name}. SRV 10 10 PORT HOST.; or take the record out, then {} \
                 itself is asked",
                self.zone(),
                want.name
            );
            return self.say(want.grade, name, cause, (records(name, srv), fix));
        }
        for host in found.iter().filter(|host| !host.is_empty()) {
            self.address(host, &want.else_, want.grade);
        }
    }

    /// A host must have an address, and outside one that the internet can reach.
    fn address(&mut self, host: &str, else_: &str, grade: Grade) {
        if !self.hosts_done.insert(host.to_owned()) {
            return;
        }
        let get = |kind| self.view.get(&(host.to_owned(), kind));
        let answers = [get(Kind::A), get(Kind::Aaaa)];
        let records = answers.iter().flatten().flat_map(|a| a.records());
        let addresses: Vec<IpAddr> = records
            .filter_map(|r| match r.points {
                Points::Address(address) => Some(address),
                _ => None,
            })
            .collect();
        if addresses.is_empty() {
            let why = answers.iter().flatten().find_map(|a| match a {
                Answer::Silent(why) => Some(why.clone()),
                _ => None,
            });
            if let Some(why) = why {
                return self.silent(host, &why);
            }
            let cause = format!("the host has no address: {else_}");
            let proof = format!("{host} A, AAAA: do not exist");
            let fix = format!("publish in {}: {host}. A ADDRESS", self.zone());
            return self.say(grade, host, cause, (proof, fix));
        }
        let private = addresses.iter().find(|a| !reaches_internet(**a));
        if let (Side::Outside, Some(private)) = (self.side, private) {
            let proof = format!("{host}: {private}");
            let fix = "if clients get another address on the internet, all is well: this is the \
                       DMZ's view, and --server asks another one; else publish the public address";
            self.say(
                Grade::Warning,
                host,
                "the address cannot be reached from the internet",
                (proof, fix.to_owned()),
            );
        }
    }
}

fn records(name: &str, answer: Option<&Answer>) -> String {
    let records = answer.map_or(&[][..], Answer::records).iter();
    let shown: Vec<String> = records.map(|r| format!("{} {}", r.kind, r.data)).collect();
    format!("{name} {}", shown.join(", "))
}

/// Whether an address can be a public one: not loopback, link-local, private (RFC 1918, RFC 4193)
/// or shared (RFC 6598).
fn reaches_internet(address: IpAddr) -> bool {
    let local = match address.to_canonical() {
        IpAddr::V4(a) => {
            let shared = a.octets()[0] == 100 && a.octets()[1] & 0xC0 == 64;
            a.is_private() || a.is_loopback() || a.is_link_local() || a.is_unspecified() || shared
        }
        IpAddr::V6(a) => {
            let private = a.is_unique_local() || a.is_unicast_link_local();
            private || a.is_loopback() || a.is_unspecified()
        }
    };
    !local
}

/// What a check comes to: the worst grade.
pub fn worst(findings: &[Finding]) -> Option<Grade> {
    findings.iter().map(|f| f.grade).max()
}

fn word(grade: Grade) -> &'static str {
    match grade {
        Grade::Error => "error",
        Grade::Unknown => "unknown",
        Grade::Warning => "warning",
    }
}

/// Findings for people: three lines each.
pub fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for f in findings {
        let lines = [
            format!("{} {}: {}", word(f.grade), f.name, f.cause),
            format!("  proof: {}", f.proof),
            format!("  fix: {}", f.fix),
        ];
        for line in lines {
            out.push_str(&clean(&line));
            out.push('\n');
        }
    }
    out
}

/// Findings for programs.
pub fn as_json(findings: &[Finding]) -> serde_json::Value {
    let rows = findings.iter().map(|f| {
        json!({
            "severity": word(f.grade), "name": f.name, "cause": f.cause, "proof": f.proof,
            "fix": f.fix,
        })
    });
    serde_json::Value::Array(rows.collect())
}

#[cfg(test)]
mod tests;
