//! What search rules make of a destination, as text for a terminal.

pub use status::SearchOutcome;
use status::{SearchQuestion, SearchReport, SearchStep};

use crate::show::{clean, table};

/// A question of the command line.
pub fn question(from: &str, to: &str, zone: &str, authenticated: bool) -> SearchQuestion {
    SearchQuestion {
        from: from.to_owned(),
        to: to.to_owned(),
        zone: zone.to_owned(),
        authenticated,
    }
}

/// The whole report.
pub fn text(report: &SearchReport) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&clean(&text));
        out.push('\n');
    };
    line(format!("to      {}", report.to));
    if !report.from.is_empty() {
        line(format!("from    {}", report.from));
    }
    if !report.zone.is_empty() {
        let proof = if report.authenticated {
            "authenticated"
        } else {
            "not authenticated"
        };
        line(format!("zone    {}, {proof}", report.zone));
    }
    if !report.alias.is_empty() {
        line(format!("alias   {}", report.alias));
    }
    if !report.note.is_empty() {
        line(format!("note    {}", report.note));
    }
    if !report.fix.is_empty() {
        line(format!("fix     {}", report.fix));
    }
    steps(&mut out, "Transforms", &report.transforms);
    if !report.transforms.is_empty() {
        out.push_str(&clean(&format!("  alias now: {}", report.transformed)));
        out.push('\n');
    }
    steps(&mut out, "Search rules", &report.rules);
    out.push_str("\nTargets\n");
    if report.targets.is_empty() {
        out.push_str(match report.outcome {
            SearchOutcome::Routed | SearchOutcome::CallControl => {
                "  call control, where the client is registered\n"
            }
            _ => "  none\n",
        });
    }
    for (i, target) in report.targets.iter().enumerate() {
        let head = format!(
            "  {}. {} as {} (by {})",
            i + 1,
            target.zone,
            target.alias,
            target.rule
        );
        out.push_str(&clean(&head));
        out.push('\n');
        for how in &target.how {
            out.push_str(&clean(&format!("     {how}")));
            out.push('\n');
        }
    }
    out
}

fn steps(out: &mut String, title: &str, steps: &[SearchStep]) {
    out.push_str(&format!("\n{title}\n"));
    let rows = steps.iter().map(|step| {
        vec![
            if step.matched { "✓" } else { " " }.to_owned(),
            step.priority.to_string(),
            step.name.clone(),
            step.what.clone(),
            step.why.clone(),
        ]
    });
    out.push_str(&table(
        &["", "prio", "name", "what", "verdict"],
        rows.collect(),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use status::SearchTarget;

    #[test]
    fn every_verdict_stands_in_a_row_and_targets_follow_in_order() {
        let step = |name: &str, matched| SearchStep {
            name: name.into(),
            priority: 40,
            matched,
            why: "because\u{1b}[2J".into(),
            what: "prefix 9 → trunk".into(),
            ..SearchStep::default()
        };
        let report = SearchReport {
            to: "sip:9@x".into(),
            zone: "trunk".into(),
            alias: "9@x".into(),
            transformed: "9@x".into(),
            rules: vec![step("one", false), step("two", true)],
            targets: vec![SearchTarget {
                zone: "pbx".into(),
                alias: "9@x".into(),
                rule: "two".into(),
                how: vec!["10.0.0.5:5060 over TCP: active".into()],
                up: Some(true),
            }],
            ..SearchReport::default()
        };
        let shown = text(&report);
        assert!(
            shown.contains("zone    trunk, not authenticated"),
            "{shown}"
        );
        assert!(shown.contains("✓  40    two   prefix 9 → trunk"), "{shown}");
        assert!(
            shown.contains("1. pbx as 9@x (by two)\n     10.0.0.5:5060"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert!(text(&SearchReport::default()).ends_with("Targets\n  none\n"));
        let registered = SearchReport {
            outcome: SearchOutcome::CallControl,
            fix: "ask the core".into(),
            ..SearchReport::default()
        };
        let shown = text(&registered);
        assert!(shown.ends_with("  call control, where the client is registered\n"));
        assert!(shown.contains("fix     ask the core\n"), "{shown}");
    }
}
