//! What comes outside of calls: call control tells of messages, of the lines' state, of a restart.
//! And what a device tells of itself before it registers: its alarm.

use std::sync::PoisonError;

use anyhow::{Result, bail};
use sipx_sip::{HeaderName, Method};

use super::Agent;
use crate::sip::message;
use crate::sip::stack::Incoming;

const NOTICES: usize = 64;
const ALARM: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<x-cisco-alarm>\
    <Alarm Name=\"LastOutOfServiceInformation\"><ParameterList>\
    <String name=\"DeviceName\">DEVICE</String><Enum name=\"ReasonForOutOfService\">25</Enum>\
    </ParameterList></Alarm></x-cisco-alarm>\r\n";

/// A request outside dialogs that came in.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    /// `NOTIFY`, `REFER`, `MESSAGE`.
    pub(crate) method: String,
    /// `Event`, if there is one.
    pub(crate) event: String,
    /// The whole body.
    pub(crate) body: String,
}

impl Agent {
    /// What call control told so far, the last 64.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.notice_table().clone()
    }

    /// Tells call control why it was out of service, as a device does before it registers.
    ///
    /// # Errors
    /// Refused, with status and reason.
    pub(crate) async fn alarm(&self) -> Result<u16> {
        let flow = self.uplink().await?;
        let target = format!("sip:{}", self.0.profile.domain);
        let call_id = format!("{}@{}", super::registration::uuid(), flow.local.ip());
        let mut refer = self.request(Method::Refer, &target, &target, &call_id, 1000)?;
        let id = format!("{}@{}", message::token(8), flow.local.ip());
        let headers = &mut refer.headers;
        let contact = format!("<{}>", self.contact(&flow));
        message::add(headers, HeaderName::Contact, contact)?;
        message::add(headers, HeaderName::Require, "norefersub")?;
        message::add(headers, HeaderName::ReferTo, format!("<cid:{id}>"))?;
        message::add(
            headers,
            HeaderName::ReferredBy,
            format!("<{}>", self.address()),
        )?;
        message::add(headers, message::other("Content-Id"), format!("<{id}>"))?;
        message::add(headers, HeaderName::Expires, "10")?;
        let device = self
            .0
            .profile
            .device
            .as_deref()
            .unwrap_or("SEP000000000000");
        let body = ALARM.replace("DEVICE", device);
        message::set_body(headers, "application/x-cisco-alarm+xml", body.len())?;
        refer.set_body(body.into());
        let (_, response) = self.send(&flow, refer).await?;
        if !response.status.is_success() {
            bail!("the alarm was answered {}", response.status);
        }
        Ok(response.status.code())
    }

    /// A request outside dialogs other than a call, answered as clients do.
    pub(super) async fn aside(&self, incoming: Incoming) -> Result<()> {
        let request = &incoming.request;
        let text = |name| message::text(&request.headers, &name).unwrap_or_default();
        let event = text(HeaderName::Event);
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let (code, reason) = match request.method {
            // A device restarts only if it is meant: by the Call-ID of its own REGISTER.
            Method::Notify if event == "service-control" && !self.is_meant(&body).await => {
                (481, "Subscription Does Not Exist")
            }
            Method::Options | Method::Notify | Method::Message | Method::Info => (200, "OK"),
            Method::Refer => (202, "Accepted"),
            Method::Subscribe => (489, "Bad Event"),
            _ => (405, "Method Not Allowed"),
        };
        if code < 300 && request.method != Method::Options {
            let mut notices = self.notice_table();
            notices.push(Notice {
                method: request.method.to_string(),
                event,
                body,
            });
            let excess = notices.len().saturating_sub(NOTICES);
            notices.drain(..excess);
        }
        self.0.stack.refuse(&incoming, code, reason).await
    }

    async fn is_meant(&self, body: &str) -> bool {
        let own = self.0.registration.lock().await.call_id().to_owned();
        body.contains(&format!("RegisterCallId={{{own}}}"))
    }

    fn notice_table(&self) -> std::sync::MutexGuard<'_, Vec<Notice>> {
        self.0
            .notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
