//! REGISTERs of Cisco's telephones and Jabber, as they pass to Unified CM and back
//! (`protocol.md` 5.1 to 5.4).

use super::signing_in::{TARGET, alices_answer_to, cluster, sign_in};
use super::*;

/// What a client asks for all its lines with, in two parts.
const BULK: &str = "--uniqueBoundary\r\nContent-Type: application/x-cisco-remotecc-request+xml\r\n\
    Content-Disposition: session;handling=optional\r\n\r\n<x-cisco-remotecc-request>\
    <bulkregisterreq><contact all=\"true\"><register/></contact></bulkregisterreq>\
    </x-cisco-remotecc-request>\r\n--uniqueBoundary\r\n\
    Content-Type: application/x-cisco-remotecc-request+xml\r\n\
    Content-Disposition: session;handling=optional\r\n\r\n<x-cisco-remotecc-request>\n\t\
    <optionsind><combine max=\"6\"><remotecc><status/></remotecc><service-control/></combine><ix/>\
    </optionsind>\r\n\r\n</x-cisco-remotecc-request> \r\n--uniqueBoundary--\r\n\r\n";

/// What Unified CM answers to it.
const GRANTED: &str = "<x-cisco-remotecc-response><response><code>200</code><optionsind>\
    <combine max=\"6\"><remotecc><status/></remotecc></combine></optionsind></response>\n\
    </x-cisco-remotecc-response>\n";

const URI: &str = "sip:7514c56a-1034-a684-3299-9b956979ee5c@172.16.84.136:58980;transport=tls";

/// What follows the URI, spaces included.
const PARAMETERS: &str = ";+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-00505696779a>\";\
    +u.sip!devicename.ccm.cisco.com=\"CSFALICE\" ;+u.sip!model.ccm.cisco.com=\"503\";video;\
    x-cisco-mra-ha=AR_SK;x-cisco-reg-id=1";

const SUPPORTED: &str = "replaces,join,sdp-anat,norefersub,resource-priority,X-cisco-callinfo,\
    X-cisco-graceful-reg,X-cisco-duplicate-reg";

struct Asking<'a> {
    node: &'a str,
    flow: &'a str,
    contact: String,
    expires: u32,
    body: &'a str,
}

impl Default for Asking<'_> {
    fn default() -> Self {
        Asking {
            node: "cucm1",
            flow: "t1",
            contact: format!("<{URI}>{PARAMETERS}"),
            expires: 3600,
            body: BULK,
        }
    }
}

impl Asking<'_> {
    fn text(&self, world: &World) -> String {
        let Asking {
            node,
            flow,
            contact,
            expires,
            body,
        } = self;
        format!(
            "REGISTER sip:{node}.example.test SIP/2.0\r\n\
             Path: <sip:{flow}@edge1.example.test:5061;transport=tls;lr>\r\n\
             From: <sip:1001@{node}.example.test>;tag=00505696779a\r\n\
             To: <sip:1001@{node}.example.test>\r\n\
             Call-ID: 00505696-779a0005@172.16.84.136\r\nMax-Forwards: 70\r\n\
             Session-ID: 9b8c276600255000a0000e5dc13f0000;remote=0\r\n\
             Date: Sun, 22 Nov 2026 11:00:00 GMT\r\nCSeq: 104 REGISTER\r\n\
             User-Agent: Cisco-CSF\r\nContact: {contact}\r\nSupported: {SUPPORTED}\r\n\
             Reason: SIP;cause=200;text=\"cisco-alarm:25 Name=CSFALICE Last=initialized\"\r\n\
             {}Expires: {expires}\r\nContent-Type: multipart/mixed; boundary=uniqueBoundary\r\n\
             Mime-Version: 1.0\r\nContent-Length: {}\r\n\r\n{body}",
            alices_answer_to(world, &format!("sip:{node}.example.test")),
            body.len()
        )
    }
}

/// Alice has signed in.
fn world(extra: &str) -> World {
    let mut world = World::new(&format!("{UNIFIED_CM}{extra}"), cluster);
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    assert_eq!(world.answers.pop().unwrap().status, 200);
    world
}

/// A REGISTER goes in; gives it as the node got it.
fn ask(world: &mut World, asking: &Asking<'_>) -> (ConnId, Message) {
    let text = asking.text(world);
    world.ask(LANE, &text);
    let node = world.dialled(&format!("{}.example.test", asking.node));
    let sent = world.one(node);
    (node, sent)
}

/// Unified CM grants what it got, and says so in its own way; gives the client's answer.
fn grant(world: &mut World, node: ConnId, sent: &Message, contact: &str) -> Message {
    let reply = sent
        .reply(200, "OK", "u")
        .header(Name::Date, "Sun, 22 Nov 2026 11:00:01 GMT")
        .header(Name::Server, "Cisco-CUCM12.5")
        .header(Name::Expires, "120")
        .header(Name::Contact, contact)
        .header(
            Name::Supported,
            "X-cisco-srtp-fallback,X-cisco-supports-AR_SK",
        )
        .body(
            "application/x-cisco-remotecc-response+xml",
            GRANTED.as_bytes(),
        )
        .build();
    world.take(node, reply);
    world.one(LANE)
}

fn registered(world: &mut World, asking: &Asking<'_>) -> Message {
    let (node, sent) = ask(world, asking);
    let contact = text(sent.header(Name::Contact));
    grant(world, node, &sent, &contact);
    sent
}

#[test]
fn a_cisco_register_passes_with_all_it_carries_but_its_contacts_host() {
    let mut world = world("");
    let (node, sent) = ask(&mut world, &Asking::default());
    let contact = text(sent.header(Name::Contact));
    let (uri, rest) = contact[1..].split_once('>').unwrap();
    let (before, token) = uri.split_once(";causeway=").unwrap();
    assert_eq!(
        before,
        "sip:7514c56a-1034-a684-3299-9b956979ee5c@10.0.0.20:5060;transport=tcp;\
         orig-hostport=172.16.84.136:58980"
    );
    assert!(!token.contains(';'));
    let user = ";+u.sip!userid.ccm.cisco.com=\"alice\"";
    assert_eq!(rest, format!("{PARAMETERS}{user}"));
    assert_eq!(sent.body(), BULK.as_bytes());
    assert_eq!(sent.call_id(), b"00505696-779a0005@172.16.84.136");
    assert_eq!(sent.header(Name::Supported), Some(SUPPORTED.as_bytes()));
    for name in ["Session-ID", "Date", "Reason", "User-Agent", "Mime-Version"] {
        let of = |m: &Message| {
            let found = m
                .fields()
                .find(|f| f.name.eq_ignore_ascii_case(name.as_bytes()));
            found.map(|f| f.value.to_vec())
        };
        assert!(of(&sent).is_some(), "{name}");
    }

    let back = grant(
        &mut world,
        node,
        &sent,
        &format!("{contact};x-cisco-newreg"),
    );
    assert_eq!(
        text(back.header(Name::Contact)),
        format!("<{URI}>{PARAMETERS};x-cisco-newreg")
    );
    assert_eq!(back.body(), GRANTED.as_bytes());
    assert_eq!(back.header(Name::Expires), Some(&b"120"[..]));
    assert_eq!(
        back.content_type(),
        Some(&b"application/x-cisco-remotecc-response+xml"[..])
    );
}

#[test]
fn a_contact_that_unified_cm_gives_back_without_our_parameters_is_still_the_clients() {
    let mut world = world("");
    let (node, sent) = ask(&mut world, &Asking::default());
    let bare = "<sip:7514c56a-1034-a684-3299-9b956979ee5c@10.0.0.20:5060>;expires=90";
    let back = grant(&mut world, node, &sent, bare);
    assert_eq!(
        text(back.header(Name::Contact)),
        format!("<{URI}>;expires=90")
    );
    let look = world.core.snapshot(world.now);
    assert_eq!(look.registrations[0].expires_s, 90);
}

#[test]
fn a_keep_alive_to_the_standby_node_changes_nothing_and_comes_back_with_the_clients_contact() {
    let mut world = world("");
    registered(&mut world, &Asking::default());
    for node in ["cucm2", "cucm1"] {
        let asking = Asking {
            node,
            contact: format!("<{URI}>{PARAMETERS};expires=0;cisco-keep-alive"),
            expires: 0,
            body: "",
            ..Asking::default()
        };
        let (conn, sent) = ask(&mut world, &asking);
        let contact = text(sent.header(Name::Contact));
        assert!(contact.contains(";expires=0;cisco-keep-alive"), "{contact}");
        let back = grant(&mut world, conn, &sent, &contact);
        assert_eq!(text(back.header(Name::Contact)), asking.contact);
        let look = world.core.snapshot(world.now);
        assert_eq!(look.registrations.len(), 1, "{node}");
        assert_eq!(look.registrations[0].expires_s, 120);
        assert_eq!(
            look.registrations[0].aor.expose(),
            "sip:1001@cucm1.example.test"
        );
    }
    assert_eq!(world.core.registrar.len(), 1);
    assert!(!world.kinds().contains(&Kind::Unregistered));
}

#[test]
fn a_device_that_fails_over_or_comes_back_anew_keeps_one_row_and_is_reached_where_it_is() {
    let mut world = world("");
    registered(&mut world, &Asking::default());
    // The other node, another flow, and a new installation's instance.
    let moved = Asking {
        node: "cucm2",
        flow: "t2",
        contact: format!("<{URI}>{PARAMETERS}").replace("00505696779a", "00505696779b"),
        ..Asking::default()
    };
    let sent = registered(&mut world, &moved);
    let look = world.core.snapshot(world.now);
    assert_eq!(look.registrations.len(), 1);
    assert_eq!(
        look.registrations[0].aor.expose(),
        "sip:1001@cucm2.example.test"
    );
    let contact = sent.contacts().next().unwrap().unwrap();
    let sip::Contact::Address(contact) = contact else {
        panic!()
    };
    let node = world.dialled("cucm2.example.test");
    world.ask(
        node,
        &format!(
            "NOTIFY {} SIP/2.0\r\nFrom: <sip:cucm2.example.test>;tag=k\r\n\
             To: <sip:1001@cucm2.example.test>\r\nCall-ID: n\r\nCSeq: 1 NOTIFY\r\n\
             Event: service-control\r\nSubscription-State: active\r\n\
             Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
            text(Some(contact.uri))
        ),
    );
    let notify = world.one(LANE);
    assert_eq!(notify.request_uri(), URI.as_bytes());
    assert!(text(notify.header(Name::Route)).starts_with("<sip:t2@"));
    // The flow that it left means nothing any more.
    let place = Place {
        peer: 0,
        token: b"t1".to_vec(),
        path: Vec::new(),
    };
    world.core.flow_failed(world.now, &place);
    assert_eq!(world.core.registrar.len(), 1);
}

#[test]
fn what_unified_cm_refuses_comes_to_the_client_with_its_warning() {
    let mut world = world("");
    let (node, sent) = ask(&mut world, &Asking::default());
    let warning = "399 cucm1 \"Registration is active for another client\"";
    let reply = sent
        .reply(403, "Forbidden", "u")
        .header(Name::Warning, warning)
        .build();
    world.take(node, reply);
    let back = world.one(LANE);
    assert_eq!(back.status(), 403);
    let found = back.fields().find(|f| f.name == b"Warning");
    assert_eq!(text(found.map(|f| f.value)), warning);
    assert!(world.core.registrar.is_empty());
}

fn options(from: &str, flow: &str) -> String {
    format!(
        "OPTIONS sip:1100@cucm1.example.test SIP/2.0\r\n\
         Record-Route: <sip:{flow}@edge1.example.test:5061;transport=tls;lr>\r\n\
         P-Asserted-Identity: <sip:1001@cucm1.example.test>\r\n\
         From: <sip:{from}>;tag=c\r\nTo: <sip:1100@cucm1.example.test>\r\nCall-ID: o-{from}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Alice has a second line.
fn two_lines(fetch: &Fetch) -> Result<(u16, String), String> {
    if fetch.path == "/cucm-uds/user/Alice/extensions" {
        let line = |n| format!("<extension><directoryNumber>{n}</directoryNumber></extension>");
        let both = line(1001) + &line(1002);
        return Ok((200, format!("<extensions>{both}</extensions>")));
    }
    cluster(fetch)
}

#[test]
fn a_register_of_all_lines_lets_its_client_speak_on_each_of_its_users_lines() {
    for (body, on_second) in [(BULK, true), ("", false)] {
        let mut world = World::new(UNIFIED_CM, two_lines);
        sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
        registered(
            &mut world,
            &Asking {
                body,
                ..Asking::default()
            },
        );
        let node = world.dialled("cucm1.example.test");
        for (from, passes) in [
            ("1001@cucm1.example.test", true),
            ("1002@cucm1.example.test", on_second),
            ("1003@cucm1.example.test", false),
            ("1002@far.example", false),
        ] {
            world.ask(LANE, &options(from, "t1"));
            if passes {
                let sent = world.one(node);
                assert_eq!(
                    text(sent.header(Name::PAssertedIdentity)),
                    format!("<sip:{from}>")
                );
            } else {
                assert_eq!(world.one(LANE).status(), 403, "{from} {on_second}");
            }
        }
        let look = world.core.snapshot(world.now);
        assert_eq!(look.registrations.len(), 1);
    }
}
