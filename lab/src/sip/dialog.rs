//! The state of a dialog (RFC 3261 §12): what its requests carry and where they go.

use anyhow::{Context, Result};
use sipx_sip::{HeaderName, Headers, Method, Request, Response, Uri};

use super::message;

/// One side of a dialog.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    /// `Call-ID`.
    pub(crate) call_id: String,
    /// Our `From`, tag and all.
    pub(crate) local: String,
    /// The peer's `To`, tag and all.
    pub(crate) remote: String,
    /// Our last sequence number.
    pub(crate) sequence: u32,
    /// Where requests go in the end.
    pub(crate) target: Uri,
    /// Through whom, first hop first.
    pub(crate) route: Vec<Uri>,
}

impl Dialog {
    /// The caller's side, once an answer came with a tag (RFC 3261 §12.1.2).
    pub(crate) fn of_caller(request: &Request, response: &Response) -> Result<Dialog> {
        let sent = &request.headers;
        let got = &response.headers;
        message::to_tag(got).context("an answer with a tag")?;
        let mut route = message::record_route(got);
        route.reverse();
        Ok(Dialog {
            call_id: message::call_id(sent),
            local: message::text(sent, &HeaderName::From).context("From")?,
            remote: message::text(got, &HeaderName::To).context("To")?,
            sequence: message::sequence(sent).context("CSeq")?,
            target: message::contact(got).context("an answer with a Contact")?,
            route,
        })
    }

    /// The callee's side, with the tag it gave itself (RFC 3261 §12.1.1).
    pub(crate) fn of_callee(request: &Request, tag: &str) -> Result<Dialog> {
        let got = &request.headers;
        let to = message::text(got, &HeaderName::To).context("To")?;
        Ok(Dialog {
            call_id: message::call_id(got),
            local: format!("{to};tag={tag}"),
            remote: message::text(got, &HeaderName::From).context("From")?,
            sequence: 0,
            target: message::contact(got).context("a request with a Contact")?,
            route: message::record_route(got),
        })
    }

    /// The next request of the dialog; `ACK` repeats the number of the `INVITE`, given.
    pub(crate) fn request(&mut self, method: Method, of_invite: Option<u32>) -> Result<Request> {
        let number = of_invite.unwrap_or_else(|| {
            self.sequence += 1;
            self.sequence
        });
        let mut request = Request::new(method.clone(), self.target.clone());
        let headers = &mut request.headers;
        for hop in &self.route {
            message::add(headers, HeaderName::Route, format!("<{hop}>"))?;
        }
        message::add(headers, HeaderName::From, self.local.clone())?;
        message::add(headers, HeaderName::To, self.remote.clone())?;
        message::add(headers, HeaderName::CallId, self.call_id.clone())?;
        message::add(headers, HeaderName::CSeq, format!("{number} {method}"))?;
        Ok(request)
    }

    /// Takes a new target from a message that refreshes it (RFC 3261 §12.2).
    pub(crate) fn refresh(&mut self, headers: &Headers) {
        if let Some(target) = message::contact(headers) {
            self.target = target;
        }
    }

    /// Whom to send to: the first hop, or the target itself.
    pub(crate) fn next_hop(&self) -> &Uri {
        self.route.first().unwrap_or(&self.target)
    }
}
