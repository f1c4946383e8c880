//! Sign-ins against a few servers.

use super::*;

fn node(host: &str) -> Node {
    Node {
        host: host.into(),
        port: 8443,
        tls_verify: true,
        // b and b2 are one cluster.
        cluster: usize::from(host.starts_with('b')),
    }
}

fn asked(user: &str, password: &str, services: &[&str], by: By) -> Asked {
    Asked {
        domain: "example.test".into(),
        user: user.into(),
        password: Secret::new(password.into()),
        services: services.iter().map(|s| (*s).to_owned()).collect(),
        by,
    }
}

fn none() -> SignIns {
    SignIns::new(&mut Rng::from_number(1))
}

fn begin(nodes: &[&str]) -> SignIns {
    let mut s = none();
    let nodes = nodes.iter().map(|n| node(n)).collect();
    let by = By::Uds(nodes);
    s.begin(Instant::ZERO, 7, asked("Alice", "pw", &["_cisco-uds"], by));
    s
}

/// Answers every question by `serve(host, path, has credentials)`, until the sign-in ends.
fn run(
    mut s: SignIns,
    serve: impl Fn(&str, &str, bool) -> Result<(u16, String), String>,
) -> Outcome {
    loop {
        let (asks, mut done) = s.take();
        if let Some((id, outcome)) = done.pop() {
            assert_eq!((id, s.len(), s.asks.len()), (7, 0, 0));
            return outcome;
        }
        assert!(!asks.is_empty(), "neither asks nor ends");
        for ask in asks {
            match ask {
                Ask::Get {
                    id,
                    node,
                    path,
                    basic,
                } => {
                    let got = serve(&node.host, &path, basic.is_some());
                    s.answer(id, Answer::Got(got));
                }
                Ask::Prove { .. } => panic!("no directory is asked"),
                Ask::Service { id, name } => {
                    assert_eq!(name, "_cisco-uds._tcp.example.test");
                    let records = vec![(1, 1, 8443, "b".into())];
                    s.answer(id, Answer::Service(Some(records)));
                }
            }
        }
    }
}

fn unified_cm(host: &str, path: &str, basic: bool) -> Result<(u16, String), String> {
    let ok = |body: &str| Ok((200, body.to_owned()));
    match (host, path, basic) {
        ("down", ..) => Err("connection refused".into()),
        ("a", p, _) if p.starts_with("/cucm-uds/clusterUser") => {
            ok("<clusterUser><result found=\"false\"/></clusterUser>")
        }
        (_, p, _) if p.starts_with("/cucm-uds/clusterUser") => ok("<clusterUser>\
             <result found=\"true\"/><homeCluster>b</homeCluster></clusterUser>"),
        ("b", "/cucm-uds/user/Alice/devices", true) => {
            ok("<devices><device><name>CSFALICE</name></device></devices>")
        }
        ("b", "/cucm-uds/user/Alice", true) => {
            ok("<user><userName>alice</userName><phoneNumber>1001</phoneNumber></user>")
        }
        ("b", "/cucm-uds/user/Alice/extensions", true) => ok("<extensions><extension>\
             <directoryNumber>1002</directoryNumber></extension><extension>\
             <directoryNumber>1001</directoryNumber></extension></extensions>"),
        ("b", "/cucm-uds/servers", _) => {
            ok("<servers><server>b</server><server>b2</server></servers>")
        }
        _ => Ok((401, String::new())),
    }
}

#[test]
fn a_user_is_found_on_any_cluster_and_normalised() {
    let Outcome::Granted(g) = run(begin(&["down", "a", "b"]), unified_cm) else {
        panic!()
    };
    assert_eq!(
        (g.user.as_str(), g.lines.as_slice()),
        ("alice", &["1001".to_owned(), "1002".to_owned()][..])
    );
    assert_eq!(
        g.nodes.iter().map(|n| n.host.as_str()).collect::<Vec<_>>(),
        ["b", "b2"]
    );
    assert_eq!(g.devices, ["CSFALICE"]);
    assert_eq!(g.services[0].1.as_ref().unwrap()[0].3, "b");
}

#[test]
fn a_wrong_password_is_unauthorized_and_an_unreachable_inside_never_is() {
    let refuse = |host: &str, path: &str, basic: bool| {
        if basic {
            Ok((401, String::new()))
        } else {
            unified_cm(host, path, basic)
        }
    };
    assert!(matches!(
        run(begin(&["b"]), refuse),
        Outcome::Unauthorized { .. }
    ));
    assert!(matches!(
        run(begin(&["a"]), unified_cm),
        Outcome::Unauthorized { .. }
    ));
    for nodes in [&["down"][..], &["a", "down"], &[]] {
        assert!(
            matches!(run(begin(nodes), unified_cm), Outcome::Unreachable { .. }),
            "{nodes:?}"
        );
    }
    let broken = |_: &str, _: &str, _: bool| Ok((503, String::new()));
    assert!(matches!(
        run(begin(&["b"]), broken),
        Outcome::Unreachable { .. }
    ));
}

/// Begins one more sign-in, and answers whether it may go on.
fn tries(s: &mut SignIns, id: u64, user: &str) -> bool {
    let by = By::Uds(vec![node("b")]);
    s.begin(Instant::ZERO, id, asked(user, "pw", &[], by));
    !s.done
        .pop()
        .is_some_and(|(_, o)| matches!(o, Outcome::Limited { .. }))
}

#[test]
fn a_user_whose_password_is_wrong_too_often_waits_and_nobody_else_does() {
    let mut s = none();
    let most = u64::from(rates::WRONG_MAX);
    assert!((0..most).all(|id| tries(&mut s, id, "alice")));
    assert!(!tries(&mut s, most, "ALICE"));
    assert!(tries(&mut s, most + 1, "bob"));
}

#[test]
fn sign_ins_that_were_not_wrong_count_for_nothing() {
    let mut s = none();
    for id in 0..10 * u64::from(rates::WRONG_MAX) {
        assert!(tries(&mut s, id, "alice"));
        for ask in s.take().0 {
            let Ask::Get { id, .. } = ask else { panic!() };
            s.answer(id, Answer::Got(Err("connection refused".into())));
        }
    }
}

#[test]
fn a_user_name_that_is_too_long_is_refused_and_not_kept() {
    let mut s = none();
    let by = By::Uds(vec![node("b")]);
    let user = "a".repeat(USER_MAX + 1);
    s.begin(Instant::ZERO, 1, asked(&user, "pw", &[], by));
    assert!(matches!(
        s.take().1[..],
        [(1, Outcome::Unauthorized { .. })]
    ));
    assert!(s.is_empty() && s.rates.is_empty());
}

#[test]
fn a_name_that_a_directory_takes_for_another_one_is_refused_and_nobody_is_asked() {
    let mut s = none();
    let odd = [
        "alice ",
        " alice",
        "alice  smith",
        "alice\t",
        "alice\u{a0}smith",
        "al\u{ad}ice",
        "alice\u{200b}",
        "\u{feff}alice",
    ];
    for (id, user) in odd.iter().enumerate() {
        let asked = asked(user, "pw", &[], By::Directory);
        s.begin(Instant::ZERO, id as u64, asked);
    }
    let (asks, done) = s.take();
    assert!(asks.is_empty() && s.is_empty() && s.rates.is_empty());
    let refused = |(_, o): &(u64, Outcome)| matches!(o, Outcome::Unauthorized { .. });
    assert!(done.len() == odd.len() && done.iter().all(refused));
    for user in ["alice smith", "zoë", "alice@example.test", "李雷"] {
        s.begin(Instant::ZERO, 99, asked(user, "pw", &[], By::Directory));
        assert_eq!(s.take().0.len(), 1, "{user}");
    }
}

#[test]
fn an_empty_or_endless_password_is_refused_and_nobody_is_asked() {
    let mut s = none();
    let long = "x".repeat(PASSWORD_MAX + 1);
    for (n, (user, password)) in [("alice", ""), ("", "pw"), ("alice", &long)]
        .iter()
        .enumerate()
    {
        s.begin(
            Instant::ZERO,
            n as u64,
            asked(user, password, &[], By::Directory),
        );
    }
    let (asks, done) = s.take();
    assert!(asks.is_empty() && s.is_empty());
    let refused = |(_, o): &(u64, Outcome)| matches!(o, Outcome::Unauthorized { .. });
    assert!(done.len() == 3 && done.iter().all(refused));
}

#[test]
fn another_node_of_the_home_cluster_checks_the_password_where_the_first_is_down() {
    let first_down = |host: &str, path: &str, basic: bool| match (host, basic) {
        ("b", true) => Err("connection refused".into()),
        ("b2", true) => unified_cm("b", path, basic),
        _ => unified_cm(host, path, basic),
    };
    let Outcome::Granted(g) = run(begin(&["b", "b2"]), first_down) else {
        panic!()
    };
    assert_eq!(g.nodes[0].host, "b2");
    // Nobody outside the home cluster is shown the password.
    let refused = |host: &str, path: &str, basic: bool| {
        assert!(!basic || host == "b", "{host} saw a password");
        first_down(host, path, basic)
    };
    assert!(matches!(
        run(begin(&["a", "b"]), refused),
        Outcome::Unreachable { .. }
    ));
}

#[test]
fn a_password_that_was_wrong_a_moment_ago_is_refused_without_asking() {
    let mut s = none();
    let by = || By::Uds(vec![node("b")]);
    let ends = |s: &mut SignIns, at: u64, password: &str| {
        let now = Instant::from_micros(at * 1_000_000);
        s.begin(now, at, asked("Alice", password, &[], by()));
        let mut asks = 0;
        loop {
            let (put, mut done) = s.take();
            if let Some((_, outcome)) = done.pop() {
                return (asks, matches!(outcome, Outcome::Unauthorized { .. }));
            }
            for ask in put {
                let Ask::Get {
                    id,
                    node,
                    path,
                    basic,
                } = ask
                else {
                    panic!()
                };
                asks += 1;
                let got = match &basic {
                    Some((_, password)) if password.expose() != "pw" => Ok((401, String::new())),
                    _ => unified_cm(&node.host, &path, basic.is_some()),
                };
                s.answer(id, Answer::Got(got));
            }
        }
    };
    assert_eq!(ends(&mut s, 0, "old"), (2, true));
    assert_eq!(ends(&mut s, 1, "old"), (0, true));
    assert!(!ends(&mut s, 2, "pw").1);
    assert_eq!(ends(&mut s, 60, "old"), (2, true));
}

#[test]
fn a_directory_vouches_for_a_user_or_not_or_cannot_tell() {
    let prove = |services: &[&str], proved: Result<Proven, Unproven>| {
        let mut s = none();
        s.begin(
            Instant::ZERO,
            7,
            asked("Alice", "pw", services, By::Directory),
        );
        let (asks, _) = s.take();
        let [
            Ask::Prove {
                id,
                domain,
                user,
                password,
            },
        ] = &asks[..]
        else {
            panic!("{asks:?}")
        };
        assert_eq!(
            (domain.as_str(), user.expose().as_str()),
            ("example.test", "Alice")
        );
        assert_eq!(password.expose(), "pw");
        s.answer(*id, Answer::Proved(proved));
        run(s, |_, _, _| panic!("no server is asked"))
    };
    let good = || {
        Ok(Proven {
            account: "alice".into(),
            lines: vec!["1001".into()],
        })
    };
    for services in [&[][..], &["_cisco-uds"]] {
        let Outcome::Granted(g) = prove(services, good()) else {
            panic!()
        };
        assert_eq!(
            (g.user.as_str(), g.lines.len(), g.nodes.len()),
            ("alice", 1, 0)
        );
        assert_eq!(g.services.len(), services.len());
    }
    let wrong = prove(&[], Err(Unproven::Wrong("wrong")));
    assert!(matches!(wrong, Outcome::Unauthorized { why: "wrong" }));
    let (server, why) = ("a:636".to_owned(), "refused".to_owned());
    let silent = prove(&[], Err(Unproven::Unreachable { server, why }));
    assert!(matches!(silent, Outcome::Unreachable { .. }));
}

#[test]
fn sign_ins_of_a_user_who_is_signed_out_end_without_an_answer() {
    let mut s = begin(&["b"]);
    let alice = |user: &str, _: &str| user.eq_ignore_ascii_case("ALICE");
    assert_eq!(s.abandon(alice), [7]);
    for ask in s.take().0 {
        let Ask::Get { id, .. } = ask else { panic!() };
        s.answer(id, Answer::Got(Ok((200, String::new()))));
    }
    assert!(s.take().1.is_empty() && s.is_empty() && s.asks.is_empty());
}

/// Looks up where alice is at home, for whom another has vouched.
fn vouched_for(nodes: &[&str], services: &[&str]) -> Outcome {
    let mut s = none();
    let vouched = Vouched {
        domain: "example.test".into(),
        user: "Alice".into(),
        services: services.iter().map(|s| (*s).to_owned()).collect(),
        nodes: nodes.iter().map(|n| node(n)).collect(),
    };
    s.vouched(Instant::ZERO, 7, vouched);
    run(s, |host, path, basic| {
        assert!(!basic, "nobody has a password here");
        unified_cm(host, path, basic)
    })
}

#[test]
fn a_user_for_whom_another_has_vouched_is_found_at_home_without_a_password() {
    let Outcome::Found { nodes, services } = vouched_for(&["down", "a", "b"], &["_cisco-uds"])
    else {
        panic!()
    };
    let hosts: Vec<&str> = nodes.iter().map(|n| n.host.as_str()).collect();
    assert_eq!((hosts, services.len()), (vec!["b", "b2"], 1));
    for asked in [&["_cisco-uds"][..], &[]] {
        let Outcome::Found { nodes, services } = vouched_for(&[], asked) else {
            panic!()
        };
        assert_eq!((nodes.len(), services.len()), (0, asked.len()));
    }
}

#[test]
fn nobody_is_unknown_as_long_as_a_cluster_cannot_be_asked() {
    let unknown = vouched_for(&["a"], &[]);
    assert!(matches!(unknown, Outcome::Unauthorized { why: UNKNOWN }));
    let Outcome::Unreachable { server, why } = vouched_for(&["down", "a"], &[]) else {
        panic!()
    };
    let seen = (server.as_str(), why.as_str());
    assert_eq!(seen, ("down:8443", "connection refused"));
}

#[test]
fn a_sign_out_ends_what_is_under_way_for_who_was_vouched_for_in_that_domain() {
    let mut s = none();
    for (id, domain) in [(1, "one.test"), (2, "two.test")] {
        let vouched = Vouched {
            domain: domain.into(),
            user: "alice".into(),
            services: Vec::new(),
            nodes: vec![node("b")],
        };
        s.vouched(Instant::ZERO, id, vouched);
    }
    let out = |user: &str, domain: &str| user == "alice" && domain == "one.test";
    assert_eq!((s.abandon(out), s.len(), s.vouched), (vec![1], 1, 1));
}
