//! What a client says of itself, what it would have others fetch, and whose tokens it carries.

use super::*;

#[test]
fn what_only_a_trusted_node_may_say_goes_and_what_telephones_need_stays() {
    let mut bench = Bench::registered();
    let keeps = "Privacy: id\r\nGeolocation: <cid:a@example.test>\r\n\
        Call-Info: <urn:x-cisco-remotecc:callinfo>; orientation=to; security=NotAuthenticated\r\n\
        X-cisco-newreg: a\r\nX-TAATag: b\r\nCisco-Guid: 1-2-3\r\nSession-ID: 9b8c\r\n\
        P-Access-Network-Info: IEEE-802.11\r\nReason: SIP;cause=200;text=\"cisco-alarm:25\"\r\n";
    let goes = "P-Preferred-Service: urn:evil\r\nP-Early-Media: sendrecv\r\n\
        History-Info: <sip:evil@x>\r\n\
        Diversion: <sip:evil@x>\r\nx-causeway-stream: evil\r\np_charging_vector: evil\r\n\
        Alert-Info: <http://10.0.0.1/evil.wav>\r\n\
        Call-Info: <http://intranet/evil.png>;purpose=icon\r\nError-Info: <file:///evil>\r\n";
    let fields = format!("{keeps}{goes}");
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", &fields);
    bench.frame(ConnId(1), message);
    let inside = bench.take(LANE);
    let text = String::from_utf8_lossy(inside.bytes()).into_owned();
    assert!(
        !text.contains("evil") && !text.contains("sendrecv"),
        "{text}"
    );
    for line in keeps.split_inclusive("\r\n") {
        assert!(text.contains(line), "{line}: {text}");
    }
    // What the client answers is no more trusted.
    bench.reply(LANE, &inside, 200, "core", &[]);
    bench.take(ConnId(1));
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    let route = format!("Route: {path}\r\n");
    let notify = bench.request("OPTIONS", "sip:a@10.0.0.1", "s", "1001", &route);
    bench.frame(LANE, notify);
    let outside = bench.take(ConnId(1));
    let (alert, call) = (Name::Other("Alert-Info"), Name::Other("Call-Info"));
    let fields = [
        (alert, "<http://10.0.0.1/evil.wav>"),
        (
            call,
            "<http://evil/>;purpose=icon, <urn:x-cisco-remotecc:callinfo>",
        ),
        (Name::PAssertedIdentity, "<sip:evil@x>"),
    ];
    bench.reply(ConnId(1), &outside, 200, "t", &fields);
    let answer = bench.take(LANE);
    let text = String::from_utf8_lossy(answer.bytes()).into_owned();
    assert!(!text.contains("evil"), "{text}");
    assert!(
        text.contains("Call-Info: <urn:x-cisco-remotecc:callinfo>\r\n"),
        "{text}"
    );
}

#[test]
fn every_p_field_of_a_client_goes_but_those_that_clients_write() {
    const EVIL: &str = "P-Unknown: evil\r\np-UNKNOWN : evil\r\nP-Unknown:\r\n evil,\r\n\tevil\r\n\
        P_Unknown: evil\r\np-: evil\r\nP-Com.Vendor: evil\r\n\
        P-Asserted-Identity:\r\n <sip:evil@x>\r\n\
        P-Access-Network-Info: IEEE-802.11;network-provided;x=evil\r\n\
        Attestation-Info: evil\r\nOrigination-Id: evil\r\nAdditional-Identity: <sip:evil@x>\r\n\
        CC-Diversion: <sip:evil@x>\r\nX-Causeway-Anything:\r\n  evil\r\nY: evil\r\n";
    let keeps = "P-Access-Network-Info: IEEE-802.11;i-wlan-node-id=00\r\n\
        P-RTP-Stat: PS=1,OS=2\r\nPriority: urgent\r\n";
    let mut bench = Bench::registered();
    let mut seen = Vec::new();
    let message = bench.request(
        "MESSAGE",
        "sip:1002@x",
        "1001",
        "1002",
        &format!("{EVIL}{keeps}"),
    );
    bench.frame(ConnId(1), message);
    let inside = bench.take(LANE);
    bench.reply(LANE, &inside, 200, "core", &[]);
    bench.take(ConnId(1));
    seen.push(inside);
    let register = bench.register(ConnId(1), "1001", &format!("{PHONE}{EVIL}{keeps}"));
    let route = format!("Route: {}\r\n", Bench::path(&register));
    seen.push(register);
    // Of a provisional answer no more is believed than of a final one.
    let invite = bench.request("INVITE", "sip:a@10.0.0.1", "s", "1001", &route);
    bench.frame(LANE, invite);
    let outside = bench.take(ConnId(1));
    for status in [180, 486] {
        let answer = outside.reply(status, "Any", "t").build();
        let text = String::from_utf8_lossy(answer.bytes()).into_owned();
        let text = text.replace("Content-Length", &format!("{EVIL}{keeps}Content-Length"));
        let answer = Message::parse(Bytes::from(text), &Limits::outside()).unwrap();
        bench.frame(ConnId(1), answer);
        let found = bench
            .sent
            .iter()
            .position(|(c, m)| *c == LANE && m.status() == status);
        seen.push(bench.sent.remove(found.unwrap()).unwrap().1);
    }
    for message in seen {
        let text = String::from_utf8_lossy(message.bytes()).into_owned();
        assert!(!text.contains("evil"), "{text}");
        assert!(!text.contains("network-provided"), "{text}");
        for line in keeps.split_inclusive("\r\n") {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}

#[test]
fn an_anonymous_sender_is_who_it_prefers_of_those_it_is() {
    let mut bench = Bench::registered();
    bench.register(ConnId(1), "1002", PHONE);
    for (preferred, asserted) in [
        ("1002@example.test", "1002"),
        ("1001@example.test", "1001"),
        ("boss@example.test", "1001"),
    ] {
        let fields = format!("Privacy: id\r\nP-Preferred-Identity: <sip:{preferred}>\r\n");
        let message = bench.request("MESSAGE", "sip:a@example.test", "anonymous", "a", &fields);
        bench.frame(ConnId(1), message);
        let inside = bench.take(LANE);
        let found = inside.header(Name::PAssertedIdentity).unwrap();
        let want = format!("<sip:{asserted}@example.test>");
        assert_eq!(String::from_utf8_lossy(found), want);
        assert!(inside.header(Name::PPreferredIdentity).is_none());
    }
}

const TOKEN: &str = "Bearer eyJhbGciOiJub25lIn0.example.test.x";

#[test]
fn a_token_for_call_control_passes_beside_the_digest_and_instead_of_it() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    // Unified CM has asked for it beside what the edge asks for; it may even name our realm.
    let fields = format!("Proxy-Authorization: {TOKEN}\r\n{PHONE}");
    let register = bench.register_request(ConnId(1), "1001", &fields);
    let more = format!("Bearer token=\"a\", realm=\"{REALM}\"");
    let register = register
        .edit()
        .push_back(Name::Authorization, more)
        .finish();
    bench.frame(ConnId(1), register);
    let inside = bench.take(LANE);
    bench.reply(LANE, &inside, 200, "core", &[(Name::Expires, "120")]);
    assert_eq!(bench.take(ConnId(1)).status(), 200);
    let proxy = inside.header(Name::ProxyAuthorization).unwrap();
    assert_eq!(String::from_utf8_lossy(proxy), TOKEN);
    let kept: Vec<_> = inside.values(Name::Authorization).collect();
    assert!(
        kept.iter().any(|v| v.starts_with(b"Bearer token")),
        "{kept:?}"
    );
    // And so it does in other requests.
    let fields = format!("Proxy-Authorization: {TOKEN}\r\n");
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", &fields);
    bench.frame(ConnId(1), message);
    let inside = bench.take(LANE);
    let proxy = inside.header(Name::ProxyAuthorization).unwrap();
    assert_eq!(String::from_utf8_lossy(proxy), TOKEN);
    bench.reply(LANE, &inside, 200, "core", &[]);
    bench.take(ConnId(1));

    // A client with nothing but a token is the inside's to judge, and registered if that says so.
    bench.connect(ConnId(2));
    let fields = format!(
        "Authorization: {TOKEN}\r\n{}",
        PHONE.replace("uuid:1", "uuid:2")
    );
    let register = bench.request("REGISTER", "sip:example.test", "1002", "1002", &fields);
    bench.frame(ConnId(2), register);
    let inside = bench.take(LANE);
    let passed = inside.header(Name::Authorization).unwrap();
    assert_eq!(String::from_utf8_lossy(passed), TOKEN);
    bench.reply(LANE, &inside, 200, "core", &[(Name::Expires, "120")]);
    assert_eq!(bench.take(ConnId(2)).status(), 200);
    let message = bench.request("MESSAGE", "sip:1001@example.test", "1002", "1001", "");
    bench.frame(ConnId(2), message);
    let inside = bench.take(LANE);
    let asserted = inside.header(Name::PAssertedIdentity).unwrap();
    assert_eq!(String::from_utf8_lossy(asserted), "<sip:1002@example.test>");
}

#[test]
fn a_token_that_nobody_takes_is_not_challenged_for_ever_and_bans_nobody() {
    let mut bench = Bench::linked();
    for n in 0..12 {
        let conn = ConnId(1 + n);
        bench.connect(conn);
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let fields = format!("Authorization: {TOKEN}\r\n{PHONE}");
            let register = bench.request("REGISTER", "sip:example.test", "1001", "1001", &fields);
            bench.frame(conn, register);
            if let Some(at) = bench.sent.iter().position(|(c, _)| *c == LANE) {
                let (_, inside) = bench.sent.remove(at).unwrap();
                bench.reply(LANE, &inside, 401, "core", &[]);
            }
            statuses.push(bench.take(conn).status());
        }
        assert_eq!(statuses, [401, 401, 403, 403]);
    }
    assert!(
        !bench.kinds().contains(&Kind::Banned),
        "{:?}",
        bench.kinds()
    );
}

#[test]
fn parameters_of_globally_routable_names_pass_both_ways() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    let phone = "Contact: <sip:bob@10.0.0.1:4000>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\n\
        Supported: gruu, outbound, path\r\nExpires: 3600\r\n";
    let register = bench.register_request(ConnId(1), "1001", phone);
    bench.frame(ConnId(1), register);
    let inside = bench.take(LANE);
    let text = String::from_utf8_lossy(inside.bytes()).into_owned();
    for line in phone.split_inclusive("\r\n") {
        assert!(text.contains(line), "{line}: {text}");
    }
    let granted = "<sip:bob@10.0.0.1:4000>;pub-gruu=\"sip:1001@example.test;gr=urn:uuid:1\";\
        temp-gruu=\"sip:tgruu.7hs==@example.test;gr\";+sip.instance=\"<urn:uuid:1>\";expires=120";
    bench.reply(LANE, &inside, 200, "core", &[(Name::Contact, granted)]);
    let answer = bench.take(ConnId(1));
    let contact = String::from_utf8_lossy(answer.header(Name::Contact).unwrap()).into_owned();
    assert!(
        contact.contains("pub-gruu=\"sip:1001@example.test;gr=urn:uuid:1\""),
        "{contact}"
    );
    assert!(
        contact.contains("temp-gruu=\"sip:tgruu.7hs==@example.test;gr\""),
        "{contact}"
    );
    // A request for such a name comes by the flow's token, and keeps the name.
    let path = Bench::path(&inside);
    let uri = "sip:1001@example.test;gr=urn:uuid:1";
    let notify = bench.request("NOTIFY", uri, "s", "1001", &format!("Route: {path}\r\n"));
    bench.frame(LANE, notify);
    let outside = bench.take(ConnId(1));
    assert_eq!(String::from_utf8_lossy(outside.request_uri()), uri);
}

#[test]
fn a_certificate_is_told_and_takes_the_place_of_no_digest() {
    let mut bench = Bench::linked();
    let conn = ConnId(1);
    let mut facts = facts(Side::Client, CLIENT);
    facts.peer_name = Some("csfalice.example.test".into());
    bench.input(Input::Connected { conn, facts });
    assert_eq!(bench.kinds(), [Kind::CertificateShown]);
    let name = bench.events[0].proof.iter().find(|(n, _)| *n == "name");
    assert!(name.is_some() && hidden(&bench.events[0]));
    let register = bench.request("REGISTER", "sip:example.test", "1001", "1001", PHONE);
    assert_eq!(bench.refused(conn, register), 401);
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
    assert_eq!(bench.refused(conn, message), 407);
}
