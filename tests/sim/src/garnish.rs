//! What nobody on the way understands: header fields in odd shapes, put into a message between
//! its own. They must come out behind a node as they went in.

use base::Rng;

use crate::watch::TRACE;

/// Fields that no node knows: odd case, folding, spaces, Latin-1, commas, quotes, nothing at all.
const ODD: [&[u8]; 12] = [
    b"X-Odd: plain",
    b"x-oDD-cAse:no space",
    b"X-Spaces  :   many   of  them  ",
    b"X-Folded: first,\r\n second;with=\"a;b,c\"\r\n\tthird: no name",
    b"X-Latin: caf\xe9 \xfc\xdf",
    b"X-Utf8: caf\xc3\xa9 \xe2\x98\x8e",
    b"X-Empty:",
    b"X-Quoted: \"a \\\" < b\", <sip:x@y;z>;q=\"0.5\", ,",
    b"q: one letter",
    b"X-Odd: the same name once more",
    b"X-Unknown-Thing: <urn:x>;a;b=;c=d",
    b"Subject: =?UTF-8?Q?kept?= (as it is)",
];

/// The message with a trace number and a few odd fields between its own. What concerns one hop
/// alone says so, and is to be sent on by nobody.
pub fn garnish(rng: &mut Rng, bytes: &[u8], trace: u64, alone: bool) -> Vec<u8> {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        return bytes.to_vec();
    };
    let (head, body) = bytes.split_at(end);
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = head;
    while let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
        lines.push(rest[..at].to_vec());
        rest = &rest[at + 2..];
    }
    lines.push(rest.to_vec());
    let name = if alone {
        format!("{TRACE}: hop {trace}")
    } else {
        format!("{TRACE}: {trace}")
    };
    lines.insert(1, name.into_bytes());
    for _ in 0..rng.below(4) {
        let odd = ODD[rng.below(ODD.len() as u64) as usize];
        let at = 1 + rng.below(lines.len() as u64) as usize;
        lines.insert(at, odd.to_vec());
    }
    let mut out = lines.join(&b"\r\n"[..]);
    out.extend_from_slice(body);
    out
}
