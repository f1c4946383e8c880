//! Nodes: inputs handed in, outputs carried out, timers kept.

use base::Instant;
use node::io::{Answer, ConnId, Input, Output, Record, Target};

use super::{Event, Hop, World, conn_name};
use crate::pipe::Party;

/// How long a question to DNS waits that nobody answers.
const DNS: u64 = 5 * crate::ua::SECOND;

/// Warnings of a node in a second, besides one for each telephone.
const EVENTS_MAX: u32 = 30;

impl World {
    /// Hands an input to a node, if it lives.
    pub fn feed(&mut self, g: usize, input: Input) {
        let now = self.gateways[g].now(self.now);
        let Some(engine) = &mut self.gateways[g].engine else {
            return;
        };
        engine.handle(now, input);
        self.drain(g);
    }

    pub(super) fn drain(&mut self, g: usize) {
        while let Some(output) = self.gateways[g]
            .engine
            .as_mut()
            .and_then(|e| e.poll_output())
        {
            self.carry_out(g, output);
        }
        let node = &mut self.gateways[g];
        let wanted = node
            .engine
            .as_ref()
            .and_then(|e| e.poll_timeout())
            .map(|at| node.at(at));
        if let Some(at) = wanted
            && node
                .armed
                .is_none_or(|armed| armed > at || armed < self.now)
        {
            let (at, life) = (at.max(self.now), node.life);
            node.armed = Some(at);
            self.schedule(at, Event::Wake { gateway: g, life });
        }
    }

    pub(super) fn wake(&mut self, g: usize, life: u32) {
        let now = self.now;
        let node = &mut self.gateways[g];
        if node.life != life {
            return;
        }
        if node.armed == Some(now) {
            node.armed = None;
        }
        let clock = node.now(now);
        let Some(engine) = &mut node.engine else {
            return;
        };
        if engine
            .poll_timeout()
            .is_some_and(|at: Instant| at <= clock.instant)
        {
            engine.handle_timeout(clock);
            self.gateways[g].wakes += 1;
        }
        self.drain(g);
    }

    fn carry_out(&mut self, g: usize, output: Output) {
        let life = self.gateways[g].life;
        match output {
            Output::Send { conn, bytes } => {
                let Some(socket) = self.gateways[g].sockets.get(&conn) else {
                    return;
                };
                let (pipe, end) = (socket.pipe, socket.end);
                let name = self.gateways[g].name.clone();
                self.note_sip(&name, pipe, end, &bytes);
                self.transmit(pipe, end, &bytes);
            }
            Output::Connect { conn, target } => self.connect_inside(g, conn, &target),
            Output::Close { conn } => {
                if let Some(socket) = self.gateways[g].sockets.get(&conn) {
                    let (pipe, end) = (socket.pipe, socket.end);
                    self.note(g, &format!("closes {}", conn_name(conn)));
                    self.after(100, move |w| w.hang(pipe, end, "closed by this node"));
                }
            }
            Output::Control { conn, message } => {
                let Some(control) = self.gateways[g].controls.get(&conn) else {
                    return;
                };
                let (pipe, end) = (control.pipe, control.end);
                let bytes = traversal::frame::encode(&message);
                self.trace.bytes(&bytes);
                self.transmit(pipe, end, &bytes);
            }
            Output::CloseControl { conn } => {
                if let Some(control) = self.gateways[g].controls.get(&conn) {
                    let (pipe, end) = (control.pipe, control.end);
                    self.note(g, &format!("closes control {}", conn_name(conn)));
                    self.after(100, move |w| w.hang(pipe, end, "closed by this node"));
                }
            }
            Output::Media(command) => {
                self.note(g, &brief(&command));
                let now = self.gateways[g].now(self.now).instant;
                self.gateways[g].workers.command(now, command);
                self.workers_flush(g);
            }
            Output::KeepServers(_) => {}
            Output::Answer { id, answer } => {
                if let Answer::SignIn(reply) = answer
                    && let Some(sign_in) = self.gateways[g].asks.remove(&id)
                {
                    self.note(
                        g,
                        &format!("answers sign-in {sign_in} with {}", reply.status),
                    );
                    self.signed_in(sign_in, reply);
                }
            }
            Output::Fetch { id, request } => {
                let line = format!("asks {} {}{}", request.method, request.host, request.path);
                self.note(g, &line);
                let result = self.web.fetch(&request);
                let wait = self.delay(Hop::Inside) + self.delay(Hop::Inside);
                let input = Box::new(Input::Fetched { id, result });
                self.schedule(
                    self.now + wait,
                    Event::Input {
                        gateway: g,
                        life,
                        input,
                    },
                );
            }
            Output::Resolve { id, question } => {
                self.note(g, &format!("resolves {question:?}"));
                let result = self.web.resolve(&question);
                let wait = self.delay(Hop::Inside) + self.delay(Hop::Inside);
                let wait = match result {
                    Err(node::io::DnsError::NoAnswer(..)) if self.gateways[g].edge => DNS,
                    _ => wait,
                };
                let input = Box::new(Input::Resolved { id, result });
                self.schedule(
                    self.now + wait,
                    Event::Input {
                        gateway: g,
                        life,
                        input,
                    },
                );
            }
            Output::Prove { .. } => self.findings.push("a directory is asked".into()),
            Output::EdgeGate(gate) => self.gateways[g].gate = Some(gate),
            // Nobody's socket is ever behind: no node says so.
            Output::CoreGate(_) | Output::PinSsh { .. } | Output::Pause { .. } => {}
            Output::Keep(record) => match *record {
                Record::SignedIn(kept) => {
                    let user = kept.user.expose().clone();
                    self.gateways[g].kept.insert(user, kept);
                }
                Record::SignedOut(_) => self.findings.push("a user is signed out".into()),
            },
            Output::EndStreams(_) => {}
            Output::Event(event) => {
                self.note(g, &format!("! {event}"));
                self.count_event(g, &event);
                self.gateways[g].events.push(event);
            }
        }
    }

    pub(super) fn note(&mut self, g: usize, what: &str) {
        let line = format!("{:>8} {what}", self.gateways[g].name);
        self.trace.note(self.now, &line);
    }

    /// A log that anybody can fill is wrong: so many events a second, by what there is to tell.
    fn count_event(&mut self, g: usize, event: &status::Event) {
        let second = self.now / crate::ua::SECOND;
        let warns = event.kind.severity() != status::Severity::Info;
        let most = match warns {
            true => EVENTS_MAX + self.people.len() as u32,
            false => EVENTS_MAX + 6 * self.people.len() as u32,
        };
        let row = &mut self.gateways[g].events_in[usize::from(warns)];
        *row = match *row {
            (at, count) if at == second => (at, count + 1),
            _ => (second, 1),
        };
        if row.1 == most {
            let name = self.gateways[g].name.clone();
            self.findings
                .push(format!("{name} reports {most} events in a second: {event}"));
        }
    }

    /// A core dials call control or the neighbour, an edge the foreign domain; anything else is
    /// wrong.
    fn connect_inside(&mut self, g: usize, conn: ConnId, target: &Target) {
        let name = format!("{}:{}", target.host, target.port);
        self.note(g, &format!("dials {name} as {}", conn_name(conn)));
        let pbx = self.pbx.address;
        if let Some(i) = self.neighbour_at(target) {
            return self.neighbour_dialled(g, conn, i);
        }
        if self.dialled_abroad(g, conn, target) {
            return;
        }
        let right = target.host == crate::house::CLUSTER || target.host == pbx.ip().to_string();
        if !right || target.port != pbx.port() || target.tls.is_some() || self.gateways[g].edge {
            self.findings
                .push(format!("{} dials {name}", self.gateways[g].name));
        }
        if right && !self.pbx_down {
            self.open([Party::Sip { gateway: g, conn }, Party::Pbx]);
            return;
        }
        let wait = self.delay(Hop::Inside);
        self.refuse_dial(g, conn, wait, &format!("{name} refused the connection"));
    }

    /// What a node dialled does not come to be.
    pub(super) fn refuse_dial(&mut self, g: usize, conn: ConnId, wait: u64, why: &str) {
        let (life, why) = (self.gateways[g].life, why.to_owned());
        let input = Box::new(Input::Disconnected { conn, why });
        self.schedule(
            self.now + wait,
            Event::Input {
                gateway: g,
                life,
                input,
            },
        );
    }

    /// What the media workers have to say and to send.
    pub(super) fn workers_flush(&mut self, g: usize) {
        let (events, datagrams) = self.gateways[g].workers.take();
        let life = self.gateways[g].life;
        for event in events {
            let input = Box::new(Input::Media(event));
            self.schedule(
                self.now + 50,
                Event::Input {
                    gateway: g,
                    life,
                    input,
                },
            );
        }
        for (from, to, bytes) in datagrams {
            self.throw(from, to, bytes);
        }
    }
}

fn brief(command: &media::Command) -> String {
    use media::Command as C;
    match command {
        C::LinkUp { link, .. } => format!("media link {} up", link.0),
        C::LinkDown { link } => format!("media link {} down", link.0),
        C::InstallEdge { leg, edge } | C::UpdateEdge { leg, edge } => format!(
            "media {:?} stream {:08x} on {} towards {:?}",
            leg.0, edge.stream.0, edge.local.rtp, edge.expected
        ),
        C::InstallCore { leg, core } | C::UpdateCore { leg, core } => format!(
            "media {:?} stream {:08x} on {} towards {:?} receive {} send {}",
            leg.0,
            core.stream.0,
            core.local.rtp,
            core.remote.map(|r| r.rtp),
            core.receive,
            core.send
        ),
        C::InstallInside { leg, inside } | C::UpdateInside { leg, inside } => format!(
            "media {:?} to {:?} on {} towards {:?} receive {}",
            leg.0,
            inside.other.0,
            inside.local.rtp,
            inside.remote.map(|r| r.rtp),
            inside.receive
        ),
        C::Remove { leg } => format!("media {:?} removed", leg.0),
        C::Stop => "media stops".into(),
    }
}
