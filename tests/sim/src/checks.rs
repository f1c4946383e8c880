//! What must hold when everything has come to an end, and how many seeds a scenario runs under.

use std::cell::RefCell;

use crate::ua::{Phase, SECOND};
use crate::world::{Plan, World};

/// Tables that need not be empty when nobody is left: they forget in a longer time of their own.
pub const STAYS: [&str; 5] = [
    "names of zones",
    "digests seen",
    "departed flows",
    "former flows",
    "departures",
];

impl World {
    /// Two telephones have a call with one another, and hear one another from now on.
    pub fn in_call(&self, a: usize, b: usize) -> bool {
        let up = |person: usize| {
            let ua = &self.people[person].ua;
            ua.last().is_some_and(|i| {
                let call = &ua.calls[i];
                call.phase == Phase::Up && call.media.fresh >= 3
            })
        };
        up(a) && up(b)
    }

    /// Whether somebody is registered, by his own account.
    pub fn registered(&self, person: usize) -> bool {
        self.people[person].ua.registration.standing == crate::ua::Standing::Up
    }

    /// Whether every link stands.
    pub fn all_linked(&self) -> bool {
        (0..self.plan.edges).all(|e| (0..self.plan.cores).all(|c| self.linked(e, c)))
    }

    /// Starts a link, signs clients in and registers them.
    ///
    /// # Panics
    /// If one of them does not succeed.
    pub fn ready(&mut self) {
        assert!(
            self.run_until(30 * SECOND, World::all_linked),
            "the links do not come up"
        );
        // Discovery, and the first state of every zone.
        self.run(2 * SECOND);
        for i in 0..self.plan.clients {
            let n = self.sign_in(i, None);
            let answered = self.run_until(40 * SECOND, |w| w.sign_ins[n].reply.is_some());
            let status = self.sign_ins[n].reply.as_ref().map(|r| r.status);
            assert!(answered && status == Some(200), "sign-in: {status:?}");
            self.people[i].stays = true;
            self.people[i].ua.registration.wanted = true;
            self.connect(i);
        }
        let all = self.plan.clients + self.plan.phones;
        let up = self.run_until(40 * SECOND, |w| (0..all).all(|i| w.registered(i)));
        let standing: Vec<_> = self
            .people
            .iter()
            .map(|p| (&p.ua.setup.name, &p.ua.registration.standing))
            .collect();
        assert!(up, "not everybody is registered: {standing:?}");
    }

    /// Everybody hangs up, unregisters and leaves; then nothing may be left anywhere.
    ///
    /// # Panics
    /// If something is left.
    pub fn quiet(&mut self) {
        for (edge, core) in self.blocked.clone() {
            self.unblock(edge, core);
        }
        self.caring = false;
        self.everyone_hangs_up();
        self.run(70 * SECOND);
        if self.forgotten {
            self.call_control_hangs_up();
            self.run(40 * SECOND);
        }
        for i in 0..self.people.len() {
            self.people[i].stays = false;
            self.with(i, |ua, now| ua.unregister(now));
        }
        self.run(5 * SECOND);
        for i in 0..self.people.len() {
            self.disconnect(i);
        }
        // Longer than Timer C, a registration, and any grace.
        self.run(240 * SECOND);
        // The link's own keep-alives come and go: there must be a moment without any. An
        // identity that a digest proved outside of a registration stands for ten minutes.
        self.run_until(660 * SECOND, |w| w.leftovers().is_empty());
        let left = self.leftovers();
        for line in &left {
            self.trace.note(self.now, &format!("LEFT {line}"));
        }
        assert!(left.is_empty(), "{left:#?}");
    }

    /// Every other node is killed as well: what is left has nothing to wait for but its links.
    ///
    /// # Panics
    /// If a node still wakes up often.
    pub fn still(&mut self) {
        for edges in [true, false] {
            let left: Vec<usize> = (0..self.gateways.len())
                .filter(|g| self.gateways[*g].edge == edges)
                .collect();
            for g in 0..self.gateways.len() {
                if left.contains(&g) {
                    self.start(g);
                } else {
                    self.kill(g);
                }
            }
            // Longer than a link's grace and an edge's patience with strangers.
            self.run(130 * SECOND);
            let before: Vec<u64> = left.iter().map(|g| self.gateways[*g].wakes).collect();
            self.run(600 * SECOND);
            for (g, before) in left.into_iter().zip(before) {
                let (name, wakes) = (&self.gateways[g].name, self.gateways[g].wakes - before);
                assert!(
                    wakes <= 25,
                    "{name} woke up {wakes} times in ten minutes, for nothing"
                );
            }
        }
    }

    /// Everybody ends every call, as people do when they hear nothing any more.
    pub fn everyone_hangs_up(&mut self) {
        for i in 0..self.people.len() {
            self.with(i, |ua, now| {
                ua.hang_up_all(now);
                ua.unsubscribe_all(now);
            });
        }
    }

    /// Looks whether a node's books agree with its sockets at this moment.
    pub(crate) fn balance(&mut self) {
        let (now, gateways) = (self.now, &self.gateways);
        let life = |name: &str| {
            let found = gateways.iter().find(|g| g.name == name);
            found.filter(|g| g.engine.is_some()).map(|g| g.life)
        };
        self.watch.overdue(now, life);
        for g in 0..self.gateways.len() {
            let node = &self.gateways[g];
            let Some(engine) = &node.engine else { continue };
            let s = engine.snapshot(node.now(self.now));
            let (ports, legs) = (s.counters.media_ports_in_use, node.workers.legs() as u64);
            let (said, are) = (s.counters.sip_connections, node.sockets.len() as u64);
            if s.node.is_empty() {
                continue; // not one of ours
            }
            if ports != legs && !node.workers.refused {
                let what = format!("{ports} ports for {legs} legs");
                self.findings.push(format!("{}: {what}", node.name));
            }
            // What is being dialled is no socket yet.
            if said < are {
                let what = format!("{said} SIP connections where {are} stand");
                self.findings.push(format!("{}: {what}", node.name));
            }
        }
    }

    /// What is left of calls, transactions, ports and registrations.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self.people.iter().flat_map(|p| p.ua.leftovers()).collect();
        left.extend(self.pbx.leftovers());
        for node in &self.gateways {
            let Some(engine) = &node.engine else { continue };
            let now = node.now(self.now);
            let s = engine.snapshot(now);
            if s.node.is_empty() {
                continue; // not one of ours
            }
            let mut say = |what: String| left.push(format!("{}: {what}", node.name));
            if !s.calls.is_empty() {
                say(format!("{} calls: {:?}", s.calls.len(), s.calls));
            }
            if !s.registrations.is_empty() {
                say(format!("{} registrations", s.registrations.len()));
            }
            if s.counters.media_ports_in_use != 0 {
                say(format!(
                    "{} media ports in use",
                    s.counters.media_ports_in_use
                ));
            }
            if s.counters.sip_transactions != 0 {
                say(format!("{} transactions", s.counters.sip_transactions));
            }
            for (table, rows) in engine.census() {
                if rows != 0 && !STAYS.contains(&table) {
                    say(format!("{rows} rows of {table}"));
                }
            }
            if node.workers.legs() != 0 {
                say(format!("{} media legs", node.workers.legs()));
            }
            if s.counters.sip_connections as usize != node.sockets.len() {
                let (said, are) = (s.counters.sip_connections, node.sockets.len());
                say(format!("{said} SIP connections, where {are} stand"));
            }
        }
        left
    }
}

/// Seeds that a scenario runs under: `SIM_SEED` alone, or the first `SIM_SEEDS`, or so many.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(one), _) => one..one + 1,
        (None, Some(many)) => 0..many,
        (None, None) => 0..usual,
    }
}

/// Runs a scenario under a seed that it failed under once.
pub fn under_seed(seed: u64, plan: impl Fn(u64) -> Plan, scenario: impl Fn(&mut World)) {
    scenario(&mut World::new(seed, plan(seed)));
}

/// Runs a scenario under seeds, the first one twice: the same seed gives the same trace.
pub fn under_seeds(usual: u64, plan: impl Fn(u64) -> Plan, scenario: impl Fn(&mut World)) {
    let sums = RefCell::new([0u64; 5]);
    let run = |seed: u64| {
        let mut world = World::new(seed, plan(seed));
        scenario(&mut world);
        let calls = world.people.iter().flat_map(|p| &p.ua.calls);
        let figures = [
            1,
            world.now / SECOND,
            world.people.len() as u64,
            calls.filter(|c| c.outgoing).count() as u64,
            world.watch.seen[0],
        ];
        for (sum, more) in sums.borrow_mut().iter_mut().zip(figures) {
            *sum += more;
        }
        (world.trace.hash(), world.trace.count())
    };
    for (i, seed) in seeds(usual).enumerate() {
        let first = run(seed);
        if i == 0 {
            assert_eq!(
                first,
                run(seed),
                "seed {seed} does not give the same run twice"
            );
        }
    }
    if std::env::var("SIM_SEEDS").is_ok() {
        let [runs, seconds, phones, calls, messages] = sums.into_inner();
        let hours = seconds / 3600;
        println!(
            "{runs} runs, {hours} virtual hours, {phones} telephones, {calls} calls, \
             {messages} SIP messages"
        );
    }
}
