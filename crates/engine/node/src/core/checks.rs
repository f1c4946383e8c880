//! Settings of the inside's servers that would trouble remote clients, as far as AXL tells them:
//! names of secure profiles (F073, F213), domains (F022, F029), video rates of regions (F072),
//! where phones take their time from (F076), what one host may send to the line side (F082); and,
//! as sign-ins show it, whether clusters know one another's users (F070).
//!
//! Each is told once as an event when it is found, and shown by `causeway ctl servers check`. What
//! is found of many names at once is one event. Bounds: a server has one event of a kind of setting
//! in [`QUIET`], and what it does not tell leaves standing what was found before.

use std::net::IpAddr;
use std::time::Duration;

use ::status::Kind;
use ::status::servers::{ServerCheck, named};
use base::Now;
use provisioning::axl::Duty;
use provisioning::axl::settings::VIDEO_KBPS;
use provisioning::sign_in::Granted;

use super::Core;
use super::discovery::Publisher;
use super::reading::Settings;

/// What one host must be let send to the line side at least, in KB/s: all remote devices come
/// from the core (F082).
const LINE_KBYTES: u32 = 750;

/// How long a server's setting is not told of again, whatever becomes of it.
pub(super) const QUIET: Duration = Duration::from_secs(600);

const PROFILE: &str = "secure profile";
const REGIONS: &str = "video rate of regions";
const PHONE_TIME: &str = "phone NTP reference";
const THROTTLE: &str = "SIP Station TCP Port Throttle Threshold";
const LOOKUP: &str = "Intercluster Lookup Service";

/// A setting that was looked at, and the event that tells of it if it is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    what: &'static str,
    /// Of what, where there may be many.
    name: String,
    pub(super) check: ServerCheck,
}

fn finding(kind: Kind, what: &'static str, good: Option<bool>, seen: String, fix: &str) -> Finding {
    let fix = if good == Some(true) { "" } else { fix };
    Finding {
        kind,
        what,
        name: String::new(),
        check: ServerCheck {
            what: what.to_owned(),
            good,
            seen,
            fix: fix.to_owned(),
        },
    }
}

impl Core {
    /// Looks at what a server told, and tells of what is found for the first time.
    pub(super) fn look_at_settings(&mut self, now: Now, index: usize, told: &Settings) {
        let Some(publisher) = self.publishers.get(index) else {
            return;
        };
        let mut found = self.profiles(publisher);
        found.extend(self.domain(publisher));
        if publisher.duty == Duty::VoiceVideo {
            let mut part = |what: &str, told: bool, now: Option<Finding>| {
                let before = publisher.findings.iter().find(|f| f.what == what);
                found.extend(if told { now } else { before.cloned() });
            };
            part(REGIONS, told.regions.is_some(), regions(told));
            part(PHONE_TIME, told.phone_time.is_some(), phone_time(told));
            part(THROTTLE, told.line_throttle.is_some(), throttle(told));
            found.extend(self.lookup(publisher));
        }
        self.take_findings(now, index, found);
    }

    /// Notes what was found of a server, and tells of what is found for the first time.
    fn take_findings(&mut self, now: Now, index: usize, found: Vec<Finding>) {
        let Some(publisher) = self.publishers.get_mut(index) else {
            return;
        };
        let server = format!("{}:{}", publisher.server.address, publisher.server.port);
        publisher.told.retain(|f| found.contains(f));
        let bad = |f: &&Finding| f.check.good == Some(false) && !publisher.told.contains(f);
        let mut news: Vec<Finding> = found.iter().filter(bad).cloned().collect();
        news.retain(|f| {
            let at = publisher.told_at.get(f.what);
            at.is_none_or(|at| now.instant >= *at + QUIET)
        });
        publisher
            .told_at
            .extend(news.iter().map(|f| (f.what, now.instant)));
        publisher.told.extend_from_slice(&news);
        publisher.findings = found;
        for alike in news.chunk_by(|a, b| a.what == b.what) {
            let Some(Finding { kind, check, .. }) = alike.first() else {
                continue;
            };
            let mut proof = vec![("publisher", server.clone()), ("do", check.fix.clone())];
            if alike.len() > 1 {
                let names = named(alike.iter().map(|f| f.name.as_str()));
                proof.push(("all", names));
            }
            let cause = format!("{}: {}", check.what, check.seen);
            let out = &mut self.station.out;
            self.board.event(out, *kind, now, &cause, &proof);
        }
    }

    /// Devices of a secure profile look for its name in the core's certificate.
    fn profiles(&self, publisher: &Publisher) -> Vec<Finding> {
        let names = &self.settings.certificate_names;
        let Some(profiles) = &publisher.facts.secure_profiles else {
            return Vec::new();
        };
        if !publisher.is_mixed() || names.is_empty() {
            return Vec::new();
        }
        let one = |profile: &String| {
            let qualified = profile.contains('.') && !profile.contains(' ');
            let held = names.iter().any(|n| n.eq_ignore_ascii_case(profile));
            let (seen, fix) = if !qualified {
                (
                    format!("{profile} is no fully qualified name"),
                    "if remote devices have this profile, copy it under a name such as \
                     secure.example.com, and have the core's certificate carry that",
                )
            } else if held {
                (format!("{profile} is in the core's certificate"), "")
            } else {
                (
                    format!(
                        "{profile} is not in the core's certificate ({})",
                        named(names.iter().map(String::as_str))
                    ),
                    "have the core's certificate issued again with the name in subjectAltName",
                )
            };
            // Most profiles are of phones that stay inside: a name that cannot be ours is no
            // mistake by itself.
            let good = if qualified { Some(held) } else { None };
            Finding {
                name: profile.clone(),
                ..finding(Kind::ProfileNotNamed, PROFILE, good, seen, fix)
            }
        };
        profiles.iter().map(one).collect()
    }

    /// Nodes of Unified CM, and of IM and presence, are to be in one domain.
    fn domain(&self, publisher: &Publisher) -> Vec<Finding> {
        let other = match publisher.duty {
            Duty::ImPresence => Duty::VoiceVideo,
            // Told once, of the IM and presence publisher.
            _ => return Vec::new(),
        };
        let theirs = self.publishers.iter().filter(|p| p.duty == other);
        let theirs: Vec<&str> = theirs
            .flat_map(|p| p.nodes().filter_map(|n| domain_of(n)))
            .collect();
        let ours: Vec<&str> = publisher.nodes().filter_map(|n| domain_of(n)).collect();
        let same = |a: &&str| theirs.iter().any(|b| b.eq_ignore_ascii_case(a));
        let (Some(one), Some(two)) = (ours.first(), theirs.first()) else {
            return Vec::new();
        };
        let good = ours.iter().all(same);
        let seen = match good {
            true => format!("IM and Presence and Unified CM are in {one}"),
            false => format!("IM and Presence is in {one}, Unified CM in {two}"),
        };
        let fix = "move the nodes into one domain: clients find both by the same one";
        vec![finding(
            Kind::DomainsDiffer,
            "domain",
            Some(good),
            seen,
            fix,
        )]
    }

    /// With several clusters each must know the others' users. AXL does not tell it; sign-ins do.
    fn lookup(&self, publisher: &Publisher) -> Option<Finding> {
        let clusters = self.settings.unified_cm.len();
        let (good, seen) = match &publisher.lookup {
            None => (
                None,
                format!("{clusters} clusters, and AXL does not tell whether it is on"),
            ),
            Some(Lookup { node, home, knew }) => (
                Some(*knew),
                format!(
                    "{node} {} a user who is at home at {home}",
                    if *knew { "knows" } else { "does not know" }
                ),
            ),
        };
        (clusters > 1).then(|| {
            finding(
                Kind::SettingAmiss,
                LOOKUP,
                good,
                seen,
                "see that ILS is on in every cluster: Advanced Features > ILS Configuration; a \
                 user of another cluster is refused by a node that lacks it (3002)",
            )
        })
    }
}

/// What a node said of where a user of another cluster is at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lookup {
    node: String,
    home: String,
    knew: bool,
}

impl Core {
    /// A sign-in shows which clusters know another's users.
    pub(super) fn clusters_shown(&mut self, now: Now, granted: &Granted) {
        let Some(home) = granted.nodes.first() else {
            return;
        };
        for (node, knew) in &granted.lookups {
            let Some(publisher) = self.publishers.get_mut(node.cluster) else {
                continue;
            };
            let before = publisher.lookup.replace(Lookup {
                node: node.host.clone(),
                home: home.host.clone(),
                knew: *knew,
            });
            if before.is_some_and(|before| before.knew == *knew) {
                continue;
            }
            let Some(publisher) = self.publishers.get(node.cluster) else {
                continue;
            };
            let other = |f: &&Finding| f.what != LOOKUP;
            let mut found: Vec<Finding> =
                publisher.findings.iter().filter(other).cloned().collect();
            found.extend(self.lookup(publisher));
            self.take_findings(now, node.cluster, found);
        }
    }
}

/// The domain of a node, unless it is a bare name or an address.
fn domain_of(node: &str) -> Option<&str> {
    let named = node.parse::<IpAddr>().is_err();
    named.then(|| Some(node.split_once('.')?.1)).flatten()
}

fn regions(told: &Settings) -> Option<Finding> {
    let slow = told.regions.as_ref()?;
    let row = |r: &provisioning::axl::settings::Region| {
        format!("{} to {}: {} kbit/s", r.from, r.to, r.kbps)
    };
    let seen = match slow.as_slice() {
        [] => format!("no two regions are held below {VIDEO_KBPS} kbit/s"),
        all => {
            // They come in any order; another order is nothing new.
            let mut rows: Vec<String> = all.iter().map(row).collect();
            rows.sort_unstable();
            rows.join(", ")
        }
    };
    Some(finding(
        Kind::SettingAmiss,
        REGIONS,
        Some(slow.is_empty()),
        seen,
        "set Maximum Session Bit Rate for Video Calls to 6000 kbit/s where remote devices are: \
         System > Region Information > Region",
    ))
}

fn phone_time(told: &Settings) -> Option<Finding> {
    let all = told.phone_time.as_ref()?;
    let outside = |a: &String| a.parse().map_or(true, |ip| !is_inside(ip));
    // Without any, SIP phones go by the Date of call control's answers.
    let good = (!all.is_empty()).then(|| all.iter().any(outside));
    let seen = match all.as_slice() {
        [] => "there is none".into(),
        all => all.join(", "),
    };
    Some(finding(
        Kind::SettingAmiss,
        PHONE_TIME,
        good,
        seen,
        "give the date and time group of remote devices' pool a phone NTP reference on the \
         internet: they reach no inside one",
    ))
}

fn throttle(told: &Settings) -> Option<Finding> {
    let known = told.line_throttle?;
    let (good, seen) = match known {
        Some(rate) => (Some(rate >= LINE_KBYTES), format!("{rate} KB/s")),
        None => (None, "the server does not tell it".into()),
    };
    Some(finding(
        Kind::SettingAmiss,
        THROTTLE,
        good,
        seen,
        "set it to 750 KB/s: System > Service Parameters > Cisco CallManager; all remote devices \
         come from the core's one address",
    ))
}

/// Whether an address is none of the internet's.
fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
