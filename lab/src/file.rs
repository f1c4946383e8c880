//! `lab.json`: what a running lab tells other programs about itself.
//!
//! The file appears whole, by rename, once everything answers. Fields are added, never renamed or
//! removed. Every address is a literal IP and port; names resolve through `dns` (what the public
//! sees) or `dns_inside` (what the inside sees).

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The version of this file's shape.
pub const VERSION: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabFile {
    /// [`VERSION`].
    pub version: u32,
    /// The domain of users, edges and cores.
    pub domain: String,
    /// The public name server, UDP and TCP: edges and `_collab-edge._tls`.
    pub dns: SocketAddr,
    /// The inside name server, UDP and TCP: all names and `_cisco-uds._tcp`.
    pub dns_inside: SocketAddr,
    /// The certificate authority that signed every certificate here, PEM.
    pub ca: PathBuf,
    /// The product's binary.
    pub program: PathBuf,
    /// The process that runs the lab; SIGTERM to it stops everything.
    pub pid: u32,
    /// The edges, in order.
    pub edges: Vec<Edge>,
    /// The cores, in order.
    pub cores: Vec<Core>,
    /// The servers inside.
    pub inside: Inside,
    /// The users, in order of extension.
    pub users: Vec<User>,
    /// Who may administer edges and cores.
    pub administrator: Administrator,
}

/// An edge and how to reach, stop and start it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edge {
    /// The first label of `fqdn`.
    pub name: String,
    /// Its full name, which its certificate shows.
    pub fqdn: String,
    /// Its one address.
    pub address: std::net::IpAddr,
    /// Clients' HTTPS.
    pub https: SocketAddr,
    /// Clients' SIP over TLS.
    pub sip: SocketAddr,
    /// Clients' XMPP.
    pub xmpp: SocketAddr,
    /// XMPP federation. The place is kept for it; nothing listens there.
    pub federation: SocketAddr,
    /// Administration over HTTPS.
    pub admin: SocketAddr,
    /// The cores' SIP and control.
    pub traversal: SocketAddr,
    /// The cores' SSH.
    pub ssh: SocketAddr,
    /// The cores' XMPP.
    pub xmpp_link: SocketAddr,
    /// The cores' RTP and RTCP.
    pub media_link: [SocketAddr; 2],
    /// First and last port of clients' media.
    pub media_ports: [u16; 2],
    /// The process, until it is killed or dies.
    pub pid: u32,
    /// The argument vector that starts it again.
    pub start: Vec<String>,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its data folder.
    pub data: PathBuf,
    /// What it writes to standard error, JSON lines.
    pub log: PathBuf,
    /// The user name that a core gives on `ssh`.
    pub ssh_user: String,
    /// A private key that opens `ssh`: the first core's.
    pub ssh_client_key: PathBuf,
    /// Its certificate chain, PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, PEM.
    pub key: PathBuf,
}

/// A core and how to reach, stop and start it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Core {
    /// The first label of `fqdn`.
    pub name: String,
    /// Its full name, which its certificate shows.
    pub fqdn: String,
    /// Its one address.
    pub address: std::net::IpAddr,
    /// Administration over HTTPS.
    pub admin: SocketAddr,
    /// Call control's SIP over TCP.
    pub sip: SocketAddr,
    /// Call control's SIP over TLS.
    pub sip_tls: SocketAddr,
    /// The process, until it is killed or dies.
    pub pid: u32,
    /// The argument vector that starts it again.
    pub start: Vec<String>,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its data folder.
    pub data: PathBuf,
    /// What it writes to standard error, JSON lines.
    pub log: PathBuf,
    /// Its certificate chain, PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, PEM.
    pub key: PathBuf,
}

/// The servers inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inside {
    /// The cluster's nodes, the publisher first.
    pub unified_cm: Vec<UnifiedCm>,
    /// Those of the other cluster, where a few users are at home.
    #[serde(default)]
    pub other_cluster: Vec<UnifiedCm>,
    /// The nodes of IM and presence, the publisher first.
    pub im_presence: Vec<ImPresence>,
    /// Voicemail.
    pub unity: Vec<Unity>,
    /// A telephone inside that answers and returns what it hears.
    pub phone: Phone,
    /// A page that the core's allow list names.
    pub allowed_web: String,
    /// A server that nothing through the product may reach; it counts at `/count`.
    pub forbidden_web: String,
}

/// A Unified CM node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnifiedCm {
    /// Its full name.
    pub name: String,
    /// UDS and AXL.
    pub https: SocketAddr,
    /// Configuration files over HTTP.
    pub files: SocketAddr,
    /// The SIP line side over TCP.
    pub sip: SocketAddr,
    /// The SIP line side over TLS.
    pub sip_tls: SocketAddr,
}

/// An IM and presence node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImPresence {
    /// Its full name.
    pub name: String,
    /// Sign-in over SOAP, and AXL.
    pub https: SocketAddr,
    /// Clients' XMPP.
    pub xmpp: SocketAddr,
}

/// A Unity Connection node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unity {
    /// Its full name.
    pub name: String,
    /// The mailboxes' REST interface.
    pub https: SocketAddr,
}

/// A telephone inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Phone {
    /// The number to call.
    pub extension: String,
    /// Its own SIP address.
    pub sip: SocketAddr,
}

/// A person with a password, a device and a number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// The sign-in and digest user name.
    pub name: String,
    /// The password of all services.
    pub password: String,
    /// The name of the user's device.
    pub device: String,
    /// The number to call.
    pub extension: String,
    /// The chat address.
    pub jid: String,
    /// The address of record.
    pub sip: String,
    /// The publisher of the user's home cluster.
    #[serde(default)]
    pub home: String,
}

/// Who may administer edges, cores and Unified CM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Administrator {
    /// The name for AXL and administration.
    pub name: String,
    /// The password that goes with it.
    pub password: String,
    /// The token of the administration interface.
    pub token: String,
}

impl LabFile {
    /// Where the file stands in a lab's folder.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("lab.json")
    }

    /// Reads the file of the lab that runs in `dir`.
    ///
    /// # Errors
    /// Without the file, if it is of another version, or if its lab runs no more.
    pub fn read(dir: &Path) -> Result<LabFile> {
        let path = Self::path(dir);
        let text = fs::read(&path).with_context(|| {
            let shown = path.display();
            format!("{shown} is missing: start a lab with `cargo lab serve --dir DIR` first")
        })?;
        let file: LabFile = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a lab's file", path.display()))?;
        if file.version != VERSION {
            let (found, shown) = (file.version, path.display());
            bail!("{shown} has version {found}, this program reads version {VERSION}");
        }
        if !alive(file.pid) {
            let (pid, shown) = (file.pid, path.display());
            bail!(
                "{shown} is left from a lab that was killed (process {pid} is gone): start another \
                 with `cargo lab serve --dir {}`",
                dir.display()
            );
        }
        Ok(file)
    }

    /// Writes the file whole, by rename, for its owner alone: it holds passwords.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let (path, new) = (Self::path(dir), dir.join("lab.json.new"));
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_private(&new, &text).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The user of that name or extension.
    ///
    /// # Errors
    /// If there is none; the error names those there are.
    pub fn user(&self, who: &str) -> Result<&User> {
        let found = self
            .users
            .iter()
            .find(|u| u.name == who || u.extension == who || u.jid == who);
        found.with_context(|| {
            let names: Vec<&str> = self.users.iter().map(|u| u.name.as_str()).collect();
            format!("there is no user {who}; there are {}", names.join(", "))
        })
    }
}

/// Writes a file that nobody but its owner may read.
fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    // One that a killed lab left may be open to others.
    match fs::remove_file(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
        _ => (),
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(text)
}

/// Whether that process runs. One that has ended and only waits for its parent does not.
fn alive(pid: u32) -> bool {
    let Ok(number) = i32::try_from(pid) else {
        return false;
    };
    if number == 0 || kill(Pid::from_raw(number), None) == Err(Errno::ESRCH) {
        return false;
    }
    // proc(5): the state follows the name, which stands in parentheses and may hold some itself.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

#[cfg(test)]
mod tests;
