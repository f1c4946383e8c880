//! Neighbours and search rules: what goes where, and what does not.

use super::*;
use ::status::{SearchOutcome, SearchQuestion};

const ROUTING: &str = r#"
[[call_control]]
name = "kamailio"
address = "10.0.0.5:5060"
[[zones]]
name = "trunk"
type = "neighbor"
peers = ["10.0.0.40"]
transport = "tcp"
port = 5560
hop_count = 9
monitor = false
[[zones]]
name = "pbx"
type = "neighbor"
peers = ["10.0.0.50", "10.0.0.51"]
transport = "tcp"
monitor = false
[[zones]]
name = "mute"
type = "neighbor"
peers = ["10.0.0.60"]
transport = "tcp"
accept_incoming = false
monitor = false
[[transforms]]
name = "outside line"
pattern = "00"
behavior = "replace"
replace = "+"
[[search_rules]]
name = "meetings"
priority = 10
source = "any"
pattern_type = "regex"
pattern = '(8\d+)@meet\.test'
behavior = "replace"
replace = '\1@conference.test'
target = "pbx"
[[search_rules]]
name = "abroad"
priority = 20
pattern = "+"
target = "trunk"
[[search_rules]]
name = "abroad by the second way"
priority = 30
pattern = "+"
target = "pbx"
[[search_rules]]
name = "foreign domains of clients"
priority = 40
source = "local_zone"
pattern_type = "suffix"
pattern = "@partner.test"
target = "trunk"
"#;

/// A connection that a host inside has made.
const CALLER: ConnId = ConnId(70);

/// A core that lets one in who is nobody's neighbour, too.
fn world() -> World {
    let listen = "listen = [\"10.0.0.20:5060\"]";
    let head = HEAD.replace(listen, &format!("{listen}\naccept_from = [\"10.0.0.99\"]"));
    let mut world = World::of(&format!("{head}{ROUTING}"), no_inside);
    world.link("i1");
    world.lane();
    world
}

/// A connection from this address.
fn from(world: &mut World, remote: &str) {
    world.connect(CALLER, Side::Inside, remote);
}

fn request(method: &str, uri: &str, fields: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nFrom: <sip:9@10.0.0.40>;tag=a\r\nTo: <{uri}>\r\n\
         Call-ID: t1\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
         Contact: <sip:9@10.0.0.40:5560>\r\n{fields}Content-Length: 0\r\n\r\n"
    )
}

fn uri(message: &Message) -> String {
    text(Some(message.request_uri()))
}

/// The Record-Routes that a request or response carries, as Routes of whoever called.
fn routes(message: &Message, reversed: bool) -> String {
    let mut routes: Vec<String> = message
        .values(Name::RecordRoute)
        .map(|v| text(Some(v)))
        .collect();
    if reversed {
        routes.reverse();
    }
    let lines = routes.iter().map(|r| format!("Route: {r}\r\n"));
    lines.collect()
}

#[test]
fn a_trunks_call_goes_to_the_zone_its_rule_names_and_its_dialog_the_same_way() {
    let mut world = world();
    from(&mut world, "10.0.0.40:40001");
    let pbx = world.dialled("10.0.0.50");
    world.ask(CALLER, &request("INVITE", "sip:8001@meet.test", ""));
    assert_eq!(world.out(CALLER)[0].status(), 100);
    let invite = world.one(pbx);
    assert_eq!(uri(&invite), "sip:8001@conference.test");
    assert_eq!(text(invite.header(Name::MaxForwards)), "15");
    assert_eq!(invite.values(Name::RecordRoute).count(), 1);
    let reply = invite
        .reply(200, "OK", "b")
        .header(Name::Contact, "<sip:8001@10.0.0.50:5060>")
        .header(Name::RecordRoute, invite.header(Name::RecordRoute).unwrap())
        .build();
    world.take(pbx, reply);
    let answer = world.one(CALLER);
    assert_eq!(answer.status(), 200);

    let in_dialog = |method: &str, cseq: u32, way: &str, tags: (&str, &str), to: &str| {
        format!(
            "{method} {to} SIP/2.0\r\n{way}From: <sip:x@y>;tag={}\r\nTo: <sip:z@y>;tag={}\r\n\
             Call-ID: t1\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n",
            tags.0, tags.1
        )
    };
    let way = routes(&answer, true);
    let target = "sip:8001@10.0.0.50:5060";
    world.ask(CALLER, &in_dialog("ACK", 1, &way, ("a", "b"), target));
    let ack = world.one(pbx);
    assert_eq!((ack.method(), ack.header(Name::Route)), (Method::Ack, None));
    world.ask(CALLER, &in_dialog("INFO", 2, &way, ("a", "b"), target));
    assert_eq!(uri(&world.one(pbx)), target);
    // And back: the other end hangs up, over the trunk's own connection.
    let trunk = world.dialled("10.0.0.40");
    let way = routes(&invite, false);
    let back = ("b", "a");
    world.ask(
        pbx,
        &in_dialog("INVITE", 1, &way, back, "sip:9@10.0.0.40:5560"),
    );
    let again = world.one(trunk);
    assert_eq!(text(again.header(Name::MaxForwards)), "9", "its hop_count");
    world.ask(
        pbx,
        &in_dialog("BYE", 2, &way, ("b", "a"), "sip:9@10.0.0.40:5560"),
    );
    let bye = world.one(trunk);
    assert_eq!((bye.method(), bye.header(Name::Route)), (Method::Bye, None));

    // Nobody else may take that way.
    let stranger = ConnId(71);
    world.connect(stranger, Side::Inside, "10.0.0.99:40001");
    world.ask(
        stranger,
        &in_dialog("BYE", 9, &way, ("b", "a"), "sip:9@10.0.0.40:5560"),
    );
    assert_eq!(world.one(stranger).status(), 481);
    let forged = way.replace("trunk-", "trunk-A");
    world.ask(
        pbx,
        &in_dialog("BYE", 9, &forged, ("b", "a"), "sip:9@10.0.0.40:5560"),
    );
    assert_eq!(world.one(pbx).status(), 481);
}

#[test]
fn a_zone_that_knows_nobody_is_followed_by_the_next_and_the_first_answer_counts() {
    let mut world = world();
    let pbx = [world.dialled("10.0.0.50"), world.dialled("10.0.0.51")];
    let trunk = world.dialled("10.0.0.40");
    from(&mut world, "10.0.0.99:40001");
    // Rules for zones are not for whoever is nobody's neighbour.
    world.ask(CALLER, &request("OPTIONS", "sip:0049@x.test", ""));
    assert_eq!(world.one(CALLER).status(), 404);
    let edge = ConnId(72);
    world.connect(edge, Side::Inside, "10.0.0.5:40001");
    world.ask(edge, &request("INVITE", "sip:0049@x.test", ""));
    let first = world.one(trunk);
    assert_eq!(uri(&first), "sip:+49@x.test");
    assert_eq!(text(first.header(Name::MaxForwards)), "9");
    world.take(trunk, first.reply(404, "Not Found", "k").build());
    for (i, conn) in pbx.into_iter().enumerate() {
        let next = world.out(conn);
        let next = next.iter().find(|m| m.method() == Method::Invite);
        let next = next.unwrap_or_else(|| panic!("server {i} was not tried"));
        world.take(
            conn,
            next.reply(480, "Temporarily Unavailable", "k").build(),
        );
    }
    let mut answers = world.out(edge);
    answers.retain(|m| m.status() != 100);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].status(), 404);
}

#[test]
fn what_is_for_a_client_that_is_gone_goes_nowhere_else_whatever_rules_say() {
    let rule = "[[search_rules]]\nname = \"all\"\nmode = \"any_alias\"\ntarget = \"pbx\"\n";
    for mode in ["path", "rewrite"] {
        let routing = ROUTING.replacen("5060\"", &format!("5060\"\ncontact = \"{mode}\""), 1);
        let mut world = World::new(&format!("{routing}{rule}"), no_inside);
        let register = world.registered("1001", "t1");
        let contact = register.values(Name::Contact).next().unwrap();
        let target = text(Some(sip::NameAddr::parse(contact).unwrap().uri));
        let path = register.values(Name::Path).map(|p| text(Some(p)));
        let route: String = path.map(|p| format!("Route: {p}\r\n")).collect();
        assert_eq!(route.is_empty(), mode == "rewrite");
        let (home, pbx) = (world.dialled("10.0.0.5"), world.dialled("10.0.0.50"));
        world.ask(home, &request("OPTIONS", &target, &route));
        assert_eq!(world.one(LANE).method(), Method::Options);
        world.wait(Duration::from_secs(700));
        let _ = (world.out(home), world.out(pbx));
        world.ask(home, &request("INVITE", &target, &route));
        assert!(
            world.out(pbx).is_empty(),
            "{mode}: a call of 1001's went astray"
        );
        assert_eq!(world.one(home).status(), 404, "{mode}");
        // What is meant for whom the core knows is searched, by our own Route as well.
        let ours = "Route: <sip:10.0.0.20:5060;transport=tcp;lr>\r\n";
        world.ask(home, &request("INVITE", "sip:8001@meet.test", ours));
        assert_eq!(world.one(pbx).method(), Method::Invite);
    }
}

#[test]
fn an_answer_that_is_final_ends_the_search() {
    let mut world = world();
    let trunk = world.dialled("10.0.0.40");
    from(&mut world, "10.0.0.5:40001");
    world.ask(CALLER, &request("INVITE", "sip:0049@x.test", ""));
    let first = world.one(trunk);
    world.take(trunk, first.reply(486, "Busy Here", "k").build());
    assert_eq!(world.one(CALLER).status(), 486);
    assert!(world.sent.iter().all(|(_, m)| m.method() != Method::Invite));
    world.wait(Duration::from_secs(40));
    assert!(world.core.trials.is_empty());
}

#[test]
fn what_no_rule_takes_is_refused_with_the_rules_that_were_tried() {
    let mut world = world();
    from(&mut world, "10.0.0.40:40001");
    world.ask(CALLER, &request("INVITE", "sip:bob@nowhere.test", ""));
    assert_eq!(world.one(CALLER).status(), 404);
    let event = world.events.iter().find(|e| e.kind == Kind::SearchRefused);
    let event = event.unwrap();
    let proof = |name: &str| {
        event
            .proof
            .iter()
            .find(|(n, _)| *n == name)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(proof("zone"), "trunk");
    assert!(
        proof("rules").contains("abroad: the destination does not match"),
        "{event:?}"
    );
    assert!(
        proof("rules").contains("it is for clients registered here"),
        "{event:?}"
    );
    assert!(event.kind.fix().contains("causeway ctl search"));
    // A stranger cannot fill the log.
    let before = world.events.len();
    for _ in 0..500 {
        world.ask(CALLER, &request("OPTIONS", "sip:bob@nowhere.test", ""));
    }
    assert!(world.events.len() - before < 100);
}

#[test]
fn a_zone_that_may_begin_nothing_is_told_so() {
    let mut world = world();
    from(&mut world, "10.0.0.60:40001");
    world.ask(CALLER, &request("INVITE", "sip:8001@meet.test", ""));
    assert_eq!(world.one(CALLER).status(), 403);
    assert!(world.kinds().contains(&Kind::SearchRefused));
}

#[test]
fn a_client_reaches_a_foreign_domain_by_its_rule_and_everything_else_by_call_control() {
    let mut world = world();
    world.registered("1001", "t1");
    let (trunk, home) = (world.dialled("10.0.0.40"), world.dialled("10.0.0.5"));
    for (to, conn) in [
        ("sip:bob@partner.test", trunk),
        ("sip:bob@elsewhere.test", home),
        ("sip:0049@example.test", home),
    ] {
        let text = format!(
            "MESSAGE {to} SIP/2.0\r\n\
             Record-Route: <sip:t1@edge1.example.test:5061;transport=tls;lr>\r\n\
             P-Asserted-Identity: <sip:1001@example.test>\r\n\
             From: <sip:1001@example.test>;tag=f\r\nTo: <{to}>\r\nCall-ID: m-{to}\r\n\
             CSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        world.ask(LANE, &text);
        let sent = world.one(conn);
        assert_eq!(uri(&sent), to);
    }
}

#[test]
fn a_trunk_that_does_not_answer_options_is_told_of_and_tried_last() {
    let more = ROUTING.replace("monitor = false", "monitor = true");
    let mut world = World::new(&more, no_inside);
    let [one, other] = [world.dialled("10.0.0.50"), world.dialled("10.0.0.51")];
    world.wait(Duration::from_secs(1));
    let options = world.one(one);
    assert_eq!(options.method(), Method::Options);
    let alive = world.one(other);
    world.take(other, alive.reply(483, "Too Many Hops", "k").build());
    let alive = world.one(world.dialled("10.0.0.40"));
    world.take(
        world.dialled("10.0.0.40"),
        alive.reply(200, "OK", "k").build(),
    );
    world.wait(Duration::from_secs(40));
    let states: Vec<(String, String)> = world.core.zone_rows();
    let of = |name: &str| &states.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(of("pbx"), "does not answer OPTIONS");
    assert_eq!(of("pbx-2"), "active");
    assert!(world.kinds().contains(&Kind::CallControlDown));
    let hits = [policy::search::Hit {
        zone: "pbx".into(),
        alias: "x".into(),
        rule: "r".into(),
    }];
    let hops: Vec<String> = world.core.hops(&hits).into_iter().map(|h| h.zone).collect();
    assert_eq!(hops, ["pbx-2", "pbx"]);
}

/// An INVITE with an offer of this profile.
fn offer(uri: &str, profile: &str) -> String {
    let key = match profile {
        "SAVP" => {
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"
        }
        _ => "",
    };
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 10.0.0.40\r\ns=-\r\nc=IN IP4 10.0.0.40\r\nt=0 0\r\n\
         m=audio 4000 RTP/{profile} 0\r\n{key}"
    );
    request("INVITE", uri, "Content-Type: application/sdp\r\n").replace(
        "Content-Length: 0\r\n\r\n",
        &format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len()),
    )
}

/// A core whose `pbx` wants encrypted media, and a connection of the trunk, which has none.
fn forced() -> World {
    let forced = ROUTING.replace(
        "name = \"pbx\"",
        "name = \"pbx\"\nmedia_encryption = \"force\"",
    );
    let mut world = World::new(&forced, no_inside);
    from(&mut world, "10.0.0.40:40001");
    world
}

fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// An answer to an INVITE that the core made of `offer`, encrypted.
fn answered(invite: &Message) -> Message {
    let tag = body(invite);
    let tag = tag.split("a=crypto:").nth(1).unwrap()[..1].to_owned();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 10.0.0.50\r\ns=-\r\nc=IN IP4 10.0.0.50\r\nt=0 0\r\n\
         m=audio 5000 RTP/SAVP 0\r\n\
         a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR\r\n"
    );
    let reply = invite
        .reply(200, "OK", "b")
        .header(Name::Contact, "<sip:8001@10.0.0.50:5060>");
    reply.body(b"application/sdp", sdp).build()
}

#[test]
fn a_plain_call_to_a_zone_that_wants_encrypted_media_is_encrypted_by_the_core() {
    let mut world = forced();
    let pbx = world.dialled("10.0.0.50");
    world.ask(CALLER, &offer("sip:8001@meet.test", "AVP"));
    let invite = world.one(pbx);
    assert_eq!(uri(&invite), "sip:8001@conference.test");
    assert_eq!(text(invite.header(Name::MaxForwards)), "15");
    assert_eq!(invite.values(Name::RecordRoute).count(), 0, "no proxy");
    assert!(
        body(&invite).contains(" RTP/SAVP 0\r\n"),
        "{}",
        body(&invite)
    );
    world.take(pbx, answered(&invite));
    let answer = world.out(CALLER).pop().unwrap();
    assert!(
        body(&answer).contains(" RTP/AVP 0\r\n"),
        "{}",
        body(&answer)
    );
    assert_eq!(world.core.betweens.len(), 1);
    let figures = world.core.ledger.figures();
    assert_eq!(figures.rich_media, 1, "it counts as a call");
    let tag = text(Some(answer.to().unwrap().tag().unwrap()));
    let contact = answer.values(Name::Contact).next();
    let target = text(Some(sip::NameAddr::parse(contact.unwrap()).unwrap().uri));
    let in_dialog = |method: &str, cseq: u32| {
        format!(
            "{method} {target} SIP/2.0\r\nFrom: <sip:9@10.0.0.40>;tag=a\r\n\
             To: <sip:8001@meet.test>;tag={tag}\r\nCall-ID: t1\r\nCSeq: {cseq} {method}\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
    };
    // Who is neither zone is not heard, whatever it knows of the call.
    let other = ConnId(71);
    world.connect(other, Side::Inside, "10.0.0.5:40001");
    world.ask(other, &in_dialog("ACK", 1));
    world.ask(other, &in_dialog("BYE", 9));
    assert_eq!(world.one(other).status(), 481);
    world.ask(CALLER, &in_dialog("ACK", 1));
    assert_eq!(world.one(pbx).method(), Method::Ack);
    world.ask(CALLER, &in_dialog("BYE", 2));
    let bye = world.one(pbx);
    world.take(pbx, bye.reply(200, "OK", "").build());
    assert_eq!(world.one(CALLER).status(), 200);
    world.wait(Duration::from_secs(40));
    let census: Vec<_> = world.core.rows();
    assert!(census.contains(&("calls between zones", 0)), "{census:?}");
    assert!(census.contains(&("media legs", 0)), "{census:?}");
}

#[test]
fn a_call_that_needs_no_conversion_passes_by_and_one_that_breaks_its_own_zones_rule_is_refused() {
    let mut world = forced();
    let pbx = world.dialled("10.0.0.50");
    world.ask(CALLER, &offer("sip:8001@meet.test", "SAVP"));
    let invite = world.one(pbx);
    assert_eq!(invite.values(Name::RecordRoute).count(), 1);
    assert!(world.core.betweens.is_empty());
    world.take(pbx, invite.reply(486, "Busy Here", "b").build());
    assert_eq!(world.out(CALLER).pop().unwrap().status(), 486);
    let theirs = ConnId(73);
    world.connect(theirs, Side::Inside, "10.0.0.50:40001");
    let uri = "sip:0049@x.test";
    world.ask(
        theirs,
        &offer(uri, "AVP").replace("Call-ID: t1", "Call-ID: t2"),
    );
    assert_eq!(world.one(theirs).status(), 488);
    assert!(world.kinds().contains(&Kind::NoCrypto));
    // Encrypted, it reaches the trunk as RTP.
    world.ask(
        theirs,
        &offer(uri, "SAVP").replace("Call-ID: t1", "Call-ID: t3"),
    );
    let trunk = world.dialled("10.0.0.40");
    let invite = world.one(trunk);
    assert!(
        body(&invite).contains(" RTP/AVP 0\r\n"),
        "{}",
        body(&invite)
    );
    assert!(!body(&invite).contains("a=crypto"));
}

#[test]
fn a_converted_call_that_one_server_does_not_take_goes_to_the_next() {
    let mut world = forced();
    let [one, other] = [world.dialled("10.0.0.50"), world.dialled("10.0.0.51")];
    world.ask(CALLER, &offer("sip:8001@meet.test", "AVP"));
    let first = world.one(one);
    world.take(one, first.reply(503, "Service Unavailable", "k").build());
    let sent = world.out(one);
    assert!(sent.iter().all(|m| m.method() == Method::Ack), "{sent:?}");
    let next = world.one(other);
    assert!(body(&next).contains(" RTP/SAVP 0\r\n"));
    let began = |world: &World| {
        let began = world.events.iter().filter(|e| e.kind == Kind::CallBegan);
        began.count()
    };
    assert_eq!(began(&world), 1, "one call, whoever takes it");
    world.take(other, answered(&next));
    let answer = world.out(CALLER).pop().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(world.core.betweens.len(), 1);

    let mut world = forced();
    world.ask(CALLER, &offer("sip:8001@meet.test", "AVP"));
    let first = world.one(one);
    world.take(one, first.reply(404, "Not Found", "k").build());
    let next = world.one(other);
    world.take(other, next.reply(486, "Busy Here", "k").build());
    assert_eq!(world.out(CALLER).pop().unwrap().status(), 486);
    world.wait(Duration::from_secs(40));
    assert!(world.core.betweens.is_empty() && world.core.trials.is_empty());
}

#[test]
fn a_converted_call_that_no_server_takes_gets_the_first_answer() {
    let mut world = forced();
    let [one, other] = [world.dialled("10.0.0.50"), world.dialled("10.0.0.51")];
    world.ask(CALLER, &offer("sip:8001@meet.test", "AVP"));
    let first = world.one(one);
    world.take(one, first.reply(404, "Not Found", "k").build());
    let last = world.one(other);
    world.take(other, last.reply(503, "Service Unavailable", "k").build());
    assert_eq!(world.out(CALLER).pop().unwrap().status(), 404);
    let told = world.events.iter().find(|e| e.kind == Kind::CallUnanswered);
    assert!(told.is_some_and(|e| e.to_string().contains("404")));
    world.wait(Duration::from_secs(40));
    assert!(world.core.betweens.is_empty() && world.core.trials.is_empty());
    let look = world.core.snapshot(world.now);
    assert_eq!((look.calls.len(), look.counters.media_ports_in_use), (0, 0));
}

/// A reliable 183 to an INVITE that the core made of `offer`, with the answer in it.
fn early(invite: &Message, tag: &str) -> Message {
    let text = String::from_utf8_lossy(answered(invite).bytes()).into_owned();
    let reliable = "Require: 100rel\r\nRSeq: 7\r\nContent-Type: application/sdp";
    let text = text
        .replacen("200 OK", "183 Session Progress", 1)
        .replacen(";tag=b", &format!(";tag={tag}"), 1)
        .replacen("Content-Type: application/sdp", reliable, 1);
    message(&text)
}

#[test]
fn a_converted_call_goes_on_to_the_next_server_after_it_has_rung() {
    for dies in [false, true] {
        let mut world = forced();
        let [one, other] = [world.dialled("10.0.0.50"), world.dialled("10.0.0.51")];
        let invite = offer("sip:8001@meet.test", "AVP");
        let invite = invite.replace("Content-Type", "Supported: 100rel\r\nContent-Type");
        world.ask(CALLER, &invite);
        let first = world.one(one);
        world.take(one, early(&first, "r1"));
        let rings = world.out(CALLER).pop().unwrap();
        assert_eq!(rings.status(), 183);
        let tag = text(Some(rings.to().unwrap().tag().unwrap()));
        let prack = |tag: &str, cseq: u32| {
            format!(
                "PRACK sip:trunk@10.0.0.20:5060 SIP/2.0\r\nFrom: <sip:9@10.0.0.40>;tag=a\r\n\
                 To: <sip:8001@meet.test>;tag={tag}\r\nCall-ID: t1\r\nCSeq: {cseq} PRACK\r\n\
                 RAck: 7 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            )
        };
        world.ask(CALLER, &prack(&tag, 2));
        let acknowledged = world.one(one);
        assert_eq!(acknowledged.method(), Method::Prack);
        // It dies, or says that it can do no more; its PRACK is not answered.
        match dies {
            true => world.give(Input::Disconnected {
                conn: one,
                why: "connection reset by peer".into(),
            }),
            false => world.take(one, first.reply(503, "Service Unavailable", "r1").build()),
        }
        let told = world.out(CALLER);
        let told = told.iter().map(Message::status).filter(|s| *s != 100);
        let told: Vec<u16> = told.collect();
        assert!(matches!(told[..], [480 | 481]), "the PRACK alone: {told:?}");
        let next = world.one(other);
        assert!(body(&next).contains(" RTP/SAVP 0\r\n"));
        assert_ne!(body(&next), body(&first), "keys and ports of its own");
        world.take(other, early(&next, "r2"));
        let again = world.out(CALLER).pop().unwrap();
        let second = text(Some(again.to().unwrap().tag().unwrap()));
        assert!(
            again.status() == 183 && second != tag,
            "another early dialog"
        );
        world.ask(CALLER, &prack(&tag, 3));
        assert_eq!(world.one(CALLER).status(), 481, "the first is gone");
        world.ask(CALLER, &prack(&second, 3));
        let prack = world.one(other);
        world.take(other, prack.reply(200, "OK", "").build());
        assert_eq!(world.one(CALLER).status(), 200);
        let answer = next.reply(200, "OK", "r2");
        let answer = answer.header(Name::Contact, "<sip:8001@10.0.0.51:5060>");
        world.take(other, answer.build());
        let answer = world.out(CALLER).pop().unwrap();
        let tag = text(Some(answer.to().unwrap().tag().unwrap()));
        assert_eq!((answer.status(), tag), (200, second));
        let began = world.events.iter().filter(|e| e.kind == Kind::CallBegan);
        assert_eq!((began.count(), world.core.betweens.len()), (1, 1));
    }
}

#[test]
fn a_converted_call_that_rang_and_no_server_takes_leaves_nothing() {
    let mut world = forced();
    let [one, other] = [world.dialled("10.0.0.50"), world.dialled("10.0.0.51")];
    world.ask(CALLER, &offer("sip:8001@meet.test", "AVP"));
    for (conn, tag, status) in [(one, "r1", 503), (other, "r2", 480)] {
        let invite = world.one(conn);
        world.take(conn, early(&invite, tag));
        assert_eq!(world.out(CALLER).pop().unwrap().status(), 183);
        world.take(conn, invite.reply(status, "No", tag).build());
    }
    assert_eq!(world.out(CALLER).pop().unwrap().status(), 503);
    world.wait(Duration::from_secs(40));
    assert!(world.core.betweens.is_empty() && world.core.trials.is_empty());
    let look = world.core.snapshot(world.now);
    assert_eq!((look.calls.len(), look.counters.media_ports_in_use), (0, 0));
}

/// The dry run's report.
fn dry(world: &mut World, from: &str, to: &str, zone: &str) -> ::status::SearchReport {
    let asked = SearchQuestion {
        from: from.into(),
        to: to.into(),
        zone: zone.into(),
        authenticated: false,
    };
    let question = Question::Search(asked);
    world.give(Input::Ask {
        id: AskId(5),
        question,
    });
    world.reports.pop().unwrap()
}

#[test]
fn the_dry_run_tells_every_verdict_and_where_the_request_would_go() {
    let mut world = world();
    let report = dry(&mut world, "", "sip:0049@x.test", "trunk");
    assert_eq!(report.alias, "0049@x.test");
    assert_eq!(report.transformed, "+49@x.test");
    assert_eq!(report.rules.len(), 4);
    let zones: Vec<&str> = report.targets.iter().map(|t| t.zone.as_str()).collect();
    assert_eq!(zones, ["pbx"], "a trunk is not asked for what it asks");
    assert_eq!(report.targets[0].up, Some(true));
    assert_eq!(report.targets[0].how.len(), 2);
    assert_eq!(report.targets[0].how[0], "10.0.0.50:5060 over TCP: active");

    let report = dry(
        &mut world,
        "sip:1001@example.test",
        "sip:1002@example.test",
        "",
    );
    assert!(report.note.contains("call control's") && report.authenticated);
    assert_eq!(report.targets[0].zone, "kamailio");

    let report = dry(&mut world, "sip:x@stranger.test", "sip:0049@x.test", "");
    assert_eq!(
        (report.zone.as_str(), report.targets.len()),
        ("DefaultZone", 0)
    );

    let report = dry(&mut world, "", "sip:8001@meet.test", "mute");
    assert!(report.note.contains("403") && report.targets.is_empty());
    let report = dry(&mut world, "", "sip:8001@meet.test", "nobody");
    assert_eq!(report.outcome, SearchOutcome::NotUnderstood, "{report:?}");
    assert!(report.note.contains("no zone \"nobody\""), "{report:?}");
    assert_eq!(
        report.fix,
        "name one of these: edge1, kamailio, trunk, pbx, mute, DefaultZone"
    );
    assert!(world.sent.is_empty());

    // The same of a file alone, where nothing is connected.
    let config = load(&format!("{HEAD}{ROUTING}"));
    let asked = SearchQuestion {
        to: "8001@meet.test".into(),
        zone: "trunk".into(),
        ..SearchQuestion::default()
    };
    let report = crate::dry_run(Now::default(), &config, asked);
    assert_eq!(report.targets[0].alias, "8001@conference.test");
    assert_eq!(report.targets[0].up, None);
    assert_eq!(report.targets[0].how[0], "10.0.0.50:5060 over TCP");
}

#[test]
fn the_dry_run_says_of_another_scheme_what_the_node_does() {
    for scheme in ["mailto", "xmpp", "im", "h323"] {
        let mut world = world();
        let to = format!("{scheme}:8001@meet.test");
        let report = dry(&mut world, "", &to, "trunk");
        assert!(
            report.note.contains("416") && report.targets.is_empty(),
            "{report:?}"
        );
        from(&mut world, "10.0.0.40:41000");
        world.ask(CALLER, &request("OPTIONS", &to, ""));
        assert_eq!(world.out(CALLER).pop().unwrap().status(), 416, "{to}");
    }
}

#[test]
fn the_dry_run_says_in_one_word_what_it_came_to() {
    use SearchOutcome::{CallControl, NotUnderstood, Nowhere, Routed};
    let mut world = world();
    // Destination, zone, with a running core, with the file of one whose nodes are discovered.
    let table = [
        ("sip:8001@meet.test", "trunk", Routed, Routed),
        ("sip:nothing@x.test", "trunk", Nowhere, Nowhere),
        ("sip:nothing@x.test", "DefaultZone", Nowhere, Nowhere),
        ("sip:8001@meet.test", "mute", Nowhere, Nowhere),
        ("sip:1002@example.test", "", Routed, CallControl),
        ("1002@example.test", "", Routed, CallControl),
        // No rule takes it, so it goes where the client is registered.
        ("sip:nothing@x.test", "", Routed, Routed),
        ("tel:+4930", "trunk", Routed, Routed),
        ("sip:8001@meet.test", "Trunk", NotUnderstood, NotUnderstood),
        ("1100", "", NotUnderstood, NotUnderstood),
        ("sip:1100", "", NotUnderstood, NotUnderstood),
        ("", "", NotUnderstood, NotUnderstood),
        ("sip:", "trunk", NotUnderstood, NotUnderstood),
        ("two words", "", NotUnderstood, NotUnderstood),
        (
            "mailto:8001@meet.test",
            "trunk",
            NotUnderstood,
            NotUnderstood,
        ),
        ("xmpp:8001@meet.test", "trunk", NotUnderstood, NotUnderstood),
        ("im:8001@meet.test", "trunk", NotUnderstood, NotUnderstood),
        ("h323:8001@meet.test", "trunk", NotUnderstood, NotUnderstood),
        ("sip:@meet.test", "trunk", NotUnderstood, NotUnderstood),
    ];
    let discovered = "[[unified_cm]]\npublisher = \"10.0.0.6\"\nuser = \"u\"\npassword = \"p\"\n";
    let (_, zones) = ROUTING.split_once("5060\"\n").unwrap();
    let config = load(&format!("{HEAD}{discovered}{zones}"));
    for (to, zone, running, offline) in table {
        let report = dry(&mut world, "", to, zone);
        assert_eq!(report.outcome, running, "{report:?}");
        let asked = SearchQuestion {
            to: to.into(),
            zone: zone.into(),
            ..SearchQuestion::default()
        };
        let report = crate::dry_run(Now::default(), &config, asked);
        assert_eq!(report.outcome, offline, "{report:?}");
        assert_eq!(
            report.fix.is_empty(),
            report.outcome == Routed,
            "{report:?}"
        );
    }
    let report = dry(&mut world, "", "1100", "");
    assert_eq!(report.note, "the destination \"1100\" has no domain");
    assert!(report.fix.starts_with("write sip:1100@example.test"));
    let report = dry(&mut world, "alice", "sip:8001@meet.test", "");
    assert_eq!(report.note, "the sender \"alice\" has no domain");
}

#[test]
fn what_a_zone_sends_may_be_limited_too() {
    let limited = ROUTING.replace("hop_count = 9", "hop_count = 9\nhop_count_in = 4");
    let mut world = World::new(&limited, no_inside);
    from(&mut world, "10.0.0.40:40001");
    let pbx = world.dialled("10.0.0.50");
    world.ask(CALLER, &request("OPTIONS", "sip:8001@meet.test", ""));
    assert_eq!(text(world.one(pbx).header(Name::MaxForwards)), "4");
    let none = request("OPTIONS", "sip:8001@meet.test", "").replace(": 70", ": 0");
    world.ask(CALLER, &none);
    assert_eq!(world.one(CALLER).status(), 483);
}
