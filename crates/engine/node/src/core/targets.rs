//! Where a client's requests in a subscription go: to the address that whoever inside is at its
//! other end gave as Contact (RFC 6665 §4.4.1), which may be a phone behind call control.
//!
//! In: every SUBSCRIBE, NOTIFY and REFER, and the answers to them, as they come. Out: whether a
//! target is one that the inside gave in this very dialog. What a client gave is none, though it
//! comes back from inside: else two clients could have call control send to any address. Both are
//! known by Call-ID and the tag of whose Contact it is.
//!
//! Bounds: [`ENDS_MAX`] ends of dialogs of each kind; the oldest are forgotten. A client whose
//! subscription was forgotten makes another.

use std::collections::VecDeque;
use std::hash::Hasher;

use base::HashMap;
use sip::{Contact, Message, Method, Uri};

/// Ends of dialogs that are known, inside and outside each.
const ENDS_MAX: usize = 65_536;

/// A mark of what names something, in few bytes.
type Mark = u64;

/// What is known.
#[derive(Default)]
pub(super) struct Targets {
    /// Ends that are clients' or strangers'.
    outside: Known<()>,
    /// Ends that are inside, with the host and port of their Contact.
    inside: Known<Mark>,
}

impl Targets {
    /// A message came from an edge, or from inside.
    pub(super) fn heard(&mut self, message: &Message, from_edge: bool) {
        let method = message.method();
        if !matches!(method, Method::Subscribe | Method::Notify | Method::Refer) {
            return;
        }
        // Who wrote it.
        let writer = match message.is_request() {
            true => message.from(),
            false => message.to(),
        };
        let Some(tag) = writer.as_ref().ok().and_then(|address| address.tag()) else {
            return;
        };
        let end = mark(&[message.call_id(), tag]);
        if from_edge {
            self.inside.forget(end);
            return self.outside.learn(end, ());
        }
        if self.outside.get(end).is_some() {
            return;
        }
        let contact = message.contacts().next().and_then(Result::ok);
        if let Some(Contact::Address(contact)) = contact
            && let Some(target) = target(contact.uri)
        {
            self.inside.learn(end, target);
        }
    }

    /// Whether a client's request within a dialog goes where the other end said that it is.
    pub(super) fn leads(&self, request: &Message) -> bool {
        let to = request.to();
        let Some(tag) = to.as_ref().ok().and_then(|to| to.tag()) else {
            return false;
        };
        let known = self.inside.get(mark(&[request.call_id(), tag]));
        known.is_some() && known.copied() == target(request.request_uri())
    }
}

/// A table that forgets the oldest.
struct Known<T> {
    rows: HashMap<Mark, T>,
    order: VecDeque<Mark>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known {
            rows: HashMap::default(),
            order: VecDeque::new(),
        }
    }
}

impl<T> Known<T> {
    fn get(&self, mark: Mark) -> Option<&T> {
        self.rows.get(&mark)
    }

    fn learn(&mut self, mark: Mark, what: T) {
        if self.rows.insert(mark, what).is_some() {
            return;
        }
        self.order.push_back(mark);
        if self.order.len() > ENDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.rows.remove(&oldest);
        }
    }

    /// Its place in the order stays, and is a row's no more.
    fn forget(&mut self, mark: Mark) {
        self.rows.remove(&mark);
    }
}

/// A URI's host and port.
fn target(uri: &[u8]) -> Option<Mark> {
    let uri = Uri::parse(uri).ok()?;
    // Where it really leads is in there.
    if uri.params.get(b"maddr").is_some() {
        return None;
    }
    let host = uri.host.to_string().to_ascii_lowercase();
    let port = uri.port.unwrap_or_default().to_be_bytes();
    Some(mark(&[host.as_bytes(), &port]))
}

fn mark(parts: &[&[u8]]) -> Mark {
    let mut hasher = std::hash::DefaultHasher::new();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}
