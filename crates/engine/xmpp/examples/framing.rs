//! How fast streams are framed: `cargo run --release -p causeway-xmpp --example framing`.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures, so it needs a clock"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use xmpp::{Framer, Kind, Limits};

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='example.test' version='1.0'>";

const CHAT: &str = "<message type='chat' to='bob@example.test/desk' \
    from='alice@example.test/phone' id='6f2c9b4e'><body>Shall we meet at ten? The room is \
    booked, and coffee &amp; tea will be there.</body><active \
    xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>";

const PRESENCE: &str = "<presence from='alice@example.test/phone' to='bob@example.test'>\
    <show>away</show><priority>5</priority><c xmlns='http://jabber.org/protocol/caps' \
    hash='sha-1' node='https://client.example' ver='q07IKJEyjvHSyhy//CH0CxmKi8w='/></presence>";

const ACCENTS: &str = "<message to='bob@example.test' type='chat'><body>Schöne Grüße aus München, \
    bis später — 明日は十時に会議室で。 Привет! 😀</body></message>";

fn measure(what: &str, stanzas: &[&str], chunk_bytes: usize) {
    let mut stream = String::new();
    let mut count = 0_u64;
    while stream.len() < 8 << 20 {
        stream.push_str(stanzas[count as usize % stanzas.len()]);
        count += 1;
    }
    let mut framer = Framer::new(Limits::SIGNED_IN);
    assert!(matches!(
        framer.frames(HEADER.as_bytes()).next(),
        Some(Ok(frame)) if frame.kind == Kind::Header
    ));
    let (mut bytes, mut frames) = (0_u64, 0_u64);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        for chunk in stream.as_bytes().chunks(chunk_bytes) {
            for frame in framer.frames(black_box(chunk)) {
                frames += u64::from(frame.is_ok());
            }
        }
        bytes += stream.len() as u64;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{what:10} {chunk_bytes:6} B chunks: {:7.0} MB/s, {:9.0} stanzas/s",
        bytes as f64 / seconds / 1e6,
        frames as f64 / seconds
    );
}

fn main() {
    for chunk_bytes in [512, 4096, 16 * 1024] {
        measure("chat", &[CHAT], chunk_bytes);
        measure("mixed", &[CHAT, PRESENCE, " ", ACCENTS], chunk_bytes);
    }
    measure("presence", &[PRESENCE], 4096);
    measure("accents", &[ACCENTS], 4096);
    let long = format!(
        "<message><body>{}</body></message>",
        "Lorem ipsum dolor. ".repeat(500)
    );
    measure("long", &[&long], 16 * 1024);
}
