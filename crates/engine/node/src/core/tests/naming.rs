//! Dialogs that requests outside of them name: softkeys of Cisco phones, and REFER.

use super::calls::{SDP_INSIDE, answer, follow, invite_from_client};
use super::*;

const REMOTECC: &str = "application/x-cisco-remotecc-request+xml";

/// A call that stands, with the tags of both legs.
pub(super) struct Names {
    pub(super) world: World,
    pub(super) inside: ConnId,
    /// The core's tag towards the client, and towards call control; the callee's.
    pub(super) outer: String,
    pub(super) inner: String,
    pub(super) callee: &'static str,
}

pub(super) fn standing() -> Names {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    let tag = |value: Option<&[u8]>| text(value).split("tag=").nth(1).unwrap().to_owned();
    let inner = tag(sent.header(Name::From));
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    let outer = tag(ok.header(Name::To));
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    Names {
        world,
        inside,
        outer,
        inner,
        callee: "p",
    }
}

fn softkey(local: &str, remote: &str) -> String {
    format!(
        "<x-cisco-remotecc-request>\r\n <softkeyeventmsg>\r\n  \
         <softkeyevent>Transfer</softkeyevent>\r\n  <dialogid>\r\n   <callid>call1</callid>\r\n   \
         <localtag>{local}</localtag>\r\n   <remotetag>{remote}</remotetag>\r\n  </dialogid>\r\n  \
         <linenumber>0</linenumber>\r\n </softkeyeventmsg>\r\n</x-cisco-remotecc-request>\r\n"
    )
}

#[test]
fn softkey_of_a_phone_names_the_call_as_call_control_knows_it() {
    let Names {
        mut world,
        inside,
        outer,
        inner,
        callee,
    } = standing();
    let body = softkey("c", &outer);
    let refer = format!(
        "REFER sip:example.test SIP/2.0\r\nFrom: <sip:1001@example.test>;tag=x\r\n\
         To: <sip:1001@example.test>\r\nCall-ID: key1\r\nCSeq: 1 REFER\r\nMax-Forwards: 70\r\n\
         Record-Route: <sip:t1@edge1.example.test:5061;transport=tls;lr>\r\n\
         P-Asserted-Identity: <sip:1001@example.test>\r\nRefer-To: cid:1234@198.51.100.7\r\n\
         Require: norefersub\r\nContact: <sip:1001@198.51.100.7:5555;transport=tls>\r\n\
         Content-Id: <1234@198.51.100.7>\r\n\
         Content-Type: {REMOTECC}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    world.ask(LANE, &refer);
    let got = world.one(inside);
    assert_eq!(text(Some(got.body())), softkey(&inner, callee));
    assert_eq!(text(got.header(Name::ContentType)), REMOTECC);
}

#[test]
fn request_of_call_control_names_the_call_as_the_client_knows_it() {
    let Names {
        mut world,
        inside,
        outer,
        inner,
        callee,
    } = standing();
    let row = world.core.registrar.iter().next().unwrap().0;
    let path = format!(
        "<{};lr>",
        world
            .core
            .settings
            .inside(false)
            .uri(&world.core.registrar.token(row))
    );
    let body = softkey(callee, &inner);
    let refer = format!(
        "REFER sip:1001@198.51.100.7:5555;transport=tls SIP/2.0\r\nRoute: {path}\r\n\
         From: <sip:1001@10.0.0.5>;tag=y\r\nTo: <sip:1001@example.test>\r\nCall-ID: key2\r\n\
         CSeq: 1 REFER\r\nMax-Forwards: 70\r\nRefer-To: cid:5@10.0.0.5\r\n\
         Contact: <sip:10.0.0.5>\r\nContent-Type: application/x-cisco-remotecc-request+xml\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    world.ask(inside, &refer);
    let got = world.one(LANE);
    assert_eq!(text(Some(got.body())), softkey(&outer, "c"));
}

#[test]
fn softkey_for_a_call_of_another_is_left_as_it_is() {
    let Names {
        mut world, inside, ..
    } = standing();
    let body = softkey("c", "nobodys");
    let refer = format!(
        "REFER sip:example.test SIP/2.0\r\nFrom: <sip:1001@example.test>;tag=x\r\n\
         To: <sip:1001@example.test>\r\nCall-ID: key1\r\nCSeq: 1 REFER\r\nMax-Forwards: 70\r\n\
         Record-Route: <sip:t1@edge1.example.test:5061;transport=tls;lr>\r\n\
         P-Asserted-Identity: <sip:1001@example.test>\r\nRefer-To: cid:1@x\r\n\
         Contact: <sip:1001@198.51.100.7:5555;transport=tls>\r\n\
         Content-Type: {REMOTECC}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    world.ask(LANE, &refer);
    assert_eq!(text(Some(world.one(inside).body())), body);
}
