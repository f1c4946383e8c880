//! How much clients may ask of an edge, and when a node has too much to do: each number within its
//! range, no part above its whole, and no level below the one before.

use std::time::Duration;

use super::Reader;
use crate::file::{File, Number};
use crate::model::{Overload, Rates};

const SECTION: &str = "limits";

/// Connections of one source, and of all.
pub(super) fn connections(r: &mut Reader<'_>, file: &File) -> (usize, usize) {
    let written = &file.limits;
    let part = (
        "connections_per_source_max",
        written.connections_per_source_max,
    );
    let whole = ("connections_max", written.connections_max);
    let (part, whole): (usize, usize) = share(r, part, 100, whole, 20_000);
    (part, whole)
}

pub(super) fn rates(r: &mut Reader<'_>, file: &File) -> Rates {
    let written = &file.limits;
    let default = Rates::default();
    let part = ("handshakes_per_source", written.handshakes_per_source);
    let whole = ("handshakes", written.handshakes);
    let (handshakes_per_source, handshakes) = share(
        r,
        part,
        default.handshakes_per_source,
        whole,
        default.handshakes,
    );
    let pending = r.number(
        SECTION,
        0,
        "registrations_pending_max",
        written.registrations_pending_max,
    );
    let calls = r.number(SECTION, 0, "calls_per_user", written.calls_per_user);
    let ports = written.media_ports_per_user;
    let ports = r.number(SECTION, 0, "media_ports_per_user", ports);
    let mut rate = |key: &str, value: Option<Number>, default: u32| {
        r.number(SECTION, 0, key, value).unwrap_or(default)
    };
    Rates {
        handshakes_per_source,
        handshakes,
        requests_per_connection: rate(
            "requests_per_connection",
            written.requests_per_connection,
            default.requests_per_connection,
        ),
        requests_per_source: rate(
            "requests_per_source",
            written.requests_per_source,
            default.requests_per_source,
        ),
        requests_per_user: rate(
            "requests_per_user",
            written.requests_per_user,
            default.requests_per_user,
        ),
        burst: rate("burst", written.burst, default.burst),
        refusals_max: rate("refusals_max", written.refusals_max, default.refusals_max),
        registrations_pending_max: pending.unwrap_or(default.registrations_pending_max),
        calls_per_user: calls.unwrap_or(default.calls_per_user),
        media_ports_per_user: ports.unwrap_or(default.media_ports_per_user),
    }
}

/// From when on which work is refused: the later the dearer.
pub(super) fn overload(r: &mut Reader<'_>, file: &File) -> Overload {
    const SECTION: &str = "overload";
    let written = &file.overload;
    let default = Overload::default();
    let mut after = ("", Duration::ZERO);
    let mut level = |key: &'static str, value: Option<Number>, default: Duration| {
        let given = r.number(SECTION, 0, key, value).map(Duration::from_millis);
        let least = after.1;
        if let Some(age) = given.filter(|age| *age < least) {
            let cause = format!(
                "it would be refused from {} ms on, before what goes first, from {} ms on",
                age.as_millis(),
                least.as_millis()
            );
            let fix = format!("write at least overload.{}, or lower that", after.0);
            r.error(SECTION, 0, key, &cause, &fix);
        }
        let age = given.unwrap_or(default.max(least));
        after = (key, age);
        age
    };
    let strangers = ("refuse_strangers_ms", written.refuse_strangers_ms);
    let in_dialog = ("refuse_in_dialog_ms", written.refuse_in_dialog_ms);
    let refreshes = ("refuse_refreshes_ms", written.refuse_refreshes_ms);
    let levels = Overload {
        strangers: level(strangers.0, strangers.1, default.strangers),
        new: level("refuse_new_ms", written.refuse_new_ms, default.new),
        in_dialog: level(in_dialog.0, in_dialog.1, default.in_dialog),
        refreshes: level(refreshes.0, refreshes.1, default.refreshes),
        step_down: default.step_down,
    };
    let step_down = r.number(SECTION, 0, "step_down_ms", written.step_down_ms);
    Overload {
        step_down: step_down.map_or(default.step_down, Duration::from_millis),
        ..levels
    }
}

/// A part and its whole. A part that is not written is the whole at most.
fn share<T: TryFrom<Number> + Ord + Copy + std::fmt::Display>(
    r: &mut Reader<'_>,
    (part_key, part): (&str, Option<Number>),
    part_default: T,
    (whole_key, whole): (&str, Option<Number>),
    whole_default: T,
) -> (T, T) {
    let part: Option<T> = r.number(SECTION, 0, part_key, part);
    let whole: T = r
        .number(SECTION, 0, whole_key, whole)
        .unwrap_or(whole_default);
    if let Some(part) = part.filter(|part| *part > whole) {
        let cause = format!("one source may have {part}, and all together {whole}");
        let fix = format!("write at most limits.{whole_key}, or raise that");
        r.error(SECTION, 0, part_key, &cause, &fix);
    }
    (part.unwrap_or(part_default.min(whole)), whole)
}

#[cfg(test)]
mod tests {
    use crate::check::tests::{CORE, EDGE, check};
    use crate::{Finding, RANGES, Role, Severity};

    /// What is said of a line more in a good file.
    fn said(key: &str, value: i64) -> Vec<Finding> {
        let (section, name) = key.rsplit_once('.').unwrap();
        let many = crate::check::TABLES.contains(&section);
        let of_edge = ["limits", "business", "traversal", "traversal.zone"].contains(&section);
        let good = if of_edge { EDGE } else { CORE };
        let header = if many {
            format!("[[{section}]]")
        } else {
            format!("[{section}]")
        };
        let value = if name == "media_ports" {
            format!("[{value}, 40000]")
        } else {
            value.to_string()
        };
        let rest = match section {
            "zones" => "name = \"z\"\ntype = \"neighbor\"\npeers = [\"10.0.0.40\"]\n",
            "im_presence" | "unity_connection" => "address = \"10.0.0.42\"\n",
            "allow_list" => "host = \"10.0.0.41\"\n",
            _ => "",
        };
        let more = format!("{header}\n{name} = {value}\n");
        let text = if section == "domains.sign_in" {
            // Below an entry of an array.
            let ldap = "by = \"ldap\"\nservers = [\"ldaps://a\"]\nuser_dn = \"uid={user}\"\n";
            good.replacen("[[unified_cm]]", &format!("{more}{ldap}[[unified_cm]]"), 1)
        } else if good.contains(&header) {
            good.replacen(&format!("{header}\n"), &more, 1)
        } else {
            format!("{good}{more}{rest}")
        };
        let findings = match check(&text) {
            Ok(checked) => checked.warnings,
            Err(findings) => findings,
        };
        findings.into_iter().filter(|f| f.key == key).collect()
    }

    #[test]
    fn every_number_is_refused_below_and_above_its_range() {
        for range in RANGES {
            for wrong in [range.min - 1, range.max + 1, -1, i64::MIN, i64::MAX] {
                let said = said(range.key, wrong);
                let [finding] = &said[..] else {
                    panic!("{} = {wrong}: {said:?}", range.key)
                };
                assert_eq!(finding.severity, Severity::Error, "{finding}");
                assert!(
                    finding
                        .cause
                        .starts_with(&format!("{wrong} is out of range"))
                );
                let fix = format!("write a whole number from {} to {}", range.min, range.max);
                assert!(finding.fix.starts_with(&fix), "{finding}");
            }
            for good in [range.min, range.max] {
                let out = said(range.key, good).into_iter();
                let out: Vec<Finding> = out.filter(|f| f.cause.contains("out of range")).collect();
                assert!(out.is_empty(), "{} = {good}: {out:?}", range.key);
            }
        }
    }

    #[test]
    fn a_level_of_overload_below_the_one_before_is_refused_and_what_is_not_written_gives_way() {
        let of = |lines: &str| check(&format!("{CORE}[overload]\n{lines}\n"));
        let levels = |lines: &str| {
            let o = of(lines).unwrap().config.overload;
            [o.strangers, o.new, o.in_dialog, o.refreshes, o.step_down].map(|d| d.as_millis())
        };
        assert_eq!(levels(""), [160, 200, 400, 800, 1000]);
        assert_eq!(
            levels("refuse_strangers_ms = 500\nstep_down_ms = 200"),
            [500, 500, 500, 800, 200]
        );
        let findings = of("refuse_new_ms = 159").unwrap_err();
        assert_eq!(findings[0].key, "overload.refuse_new_ms");
        assert!(
            findings[0]
                .cause
                .contains("159 ms on, before what goes first, from 160")
        );
        assert!(findings[0].fix.contains("overload.refuse_strangers_ms"));
        let edge = check(&format!("{EDGE}[overload]\nrefuse_new_ms = 1000\n"));
        assert_eq!(edge.unwrap().config.overload.refreshes.as_millis(), 1000);
    }

    #[test]
    fn a_part_above_its_whole_is_refused_with_both_numbers() {
        for (lines, key, proof) in [
            (
                "connections_per_source_max = 6\nconnections_max = 5",
                "limits.connections_per_source_max",
                "one source may have 6, and all together 5",
            ),
            (
                "handshakes_per_source = 251",
                "limits.handshakes_per_source",
                "one source may have 251, and all together 250",
            ),
        ] {
            let findings = check(&format!("{EDGE}[limits]\n{lines}\n")).unwrap_err();
            assert_eq!(
                (findings[0].key.as_str(), findings[0].cause.as_str()),
                (key, proof)
            );
        }
        // What is not written gives way.
        let checked = check(&format!(
            "{EDGE}[limits]\nconnections_max = 5\nhandshakes = 4\n"
        ));
        let Role::Edge(edge) = checked.unwrap().config.role else {
            panic!()
        };
        assert_eq!(
            (edge.connections_per_source_max, edge.connections_max),
            (5, 5)
        );
        assert_eq!(
            (edge.rates.handshakes_per_source, edge.rates.handshakes),
            (4, 4)
        );
        for (lines, key, proof) in [
            (
                "[credentials]\ncleanup_interval_min = 479",
                "credentials.cleanup_interval_min",
                "479",
            ),
            (
                "[credentials]\nrefresh_interval_min = 721",
                "credentials.refresh_interval_min",
                "721",
            ),
        ] {
            let findings = check(&format!("{CORE}{lines}\n")).unwrap_err();
            assert_eq!(findings[0].key, key);
            assert!(findings[0].cause.contains(proof), "{}", findings[0]);
        }
        let licences = check(&format!(
            "{CORE}[calls]\nlicences = 3\nconcurrent_max = 2\n"
        ));
        let warnings = licences.unwrap().warnings;
        assert_eq!(warnings[0].key, "calls.licences");
        assert!(warnings[0].cause.contains("3 licences"), "{}", warnings[0]);
    }
}
