//! A call through Unified CM: two dialogs with Call-IDs of their own, messages passed across.
//!
//! Whatever comes in one dialog is sent on in the other, with the body and the headers that do not
//! belong to a leg; answers go back the same way. So hold, resume, UPDATE, INFO, PRACK and delayed
//! offers need no rules of their own. BYE is answered at once and sent on; CANCEL ends what rings.

mod dial;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sipx_sip::{HeaderName, Headers, Method, Request, Response};
use tokio::sync::mpsc;

use super::{Registration, UnifiedCm, belongs_to_leg, note_direction};

use crate::sip::dialog::Dialog;
use crate::sip::message;
use crate::sip::stack::{Answer, Answers, Flow, Incoming};
pub(super) use dial::{is_leg, leg_id};

/// How long it may ring.
const RINGING: Duration = Duration::from_secs(60);
/// How long a call may last.
const LASTING: Duration = Duration::from_secs(4 * 3600);
/// Requests under way between the legs at a time.
const CROSSING: usize = 16;

/// A leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Towards who called.
    Caller,
    /// Towards who was called.
    Called,
}

impl Side {
    fn other(self) -> Side {
        if self == Side::Caller {
            Side::Called
        } else {
            Side::Caller
        }
    }
}

/// What happens to a call.
pub(super) enum Event {
    /// A request in one of its dialogs, or a CANCEL or ACK of it.
    Request(Side, Box<Incoming>),
    /// An answer to a request that was sent on.
    Answered(u64, Box<Answer>),
}

/// Who is on the call, and its Call-IDs.
pub(super) struct Between {
    pub(super) caller: String,
    pub(super) called: String,
    pub(super) ids: (String, String),
    /// Every device on the called line; all ring.
    pub(super) registrations: Vec<Registration>,
    /// The dialog with the caller and our tag in it, if there is one already.
    pub(super) opening: Option<(String, Dialog)>,
}

type Channel = (mpsc::Sender<Event>, mpsc::Receiver<Event>);

/// A request that was sent on and waits for its answer.
struct Crossing {
    number: u64,
    from: Side,
    incoming: Incoming,
    sent: Request,
    flow: Flow,
    done: bool,
}

impl Crossing {
    /// Whether it asks for the call itself.
    fn is_initial(&self) -> bool {
        self.sent.method == Method::Invite
            && message::to_tag(&self.incoming.request.headers).is_none()
    }
}

struct Call<'a> {
    unified_cm: &'a UnifiedCm,
    between: Between,
    /// The tag towards the caller.
    tag: String,
    caller: Dialog,
    called: Option<Dialog>,
    crossings: Vec<Crossing>,
    next: u64,
    events: mpsc::Sender<Event>,
    cancelled: bool,
    answered: bool,
    over: Option<String>,
}

/// Runs the call to its end and says why it ended.
pub(super) async fn run(
    unified_cm: &UnifiedCm,
    incoming: Incoming,
    mut between: Between,
    (events, mut receiver): Channel,
) -> Result<String> {
    let opened = between.opening.take().map_or_else(
        || {
            let tag = message::token(8);
            Dialog::of_callee(&incoming.request, &tag).map(|dialog| (tag, dialog))
        },
        Ok,
    );
    let (tag, caller) = match opened {
        Ok(opened) => opened,
        Err(fault) => {
            unified_cm.refuse(&incoming, 400, "Bad Request").await?;
            return Err(fault);
        }
    };
    let mut call = Call {
        unified_cm,
        between,
        tag,
        caller,
        called: None,
        crossings: Vec::new(),
        next: 0,
        events,
        cancelled: false,
        answered: false,
        over: None,
    };
    if let Err(fault) = call.dial(&incoming).await {
        unified_cm
            .refuse(&incoming, 503, "Service Unavailable")
            .await?;
        return Err(fault);
    }
    loop {
        if let Some(why) = call.over.take() {
            call.drop_crossings().await?;
            return Ok(why);
        }
        let patience = if call.answered { LASTING } else { RINGING };
        let Ok(Some(event)) = tokio::time::timeout(patience, receiver.recv()).await else {
            call.give_up().await?;
            bail!("nothing more came in {patience:?}");
        };
        match event {
            Event::Request(side, incoming) => call.take(side, *incoming).await?,
            Event::Answered(number, answer) => call.answered(number, *answer).await?,
        }
    }
}

impl Call<'_> {
    /// A request of one side.
    async fn take(&mut self, side: Side, incoming: Incoming) -> Result<()> {
        let stack = &self.unified_cm.0.stack;
        match incoming.request.method {
            Method::Ack => self.acknowledge(side, &incoming.request).await,
            Method::Cancel => {
                stack.refuse(&incoming, 200, "OK").await?;
                self.cancel().await
            }
            Method::Bye => {
                stack.refuse(&incoming, 200, "OK").await?;
                self.over = Some(format!("{} hung up", self.name(side)));
                self.cross(side.other(), Method::Bye, &incoming).await
            }
            // A retransmission over a reliable transport has no place here.
            Method::Invite if message::to_tag(&incoming.request.headers).is_none() => {
                stack.refuse(&incoming, 482, "Loop Detected").await
            }
            Method::Invite
                if self
                    .crossings
                    .iter()
                    .any(|c| c.sent.method == Method::Invite) =>
            {
                stack.refuse(&incoming, 491, "Request Pending").await
            }
            ref method => {
                let method = method.clone();
                if method == Method::Invite {
                    let trying = message::answer(&incoming.request, 100, "Trying", "")?;
                    stack.respond(&incoming, trying).await?;
                }
                self.relay(side, method, incoming).await
            }
        }
    }

    /// Sends a request of one side on to the other.
    async fn relay(&mut self, side: Side, method: Method, incoming: Incoming) -> Result<()> {
        let stack = self.unified_cm.0.stack.clone();
        self.note(incoming.request.body());
        let rack = message::text(&incoming.request.headers, &HeaderName::RAck);
        let secure = incoming.flow.secure;
        let invite = self
            .crossings
            .iter()
            .find(|c| c.from == side && c.sent.method == Method::Invite);
        let invited = invite.and_then(|crossing| message::sequence(&crossing.sent.headers));
        let own = self.own_number(side);
        let target = matches!(method, Method::Invite | Method::Update);
        let Some(to) = self.dialog(side.other()) else {
            return stack
                .refuse(&incoming, 481, "Call/Transaction Does Not Exist")
                .await;
        };
        let mut request = to.request(method, None)?;
        let hop = to.next_hop().clone();
        let headers = &mut request.headers;
        message::add(
            headers,
            HeaderName::Contact,
            self.unified_cm.contact(&own, secure),
        )?;
        pass_on(&incoming.request.headers, headers, |_| false)?;
        if let (Some(rack), Some(invited)) = (rack, invited) {
            // The number of our own INVITE stands in the place of theirs (RFC 3262 §7.2).
            let rseq = rack.split(' ').next().unwrap_or_default();
            message::add(
                headers,
                HeaderName::RAck,
                format!("{rseq} {invited} INVITE"),
            )?;
        }
        let body = self.unified_cm.capped(incoming.request.body());
        carry(&incoming.request.headers, &body, headers)?;
        request.set_body(body);
        if target && let Some(from) = self.dialog(side) {
            from.refresh(&incoming.request.headers);
        }
        match stack.reach(&hop).await {
            Ok(flow) => self.send(side, incoming, request, flow).await,
            Err(_) => stack.refuse(&incoming, 503, "Service Unavailable").await,
        }
    }

    /// Sends a request whose answer nobody waits for but us.
    async fn cross(&mut self, to: Side, method: Method, incoming: &Incoming) -> Result<()> {
        let stack = self.unified_cm.0.stack.clone();
        let Some(dialog) = self.dialog(to) else {
            return self.cancel().await;
        };
        let mut request = dialog.request(method, None)?;
        let hop = dialog.next_hop().clone();
        for reason in incoming.request.headers.get_all(&HeaderName::Reason) {
            request.headers.push(reason.clone());
        }
        let flow = stack.reach(&hop).await?;
        let mut answers = stack.request(&flow, request).await?;
        tokio::time::timeout(Duration::from_secs(10), answers.last())
            .await
            .context("no answer to BYE")??;
        Ok(())
    }

    async fn send(
        &mut self,
        from: Side,
        incoming: Incoming,
        request: Request,
        flow: Flow,
    ) -> Result<()> {
        if self.crossings.len() >= CROSSING {
            return self
                .unified_cm
                .refuse(&incoming, 500, "Server Internal Error")
                .await;
        }
        let answers = self.unified_cm.0.stack.request(&flow, request).await?;
        self.next += 1;
        let number = self.next;
        let sent = answers.request().clone();
        self.crossings.push(Crossing {
            number,
            from,
            incoming,
            sent,
            flow,
            done: false,
        });
        let events = self.events.clone();
        self.unified_cm
            .0
            .stack
            .spawn(forward(number, answers, events));
        Ok(())
    }

    /// An answer came to what was sent on: it goes back.
    async fn answered(&mut self, number: u64, answer: Answer) -> Result<()> {
        let Some(index) = self
            .crossings
            .iter()
            .position(|c| c.number == number && !c.done)
        else {
            return Ok(());
        };
        let initial = self.crossings[index].is_initial();
        let response = match answer {
            Ok(response) => response,
            Err(_) => {
                let crossing = self.crossings.remove(index);
                if initial && self.is_ringing() {
                    return Ok(());
                }
                if initial {
                    self.over = Some("the called side did not answer".into());
                }
                return self
                    .unified_cm
                    .refuse(&crossing.incoming, 408, "Request Timeout")
                    .await;
            }
        };
        if response.status.code() == 100 {
            return Ok(());
        }
        let taken = self.answered || self.cancelled;
        if initial && response.status.code() < 300 && !taken {
            let crossing = &self.crossings[index];
            if let Ok(dialog) = Dialog::of_caller(&crossing.sent, &response) {
                let sequence = self.called.as_ref().map_or(dialog.sequence, |d| d.sequence);
                self.called = Some(Dialog { sequence, ..dialog });
            }
        }
        if initial && response.status.is_success() && (self.cancelled || self.answered) {
            return self.too_late(index, &response).await;
        }
        if initial && response.status.is_final() && !response.status.is_success() {
            // Another device of the line may still answer, or has.
            let others = self.is_ringing_beside(number);
            if others || self.answered {
                self.crossings.remove(index);
                return Ok(());
            }
        }
        self.pass_back(index, response, initial).await
    }

    async fn pass_back(&mut self, index: usize, response: Response, initial: bool) -> Result<()> {
        self.note(response.body());
        let crossing = &self.crossings[index];
        let (code, from) = (response.status.code(), crossing.from);
        let is_invite = crossing.sent.method == Method::Invite;
        let reason = String::from_utf8_lossy(&response.reason).into_owned();
        let mut answer = message::answer(&crossing.incoming.request, code, &reason, &self.tag)?;
        let shown = self.own_number(from);
        let secure = crossing.incoming.flow.secure;
        let headers = &mut answer.headers;
        if code < 300 {
            for route in crossing
                .incoming
                .request
                .headers
                .get_all(&HeaderName::RecordRoute)
            {
                headers.push(route.clone());
            }
            message::add(
                headers,
                HeaderName::Contact,
                self.unified_cm.contact(&shown, secure),
            )?;
        }
        if is_invite && code < 300 {
            let host = &self.unified_cm.0.config.name;
            let identity = format!("<sip:{shown}@{host}>;party=called;screen=yes;privacy=off");
            message::add(headers, message::other("Remote-Party-ID"), identity)?;
        }
        pass_on(&response.headers, headers, |_| false)?;
        let body = self.unified_cm.capped(response.body());
        carry(&response.headers, &body, headers)?;
        answer.set_body(body);
        self.unified_cm
            .0
            .stack
            .respond(&crossing.incoming, answer)
            .await?;
        if code >= 200 {
            self.settle(index, &response, initial);
        }
        if initial && response.status.is_success() {
            self.cancel_ringing().await?;
        }
        Ok(())
    }

    /// What a final answer changes.
    fn settle(&mut self, index: usize, response: &Response, initial: bool) {
        let success = response.status.is_success();
        let crossing = &mut self.crossings[index];
        let (to, is_invite) = (
            crossing.from.other(),
            crossing.sent.method == Method::Invite,
        );
        if is_invite && success {
            // It stays until the ACK, which has to be passed on with this INVITE's number.
            crossing.done = true;
        } else {
            self.crossings.remove(index);
        }
        if initial && success {
            self.answered = true;
        } else if initial {
            self.over = Some(format!("refused with {}", response.status));
        } else if is_invite
            && success
            && let Some(dialog) = self.dialog(to)
        {
            dialog.refresh(&response.headers);
        }
    }

    /// The ACK of one side for the answer that the other gave.
    async fn acknowledge(&mut self, side: Side, ack: &Request) -> Result<()> {
        let waiting = self.crossings.iter().position(|c| c.done && c.from == side);
        let Some(index) = waiting else { return Ok(()) };
        let crossing = self.crossings.remove(index);
        let number = message::sequence(&crossing.sent.headers);
        self.note(ack.body());
        let Some(dialog) = self.dialog(side.other()) else {
            return Ok(());
        };
        let mut request = dialog.request(Method::Ack, number)?;
        let hop = dialog.next_hop().clone();
        carry(&ack.headers, ack.body(), &mut request.headers)?;
        request.set_body(ack.body().clone());
        let flow = self.unified_cm.0.stack.reach(&hop).await?;
        self.unified_cm.0.stack.acknowledge(&flow, request).await
    }

    /// The caller gave up: what rings is cancelled, and the caller told.
    async fn cancel(&mut self) -> Result<()> {
        self.cancelled = true;
        self.cancel_ringing().await
    }

    /// Nobody answers, or nobody talks any more: both sides are told.
    async fn give_up(&mut self) -> Result<()> {
        if !self.answered {
            self.cancel().await?;
        }
        self.drop_crossings().await
    }

    /// What still waits for an answer gets one.
    async fn drop_crossings(&mut self) -> Result<()> {
        for crossing in std::mem::take(&mut self.crossings) {
            if !crossing.done {
                self.unified_cm
                    .refuse(&crossing.incoming, 487, "Request Terminated")
                    .await?;
            }
        }
        Ok(())
    }

    fn dialog(&mut self, side: Side) -> Option<&mut Dialog> {
        match side {
            Side::Caller => Some(&mut self.caller),
            Side::Called => self.called.as_mut(),
        }
    }

    /// The number that a side sees as its peer.
    fn own_number(&self, side: Side) -> String {
        match side {
            Side::Caller => self.between.called.clone(),
            Side::Called => self.between.caller.clone(),
        }
    }

    fn name(&self, side: Side) -> &str {
        match side {
            Side::Caller => &self.between.caller,
            Side::Called => &self.between.called,
        }
    }

    fn note(&self, body: &[u8]) {
        let mut calls = self.unified_cm.call_table();
        let views = calls.history.iter_mut().rev();
        if let Some(view) = views.into_iter().find(|view| view.ids == self.between.ids) {
            note_direction(view, body);
        }
    }
}

/// Hands answers to the call's own task until the final one.
async fn forward(number: u64, mut answers: Answers, events: mpsc::Sender<Event>) {
    loop {
        let answer = answers.next().await;
        let last = answer
            .as_ref()
            .map_or(true, |response| response.status.is_final());
        if events
            .send(Event::Answered(number, Box::new(answer)))
            .await
            .is_err()
            || last
        {
            return;
        }
    }
}

/// Copies what does not belong to a leg and is not excepted.
fn pass_on(from: &Headers, to: &mut Headers, except: impl Fn(&HeaderName) -> bool) -> Result<()> {
    for header in from.iter() {
        let name = header.name();
        let identity = *name == message::other("Remote-Party-ID");
        if !belongs_to_leg(name) && !identity && !except(name) {
            message::add(to, name.clone(), header.value().into_owned())?;
        }
    }
    Ok(())
}

/// Copies the body's type and gives its length.
fn carry(from: &Headers, body: &[u8], to: &mut Headers) -> Result<()> {
    let kind = message::text(from, &HeaderName::ContentType).unwrap_or_default();
    message::set_body(to, &kind, body.len())
}
