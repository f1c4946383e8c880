//! Settings of the inside's servers that would trouble remote clients, as far as AXL tells them:
//! names of secure profiles (F073, F213), domains (F022, F029), video rates of regions (F072),
//! where phones take their time from (F076), what one host may send to the line side (F082).
//!
//! Each is told once as an event when it is found, and shown by `causeway ctl servers check`.

use std::net::IpAddr;

use ::status::Kind;
use ::status::servers::ServerCheck;
use base::Now;
use provisioning::axl::Duty;
use provisioning::axl::settings::VIDEO_KBPS;

use super::Core;
use super::discovery::Publisher;
use super::reading::Settings;

/// What one host must be let send to the line side at least, in KB/s: all remote devices come
/// from the core (F082).
const LINE_KBYTES: u32 = 750;

/// A setting that was looked at, and the event that tells of it if it is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) check: ServerCheck,
}

fn finding(kind: Kind, what: &str, good: Option<bool>, seen: String, fix: &str) -> Finding {
    let fix = if good == Some(true) { "" } else { fix };
    Finding {
        kind,
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
            found.extend(regions(told));
            found.extend(phone_time(told));
            found.extend(throttle(told));
            found.extend(self.lookup());
        }
        let server = format!("{}:{}", publisher.server.address, publisher.server.port);
        let bad = |f: &&Finding| f.check.good == Some(false) && !publisher.findings.contains(f);
        let news: Vec<Finding> = found.iter().filter(bad).cloned().collect();
        for Finding { kind, check } in news {
            let cause = format!("{}: {}", check.what, check.seen);
            let proof = [("publisher", server.clone()), ("do", check.fix)];
            let out = &mut self.station.out;
            self.board.event(out, kind, now, &cause, &proof);
        }
        if let Some(publisher) = self.publishers.get_mut(index) {
            publisher.findings = found;
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
                        names.join(", ")
                    ),
                    "have the core's certificate issued again with the name in subjectAltName",
                )
            };
            // Most profiles are of phones that stay inside: a name that cannot be ours is no
            // mistake by itself.
            let good = if qualified { Some(held) } else { None };
            finding(Kind::ProfileNotNamed, "secure profile", good, seen, fix)
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

    /// With several clusters each must know the others' users.
    fn lookup(&self) -> Option<Finding> {
        let clusters = self.settings.unified_cm.len();
        (clusters > 1).then(|| {
            finding(
                Kind::SettingAmiss,
                "Intercluster Lookup Service",
                None,
                format!("{clusters} clusters, and AXL does not tell whether it is on"),
                "see that ILS is on in every cluster: Advanced Features > ILS Configuration; a \
                 user of another cluster is refused by a node that lacks it (3002)",
            )
        })
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
        all => all.iter().map(row).collect::<Vec<_>>().join(", "),
    };
    Some(finding(
        Kind::SettingAmiss,
        "video rate of regions",
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
        "phone NTP reference",
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
        "SIP Station TCP Port Throttle Threshold",
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
