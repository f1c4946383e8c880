//! REFER, and every other way in which a message names a dialog: Replaces (RFC 3891), Join
//! (RFC 3911), Target-Dialog (RFC 4538), Replaces within Refer-To, and the dialog ids of
//! `x-cisco-remotecc` bodies. Tags differ between the legs, so such names are translated; what
//! names no call of ours passes as it is.

use base::Id;
use sip::transaction::ServerKey;
use sip::{Message, Name};

use super::body::Body;
use super::call::{End, LegKey, Side};
use super::{B2bua, Context, Refusal};

/// Headers that name a dialog as `call-id;to-tag=…;from-tag=…` (or `local-tag`, `remote-tag`).
const NAMING: [Name; 3] = [
    Name::Replaces,
    Name::Other("Join"),
    Name::Other("Target-Dialog"),
];

impl B2bua {
    pub(super) fn refer(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        fork: usize,
        key: ServerKey,
        message: &Message,
    ) -> Result<(), Refusal> {
        let Some(side) = self.calls.get(id).map(|call| call.leg(from).side) else {
            return Err(super::GONE);
        };
        let moved = self.map_references(side, message);
        self.carry(cx, id, from, fork, key, message, &moved, Body::Same, false)
    }

    /// The message with every dialog it names given the names of the other leg. For requests
    /// outside a dialog that the node proxies; within a dialog it is done here.
    pub fn map_references(&self, from: Side, message: &Message) -> Message {
        let mut edit = message.edit();
        let mut changed = false;
        for name in NAMING {
            if let Some(value) = message.header(name).and_then(|v| self.map_named(from, v)) {
                edit.set(name, value);
                changed = true;
            }
        }
        if let Some(value) = message
            .header(Name::ReferTo)
            .and_then(|v| self.map_uri(from, v))
        {
            edit.set(Name::ReferTo, value);
            changed = true;
        }
        if let Some(kind) = message.content_type()
            && let Some(body) = self.map_body(from, message.body())
        {
            edit.body(kind, body);
            changed = true;
        }
        if changed {
            edit.finish()
        } else {
            message.clone()
        }
    }

    /// A dialog the sender knows by its own tag and ours, as the other leg knows it: the tag in
    /// the sender's place, and its peer's.
    fn across(
        &self,
        from: Side,
        call_id: &[u8],
        senders: &[u8],
        ours: &[u8],
    ) -> Option<(Vec<u8>, Vec<u8>)> {
        let key = LegKey {
            call_id: Box::from(call_id),
            local_tag: Box::from(ours),
            edge: from.is_edge(),
        };
        let call = self.calls.get(*self.legs.get(&key)?)?;
        [End::Caller, End::Callee].into_iter().find_map(|end| {
            let fork = call.forks.iter().find(|fork| {
                let dialog = fork.dialog(end);
                call.leg(end).side == from
                    && dialog.local_tag() == ours
                    && dialog.remote_tag() == senders
            })?;
            let other = fork.dialog(end.other());
            Some((other.local_tag().to_vec(), other.remote_tag().to_vec()))
        })
    }

    /// `call-id;to-tag=…;from-tag=…`.
    fn map_named(&self, from: Side, value: &[u8]) -> Option<Vec<u8>> {
        let mut parts = value.split(|b| *b == b';');
        let call_id = parts.next()?.trim_ascii();
        let parts: Vec<&[u8]> = parts.collect();
        let get = |names: [&[u8]; 2]| {
            parts.iter().position(|part| {
                let name = part
                    .split(|b| *b == b'=')
                    .next()
                    .unwrap_or_default()
                    .trim_ascii();
                names.iter().any(|n| name.eq_ignore_ascii_case(n))
            })
        };
        let tag = |at: usize| {
            let part = parts.get(at)?;
            Some(
                part.get(part.iter().position(|b| *b == b'=')? + 1..)?
                    .trim_ascii(),
            )
        };
        let (to, own) = (
            get([b"to-tag", b"local-tag"])?,
            get([b"from-tag", b"remote-tag"])?,
        );
        let (senders, peers) = self.across(from, call_id, tag(own)?, tag(to)?)?;
        let mut out = call_id.to_vec();
        for (at, part) in parts.iter().enumerate() {
            out.push(b';');
            let name = part.split(|b| *b == b'=').next().unwrap_or_default();
            match at {
                _ if at == to => out.extend([name, b"=", &peers].concat()),
                _ if at == own => out.extend([name, b"=", &senders].concat()),
                _ => out.extend_from_slice(part),
            }
        }
        Some(out)
    }

    /// `<sip:…?Replaces=call-id%3Bto-tag%3D…%3Bfrom-tag%3D…>`.
    fn map_uri(&self, from: Side, value: &[u8]) -> Option<Vec<u8>> {
        const FIELD: &[u8] = b"replaces=";
        let question = value.iter().position(|b| *b == b'?')?;
        let headers = value.get(question..)?;
        let at = headers
            .windows(FIELD.len())
            .position(|w| w.eq_ignore_ascii_case(FIELD))?;
        if !matches!(headers.get(at.checked_sub(1)?), Some(b'?' | b'&')) {
            return None;
        }
        let start = question + at + FIELD.len();
        let rest = value.get(start..)?;
        let length = rest
            .iter()
            .position(|b| matches!(b, b'&' | b'>' | b' '))
            .unwrap_or(rest.len());
        let named = sip::unescape(rest.get(..length)?);
        let mapped = escape(&self.map_named(from, &named)?);
        Some([value.get(..start)?, &mapped, rest.get(length..)?].concat())
    }

    /// `<callid>…</callid><localtag>…</localtag><remotetag>…</remotetag>`, as often as it comes.
    fn map_body(&self, from: Side, body: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(body.len() + 64);
        let (mut rest, mut changed) = (body, false);
        while let Some((at, call_id)) = element(rest, b"callid") {
            let end = at + call_id.len();
            let (before, after) = rest.split_at_checked(end)?;
            out.extend_from_slice(before);
            rest = after;
            // The tags follow within the same dialog id.
            let scope = rest
                .windows(8)
                .position(|w| w == b"<callid>")
                .unwrap_or(rest.len());
            let near = rest.get(..scope)?;
            let (Some((l, local)), Some((r, remote))) =
                (element(near, b"localtag"), element(near, b"remotetag"))
            else {
                continue;
            };
            let Some((own, peer)) = self.across(from, call_id, local, remote) else {
                continue;
            };
            let mut places = [(l, local.len(), own), (r, remote.len(), peer)];
            places.sort_by_key(|place| place.0);
            let mut done = 0;
            for (at, length, new) in places {
                out.extend_from_slice(rest.get(done..at)?);
                out.extend_from_slice(&new);
                done = at + length;
            }
            rest = rest.get(done..)?;
            changed = true;
        }
        out.extend_from_slice(rest);
        changed.then_some(out)
    }
}

/// The first element of a name without attributes: where its text begins, and the text.
fn element<'a>(body: &'a [u8], name: &[u8]) -> Option<(usize, &'a [u8])> {
    let open = [b"<", name, b">"].concat();
    let start = body.windows(open.len()).position(|w| w == open)? + open.len();
    let length = body.get(start..)?.iter().position(|b| *b == b'<')?;
    Some((start, body.get(start..start + length)?))
}

/// Escapes what may not stand in a URI's headers (RFC 3261 §25.1, hvalue).
fn escape(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 2);
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/?:+$".contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}
