//! Which names a node's certificate needs, and why (F208–F226).
//!
//! In: the configuration, and what is known beside it ([`Known`]): an edge learns its domains from
//! its core, a core the names of secure profiles from Unified CM. Out: [`Need`]s in the order in
//! which a request lists them, none twice. All are DNS names: authorities seldom issue SRVName or
//! XmppAddr (F220, F222).

use std::net::IpAddr;

use config::{Config, Role};
use serde::{Deserialize, Serialize};

use crate::leg::Leg;

/// Above so many names some releases of Unified CM fail to read a certificate.
pub const NAMES_MANY: usize = 100;

/// A domain that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// SIP registrations and provisioning.
    pub sip: bool,
    /// IM and presence.
    pub im_presence: bool,
    /// XMPP federation.
    pub federation: bool,
}

/// What is known beside the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Domains: an edge is told them by its core; a core's own are in its configuration.
    pub domains: Vec<Domain>,
    /// Encrypted phone security profiles on Unified CM, where it is in mixed mode.
    pub profiles: Vec<String>,
    /// Aliases of chat nodes on IM and Presence, beside those of the configuration.
    pub chat_node_aliases: Vec<String>,
}

/// How much a name is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// Without it something does not work.
    Required,
    /// Without it some clients refuse.
    Advised,
}

/// A name that a certificate should carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The name.
    pub name: String,
    /// How much.
    pub strength: Strength,
    /// Why, in a sentence.
    pub why: String,
    /// Legs that fail without it.
    pub legs: Vec<Leg>,
}

/// What was left out, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// The names, the node's own first.
    pub names: Vec<Need>,
    /// What an administrator should know of names that are not listed.
    pub notes: Vec<String>,
}

impl Needs {
    fn add(&mut self, name: &str, strength: Strength, legs: &[Leg], why: &str) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if name.is_empty() || name.parse::<IpAddr>().is_ok() {
            return;
        }
        match self.names.iter_mut().find(|need| need.name == name) {
            Some(known) => {
                known.strength = known.strength.min(strength);
                known.legs.extend(legs);
                known.legs.sort_unstable();
                known.legs.dedup();
                if !known.why.contains(why) {
                    known.why = format!("{}; {why}", known.why);
                }
            }
            None => self.names.push(Need {
                name,
                strength,
                why: why.to_owned(),
                legs: legs.to_vec(),
            }),
        }
    }

    /// Those without which something does not work.
    pub fn required(&self) -> impl Iterator<Item = &Need> {
        let required = |need: &&Need| need.strength == Strength::Required;
        self.names.iter().filter(required)
    }
}

/// The names that a node's certificate needs.
pub fn needed(config: &Config, known: &Known) -> Needs {
    let mut needs = Needs::default();
    match &config.role {
        Role::Edge(edge) => self::edge(config, edge, known, &mut needs),
        Role::Core(core) => self::core(config, core, known, &mut needs),
    }
    if needs.names.len() > NAMES_MANY {
        needs.notes.push(format!(
            "{} names: some releases of Unified CM fail on certificates with over {NAMES_MANY}",
            needs.names.len()
        ));
    }
    needs
}

fn edge(config: &Config, edge: &config::Edge, known: &Known, needs: &mut Needs) {
    use Strength::{Advised, Required};
    let why = "cores check it (traversal.peer verify_name), clients are led to it";
    let clients = [Leg::ClientHttps, Leg::ClientSip, Leg::ClientXmpp];
    needs.add(&config.fqdn(), Required, &[Leg::LinkFromCores], why);
    for (host, leg) in [
        (&edge.https.advertise_host, Leg::ClientHttps),
        (&edge.sip.advertise_host, Leg::ClientSip),
        (&edge.xmpp.advertise_host, Leg::ClientXmpp),
    ] {
        needs.add(host, Required, &[leg], "clients are told this name");
    }
    for domain in known.domains.iter().filter(|d| d.sip || d.im_presence) {
        // F219–F221.
        let name = format!("collab-edge.{}", domain.name);
        let why = "a domain whose clients register here: room systems look for this name";
        needs.add(&name, Required, &clients, why);
    }
    for domain in known.domains.iter().filter(|d| d.sip) {
        let why = "standard SIP clients check their domain (RFC 5922 §7.1)";
        needs.add(&domain.name, Advised, &[Leg::ClientSip], why);
    }
    for domain in known.domains.iter().filter(|d| d.im_presence) {
        let why = "standard XMPP clients check their domain (RFC 6120 §13.7.1)";
        needs.add(&domain.name, Advised, &[Leg::ClientXmpp], why);
    }
    chat(config, &known.domains, known, needs);
    if known.domains.is_empty() {
        needs.notes.push(
            "the domains are not known: an edge is told them by its core. Link them up, or name \
             each with --domain"
                .into(),
        );
    }
}

fn core(config: &Config, core: &config::Core, known: &Known, needs: &mut Needs) {
    let why = "edges check it (traversal.zone verify_name)";
    needs.add(&config.fqdn(), Strength::Required, &[Leg::LinkToEdges], why);
    let mut odd = Vec::new();
    for profile in &known.profiles {
        // F215: a name that is not fully qualified cannot be looked for in a certificate.
        if is_host_name(profile) && profile.contains('.') {
            let why = "an encrypted phone security profile: Unified CM looks for its name when the \
                       core speaks for such a phone";
            let legs = [Leg::CallControlIn, Leg::CallControlOut];
            needs.add(profile, Strength::Required, &legs, why);
        } else {
            odd.push(profile.as_str());
        }
    }
    if !odd.is_empty() {
        let shown = odd.iter().take(10).copied().collect::<Vec<_>>().join(", ");
        needs.notes.push(format!(
            "{} secure profiles are not named by fully qualified names, and no certificate can \
             carry them ({shown}): if remote phones have one, copy it under a name such as \
             secure.example.com",
            odd.len()
        ));
    }
    if known.profiles.is_empty() && !core.unified_cm.is_empty() && !core.sip_tls.is_empty() {
        needs.notes.push(
            "secure profiles are not known: Unified CM is not in mixed mode, or was not asked \
             yet (causeway ctl servers refresh); name them with --profile"
                .into(),
        );
    }
    let own: Vec<Domain> = core
        .domains
        .iter()
        .map(|d| Domain {
            name: d.name.to_string(),
            sip: d.sip,
            im_presence: d.im_presence,
            federation: d.federation,
        })
        .collect();
    chat(config, &own, known, needs);
}

/// What federation needs: its domains on edges (F210, F222), aliases of chat nodes on both (F211,
/// F216, F223).
fn chat(config: &Config, domains: &[Domain], known: &Known, needs: &mut Needs) {
    let federated = domains.iter().filter(|d| d.federation);
    let is_edge = matches!(config.role, Role::Edge(_));
    if is_edge {
        for domain in federated.clone() {
            let why = "an XMPP federation domain: other domains' servers check it";
            needs.add(&domain.name, Strength::Required, &[Leg::ClientXmpp], why);
        }
    }
    let configured = config.certificate.chat_node_aliases.iter();
    let configured = configured.map(|alias| alias.to_string());
    let aliases: Vec<String> = configured
        .chain(known.chat_node_aliases.iter().cloned())
        .collect();
    let leg = match is_edge {
        true => Leg::ClientXmpp,
        false => Leg::LinkToEdges,
    };
    for alias in &aliases {
        let why = "an alias of a chat node: group chat of federated users over TLS; the same on \
                   edge and core";
        needs.add(alias, Strength::Required, &[leg], why);
    }
    if aliases.is_empty() && federated.count() > 0 {
        needs.notes.push(
            "no chat node alias is known: IM and Presence publishes none of them by AXL. If \
             federated users share chat rooms, list the aliases as certificate.chat_node_aliases"
                .into(),
        );
    }
}

/// Letters, digits, hyphens and dots, as names of hosts are (RFC 952, RFC 1123 §2.1).
pub(crate) fn is_host_name(name: &str) -> bool {
    let good = |label: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    !name.is_empty() && name.len() <= 253 && name.split('.').all(good)
}

#[cfg(test)]
mod tests;
