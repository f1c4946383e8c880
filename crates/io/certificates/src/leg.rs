//! What a node uses its certificate for: each leg is one kind of connection, on which the node is
//! server or client.

use config::{Config, Role};
use serde::{Deserialize, Serialize};

/// One kind of connection on which a node shows its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leg {
    /// An edge's HTTPS for clients.
    ClientHttps,
    /// An edge's SIP over TLS for clients.
    ClientSip,
    /// An edge's XMPP for clients.
    ClientXmpp,
    /// An edge's end of the link: cores dial it.
    LinkFromCores,
    /// A core's end of the link: it dials edges.
    LinkToEdges,
    /// Call control reaches the core over TLS.
    CallControlIn,
    /// The core reaches call control over TLS, and shows its certificate where it is asked to.
    CallControlOut,
    /// An edge calls foreign domains over TLS.
    ForeignDomains,
    /// Administrators reach the node over HTTPS.
    Administration,
}

impl Leg {
    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Leg::ClientHttps => "HTTPS of clients",
            Leg::ClientSip => "SIP of clients",
            Leg::ClientXmpp => "XMPP of clients",
            Leg::LinkFromCores => "link from cores",
            Leg::LinkToEdges => "link to edges",
            Leg::CallControlIn => "SIP from call control",
            Leg::CallControlOut => "SIP to call control",
            Leg::ForeignDomains => "calls to foreign domains",
            Leg::Administration => "administration",
        }
    }

    /// Whether the node is the TLS server there; otherwise it is the client.
    pub fn is_server(self) -> bool {
        !matches!(
            self,
            Leg::LinkToEdges | Leg::CallControlOut | Leg::ForeignDomains
        )
    }

    /// Whether the other end trusts what `certificate.trusted` names: it is the pair's own.
    pub fn is_link(self) -> bool {
        matches!(self, Leg::LinkFromCores | Leg::LinkToEdges)
    }
}

/// The legs that a configuration has.
pub fn of(config: &Config) -> Vec<Leg> {
    let mut legs = match &config.role {
        Role::Edge(edge) => {
            let mut legs = vec![
                Leg::ClientHttps,
                Leg::ClientSip,
                Leg::ClientXmpp,
                Leg::LinkFromCores,
            ];
            if edge.business.as_ref().is_some_and(|b| b.call) {
                legs.push(Leg::ForeignDomains);
            }
            legs
        }
        Role::Core(core) => {
            let mut legs = vec![Leg::LinkToEdges];
            if !core.sip_tls.is_empty() {
                legs.extend([Leg::CallControlIn, Leg::CallControlOut]);
            }
            legs
        }
    };
    if !config.administration.is_empty() {
        legs.push(Leg::Administration);
    }
    legs
}

/// Their titles in a row.
pub fn titles(legs: &[Leg]) -> String {
    let titles: Vec<&str> = legs.iter().map(|leg| leg.title()).collect();
    titles.join(", ")
}
