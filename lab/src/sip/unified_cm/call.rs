//! A call through Unified CM: two dialogs with Call-IDs of their own, messages passed across.
//!
//! Whatever comes in one dialog is sent on in the other, with the body and the headers that do not
//! belong to a leg; answers go back the same way. So hold, resume, UPDATE, INFO, PRACK and delayed
//! offers need no rules of their own. BYE is answered at once and sent on; CANCEL ends what rings.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sipx_sip::{HeaderName, Headers, Method, Request, Response};
use tokio::sync::mpsc;

use super::{Registration, UnifiedCm, belongs_to_leg, note_direction, way};
use crate::sip::dialog::Dialog;
use crate::sip::message;
use crate::sip::stack::{Answer, Answers, Flow, Incoming};

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
    pub(super) registration: Registration,
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
    between: Between,
    (events, mut receiver): Channel,
) -> Result<String> {
    let tag = message::token(8);
    let caller = match Dialog::of_callee(&incoming.request, &tag) {
        Ok(dialog) => dialog,
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
    if let Some(crossing) = call.crossings.first_mut() {
        crossing.incoming = incoming;
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
    /// The INVITE to the called device.
    async fn dial(&mut self, incoming: &Incoming) -> Result<()> {
        let between = &self.between;
        let config = &self.unified_cm.0.config;
        let (target, route) = way(&between.registration);
        let first = route.first().unwrap_or(&target);
        let flow = self.unified_cm.0.stack.reach(first).await?;
        let display = self
            .unified_cm
            .0
            .lines
            .get(&between.caller)
            .map(|line| line.display.clone());
        let display = display.unwrap_or_default();
        let host = &config.name;
        let mut invite = Request::new(Method::Invite, target.clone());
        let headers = &mut invite.headers;
        for hop in &route {
            message::add(headers, HeaderName::Route, format!("<{hop}>"))?;
        }
        let from = format!(
            "\"{display}\" <sip:{}@{host}>;tag={}",
            between.caller,
            message::token(8)
        );
        message::add(headers, HeaderName::From, from)?;
        message::add(
            headers,
            HeaderName::To,
            format!("<sip:{}@{host}>", between.called),
        )?;
        message::add(headers, HeaderName::CallId, between.ids.1.clone())?;
        message::add(headers, HeaderName::CSeq, "101 INVITE")?;
        message::add(
            headers,
            HeaderName::Contact,
            self.unified_cm.contact(&between.caller, flow.secure),
        )?;
        let identity = format!(
            "\"{display}\" <sip:{}@{host}>;party=calling;screen=yes;privacy=off",
            between.caller
        );
        message::add(headers, message::other("Remote-Party-ID"), identity)?;
        let info = "<urn:x-cisco-remotecc:callinfo>;orientation=from;security=NotAuthenticated";
        message::add(headers, HeaderName::CallInfo, info)?;
        pass_on(&incoming.request.headers, headers, |name| {
            *name == HeaderName::CallInfo
        })?;
        carry(&incoming.request.headers, incoming.request.body(), headers)?;
        invite.set_body(incoming.request.body().clone());
        self.note(incoming.request.body());
        let placeholder = Incoming {
            flow: incoming.flow.clone(),
            key: incoming.key.clone(),
            request: incoming.request.clone(),
        };
        self.send(Side::Caller, placeholder, invite, flow).await
    }

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
        carry(&incoming.request.headers, incoming.request.body(), headers)?;
        request.set_body(incoming.request.body().clone());
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
        let initial = message::to_tag(&self.crossings[index].incoming.request.headers).is_none();
        let response = match answer {
            Ok(response) => response,
            Err(_) => {
                let crossing = self.crossings.remove(index);
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
        if initial && response.status.code() < 300 {
            let crossing = &self.crossings[index];
            if let Ok(dialog) = Dialog::of_caller(&crossing.sent, &response) {
                let sequence = self.called.as_ref().map_or(dialog.sequence, |d| d.sequence);
                self.called = Some(Dialog { sequence, ..dialog });
            }
        }
        if initial && response.status.is_success() && self.cancelled {
            return self.too_late(index).await;
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
        carry(&response.headers, response.body(), headers)?;
        answer.set_body(response.body().clone());
        self.unified_cm
            .0
            .stack
            .respond(&crossing.incoming, answer)
            .await?;
        if code >= 200 {
            self.settle(index, &response, initial);
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
        let ringing = self.crossings.iter().find(|c| {
            !c.done && c.from == Side::Caller && message::to_tag(&c.sent.headers).is_none()
        });
        if let Some(crossing) = ringing {
            let stack = self.unified_cm.0.stack.clone();
            let mut answers = stack.cancel(&crossing.sent, &crossing.flow).await?;
            stack.spawn(async move {
                let _ = answers.last().await;
            });
        }
        Ok(())
    }

    /// The called side answered after the caller gave up: acknowledge, and hang up.
    async fn too_late(&mut self, index: usize) -> Result<()> {
        let crossing = self.crossings.remove(index);
        self.unified_cm
            .refuse(&crossing.incoming, 487, "Request Terminated")
            .await?;
        self.over = Some("cancelled".into());
        let number = message::sequence(&crossing.sent.headers);
        let Some(dialog) = self.called.as_mut() else {
            return Ok(());
        };
        let ack = dialog.request(Method::Ack, number)?;
        let bye = dialog.request(Method::Bye, None)?;
        let stack = &self.unified_cm.0.stack;
        stack.acknowledge(&crossing.flow, ack).await?;
        stack.request(&crossing.flow, bye).await?.last().await?;
        Ok(())
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
