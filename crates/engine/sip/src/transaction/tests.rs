//! Scripted transactions under a virtual clock; a lossy network in `lossy`.

use std::time::Duration;

use base::{Id, Now, Rng};
use bytes::Bytes;

use super::*;
use crate::{Message, Name};

mod lossy;

const HERE: FlowId = Id::new(1, 0);
const THERE: FlowId = Id::new(2, 0);

pub(crate) fn message(text: &str) -> Message {
    Message::parse(
        Bytes::from(text.replace('\n', "\r\n")),
        &crate::Limits::default(),
    )
    .unwrap()
}

pub(crate) fn request(method: &str, branch: &str) -> Message {
    message(&format!(
        "{method} sip:bob@example.test SIP/2.0\n\
         Via: SIP/2.0/TLS client.example.test:5061;branch={branch}\n\
         Max-Forwards: 70\n\
         From: <sip:alice@example.test>;tag=a1\n\
         To: <sip:bob@example.test>\n\
         Call-ID: c1@client\n\
         CSeq: 7 {method}\n\
         Contact: <sip:alice@192.0.2.1:5061;transport=tls>\n\
         Content-Length: 0\n\n"
    ))
}

fn via() -> ViaOptions {
    ViaOptions {
        transport: "TLS",
        sent_by: "core.example.test:5061".into(),
        parameters: String::new(),
    }
}

struct Bench {
    now: Now,
    layer: Transactions,
}

impl Bench {
    fn new() -> Self {
        Bench::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Bench {
            now: Now::default(),
            layer: Transactions::new(Rng::from_number(1), limits),
        }
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.layer.poll_output()).collect()
    }

    /// Messages sent, as `METHOD` or status, and events, as words.
    fn story(&mut self) -> Vec<String> {
        self.outputs().iter().map(describe).collect()
    }

    fn wait(&mut self, millis: u64) -> Vec<String> {
        let until = self.now.plus(Duration::from_millis(millis));
        let mut story = Vec::new();
        while let Some(at) = self.layer.poll_timeout().filter(|at| *at <= until.instant) {
            self.now = self.now.plus(at - self.now.instant);
            self.layer.handle_timeout(self.now);
            story.extend(self.story());
        }
        self.now = until;
        story
    }

    fn take(&mut self, reliable: bool, message: Message) -> Vec<String> {
        self.layer.receive(self.now, HERE, reliable, message);
        self.story()
    }

    fn open(&mut self, reliable: bool, message: &Message) -> ClientKey {
        self.layer
            .request(self.now, THERE, reliable, message, &via())
            .unwrap()
    }

    /// The server key of the request just delivered.
    fn serve(&mut self, reliable: bool, message: Message) -> ServerKey {
        self.layer.receive(self.now, HERE, reliable, message);
        let outputs = self.outputs();
        match outputs.as_slice() {
            [Output::Event(Event::Request { key, .. })] => *key,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, key: ServerKey, status: u16) -> Vec<String> {
        let request = self.layer.server_request(key).unwrap().clone();
        self.layer
            .respond(self.now, key, request.reply(status, "Any", "b1").build());
        self.story()
    }
}

fn describe(output: &Output) -> String {
    match output {
        Output::Send { bytes, .. } => {
            let text = String::from_utf8_lossy(bytes);
            let mut words = text.split(' ');
            match words.next() {
                Some("SIP/2.0") => words.next().unwrap().to_owned(),
                other => other.unwrap().to_owned(),
            }
        }
        Output::Event(event) => match event {
            Event::Request { message, .. } => {
                format!(
                    "request {}",
                    String::from_utf8_lossy(message.method_bytes())
                )
            }
            Event::Ack { .. } => "ack".into(),
            Event::Cancelled { .. } => "cancelled".into(),
            Event::Response { message, .. } => format!("response {}", message.status()),
            Event::StrayResponse { .. } => "stray".into(),
            Event::TooLarge { .. } => "too large".into(),
            Event::Failed { why, .. } => format!("failed {why:?}"),
            Event::Closed { .. } => "closed".into(),
            Event::Ended { ending, .. } => format!("ended {ending:?}"),
        },
    }
}

/// The response a peer gives to the request of ours that `key` names.
fn reply(bench: &Bench, key: ClientKey, status: u16) -> Message {
    bench
        .layer
        .client_request(key)
        .unwrap()
        .reply(status, "Any", "b1")
        .build()
}

fn large(n: usize, body: usize) -> Message {
    let text = format!(
        "MESSAGE sip:b@x SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bKl{n}\r\n\
         From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: c\r\nCSeq: {n} MESSAGE\r\n\
         Content-Length: {body}\r\n\r\n{}",
        "a".repeat(body)
    );
    Message::parse(text.into(), &crate::Limits::outside()).unwrap()
}

/// Requests that are taken, each answered at once or not.
fn taken(layer: &mut Transactions, flow: FlowId, body: usize, answered: bool) -> usize {
    let mut taken = 0;
    for n in 0..100 {
        layer.receive(Now::default(), flow, true, large(n, body));
        while let Some(output) = layer.poll_output() {
            if let Output::Event(Event::Request { key, message, .. }) = output {
                taken += 1;
                if answered {
                    let answer = message.reply(407, "No", "t").build();
                    layer.respond(Now::default(), key, answer);
                }
            }
        }
    }
    taken
}

#[test]
fn bytes_of_requests_in_rows_are_bounded_on_a_flow_and_given_back() {
    let mut layer = Transactions::new(Rng::from_number(1), Limits::default());
    let flows = [0, 1, 2, 3].map(|slot| FlowId::new(slot, 0));
    let [waiting, answered, small, lane] = flows;
    layer.share(lane);
    assert_eq!(taken(&mut layer, waiting, 200_000, false), 5);
    // A row that has answered keeps no body.
    assert_eq!(taken(&mut layer, answered, 200_000, true), 100);
    assert_eq!(taken(&mut layer, small, 2_000, false), 100);
    // What carries everybody's requests is bounded with all others alone.
    assert_eq!(taken(&mut layer, lane, 200_000, false), 100);
    for flow in flows {
        layer.flow_down(Now::default(), flow);
    }
    while layer.poll_output().is_some() {}
    assert_eq!(taken(&mut layer, waiting, 200_000, false), 5);
}

#[test]
fn invite_client_on_udp_resends_with_doubling_until_timer_b() {
    let mut bench = Bench::new();
    bench.open(false, &request("INVITE", "z9hG4bKx"));
    assert_eq!(bench.story(), ["INVITE"]);
    assert_eq!(bench.wait(31_999), ["INVITE"; 6]);
    assert_eq!(bench.wait(1), ["failed Timeout", "closed"]);
    assert_eq!(bench.layer.counts().timers, 0);
}

#[test]
fn invite_client_on_tls_sends_once() {
    let mut bench = Bench::new();
    bench.open(true, &request("INVITE", "z9hG4bKx"));
    assert_eq!(bench.story(), ["INVITE"]);
    assert_eq!(bench.wait(32_000), ["failed Timeout", "closed"]);
}

#[test]
fn own_via_is_on_top_with_a_fresh_branch_and_the_rest_is_untouched() {
    let mut bench = Bench::new();
    let original = request("MESSAGE", "z9hG4bKx");
    let key = bench.open(true, &original);
    let sent = bench.layer.client_request(key).unwrap();
    let top = sent.top_via().unwrap();
    assert!(top.branch().unwrap().starts_with(b"z9hG4bK") && top.branch().unwrap().len() == 39);
    let mut edit = sent.edit();
    edit.remove_first_value(Name::Via);
    assert_eq!(edit.finish().bytes(), original.bytes());
}

#[test]
fn rejected_invite_is_acknowledged_hop_by_hop_and_retransmissions_absorbed() {
    let mut bench = Bench::new();
    let key = bench.open(false, &request("INVITE", "z9hG4bKx"));
    bench.outputs();
    let (ringing, busy) = (reply(&bench, key, 180), reply(&bench, key, 486));
    assert_eq!(bench.take(false, ringing), ["response 180"]);
    assert_eq!(bench.wait(10_000), [""; 0]);
    let sent = bench.layer.client_request(key).unwrap().clone();
    bench.layer.receive(bench.now, HERE, false, busy.clone());
    let outputs = bench.outputs();
    let Some(Output::Send { bytes, flow: THERE }) = outputs.first() else {
        panic!()
    };
    let ack = Message::parse(bytes.clone(), &crate::Limits::default()).unwrap();
    assert_eq!(ack.method(), Method::Ack);
    assert_eq!(
        ack.top_via().unwrap().branch(),
        sent.top_via().unwrap().branch()
    );
    assert_eq!(ack.vias().count(), 1);
    assert_eq!(ack.to().unwrap().tag(), Some(&b"b1"[..]));
    assert_eq!(ack.cseq().unwrap().number, 7);
    assert_eq!(bench.take(false, busy), ["ACK"]);
    assert_eq!(bench.wait(32_000), ["closed"]);
}

#[test]
fn accepted_invite_delivers_every_2xx_for_64_t1() {
    let mut bench = Bench::new();
    let key = bench.open(true, &request("INVITE", "z9hG4bKx"));
    bench.outputs();
    let ok = reply(&bench, key, 200);
    assert_eq!(bench.take(true, ok.clone()), ["response 200"]);
    assert_eq!(bench.take(true, ok.clone()), ["response 200"]);
    assert_eq!(bench.wait(32_000), ["closed"]);
    assert_eq!(bench.take(true, ok), ["stray"]);
}

#[test]
fn non_invite_client_on_udp_resends_up_to_t2_and_absorbs_repeats() {
    let mut bench = Bench::new();
    let key = bench.open(false, &request("BYE", "z9hG4bKx"));
    bench.outputs();
    assert_eq!(bench.wait(7_600), ["BYE"; 4]);
    let trying = reply(&bench, key, 100);
    assert_eq!(bench.take(false, trying), ["response 100"]);
    let ok = reply(&bench, key, 200);
    assert_eq!(bench.take(false, ok.clone()), ["response 200"]);
    assert_eq!(bench.take(false, ok), [""; 0]);
    assert_eq!(bench.wait(5_000), ["closed"]);
}

#[test]
fn invite_server_says_100_after_200_ms_and_repeats_what_it_said_last() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bKx");
    let key = bench.serve(false, invite.clone());
    assert_eq!(bench.take(false, invite.clone()), [""; 0]);
    assert_eq!(bench.wait(200), ["100"]);
    assert_eq!(bench.take(false, invite.clone()), ["100"]);
    assert_eq!(bench.answer(key, 180), ["180"]);
    assert_eq!(bench.take(false, invite), ["180"]);
}

#[test]
fn invite_server_resends_a_rejection_until_its_ack_which_ends_here() {
    let mut bench = Bench::new();
    let key = bench.serve(false, request("INVITE", "z9hG4bKx"));
    assert_eq!(bench.answer(key, 486), ["486"]);
    assert_eq!(bench.wait(3_500), ["486"; 3]);
    assert_eq!(bench.take(false, request("ACK", "z9hG4bKx")), [""; 0]);
    assert_eq!(bench.wait(4_999), [""; 0]);
    assert_eq!(bench.wait(1), ["ended Done"]);
}

#[test]
fn invite_server_without_ack_ends_by_timer_h_and_says_so() {
    let mut bench = Bench::new();
    let key = bench.serve(true, request("INVITE", "z9hG4bKx"));
    assert_eq!(bench.answer(key, 486), ["486"]);
    assert_eq!(bench.wait(32_000), ["ended NoAck"]);
}

#[test]
fn ack_for_2xx_surfaces_whatever_its_branch() {
    for branch in ["z9hG4bKother", "z9hG4bKx"] {
        let mut bench = Bench::new();
        let key = bench.serve(true, request("INVITE", "z9hG4bKx"));
        assert_eq!(bench.answer(key, 200), ["200"]);
        assert_eq!(bench.answer(key, 200), ["200"]);
        assert_eq!(bench.take(true, request("ACK", branch)), ["ack"]);
        assert_eq!(bench.wait(32_000), ["ended Done"]);
    }
}

#[test]
fn non_invite_server_repeats_its_answer_and_takes_only_the_first() {
    let mut bench = Bench::new();
    let key = bench.serve(false, request("BYE", "z9hG4bKx"));
    assert_eq!(bench.take(false, request("BYE", "z9hG4bKx")), [""; 0]);
    assert_eq!(bench.answer(key, 200), ["200"]);
    assert_eq!(bench.answer(key, 500), [""; 0]);
    assert_eq!(bench.take(false, request("BYE", "z9hG4bKx")), ["200"]);
    assert_eq!(bench.wait(32_000), ["ended Done"]);
}

#[test]
fn non_invite_server_left_without_answer_ends_by_itself() {
    let mut bench = Bench::new();
    bench.serve(true, request("OPTIONS", "z9hG4bKx"));
    assert_eq!(bench.wait(32_000), ["ended Unanswered"]);
}

#[test]
fn cancel_is_answered_and_surfaces_once_while_the_invite_rings() {
    let mut bench = Bench::new();
    let key = bench.serve(true, request("INVITE", "z9hG4bKx"));
    bench.answer(key, 180);
    bench
        .layer
        .receive(bench.now, HERE, true, request("CANCEL", "z9hG4bKx"));
    let outputs = bench.outputs();
    let Some(Output::Send { bytes, .. }) = outputs.first() else {
        panic!("{outputs:?}")
    };
    let ok = Message::parse(bytes.clone(), &crate::Limits::default()).unwrap();
    assert_eq!(
        (ok.status(), ok.to().unwrap().tag()),
        (200, Some(&b"b1"[..]))
    );
    assert_eq!(describe(&outputs[1]), "cancelled");
    assert_eq!(bench.answer(key, 487), ["487"]);
    assert_eq!(bench.take(true, request("CANCEL", "z9hG4bKx")), ["200"]);
}

#[test]
fn cancel_without_a_request_is_answered_481() {
    let mut bench = Bench::new();
    assert_eq!(bench.take(true, request("CANCEL", "z9hG4bKx")), ["481"]);
    bench.serve(true, request("BYE", "z9hG4bKy"));
    assert_eq!(bench.take(true, request("CANCEL", "z9hG4bKy")), ["200"]);
}

#[test]
fn client_cancel_waits_for_a_provisional_and_bounds_the_wait_after() {
    let mut bench = Bench::new();
    let key = bench.open(true, &request("INVITE", "z9hG4bKx"));
    bench.outputs();
    bench
        .layer
        .cancel_because(bench.now, key, Some(b"SIP;cause=200"));
    assert_eq!(bench.story(), [""; 0]);
    let ringing = reply(&bench, key, 180);
    bench.layer.receive(bench.now, HERE, true, ringing.clone());
    let outputs = bench.outputs();
    assert_eq!(
        outputs.iter().map(describe).collect::<Vec<_>>(),
        ["response 180", "CANCEL"]
    );
    let Output::Send { bytes, .. } = &outputs[1] else {
        panic!()
    };
    let cancel = Message::parse(bytes.clone(), &crate::Limits::default()).unwrap();
    let sent = bench.layer.client_request(key).unwrap();
    assert_eq!(
        cancel.top_via().unwrap().branch(),
        sent.top_via().unwrap().branch()
    );
    assert_eq!(cancel.header(Name::Reason), Some(&b"SIP;cause=200"[..]));
    bench.layer.cancel(bench.now, key);
    let ok = cancel.reply(200, "OK", "b1").build();
    assert_eq!(bench.take(true, ok), [""; 0]);
    assert_eq!(bench.take(true, ringing), ["response 180"]);
    assert_eq!(bench.wait(32_000), ["failed Timeout", "closed"]);
    assert_eq!(bench.layer.counts().timers, 0);
}

#[test]
fn client_cancel_of_a_ringing_invite_goes_out_at_once() {
    let mut bench = Bench::new();
    let key = bench.open(true, &request("INVITE", "z9hG4bKx"));
    let ringing = reply(&bench, key, 180);
    bench.take(true, ringing);
    bench.layer.cancel(bench.now, key);
    assert_eq!(bench.story(), ["CANCEL"]);
}

#[test]
fn client_cancel_after_the_final_response_does_nothing() {
    let mut bench = Bench::new();
    let key = bench.open(true, &request("INVITE", "z9hG4bKx"));
    let ok = reply(&bench, key, 200);
    bench.take(true, ok);
    bench.layer.cancel(bench.now, key);
    assert_eq!(bench.story(), [""; 0]);
}

#[test]
fn the_same_ids_from_another_flow_are_another_transaction() {
    let mut bench = Bench::new();
    bench.serve(true, request("INVITE", "z9hG4bKx"));
    bench
        .layer
        .receive(bench.now, THERE, true, request("CANCEL", "z9hG4bKx"));
    assert_eq!(bench.story(), ["481"]);
    bench
        .layer
        .receive(bench.now, THERE, true, request("INVITE", "z9hG4bKx"));
    assert_eq!(bench.story(), ["request INVITE"]);
}

#[test]
fn sent_by_matches_without_regard_to_case() {
    let mut bench = Bench::new();
    bench.serve(true, request("OPTIONS", "z9hG4bKx"));
    let mut edit = request("OPTIONS", "z9hG4bKx").edit().finish();
    let via = b"SIP/2.0/TLS CLIENT.example.test:5061;branch=z9hG4bKx";
    let mut again = edit.edit();
    again.set(Name::Via, via);
    edit = again.finish();
    assert_eq!(bench.take(true, edit), [""; 0]);
}

#[test]
fn a_branch_without_cookie_is_matched_as_rfc_2543_was() {
    // A cookie that nothing follows names nothing either (RFC 4475 §3.2.1).
    for branch in ["1", "z9hG4bK"] {
        let mut bench = Bench::new();
        let key = bench.serve(true, request("INVITE", branch));
        assert_eq!(
            bench.take(true, request("INVITE", branch)),
            [""; 0],
            "again"
        );
        // Another Via, Call-ID or CSeq makes another request.
        for (name, value) in [
            (Name::Via, "SIP/2.0/TLS client.example.test:5061;branch=2"),
            (Name::CallId, "c2@client"),
            (Name::CSeq, "8 INVITE"),
            (Name::From, "<sip:alice@example.test>;tag=a2"),
        ] {
            let other = request("INVITE", branch);
            let other = other.edit().set(name, value).finish();
            assert_eq!(bench.take(true, other), ["request INVITE"], "{value}");
        }
        let cancel = bench.take(true, request("CANCEL", branch));
        assert_eq!(cancel, ["200", "cancelled"]);
        bench.answer(key, 487);
        // The ACK has the tag of the answer, which the INVITE had not.
        let ack = request("ACK", branch);
        let to = "<sip:bob@example.test>;tag=b1";
        let ack = ack.edit().set(Name::To, to).finish();
        assert_eq!(bench.take(true, ack), ["ended Done"]);
    }
}

#[test]
fn a_full_table_answers_503_without_state_and_knows_the_ack() {
    let mut bench = Bench::with(Limits {
        servers: 1,
        ..Limits::default()
    });
    bench.serve(true, request("INVITE", "z9hG4bKx"));
    bench
        .layer
        .receive(bench.now, HERE, true, request("INVITE", "z9hG4bKy"));
    let outputs = bench.outputs();
    let [Output::Send { bytes, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };
    let busy = Message::parse(bytes.clone(), &crate::Limits::default()).unwrap();
    assert_eq!(busy.status(), 503);
    assert!(busy.header(Name::RetryAfter).is_some());
    let ack = request("ACK", "z9hG4bKy");
    let mut edit = ack.edit();
    edit.set(Name::To, busy.header(Name::To).unwrap());
    let ack = edit.finish();
    assert_eq!(bench.take(true, ack), [""; 0]);
    assert_eq!(bench.layer.counts().refused, 1);
}

#[test]
fn tables_full_of_invites_take_other_requests() {
    let mut bench = Bench::with(Limits {
        clients: 16,
        servers: 16,
        ..Limits::default()
    });
    let branches: Vec<String> = (0..16).map(|n| format!("z9hG4bK{n}")).collect();
    let (calls, others) = branches.split_at(14);
    for branch in calls {
        bench.serve(true, request("INVITE", branch));
        bench.open(true, &request("INVITE", branch));
        bench.outputs();
    }
    let more = bench.take(true, request("INVITE", "z9hG4bKmore"));
    assert_eq!(more.len(), 1);
    assert!(more[0].contains("503"), "{more:?}");
    let invite = request("INVITE", "z9hG4bKmore");
    let (now, via) = (bench.now, via());
    let refused = bench.layer.request(now, THERE, true, &invite, &via);
    assert_eq!(refused, Err(RequestError::Full));
    for branch in others {
        bench.serve(true, request("BYE", branch));
        bench.open(true, &request("OPTIONS", branch));
        bench.outputs();
    }
    let options = request("OPTIONS", "z9hG4bKlast");
    let refused = bench.layer.request(now, THERE, true, &options, &via);
    assert_eq!(refused, Err(RequestError::Full));
    assert_eq!(bench.layer.counts().refused, 3);
}

#[test]
fn a_full_client_table_is_a_typed_outcome() {
    let mut bench = Bench::with(Limits {
        clients: 1,
        ..Limits::default()
    });
    bench.open(true, &request("INVITE", "z9hG4bKx"));
    let second = bench
        .layer
        .request(bench.now, THERE, true, &request("BYE", "z9hG4bKy"), &via());
    assert_eq!(second, Err(RequestError::Full));
    let ack = bench
        .layer
        .request(bench.now, THERE, true, &request("ACK", "z9hG4bKy"), &via());
    assert_eq!(ack, Err(RequestError::NotARequest));
}

#[test]
fn flow_down_fails_what_we_sent_and_ends_what_came_in() {
    let mut bench = Bench::new();
    bench.serve(true, request("INVITE", "z9hG4bKx"));
    bench.open(true, &request("BYE", "z9hG4bKy"));
    bench.outputs();
    bench.layer.flow_down(bench.now, THERE);
    assert_eq!(bench.story(), ["failed FlowDown", "closed"]);
    bench.layer.flow_down(bench.now, HERE);
    assert_eq!(bench.story(), ["ended FlowDown"]);
    assert_eq!(bench.layer.counts(), Counts::default());
}

#[test]
fn a_silent_user_does_not_keep_an_invite_for_ever() {
    let mut bench = Bench::new();
    let key = bench.serve(true, request("INVITE", "z9hG4bKx"));
    bench.answer(key, 180);
    assert_eq!(bench.wait(600_000), ["ended Unanswered"]);
    let key = bench.open(true, &request("INVITE", "z9hG4bKy"));
    let ringing = reply(&bench, key, 180);
    bench.take(true, ringing);
    assert_eq!(bench.wait(600_000), ["failed Timeout", "closed"]);
}

#[test]
fn received_and_rport_are_written_into_the_top_via() {
    const BRANCH: &str = "SIP/2.0/TLS client.example.test:5061;branch=z9hG4bKx";
    let stamped = |request: &Message, from: &str| {
        let stamped = received(request, from.parse().unwrap());
        String::from_utf8_lossy(stamped.values(Name::Via).next().unwrap()).into_owned()
    };
    for (params, told) in [
        (";rport;received=10.0.0.1", ";received=192.0.2.9;rport=4444"),
        (";rport=9;received=", ";received=192.0.2.9;rport=4444"),
        (";RECEIVED=10.0.0.1", ";received=192.0.2.9"),
        ("", ";received=192.0.2.9"),
    ] {
        let request = request("OPTIONS", &format!("z9hG4bKx{params}"));
        assert_eq!(
            stamped(&request, "192.0.2.9:4444"),
            format!("{BRANCH}{told}"),
            "{params}"
        );
    }
    for (sent_by, params, told) in [
        ("192.0.2.9:5061", "", ""),
        ("192.0.2.9", ";rport", ";received=192.0.2.9;rport=4444"),
        ("192.0.2.9", ";received=10.0.0.1", ""),
        ("192.0.2.19:4444", "", ";received=192.0.2.9"),
    ] {
        let text = String::from_utf8_lossy(request("OPTIONS", "z9hG4bKx").bytes()).into_owned();
        let text = text.replace(&BRANCH[12..], &format!("{sent_by};branch=z9hG4bKx{params}"));
        let request = Message::parse(text.into(), &crate::Limits::outside()).unwrap();
        let want = format!("SIP/2.0/TLS {sent_by};branch=z9hG4bKx{told}");
        assert_eq!(
            stamped(&request, "192.0.2.9:4444"),
            want,
            "{sent_by}{params}"
        );
        assert_eq!(
            stamped(&request, "[::ffff:192.0.2.9]:4444"),
            want,
            "{sent_by}{params}"
        );
    }
    let text = String::from_utf8_lossy(request("OPTIONS", "z9hG4bKx").bytes()).into_owned();
    let text = text.replace("client.example.test:5061", "[2001:db8::9]:5061");
    let request = Message::parse(text.into(), &crate::Limits::outside()).unwrap();
    let same = "SIP/2.0/TLS [2001:db8::9]:5061;branch=z9hG4bKx";
    assert_eq!(stamped(&request, "[2001:db8::9]:4444"), same);
    assert_eq!(
        stamped(&request, "[2001:db8::8]:4444"),
        format!("{same};received=2001:db8::8")
    );
}

#[test]
fn tables_give_their_room_back_when_a_flood_is_over() {
    let mut bench = Bench::new();
    let room = |layer: &Transactions| {
        [
            layer.clients.capacity(),
            layer.servers.capacity(),
            layer.client_index.capacity(),
            layer.server_index.capacity(),
        ]
    };
    bench.layer.share(HERE);
    for n in 0..4_000 {
        let invite = request("INVITE", &format!("z9hG4bK{n}"));
        bench.layer.receive(bench.now, HERE, true, invite.clone());
        let sent = bench.layer.request(bench.now, THERE, true, &invite, &via());
        assert!(sent.is_ok());
    }
    let keys: Vec<ServerKey> = bench
        .layer
        .servers
        .iter()
        .map(|(id, _)| ServerKey(id))
        .collect();
    for key in keys {
        let request = bench.layer.server_request(key).unwrap().clone();
        let answer = request.reply(200, "OK", "b1").build();
        bench.layer.respond(bench.now, key, answer);
    }
    assert!(room(&bench.layer).iter().all(|room| *room >= 4_000));
    bench.outputs();
    bench.wait(3_600_000);
    let counts = bench.layer.counts();
    assert_eq!((counts.clients, counts.servers, counts.timers), (0, 0, 0));
    assert!(
        room(&bench.layer).iter().all(|room| *room <= 512),
        "{:?}",
        room(&bench.layer)
    );
}
