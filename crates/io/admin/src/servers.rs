//! The inside's servers as text for a terminal.

use base::UnixTime;
use status::servers::{ServerBrief, ServerChange, ServerFacts, ServerRow, ServersReport, named};
pub use status::servers::{ServerChange as Change, ServerState, ServersReport as Report};

use crate::show::{clean, table};

/// One line a server.
pub fn list(report: &ServersReport) -> String {
    let rows = report.servers.iter().map(|s| {
        vec![
            s.name.clone(),
            s.kind.title().to_owned(),
            s.state.word().to_owned(),
            or_dash(&s.facts.version),
            s.facts.nodes.len().to_string(),
            moment(s.read_at),
            s.cause.clone(),
        ]
    });
    let head = ["server", "what", "state", "version", "nodes", "read", "why"];
    table(&head, rows.collect())
}

/// All of them in one line of a node's status: how many are how, which have failed, and when
/// the one was last read that was read longest ago.
pub(crate) fn brief(servers: &[ServerBrief]) -> String {
    use ServerState as S;
    let of = |state| servers.iter().filter(move |s| s.state == state);
    let states = [S::Active, S::Inactive, S::Asked, S::Failed];
    let counts = states.into_iter().filter_map(|state| {
        let count = of(state).count();
        (count > 0).then(|| format!("{count} {}", state.word()))
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    let read = match servers.iter().filter_map(|s| s.read_at).min() {
        Some(at) => format!("last read {at} or later"),
        None => "none was ever read".to_owned(),
    };
    let failed = named(of(S::Failed).map(|s| s.name.as_str()));
    let why = match failed.as_str() {
        "" => String::new(),
        names => format!("; {names}: see causeway ctl servers list"),
    };
    clean(&format!("{counts}; {read}{why}"))
}

/// All of one server.
pub fn one(row: &ServerRow) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            out.push_str(&clean(&format!("{name:<10}{text}")));
            out.push('\n');
        }
    };
    line("server", &format!("{}:{}", row.name, row.port));
    line("what", row.kind.title());
    line("state", row.state.word());
    line("why", &row.cause);
    line("fix", &row.fix);
    line("version", &row.facts.version);
    let read = match row.remembered {
        true => format!("{}, by an earlier process", moment(row.read_at)),
        false => moment(row.read_at),
    };
    line("read", &read);
    line("heard", &moment(row.heard_at));
    if let Some(mixed) = row.facts.mixed_mode {
        line("mixed", if mixed { "yes" } else { "no" });
    }
    let profiles = row.facts.secure_profiles.as_deref().unwrap_or_default();
    line("profiles", &profiles.join(", "));
    for untold in &row.untold {
        line("not told", untold);
    }
    out.push_str("\nNodes\n");
    out.push_str(&nodes(&row.facts));
    out
}

fn nodes(facts: &ServerFacts) -> String {
    let port = |port: Option<u16>| port.map_or_else(|| "–".to_owned(), |p| p.to_string());
    let rows = facts
        .nodes
        .iter()
        .map(|n| vec![n.name.clone(), port(n.tcp), port(n.tls)]);
    table(&["node", "phones", "secure"], rows.collect())
}

/// Changes, the latest first.
pub fn history(changes: &[ServerChange]) -> String {
    let row = |c: &ServerChange| vec![c.at.to_string(), c.server.clone(), c.what.clone()];
    table(
        &["found", "server", "what"],
        changes.iter().map(row).collect(),
    )
}

/// Settings that were looked at, with what to do.
pub fn checks(report: &ServersReport) -> String {
    let mut rows = Vec::new();
    for server in &report.servers {
        rows.extend(server.checks.iter().map(|c| {
            let verdict = match c.good {
                Some(true) => "ok",
                Some(false) => "amiss",
                None => "look",
            };
            vec![
                server.name.clone(),
                verdict.to_owned(),
                c.what.clone(),
                c.seen.clone(),
                c.fix.clone(),
            ]
        }));
    }
    table(&["server", "", "setting", "seen", "fix"], rows)
}

/// Whether a setting is not as it should be.
pub fn is_amiss(report: &ServersReport) -> bool {
    let mut all = report.servers.iter().flat_map(|s| &s.checks);
    all.any(|c| c.good == Some(false))
}

/// Whether a server tells nothing.
pub fn has_failed(report: &ServersReport) -> bool {
    let mut all = report.servers.iter();
    all.any(|s| s.state == ServerState::Failed)
}

fn moment(at: Option<UnixTime>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| at.to_string())
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "–" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use status::servers::{NodeFacts, ServerCheck};

    #[test]
    fn servers_in_one_line_are_counted_and_those_that_failed_named() {
        let one = |name: &str, state, second: Option<u64>| ServerBrief {
            name: name.into(),
            state,
            read_at: second.map(|s| UnixTime::from_millis(s * 1_000)),
            ..ServerBrief::default()
        };
        let mut all = vec![
            one("ucm1", ServerState::Active, Some(50)),
            one("ucm2", ServerState::Active, Some(40)),
        ];
        let oldest = UnixTime::from_millis(40_000);
        assert_eq!(
            brief(&all),
            format!("2 Active; last read {oldest} or later")
        );
        all.push(one("cuc1", ServerState::Failed, None));
        assert_eq!(
            brief(&all),
            format!(
                "2 Active, 1 Failed; last read {oldest} or later; cuc1: see causeway ctl servers \
                 list"
            )
        );
        let whole = status::Snapshot {
            servers: all,
            ..status::Snapshot::default()
        };
        let shown = crate::show::snapshot(&whole, crate::show::View::default());
        assert!(shown.contains("\nservers 2 Active, 1 Failed"), "{shown}");
    }

    #[test]
    fn servers_are_shown_with_state_nodes_and_what_is_amiss() {
        let row = ServerRow {
            name: "cucm1.example.test".into(),
            port: 8443,
            state: ServerState::Failed,
            cause: "refused\u{1b}[2J".into(),
            fix: "set it".into(),
            remembered: true,
            facts: ServerFacts {
                version: "14.0".into(),
                nodes: vec![NodeFacts {
                    name: "cucm2".into(),
                    tcp: Some(5062),
                    ..NodeFacts::default()
                }],
                mixed_mode: Some(true),
                secure_profiles: Some(vec!["a.example.test".into()]),
            },
            untold: vec!["regions: 403".into()],
            checks: vec![ServerCheck {
                what: "secure profile".into(),
                good: Some(false),
                seen: "missing".into(),
                fix: "issue it again".into(),
            }],
            ..ServerRow::default()
        };
        let report = ServersReport {
            servers: vec![row.clone()],
            history: vec![ServerChange {
                what: "mixed mode on".into(),
                ..ServerChange::default()
            }],
            ..ServersReport::default()
        };
        let shown = one(&row);
        for part in [
            "Failed",
            "by an earlier process",
            "a.example.test",
            "cucm2",
            "5062",
            "set it",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains('\u{1b}') && !list(&report).contains('\u{1b}'));
        assert!(list(&report).contains("cucm1.example.test  Unified CM  Failed"));
        assert!(checks(&report).contains("amiss  secure profile"));
        assert!(history(&report.history).contains("mixed mode on"));
        assert!(is_amiss(&report) && has_failed(&report));
        assert!(!is_amiss(&ServersReport::default()) && !has_failed(&ServersReport::default()));
    }
}
