//! A call as one party sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sdp_types::Direction;
use sipx_sip::{HeaderName, Method, Request, Response};
use tokio::sync::{Notify, watch};

use super::overlap::Dialling;
use super::{Agent, Entry};
use crate::media::sdp::Description;
use crate::media::{Ear, Figures, Heard, Stream};
use crate::sip::dialog::Dialog;
use crate::sip::message;
use crate::sip::stack::{Flow, Incoming};

const ALLOW: &str = "INVITE,ACK,CANCEL,BYE,OPTIONS,INFO,UPDATE,PRACK,REFER,NOTIFY";
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// A call; clones share it.
#[derive(Clone)]
pub(crate) struct Call(Arc<Inner>);

struct Inner {
    agent: Agent,
    id: String,
    peer: String,
    dialog: tokio::sync::Mutex<Dialog>,
    stream: tokio::sync::Mutex<Stream>,
    ear: Ear,
    /// Who it is that waits for an answer in the ACK (a delayed offer).
    awaits_answer: Mutex<bool>,
    held: Mutex<bool>,
    /// The last Call-Info of the other side's that speaks of it.
    told: Mutex<String>,
    over: watch::Sender<bool>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "call {} with {}", self.0.id, self.0.peer)
    }
}

impl Call {
    fn new(agent: &Agent, dialog: Dialog, stream: Stream, peer: String, awaits: bool) -> Call {
        let call = Call(Arc::new(Inner {
            agent: agent.clone(),
            id: dialog.call_id.clone(),
            peer,
            dialog: tokio::sync::Mutex::new(dialog),
            ear: stream.ear(),
            stream: tokio::sync::Mutex::new(stream),
            awaits_answer: Mutex::new(awaits),
            held: Mutex::new(false),
            told: Mutex::default(),
            over: watch::Sender::new(false),
        }));
        let entry = Entry::Standing(call.clone());
        agent.calls_table().insert(call.0.id.clone(), entry);
        call
    }

    /// Its Call-ID on this party's side.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// The number of the other party, as signalling shows it.
    pub(crate) fn peer(&self) -> &str {
        &self.0.peer
    }

    /// Whether the other side holds it.
    pub(crate) fn is_held(&self) -> bool {
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the other side said of holding and resuming, as Cisco clients do in Call-Info.
    pub(crate) fn told(&self) -> String {
        let told = self.0.told.lock();
        told.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self, patience: Duration) -> Result<()> {
        let mut over = self.0.over.subscribe();
        let ended = tokio::time::timeout(patience, over.wait_for(|over| *over)).await;
        ended
            .with_context(|| format!("the call stands after {patience:?}"))?
            .map(drop)?;
        Ok(())
    }

    /// Counts of its audio so far.
    pub(crate) fn figures(&self) -> Figures {
        self.0.ear.figures()
    }

    /// What is heard now, when that tone is expected.
    pub(crate) async fn listen(&self, hz: f64, patience: Duration) -> Result<Heard> {
        self.0.ear.listen(hz, patience).await
    }

    /// Packets that come in within that time.
    pub(crate) async fn packets_within(&self, time: Duration) -> u64 {
        self.0.ear.packets_within(time).await
    }

    /// Puts the other side on hold.
    pub(crate) async fn hold(&self) -> Result<()> {
        self.change(Direction::SendOnly, "hold").await
    }

    /// Takes the other side back.
    pub(crate) async fn resume(&self) -> Result<()> {
        self.change(Direction::SendRecv, "resume").await
    }

    /// Hangs up.
    pub(crate) async fn hang_up(&self) -> Result<()> {
        let bye = self.0.dialog.lock().await.request(Method::Bye, None)?;
        self.finish();
        let flow = self.0.agent.uplink().await?;
        let (_, response) = self.0.agent.send(&flow, bye).await?;
        if !response.status.is_success() {
            bail!("BYE was answered {}", response.status);
        }
        Ok(())
    }

    /// A re-INVITE with that direction.
    async fn change(&self, direction: Direction, word: &str) -> Result<()> {
        let mut stream = self.0.stream.lock().await;
        let offer = stream.offer(direction)?;
        let flow = self.0.agent.uplink().await?;
        let mut dialog = self.0.dialog.lock().await;
        let mut invite = dialog.request(Method::Invite, None)?;
        self.describe(&mut invite, &flow)?;
        let info = format!("<urn:x-cisco-remotecc:{word}>");
        message::add(&mut invite.headers, HeaderName::CallInfo, info)?;
        let invite = message::with_sdp(invite, &offer)?;
        let (answers, response) = self.0.agent.send(&flow, invite).await?;
        if !response.status.is_success() {
            bail!("the {word} was answered {}", response.status);
        }
        let number = message::sequence(&answers.request().headers);
        dialog.sequence = number.unwrap_or(dialog.sequence);
        dialog.refresh(&response.headers);
        let ack = dialog.request(Method::Ack, number)?;
        self.0.agent.stack().acknowledge(&flow, ack).await?;
        stream
            .accept(response.body())
            .with_context(|| format!("the answer to the {word}"))
    }

    fn describe(&self, request: &mut Request, flow: &Flow) -> Result<()> {
        let contact = format!("<{}>", self.0.agent.contact(flow));
        message::add(&mut request.headers, HeaderName::Contact, contact)?;
        message::add(&mut request.headers, HeaderName::Allow, ALLOW)
    }

    /// A request of the other side within the call.
    pub(super) async fn take(&self, incoming: Incoming) -> Result<()> {
        let stack = self.0.agent.stack();
        match incoming.request.method {
            Method::Bye => {
                self.finish();
                stack.refuse(&incoming, 200, "OK").await
            }
            Method::Invite | Method::Update => self.changed(incoming).await,
            Method::Refer => stack.refuse(&incoming, 603, "Decline").await,
            _ => stack.refuse(&incoming, 200, "OK").await,
        }
    }

    /// The other side changes the session.
    async fn changed(&self, incoming: Incoming) -> Result<()> {
        let stack = self.0.agent.stack();
        let (Ok(mut dialog), Ok(mut stream)) = (self.0.dialog.try_lock(), self.0.stream.try_lock())
        else {
            return stack.refuse(&incoming, 491, "Request Pending").await;
        };
        let request = &incoming.request;
        dialog.refresh(&request.headers);
        if let Some(info) = message::text(&request.headers, &HeaderName::CallInfo) {
            *self.0.told.lock().unwrap_or_else(PoisonError::into_inner) = info;
        }
        let mut response = message::answer(request, 200, "OK", "")?;
        let contact = format!("<{}>", self.0.agent.contact(&incoming.flow));
        message::add(&mut response.headers, HeaderName::Contact, contact)?;
        if request.body().is_empty() && request.method == Method::Update {
            return stack.respond(&incoming, response).await;
        }
        let sdp = if request.body().is_empty() {
            *self
                .0
                .awaits_answer
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = true;
            stream.offer(Direction::SendRecv)
        } else {
            let offer = Description::read(request.body());
            let held = offer
                .as_ref()
                .is_ok_and(|offer| !offer.direction.has_recv());
            *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
            stream.answer(request.body())
        };
        match sdp {
            Ok(sdp) => {
                stack
                    .respond(&incoming, message::answer_with_sdp(response, &sdp)?)
                    .await
            }
            Err(_) => stack.refuse(&incoming, 488, "Not Acceptable Here").await,
        }
    }

    /// The ACK, which brings the answer to a delayed offer.
    pub(super) async fn acknowledged(&self, ack: &Request) -> Result<()> {
        let awaited = {
            let mut awaits = self
                .0
                .awaits_answer
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *awaits)
        };
        if awaited {
            self.0.stream.lock().await.accept(ack.body())
        } else {
            Ok(())
        }
    }

    fn finish(&self) {
        self.0.agent.calls_table().remove(&self.0.id);
        self.0.ear.silence();
        self.0.over.send_replace(true);
    }
}

/// How a call is placed.
#[derive(Clone, Copy, Default)]
pub(super) struct Manner<'a> {
    /// The other side makes the offer.
    pub(super) late: bool,
    /// There is a picture.
    pub(super) video: bool,
    /// The number may not be whole.
    pub(super) dialling: Option<&'a Arc<Dialling>>,
}

/// Places a call and waits until it is answered.
pub(super) async fn place(agent: &Agent, number: &str, manner: Manner<'_>) -> Result<Call> {
    let Manner {
        late,
        video,
        dialling,
    } = manner;
    let profile = agent.profile();
    let target = if number.contains(':') {
        number.to_owned()
    } else {
        format!("sip:{number}@{}", profile.domain)
    };
    let flow = agent.uplink().await?;
    let mut stream = Stream::open(profile.media, profile.hz, profile.secure).await?;
    if video {
        stream.add_video().await?;
    }
    let call_id = format!("{}@{}", super::registration::uuid(), flow.local.ip());
    let mut invite = agent.request(Method::Invite, &target, &target, &call_id, 101)?;
    let contact = format!("<{}>", agent.contact(&flow));
    message::add(&mut invite.headers, HeaderName::Contact, contact)?;
    message::add(&mut invite.headers, HeaderName::Allow, ALLOW)?;
    message::add(
        &mut invite.headers,
        HeaderName::Supported,
        "replaces,X-cisco-callinfo",
    )?;
    if !late {
        invite = message::with_sdp(invite, &stream.offer(Direction::SendRecv)?)?;
    }
    if let Some(dialling) = dialling {
        message::add(&mut invite.headers, HeaderName::AllowEvents, "kpml,dialog")?;
        let entry = Entry::Dialling(Arc::clone(dialling));
        agent.calls_table().insert(call_id.clone(), entry);
    }
    let sending = agent.send_watched(&flow, invite, |invite, response| {
        if let (Some(dialling), Ok(dialog)) = (dialling, Dialog::of_caller(invite, response)) {
            dialling.dialog.send_if_modified(|known| {
                let news = known.is_none();
                if news {
                    *known = Some(dialog);
                }
                news
            });
        }
    });
    let sent = tokio::time::timeout(ANSWER_PATIENCE, sending).await;
    let pressed = dialling.and_then(|d| Some(d.dialog.borrow().as_ref()?.sequence));
    if dialling.is_some() {
        agent.calls_table().remove(&call_id);
    }
    let (answers, response) =
        sent.with_context(|| format!("no answer in {ANSWER_PATIENCE:?}"))??;
    let status = response.status.code();
    if !response.status.is_success() {
        bail!(
            "{number}: {status} {}",
            String::from_utf8_lossy(&response.reason)
        );
    }
    let mut dialog = Dialog::of_caller(answers.request(), &response)?;
    let mut ack = dialog.request(Method::Ack, Some(dialog.sequence))?;
    dialog.sequence = pressed.unwrap_or(dialog.sequence);
    let agreed = if late {
        let answer = stream.answer(response.body());
        answer.and_then(|answer| {
            ack = message::with_sdp(ack.clone(), &answer)?;
            Ok(())
        })
    } else {
        stream.accept(response.body())
    };
    agent.stack().acknowledge(answers.flow(), ack).await?;
    let call = Call::new(agent, dialog, stream, number.to_owned(), false);
    if let Err(fault) = agreed {
        let _ = call.hang_up().await;
        return Err(fault.context("media of the call"));
    }
    Ok(call)
}

/// Rings and answers a call that came in.
pub(super) async fn answer(
    agent: &Agent,
    incoming: Incoming,
    cancel: &Notify,
    ringing: Duration,
) -> Result<()> {
    let stack = agent.stack();
    let tag = message::token(8);
    let request = &incoming.request;
    let contact = format!("<{}>", agent.contact(&incoming.flow));
    let mut ring = message::answer(request, 180, "Ringing", &tag)?;
    complete(&mut ring, request, &contact)?;
    stack.respond(&incoming, ring).await?;
    tokio::select! {
        () = cancel.notified() => {
            let response = message::answer(request, 487, "Request Terminated", &tag)?;
            stack.respond(&incoming, response).await?;
            bail!("cancelled");
        }
        () = tokio::time::sleep(ringing) => (),
    }
    let profile = agent.profile();
    let mut stream = Stream::open(profile.media, profile.hz, profile.secure).await?;
    let delayed = request.body().is_empty();
    if Description::read(request.body()).is_ok_and(|offer| offer.video.is_some()) {
        stream.add_video().await?;
    }
    let sdp = if delayed {
        stream.offer(Direction::SendRecv)
    } else {
        stream.answer(request.body())
    };
    let sdp = match sdp {
        Ok(sdp) => sdp,
        Err(fault) => {
            stack
                .respond(
                    &incoming,
                    message::answer(request, 488, "Not Acceptable Here", &tag)?,
                )
                .await?;
            return Err(fault);
        }
    };
    let mut response = message::answer(request, 200, "OK", &tag)?;
    complete(&mut response, request, &contact)?;
    message::add(&mut response.headers, HeaderName::Allow, ALLOW)?;
    let response = message::answer_with_sdp(response, &sdp)?;
    let dialog = Dialog::of_callee(request, &tag)?;
    let peer = message::from_user(&request.headers);
    let call = Call::new(agent, dialog, stream, peer, delayed);
    stack.respond(&incoming, response).await?;
    // Nobody may be waiting for calls; then the line is full after some.
    let _ = agent.0.arrived.try_send(call);
    Ok(())
}

/// What an answer that makes a dialog carries (RFC 3261 §12.1.1).
fn complete(response: &mut Response, request: &Request, contact: &str) -> Result<()> {
    for header in request.headers.get_all(&HeaderName::RecordRoute) {
        response.headers.push(header.clone());
    }
    message::add(
        &mut response.headers,
        HeaderName::Contact,
        contact.to_owned(),
    )
}
