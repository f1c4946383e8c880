//! From the nodes' logs to rungs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Chapter, Ladder, Rung};
use crate::file::LabFile;
use crate::tour::Span;

/// Hops of one message are no further apart than this.
const HOP_WITHIN: Duration = Duration::from_secs(3);
const EDGE: usize = 1;
const CORE: usize = 2;

/// One message between two neighbours.
#[derive(Clone, Debug)]
struct Hop {
    at: SystemTime,
    lane: String,
    what: String,
    id: String,
    from: usize,
    to: usize,
}

impl Ladder {
    /// Reads the logs of all nodes of a lab and files what crossed under the chapters.
    pub(crate) fn read(lab: &LabFile, spans: &[Span], own: String) -> Ladder {
        let mut hops = Vec::new();
        for edge in &lab.edges {
            hops.extend(of_log(&edge.log, EDGE));
        }
        for core in &lab.cores {
            hops.extend(of_log(&core.log, CORE));
        }
        hops.sort_by_key(|hop| hop.at);
        let chapters = spans.iter().enumerate().map(|(index, span)| {
            let end = spans.get(index + 1).map(|next| next.from);
            let within = hops
                .iter()
                .filter(|hop| hop.at >= span.from && end.is_none_or(|e| hop.at < e));
            Chapter {
                title: span.title.clone(),
                rungs: join(within, span.from),
            }
        });
        Ladder {
            chapters: chapters.collect(),
            own,
        }
    }

    /// All rungs, for programs.
    pub(crate) fn rungs(&self) -> Vec<Rung> {
        self.chapters
            .iter()
            .flat_map(|chapter| chapter.rungs.iter().cloned())
            .collect()
    }
}

fn of_log(path: &Path, column: usize) -> Vec<Hop> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let wires = text.lines().filter(|line| line.contains("\"wire\""));
    wires
        .filter_map(|line| hop(&serde_json::from_str(line).ok()?, column))
        .collect()
}

/// A hop from a line. What an edge and a core tell of the link between them is the same; the edge's
/// word is taken.
fn hop(line: &Value, column: usize) -> Option<Hop> {
    if line["target"] != "wire" {
        return None;
    }
    let field = |name: &str| line[name].as_str().map(str::to_owned);
    let neighbour = match (column, line["side"].as_str()?) {
        (EDGE, "client") => column - 1,
        (EDGE, "lane") | (CORE, "inside") => column + 1,
        _ => return None,
    };
    let (from, to) = match line["dir"].as_str()? {
        "in" => (neighbour, column),
        _ => (column, neighbour),
    };
    let (lane, what) = (field("lane")?, field("what")?);
    let id = field("id").unwrap_or_default();
    Some(Hop {
        at: time(line["timestamp"].as_str()?)?,
        lane,
        what,
        id,
        from,
        to,
    })
}

/// Joins hops that are one message going on in the same direction.
fn join<'a>(hops: impl Iterator<Item = &'a Hop>, began: SystemTime) -> Vec<Rung> {
    let mut rungs: Vec<(SystemTime, Rung)> = Vec::new();
    for hop in hops {
        let goes_on = rungs.iter_mut().rev().find(|(last, rung)| {
            let near = hop
                .at
                .duration_since(*last)
                .is_ok_and(|time| time < HOP_WITHIN);
            let onward = (rung.to > rung.from) == (hop.to > hop.from) && rung.to == hop.from;
            // 100 is each hop's own (RFC 3261 §16.7).
            let own = rung.what.starts_with("100 ");
            !own && near
                && onward
                && (&rung.lane, &rung.what, &rung.id) == (&hop.lane, &hop.what, &hop.id)
        });
        if let Some((last, rung)) = goes_on {
            (*last, rung.to) = (hop.at, hop.to);
            continue;
        }
        let after = hop.at.duration_since(began).unwrap_or_default();
        let rung = Rung {
            after_us: u64::try_from(after.as_micros()).unwrap_or(u64::MAX),
            lane: hop.lane.clone(),
            what: hop.what.clone(),
            id: hop.id.clone(),
            from: hop.from,
            to: hop.to,
        };
        rungs.push((hop.at, rung));
    }
    let rungs = rungs.into_iter().map(|(_, rung)| rung);
    // Keep-alives of the link itself are no part of any day.
    rungs.filter(|rung| !is_keep_alive(rung)).collect()
}

fn is_keep_alive(rung: &Rung) -> bool {
    rung.lane == "control" || rung.what.ends_with("OPTIONS") && rung.from.min(rung.to) >= EDGE
}

/// `2026-11-25T00:10:00.123456Z` (RFC 3339).
fn time(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.trim_end_matches('Z').split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.split(':');
    let hour: u64 = clock.next()?.parse().ok()?;
    let minute: u64 = clock.next()?.parse().ok()?;
    let second: f64 = clock.next()?.parse().ok()?;
    // Days since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = u64::try_from(era * 146_097 + day_of_era - 719_468).ok()?;
    let whole = Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60);
    Some(SystemTime::UNIX_EPOCH + whole + Duration::try_from_secs_f64(second).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: &str, dir: &str, side: &str, what: &str) -> Value {
        serde_json::json!({
            "timestamp": format!("2026-11-25T00:10:{second}Z"), "level": "DEBUG", "target": "wire",
            "lane": "sip", "dir": dir, "side": side, "what": what, "id": "call-1",
        })
    }

    #[test]
    fn time_is_read_as_written() {
        let read = time("2026-11-25T00:10:00.250000Z").unwrap();
        let since = read.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_millis(), 1_795_565_400_250);
        assert_eq!(time("1970-01-01T00:00:00.0Z"), Some(SystemTime::UNIX_EPOCH));
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn hops_of_one_message_become_one_rung() {
        let edge = [
            line("00.100", "in", "client", "INVITE"),
            line("00.101", "out", "lane", "INVITE"),
            line("00.110", "in", "lane", "200 INVITE"),
            line("00.111", "out", "client", "200 INVITE"),
        ];
        let core = [
            line("00.102", "in", "lane", "INVITE"),
            line("00.103", "out", "inside", "INVITE"),
            line("00.108", "in", "inside", "200 INVITE"),
            line("00.109", "out", "lane", "200 INVITE"),
        ];
        let mut hops: Vec<Hop> = edge.iter().filter_map(|line| hop(line, EDGE)).collect();
        hops.extend(core.iter().filter_map(|line| hop(line, CORE)));
        hops.sort_by_key(|hop| hop.at);
        let rungs = join(hops.iter(), time("2026-11-25T00:10:00.0Z").unwrap());
        let ends: Vec<(usize, usize)> = rungs.iter().map(|rung| (rung.from, rung.to)).collect();
        assert_eq!(ends, [(0, 3), (3, 0)]);
        assert_eq!(rungs[0].after_us / 1000, 100);
    }

    #[test]
    fn keep_alives_of_the_link_are_left_out() {
        let lines = [
            line("00.1", "in", "lane", "OPTIONS"),
            line("00.2", "out", "lane", "200 OPTIONS"),
        ];
        let hops: Vec<Hop> = lines.iter().filter_map(|line| hop(line, EDGE)).collect();
        assert_eq!(hops.len(), 2);
        assert!(join(hops.iter(), SystemTime::UNIX_EPOCH).is_empty());
    }
}
