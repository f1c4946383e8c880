//! The path from a node's own certificate to an authority: who signed whom, in which order, and
//! whether each of them may.

use rustls::crypto::aws_lc_rs;
use rustls_pki_types::UnixTime as PkiTime;

use super::{Question, Report, dates, others, strength};
use crate::flaw::{Finding, Flaw, Grade};
use crate::leg::Leg;
use crate::read::{Certificate, Signed};

/// The longest path that is followed: webpki follows no longer ones.
const STEPS_MAX: usize = 8;

/// Where the certificate comes from that signed another.
enum Issuer {
    /// From the chain's file, at this place.
    File(usize),
    /// From the trusted authorities, at this place.
    Trusted(usize),
    /// One of that name is there, in the file or among those that are trusted, and its key did not
    /// sign.
    Wrong { who: String, trusted: bool },
    /// Nowhere.
    Missing,
}

/// Follows the path and tells what is wrong with it.
pub(super) fn judge(question: &Question<'_>, report: &mut Report) {
    let Some(own) = report.own else {
        return;
    };
    let (steps, end) = follow(question, report, own);
    let mut found = issuers(question, report, &steps);
    if let Some(Issuer::Trusted(at)) = &end
        && let Some(root) = question.trusted.get(*at)
        && let Some(finding) = issuer_dates(root, question)
    {
        found.push(finding.breaking(question.legs));
    }
    found.extend(order(report, &steps));
    found.extend(strangers(report, &steps));
    let last = steps.last().and_then(|at| report.chain.get(*at)).cloned();
    let Some(last) = last else {
        return;
    };
    let is_trusted = |c: &Certificate| question.trusted.contains(c);
    let links: Vec<Leg> = question
        .legs
        .iter()
        .copied()
        .filter(|l| l.is_link())
        .collect();
    match end {
        Some(Issuer::Trusted(_)) => report.trusted_here = true,
        Some(Issuer::Wrong { who, trusted }) => {
            let proof = format!("{} does not verify with the key of {who}", last.about());
            let wrong = |cause| Finding::new(Flaw::SignatureWrong, cause, proof);
            found.push(if trusted {
                // Others may trust the right one.
                wrong(
                    "peers that trust the same authorities will refuse the certificate: the \
                     trusted one of its issuer's name has another key",
                )
                .graded(Grade::Warning)
                .breaking(&links)
            } else {
                wrong("the signature was not made by the certificate that should have signed")
                    .breaking(question.legs)
            });
        }
        Some(Issuer::Missing) => {
            let cause = format!(
                "who signed {} is neither in the file nor among the trusted authorities: peers \
                 that trust the same authorities will refuse it",
                last.names()
            );
            let fetch = last.issuer_at.as_ref();
            let fetch = fetch.map_or_else(String::new, |at| format!("; it is said to be at {at}"));
            let proof = format!("wanted: {}{fetch}", last.issuer);
            // Clients outside may know the authority; whether they do cannot be seen here.
            let finding = Finding::new(Flaw::IssuerMissing, cause, proof);
            found.push(finding.graded(Grade::Warning).breaking(&links));
        }
        // The path ends in a certificate that signed itself.
        _ if is_trusted(&last) => report.trusted_here = true,
        _ if steps.len() == 1 => {
            let cause = "the certificate is signed by itself, and not among the trusted \
                         authorities: clients and peers will refuse it";
            let finding = Finding::new(Flaw::SelfSigned, cause, last.about());
            found.push(finding.breaking(question.legs));
        }
        _ => {
            let cause = "the chain is whole, but peers that trust the same authorities will \
                         refuse the certificate: its authority is not among them";
            let finding = Finding::new(Flaw::AuthorityUntrusted, cause, last.about());
            found.push(finding.breaking(&links));
        }
    }
    if steps.len() == 1 && report.trusted_here && last.is_self_signed() {
        let cause = "the certificate is signed by itself: whoever does not know this very \
                     certificate will refuse it";
        found.push(Finding::new(Flaw::SelfSigned, cause, last.about()));
    }
    report.findings.append(&mut found);
}

/// The places of the path in the file, the node's own first, and where it leads from there; `None`
/// where the last one signed itself.
fn follow(question: &Question<'_>, report: &Report, own: usize) -> (Vec<usize>, Option<Issuer>) {
    let mut steps = vec![own];
    while steps.len() <= STEPS_MAX {
        let at = steps.last().copied().unwrap_or(own);
        let Some(current) = report.chain.get(at) else {
            break;
        };
        if current.is_self_signed() {
            return (steps, None);
        }
        match issuer(question, report, current, &steps) {
            Issuer::File(next) => steps.push(next),
            end => return (steps, Some(end)),
        }
    }
    (steps, Some(Issuer::Missing))
}

fn issuer(
    question: &Question<'_>,
    report: &Report,
    current: &Certificate,
    steps: &[usize],
) -> Issuer {
    let mut wrong = None;
    let mut signs = |candidate: &Certificate, trusted| match current.signed_by(candidate) {
        Signed::No => {
            let who = candidate.about();
            wrong = Some(Issuer::Wrong { who, trusted });
            false
        }
        Signed::Yes | Signed::Unknown => true,
    };
    let mut trusted = question.trusted.iter();
    let trusted = trusted.position(|c| current.names_issuer(c) && signs(c, true));
    if let Some(at) = trusted {
        // The file may hold it as well; then it is part of the path.
        let mut held = report.chain.iter();
        let held = held.position(|c| Some(c) == question.trusted.get(at));
        return match held {
            Some(at) if !steps.contains(&at) => Issuer::File(at),
            _ => Issuer::Trusted(at),
        };
    }
    let mut places = report.chain.iter().enumerate();
    let place =
        places.find(|(at, c)| !steps.contains(at) && current.names_issuer(c) && signs(c, false));
    match (place, wrong) {
        (Some((at, _)), _) => Issuer::File(at),
        (None, Some(wrong)) => wrong,
        (None, None) => Issuer::Missing,
    }
}

/// Whether each certificate of the path may sign the one before it, and is good by itself.
fn issuers(question: &Question<'_>, report: &Report, steps: &[usize]) -> Vec<Finding> {
    let mut found = Vec::new();
    let all = question.legs;
    let path: Vec<&Certificate> = steps
        .iter()
        .filter_map(|at| report.chain.get(*at))
        .collect();
    let leaf_ends = path.first().map(|leaf| leaf.not_after);
    for (depth, issuer) in path.iter().enumerate().skip(1) {
        let mut say = |finding: Finding| found.push(finding.breaking(all));
        let about = issuer.about();
        match issuer.authority {
            None => {
                let cause = format!("{} signed another, and is no authority", issuer.names());
                say(Finding::new(Flaw::IssuerNotAuthority, cause, about.clone()));
            }
            Some(Some(allowed)) => {
                // Intermediates below it, the node's own and those that are self-issued not
                // counted (RFC 5280 §4.2.1.9).
                let below = path.iter().take(depth).skip(1);
                let below = below.filter(|c| !c.is_self_issued()).count();
                if below > allowed as usize {
                    let cause = format!(
                        "{} allows {allowed} intermediates below it, and there are {below}",
                        issuer.names()
                    );
                    say(Finding::new(Flaw::PathTooLong, cause, about.clone()));
                }
            }
            Some(None) => {}
        }
        if issuer.key_usage.is_some_and(|u| !u.cert_sign) {
            let cause = format!("{} may not sign certificates", issuer.names());
            let proof = format!("{about}: keyUsage without keyCertSign");
            say(Finding::new(Flaw::IssuerMayNotSign, cause, proof));
        }
        if let Some(finding) = issuer_dates(issuer, question) {
            say(finding);
        } else if let Some(ends) = leaf_ends
            && issuer.not_after < ends
            && issuer.not_after < question.now.plus(super::SOON)
        {
            let cause = format!(
                "{} runs out at {}, before the certificate that it signed",
                issuer.names(),
                issuer.not_after
            );
            found.push(Finding::new(Flaw::IssuerExpiresFirst, cause, about.clone()));
        }
        let weak = Flaw::IssuerWeakSignature;
        if let Some(finding) = strength(issuer, "authority", Flaw::IssuerRsaShort, weak) {
            found.push(finding.breaking(all));
        }
        if let Some(uses) = issuer.uses
            && !issuer.is_self_signed()
        {
            let barred = |leg: &Leg| {
                if leg.is_server() {
                    !uses.server
                } else {
                    !uses.client
                }
            };
            let legs: Vec<Leg> = all.iter().copied().filter(barred).collect();
            if !uses.server || !legs.is_empty() {
                let cause = format!("{} may not sign for this use", issuer.names());
                let proof = format!(
                    "{about}: its extendedKeyUsage has serverAuth: {}, clientAuth: {}",
                    uses.server, uses.client
                );
                found.push(Finding::new(Flaw::IssuerUse, cause, proof).breaking(&legs));
            }
        }
    }
    found
}

fn issuer_dates(issuer: &Certificate, question: &Question<'_>) -> Option<Finding> {
    let finding = dates(issuer, question.now)?;
    let flaw = match finding.flaw {
        Flaw::NotYetValid => Flaw::IssuerNotYetValid,
        _ => Flaw::IssuerExpired,
    };
    let cause = format!("{}: {}", issuer.names(), finding.cause);
    Some(Finding::new(flaw, cause, finding.proof))
}

/// Whether the file has the path in its order.
fn order(report: &Report, steps: &[usize]) -> Option<Finding> {
    let rest = steps.get(1..)?;
    if rest.windows(2).all(|two| two.first() < two.last()) {
        return None;
    }
    let shown: Vec<String> = rest.iter().map(|at| (at + 1).to_string()).collect();
    Some(Finding::new(
        Flaw::Order,
        "the certificates are not in the order in which they sign one another",
        format!(
            "of {} in the file, the path goes by numbers {}",
            report.chain.len(),
            shown.join(", ")
        ),
    ))
}

/// Certificates of the file that are not on the path, and roots that need not be there.
fn strangers(report: &Report, steps: &[usize]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, certificate) in report.chain.iter().enumerate() {
        let place = at + 1;
        let about = certificate.about();
        if steps.contains(&at) {
            if at != steps.first().copied().unwrap_or(at) && certificate.is_self_signed() {
                let cause = format!("certificate {place} of the file is the authority itself");
                found.push(Finding::new(Flaw::RootIncluded, cause, about));
            }
        } else if report.chain.iter().take(at).any(|c| c == certificate)
            || report.chain.iter().skip(place).any(|c| c == certificate)
        {
            let cause = format!("certificate {place} stands in the file twice");
            found.push(Finding::new(Flaw::Duplicate, cause, about));
        } else {
            let cause = format!("certificate {place} of the file signed none of the others");
            found.push(Finding::new(Flaw::Unrelated, cause, about));
        }
    }
    found
}

/// Asks webpki, which decides in handshakes, for what the rules above do not know.
pub(super) fn ask_tls(question: &Question<'_>, report: &mut Report) {
    let told = report.findings.iter().any(|f| match f.flaw {
        Flaw::NoServerUse | Flaw::NoClientUse => false,
        // A path that ends nowhere is judged no further.
        Flaw::IssuerMissing | Flaw::SignatureWrong => true,
        _ => f.grade == Grade::Error,
    });
    let (Some(own), false) = (report.own_certificate(), told) else {
        return;
    };
    if own.is_self_signed() {
        return;
    }
    // Who ends the path counts as trusted here: whether it is, was looked at before.
    let mut anchors: Vec<_> = question.trusted.iter().collect();
    let roots = report.chain.iter().filter(|c| c.is_self_signed());
    anchors.extend(roots);
    let anchors: Vec<_> = anchors
        .iter()
        .filter_map(|c| webpki::anchor_from_trusted_cert(c.der()).ok())
        .collect();
    let others = others(report);
    let time = PkiTime::since_unix_epoch(std::time::Duration::from_secs(question.now.as_secs()));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let verify = |usage| {
        let parsed = webpki::EndEntityCert::try_from(own.der())?;
        parsed
            .verify_for_usage(algorithms.all, &anchors, &others, time, usage, None, None)
            .map(|_| ())
    };
    let server = verify(webpki::KeyUsage::server_auth());
    let client = verify(webpki::KeyUsage::client_auth());
    let refused = match (server, client) {
        (Err(why), Err(_)) => why,
        _ => return,
    };
    let (flaw, cause) = match refused {
        webpki::Error::NameConstraintViolation => (
            Flaw::NameConstraint,
            "the authority may not vouch for one of the certificate's names",
        ),
        _ => (Flaw::RefusedByTls, "TLS refuses the certificate"),
    };
    let proof = format!("{refused}: {}", own.about());
    let finding = Finding::new(flaw, cause, proof).breaking(question.legs);
    report.findings.push(finding);
}
