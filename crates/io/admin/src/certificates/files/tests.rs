//! Requests, and chains put in place, in a folder of a node's own.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer};
use rcgen::{CertifiedIssuer, KeyPair};

/// A core's configuration in a folder of its own, gone with the test.
struct Node {
    folder: PathBuf,
    config: Config,
    authority: CertifiedIssuer<'static, KeyPair>,
}

const CORE: &str = r#"role = "core"
name = "core1"
domain = "corp.example.test"
[certificate]
chain = "server.pem"
key = "server.key"
trusted = "ca.pem"
[service.sip]
listen = ["127.0.0.1:5060"]
[service.media]
listen = "127.0.0.1"
[[traversal.peer]]
name = "edge1"
dial = "192.0.2.11"
verify_name = "edge1.example.test"
user = "traversal"
password = "a long password"
[[domains]]
name = "example.test"
[[call_control]]
name = "pbx"
address = "127.0.0.1:5070"
"#;

/// 2027-01-01.
const NOW: UnixTime = UnixTime::from_millis(1_798_761_600_000);

impl Node {
    fn new(name: &str) -> Self {
        let process = std::process::id();
        let folder = std::env::temp_dir().join(format!("causeway-files-{name}-{process}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        let config = config::load(CORE, &folder.join("causeway.toml"));
        Node {
            config: config.unwrap().config,
            folder,
            authority,
        }
    }

    /// What an authority gives back for a request.
    fn answer(&self, request: &str) -> String {
        let read = CertificateSigningRequestParams::from_pem(request);
        let issuer: &Issuer<'_, KeyPair> = &self.authority;
        read.unwrap().signed_by(issuer).unwrap().pem()
    }

    fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.authority).unwrap();
        (made.pem(), key.serialize_pem())
    }

    fn install(&self, chain: &str, key: Option<&str>, force: bool) -> Result<Report, FilesFault> {
        let key = key.map(str::as_bytes);
        install(
            &self.config,
            &Known::default(),
            chain.as_bytes(),
            key,
            force,
            NOW,
        )
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.join(name)).ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn wish() -> Wish {
    Wish {
        common_name: "core1.corp.example.test".into(),
        names: vec!["core1.corp.example.test".into()],
        key: request::KeyChoice::EcP256,
        ..Wish::default()
    }
}

#[test]
fn a_request_is_answered_and_its_key_put_in_place_with_the_chain() {
    let node = Node::new("request");
    let made = request(&node.config, &wish()).unwrap();
    let key = request_key_path(&node.config);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    assert_eq!(std::fs::read_to_string(&key).unwrap(), *made.key.expose());
    let kept = std::fs::read_to_string(request_path(&node.config)).unwrap();
    assert_eq!(kept, made.request);
    let chain = node.answer(&made.request);
    let report = node.install(&chain, None, false).unwrap();
    assert_eq!(
        report.findings.iter().find(|f| f.grade == Grade::Error),
        None
    );
    assert_eq!(node.read("server.pem").unwrap(), chain);
    assert_eq!(node.read("server.key").unwrap(), *made.key.expose());
    assert_eq!(mode(&node.folder.join("server.key")), 0o600);
    assert!(!key.exists() && !request_path(&node.config).exists());
}

#[test]
fn a_request_that_waits_is_kept_when_another_is_made() {
    let node = Node::new("waits");
    let first = request(&node.config, &wish()).unwrap();
    let second = request(&node.config, &wish()).unwrap();
    assert_ne!(first.request, second.request);
    let old = std::fs::read_to_string(request_key_path(&node.config).with_extension("key.old"));
    assert_eq!(old.unwrap(), *first.key.expose());
}

#[test]
fn a_renewed_chain_takes_the_key_in_use_and_the_old_files_stay_beside() {
    let node = Node::new("renewed");
    let (chain, key) = node.issue(&["core1.corp.example.test"]);
    node.install(&chain, Some(&key), false).unwrap();
    let params = CertificateParams::new(vec!["core1.corp.example.test".to_owned()]).unwrap();
    let same = KeyPair::from_pem(&key).unwrap();
    let renewed = params.signed_by(&same, &node.authority).unwrap().pem();
    node.install(&renewed, None, false).unwrap();
    assert_eq!(node.read("server.pem").unwrap(), renewed);
    assert_eq!(node.read("server.key").unwrap(), key);
    assert_eq!(node.read("server.pem.old").unwrap(), chain);
}

#[test]
fn what_cannot_work_is_refused_by_name_and_nothing_is_changed() {
    let node = Node::new("refused");
    let (chain, key) = node.issue(&["core1.corp.example.test"]);
    node.install(&chain, Some(&key), false).unwrap();
    let (other, other_key) = node.issue(&["core1.corp.example.test"]);
    let fault = |done: Result<Report, FilesFault>| done.unwrap_err().to_string();
    assert!(fault(node.install(&other, None, true)).contains("no key"));
    assert!(fault(node.install("hello", None, true)).contains("no-certificate"));
    let mismatch = fault(node.install(&other, Some(&key), true));
    assert!(mismatch.contains("key-mismatch"), "{mismatch}");
    let mut params = CertificateParams::new(vec!["core1.corp.example.test".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2026, 1, 1);
    let old = KeyPair::from_pem(&other_key).unwrap();
    let old = params.signed_by(&old, &node.authority).unwrap().pem();
    let expired = fault(node.install(&old, Some(&other_key), false));
    assert!(
        expired.contains("expired") && expired.contains("--force"),
        "{expired}"
    );
    assert_eq!(node.read("server.pem").unwrap(), chain);
    assert_eq!(node.read("server.key").unwrap(), key);
    // Whoever insists gets it: TLS can use it.
    node.install(&old, Some(&other_key), true).unwrap();
    assert_eq!(node.read("server.pem").unwrap(), old);
}

#[test]
fn a_missing_use_or_name_is_told_and_not_refused() {
    let node = Node::new("use");
    let mut params = CertificateParams::new(vec!["other.example.test".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let chain = params.signed_by(&key, &node.authority).unwrap().pem();
    let report = node
        .install(&chain, Some(&key.serialize_pem()), false)
        .unwrap();
    assert!(report.has(Flaw::NoClientUse) && report.has(Flaw::NameMissing));
    assert!(report.legs.iter().all(|leg| !leg.flaws.is_empty()));
}
