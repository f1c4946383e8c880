//! A chain and its key judged before they go live.
//!
//! In: the text of both files, the authorities that are trusted, the legs and names of the node,
//! and the moment. Out: a [`Report`] of every certificate and every fault by its name, and for each
//! leg whether it could use them. Nothing is refused for a missing use or name: the leg that could
//! not use the certificate is named instead. What the rules here do not know, webpki, which decides
//! in handshakes, is asked at the end ([`Flaw::RefusedByTls`]).
//!
//! RFC 5280 §6.1 (paths), RFC 9525 (names).

use std::time::Duration;

use base::UnixTime;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;

use crate::flaw::{Finding, Flaw, Grade};
use crate::leg::Leg;
use crate::names::{NAMES_MANY, Need, Strength, is_host_name};
use crate::read::{self, Certificate, KeyKind};

mod path;

/// A certificate that runs out within this time is worth a word.
pub const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longer than this no client takes a certificate of a public authority.
const LIFE_MAX: Duration = Duration::from_secs(398 * 24 * 3600);

/// The shortest RSA key that TLS takes here, in bits.
const RSA_BITS_MIN: usize = 2048;

/// What is to be judged.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The chain's file.
    pub chain: &'a [u8],
    /// The key's file; without it the key is not looked at.
    pub key: Option<&'a [u8]>,
    /// The authorities that the node trusts.
    pub trusted: &'a [Certificate],
    /// What the node uses its certificate for.
    pub legs: &'a [Leg],
    /// The names that it needs.
    pub needs: &'a [Need],
    /// Now.
    pub now: UnixTime,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The certificates in the file's order.
    pub chain: Vec<Certificate>,
    /// Which of them is the node's own.
    pub own: Option<usize>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// For each leg whether it could use the certificate, and which flaws are in the way.
    pub legs: Vec<LegVerdict>,
    /// Whether somebody who trusts the same authorities would.
    pub trusted_here: bool,
}

/// Whether a leg could use a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LegVerdict {
    /// The leg.
    pub leg: Leg,
    /// What is in the way; empty if nothing is.
    pub flaws: Vec<Flaw>,
}

impl Report {
    /// The worst grade; `None` if there is nothing to say.
    pub fn worst(&self) -> Option<Grade> {
        self.findings.iter().map(|f| f.grade).max()
    }

    /// The node's own certificate.
    pub fn own_certificate(&self) -> Option<&Certificate> {
        self.chain.get(self.own?)
    }

    /// Whether a flaw was found.
    pub fn has(&self, flaw: Flaw) -> bool {
        self.findings.iter().any(|f| f.flaw == flaw)
    }
}

/// Judges a chain and its key.
pub fn inspect(question: &Question<'_>) -> Report {
    let mut report = Report::default();
    match read::certificates(question.chain) {
        Ok(chain) => report.chain = chain,
        Err(finding) => report.findings.push(finding.breaking(question.legs)),
    }
    if read::labels(question.chain)
        .iter()
        .any(|l| l.ends_with("PRIVATE KEY"))
        && !report.chain.is_empty()
    {
        report.findings.push(Finding::new(
            Flaw::KeyInChain,
            "the chain's file holds a private key, too",
            "a section ends in PRIVATE KEY",
        ));
    }
    let key = question.key.and_then(|key| look_at_key(key, &mut report));
    report.own = own(&mut report, key.as_deref(), question);
    if report.own.is_some() {
        path::judge(question, &mut report);
        leaf(question, &mut report);
        names(question, &mut report);
        path::ask_tls(question, &mut report);
    }
    report.findings.sort_by_key(|f| std::cmp::Reverse(f.grade));
    report.legs = question
        .legs
        .iter()
        .map(|leg| LegVerdict {
            leg: *leg,
            flaws: {
                let breaking = report.findings.iter().filter(|f| f.legs.contains(leg));
                breaking.map(|f| f.flaw).collect()
            },
        })
        .collect();
    report
}

/// Reads the key's file; gives the public half (SubjectPublicKeyInfo) if there is one.
fn look_at_key(file: &[u8], report: &mut Report) -> Option<Vec<u8>> {
    let labels = read::labels(file);
    let seen = match labels.as_slice() {
        [] => format!("{} bytes without a line -----BEGIN", file.len()),
        some => format!("it holds {}", some.join(", ")),
    };
    let mut say = |flaw, cause: &str, proof: String| {
        report.findings.push(Finding::new(flaw, cause, proof));
    };
    let sealed = String::from_utf8_lossy(file).contains("Proc-Type: 4,ENCRYPTED")
        || labels.iter().any(|l| l == "ENCRYPTED PRIVATE KEY");
    if sealed {
        say(
            Flaw::KeyEncrypted,
            "the key is sealed with a password",
            seen,
        );
        return None;
    }
    let keys = labels.iter().filter(|l| l.ends_with("PRIVATE KEY")).count();
    if keys > 1 {
        let cause = "the key's file holds more than one key";
        say(Flaw::SeveralKeys, cause, seen.clone());
    }
    let key = match PrivateKeyDer::from_pem_slice(file) {
        Ok(key) => key,
        Err(_) if keys == 0 => {
            say(Flaw::NoKey, "the file holds no private key", seen);
            return None;
        }
        Err(e) => {
            say(Flaw::KeyUnreadable, "the key cannot be read", e.to_string());
            return None;
        }
    };
    let signer = match aws_lc_rs::sign::any_supported_type(&key) {
        Ok(signer) => signer,
        Err(e) => {
            say(Flaw::KeyKind, "TLS here cannot use the key", e.to_string());
            return None;
        }
    };
    signer.public_key().map(|spki| spki.as_ref().to_vec())
}

/// The public half (SubjectPublicKeyInfo) of a key's file, if TLS here can use it.
pub fn public_key(file: &[u8]) -> Option<Vec<u8>> {
    look_at_key(file, &mut Report::default())
}

/// Which certificate is the node's own: the key's, or the first that is no authority's.
fn own(report: &mut Report, key: Option<&[u8]>, question: &Question<'_>) -> Option<usize> {
    let first = report.chain.first()?.clone();
    let found = match key {
        Some(key) => report.chain.iter().position(|c| c.public_key() == key),
        None => report.chain.iter().position(|c| c.authority.is_none()),
    };
    if key.is_some() && found.is_none() {
        let finding = Finding::new(
            Flaw::KeyMismatch,
            "the key does not belong to the certificate",
            format!(
                "the key is none of the file's; the first is {}",
                first.about()
            ),
        );
        report.findings.push(finding.breaking(question.legs));
    }
    match found {
        Some(at) if at > 0 => {
            let place = at + 1;
            let own = report.chain.get(at).map(Certificate::names);
            let finding = Finding::new(
                Flaw::LeafNotFirst,
                format!("this node's own certificate is number {place} of the file, not the first"),
                format!(
                    "first is {}; the {} is {}",
                    first.names(),
                    if key.is_some() { "key's" } else { "server's" },
                    own.unwrap_or_default()
                ),
            );
            report.findings.push(finding.breaking(question.legs));
            Some(at)
        }
        found => Some(found.unwrap_or(0)),
    }
}

/// The node's own certificate: what it is for, how strong it is, its dates.
fn leaf(question: &Question<'_>, report: &mut Report) {
    let Some(own) = report.own_certificate().cloned() else {
        return;
    };
    let all = question.legs;
    let mut say = |finding: Finding| report.findings.push(finding);
    if let Some(finding) = dates(&own, question.now) {
        say(finding.breaking(all));
    } else if own.not_after < question.now.plus(SOON) {
        let cause = format!("the certificate runs out at {}", own.not_after);
        say(Finding::new(Flaw::ExpiresSoon, cause, own.about()));
    }
    let life = own.not_after.skew_ms(own.not_before);
    if u128::try_from(life).is_ok_and(|life| life > LIFE_MAX.as_millis()) {
        let cause = format!("it is valid for {} days", life / 86_400_000);
        let proof = format!("from {} to {}", own.not_before, own.not_after);
        say(Finding::new(Flaw::LongLife, cause, proof));
    }
    if own.version < 3 {
        let cause = "the certificate is of X.509 before version 3, which TLS refuses";
        let proof = format!("version {}", own.version);
        say(Finding::new(Flaw::OldVersion, cause, proof).breaking(all));
    }
    if own.authority.is_some() {
        let cause = "the certificate is an authority's: TLS takes it as no server's or client's";
        let proof = "basicConstraints CA:TRUE";
        say(Finding::new(Flaw::AuthorityAsLeaf, cause, proof).breaking(all));
    }
    if own.key_usage.is_some_and(|u| !u.digital_signature) {
        let cause = "the certificate's key may not sign handshakes, and all of them are signed";
        let proof = "keyUsage without digitalSignature";
        say(Finding::new(Flaw::KeyUsage, cause, proof).breaking(all));
    }
    for oid in &own.unknown_critical {
        let cause = "it has an extension that must be understood, and nobody does";
        let proof = format!("{oid}, critical");
        say(Finding::new(Flaw::UnknownCritical, cause, proof).breaking(all));
    }
    if let Some(finding) = strength(&own, "certificate", Flaw::RsaShort, Flaw::WeakSignature) {
        say(finding.breaking(all));
    }
    if let KeyKind::Other(kind) = &own.key {
        let proof = format!("its key is {kind}");
        say(Finding::new(Flaw::KeyKind, "TLS here has no such keys", proof).breaking(all));
    }
    if matches!(&own.key, KeyKind::Ec(curve) if !is_curve(curve)) {
        let proof = format!("its key is {}", own.key);
        say(Finding::new(Flaw::KeyKind, "TLS has no such curve", proof).breaking(all));
    }
    uses(question, &own, report);
}

fn is_curve(name: &str) -> bool {
    matches!(name, "P-256" | "P-384" | "P-521")
}

/// extendedKeyUsage: which of the two a certificate lacks, and on which legs that matters.
fn uses(question: &Question<'_>, own: &Certificate, report: &mut Report) {
    let Some(uses) = own.uses else {
        return;
    };
    for (good, server, flaw, what, usage) in [
        (uses.server, true, Flaw::NoServerUse, "server", "serverAuth"),
        (
            uses.client,
            false,
            Flaw::NoClientUse,
            "client",
            "clientAuth",
        ),
    ] {
        if good {
            continue;
        }
        let legs: Vec<Leg> = question
            .legs
            .iter()
            .copied()
            .filter(|leg| leg.is_server() == server)
            .collect();
        // An edge is nothing without its servers, a core nothing without its link.
        let vital = legs
            .iter()
            .any(|leg| matches!(leg, Leg::ClientHttps | Leg::LinkToEdges));
        let grade = match vital {
            true => Grade::Error,
            false => Grade::Warning,
        };
        let cause = format!(
            "the certificate is not good as {what}: its extendedKeyUsage lacks {usage}, so \
             whoever checks it will refuse it"
        );
        let proof = match legs.is_empty() {
            true => "no leg of this node needs that now".to_owned(),
            false => format!("extendedKeyUsage without {usage}"),
        };
        report.findings.push(
            Finding::new(flaw, cause, proof)
                .graded(grade)
                .breaking(&legs),
        );
    }
}

/// Which names it carries, and which it lacks.
fn names(question: &Question<'_>, report: &mut Report) {
    let Some(own) = report.own_certificate().cloned() else {
        return;
    };
    let mut say = |finding: Finding| report.findings.push(finding);
    if own.dns_names.is_empty() && own.addresses.is_empty() {
        let cause = "the certificate has no subjectAltName: standard clients refuse it, whatever \
                     its common name";
        let clients: Vec<Leg> = question
            .legs
            .iter()
            .copied()
            .filter(|l| !l.is_link())
            .collect();
        let mut finding = Finding::new(Flaw::NoAltName, cause, own.names()).breaking(&clients);
        if let Some(first) = question.needs.first() {
            finding.fix = format!(
                "have a certificate issued whose subjectAltName holds DNS:{}",
                first.name
            );
        }
        say(finding);
    }
    for need in question.needs.iter().filter(|n| !own.carries(&n.name)) {
        let grade = match need.strength {
            Strength::Required => Grade::Warning,
            Strength::Advised => Grade::Note,
        };
        let cause = format!(
            "the certificate is for {}, not for {}: clients and peers that check the name will \
             refuse it",
            own.names(),
            need.name
        );
        let legs = match need.strength {
            Strength::Required => need.legs.as_slice(),
            Strength::Advised => &[],
        };
        let mut finding = Finding::new(Flaw::NameMissing, cause, need.why.clone())
            .graded(grade)
            .breaking(legs);
        finding.fix = format!(
            "have a certificate issued whose subjectAltName holds DNS:{}",
            need.name
        );
        say(finding);
    }
    for name in &own.dns_names {
        let odd = |flaw, cause: &str| Finding::new(flaw, cause, format!("DNS:{name}"));
        let bare = name.strip_prefix("*.").unwrap_or(name);
        if name.parse::<std::net::IpAddr>().is_ok() {
            let cause = "an address is written as dNSName: no client looks for it there";
            say(odd(Flaw::AddressAsName, cause));
        } else if bare.contains('*') || (name.starts_with("*.") && !bare.contains('.')) {
            say(odd(Flaw::Wildcard, "no client takes a wildcard like this"));
        } else if !is_host_name(bare.trim_end_matches('.')) {
            let cause = "a name has a character that names of hosts have not";
            say(odd(Flaw::OddName, cause));
        }
    }
    if own.dns_names.len() > NAMES_MANY {
        let cause = "the certificate has more names than some servers read";
        let proof = format!("{} names", own.dns_names.len());
        say(Finding::new(Flaw::ManyNames, cause, proof));
    }
}

/// What is wrong with a certificate's dates.
fn dates(certificate: &Certificate, now: UnixTime) -> Option<Finding> {
    let proof = certificate.about();
    if certificate.not_after < certificate.not_before {
        let cause = format!(
            "the certificate ends at {}, before it begins at {}",
            certificate.not_after, certificate.not_before
        );
        return Some(Finding::new(Flaw::DatesReversed, cause, proof));
    }
    if now < certificate.not_before {
        let cause = format!(
            "the certificate is valid from {} on",
            certificate.not_before
        );
        return Some(Finding::new(Flaw::NotYetValid, cause, proof));
    }
    if certificate.not_after < now {
        let cause = format!("the certificate ran out at {}", certificate.not_after);
        return Some(Finding::new(Flaw::Expired, cause, proof));
    }
    None
}

/// What is wrong with a key's length or a signature's digest.
fn strength(of: &Certificate, what: &str, short: Flaw, weak: Flaw) -> Option<Finding> {
    if let KeyKind::Rsa(bits) = of.key
        && bits < RSA_BITS_MIN
    {
        let cause = format!("the {what}'s RSA key has {bits} bits: {RSA_BITS_MIN} are the least");
        return Some(Finding::new(short, cause, of.about()));
    }
    // A root's own signature proves nothing, and nobody checks it.
    if of.weak_signature && !of.is_self_issued() {
        let cause = format!("the {what} is signed with a digest that is broken");
        let proof = format!("{}: {}", of.names(), of.signature);
        return Some(Finding::new(weak, cause, proof));
    }
    None
}

/// The certificates that may complete a path, beside the node's own.
fn others(report: &Report) -> Vec<CertificateDer<'static>> {
    let others = report.chain.iter().enumerate();
    others
        .filter(|(at, _)| Some(*at) != report.own)
        .map(|(_, c)| c.der().clone())
        .collect()
}
