//! The way to whom is called: an INVITE to each device of the line, the first answer wins.
//!
//! Devices of a shared line ring together, each in a dialog with a Call-ID of its own. What rings
//! still when one has answered, or when the caller gives up, is cancelled; who answers too late is
//! acknowledged and hung up on.

use anyhow::{Context, Result};
use sipx_sip::{HeaderName, Method, Request};

use super::{Call, Side, carry, pass_on};
use crate::sip::message;
use crate::sip::stack::Incoming;
use crate::sip::unified_cm::{Registration, way};

/// The Call-ID of the leg to the device of that index.
pub(in crate::sip::unified_cm) fn leg_id(first: &str, index: usize) -> String {
    match (index, first.split_once('@')) {
        (0, _) | (_, None) => first.to_owned(),
        (_, Some((token, host))) => format!("{token}-{index}@{host}"),
    }
}

/// Whether a Call-ID is of one of the legs of a call with these.
pub(in crate::sip::unified_cm) fn is_leg(ids: &(String, String), id: &str) -> bool {
    let (first, second) = ids;
    let forked = second.split_once('@').is_some_and(|(token, _)| {
        id.strip_prefix(token)
            .is_some_and(|rest| rest.starts_with('-'))
    });
    id == first || id == second || forked
}

impl Call<'_> {
    /// An INVITE to every device of the line.
    pub(super) async fn dial(&mut self, incoming: &Incoming) -> Result<()> {
        self.note(incoming.request.body());
        let devices = self.between.registrations.clone();
        let mut fault = None;
        for (index, device) in devices.iter().enumerate() {
            if let Err(why) = self.ring(incoming, index, device).await {
                fault = Some(why);
            }
        }
        match fault {
            Some(fault) if self.crossings.is_empty() => Err(fault),
            _ => Ok(()),
        }
    }

    async fn ring(&mut self, incoming: &Incoming, index: usize, to: &Registration) -> Result<()> {
        let between = &self.between;
        let config = &self.unified_cm.0.config;
        let (target, route) = way(to);
        let first = route.first().unwrap_or(&target);
        let flow = self.unified_cm.0.stack.reach(first).await?;
        let line = self.unified_cm.0.lines.get(&between.caller);
        let display = line.map(|line| line.display.clone()).unwrap_or_default();
        let host = &config.name;
        let mut invite = Request::new(Method::Invite, target.clone());
        let headers = &mut invite.headers;
        for hop in &route {
            message::add(headers, HeaderName::Route, format!("<{hop}>"))?;
        }
        let (caller, tag) = (&between.caller, message::token(8));
        let from = format!("\"{display}\" <sip:{caller}@{host}>;tag={tag}");
        message::add(headers, HeaderName::From, from)?;
        message::add(
            headers,
            HeaderName::To,
            format!("<sip:{}@{host}>", between.called),
        )?;
        message::add(headers, HeaderName::CallId, leg_id(&between.ids.1, index))?;
        message::add(headers, HeaderName::CSeq, "101 INVITE")?;
        let contact = self.unified_cm.contact(caller, flow.secure);
        message::add(headers, HeaderName::Contact, contact)?;
        let identity =
            format!("\"{display}\" <sip:{caller}@{host}>;party=calling;screen=yes;privacy=off");
        message::add(headers, message::other("Remote-Party-ID"), identity)?;
        let both = flow.secure && incoming.flow.secure;
        let security = if both {
            "Encrypted"
        } else {
            "NotAuthenticated"
        };
        let info = format!(
            "<urn:x-cisco-remotecc:callinfo>;orientation=from;security={security};call-instance=1"
        );
        message::add(headers, HeaderName::CallInfo, info)?;
        pass_on(&incoming.request.headers, headers, |name| {
            *name == HeaderName::CallInfo
        })?;
        let body = self.unified_cm.capped(incoming.request.body());
        carry(&incoming.request.headers, &body, headers)?;
        invite.set_body(body);
        self.send(Side::Caller, incoming.clone(), invite, flow)
            .await
    }

    /// Whether a device rings.
    pub(super) fn is_ringing(&self) -> bool {
        self.crossings.iter().any(|c| !c.done && c.is_initial())
    }

    /// Whether another device rings than that of this number.
    pub(super) fn is_ringing_beside(&self, number: u64) -> bool {
        let mut others = self.crossings.iter().filter(|c| c.number != number);
        others.any(|c| !c.done && c.is_initial())
    }

    /// Cancels whatever rings.
    pub(super) async fn cancel_ringing(&mut self) -> Result<()> {
        let stack = self.unified_cm.0.stack.clone();
        for crossing in self.crossings.iter().filter(|c| !c.done && c.is_initial()) {
            let mut answers = stack.cancel(&crossing.sent, &crossing.flow).await?;
            stack.spawn(async move {
                let _ = answers.last().await;
            });
        }
        Ok(())
    }

    /// A device answered after the caller gave up or another had answered: it is acknowledged,
    /// and hung up on.
    pub(super) async fn too_late(
        &mut self,
        index: usize,
        answer: &sipx_sip::Response,
    ) -> Result<()> {
        let crossing = self.crossings.remove(index);
        if !self.answered {
            self.unified_cm
                .refuse(&crossing.incoming, 487, "Request Terminated")
                .await?;
            self.over = Some("cancelled".into());
        }
        let mut dialog = crate::sip::dialog::Dialog::of_caller(&crossing.sent, answer)
            .context("an answer that makes a dialog")?;
        let ack = dialog.request(Method::Ack, message::sequence(&crossing.sent.headers))?;
        let bye = dialog.request(Method::Bye, None)?;
        let stack = &self.unified_cm.0.stack;
        stack.acknowledge(&crossing.flow, ack).await?;
        stack.request(&crossing.flow, bye).await?.last().await?;
        Ok(())
    }
}
