//! Transfers of calls that the core's own rules led to a trunk.

use super::calls::{SDP_INSIDE, answer, follow, invite_from_client};
use super::*;

const ROUTING: &str = r#"
[[call_control]]
name = "kamailio"
address = "10.0.0.5:5060"
[[zones]]
name = "trunk"
type = "neighbor"
peers = ["10.0.0.40"]
transport = "tcp"
monitor = false
[[zones]]
name = "other"
type = "neighbor"
peers = ["10.0.0.50"]
transport = "tcp"
monitor = false
[[search_rules]]
name = "foreign domains of clients"
priority = 40
source = "local_zone"
pattern_type = "suffix"
pattern = "@partner.test"
target = "trunk"
"#;

/// A client's call with the trunk's far end, as both know it.
struct Up {
    world: World,
    trunk: ConnId,
    /// The client's INVITE and its answer.
    invite: Message,
    ok: Message,
    /// The INVITE as the trunk got it.
    inner: Message,
}

fn up(routing: &str) -> Up {
    let mut world = World::new(routing, no_inside);
    world.registered("1001", "t1");
    let trunk = world.dialled("10.0.0.40");
    let invite = invite_from_client("t1").replace("1100@example.test", "bob@partner.test");
    let invite = world.ask(LANE, &invite);
    let inner = world.one(trunk);
    world.take(
        trunk,
        answer(&inner, "p", "<sip:bob@10.0.0.40:5060>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    assert_eq!(ok.status(), 200);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    assert_eq!(world.one(trunk).method(), Method::Ack);
    Up {
        world,
        trunk,
        invite,
        ok,
        inner,
    }
}

impl Up {
    /// The client transfers the call; gives the REFER as the trunk gets it.
    fn refer(&mut self, cseq: u32, refer_to: &str) -> Message {
        let request = follow("REFER", &self.invite, &self.ok, cseq);
        let field = format!("Refer-To: {refer_to}\r\nMax-Forwards");
        self.world
            .ask(LANE, &request.replace("Max-Forwards", &field));
        let refer = self.world.one(self.trunk);
        assert_eq!(refer.method(), Method::Refer);
        refer
    }
}

/// An INVITE of the trunk's, to whom it was referred.
fn call(uri: &str, id: &str, fields: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nFrom: <sip:bob@10.0.0.40>;tag=t\r\nTo: <{uri}>\r\n\
         Call-ID: {id}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
         Contact: <sip:bob@10.0.0.40:5060>\r\n{fields}Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_trunk_that_a_client_refers_calls_whom_it_names_and_nobody_else() {
    let mut up = up(ROUTING);
    let to = "sip:1002@example.test";
    // Before, it may not.
    up.world.ask(up.trunk, &call(to, "early", ""));
    assert_eq!(up.world.one(up.trunk).status(), 404);
    let refer = up.refer(2, &format!("<{to}>"));
    up.world
        .take(up.trunk, refer.reply(202, "Accepted", "").build());
    assert_eq!(up.world.one(LANE).status(), 202);
    let home = up.world.dialled("10.0.0.5");
    for (n, uri) in [to, "sip:1002@10.0.0.20"].into_iter().enumerate() {
        up.world.ask(up.trunk, &call(uri, &format!("next{n}"), ""));
        assert_eq!(up.world.out(up.trunk)[0].status(), 100);
        let sent = up.world.one(home);
        assert_eq!(text(Some(sent.request_uri())), to);
        let busy = sent.reply(486, "Busy Here", "k").build();
        up.world.take(home, busy);
        assert_eq!(up.world.one(up.trunk).status(), 486);
        let _ = up.world.out(home);
    }
    // Nobody else, nor anybody else who is called so.
    up.world
        .ask(up.trunk, &call("sip:1003@example.test", "else", ""));
    assert_eq!(up.world.one(up.trunk).status(), 404);
    let other = ConnId(72);
    up.world.connect(other, Side::Inside, "10.0.0.50:40001");
    up.world.ask(other, &call(to, "other", ""));
    assert_eq!(up.world.one(other).status(), 404);
    // The news of it reach the client, and then it hangs up.
    let our = text(up.inner.header(Name::From));
    let notify = format!(
        "NOTIFY sip:x@10.0.0.20 SIP/2.0\r\nFrom: {};tag=p\r\nTo: {our}\r\nCall-ID: call1\r\n\
         CSeq: 1 NOTIFY\r\nEvent: refer\r\nSubscription-State: terminated;reason=noresource\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        text(up.inner.header(Name::To))
    );
    up.world.ask(up.trunk, &notify);
    assert_eq!(up.world.one(LANE).method(), Method::Notify);
    up.world.wait(Duration::from_secs(121));
    let _ = up.world.out(up.trunk);
    up.world.ask(up.trunk, &call(to, "late", ""));
    assert_eq!(up.world.one(up.trunk).status(), 404);
}

#[test]
fn a_trunk_is_connected_with_another_call_of_the_client_by_replaces() {
    let mut up = up(ROUTING);
    // A second call of the client's, by call control.
    let home = up.world.dialled("10.0.0.5");
    let second = invite_from_client("t1")
        .replace("call1", "call2")
        .replace("x-causeway-stream:00000011", "x-causeway-stream:00000012");
    let second = up.world.ask(LANE, &second);
    let inner = up.world.one(home);
    let phone = "<sip:1100@10.0.0.5:5060>";
    up.world.take(home, answer(&inner, "q", phone, SDP_INSIDE));
    let ok = up.world.one(LANE);
    up.world.ask(LANE, &follow("ACK", &second, &ok, 1));
    let _ = up.world.out(home);
    // The client names it by what it knows of it, our Contact and our tag among that.
    let contact = text(ok.header(Name::Contact));
    let contact = contact.trim_matches(['<', '>']);
    let tag = text(ok.to().unwrap().tag());
    let refer = up.refer(
        2,
        &format!("<{contact}?Replaces=call2%3Bto-tag%3D{tag}%3Bfrom-tag%3Dc>"),
    );
    let ours = text(inner.from().unwrap().tag());
    let refer_to = text(refer.header(Name::ReferTo));
    let named = format!("<sip:1100@10.0.0.5:5060?Replaces=call2%3Bto-tag%3Dq%3Bfrom-tag%3D{ours}>");
    assert_eq!(refer_to, named);
    let replaces = format!("Replaces: call2;to-tag=q;from-tag={ours}\r\n");
    up.world
        .ask(up.trunk, &call("sip:1100@10.0.0.5:5060", "next", &replaces));
    let sent = up.world.one(home);
    assert_eq!(
        text(sent.header(Name::Replaces)),
        format!("call2;to-tag=q;from-tag={ours}")
    );
}

#[test]
fn a_trunk_is_referred_to_another_of_its_own_where_the_client_might_call() {
    let mut up = up(ROUTING);
    let to = "sip:carol@partner.test";
    up.refer(2, &format!("<{to}>"));
    up.world.ask(up.trunk, &call(to, "next", ""));
    let mut sent = up.world.out(up.trunk);
    sent.retain(|m| m.is_request() && m.method() == Method::Invite);
    assert_eq!(sent.len(), 1, "it comes back to where both are");
    assert_eq!(text(Some(sent[0].request_uri())), to);
}

#[test]
fn a_trunk_that_may_begin_nothing_is_not_referred_and_that_is_told() {
    let silent = ROUTING.replacen("monitor", "accept_incoming = false\nmonitor", 1);
    let mut up = up(&silent);
    let request = follow("REFER", &up.invite, &up.ok, 2);
    let field = "Refer-To: <sip:1002@example.test>\r\nMax-Forwards";
    up.world.ask(LANE, &request.replace("Max-Forwards", field));
    assert_eq!(up.world.one(LANE).status(), 403);
    assert!(up.world.out(up.trunk).is_empty());
    let told = up.world.events.iter();
    let told: Vec<_> = told.filter(|e| e.kind == Kind::TransferRefused).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].to_string().contains("trunk"), "{}", told[0]);
    // The call goes on, and is ended by its client.
    let bye = follow("BYE", &up.invite, &up.ok, 3);
    up.world.ask(LANE, &bye);
    assert_eq!(up.world.one(up.trunk).method(), Method::Bye);
}
