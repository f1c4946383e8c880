//! What Unified CM tells a device unasked: messages that wait, the state of its lines, that it is
//! to restart.
//!
//! All are requests outside dialogs to the Contact that registered, by the Path if there is one.
//! A device that registers anew is told the first two at once. Service control names the Call-ID
//! of the device's own REGISTER, by which the device knows that it is meant.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sipx_sip::{HeaderName, Method, Request};

use super::{Registration, UnifiedCm, way};
use crate::sip::message;

const PATIENCE: Duration = Duration::from_secs(10);
const REMOTECC: &str = "application/x-cisco-remotecc-request+xml";

/// What Unified CM has told a device, and how that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The line.
    pub(crate) extension: String,
    /// `message-summary`, `bulkupdate` or `service-control`.
    pub(crate) what: &'static str,
    /// The final status; none if none came.
    pub(crate) status: Option<u16>,
}

impl UnifiedCm {
    /// What it has told devices so far, the last 256.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.call_table().told.clone()
    }

    /// Tells a device that registered anew what it has to show.
    pub(super) fn welcome(&self, registration: Registration) {
        let this = self.clone();
        self.0.stack.spawn(async move {
            // How it was answered stands in `told`.
            let _ = this.message_waiting(&registration, false).await;
            let _ = this.bulk_update(&registration).await;
        });
    }

    /// Whether voice messages wait (RFC 3842).
    ///
    /// # Errors
    /// The device refused it, or did not answer.
    pub(crate) async fn message_waiting(&self, to: &Registration, waiting: bool) -> Result<()> {
        let mut notify = self.aside(to, Method::Notify)?;
        let headers = &mut notify.headers;
        message::add(headers, HeaderName::Event, "message-summary")?;
        message::add(headers, HeaderName::SubscriptionState, "active")?;
        let waiting = if waiting { "yes" } else { "no" };
        let body = format!("Messages-Waiting: {waiting}\r\n");
        self.tell(
            to,
            notify,
            "message-summary",
            "application/simple-message-summary",
            body,
        )
        .await
    }

    /// The state of the device's lines, in one request.
    ///
    /// # Errors
    /// As of [`UnifiedCm::message_waiting`].
    pub(crate) async fn bulk_update(&self, to: &Registration) -> Result<()> {
        let mut refer = self.aside(to, Method::Refer)?;
        let id = format!("{}@{}", message::token(8), self.0.config.sip.ip());
        let headers = &mut refer.headers;
        message::add(headers, HeaderName::Require, "norefersub")?;
        message::add(headers, HeaderName::ReferTo, format!("<cid:{id}>"))?;
        message::add(headers, message::other("Content-Id"), format!("<{id}>"))?;
        message::add(headers, HeaderName::Expires, "10")?;
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<x-cisco-remotecc-request>\
            <bulkupdate><contact line=\"1\"><mwi>no</mwi><cfwdallupdate><fwdaddress></fwdaddress>\
            <tovoicemail>off</tovoicemail></cfwdallupdate></contact></bulkupdate>\
            </x-cisco-remotecc-request>\r\n";
        self.tell(to, refer, "bulkupdate", REMOTECC, body.into())
            .await
    }

    /// `restart`, `reset` and the like.
    ///
    /// # Errors
    /// As of [`UnifiedCm::message_waiting`].
    pub(crate) async fn service_control(&self, to: &Registration, action: &str) -> Result<()> {
        let mut notify = self.aside(to, Method::Notify)?;
        let headers = &mut notify.headers;
        message::add(headers, HeaderName::Event, "service-control")?;
        message::add(headers, HeaderName::SubscriptionState, "active")?;
        let body = format!(
            "action={action}\r\nRegisterCallId={{{}}}\r\nConfigVersionStamp={{{}}}\r\n\
             DialplanVersionStamp={{}}\r\nSoftkeyVersionStamp={{}}\r\n",
            to.call_id,
            crate::world::uuid(),
        );
        self.tell(to, notify, "service-control", "text/plain", body)
            .await
    }

    /// A request outside dialogs to a device.
    fn aside(&self, to: &Registration, method: Method) -> Result<Request> {
        let (target, route) = way(to);
        let mut request = Request::new(method.clone(), target);
        let headers = &mut request.headers;
        for hop in route {
            message::add(headers, HeaderName::Route, format!("<{hop}>"))?;
        }
        let (host, number) = (&self.0.config.name, &to.extension);
        let from = format!("<sip:{number}@{host}>;tag={}", message::token(8));
        message::add(headers, HeaderName::From, from)?;
        message::add(headers, HeaderName::To, format!("<sip:{number}@{host}>"))?;
        let call_id = format!("{}@{}", message::token(16), self.0.config.sip.ip());
        message::add(headers, HeaderName::CallId, call_id)?;
        message::add(headers, HeaderName::CSeq, format!("101 {method}"))?;
        Ok(request)
    }

    async fn tell(
        &self,
        to: &Registration,
        mut request: Request,
        what: &'static str,
        kind: &str,
        body: String,
    ) -> Result<()> {
        message::set_body(&mut request.headers, kind, body.len())?;
        request.set_body(body.into());
        let answered = async {
            let (target, route) = way(to);
            let flow = self.0.stack.reach(route.first().unwrap_or(&target)).await?;
            let secure = flow.secure;
            let contact = self.contact(&to.extension, secure);
            message::add(&mut request.headers, HeaderName::Contact, contact)?;
            let mut answers = self.0.stack.request(&flow, request).await?;
            tokio::time::timeout(PATIENCE, answers.last())
                .await
                .context("no answer")?
        };
        let answer = answered.await;
        let status = answer.as_ref().ok().map(|response| response.status.code());
        let mut calls = self.call_table();
        calls.told.push(Told {
            extension: to.extension.clone(),
            what,
            status,
        });
        let excess = calls.told.len().saturating_sub(super::CALLS);
        calls.told.drain(..excess);
        drop(calls);
        match answer?.status {
            status if status.is_success() => Ok(()),
            status => bail!("{what} was answered {status}"),
        }
    }
}
