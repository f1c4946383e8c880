//! What HTTPS requests cost before anything is asked of them: framing, edge paths, path checks.
//!
//! `cargo bench -p causeway-driver --bench web`
//!
//! A Jabber-like GET of some 600 bytes through the framing, a body of 16 KiB pieces, with a length
//! and in chunks; the first segment of its path decoded, written again, and the rest judged. The
//! median of many laps; figures of different machines do not compare.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use net::http::framing::Framing;
use provisioning::path::EdgePath;

const SEGMENT: &str = "ZXhhbXBsZS5jb20vaHR0cHMvY3VjbTEuZXhhbXBsZS5jb20vODQ0Mw";
const PATH: &str = "/cucm-uds/user/alice/devices";
const LAPS: usize = 400;
const ROUNDS: u32 = 500;

fn main() {
    let get = format!(
        "GET /{SEGMENT}{PATH} HTTP/1.1\r\nHost: edge1.example.com:8443\r\n\
         Authorization: Basic YWxpY2U6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5\r\nAccept: */*\r\n\
         Accept-Encoding: gzip, deflate\r\nCookie: X-Auth={}\r\n\
         User-Agent: Jabber-Win-472\r\nAccept-Language: en\r\n\r\n",
        "x".repeat(250)
    );
    let mut out = Vec::with_capacity(64 * 1024);
    lap(&format!("a head of {} bytes", get.len()), get.len(), || {
        let mut framing = Framing::default();
        out.clear();
        black_box(framing.feed(black_box(get.as_bytes()), &mut out)).unwrap();
    });
    let piece = vec![b'x'; 16 * 1024];
    let post = |coding: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{coding}\r\n\r\n");
    let mut known = Framing::default();
    let head = post("Content-Length: 900000000000000000");
    known.feed(head.as_bytes(), &mut out).unwrap();
    lap("16 KiB of a body with a length", piece.len(), || {
        out.clear();
        known.feed(black_box(&piece), &mut out).unwrap();
    });
    let mut chunked = Framing::default();
    let head = post("Transfer-Encoding: chunked");
    chunked.feed(head.as_bytes(), &mut out).unwrap();
    let chunk = [b"4000\r\n", &piece[..], b"\r\n"].concat();
    lap("16 KiB of a body in chunks", piece.len(), || {
        out.clear();
        chunked.feed(black_box(&chunk), &mut out).unwrap();
    });
    let path = EdgePath::decode(SEGMENT).unwrap();
    lap("a segment decoded", SEGMENT.len(), || {
        black_box(EdgePath::decode(black_box(SEGMENT))).unwrap();
    });
    lap("a segment written", SEGMENT.len(), || {
        black_box(EdgePath::encode(&path.domain, path.server.as_ref()));
    });
    lap("a path judged", PATH.len(), || {
        black_box(config::inside::check_path(black_box(PATH))).unwrap();
    });
}

/// The median of [`LAPS`] laps of [`ROUNDS`] rounds.
fn lap(name: &str, bytes: usize, mut round: impl FnMut()) {
    let mut laps: Vec<f64> = (0..LAPS)
        .map(|_| {
            let began = Instant::now();
            (0..ROUNDS).for_each(|_| round());
            began.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
        })
        .collect();
    laps.sort_by(f64::total_cmp);
    let ns = laps[LAPS / 2];
    println!(
        "{name:<34} {ns:>9.0} ns {:>8.0} MB/s",
        bytes as f64 * 1000.0 / ns
    );
}
