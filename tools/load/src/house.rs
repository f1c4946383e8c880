//! The programs that are compared: a registrar inside, Kamailio's edge, and our edge and core.
//!
//! All on loopback addresses of a network namespace of one's own, all with the same RSA-2048
//! certificate. Kamailio's edge does what a careful set-up does: sanity checks, a ban table,
//! stateful relaying, Path and Record-Route with flow tokens; its registrar checks the digest.
//! What is started is stopped when this is dropped, by process number.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::script;

/// The users' domain and realm.
pub(crate) const DOMAIN: &str = "load.test";
/// The name in the certificate.
pub(crate) const NAME: &str = "edge.load.test";
/// Our edge.
pub(crate) const OURS: &str = "127.0.0.10:5061";
/// Kamailio's.
pub(crate) const THEIRS: &str = "127.0.0.11:5061";

const REGISTRAR: &str = "127.0.0.30";
const CORE: &str = "127.0.0.20";

/// What all Kamailios have.
const KAMAILIO: &str = r#"
fork=yes
log_stderror=yes
debug=0
children=2
tcp_async=yes
tcp_max_connections=20000
tcp_connection_lifetime=3605
tcp_conn_wq_max=4194304
open_files_limit=20000
auto_aliases=no
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/:/usr/lib/aarch64-linux-gnu/kamailio/modules/"
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
"#;

const KAMAILIO_REGISTRAR: &str = r#"
tcp_children=2
tcp_source_ipv4=127.0.0.30
alias="load.test"
listen=tcp:127.0.0.30:5060
loadmodule "rr.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "hash_size", 14)
modparam("registrar", "use_path", 1)
modparam("registrar", "path_mode", 0)
modparam("registrar", "max_expires", 3600)
modparam("auth", "nonce_expire", 300)

request_route {
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    if (has_totag()) {
        if (loose_route()) { t_relay(); exit; }
        if (is_method("ACK")) { if (t_check_trans()) t_relay(); exit; }
        sl_send_reply("404", "Not here");
        exit;
    }
    t_check_trans();
    if (is_method("REGISTER")) {
        # Our core has checked the digest already.
        if (src_ip == 127.0.0.11) {
            if (!pv_www_authenticate("load.test", "secret-$au", "0")) {
                www_challenge("load.test", "1");
                exit;
            }
        }
        if (!save("location", "0x04")) sl_reply_error();
        exit;
    }
    record_route();
    if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }
    if (!t_relay()) sl_reply_error();
}
"#;

const KAMAILIO_EDGE: &str = r#"
tcp_children=1
tcp_source_ipv4=127.0.0.11
enable_tls=yes
tls_max_connections=20000
listen=tls:127.0.0.11:5061
listen=tcp:127.0.0.11:5060
loadmodule "tls.so"
loadmodule "outbound.so"
loadmodule "stun.so"
loadmodule "rr.so"
loadmodule "path.so"
loadmodule "sanity.so"
loadmodule "htable.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "@node.pem")
modparam("tls", "private_key", "@node.key")
modparam("outbound", "force_outbound_flag", 1)
modparam("path", "enable_r2", 1)
modparam("htable", "htable", "ipban=>size=8;autoexpire=300;")

request_route {
    if ($sht(ipban=>$si) != $null) exit;
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (!sanity_check("1511", "7")) exit;
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    if (has_totag()) {
        if (loose_route()) { t_relay(); exit; }
        if (is_method("ACK")) { if (t_check_trans()) t_relay(); exit; }
        sl_send_reply("404", "Not here");
        exit;
    }
    t_check_trans();
    if (src_ip == 127.0.0.30) {
        if (!loose_route()) { sl_send_reply("404", "Not here"); exit; }
        record_route();
        t_relay();
        exit;
    }
    setflag(1);
    remove_hf("Route");
    if (is_method("REGISTER")) { add_path(); } else { record_route(); }
    $du = "sip:127.0.0.30:5060;transport=tcp";
    if (!t_relay()) sl_reply_error();
}
"#;

/// What is running.
pub(crate) struct House {
    folder: PathBuf,
    running: Vec<Child>,
}

/// The main processes.
pub(crate) struct Pids {
    /// Kamailio's edge.
    pub(crate) theirs: u32,
    /// Our edge.
    pub(crate) edge: u32,
    /// Our core.
    pub(crate) core: u32,
    /// The registrar of both.
    pub(crate) registrar: u32,
}

impl House {
    /// Nothing yet.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn empty(folder: &Path) -> Result<House> {
        fs::create_dir_all(folder)?;
        Ok(House {
            folder: folder.canonicalize()?,
            running: Vec::new(),
        })
    }

    /// Where configurations and logs are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts everything.
    ///
    /// # Errors
    /// What does not start, with the folder of its log.
    pub(crate) fn start(
        folder: &Path,
        causeway: &Path,
        kamailio: &Path,
        users: usize,
    ) -> Result<(House, Pids)> {
        let mut house = House::empty(folder)?;
        crate::tls::issue(&house.folder, &[NAME, "core.load.test", DOMAIN])?;
        let registrar = house.kamailio(kamailio, "registrar", KAMAILIO_REGISTRAR)?;
        house.wait(&format!("{REGISTRAR}:5060"))?;
        let theirs = house.kamailio(kamailio, "kamailio-edge", KAMAILIO_EDGE)?;
        house.wait(THEIRS)?;
        house.ours(users)?;
        let edge = house.causeway(causeway, "edge")?;
        house.wait(OURS)?;
        let core = house.causeway(causeway, "core")?;
        house.wait(&format!("{CORE}:5060"))?;
        // The core dials the edge; its lanes stand a moment later.
        std::thread::sleep(Duration::from_secs(3));
        let pids = Pids {
            theirs,
            edge,
            core,
            registrar,
        };
        Ok((house, pids))
    }

    /// The authority of the certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn kamailio(&mut self, program: &Path, name: &str, text: &str) -> Result<u32> {
        let at = self.folder.to_string_lossy();
        let text = format!("{KAMAILIO}{}", text.replace('@', &format!("{at}/")));
        let (file, run) = (
            self.folder.join(format!("{name}.cfg")),
            self.folder.join(name),
        );
        fs::write(&file, text)?;
        fs::create_dir_all(&run)?;
        let mut command = Command::new(program);
        command.args(["-DD", "-E", "-m", "1024", "-M", "16", "-w", "/", "-f"]);
        command.arg(&file).arg("-P").arg(run.join("pid"));
        command.arg("-Y").arg(&run);
        self.run(name, command)
    }

    /// Configurations of our edge and core.
    fn ours(&self, users: usize) -> Result<()> {
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
             requests_per_connection = 20000\nrequests_per_source = 100000\n\
             requests_per_user = 20000\n\
             [service.https]\nlisten = [\"127.0.0.10:8443\"]\n\
             [service.sip]\nlisten = [\"{OURS}\"]\n\
             [service.xmpp]\nlisten = [\"127.0.0.10:5222\"]\n\
             [service.media]\nlisten = \"127.0.0.10\"\nports = \"10002-59999\"\n\
             [traversal]\nmedia_ports = [10000, 10001]\n\
             listen_sip = \"127.0.0.10:7001\"\nlisten_ssh = \"127.0.0.10:2222\"\n\
             listen_xmpp = \"127.0.0.10:7400\"\n\
             [[traversal.zone]]\nname = \"core\"\nverify_name = [\"core.{DOMAIN}\"]\n\
             user = \"traversal\"\npassword = \"only for this comparison\"\n",
            node("edge"),
        );
        let core = format!(
            "{}[[traversal.peer]]\nname = \"edge\"\ndial = \"127.0.0.10\"\n\
             verify_name = \"{NAME}\"\nmedia_ports = [10000, 10001]\nuser = \"traversal\"\n\
             password = \"only for this comparison\"\n\
             [service.sip]\nlisten = [\"{CORE}:5060\"]\n\
             [service.media]\nlisten = \"{CORE}\"\nports = \"10002-59999\"\n\
             [[domains]]\nname = \"{DOMAIN}\"\n\
             [[call_control]]\nname = \"kamailio\"\naddress = \"{REGISTRAR}:5060\"\n\
             [credentials]\nfile = \"users\"\n",
            node("core"),
        );
        fs::write(self.folder.join("edge.toml"), edge)?;
        fs::write(self.folder.join("core.toml"), core)?;
        let mut lines = String::new();
        for n in 0..users {
            let user = script::user(n);
            let all = format!("{user}:{DOMAIN}:{}", script::password(n));
            let sha: String = Sha256::digest(all)
                .iter()
                .fold(String::new(), |mut out, b| {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "{b:02x}");
                    out
                });
            let md5 = script::ha1(n, DOMAIN);
            writeln!(lines, "{user}:{DOMAIN}:{md5}:{sha}")?;
        }
        let path = self.folder.join("users");
        fs::write(&path, lines)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// Starts our program with the configuration of that role.
    pub(crate) fn causeway(&mut self, program: &Path, role: &str) -> Result<u32> {
        // It starts in the folder, from where a relative path leads nowhere.
        let program = program
            .canonicalize()
            .with_context(|| format!("there is no {}", program.display()))?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config");
        command.arg(self.folder.join(format!("{role}.toml")));
        self.run(role, command)
    }

    /// Starts a program, its output in a log of that name.
    pub(crate) fn run(&mut self, name: &str, mut command: Command) -> Result<u32> {
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        let pid = child.id();
        self.running.push(child);
        Ok(pid)
    }

    /// Waits until something listens.
    pub(crate) fn wait(&self, address: &str) -> Result<()> {
        let (address, until) = (
            address.parse::<SocketAddr>()?,
            Instant::now() + Duration::from_secs(20),
        );
        while TcpStream::connect(address).is_err() {
            if Instant::now() > until {
                bail!(
                    "nothing listens on {address}; see {}",
                    self.folder.display()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // Politely, so that Kamailio's children go too.
        for child in &self.running {
            let pid = child.id().to_string();
            let _ = Command::new("kill").arg(pid).status();
        }
        for child in &mut self.running {
            let until = Instant::now() + Duration::from_secs(10);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(50));
            }
            // It has had its time.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
