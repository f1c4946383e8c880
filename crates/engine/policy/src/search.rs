//! Where a request goes: transforms and search rules (F143–F156).
//!
//! In: an alias (`user@host`, without scheme and parameters) and who asks. Out: zones in the order
//! to try, each with the alias as it gets it, and why each rule did what it did.
//!
//! Transforms come first, by priority; the first that matches changes the alias, and no other is
//! looked at. Then rules, by priority: each that is for the asker and matches adds its zone.
//! `stop` leaves out rules of lower priority, not those of the same. A zone is never asked for
//! what it asks itself, and never twice for one alias.
//!
//! No SIP here, no sockets, no state. Bounds: as many steps as there are rules, each linear in an
//! alias of at most [`ALIAS_BYTES_MAX`]; at most [`HITS_MAX`]
//! zones.

use std::net::IpAddr;

use config::pattern::{ALIAS_BYTES_MAX, Behavior, Pattern};
use config::routing::{DEFAULT_ZONE, Mode, SearchRule, Source, Transform};
use status::SearchStep;

/// Zones that one search gives.
pub const HITS_MAX: usize = 16;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker<'a> {
    /// The zone the request came from, or [`DEFAULT_ZONE`].
    pub zone: &'a str,
    /// Whether it is a client that registered through this node.
    pub local: bool,
    /// Whether the request is authenticated.
    pub authenticated: bool,
}

/// A zone to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its name.
    pub zone: String,
    /// The destination as it gets it.
    pub alias: String,
    /// The rule that leads there.
    pub rule: String,
}

/// Why a transform or rule did what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It applied, and this is the alias after it.
    Matched(String),
    /// It is switched off.
    Off,
    /// One before it had the last word: a transform that matched, a rule that says stop.
    Stopped(String),
    /// It is for other askers.
    OtherSource,
    /// It is for authenticated requests.
    NotAuthenticated,
    /// The pattern does not match, or the host is no address.
    NoMatch,
    /// The alias after it would be too long.
    TooLong,
    /// The request came from its zone.
    CameFrom,
    /// Its zone is to be asked for this alias already.
    Again,
    /// There are [`HITS_MAX`] zones already.
    Full,
}

impl Verdict {
    /// In words.
    fn words(&self, rule: &str) -> String {
        match self {
            Verdict::Matched(_) => "matched".into(),
            Verdict::Off => "it is not enabled".into(),
            Verdict::Stopped(by) => format!("not tried: {by} had the last word"),
            Verdict::OtherSource => format!("it is for {rule}"),
            Verdict::NotAuthenticated => "the request is not authenticated".into(),
            Verdict::NoMatch => "the destination does not match".into(),
            Verdict::TooLong => format!("the alias would exceed {ALIAS_BYTES_MAX} bytes"),
            Verdict::CameFrom => "the request came from its zone".into(),
            Verdict::Again => "its zone is tried for this alias already".into(),
            Verdict::Full => format!("{HITS_MAX} zones are tried already"),
        }
    }
}

/// One look at a transform or rule.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A transform.
    Transform(&'a Transform, &'a Verdict),
    /// A rule.
    Rule(&'a SearchRule, &'a Verdict),
}

/// Transforms and rules in the order they are tried.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    transforms: Vec<Transform>,
    rules: Vec<SearchRule>,
}

/// What a search came to, with every step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// Zones in the order to try.
    pub hits: Vec<Hit>,
    /// The alias after transforms.
    pub transformed: String,
    /// What became of each transform.
    pub transforms: Vec<SearchStep>,
    /// What became of each rule.
    pub rules: Vec<SearchStep>,
}

impl Plan {
    /// Of transforms and rules; equal priorities keep their order.
    pub fn new(mut transforms: Vec<Transform>, mut rules: Vec<SearchRule>) -> Self {
        transforms.sort_by_key(|t| t.priority);
        rules.sort_by_key(|r| r.priority);
        Plan { transforms, rules }
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules, in the order tried.
    pub fn rules(&self) -> &[SearchRule] {
        &self.rules
    }

    /// Zones for a destination, in the order to try.
    pub fn search(&self, alias: &str, asker: &Asker<'_>) -> Vec<Hit> {
        self.walk(alias, asker, &mut |_| {}).1
    }

    /// The same, telling every step.
    pub fn explain(&self, alias: &str, asker: &Asker<'_>) -> Explained {
        let mut found = Explained::default();
        let (transformed, hits) = self.walk(alias, asker, &mut |step| match step {
            Step::Transform(t, verdict) => found.transforms.push(transform_step(t, verdict)),
            Step::Rule(r, verdict) => found.rules.push(rule_step(r, verdict)),
        });
        Explained {
            hits,
            transformed,
            ..found
        }
    }

    /// Looks at everything in order and tells each step; gives the alias after transforms too.
    pub fn walk(
        &self,
        alias: &str,
        asker: &Asker<'_>,
        tell: &mut impl FnMut(Step<'_>),
    ) -> (String, Vec<Hit>) {
        let alias = self.transformed(alias, tell);
        let mut hits: Vec<Hit> = Vec::new();
        let mut stop: Option<(&str, u16)> = None;
        for rule in &self.rules {
            let verdict = match stop {
                Some((by, priority)) if rule.priority > priority => Verdict::Stopped(by.into()),
                _ => judge(rule, &alias, asker, &hits),
            };
            tell(Step::Rule(rule, &verdict));
            // A rule that matched has the last word even where its zone is not asked again.
            let matched = matches!(
                verdict,
                Verdict::Matched(_) | Verdict::CameFrom | Verdict::Again | Verdict::Full
            );
            if matched && rule.stop && stop.is_none() {
                stop = Some((&rule.name, rule.priority));
            }
            if let Verdict::Matched(alias) = verdict {
                hits.push(Hit {
                    zone: rule.target.clone(),
                    alias,
                    rule: rule.name.clone(),
                });
            }
        }
        (alias, hits)
    }

    fn transformed(&self, alias: &str, tell: &mut impl FnMut(Step<'_>)) -> String {
        let mut done: Option<(String, &str)> = None;
        for transform in &self.transforms {
            let verdict = match &done {
                Some((_, by)) => Verdict::Stopped((*by).to_owned()),
                None if !transform.enabled => Verdict::Off,
                None => apply(&transform.pattern, &transform.behavior, alias),
            };
            tell(Step::Transform(transform, &verdict));
            if let Verdict::Matched(after) = verdict {
                done = Some((after, &transform.name));
            }
        }
        done.map_or_else(|| alias.to_owned(), |(after, _)| after)
    }
}

fn apply(pattern: &Pattern, behavior: &Behavior, alias: &str) -> Verdict {
    match pattern.apply(alias, behavior) {
        Some(after) if !after.is_empty() => Verdict::Matched(after),
        None if pattern.matches(alias) => Verdict::TooLong,
        _ => Verdict::NoMatch,
    }
}

fn judge(rule: &SearchRule, alias: &str, asker: &Asker<'_>, hits: &[Hit]) -> Verdict {
    if !rule.enabled {
        return Verdict::Off;
    }
    let for_asker = match &rule.source {
        Source::Any => true,
        Source::AllZones => asker.local || asker.zone != DEFAULT_ZONE,
        Source::LocalZone => asker.local,
        Source::Named(name) => name == asker.zone,
    };
    if !for_asker {
        return Verdict::OtherSource;
    }
    if rule.authenticated && !asker.authenticated {
        return Verdict::NotAuthenticated;
    }
    let after = match &rule.mode {
        Mode::AnyAlias if alias.len() <= ALIAS_BYTES_MAX => alias.to_owned(),
        Mode::AnyIpAddress if alias.len() <= ALIAS_BYTES_MAX && is_address(alias) => {
            alias.to_owned()
        }
        Mode::AnyAlias | Mode::AnyIpAddress => return Verdict::NoMatch,
        Mode::Pattern(pattern, behavior) => match apply(pattern, behavior, alias) {
            Verdict::Matched(after) => after,
            other => return other,
        },
    };
    if rule.target == asker.zone {
        return Verdict::CameFrom;
    }
    if hits
        .iter()
        .any(|h| h.zone == rule.target && h.alias == after)
    {
        return Verdict::Again;
    }
    if hits.len() >= HITS_MAX {
        return Verdict::Full;
    }
    Verdict::Matched(after)
}

/// Whether an alias's host is an IP address.
fn is_address(alias: &str) -> bool {
    let host = alias.rsplit_once('@').map_or(alias, |(_, host)| host);
    if let Some(rest) = host.strip_prefix('[') {
        let inner = rest.split(']').next().unwrap_or_default();
        return inner.parse::<IpAddr>().is_ok();
    }
    let bare = host.split_once(':').map_or(host, |(bare, _)| bare);
    bare.parse::<IpAddr>().is_ok() || host.parse::<IpAddr>().is_ok()
}

fn transform_step(t: &Transform, verdict: &Verdict) -> SearchStep {
    let mut step = SearchStep {
        name: t.name.clone(),
        priority: t.priority,
        what: what(&t.pattern, &t.behavior),
        why: verdict.words(""),
        ..SearchStep::default()
    };
    if let Verdict::Matched(after) = verdict {
        step.matched = true;
        step.why = format!("matched: {after}");
    }
    step
}

fn rule_step(rule: &SearchRule, verdict: &Verdict) -> SearchStep {
    let source = match &rule.source {
        Source::Any => "anybody".to_owned(),
        Source::AllZones => "clients and zones".to_owned(),
        Source::LocalZone => "clients registered here".to_owned(),
        Source::Named(name) => format!("requests from {name}"),
    };
    let what = match &rule.mode {
        Mode::AnyAlias => "any alias".to_owned(),
        Mode::AnyIpAddress => "any IP address".to_owned(),
        Mode::Pattern(pattern, behavior) => self::what(pattern, behavior),
    };
    let why = match verdict {
        Verdict::Matched(after) => format!("matched: {after} to {}", rule.target),
        other => other.words(&source),
    };
    SearchStep {
        name: rule.name.clone(),
        priority: rule.priority,
        generated: rule.generated,
        matched: matches!(verdict, Verdict::Matched(_)),
        why,
        what: format!("{what} → {}", rule.target),
    }
}

fn what(pattern: &Pattern, behavior: &Behavior) -> String {
    let (kind, text) = (pattern.kind().word(), pattern.text());
    match behavior {
        Behavior::Leave => format!("{kind} {text}"),
        Behavior::Strip => format!("{kind} {text}, stripped"),
        Behavior::Replace(new) => format!("{kind} {text}, replaced by {new}"),
        Behavior::AddPrefix(new) => format!("{kind} {text}, {new} put before"),
        Behavior::AddSuffix(new) => format!("{kind} {text}, {new} put after"),
    }
}

#[cfg(test)]
mod tests;
