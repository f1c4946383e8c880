//! Overlap dialling: digits that come one by one in the key press markup language (RFC 4730).
//!
//! A device calls with the first digits; Unified CM answers 183, subscribes to key presses in the
//! dialog, and goes on when the digits name a line. The subscription ends with `Expires: 0`.
//! Bounds: 15 s between digits, 24 digits.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sipx_sip::{HeaderName, Method};
use tokio::sync::mpsc;

use super::{UnifiedCm, call};
use crate::sip::dialog::Dialog;
use crate::sip::message;
use crate::sip::stack::Incoming;

const BETWEEN_DIGITS: Duration = Duration::from_secs(15);
const DIGITS: usize = 24;
const REQUEST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
    <kpml-request xmlns=\"urn:ietf:params:xml:ns:kpml-request\" version=\"1.0\">\
    <pattern criticaldigittimer=\"1000\" extradigittimer=\"500\" interdigittimer=\"15000\" \
    persist=\"persist\"><regex tag=\"Backspace OK\">[x#*+]|bs</regex></pattern></kpml-request>\r\n";

/// A number that is whole, and the dialog in which its digits came.
pub(super) struct Dialled {
    pub(super) number: String,
    pub(super) tag: String,
    pub(super) dialog: Dialog,
}

impl UnifiedCm {
    /// Whether a number may become a line's if digits are added, and the caller can give them.
    pub(super) fn may_go_on(&self, number: &str, incoming: &Incoming) -> bool {
        let events = message::text(&incoming.request.headers, &HeaderName::AllowEvents);
        let can = events.is_some_and(|events| events.contains("kpml"));
        can && self.0.lines.keys().any(|line| line.starts_with(number))
    }

    /// Collects digits until they name a line; none if the caller gave up.
    pub(super) async fn collect(
        &self,
        incoming: &Incoming,
        mut number: String,
        events: &mut mpsc::Receiver<call::Event>,
    ) -> Result<Option<Dialled>> {
        let tag = message::token(8);
        let mut dialog = Dialog::of_callee(&incoming.request, &tag)?;
        let mut progress = message::answer(&incoming.request, 183, "Session Progress", &tag)?;
        for route in incoming.request.headers.get_all(&HeaderName::RecordRoute) {
            progress.headers.push(route.clone());
        }
        let contact = self.contact(&number, incoming.flow.secure);
        message::add(&mut progress.headers, HeaderName::Contact, contact)?;
        self.0.stack.respond(incoming, progress).await?;
        self.subscribe(&mut dialog, incoming, 7200).await?;
        loop {
            let event = tokio::time::timeout(BETWEEN_DIGITS, events.recv()).await;
            let Ok(Some(call::Event::Request(_, request))) = event else {
                self.refuse(incoming, 484, "Address Incomplete").await?;
                bail!("{number} and no further digit");
            };
            match request.request.method {
                Method::Notify => {
                    self.refuse(&request, 200, "OK").await?;
                    number.push_str(&digits(request.request.body()));
                    if self.0.lines.contains_key(&number) {
                        self.subscribe(&mut dialog, incoming, 0).await?;
                        return Ok(Some(Dialled {
                            number,
                            tag,
                            dialog,
                        }));
                    }
                    if number.len() > DIGITS {
                        self.refuse(incoming, 404, "Not Found").await?;
                        return Ok(None);
                    }
                }
                Method::Cancel => {
                    self.refuse(&request, 200, "OK").await?;
                    let gone = message::answer(&incoming.request, 487, "Request Terminated", &tag)?;
                    self.0.stack.respond(incoming, gone).await?;
                    return Ok(None);
                }
                _ => self.refuse(&request, 200, "OK").await?,
            }
        }
    }

    /// Subscribes to key presses within the dialog.
    async fn subscribe(&self, dialog: &mut Dialog, to: &Incoming, expires_s: u32) -> Result<()> {
        let mut subscribe = dialog.request(Method::Subscribe, None)?;
        let headers = &mut subscribe.headers;
        message::add(headers, HeaderName::Event, "kpml")?;
        message::add(headers, HeaderName::Expires, expires_s.to_string())?;
        let user = message::user(&to.request.uri);
        message::add(
            headers,
            HeaderName::Contact,
            self.contact(&user, to.flow.secure),
        )?;
        message::set_body(headers, "application/kpml-request+xml", REQUEST.len())?;
        subscribe.set_body(REQUEST.into());
        // By the connection that the 183 went by, so that it comes after it.
        let flow = to.flow.clone();
        let mut answers = self.0.stack.request(&flow, subscribe).await?;
        let answer = tokio::time::timeout(Duration::from_secs(5), answers.last()).await;
        let status = answer.context("no answer to SUBSCRIBE")??.status;
        if !status.is_success() {
            bail!("SUBSCRIBE to key presses was answered {status}");
        }
        Ok(())
    }
}

/// The digits that a report tells of (RFC 4730 §5.3).
fn digits(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let told = text
        .split_once("digits=\"")
        .and_then(|(_, rest)| rest.split('"').next());
    told.unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_digit() || matches!(c, '*' | '#' | '+'))
        .collect()
}
