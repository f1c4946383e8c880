//! Calls that ring while their client changes its connection.

use super::calls::routes;
use super::*;

impl Bench {
    /// The client of connection 1 registers from connection 2; gives what it is sent with that.
    fn back(&mut self) -> Vec<Message> {
        self.connect(ConnId(2));
        let register = self.register_request(ConnId(2), "1001", PHONE);
        self.frame(ConnId(2), register);
        let at = |(c, m): &(ConnId, Message)| *c == LANE && m.method() == Method::Register;
        let at = self.sent.iter().position(at).unwrap();
        let inside = self.sent.remove(at).unwrap().1;
        self.reply(LANE, &inside, 200, "core", &[(Name::Expires, "120")]);
        let mut sent = Vec::new();
        while self.sent.iter().any(|(c, _)| *c == ConnId(2)) {
            let message = self.take(ConnId(2));
            if message.is_request() || message.method() != Method::Register {
                sent.push(message);
            }
        }
        sent
    }

    /// A client that rings: the INVITE as it got it, and the core's own.
    fn ringing(&mut self) -> (Message, Message) {
        let path = Bench::path(&self.register(ConnId(1), "1001", PHONE));
        let (outside, invite) = self.invite_from_core(&path, "80000001");
        self.reply(ConnId(1), &outside, 180, "client", &[]);
        assert_eq!(self.take(LANE).status(), 180);
        (outside, invite)
    }
}

#[test]
fn a_client_that_comes_back_while_it_rings_answers_on_its_new_connection() {
    for gone in [true, false] {
        let mut bench = Bench::registered();
        let (outside, _) = bench.ringing();
        if gone {
            bench.disconnect(ConnId(1));
            bench.wait(14);
            assert_eq!(bench.story(), [""; 0]);
        }
        let again = bench.back();
        if !gone {
            bench.disconnect(ConnId(1));
        }
        assert!(again.is_empty(), "it has the INVITE");
        bench.reply_sdp(ConnId(2), &outside, 200, "client", OFFER);
        let answer = bench.take(LANE);
        assert_eq!(answer.status(), 200);
        let ack = bench.within("ACK", &answer, true, &routes(&answer), "");
        bench.frame(LANE, ack);
        assert_eq!(bench.take(ConnId(2)).method(), Method::Ack);
        bench.wait(100);
        assert_eq!(bench.ports_in_use(), 1);
    }
}

#[test]
fn a_client_that_rings_and_does_not_come_back_is_waited_for_a_quarter_of_a_minute() {
    let mut bench = Bench::registered();
    bench.ringing();
    bench.disconnect(ConnId(1));
    bench.wait(14);
    assert_eq!((bench.story(), bench.ports_in_use()), (vec![], 1));
    bench.wait(1);
    assert_eq!(bench.take(LANE).status(), 500);
    assert_eq!(bench.ports_in_use(), 0);
    assert!(bench.back().is_empty());
}

#[test]
fn a_caller_that_comes_back_while_it_hears_it_ring_gets_the_answer_there() {
    for away in [true, false] {
        let mut bench = Bench::registered();
        let inside = bench.invite_from_client(ConnId(1), OFFER);
        bench.reply(LANE, &inside, 180, "core", &[]);
        assert_eq!(bench.take(ConnId(1)).status(), 180);
        bench.disconnect(ConnId(1));
        bench.wait(5);
        assert_eq!(bench.story(), [""; 0], "no CANCEL");
        let sdp = from_core(attribute(&body(&inside), "x-causeway-stream").unwrap());
        let answer = if away {
            bench.reply_sdp(LANE, &inside, 200, "core", &sdp);
            bench.back().remove(0)
        } else {
            assert!(bench.back().is_empty());
            bench.reply_sdp(LANE, &inside, 200, "core", &sdp);
            bench.take(ConnId(2))
        };
        assert_eq!(answer.status(), 200);
        let ack = bench.within("ACK", &answer, true, &routes(&answer), "");
        bench.frame(ConnId(2), ack);
        assert_eq!(bench.take(LANE).method(), Method::Ack);
        bench.wait(100);
        assert_eq!(bench.ports_in_use(), 1);
    }
}

#[test]
fn a_caller_that_does_not_come_back_takes_its_call_along() {
    let mut bench = Bench::registered();
    let inside = bench.invite_from_client(ConnId(1), OFFER);
    bench.reply(LANE, &inside, 180, "core", &[]);
    bench.disconnect(ConnId(1));
    bench.wait(14);
    bench.sent.retain(|(c, _)| *c == LANE);
    assert_eq!(bench.story(), [""; 0]);
    bench.wait(1);
    assert_eq!(bench.take(LANE).method(), Method::Cancel);
    assert_eq!(bench.ports_in_use(), 0);
}

#[test]
fn a_call_that_is_cancelled_while_its_client_is_away_is_cancelled_when_it_is_back() {
    let mut bench = Bench::registered();
    let (_, invite) = bench.ringing();
    bench.disconnect(ConnId(1));
    bench.frame(LANE, cancel_of(&invite));
    assert_eq!(bench.take(LANE).status(), 200);
    let words: Vec<Method> = bench.back().iter().map(Message::method).collect();
    assert_eq!(words, [Method::Cancel]);
}

#[test]
fn a_caller_cancels_on_its_new_connection() {
    let mut bench = Bench::registered();
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), invite.clone());
    let inside = bench.take(LANE);
    bench.reply(LANE, &inside, 180, "core", &[]);
    bench.sent.clear();
    bench.disconnect(ConnId(1));
    bench.back();
    bench.frame(ConnId(2), cancel_of(&invite));
    assert_eq!(bench.take(ConnId(2)).status(), 200);
    assert_eq!(bench.take(LANE).method(), Method::Cancel);
    bench.reply(LANE, &inside, 487, "core", &[]);
    assert_eq!(bench.take(LANE).method(), Method::Ack);
    assert_eq!(bench.take(ConnId(2)).status(), 487);
}

fn cancel_of(invite: &Message) -> Message {
    let text = String::from_utf8_lossy(invite.bytes()).replace("INVITE", "CANCEL");
    Message::parse(Bytes::from(text), &Limits::outside()).unwrap()
}
