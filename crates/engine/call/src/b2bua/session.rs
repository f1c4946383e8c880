//! Session timers (RFC 4028), on each leg by itself.
//!
//! | the asker | the other end | the other end is | the asker is told | who refreshes |
//! |---|---|---|---|---|
//! | knows them | knows them | asked | what that says | whom they agree on |
//! | knows them | does not | asked | of ours, `refresher=uac` | the asker; it crosses |
//! | does not | knows them | asked | nothing | whom the other end names: itself, or us |
//! | does not | does not | asked | nothing | nobody; both are asked by OPTIONS |
//!
//! Where we are the refresher, half the interval after the last refresh an UPDATE without a
//! description goes out, or where the end does not allow it, an INVITE with what the other end last
//! described, byte for byte as it was last shown (RFC 3264 §8), if that still holds. One
//! that is refused is tried again, so is one that meets nobody (`own.rs`); once there has been none
//! for the interval less a third or 32 s (§10), both legs get a BYE. An end that knows no timers is
//! asked by OPTIONS in the same rhythm: refreshes would ask more of it than it can do. Intervals of
//! more than a day count as a day.
//!
//! One timer a call.

use std::time::Duration;

use base::{Id, Instant, TimerId};
use sip::dialog::{Refresher, SessionInterval, min_se};
use sip::route::lists;
use sip::transaction::Why;
use sip::{Message, Method, Name};

use super::body;
use super::call::{End, Exchange, Phase, Tick};
use super::{B2bua, CallId, Cause, Context, EndedBy, Event};

/// The wait before a refresh that could not be sent, or was refused for now, is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// The longest interval that we take over, in seconds. Where ends agree on a longer one, they are
/// asked by OPTIONS meanwhile.
const LONGEST: u32 = 86_400;

/// How a call that was answered is known to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Guard {
    /// Not yet.
    #[default]
    None,
    /// Refreshes come from an end, within so long.
    Watch(Duration),
    /// This end wants refreshes of us.
    Refresh(End),
    /// Nobody knows timers.
    Ask,
}

/// A call's session timer.
#[derive(Default)]
pub(super) struct Session {
    guard: Guard,
    /// Seconds from one refresh to the end.
    seconds: u32,
    /// The last refresh.
    since: Instant,
    timer: Option<TimerId>,
    /// Whether the caller, and the callee, allow UPDATE.
    updates: [bool; 2],
    /// What an end said is the least that it takes.
    pub(super) least: u32,
}

impl Session {
    /// The timer, to be disarmed.
    pub(super) fn stop(&mut self) -> Option<TimerId> {
        self.guard = Guard::None;
        self.timer.take()
    }

    /// The end whose description an INVITE of ours would carry.
    fn describes(&self) -> Option<End> {
        match self.guard {
            Guard::Refresh(end) => Some(end.other()),
            _ => None,
        }
    }

    /// When the call is over without a refresh: so long before the interval's end (§10).
    fn over(&self) -> Instant {
        self.since + until_over(self.seconds)
    }

    fn half(&self) -> Instant {
        self.since + Duration::from_secs((self.seconds / 2).into())
    }

    /// Notes what an end allows.
    fn learn(&mut self, end: End, message: &Message) {
        if message.header(Name::Allow).is_some() {
            self.updates[end as usize] = lists(message, Name::Allow, b"UPDATE");
        }
    }
}

/// Whether who sent a request knows session timers. A proxy that asks for one on another's behalf
/// names no refresher (§8.1).
fn knows(request: &Message) -> bool {
    lists(request, Name::Supported, b"timer")
        || SessionInterval::read(request).is_some_and(|asked| asked.refresher.is_some())
}

/// The interval that a request asks for, or what we ask for in its place.
fn wanted(request: &Message, ours: u32) -> u32 {
    let asked = SessionInterval::read(request).map(|i| i.seconds);
    asked.unwrap_or(ours).max(min_se(request)).min(LONGEST)
}

/// A request on its way to the other end: it asks for a session timer, whoever sent it. What it
/// says of one itself stays. `least` is what an end has said it takes, 0 for nothing: it is to be
/// repeated (§7.4).
pub(super) fn asking(request: &Message, ours: u32, least: u32) -> Message {
    let named = lists(request, Name::Supported, b"timer");
    let asks = request.header(Name::SessionExpires).is_some();
    if named && asks {
        return request.clone();
    }
    let mut edit = request.edit();
    if !named {
        edit.push_back(Name::Supported, b"timer");
    }
    if !asks {
        let seconds = wanted(request, ours).to_string();
        edit.push_back(Name::SessionExpires, seconds.as_bytes());
        if least > min_se(request) {
            edit.set(Name::MinSe, least.to_string().as_bytes());
        }
    }
    edit.finish()
}

/// A 2xx on its way to the asker: a timer of our own for one that knows them where the other end
/// does not, and none for one that does not.
pub(super) fn answering(request: &Message, response: &Message, ours: u32) -> Message {
    match (knows(request), SessionInterval::read(response)) {
        (true, None) => {
            let mut edit = response.edit();
            let value = format!("{};refresher=uac", wanted(request, ours));
            edit.remove(Name::SessionExpires);
            edit.push_back(Name::SessionExpires, value.as_bytes());
            if !lists(response, Name::Require, b"timer") {
                edit.push_back(Name::Require, b"timer");
            }
            edit.finish()
        }
        (false, Some(agreed)) => {
            let mut edit = response.edit();
            // A proxy on the way may have asked; it cannot refresh either.
            let heard = request.header(Name::SessionExpires).is_some();
            if !heard || agreed.refresher != Some(Refresher::Uas) {
                edit.remove(Name::SessionExpires);
            }
            if lists(response, Name::Require, b"timer") {
                let rest = response.values(Name::Require);
                let rest: Vec<&[u8]> = rest.filter(|v| !v.eq_ignore_ascii_case(b"timer")).collect();
                edit.remove(Name::Require);
                if !rest.is_empty() {
                    edit.push_back(Name::Require, rest.join(&b", "[..]));
                }
            }
            edit.finish()
        }
        _ => response.clone(),
    }
}

impl B2bua {
    /// Seconds that we ask for where nobody else does.
    pub(super) fn interval_asked(&self) -> u32 {
        let ours = u32::try_from(self.settings.session_interval.as_secs()).unwrap_or(u32::MAX);
        ours.max(SessionInterval::MIN_S)
    }

    /// The same on a call's legs, where an end may have asked for more.
    pub(super) fn session_seconds(&self, id: Id) -> u32 {
        let least = self.calls.get(id).map_or(0, |c| c.session.least);
        self.interval_asked().max(least)
    }

    /// A 2xx to an INVITE or UPDATE as its sender gets it.
    pub(super) fn session_shown(&self, id: Id, request: &Message, response: &Message) -> Message {
        match self.calls.get(id) {
            Some(call) if call.phase != Phase::Calling => {
                answering(request, response, self.session_seconds(id))
            }
            _ => response.clone(),
        }
    }

    /// A 2xx to an INVITE or UPDATE of `from` settles the interval of both legs.
    pub(super) fn session_settled(
        &mut self,
        cx: &Context<'_>,
        id: Id,
        from: End,
        request: &Message,
        response: &Message,
    ) {
        let ours = self.session_seconds(id);
        let grace = self.settings.session_grace;
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.session.learn(from, request);
        call.session.learn(from.other(), response);
        if request.method() == Method::Update {
            call.session.updates[from.other() as usize] = true;
        }
        let early = call.phase == Phase::Calling;
        let agreed = SessionInterval::read(response);
        let seconds = agreed.map(|i| i.seconds);
        let uas = agreed.is_some_and(|i| i.refresher == Some(Refresher::Uas));
        let guard = match (knows(request), seconds) {
            (_, None) if early => Guard::None,
            (_, Some(s)) if s > LONGEST && !early => Guard::Ask,
            // The ends end it themselves if there is no refresh; we do it if they are gone.
            (true, Some(s)) => Guard::Watch(Duration::from_secs(s.into()) + grace),
            (true, None) => Guard::Watch(until_over(wanted(request, ours))),
            (false, Some(s)) if uas || early => Guard::Watch(until_over(s)),
            (false, Some(_)) => Guard::Refresh(from.other()),
            (false, None) => Guard::Ask,
        };
        let seconds = seconds.unwrap_or_else(|| match knows(request) {
            true => wanted(request, ours),
            false => ours,
        });
        self.guard(cx, id, guard, seconds.min(LONGEST));
    }

    /// From now on a call is guarded so.
    fn guard(&mut self, cx: &Context<'_>, id: Id, guard: Guard, seconds: u32) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let session = &mut call.session;
        (session.guard, session.seconds, session.since) = (guard, seconds, cx.now.instant);
        let at = match guard {
            Guard::None => None,
            Guard::Watch(within) => Some(cx.now.instant + within),
            Guard::Refresh(_) | Guard::Ask => Some(session.half()),
        };
        self.arm_session(id, at);
        self.session_trim(id);
    }

    fn arm_session(&mut self, id: Id, at: Option<Instant>) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if let Some(timer) = call.session.timer.take() {
            self.timers.disarm(timer);
        }
        call.session.timer = at.map(|at| self.timers.arm(at, Tick::Session(id)));
    }

    /// Only a description that an INVITE of ours would carry is kept.
    pub(super) fn session_trim(&mut self, id: Id) {
        if let Some(call) = self.calls.get_mut(id) {
            call.bridge.keep_description(call.session.describes());
        }
    }

    /// It is time for a refresh, or too late.
    pub(super) fn session_due(&mut self, cx: &mut Context<'_>, id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.session.timer = None;
        let over = call.session.over();
        match (call.session.guard, call.phase) {
            (Guard::Ask, Phase::Answered(_)) => {
                let wait = Duration::from_secs((call.session.seconds / 2).into());
                self.probe(cx, CallId(id));
                self.arm_session(id, Some(cx.now.instant + wait));
            }
            (Guard::Refresh(end), Phase::Answered(fork)) if cx.now.instant < over => {
                let at = if self.refresh(cx, id, end, fork) {
                    over
                } else if self.changes(id) {
                    over.min(cx.now.instant + self.pause(end))
                } else {
                    over.min(cx.now.instant + AGAIN)
                };
                self.arm_session(id, Some(at));
            }
            (Guard::Watch(_) | Guard::Refresh(_), _) => {
                let why = "Session Expired";
                self.hang_up(cx, id, EndedBy::Us, Cause::SessionExpired, 408, why);
            }
            (Guard::None | Guard::Ask, _) => {}
        }
    }

    /// Whether an INVITE, or an offer, is under way.
    fn changes(&self, id: Id) -> bool {
        self.calls.get(id).is_some_and(|call| {
            let invites = |e: &Exchange| e.method == Method::Invite;
            let waits = !call.unacked.is_empty() || call.bridge.is_pending();
            waits || call.exchanges.iter().any(invites)
        })
    }

    /// The wait after two INVITEs met: longer for who owns the Call-ID (RFC 3261 §14.1), which
    /// towards the callee we do.
    fn pause(&mut self, end: End) -> Duration {
        let millis = match end {
            End::Callee => 2_100 + self.rng.below(1_900),
            End::Caller => 10 + self.rng.below(1_990),
        };
        Duration::from_millis(millis)
    }

    /// Sends a refresh to an end; false if it cannot be now. The other end, which knows no timers,
    /// is asked whether it is there.
    fn refresh(&mut self, cx: &mut Context<'_>, id: Id, to: End, fork: usize) -> bool {
        let limit = self.settings.exchanges_max;
        let Some(call) = self.calls.get_mut(id) else {
            return false;
        };
        let update = call.session.updates[to as usize];
        let busy = |e: &Exchange| e.method == Method::Invite || is_refresh(e);
        let described = call.bridge.description(to.other()).map(<[u8]>::to_vec);
        if call.exchanges.len() + 2 > limit || call.exchanges.iter().any(busy) {
            return false;
        }
        let waits = !call.unacked.is_empty() || call.bridge.is_pending();
        let offer = match (update, described) {
            // Where there is nothing to offer, an UPDATE is better than silence.
            (true, _) | (false, None) => None,
            (false, Some(text)) if !waits => match self.bridge_again(cx, id, to.other(), &text) {
                Ok(offer) => Some(offer),
                Err(_) => return false,
            },
            (false, Some(_)) => return false,
        };
        let offers = offer.is_some();
        let sent = self.send_refresh(cx, id, to, fork, offer);
        if !sent && offers {
            self.roll_back(cx, id);
        }
        if sent {
            self.ask_once(cx, id, to.other(), fork);
        }
        sent
    }

    fn send_refresh(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        to: End,
        fork: usize,
        offer: Option<Vec<u8>>,
    ) -> bool {
        let Some(call) = self.calls.get(id) else {
            return false;
        };
        let contact = [b"<", &*call.leg(to).face.contact, b">"].concat();
        let expires = format!("{};refresher=uac", call.session.seconds);
        let method = match offer {
            None => (Method::Update, &b"UPDATE"[..]),
            Some(_) => (Method::Invite, &b"INVITE"[..]),
        };
        let least = call.session.least.to_string();
        let mut fields = vec![
            (Name::Contact, &*contact),
            (Name::Supported, &b"timer"[..]),
            (Name::SessionExpires, expires.as_bytes()),
        ];
        if call.session.least > 0 {
            fields.push((Name::MinSe, least.as_bytes()));
        }
        self.send_own(cx, id, to, fork, method, &fields, offer)
    }

    /// The final answer to a refresh of ours.
    pub(super) fn refreshed(&mut self, cx: &mut Context<'_>, id: Id, at: usize, answer: &Message) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let Some(exchange) = call.exchanges.get(at) else {
            return;
        };
        let (to, client) = (exchange.from.other(), exchange.client);
        let (offer, method) = (exchange.offer, exchange.method);
        let status = answer.status();
        if (200..300).contains(&status) {
            call.session.learn(to, answer);
            if method == Method::Invite {
                self.acknowledge_exchange(cx, id, at);
            }
            self.done(id, client, true);
            if offer && !self.refresh_answered(cx, id, to, answer) {
                return;
            }
            return self.refresh_settled(cx, id, to, answer);
        }
        let least = min_se(answer).min(LONGEST);
        let wait = match status {
            // Once a call: one that wants more each time is not followed.
            422 if call.session.least == 0 && least > call.session.seconds => {
                (call.session.seconds, call.session.least) = (least, least);
                Duration::ZERO
            }
            405 | 501 if method == Method::Update && call.session.updates[to as usize] => {
                call.session.updates[to as usize] = false;
                Duration::ZERO
            }
            491 => self.pause(to),
            _ => AGAIN,
        };
        self.done(id, client, true);
        if offer {
            self.roll_back(cx, id);
        }
        // 430: the edge has lost the client's connection (RFC 5626 §5.3).
        if !matches!(status, 408 | 430) || self.doubted(cx, id, to, Cause::Status(status)) {
            self.refresh_again(cx, id, wait);
        }
    }

    /// The answer to what an INVITE of ours offered; false if the call is over for it.
    fn refresh_answered(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        to: End,
        answer: &Message,
    ) -> bool {
        if !body::carries_description(answer) {
            // Accepted without an answer: nothing has changed.
            self.roll_back(cx, id);
            return true;
        }
        let moved = self.bridge_body(cx, id, to, answer, true);
        if let Some(call) = self.calls.get_mut(id) {
            call.bridge.seal();
        }
        match moved {
            Ok(_) => {
                self.tell(Some(id), Event::MediaChanged);
                true
            }
            Err(error) => {
                self.tell(Some(id), Event::MediaRefused(error));
                let cause = Cause::Media(error);
                self.hang_up(cx, id, EndedBy::Us, cause, 488, "Not Acceptable Here");
                false
            }
        }
    }

    fn refresh_settled(&mut self, cx: &Context<'_>, id: Id, to: End, answer: &Message) {
        let agreed = SessionInterval::read(answer);
        let ours = self.session_seconds(id);
        let (guard, seconds) = match agreed {
            Some(i) if i.refresher == Some(Refresher::Uas) && i.seconds > LONGEST => {
                (Guard::Ask, LONGEST)
            }
            Some(i) if i.refresher == Some(Refresher::Uas) => {
                (Guard::Watch(until_over(i.seconds)), i.seconds)
            }
            Some(i) => (Guard::Refresh(to), i.seconds.min(LONGEST)),
            None => (Guard::Ask, ours),
        };
        self.guard(cx, id, guard, seconds);
    }

    /// A refresh of ours was refused, or could not be sent: once more, while there is time.
    pub(super) fn refresh_again(&mut self, cx: &Context<'_>, id: Id, wait: Duration) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        if matches!(call.session.guard, Guard::Refresh(_)) {
            let at = call.session.over().min(cx.now.instant + wait);
            self.arm_session(id, Some(at));
        }
    }

    /// Nothing came in answer to a refresh of ours.
    pub(super) fn refresh_failed(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        exchange: &Exchange,
        why: Why,
    ) {
        if exchange.offer {
            self.roll_back(cx, id);
        }
        // A connection that is gone is replaced.
        let to = exchange.from.other();
        if why == Why::FlowDown || self.doubted(cx, id, to, Cause::Timeout) {
            self.refresh_again(cx, id, AGAIN);
        }
    }

    /// The same within the call: the request that was refused 422 for our interval is to go out
    /// again. False if the interval was its sender's, who is told.
    pub(super) fn asks_again(&mut self, id: Id, at: usize, refusal: &Message) -> bool {
        let before = self.session_seconds(id);
        let least = min_se(refusal).min(LONGEST);
        let Some(call) = self.calls.get_mut(id) else {
            return false;
        };
        let Some(exchange) = call.exchanges.get(at) else {
            return false;
        };
        let theirs = exchange.request.header(Name::SessionExpires).is_some();
        let refreshes = matches!(exchange.method, Method::Invite | Method::Update);
        let ours = exchange.server.is_some() && refreshes && !theirs;
        // Once a call: one that wants more each time is not followed.
        let again = ours && call.session.least == 0 && least > before;
        if again && matches!(call.phase, Phase::Answered(_)) {
            call.session.least = least;
            return true;
        }
        false
    }

    /// An INVITE was refused because the interval that we put in is too small for the other end
    /// (§7.4 with us as the client): it goes out again with a longer one. False if it was the
    /// caller's, who is told.
    pub(super) fn begin_again(&mut self, cx: &mut Context<'_>, id: Id, refusal: &Message) -> bool {
        let before = self.session_seconds(id);
        let least = min_se(refusal).min(LONGEST);
        let Some(call) = self.calls.get_mut(id) else {
            return false;
        };
        let Some(opening) = call.opening.as_mut() else {
            return false;
        };
        let theirs = opening.received.header(Name::SessionExpires).is_some();
        let once = call.session.least == 0 && call.forks.is_empty();
        let Ok(cseq) = opening.sent.cseq().map(|c| c.number) else {
            return false;
        };
        if refusal.status() != 422 || theirs || !once || least <= before {
            return false;
        }
        let seconds = least.to_string();
        let mut edit = opening.sent.edit();
        edit.set(Name::SessionExpires, seconds.as_bytes())
            .set(Name::MinSe, seconds.as_bytes())
            .set(Name::CSeq, format!("{} INVITE", cseq + 1).as_bytes());
        let sent = edit.finish();
        let face = call.callee.face.clone();
        let begun = cx
            .transactions
            .request(cx.now, face.flow, face.reliable, &sent, &face.via);
        let Ok(client) = begun else { return false };
        opening.sent = sent;
        call.session.least = least;
        call.client = Some(client);
        call.open += 1;
        self.by_client.insert(client, id);
        true
    }
}

/// Whether an exchange is a refresh of ours.
pub(super) fn is_refresh(exchange: &Exchange) -> bool {
    exchange.server.is_none() && matches!(exchange.method, Method::Invite | Method::Update)
}

/// How long after a refresh a call is over without another, where the one end that should send it
/// can tell nobody but us.
fn until_over(seconds: u32) -> Duration {
    Duration::from_secs((seconds - 32.min(seconds / 3)).into())
}
