//! Who and what there is in the lab, and where: names, addresses, users, passwords.
//!
//! Edges live at 127.0.1.N, cores at 127.0.2.N, the servers inside at 127.0.3.x, all on their
//! standard ports. Passwords are made anew for every lab.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rand::RngExt;

use crate::changes::Changes;
use crate::command::Mistake;

/// The domain of everything.
pub const DOMAIN: &str = "example.test";
/// The fewest users a lab has.
pub const USERS_MIN: usize = 10;
/// The most users: extensions are 1001 to 8999, without the phone's.
pub const USERS_MAX: usize = 5000;
/// The most edges or cores.
pub const NODES_MAX: usize = 6;
/// The number of the phone inside.
pub const PHONE_EXTENSION: &str = "1100";
/// The public name server.
pub const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), 5353);
/// The inside name server.
pub const DNS_INSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54)), 5353);
/// The phone security profile of encrypted devices, in mixed mode.
pub const SECURITY_PROFILE: &str = "csf-encrypted.example.test";
/// A domain whose users sign in by OpenID Connect, or show a bearer token.
pub const OIDC_DOMAIN: &str = "oidc.example.test";
/// A domain whose users sign in by SAML.
pub const SAML_DOMAIN: &str = "saml.example.test";
/// The version that Unified CM tells.
pub const UNIFIED_CM_VERSION: &str = "12.5.1";

/// How many of the first users are at home in the other cluster: the last ones of the first ten.
const AWAY: std::ops::Range<usize> = 8..10;

const NAMES: [(&str, &str); 10] = [
    ("alice", "Adams"),
    ("bob", "Baker"),
    ("carol", "Clark"),
    ("dave", "Davis"),
    ("erin", "Evans"),
    ("frank", "Foster"),
    ("grace", "Green"),
    ("heidi", "Hill"),
    ("ivan", "Irwin"),
    ("judy", "Jones"),
];

/// How big a lab is to be, and which servers in it are real.
#[derive(Clone, Debug)]
pub struct Size {
    /// Edges, 1 to [`NODES_MAX`].
    pub edges: usize,
    /// Cores, 1 to [`NODES_MAX`].
    pub cores: usize,
    /// Users, [`USERS_MIN`] to [`USERS_MAX`].
    pub users: usize,
}

impl Size {
    /// How many edges and cores, in words.
    pub fn nodes(&self) -> String {
        let count = |number: usize, noun: &str| {
            let plural = if number == 1 { "" } else { "s" };
            format!("{number} {noun}{plural}")
        };
        format!(
            "{} and {}",
            count(self.edges, "edge"),
            count(self.cores, "core")
        )
    }
}

/// A machine of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The first label of `fqdn`.
    pub name: String,
    /// The full name.
    pub fqdn: String,
    /// The one address.
    pub address: IpAddr,
}

impl Host {
    /// A port of this machine.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }
}

/// A person.
#[derive(Clone, Debug)]
pub struct User {
    /// The sign-in name, also of the digest.
    pub name: String,
    /// The given name.
    pub first: String,
    /// The family name.
    pub last: String,
    /// One password for all services.
    pub password: String,
    /// The device's name, `CSFALICE`.
    pub device: String,
    /// The device's key in UDS and the user part of its Contact, a UUID.
    pub device_id: String,
    /// The user's key in UDS, a UUID.
    pub id: String,
    /// The number.
    pub extension: String,
    /// Whether the other cluster is at home to them.
    pub away: bool,
}

impl User {
    /// The chat address.
    pub fn jid(&self) -> String {
        format!("{}@{DOMAIN}", self.name)
    }

    /// The name of the telephone on the user's desk, which shares the line.
    pub fn desk_phone(&self) -> String {
        desk_phone(&self.extension)
    }

    /// The SIP address of record.
    pub fn sip(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.extension)
    }

    /// Both names.
    pub fn display(&self) -> String {
        format!("{} {}", self.first, self.last)
    }
}

/// Everything there is.
#[derive(Clone, Debug)]
pub struct World {
    /// The edges.
    pub edges: Vec<Host>,
    /// The cores.
    pub cores: Vec<Host>,
    /// Unified CM, the publisher first.
    pub unified_cm: Vec<Host>,
    /// Unified CM's other cluster, the publisher first.
    pub other_cluster: Vec<Host>,
    /// Whether Unified CM has a line side, or a real server stands in its place.
    pub line_side: bool,
    /// Whether Unified CM's cluster is in mixed mode.
    pub mixed_mode: bool,
    /// What is set up wrongly.
    pub mistakes: Vec<Mistake>,
    /// What has changed at the servers inside since.
    pub changes: Changes,
    /// IM and presence, the publisher first.
    pub im_presence: Vec<Host>,
    /// Unity Connection.
    pub unity: Host,
    /// The identity provider, which is on the internet.
    pub identity: Host,
    /// What the cores prove to it that they are.
    pub identity_secret: String,
    /// The phone inside.
    pub phone: Host,
    /// The web server that the allow list names.
    pub allowed_web: Host,
    /// The web server that it does not name.
    pub forbidden_web: Host,
    /// The users, in order of extension.
    pub users: Vec<User>,
    /// The name of the administrator of Unified CM, IM and presence, Unity Connection.
    pub administrator: String,
    /// The administrator's password.
    pub administrator_password: String,
    /// The token of the product's administration interface.
    pub administrator_token: String,
    /// The password of the traversal zone.
    pub zone_password: String,
}

impl World {
    /// A world of that size with fresh passwords.
    pub fn new(size: &Size) -> World {
        let user = |n: usize| {
            let (first, last) = NAMES[n % NAMES.len()];
            let name = match n / NAMES.len() {
                0 => first.to_owned(),
                round => format!("{first}{}", round + 1),
            };
            let extension = extension(n);
            User {
                first: capitalised(&name),
                last: last.to_owned(),
                password: secret(16),
                device: format!("CSF{}", name.to_uppercase()),
                device_id: uuid(),
                id: uuid(),
                extension,
                away: AWAY.contains(&n),
                name,
            }
        };
        World {
            edges: (1..=size.edges).map(|n| host("edge", n, 1, n)).collect(),
            cores: (1..=size.cores).map(|n| host("core", n, 2, n)).collect(),
            unified_cm: vec![host("cucm", 1, 3, 1)],
            other_cluster: vec![host("west", 1, 3, 5)],
            line_side: true,
            mixed_mode: false,
            mistakes: Vec::new(),
            changes: Changes::default(),
            im_presence: vec![host("imp", 1, 3, 11)],
            unity: host("cuc", 1, 3, 21),
            identity: host("idp", 1, 3, 51),
            identity_secret: secret(32),
            phone: host("phone", 1, 3, 31),
            allowed_web: host("web", 1, 3, 41),
            forbidden_web: host("web", 2, 3, 42),
            users: (0..size.users).map(user).collect(),
            administrator: "admin".into(),
            administrator_password: secret(16),
            administrator_token: secret(32),
            zone_password: secret(24),
        }
    }

    /// The nodes of the cluster that a node belongs to, the publisher first.
    pub fn cluster_of(&self, node: &str) -> &[Host] {
        let is = |host: &Host| host.fqdn == node;
        match self.other_cluster.iter().any(is) {
            true => &self.other_cluster,
            false => &self.unified_cm,
        }
    }

    /// The publisher of the cluster that a user is at home in.
    pub fn home_of(&self, user: &User) -> &str {
        let cluster = match user.away {
            true => &self.other_cluster,
            false => &self.unified_cm,
        };
        cluster.first().map_or("", |node| &node.fqdn)
    }

    /// Whether a user is at home in the cluster of a node.
    pub fn is_home(&self, node: &str, user: &User) -> bool {
        let publisher = self.cluster_of(node).first();
        publisher.is_some_and(|publisher| publisher.fqdn == self.home_of(user))
    }

    /// The user of that sign-in name, in any case.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users
            .iter()
            .find(|u| u.name.eq_ignore_ascii_case(name))
    }
}

/// The name of a desk telephone with that number.
pub fn desk_phone(extension: &str) -> String {
    format!("SEP{extension:0>12}")
}

/// A random secret of letters and digits.
pub fn secret(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length)
        .map(|_| char::from(rng.sample(rand::distr::Alphanumeric)))
        .collect()
}

/// A random UUID (RFC 9562 §5.4).
pub fn uuid() -> String {
    let mut b: [u8; 16] = rand::rng().random();
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn host(kind: &str, number: usize, net: u8, last: usize) -> Host {
    let name = format!("{kind}{number}");
    let last = u8::try_from(last).unwrap_or(u8::MAX);
    Host {
        fqdn: format!("{name}.{DOMAIN}"),
        name,
        address: IpAddr::V4(Ipv4Addr::new(127, 0, net, last)),
    }
}

/// 1001, 1002, …, without the phone's number.
fn extension(n: usize) -> String {
    let number = 1001 + n + usize::from(n >= 99);
    number.to_string()
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_beyond_a_hundred_have_names_and_numbers_of_their_own() {
        let world = World::new(&Size {
            edges: 2,
            cores: 2,
            users: 250,
        });
        let mut names: Vec<_> = world.users.iter().map(|u| u.name.clone()).collect();
        let mut numbers: Vec<_> = world.users.iter().map(|u| u.extension.clone()).collect();
        names.sort();
        names.dedup();
        numbers.sort();
        numbers.dedup();
        assert_eq!((names.len(), numbers.len()), (250, 250));
        assert!(!numbers.contains(&PHONE_EXTENSION.to_owned()));
    }

    #[test]
    fn nodes_are_counted_in_words() {
        let size = |edges, cores| Size {
            edges,
            cores,
            users: USERS_MIN,
        };
        assert_eq!(size(1, 1).nodes(), "1 edge and 1 core");
        assert_eq!(size(2, 1).nodes(), "2 edges and 1 core");
        assert_eq!(size(1, 3).nodes(), "1 edge and 3 cores");
    }
}
