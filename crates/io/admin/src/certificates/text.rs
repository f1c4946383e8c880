//! Certificates as text for a terminal.

use certificates::names::Strength;
use certificates::trusted::Added;
use certificates::{leg, read};

use super::{Judged, NamesReport, Row};
use crate::show::{clean, table};

/// A chain with what is wrong with it, and which legs could use it.
pub fn report(judged: &Judged) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(&clean(text));
        out.push('\n');
    };
    for (at, row) in judged.chain.iter().enumerate() {
        let own = if judged.own == Some(at) {
            ", this node's"
        } else {
            ""
        };
        line(&format!("Certificate {} of the file{own}", at + 1));
        for (name, text) in [
            ("subject", row.subject.clone()),
            ("names", row.names.join(", ")),
            ("issuer", row.issuer.clone()),
            (
                "valid",
                format!("{} to {}, {}", row.not_before, row.not_after, left(row)),
            ),
            ("key", format!("{}, signed with {}", row.key, row.signature)),
            ("serial", row.serial.clone()),
            ("sha256", row.fingerprint.clone()),
        ] {
            line(&format!("  {name:<9}{text}"));
        }
    }
    line("");
    line("Who could use it");
    for verdict in &judged.legs {
        let flaws: Vec<&str> = verdict.flaws.iter().map(|f| f.name()).collect();
        let said = match flaws.as_slice() {
            [] => "yes".to_owned(),
            flaws => format!("no: {}", flaws.join(", ")),
        };
        line(&format!("  {:<26}{said}", verdict.leg.title()));
    }
    let here = match judged.trusted_here {
        true => "its authority is among those that this node trusts",
        false => "its authority is not among those that this node trusts",
    };
    line(&format!("  {here}"));
    line("");
    match judged.findings.is_empty() {
        true => line("All is well"),
        false => line("What was found"),
    }
    for finding in &judged.findings {
        line(&format!(
            "  {} {}: {}",
            finding.grade.word(),
            finding.flaw.name(),
            finding.cause
        ));
        if !finding.proof.is_empty() {
            line(&format!("    seen: {}", finding.proof));
        }
        if !finding.legs.is_empty() {
            line(&format!(
                "    not usable for: {}",
                leg::titles(&finding.legs)
            ));
        }
        line(&format!("    fix: {}", finding.fix));
    }
    out
}

fn left(row: &Row) -> String {
    match row.days_left {
        days if days < 0 => "over".to_owned(),
        days => format!("{days} days left"),
    }
}

/// The names that a certificate needs.
pub fn names(report: &NamesReport) -> String {
    let rows = report.needs.names.iter().map(|need| {
        let strength = match need.strength {
            Strength::Required => "needed",
            Strength::Advised => "advised",
        };
        vec![
            need.name.clone(),
            strength.to_owned(),
            leg::titles(&need.legs),
            need.why.clone(),
        ]
    });
    let mut out = table(&["name", "", "for", "why"], rows.collect());
    for note in &report.needs.notes {
        out.push_str(&format!("\nNote: {}\n", clean(note)));
    }
    out
}

/// Authorities, one a line.
pub fn trusted(rows: &[Row]) -> String {
    let row = |row: &Row| {
        vec![
            row.fingerprint.get(..16).unwrap_or_default().to_owned(),
            row.subject.clone(),
            row.not_after.clone(),
            left(row),
        ]
    };
    let head = ["sha256", "subject", "until", ""];
    table(&head, rows.iter().map(row).collect())
}

/// What became of certificates that were to be trusted.
pub fn added(all: &[Added]) -> String {
    let mut out = String::new();
    for one in all {
        let c: &read::Certificate = &one.certificate;
        let done = if one.known {
            "is trusted already"
        } else {
            "is trusted now"
        };
        let note = one
            .note
            .as_ref()
            .map_or_else(String::new, |n| format!("; {n}"));
        out.push_str(&clean(&format!(
            "{} {done}, until {}{note}",
            c.about(),
            c.not_after
        )));
        out.push('\n');
    }
    out
}
