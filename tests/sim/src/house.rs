//! The network and the configurations of its nodes.
//!
//! ```text
//!  clients 198.51.100.10+  ── edges 203.0.113.10+ | 192.0.2.10+ ── cores 10.0.0.20+ ──
//!                                                     call control 10.0.0.31, phones 10.0.0.100+
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use base::{Now, Rng, Secret};
use config::Config;
use node::Engine;
use policy::credentials::Kept;

use crate::world::{Hop, Plan};

/// The domain that is served.
pub const DOMAIN: &str = "example.test";

/// A neighbour behind the cores.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 250);

/// Where numbers are that it knows; they begin with a 9.
pub const TRUNK_DOMAIN: &str = "trunk.test";

/// A host of a foreign domain.
pub const FOREIGN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 250);

/// Servers of its domain that are no more, or never were.
pub const FOREIGN_DEAD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 251);

/// Whom its domain knows.
pub const FOREIGN_NUMBER: &str = "boss";

/// Its domain.
pub const FOREIGN_DOMAIN: &str = "partner.test";

/// The name of call control.
pub const CLUSTER: &str = "cucm1.example.test";

/// Its address.
pub const PBX: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 31), 5060));

/// The number of the neighbour's telephone.
pub const TRUNK_NUMBER: &str = "9001";

/// Names of the first clients.
const CLIENTS: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

/// The name of a client, by its number.
pub fn client(index: usize) -> String {
    let known = CLIENTS.get(index).map(|name| (*name).to_owned());
    known.unwrap_or_else(|| format!("user{}", index + 1))
}

/// Where a client is: at home, or on its way. At most 100 of them with IPv4; with IPv6 each has a
/// network of its own.
pub fn client_address(plan: &Plan, index: usize, away: bool) -> IpAddr {
    if plan.v6 {
        let site = if away { 0x200 } else { 0x100 };
        return Ipv6Addr::new(0x2001, 0xdb8, site, index as u16, 0, 0, 0, 1).into();
    }
    let first = if away { 130 } else { 10 };
    [198, 51, 100, first + index as u8].into()
}

/// How call control takes registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Nodes are discovered, the Contact is rewritten.
    UnifiedCm,
    /// Named in the configuration, the core adds itself as Path.
    Path,
    /// Named in the configuration, the Contact is rewritten.
    Rewrite,
}

/// Where clients reach an edge.
pub fn edge_outer(plan: &Plan, index: usize) -> IpAddr {
    if plan.v6 {
        return Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 10 + index as u16).into();
    }
    [203, 0, 113, 10 + index as u8].into()
}

/// Where cores reach an edge.
pub fn edge_inner(index: usize) -> IpAddr {
    [192, 0, 2, 10 + index as u8].into()
}

/// A core's address.
pub fn core_address(index: usize) -> IpAddr {
    [10, 0, 0, 20 + index as u8].into()
}

/// A node's fully qualified name.
pub fn fqdn(edge: bool, index: usize) -> String {
    match edge {
        true => format!("edge{}.{DOMAIN}", index + 1),
        false => format!("core{}.corp.{DOMAIN}", index + 1),
    }
}

/// Which network an address is in.
pub fn zone(address: IpAddr) -> Hop {
    match address {
        IpAddr::V4(a) => match a.octets() {
            [10, 0, 0, _] => Hop::Inside,
            [192, 0, 2, _] => Hop::Link,
            _ => Hop::Outside,
        },
        IpAddr::V6(_) => Hop::Outside,
    }
}

/// Whether an address is a node's, a telephone's or call control's.
pub fn is_known(address: IpAddr) -> bool {
    let a = match address {
        IpAddr::V4(a) => a,
        IpAddr::V6(a) => return matches!(a.segments(), [0x2001, 0xdb8, 0x100 | 0x113 | 0x200, ..]),
    };
    matches!(
        a.octets(),
        [203, 0, 113, 10..20] | [192, 0, 2, 10..20] | [10, 0, 0, 20..32 | 100..=255]
            | [198, 51, 100, 10..=255]
    )
}

const HEAD: &str = "[certificate]\nchain = \"server.pem\"\nkey = \"server.key\"\n\
    trusted = \"ca.pem\"\n";

fn edge_text(index: usize, plan: &Plan) -> String {
    let (outer, inner) = (edge_outer(plan, index), edge_inner(index));
    let at = |port: u16| SocketAddr::new(outer, port);
    let (https, sip, xmpp) = (at(8443), at(5061), at(5222));
    let names: Vec<String> = (0..plan.cores)
        .map(|i| format!("\"{}\"", fqdn(false, i)))
        .collect();
    let names = names.join(", ");
    let business = match plan.neighbours {
        true => {
            "[business]\naccept = true\ncall = true\ntrusted = \"public.pem\"\n\
             reach = [\"198.51.100.248/29\"]\ncalls_per_minute = 600\ncalls_max = 100\n"
        }
        false => "",
    };
    format!(
        "role = \"edge\"\nname = \"edge{}\"\ndomain = \"{DOMAIN}\"\n{HEAD}\
         [service.https]\nlisten = [\"{https}\"]\n\
         [service.sip]\nlisten = [\"{sip}\"]\n\
         [service.xmpp]\nlisten = [\"{xmpp}\"]\n\
         [service.media]\nlisten = \"{outer}\"\nports = \"36002-39801\"\n\
         [traversal]\nlisten_sip = \"{inner}:7001\"\nlisten_ssh = \"{inner}:2222\"\n\
         listen_xmpp = \"{inner}:7400\"\nlisten_media = \"{inner}\"\n\
         [[traversal.zone]]\nname = \"cores\"\nverify_name = [{names}]\nuser = \"traversal\"\n\
         password = \"zone password\"\n{business}",
        index + 1
    )
}

/// The trunk, and what is led where: to the neighbour whatever begins with a 9, to call control
/// what the neighbour and foreign domains call, to the edges what is of a foreign domain. The zone
/// of a Unified CM has its own rule.
fn neighbour_text(plan: &Plan) -> String {
    let to_control = match plan.control {
        Control::UnifiedCm => format!("CEtcp-{CLUSTER}"),
        Control::Path | Control::Rewrite => "registrar".to_owned(),
    };
    let from = |source: &str| {
        format!(
            "[[search_rules]]\nname = \"of {source}\"\npriority = 20\nsource = \"named\"\n\
             source_name = \"{source}\"\npattern_type = \"regex\"\npattern = '1[01]\\d\\d@.*'\n\
             target = \"{to_control}\"\n"
        )
    };
    let abroad: String = (0..plan.edges)
        .map(|i| {
            format!(
                "[[search_rules]]\nname = \"abroad by edge{0}\"\npriority = {0}\n\
                 pattern_type = \"suffix\"\npattern = \"@{FOREIGN_DOMAIN}\"\n\
                 target = \"edge{0}\"\n",
                i + 1
            )
        })
        .collect();
    let encryption = if plan.secure_trunk { "force" } else { "off" };
    format!(
        "[[zones]]\nname = \"trunk\"\ntype = \"neighbor\"\npeers = [\"{NEIGHBOUR}\"]\n\
         transport = \"tcp\"\nmonitor = false\nmedia_encryption = \"{encryption}\"\n\
         [[search_rules]]\nname = \"outside line\"\npriority = 10\npattern = \"9\"\n\
         on_match = \"stop\"\ntarget = \"trunk\"\n{abroad}{}{}",
        from("trunk"),
        from("DefaultZone")
    )
}

fn core_text(index: usize, plan: &Plan) -> String {
    let at = core_address(index);
    let peers: String = (0..plan.edges)
        .map(|i| {
            format!(
                "[[traversal.peer]]\nname = \"edge{}\"\ndial = \"{}\"\nverify_name = \"{}\"\n\
                 user = \"traversal\"\npassword = \"zone password\"\n",
                i + 1,
                edge_inner(i),
                fqdn(true, i)
            )
        })
        .collect();
    let contact = |mode: &str| {
        format!(
            "[[call_control]]\nname = \"registrar\"\naddress = \"{CLUSTER}:5060\"\n\
             transport = \"tcp\"\ncontact = \"{mode}\"\n"
        )
    };
    let control = match plan.control {
        Control::UnifiedCm => String::new(),
        Control::Path => contact("path"),
        Control::Rewrite => contact("rewrite"),
    };
    let neighbours = match plan.neighbours {
        true => neighbour_text(plan),
        false => String::new(),
    };
    let sso = if plan.sso { crate::idp::CONFIG } else { "" };
    format!(
        "role = \"core\"\nname = \"core{}\"\ndomain = \"corp.{DOMAIN}\"\n{HEAD}\
         [service.sip]\nlisten = [\"{at}:5060\"]\n\
         [service.media]\nlisten = \"{at}\"\nports = \"36000-39799\"\n{peers}\
         [[domains]]\nname = \"{DOMAIN}\"\n{sso}\
         [[unified_cm]]\npublisher = \"{CLUSTER}\"\nuser = \"axl\"\npassword = \"axl pw\"\n\
         {control}{neighbours}",
        index + 1
    )
}

fn load(text: &str) -> Arc<Config> {
    match config::load(text, Path::new("/etc/causeway/causeway.toml")) {
        Ok(checked) => Arc::new(checked.config),
        Err(findings) => panic!("the simulation's configuration: {findings:#?}\n{text}"),
    }
}

/// What a node is configured as, with more text at its end. Of an edge there is nothing to add but
/// sections that it has not.
pub fn configuration(edge: bool, index: usize, plan: &Plan, more: &str) -> Arc<Config> {
    let text = match edge {
        true => edge_text(index, plan),
        false => core_text(index, plan),
    };
    load(&format!("{text}{more}"))
}

/// An edge that has just been started.
pub fn edge(now: Now, rng: Rng, index: usize, plan: &Plan) -> Box<dyn Engine> {
    let identity = node::EdgeIdentity {
        version: "sim".into(),
        ssh_host_key: format!("ssh-ed25519 EDGE{index}"),
    };
    Box::new(node::Edge::new(
        now,
        rng,
        &load(&edge_text(index, plan)),
        identity,
    ))
}

/// A core that has just been started. The seed of its tokens is kept over a restart, and so is
/// what it stored of sign-ins.
pub fn core(now: Now, rng: Rng, index: usize, plan: &Plan, kept: Vec<Kept>) -> Box<dyn Engine> {
    let identity = node::CoreIdentity {
        version: "sim".into(),
        ssh_key: format!("ssh-ed25519 CORE{index}"),
        token_seed: Secret::new([index as u8 + 1; 32]),
        users: None,
        kept,
        signed_out: Vec::new(),
        servers: Default::default(),
        certificate_names: Vec::new(),
    };
    Box::new(node::Core::new(
        now,
        rng,
        &load(&core_text(index, plan)),
        identity,
    ))
}
