//! A node's certificate, its request and its trusted authorities, for an administrator: what REST
//! and the command line do alike.
//!
//! Files are written in [`files`]; what they mean is said by the crate `certificates`.

use base::UnixTime;
use certificates::inspect::LegVerdict;
use certificates::names::{self, Domain, Known, Needs};
use certificates::{Certificate, Finding, Question, Report, leg};
use config::Config;
use driver::certificates::Certificates;
use driver::run::Gates;
use driver::signal::Handle;
use serde::{Deserialize, Serialize};
use status::servers::ServersQuestion;

pub mod files;
mod text;

pub use text::{added, names as names_text, report as report_text, trusted as trusted_text};

/// What a running node's certificates are reached by.
#[derive(Clone)]
pub struct Desk {
    /// The certificate, key and trust in use.
    pub certificates: Certificates,
    /// The domains that are served now.
    pub gates: Gates,
    /// The node's clock.
    pub clock: driver::signal::Clock,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whose it is.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its names: hosts, addresses and others.
    pub names: Vec<String>,
    /// In hexadecimal.
    pub serial: String,
    /// SHA-256, in hexadecimal.
    pub fingerprint: String,
    /// From when on it is valid.
    pub not_before: String,
    /// When it runs out.
    pub not_after: String,
    /// Days until then; negative once it has.
    pub days_left: i64,
    /// Its key's kind, as `RSA 2048`.
    pub key: String,
    /// What it is signed with.
    pub signature: String,
    /// Whether it is an authority's.
    pub authority: bool,
}

impl Row {
    /// Of a certificate at a moment.
    pub fn of(c: &Certificate, now: UnixTime) -> Self {
        let addresses = c.addresses.iter().map(ToString::to_string);
        let names = c.dns_names.iter().cloned().chain(addresses);
        Row {
            subject: c.subject.clone(),
            issuer: c.issuer.clone(),
            names: names.chain(c.other_names.iter().cloned()).collect(),
            serial: c.serial.clone(),
            fingerprint: c.fingerprint.clone(),
            not_before: c.not_before.to_string(),
            not_after: c.not_after.to_string(),
            days_left: c.not_after.skew_ms(now).div_euclid(24 * 3600 * 1000),
            key: c.key.to_string(),
            signature: c.signature.clone(),
            authority: c.authority.is_some(),
        }
    }
}

/// A chain judged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Judged {
    /// The certificates in the file's order.
    pub chain: Vec<Row>,
    /// Which of them is the node's own, from 0.
    pub own: Option<usize>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// For each leg what is in the way.
    pub legs: Vec<LegVerdict>,
    /// Whether whoever trusts the same authorities would take it, as far as the chain goes.
    pub trusted_here: bool,
}

impl Judged {
    /// Of the inspector's report.
    pub fn of(report: Report, now: UnixTime) -> Self {
        Judged {
            chain: report.chain.iter().map(|c| Row::of(c, now)).collect(),
            own: report.own,
            findings: report.findings,
            legs: report.legs,
            trusted_here: report.trusted_here,
        }
    }
}

/// The names that a certificate needs, and what they were made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamesReport {
    /// The names, and what is not known.
    pub needs: Needs,
    /// What is known beside the configuration.
    pub known: Known,
}

/// Judges a chain and its key for a node: against its legs, the names it needs and whom it trusts.
pub fn judge(
    config: &Config,
    known: &Known,
    trusted: &[Certificate],
    files: (&[u8], Option<&[u8]>),
    now: UnixTime,
) -> Report {
    let (legs, needs) = (leg::of(config), names::needed(config, known));
    certificates::inspect(&Question {
        chain: files.0,
        key: files.1,
        trusted,
        legs: &legs,
        needs: &needs.names,
        now,
    })
}

/// What a running node knows of names beside its configuration.
pub async fn known(handle: &Handle, gates: &Gates) -> Known {
    let mut known = Known::default();
    for domain in gates.domains() {
        known.domains.push(Domain {
            name: domain.name.to_string(),
            sip: domain.sip,
            im_presence: domain.im_presence,
            federation: domain.federation,
        });
    }
    // An edge has no servers, and says so; a node that is stopping says nothing.
    if let Ok(report) = handle.servers(ServersQuestion::Show).await {
        for server in report.servers {
            // Without mixed mode no phone is encrypted, whatever profiles there are.
            if server.facts.mixed_mode == Some(true) {
                let profiles = server.facts.secure_profiles.unwrap_or_default();
                known.profiles.extend(profiles);
            }
        }
        known.profiles.sort_unstable();
        known.profiles.dedup();
    }
    known
}
