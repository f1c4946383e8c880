//! The tunnel on 2222: what it lets in, and what not.

use std::sync::Arc;
use std::time::Duration;

use net::Error;
use net::ssh::{Accepted, Acceptor, Dialled, Key, Pins, Tunnel, dial};
use russh::client;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, dialled) = tokio::join!(listener.accept(), TcpStream::connect(address));
    (accepted.unwrap().0, dialled.unwrap())
}

/// Both ends of a session, and who may make it.
pub type Ends = (Accepted, Dialled, Pins);

/// An edge that has pinned the core as peer 3, and the core's session with it.
pub async fn session() -> (Accepted, Dialled, Pins) {
    let (host, core, pins) = (
        Key::generate().unwrap(),
        Key::generate().unwrap(),
        Pins::default(),
    );
    pins.set(3, Some(core.public()));
    let acceptor = Acceptor::new(&host, pins.clone());
    let (at_edge, at_core) = pair().await;
    let host_key = host.public();
    let (accepted, dialled) =
        tokio::join!(acceptor.accept(at_edge), dial(at_core, &core, &host_key));
    (accepted.unwrap(), dialled.unwrap(), pins)
}

pub async fn tunnel(edge: &Accepted, core: &mut Dialled) -> (Tunnel, Tunnel) {
    let (at_edge, at_core) = tokio::join!(edge.open(), core.next());
    (at_edge.unwrap(), at_core.unwrap())
}

#[tokio::test]
async fn a_pinned_core_gets_tunnels_that_carry_bytes_both_ways() {
    let (edge, mut core, _pins) = session().await;
    assert_eq!(edge.peer(), 3);
    let (mut a, mut b) = tunnel(&edge, &mut core).await;
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        a.write_all(&sent).await.unwrap();
        a.flush().await.unwrap();
        let mut answer = [0; 4];
        a.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"done");
        a
    });
    let mut got = vec![0; expected.len()];
    b.read_exact(&mut got).await.unwrap();
    assert!(got == expected);
    b.write_all(b"done").await.unwrap();
    drop(writer.await.unwrap());
    assert_eq!(
        b.read(&mut [0; 1]).await.unwrap(),
        0,
        "dropping one end closes the other"
    );
}

#[tokio::test]
async fn strangers_and_impostors_are_refused_by_either_side() {
    let (host, core, pins) = (
        Key::generate().unwrap(),
        Key::generate().unwrap(),
        Pins::default(),
    );
    let acceptor = Acceptor::new(&host, pins.clone());
    let host_key = host.public();

    let (at_edge, at_core) = pair().await;
    let (refused, told) = tokio::join!(acceptor.accept(at_edge), async {
        let told = dial(at_core, &core, &host_key).await;
        told.err().unwrap().to_string()
    });
    assert!(matches!(refused.err().unwrap(), Error::Ssh { .. }));
    assert!(
        told.contains("does not take our key") && told.contains("control link"),
        "{told}"
    );

    pins.set(0, Some(core.public()));
    let (at_edge, at_core) = pair().await;
    let other = Key::generate().unwrap().public();
    let (_, told) = tokio::join!(acceptor.accept(at_edge), async {
        dial(at_core, &core, &other)
            .await
            .err()
            .unwrap()
            .to_string()
    });
    assert!(told.contains("another host key"), "{told}");
}

#[tokio::test]
async fn a_session_ends_when_its_key_is_no_longer_pinned() {
    let (mut edge, mut core, pins) = session().await;
    let other = Key::generate().unwrap().public();
    pins.set(7, Some(other));
    let (_a, _b) = tunnel(&edge, &mut core).await;
    pins.set(3, None);
    assert!(edge.ended().await.contains("no longer the pinned one"));
    drop(edge);
    assert!(core.next().await.is_err());
}

#[tokio::test]
async fn who_dawdles_over_the_sign_in_is_cut_off() {
    let acceptor = Acceptor::new(&Key::generate().unwrap(), Pins::default())
        .with_sign_in(Duration::from_millis(50));
    let (at_edge, mut silent) = pair().await;
    assert!(matches!(
        acceptor.accept(at_edge).await.err(),
        Some(Error::Timeout { .. })
    ));
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
    assert!(rest.starts_with(b"SSH-2.0-Causeway"));
}

struct Curious;

impl client::Handler for Curious {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

#[tokio::test]
async fn a_core_key_opens_one_forward_and_nothing_else() {
    let (host, pins) = (Key::generate().unwrap(), Pins::default());
    let folder = std::env::temp_dir().join(format!("causeway-ssh-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("core.key");
    pins.set(1, Some(Key::load_or_generate(&file).unwrap().public()));
    let key = Arc::new(PrivateKey::from_openssh(std::fs::read(&file).unwrap()).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();

    let acceptor = Acceptor::new(&host, pins);
    let (at_edge, at_core) = pair().await;
    let edge = tokio::spawn(async move { acceptor.accept(at_edge).await });
    let mut core = client::connect_stream(Arc::default(), at_core, Curious)
        .await
        .unwrap();
    let with_key = || PrivateKeyWithHashAlg::new(key.clone(), None);
    assert!(
        !core
            .authenticate_publickey("root", with_key())
            .await
            .unwrap()
            .success()
    );
    assert!(
        !core
            .authenticate_password("causeway", "x")
            .await
            .unwrap()
            .success()
    );
    assert!(
        core.authenticate_publickey("causeway", with_key())
            .await
            .unwrap()
            .success()
    );

    assert!(core.channel_open_session().await.is_err());
    assert!(
        core.channel_open_direct_tcpip("127.0.0.1", 443, "127.0.0.1", 1)
            .await
            .is_err()
    );
    assert!(
        core.channel_open_direct_streamlocal("/run/docker.sock")
            .await
            .is_err()
    );
    assert!(core.channel_open_x11("127.0.0.1", 1).await.is_err());
    for (host, port) in [
        ("", 8443),
        ("0.0.0.0", 8443),
        ("localhost", 8444),
        ("localhost", 0),
    ] {
        assert!(
            core.tcpip_forward(host, port).await.is_err(),
            "{host}:{port}"
        );
    }
    assert!(core.streamlocal_forward("/tmp/x").await.is_err());
    core.tcpip_forward("localhost", 8443).await.unwrap();
    assert!(
        core.tcpip_forward("localhost", 8443).await.is_err(),
        "only once"
    );
    assert_eq!(edge.await.unwrap().unwrap().peer(), 1);
}

#[tokio::test]
async fn a_tunnel_nobody_reads_is_closed_and_the_others_go_on() {
    let (edge, mut core, _pins) = session().await;
    let (at_edge, at_core) = tokio::join!(edge.open_with(1024 * 1024), core.next());
    let (mut unread, mut flood) = (at_edge.unwrap(), at_core.unwrap());
    let (mut a, mut b) = tunnel(&edge, &mut core).await;
    let block = vec![7; 64 * 1024];
    // Ends when the edge has closed the channel.
    while flood.write_all(&block).await.is_ok() {}
    a.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    b.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"still here");
    let mut rest = Vec::new();
    assert!(unread.read_to_end(&mut rest).await.is_err());
    assert!(rest.len() <= 1024 * 1024);
}

#[test]
fn keys_are_kept_in_openssh_format_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("causeway-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("host.key");
    let made = Key::load_or_generate(&file).unwrap();
    assert_eq!(
        made.public(),
        Key::load_or_generate(&file).unwrap().public()
    );
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
    let public = made.public().to_string();
    assert!(public.starts_with("ssh-ed25519 AAAA"));
    assert_eq!(
        format!("{public} comment")
            .parse::<net::ssh::PublicKey>()
            .unwrap(),
        made.public()
    );
    assert!(!format!("{made:?}").contains("PRIVATE"));
    std::fs::write(&file, "rubbish").unwrap();
    let told = Key::load_or_generate(&file).unwrap_err().to_string();
    assert!(
        told.contains("host.key") && told.contains("remove the file"),
        "{told}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
    assert!("ssh-rsa AAAA".parse::<net::ssh::PublicKey>().is_err());
}
