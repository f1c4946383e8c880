//! What OpenSSL reads in our requests.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

use certificates::request::{self, KeyChoice, Wish};

fn openssl(words: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl, which the scenarios with real programs need as well");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{words:?}: {}", said(&done.stderr));
    said(&done.stdout) + &said(&done.stderr)
}

#[test]
fn a_request_asks_for_every_name_and_both_uses_and_openssl_agrees() {
    let names = [
        "edge1.example.test",
        "collab-edge.example.test",
        "chat-2.example.test",
        "192.0.2.11",
    ];
    for (key, kind) in [
        (KeyChoice::Rsa2048, "2048 bit"),
        (KeyChoice::EcP256, "P-256"),
        (KeyChoice::EcP384, "P-384"),
    ] {
        let made = request::make(&Wish {
            common_name: "edge1.example.test".into(),
            names: names.map(str::to_owned).to_vec(),
            organisation: Some("Müller & Söhne".into()),
            unit: Some("Voice".into()),
            locality: Some("Bonn".into()),
            state: Some("NRW".into()),
            country: Some("de".into()),
            key,
        });
        let made = made.unwrap();
        let words = ["req", "-verify", "-noout", "-text", "-nameopt", "utf8"];
        let read = openssl(&words, &made.request);
        for part in [
            "verify OK",
            kind,
            "DNS:edge1.example.test",
            "DNS:collab-edge.example.test",
            "DNS:chat-2.example.test",
            "IP Address:192.0.2.11",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "Digital Signature",
            "C=DE",
            "O=Müller & Söhne",
            "CN=edge1.example.test",
        ] {
            assert!(read.contains(part), "{part}: {read}");
        }
        // No name of another kind: authorities seldom issue SRVName or XmppAddr.
        assert!(!read.contains("othername"), "{read}");
        let of_key = openssl(&["pkey", "-pubout"], made.key.expose());
        let of_request = openssl(&["req", "-pubkey", "-noout"], &made.request);
        assert!(of_request.contains(of_key.trim()), "{of_request}");
    }
}
