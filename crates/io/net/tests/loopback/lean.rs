//! TLS without buffers of its own, against the library's usual stream.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use net::tls::{self, Lean};
use net::{Error, Fault};
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

use crate::certificates::Authority;

const SOON: Duration = Duration::from_secs(20);
const NAME: &str = "edge1.example.test";

type Client = tokio_rustls::client::TlsStream<DuplexStream>;

/// A connection that gives so many bytes at a time, and one of them changed.
struct Cut {
    stream: DuplexStream,
    piece: usize,
    /// Bytes until the one that is changed.
    changed: Option<usize>,
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = vec![0; self.piece.min(buf.remaining())];
        let mut part = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        if let Some(left) = self.changed {
            if let Some(byte) = part.filled_mut().get_mut(left) {
                *byte ^= 0x55;
            }
            self.changed = left.checked_sub(part.filled().len());
        }
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = self.piece.min(buf.len());
        Pin::new(&mut self.stream).poll_write(cx, &buf[..n])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn client(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.pem.as_bytes();
    for certificate in rustls_pki_types::pem::PemObject::pem_slice_iter(pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Both ends; the server's reads and writes so many bytes at a time, and the client's records are
/// small, if that is asked for.
async fn pair_with(
    versions: &[&'static SupportedProtocolVersion],
    piece: usize,
    fragment: Option<usize>,
) -> (Lean<Cut>, Client) {
    let authority = Authority::new("test authority");
    let server = tls::client_facing(&authority.identity(NAME), &[b"h2", b"http/1.1"]).unwrap();
    let mut client = client(&authority, versions);
    client.max_fragment_size = fragment;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let (near, far) = duplex(64 * 1024);
    let near = Cut {
        stream: near,
        piece,
        changed: None,
    };
    let (accepted, dialled) = tokio::join!(
        tls::accept_lean(server, near, SOON),
        connector.connect(NAME.try_into().unwrap(), far)
    );
    (accepted.unwrap(), dialled.unwrap())
}

async fn pair(versions: &[&'static SupportedProtocolVersion], piece: usize) -> (Lean<Cut>, Client) {
    pair_with(versions, piece, None).await
}

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

#[tokio::test]
async fn bytes_go_both_ways_whole_however_the_connection_cuts_them() {
    let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    for version in BOTH {
        for (piece, fragment) in [(7, None), (1500, Some(40)), (usize::MAX, None)] {
            let (mut lean, mut client) = pair_with(&[version], piece, fragment).await;
            assert_eq!(lean.negotiated(), Some(&b"http/1.1"[..]));
            let up = async {
                client.write_all(&data).await.unwrap();
                client.flush().await.unwrap();
                let mut back = vec![0; data.len()];
                client.read_exact(&mut back).await.unwrap();
                assert!(back == data);
                client.shutdown().await.unwrap();
                client.read_to_end(&mut back).await.unwrap();
            };
            let down = async {
                let mut there = vec![0; data.len()];
                lean.read_exact(&mut there).await.unwrap();
                assert!(there == data);
                lean.write_all(&there).await.unwrap();
                lean.flush().await.unwrap();
                assert_eq!(lean.read(&mut there).await.unwrap(), 0, "a farewell");
                lean.shutdown().await.unwrap();
            };
            tokio::join!(up, down);
        }
    }
}

#[tokio::test]
async fn keys_change_in_the_middle_when_the_client_wants_it() {
    let (mut lean, mut client) = pair(&[&rustls::version::TLS13], 100).await;
    for _ in 0..3 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        let (said, heard) = tokio::join!(client.write_all(b"hello"), async {
            let mut five = [0; 5];
            lean.read_exact(&mut five).await.unwrap();
            lean.write_all(&five).await.unwrap();
            lean.flush().await.unwrap();
            five
        });
        said.unwrap();
        assert_eq!(&heard, b"hello");
        let mut back = [0; 5];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
    }
}

#[tokio::test]
async fn an_end_without_a_farewell_is_told_and_one_with_it_is_an_end() {
    let (mut lean, client) = pair(&BOTH, 1000).await;
    drop(client.into_inner().0);
    let cut = lean.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);

    let (mut lean, mut client) = pair(&BOTH, 1000).await;
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    lean.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"last");
}

#[tokio::test]
async fn nothing_is_written_after_our_farewell() {
    let (mut lean, mut client) = pair(&BOTH, 1000).await;
    client.shutdown().await.unwrap();
    assert_eq!(lean.read(&mut [0; 8]).await.unwrap(), 0);
    lean.shutdown().await.unwrap();
    assert!(lean.write_all(b"more").await.is_err());
}

#[tokio::test]
async fn a_record_that_was_changed_ends_the_connection_with_an_alert() {
    let (mut lean, client) = pair(&BOTH, 1000).await;
    let (mut below, _) = client.into_inner();
    // A record of application data that no key has made.
    let forged = [&[23, 3, 3, 0, 32][..], &[7; 32]].concat();
    below.write_all(&forged).await.unwrap();
    let refused = lean.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidData);
    drop(lean);
    let mut told = Vec::new();
    below.read_to_end(&mut told).await.unwrap();
    // An alert is encrypted as application data (RFC 8446 §5.2).
    assert_eq!(told.first(), Some(&23), "{told:?}");
}

#[tokio::test]
async fn a_byte_that_is_changed_anywhere_ends_the_connection_in_good_order() {
    let authority = Authority::new("test authority");
    let server = tls::client_facing(&authority.identity(NAME), &[b"http/1.1"]).unwrap();
    for (version, fragment) in BOTH.into_iter().zip([None, Some(40)]) {
        let mut config = client(&authority, &[version]);
        config.max_fragment_size = fragment;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        for at in (0..600).step_by(3) {
            let (near, far) = duplex(64 * 1024);
            let near = Cut {
                stream: near,
                piece: 100,
                changed: Some(at),
            };
            let (served, ()) = tokio::join!(
                async {
                    let mut lean = tls::accept_lean(server.clone(), near, SOON).await.ok()?;
                    let mut all = Vec::new();
                    lean.read_to_end(&mut all).await.ok()?;
                    lean.shutdown().await.ok()?;
                    Some(all)
                },
                async {
                    let name = NAME.try_into().unwrap();
                    if let Ok(mut client) = connector.connect(name, far).await {
                        // It may be cut off at any point of this.
                        let _ = client.write_all(b"hello").await;
                        let _ = client.shutdown().await;
                        let _ = client.read_to_end(&mut Vec::new()).await;
                    }
                }
            );
            // Whatever is not authenticated, such as a session id, may be anything.
            assert!(served.is_none_or(|all| all == b"hello"), "{at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_none_or_does_not_end_is_refused_by_its_name() {
    let authority = Authority::new("test authority");
    let server = tls::client_facing(&authority.identity(NAME), &[]).unwrap();
    let refused = |said: Vec<u8>, stay: bool| {
        let server = server.clone();
        async move {
            let (near, mut far) = duplex(256 * 1024);
            far.write_all(&said).await.unwrap();
            let far = stay.then_some(far);
            let accepted = tls::accept_lean(server, near, SOON).await;
            drop(far);
            match accepted {
                Err(Error::Handshake { fault, .. }) => fault,
                _ => panic!("a handshake was done"),
            }
        }
    };
    let plain = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    assert_eq!(refused(plain, true).await, Fault::NotTls);
    // The beginning of a ClientHello, and then nothing.
    let begun = [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3].to_vec();
    assert_eq!(refused(begun.clone(), false).await, Fault::Closed);
    assert_eq!(refused(begun, true).await, Fault::Timeout);
    // A ClientHello of 16 MB, in records of 16 KiB: it is not waited for.
    let mut large = Vec::new();
    for nth in 0..8 {
        let mut piece = vec![0; 16 * 1024];
        if nth == 0 {
            piece[..4].copy_from_slice(&[1, 255, 255, 255]);
        }
        large.extend([22, 3, 1, 64, 0]);
        large.extend(piece);
    }
    let fault = refused(large, true).await;
    assert!(matches!(fault, Fault::NotTls | Fault::Other), "{fault:?}");
}
