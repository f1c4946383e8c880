//! Server location against zones written as tables.

use base::HashMap;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

/// What DNS holds; what is not here is absent.
#[derive(Clone, Default)]
struct Zone(HashMap<Question, Answer>);

impl Zone {
    fn naptr(mut self, name: &str, records: &[(u16, u16, &str, &str, &str)]) -> Self {
        let records = records
            .iter()
            .map(|(order, preference, flags, service, replacement)| Naptr {
                order: *order,
                preference: *preference,
                flags: (*flags).to_owned(),
                service: (*service).to_owned(),
                replacement: (*replacement).to_owned(),
            });
        let answer = Answer::Naptr(records.collect());
        self.0.insert(Question::Naptr(name.to_owned()), answer);
        self
    }

    fn srv(mut self, name: &str, records: &[(u16, u16, u16, &str)]) -> Self {
        let records = records.iter().map(|r| Service::new(r.0, r.1, r.2, r.3));
        let answer = Answer::Service(records.collect());
        self.0.insert(Question::Service(name.to_owned()), answer);
        self
    }

    fn host(mut self, name: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let answer = Answer::Address(addresses);
        self.0.insert(Question::Address(name.to_owned()), answer);
        self
    }

    fn failing(mut self, question: Question) -> Self {
        self.0.insert(question, Answer::Failed);
        self
    }
}

const ALL: &[Transport] = &[Transport::Tls, Transport::Tcp, Transport::Udp];

/// Runs a search; `last_first` answers the questions of a stage in reverse.
fn search(
    uri: &str,
    spoken: &[Transport],
    zone: &Zone,
    last_first: bool,
) -> (Vec<Question>, Result<Places, LocateError>) {
    let uri = Uri::parse(uri.as_bytes()).unwrap();
    let mut search = Search::new(&uri, spoken, Rng::from_number(7));
    let mut asked = Vec::new();
    loop {
        let mut questions: Vec<Question> = std::iter::from_fn(|| search.poll_question()).collect();
        if questions.is_empty() {
            break;
        }
        assert!(
            search.take_result().is_none(),
            "done before it was answered"
        );
        asked.extend(questions.iter().cloned());
        if last_first {
            questions.reverse();
        }
        for question in questions {
            let answer = zone.0.get(&question).cloned().unwrap_or(Answer::Absent);
            search.answer(&question, answer);
        }
    }
    let result = search.take_result().expect("no question and no result");
    assert!(search.take_result().is_none(), "a result is given once");
    (asked, result)
}

/// The places of a URI as text, or the error.
fn places(uri: &str, spoken: &[Transport], zone: &Zone) -> Vec<String> {
    let (asked, result) = search(uri, spoken, zone, false);
    assert_eq!(
        search(uri, spoken, zone, true).1,
        result,
        "order of answers"
    );
    assert!(asked.iter().all(|q| askable(q.name())), "{asked:?}");
    match result {
        Ok(places) => places
            .map(|p| {
                let name = p.tls_name.as_deref().unwrap_or("-");
                format!("{} {} {} {name}", p.transport.via(), p.host, p.socket())
            })
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn zone() -> Zone {
    Zone::default()
        .naptr(
            "full.test",
            &[
                (50, 50, "s", "SIPS+D2T", "_sips._tcp.full.test."),
                (90, 50, "s", "SIP+D2T", "_sip._tcp.full.test"),
                (100, 50, "s", "SIP+D2U", "_sip._udp.full.test"),
                (10, 1, "s", "SIP+D2S", "_sip._sctp.full.test"),
                (10, 2, "u", "E2U+sip", "x.test"),
            ],
        )
        .srv("_sips._tcp.full.test", &[(1, 0, 5061, "a.full.test.")])
        .srv(
            "_sip._tcp.full.test",
            &[(2, 0, 5070, "b.full.test"), (1, 0, 5060, "a.full.test")],
        )
        .srv("_sip._udp.full.test", &[(1, 0, 5060, "a.full.test")])
        .host("a.full.test", &["192.0.2.1", "2001:db8::1"])
        .host("b.full.test", &["192.0.2.2"])
        .host("full.test", &["192.0.2.9"])
        .srv("_sip._tcp.srv.test", &[(1, 0, 5080, "b.full.test")])
        .host("plain.test", &["192.0.2.3"])
        .srv("_sip._tcp.none.test", &[(0, 0, 0, ".")])
        .host("none.test", &["192.0.2.4"])
}

#[test]
fn places_follow_rfc_3263() {
    let tcp: &[Transport] = &[Transport::Tcp];
    let tls_tcp: &[Transport] = &[Transport::Tls, Transport::Tcp];
    type Row<'a> = (&'a str, &'a [Transport], &'a [&'a str]);
    let table: &[Row<'_>] = &[
        // §4.1: a number needs no DNS.
        ("sip:a@192.0.2.7", ALL, &["UDP 192.0.2.7 192.0.2.7:5060 -"]),
        ("sip:a@192.0.2.7", tcp, &["TCP 192.0.2.7 192.0.2.7:5060 -"]),
        (
            "sip:a@[2001:db8::7]:5099",
            ALL,
            &["UDP 2001:db8::7 [2001:db8::7]:5099 -"],
        ),
        (
            "sips:a@192.0.2.7",
            ALL,
            &["TLS 192.0.2.7 192.0.2.7:5061 192.0.2.7"],
        ),
        (
            "sip:a@192.0.2.7;transport=tls",
            ALL,
            &["TLS 192.0.2.7 192.0.2.7:5061 192.0.2.7"],
        ),
        // maddr takes the host's place, but not in the certificate.
        (
            "sips:a@full.test;maddr=192.0.2.8",
            ALL,
            &["TLS 192.0.2.8 192.0.2.8:5061 full.test"],
        ),
        // A port: addresses alone.
        (
            "sip:a@plain.test:5070",
            ALL,
            &["UDP plain.test 192.0.2.3:5070 -"],
        ),
        (
            "sips:a@plain.test:5070",
            ALL,
            &["TLS plain.test 192.0.2.3:5070 plain.test"],
        ),
        (
            "sip:a@plain.test:5070;transport=tcp",
            ALL,
            &["TCP plain.test 192.0.2.3:5070 -"],
        ),
        // NAPTR, then SRV, then addresses; what is not spoken is passed over.
        (
            "sip:a@FULL.test",
            tls_tcp,
            &[
                "TLS a.full.test 192.0.2.1:5061 full.test",
                "TLS a.full.test [2001:db8::1]:5061 full.test",
                "TCP a.full.test 192.0.2.1:5060 -",
                "TCP a.full.test [2001:db8::1]:5060 -",
                "TCP b.full.test 192.0.2.2:5070 -",
            ],
        ),
        (
            "sips:a@full.test",
            ALL,
            &[
                "TLS a.full.test 192.0.2.1:5061 full.test",
                "TLS a.full.test [2001:db8::1]:5061 full.test",
            ],
        ),
        // A transport: no NAPTR.
        (
            "sip:a@srv.test;transport=TCP",
            ALL,
            &["TCP b.full.test 192.0.2.2:5080 -"],
        ),
        // No NAPTR: SRV of each transport.
        ("sip:a@srv.test", ALL, &["TCP b.full.test 192.0.2.2:5080 -"]),
        // No SRV: addresses at the default port.
        (
            "sip:a@plain.test",
            ALL,
            &["UDP plain.test 192.0.2.3:5060 -"],
        ),
        (
            "sip:a@plain.test",
            tls_tcp,
            &["TCP plain.test 192.0.2.3:5060 -"],
        ),
        (
            "sip:a@plain.test",
            &[Transport::Tls],
            &["TLS plain.test 192.0.2.3:5061 plain.test"],
        ),
        (
            "sip:a@plain.test;transport=tls",
            ALL,
            &["TLS plain.test 192.0.2.3:5061 plain.test"],
        ),
        (
            "sips:a@plain.test;transport=tcp",
            ALL,
            &["TLS plain.test 192.0.2.3:5061 plain.test"],
        ),
        // RFC 2782: a target of "." is a no.
        (
            "sip:a@none.test;transport=tcp",
            ALL,
            &["DNS knows no SIP server for none.test"],
        ),
        (
            "sip:a@nowhere.test",
            ALL,
            &["DNS knows no SIP server for nowhere.test"],
        ),
        (
            "sip:a@a..test",
            ALL,
            &["DNS knows no SIP server for a..test"],
        ),
        // Nothing in common.
        (
            "sips:a@full.test",
            tcp,
            &["no transport for this URI is spoken here"],
        ),
        (
            "sips:a@full.test;transport=udp",
            ALL,
            &["no transport for this URI is spoken here"],
        ),
        (
            "sip:a@full.test;transport=sctp",
            ALL,
            &["no transport for this URI is spoken here"],
        ),
        (
            "sip:a@full.test",
            &[],
            &["no transport for this URI is spoken here"],
        ),
    ];
    for (uri, spoken, want) in table {
        assert_eq!(places(uri, spoken, &zone()), *want, "{uri}");
    }
}

#[test]
fn sips_passes_over_what_is_no_tls_in_naptr() {
    let zone = zone().naptr(
        "down.test",
        &[(1, 1, "s", "SIP+D2T", "_sip._tcp.full.test")],
    );
    let (asked, result) = search("sips:a@down.test", ALL, &zone, false);
    assert_eq!(result, Err(LocateError::NotFound("down.test".into())));
    assert!(!asked.iter().any(|q| q.name() == "_sip._tcp.full.test"));
}

#[test]
fn silence_of_dns_is_told_apart_from_absence() {
    let silent = zone().failing(Question::Naptr("srv.test".into()));
    assert_eq!(
        places("sip:a@srv.test", ALL, &silent),
        ["TCP b.full.test 192.0.2.2:5080 -"]
    );
    let silent = Zone::default()
        .failing(Question::Service("_sip._tcp.plain.test".into()))
        .host("plain.test", &["192.0.2.3"]);
    let error = LocateError::NoAnswer("plain.test".into());
    assert_eq!(
        search("sip:a@plain.test", ALL, &silent, false).1,
        Err(error.clone())
    );
    assert_eq!(error.status().0, 503);
    let silent = zone().failing(Question::Address("a.full.test".into()));
    assert_eq!(
        places("sip:a@full.test", ALL, &silent),
        ["TCP b.full.test 192.0.2.2:5070 -"],
        "one host that is not known does not hide the others"
    );
}

#[test]
fn a_place_that_fails_gives_way_to_the_next_and_503_alone_counts() {
    let (_, result) = search("sip:a@full.test;transport=tcp", ALL, &zone(), false);
    let mut places = result.unwrap();
    let tried: Vec<String> = places.by_ref().map(|p| p.socket().to_string()).collect();
    let want = ["192.0.2.1:5060", "[2001:db8::1]:5060", "192.0.2.2:5070"];
    assert_eq!(tried, want);
    assert_eq!((places.next(), places.all().len()), (None, 3));
    let moving: Vec<u16> = (100..700).filter(|s| fails_over(*s)).collect();
    assert_eq!(moving, [503]);
}

#[test]
fn answers_nobody_asked_for_change_nothing() {
    let uri = Uri::parse(b"sip:a@full.test").unwrap();
    let mut search = Search::new(&uri, ALL, Rng::from_number(1));
    let naptr = search.poll_question().unwrap();
    search.answer(
        &Question::Address("full.test".into()),
        Answer::Address(vec!["192.0.2.66".parse().unwrap()]),
    );
    assert!(search.take_result().is_none());
    // An answer of the wrong kind is no answer.
    search.answer(&naptr, Answer::Address(vec!["192.0.2.66".parse().unwrap()]));
    assert!(matches!(search.poll_question(), Some(Question::Service(_))));
}

#[test]
fn services_are_drawn_by_priority_and_weight() {
    let mut rng = Rng::from_number(1);
    let mut first = [0u32; 5];
    for _ in 0..10_000 {
        let records = vec![
            Service::new(20, 0, 4, "h"),
            Service::new(10, 0, 3, "h"),
            Service::new(10, 60, 1, "h"),
            Service::new(10, 20, 2, "h"),
        ];
        let ordered = in_order(records, &mut rng);
        assert_eq!((ordered.len(), ordered[3].port), (4, 4));
        first[usize::from(ordered[0].port)] += 1;
    }
    assert!((7_000..7_900).contains(&first[1]), "{first:?}");
    assert!((2_100..2_900).contains(&first[2]), "{first:?}");
    assert!((1..400).contains(&first[3]), "{first:?}");
}

#[test]
fn answers_of_any_size_stay_within_the_bounds() {
    let many: Vec<String> = (0..500).map(|i| format!("h{i}.test")).collect();
    let records: Vec<_> = many.iter().map(|h| (1, 1, 5060, h.as_str())).collect();
    let addresses: Vec<String> = (0..255).map(|i| format!("192.0.2.{i}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut zone = Zone::default().srv("_sip._tcp.big.test", &records);
    for host in &many {
        zone = zone.host(host, &addresses);
    }
    let (asked, result) = search("sip:a@big.test;transport=tcp", ALL, &zone, false);
    assert_eq!(asked.len(), 1 + HOSTS_MAX);
    assert_eq!(result.unwrap().all().len(), PLACES_MAX);
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a.test".to_owned()),
        Just("b.test".to_owned()),
        Just("_sip._tcp.a.test".to_owned()),
        Just(".".to_owned()),
        "[a-z.\\-_ ]{0,70}",
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let naptr = (0..3u16, 0..3u16, "[sSu]", "SIPS?\\+D2[TUS]", name()).prop_map(
        |(order, preference, flags, service, replacement)| Naptr {
            order,
            preference,
            flags,
            service,
            replacement,
        },
    );
    let service = (0..3u16, 0..3u16, any::<u16>(), name())
        .prop_map(|(p, w, port, target)| Service::new(p, w, port, &target));
    prop_oneof![
        proptest::collection::vec(naptr, 0..8).prop_map(Answer::Naptr),
        proptest::collection::vec(service, 0..8).prop_map(Answer::Service),
        proptest::collection::vec(any::<u32>(), 0..8)
            .prop_map(|a| Answer::Address(a.into_iter().map(|n| IpAddr::V4(n.into())).collect())),
        Just(Answer::Absent),
        Just(Answer::Failed),
    ]
}

proptest! {
    /// Whatever DNS says, a search ends, within its bounds, and over the transports it was given.
    #[test]
    fn search_ends_whatever_dns_says(
        answers in proptest::collection::vec(answer(), 0..24),
        sips: bool,
        udp: bool,
    ) {
        let text = if sips { "sips:x@a.test" } else { "sip:x@a.test" };
        let spoken = if udp { ALL } else { &ALL[..2] };
        let uri = Uri::parse(text.as_bytes()).unwrap();
        let mut search = Search::new(&uri, spoken, Rng::from_number(3));
        let (mut answers, mut asked) = (answers.into_iter(), 0);
        while let Some(question) = search.poll_question() {
            asked += 1;
            search.answer(&question, answers.next().unwrap_or(Answer::Absent));
        }
        prop_assert!(asked <= 1 + NAPTR_MAX + HOSTS_MAX);
        if let Ok(places) = search.take_result().expect("it ends") {
            prop_assert!((1..=PLACES_MAX).contains(&places.all().len()));
            for place in places.all() {
                let tls = place.transport == Transport::Tls;
                prop_assert!(spoken.contains(&place.transport) && (tls || !sips));
                prop_assert_eq!(place.tls_name.as_deref(), tls.then_some("a.test"));
                prop_assert!(place.port != 0);
            }
        }
    }
}
