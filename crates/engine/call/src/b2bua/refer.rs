//! REFER, and every other way in which a message names a dialog: Replaces (RFC 3891), Join
//! (RFC 3911), Target-Dialog (RFC 4538), Replaces within Refer-To, and the dialog ids of
//! `x-cisco-remotecc` bodies. Tags differ between the legs, so such names are translated; what
//! names no call of ours passes as it is. A client may be behind another edge than the one whose
//! call it names: the transfer target, or another device of its user. Where a Refer-To that names a
//! call leads to our own Contact, it leads to the other leg's far end instead (RFC 5589 §7.3).
//!
//! Not here: `dialog-info` of a NOTIFY. It speaks of calls of other clients too, by call control's
//! names, and a client that asks for one of them names it back by the same.
//!
//! Bounds: [`NAMED_MAX`] dialogs in one body.

use sip::{Message, Name};

use super::call::{End, LegKey, Phase, Side};
use super::{B2bua, CallId};

/// Headers that name a dialog as `call-id;to-tag=…;from-tag=…` (or `local-tag`, `remote-tag`).
const NAMING: [Name; 3] = [
    Name::Replaces,
    Name::Other("Join"),
    Name::Other("Target-Dialog"),
];

/// The most dialogs that are translated in one body.
const NAMED_MAX: usize = 16;

/// A dialog as the other leg knows it.
struct Named<'a> {
    call: CallId,
    /// The tag in the sender's place, and its peer's.
    senders: &'a [u8],
    peers: &'a [u8],
    /// Our Contact as the sender knows it, and where the other leg leads.
    contact: &'a [u8],
    target: &'a [u8],
}

impl B2bua {
    /// The message with every dialog it names given the names of the other leg. For requests
    /// outside a dialog that the node proxies; within a dialog it is done on their way.
    pub fn map_references(&self, from: Side, message: &Message) -> Message {
        let mut edit = message.edit();
        let mut changed = false;
        for name in NAMING {
            let mapped = message.header(name).and_then(|v| self.map_named(from, v));
            if let Some((value, _)) = mapped {
                edit.set(name, value);
                changed = true;
            }
        }
        if let Some(value) = message
            .header(Name::ReferTo)
            .and_then(|v| self.map_uri(from, v))
        {
            edit.set(Name::ReferTo, value.0);
            changed = true;
        }
        if let Some(kind) = message.content_type()
            && names_dialogs(kind)
            && let Some(body) = self.map_body(from, message.body(), &mut Vec::new())
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

    /// The calls that a message names by a dialog of them, those that [`B2bua::map_references`]
    /// would translate, and that stand: whoever names a call may have it taken over, so whose it
    /// is has to be judged first. One that is named twice is there twice.
    pub fn named_calls(&self, from: Side, message: &Message) -> Vec<CallId> {
        let mut calls: Vec<CallId> = NAMING
            .into_iter()
            .filter_map(|name| Some(self.map_named(from, message.header(name)?)?.1.call))
            .collect();
        let refer_to = message.header(Name::ReferTo);
        calls.extend(refer_to.and_then(|v| Some(self.map_uri(from, v)?.1)));
        if message.content_type().is_some_and(names_dialogs) {
            self.map_body(from, message.body(), &mut calls);
        }
        // Of one that is over nothing is to be had; it is named by who was slower than its end.
        let stands = |call: &CallId| {
            let call = self.calls.get(call.0);
            call.is_some_and(|call| call.phase != Phase::Ending)
        };
        calls.retain(stands);
        calls
    }

    /// A dialog the sender knows by its own tag and ours, as the other leg knows it.
    fn across(&self, from: Side, call_id: &[u8], senders: &[u8], ours: &[u8]) -> Option<Named<'_>> {
        let key = LegKey {
            call_id: Box::from(call_id),
            local_tag: Box::from(ours),
            edge: from.is_edge(),
        };
        let id = *self.legs.get(&key)?;
        let call = self.calls.get(id)?;
        [End::Caller, End::Callee].into_iter().find_map(|end| {
            let fork = call.forks.iter().find(|fork| {
                let dialog = fork.dialog(end);
                call.leg(end).side.is_edge() == from.is_edge()
                    && dialog.local_tag() == ours
                    && dialog.remote_tag() == senders
            })?;
            let other = fork.dialog(end.other());
            Some(Named {
                call: CallId(id),
                senders: other.local_tag(),
                peers: other.remote_tag(),
                contact: &call.leg(end).face.contact,
                target: other.target(),
            })
        })
    }

    /// `call-id;to-tag=…;from-tag=…`: as the other leg says it, and the dialog.
    fn map_named(&self, from: Side, value: &[u8]) -> Option<(Vec<u8>, Named<'_>)> {
        let mut parts = value.split(|b| *b == b';');
        let whole_id = parts.next()?;
        let call_id = whole_id.trim_ascii();
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
        // Whose view the names take is read in two ways (RFC 3891 §3, RFC 4538 §7); tags tell.
        let as_peer = self.across(from, call_id, tag(own)?, tag(to)?);
        let as_sender = || self.across(from, call_id, tag(to)?, tag(own)?);
        let (named, to, own) = match as_peer {
            Some(named) => (named, to, own),
            None => (as_sender()?, own, to),
        };
        let mut out = whole_id.to_vec();
        for (at, part) in parts.iter().enumerate() {
            out.push(b';');
            let name = part.split(|b| *b == b'=').next().unwrap_or_default();
            match at {
                _ if at == to => out.extend([name, b"=", named.peers].concat()),
                _ if at == own => out.extend([name, b"=", named.senders].concat()),
                _ => out.extend_from_slice(part),
            }
        }
        Some((out, named))
    }

    /// `<sip:…?Replaces=call-id%3Bto-tag%3D…%3Bfrom-tag%3D…>`, or the same with Join.
    fn map_uri(&self, from: Side, value: &[u8]) -> Option<(Vec<u8>, CallId)> {
        let question = value.iter().position(|b| *b == b'?')?;
        let (start, length) = embedded(value, question)?;
        let rest = value.get(start..)?;
        let (mapped, named) = self.map_named(from, &sip::unescape(rest.get(..length)?))?;
        let uri_at = value.iter().position(|b| *b == b'<').map_or(0, |at| at + 1);
        let uri = value.get(uri_at..question)?;
        let uri = if same_place(uri, named.contact) {
            named.target
        } else {
            uri
        };
        let value = [
            value.get(..uri_at)?,
            uri,
            value.get(question..start)?,
            &escape(&mapped),
            rest.get(length..)?,
        ];
        Some((value.concat(), named.call))
    }

    /// `<callid>…</callid><localtag>…</localtag><remotetag>…</remotetag>`, as often as it comes.
    /// Gives the calls it names to `calls`.
    fn map_body(&self, from: Side, body: &[u8], calls: &mut Vec<CallId>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(body.len() + 64);
        let (mut rest, mut changed) = (body, false);
        for _ in 0..NAMED_MAX {
            let Some((at, call_id)) = element(rest, b"callid") else {
                break;
            };
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
            let Some(named) = self.across(from, call_id, local, remote) else {
                continue;
            };
            calls.push(named.call);
            let mut places = [
                (l, local.len(), named.senders),
                (r, remote.len(), named.peers),
            ];
            places.sort_by_key(|place| place.0);
            let mut done = 0;
            for (at, length, new) in places {
                out.extend_from_slice(rest.get(done..at)?);
                out.extend_from_slice(new);
                done = at + length;
            }
            rest = rest.get(done..)?;
            changed = true;
        }
        out.extend_from_slice(rest);
        changed.then_some(out)
    }
}

/// Whether a body of this type may name dialogs: softkeys and their like, alone or in parts.
fn names_dialogs(kind: &[u8]) -> bool {
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default();
    let kind = kind.trim_ascii().to_ascii_lowercase();
    kind.starts_with(b"multipart/") || kind.starts_with(b"application/x-cisco-remotecc")
}

/// Where in a URI the value of its Replaces or Join header is.
fn embedded(value: &[u8], question: usize) -> Option<(usize, usize)> {
    let headers = value.get(question..)?;
    let start = [&b"replaces="[..], b"join="]
        .into_iter()
        .find_map(|field| {
            let mut found = headers.windows(field.len() + 1).enumerate();
            let (at, _) = found.find(|(_, w)| {
                matches!(w.first(), Some(b'?' | b'&'))
                    && w.get(1..).is_some_and(|w| w.eq_ignore_ascii_case(field))
            })?;
            Some(question + at + 1 + field.len())
        })?;
    let rest = value.get(start..)?;
    let end = rest
        .iter()
        .position(|b| matches!(b, b'&' | b'>' | b' '))
        .unwrap_or(rest.len());
    Some((start, end))
}

/// Whether two URIs have the same user, host and port.
fn same_place(one: &[u8], other: &[u8]) -> bool {
    let place = |uri| {
        let uri = sip::Uri::parse(uri).ok()?;
        Some((uri.user.map(<[u8]>::to_vec), uri.host.to_string(), uri.port))
    };
    let (one, other) = (place(one), place(other));
    one.is_some() && one == other
}

/// The first element of a name without attributes: where its text begins, and the text.
fn element<'a>(body: &'a [u8], name: &[u8]) -> Option<(usize, &'a [u8])> {
    let open = [b"<", name, b">"].concat();
    let start = body.windows(open.len()).position(|w| w == open)? + open.len();
    let rest = body.get(start..)?;
    let (text, close) = rest.split_at_checked(rest.iter().position(|b| *b == b'<')?)?;
    let close = close.strip_prefix(b"</")?.strip_prefix(name)?;
    close.starts_with(b">").then_some((start, text))
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
