//! Overlap dialling on the device's side: key presses told in the dialog (RFC 4730).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use sipx_sip::{HeaderName, Method, Request};
use tokio::sync::watch;

use super::{Agent, Call, Entry, call};
use crate::sip::dialog::Dialog;
use crate::sip::message;
use crate::sip::stack::Incoming;

const PATIENCE: Duration = Duration::from_secs(5);

/// A call whose number is not whole.
pub(super) struct Dialling {
    digits: Mutex<VecDeque<char>>,
    /// The dialog, once an answer has made it.
    pub(super) dialog: watch::Sender<Option<Dialog>>,
}

/// Calls with the first digits, and tells the rest when asked.
pub(super) async fn place(agent: &Agent, first: &str, rest: &str) -> Result<Call> {
    let dialling = Arc::new(Dialling {
        digits: Mutex::new(rest.chars().collect()),
        dialog: watch::Sender::new(None),
    });
    let manner = call::Manner {
        dialling: Some(&dialling),
        ..call::Manner::default()
    };
    call::place(agent, first, manner).await
}

impl Agent {
    pub(super) fn dialling(&self, request: &Request) -> Option<Arc<Dialling>> {
        match self.calls_table().get(&message::call_id(&request.headers)) {
            Some(Entry::Dialling(dialling)) => Some(Arc::clone(dialling)),
            _ => None,
        }
    }

    /// A subscription to key presses begins or ends.
    pub(super) async fn pressed_for(&self, dialling: &Dialling, incoming: Incoming) -> Result<()> {
        let headers = &incoming.request.headers;
        let event = message::text(headers, &HeaderName::Event).unwrap_or_default();
        if incoming.request.method != Method::Subscribe || !event.starts_with("kpml") {
            return self.0.stack.refuse(&incoming, 489, "Bad Event").await;
        }
        let expires = message::text(headers, &HeaderName::Expires).unwrap_or_default();
        let mut answer = message::answer(&incoming.request, 200, "OK", "")?;
        let contact = format!("<{}>", self.contact(&incoming.flow));
        message::add(&mut answer.headers, HeaderName::Contact, contact)?;
        message::add(&mut answer.headers, HeaderName::Expires, expires.clone())?;
        self.0.stack.respond(&incoming, answer).await?;
        let mut known = dialling.dialog.subscribe();
        let known = tokio::time::timeout(PATIENCE, known.wait_for(Option::is_some)).await;
        known.context("a subscription before the dialog")??;
        if expires == "0" {
            return self.notify(dialling, "terminated", 487, "").await;
        }
        loop {
            let digit = dialling
                .digits
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some(digit) = digit else { return Ok(()) };
            self.notify(dialling, "active", 200, &digit.to_string())
                .await?;
        }
    }

    async fn notify(
        &self,
        to: &Dialling,
        state: &'static str,
        code: u16,
        digits: &str,
    ) -> Result<()> {
        let mut dialog = to.dialog.borrow().clone().context("no dialog")?;
        let mut notify = dialog.request(Method::Notify, None)?;
        to.dialog.send_replace(Some(dialog));
        let text = if code == 200 {
            "OK"
        } else {
            "Subscription Expired"
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<kpml-response version=\"1.0\" \
             code=\"{code}\" text=\"{text}\" digits=\"{digits}\" tag=\"Backspace OK\"/>\r\n"
        );
        let flow = self.uplink().await?;
        let headers = &mut notify.headers;
        message::add(headers, HeaderName::Event, "kpml")?;
        message::add(headers, HeaderName::SubscriptionState, state)?;
        message::add(
            headers,
            HeaderName::Contact,
            format!("<{}>", self.contact(&flow)),
        )?;
        message::set_body(headers, "application/kpml-response+xml", body.len())?;
        notify.set_body(body.into());
        self.send(&flow, notify).await?;
        Ok(())
    }
}
