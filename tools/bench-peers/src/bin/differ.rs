//! Our SIP parser against `sipx-sip`, on messages that nobody would write.
//!
//! In: messages of this tree, changed by chance from a seed, for so many seconds:
//! `cargo run --release --bin differ -- [SECONDS] [SEED] [examples]`. Where both read a message,
//! both must find the same method, Call-ID, CSeq, top branch, tags and body; if not, it is printed
//! and the run fails. What only one reads is counted by the reason of the other. No dependency of
//! the product: the crate stands outside the workspace.
//!
//! What they do that we do not, which shows in the second table only: a header that must stand
//! once is read where it stands twice; another method in CSeq than in the request line passes;
//! `SIP/3.0` passes; a Call-ID may hold blanks and, folded, becomes another; a tag or a branch
//! without a value is none at all. What we do that they do not, in the first: URIs of From and To,
//! which a proxy does not route by, are carried with bytes that RFC 3261 §25.1 does not name, and
//! so is a sent-by without a host that could be dialled; two Content-Length that agree are one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// What a proxy goes by.
#[derive(PartialEq, Eq)]
struct Read {
    /// A request's method, a response's status.
    what: Vec<u8>,
    call_id: Vec<u8>,
    cseq: (u32, Vec<u8>),
    branch: Option<Vec<u8>>,
    from_tag: Option<Vec<u8>>,
    to_tag: Option<Vec<u8>>,
    body: Vec<u8>,
}

impl Read {
    /// Each part by its name, written so that everything is seen.
    fn parts(&self) -> [(&'static str, String); 7] {
        let text = |part: &[u8]| part.escape_ascii().to_string();
        let some = |part: &Option<Vec<u8>>| part.as_deref().map_or("none".into(), text);
        [
            ("method or status", text(&self.what)),
            ("Call-ID", text(&self.call_id)),
            ("CSeq", format!("{} {}", self.cseq.0, text(&self.cseq.1))),
            ("branch", some(&self.branch)),
            ("From tag", some(&self.from_tag)),
            ("To tag", some(&self.to_tag)),
            ("body", text(&self.body)),
        ]
    }
}

fn ours(bytes: &Bytes, limits: &sip::Limits) -> Result<Read, String> {
    let message = sip::Message::parse(bytes.clone(), limits).map_err(|e| e.to_string())?;
    let bad = |e: sip::HeaderError| e.to_string();
    let cseq = message.cseq().map_err(bad)?;
    let own = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
    let what = match message.is_request() {
        true => message.method_bytes().to_vec(),
        false => message.status().to_string().into_bytes(),
    };
    Ok(Read {
        what,
        call_id: message.call_id().to_vec(),
        cseq: (cseq.number, cseq.method.to_vec()),
        branch: own(message.top_via().map_err(bad)?.branch()),
        from_tag: own(message.from().map_err(bad)?.tag()),
        to_tag: own(message.to().map_err(bad)?.tag()),
        body: message.body().to_vec(),
    })
}

fn theirs(bytes: &Bytes) -> Result<Read, String> {
    use sipx_sip::{CSeq, CallId, Limits, TypedHeader, Via, headers};
    fn one<H: TypedHeader>(message: &sipx_sip::Message, word: &str) -> Result<H, String> {
        let found = message.headers().typed::<H>();
        let found = found.ok_or(format!("{word} is missing"))?;
        found.map_err(|e| format!("{word}: {e}"))
    }
    let limits = Limits {
        max_message_bytes: 1 << 20,
        max_header_bytes: 64 * 1024,
        max_folding_lines: 64,
        ..Limits::stream()
    };
    let parsed = sipx_sip::parse_datagram(bytes.clone(), &limits);
    let message = parsed.map_err(|e| e.to_string())?;
    let cseq: CSeq = one(&message, "CSeq")?;
    let call_id: CallId = one(&message, "Call-ID")?;
    let via: Via = one(&message, "Via")?;
    let from: headers::From = one(&message, "From")?;
    let to: headers::To = one(&message, "To")?;
    let own = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
    let what = match (message.as_request(), message.as_response()) {
        (Some(request), _) => request.method.as_bytes().to_vec(),
        (_, Some(response)) => response.status.code().to_string().into_bytes(),
        _ => Vec::new(),
    };
    Ok(Read {
        what,
        call_id: call_id.0.to_vec(),
        cseq: (cseq.sequence, cseq.method.as_bytes().to_vec()),
        branch: own(via.branch()),
        from_tag: own(from.0.tag()),
        to_tag: own(to.0.tag()),
        body: message.body().to_vec(),
    })
}

/// Numbers enough for changes by chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }
}

/// What means something to one reader or another.
const PIECES: &[&str] = &[
    "\r\n",
    "\r\n ",
    "\r\n\t",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    "\"",
    "\\",
    "<",
    ">",
    ";",
    ",",
    ":",
    "=",
    "@",
    "?",
    "%",
    "%41",
    "(",
    ")",
    "/",
    "[",
    "]",
    "*",
    "\u{e9}",
    ";tag=",
    ";TAG=x",
    ";tag",
    ";branch=z9hG4bK2",
    ";Branch",
    "Via: SIP/2.0/UDP a",
    "v: SIP / 2.0 / TCP b;branch=1",
    "t: ",
    "From: <sip:a@b>;tag=9",
    "To: \"a\\\"b\" <sip:c@d>",
    "i: ",
    "Call-ID : x",
    "CSeq: 2 ACK",
    "l: 0",
    "Content-Length: 3",
    "SIP/2.0",
    "sip:",
    "tel:+1",
    "INVITE ",
    "0",
    "4294967296",
    "Contact: *",
    "Max-Forwards: 7",
    "\r\n\r\n",
];

fn change(chance: &mut Chance, message: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=chance.below(3) {
        let at = chance.below(message.len() + 1);
        let end = (at + chance.below(24)).min(message.len());
        match chance.below(7) {
            0 if at < message.len() => message[at] ^= 1 << chance.below(8),
            1 => drop(message.drain(at..end)),
            2 => {
                let piece = message[at..end].to_vec();
                let to = chance.below(message.len() + 1);
                message.splice(to..to, piece);
            }
            3 => {
                // A line of another message.
                let other = &others[chance.below(others.len())];
                let lines: Vec<&[u8]> = other.split(|b| *b == b'\n').collect();
                let line = [lines[chance.below(lines.len())], b"\n"].concat();
                let to = message.iter().skip(at).position(|b| *b == b'\n');
                let to = to.map_or(at, |n| at + n + 1);
                message.splice(to..to, line);
            }
            _ => {
                let piece = PIECES[chance.below(PIECES.len())].bytes();
                message.splice(at..at, piece);
            }
        }
    }
}

/// The messages of this tree.
fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for folder in [
        "crates/engine/sip/benches/message",
        "tests/torture/rfc4475",
        "tests/torture/rfc5118",
        "tests/fuzz/corpus/sip_message",
    ] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
            continue;
        };
        let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        found.extend(paths.iter().filter_map(|path| std::fs::read(path).ok()));
    }
    assert!(!found.is_empty(), "no message to begin with");
    found
}

/// A reason, and how many messages had it; one of them.
type Table = BTreeMap<String, (u64, Vec<u8>)>;

fn show(title: &str, table: &Table) {
    println!("\n{title}");
    let mut rows: Vec<_> = table.iter().collect();
    rows.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let examples = std::env::args().any(|a| a == "examples");
    for (reason, (count, one)) in rows {
        println!("{count:>9}  {reason}");
        if examples {
            println!("{:>9}  {}", "", one.escape_ascii());
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|n| n.parse().ok());
    let (seconds, seed) = (arguments.next().unwrap_or(60), arguments.next());
    let mut chance = Chance(seed.unwrap_or(1) | 1);
    let (seeds, began) = (seeds(), Instant::now());
    let (mut both, mut neither, mut differ) = (0u64, 0u64, 0u64);
    let (mut only_ours, mut only_theirs) = (Table::new(), Table::new());
    while began.elapsed() < Duration::from_secs(seconds) && differ < 20 {
        let mut message = seeds[chance.below(seeds.len())].clone();
        change(&mut chance, &mut message, &seeds);
        let bytes = Bytes::from(message);
        for limits in [sip::Limits::outside(), sip::Limits::trusted()] {
            match (ours(&bytes, &limits), theirs(&bytes)) {
                (Ok(a), Ok(b)) if a == b => both += 1,
                (Ok(a), Ok(b)) => {
                    differ += 1;
                    println!("{}", bytes.escape_ascii());
                    for ((name, ours), (_, theirs)) in a.parts().iter().zip(b.parts()) {
                        if *ours != theirs {
                            println!("  {name}: ours {ours}; theirs {theirs}");
                        }
                    }
                }
                (Err(_), Err(_)) => neither += 1,
                (Ok(_), Err(reason)) => count(&mut only_ours, reason, &bytes),
                (Err(reason), Ok(_)) => {
                    let level = format!("{:?}: {reason}", limits.strictness);
                    count(&mut only_theirs, level, &bytes);
                }
            }
        }
    }
    println!("{both} read alike by both, {neither} by neither, {differ} not alike");
    show("only ours read it; sipx-sip said", &only_ours);
    show("only sipx-sip read it; ours said", &only_theirs);
    std::process::exit(i32::from(differ > 0));
}

fn count(table: &mut Table, reason: String, bytes: &Bytes) {
    let row = table.entry(reason).or_insert_with(|| (0, bytes.to_vec()));
    row.0 += 1;
}
