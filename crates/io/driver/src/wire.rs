//! What crosses a node, one DEBUG line a message under the target `wire`.
//!
//! Fields: `lane` (`sip`, `http`, `xmpp`), `dir` (`in`, `out`), `side` (`client`, `lane`,
//! `inside`), `what` (method or status), `id` (Call-ID, trace or stream number). No user and no
//! address is among them, so the lines may be shown to anybody.

use node::io::Side;
use sip::Frame;

/// How much of a Call-ID is shown: enough to tell calls apart, too little to carry a payload.
const ID_MAX: usize = 64;

/// The word for a side.
pub fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Lane { .. } => "lane",
        Side::Inside => "inside",
    }
}

/// A line about a message of any lane.
pub fn line(lane: &'static str, dir: &'static str, side: &'static str, what: &str, id: &str) {
    tracing::debug!(target: "wire", lane, dir, side, what, id);
}

fn on() -> bool {
    tracing::enabled!(target: "wire", tracing::Level::DEBUG)
}

pub(crate) fn sip_in(from: Side, frame: &Frame) {
    if !on() {
        return;
    }
    if let Frame::Message(message) = frame {
        let what = if message.is_request() {
            String::from_utf8_lossy(message.method_bytes()).into_owned()
        } else {
            format!("{} {}", message.status(), cseq_method(message))
        };
        line("sip", "in", side(from), &what, &shown(message.call_id()));
    }
}

pub(crate) fn sip_out(to: Side, bytes: &bytes::Bytes) {
    if !on() {
        return;
    }
    if let Ok(message) = sip::Message::parse(bytes.clone(), &sip::Limits::trusted()) {
        let what = if message.is_request() {
            String::from_utf8_lossy(message.method_bytes()).into_owned()
        } else {
            format!("{} {}", message.status(), cseq_method(&message))
        };
        line("sip", "out", side(to), &what, &shown(message.call_id()));
    }
}

fn cseq_method(message: &sip::Message) -> String {
    message
        .cseq()
        .map(|c| String::from_utf8_lossy(c.method).into_owned())
        .unwrap_or_default()
}

/// A Call-ID without its host part, which may be an address.
fn shown(call_id: &[u8]) -> String {
    let text = String::from_utf8_lossy(call_id);
    let bare = text.split('@').next().unwrap_or_default();
    bare.chars()
        .filter(|c| !c.is_control())
        .take(ID_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_is_shown_without_address_and_controls() {
        assert_eq!(shown(b"abc\x07-1@10.0.0.1"), "abc-1");
        assert_eq!(shown(&[b'x'; 200]).len(), ID_MAX);
    }
}
