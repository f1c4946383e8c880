//! A user agent: registers, calls, answers; a remote client's telephone or one inside.
//!
//! It sends everything to one place, its uplink (the edge for a remote client, Unified CM for a
//! telephone inside), as outbound user agents do (RFC 5626), and takes requests by any connection
//! of its [`Stack`]. Calls come in through [`Agent::next_call`], answered, if the profile says so.
//! Bounds: 16 calls at a time, more are refused with 486.

mod aside;
mod call;
mod credentials;
mod overlap;
mod registration;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use sipx_sip::{HeaderName, Method, Request, Response};
use tokio::sync::{Notify, mpsc};

pub(crate) use aside::Notice;
pub(crate) use call::Call;

use self::call::Manner;
use self::credentials::Credentials;
use super::message;
use super::stack::{Answers, Flow, Incoming, Stack};

const CALLS: usize = 16;
/// How long it rings before it answers.
const RINGING: Duration = Duration::from_millis(150);

/// Who an agent is and how it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// Its directory number.
    pub(crate) extension: String,
    /// The domain of its address.
    pub(crate) domain: String,
    /// Name and password for a digest.
    pub(crate) credentials: Option<(String, String)>,
    /// A token to show beside them (RFC 8898).
    pub(crate) bearer: Option<String>,
    /// The device that it says it is, as Unified CM knows it.
    pub(crate) device: Option<String>,
    /// Where it sends everything, and the name the certificate there must show; a name asks for
    /// TLS.
    pub(crate) uplink: (SocketAddr, Option<String>),
    /// A route that it puts before everything outside dialogs.
    pub(crate) route: Option<String>,
    /// Where it takes media.
    pub(crate) media: IpAddr,
    /// Whether media is SRTP.
    pub(crate) secure: bool,
    /// The tone it sends.
    pub(crate) hz: f64,
    /// The port it listens on, to put into its Contact; `None` uses the connection's.
    pub(crate) port: Option<u16>,
}

/// The agent; clones share it.
#[derive(Clone)]
pub(crate) struct Agent(Arc<Inner>);

struct Inner {
    stack: Stack,
    profile: Profile,
    /// User part of the Contact, and the instance (RFC 5626 §4.1).
    contact: String,
    credentials: tokio::sync::Mutex<Credentials>,
    registration: tokio::sync::Mutex<registration::State>,
    calls: Mutex<HashMap<String, Entry>>,
    notices: Mutex<Vec<Notice>>,
    arrived: mpsc::Sender<Call>,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Call>>,
}

/// A call in the agent's table.
enum Entry {
    Ringing(Arc<Notify>),
    /// Its number's last digits are still to come.
    Dialling(Arc<overlap::Dialling>),
    Standing(Call),
}

impl Agent {
    /// An agent on that stack, which gives its incoming requests to nobody else.
    pub(crate) fn start(
        stack: Stack,
        mut incoming: mpsc::Receiver<Incoming>,
        profile: Profile,
    ) -> Agent {
        let (arrived, arrivals) = mpsc::channel(CALLS);
        let agent = Agent(Arc::new(Inner {
            stack: stack.clone(),
            contact: registration::uuid(),
            credentials: tokio::sync::Mutex::new(Credentials::new(&profile)),
            registration: tokio::sync::Mutex::default(),
            calls: Mutex::default(),
            notices: Mutex::default(),
            arrived,
            arrivals: tokio::sync::Mutex::new(arrivals),
            profile,
        }));
        let taking = agent.clone();
        stack.spawn(async move {
            while let Some(request) = incoming.recv().await {
                taking.take(request).await;
            }
        });
        agent
    }

    /// Who it is.
    pub(crate) fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// Its stack.
    pub(crate) fn stack(&self) -> &Stack {
        &self.0.stack
    }

    /// Calls a number of its own domain, or a whole URI, and waits for the answer.
    ///
    /// # Errors
    /// Refused, with status and reason, or no media could be agreed on.
    pub(crate) async fn call(&self, number: &str) -> Result<Call> {
        call::place(self, number, Manner::default()).await
    }

    /// The same, with a picture beside the sound.
    ///
    /// # Errors
    /// As of [`Agent::call`].
    pub(crate) async fn call_with_video(&self, number: &str) -> Result<Call> {
        let manner = Manner {
            video: true,
            ..Manner::default()
        };
        call::place(self, number, manner).await
    }

    /// Calls with the first digits of a number; the others follow as key presses when they are
    /// asked for (RFC 4730).
    ///
    /// # Errors
    /// As of [`Agent::call`].
    pub(crate) async fn call_overlapped(&self, first: &str, rest: &str) -> Result<Call> {
        overlap::place(self, first, rest).await
    }

    /// The same with a late offer: the other side makes it, the ACK brings our answer.
    ///
    /// # Errors
    /// As of [`Agent::call`].
    pub(crate) async fn call_late(&self, number: &str) -> Result<Call> {
        let manner = Manner {
            late: true,
            ..Manner::default()
        };
        call::place(self, number, manner).await
    }

    /// The next call that came in and was answered.
    pub(crate) async fn next_call(&self, patience: Duration) -> Result<Call> {
        let mut arrivals = self.0.arrivals.lock().await;
        let call = tokio::time::timeout(patience, arrivals.recv()).await;
        call.with_context(|| format!("no call came in {patience:?}"))?
            .context("the agent ended")
    }

    /// Calls that stand.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let calls = self.calls_table();
        let standing = calls.values().filter_map(|entry| match entry {
            Entry::Standing(call) => Some(call.clone()),
            Entry::Ringing(_) | Entry::Dialling(_) => None,
        });
        standing.collect()
    }

    /// The connection to the uplink, dialed if need be.
    pub(crate) async fn uplink(&self) -> Result<Flow> {
        let (address, name) = &self.0.profile.uplink;
        self.0.stack.connect(*address, name.as_deref()).await
    }

    /// Its address of record.
    pub(crate) fn address(&self) -> String {
        format!("sip:{}@{}", self.0.profile.extension, self.0.profile.domain)
    }

    /// The user part of its Contact, and its instance.
    pub(crate) fn contact_user(&self) -> &str {
        &self.0.contact
    }

    /// Its Contact URI on that connection.
    fn contact(&self, flow: &Flow) -> String {
        let port = self.0.profile.port.unwrap_or(flow.local.port());
        let place = SocketAddr::new(flow.local.ip(), port);
        let transport = if flow.secure { "tls" } else { "tcp" };
        format!("sip:{}@{place};transport={transport}", self.0.contact)
    }

    /// A request outside dialogs, as this agent writes it.
    fn request(
        &self,
        method: Method,
        target: &str,
        to: &str,
        call_id: &str,
        number: u32,
    ) -> Result<Request> {
        let mut request = Request::new(method.clone(), message::uri(target)?);
        let headers = &mut request.headers;
        if let Some(route) = &self.0.profile.route {
            message::add(headers, HeaderName::Route, route.clone())?;
        }
        let from = format!("<{}>;tag={}", self.address(), message::token(8));
        message::add(headers, HeaderName::From, from)?;
        message::add(headers, HeaderName::To, format!("<{to}>"))?;
        message::add(headers, HeaderName::CallId, call_id.to_owned())?;
        message::add(headers, HeaderName::CSeq, format!("{number} {method}"))?;
        Ok(request)
    }

    /// Sends a request and its likes with credentials until it is answered with something else than
    /// a challenge; `on_progress` sees provisional answers.
    async fn send(&self, flow: &Flow, request: Request) -> Result<(Answers, Response)> {
        self.send_watched(flow, request, |_, _| ()).await
    }

    /// The same; provisional answers are shown.
    async fn send_watched(
        &self,
        flow: &Flow,
        mut request: Request,
        on_progress: impl Fn(&Request, &Response),
    ) -> Result<(Answers, Response)> {
        for _ in 0..3 {
            self.0.credentials.lock().await.sign(&mut request)?;
            let mut answers = self.0.stack.request(flow, request.clone()).await?;
            let response = loop {
                let response = answers.next().await?;
                if response.status.is_final() {
                    break response;
                }
                on_progress(answers.request(), &response);
            };
            if !matches!(response.status.code(), 401 | 407) {
                return Ok((answers, response));
            }
            if !self.0.credentials.lock().await.challenged(&response)? {
                return Ok((answers, response));
            }
            let number = message::sequence(&request.headers).unwrap_or(0) + 1;
            let cseq = format!("{number} {}", request.method);
            message::replace(&mut request.headers, HeaderName::CSeq, &cseq)?;
        }
        anyhow::bail!("{}: challenged again and again", request.method)
    }

    async fn take(&self, incoming: Incoming) {
        let outcome = match incoming.request.method {
            Method::Invite if message::is_initial(&incoming.request) => self.ring(incoming).await,
            Method::Cancel => self.cancelled(incoming).await,
            Method::Ack => self.acknowledged(&incoming).await,
            _ if message::is_initial(&incoming.request) => self.aside(incoming).await,
            _ => self.within(incoming).await,
        };
        // What cannot be answered has no one to tell; the peer's transaction times out.
        let _ = outcome;
    }

    /// A new call: rings, then answers.
    async fn ring(&self, incoming: Incoming) -> Result<()> {
        let id = message::call_id(&incoming.request.headers);
        let cancel = Arc::new(Notify::new());
        let known = {
            let mut calls = self.calls_table();
            if calls.len() < CALLS && !calls.contains_key(&id) {
                calls.insert(id.clone(), Entry::Ringing(Arc::clone(&cancel)));
                true
            } else {
                false
            }
        };
        if !known {
            return self.0.stack.refuse(&incoming, 486, "Busy Here").await;
        }
        let agent = self.clone();
        self.0.stack.spawn(async move {
            if let Err(_refused) = call::answer(&agent, incoming, &cancel, RINGING).await {
                agent.calls_table().remove(&id);
            }
        });
        Ok(())
    }

    async fn cancelled(&self, incoming: Incoming) -> Result<()> {
        let id = message::call_id(&incoming.request.headers);
        let ringing = match self.calls_table().get(&id) {
            Some(Entry::Ringing(cancel)) => {
                cancel.notify_one();
                true
            }
            _ => false,
        };
        let (code, reason) = if ringing {
            (200, "OK")
        } else {
            (481, "Call/Transaction Does Not Exist")
        };
        self.0.stack.refuse(&incoming, code, reason).await
    }

    async fn acknowledged(&self, incoming: &Incoming) -> Result<()> {
        match self.standing(&incoming.request) {
            Some(call) => call.acknowledged(&incoming.request).await,
            None => Ok(()),
        }
    }

    async fn within(&self, incoming: Incoming) -> Result<()> {
        if let Some(dialling) = self.dialling(&incoming.request) {
            return self.pressed_for(&dialling, incoming).await;
        }
        match self.standing(&incoming.request) {
            Some(call) => call.take(incoming).await,
            None => {
                self.0
                    .stack
                    .refuse(&incoming, 481, "Call/Transaction Does Not Exist")
                    .await
            }
        }
    }

    fn standing(&self, request: &Request) -> Option<Call> {
        match self.calls_table().get(&message::call_id(&request.headers)) {
            Some(Entry::Standing(call)) => Some(call.clone()),
            _ => None,
        }
    }

    fn calls_table(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
