//! The dry run: what transforms and search rules make of a destination, and where a request would
//! go. Nothing is sent.
//!
//! In: a question of an administrator. Out: a report with every rule's verdict and one outcome. A
//! question that names an unknown zone, or an address without a host, is refused with what to write
//! instead. Bounds: those of the rules.

use base::Now;
use config::routing::DEFAULT_ZONE;
use policy::search::{Asker, Hit};
use sip::Uri;
use status::{SearchOutcome, SearchQuestion, SearchReport, SearchTarget};

use super::Core;
use super::search::alias_of;
use super::zones::Zone;

/// What clients send to what is call control's.
const CALL_CONTROLS: &str = "call control's: what clients send to a served domain or a node goes \
                             where they are registered, whatever the rules say";

/// What clients send to another domain, and no rule takes.
const NO_RULE: &str = "no rule takes it: call control, where the client is registered, does";

/// Who asks, and whether that is a client of this core.
struct From<'a> {
    zone: Option<&'a Zone>,
    asker: Asker<'a>,
}

/// Whether a scheme is another than those that name whom to call.
fn is_other(scheme: &str) -> bool {
    let known = ["sip", "sips", "tel"];
    !known.iter().any(|one| one.eq_ignore_ascii_case(scheme))
}

impl Core {
    /// What rules make of a destination.
    pub(super) fn report_search(&self, asked: SearchQuestion) -> SearchReport {
        match self.understood(&asked) {
            Ok((alias, from)) => self.searched(asked.clone(), alias, &from),
            Err((note, fix)) => SearchReport {
                outcome: SearchOutcome::NotUnderstood,
                note,
                fix,
                from: asked.from,
                to: asked.to,
                zone: asked.zone,
                ..SearchReport::default()
            },
        }
    }

    /// The destination as rules see it, and who asks; or what is wrong and what to write instead.
    fn understood<'a>(
        &'a self,
        asked: &'a SearchQuestion,
    ) -> Result<(String, From<'a>), (String, String)> {
        let alias = self.read("destination", &asked.to)?;
        let from = match asked.from.as_str() {
            "" => String::new(),
            written => self.read("sender", written)?,
        };
        let client = asked.zone.is_empty() && (from.is_empty() || self.is_served(&from));
        let peer = self.links.first().map_or("", |l| l.peer.name.as_str());
        let name = match (asked.zone.as_str(), client) {
            ("", true) => peer,
            ("", false) => DEFAULT_ZONE,
            (named, _) => named,
        };
        // A server of several is meant by the zone's name.
        let zone = self.zones.iter().find(|z| z.name == name || z.of == name);
        let local = client || self.links.iter().any(|l| l.peer.name == name);
        if zone.is_none() && !local && name != DEFAULT_ZONE {
            let cause = format!("there is no zone {name:?}");
            return Err((cause, self.zones_to_name()));
        }
        let trusted = zone
            .and_then(|z| z.trunk.as_ref())
            .is_some_and(|t| t.trusted);
        let asker = Asker {
            zone: zone.map_or(name, |z| z.of.as_str()),
            local,
            authenticated: asked.authenticated || local || trusted,
        };
        Ok((alias, From { zone, asker }))
    }

    /// An address as rules see it: a URI, or `user@host`.
    fn read(&self, what: &str, written: &str) -> Result<String, (String, String)> {
        let uri = alias_of(written.as_bytes());
        // `mailto:` and the like are refused, and no user of the name "mailto" (RFC 3261 §8.2.2.1).
        let scheme = written.split('@').next().and_then(|s| s.split_once(':'));
        let alias = uri.or_else(|| {
            let bare = written.contains('@') && scheme.is_none();
            let with_host = bare.then(|| format!("sip:{written}"));
            alias_of(with_host?.as_bytes())
        });
        let tel = written
            .get(..4)
            .is_some_and(|s| s.eq_ignore_ascii_case("tel:"));
        let number = |alias: &str| alias.bytes().all(|b| b.is_ascii_digit() || b == b'+');
        if let Some(alias) = alias
            && (tel || !number(&alias))
        {
            return Ok(alias);
        }
        let served = self.settings.domains.iter().find(|d| d.sip);
        let domain = served.map_or("example.com", |d| d.name.as_str());
        let bare = written.strip_prefix("sip:").unwrap_or(written);
        let plain = !bare.is_empty() && !bare.contains(['@', ':', ' ']);
        let user = if plain { bare } else { "1002" };
        let cause = if plain && Uri::parse(format!("sip:{bare}@x").as_bytes()).is_ok() {
            format!("the {what} {written:?} has no domain")
        } else if let Some((name, _)) = scheme.filter(|(name, _)| is_other(name)) {
            format!(
                "the {what} {written:?} has the scheme {name:?}: a node answers such a request 416 \
                 (Unsupported URI Scheme), a client's 403"
            )
        } else {
            format!("the {what} {written:?} is no SIP or tel URI and no alias")
        };
        let fix =
            format!("write sip:{user}@{domain}, {user}@{domain}, or tel:+4930123 for a number");
        Err((cause, fix))
    }

    fn zones_to_name(&self) -> String {
        let mut names: Vec<&str> = self.links.iter().map(|l| l.peer.name.as_str()).collect();
        names.extend(self.zones.iter().map(|z| z.of.as_str()));
        names.push(DEFAULT_ZONE);
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        format!("name one of these: {}", names.join(", "))
    }

    /// Whether an alias is at what is call control's.
    fn is_served(&self, alias: &str) -> bool {
        let host = alias.rsplit_once('@').map_or(alias, |(_, host)| host);
        self.is_home(host) || self.settings.is_us(host)
    }

    fn searched(&self, asked: SearchQuestion, alias: String, from: &From<'_>) -> SearchReport {
        let asker = &from.asker;
        let found = self.plan.explain(&alias, asker);
        let mut report = SearchReport {
            zone: asker.zone.to_owned(),
            authenticated: asker.authenticated,
            transformed: found.transformed,
            transforms: found.transforms,
            rules: found.rules,
            targets: found.hits.iter().map(|hit| self.target(hit)).collect(),
            from: asked.from,
            to: asked.to,
            alias,
            ..SearchReport::default()
        };
        let trunk = from.zone.and_then(|z| z.trunk.as_ref());
        if asker.local && self.is_served(&report.alias) {
            report.note = CALL_CONTROLS.into();
            report.targets = self.lines_of(&report.alias);
        } else if trunk.is_some_and(|t| !t.accepts) {
            report.note = format!("{} may begin no requests: it would get 403", asker.zone);
            report.fix = "set accept_incoming = true for the zone, if it should".into();
            report.targets.clear();
        } else if asker.local {
            // Only neighbours inside call foreign domains by an edge.
            let edge = |t: &SearchTarget| self.edge_named(&t.zone).is_some();
            report.targets.retain(|t| !edge(t));
            if report.targets.is_empty() {
                report.note = NO_RULE.into();
            }
        }
        if !report.targets.is_empty() || report.note == NO_RULE {
            report.outcome = SearchOutcome::Routed;
        }
        if report.outcome == SearchOutcome::Nowhere && report.note == CALL_CONTROLS {
            report.fix =
                "no server of call control is known now: see the zones of causeway status".into();
        } else if report.outcome == SearchOutcome::Nowhere && report.fix.is_empty() {
            report.fix =
                "add or correct a rule in search_rules: the verdicts say why none led on".into();
        }
        report
    }

    /// Where clients of what is call control's are registered.
    fn lines_of(&self, alias: &str) -> Vec<SearchTarget> {
        let host = alias.rsplit('@').next().unwrap_or_default();
        let zones = self.zones_for(host).into_iter().map(|zone| Hit {
            rule: "the client's registration".into(),
            alias: alias.to_owned(),
            zone: self.zone(&zone).map_or(zone, |z| z.of.clone()),
        });
        let mut hits: Vec<Hit> = zones.collect();
        hits.dedup();
        hits.iter().map(|hit| self.target(hit)).collect()
    }

    fn target(&self, hit: &Hit) -> SearchTarget {
        if let Some(link) = self.links.iter().find(|l| l.peer.name == hit.zone) {
            let edge = &link.peer.verify_name;
            let state = if link.is_up() { "linked" } else { "not linked" };
            return SearchTarget {
                zone: hit.zone.clone(),
                alias: hit.alias.clone(),
                rule: hit.rule.clone(),
                how: vec![format!(
                    "by the edge {edge} ({state}) to the domain's own servers, by DNS over TLS"
                )],
                up: Some(link.is_up()),
            };
        }
        let servers: Vec<&Zone> = self
            .zones
            .iter()
            .filter(|z| z.of == hit.zone && !z.is_leaving())
            .collect();
        let how = |z: &&Zone| {
            let transport = match (&z.target.tls, z.target.tls_verify) {
                (None, _) => "over TCP".to_owned(),
                (Some(name), true) => format!("over TLS as {name}"),
                (Some(_), false) => "over TLS, its certificate not checked".to_owned(),
            };
            let host = &z.target.host;
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            format!("{host}:{} {transport}: {}", z.target.port, z.state())
        };
        SearchTarget {
            zone: hit.zone.clone(),
            alias: hit.alias.clone(),
            rule: hit.rule.clone(),
            how: if servers.is_empty() {
                vec!["no such zone now: its node has not been discovered".into()]
            } else {
                servers.iter().map(how).collect()
            },
            up: Some(servers.iter().any(|z| z.standing().is_some())),
        }
    }
}

/// What a node with this configuration would make of a destination, before anything is
/// discovered or connected.
pub fn dry_run(
    now: Now,
    config: &std::sync::Arc<config::Config>,
    asked: SearchQuestion,
) -> SearchReport {
    if matches!(config.role, config::Role::Edge(_)) {
        return crate::edge::no_rules(asked);
    }
    let core = Core::offline(now, config);
    let mut report = core.report_search(asked);
    if report.outcome == SearchOutcome::Nowhere && report.note == CALL_CONTROLS {
        report.outcome = SearchOutcome::CallControl;
        report.fix =
            "ask the running core, without --offline, to see to which of its servers".into();
    }
    if report.outcome == SearchOutcome::NotUnderstood && report.note.starts_with("there is no zone")
    {
        report
            .fix
            .push_str("; zones that discovery makes are known to the running core only");
    }
    for target in &mut report.targets {
        target.up = None;
        for line in &mut target.how {
            let bare = line.trim_end_matches(": connecting");
            *line = bare.replace(" (not linked)", "");
        }
    }
    report
}
