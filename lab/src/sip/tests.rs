//! Unified CM's line side, the telephone inside and user agents, with each other and no gateway.

mod line_side;

use std::sync::Arc;
use std::time::Duration;

use super::agent::{Agent, Profile};
use super::stack::{Setup, Stack};
use super::unified_cm::{Config, Line, Manners, UnifiedCm};
use super::{message, phone};
use crate::accounts::Bearers;
use crate::ladder::Recorder;

const PATIENCE: Duration = Duration::from_secs(10);
const ALICE_HZ: f64 = 440.0;
const BOB_HZ: f64 = 660.0;

fn line(extension: &str, device: Option<&str>) -> Line {
    Line {
        extension: extension.into(),
        devices: device.map(str::to_owned).into_iter().collect(),
        display: format!("Line {extension}"),
        user: Some((format!("user{extension}"), "secret".into())),
    }
}

async fn unified_cm(digest: bool, tls: Option<&Certificates>) -> UnifiedCm {
    with_manners(digest, tls, Manners::default()).await
}

async fn with_manners(digest: bool, tls: Option<&Certificates>, manners: Manners) -> UnifiedCm {
    let lines = vec![
        line("1001", Some("CSFALICE")),
        Line {
            devices: vec!["CSFBOB".into(), "SEPBOB".into()],
            ..line("1002", None)
        },
        line("1100", None),
    ];
    let config = Config {
        name: "cucm1.example.test".into(),
        sip: "127.0.0.1:0".parse().unwrap(),
        sip_tls: tls.map(|tls| ("127.0.0.1:0".parse().unwrap(), Arc::clone(&tls.server))),
        dialing: tls.map(|tls| Arc::clone(&tls.client)),
        dns: None,
        lines,
        digest,
        bearers: Bearers::default(),
        manners,
        recorder: Recorder::new("inside"),
    };
    UnifiedCm::start(config).await.unwrap()
}

/// A certificate for `localhost`, and a client that trusts it.
struct Certificates {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

fn certificates() -> Certificates {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let chain = vec![made.cert.der().clone()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Certificates {
        server: Arc::new(server),
        client: Arc::new(client),
    }
}

/// A user agent right at Unified CM; it listens nowhere and is called by its own connection.
fn agent(
    at: &UnifiedCm,
    extension: &str,
    device: Option<&str>,
    hz: f64,
    tls: Option<&Certificates>,
) -> Agent {
    let (stack, incoming) = Stack::new(Setup {
        local: "127.0.0.1".parse().unwrap(),
        agent: "Lab-Client/1.0",
        names: None,
        dialing: tls.map(|tls| Arc::clone(&tls.client)),
        recorder: Recorder::new("client"),
    });
    let uplink = match tls {
        Some(_) => (at.sip_tls().unwrap(), Some("localhost".to_owned())),
        None => (at.sip(), None),
    };
    let profile = Profile {
        extension: extension.into(),
        domain: "example.test".into(),
        credentials: Some((format!("user{extension}"), "secret".into())),
        bearer: None,
        device: device.map(str::to_owned),
        uplink,
        route: None,
        media: "127.0.0.1".parse().unwrap(),
        secure: tls.is_some(),
        hz,
        port: None,
    };
    Agent::start(stack, incoming, profile)
}

async fn inside_phone(at: &UnifiedCm) -> Agent {
    let config = phone::Config {
        extension: "1100".into(),
        domain: "example.test".into(),
        sip: "127.0.0.1:0".parse().unwrap(),
        unified_cm: at.sip(),
        device: None,
        recorder: Recorder::new("inside"),
    };
    phone::start(config).await.unwrap()
}

#[tokio::test]
async fn registrar_grants_marks_refreshes_and_forgets() {
    let at = unified_cm(false, None).await;
    let alice = agent(&at, "1001", Some("CSFALICE"), ALICE_HZ, None);
    let first = alice.register().await.unwrap();
    assert_eq!(first.expires_s, 120);
    assert!(first.is_new && first.options, "{first:?}");
    assert!(first.contact.contains("CSFALICE"));
    assert_eq!(first.server, "Cisco-CUCM12.5");
    let second = alice.register().await.unwrap();
    assert!(!second.is_new);
    assert_eq!(first.call_id, second.call_id);
    assert!(alice.keep_alive().await.is_ok());
    let rows = at.registrations();
    assert_eq!((rows.len(), rows[0].refreshes), (1, 1));
    alice.unregister().await.unwrap();
    assert!(at.registrations().is_empty());
}

#[tokio::test]
async fn registrar_refuses_unknown_numbers_and_devices() {
    let at = unified_cm(false, None).await;
    let stranger = agent(&at, "4711", None, ALICE_HZ, None);
    assert!(
        stranger
            .register()
            .await
            .unwrap_err()
            .to_string()
            .contains("404")
    );
    let wrong = agent(&at, "1001", Some("CSFMALLORY"), ALICE_HZ, None);
    assert!(
        wrong
            .register()
            .await
            .unwrap_err()
            .to_string()
            .contains("404")
    );
    let bare = agent(&at, "1001", None, ALICE_HZ, None);
    assert!(bare.register().await.is_ok());
}

#[tokio::test]
async fn registrar_takes_a_digest_when_it_asks_for_one() {
    let at = unified_cm(true, None).await;
    let bob = agent(&at, "1002", None, BOB_HZ, None);
    let registered = bob.register().await.unwrap();
    assert_eq!(registered.realm, Some(("ccmsipline".into(), "MD5")));
}

#[tokio::test]
async fn call_to_the_phone_carries_tones_holds_resumes_and_ends() {
    let at = unified_cm(false, None).await;
    let phone = inside_phone(&at).await;
    let alice = agent(&at, "1001", Some("CSFALICE"), ALICE_HZ, None);
    alice.register().await.unwrap();
    let call = alice.call("1100").await.unwrap();
    let other = phone.next_call(PATIENCE).await.unwrap();
    assert_eq!(other.peer(), "1001");
    assert_ne!(call.id(), other.id());
    let (mine, theirs) = tokio::join!(
        call.listen(phone::HZ, PATIENCE),
        other.listen(ALICE_HZ, PATIENCE)
    );
    assert!(mine.unwrap().is_clear() && theirs.unwrap().is_clear());

    call.hold().await.unwrap();
    assert!(other.is_held());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(call.packets_within(Duration::from_millis(300)).await, 0);
    call.resume().await.unwrap();
    assert!(!other.is_held());
    assert!(call.listen(phone::HZ, PATIENCE).await.unwrap().is_clear());

    call.hang_up().await.unwrap();
    other.ended(PATIENCE).await.unwrap();
    assert!(alice.calls().is_empty() && phone.calls().is_empty());
    let view = at.calls().pop().unwrap();
    assert_eq!((view.from.as_str(), view.to.as_str()), ("1001", "1100"));
    let directions = [
        "sendrecv", "sendrecv", "sendonly", "recvonly", "sendrecv", "sendrecv",
    ];
    assert_eq!(view.directions, directions);
}

#[tokio::test]
async fn call_from_the_phone_reaches_a_registered_agent_and_it_may_hold_and_hang_up() {
    let at = unified_cm(false, None).await;
    let phone = inside_phone(&at).await;
    let alice = agent(&at, "1001", Some("CSFALICE"), ALICE_HZ, None);
    alice.register().await.unwrap();
    let call = phone.call("1001").await.unwrap();
    let other = alice.next_call(PATIENCE).await.unwrap();
    assert!(call.listen(ALICE_HZ, PATIENCE).await.unwrap().is_clear());
    other.hold().await.unwrap();
    assert!(call.is_held());
    other.resume().await.unwrap();
    assert!(!call.is_held());
    other.hang_up().await.unwrap();
    call.ended(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn call_with_a_late_offer_carries_tones_both_ways() {
    let at = unified_cm(false, None).await;
    let phone = inside_phone(&at).await;
    let alice = agent(&at, "1001", Some("CSFALICE"), ALICE_HZ, None);
    alice.register().await.unwrap();
    let call = phone.call_late("1001").await.unwrap();
    let other = alice.next_call(PATIENCE).await.unwrap();
    let (mine, theirs) = tokio::join!(
        call.listen(ALICE_HZ, PATIENCE),
        other.listen(phone::HZ, PATIENCE)
    );
    assert!(mine.unwrap().is_clear() && theirs.unwrap().is_clear());
    call.hang_up().await.unwrap();
    other.ended(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn secure_agents_call_each_other_over_tls_with_keys_of_their_own() {
    let tls = certificates();
    let at = unified_cm(false, Some(&tls)).await;
    let alice = agent(&at, "1001", Some("CSFALICE"), ALICE_HZ, Some(&tls));
    let bob = agent(&at, "1002", None, BOB_HZ, Some(&tls));
    alice.register().await.unwrap();
    bob.register().await.unwrap();
    let call = alice.call("1002").await.unwrap();
    let heard = call.listen(BOB_HZ, PATIENCE).await.unwrap();
    assert!(heard.is_clear() && heard.was_encrypted(), "{heard:?}");
    call.hang_up().await.unwrap();
}

#[tokio::test]
async fn calls_to_nobody_are_refused_with_the_right_status() {
    let at = unified_cm(false, None).await;
    let alice = agent(&at, "1001", None, ALICE_HZ, None);
    alice.register().await.unwrap();
    assert!(
        alice
            .call("4711")
            .await
            .unwrap_err()
            .to_string()
            .contains("404")
    );
    assert!(
        alice
            .call("1002")
            .await
            .unwrap_err()
            .to_string()
            .contains("480")
    );
    let stranger = agent(&at, "4711", None, BOB_HZ, None);
    assert!(
        stranger
            .call("1001")
            .await
            .unwrap_err()
            .to_string()
            .contains("403")
    );
}

#[test]
fn tokens_are_as_long_as_asked_and_differ() {
    let (one, other) = (message::token(8), message::token(8));
    assert_eq!(one.len(), 16);
    assert_ne!(one, other);
}
