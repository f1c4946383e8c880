//! What a message costs: parsed, read, framed, relayed; time and allocations of each.
//!
//! `cargo bench -p causeway-sip --bench message -- [--repeat N]`
//!
//! "View" reads what a proxy needs: top Via, From and To tags, Call-ID, CSeq, Max-Forwards, the
//! first Route and the Request-URI. "Relay" is parse, view, one Via and one Record-Route put in and
//! Max-Forwards lowered, written to a buffer that is used again. "Framed" takes the bytes from a
//! stream first. The best lap of many counts: others use the machine too. Figures of different
//! machines do not compare; `tools/bench-peers` measures other libraries in the same run.

#![allow(missing_docs, unsafe_code, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // it measures time

#[path = "message/counting.rs"]
mod counting;

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use counting::ALLOCATIONS;
use sip::{Frame, Framer, Limits, Message, Name, Uri};

/// Messages of a lap: short, so that some laps meet nobody else on the processor.
const LAP: u32 = 250;

const REGISTER: &[u8] = include_bytes!("message/register.sip");
const INVITE: &[u8] = include_bytes!("message/invite.sip");

fn main() {
    let mut repeat = 4_000;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--repeat" => repeat = arguments.next().unwrap().parse().unwrap(),
            "--bench" => {} // cargo's own
            other => panic!("unknown argument {other}"),
        }
    }
    println!(
        "{:<28} {:>9} {:>9} {:>12}",
        "", "best ns", "median ns", "allocations"
    );
    for (what, bytes) in [("REGISTER", REGISTER), ("INVITE", INVITE)] {
        println!("{what}, {} bytes", bytes.len());
        let limits = Limits::outside();
        let message = Bytes::from_static(bytes);
        measure("parse", repeat, || {
            black_box(Message::parse(black_box(message.clone()), &limits).unwrap());
        });
        measure("parse and view", repeat, || {
            let message = Message::parse(black_box(message.clone()), &limits).unwrap();
            black_box(view(&message));
        });
        let mut out = Vec::with_capacity(8 * 1024);
        measure("relay", repeat, || {
            let message = Message::parse(black_box(message.clone()), &limits).unwrap();
            relay(&message, &mut out);
            black_box(&out);
        });
        let mut framer = Framer::new(limits);
        measure("framed relay", repeat, || {
            framer.push(black_box(bytes));
            let Some(Frame::Message(message)) = framer.next_frame() else {
                panic!("no message")
            };
            relay(&message, &mut out);
            black_box(&out);
        });
        measure("edited into a message", repeat, || {
            let message = Message::parse(black_box(message.clone()), &limits).unwrap();
            black_box(view(&message));
            black_box(edited(&message).finish());
        });
    }
}

/// What a proxy reads, as a number that depends on all of it.
fn view(message: &Message) -> usize {
    let via = message.top_via().unwrap();
    let (from, to) = (message.from().unwrap(), message.to().unwrap());
    let cseq = message.cseq().unwrap();
    let uri = Uri::parse(message.request_uri()).unwrap();
    let hops = message.max_forwards().unwrap();
    let route = message.routes().next();
    via.branch().map_or(0, <[u8]>::len)
        + via.sent_by().len()
        + from.tag().map_or(0, <[u8]>::len)
        + to.tag().map_or(0, <[u8]>::len)
        + message.call_id().len()
        + cseq.number as usize
        + uri.user.map_or(0, <[u8]>::len)
        + usize::from(hops.unwrap_or(70))
        + usize::from(route.is_some())
}

const VIA: &str =
    "SIP/2.0/TLS edge.example.test:5061;branch=z9hG4bK0123456789abcdef0123456789abcdef";
const ROUTE: &str = "<sip:AAAAAQAAAAEAAAAAAAAAAAAA@edge.example.test:5061;transport=tls;lr>";

fn edited(message: &Message) -> sip::Edit<'_> {
    let mut edit = message.edit();
    edit.push_front(Name::Via, VIA);
    edit.push_front(Name::RecordRoute, ROUTE);
    edit.set(Name::MaxForwards, "69");
    edit
}

fn relay(message: &Message, out: &mut Vec<u8>) {
    black_box(view(message));
    out.clear();
    edited(message).write(out);
}

fn measure(what: &str, repeat: usize, mut work: impl FnMut()) {
    for _ in 0..LAP {
        work();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..LAP {
        work();
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let mut laps: Vec<f64> = (0..repeat)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..LAP {
                work();
            }
            began.elapsed().as_secs_f64() * 1e9 / f64::from(LAP)
        })
        .collect();
    laps.sort_by(f64::total_cmp);
    println!(
        "  {what:<26} {:>9.0} {:>9.0} {:>12.2}",
        laps[0],
        laps[laps.len() / 2],
        allocations as f64 / f64::from(LAP)
    );
}
