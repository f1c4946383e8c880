//! What strangers cause, told without letting them fill a log.
//!
//! The first event of a kind from a source is told at once; what follows within a minute is
//! counted, and told in one line when the minute is over. Bounds: [`ROWS_MAX`] sources at a time,
//! and [`RATE`] first events a second over all of them; what goes beyond is counted under no
//! source at all.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use base::{HashMap, Instant, Now, TokenBucket};
use status::{Event, Kind};

/// How long further events of a source are gathered.
const WINDOW: Duration = Duration::from_secs(60);

/// Sources gathered for at once.
const ROWS_MAX: usize = 4096;

/// First events told, a second and at once.
const RATE: (u32, u32) = (2, 20);

/// Of what kind, and from where; `None` once the table is full.
type Key = (Kind, Option<IpAddr>);

struct Row {
    more: u64,
    cause: String,
}

pub(crate) struct Quiet {
    rows: HashMap<Key, Row>,
    ends: VecDeque<(Instant, Key)>,
    rate: TokenBucket,
}

impl Quiet {
    pub(crate) fn new() -> Self {
        let rate = TokenBucket::new(RATE.0, RATE.1);
        Quiet {
            rows: HashMap::default(),
            ends: VecDeque::new(),
            rate,
        }
    }

    /// The event to tell now, if any.
    pub(crate) fn tell(
        &mut self,
        now: Now,
        kind: Kind,
        source: Option<IpAddr>,
        cause: &str,
    ) -> Option<Event> {
        if let Some(row) = self.rows.get_mut(&(kind, source)) {
            row.more += 1;
            return None;
        }
        let full = self.rows.len() >= ROWS_MAX;
        if full || self.rate.take(now.instant).is_err() {
            self.open(now, (kind, None), cause, 1);
            return None;
        }
        self.open(now, (kind, source), cause, 0);
        let event = Event::new(kind, now.unix, cause);
        Some(match source {
            Some(ip) => from(event, ip),
            None => event,
        })
    }

    fn open(&mut self, now: Now, key: Key, cause: &str, more: u64) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.more += more;
            return;
        }
        self.rows.insert(
            key,
            Row {
                more,
                cause: cause.to_owned(),
            },
        );
        self.ends.push_back((now.instant + WINDOW, key));
    }

    /// What the windows that are over have gathered.
    pub(crate) fn handle_timeout(&mut self, now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((_, key)) = self
            .ends
            .front()
            .copied()
            .filter(|(at, _)| *at <= now.instant)
        {
            self.ends.pop_front();
            base::tighten(&mut self.ends);
            let Some(row) = self.rows.remove(&key).filter(|r| r.more > 0) else {
                continue;
            };
            let cause = format!("{}; {} more within 60 s", row.cause, row.more);
            let event = Event::new(key.0, now.unix, cause);
            events.push(match key.1 {
                Some(ip) => from(event, ip),
                None => event.with("source", "many"),
            });
        }
        events
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.ends.front().map(|(at, _)| *at)
    }
}

/// Says where it came from. A host of the network inside is no person: the log names it.
fn from(event: Event, source: IpAddr) -> Event {
    match event.kind {
        Kind::SenderRefused => event.with("source", source),
        _ => event.with_address("source", source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> Option<IpAddr> {
        Some(std::net::Ipv4Addr::from(0xC633_0000 + n).into())
    }

    #[test]
    fn a_source_gets_two_lines_a_minute_however_much_it_does() {
        let mut quiet = Quiet::new();
        let mut now = Now::default();
        let told = (0..1000)
            .filter_map(|_| quiet.tell(now, Kind::Violation, source(1), "junk"))
            .count();
        assert_eq!(told, 1);
        now = now.plus(WINDOW);
        let summary = quiet.handle_timeout(now);
        assert_eq!(summary.len(), 1);
        assert_eq!(summary[0].cause, "junk; 999 more within 60 s");
        assert_eq!(quiet.poll_timeout(), None);
        assert!(
            quiet
                .tell(now, Kind::Violation, source(1), "junk")
                .is_some()
        );
        assert!(quiet.handle_timeout(now.plus(WINDOW)).is_empty());
    }

    #[test]
    fn many_sources_share_one_line_beyond_the_rate() {
        let mut quiet = Quiet::new();
        let now = Now::default();
        let told = (0..100_000)
            .filter_map(|n| quiet.tell(now, Kind::Violation, source(n), "junk"))
            .count();
        assert_eq!(told, RATE.1 as usize);
        assert!(quiet.rows.len() <= ROWS_MAX + Kind::ALL.len());
        let summary = quiet.handle_timeout(now.plus(WINDOW));
        assert_eq!(summary.len(), 1, "{summary:?}");
        assert_eq!(summary[0].proof, [("source", "many".to_owned())]);
    }
}
