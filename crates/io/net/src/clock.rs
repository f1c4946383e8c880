//! What the kernel knows of the machine's clock: whether a source of time steers it, and how well
//! (adjtimex(2), RFC 5905). Any NTP client that disciplines the kernel is seen: chrony,
//! systemd-timesyncd, ntpd. Nothing is asked over the network, and no clock is set. Elsewhere than
//! on Linux nothing is known.

#![allow(unsafe_code)]

/// A reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whether a source of time steers the clock.
    pub synchronised: bool,
    /// How far the clock still is from its source, in microseconds.
    pub offset_us: i64,
    /// The most that it can be wrong, in microseconds; meaningful if synchronised.
    pub error_us: u64,
}

/// Reads the clock's state; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub fn read() -> Option<Reading> {
    // SAFETY: all bytes zero is a valid timex: plain numbers, and `modes` 0 asks to change nothing.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a timex of ours that outlives the call (adjtimex(2)).
    let said = unsafe { libc::adjtimex(&mut state) };
    (said >= 0).then(|| reading(&state, said))
}

/// Reads the clock's state; `None` where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn read() -> Option<Reading> {
    None
}

#[cfg(target_os = "linux")]
fn reading(state: &libc::timex, said: libc::c_int) -> Reading {
    let nano = state.status & libc::STA_NANO != 0;
    Reading {
        synchronised: said != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0,
        offset_us: i64::from(state.offset) / if nano { 1000 } else { 1 },
        error_us: u64::try_from(state.maxerror).unwrap_or_default(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn state(status: libc::c_int, offset: i64) -> libc::timex {
        // SAFETY: as in `read`.
        let mut state: libc::timex = unsafe { std::mem::zeroed() };
        state.status = status;
        state.offset = offset;
        state.maxerror = 1500;
        state
    }

    #[test]
    fn a_clock_is_synchronised_unless_the_kernel_says_otherwise() {
        let steered = reading(&state(libc::STA_PLL, 700), 0);
        assert!(steered.synchronised);
        assert_eq!((steered.offset_us, steered.error_us), (700, 1500));
        let nano = reading(&state(libc::STA_PLL | libc::STA_NANO, -2_000_000), 0);
        assert_eq!(nano.offset_us, -2000);
        assert!(!reading(&state(libc::STA_UNSYNC, 0), libc::TIME_ERROR).synchronised);
        assert!(!reading(&state(0, 0), libc::TIME_ERROR).synchronised);
    }
}
