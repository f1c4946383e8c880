//! Starting an edge: listeners for clients and for cores.

use std::sync::Arc;

use config::{ClientCertificates, Edge};
use net::http::front;
use net::lane::{EdgeLane, Windows};
use net::ssh;
use net::tls::{self, Live, Trust};
use node::gate::EdgeGate;
use node::io::Side;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Parts, Running, StartFault};
use crate::http_edge::HttpEdge;
use crate::listen::{Caps, Paces};
use crate::media_worker::Role;
use crate::outlets::NodeOutlets;
use crate::questions::{ASKED_MAX, Questions};
use crate::shares::Shares;
use crate::signal::Handle;
use crate::sip_io::Workers;
use crate::sip_listen::SipListener;
use crate::tokens::Tokens;
use crate::trace::Traces;
use crate::xmpp_edge::{Times, XmppEdge};
use crate::{dial, link_sip, link_ssh, link_xmpp};

pub(super) fn start(mut parts: Parts, role: &Edge) -> Result<Running, StartFault> {
    let (handle, posts) = Handle::new();
    let key = ssh::Key::load_or_generate(&parts.data.file("ssh_key"))?;
    let pins = ssh::Pins::default();
    let gate = Live::new(Arc::new(EdgeGate::default()));
    let lanes = Lanes::of(role);
    let (threads, media) = parts.threads(&handle, Role::Edge)?;
    let workers = threads.workers.clone();
    let ssh = ssh::Acceptor::new(&key, pins.clone());
    let ways = Ways {
        handle: handle.clone(),
        workers: workers.clone(),
    };
    serve_cores(&mut parts, role, &ways, ssh, &lanes)?;
    serve_clients(&mut parts, role, &ways, &gate, &lanes)?;

    let identity = node::EdgeIdentity {
        ssh_host_key: key.public().to_string(),
        version: crate::VERSION.into(),
    };
    let (now, rng) = (parts.clock.now(), parts.rng.fork());
    let engine = node::Edge::new(now, rng, &parts.config, identity);
    let (questions, foreign) = match role.business.as_ref().filter(|b| b.call) {
        Some(business) => abroad(&parts, &ways, business)?,
        None => (None, None),
    };
    let outlets = NodeOutlets {
        posted: 0,
        media,
        pins,
        edge_gate: Some(gate),
        core_gate: None,
        questions,
        inside: foreign,
        keeper: None,
        outs: None,
        directories: None,
        servers: None,
        dialled: JoinSet::new(),
    };
    parts.launch(handle, posts, threads, Box::new(engine), outlets)
}

/// What an edge needs that calls foreign domains: DNS, and dialling over TLS.
fn abroad(
    parts: &Parts,
    ways: &Ways,
    business: &config::Business,
) -> Result<(Option<Questions>, Option<dial::Inside>), StartFault> {
    let Some(trusted) = &business.trusted else {
        return Ok((None, None));
    };
    let trusted = trusted.clone();
    let tls = parts.certificates.live(move |loaded| {
        let trust = Trust::load(&trusted)?;
        tls::inside_mutual(&loaded.identity, Some(&trust))
    })?;
    let questions = Questions {
        handle: ways.handle.clone(),
        resolver: parts.resolver.clone(),
        inside: Default::default(),
        checked: tls.clone(),
        // An edge asks nobody inside; what is asked here is checked.
        unchecked: tls.get(),
        permits: Arc::new(Semaphore::new(ASKED_MAX)),
    };
    let foreign = dial::Inside {
        side: Side::Client,
        limits: sip::Limits::outside(),
        handle: ways.handle.clone(),
        workers: ways.workers.clone(),
        resolver: parts.resolver.clone(),
        tls: tls.clone(),
        // Whatever is asked, a foreign domain shows its certificate.
        unchecked: tls,
    };
    Ok((Some(questions), Some(foreign)))
}

/// The names cores may prove, and the lanes of each, in the order of the node's peers.
struct Lanes {
    names: Arc<Vec<String>>,
    http: Arc<[EdgeLane]>,
    xmpp: Arc<[EdgeLane]>,
}

impl Lanes {
    fn of(role: &Edge) -> Self {
        let names: Vec<String> = role
            .zones
            .iter()
            .flat_map(|z| z.verify_names.iter().cloned())
            .collect();
        let lanes = |windows| names.iter().map(|_| EdgeLane::new(windows)).collect();
        let (http, xmpp) = (lanes(Windows::HTTP), lanes(Windows::XMPP));
        Lanes {
            names: Arc::new(names),
            http,
            xmpp,
        }
    }
}

/// Where listeners lead to.
struct Ways {
    handle: Handle,
    workers: Workers,
}

/// 7001, 2222 and 7400.
fn serve_cores(
    parts: &mut Parts,
    role: &Edge,
    ways: &Ways,
    ssh: ssh::Acceptor,
    lanes: &Lanes,
) -> Result<(), StartFault> {
    let handle = &ways.handle;
    let config = |alpn: &'static [&'static [u8]]| {
        let names = lanes.names.clone();
        parts
            .certificates
            .live(move |loaded| tls::link_server(&loaded.identity, &loaded.trust, &names, alpn))
    };
    let sip = link_sip::Acceptor {
        handle: handle.clone(),
        workers: ways.workers.clone(),
        config: config(&[traversal::ALPN, link_sip::ALPN_SIP])?,
        names: lanes.names.clone(),
    };
    let http = link_ssh::Acceptor {
        handle: handle.clone(),
        ssh,
        lanes: lanes.http.clone(),
    };
    let xmpp = link_xmpp::Acceptor {
        handle: handle.clone(),
        config: config(&[link_xmpp::ALPN])?,
        names: lanes.names.clone(),
        lanes: lanes.xmpp.clone(),
    };
    let stop = parts.stop.subscribe();
    let at = &role.traversal;
    let listener = parts.listen("SIP and control of cores", at.sip)?;
    parts.tasks.spawn(sip.run(listener, stop.clone()));
    let listener = parts.listen("HTTP of cores", at.ssh)?;
    parts.tasks.spawn(http.run(listener, stop.clone()));
    let listener = parts.listen("XMPP of cores", at.xmpp)?;
    parts.tasks.spawn(xmpp.run(listener, stop));
    Ok(())
}

/// What SIP clients meet: they are asked for a certificate if that is configured.
fn sip_config(parts: &Parts, role: &Edge) -> Result<Live<rustls::ServerConfig>, net::Error> {
    let asked = role.sip_client_certificates.clone();
    parts.certificates.live(move |loaded| {
        let (path, required) = match &asked {
            ClientCertificates::Off => return tls::client_facing(&loaded.identity, &[]),
            ClientCertificates::Request(path) => (path, false),
            ClientCertificates::Require(path) => (path, true),
        };
        let authorities = Trust::load(path)?;
        tls::client_asking(&loaded.identity, &authorities, required, &[])
    })
}

/// 8443, 5061 and 5222.
fn serve_clients(
    parts: &mut Parts,
    role: &Edge,
    ways: &Ways,
    gate: &Live<EdgeGate>,
    lanes: &Lanes,
) -> Result<(), StartFault> {
    let handle = &ways.handle;
    let config = |alpn: &'static [&'static [u8]]| {
        parts
            .certificates
            .live(move |loaded| tls::client_facing(&loaded.identity, alpn))
    };
    let caps = Caps {
        total: role.connections_max,
        per_source: role.connections_per_source_max,
        paces: Some(Paces {
            total: role.rates.handshakes,
            per_source: role.rates.handshakes_per_source,
            burst: role.rates.burst,
        }),
    };
    let name: Arc<str> = parts.config.fqdn().into();
    let https = HttpEdge {
        handle: handle.clone(),
        clock: parts.clock,
        config: config(&front::ALPN)?,
        gate: gate.clone(),
        lanes: lanes.http.clone(),
        name: name.clone(),
        caps,
        limits: front::Limits::default(),
        // Traces of one run are told from those of the next.
        traces: Arc::new(Traces::start()?),
        shares: Shares::default(),
        tokens: Tokens::default(),
    };
    let sip = SipListener {
        handle: handle.clone(),
        workers: ways.workers.clone(),
        side: Side::Client,
        proving: None,
        tls: Some(sip_config(parts, role)?),
        limits: sip::Limits::outside(),
        caps,
    };
    let xmpp = XmppEdge {
        handle: handle.clone(),
        config: config(&crate::xmpp_edge::ALPN)?,
        gate: gate.clone(),
        lanes: lanes.xmpp.clone(),
        name,
        caps,
        times: Times::default(),
        streams: Arc::default(),
    };
    let stop = parts.stop.subscribe();
    for address in &role.https.listen {
        let listener = parts.listen("HTTPS of clients", *address)?;
        parts.tasks.spawn(https.clone().run(listener, stop.clone()));
    }
    for address in &role.sip.listen {
        let listener = parts.listen("SIP of clients", *address)?;
        parts.tasks.spawn(sip.clone().run(listener, stop.clone()));
    }
    for address in &role.xmpp.listen {
        let listener = parts.listen("XMPP of clients", *address)?;
        parts.tasks.spawn(xmpp.clone().run(listener, stop.clone()));
    }
    Ok(())
}
