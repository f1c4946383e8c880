//! Dialogs: the state two user agents share (RFC 3261 §12), session intervals (RFC 4028), and
//! reliable provisional responses (RFC 3262).
//!
//! In: the message that makes a dialog, and what follows in it. Out: requests addressed to the
//! other end. A [`Dialog`] is one leg of a B2BUA, as server ([`Dialog::uas`]) or client
//! ([`Dialog::uac`]); an INVITE that forks has one for each early dialog.
//!
//! It sends nothing and keeps no timer. Bounds: [`ROUTES_MAX`] routes.

mod reliable;
mod session;

use smallvec::SmallVec;

use crate::build::Digits;
use crate::{Contact, Edit, Message, Method, Name, RequestBuilder, Uri};

pub use reliable::{RAck, Received, Reception, Sent, rseq};
pub use session::{Refresher, SessionInterval, min_se, too_short};

/// Entries in a route set. More are refused.
pub const ROUTES_MAX: usize = 16;

/// Why a message makes no dialog or does not fit one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialogError {
    /// A tag, a CSeq or a From or To that cannot be read.
    #[error("the message lacks what a dialog needs")]
    Incomplete,
    /// No Contact, or none that is an address.
    #[error("no usable Contact")]
    NoContact,
    /// More than [`ROUTES_MAX`] Record-Route entries.
    #[error("too many Record-Route entries")]
    TooManyRoutes,
    /// The CSeq is lower than one seen before: 500 (RFC 3261 §12.2.2).
    #[error("CSeq out of order")]
    OutOfOrder,
}

/// One end of a dialog, as its From or To names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Party {
    /// The header's value without its tag.
    value: Box<[u8]>,
    tag: Option<Box<[u8]>>,
}

impl Party {
    fn header(&self) -> SmallVec<[u8; 256]> {
        with_tag(&self.value, self.tag.as_deref())
    }
}

/// One end's view of a dialog.
#[derive(Clone, Debug)]
pub struct Dialog {
    call_id: Box<[u8]>,
    local: Party,
    remote: Party,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    target: Box<[u8]>,
    routes: Vec<Box<[u8]>>,
    confirmed: bool,
}

impl Dialog {
    /// The dialog that our answer with `local_tag` makes of a request (RFC 3261 §12.1.1).
    ///
    /// # Errors
    /// [`DialogError::Incomplete`], [`DialogError::NoContact`], [`DialogError::TooManyRoutes`].
    pub fn uas(request: &Message, local_tag: &str) -> Result<Dialog, DialogError> {
        let cseq = request.cseq().map_err(|_| DialogError::Incomplete)?;
        Ok(Dialog {
            call_id: Box::from(request.call_id()),
            local: Party {
                value: party(request, Name::To)?.value,
                tag: Some(Box::from(local_tag.as_bytes())),
            },
            remote: party(request, Name::From)?,
            local_cseq: 0,
            remote_cseq: Some(cseq.number),
            target: contact(request).ok_or(DialogError::NoContact)?,
            routes: route_set(request)?,
            confirmed: false,
        })
    }

    /// The dialog that a response makes of a request of ours (RFC 3261 §12.1.2). A provisional
    /// without a Contact leaves the Request-URI as target.
    ///
    /// # Errors
    /// As [`Dialog::uas`]; a response without a To tag is [`DialogError::Incomplete`].
    pub fn uac(request: &Message, response: &Message) -> Result<Dialog, DialogError> {
        let cseq = request.cseq().map_err(|_| DialogError::Incomplete)?;
        let remote = party(response, Name::To)?;
        if remote.tag.is_none() {
            return Err(DialogError::Incomplete);
        }
        let confirmed = response.status() >= 200;
        let target = match contact(response) {
            Some(target) => target,
            None if confirmed => return Err(DialogError::NoContact),
            None => Box::from(request.request_uri()),
        };
        let mut routes = route_set(response)?;
        routes.reverse();
        Ok(Dialog {
            call_id: Box::from(request.call_id()),
            local: party(request, Name::From)?,
            remote,
            local_cseq: cseq.number,
            remote_cseq: None,
            target,
            routes,
            confirmed,
        })
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &[u8] {
        &self.call_id
    }

    /// Our tag.
    pub fn local_tag(&self) -> &[u8] {
        self.local.tag.as_deref().unwrap_or_default()
    }

    /// The other end's tag; empty if it has none (RFC 2543).
    pub fn remote_tag(&self) -> &[u8] {
        self.remote.tag.as_deref().unwrap_or_default()
    }

    /// Where the other end wants its requests.
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// The way to it.
    pub fn routes(&self) -> impl Iterator<Item = &[u8]> {
        self.routes.iter().map(AsRef::as_ref)
    }

    /// The other end is reached another way from now on: it has moved, and only we know it.
    pub fn reroute(&mut self, route: &[u8]) {
        self.routes = vec![Box::from(route)];
    }

    /// Whether a 2xx has been sent or received.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Our side sent a 2xx, or the ACK makes it known that it arrived.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Whether a message belongs to this dialog: Call-ID and both tags.
    pub fn matches(&self, message: &Message) -> bool {
        let (local, remote) = if message.is_request() {
            (message.to(), message.from())
        } else {
            (message.from(), message.to())
        };
        let (Ok(local), Ok(remote)) = (local, remote) else {
            return false;
        };
        message.call_id() == &*self.call_id
            && local.tag().unwrap_or_default() == self.local_tag()
            && remote.tag().unwrap_or_default() == self.remote_tag()
    }

    /// Takes a request of the other end: checks its CSeq, and the target if it refreshes it.
    ///
    /// # Errors
    /// [`DialogError::OutOfOrder`]: answer 500. [`DialogError::Incomplete`]: answer 400.
    pub fn incoming(&mut self, request: &Message) -> Result<(), DialogError> {
        let cseq = request.cseq().map_err(|_| DialogError::Incomplete)?;
        if matches!(request.method(), Method::Ack | Method::Cancel) {
            return Ok(());
        }
        if self.remote_cseq.is_some_and(|seen| cseq.number <= seen) {
            return Err(DialogError::OutOfOrder);
        }
        self.remote_cseq = Some(cseq.number);
        if matches!(request.method(), Method::Invite | Method::Update) {
            self.refresh(request);
        }
        Ok(())
    }

    /// Takes a response to a request of ours in this dialog: a 2xx to INVITE or UPDATE refreshes
    /// the target, and the first 2xx settles the route set (RFC 3261 §13.2.2.4).
    pub fn answered(&mut self, response: &Message) {
        let status = response.status();
        if !(200..300).contains(&status) && (self.confirmed || status > 299) {
            return;
        }
        if !matches!(response.method(), Method::Invite | Method::Update) {
            return;
        }
        self.refresh(response);
        if response.method() == Method::Invite && !self.confirmed {
            if let Ok(mut routes) = route_set(response) {
                routes.reverse();
                self.routes = routes;
            }
            self.confirmed = status >= 200;
        }
    }

    /// The next CSeq number of ours.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.wrapping_add(1) & 0x7fff_ffff;
        self.local_cseq
    }

    /// The last CSeq number of ours.
    pub fn last_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Never goes below `number`: another early dialog of the same INVITE has used it.
    pub fn raise_cseq(&mut self, number: u32) {
        self.local_cseq = self.local_cseq.max(number);
    }

    /// A request of ours in this dialog, but for Via, Contact and body; takes the next CSeq.
    pub fn request(&mut self, method: &[u8]) -> RequestBuilder {
        let cseq = self.next_cseq();
        self.build(method, cseq)
    }

    /// The ACK for a 2xx to the INVITE numbered `cseq` (RFC 3261 §13.2.2.4).
    pub fn ack(&self, cseq: u32) -> RequestBuilder {
        self.build(b"ACK", cseq)
    }

    fn build(&self, method: &[u8], cseq: u32) -> RequestBuilder {
        let (uri, routes, last) = self.way();
        let mut builder = RequestBuilder::new(method, uri);
        for route in routes {
            builder = builder.header(Name::Route, route);
        }
        if let Some(last) = last {
            builder = builder.header(Name::Route, last);
        }
        builder
            .header(Name::MaxForwards, b"70")
            .header(Name::From, self.local.header())
            .header(Name::To, self.remote.header())
            .header(Name::CallId, &*self.call_id)
            .header(Name::CSeq, cseq_value(cseq, method))
    }

    /// Addresses a request that came from elsewhere to the other end of this dialog: Request-URI,
    /// Route, From, To, Call-ID and CSeq become this dialog's; all else stays.
    pub fn address(&self, edit: &mut Edit<'_>, method: &[u8], cseq: u32) {
        let (uri, routes, last) = self.way();
        edit.request_uri(uri);
        edit.remove(Name::Route);
        for route in routes {
            edit.push_front(Name::Route, route);
        }
        if let Some(last) = last {
            edit.push_front(Name::Route, last);
        }
        edit.set(Name::From, self.local.header());
        edit.set(Name::To, self.remote.header());
        edit.set(Name::CallId, &self.call_id);
        edit.set(Name::CSeq, cseq_value(cseq, method));
    }

    /// Request-URI and Route (RFC 3261 §12.2.1.1): a first route without `lr` is a strict router,
    /// which takes the Request-URI's place and puts the target last: that is the third part.
    fn way(&self) -> (&[u8], impl Iterator<Item = &[u8]>, Option<Vec<u8>>) {
        let strict = self.routes.first().and_then(|first| {
            let uri = uri_of(first)?;
            Uri::parse(uri).ok().filter(|u| u.param(b"lr").is_none())?;
            Some(uri)
        });
        let routes = self.routes.iter().map(|route| &**route);
        let routes = routes.skip(usize::from(strict.is_some()));
        match strict {
            None => (&self.target, routes, None),
            Some(uri) => (uri, routes, Some([b"<", &*self.target, b">"].concat())),
        }
    }

    fn refresh(&mut self, message: &Message) {
        if let Some(target) = contact(message) {
            self.target = target;
        }
    }
}

/// A From or To value with its tag put in place of any it has.
pub fn with_tag(value: &[u8], tag: Option<&[u8]>) -> SmallVec<[u8; 256]> {
    let mut out = without_tag(value);
    if let Some(tag) = tag {
        out.extend_from_slice(b";tag=");
        out.extend_from_slice(tag);
    }
    out
}

/// A From or To value without its tag; display name, URI and other parameters stay as they are.
fn without_tag(value: &[u8]) -> SmallVec<[u8; 256]> {
    let mut out: SmallVec<[u8; 256]> = SmallVec::new();
    for (i, part) in split_parameters(value).enumerate() {
        let name = part
            .split(|b| *b == b'=')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if i > 0 && name.eq_ignore_ascii_case(b"tag") {
            continue;
        }
        if i > 0 {
            out.push(b';');
        }
        out.extend_from_slice(part);
    }
    out.truncate(out.trim_ascii_end().len());
    out
}

/// Splits at semicolons outside quotes and angle brackets.
fn split_parameters(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    value.split(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b';' => return !quoted && !angle,
            _ => {}
        }
        false
    })
}

fn cseq_value(number: u32, method: &[u8]) -> SmallVec<[u8; 32]> {
    let mut value = SmallVec::from_slice(Digits::of(number as usize).as_ref());
    value.push(b' ');
    value.extend_from_slice(method);
    value
}

fn party(message: &Message, name: Name) -> Result<Party, DialogError> {
    let value = message.header(name).ok_or(DialogError::Incomplete)?;
    let address = if name == Name::From {
        message.from()
    } else {
        message.to()
    };
    let address = address.map_err(|_| DialogError::Incomplete)?;
    Ok(Party {
        value: Box::from(&*without_tag(value)),
        tag: address.tag().map(Box::from),
    })
}

fn contact(message: &Message) -> Option<Box<[u8]>> {
    match message.contacts().next()? {
        Ok(Contact::Address(address)) => Some(Box::from(address.uri)),
        _ => None,
    }
}

fn route_set(message: &Message) -> Result<Vec<Box<[u8]>>, DialogError> {
    let mut routes = Vec::new();
    for value in message.values(Name::RecordRoute) {
        if routes.len() >= ROUTES_MAX {
            return Err(DialogError::TooManyRoutes);
        }
        routes.push(Box::from(value));
    }
    Ok(routes)
}

/// The URI between angle brackets.
fn uri_of(value: &[u8]) -> Option<&[u8]> {
    let start = value.iter().position(|b| *b == b'<')? + 1;
    let length = value.get(start..)?.iter().position(|b| *b == b'>')?;
    value.get(start..start + length)
}

#[cfg(test)]
mod tests;
