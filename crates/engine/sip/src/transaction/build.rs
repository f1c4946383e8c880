//! Messages the transaction layer writes itself: Via, ACK for a non-2xx, CANCEL.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use base::Rng;

use super::ViaOptions;
use crate::{Edit, Message, Name, RequestBuilder};

/// A branch of RFC 3261 with 128 random bits, and a mark behind a dot if one is given.
pub(super) fn branch(rng: &mut Rng, mark: Option<u64>) -> String {
    let mut branch = String::with_capacity(7 + 32 + 17);
    branch.push_str("z9hG4bK");
    branch.push_str(&rng.hex(16));
    if let Some(mark) = mark {
        // Writing to a string does not fail.
        let _ = write!(branch, ".{mark:016x}");
    }
    branch
}

/// The message with a Via of our own on top.
pub(super) fn with_via(message: &Message, via: &ViaOptions, branch: &str) -> Message {
    changed_with_via(message, via, branch, |_| {})
}

/// The same with further changes, all in one pass.
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
    let value = value.concat();
    let mut edit = message.edit();
    edit.push_front(Name::Via, value.as_bytes());
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
    let mut value = Vec::with_capacity(via.raw().len() + 64);
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
        value.extend_from_slice(format!(";received={}", from.ip().to_canonical()).as_bytes());
    }
    if asks {
        value.extend_from_slice(format!(";rport={}", from.port()).as_bytes());
    }
    let mut edit = message.edit();
    edit.replace_first_value(Name::Via, &value);
    edit.finish()
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
