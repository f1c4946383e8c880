//! Handshakes, names and trust, and their change under load.

use std::path::Path;
use std::time::Duration;

use net::tls::{self, Identity, Live, Trust};
use net::{Error, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::certificates::{Authority, Issued};

const SOON: Duration = Duration::from_secs(20);
const CONTROL: &[u8] = b"causeway-control/1";
type Outcome = Result<tls::Stream<TcpStream>, Error>;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, dialled) = tokio::join!(listener.accept(), TcpStream::connect(address));
    (accepted.unwrap().0, dialled.unwrap())
}

/// A mutual handshake over a real connection: what the edge and the core see of it.
async fn mutual(
    edge: (&Issued, &Trust, &[String]),
    core: (&Issued, &Trust, &str),
) -> (Outcome, Outcome) {
    let server = tls::link_server(&edge.0.identity(), edge.1, edge.2, &[CONTROL]).unwrap();
    let client = tls::link_client(&core.0.identity(), core.1, core.2, &[CONTROL]).unwrap();
    let (accepted, dialled) = pair().await;
    tokio::join!(
        async {
            let mut stream = tls::accept(server, accepted, SOON).await?;
            stream.write_all(b"!").await?;
            Ok(stream)
        },
        async {
            let mut stream = tls::connect(client, core.2, dialled, SOON).await?;
            // With TLS 1.3 the client learns the server's verdict with the first bytes.
            match stream.read_u8().await {
                Ok(_) => Ok(stream),
                Err(e) => Err(tls::explain(&e)),
            }
        },
    )
}

fn fault(outcome: &Outcome) -> Option<Fault> {
    match outcome {
        Err(Error::Handshake { fault, .. }) => Some(*fault),
        _ => None,
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|s| (*s).to_owned()).collect()
}

#[tokio::test]
async fn a_link_proves_both_names_and_shares_a_secret() {
    let ca = Authority::new("test authority");
    let edge = ca.issue(&["edge1.example.test"], "edge1.example.test");
    let core = ca.issue(&["core1.corp.example.test"], "core1");
    let accepted = names(&["core2.corp.example.test", "core1.corp.example.test"]);
    let (at_edge, at_core) = mutual(
        (&edge, &ca.trust(), &accepted),
        (&core, &ca.trust(), "edge1.example.test"),
    )
    .await;
    let (at_edge, at_core) = (at_edge.unwrap(), at_core.unwrap());
    let (certificate, name) = tls::peer(&at_edge, &accepted).unwrap();
    assert_eq!(name, Some("core1.corp.example.test"));
    assert_eq!(
        certificate.fingerprint,
        core.identity().certificate().unwrap().fingerprint
    );
    assert_eq!(certificate.fingerprint.len(), 64);
    assert_eq!(tls::negotiated(&at_edge), Some(CONTROL));
    let secret = tls::export::<_, 32>(&at_edge, b"EXPORTER-causeway-hello").unwrap();
    assert!(secret == tls::export::<_, 32>(&at_core, b"EXPORTER-causeway-hello").unwrap());
    assert!(secret != tls::export::<_, 32>(&at_core, b"EXPORTER-causeway-other").unwrap());
}

#[tokio::test]
async fn a_link_accepts_a_common_name_only_where_there_is_no_dns_name() {
    let ca = Authority::new("test authority");
    let edge = ca.issue(&[], "edge1.example.test");
    let core = ca.issue(&[], "Core1.corp.example.test");
    let accepted = names(&["core1.corp.example.test"]);
    let both = mutual(
        (&edge, &ca.trust(), &accepted),
        (&core, &ca.trust(), "edge1.example.test"),
    )
    .await;
    assert!(both.0.is_ok() && both.1.is_ok());

    let sly = ca.issue(&["other.example.test"], "core1.corp.example.test");
    let both = mutual(
        (&edge, &ca.trust(), &accepted),
        (&sly, &ca.trust(), "edge1.example.test"),
    )
    .await;
    assert_eq!(fault(&both.0), Some(Fault::NameMismatch));
}

/// F188: cores of a cluster have names of their own, and the cluster's beside.
#[tokio::test]
async fn a_link_accepts_every_core_of_a_cluster_by_the_name_that_all_of_them_have() {
    let ca = Authority::new("test authority");
    let edge = ca.issue(&["edge1.example.test"], "edge1.example.test");
    let accepted = names(&["cores.corp.example.test"]);
    for own in ["core1.corp.example.test", "core2.corp.example.test"] {
        for (with_cluster, want) in [(true, None), (false, Some(Fault::NameMismatch))] {
            let all = [own, "cores.corp.example.test"];
            let core = ca.issue(if with_cluster { &all } else { &all[..1] }, own);
            let both = mutual(
                (&edge, &ca.trust(), &accepted),
                (&core, &ca.trust(), "edge1.example.test"),
            )
            .await;
            assert_eq!(fault(&both.0), want, "{own}");
            assert_eq!(both.1.is_ok(), with_cluster, "{own}");
        }
    }
}

#[tokio::test]
async fn a_link_with_a_wrong_name_ends_in_an_alert_that_both_sides_can_read() {
    let ca = Authority::new("test authority");
    let edge = ca.issue(&["edge1.example.test"], "edge1.example.test");
    let core = ca.issue(&["core9.corp.example.test"], "core9");
    let accepted = names(&["core1.corp.example.test"]);
    let (at_edge, at_core) = mutual(
        (&edge, &ca.trust(), &accepted),
        (&core, &ca.trust(), "edge1.example.test"),
    )
    .await;
    assert_eq!(fault(&at_edge), Some(Fault::NameMismatch));
    assert_eq!(fault(&at_core), Some(Fault::WeAreRefused));
    let text = at_edge.unwrap_err().to_string();
    for part in [
        "core9.corp.example.test",
        "core1.corp.example.test was expected",
        "verify name",
    ] {
        assert!(text.contains(part), "{text}");
    }

    let core = ca.issue(&["core1.corp.example.test"], "core1");
    let (at_edge, at_core) = mutual(
        (&edge, &ca.trust(), &accepted),
        (&core, &ca.trust(), "edge2.example.test"),
    )
    .await;
    assert_eq!(fault(&at_edge), Some(Fault::WeAreRefused));
    assert_eq!(fault(&at_core), Some(Fault::NameMismatch));
}

#[tokio::test]
async fn a_link_refuses_strangers_the_expired_and_the_silent() {
    let (ca, other) = (
        Authority::new("test authority"),
        Authority::new("test authority"),
    );
    let edge = ca.issue(&["edge1.example.test"], "edge1");
    let accepted = names(&["core1.corp.example.test"]);

    let stranger = other.issue(&["core1.corp.example.test"], "core1");
    let (at_edge, at_core) = mutual(
        (&edge, &ca.trust(), &accepted),
        (&stranger, &ca.trust(), "edge1.example.test"),
    )
    .await;
    assert!(
        matches!(
            fault(&at_edge),
            Some(Fault::Untrusted | Fault::BadCertificate)
        ),
        "{at_edge:?}"
    );
    assert_eq!(fault(&at_core), Some(Fault::WeAreRefused));

    let expired = ca.issue_with(&["core1.corp.example.test"], "core1", |p| {
        p.not_before = rcgen::date_time_ymd(2019, 1, 1);
        p.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let (at_edge, _) = mutual(
        (&edge, &ca.trust(), &accepted),
        (&expired, &ca.trust(), "edge1.example.test"),
    )
    .await;
    assert_eq!(fault(&at_edge), Some(Fault::Dates));

    let server = tls::link_server(&edge.identity(), &ca.trust(), &accepted, &[CONTROL]).unwrap();
    let nameless = tls::inside_client(Some(&ca.trust()), &[CONTROL]).unwrap();
    let (accepted_stream, dialled) = pair().await;
    let (at_edge, _) = tokio::join!(
        tls::accept(server, accepted_stream, SOON),
        tls::connect(nameless, "edge1.example.test", dialled, SOON)
    );
    assert_eq!(fault(&at_edge), Some(Fault::NoCertificate));
}

#[tokio::test]
async fn a_listener_refuses_what_is_no_tls_and_those_who_dawdle() {
    let ca = Authority::new("test authority");
    let server = tls::client_facing(&ca.identity("edge1.example.test"), &[]).unwrap();
    let (accepted, mut dialled) = pair().await;
    dialled.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(
        fault(&tls::accept(server.clone(), accepted, SOON).await),
        Some(Fault::NotTls)
    );

    let (accepted, _dialled) = pair().await;
    let late = tls::accept(server.clone(), accepted, Duration::from_millis(20)).await;
    assert_eq!(fault(&late), Some(Fault::Timeout));

    let (accepted, dialled) = pair().await;
    drop(dialled);
    assert_eq!(
        fault(&tls::accept(server, accepted, SOON).await),
        Some(Fault::Closed)
    );
}

/// A client's handshake with a listener that asks for certificates, and what that learnt.
async fn shown(
    server: &std::sync::Arc<rustls::ServerConfig>,
    client: Option<&Issued>,
    ca: &Trust,
) -> Result<Option<String>, Fault> {
    let client = match client {
        Some(own) => tls::inside_mutual(&own.identity(), Some(ca)).unwrap(),
        None => tls::inside_client(Some(ca), &[]).unwrap(),
    };
    let (accepted, dialled) = pair().await;
    let dials = async {
        let mut stream = tls::connect(client, "edge1.example.test", dialled, SOON).await?;
        // Until the other side is through with it.
        let _ = stream.read_u8().await;
        Ok::<_, Error>(())
    };
    let accepts = async {
        match tls::accept(server.clone(), accepted, SOON).await {
            Ok(stream) => Ok(tls::peer(&stream, &[]).map(|(shown, _)| shown.shown())),
            Err(Error::Handshake { fault, .. }) => Err(fault),
            Err(other) => panic!("{other}"),
        }
    };
    tokio::join!(accepts, dials).0
}

#[tokio::test]
async fn clients_are_asked_for_a_certificate_only_of_the_authorities_that_were_named() {
    let (ours, phones, other) = (
        Authority::new("our authority"),
        Authority::new("telephones"),
        Authority::new("another"),
    );
    let edge = ours.identity("edge1.example.test");
    let good = phones.issue(&["csfalice.example.test"], "csfalice");
    let bad = other.issue(&["csfalice.example.test"], "csfalice");
    for (required, without) in [(false, Ok(None)), (true, Err(Fault::NoCertificate))] {
        let server = tls::client_asking(&edge, &phones.trust(), required, &[]).unwrap();
        let trust = ours.trust();
        let named = Some("csfalice.example.test".to_owned());
        assert_eq!(shown(&server, Some(&good), &trust).await, Ok(named));
        assert_eq!(
            shown(&server, Some(&bad), &trust).await,
            Err(Fault::Untrusted)
        );
        assert_eq!(shown(&server, None, &trust).await, without);
    }
    let plain = tls::client_facing(&edge, &[]).unwrap();
    assert_eq!(shown(&plain, Some(&good), &ours.trust()).await, Ok(None));
}

/// What a client makes of a listener's certificate.
async fn visit(server: &Live<rustls::ServerConfig>, trust: Option<&Trust>, name: &str) -> Outcome {
    let client = tls::inside_client(trust, &[]).unwrap();
    let (accepted, dialled) = pair().await;
    let (_, client) = tokio::join!(
        tls::accept(server.get(), accepted, SOON),
        tls::connect(client, name, dialled, SOON)
    );
    client
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_connection_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let live = Live::new(tls::client_facing(&old.identity("edge1.example.test"), &[]).unwrap());
    assert!(
        visit(&live, Some(&old.trust()), "edge1.example.test")
            .await
            .is_ok()
    );
    live.set(tls::client_facing(&new.identity("edge1.example.test"), &[]).unwrap());
    let refused = visit(&live, Some(&old.trust()), "edge1.example.test").await;
    assert!(matches!(
        fault(&refused),
        Some(Fault::Untrusted | Fault::BadCertificate)
    ));
    assert!(
        visit(&live, Some(&new.trust()), "edge1.example.test")
            .await
            .is_ok()
    );
    assert_eq!(
        fault(&visit(&live, Some(&new.trust()), "edge2.example.test").await),
        Some(Fault::NameMismatch)
    );
    assert!(visit(&live, None, "any.example.test").await.is_ok());
}

#[test]
fn files_that_are_wrong_are_named_with_cause_and_cure() {
    let ca = Authority::new("test authority");
    let (one, two) = (
        ca.issue(&["a.example.test"], "a"),
        ca.issue(&["b.example.test"], "b"),
    );
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
    let table: [(&str, &str, &[&str]); 5] = [
        ("", &one.key, &["certificate file", "holds no certificate"]),
        (&one.chain, "", &["key file", "holds no private key"]),
        (
            &one.chain,
            locked,
            &["key file", "the key is encrypted", "unencrypted"],
        ),
        (
            &one.chain,
            &two.key,
            &["key file", "does not belong to the certificate"],
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            &one.key,
            &["certificate file", "holds no X.509 certificate"],
        ),
    ];
    for (chain, key, parts) in table {
        let text = Identity::from_texts(chain.as_bytes(), key.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
        assert!(!text.contains("PRIVATE KEY-----"), "{text}");
    }
    let text = Trust::from_text(b"nothing").unwrap_err().to_string();
    assert!(text.contains("trusted certificates file") && text.contains("holds no certificate"));
    let nowhere = Path::new("/nonexistent/server.pem");
    let text = Identity::load(nowhere, nowhere).unwrap_err().to_string();
    assert!(
        text.contains("certificate file /nonexistent/server.pem"),
        "{text}"
    );
}

/// Whatever a host inside shows, it is let in; only what it proves differs.
#[tokio::test]
async fn a_host_inside_proves_the_names_of_a_certificate_that_we_trust_and_no_other() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let node = ours.issue(&["core1.corp.example.test"], "core1");
    let cases = [
        (
            ours.issue(&["sbc.partner.test", "b.test"], "x"),
            "sbc.partner.test b.test",
        ),
        (ours.issue(&[], "sbc.partner.test"), "sbc.partner.test"),
        (foreign.issue(&["sbc.partner.test"], "x"), ""),
    ];
    let trust = ours.trust();
    for (shown, proven) in &cases {
        let server = tls::inside_facing(&node.identity()).unwrap();
        let client = tls::inside_mutual(&shown.identity(), Some(&trust)).unwrap();
        let (accepted, dialled) = pair().await;
        let (at_us, at_host) = tokio::join!(
            tls::accept(server, accepted, SOON),
            tls::connect(client, "core1.corp.example.test", dialled, SOON),
        );
        at_host.unwrap();
        assert_eq!(tls::proven(&at_us.unwrap(), &trust).join(" "), *proven);
    }
    let server = tls::inside_facing(&node.identity()).unwrap();
    let client = tls::inside_client(Some(&trust), &[]).unwrap();
    let (accepted, dialled) = pair().await;
    let (at_us, at_host) = tokio::join!(
        tls::accept(server, accepted, SOON),
        tls::connect(client, "core1.corp.example.test", dialled, SOON),
    );
    at_host.unwrap();
    assert!(tls::proven(&at_us.unwrap(), &trust).is_empty());
}
