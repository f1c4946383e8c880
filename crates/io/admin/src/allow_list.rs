//! The allow list as text for a terminal, and questions to a running core.

use std::fmt::Write as _;
use std::path::Path;

use base::UnixTime;
use status::{AllowListReport, AllowRow, AllowTest, AllowVerdict, DeniedReport};

use crate::client::{self, AskFault};
use crate::query::escaped;
use crate::show::{clean, table};

/// The resource of the rules.
pub const RULES: &str = "/api/v1/allow-list";

/// Where the configured rules are read anew.
pub const RELOAD: &str = "/api/v1/allow-list/reload";

/// The resource of what was refused.
pub const DENIED: &str = "/api/v1/allow-list/denied";

/// Asks a running core for its rules.
///
/// # Errors
/// [`AskFault`].
pub async fn rules(socket: &Path) -> Result<AllowListReport, AskFault> {
    ask(socket, RULES).await
}

/// Has it read the configured rules anew, so that they count at once.
///
/// # Errors
/// [`AskFault`].
pub async fn reload(socket: &Path) -> Result<AllowListReport, AskFault> {
    let body = client::command(socket, RELOAD).await?;
    serde_json::from_slice(&body).map_err(|e| AskFault::Answer(e.to_string()))
}

/// Asks it for what it refused.
///
/// # Errors
/// [`AskFault`].
pub async fn denied(socket: &Path) -> Result<DeniedReport, AskFault> {
    ask(socket, DENIED).await
}

/// Asks it what would become of a request.
///
/// # Errors
/// [`AskFault`].
pub async fn test(socket: &Path, asked: &AllowTest) -> Result<AllowVerdict, AskFault> {
    let (url, method) = (escaped(&asked.url), escaped(&asked.method));
    ask(socket, &format!("{RULES}/test?url={url}&method={method}")).await
}

async fn ask<T: serde::de::DeserializeOwned>(socket: &Path, what: &str) -> Result<T, AskFault> {
    let body = client::get(socket, what).await?;
    serde_json::from_slice(&body).map_err(|e| AskFault::Answer(e.to_string()))
}

/// The rules as a table.
pub fn rules_text(report: &AllowListReport) -> String {
    let head = [
        "#",
        "hits",
        "last",
        "url",
        "match",
        "methods",
        "from",
        "description",
    ];
    let rows = report.rules.iter().map(|r| {
        vec![
            r.number.to_string(),
            r.hits.map_or("–".into(), |n| n.to_string()),
            r.last_hit.map_or("–".into(), stamp),
            url(r),
            r.r#match.clone(),
            r.methods.join(","),
            if r.automatic {
                format!("{} (automatic)", r.origin)
            } else {
                r.origin.clone()
            },
            r.description.clone(),
        ]
    });
    format!("Allow list\n{}", table(&head, rows.collect()))
}

/// A verdict.
pub fn verdict_text(v: &AllowVerdict) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{}", clean(&text));
    };
    line(format!("request  {}", v.request));
    let word = match (v.allowed, v.unknown) {
        (true, _) => "allowed".to_owned(),
        (false, true) => format!("cannot be told; a client would get {}", v.status),
        (false, false) => format!("refused with {}", v.status),
    };
    line(format!("verdict  {word}: {}", v.why));
    if let Some(rule) = &v.rule {
        line(format!("rule     {}", short(rule)));
    }
    if let Some(address) = &v.address {
        line(format!("dials    {address}"));
    }
    for near in &v.near {
        line(format!("nearest  {}", short(&near.rule)));
        for missing in &near.missing {
            line(format!("         its {missing}"));
        }
    }
    block(&mut out, v.suggestion.as_deref());
    out
}

/// The inbox of what was refused.
pub fn denied_text(report: &DeniedReport) -> String {
    let mut out = String::from("Refused requests of signed-in users\n");
    if report.denied.is_empty() {
        out.push_str("  none\n");
    }
    for row in &report.denied {
        let users: Vec<String> = row.users.iter().map(|u| u.expose().clone()).collect();
        let under = if row.one_path { "" } else { " and under it" };
        let how = if row.redirect { ", by a redirect" } else { "" };
        let head = format!(
            "\n{} {}{under}{how}: {} times, first {}, last {}, by {}",
            row.method,
            row.url,
            row.count,
            stamp(row.first),
            stamp(row.last),
            users.join(", ")
        );
        out.push('\n');
        out.push_str(&clean(head.trim_start()));
        out.push('\n');
        block(&mut out, row.suggestion.as_deref());
    }
    if report.forgotten > 0 {
        let _ = writeln!(out, "\n{} others gave way to these", report.forgotten);
    }
    out
}

/// A block of the configuration, ready to paste.
fn block(out: &mut String, block: Option<&str>) {
    let lines = block.into_iter().flat_map(str::lines);
    for (n, line) in lines.enumerate() {
        if n == 0 {
            out.push_str("it would pass with:\n");
        }
        out.push_str(&clean(line));
        out.push('\n');
    }
}

fn short(rule: &AllowRow) -> String {
    let (number, methods) = (rule.number, rule.methods.join(","));
    let (url, kind, origin) = (url(rule), &rule.r#match, &rule.origin);
    format!("{number}: {methods} {url} ({kind}), from {origin}")
}

fn url(rule: &AllowRow) -> String {
    let host = if rule.host.contains(':') {
        format!("[{}]", rule.host)
    } else {
        rule.host.clone()
    };
    format!("{}://{host}:{}{}", rule.scheme, rule.port, rule.path)
}

fn stamp(at: UnixTime) -> String {
    let (year, month, day, hour, minute, second, _) = at.civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Pii;
    use status::{DeniedRow, NearRow};

    fn row() -> AllowRow {
        AllowRow {
            number: 3,
            origin: "unified_cm cucm1".into(),
            automatic: true,
            scheme: "https".into(),
            host: "2001:db8::9".into(),
            port: 8443,
            path: "/cucm-uds".into(),
            r#match: "prefix".into(),
            methods: vec!["GET".into(), "HEAD".into()],
            hits: Some(7),
            last_hit: Some(UnixTime::from_millis(0)),
            ..AllowRow::default()
        }
    }

    #[test]
    fn rules_verdicts_and_refusals_are_shown_for_people() {
        let rules = rules_text(&AllowListReport { rules: vec![row()] });
        assert!(rules.contains("7     1970-01-01 00:00:00Z"), "{rules}");
        assert!(
            rules.contains("https://[2001:db8::9]:8443/cucm-uds"),
            "{rules}"
        );
        assert!(rules.contains("unified_cm cucm1 (automatic)"), "{rules}");
        let verdict = verdict_text(&AllowVerdict {
            request: "PUT https://x/\u{1b}[2J".into(),
            status: 403,
            why: "no rule fits".into(),
            near: vec![NearRow {
                rule: row(),
                missing: vec!["methods are GET, not PUT".into()],
            }],
            suggestion: Some("[[allow_list]]\nhost = \"x\"\n".into()),
            ..AllowVerdict::default()
        });
        assert!(
            verdict.contains("refused with 403: no rule fits"),
            "{verdict}"
        );
        assert!(
            verdict.contains("its methods are GET, not PUT"),
            "{verdict}"
        );
        assert!(
            verdict.ends_with("\n[[allow_list]]\nhost = \"x\"\n"),
            "{verdict}"
        );
        assert!(!verdict.contains('\u{1b}'), "{verdict}");
        let denied = DeniedRow {
            url: "https://x/a/".into(),
            method: "GET".into(),
            count: 12,
            users: vec![Pii::new("alice".into())],
            ..DeniedRow::default()
        };
        let shown = denied_text(&DeniedReport {
            denied: vec![denied],
            forgotten: 1,
        });
        assert!(
            shown.contains("GET https://x/a/ and under it: 12 times"),
            "{shown}"
        );
        assert!(
            shown.contains("by alice\n") && shown.contains("1 others"),
            "{shown}"
        );
    }
}
