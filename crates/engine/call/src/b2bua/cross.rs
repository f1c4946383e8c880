//! A message's way from one leg to the other: which fields become the other leg's, and which
//! pass byte for byte.
//!
//! Ours are Via, Route, Record-Route, Contact's URI, Call-ID, tags, CSeq, Max-Forwards and what
//! follows from the body. All else passes as it came, in order and case.

use sip::dialog::{Dialog, with_tag};
use sip::{Message, Method, Name};

use super::body::Body;
use super::call::Target;

/// Max-Forwards of a request that had none.
const HOPS_DEFAULT: u8 = 70;

/// Max-Forwards as it goes on; `None` if it has run out.
pub(super) fn hops(request: &Message) -> Option<u8> {
    match request.max_forwards() {
        Ok(Some(hops)) => hops.checked_sub(1),
        Ok(None) => Some(HOPS_DEFAULT),
        Err(_) => None,
    }
}

/// The INVITE that goes out for one that came in.
pub(super) fn invite(
    request: &Message,
    target: &Target,
    tag: &str,
    cseq: u32,
    hops: u8,
    body: Body<'_>,
) -> Message {
    let mut edit = request.edit();
    edit.request_uri(&target.request_uri);
    edit.remove(Name::Via)
        .remove(Name::RecordRoute)
        .remove(Name::Route);
    for route in &target.routes {
        edit.push_front(Name::Route, route);
    }
    let from = request.header(Name::From).unwrap_or_default();
    edit.set(Name::From, with_tag(from, Some(tag.as_bytes())));
    edit.set(Name::CSeq, format!("{cseq} INVITE").as_bytes());
    edit.set(Name::MaxForwards, hops.to_string().as_bytes());
    edit.set(Name::Contact, contact(request, &target.face.contact));
    body.write(request, &mut edit);
    edit.finish()
}

/// A request within a dialog, addressed to the other leg's far end.
pub(super) fn request(
    request: &Message,
    dialog: &Dialog,
    cseq: u32,
    hops: u8,
    our_contact: &[u8],
    body: Body<'_>,
) -> Message {
    let mut edit = request.edit();
    edit.remove(Name::Via).remove(Name::RecordRoute);
    dialog.address(&mut edit, request.method_bytes(), cseq);
    edit.set(Name::MaxForwards, hops.to_string().as_bytes());
    if request.header(Name::Contact).is_some() {
        edit.set(Name::Contact, contact(request, our_contact));
    }
    body.write(request, &mut edit);
    edit.finish()
}

/// The response to `original` that says what `response` says.
pub(super) fn response(
    original: &Message,
    response: &Message,
    to_tag: &[u8],
    our_contact: &[u8],
    body: Body<'_>,
) -> Message {
    let mut edit = response.edit();
    edit.remove(Name::Via).remove(Name::RecordRoute);
    let field = |name| original.header(name).unwrap_or_default();
    edit.set(Name::From, field(Name::From));
    let tagged = original.to().is_ok_and(|to| to.tag().is_some());
    if tagged {
        edit.set(Name::To, field(Name::To));
    } else {
        edit.set(Name::To, with_tag(field(Name::To), Some(to_tag)));
    }
    edit.set(Name::CallId, field(Name::CallId));
    edit.set(Name::CSeq, field(Name::CSeq));
    // A redirection names others; every other Contact is where we are to be found.
    if response.header(Name::Contact).is_some() && !(300..400).contains(&response.status()) {
        edit.set(Name::Contact, contact(response, our_contact));
    }
    // Vias stand before all other fields; what is pushed in one place keeps its order.
    for via in fields(original, Name::Via) {
        edit.push_front(Name::Via, via);
    }
    let opens_dialog =
        original.method() == Method::Invite && !tagged && (101..300).contains(&response.status());
    if opens_dialog {
        for route in fields(original, Name::RecordRoute) {
            edit.push_front(Name::RecordRoute, route);
        }
    }
    body.write(response, &mut edit);
    edit.finish()
}

fn fields(message: &Message, name: Name) -> impl Iterator<Item = &[u8]> {
    message.fields_of(name)
}

/// The message's first Contact with its URI replaced; display name and parameters stay.
fn contact(message: &Message, uri: &[u8]) -> Vec<u8> {
    let value = message.values(Name::Contact).next().unwrap_or_default();
    let opening = unquoted(value, b'<');
    let closing = opening.and_then(|open| {
        let rest = value.get(open..)?;
        Some(open + rest.iter().position(|b| *b == b'>')? + 1)
    });
    let (before, after) = match (opening, closing) {
        (Some(open), Some(close)) => (value.get(..open), value.get(close..)),
        // Without angle brackets every parameter is the header's (RFC 3261 §20.10).
        _ => (
            None,
            value
                .iter()
                .position(|b| *b == b';')
                .and_then(|at| value.get(at..)),
        ),
    };
    [
        before.unwrap_or_default(),
        b"<",
        uri,
        b">",
        after.unwrap_or_default(),
    ]
    .concat()
}

/// Where a byte first stands outside quotes.
fn unquoted(value: &[u8], wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    value.iter().position(|byte| {
        if escaped {
            escaped = false;
        } else if quoted && *byte == b'\\' {
            escaped = true;
        } else if *byte == b'"' {
            quoted = !quoted;
        } else {
            return !quoted && *byte == wanted;
        }
        false
    })
}
