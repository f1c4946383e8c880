//! The line side of a simulated Unified CM: a registrar and a back-to-back user agent.
//!
//! It behaves as clients and gateways see the real one: 100 before 200 with `Date`, `Server` and
//! a short `Expires`; the Contact echoed, with `x-cisco-newreg` on a new registration; the
//! client's `optionsind` answered; a new Call-ID for each leg of a call; offers passed on early
//! or late as they come. A device is called at the Contact (and Path) that it registered, so
//! behind the product it is the core that is called. Bounds: 4096 registrations, 256 calls, and
//! those of the [`Stack`].

mod call;
mod manners;
mod notices;
mod overlap;
mod registrar;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use sipx_sip::{HeaderName, Method, Request, Uri};
use tokio::sync::mpsc;

pub(crate) use manners::Manners;
pub(crate) use registrar::Registration;

use super::message;
use super::stack::{Incoming, Setup, Stack};
use crate::accounts::Bearers;
use crate::ladder::Recorder;
use crate::names::Names;

const CALLS: usize = 256;
const EVENTS_WAITING: usize = 64;
const SERVER: &str = "Cisco-CUCM12.5";

/// What it is to be.
pub(crate) struct Config {
    /// Its full name.
    pub(crate) name: String,
    /// SIP over TCP.
    pub(crate) sip: SocketAddr,
    /// SIP over TLS, with the configuration to accept it; `None` does without.
    pub(crate) sip_tls: Option<(SocketAddr, Arc<rustls::ServerConfig>)>,
    /// How it dials TLS.
    pub(crate) dialing: Option<Arc<rustls::ClientConfig>>,
    /// Its name server.
    pub(crate) dns: Option<SocketAddr>,
    /// The lines it knows.
    pub(crate) lines: Vec<Line>,
    /// Whether it asks devices for a digest with the realm `ccmsipline`.
    pub(crate) digest: bool,
    /// Tokens that it takes in place of a digest (RFC 8898).
    pub(crate) bearers: Bearers,
    /// How it is set up, and what is wrong with it.
    pub(crate) manners: Manners,
    /// Where it writes what crosses it.
    pub(crate) recorder: Recorder,
}

/// A directory number and the devices it stands on.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The number.
    pub(crate) extension: String,
    /// The devices' names; a line with several is shared. None takes any.
    pub(crate) devices: Vec<String>,
    /// The name it shows to others.
    pub(crate) display: String,
    /// Name and password of its digest user, when that is asked for.
    pub(crate) user: Option<(String, String)>,
}

impl Line {
    /// Whose line it is.
    fn user_name(&self) -> Option<String> {
        self.user.as_ref().map(|(name, _)| name.clone())
    }
}

/// A running line side; clones share it.
#[derive(Clone)]
pub(crate) struct UnifiedCm(Arc<Inner>);

struct Inner {
    stack: Stack,
    config: Config,
    lines: HashMap<String, Line>,
    registrar: Mutex<registrar::Table>,
    calls: Mutex<Calls>,
}

/// Which call a message belongs to: by the Call-ID of either leg.
#[derive(Default)]
struct Calls {
    by_id: HashMap<String, (call::Side, mpsc::Sender<call::Event>)>,
    history: Vec<CallView>,
    told: Vec<notices::Told>,
}

/// A call as the line side saw it.
#[derive(Clone, Debug)]
pub(crate) struct CallView {
    /// Who called.
    pub(crate) from: String,
    /// Who was called.
    pub(crate) to: String,
    /// Call-IDs of the caller's and the callee's leg.
    pub(crate) ids: (String, String),
    /// Directions that session descriptions asked for, in order: `sendrecv`, `sendonly`, …
    pub(crate) directions: Vec<String>,
    /// Why it ended, once it has.
    pub(crate) ended: Option<String>,
}

impl UnifiedCm {
    /// Starts it.
    ///
    /// # Errors
    /// A port is taken.
    pub(crate) async fn start(mut config: Config) -> Result<UnifiedCm> {
        let (stack, mut incoming) = Stack::new(Setup {
            local: config.sip.ip(),
            agent: SERVER,
            names: config.dns.map(Names::new).transpose()?,
            dialing: config.dialing.clone(),
            recorder: config.recorder.clone(),
        });
        let manners = config.manners.clone();
        config.sip = stack.listen(config.sip, None, manners.door(false)).await?;
        if let Some((address, tls)) = &mut config.sip_tls {
            let tls = Some(Arc::clone(tls));
            *address = stack.listen(*address, tls, manners.door(true)).await?;
        }
        let lines = config
            .lines
            .iter()
            .map(|line| (line.extension.clone(), line.clone()))
            .collect();
        let unified_cm = UnifiedCm(Arc::new(Inner {
            stack: stack.clone(),
            config,
            lines,
            registrar: Mutex::default(),
            calls: Mutex::default(),
        }));
        let taking = unified_cm.clone();
        stack.spawn(async move {
            while let Some(request) = incoming.recv().await {
                // What cannot be answered has no one to tell.
                let _ = taking.take(request).await;
            }
        });
        Ok(unified_cm)
    }

    /// Who is registered now.
    pub(crate) fn registrations(&self) -> Vec<Registration> {
        self.registrar().all()
    }

    /// Calls so far, those under way among them.
    pub(crate) fn calls(&self) -> Vec<CallView> {
        self.call_table().history.clone()
    }

    /// Its full name.
    pub(crate) fn name(&self) -> &str {
        &self.0.config.name
    }

    /// Where it takes SIP over TCP.
    #[cfg(test)]
    pub(crate) fn sip(&self) -> SocketAddr {
        self.0.config.sip
    }

    /// Where it takes SIP over TLS.
    #[cfg(test)]
    pub(crate) fn sip_tls(&self) -> Option<SocketAddr> {
        self.0.config.sip_tls.as_ref().map(|(address, _)| *address)
    }

    async fn take(&self, incoming: Incoming) -> Result<()> {
        let request = &incoming.request;
        let call = self.call_of(request);
        match request.method {
            // A trunk takes no registrations.
            Method::Register if self.0.config.manners.trunk_on_line_port => {
                self.refuse(&incoming, 405, "Method Not Allowed").await
            }
            Method::Register => self.register(incoming).await,
            _ if call.is_some() => {
                let Some((side, sender)) = call else {
                    return Ok(());
                };
                match sender.try_send(call::Event::Request(side, Box::new(incoming))) {
                    Ok(()) => Ok(()),
                    Err(mpsc::error::TrySendError::Full(event)) => self.busy(event).await,
                    Err(mpsc::error::TrySendError::Closed(event)) => self.gone(event).await,
                }
            }
            Method::Invite if message::is_initial(request) => self.begin(incoming).await,
            Method::Ack => Ok(()),
            _ if !message::is_initial(request) => {
                self.refuse(&incoming, 481, "Call/Transaction Does Not Exist")
                    .await
            }
            Method::Options | Method::Notify | Method::Publish => {
                self.refuse(&incoming, 200, "OK").await
            }
            Method::Refer => self.refuse(&incoming, 202, "Accepted").await,
            Method::Subscribe => self.refuse(&incoming, 489, "Bad Event").await,
            _ => self.refuse(&incoming, 405, "Method Not Allowed").await,
        }
    }

    async fn begin(&self, incoming: Incoming) -> Result<()> {
        self.0
            .stack
            .respond(
                &incoming,
                message::answer(&incoming.request, 100, "Trying", "")?,
            )
            .await?;
        let caller = message::from_user(&incoming.request.headers);
        let called = message::user(&incoming.request.uri);
        if !self.0.lines.contains_key(&caller) {
            return self.refuse(&incoming, 403, "Forbidden").await;
        }
        let whole = self.0.lines.contains_key(&called);
        if !whole && !self.may_go_on(&called, &incoming) {
            return self.refuse(&incoming, 404, "Not Found").await;
        }
        if whole && self.registrar().of_line(&called).is_empty() {
            return self.refuse(&incoming, 480, "Temporarily Unavailable").await;
        }
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
        let ids = (
            message::call_id(&incoming.request.headers),
            format!("{}@{}", message::token(16), self.0.config.sip.ip()),
        );
        if !self.admit(&caller, &called, &ids, &sender) {
            return self.refuse(&incoming, 503, "Service Unavailable").await;
        }
        let unified_cm = self.clone();
        self.0.stack.spawn(async move {
            let line = call::Between {
                caller,
                called,
                ids: ids.clone(),
                registrations: Vec::new(),
                opening: None,
            };
            let outcome = unified_cm.conduct(incoming, line, sender, receiver).await;
            let mut calls = unified_cm.call_table();
            calls.by_id.retain(|id, _| !call::is_leg(&ids, id));
            if let Some(view) = calls.history.iter_mut().rev().find(|view| view.ids == ids) {
                view.ended = Some(outcome.unwrap_or_else(|fault| format!("{fault:#}")));
            }
        });
        Ok(())
    }

    /// Notes a call that begins; there may be no room.
    fn admit(
        &self,
        caller: &str,
        called: &str,
        ids: &(String, String),
        sender: &mpsc::Sender<call::Event>,
    ) -> bool {
        let mut calls = self.call_table();
        if calls.by_id.len() >= 2 * CALLS {
            return false;
        }
        let entry = (call::Side::Caller, sender.clone());
        calls.by_id.insert(ids.0.clone(), entry);
        calls.history.push(CallView {
            from: caller.to_owned(),
            to: called.to_owned(),
            ids: ids.clone(),
            directions: Vec::new(),
            ended: None,
        });
        let excess = calls.history.len().saturating_sub(CALLS);
        calls.history.drain(..excess);
        true
    }

    /// A call from its number's last digit to its end.
    async fn conduct(
        &self,
        incoming: Incoming,
        mut line: call::Between,
        sender: mpsc::Sender<call::Event>,
        mut receiver: mpsc::Receiver<call::Event>,
    ) -> Result<String> {
        if !self.0.lines.contains_key(&line.called) {
            let first = line.called.clone();
            let Some(dialled) = self.collect(&incoming, first, &mut receiver).await? else {
                return Ok("given up while dialling".into());
            };
            line.called = dialled.number;
            line.opening = Some((dialled.tag, dialled.dialog));
        }
        line.registrations = self.registrar().of_line(&line.called);
        if line.registrations.is_empty() {
            self.refuse(&incoming, 480, "Temporarily Unavailable")
                .await?;
            return Ok("nobody is registered".into());
        }
        for leg in 0..line.registrations.len() {
            let entry = (call::Side::Called, sender.clone());
            let id = call::leg_id(&line.ids.1, leg);
            self.call_table().by_id.insert(id, entry);
        }
        call::run(self, incoming, line, (sender, receiver)).await
    }

    /// The running call of a request, by its Call-ID.
    fn call_of(&self, request: &Request) -> Option<(call::Side, mpsc::Sender<call::Event>)> {
        self.call_table()
            .by_id
            .get(&message::call_id(&request.headers))
            .cloned()
    }

    async fn busy(&self, event: call::Event) -> Result<()> {
        let call::Event::Request(_, incoming) = event else {
            return Ok(());
        };
        self.refuse(&incoming, 500, "Server Internal Error").await
    }

    async fn gone(&self, event: call::Event) -> Result<()> {
        let call::Event::Request(_, incoming) = event else {
            return Ok(());
        };
        self.refuse(&incoming, 481, "Call/Transaction Does Not Exist")
            .await
    }

    async fn refuse(&self, incoming: &Incoming, code: u16, reason: &str) -> Result<()> {
        if incoming.key.is_none() {
            return Ok(());
        }
        self.0.stack.refuse(incoming, code, reason).await
    }

    /// Its own Contact, on that transport.
    fn contact(&self, extension: &str, secure: bool) -> String {
        match &self.0.config.sip_tls {
            Some((address, _)) if secure => format!("<sip:{extension}@{address};transport=tls>"),
            _ => format!("<sip:{extension}@{};transport=tcp>", self.0.config.sip),
        }
    }

    fn registrar(&self) -> MutexGuard<'_, registrar::Table> {
        self.0
            .registrar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn call_table(&self) -> MutexGuard<'_, Calls> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directions that a session description asks for.
fn note_direction(view: &mut CallView, body: &[u8]) {
    if let Ok(description) = crate::media::sdp::Description::read(body) {
        view.directions
            .push(description.direction.as_str().to_owned());
    }
}

/// Where to send a request that goes to that registration, first hop first.
fn way(registration: &Registration) -> (Uri, Vec<Uri>) {
    (registration.contact.clone(), registration.path.clone())
}

/// What a leg passes on of the other: everything but what belongs to the leg itself.
fn belongs_to_leg(name: &HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::Contact
            | HeaderName::Route
            | HeaderName::RecordRoute
            | HeaderName::MaxForwards
            | HeaderName::ContentLength
            | HeaderName::ContentType
            | HeaderName::Authorization
            | HeaderName::ProxyAuthorization
            | HeaderName::RAck
            | HeaderName::UserAgent
            | HeaderName::Server
            | HeaderName::Path
            | HeaderName::Date
    )
}
