//! `causeway ctl certificate` as an administrator types it. No node runs here.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

const EDGE: &str = r#"role = "edge"
name = "edge1"
domain = "example.test"
[certificate]
chain = "server.pem"
key = "server.key"
trusted = "ca.pem"
chat_node_aliases = ["conference-2.example.test"]
[service.https]
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
password = "a long password"
"#;

/// An edge's folder, with an authority that it trusts.
struct Node {
    folder: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Node {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("certificate-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("causeway.toml"), EDGE).unwrap();
        let authority = authority();
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        Node { folder, authority }
    }

    /// Exit code, standard output, standard error.
    fn ctl(&self, words: &[&str]) -> (i32, String, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .current_dir(&self.folder)
            .args(["ctl", "certificate"])
            .args(words)
            .args(["--config", "causeway.toml"])
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            done.status.code().unwrap(),
            text(done.stdout),
            text(done.stderr),
        )
    }

    fn issue(&self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.folder.join("new.pem"), made.pem()).unwrap();
        std::fs::write(self.folder.join("new.key"), key.serialize_pem()).unwrap();
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn names_and_a_request_hold_what_was_configured_and_what_was_named() {
    let node = Node::new("names");
    let more = [
        "--domain",
        "example.test",
        "--federation-domain",
        "chat.test",
    ];
    let (code, told, _) = node.ctl(&[&["names"], &more[..]].concat());
    assert_eq!(code, 0);
    for name in [
        "edge1.example.test",
        "collab-edge.example.test",
        "chat.test",
        "conference-2.example.test",
    ] {
        assert!(told.contains(name), "{name}: {told}");
    }
    let request = [
        "request",
        "--key",
        "ec-p256",
        "--name",
        "extra.test",
        "--json",
    ];
    let (code, told, _) = node.ctl(&[&request[..], &more[..]].concat());
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("extra.test") && told.contains("BEGIN CERTIFICATE REQUEST"));
    assert!(!told.contains("PRIVATE KEY"));
    assert!(node.folder.join("data/certificate/request.key").exists());
    let (code, _, why) = node.ctl(&["request", "--name", "under_score"]);
    assert!(code == 2 && why.contains("under_score"), "{why}");
}

#[test]
fn a_chain_is_checked_and_put_in_place_with_exit_codes_that_tell() {
    let node = Node::new("install");
    node.issue(&["edge1.example.test", "conference-2.example.test"]);
    let (code, told, _) = node.ctl(&["check", "new.pem", "new.key"]);
    assert!(code == 0 && !told.contains("fault"), "{told}");
    // The authority of this test gives certificates for two thousand years.
    assert!(told.contains("note long-life"), "{told}");
    let (code, _, why) = node.ctl(&["install", "new.pem"]);
    assert!(code == 1 && why.contains("--key"), "{why}");
    let (code, told, why) = node.ctl(&["install", "new.pem", "--key", "new.key"]);
    assert!(code == 0 && told.contains("no node runs"), "{told} {why}");
    assert_eq!(node.ctl(&["show"]).0, 0);
    node.issue(&["other.example.test"]);
    let (code, told, _) = node.ctl(&["check", "new.pem", "server.key"]);
    assert!(code == 1 && told.contains("key-mismatch"), "{told}");
    let (code, _, why) = node.ctl(&["check", "nothing.pem"]);
    assert!(code == 3 && why.contains("nothing.pem"), "{why}");
    let (code, _, why) = node.ctl(&["reload"]);
    assert!(code == 3 && why.contains("no node answers"), "{why}");
}

#[test]
fn authorities_are_added_and_removed_by_fingerprint() {
    let node = Node::new("trusted");
    std::fs::write(node.folder.join("other.pem"), authority().pem()).unwrap();
    let (code, told, _) = node.ctl(&["trusted", "add", "other.pem"]);
    assert!(code == 0 && told.contains("is trusted now"), "{told}");
    let (code, told, _) = node.ctl(&["trusted", "list"]);
    assert_eq!(code, 0);
    let mark = told
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let (code, told, _) = node.ctl(&["trusted", "remove", mark]);
    assert!(code == 0 && told.contains("no longer"), "{told}");
    assert_eq!(node.ctl(&["trusted", "remove", mark]).0, 1);
    let (code, _, why) = node.ctl(&["trusted", "add", "causeway.toml"]);
    assert!(code == 1 && why.contains("no-certificate"), "{why}");
}
