//! Reloads under load, half-written files, and what the node is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use net::tls;
use node::io::{CertificateNews, Input, Report};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use status::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::signal::{Clock, Handle, Post};

const SOON: Duration = Duration::from_secs(60);

const NODE: &str = "edge1.example.test";

const TEXT: &str = r#"role = "core"
name = "edge1"
domain = "example.test"
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

/// A node's files in a folder of their own, gone with the test.
struct Node {
    folder: PathBuf,
    config: Arc<Config>,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Node {
    fn new(name: &str) -> Self {
        net::tls::install();
        let process = std::process::id();
        let folder = std::env::temp_dir().join(format!("causeway-reload-{name}-{process}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("data")).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        let config = config::load(TEXT, &folder.join("causeway.toml"));
        let node = Node {
            config: Arc::new(config.unwrap().config),
            folder,
            authority,
        };
        node.renew();
        node
    }

    /// A new key and certificate in the place of the old ones.
    fn renew(&self) {
        let (chain, key) = self.issue(|_| ());
        self.write("server.key", &key);
        self.write("server.pem", &chain);
    }

    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(vec![NODE.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.authority).unwrap();
        (made.pem(), key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) {
        let beside = self.folder.join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.folder.join(name)).unwrap();
    }

    fn open(&self) -> Certificates {
        Certificates::open(&self.config).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Answers each byte of each client, with the configuration that is in use when it comes.
async fn serve(listener: TcpListener, live: Live<ServerConfig>, failed: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (config, failed) = (live.get(), failed.clone());
        tokio::spawn(async move {
            match tls::accept(config, stream, SOON).await {
                Ok(mut stream) => {
                    while let Ok(byte) = stream.read_u8().await {
                        if stream.write_u8(byte).await.is_err() || stream.flush().await.is_err() {
                            break;
                        }
                    }
                }
                Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
            }
        });
    }
}

async fn dial(
    to: std::net::SocketAddr,
    client: &Arc<rustls::ClientConfig>,
) -> tls::Stream<TcpStream> {
    let stream = TcpStream::connect(to).await.unwrap();
    tls::connect(client.clone(), NODE, stream, SOON)
        .await
        .unwrap()
}

async fn echo(stream: &mut tls::Stream<TcpStream>, byte: u8) {
    stream.write_u8(byte).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), byte);
}

fn shown(stream: &tls::Stream<TcpStream>) -> String {
    tls::peer(stream, &[]).unwrap().0.fingerprint
}

/// A number from the environment, for longer runs than every build can have.
fn from_environment(name: &str, usual: usize) -> usize {
    let set = std::env::var(name).ok().and_then(|n| n.parse().ok());
    set.unwrap_or(usual)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_under_load_drops_no_connection_and_the_next_handshake_has_the_new_one() {
    let clients = from_environment("RELOAD_CLIENTS", 32);
    let reloads = from_environment("RELOADS", 12);
    let node = Node::new("load");
    let certificates = node.open();
    let live = certificates.live(|loaded| tls::client_facing(&loaded.identity, &[]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let failed = Arc::new(AtomicUsize::new(0));
    tokio::spawn(serve(listener, live.unwrap(), failed.clone()));
    let trust = Trust::from_text(node.authority.pem().as_bytes()).unwrap();
    let client = tls::inside_client(Some(&trust), &[]).unwrap();

    // Some stand through all of it and are heard between reloads; others come and go all the time.
    let mut standing = Vec::new();
    for _ in 0..clients {
        standing.push(dial(address, &client).await);
    }
    let (done, coming) = tokio::sync::watch::channel(false);
    let handshakes = Arc::new(AtomicUsize::new(0));
    let comers: Vec<_> = (0..4)
        .map(|n| {
            let (client, handshakes, coming) = (client.clone(), handshakes.clone(), coming.clone());
            tokio::spawn(async move {
                while !*coming.borrow() {
                    let mut stream = dial(address, &client).await;
                    echo(&mut stream, n).await;
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..reloads {
        node.renew();
        let this = certificates.clone();
        let reloaded = tokio::task::spawn_blocking(move || this.reload());
        let reloaded = reloaded.await.unwrap().unwrap();
        assert!(reloaded.changed);
        let mut new = dial(address, &client).await;
        assert_eq!(shown(&new), reloaded.certificate.unwrap().fingerprint);
        echo(&mut new, 1).await;
        for stream in &mut standing {
            echo(stream, u8::try_from(round % 256).unwrap()).await;
        }
    }
    done.send(true).unwrap();
    for comer in comers {
        // A client that was dropped panicked.
        comer.await.unwrap();
    }
    assert!(handshakes.load(Ordering::Relaxed) > 0);
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    println!(
        "{reloads} reloads, {clients} standing connections, {} others: none dropped",
        handshakes.load(Ordering::Relaxed)
    );
}

#[test]
fn a_reload_that_one_leg_cannot_use_changes_none() {
    let node = Node::new("none");
    let certificates = node.open();
    let first = certificates.live(|loaded| tls::client_facing(&loaded.identity, &[]));
    let first = first.unwrap();
    let strict = node.folder.join("strict");
    std::fs::write(&strict, node.authority.pem()).unwrap();
    let path = strict.clone();
    let second = certificates.live(move |loaded| {
        let authorities = Trust::load(&path)?;
        tls::client_asking(&loaded.identity, &authorities, true, &[])
    });
    let second = second.unwrap();
    let before = (first.get(), second.get(), certificates.now());
    node.renew();
    std::fs::write(&strict, "no certificate").unwrap();
    let fault = certificates.reload().unwrap_err().to_string();
    assert!(fault.contains("strict"), "{fault}");
    assert!(Arc::ptr_eq(&before.0, &first.get()) && Arc::ptr_eq(&before.1, &second.get()));
    assert!(Arc::ptr_eq(&before.2, &certificates.now()));
    std::fs::write(&strict, node.authority.pem()).unwrap();
    assert!(certificates.reload().unwrap().changed);
    assert!(!Arc::ptr_eq(&before.0, &first.get()) && !Arc::ptr_eq(&before.1, &second.get()));
}

#[test]
fn authorities_of_the_folder_count_beside_those_of_the_file_from_the_next_reload_on() {
    let node = Node::new("folder");
    let certificates = node.open();
    assert_eq!(certificates.now().trust.count(), 1);
    let other = Node::new("folder-other");
    let now = Clock::start().now().unix;
    let pem = other.authority.pem();
    let added = certificates.store().add(pem.as_bytes(), now).unwrap();
    assert_eq!(certificates.reload().unwrap().trusted, 2);
    assert_eq!(trust(&node.config).unwrap().count(), 2);
    certificates
        .store()
        .remove(&added[0].certificate.fingerprint)
        .unwrap();
    let reloaded = certificates.reload().unwrap();
    assert!(reloaded.trusted == 1 && !reloaded.changed);
}

/// The next news of certificates.
async fn news(posts: &mut mpsc::Receiver<Post>) -> CertificateNews {
    loop {
        if let Some(Post::Input(Input::Report(Report::Certificate(news)))) = posts.recv().await {
            return news;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_change_are_taken_and_those_that_cannot_be_are_told_once() {
    let node = Node::new("watch");
    let certificates = node.open();
    let live = certificates.live(|loaded| tls::client_facing(&loaded.identity, &[]));
    let live = live.unwrap();
    let (handle, mut posts) = Handle::new();
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let watching = watch(certificates.clone(), handle, Clock::start(), stopping);
    let watching = tokio::spawn(watching);
    // It looks once before anything changes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = live.get();
    node.renew();
    let told = news(&mut posts).await;
    assert_eq!(told.kind, Kind::CertificateTaken);
    assert_eq!(told.names.as_deref(), Some(&[NODE.to_owned()][..]));
    assert!(!Arc::ptr_eq(&before, &live.get()));

    let (chain, _) = node.issue(|_| ());
    node.write("server.pem", &chain);
    let told = news(&mut posts).await;
    assert_eq!(told.kind, Kind::CertificateNotTaken);
    let seen = &told.proof[0].1;
    assert!(
        seen.contains("does not belong to the certificate"),
        "{seen}"
    );
    // What an administrator had taken is not taken once more.
    node.renew();
    certificates.reload().unwrap();
    let (chain, key) = node.issue(|_| ());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(posts.try_recv().is_err());
    node.write("server.pem", &chain);
    assert_eq!(news(&mut posts).await.kind, Kind::CertificateNotTaken);
    // The other half comes, after minutes in which nothing is told.
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(posts.try_recv().is_err());
    node.write("server.key", &key);
    assert_eq!(news(&mut posts).await.kind, Kind::CertificateTaken);
    stop.send(true).unwrap();
    watching.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn certificates_that_end_soon_are_told_of_with_whose_they_are() {
    let node = Node::new("ends");
    let now = Clock::start().now().unix;
    let days = |days: u64| {
        let seconds = now.as_secs() + days * 24 * 3600;
        let seconds = i64::try_from(seconds).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs())
    };
    let (chain, key) = node.issue(|p| p.not_after = days(6));
    node.write("server.key", &key);
    node.write("server.pem", &chain);
    let certificates = node.open();
    let other = Node::new("ends-other");
    let (peer, _) = other.issue(|p| p.not_after = days(13));
    certificates.store().add(peer.as_bytes(), now).unwrap();
    certificates.reload().unwrap();
    let (handle, mut posts) = Handle::new();
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let watching = watch(certificates.clone(), handle, Clock::start(), stopping);
    let watching = tokio::spawn(watching);
    let (first, second) = (news(&mut posts).await, news(&mut posts).await);
    assert_eq!(
        (first.kind, second.kind),
        (Kind::CertificateEnds, Kind::CertificateEnds)
    );
    assert_eq!(
        first.cause,
        "this node's certificate runs out within 7 days"
    );
    assert_eq!(
        second.cause,
        "a trusted authority's certificate runs out within 14 days"
    );
    assert!(first.proof.contains(&("names", NODE.to_owned())));
    // Hours later nothing has been told again.
    tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
    assert!(posts.try_recv().is_err());
    stop.send(true).unwrap();
    watching.await.unwrap();
}
