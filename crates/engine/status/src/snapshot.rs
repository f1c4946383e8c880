//! What a node looks like at one moment.

use base::{Pii, UnixTime};
use serde::{Deserialize, Serialize};

use crate::EventRow;
use crate::page::Totals;
use crate::servers::ServerBrief;

/// Edge or core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// In the DMZ.
    #[default]
    Edge,
    /// Inside.
    Core,
}

/// A node's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken.
    pub at: UnixTime,
    /// The node's fully qualified name.
    pub node: String,
    /// What it is.
    pub role: Role,
    /// Its program's version.
    pub version: String,
    /// Links to peers.
    pub links: Vec<LinkRow>,
    /// Registrations, by user, device and address of record; all of them, or a [`crate::Page`].
    pub registrations: Vec<RegistrationRow>,
    /// How many there are, whatever the page.
    #[serde(default)]
    pub registrations_total: usize,
    /// Calls under way.
    pub calls: Vec<CallRow>,
    /// Calls that ended, the latest first, at most 500 (F314); all of them, or a [`crate::Page`].
    pub history: Vec<CallRow>,
    /// How many there are, whatever the page.
    #[serde(default)]
    pub history_total: usize,
    /// How many rows each list had before a [`crate::Page`] looked for something.
    #[serde(default)]
    pub totals: Totals,
    /// Users who signed in over HTTPS, current and recent (F319).
    pub sessions: Vec<SessionRow>,
    /// Zones towards call control and neighbours, and how each is.
    pub zones: Vec<ZoneRow>,
    /// Servers inside, and how each is; on a core.
    #[serde(default)]
    pub servers: Vec<ServerBrief>,
    /// Warnings, errors and news of links, the latest first, at most [`crate::Recent::MAX`].
    #[serde(default)]
    pub events: Vec<EventRow>,
    /// What calls there may be, and how much of it is used; on a core.
    #[serde(default)]
    pub capacity: Option<CapacityRow>,
    /// What steers the machine's clock; `None` if the system does not tell.
    #[serde(default)]
    pub clock: Option<ClockRow>,
    /// Figures.
    pub counters: Counters,
}

/// A machine's clock, as its kernel knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRow {
    /// Whether a source of time steers it.
    pub synchronised: bool,
    /// How far it still is from that source, in microseconds.
    pub offset_us: i64,
    /// How wrong it is at most, in microseconds, if it is synchronised.
    pub error_us: u64,
}

/// What calls there may be, and how much of it is used (F270–F278).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityRow {
    /// Unified CM remote sessions.
    pub remote_sessions: u64,
    /// Rich media sessions.
    pub rich_media_sessions: u64,
    /// The most calls at once since the start.
    pub calls_peak: u64,
    /// Calls that there may be at once.
    pub calls_max: u64,
    /// Licences in use.
    pub licences: u64,
    /// The most at once since the start.
    pub licences_peak: u64,
    /// Licences that there are; `None` without a limit.
    pub licences_max: Option<u64>,
    /// Registrations that there may be; `None` without a limit.
    pub registrations_max: Option<u64>,
}

/// One link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// The peer's fully qualified name.
    pub peer: String,
    /// The zone or peer of the configuration.
    pub zone: String,
    /// Whether the control lane is up.
    pub up: bool,
    /// Since when.
    pub since: Option<UnixTime>,
    /// Why it is down.
    pub why: Option<String>,
    /// SIP connections.
    pub sip_lanes: usize,
    /// HTTP connections.
    pub http_lanes: usize,
    /// XMPP connections.
    pub xmpp_lanes: usize,
    /// Whether media flows.
    pub media_up: bool,
    /// Round trip of the control lane, in microseconds.
    pub round_trip_us: Option<u64>,
    /// The peer's clock minus ours, in milliseconds.
    pub skew_ms: Option<i64>,
}

/// One registration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationRow {
    /// The user who authenticated.
    pub user: Pii<String>,
    /// The address of record.
    pub aor: Pii<String>,
    /// The device, as it names itself.
    pub device: String,
    /// Its instance (RFC 5626).
    pub instance: String,
    /// The edge it came by, on a core; the client's address, on an edge.
    pub from: Pii<String>,
    /// Seconds left.
    pub expires_s: u64,
    /// The zone of call control that accepted it, on a core; the core it went by, on an edge.
    #[serde(default)]
    pub zone: String,
    /// The client's connection, by the edge's number for it: the same on both nodes.
    #[serde(default)]
    pub flow: String,
    /// Since when.
    #[serde(default)]
    pub since: UnixTime,
    /// Other lines of the device, on a core, where one REGISTER asked for all.
    #[serde(default)]
    pub lines: Vec<Pii<String>>,
}

impl RegistrationRow {
    /// The order of rows.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        (&self.user, &self.device, &self.aor, &self.flow).cmp(&(
            &other.user,
            &other.device,
            &other.aor,
            &other.flow,
        ))
    }
}

/// One call, or one dialog of a client on an edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    /// Tells calls apart.
    pub id: String,
    /// Who began it.
    pub from: Pii<String>,
    /// Whom it is for.
    pub to: Pii<String>,
    /// `Unified CM remote session` (F270) or `Rich media session` (F271).
    pub kind: String,
    /// `audio` or `video`: what it counts as (F276, F277). Of a call that ended before it was set
    /// up, what its offer had; empty if there was none.
    #[serde(default)]
    pub content: String,
    /// The parts it passes through on this node (F263, F315, F316).
    pub components: Vec<String>,
    /// When it began.
    pub began: UnixTime,
    /// When it was answered.
    pub answered: Option<UnixTime>,
    /// When it ended.
    pub ended: Option<UnixTime>,
    /// Why it ended.
    pub cause: String,
    /// Its media streams.
    pub media: Vec<MediaRow>,
}

/// One media stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRow {
    /// `audio`, `video`, …
    pub kind: String,
    /// Packets from the client.
    pub from_client: u64,
    /// Packets to the client.
    pub to_client: u64,
    /// Packets lost on the way from the client.
    pub lost: u64,
    /// Jitter from the client, in microseconds.
    pub jitter_us: u32,
    /// Packets whose SRTP tag was wrong.
    pub forged: u64,
    /// Packets from addresses that are nobody's.
    pub strangers: u64,
}

/// One zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRow {
    /// Its name.
    pub name: String,
    /// `active`, `connecting`, `failed`, `leaving`, `does not answer OPTIONS`.
    pub state: String,
    /// Why, where there is more to say; else empty.
    pub why: String,
}

impl ZoneRow {
    /// A row of a name and its state, which may go on in `: why`.
    pub fn of(name: String, told: &str) -> Self {
        let (state, why) = told.split_once(": ").unwrap_or((told, ""));
        ZoneRow {
            name,
            state: state.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// One provisioning session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The user.
    pub user: Pii<String>,
    /// The service domain.
    pub domain: String,
    /// The client's program.
    pub user_agent: String,
    /// The edge it came by.
    pub edge: String,
    /// When.
    pub since: UnixTime,
    /// Until when its token is good.
    pub expires: UnixTime,
    /// When it ended before that, because the user was signed out.
    #[serde(default)]
    pub ended: Option<UnixTime>,
}

/// What a sign-out ended on the node that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOutReport {
    /// The user.
    pub user: Pii<String>,
    /// Provisioning sessions.
    pub sessions: usize,
    /// Kept credentials.
    pub credentials: usize,
    /// SIP registrations.
    pub registrations: usize,
    /// Why the sign-out would not outlive a restart, if it would not.
    pub not_stored: Option<String>,
}

/// Figures since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// SIP connections open.
    pub sip_connections: u64,
    /// SIP transactions under way.
    pub sip_transactions: u64,
    /// Media port pairs in use.
    pub media_ports_in_use: u64,
    /// Chat sessions open.
    pub xmpp_sessions: u64,
    /// Sign-ins granted.
    pub sign_ins: u64,
    /// Sign-ins refused.
    pub sign_ins_refused: u64,
    /// HTTP requests refused.
    pub http_refused: u64,
    /// Protocol violations.
    pub violations: u64,
    /// Wrong credentials.
    pub wrong_credentials: u64,
    /// SIP requests refused because there was too much to do.
    pub shed: u64,
}
