//! REGISTERs that go from core to core.

use super::*;

#[test]
fn a_register_that_one_core_does_not_accept_goes_to_the_next_and_then_stays_there() {
    let mut bench = Bench::linked();
    bench.link(ConnId(2001), 1, "j1");
    bench.lane(ConnId(1001), 1);
    bench.wait(1);
    bench.connect(ConnId(1));
    // Nobody accepts it: it counts once.
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    for lane in [LANE, ConnId(1001)] {
        let inside = bench.take(lane);
        assert_eq!(inside.method(), Method::Register);
        bench.reply(lane, &inside, 401, "core", &[]);
    }
    assert!(
        bench
            .take(ConnId(1))
            .header(Name::WwwAuthenticate)
            .is_some()
    );
    let wrong = |bench: &Bench| {
        let kinds = bench.kinds();
        kinds
            .iter()
            .filter(|k| **k == Kind::WrongCredentials)
            .count()
    };
    assert_eq!((wrong(&bench), bench.edge.asking.len()), (1, 0));
    // The second one does.
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    let inside = bench.take(LANE);
    bench.reply(LANE, &inside, 401, "core", &[]);
    let inside = bench.take(ConnId(1001));
    assert_eq!(inside.values(Name::Path).count(), 1);
    bench.reply(
        ConnId(1001),
        &inside,
        200,
        "core",
        &[(Name::Expires, "120")],
    );
    assert_eq!(bench.take(ConnId(1)).status(), 200);
    assert_eq!((wrong(&bench), bench.edge.asking.len()), (1, 0));
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), message);
    assert_eq!(bench.take(ConnId(1001)).method(), Method::Message);
    // A challenge of call control is no core's opinion.
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    let inside = bench.take(ConnId(1001));
    let theirs = (
        Name::WwwAuthenticate,
        "Digest realm=\"ccmsipline\", nonce=\"n\"",
    );
    bench.reply(ConnId(1001), &inside, 401, "core", &[theirs]);
    assert_eq!(bench.take(ConnId(1)).status(), 401);
    // A client that goes while it is asked about leaves nothing.
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    let inside = bench.take(ConnId(1001));
    bench.reply(ConnId(1001), &inside, 401, "core", &[]);
    assert_eq!(bench.edge.asking.len(), 1);
    bench.disconnect(ConnId(1));
    assert!(bench.edge.asking.is_empty());
}

#[test]
fn registers_of_one_client_that_overlap_each_ask_each_core_once() {
    let mut bench = Bench::linked();
    bench.link(ConnId(2001), 1, "j1");
    bench.lane(ConnId(1001), 1);
    bench.wait(1);
    // Refused everywhere.
    bench.connect(ConnId(1));
    let first = bench.register_request(ConnId(1), "1001", PHONE);
    let again = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), first);
    bench.frame(ConnId(1), again);
    for lane in [LANE, LANE, ConnId(1001), ConnId(1001)] {
        asked_one(&mut bench, lane, 401);
    }
    for _ in 0..2 {
        assert_eq!(bench.take(ConnId(1)).status(), 401);
    }
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    assert!(bench.edge.asking.is_empty());
    bench.disconnect(ConnId(1));
    // Taken by the second core, whose answer to the one comes before the first core's to the other.
    bench.connect(ConnId(1));
    let first = bench.register_request(ConnId(1), "1001", PHONE);
    let again = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), first);
    bench.frame(ConnId(1), again);
    let (one, other) = (bench.take(LANE), bench.take(LANE));
    bench.reply(LANE, &one, 401, "core", &[]);
    asked_one(&mut bench, ConnId(1001), 200);
    bench.reply(LANE, &other, 401, "core", &[]);
    asked_one(&mut bench, ConnId(1001), 401);
    let got = [
        bench.take(ConnId(1)).status(),
        bench.take(ConnId(1)).status(),
    ];
    assert_eq!(got, [200, 401]);
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    // What it sends goes where it is registered.
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), message);
    assert_eq!(bench.take(ConnId(1001)).method(), Method::Message);
}

fn asked_one(bench: &mut Bench, lane: ConnId, status: u16) {
    let inside = bench.take(lane);
    bench.reply(lane, &inside, status, "core", &[(Name::Expires, "120")]);
}

/// Clients that register while cores come and go, and everything that is still to be answered.
struct Town {
    bench: Bench,
    rng: Rng,
    /// Connections of clients, if they are up; of cores' control, and of their lanes.
    clients: [Option<ConnId>; 3],
    cores: [Option<(ConnId, Option<ConnId>)>; 2],
    next: u64,
    /// By Call-ID: on which connection a REGISTER came.
    open: Vec<(Vec<u8>, ConnId)>,
    /// What cores have not answered.
    inside: Vec<(ConnId, Message)>,
    /// By Call-ID: which core was asked about a REGISTER.
    asked: Vec<(Vec<u8>, Option<usize>)>,
    challenge: Option<Message>,
    twice: usize,
}

impl Town {
    fn new(seed: u64) -> Town {
        Town {
            bench: Bench::alone(),
            rng: Rng::from_number(seed),
            clients: [None; 3],
            cores: [None; 2],
            next: 5_000,
            open: Vec::new(),
            inside: Vec::new(),
            asked: Vec::new(),
            challenge: None,
            twice: 0,
        }
    }

    fn conn(&mut self) -> ConnId {
        self.next += 1;
        ConnId(self.next)
    }

    /// Takes what was sent: answers to clients, requests to cores, connections to be closed.
    fn look(&mut self) {
        while let Some((conn, message)) = self.bench.sent.pop_front() {
            if message.is_request() {
                let lane = |core: &Option<(ConnId, Option<ConnId>)>| {
                    core.is_some_and(|(_, lane)| lane == Some(conn))
                };
                let core = self.cores.iter().position(lane);
                let asked = (message.call_id().to_vec(), core);
                assert!(!self.asked.contains(&asked), "{core:?} is asked again");
                self.asked.push(asked);
                self.inside.push((conn, message));
            } else if message.status() >= 200 {
                let id = message.call_id();
                let at = self.open.iter().position(|(i, c)| i == id && *c == conn);
                match at {
                    Some(at) => drop(self.open.swap_remove(at)),
                    None => self.twice += 1,
                }
                self.challenge = Some(message);
            }
        }
        for conn in std::mem::take(&mut self.bench.closed) {
            self.lose(conn);
        }
        self.bench.control_closed.clear();
    }

    fn lose(&mut self, conn: ConnId) {
        self.open.retain(|(_, c)| *c != conn);
        self.inside.retain(|(c, _)| *c != conn);
        for client in self.clients.iter_mut().filter(|c| **c == Some(conn)) {
            *client = None;
        }
        for (_, lane) in self.cores.iter_mut().flatten() {
            *lane = lane.filter(|c| *c != conn);
        }
        self.bench.disconnect(conn);
        self.look();
    }

    fn send(&mut self, conn: ConnId, register: Message) {
        self.open.push((register.call_id().to_vec(), conn));
        self.bench.frame(conn, register);
        self.look();
    }

    fn register(&mut self, who: usize) {
        let conn = match self.clients[who] {
            Some(conn) => conn,
            None => {
                let conn = self.conn();
                self.bench.connect(conn);
                *self.clients[who].insert(conn)
            }
        };
        let phone = PHONE.replace("uuid:1", &format!("uuid:{who}"));
        let uri = "sip:example.test";
        let bare = self.bench.request("REGISTER", uri, "1001", "1001", &phone);
        self.challenge = None;
        self.send(conn, bare);
        let offered = self.challenge.take().unwrap();
        let Some(offered) = offered.header(Name::WwwAuthenticate) else {
            return;
        };
        let offered = sip::digest::Challenge::parse(offered).unwrap();
        let answer = sip::digest::respond(&offered, "alice", "secret", "REGISTER", uri, "c", 1);
        let fields = format!("Authorization: {answer}\r\n{phone}");
        let register = self.bench.request("REGISTER", uri, "1001", "1001", &fields);
        self.send(conn, register);
    }

    /// A core answers one of those it has.
    fn answer(&mut self) {
        if self.inside.is_empty() {
            return;
        }
        let at = self.rng.below(self.inside.len() as u64) as usize;
        let (lane, request) = self.inside.swap_remove(at);
        let status = [401, 401, 401, 200, 403, 503][self.rng.below(6) as usize];
        let expires = [(Name::Expires, "120")];
        self.bench.reply(lane, &request, status, "core", &expires);
        self.look();
    }

    /// A core comes, gets a connection, loses it, or goes.
    fn core(&mut self, which: usize) {
        match self.cores[which] {
            None => {
                let control = self.conn();
                let instance = format!("i{which}{}", self.rng.below(2));
                self.bench.link(control, which, &instance);
                self.cores[which] = Some((control, None));
            }
            Some((control, None)) => {
                let lane = self.conn();
                self.look();
                let status = self.bench.try_lane(lane, which, "traversal", PASSWORD);
                assert_eq!(status, 200);
                self.cores[which] = Some((control, Some(lane)));
            }
            Some((_, Some(lane))) if self.rng.below(2) == 0 => self.lose(lane),
            Some((conn, _)) => {
                self.cores[which] = None;
                let why = "reset".into();
                self.bench.input(Input::ControlDown { conn, why });
            }
        }
        self.look();
    }
}

#[test]
fn every_register_is_answered_once_whatever_becomes_of_the_cores() {
    for seed in 0..300 {
        let mut town = Town::new(seed);
        for which in [0, 0, 1, 1] {
            town.core(which);
        }
        for _ in 0..60 {
            match town.rng.below(12) {
                0..=3 => {
                    let who = town.rng.below(3) as usize;
                    town.register(who);
                }
                4..=8 => town.answer(),
                9 | 10 => {
                    let which = town.rng.below(2) as usize;
                    town.core(which);
                }
                _ if town.rng.below(2) == 0 => town.bench.wait(1),
                _ => {
                    let who = town.rng.below(3) as usize;
                    if let Some(conn) = town.clients[who] {
                        town.lose(conn);
                    }
                }
            }
            town.look();
        }
        // Cores answer everything that reaches them: each at most once for each REGISTER.
        let most = (town.inside.len() + town.open.len()) * 2;
        for _ in 0..most {
            town.answer();
        }
        assert!(town.inside.is_empty(), "seed {seed}: it goes round");
        for _ in 0..6 {
            town.bench.wait(1);
            town.look();
            while !town.inside.is_empty() {
                town.answer();
            }
        }
        assert_eq!((town.open.len(), town.twice), (0, 0), "seed {seed}");
        assert!(town.bench.edge.asking.is_empty(), "seed {seed}");
    }
}
