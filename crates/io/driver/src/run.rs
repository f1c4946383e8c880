//! A node from its configuration to its last word.
//!
//! [`start`] opens everything that can fail (files, certificates, listeners) before anything
//! runs, so that a node either stands or says what is wrong. The parts that differ by role are
//! in `edge` and `core`.

mod core;
mod edge;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::Rng;
use config::Config;
use net::dns::Resolver;
use net::tls::Live;
use node::Engine;
use node::gate::{CoreGate, EdgeGate};
use node::io::Input;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use traversal::DomainOffer;

use crate::certificates::{self, Certificates, NotTaken};
use crate::files::{DataFolder, FileFault};
use crate::guard::Guard;
use crate::media_worker::{self, Role, Settings, Workers as Media};
use crate::outlets::NodeOutlets;
use crate::signal::{self, Clock, Handle, Post, Reports};
use crate::sip_io::{Desk, Workers};

/// How long tasks get to end by themselves.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// A password, key or the data folder.
    #[error(transparent)]
    File(#[from] FileFault),
    /// An address to listen on, the system's DNS settings.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// Certificate, key or trust.
    #[error(transparent)]
    Certificate(#[from] NotTaken),
    /// The operating system.
    #[error("{what}: {source}")]
    System {
        /// What was wanted of it.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// A line of the credentials file.
    #[error("credentials file {path}: {cause}")]
    Credentials {
        /// The file.
        path: std::path::PathBuf,
        /// The line and what is wrong with it.
        cause: String,
    },
}

/// A node that runs.
pub struct Running {
    /// The way to the node.
    pub handle: Handle,
    /// The node's certificate, key and trust.
    pub certificates: Certificates,
    /// What the node knows beside its configuration of the names that its certificate needs.
    pub gates: Gates,
    /// Addresses it listens on, with what for.
    pub listening: Vec<(&'static str, SocketAddr)>,
    /// The node's clock.
    pub clock: Clock,
    /// Where clients' HTTP requests may lead; an edge has none.
    pub guard: Option<Guard>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    signal: std::thread::JoinHandle<()>,
    data: DataFolder,
}

impl Running {
    /// Becomes true when the node stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// A file in the data folder.
    pub fn data_file(&self, name: &str) -> std::path::PathBuf {
        self.data.file(name)
    }

    /// Waits for a part to fail; never returns while all is well.
    pub async fn failed(&mut self) -> String {
        loop {
            match self.tasks.join_next().await {
                Some(Err(e)) if e.is_panic() => return format!("a task failed: {e}"),
                Some(_) => {}
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// Stops in good order.
    pub async fn stop(mut self) {
        // Nobody listening any more is what is wanted.
        let _ = self.handle.post(Post::Stop).await;
        let _ = self.stop.send(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, ended).await.is_err() {
            tracing::debug!("some tasks did not end in time");
        }
        self.tasks.shutdown().await;
        if tokio::task::spawn_blocking(move || self.signal.join())
            .await
            .is_err()
        {
            tracing::warn!("the signalling thread did not end well");
        }
    }
}

/// What a node's tasks read of it, of which an administrator reads the domains.
#[derive(Clone, Default)]
pub struct Gates {
    edge: Option<Live<EdgeGate>>,
    core: Option<Live<CoreGate>>,
}

impl Gates {
    /// The domains that are served now: an edge's as its cores told them.
    pub fn domains(&self) -> Vec<DomainOffer> {
        let mut all: Vec<DomainOffer> = Vec::new();
        if let Some(gate) = &self.edge {
            let gate = gate.get();
            all.extend(gate.cores.iter().flat_map(|core| core.domains.clone()));
        }
        if let Some(gate) = &self.core {
            all.extend(gate.get().domains.clone());
        }
        all.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        all.dedup_by(|a, b| a.name == b.name);
        all
    }
}

/// Starts a node, in the data folder of its configuration.
///
/// # Errors
/// [`StartFault`], before anything runs.
pub async fn start(config: Config) -> Result<Running, StartFault> {
    let data = DataFolder::open(&config.data)?;
    start_in(data, config).await
}

/// Starts a node in a data folder that this process holds.
///
/// # Errors
/// [`StartFault`], before anything runs.
pub async fn start_in(data: DataFolder, config: Config) -> Result<Running, StartFault> {
    let config = crate::files::with_passwords(config)?;
    let seed = net::random_seed()?;
    let mut rng = Rng::from_seed(seed);
    base::privacy::set_key(rng.array());
    base::hash::set_key(rng.u64());
    let config = Arc::new(config);
    let parts = Parts {
        certificates: Certificates::open(&config)?,
        data,
        resolver: Resolver::new(&config.dns, rng.fork())?,
        clock: Clock::start(),
        rng,
        stop: watch::Sender::new(false),
        tasks: JoinSet::new(),
        listening: Vec::new(),
        config,
    };
    match parts.config.role.clone() {
        config::Role::Edge(role) => edge::start(parts, &role),
        config::Role::Core(role) => core::start(parts, &role),
    }
}

/// Hands a running node a changed configuration, of which it takes up what it can without ending a
/// call or a registration. What it cannot must be in it as it was at the start.
///
/// # Errors
/// [`FileFault`] if a file that it names cannot be read: then nothing is changed.
pub async fn configure(handle: &Handle, config: Config) -> Result<(), FileFault> {
    let config = Arc::new(crate::files::with_passwords(config)?);
    // A node that is stopping needs no settings.
    let _ = handle.input(Input::Configured(config)).await;
    Ok(())
}

/// What carries SIP, and media's reports.
struct Threads {
    workers: Workers,
    desk: Desk,
    reports: Arc<Reports>,
}

/// What both roles are made of.
struct Parts {
    config: Arc<Config>,
    certificates: Certificates,
    data: DataFolder,
    resolver: Resolver,
    clock: Clock,
    rng: Rng,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    listening: Vec<(&'static str, SocketAddr)>,
}

impl Parts {
    /// Listens, and remembers it for the log.
    fn listen(&mut self, what: &'static str, at: SocketAddr) -> Result<TcpListener, StartFault> {
        let listener = net::socket::listen(at)?;
        self.listening.push((what, at));
        Ok(listener)
    }

    /// Starts the threads of SIP connections and of media, but for signalling.
    fn threads(&mut self, handle: &Handle, role: Role) -> Result<(Threads, Media), StartFault> {
        let fault = |what| move |source| StartFault::System { what, source };
        let (workers, desk, runs) =
            Workers::new(handle).map_err(fault("the threads of SIP connections"))?;
        let reports = Arc::new(Reports::new(desk.bell()));
        let told = reports.clone();
        let media = media_worker::start(Settings::new(role), move |event| told.tell(event))
            .map_err(fault("the media threads"))?;
        for run in runs {
            self.tasks.spawn_blocking(run);
        }
        let threads = Threads {
            workers,
            desk,
            reports,
        };
        Ok((threads, media))
    }

    /// Starts the thread that owns the node; everything else is running or about to.
    fn launch(
        mut self,
        handle: Handle,
        posts: tokio::sync::mpsc::Receiver<Post>,
        threads: Threads,
        engine: Box<dyn Engine>,
        outlets: NodeOutlets,
    ) -> Result<Running, StartFault> {
        let watching = crate::host_clock::watch(handle.clone(), self.stop.subscribe());
        self.tasks.spawn(watching);
        let watching = certificates::watch(
            self.certificates.clone(),
            handle.clone(),
            self.clock,
            self.stop.subscribe(),
        );
        self.tasks.spawn(watching);
        let (runtime, clock) = (tokio::runtime::Handle::current(), self.clock);
        let gates = Gates {
            edge: outlets.edge_gate.clone(),
            core: outlets.core_gate.clone(),
        };
        let (ended, end) = oneshot::channel();
        self.tasks.spawn(async move {
            // Without its node a program is of no use; `Running::failed` tells of this task's end.
            assert!(end.await.is_ok(), "the signalling thread has panicked");
        });
        let signal = std::thread::Builder::new()
            .name("signalling".into())
            .spawn(move || {
                let _within = runtime.enter();
                signal::run(
                    engine,
                    clock,
                    posts,
                    outlets,
                    threads.desk,
                    &threads.reports,
                );
                threads.workers.stop();
                // Nobody who listens any more is stopping as well.
                let _ = ended.send(());
            })
            .map_err(|source| StartFault::System {
                what: "the signalling thread",
                source,
            })?;
        Ok(Running {
            handle,
            certificates: self.certificates,
            gates,
            clock: self.clock,
            listening: self.listening,
            guard: None,
            stop: self.stop,
            tasks: self.tasks,
            signal,
            data: self.data,
        })
    }
}
