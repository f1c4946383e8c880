//! Everything that reads bytes of strangers, each as a function that must not panic on any bytes.
//!
//! A [`Target`] also asserts what must hold for every input: the same frames however the bytes are
//! cut, what was written reads back the same, a packet with one bit changed is not opened.
//!
//! - `cargo test -p causeway-fuzz` replays `corpus/` and mutates it from a seed for a bounded
//!   number of rounds; `CAUSEWAY_FUZZ_ROUNDS` and `CAUSEWAY_FUZZ_SEED` change both.
//! - `cargo +nightly fuzz run TARGET` in `fuzz/` searches on, led by coverage.
//!
//! An input that broke something goes into `corpus/TARGET/` with the fix.

mod chat;
pub mod mutate;
mod packets;
mod providers;
mod session;
mod settings;
mod signalling;
mod web;

/// A reader of bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and its folder in `corpus/`.
    pub name: &'static str,
    /// Gives it bytes. Panics if anything is not as it must be.
    pub run: fn(&[u8]),
    /// Words that the mutations put in.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "sip_message",
        run: signalling::message,
        words: signalling::WORDS,
    },
    Target {
        name: "sip_stream",
        run: signalling::stream,
        words: signalling::WORDS,
    },
    Target {
        name: "sip_address",
        run: signalling::address,
        words: signalling::WORDS,
    },
    Target {
        name: "sip_credentials",
        run: signalling::credentials,
        words: signalling::WORDS,
    },
    Target {
        name: "sip_locate",
        run: signalling::locate,
        words: signalling::DNS_WORDS,
    },
    Target {
        name: "sdp_session",
        run: session::description,
        words: session::WORDS,
    },
    Target {
        name: "sdes",
        run: session::crypto,
        words: session::WORDS,
    },
    Target {
        name: "link_frame",
        run: packets::link_frame,
        words: &["\"sequence\":", "null"],
    },
    Target {
        name: "media_frame",
        run: packets::media_frame,
        words: &[],
    },
    Target {
        name: "srtp",
        run: packets::srtp,
        words: &[],
    },
    Target {
        name: "relay",
        run: packets::relay,
        words: &[],
    },
    Target {
        name: "http_framing",
        run: web::framing,
        words: web::WORDS,
    },
    Target {
        name: "edge_path",
        run: web::edge_path,
        words: web::WORDS,
    },
    Target {
        name: "documents",
        run: web::documents,
        words: web::WORDS,
    },
    Target {
        name: "session_token",
        run: web::token,
        words: &[],
    },
    Target {
        name: "signed_token",
        run: providers::token,
        words: providers::WORDS,
    },
    Target {
        name: "sso_documents",
        run: providers::documents,
        words: providers::WORDS,
    },
    Target {
        name: "saml_metadata",
        run: providers::metadata,
        words: providers::WORDS,
    },
    Target {
        name: "saml_response",
        run: providers::response,
        words: providers::WORDS,
    },
    Target {
        name: "configuration",
        run: settings::file,
        words: settings::WORDS,
    },
    Target {
        name: "xmpp_stream",
        run: chat::stream,
        words: chat::WORDS,
    },
    Target {
        name: "xmpp_sign_in",
        run: chat::sign_in,
        words: chat::WORDS,
    },
    Target {
        name: "xmpp_starttls",
        run: chat::starttls,
        words: chat::WORDS,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
