//! Starting a core: dialling edges, listening for call control, asking inside.

use std::sync::Arc;

use config::{Core, Peer};
use net::http::inside::Inside;
use net::ssh;
use net::tls::{self, Live};
use node::gate::CoreGate;
use node::io::Side;
use policy::token::TokenKey;
use rustls::ClientConfig;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::{Parts, Running, StartFault};
use crate::directory::Directories;
use crate::guard::{self, Guard};
use crate::http_core::HttpCore;
use crate::keeper::{self, Keeper};
use crate::known_servers::Servers;
use crate::listen::Caps;
use crate::media_worker::Role;
use crate::outlets::NodeOutlets;
use crate::questions::{ASKED_MAX, Questions};
use crate::signal::Handle;
use crate::sip_io::Workers;
use crate::sip_listen::SipListener;
use crate::tokens::Tokens;
use crate::trace::Traces;
use crate::xmpp_core::{Times, XmppCore};
use crate::{allow_ledger, dial, files, link_sip, link_ssh, link_xmpp};

/// Sign-outs that a chat stream may not have heard yet.
const OUTS_WAITING_MAX: usize = 2_048;

/// SIP connections that a core keeps with each edge.
const SIP_LANES: usize = 2;

pub(super) fn start(mut parts: Parts, role: &Core) -> Result<Running, StartFault> {
    let (handle, posts) = Handle::new();
    let key = ssh::Key::load_or_generate(&parts.data.file("ssh_key"))?;
    let token_seed = parts.data.seed("token_key", &mut parts.rng)?;
    let token_key = TokenKey::from_seed(token_seed.expose()).ok_or_else(|| StartFault::System {
        what: "the session token key",
        source: std::io::Error::other("the seed is refused"),
    })?;
    let users = match &role.credentials.file {
        Some(path) => Some(files::text("credentials file", path)?),
        None => None,
    };
    let cleanup = role.credentials.cleanup;
    let (keeper, restored) = Keeper::open(&parts.data, &mut parts.rng, parts.clock, cleanup)?;
    let (servers, known) = Servers::open(&parts.data, &mut parts.rng)?;
    let (counted, ledger) = allow_ledger::Store::open(&parts.data, &mut parts.rng)?;
    let own = parts.certificates.now().identity.certificate();
    let names = own.map(|c| c.dns_names);
    let identity = node::CoreIdentity {
        ssh_key: key.public().to_string(),
        version: crate::VERSION.into(),
        token_seed,
        users,
        kept: restored.kept,
        signed_out: restored.signed_out,
        servers: known,
        certificate_names: names.unwrap_or_default(),
    };
    let (now, rng) = (parts.clock.now(), parts.rng.fork());
    let engine = node::Core::new(now, rng, &parts.config, identity);
    let (threads, media) = parts.threads(&handle, Role::Core)?;
    let workers = threads.workers.clone();
    let web = Web::of(&parts)?;
    let gate = Live::new(Arc::new(CoreGate::closed(token_key.public())));
    let guard = Guard::new(
        gate.clone(),
        parts.resolver.clone(),
        guard::never(&parts.config),
        parts.clock,
        ledger,
    );
    parts.tasks.spawn(counted.run(parts.stop.subscribe()));
    let (outs, _) = broadcast::channel(OUTS_WAITING_MAX);
    let lanes = Lanes {
        workers: workers.clone(),
        key,
        pins: ssh::Pins::default(),
        http: web.http(&parts, &handle, &gate, guard.clone()),
        xmpp: XmppCore {
            handle: handle.clone(),
            gate: gate.clone(),
            resolver: parts.resolver.clone(),
            trust: parts
                .certificates
                .live(|loaded| Ok(Arc::new(loaded.trust.clone())))?,
            unchecked: web.unchecked.clone(),
            times: Times::default(),
            outs: outs.clone(),
            streams: Arc::default(),
            stop: parts.stop.subscribe(),
        },
    };
    listen(&mut parts, role, &handle, &workers)?;
    for (index, peer) in role.peers.iter().enumerate() {
        lanes.keep(&mut parts, &handle, index, peer)?;
    }
    let call_control = dial::Inside {
        side: Side::Inside,
        limits: sip::Limits::trusted(),
        handle: handle.clone(),
        workers: workers.clone(),
        resolver: parts.resolver.clone(),
        tls: parts
            .certificates
            .live(|loaded| tls::inside_mutual(&loaded.identity, Some(&loaded.trust)))?,
        unchecked: parts
            .certificates
            .live(|loaded| tls::inside_mutual(&loaded.identity, None))?,
    };
    if let Some(cause) = restored.lost {
        keeper::tell(&handle, cause);
    }
    let (to_keeper, records) = mpsc::channel(keeper::WAITING_MAX);
    let reports = handle.clone();
    parts
        .tasks
        .spawn_blocking(move || keeper.run(&reports, records));
    let tls = &web.checked;
    let directories = Directories::new(&handle, &role.domains, &parts.resolver, tls);
    let watching = directories.clone().watch(parts.stop.subscribe());
    parts.tasks.spawn(watching);
    let (to_servers, records) = watch::channel(None);
    parts.tasks.spawn(servers.run(records));
    let outlets = NodeOutlets {
        posted: 0,
        media,
        pins: lanes.pins,
        edge_gate: None,
        core_gate: Some(gate),
        questions: Some(web.questions(&parts, &handle)),
        inside: Some(call_control),
        keeper: Some(to_keeper),
        outs: Some(outs),
        directories: Some(directories),
        servers: Some(to_servers),
        dialled: JoinSet::new(),
    };
    let running = parts.launch(handle, posts, threads, Box::new(engine), outlets)?;
    Ok(Running {
        guard: Some(guard),
        ..running
    })
}

/// How inside web servers are asked.
struct Web {
    inside: Inside,
    checked: Live<ClientConfig>,
    unchecked: Arc<ClientConfig>,
    traces: Arc<Traces>,
    tokens: Tokens,
}

impl Web {
    fn of(parts: &Parts) -> Result<Self, StartFault> {
        Ok(Web {
            inside: Inside::default(),
            checked: parts
                .certificates
                .live(|loaded| tls::inside_client(Some(&loaded.trust), &[]))?,
            unchecked: tls::inside_client(None, &[])?,
            traces: Arc::new(Traces::start()?),
            tokens: Tokens::default(),
        })
    }

    fn http(
        &self,
        parts: &Parts,
        handle: &Handle,
        gate: &Live<CoreGate>,
        guard: Guard,
    ) -> HttpCore {
        HttpCore {
            handle: handle.clone(),
            clock: parts.clock,
            gate: gate.clone(),
            guard,
            inside: self.inside.clone(),
            checked: self.checked.clone(),
            unchecked: self.unchecked.clone(),
            traces: self.traces.clone(),
            tokens: self.tokens.clone(),
        }
    }

    fn questions(&self, parts: &Parts, handle: &Handle) -> Questions {
        Questions {
            handle: handle.clone(),
            resolver: parts.resolver.clone(),
            inside: self.inside.clone(),
            checked: self.checked.clone(),
            unchecked: self.unchecked.clone(),
            permits: Arc::new(Semaphore::new(ASKED_MAX)),
        }
    }
}

/// Where call control reaches the core.
fn listen(
    parts: &mut Parts,
    role: &Core,
    handle: &Handle,
    workers: &Workers,
) -> Result<(), StartFault> {
    // Call control is one source, and opens a connection for each of its nodes and lines.
    let caps = Caps {
        total: 8192,
        per_source: 4096,
        paces: None,
    };
    let plain = SipListener {
        handle: handle.clone(),
        workers: workers.clone(),
        side: Side::Inside,
        tls: None,
        proving: None,
        limits: sip::Limits::trusted(),
        caps,
    };
    let secure = SipListener {
        tls: Some(
            parts
                .certificates
                .live(|loaded| tls::inside_facing(&loaded.identity))?,
        ),
        proving: Some(parts.certificates.clone()),
        ..plain.clone()
    };
    let all = role.sip.iter().map(|a| ("SIP of call control", *a, &plain));
    let all = all.chain(
        role.sip_tls
            .iter()
            .map(|a| ("SIP of call control, TLS", *a, &secure)),
    );
    for (what, address, service) in all {
        let listener = parts.listen(what, address)?;
        let stop = parts.stop.subscribe();
        parts.tasks.spawn(service.clone().run(listener, stop));
    }
    Ok(())
}

/// What runs on the lanes to edges.
struct Lanes {
    workers: Workers,
    key: ssh::Key,
    pins: ssh::Pins,
    http: HttpCore,
    xmpp: XmppCore,
}

impl Lanes {
    /// Keeps the lanes to one edge up.
    fn keep(
        &self,
        parts: &mut Parts,
        handle: &Handle,
        index: usize,
        peer: &Peer,
    ) -> Result<(), StartFault> {
        let certificates = parts.certificates.clone();
        let config = |alpn: &'static [u8]| {
            let name = peer.verify_name.clone();
            certificates.live(move |loaded| {
                tls::link_client(&loaded.identity, &loaded.trust, &name, &[alpn])
            })
        };
        let sip = link_sip::Dialer {
            handle: handle.clone(),
            workers: self.workers.clone(),
            resolver: parts.resolver.clone(),
            peer: index,
            host: peer.dial.clone(),
            port: peer.sip_port,
            verify_name: peer.verify_name.clone(),
            from: None,
            control: config(traversal::ALPN)?,
            sip: config(link_sip::ALPN_SIP)?,
        };
        let http = self.http.clone();
        let ssh = link_ssh::Dialer {
            handle: handle.clone(),
            resolver: parts.resolver.clone(),
            peer: index,
            host: peer.dial.clone(),
            port: peer.ssh_port,
            from: None,
            key: self.key.clone(),
            pins: self.pins.clone(),
            service: move |peer, request| http.clone().answer(peer, request),
        };
        let xmpp = self.xmpp.clone();
        let chat = link_xmpp::Dialer {
            handle: handle.clone(),
            resolver: parts.resolver.clone(),
            peer: index,
            host: peer.dial.clone(),
            port: peer.xmpp_port,
            verify_name: peer.verify_name.clone(),
            from: None,
            config: config(link_xmpp::ALPN)?,
            service: move |peer, request| xmpp.clone().answer(peer, request),
        };
        let stop = parts.stop.subscribe();
        parts.tasks.spawn(sip.clone().run_control(stop.clone()));
        for _ in 0..SIP_LANES {
            parts.tasks.spawn(sip.clone().run_sip(stop.clone()));
        }
        parts.tasks.spawn(ssh.run(stop.clone()));
        parts.tasks.spawn(chat.run(stop));
        Ok(())
    }
}
