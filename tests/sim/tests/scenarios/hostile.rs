//! Attackers: a client without credentials, a client with its own, and an edge.

use std::sync::{Arc, Mutex};

use sim::checks::under_seeds;
use sim::hostile::{HostileEdge, Strings};
use sim::house;
use sim::text::Text;
use sim::ua::{Phase, SECOND};
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    let control = [house::Control::UnifiedCm, house::Control::Path];
    Plan {
        edges: 2,
        control: control[(seed % 2) as usize],
        ..Plan::SMALL
    }
}

/// A request with everything RFC 3261 wants.
fn request(method: &str, uri: &str, from: &str, to: &str, id: u64) -> Text {
    Text::request(method, uri)
        .with(
            "Via",
            format!("SIP/2.0/TLS 203.0.113.200:5061;branch=z9hG4bKhostile{id}"),
        )
        .with("From", format!("<{from}>;tag=h{id}"))
        .with("To", format!("<{to}>"))
        .with("Call-ID", format!("hostile-{id}"))
        .with("CSeq", format!("1 {method}"))
        .with("Max-Forwards", "70")
        .with("Contact", "<sip:evil@203.0.113.200:5061;transport=tls>")
}

const ALICE: &str = "sip:1001@cucm1.example.test";
const PHONE: &str = "sip:1101@cucm1.example.test";

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 203.0.113.200\r\ns=-\r\nc=IN IP4 10.0.0.66\r\nt=0 0\r\n\
    m=audio 4000 RTP/SAVP 0\r\na=x-causeway-stream:00000001\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
    inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";

/// What an attacker may say; the same for a client and an edge.
fn malice(w: &mut World) -> Vec<Text> {
    let mut id = w.random(1_000_000) * 100;
    let mut next = || {
        id += 1;
        id
    };
    let forged = "<sip:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@203.0.113.10:5061;transport=tls;lr>";
    let asserted = |t: Text| t.with("P-Asserted-Identity", format!("<{ALICE}>"));
    let offer = |t: Text| t.with_body("application/sdp", OFFER);
    let mut all = vec![
        request("INVITE", PHONE, ALICE, PHONE, next()),
        asserted(request("INVITE", PHONE, ALICE, PHONE, next())),
        request(
            "INVITE",
            "sip:root@10.0.0.66:22",
            ALICE,
            "sip:root@10.0.0.66:22",
            next(),
        ),
        request("INVITE", PHONE, ALICE, PHONE, next()).with("Route", "<sip:10.0.0.66;lr>"),
        request("INVITE", PHONE, ALICE, PHONE, next()).with("Route", forged),
        request(
            "INVITE",
            "sip:x@metadata.internal",
            ALICE,
            "sip:x@metadata.internal",
            next(),
        ),
    ];
    all = all.into_iter().map(offer).collect();
    let expires = |t: Text| t.with("Expires", "3600");
    all.push(expires(request(
        "REGISTER",
        "sip:cucm1.example.test",
        ALICE,
        ALICE,
        next(),
    )));
    all.push(expires(asserted(request(
        "REGISTER",
        "sip:10.0.0.66",
        ALICE,
        ALICE,
        next(),
    ))));
    let path = request("REGISTER", "sip:cucm1.example.test", ALICE, ALICE, next());
    all.push(expires(
        path.with("Path", forged)
            .with("Route", "<sip:10.0.0.66:5060;lr>"),
    ));
    for method in [
        "SUBSCRIBE",
        "MESSAGE",
        "REFER",
        "NOTIFY",
        "PUBLISH",
        "INFO",
        "UPDATE",
        "FOO",
    ] {
        all.push(asserted(request(method, PHONE, ALICE, PHONE, next())).with("Event", "x"));
    }
    let tagged = format!("{PHONE}>;tag=guessed");
    for method in ["BYE", "INVITE", "UPDATE", "PRACK", "ACK", "CANCEL"] {
        let mut text = request(method, PHONE, ALICE, PHONE, next());
        for (name, value) in &mut text.fields {
            if name == "To" {
                *value = format!("<{tagged}");
            }
        }
        all.push(text.with("Route", forged));
    }
    let stray = request("INVITE", PHONE, ALICE, PHONE, next());
    for (status, reason) in [(100, "Trying"), (200, "OK"), (487, "Gone")] {
        let answer = Text::response(&stray, status, reason, "stray");
        all.push(
            answer
                .with("Contact", "<sip:evil@10.0.0.66>")
                .with_body("application/sdp", OFFER),
        );
    }
    all
}

/// The honest call from alice to phone1 goes on, and nobody else was bothered.
fn unharmed(w: &World, alice: usize, phone: usize) {
    assert!(w.in_call(alice, phone), "the honest call stands");
    assert_eq!(w.people[phone].ua.calls.len(), 1, "nobody else has called");
    let second = w.who("phone2");
    assert!(w.people[second].ua.calls.is_empty());
    for (number, contact, path) in &w.pbx.registered {
        assert!(
            !contact.contains("evil") && !number.contains("evil"),
            "{number} {contact} {path:?}"
        );
    }
}

fn honest_call(w: &mut World) -> (usize, usize) {
    w.ready();
    let (alice, phone) = (w.who("alice"), w.who("phone1"));
    w.with(alice, |ua, now| ua.call(now, "1101"));
    assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
    (alice, phone)
}

#[test]
fn a_stranger_at_the_edge_gets_nowhere() {
    under_seeds(4, plan, |w: &mut World| {
        let (alice, phone) = honest_call(w);
        let calls = w.people[alice].ua.calls[0].invite.clone();
        let mut lines = malice(w);
        // In-dialog requests for the honest call, with its true Call-ID and tags guessed.
        let mut bye = request("BYE", PHONE, ALICE, PHONE, 7);
        for (name, value) in &mut bye.fields {
            match name.as_str() {
                "Call-ID" => *value = calls.field("Call-ID").to_owned(),
                "From" => *value = calls.field("From").to_owned(),
                _ => {}
            }
        }
        lines.push(bye);
        for text in lines {
            let pipe = w.stranger(0);
            w.run(SECOND / 10);
            w.forge(pipe, 0, &text.to_bytes());
            w.run(SECOND / 2);
            let heard = String::from_utf8_lossy(&w.strangers[&pipe]).into_owned();
            assert!(!heard.contains("SIP/2.0 2"), "{text:?} is answered {heard}");
            for inside in ["10.0.0.20", "10.0.0.31", "10.0.0.100"] {
                assert!(
                    !heard.contains(inside),
                    "{text:?} learns the inside: {heard}"
                );
            }
            w.close(pipe, 0, "left");
        }
        w.run(5 * SECOND);
        unharmed(w, alice, phone);
        w.quiet();
    });
}

#[test]
fn bytes_that_are_no_sip_end_their_own_connection_alone() {
    under_seeds(4, plan, |w: &mut World| {
        let (alice, phone) = honest_call(w);
        for i in 0..40 {
            let pipe = w.stranger(i % 2);
            w.run(SECOND / 20);
            let length = 1 + w.random(3000) as usize;
            let mut bytes: Vec<u8> = (0..length).map(|_| w.random(256) as u8).collect();
            if i % 2 == 0 {
                let text = request("INVITE", PHONE, ALICE, PHONE, i as u64).to_bytes();
                let at = w.random(text.len() as u64) as usize;
                bytes = [&text[..at], &bytes[..], &text[at..]].concat();
            }
            w.forge(pipe, 0, &bytes);
            w.run(SECOND / 5);
        }
        w.run(15 * SECOND);
        assert!(w.in_call(alice, phone));
        assert_eq!(w.people[phone].ua.calls.len(), 1);
        w.everyone_hangs_up();
        w.run(400 * SECOND);
        w.quiet();
    });
}

#[test]
fn a_registered_client_cannot_speak_for_another_or_reach_beyond_call_control() {
    under_seeds(4, plan, |w: &mut World| {
        let (alice, phone) = honest_call(w);
        let bob = w.who("bob");
        let pipe = w.people[bob].pipe.unwrap();
        // Bob's own telephone does not know of what is said in its name.
        w.tolerated = vec![
            "an answer ",
            "the same INVITE twice",
            "where no call ever was",
            "was never acknowledged",
            "sip:evil@203.0.113.200:5061;transport=tls SIP/2.0 is for somebody else",
        ];
        for text in malice(w) {
            if text.method() == "INVITE" && text.uri() == PHONE && text.status().is_none() {
                continue;
            }
            w.forge(pipe, 0, &text.to_bytes());
            w.run(SECOND / 2);
        }
        // An INVITE of bob's in alice's name goes nowhere; asserting her name makes it no other's.
        let desk = "sip:1102@cucm1.example.test";
        let stolen = request("INVITE", desk, ALICE, PHONE, 98).with_body("application/sdp", OFFER);
        w.forge(pipe, 0, &stolen.to_bytes());
        w.run(5 * SECOND);
        assert_eq!(w.pbx.asserted, [("1001".into(), "1001".into())]);
        let bob_uri = "sip:1002@cucm1.example.test";
        let own = request("INVITE", desk, bob_uri, PHONE, 99)
            .with("P-Asserted-Identity", format!("<{ALICE}>"))
            .with("Remote-Party-ID", format!("<{ALICE}>;party=calling"))
            .with_body("application/sdp", OFFER);
        w.forge(pipe, 0, &own.to_bytes());
        w.run(5 * SECOND);
        let bobs = &w.pbx.asserted[1..];
        assert!(!bobs.is_empty() && w.pbx.asserted[0] == ("1001".into(), "1001".into()));
        let wrong: Vec<_> = bobs.iter().filter(|(_, who)| who != "1002").collect();
        assert!(wrong.is_empty(), "bob passes for {wrong:?}");
        // Nor does he take over her call behind the other edge, whatever he knows of it.
        let names = w.people[alice].ua.named(0);
        let theft = request("INVITE", ALICE, bob_uri, ALICE, 97)
            .with("Replaces", names)
            .with_body("application/sdp", OFFER);
        let before = w.pbx.asserted.len();
        w.forge(pipe, 0, &theft.to_bytes());
        w.run(5 * SECOND);
        assert_eq!(w.pbx.asserted.len(), before, "it reaches nobody");
        let told = w.gateways.iter().flat_map(|g| &g.events);
        let refused = |e: &&status::Event| e.kind == status::Kind::TakeoverRefused;
        assert_eq!(told.filter(refused).count(), 1);
        assert!(w.in_call(alice, phone));
        assert_eq!(w.people[phone].ua.calls.len(), 1);
        assert_eq!(w.people[alice].ua.calls[0].phase, Phase::Up);
        let numbers = w.pbx.numbers();
        assert!(
            numbers.contains(&"1001"),
            "alice is still registered: {numbers:?}"
        );
        w.forgotten = true;
        w.disconnect(bob);
        w.quiet();
    });
}

#[test]
fn a_hostile_edge_gains_nothing_that_the_core_does_not_grant() {
    under_seeds(4, plan, |w: &mut World| {
        let (alice, phone) = honest_call(w);
        let strings = Arc::new(Mutex::new(Strings::default()));
        let rng = base::Rng::from_number(w.seed);
        // Whose client turns to the hostile edge gets nothing of it.
        w.tolerated = vec!["bob: no answer to REGISTER"];
        w.usurp(1, Box::new(HostileEdge::new(1, rng, strings.clone())));
        // Its clients go elsewhere.
        let bob = w.who("bob");
        w.people[bob].edge = Some(0);
        assert!(w.run_until(60 * SECOND, |w| {
            let core = w.core_number(0);
            let now = w.gateways[core].now(w.now);
            let links = w.gateways[core]
                .engine
                .as_ref()
                .map(|e| e.snapshot(now).links);
            links.is_some_and(|l| l[1].up)
        }));
        w.run(5 * SECOND);
        let seen = w.pbx.registered.len();
        // The dialog of the honest call, as an edge that listened would know it.
        let invite = w.people[alice].ua.calls[0].invite.clone();
        let mut lines = malice(w);
        for method in ["INVITE", "CANCEL", "UPDATE", "BYE"] {
            let number = 5000 + lines.len() as u64;
            let mut text = request(
                method,
                &w.people[alice].ua.target_of(0),
                ALICE,
                PHONE,
                number,
            );
            for (name, value) in &mut text.fields {
                match name.as_str() {
                    "Call-ID" | "From" => *value = invite.field(name).to_owned(),
                    "To" => *value = w.people[alice].ua.remote_of(0),
                    "CSeq" => *value = format!("{number} {method}"),
                    _ => {}
                }
            }
            lines.push(text.with_body("application/sdp", OFFER));
        }
        for text in lines {
            strings.lock().unwrap().say.push_back(text.to_bytes());
            w.nudge(1);
            w.run(SECOND / 2);
        }
        w.run(5 * SECOND);
        unharmed(w, alice, phone);
        let more: Vec<_> = w.pbx.registered[seen..]
            .iter()
            .filter(|r| r.1.contains("evil"))
            .collect();
        assert!(more.is_empty(), "{more:?}");
        let heard = strings.lock().unwrap().heard.clone();
        let granted = heard
            .iter()
            .filter(|t| t.status().is_some_and(|s| (200..300).contains(&s)));
        assert_eq!(granted.count(), 0, "nothing is granted");
        // It breaks off, says it is another process, sends what no edge sends.
        let mut control = strings.lock().unwrap();
        control.control.push_back(traversal::Message::Domains {
            domains: Vec::new(),
        });
        control.control.push_back(traversal::Message::Unknown);
        drop(control);
        w.nudge(1);
        w.run(10 * SECOND);
        assert!(w.in_call(alice, phone));
        w.quiet();
    });
}
