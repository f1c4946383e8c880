//! The resource as a program asks it, with a node's files in a folder of their own.

use std::path::PathBuf;

use driver::certificates::Certificates;
use driver::run::Gates;
use driver::signal::{Answer, Clock, Post, Question};
use http::Request;
use net::http::full;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use status::servers::{ServerFacts, ServerRow, ServersReport};

use super::*;

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

struct Node {
    folder: PathBuf,
    desk: Desk,
    handle: Handle,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Node {
    fn new(name: &str) -> Self {
        net::tls::install();
        let process = std::process::id();
        let folder = std::env::temp_dir().join(format!("causeway-rest-{name}-{process}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("data")).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        let (chain, key) = issue(&authority);
        std::fs::write(folder.join("server.pem"), chain).unwrap();
        std::fs::write(folder.join("server.key"), key).unwrap();
        let config = config::load(CORE, &folder.join("causeway.toml"));
        let certificates = Certificates::open(&std::sync::Arc::new(config.unwrap().config));
        let (handle, mut posts) = Handle::new();
        tokio::spawn(async move {
            while let Some(post) = posts.recv().await {
                if let Post::Ask {
                    question: Question::Servers(_),
                    reply,
                } = post
                {
                    let _ = reply.send(Answer::Servers(Box::new(publisher())));
                }
            }
        });
        Node {
            folder,
            desk: Desk {
                certificates: certificates.unwrap(),
                gates: Gates::default(),
                clock: Clock::start(),
            },
            handle,
            authority,
        }
    }

    async fn ask(&self, method: &str, path: &str, sent: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).body(());
        let (parts, ()) = request.unwrap().into_parts();
        let below = parts.uri.path().strip_prefix("/api/v1/certificates");
        let (below, body) = (below.unwrap().to_owned(), full(sent.to_owned()));
        let answer = answer(&self.handle, Some(&self.desk), &parts, body, &below).await;
        let status = answer.status().as_u16();
        let body = text(answer.into_body(), BODY_MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn post(&self, below: &str, sent: &Value) -> (u16, Value) {
        let path = format!("/api/v1/certificates{below}");
        self.ask("POST", &path, &sent.to_string()).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn issue(authority: &CertifiedIssuer<'static, KeyPair>) -> (String, String) {
    let names = vec!["core1.corp.example.test".to_owned()];
    let params = CertificateParams::new(names).unwrap();
    let key = KeyPair::generate().unwrap();
    let made = params.signed_by(&key, authority).unwrap();
    (made.pem(), key.serialize_pem())
}

/// A publisher in mixed mode, and one that is not.
fn publisher() -> ServersReport {
    let row = |mixed: bool, profile: &str| ServerRow {
        facts: ServerFacts {
            mixed_mode: Some(mixed),
            secure_profiles: Some(vec![profile.to_owned()]),
            ..ServerFacts::default()
        },
        ..ServerRow::default()
    };
    ServersReport {
        servers: vec![
            row(true, "secure.example.test"),
            row(false, "unused.example.test"),
        ],
        ..ServersReport::default()
    }
}

#[tokio::test]
async fn names_are_those_of_the_configuration_and_of_what_was_discovered() {
    let node = Node::new("names");
    let (status, told) = node.ask("GET", "/api/v1/certificates/names", "").await;
    assert_eq!(status, 200);
    let names = told["needs"]["names"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["core1.corp.example.test", "secure.example.test"]);
    let (status, told) = node.post("/request", &json!({ "key": "ec-p256" })).await;
    assert_eq!(status, 201, "{told}");
    let request = told["request"].as_str().unwrap();
    assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    assert!(!told.to_string().contains("PRIVATE KEY"), "{told}");
}

#[tokio::test]
async fn a_new_chain_is_judged_put_in_place_and_in_use_at_once() {
    let node = Node::new("install");
    let (_, before) = node.ask("GET", "/api/v1/certificates", "").await;
    let (chain, key) = issue(&node.authority);
    let sent = json!({ "chain": chain, "key": key });
    let (status, judged) = node.post("/check", &sent).await;
    assert_eq!(status, 200);
    assert_eq!(judged["own"], 0);
    // A profile's name is missing, and is told of.
    assert_eq!(judged["findings"][0]["flaw"], "name-missing");
    let (status, taken) = node.post("/install", &sent).await;
    assert_eq!((status, &taken["changed"]), (200, &json!(true)), "{taken}");
    let (_, after) = node.ask("GET", "/api/v1/certificates", "").await;
    assert_eq!(after["chain"][0]["fingerprint"], taken["fingerprint"]);
    assert_ne!(
        after["chain"][0]["fingerprint"],
        before["chain"][0]["fingerprint"]
    );
    assert!(!after.to_string().contains("PRIVATE KEY"));
    // Another one's key is refused, and what is in use stays.
    let (other, _) = issue(&node.authority);
    let (status, refused) = node
        .post("/install", &json!({ "chain": other, "key": key }))
        .await;
    assert_eq!(status, 400);
    assert!(
        refused["detail"].as_str().unwrap().contains("key-mismatch"),
        "{refused}"
    );
    let shown = node.desk.certificates.now().identity.certificate().unwrap();
    assert_eq!(taken["fingerprint"], shown.fingerprint.as_str());
}

#[tokio::test]
async fn authorities_are_added_listed_and_removed_by_fingerprint() {
    let node = Node::new("trusted");
    let other = Node::new("trusted-other");
    let pem = other.authority.pem();
    let (status, added) = node.post("/trusted", &json!({ "pem": pem })).await;
    assert_eq!(status, 201, "{added}");
    assert_eq!(node.desk.certificates.now().trust.count(), 2);
    let (_, listed) = node.ask("GET", "/api/v1/certificates/trusted", "").await;
    let mark = listed[0]["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(added[0]["certificate"]["fingerprint"], mark.as_str());
    let path = format!("/api/v1/certificates/trusted/{mark}");
    assert_eq!(node.ask("DELETE", &path, "").await.0, 200);
    assert_eq!(node.ask("DELETE", &path, "").await.0, 404);
    assert_eq!(node.desk.certificates.now().trust.count(), 1);
    let (status, _) = node.post("/trusted", &json!({ "pem": "hello" })).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_question_that_is_wrong_is_refused_and_tells_no_key() {
    let node = Node::new("wrong");
    for (method, path, sent, want) in [
        ("PUT", "", "", 405),
        ("POST", "/names", "", 405),
        ("GET", "/install", "", 405),
        ("PUT", "/trusted", "", 405),
        ("GET", "/trusted/abc", "", 405),
        ("GET", "/other", "", 404),
        ("POST", "/check", "", 400),
        ("POST", "/check", r#"{"chain":"x","what":1}"#, 400),
        ("POST", "/request", r#"{"key":"rsa-512"}"#, 400),
        ("POST", "/request", r#"{"names":["under_score"]}"#, 400),
        ("POST", "/install", r#"{"chain":"x","key":["SECRET"]}"#, 400),
    ] {
        let path = format!("/api/v1/certificates{path}");
        let (status, told) = node.ask(method, &path, sent).await;
        assert_eq!(status, want, "{method} {path}: {told}");
        assert!(
            told["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
            "{told}"
        );
        assert!(!told.to_string().contains("SECRET"), "{told}");
    }
    let nowhere = node.folder.join("server.pem");
    std::fs::write(nowhere, "no certificate").unwrap();
    let (status, told) = node.post("/reload", &json!({})).await;
    assert_eq!(status, 409, "{told}");
}
