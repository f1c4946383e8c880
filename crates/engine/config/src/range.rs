//! The least and the most of every setting that is a number: one table, for the check, its words
//! and the page.

/// What a setting may be, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// `section.key`.
    pub key: &'static str,
    /// The least.
    pub min: i64,
    /// The most.
    pub max: i64,
    /// What less would mean; empty where that says itself.
    pub(crate) less: &'static str,
}

const NOBODY: &str = "nobody would get in";

const BUSY: &str = "a node that is merely busy would refuse work";

const fn range(key: &'static str, min: i64, max: i64, less: &'static str) -> Range {
    Range {
        key,
        min,
        max,
        less,
    }
}

const fn port(key: &'static str) -> Range {
    range(key, 1, 65_535, "port 0 is no port")
}

/// Every setting that is a number.
pub const RANGES: &[Range] = &[
    range("limits.connections_per_source_max", 1, 1_000_000, NOBODY),
    range("limits.connections_max", 1, 1_000_000, NOBODY),
    range("limits.handshakes_per_source", 1, 100_000, NOBODY),
    range("limits.handshakes", 1, 100_000, NOBODY),
    range("limits.requests_per_connection", 1, 100_000, NOBODY),
    range("limits.requests_per_source", 1, 100_000, NOBODY),
    range("limits.requests_per_user", 1, 100_000, NOBODY),
    range("limits.burst", 1, 100, NOBODY),
    range(
        "limits.refusals_max",
        10,
        100_000,
        "clients that meet a busy moment would be cut off",
    ),
    range(
        "limits.registrations_pending_max",
        1,
        100_000,
        "nobody could register",
    ),
    range("limits.calls_per_user", 1, 100_000, "no call could be made"),
    range(
        "limits.media_ports_per_user",
        1,
        100_000,
        "no call could be made",
    ),
    range("overload.refuse_strangers_ms", 10, 60_000, BUSY),
    range("overload.refuse_new_ms", 10, 60_000, BUSY),
    range("overload.refuse_in_dialog_ms", 10, 60_000, BUSY),
    range("overload.refuse_refreshes_ms", 10, 60_000, BUSY),
    range(
        "overload.step_down_ms",
        100,
        60_000,
        "work would be let in and refused by turns",
    ),
    range("business.calls_max", 1, 100_000, "no call could be made"),
    range("business.calls_per_minute", 1, 600, "no call could be made"),
    range(
        "business.calls_per_source",
        1,
        100_000,
        "no call could be made",
    ),
    range(
        "business.ringing_max_s",
        5,
        180,
        "nobody would be there in time",
    ),
    range("calls.licences", 0, 100_000, ""),
    range("calls.concurrent_max", 1, 100_000, "no call could be made"),
    range("calls.per_user_max", 1, 100_000, "no call could be made"),
    range(
        "calls.media_per_user_max",
        1,
        100_000,
        "no call could be made",
    ),
    range(
        "calls.session_interval_s",
        90,
        86_400,
        "RFC 4028 knows no shorter interval",
    ),
    range(
        "calls.registrations_max",
        1,
        100_000,
        "nobody could register",
    ),
    range(
        "domains.sign_in.timeout_s",
        1,
        60,
        "no directory answers so fast",
    ),
    range(
        "domains.sign_in.connections_max",
        1,
        100,
        "nobody could sign in",
    ),
    range(
        "credentials.refresh_interval_min",
        1,
        100_000,
        "every request would be checked anew",
    ),
    range(
        "credentials.cleanup_interval_min",
        1,
        100_000,
        "nobody could register",
    ),
    range("traversal.zone.hop_count", 1, 255, "nothing would pass"),
    range("traversal.peer.hop_count", 1, 255, "nothing would pass"),
    range("zones.hop_count", 1, 255, "nothing would pass"),
    range("zones.hop_count_in", 1, 255, "nothing would pass"),
    range("transforms.priority", 1, 65_534, ""),
    range("search_rules.priority", 1, 65_534, ""),
    port("traversal.media_ports"),
    port("traversal.peer.media_ports"),
    port("traversal.peer.sip_port"),
    port("traversal.peer.ssh_port"),
    port("traversal.peer.xmpp_port"),
    port("zones.port"),
    port("unified_cm.port"),
    port("im_presence.port"),
    port("unity_connection.port"),
    port("allow_list.port"),
];

/// The range of `section.key`.
pub(crate) fn of(key: &str) -> Option<&'static Range> {
    RANGES.iter().find(|range| range.key == key)
}
