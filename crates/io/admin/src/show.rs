//! A snapshot as text for a terminal.

use std::fmt::Write;

use base::UnixTime;
use status::{
    CallRow, CapacityRow, ClockRow, EventRow, LinkRow, Role, SessionRow, Severity, Snapshot,
};

/// What of a snapshot is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    /// What was looked for: a list without a hit says so.
    pub find: Option<&'a str>,
    /// So many warnings and errors at most; all without it.
    pub events: Option<usize>,
}

/// A clock difference that is marked, in milliseconds: tokens and nonces carry times.
const SKEW_MARK_MS: u64 = 2_000;

/// The whole snapshot in sections; what is empty is left out, but for links and for what was looked
/// for.
pub fn snapshot(s: &Snapshot, view: View<'_>) -> String {
    let role = match s.role {
        Role::Edge => "edge",
        Role::Core => "core",
    };
    let mut out = format!("{} · {role} · causeway {} · {}\n", s.node, s.version, s.at);
    let _ = writeln!(out, "clock {}", clock(s.clock));
    if !s.servers.is_empty() {
        let _ = writeln!(out, "servers {}", crate::servers::brief(&s.servers));
    }
    section(&mut out, "Links", &links(s));
    if !s.zones.is_empty() {
        let rows = s
            .zones
            .iter()
            .map(|(name, state)| vec![name.clone(), state.clone()]);
        let table = table(&["zone", "state"], rows.collect());
        section(&mut out, "Zones", &table);
    }
    let mut list = |title: &str, rows: usize, total: usize, of: usize, body: String| {
        if rows > 0 {
            section(&mut out, &shown(title, rows, total), &body);
        } else if let Some(find) = view.find {
            let body = match (total, of) {
                (1.., _) => format!("  --from leaves out all {total} that hold {find:?}\n"),
                (0, 0) => "  none\n".to_owned(),
                (0, of) => format!("  none of {of} holds {find:?}\n"),
            };
            section(&mut out, title, &body);
        }
    };
    let (rows, of) = (s.registrations.len(), s.totals.registrations);
    list(
        "Registrations",
        rows,
        s.registrations_total,
        of,
        registrations(s),
    );
    let (rows, of) = (s.sessions.len(), s.totals.sessions);
    list("Provisioning sessions", rows, rows, of, sessions(s));
    let (rows, of) = (s.calls.len(), s.totals.calls);
    list("Calls", rows, rows, of, calls(s.calls.iter(), s.at));
    let (rows, of) = (s.history.len(), s.totals.history);
    list(
        "History",
        rows,
        s.history_total,
        of,
        calls(s.history.iter(), s.at),
    );
    if let Some(c) = &s.capacity {
        // What is shown may be a page of them, or what was looked for.
        let all = s.totals.registrations.max(s.registrations.len());
        section(&mut out, "Capacity", &capacity(c, all));
    }
    let events = s.events.iter().filter(|e| e.severity > Severity::Info);
    let total = events.clone().count();
    let events: Vec<&EventRow> = events.take(view.events.unwrap_or(usize::MAX)).collect();
    if !events.is_empty() {
        let title = shown("Recent events", events.len(), total);
        section(&mut out, &title, &recent(&events));
    }
    section(&mut out, "Counters", &counters(s));
    out
}

/// A title for all of the rows, or some of many.
fn shown(title: &str, rows: usize, total: usize) -> String {
    if rows >= total {
        return format!("{title} ({rows})");
    }
    let more = match title {
        "Registrations" => "--all, --limit N and --from N show others",
        _ => "--all or --limit N shows more",
    };
    format!("{title} ({rows} of {total}; {more})")
}

fn section(out: &mut String, title: &str, body: &str) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\n{title}\n{body}");
}

fn links(s: &Snapshot) -> String {
    let rows = s.links.iter().map(|l| {
        vec![
            l.peer.clone(),
            l.zone.clone(),
            state(l, s.at),
            format!("{} / {} / {}", l.sip_lanes, l.http_lanes, l.xmpp_lanes),
            if l.media_up { "up" } else { "down" }.into(),
            l.round_trip_us
                .map_or("–".into(), |us| format!("{:.1} ms", us as f64 / 1000.0)),
            l.skew_ms.map_or("–".into(), skew),
        ]
    });
    let head = [
        "peer",
        "zone",
        "state",
        "SIP / HTTP / XMPP lanes",
        "media",
        "round trip",
        "clock skew",
    ];
    table(&head, rows.collect())
}

/// What steers the machine's clock.
fn clock(row: Option<ClockRow>) -> String {
    let ms = |us: f64| format!("{:.1} ms", us / 1000.0);
    match row {
        None => "not known: this system does not tell what steers it".into(),
        Some(row) if row.synchronised => format!(
            "synchronised, offset {}, wrong by at most {}",
            ms(row.offset_us as f64),
            ms(row.error_us as f64)
        ),
        Some(_) => "NOT SYNCHRONISED, run an NTP client on this machine".into(),
    }
}

fn state(l: &LinkRow, at: UnixTime) -> String {
    match (l.up, l.since, &l.why) {
        (true, Some(since), _) => format!("up for {}", lasted(since, at)),
        (true, None, _) => "up".into(),
        (false, _, Some(why)) => format!("down: {why}"),
        (false, _, None) => "down: not seen yet".into(),
    }
}

/// The peer's clock against ours.
fn skew(ms: i64) -> String {
    if ms.unsigned_abs() <= SKEW_MARK_MS {
        return format!("{ms} ms");
    }
    let way = if ms > 0 { "ahead" } else { "behind" };
    let seconds = ms.unsigned_abs() as f64 / 1000.0;
    format!("{seconds:.1} s {way}: WRONG, synchronise by NTP")
}

fn recent(events: &[&EventRow]) -> String {
    let mut out = String::new();
    for e in events {
        let severity = match e.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let mut line = format!("{} {severity} {} {}", e.at, e.code, e.title);
        if !e.cause.is_empty() {
            let _ = write!(line, ": {}", e.cause);
        }
        for (name, value) in &e.proof {
            let _ = write!(line, " {name}={value}");
        }
        if e.times > 1 {
            let _ = write!(line, " ({} times)", e.times);
        }
        let _ = writeln!(out, "  {}", clean(&line));
        if !e.fix.is_empty() {
            let _ = writeln!(out, "    fix: {}", e.fix);
        }
    }
    out
}

fn registrations(s: &Snapshot) -> String {
    let rows = s.registrations.iter().map(|r| {
        let lines = r.lines.iter().map(|l| format!(" +{}", l.expose()));
        vec![
            cell(r.user.expose()),
            cell(&(r.aor.expose().clone() + &lines.collect::<String>())),
            cell(&r.device),
            r.zone.clone(),
            r.from.expose().clone(),
            r.flow.clone(),
            lasted(r.since, s.at),
            format!("{} s", r.expires_s),
        ]
    });
    let (zone, from) = match s.role {
        Role::Edge => ("core", "client"),
        Role::Core => ("zone", "edge"),
    };
    let head = [
        "user",
        "address and lines",
        "device",
        zone,
        from,
        "flow",
        "for",
        "expires in",
    ];
    table(&head, rows.collect())
}

/// Sign-ins, the current ones first, then those that are over.
pub fn sessions(s: &Snapshot) -> String {
    let over = |r: &&SessionRow| r.ended.is_some() || r.expires <= s.at;
    let current = s.sessions.iter().filter(|r| !over(r));
    let recent = s.sessions.iter().filter(over);
    let rows = current.chain(recent).map(|r| {
        let left = match r.ended {
            Some(_) => "signed out".into(),
            None if r.expires > s.at => lasted(s.at, r.expires),
            None => "expired".into(),
        };
        vec![
            cell(r.user.expose()),
            r.domain.clone(),
            device(&r.user_agent).into(),
            r.edge.clone(),
            lasted(r.since, s.at),
            left,
            cell(&r.user_agent),
        ]
    });
    let head = [
        "user",
        "domain",
        "device",
        "edge",
        "age",
        "expires in",
        "program",
    ];
    table(&head, rows.collect())
}

/// What kind of device a program runs on, as far as its name tells.
fn device(program: &str) -> &'static str {
    let name = program.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match () {
        () if has(&["cisco/tc", "cisco/ce", "telepresence", "roomos"]) => "room system",
        () if has(&["android", "cisco-bot"]) => "Android",
        () if has(&["iphone", "ipad", "cisco-tct", "cisco-tab"]) => "iPhone or iPad",
        () if has(&["macintosh", "mac os", "darwin", "for mac"]) => "Mac",
        () if has(&["windows", "cisco-csf"]) => "PC",
        () if has(&["cp-", "ip phone"]) => "telephone",
        () => "–",
    }
}

fn calls<'a>(rows: impl Iterator<Item = &'a CallRow>, at: UnixTime) -> String {
    let rows = rows.map(|c| {
        let state = match (c.answered, c.ended) {
            (_, Some(_)) => c.cause.clone(),
            (Some(_), None) => "connected".into(),
            (None, None) => "ringing".into(),
        };
        let end = c.ended.unwrap_or(at);
        let media: Vec<String> = c
            .media
            .iter()
            .map(|m| {
                format!(
                    "{} {}↑ {}↓ lost {}",
                    m.kind, m.from_client, m.to_client, m.lost
                )
            })
            .collect();
        vec![
            cell(c.from.expose()),
            cell(c.to.expose()),
            match c.content.as_str() {
                "" => c.kind.clone(),
                content => format!("{}, {content}", c.kind),
            },
            state,
            lasted(c.answered.unwrap_or(c.began), end),
            c.components.join(" → "),
            media.join("; "),
        ]
    });
    table(
        &[
            "from",
            "to",
            "type",
            "state",
            "for",
            "through",
            "media (packets)",
        ],
        rows.collect(),
    )
}

/// What is used, the most that was, and what there is.
fn capacity(c: &CapacityRow, registrations: usize) -> String {
    let most = |max: Option<u64>| max.map_or("no limit".to_owned(), |n| n.to_string());
    let row = |name: &str, used: u64, peak: Option<u64>, max: Option<u64>| {
        let peak = peak.map_or("–".to_owned(), |n| n.to_string());
        vec![name.to_owned(), used.to_string(), peak, most(max)]
    };
    let calls = c.remote_sessions + c.rich_media_sessions;
    let rows = vec![
        row("calls", calls, Some(c.calls_peak), Some(c.calls_max)),
        row(
            "licences",
            c.licences,
            Some(c.licences_peak),
            c.licences_max,
        ),
        row(
            "registrations",
            registrations as u64,
            None,
            c.registrations_max,
        ),
    ];
    let mut out = table(&["of", "used", "most", "limit"], rows);
    let _ = writeln!(
        out,
        "  {} Unified CM remote sessions, {} rich media sessions",
        c.remote_sessions, c.rich_media_sessions
    );
    out
}

fn counters(s: &Snapshot) -> String {
    let c = &s.counters;
    let rows = [
        ("SIP connections", c.sip_connections),
        ("SIP transactions", c.sip_transactions),
        ("media port pairs in use", c.media_ports_in_use),
        ("chat sessions", c.xmpp_sessions),
        ("sign-ins granted", c.sign_ins),
        ("sign-ins refused", c.sign_ins_refused),
        ("HTTP requests refused", c.http_refused),
        ("protocol violations", c.violations),
        ("wrong credentials", c.wrong_credentials),
        ("refused in overload", c.shed),
    ];
    rows.iter().fold(String::new(), |mut out, (name, value)| {
        let _ = writeln!(out, "  {name:<26}{value:>10}");
        out
    })
}

fn lasted(from: UnixTime, to: UnixTime) -> String {
    let s = to.as_secs().saturating_sub(from.as_secs());
    match s {
        0..=119 => format!("{s} s"),
        120..=7199 => format!("{} min", s / 60),
        _ => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

/// Control characters of peers are not let through to the terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect()
}

/// The widest a cell of a table may be: whoever chose what stands in it chooses no more than that.
const CELL_MAX: usize = 64;

/// A cell of what a peer writes, as it is shown. `--json` has the whole of it.
fn cell(text: &str) -> String {
    let mut shown: String = clean(text).chars().take(CELL_MAX + 1).collect();
    if shown.chars().count() > CELL_MAX {
        shown = shown.chars().take(CELL_MAX - 1).chain(['…']).collect();
    }
    shown
}

/// Columns as wide as their widest cell.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return "  none\n".into();
    }
    let rows = rows.iter().map(|r| r.iter().map(|c| clean(c)).collect());
    let rows: Vec<Vec<String>> = rows.collect();
    let width = |i: usize| {
        let cells = rows
            .iter()
            .filter_map(|r| r.get(i))
            .map(|c| c.chars().count());
        let title = head.get(i).map_or(0, |h| h.chars().count());
        cells.chain([title]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        format!("  {}\n", padded.join("  ").trim_end())
    };
    let mut out = line(head.to_vec());
    for row in &rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Pii;

    #[test]
    fn a_snapshot_is_shown_in_aligned_sections() {
        let link = LinkRow {
            peer: "core1.corp.example.test".into(),
            zone: "core".into(),
            up: true,
            since: Some(UnixTime::from_millis(0)),
            sip_lanes: 2,
            http_lanes: 4,
            xmpp_lanes: 2,
            media_up: true,
            round_trip_us: Some(1500),
            skew_ms: Some(-3),
            ..LinkRow::default()
        };
        let call = CallRow {
            from: Pii::new("sip:al\u{1b}[31mice@example.test".into()),
            to: Pii::new("sip:1100@example.test".into()),
            kind: "Unified CM remote session".into(),
            content: "video".into(),
            began: UnixTime::from_millis(0),
            ..CallRow::default()
        };
        let capacity = CapacityRow {
            remote_sessions: 1,
            calls_peak: 3,
            calls_max: 2_000,
            ..CapacityRow::default()
        };
        let whole = Snapshot {
            at: UnixTime::from_millis(65_000),
            node: "edge1.example.test".into(),
            links: vec![link],
            calls: vec![call],
            capacity: Some(capacity),
            ..Snapshot::default()
        };
        let shown = snapshot(&whole, View::default());
        assert!(shown.starts_with("edge1.example.test · edge"));
        assert!(
            shown.contains("Unified CM remote session, video"),
            "{shown}"
        );
        assert!(shown.contains("calls          1     3     2000"), "{shown}");
        assert!(
            shown.contains("licences       0     0     no limit"),
            "{shown}"
        );
        assert!(shown.contains("up for 65 s  2 / 4 / 2"), "{shown}");
        assert!(
            shown.contains("ringing") && !shown.contains('\u{1b}'),
            "{shown}"
        );
    }

    #[test]
    fn capacity_counts_all_registrations_and_not_the_rows_shown() {
        let mut whole = Snapshot {
            registrations: vec![status::RegistrationRow::default(); 70],
            capacity: Some(CapacityRow::default()),
            ..Snapshot::default()
        };
        whole.turn_to(&status::Page {
            limit: Some(1),
            ..status::Page::default()
        });
        let shown = snapshot(&whole, View::default());
        assert!(
            shown.contains("registrations  70    –     no limit"),
            "{shown}"
        );
    }

    #[test]
    fn a_strangers_long_address_widens_no_column() {
        let call = |to: String| CallRow {
            from: Pii::new("sip:x@stranger.test".into()),
            to: Pii::new(to),
            ..CallRow::default()
        };
        let long = "9".repeat(250);
        let whole = Snapshot {
            calls: vec![call(long.clone()), call("sip:1100@example.test".into())],
            ..Snapshot::default()
        };
        let shown = snapshot(&whole, View::default());
        let cut = format!("{}…", &long[..CELL_MAX - 1]);
        assert!(shown.contains(&cut) && !shown.contains(&long), "{shown}");
        assert!(shown.lines().all(|l| l.chars().count() < 200), "{shown}");
    }

    fn clock_line(row: ClockRow) -> String {
        let whole = Snapshot {
            clock: Some(row),
            ..Snapshot::default()
        };
        snapshot(&whole, View::default())
    }

    #[test]
    fn a_snapshot_shows_recent_warnings_with_cause_and_fix_and_marks_a_wrong_clock() {
        let mut recent = status::Recent::default();
        let at = UnixTime::from_millis(1000);
        let refused = status::Event::new(status::Kind::LinkRefused, at, "wrong\u{1b}[2J password");
        recent.note(&refused.with("core", "core1"));
        recent.note(&status::Event::new(status::Kind::LinkUp, at, "fine"));
        let whole = Snapshot {
            events: recent.rows(),
            links: vec![LinkRow {
                skew_ms: Some(-600_001),
                ..LinkRow::default()
            }],
            ..Snapshot::default()
        };
        let shown = snapshot(&whole, View::default());
        assert!(shown.contains("600.0 s behind: WRONG"), "{shown}");
        assert!(shown.contains("\nclock not known"), "{shown}");
        for (synchronised, want) in [
            (
                true,
                "clock synchronised, offset -0.2 ms, wrong by at most 1.5 ms",
            ),
            (false, "clock NOT SYNCHRONISED"),
        ] {
            let row = ClockRow {
                synchronised,
                offset_us: -200,
                error_us: 1_500,
            };
            assert!(clock_line(row).contains(want), "{}", clock_line(row));
        }
        let line = "error 1003 link refused: wrong·[2J password core=core1\n    fix: set the same";
        assert!(shown.contains(line) && !shown.contains("fine"), "{shown}");
    }

    #[test]
    fn registrations_show_who_is_where_by_which_way_and_how_many_more_there_are() {
        let row = status::RegistrationRow {
            user: Pii::new("alice".into()),
            aor: Pii::new("sip:1001@cucm1.example.test".into()),
            device: "CSFALICE".into(),
            from: Pii::new("edge1.example.test".into()),
            zone: "CEtcp-cucm1".into(),
            flow: "17.3".into(),
            since: UnixTime::from_millis(0),
            expires_s: 100,
            lines: vec![Pii::new("1002".into())],
            ..status::RegistrationRow::default()
        };
        let whole = Snapshot {
            at: UnixTime::from_millis(65_000),
            role: Role::Core,
            registrations: vec![row],
            registrations_total: 3_214,
            ..Snapshot::default()
        };
        let shown = snapshot(&whole, View::default());
        assert!(
            shown.contains("Registrations (1 of 3214; --all, --limit N and --from N show others)"),
            "{shown}"
        );
        let line = "alice  sip:1001@cucm1.example.test +1002  CSFALICE  CEtcp-cucm1  \
                    edge1.example.test  17.3  65 s  100 s";
        assert!(shown.contains(line), "{shown}");
    }

    #[test]
    fn a_list_that_is_cut_says_so_and_one_without_a_hit_does_too() {
        let call = CallRow {
            from: Pii::new("sip:bob@example.test".into()),
            kind: "Unified CM remote session".into(),
            ended: Some(UnixTime::from_millis(0)),
            ..CallRow::default()
        };
        let mut some = Snapshot {
            history: vec![call; 136],
            registrations: vec![status::RegistrationRow::default(); 2],
            ..Snapshot::default()
        };
        some.turn_to(&status::Page {
            history: Some(10),
            ..status::Page::default()
        });
        let text = snapshot(&some, View::default());
        let title = "History (10 of 136; --all or --limit N shows more)\n";
        assert!(text.contains(title), "{text}");
        assert!(text.contains("  Unified CM remote session  "), "{text}");
        let find = Some("nobody");
        some.turn_to(&status::Page {
            find: find.map(str::to_owned),
            ..status::Page::default()
        });
        let text = snapshot(&some, View { find, events: None });
        for section in [
            "\nRegistrations\n  none of 2 holds \"nobody\"\n",
            "\nProvisioning sessions\n  none\n",
            "\nCalls\n  none\n",
            "\nHistory\n  none of 10 holds \"nobody\"\n",
        ] {
            assert!(text.contains(section), "{section} is not in {text}");
        }
    }

    #[test]
    fn current_sessions_come_first_and_recent_ones_say_how_they_ended() {
        let at = UnixTime::from_millis(1_790_000_000_000);
        let minutes = |n: u64| std::time::Duration::from_secs(60 * n);
        let row = |user: &str, program: &str, left: u64, out: bool| SessionRow {
            user: Pii::new(user.into()),
            domain: "example.test".into(),
            user_agent: program.into(),
            edge: "edge1.example.test".into(),
            since: UnixTime::from_millis(at.as_millis() - 60_000),
            expires: UnixTime::from_millis(at.as_millis() + left * 60_000),
            ended: out.then_some(at),
        };
        let s = Snapshot {
            at: at.plus(minutes(1)),
            sessions: vec![
                row("late", "Cisco/TC", 0, false),
                row("alice", "Cisco-CSF/12", 400, false),
                row("gone", "Jabber for Android", 400, true),
            ],
            ..Snapshot::default()
        };
        let shown = sessions(&s);
        let lines: Vec<&str> = shown.lines().skip(1).collect();
        let wanted = [
            ("alice", "PC", "Cisco-CSF/12"),
            ("late", "room system", "expired"),
            ("gone", "Android", "signed out"),
        ];
        for (line, (user, device, word)) in lines.iter().zip(wanted) {
            assert!(line.trim_start().starts_with(user), "{shown}");
            assert!(line.contains(device) && line.contains(word), "{shown}");
        }
    }
}
