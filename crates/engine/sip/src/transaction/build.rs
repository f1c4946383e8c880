//! Messages the transaction layer writes itself: Via, ACK for a non-2xx, CANCEL.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base::Rng;
use smallvec::SmallVec;

use super::ViaOptions;
use crate::{Edit, Message, Name, RequestBuilder};

/// A branch of RFC 3261 with 128 random bits, and a mark behind a dot if one is given.
pub(super) fn branch(rng: &mut Rng, mark: Option<u64>) -> String {
    let mut branch = String::with_capacity(7 + 32 + 17);
    branch.push_str("z9hG4bK");
    hex(&mut branch, &rng.array::<16>());
    if let Some(mark) = mark {
        branch.push('.');
        hex(&mut branch, &mark.to_be_bytes());
    }
    branch
}

/// Writes bytes in lower-case hexadecimal.
fn hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
}

/// The message with a Via of our own on top and further changes, all in one pass.
pub(super) fn changed_with_via(
    message: &Message,
    via: &ViaOptions,
    branch: &str,
    change: impl FnOnce(&mut Edit<'_>),
) -> Message {
    let value = [
        "SIP/2.0/",
        via.transport,
        " ",
        &via.sent_by,
        ";branch=",
        branch,
        &via.parameters,
    ];
    let mut edit = message.edit();
    edit.push_front_of(Name::Via, &value.map(str::as_bytes));
    change(&mut edit);
    edit.finish()
}

/// The message with the true source in its top Via: `received` if the sent-by is another address,
/// or a name (RFC 3261 §18.2.1); `received` and `rport` if the sender asks for its port (RFC 3581
/// §4). What a sender says of either itself is taken out. A request is stamped when it comes in,
/// so every answer to it, wherever it is made, repeats what was found.
pub fn received(message: &Message, from: SocketAddr) -> Message {
    let Ok(via) = message.top_via() else {
        return message.clone();
    };
    let (said, asks) = (via.param(b"received"), via.param(b"rport").is_some());
    let tell = asks || address_of(via.sent_by()) != Some(from.ip().to_canonical());
    if !tell && said.is_none() {
        return message.clone();
    }
    let mut value: SmallVec<[u8; 256]> = SmallVec::new();
    for (i, part) in via.raw().split(|b| *b == b';').enumerate() {
        let name = part
            .split(|b| *b == b'=')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        if i > 0 {
            value.push(b';');
        }
        value.extend_from_slice(part);
    }
    if tell {
        value.extend_from_slice(b";received=");
        text(&mut value, from.ip().to_canonical());
    }
    if asks {
        value.extend_from_slice(b";rport=");
        text(&mut value, from.port());
    }
    let mut edit = message.edit();
    edit.replace_first_value(Name::Via, &value);
    edit.finish()
}

/// Writes what is shown of a value.
fn text(out: &mut SmallVec<[u8; 256]>, value: impl fmt::Display) {
    struct Out<'a>(&'a mut SmallVec<[u8; 256]>);
    impl fmt::Write for Out<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // Writing to memory does not fail.
    let _ = fmt::Write::write_fmt(&mut Out(out), format_args!("{value}"));
}

/// The address in a sent-by, if it is one.
fn address_of(sent_by: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(sent_by).ok()?.trim();
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => text.split(':').next()?,
    };
    host.trim().parse().ok()
}

/// The ACK for a non-2xx response (RFC 3261 §17.1.1.3); `None` if the response has no To.
pub(super) fn ack(invite: &Message, response: &Message) -> Option<Message> {
    Some(beside(invite, b"ACK", response.header(Name::To)?)?.build())
}

/// The CANCEL of a request (RFC 3261 §9.1).
pub(super) fn cancel(request: &Message, reason: Option<&[u8]>) -> Option<Message> {
    let mut cancel = beside(request, b"CANCEL", request.header(Name::To)?)?;
    if let Some(reason) = reason {
        cancel = cancel.header(Name::Reason, reason);
    }
    Some(cancel.build())
}

/// A request that goes the way of `request` and belongs to it: one Via, the same Request-URI,
/// Route, From, Call-ID and CSeq number.
fn beside(request: &Message, method: &[u8], to: &[u8]) -> Option<RequestBuilder> {
    let via = request.values(Name::Via).next()?;
    let cseq = request.cseq().ok()?;
    let mut number = cseq.number.to_string().into_bytes();
    number.push(b' ');
    number.extend_from_slice(method);
    let mut builder = RequestBuilder::new(method, request.request_uri()).header(Name::Via, via);
    for route in request.values(Name::Route) {
        builder = builder.header(Name::Route, route);
    }
    Some(
        builder
            .header(Name::MaxForwards, b"70")
            .header(Name::From, request.header(Name::From)?)
            .header(Name::To, to)
            .header(Name::CallId, request.call_id())
            .header(Name::CSeq, &number),
    )
}
