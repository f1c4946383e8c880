//! What passes and what does not, hits, and the inbox within its bounds.

use super::*;
use base::UnixTime;
use proptest::prelude::*;

const YES: Verdict = Verdict::Allow {
    rule: 0,
    tls_verify: true,
};

fn rule(host: &str, path: &str) -> Rule {
    Rule {
        scheme: "https".into(),
        host: host.into(),
        port: 8443,
        path: path.into(),
        exact: false,
        methods: vec!["GET".into()],
        tls_verify: true,
        proxy_protocol: false,
        origin: Origin::Configured,
        description: String::new(),
    }
}

const GOOD: Access<'_> = Access {
    scheme: "https",
    host: "CUCM1.example.test.",
    port: 8443,
    path: "/cucm-uds/user/alice",
    method: "GET",
};

#[test]
fn only_what_a_rule_names_passes() {
    let list = AllowList::new(vec![
        rule("cucm1.example.test", "/cucm-uds"),
        rule("10.0.0.9", "/"),
    ]);
    assert_eq!(list.check(&GOOD), YES);
    let mapped = Access {
        host: "::ffff:10.0.0.9",
        path: "/x",
        ..GOOD
    };
    let second = Verdict::Allow {
        rule: 1,
        tls_verify: true,
    };
    assert_eq!(list.check(&mapped), second);
    let other = |change: fn(&mut Access<'static>)| {
        let mut access = GOOD;
        change(&mut access);
        access
    };
    for bad in [
        other(|a| a.scheme = "http"),
        other(|a| a.host = "cucm1.example.test.evil"),
        other(|a| a.host = "127.0.0.1"),
        other(|a| a.port = 443),
        other(|a| a.path = "/cucm-udsx"),
        other(|a| a.path = "/cucm-uds;x"),
        other(|a| a.path = "/"),
        other(|a| a.method = "PUT"),
        other(|a| a.method = "get"),
    ] {
        assert_eq!(list.check(&bad), Verdict::Deny, "{bad:?}");
    }
}

#[test]
fn an_exact_path_lets_nothing_under_it_pass() {
    let mut exact = rule("cucm1.example.test", "/a/b");
    exact.exact = true;
    let list = AllowList::new(vec![exact]);
    for (path, want) in [
        ("/a/b", YES),
        ("/a/b/", Verdict::Deny),
        ("/a/b/c", Verdict::Deny),
        ("/a", Verdict::Deny),
    ] {
        assert_eq!(list.check(&Access { path, ..GOOD }), want, "{path}");
    }
}

#[test]
fn a_name_passes_by_an_address_of_the_list_and_that_one_is_dialled() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let list = AllowList::new(vec![rule("web.test", "/"), rule("10.0.0.9", "/photos")]);
    let access = Access {
        host: "photos.test",
        path: "/photos/1",
        ..GOOD
    };
    assert_eq!(list.check(&access), Verdict::Deny);
    assert!(list.wants_addresses(&access));
    let addresses = [ip("169.254.169.254"), ip("::ffff:10.0.0.9"), ip("10.0.0.9")];
    let found = list.check_addresses(&access, &addresses);
    assert_eq!(found, Some((1, ip("::ffff:10.0.0.9"))));
    assert_eq!(list.check_addresses(&access, &addresses[..1]), None);
    assert_eq!(list.check_addresses(&access, &[]), None);
    for change in [
        Access {
            path: "/x",
            ..access
        },
        Access { port: 1, ..access },
        Access {
            host: "10.0.0.8",
            ..access
        },
    ] {
        assert!(!list.wants_addresses(&change), "{change:?}");
        assert_eq!(list.check_addresses(&change, &addresses), None);
    }
}

#[test]
fn an_address_asks_after_discovered_servers_alone() {
    let mut found = rule("cucm1.test", "/");
    found.origin = Origin::UnifiedCm("cucm1.test".into());
    let list = AllowList::new(vec![rule("web.test", "/"), found]);
    let access = Access {
        host: "10.0.0.5",
        ..GOOD
    };
    assert_eq!(list.owners(&access), [1]);
    assert!(list.owners(&Access { port: 1, ..access }).is_empty());
    assert!(list.owners(&GOOD).is_empty());
}

#[test]
fn the_nearest_rules_say_what_they_lack() {
    let list = AllowList::new(vec![
        rule("cucm1.example.test", "/x"),
        rule("cucm1.example.test", "/cucm-uds"),
        rule("else.test", "/"),
    ]);
    let near = list.nearest(&Access {
        method: "POST",
        ..GOOD
    });
    assert_eq!(near.len(), 2);
    assert_eq!(near[0].rule, 1);
    assert_eq!(near[0].missing, ["methods are GET, not POST"]);
    assert_eq!(near[1].missing.len(), 2);
    let nobody = Access {
        host: "nobody.test",
        ..GOOD
    };
    assert!(list.nearest(&nobody).is_empty());
}

fn at(second: u64) -> UnixTime {
    UnixTime::from_millis(second * 1000)
}

#[test]
fn a_rules_hits_survive_a_new_list_as_long_as_it_says_the_same() {
    let old = AllowList::new(vec![rule("a.test", "/"), rule("b.test", "/")]);
    let new = AllowList::new(vec![rule("b.test", "/"), rule("a.test", "/x")]);
    let mut ledger = Ledger::default();
    for second in 1..4 {
        ledger.hit(at(second), old.id(1).unwrap());
    }
    let hits = ledger.hits(new.id(0).unwrap()).unwrap();
    assert_eq!((hits.count, hits.last), (3, at(3)));
    assert_eq!(ledger.hits(new.id(1).unwrap()), None);
}

#[test]
fn refused_requests_gather_by_server_and_method() {
    let mut ledger = Ledger::default();
    let access = |path| Access {
        host: "web.test",
        path,
        ..GOOD
    };
    ledger.denied(at(1), &access("/photos/big/1.jpg"), "alice", true);
    assert!(ledger.inbox()[0].one_path);
    ledger.denied(at(2), &access("/photos/big/1.jpg"), "bob", false);
    ledger.denied(at(3), &access("/photos/bigger/2.jpg"), "alice", false);
    let put = Access {
        method: "PUT",
        ..access("/photos")
    };
    ledger.denied(at(4), &put, "alice", false);
    let inbox = ledger.inbox();
    assert_eq!(inbox.len(), 2);
    let row = inbox[1];
    assert_eq!((row.count, row.first, row.last), (3, at(1), at(3)));
    assert_eq!((row.path.as_str(), row.one_path), ("/photos/", false));
    assert_eq!(row.users, ["alice", "bob"]);
    assert!(!row.redirect && inbox[0].one_path);
}

#[test]
fn one_user_cannot_push_out_what_others_ask_for() {
    let mut ledger = Ledger::default();
    for n in 0..100 {
        let host = format!("asked{n}.test");
        ledger.denied(
            at(n),
            &Access {
                host: &host,
                ..GOOD
            },
            "alice",
            false,
        );
    }
    for n in 0..10_000 {
        let host = format!("flood{n}.test");
        let user = format!("mallory{}", n % 2);
        ledger.denied(
            at(100 + n),
            &Access {
                host: &host,
                ..GOOD
            },
            &user,
            false,
        );
    }
    let of = |user: &str| {
        let rows = ledger.inbox();
        rows.iter().filter(|d| d.users[0] == user).count()
    };
    assert_eq!(of("alice"), 64);
    assert_eq!((of("mallory0"), of("mallory1")), (64, 64));
    assert_eq!(ledger.forgotten(), 36 + 10_000 - 128);
    for n in 0..1000 {
        let (host, user) = (format!("many{n}.test"), format!("user{n}"));
        ledger.denied(
            at(20_000 + n),
            &Access {
                host: &host,
                ..GOOD
            },
            &user,
            false,
        );
    }
    assert_eq!(ledger.inbox().len(), DENIED_MAX);
}

proptest! {
    /// Whatever passes has its host, or one of its addresses, in the list, and its path under
    /// the rule's.
    #[test]
    fn nothing_passes_but_what_the_rule_says(
        host in "[a-c.]{0,6}|10\\.0\\.0\\.[0-9]|::ffff:10\\.0\\.0\\.9",
        path in "/[ab/;%.]{0,8}",
        exact: bool,
        ips in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut photos = rule("10.0.0.9", "/a/b");
        photos.exact = exact;
        let list = AllowList::new(vec![photos]);
        let access = Access { host: &host, path: &path, ..GOOD };
        let fits = path == "/a/b" || (!exact && path.starts_with("/a/b/"));
        let listed = matches!(host.as_str(), "10.0.0.9" | "::ffff:10.0.0.9");
        prop_assert_eq!(list.check(&access) != Verdict::Deny, fits && listed);
        let ips: Vec<IpAddr> = ips.iter().map(|n| IpAddr::from([10, 0, 0, *n % 16])).collect();
        let found = list.check_addresses(&access, &ips);
        let nine = IpAddr::from([10, 0, 0, 9]);
        let name = host.trim_end_matches('.').parse::<IpAddr>().is_err();
        let want = (fits && name && !listed && ips.contains(&nine)).then_some((0, nine));
        prop_assert_eq!(found, want);
    }

    /// The inbox keeps its bounds, and a rule of a row's path lets the row's requests through.
    #[test]
    fn a_row_of_the_inbox_makes_a_rule_that_fits(
        paths in proptest::collection::vec("/[ab/é]{0,700}", 1..6),
    ) {
        let mut ledger = Ledger::default();
        for path in &paths {
            let access = Access { host: "web.test", path, ..GOOD };
            ledger.denied(at(1), &access, "alice", false);
        }
        let row = ledger.inbox()[0].clone();
        prop_assert!(row.path.len() <= 512 && row.path.starts_with('/'));
        let mut made = rule("web.test", &row.path);
        made.exact = row.one_path;
        let list = AllowList::new(vec![made]);
        for path in &paths {
            let access = Access { host: "web.test", path, ..GOOD };
            prop_assert_eq!(list.check(&access), YES);
        }
    }
}
