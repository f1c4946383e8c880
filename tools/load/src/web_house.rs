//! The two chains that are compared for HTTPS, with one inside server behind both.
//!
//! Theirs: nginx with TLS at the edge, kept connections into an OpenSSH remote forward (`ssh -R`
//! into `sshd`), nginx inside. Ours: edge and core as they are configured for users, with session
//! tokens and the allow list. Inside: nginx, which also says what a sign-in needs of UDS and AXL.
//! All on loopback addresses of a network namespace of one's own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::house::{DOMAIN, House, NAME};
use crate::tls::{self, KeyKind};
use crate::work::Watched;

/// Our edge.
pub(crate) const OURS: &str = "127.0.0.10:8443";
/// nginx.
pub(crate) const THEIRS: &str = "127.0.0.11:8443";
/// The inside server, as edge paths name it.
pub(crate) const INSIDE: &str = "http/127.0.0.30/8080";
/// The user that signs in.
pub(crate) const USER: &str = "u00000";

/// What all nginx have. `@` is the folder.
const NGINX: &str = "daemon off; worker_processes 2; error_log stderr warn; pid @name.pid;
worker_rlimit_nofile 40000;
events { worker_connections 20000; }
http {
  access_log off; sendfile on; tcp_nopush off; tcp_nodelay on; default_type text/plain;
  keepalive_timeout 75; keepalive_requests 100000000; proxy_http_version 1.1;
  client_body_temp_path @name-body; proxy_temp_path @name-proxy; fastcgi_temp_path @name-f;
  uwsgi_temp_path @name-u; scgi_temp_path @name-s;
  proxy_set_header Connection \"\"; proxy_max_temp_file_size 0;
";

const NGINX_EDGE: &str = "
  ssl_certificate @node.pem; ssl_certificate_key @node.key; ssl_protocols TLSv1.2 TLSv1.3;
  upstream tunnel { server 127.0.0.11:18080; keepalive 128; }
  server {
    listen 127.0.0.11:8443 ssl backlog=4096;
    location / {
      proxy_pass http://tunnel; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto https;
      add_header Strict-Transport-Security max-age=31536000;
    }
  }
}
";

const NGINX_CORE: &str = "
  upstream inside { server 127.0.0.30:8080; keepalive 128; }
  server {
    listen 127.0.0.21:8081;
    location /SEGMENT/ { proxy_pass http://inside/; }
  }
}
";

const NGINX_INSIDE: &str = r#"
  server { listen 127.0.0.30:8080 backlog=4096; root @site; }
  server {
    listen 127.0.0.30:8443 ssl;
    ssl_certificate @node.pem; ssl_certificate_key @node.key;
    location = /cucm-uds/clusterUser {
      return 200 '<clusterUser version="12.5">
        <result found="true" uri="https://127.0.0.30:8443/cucm-uds/user/u00000" version="12.5"/>
        <homeCluster serversUri="https://127.0.0.30:8443/cucm-uds/servers">127.0.0.30</homeCluster>
      </clusterUser>';
    }
    location = /cucm-uds/servers {
      return 200 '<servers version="12.5" uri="https://127.0.0.30:8443/cucm-uds/servers">
        <server>127.0.0.30</server></servers>';
    }
    location = /cucm-uds/user/u00000 {
      return 200 '<user uri="https://127.0.0.30:8443/cucm-uds/user/u00000" version="12.5">
        <id>1</id><userName>u00000</userName><phoneNumber>1000</phoneNumber>
        <homeCluster>true</homeCluster></user>';
    }
    location = /cucm-uds/user/u00000/devices {
      return 200 '<devices uri="https://127.0.0.30:8443/cucm-uds/user/u00000/devices"
        version="12.5"></devices>';
    }
    location / { return 500; }
  }
}
"#;

const SSHD: &str = "Port 2200
ListenAddress 127.0.0.11
HostKey @host_key
AuthorizedKeysFile @user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
AllowTcpForwarding remote
GatewayPorts clientspecified
LogLevel ERROR
";

/// What runs, by side; the first of ours and theirs is the edge.
pub(crate) struct Chains {
    /// nginx, sshd, ssh, nginx; none if only ours is measured.
    pub(crate) theirs: Vec<Watched>,
    /// Edge and core.
    pub(crate) ours: Vec<Watched>,
}

/// Starts all of it, with a certificate of that kind.
///
/// # Errors
/// What does not start, with the folder of its log.
pub(crate) fn start(
    folder: &Path,
    causeway: &Path,
    key: KeyKind,
    ours_alone: bool,
) -> Result<(House, Chains)> {
    let mut house = House::empty(folder)?;
    let names = [NAME, "core.load.test", DOMAIN, "127.0.0.30"];
    tls::issue_with(house.folder(), &names, key)?;
    let site = house.folder().join("site");
    fs::create_dir_all(&site)?;
    fs::write(site.join("1k"), vec![b'x'; 1024])?;
    fs::write(site.join("64k"), vec![b'x'; 64 * 1024])?;
    fs::write(site.join("16m"), vec![b'x'; 16 << 20])?;
    fs::File::create(site.join("1g"))?.set_len(1 << 30)?;
    nginx(&mut house, "inside", NGINX_INSIDE)?;
    house.wait("127.0.0.30:8080")?;
    house.wait("127.0.0.30:8443")?;
    let theirs = match ours_alone {
        true => Vec::new(),
        false => theirs(&mut house)?,
    };
    let ours = ours(&mut house, causeway)?;
    Ok((house, Chains { theirs, ours }))
}

fn watched(name: &str, pid: u32) -> Watched {
    Watched {
        name: name.to_owned(),
        pid,
    }
}

fn nginx(house: &mut House, name: &str, text: &str) -> Result<u32> {
    let at = format!("{}/", house.folder().display());
    let text = format!("user root;\n{NGINX}{text}")
        .replace("@name", &format!("{at}{name}"))
        .replace('@', &at)
        .replace(
            "SEGMENT",
            &crate::web::segment(&format!("{DOMAIN}/{INSIDE}")),
        );
    let file = house.folder().join(format!("{name}.conf"));
    fs::write(&file, text)?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-e", "stderr", "-p", &at, "-c"]).arg(&file);
    house.run(&format!("nginx-{name}"), command)
}

fn theirs(house: &mut House) -> Result<Vec<Watched>> {
    let folder = house.folder().to_path_buf();
    for key in ["host_key", "user_key"] {
        let path = folder.join(key);
        // A folder may be used again.
        let _ = fs::remove_file(&path);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&path)
            .status()
            .context("ssh-keygen does not start")?;
        ensure!(made.success(), "ssh-keygen failed");
    }
    fs::create_dir_all("/run/sshd")?;
    let at = format!("{}/", folder.display());
    fs::write(folder.join("sshd.conf"), SSHD.replace('@', &at))?;
    let mut command = Command::new("/usr/sbin/sshd");
    command
        .args(["-D", "-e", "-f"])
        .arg(folder.join("sshd.conf"));
    let sshd = house.run("sshd", command)?;
    house.wait("127.0.0.11:2200")?;
    let core = nginx(house, "core", NGINX_CORE)?;
    house.wait("127.0.0.21:8081")?;
    let mut command = Command::new("ssh");
    command.args([
        "-F",
        "none",
        "-N",
        "-T",
        "-p",
        "2200",
        "-o",
        "StrictHostKeyChecking=no",
    ]);
    command.args([
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "ExitOnForwardFailure=yes",
    ]);
    command.args([
        "-o",
        "IdentitiesOnly=yes",
        "-R",
        "127.0.0.11:18080:127.0.0.21:8081",
        "-i",
    ]);
    command.arg(folder.join("user_key")).arg("root@127.0.0.11");
    let ssh = house.run("ssh", command)?;
    house.wait("127.0.0.11:18080")?;
    let edge = nginx(house, "edge", NGINX_EDGE)?;
    house.wait(THEIRS)?;
    Ok(vec![
        watched("nginx edge", edge),
        watched("sshd", sshd),
        watched("ssh", ssh),
        watched("nginx core", core),
    ])
}

fn ours(house: &mut House, causeway: &Path) -> Result<Vec<Watched>> {
    let node = |role: &str| {
        format!(
            "role = \"{role}\"\nname = \"{role}\"\ndomain = \"{DOMAIN}\"\n\
             data = \"{role}-data\"\n\
             [certificate]\nchain = \"node.pem\"\nkey = \"node.key\"\ntrusted = \"ca.pem\"\n"
        )
    };
    let edge = format!(
        "{}[limits]\nconnections_per_source_max = 20000\nconnections_max = 20000\n\
         handshakes = 20000\nhandshakes_per_source = 20000\n\
         [service.https]\nlisten = [\"{OURS}\"]\n\
         [service.sip]\nlisten = [\"127.0.0.10:5061\"]\n\
         [service.xmpp]\nlisten = [\"127.0.0.10:5222\"]\n\
         [service.media]\nlisten = \"127.0.0.10\"\n\
         [traversal]\nlisten_sip = \"127.0.0.10:7001\"\nlisten_ssh = \"127.0.0.10:2222\"\n\
         listen_xmpp = \"127.0.0.10:7400\"\n\
         [[traversal.zone]]\nname = \"core\"\nverify_name = [\"core.{DOMAIN}\"]\n\
         user = \"traversal\"\npassword = \"only for this comparison\"\n",
        node("edge"),
    );
    let core = format!(
        "{}[[traversal.peer]]\nname = \"edge\"\ndial = \"127.0.0.10\"\n\
         verify_name = \"{NAME}\"\nuser = \"traversal\"\n\
         password = \"only for this comparison\"\n\
         [service.sip]\nlisten = [\"127.0.0.20:5060\"]\n\
         [service.media]\nlisten = \"127.0.0.20\"\n\
         [[domains]]\nname = \"{DOMAIN}\"\n\
         [[unified_cm]]\naddress = \"127.0.0.30\"\nuser = \"axl\"\n\
         password = \"only for this comparison\"\n\
         [[allow_list]]\nhost = \"127.0.0.30\"\nscheme = \"http\"\nport = 8080\n",
        node("core"),
    );
    fs::write(house.folder().join("edge.toml"), edge)?;
    fs::write(house.folder().join("core.toml"), core)?;
    let edge = house.causeway(causeway, "edge")?;
    house.wait(OURS)?;
    let core = house.causeway(causeway, "core")?;
    house.wait("127.0.0.20:5060")?;
    // The core dials the edge; its lanes stand a moment later.
    std::thread::sleep(Duration::from_secs(2));
    Ok(vec![watched("edge", edge), watched("core", core)])
}
