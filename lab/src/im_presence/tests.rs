//! Clients over TLS: sign-in, messages, presence, the SOAP interface.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use minidom::Element;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_xmpp::xmlstream::{StreamHeader, Timeouts, XmlStream, initiate_stream};
use xmpp_parsers::ns;

use super::*;
use crate::authority::Authority;
use crate::world::{DOMAIN, Size, World, secret};

type Secure = BufReader<TlsStream<TcpStream>>;

struct Lab {
    xmpp: SocketAddr,
    shared: Arc<Accounts>,
    connector: TlsConnector,
    https: SocketAddr,
    dir: PathBuf,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn lab() -> Lab {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = std::env::temp_dir().join(format!("lab-test-{}", secret(12)));
    std::fs::create_dir_all(&dir).unwrap();
    let authority = Authority::new(&dir).unwrap();
    let world = Arc::new(World::new(&Size {
        edges: 1,
        cores: 1,
        users: 10,
    }));
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let issued = authority
        .issue(&["imp1.example.test", DOMAIN], any.ip())
        .unwrap();
    let accounts = Arc::new(Accounts::new(world));
    let tls = issued.acceptor().unwrap();
    let (https, xmpp) = start(any, Some(any), tls, accounts.clone()).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&authority.certificate).unwrap())
        .unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    Lab {
        xmpp: xmpp.unwrap(),
        shared: accounts,
        connector,
        https,
        dir,
    }
}

fn header() -> StreamHeader<'static> {
    StreamHeader {
        from: None,
        to: Some(DOMAIN.into()),
        id: None,
    }
}

impl Lab {
    async fn secure(&self) -> XmlStream<Secure, Element> {
        let io = BufReader::new(TcpStream::connect(self.xmpp).await.unwrap());
        let pending = initiate_stream(io, ns::JABBER_CLIENT, header(), Timeouts::tight()).await;
        let (features, mut stream) = pending.unwrap().recv_features::<Element>().await.unwrap();
        assert!(features.can_starttls() && features.sasl_mechanisms.is_empty());
        stream
            .send(&Element::bare("starttls", ns::TLS))
            .await
            .unwrap();
        assert!(stream.next().await.unwrap().unwrap().is("proceed", ns::TLS));
        let name = ServerName::try_from(DOMAIN).unwrap();
        let tls = self
            .connector
            .connect(name, stream.into_inner().into_inner())
            .await
            .unwrap();
        let io = BufReader::new(tls);
        let pending = initiate_stream(io, ns::JABBER_CLIENT, header(), Timeouts::tight()).await;
        let (features, stream) = pending.unwrap().recv_features::<Element>().await.unwrap();
        assert!(features.sasl_mechanisms.contains("PLAIN"));
        stream
    }

    async fn client(&self, user: &str) -> XmlStream<Secure, Element> {
        let password = self.shared.world.user(user).unwrap().password.clone();
        let mut stream = self.secure().await;
        let answer = try_plain(&mut stream, user, &password).await;
        assert!(answer.is("success", ns::SASL), "{answer:?}");
        bind(stream, "lab").await
    }
}

async fn try_plain(stream: &mut XmlStream<Secure, Element>, user: &str, password: &str) -> Element {
    try_sasl(stream, "PLAIN", &format!("\0{user}\0{password}")).await
}

async fn try_sasl(stream: &mut XmlStream<Secure, Element>, mechanism: &str, data: &str) -> Element {
    let auth = format!(
        "<auth xmlns='{}' mechanism='{mechanism}'>{}</auth>",
        ns::SASL,
        STANDARD.encode(data)
    );
    stream
        .send(&auth.parse::<Element>().unwrap())
        .await
        .unwrap();
    stream.next().await.unwrap().unwrap()
}

async fn bind(stream: XmlStream<Secure, Element>, resource: &str) -> XmlStream<Secure, Element> {
    let again = stream.initiate_reset().send_header(header()).await.unwrap();
    let (features, mut stream) = again.recv_features::<Element>().await.unwrap();
    assert!(features.can_bind());
    say(
        &mut stream,
        &format!(
            "<iq type='set' id='b' xmlns='{}'><bind xmlns='{}'><resource>{resource}</resource>\
         </bind></iq>",
            ns::JABBER_CLIENT,
            ns::BIND
        ),
    )
    .await;
    let bound = stream.next().await.unwrap().unwrap();
    assert_eq!(bound.attr("type"), Some("result"));
    stream
}

async fn say(stream: &mut XmlStream<Secure, Element>, stanza: &str) {
    stream
        .send(&stanza.parse::<Element>().unwrap())
        .await
        .unwrap();
}

/// The next stanza of that name, past presence of others.
async fn next(stream: &mut XmlStream<Secure, Element>, name: &str) -> Element {
    loop {
        let got = stream.next().await.unwrap().unwrap();
        if got.name() == name {
            return got;
        }
    }
}

const AVAILABLE: &str = "<presence xmlns='jabber:client'/>";

fn text(stanza: &Element) -> String {
    stanza.get_child("body", ns::JABBER_CLIENT).unwrap().text()
}

#[tokio::test]
async fn message_passes_between_two_users_who_signed_in() {
    let lab = lab().await;
    let (mut alice, mut bob) = (lab.client("alice").await, lab.client("bob").await);
    say(&mut bob, AVAILABLE).await;
    say(
        &mut bob,
        "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>",
    )
    .await;
    next(&mut bob, "iq").await;

    say(
        &mut alice,
        "<message xmlns='jabber:client' to='bob@example.test' type='chat' from='eve@x'>\
        <body>Grüße &amp; &lt;more&gt;</body><x xmlns='urn:other'/></message>",
    )
    .await;

    let got = next(&mut bob, "message").await;
    assert_eq!(text(&got), "Grüße & <more>");
    assert_eq!(got.attr("from"), Some("alice@example.test/lab"));
    assert!(got.has_child("x", "urn:other"));
}

#[tokio::test]
async fn message_for_one_who_is_away_waits_with_its_time() {
    let lab = lab().await;
    let mut alice = lab.client("alice").await;
    let message =
        "<message xmlns='jabber:client' to='bob@example.test' type='chat'><body>1</body></message>";
    say(&mut alice, message).await;
    say(
        &mut alice,
        "<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>",
    )
    .await;
    let roster = next(&mut alice, "iq").await;
    assert_eq!(roster.children().next().unwrap().children().count(), 9);

    let mut bob = lab.client("bob").await;
    say(&mut bob, AVAILABLE).await;
    let got = next(&mut bob, "message").await;
    assert_eq!(text(&got), "1");
    assert!(got.has_child("delay", ns::DELAY));
}

#[tokio::test]
async fn message_to_nobody_comes_back() {
    let lab = lab().await;
    let mut alice = lab.client("alice").await;
    for (to, condition) in [
        ("nobody@example.test", "service-unavailable"),
        ("bob@example.org", "remote-server-not-found"),
    ] {
        say(
            &mut alice,
            &format!("<message xmlns='jabber:client' to='{to}'><body>1</body></message>"),
        )
        .await;
        let got = next(&mut alice, "message").await;
        assert_eq!(got.attr("type"), Some("error"));
        let why = got.get_child("error", ns::JABBER_CLIENT).unwrap();
        assert!(why.has_child(condition, ns::XMPP_STANZAS), "{why:?}");
    }
}

#[tokio::test]
async fn presence_of_a_colleague_is_seen_until_the_stream_ends() {
    let lab = lab().await;
    let mut alice = lab.client("alice").await;
    say(&mut alice, AVAILABLE).await;
    let mut bob = lab.client("bob").await;
    say(&mut bob, AVAILABLE).await;

    let from_bob = |p: &Element| p.attr("from") == Some("bob@example.test/lab");
    let mut seen = next(&mut alice, "presence").await;
    while !from_bob(&seen) {
        seen = next(&mut alice, "presence").await;
    }
    assert_eq!(seen.attr("type"), None);
    drop(bob);
    let mut gone = next(&mut alice, "presence").await;
    while !from_bob(&gone) {
        gone = next(&mut alice, "presence").await;
    }
    assert_eq!(gone.attr("type"), Some("unavailable"));
}

#[tokio::test]
async fn wrong_password_is_refused_and_the_third_ends_the_stream() {
    let lab = lab().await;
    let mut stream = lab.secure().await;
    for _ in 0..3 {
        let answer = try_plain(&mut stream, "alice", "wrong").await;
        assert!(answer.is("failure", ns::SASL) && answer.has_child("not-authorized", ns::SASL));
    }
    let end = stream.next().await.unwrap().unwrap();
    assert!(end.is("error", ns::STREAM), "{end:?}");
}

#[tokio::test]
async fn one_time_password_of_the_soap_interface_opens_the_chat() {
    let lab = lab().await;
    let alice = lab.shared.world.user("alice").unwrap().clone();
    let login = format!(
        "<login xmlns='urn:cisco:epas:soap' client-version='14' client-type='CUPC' force='true'>\
         <username>alice</username><password>{}</password></login>",
        alice.password
    );
    let key = between(&soap(&lab, "", &login).await, "session-key");
    let header = format!("<session-key xmlns='urn:cisco:epas:soap'>{key}</session-key>");
    let all = "<get-all-config xmlns='urn:cisco:epas:soap'><system-config/></get-all-config>";
    assert!(
        soap(&lab, &header, all)
            .await
            .contains("\"Presence.Domain\">example.test<")
    );
    let once = "<get-onetime-password xmlns='urn:cisco:epas:soap'/>";
    let password = between(&soap(&lab, &header, once).await, "password");
    assert!(soap(&lab, "", once).await.contains("<failure>"));

    let data = format!("userid=alice@example.test\0token={password}");
    let mut stream = lab.secure().await;
    assert!(
        try_sasl(&mut stream, "CISCO-VTG-TOKEN", &data)
            .await
            .is("success", ns::SASL)
    );
    bind(stream, "jabber").await;
    let mut second = lab.secure().await;
    assert!(
        try_sasl(&mut second, "CISCO-VTG-TOKEN", &data)
            .await
            .is("failure", ns::SASL)
    );
}

fn between(text: &str, tag: &str) -> String {
    let after = text
        .split_once(&format!("<{tag}>"))
        .unwrap_or_else(|| panic!("{text}"))
        .1;
    after.split('<').next().unwrap().to_owned()
}

async fn soap(lab: &Lab, header: &str, inner: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = format!(
        "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Header>{header}\
         </s:Header><s:Body>{inner}</s:Body></s:Envelope>"
    );
    let name = ServerName::try_from("imp1.example.test").unwrap();
    let plain = TcpStream::connect(lab.https).await.unwrap();
    let mut stream = lab.connector.connect(name, plain).await.unwrap();
    let head = format!(
        "POST /EPASSoap/service/v80 HTTP/1.1\r\nHost: imp1.example.test\r\nConnection: close\r\n\
         Content-Type: application/soap+xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}
