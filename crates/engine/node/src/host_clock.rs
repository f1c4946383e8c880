//! Whether this machine's clock follows a source of time.
//!
//! In: what the driver read from the kernel (NTP's discipline, RFC 5905). Out: the last reading,
//! and an event when it begins or ends to be good. It keeps no time and sets no clock.

use base::Now;
use status::{ClockRow, Event, Kind};

/// The last reading.
#[derive(Debug, Default)]
pub(crate) struct HostClock(Option<ClockRow>);

impl HostClock {
    /// The last reading; `None` if there was none, or the system does not tell.
    pub(crate) fn row(&self) -> Option<ClockRow> {
        self.0
    }

    /// Takes a reading; gives what is to be told of it.
    pub(crate) fn read(&mut self, now: Now, row: ClockRow) -> Option<Event> {
        let before = self.0.replace(row).map(|b| b.synchronised);
        let (kind, cause) = match (before, row.synchronised) {
            (None | Some(true), false) => (
                Kind::ClockLoose,
                "no source of time steers this machine's clock, says its kernel",
            ),
            (Some(false), true) => (Kind::ClockSteered, "a source of time steers it again"),
            (None | Some(true), true) | (Some(false), false) => return None,
        };
        let event = Event::new(kind, now.unix, cause)
            .with("offset_us", row.offset_us)
            .with("error_ms_max", row.error_us / 1000);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_steers_is_told_once_and_when_it_is_over() {
        let mut clock = HostClock::default();
        let mut read = |synchronised| {
            let row = ClockRow {
                synchronised,
                offset_us: -250,
                error_us: 16_000_000,
            };
            clock.read(Now::default(), row).map(|e| e.kind)
        };
        assert_eq!(read(true), None);
        assert_eq!(read(false), Some(Kind::ClockLoose));
        assert_eq!(read(false), None);
        assert_eq!(read(true), Some(Kind::ClockSteered));
        assert_eq!(read(true), None);
        assert_eq!(clock.row().map(|r| r.offset_us), Some(-250));
        let mut fresh = HostClock::default();
        let loose = ClockRow::default();
        let event = fresh.read(Now::default(), loose).unwrap();
        assert!(event.to_string().contains("offset_us=0"));
    }
}
