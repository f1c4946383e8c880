//! Everything there is, the virtual clock, and what happens next.

mod care;
mod faults;
mod links;
mod neighbours;
mod net;
mod nodes;
mod people;
mod watching;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base::Rng;
use node::io::{ConnId, Input};

use crate::gateway::Gateway;
use crate::house;
use crate::pbx::Pbx;
use crate::pipe::{Pipe, Weather};
use crate::trace::Trace;
use crate::ua::SECOND;
use crate::watch::Watch;
use crate::web::Web;

pub use neighbours::Abroad;
pub use people::{Person, SignIn};

/// How many things may happen at one moment before something must be going in circles.
const MOMENT_MAX: u32 = 20_000;

/// How many steps pass between two looks at the nodes' books.
const CHECK_EVERY: u64 = 200;

/// Where a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Between clients and edges.
    Outside,
    /// Between edges and cores.
    Link,
    /// Behind the cores.
    Inside,
}

type Action = Box<dyn FnOnce(&mut World)>;

enum Event {
    Arrive {
        pipe: u64,
        end: usize,
        bytes: Vec<u8>,
    },
    Opened {
        pipe: u64,
        end: usize,
    },
    Gone {
        pipe: u64,
        end: usize,
        why: &'static str,
    },
    Idle {
        pipe: u64,
        end: usize,
    },
    Wake {
        gateway: usize,
        life: u32,
    },
    Dial {
        gateway: usize,
        life: u32,
        edge: usize,
        lane: usize,
    },
    Greet {
        gateway: usize,
        life: u32,
    },
    Input {
        gateway: usize,
        life: u32,
        input: Box<Input>,
    },
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Person(usize),
    Connect(usize),
    Pbx,
    Act(Action),
}

/// How many of each there are, and how they differ.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Edges.
    pub edges: usize,
    /// Cores; each dials every edge.
    pub cores: usize,
    /// Remote clients.
    pub clients: usize,
    /// Inside phones.
    pub phones: usize,
    /// SIP connections of each link.
    pub lanes: usize,
    /// The network: outside, link, inside.
    pub weather: [Weather; 3],
    /// Every other client sits behind NAT.
    pub nat: bool,
    /// Calls of clients outlive their connections.
    pub keeps: bool,
    /// How call control takes registrations.
    pub control: house::Control,
    /// Clocks of nodes differ by up to so many milliseconds.
    pub skew_ms: u64,
    /// Clients and edges speak IPv6; behind the edges all is IPv4.
    pub v6: bool,
    /// A neighbour behind the cores, on a trunk, and a host of a foreign domain.
    pub neighbours: bool,
    /// The neighbour's media is SRTP, and its zone wants nothing else.
    pub secure_trunk: bool,
    /// Two clients at a time share a number.
    pub twins: bool,
    /// A second domain, whose users sign in at an identity provider.
    pub sso: bool,
}

impl Plan {
    /// One of each, in fair weather.
    pub const SMALL: Plan = Plan {
        edges: 1,
        cores: 1,
        clients: 2,
        phones: 2,
        lanes: 1,
        weather: [Weather::FAIR; 3],
        nat: false,
        keeps: false,
        control: house::Control::UnifiedCm,
        skew_ms: 0,
        v6: false,
        neighbours: false,
        secure_trunk: false,
        twins: false,
        sso: false,
    };
}

/// Everything there is.
pub struct World {
    /// Virtual microseconds.
    pub now: u64,
    /// What the run follows from.
    pub seed: u64,
    /// How it is laid out.
    pub plan: Plan,
    /// Nodes: edges first, then cores.
    pub gateways: Vec<Gateway>,
    /// Telephones: clients first, then inside phones.
    pub people: Vec<Person>,
    /// Call control.
    pub pbx: Pbx,
    /// Some node has lost its memory of calls: call control is to end them itself.
    pub forgotten: bool,
    /// Whether call control is dead.
    pub pbx_down: bool,
    /// Directory, administration and DNS.
    pub web: Web,
    /// Sign-ins, by number.
    pub sign_ins: Vec<SignIn>,
    /// What happened.
    pub trace: Trace,
    /// What is true of every message.
    pub watch: Watch,
    /// Bytes that strangers got, by pipe.
    pub strangers: BTreeMap<u64, Vec<u8>>,
    /// What is wrong but expected: a finding that holds one of these is passed over.
    pub tolerated: Vec<&'static str>,
    /// What a host of a foreign domain does when an edge dials it.
    pub abroad: Abroad,
    /// Links that a firewall blocks: edge, core.
    pub blocked: Vec<(usize, usize)>,
    /// Datagrams that reached their listener, and those that met nobody.
    pub datagrams: [u64; 2],
    /// Clients look after themselves.
    pub caring: bool,
    /// Keys that telephones have told: no node tells them to any other.
    pub(crate) told_keys: std::collections::BTreeSet<String>,
    /// What is wrong.
    pub findings: Vec<String>,
    rng: Rng,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pipes: BTreeMap<u64, Pipe>,
    next_pipe: u64,
    pbx_armed: Option<u64>,
    pbx_buffers: BTreeMap<u64, Vec<u8>>,
    moment: (u64, u32),
    ephemeral: u16,
    steps: u64,
}

impl World {
    /// Builds and starts everything.
    pub fn new(seed: u64, plan: Plan) -> World {
        let mut rng = Rng::from_number(seed);
        let whole = std::env::var("SIM_SEED").is_ok();
        let mut world = World {
            now: SECOND,
            seed,
            plan,
            gateways: Vec::new(),
            people: Vec::new(),
            pbx: Pbx::new(house::PBX, house::CLUSTER, rng.fork()),
            pbx_down: false,
            forgotten: false,
            web: Web::new(house::CLUSTER),
            sign_ins: Vec::new(),
            trace: Trace::new(whole),
            watch: Watch::default(),
            strangers: BTreeMap::new(),
            tolerated: Vec::new(),
            abroad: Abroad::Answers,
            blocked: Vec::new(),
            datagrams: [0; 2],
            caring: false,
            told_keys: std::collections::BTreeSet::new(),
            findings: Vec::new(),
            rng,
            queue: BTreeMap::new(),
            next_event: 0,
            pipes: BTreeMap::new(),
            next_pipe: 0,
            pbx_armed: None,
            pbx_buffers: BTreeMap::new(),
            moment: (0, 0),
            ephemeral: 40_000,
            steps: 0,
        };
        for i in 0..plan.edges {
            world
                .gateways
                .push(Gateway::new(&format!("edge{}", i + 1), true, i));
        }
        for i in 0..plan.cores {
            world
                .gateways
                .push(Gateway::new(&format!("core{}", i + 1), false, i));
        }
        world.settle_people();
        world.settle_neighbours();
        for g in 0..world.gateways.len() {
            let skew = world.rng.below(plan.skew_ms * 2 + 1) as i64 - plan.skew_ms as i64;
            world.gateways[g].skew_ms = skew;
            world.start(g);
        }
        world
    }

    /// A number below `bound` that follows from the seed.
    pub fn random(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    /// Does something after so many microseconds.
    pub fn after(&mut self, wait: u64, action: impl FnOnce(&mut World) + 'static) {
        self.schedule(self.now + wait, Event::Act(Box::new(action)));
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.queue
            .insert((at.max(self.now), self.next_event), event);
    }

    /// Lets time pass.
    pub fn run(&mut self, micros: u64) {
        let until = self.now + micros;
        while let Some((&key, _)) = self.queue.iter().next()
            && key.0 <= until
        {
            self.step();
        }
        self.now = until;
    }

    /// Lets time pass until something holds; false if it does not within so many microseconds.
    pub fn run_until(&mut self, micros: u64, mut holds: impl FnMut(&World) -> bool) -> bool {
        let until = self.now + micros;
        loop {
            if holds(self) {
                return true;
            }
            match self.queue.keys().next() {
                Some(key) if key.0 <= until => self.step(),
                _ => {
                    self.now = until;
                    return holds(self);
                }
            }
        }
    }

    fn step(&mut self) {
        let Some((key, event)) = self.queue.pop_first() else {
            return;
        };
        self.now = key.0;
        self.moment = match self.moment {
            (at, count) if at == self.now => (at, count + 1),
            _ => (self.now, 0),
        };
        assert!(
            self.moment.1 < MOMENT_MAX,
            "time stands still: {} events at once",
            MOMENT_MAX
        );
        match event {
            Event::Arrive { pipe, end, bytes } => self.arrive(pipe, end, &bytes),
            Event::Opened { pipe, end } => self.opened(pipe, end),
            Event::Gone { pipe, end, why } => self.gone(pipe, end, why),
            Event::Idle { pipe, end } => self.idle(pipe, end),
            Event::Wake { gateway, life } => self.wake(gateway, life),
            Event::Dial {
                gateway,
                life,
                edge,
                lane,
            } => self.dial(gateway, life, edge, lane),
            Event::Greet { gateway, life } => self.greet(gateway, life),
            Event::Input {
                gateway,
                life,
                input,
            } => {
                if self.gateways[gateway].life == life {
                    self.feed(gateway, *input);
                }
            }
            Event::Datagram { from, to, bytes } => self.datagram(from, to, &bytes),
            Event::Person(i) => self.person_due(i),
            Event::Connect(i) => self.connect(i),
            Event::Pbx => self.pbx_due(),
            Event::Act(action) => action(self),
        }
        self.steps += 1;
        if self.steps.is_multiple_of(CHECK_EVERY) {
            self.balance();
        }
        self.look();
    }

    /// The gateway of an edge.
    pub fn edge(&self, index: usize) -> &Gateway {
        &self.gateways[index]
    }

    /// The gateway of a core.
    pub fn core(&self, index: usize) -> &Gateway {
        &self.gateways[self.plan.edges + index]
    }

    /// Its number among all nodes.
    pub fn core_number(&self, index: usize) -> usize {
        self.plan.edges + index
    }

    /// Collects what anybody found; ends the run at the first thing that is not expected.
    fn look(&mut self) {
        let mut found = std::mem::take(&mut self.findings);
        for person in &mut self.people {
            found.append(&mut person.ua.findings);
        }
        found.append(&mut self.pbx.findings);
        found.append(&mut self.web.findings);
        found.append(&mut self.watch.findings);
        for gateway in &mut self.gateways {
            found.append(&mut gateway.workers.findings);
        }
        found.retain(|f| !self.tolerated.iter().any(|t| f.contains(t)));
        for f in &found {
            self.trace.note(self.now, &format!("FOUND {f}"));
        }
        assert!(found.is_empty(), "{found:#?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in self.trace.lines() {
                eprintln!("{line}");
            }
            eprintln!(
                "seed {} failed at {:.6} s; replay it: SIM_SEED={} cargo test -p causeway-sim",
                self.seed,
                self.now as f64 / SECOND as f64,
                self.seed
            );
        }
    }
}

/// A connection number as the trace writes it.
fn conn_name(conn: ConnId) -> String {
    match conn.0.checked_sub(ConnId::DIALLED) {
        Some(n) => format!("d{n}"),
        None => format!("a{}", conn.0),
    }
}
