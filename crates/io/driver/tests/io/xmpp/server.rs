//! A small XMPP server: one user, who hears an echo.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use net::tls;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::{Authority, SOON, listener};

pub const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
pub const ELSEWHERE: &str = "<stream:error><see-other-host \
    xmlns='urn:ietf:params:xml:ns:xmpp-streams'>imp2.example.test</see-other-host></stream:error>";

const HEADER: &str = "<?xml version='1.0'?><stream:stream id='inside' from='example.test' \
    version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// How the server behaves.
#[derive(Clone, Copy, Default)]
pub struct Style {
    /// It offers STARTTLS, with a certificate for this name.
    pub tls: Option<&'static str>,
    /// It sends everybody to another server.
    pub elsewhere: bool,
}

pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<String>>,
    ended: watch::Receiver<usize>,
}

/// The features before sign-in: as the server offers them, or as a client is to see them.
pub fn features(offered: bool, tls: bool) -> String {
    let starttls = if tls {
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    } else {
        ""
    };
    let (plus, zlib) = if offered {
        (
            "<mechanism>SCRAM-SHA-1-PLUS</mechanism>",
            "<compression xmlns='http://jabber.org/features/compress'><method>zlib</method>\
             </compression>",
        )
    } else {
        ("", "")
    };
    format!(
        "<stream:features>{starttls}<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{plus}\
         <mechanism>PLAIN</mechanism></mechanisms> {zlib}</stream:features>"
    )
}

impl Server {
    pub async fn start(style: Style) -> Server {
        Server::start_with(style, &Authority::new()).await
    }

    pub async fn start_with(style: Style, ca: &Authority) -> Server {
        let (listening, address) = listener().await;
        let seen = Arc::new(Mutex::new(String::new()));
        let (count, ended) = watch::channel(0);
        let config = style
            .tls
            .map(|name| tls::client_facing(&ca.identity(name), &[]).unwrap());
        let all = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listening.accept().await {
                let (seen, count, config) = (all.clone(), count.clone(), config.clone());
                tokio::spawn(async move {
                    serve(stream, style, config, &seen).await;
                    count.send_modify(|n| *n += 1);
                });
            }
        });
        Server {
            address,
            seen,
            ended,
        }
    }

    /// Everything clients have said.
    pub fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until a connection has ended.
    pub async fn lost(&self) {
        let mut ended = self.ended.clone();
        tokio::time::timeout(SOON, ended.wait_for(|n| *n > 0))
            .await
            .unwrap()
            .unwrap();
    }
}

async fn serve(
    stream: TcpStream,
    style: Style,
    config: Option<Arc<ServerConfig>>,
    seen: &Mutex<String>,
) {
    let offers_tls = config.is_some();
    let Some((stream, true)) = talk(stream, style, offers_tls, seen).await else {
        return;
    };
    let stream = tls::accept(config.unwrap(), stream, SOON).await.ok();
    if let Some(stream) = stream {
        talk(stream, style, false, seen).await;
    }
}

/// Ends with the client, or (true) with its wish for TLS.
async fn talk<S>(
    mut stream: S,
    style: Style,
    offers_tls: bool,
    seen: &Mutex<String>,
) -> Option<(S, bool)>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut buffer, mut signed_in) = (String::new(), false);
    let mut chunk = vec![0; 16 * 1024];
    loop {
        while let Some(said) = element(&mut buffer) {
            let answer = match said.trim_start() {
                s if s.starts_with("<?xml") && style.elsewhere => {
                    format!("{HEADER}{ELSEWHERE}</stream:stream>")
                }
                s if s.starts_with("<?xml") && signed_in => format!(
                    "{HEADER}<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
                     </stream:features>"
                ),
                s if s.starts_with("<?xml") => format!("{HEADER}{}", features(true, offers_tls)),
                s if s.starts_with("<starttls") => {
                    let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
                    stream.write_all(proceed.as_bytes()).await.ok()?;
                    return Some((stream, true));
                }
                s if s.starts_with("<auth") && s.contains(">AGFsaWNlAHNlY3JldA==<") => {
                    signed_in = true;
                    SUCCESS.to_owned()
                }
                s if s.starts_with("<auth") => {
                    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"
                        .to_owned()
                }
                s if s.contains("<bind") => "<iq type='result' id='b'><bind \
                    xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>alice@example.test/desk</jid>\
                    </bind></iq>"
                    .to_owned(),
                s if s.contains("'flood'") => {
                    let message = format!("<message><body>{}</body></message>", "y".repeat(4000));
                    for _ in 0..1000 {
                        stream.write_all(message.as_bytes()).await.ok()?;
                    }
                    "<message><flood/></message>".to_owned()
                }
                s if s.contains("'drop'") => return None,
                s if s.starts_with("<enable") => {
                    "<enabled xmlns='urn:xmpp:sm:3' id='1' resume='true'/>".to_owned()
                }
                s if s.starts_with("<message") => {
                    let at = s.find("<body>").unwrap();
                    format!("<message from='bob@example.test'>{}", &s[at..])
                }
                s if s.starts_with("</stream:stream>") => {
                    stream.write_all(b"</stream:stream>").await.ok()?;
                    stream.shutdown().await.ok()?;
                    return None;
                }
                _ => String::new(),
            };
            stream.write_all(answer.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            if style.elsewhere {
                stream.shutdown().await.ok()?;
            }
        }
        let read = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        let text = std::str::from_utf8(&chunk[..read]).unwrap();
        seen.lock().unwrap().push_str(text);
        buffer.push_str(text);
    }
}

/// Takes the first whole element, header or stream's end from the buffer.
fn element(buffer: &mut String) -> Option<String> {
    let start = buffer.trim_start();
    let end = [
        ("<?xml", "streams'>"),
        ("<starttls", "/>"),
        ("<auth", "</auth>"),
        ("<enable", "/>"),
        ("<iq", "</iq>"),
        ("<message", "</message>"),
        ("<presence", "/>"),
        ("</stream:stream>", ">"),
    ]
    .iter()
    .find(|(begin, _)| start.starts_with(begin))
    .map(|(_, end)| *end)?;
    let at = buffer.find(end)? + end.len();
    let rest = buffer.split_off(at);
    Some(std::mem::replace(buffer, rest))
}
