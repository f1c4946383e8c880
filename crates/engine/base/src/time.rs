//! Time as engines see it: handed in with each input.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the node's monotonic clock, in microseconds since the node's own epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The node's epoch.
    pub const ZERO: Instant = Instant(0);

    /// The instant `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Instant(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was, or zero if it lies ahead.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, rhs: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, rhs: Instant) -> Duration {
        self.since(rhs)
    }
}

/// Wall-clock time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The time `millis` milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: u64) -> Self {
        UnixTime(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The time `later` after this one, saturating.
    pub fn plus(self, later: Duration) -> Self {
        UnixTime(
            self.0
                .saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// Signed difference `self - other`, in milliseconds.
    pub fn skew_ms(self, other: UnixTime) -> i64 {
        i64::try_from(i128::from(self.0) - i128::from(other.0)).unwrap_or(i64::MAX)
    }

    /// Year, month, day, hour, minute, second and day of week (0 is Sunday), in UTC.
    pub fn civil(self) -> (u64, u64, u64, u64, u64, u64, u64) {
        let secs = self.as_secs();
        let days = secs / 86_400;
        let rest = secs % 86_400;
        // Days to date, after Howard Hinnant's `civil_from_days`.
        let z = days + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + u64::from(month <= 2);
        (
            year,
            month,
            day,
            rest / 3600,
            rest % 3600 / 60,
            rest % 60,
            (days + 4) % 7,
        )
    }

    /// The time as an HTTP date (RFC 9110 §5.6.7), as cookies and `Date` want it.
    pub fn http_date(self) -> String {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let (y, mo, d, h, mi, s, w) = self.civil();
        let day = DAYS.get(w as usize).copied().unwrap_or("Sun");
        let month = MONTHS.get(mo as usize - 1).copied().unwrap_or("Jan");
        format!("{day}, {d:02} {month} {y:04} {h:02}:{mi:02}:{s:02} GMT")
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339 with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (y, mo, d, h, mi, s, _) = self.civil();
        write!(
            f,
            "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{:03}Z",
            self.0 % 1000
        )
    }
}

/// The time of one input: monotonic for timers, wall clock for dates on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers and rates.
    pub instant: Instant,
    /// For what a peer or a person reads.
    pub unix: UnixTime,
}

impl Now {
    /// Both clocks moved on by `by`.
    pub fn plus(self, by: Duration) -> Now {
        Now {
            instant: self.instant + by,
            unix: self.unix.plus(by),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_http_and_rfc_3339_want_them() {
        let t = UnixTime::from_millis(1_778_358_091_250);
        assert_eq!(t.http_date(), "Sat, 09 May 2026 20:21:31 GMT");
        assert_eq!(t.to_string(), "2026-05-09T20:21:31.250Z");
        assert_eq!(
            UnixTime::from_millis(951_782_400_000).to_string(),
            "2000-02-29T00:00:00.000Z"
        );
    }

    #[test]
    fn instants_never_go_below_zero() {
        let a = Instant::from_micros(5);
        assert_eq!(Instant::ZERO.since(a), Duration::ZERO);
        assert_eq!(a - Instant::ZERO, Duration::from_micros(5));
    }
}
