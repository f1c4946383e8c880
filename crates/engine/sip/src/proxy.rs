//! A stateful proxy on top of [`transaction`](crate::transaction) (RFC 3261 §16).
//!
//! In: requests that the caller has routed and edited (Request-URI, Route, Record-Route, Path),
//! each with one target or a few, and the events of the transaction layer. Out: [`Reply`]s, which
//! the caller may edit once more before it hands them to
//! [`Transactions::respond`](crate::transaction::Transactions::respond).
//!
//! Done here: Max-Forwards, loops and breadth (RFC 5393), 100 (Trying), the hop's Via off each
//! response, Timer C, CANCEL, the choice of the best response, what stands for an answer that never
//! came, 2xx that come late. Not done here: routing, authentication, Record-Route; and an ACK for a
//! 2xx, which belongs to no transaction and is forwarded by the caller
//! ([`Transactions::send`](crate::transaction::Transactions::send)).
//!
//! Bounds: [`Settings::contexts`] requests under way, [`TARGETS_MAX`] targets each, one timer
//! for each target.

mod best;
mod preflight;

use std::time::Duration;

use base::{HashMap, Id, Instant, Now, Queue, Slab, TimerId, Timers};

use crate::build::Digits;
use crate::transaction::{
    ClientKey, Event, Limits, RequestError, ServerKey, Transactions, ViaOptions, Why, slim,
};
use crate::{FlowId, Message, Method, Name};
use preflight::Refusal;

/// Targets a request may be sent to at once.
pub const TARGETS_MAX: usize = 8;

/// Bounds and times of a proxy.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Requests under way at once. Default: as many as there are transactions. A request lasts as
    /// long as they do, 32 s after the 2xx of an INVITE (RFC 6026); they decide what is refused.
    pub contexts: usize,
    /// Timer C: how long an INVITE may ring without a further provisional response. Default
    /// 180 s (RFC 3261 §16.6, step 11).
    pub timer_c: Duration,
    /// Max-Forwards of a request that has none. Default 70.
    pub max_forwards: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            contexts: Limits::default().servers,
            timer_c: Duration::from_secs(180),
            max_forwards: 70,
        }
    }
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The flow.
    pub flow: FlowId,
    /// False for UDP.
    pub reliable: bool,
    /// What our Via says.
    pub via: ViaOptions,
    /// The request as this target gets it, but for Via and for Max-Forwards, which is at most the
    /// one it has here.
    pub request: Message,
    /// Max-Forwards is at most this, too; 255 for no limit.
    pub hops_max: u8,
}

/// A response for a request that came in.
#[derive(Debug)]
pub struct Reply {
    /// The request's transaction.
    pub server: ServerKey,
    /// The request of ours that it answers; `None` if the proxy wrote the response itself.
    pub client: Option<ClientKey>,
    /// The response, ready to send.
    pub message: Message,
}

/// One target of one request.
struct Branch {
    client: ClientKey,
    /// A provisional response has come.
    ringing: bool,
    /// The best of what it said, or what stands for it.
    answer: Option<Message>,
    timer: Option<TimerId>,
    /// The transaction layer still has the row.
    open: bool,
}

/// One request under way.
struct Context {
    server: ServerKey,
    invite: bool,
    request: Message,
    branches: Vec<Branch>,
    /// A final response went back.
    answered: bool,
    /// The server transaction is gone.
    ended: bool,
}

impl Context {
    fn branch(&mut self, client: ClientKey) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|b| b.client == client)
    }

    /// A final response goes back: the body is no longer needed.
    fn answer(&mut self) {
        self.answered = true;
        if let Some(slim) = slim(&self.request) {
            self.request = slim;
        }
    }

    fn finished(&self) -> bool {
        (self.answered || self.ended) && self.branches.iter().all(|b| !b.open)
    }
}

/// A stateful proxy.
pub struct Proxy {
    settings: Settings,
    contexts: Slab<Context>,
    by_server: HashMap<ServerKey, Id>,
    by_client: HashMap<ClientKey, Id>,
    timers: Timers<ClientKey>,
    replies: Queue<Reply>,
}

impl Proxy {
    /// An idle proxy.
    pub fn new(settings: Settings) -> Self {
        Proxy {
            settings,
            contexts: Slab::new(settings.contexts),
            by_server: HashMap::default(),
            by_client: HashMap::default(),
            timers: Timers::default(),
            replies: Queue::new(settings.contexts.saturating_mul(2) + 64),
        }
    }

    /// Sends a request on to its targets, of which the first [`TARGETS_MAX`] count, and answers
    /// an INVITE 100 at once.
    ///
    /// What cannot be sent on is answered instead: 483, 482, 440, 513, 503 (as 500 where RFC 3261
    /// §16.7
    /// wants it), 480 without a target. An ACK is not for this method.
    pub fn forward(
        &mut self,
        now: Now,
        transactions: &mut Transactions,
        server: ServerKey,
        targets: Vec<Target>,
    ) {
        let Some(request) = transactions.server_request(server).cloned() else {
            return;
        };
        let mark = preflight::mark(&request);
        let checked = preflight::check(&request, mark, &targets, self.settings.max_forwards)
            .and_then(|hops| {
                let forks = targets.len().min(TARGETS_MAX);
                Ok((hops, preflight::breadth(&request, forks)?))
            });
        let (hops, breadth) = match checked {
            Ok(checked) => checked,
            Err(Refusal { status, reason }) => {
                return self.refuse(server, &request, status, reason);
            }
        };
        if self.contexts.is_full() {
            return self.refuse(server, &request, 503, "Service Unavailable");
        }
        let invite = request.method() == Method::Invite;
        if invite {
            transactions.respond(now, server, request.reply(100, "Trying", "").build());
        }
        let mut branches = Vec::new();
        let mut failure = (500, "Server Internal Error");
        for target in targets.into_iter().take(TARGETS_MAX) {
            // The caller may have set a lower limit for what lies behind this target.
            let limit = target.request.max_forwards().ok().flatten();
            let hops = hops.min(limit.unwrap_or(hops)).min(target.hops_max);
            let sent = transactions.request_marked(
                now,
                target.flow,
                target.reliable,
                &target.request,
                &target.via,
                mark,
                |edit| {
                    edit.set(Name::MaxForwards, Digits::of(hops.into()));
                    if let Some(breadth) = breadth {
                        edit.set(preflight::MAX_BREADTH, breadth.to_string());
                    }
                },
            );
            let client = match sent {
                Ok(client) => client,
                Err(error) => {
                    if error == RequestError::TooLarge {
                        failure = error.status();
                    }
                    continue;
                }
            };
            let timer =
                invite.then(|| self.timers.arm(now.instant + self.settings.timer_c, client));
            branches.push(Branch {
                client,
                ringing: false,
                answer: None,
                timer,
                open: true,
            });
        }
        if branches.is_empty() {
            return self.refuse(server, &request, failure.0, failure.1);
        }
        let clients: Vec<ClientKey> = branches.iter().map(|b| b.client).collect();
        let context = Context {
            server,
            invite,
            request,
            branches,
            answered: false,
            ended: false,
        };
        if let Ok(id) = self.contexts.insert(context) {
            self.by_server.insert(server, id);
            self.by_client
                .extend(clients.into_iter().map(|client| (client, id)));
        }
    }

    /// Takes an event of the transaction layer; gives back one that is not the proxy's. The end of
    /// a server transaction is always given back: its user may keep something for it, too.
    pub fn handle(
        &mut self,
        now: Now,
        transactions: &mut Transactions,
        event: Event,
    ) -> Option<Event> {
        match event {
            Event::Response { key, message } => {
                let Some(&id) = self.by_client.get(&key) else {
                    return Some(Event::Response { key, message });
                };
                self.response(now, transactions, id, key, &message);
            }
            Event::Failed { key, why } => {
                let Some(&id) = self.by_client.get(&key) else {
                    return Some(Event::Failed { key, why });
                };
                self.failed(now, transactions, id, key, why);
            }
            Event::Closed { key } => {
                let Some(id) = self.by_client.remove(&key) else {
                    return Some(Event::Closed { key });
                };
                self.closed(id, key);
            }
            Event::Cancelled { key, cancel } => {
                let Some(&id) = self.by_server.get(&key) else {
                    return Some(Event::Cancelled { key, cancel });
                };
                self.cancel(now, transactions, id, cancel.header(Name::Reason));
            }
            Event::Ended { key, ending } => {
                if let Some(id) = self.by_server.remove(&key) {
                    self.ended(now, transactions, id);
                }
                return Some(Event::Ended { key, ending });
            }
            other => return Some(other),
        }
        None
    }

    /// Runs Timer C where it is due.
    pub fn handle_timeout(&mut self, now: Now, transactions: &mut Transactions) {
        while let Some((_, client)) = self.timers.pop(now.instant) {
            let Some(&id) = self.by_client.get(&client) else {
                continue;
            };
            let Some(branch) = self.contexts.get_mut(id).and_then(|c| c.branch(client)) else {
                continue;
            };
            branch.timer = None;
            // RFC 3261 §16.8: cancel what rings; what does not ring counts as 408.
            transactions.cancel(now, client);
            if !branch.ringing {
                self.failed(now, transactions, id, client, Why::Timeout);
            }
        }
    }

    /// Gives an INVITE up that nobody has answered: its targets are cancelled, and their answer is
    /// its own (RFC 3261 §16.10). Gives whether there was one.
    pub fn give_up(
        &mut self,
        now: Now,
        transactions: &mut Transactions,
        server: ServerKey,
    ) -> bool {
        let id = self.by_server.get(&server).copied();
        let open = |id: &Id| self.contexts.get(*id).is_some_and(|c| !c.answered);
        let Some(id) = id.filter(open) else {
            return false;
        };
        self.cancel(now, transactions, id, None);
        true
    }

    /// When [`Proxy::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next response to send; take all after each call.
    pub fn poll_reply(&mut self) -> Option<Reply> {
        self.replies.pop()
    }

    /// Rows of each table, by name.
    pub fn census(&self) -> [(&'static str, usize); 4] {
        [
            ("proxied requests", self.contexts.len()),
            ("proxied server transactions", self.by_server.len()),
            ("proxied client transactions", self.by_client.len()),
            ("proxy timers", self.timers.len()),
        ]
    }

    /// Requests under way.
    pub fn len(&self) -> usize {
        self.contexts.len()
    }

    /// Whether no request is under way.
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty() && self.by_client.is_empty() && self.timers.is_empty()
    }

    /// RFC 3261 §16.7.
    fn response(
        &mut self,
        now: Now,
        transactions: &mut Transactions,
        id: Id,
        client: ClientKey,
        response: &Message,
    ) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let (server, invite, answered) = (context.server, context.invite, context.answered);
        let Some(branch) = context.branch(client) else {
            return;
        };
        let mut edit = response.edit();
        edit.remove_first_value(Name::Via);
        let message = edit.finish();
        if message.header(Name::Via).is_none() {
            return; // meant for ourselves (step 3)
        }
        match response.status() {
            100..=199 => {
                branch.ringing = true;
                // Step 2: any provisional but 100 restarts Timer C.
                if response.status() > 100 {
                    if let Some(timer) = branch.timer.take() {
                        self.timers.disarm(timer);
                        let at = now.instant + self.settings.timer_c;
                        branch.timer = Some(self.timers.arm(at, client));
                    }
                    if !answered {
                        self.reply(server, Some(client), message);
                    }
                }
            }
            200..=299 => {
                stop(&mut self.timers, branch);
                branch.answer = Some(message.clone());
                context.answer();
                // Every 2xx to an INVITE goes back at once, late ones too (step 5).
                if invite || !answered {
                    self.reply(server, Some(client), message);
                }
                self.cancel(now, transactions, id, None);
            }
            status => {
                stop(&mut self.timers, branch);
                branch.answer.get_or_insert(message);
                if status >= 600 {
                    self.cancel(now, transactions, id, None);
                }
                self.choose(now, transactions, id);
            }
        }
    }

    fn failed(
        &mut self,
        now: Now,
        transactions: &mut Transactions,
        id: Id,
        client: ClientKey,
        why: Why,
    ) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let request = context.request.clone();
        let Some(branch) = context.branch(client) else {
            return;
        };
        stop(&mut self.timers, branch);
        if branch.answer.is_none() {
            // RFC 3261 §16.7 step 6 and §16.9; 503 becomes 500 when it is chosen.
            branch.answer = Some(match why {
                Why::Timeout => best::own(&request, 408, "Request Timeout"),
                Why::FlowDown => best::own(&request, 503, "Service Unavailable"),
            });
        }
        self.choose(now, transactions, id);
    }

    /// Sends the best answer back once all targets have given theirs (step 6).
    fn choose(&mut self, now: Now, transactions: &mut Transactions, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if context.answered || context.branches.iter().any(|b| b.answer.is_none()) {
            return;
        }
        context.answer();
        let server = context.server;
        let answers = context
            .branches
            .iter()
            .filter_map(|b| Some((b.client, b.answer.as_ref()?)));
        let chosen = best::choose(&context.request, answers);
        // RFC 4320 §4.2: nobody waits any longer for a non-INVITE that timed out.
        let mute = !context.invite && chosen.as_ref().is_some_and(|(_, m)| m.status() == 408);
        if let Some((client, message)) = chosen.filter(|_| !mute) {
            self.reply(server, Some(client), message);
        }
        self.cancel(now, transactions, id, None);
        self.drop_finished(id);
    }

    /// Cancels every branch of an INVITE that has no final answer yet (§16.10).
    fn cancel(&mut self, now: Now, transactions: &mut Transactions, id: Id, reason: Option<&[u8]>) {
        let Some(context) = self.contexts.get(id).filter(|c| c.invite) else {
            return;
        };
        for branch in context.branches.iter().filter(|b| b.answer.is_none()) {
            transactions.cancel_because(now, branch.client, reason);
        }
    }

    fn ended(&mut self, now: Now, transactions: &mut Transactions, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        context.ended = true;
        if !context.answered {
            self.cancel(now, transactions, id, None);
        }
        self.drop_finished(id);
    }

    fn closed(&mut self, id: Id, client: ClientKey) {
        if let Some(branch) = self.contexts.get_mut(id).and_then(|c| c.branch(client)) {
            stop(&mut self.timers, branch);
            branch.open = false;
        }
        self.drop_finished(id);
    }

    fn drop_finished(&mut self, id: Id) {
        if self.contexts.get(id).is_some_and(Context::finished)
            && let Some(context) = self.contexts.remove(id)
            && self.by_server.get(&context.server) == Some(&id)
        {
            self.by_server.remove(&context.server);
        }
    }

    fn refuse(&mut self, server: ServerKey, request: &Message, status: u16, reason: &str) {
        let message = best::own(request, status, reason);
        self.reply(server, None, message);
    }

    fn reply(&mut self, server: ServerKey, client: Option<ClientKey>, message: Message) {
        let _ = self.replies.push(Reply {
            server,
            client,
            message,
        });
    }
}

fn stop(timers: &mut Timers<ClientKey>, branch: &mut Branch) {
    if let Some(timer) = branch.timer.take() {
        timers.disarm(timer);
    }
}

#[cfg(test)]
mod tests;
