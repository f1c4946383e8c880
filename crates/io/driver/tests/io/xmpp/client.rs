//! A small XMPP client.

use std::net::SocketAddr;

use net::tls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Authority, SOON};

pub const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.test' version='1.0' \
    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
pub const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>\
    AGFsaWNlAHNlY3JldA==</auth>";
pub const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
    <resource>desk</resource></bind></iq>";

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub struct Client {
    stream: Box<dyn Duplex>,
    tcp: Option<TcpStream>,
    heard: Vec<u8>,
}

impl Client {
    pub async fn plain(edge: SocketAddr) -> Client {
        let stream = TcpStream::connect(edge).await.unwrap();
        Client {
            stream: Box::new(tokio::io::empty()),
            tcp: Some(stream),
            heard: Vec::new(),
        }
    }

    pub async fn secured(edge: SocketAddr, ca: &Authority) -> Client {
        let mut client = Client::plain(edge).await;
        client.say(HEADER).await;
        client.until("</stream:features>").await;
        client.say(STARTTLS).await;
        client
            .until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            .await;
        client.handshake(ca, &[]).await.unwrap()
    }

    pub async fn direct(
        edge: SocketAddr,
        ca: &Authority,
        alpn: &[&[u8]],
    ) -> Result<Client, net::Error> {
        Client::plain(edge).await.handshake(ca, alpn).await
    }

    pub async fn handshake(self, ca: &Authority, alpn: &[&[u8]]) -> Result<Client, net::Error> {
        assert!(self.heard.is_empty());
        let config = tls::inside_client(Some(&ca.trust()), alpn).unwrap();
        let stream = tls::connect(config, "edge1.example.test", self.tcp.unwrap(), SOON).await?;
        Ok(Client {
            stream: Box::new(stream),
            tcp: None,
            heard: Vec::new(),
        })
    }

    fn stream(&mut self) -> &mut dyn Duplex {
        match &mut self.tcp {
            Some(tcp) => tcp,
            None => &mut *self.stream,
        }
    }

    pub async fn sign_in(&mut self) {
        self.say(HEADER).await;
        self.until("</stream:features>").await;
        self.say(AUTH).await;
        self.until("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await;
        self.say(HEADER).await;
        self.until("</stream:features>").await;
        self.say(BIND).await;
        self.until("</iq>").await;
    }

    pub async fn say(&mut self, words: &str) {
        self.stream().write_all(words.as_bytes()).await.unwrap();
        self.stream().flush().await.unwrap();
    }

    /// What is heard up to and with `end`.
    pub async fn until(&mut self, end: &str) -> String {
        let work = async {
            let mut searched = 0;
            loop {
                let found = self.heard[searched..]
                    .windows(end.len())
                    .position(|w| w == end.as_bytes());
                if let Some(at) = found {
                    let rest = self.heard.split_off(searched + at + end.len());
                    return std::mem::replace(&mut self.heard, rest);
                }
                searched = self.heard.len().saturating_sub(end.len());
                let mut chunk = vec![0; 16 * 1024];
                let read = self.stream().read(&mut chunk).await.unwrap();
                let heard = String::from_utf8_lossy(&self.heard);
                assert!(read > 0, "closed before {end}: {heard}");
                self.heard.extend_from_slice(&chunk[..read]);
            }
        };
        let heard = tokio::time::timeout(SOON, work).await;
        String::from_utf8(heard.unwrap_or_else(|_| panic!("{end} is not heard"))).unwrap()
    }

    /// Everything up to the end.
    pub async fn rest(&mut self) -> String {
        String::from_utf8(self.rest_bytes().await).unwrap()
    }

    pub async fn rest_bytes(&mut self) -> Vec<u8> {
        let mut heard = std::mem::take(&mut self.heard);
        // Whether it ends well or not: what has come counts.
        let work = self.stream().read_to_end(&mut heard);
        let _ = tokio::time::timeout(SOON, work)
            .await
            .expect("not closed in time");
        heard
    }
}
