//! Authorities by fingerprint, certificates that are trusted as they are, and what a refusal tells.

use std::path::Path;
use std::time::Duration;

use net::tls::{self, Identity, Seen, Trust};
use net::{Error, Fault};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::{TcpListener, TcpStream};

use crate::certificates::{Authority, Issued};

const SOON: Duration = Duration::from_secs(20);
const NAME: &str = "cucm1.example.test";

/// Signed by itself, as servers make them at their installation.
fn own(name: &str, authority: bool, change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Issued {
        chain: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn der(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap()
}

/// Trusts each of these.
fn trusting(all: &[&Issued]) -> Trust {
    let first = Trust::from_text(all[0].chain.as_bytes()).unwrap();
    let more: Vec<_> = all[1..].iter().map(|issued| der(issued)).collect();
    first.and(&more, Path::new("trusted")).unwrap()
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, dialled) = tokio::join!(listener.accept(), TcpStream::connect(address));
    (accepted.unwrap().0, dialled.unwrap())
}

/// The fault and text of a refusal; nothing if the server was taken.
async fn visit(
    server: &Identity,
    client: std::sync::Arc<rustls::ClientConfig>,
    name: &str,
) -> Option<(Fault, String)> {
    let server = tls::client_facing(server, &[]).unwrap();
    let (accepted, dialled) = pair().await;
    let (_, seen) = tokio::join!(
        tls::accept(server, accepted, SOON),
        tls::connect(client, name, dialled, SOON)
    );
    refusal(seen.map(drop))
}

fn refusal(seen: Result<(), Error>) -> Option<(Fault, String)> {
    match seen {
        Ok(()) => None,
        Err(Error::Handshake { fault, cause, .. }) => Some((fault, cause)),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn two_self_signed_certificates_of_one_name_are_both_trusted_and_a_third_is_not() {
    for authority in [false, true] {
        let [one, two, third] = [0; 3].map(|_| own(NAME, authority, |_| ()));
        let trust = trusting(&[&one, &two]);
        assert_eq!(trust.count(), 2);
        let names = [NAME.to_owned()];
        for client in [
            tls::inside_client(Some(&trust), &[]).unwrap(),
            tls::named_client(&trust, &names).unwrap(),
        ] {
            for server in [&one, &two] {
                let seen = visit(&server.identity(), client.clone(), NAME).await;
                assert_eq!(seen, None, "authority: {authority}");
            }
            let seen = visit(&third.identity(), client, NAME).await;
            assert!(seen.is_some(), "authority: {authority}");
        }
        // With one of them alone the other is a stranger, whatever its name.
        let client = tls::inside_client(Some(&trusting(&[&one])), &[]).unwrap();
        assert!(visit(&two.identity(), client, NAME).await.is_some());
    }
}

#[tokio::test]
async fn a_certificate_that_is_trusted_as_it_is_still_needs_its_name_and_dates() {
    let good = own(NAME, true, |_| ());
    let past = own(NAME, true, |p| {
        p.not_after = rcgen::date_time_ymd(2020, 1, 1)
    });
    let trust = trusting(&[&good, &past]);
    let client = tls::inside_client(Some(&trust), &[]).unwrap();
    assert_eq!(visit(&good.identity(), client.clone(), NAME).await, None);
    let seen = visit(&good.identity(), client.clone(), "other.example.test").await;
    assert!(seen.is_some_and(|(_, text)| text.contains("wanted was other.example.test")));
    let (fault, text) = visit(&past.identity(), client.clone(), NAME).await.unwrap();
    assert!(fault == Fault::Dates && text.contains("run out"), "{text}");
    // One that nobody trusts is told as that, not as an authority's.
    let stranger = own(NAME, true, |_| ());
    let (fault, text) = visit(&stranger.identity(), client, NAME).await.unwrap();
    assert!(
        fault == Fault::Untrusted && text.contains("self-signed"),
        "{text}"
    );
    let names = ["other.example.test".to_owned()];
    let client = tls::named_client(&trust, &names).unwrap();
    let (fault, _) = visit(&good.identity(), client, NAME).await.unwrap();
    assert_eq!(fault, Fault::NameMismatch);
}

#[tokio::test]
async fn a_link_of_self_signed_authorities_stands_where_each_trusts_the_others_certificate() {
    let edge = own("edge1.example.test", true, |_| ());
    let core = own("core1.example.test", true, |_| ());
    let stranger = own("core1.example.test", true, |_| ());
    let accepted = ["core1.example.test".to_owned()];
    for (core_shows, stands) in [(&core, true), (&stranger, false)] {
        let server =
            tls::link_server(&edge.identity(), &trusting(&[&core]), &accepted, &[]).unwrap();
        let trust = trusting(&[&edge]);
        let client =
            tls::link_client(&core_shows.identity(), &trust, "edge1.example.test", &[]).unwrap();
        let (accepted, dialled) = pair().await;
        let (at_edge, _) = tokio::join!(
            tls::accept(server, accepted, SOON),
            tls::connect(client, "edge1.example.test", dialled, SOON)
        );
        assert_eq!(at_edge.is_ok(), stands);
    }
}

#[tokio::test]
async fn a_refused_certificate_is_told_with_the_name_wanted_the_names_found_and_its_issuer() {
    let (ca, other) = (Authority::new("Our CA"), Authority::new("Their CA"));
    let trust = ca.trust();
    let names = [NAME.to_owned(), "pbx.example.test".to_owned()];
    let past = |p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let use_of_clients = |p: &mut CertificateParams| {
        p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    let cases = [
        (
            other.issue(&["found.example.test"], "x"),
            "authority is not trusted",
        ),
        (ca.issue_with(&["found.example.test"], "x", past), "run out"),
        (
            ca.issue_with(&["found.example.test"], "x", use_of_clients),
            "extendedKeyUsage",
        ),
        (ca.issue(&["found.example.test"], "x"), ""),
    ];
    for (server, why) in &cases {
        for client in [
            tls::inside_client(Some(&trust), &[]).unwrap(),
            tls::inside_mutual(&ca.identity("core1.example.test"), Some(&trust)).unwrap(),
            tls::named_client(&trust, &names).unwrap(),
            tls::link_client(&ca.identity("core1.example.test"), &trust, NAME, &[]).unwrap(),
        ] {
            let (_, text) = visit(&server.identity(), client, NAME).await.unwrap();
            for part in ["found.example.test", NAME, *why] {
                assert!(text.contains(part), "{part}: {text}");
            }
            let told = text.contains("CA") && text.contains("SHA-256");
            assert!(told || why.is_empty(), "{text}");
        }
    }
}

#[tokio::test]
async fn an_edge_tells_the_certificate_that_a_core_showed_and_the_names_it_accepts() {
    let (ca, other) = (Authority::new("Our CA"), Authority::new("Their CA"));
    let accepted = [
        "core1.example.test".to_owned(),
        "core2.example.test".to_owned(),
    ];
    let edge = ca.identity("edge1.example.test");
    let server = tls::link_server(&edge, &ca.trust(), &accepted, &[]).unwrap();
    for (core, part) in [
        (other.issue(&["core9.example.test"], "x"), "Their CA"),
        (ca.issue(&["core9.example.test"], "x"), "was expected"),
    ] {
        let client = tls::link_client(&core.identity(), &ca.trust(), "edge1.example.test", &[]);
        let (taken, dialled) = pair().await;
        let (at_edge, _) = tokio::join!(
            tls::accept(server.clone(), taken, SOON),
            tls::connect(client.unwrap(), "edge1.example.test", dialled, SOON)
        );
        let (_, text) = refusal(at_edge.map(drop)).unwrap();
        for part in [
            "core9.example.test",
            "core1.example.test or core2.example.test",
            part,
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[tokio::test]
async fn certificates_of_peers_are_remembered_once_they_were_taken() {
    let (ca, other) = (Authority::new("Our CA"), Authority::new("Their CA"));
    let seen = Seen::default();
    let trust = ca.trust().remembering(seen.clone());
    let client = tls::inside_client(Some(&trust), &[]).unwrap();
    let (good, bad) = (ca.issue(&[NAME], "x"), other.issue(&[NAME], "x"));
    visit(&bad.identity(), client.clone(), NAME).await.unwrap();
    assert_eq!(seen.peers(), []);
    for _ in 0..2 {
        assert_eq!(visit(&good.identity(), client.clone(), NAME).await, None);
    }
    let peers = seen.peers();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].wanted, NAME);
    let renewed = ca.issue(&[NAME], "x");
    assert_eq!(visit(&renewed.identity(), client, NAME).await, None);
    let now = seen.peers();
    assert_eq!(now.len(), 1);
    assert_ne!(
        now[0].certificate.fingerprint,
        peers[0].certificate.fingerprint
    );
}
