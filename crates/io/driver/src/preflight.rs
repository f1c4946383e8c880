//! Whether a node can start on this machine: everything a configuration names is looked at, and
//! nothing is changed.

use std::net::SocketAddr;
use std::path::Path;

use base::UnixTime;
use config::{Config, Finding, LdapUser, Password, Role, Severity, SignInBy};
use status::Kind;

use crate::files;
use policy::credentials::Credentials;

mod certificate;

/// A section, its number among those of its name, and a key.
type At<'a> = (&'a str, usize, &'a str);

/// Looks at files, addresses and the system's settings; `text` is the configuration's, for lines.
pub fn check(config: &Config, text: &str, now: UnixTime) -> Vec<Finding> {
    let mut look = Look {
        text,
        findings: Vec::new(),
    };
    look.certificate(config, now);
    look.passwords(config);
    if let Role::Core(core) = &config.role {
        for (index, domain) in core.domains.iter().enumerate() {
            look.identity_provider(index, domain.clone(), now);
        }
    }
    look.data(&config.data);
    look.addresses(config);
    look.ports(config);
    look.findings.sort_by_key(|f| f.line);
    look.findings
}

struct Look<'a> {
    text: &'a str,
    findings: Vec<Finding>,
}

impl Look<'_> {
    fn say(
        &mut self,
        severity: Severity,
        at: (&str, usize, &str),
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (section, index, key) = at;
        self.findings.push(Finding {
            severity,
            line: config::line_of(self.text, section, index, key),
            column: 1,
            key: if section.is_empty() {
                key.into()
            } else {
                format!("{section}.{key}")
            },
            cause: cause.into(),
            fix: fix.into(),
        });
    }

    /// An error of a file: its text ends in what to do.
    fn broken(&mut self, at: (&str, usize, &str), error: &net::Error) {
        let (cause, fix) = match error {
            net::Error::File {
                path, fix, source, ..
            } => (format!("{}: {source}", path.display()), (*fix).to_owned()),
            net::Error::Content {
                path, cause, fix, ..
            } => (format!("{}: {cause}", path.display()), (*fix).to_owned()),
            other => (other.to_string(), "correct the file".to_owned()),
        };
        self.say(Severity::Error, at, cause, fix);
    }

    fn exposed(&mut self, at: (&str, usize, &str), path: &Path) {
        if files::is_exposed(path) {
            let cause = format!("{} may be read by everybody", path.display());
            let fix = format!("chmod o-rwx {}", path.display());
            self.say(Severity::Warning, at, cause, fix);
        }
    }

    fn passwords(&mut self, config: &Config) {
        let all: Vec<(&str, usize, &Password)> = match &config.role {
            Role::Edge(edge) => {
                let zones = edge.zones.iter().enumerate();
                zones
                    .map(|(i, z)| ("traversal.zone", i, &z.password))
                    .collect()
            }
            Role::Core(core) => {
                let peers = core.peers.iter().enumerate();
                let peers = peers.map(|(i, p)| ("traversal.peer", i, &p.password));
                let lists = [
                    ("unified_cm", &core.unified_cm),
                    ("im_presence", &core.im_presence),
                    ("unity_connection", &core.unity_connection),
                ];
                let publishers = lists.into_iter().flat_map(|(section, list)| {
                    list.iter()
                        .enumerate()
                        .map(move |(i, p)| (section, i, &p.password))
                });
                peers.chain(publishers).collect()
            }
        };
        if let Role::Core(core) = &config.role {
            for (index, domain) in core.domains.iter().enumerate() {
                if let SignInBy::Ldap(ldap) = &domain.sign_in
                    && let LdapUser::Search { bind, .. } = &ldap.user
                    && let Some((_, Password::File(path))) = bind
                {
                    let at = ("domains.sign_in", index, "bind_password_file");
                    self.secret(at, "password file", path);
                }
                if let SignInBy::File(path) = &domain.sign_in {
                    let at = ("domains.sign_in", index, "file");
                    self.exposed(at, path);
                    if let Err(fault) = crate::users::Users::read(path) {
                        let fix = "correct the line, or write the file with causeway ctl user add";
                        self.say(Severity::Error, at, fault.to_string(), fix);
                    }
                }
            }
        }
        for (section, index, password) in all {
            if let Password::File(path) = password {
                self.secret((section, index, "password_file"), "password file", path);
            }
        }
        if let Some(path) = &config.administration_token {
            self.secret(("administration", 0, "token_file"), "token file", path);
        }
        if let Role::Core(core) = &config.role
            && let Some(path) = &core.credentials.file
        {
            let at = ("credentials", 0, "file");
            self.exposed(at, path);
            match files::text("credentials file", path) {
                Err(e) => {
                    let cause = format!("{}: {}", e.path.display(), e.cause);
                    self.say(Severity::Error, at, cause, e.fix);
                }
                Ok(text) => {
                    let (mut rng, kept) = (base::Rng::from_number(0), &core.credentials);
                    let mut all = Credentials::new(&mut rng, kept.refresh, kept.cleanup);
                    if let Err(fault) = all.load(text.expose()) {
                        let cause = format!("{}: {fault}", path.display());
                        self.say(Severity::Error, at, cause, Kind::CredentialsFile.fix());
                    }
                }
            }
        }
    }

    /// The secrets of a domain's identity providers, and the metadata of one.
    fn identity_provider(&mut self, index: usize, mut domain: config::Domain, now: UnixTime) {
        for (section, key, secret) in domain.provider_secrets() {
            if let Password::File(path) = secret {
                self.secret((section, index, key), "client secret file", path);
            }
        }
        let (mut texts, mut all) = (Vec::new(), true);
        for (section, key, secret, file) in domain.provider_keys() {
            let Password::File(path) = file else { continue };
            let at = (section, index, key);
            if secret {
                self.exposed(at, path);
            }
            match files::text(files::PROVIDER_KEY, path) {
                Ok(text) => texts.push((at, text)),
                Err(e) => {
                    all = false;
                    let cause = format!("{}: {}", e.path.display(), e.cause);
                    self.say(Severity::Error, at, cause, e.fix);
                }
            }
        }
        if all {
            self.provider_keys(&texts);
        }
        let Some(Password::File(path)) = domain.provider_metadata() else {
            return;
        };
        let at = ("domains.sign_in", index, "metadata_file");
        let text = match files::text(files::METADATA, path) {
            Ok(text) => text,
            Err(e) => {
                let cause = format!("{}: {}", e.path.display(), e.cause);
                return self.say(Severity::Error, at, cause, e.fix);
            }
        };
        match sso::saml::Provider::read(text.expose()) {
            Err(cause) => {
                let cause = format!("{}: {cause}", path.display());
                self.say(Severity::Error, at, cause, Kind::IdpMetadata.fix());
            }
            Ok(provider) if provider.until < now => {
                let path = path.display();
                let cause = format!("{path}: its certificate ended on {}", provider.until);
                self.say(Severity::Warning, at, cause, Kind::IdpCertificate.fix());
            }
            Ok(_) => {}
        }
    }

    /// Whether keys of single sign-on can be used.
    fn provider_keys(&mut self, texts: &[(At<'_>, base::Secret<String>)]) {
        let find = |key: &str| texts.iter().find(|((_, _, k), _)| *k == key);
        let mut faults = Vec::new();
        if let Some((at, text)) = find("decryption_key_file") {
            let read = sso::jwe::DecryptionKey::read(text.expose());
            faults.extend(read.err().map(|cause| (*at, cause.to_owned())));
        }
        if let (Some((at, key)), Some((_, certificate))) =
            (find("signing_key_file"), find("signing_certificate_file"))
        {
            let read = sso::saml::Signer::read(key.expose(), certificate.expose());
            faults.extend(read.err().map(|cause| (*at, cause)));
        }
        for (at, cause) in faults {
            self.say(Severity::Error, at, cause, Kind::SsoKey.fix());
        }
    }

    fn secret(&mut self, at: (&str, usize, &str), what: &'static str, path: &Path) {
        match files::first_line(what, path) {
            Ok(line) => {
                self.exposed(at, path);
                if at.0.starts_with("traversal.") && line.expose().chars().count() < 8 {
                    let cause = format!("{} has fewer than eight characters", path.display());
                    let fix = "make a long random one, the same on both sides";
                    self.say(Severity::Warning, at, cause, fix);
                }
            }
            Err(e) => {
                let cause = format!("{}: {}", e.path.display(), e.cause);
                self.say(Severity::Error, at, cause, e.fix);
            }
        }
    }

    /// The data folder, or where it would be made. The last component that there is decides.
    fn data(&mut self, path: &Path) {
        let there = path.ancestors().find(|p| p.symlink_metadata().is_ok());
        let Some(there) = there.filter(|p| !p.as_os_str().is_empty()) else {
            return;
        };
        let cause = if !there.is_dir() {
            "is no folder"
        } else if nix::unistd::access(there, nix::unistd::AccessFlags::W_OK).is_err() {
            "may not be written to"
        } else {
            return;
        };
        let cause = format!("{} {cause}", there.display());
        let fix = "correct the path, or let the user running causeway write there";
        self.say(Severity::Error, ("", 0, "data"), cause, fix);
    }

    /// Every address that is listened on must be this machine's.
    fn addresses(&mut self, config: &Config) {
        for (section, key, address) in listened(config) {
            let ip = address.ip();
            if std::net::UdpSocket::bind(SocketAddr::new(ip, 0)).is_err() {
                self.say(
                    Severity::Error,
                    (section, 0, key),
                    format!("this machine has no address {ip}"),
                    "correct it, or bring the interface up (ip address shows what there is)",
                );
            }
        }
    }

    /// Media ports that the system gives to others are found taken in the middle of a call.
    fn ports(&mut self, config: &Config) {
        let ports = match &config.role {
            Role::Edge(edge) => edge.media.ports.clone(),
            Role::Core(core) => core.media.ports.clone(),
        };
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default()
        };
        let Some((low, high)) = pair(&read("ip_local_port_range")) else {
            return;
        };
        let (first, last) = (low.max(*ports.start()), high.min(*ports.end()));
        if first > last || reserved(&read("ip_local_reserved_ports"), first, last) {
            return;
        }
        self.say(
            Severity::Warning,
            ("service.media", 0, "ports"),
            format!("the system gives ports {first}–{last} to any program that asks"),
            format!(
                "sysctl -w net.ipv4.ip_local_reserved_ports={}-{}, and write it to /etc/sysctl.d",
                ports.start(),
                ports.end()
            ),
        );
    }
}

fn listened(config: &Config) -> Vec<(&'static str, &'static str, SocketAddr)> {
    let mut all = Vec::new();
    let mut add = |section, key, addresses: &[SocketAddr]| {
        all.extend(addresses.iter().map(|a| (section, key, *a)));
    };
    match &config.role {
        Role::Edge(edge) => {
            add("service.https", "listen", &edge.https.listen);
            add("service.sip", "listen", &edge.sip.listen);
            add("service.xmpp", "listen", &edge.xmpp.listen);
            for (listen, _) in edge.media.addresses() {
                add("service.media", "listen", &[SocketAddr::new(listen, 0)]);
            }
            let at = &edge.traversal;
            add("traversal", "listen_sip", &[at.sip]);
            add("traversal", "listen_ssh", &[at.ssh]);
            add("traversal", "listen_xmpp", &[at.xmpp]);
            add("traversal", "listen_media", &[SocketAddr::new(at.media, 0)]);
        }
        Role::Core(core) => {
            add("service.sip", "listen", &core.sip);
            add("service.sip", "listen_tls", &core.sip_tls);
            add(
                "service.media",
                "listen",
                &[SocketAddr::new(core.media.listen, 0)],
            );
        }
    }
    add("administration", "listen", &config.administration);
    all
}

/// Two numbers, as the kernel writes a range.
fn pair(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether one entry of the kernel's list of reserved ports covers the whole range.
fn reserved(list: &str, first: u16, last: u16) -> bool {
    list.trim().split(',').any(|entry| {
        let (from, to) = entry.split_once('-').unwrap_or((entry, entry));
        let span = (from.parse::<u16>(), to.parse::<u16>());
        matches!(span, (Ok(from), Ok(to)) if from <= first && to >= last)
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType,
        ExtendedKeyUsagePurpose as Usage, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    #[test]
    fn the_kernels_lists_are_read() {
        assert_eq!(pair("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(pair(""), None);
        assert!(reserved("1000,36000-59999\n", 36002, 59999));
        assert!(!reserved("36000-40000", 36002, 59999));
        assert!(!reserved("", 1, 2));
    }

    #[test]
    fn what_is_missing_is_found_with_its_line() {
        let text = r#"role = "core"
name = "core1"
domain = "corp.example.test"
[certificate]
chain = "none.pem"
key = "none.key"
trusted = "none-ca.pem"
[service.sip]
listen = ["203.0.113.77:5060"]
[service.media]
listen = "127.0.0.1"
[[traversal.peer]]
name = "edge1"
dial = "192.0.2.11"
verify_name = "edge1.example.test"
user = "traversal"
password_file = "none.password"
[[domains]]
name = "example.test"
[[call_control]]
name = "pbx"
address = "127.0.0.1:5060"
"#;
        let path = std::env::temp_dir().join("causeway-preflight-nowhere/causeway.toml");
        let checked = config::load(text, &path).unwrap();
        let found = check(&checked.config, text, UnixTime::from_millis(0));
        let lines: Vec<usize> = found
            .iter()
            .filter(|f| f.severity == Severity::Error)
            .map(|f| f.line)
            .collect();
        assert_eq!(lines, [5, 7, 9, 17], "{found:#?}");
    }

    #[test]
    fn a_data_folder_that_cannot_be_made_and_a_bad_line_of_users_are_found() {
        let dir = std::env::temp_dir().join(format!("causeway-data-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("users"), "alice\n").unwrap();
        let text = format!(
            "role = \"core\"\nname = \"node\"\ndomain = \"example.test\"\ndata = \"users/data\"\n\
             [certificate]\nchain = \"chain.pem\"\nkey = \"key.pem\"\ntrusted = \"ca.pem\"\n\
             {CORE}[credentials]\nfile = \"users\"\n"
        );
        let checked = config::load(&text, &dir.join("causeway.toml")).unwrap();
        let found = check(&checked.config, &text, UnixTime::from_millis(0));
        for (key, cause) in [("data", "is no folder"), ("credentials.file", "line 1")] {
            let said = |f: &&Finding| f.key == key && f.cause.contains(cause);
            let error = found.iter().find(said).map(|f| f.severity);
            assert_eq!(error, Some(Severity::Error), "{key}: {found:#?}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// What is said of a certificate whose request `change` changed, signed by an authority that
    /// is trusted or by another.
    fn said(
        name: &str,
        role: &str,
        trusted: bool,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<(Severity, String)> {
        let authority = || {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (ours, other) = (authority(), authority());
        let mut params = CertificateParams::new(vec!["node.example.test".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issuer = if trusted { &ours } else { &other };
        let certificate = params.signed_by(&key, issuer).unwrap();
        let dir = std::env::temp_dir().join(format!("causeway-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in [
            ("chain.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
            ("ca.pem", ours.pem()),
            ("zone", "a long password\n".to_owned()),
        ] {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let rest = if role == "edge" { EDGE } else { CORE };
        let text = format!(
            "role = \"{role}\"\nname = \"node\"\ndomain = \"example.test\"\n[certificate]\n\
             chain = \"chain.pem\"\nkey = \"key.pem\"\ntrusted = \"ca.pem\"\n{rest}"
        );
        let checked = config::load(&text, &dir.join("causeway.toml")).unwrap();
        let found = check(&checked.config, &text, UnixTime::from_millis(NOW));
        std::fs::remove_dir_all(&dir).unwrap();
        found
            .into_iter()
            .filter(|f| f.key == "certificate.chain")
            .map(|f| (f.severity, f.cause))
            .collect()
    }

    /// A moment in 2026, in milliseconds.
    const NOW: u64 = 1_790_000_000_000;

    const EDGE: &str = r#"[service.https]
listen = ["127.0.0.1:8443"]
[service.sip]
listen = ["127.0.0.1:5061"]
[service.xmpp]
listen = ["127.0.0.1:5222"]
[service.media]
listen = "127.0.0.1"
[traversal]
listen_sip = "127.0.0.1:7001"
listen_ssh = "127.0.0.1:2222"
listen_xmpp = "127.0.0.1:7400"
[[traversal.zone]]
name = "core"
verify_name = ["core1.example.test"]
user = "traversal"
password_file = "zone"
"#;

    const CORE: &str = r#"[service.sip]
listen = ["127.0.0.1:5060"]
[service.media]
listen = "127.0.0.1"
[[traversal.peer]]
name = "edge1"
dial = "192.0.2.11"
verify_name = "edge1.example.test"
user = "traversal"
password_file = "zone"
[[domains]]
name = "example.test"
[[call_control]]
name = "pbx"
address = "127.0.0.1:5070"
"#;

    #[track_caller]
    fn one(said: &[(Severity, String)], severity: Severity, cause: &str) {
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].0, severity, "{said:?}");
        assert!(said[0].1.contains(cause), "{said:?}");
    }

    #[test]
    fn certificate_that_is_good_is_not_spoken_of() {
        assert_eq!(said("plain", "edge", true, |_| ()), []);
        let both = |p: &mut CertificateParams| {
            p.extended_key_usages = vec![Usage::ServerAuth, Usage::ClientAuth];
        };
        assert_eq!(said("both", "core", true, both), []);
    }

    #[test]
    fn certificate_without_a_use_is_refused_where_the_role_needs_it() {
        let server = |p: &mut CertificateParams| p.extended_key_usages = vec![Usage::ServerAuth];
        let client = |p: &mut CertificateParams| p.extended_key_usages = vec![Usage::ClientAuth];
        let (error, warning) = (Severity::Error, Severity::Warning);
        one(&said("use1", "core", true, server), error, "clientAuth");
        one(&said("use2", "edge", true, server), warning, "clientAuth");
        one(&said("use3", "edge", true, client), error, "serverAuth");
        one(&said("use4", "core", true, client), warning, "serverAuth");
    }

    #[test]
    fn certificate_of_the_future_is_refused() {
        let later = |p: &mut CertificateParams| p.not_before = date_time_ymd(2090, 1, 1);
        one(
            &said("later", "edge", true, later),
            Severity::Error,
            "valid from",
        );
    }

    #[test]
    fn certificate_of_another_authority_is_warned_of() {
        let said = said("other", "core", false, |_| ());
        one(&said, Severity::Warning, "authorities");
    }

    #[test]
    fn certificate_with_a_common_name_alone_is_warned_of() {
        let bare = |p: &mut CertificateParams| {
            p.subject_alt_names.clear();
            p.distinguished_name
                .push(DnType::CommonName, "node.example.test");
        };
        let said = said("bare", "edge", true, bare);
        one(&said, Severity::Warning, "subjectAltName");
    }
}
