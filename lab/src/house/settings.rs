//! The configuration files of edges and cores.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::Ports;
use crate::authority::{Authority, Issued, write};
use crate::command::Mistake;
use crate::identity::{CLIENT, Provider};
use crate::world::{
    DNS, DNS_INSIDE, DOMAIN, Host, OIDC_DOMAIN, SAML_DOMAIN, SECURITY_PROFILE, World,
};
use crate::{command, file};

/// The name of a node's configuration file.
pub const FILE: &str = "causeway.toml";
/// The user name that a core gives to the edges' zone.
const ZONE_USER: &str = "traversal";
/// The user name of the SSH lane.
const SSH_USER: &str = "causeway";
const MEDIA_LINK: [u16; 2] = [36000, 36001];
const MEDIA: [u16; 2] = [36002, 59999];

/// What configurations are made of.
pub struct Plan<'a> {
    /// The lab's folder.
    pub dir: &'a Path,
    /// Who and where.
    pub world: &'a World,
    /// Signs certificates.
    pub authority: &'a Authority,
    /// The movable ports.
    pub ports: &'a Ports,
    /// Who vouches for the users of two more domains.
    pub provider: &'a Provider,
}

impl Plan<'_> {
    /// Writes the edges' files and tells where everything is; `pid` is still 0.
    ///
    /// # Errors
    /// The disk's.
    pub fn edges(&self, program: &Path) -> Result<Vec<file::Edge>> {
        self.world
            .edges
            .iter()
            .map(|edge| self.edge(edge, program))
            .collect()
    }

    /// Writes the cores' files and tells where everything is; `pid` is still 0.
    ///
    /// # Errors
    /// The disk's.
    pub fn cores(&self, program: &Path, options: &command::House) -> Result<Vec<file::Core>> {
        self.world
            .cores
            .iter()
            .map(|core| self.core(core, program, options))
            .collect()
    }

    fn edge(&self, edge: &Host, program: &Path) -> Result<file::Edge> {
        let public = format!("collab-edge.{DOMAIN}");
        let issued = self
            .authority
            .issue(&[&edge.fqdn, DOMAIN, &public], edge.address)?;
        let mut text = self.head("edge", edge, &issued, DNS)?;
        let ip = edge.address;
        for (service, port) in [("https", 8443), ("sip", 5061), ("xmpp", 5222)] {
            write!(text, "\n[service.{service}]\nlisten = [\"{ip}:{port}\"]\n")?;
        }
        write!(
            text,
            "\n[service.media]\nlisten = \"{ip}\"\nports = \"{}-{}\"\n",
            MEDIA[0], MEDIA[1]
        )?;
        write!(
            text,
            "\n[traversal]\nlisten_sip = \"{ip}:7001\"\nlisten_ssh = \"{ip}:2222\"\n\
             listen_xmpp = \"{ip}:7400\"\nlisten_media = \"{ip}\"\nmedia_ports = [{}, {}]\n",
            MEDIA_LINK[0], MEDIA_LINK[1]
        )?;
        let cores: Vec<String> = self
            .world
            .cores
            .iter()
            .map(|c| format!("\"{}\"", c.fqdn))
            .collect();
        write!(
            text,
            "\n# The cores that may dial this edge.\n[[traversal.zone]]\nname = \"cores\"\n\
             verify_name = [{}]\nuser = \"{ZONE_USER}\"\npassword_file = \"zone-password\"\n",
            cores.join(", ")
        )?;
        let home = self.write_node(edge, &text)?;
        let first_core = self.world.cores.first().context("a lab has a core")?;
        Ok(file::Edge {
            name: edge.name.clone(),
            fqdn: edge.fqdn.clone(),
            address: ip,
            https: edge.port(8443),
            sip: edge.port(5061),
            xmpp: edge.port(5222),
            federation: edge.port(5269),
            admin: edge.port(self.ports.administration),
            traversal: edge.port(7001),
            ssh: edge.port(2222),
            xmpp_link: edge.port(7400),
            media_link: MEDIA_LINK.map(|port| edge.port(port)),
            media_ports: MEDIA,
            pid: 0,
            start: start(program, &home),
            config: home.join(FILE),
            data: home.join("data"),
            log: home.join("log"),
            ssh_user: SSH_USER.into(),
            ssh_client_key: self.dir.join(&first_core.name).join("data/ssh_key"),
            certificate: issued.chain,
            key: issued.key,
        })
    }

    fn core(&self, core: &Host, program: &Path, options: &command::House) -> Result<file::Core> {
        let has = |mistake| self.world.mistakes.contains(&mistake);
        let mut names = vec![core.fqdn.as_str()];
        if !has(Mistake::ProfileMissing) {
            names.push(SECURITY_PROFILE);
        }
        let issued = self.authority.issue(&names, core.address)?;
        let mut text = self.head("core", core, &issued, DNS_INSIDE)?;
        let ip = core.address;
        for edge in &self.world.edges {
            write!(
                text,
                "\n[[traversal.peer]]\nname = \"{}\"\ndial = \"{1}\"\nverify_name = \"{1}\"\n\
                 user = \"{ZONE_USER}\"\npassword_file = \"zone-password\"\n",
                edge.name, edge.fqdn
            )?;
        }
        write!(
            text,
            "\n[service.sip]\nlisten = [\"{ip}:5060\"]\nlisten_tls = [\"{ip}:5061\"]\n\
             \n[service.media]\nlisten = \"{ip}\"\nports = \"36000-{}\"\n\
             \n[[domains]]\nname = \"{DOMAIN}\"\nsip = true\nim_presence = true\n",
            MEDIA[1]
        )?;
        self.single_sign_on(&mut text)?;
        self.servers(&mut text, options)?;
        text.push_str("\n# Users who register before they sign in over HTTPS.\n");
        text.push_str("[credentials]\nfile = \"users\"\n");
        let home = self.write_node(core, &text)?;
        write_secret(&home.join("identity-secret"), &self.world.identity_secret)?;
        write(&home.join("identity.xml"), &self.provider.metadata(), 0o644)?;
        write_secret(&home.join("users"), &self.users())?;
        write_secret(
            &home.join("servers-password"),
            &self.world.administrator_password,
        )?;
        Ok(file::Core {
            name: core.name.clone(),
            fqdn: core.fqdn.clone(),
            address: ip,
            admin: core.port(self.ports.administration),
            sip: core.port(5060),
            sip_tls: core.port(5061),
            pid: 0,
            start: start(program, &home),
            config: home.join(FILE),
            data: home.join("data"),
            log: home.join("log"),
            certificate: issued.chain,
            key: issued.key,
        })
    }

    /// What both roles have.
    fn head(
        &self,
        role: &str,
        host: &Host,
        issued: &Issued,
        dns: std::net::SocketAddr,
    ) -> Result<String> {
        let listen = host.port(self.ports.administration);
        Ok(format!(
            "role = \"{role}\"\nname = \"{}\"\ndomain = \"{DOMAIN}\"\ndata = \"data\"\n\
             \n[dns]\nservers = [\"{dns}\"]\n\
             \n[certificate]\nchain = {}\nkey = {}\ntrusted = {}\n\
             \n[log]\nlevel = \"debug\"\nformat = \"json\"\nfile = \"log\"\n\
             \n[administration]\nlisten = [\"{listen}\"]\ntoken_file = \"token\"\n",
            host.name,
            quoted(&issued.chain)?,
            quoted(&issued.key)?,
            quoted(&self.authority.certificate)?,
        ))
    }

    /// Domains whose users an identity provider vouches for.
    fn single_sign_on(&self, text: &mut String) -> Result<()> {
        let issuer = self.provider.issuer();
        write!(
            text,
            "\n[[domains]]\nname = \"{OIDC_DOMAIN}\"\nim_presence = false\n\
             [domains.sign_in]\nby = \"oidc\"\nissuer = \"{issuer}\"\n\
             client_id = \"{CLIENT}\"\nclient_secret_file = \"identity-secret\"\n\
             [domains.tokens]\nissuer = \"{issuer}\"\naudience = \"{CLIENT}\"\n\
             user_claim = \"uid\"\n\
             \n[[domains]]\nname = \"{SAML_DOMAIN}\"\nim_presence = false\n\
             [domains.sign_in]\nby = \"saml\"\nmetadata_file = \"identity.xml\"\n"
        )?;
        Ok(())
    }

    /// The servers inside that a core works with.
    fn servers(&self, text: &mut String, options: &command::House) -> Result<()> {
        let login = format!(
            "user = \"{}\"\npassword_file = \"servers-password\"\n",
            self.world.administrator
        );
        let publishers = [
            ("unified_cm", self.world.unified_cm.first(), 8443),
            ("unified_cm", self.world.other_cluster.first(), 8443),
            ("im_presence", self.world.im_presence.first(), 8443),
        ];
        for (section, node, port) in publishers {
            let node = node.with_context(|| format!("a lab has a {section}"))?;
            write!(
                text,
                "\n[[{section}]]\npublisher = \"{}\"\nport = {port}\n{login}",
                node.fqdn
            )?;
        }
        let (unity, port) = (&self.world.unity.fqdn, self.ports.unity.port());
        if !self.world.mistakes.contains(&Mistake::VoicemailNotAllowed) {
            write!(
                text,
                "\n[[unity_connection]]\naddress = \"{unity}\"\nport = {port}\n{login}"
            )?;
        }
        if let Some(address) = options.call_control {
            write!(
                text,
                "\n[[call_control]]\nname = \"real\"\naddress = \"{address}\"\n\
                 transport = \"tcp\"\ncontact = \"rewrite\"\n"
            )?;
        }
        let xmpp = match (options.xmpp, self.world.im_presence.first()) {
            (Some(address), _) => address.to_string(),
            (None, node) => format!("{}:5222", node.map(|n| n.fqdn.as_str()).unwrap_or_default()),
        };
        write!(
            text,
            "\n[[xmpp_server]]\ndomain = \"{DOMAIN}\"\naddress = \"{xmpp}\"\n"
        )?;
        for host in [
            self.world.allowed_web.fqdn.clone(),
            self.world.allowed_web.address.to_string(),
        ] {
            write!(
                text,
                "\n[[allow_list]]\nhost = \"{host}\"\nscheme = \"http\"\nport = 8080\n\
                 path = \"/\"\nmethods = [\"GET\", \"HEAD\"]\ndescription = \"a page inside\"\n"
            )?;
        }
        Ok(())
    }

    /// Digests of all users' passwords in the edges' realm, and their lines.
    fn users(&self) -> String {
        let mut out = String::new();
        for user in &self.world.users {
            let text = format!("{}:{DOMAIN}:{}", user.name, user.password);
            let (md5, sha256) = (Md5::digest(&text), Sha256::digest(&text));
            let _ = writeln!(
                out,
                "{}:{DOMAIN}:{}:{}:{}",
                user.name,
                hex(&md5),
                hex(&sha256),
                user.extension
            );
        }
        out
    }

    /// A node's folder with its configuration and the secrets of both roles.
    fn write_node(&self, host: &Host, text: &str) -> Result<PathBuf> {
        let home = self.dir.join(&host.name);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        write(&home.join(FILE), text, 0o644)?;
        write_secret(&home.join("zone-password"), &self.world.zone_password)?;
        write_secret(&home.join("token"), &self.world.administrator_token)?;
        Ok(home)
    }
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    write(path, &format!("{}\n", text.trim_end()), 0o600)
}

fn start(program: &Path, home: &Path) -> Vec<String> {
    let config = home.join(FILE);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    vec![
        text(program),
        "run".into(),
        "--config".into(),
        text(&config),
    ]
}

/// A path as a TOML string; JSON's escapes are TOML's too.
fn quoted(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(serde_json::to_string(text)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
