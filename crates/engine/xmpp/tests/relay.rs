//! Sign-in and binding as they pass.

#![allow(missing_docs, clippy::unwrap_used)]

use proptest::prelude::*;
use xmpp::relay::{Features, Seen, TRIES_MAX};
use xmpp::{Kind, Name, Relay, Violation};

const CLIENT: &str = "<?xml version='1.0'?><stream:stream to='example.test' version='1.0' \
    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const SERVER: &str = "<?xml version='1.0'?><stream:stream id='1' from='example.test' version='1.0' \
    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const OFFER: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>PLAIN</mechanism></mechanisms>\
    </stream:features>";
const OFFER_CUT: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>PLAIN</mechanism></mechanisms></stream:features>";
// \0alice\0secret
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>\
    AGFsaWNlAHNlY3JldA==</auth>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const FAILURE: &str =
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
const BIND_OFFER: &str =
    "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>";
const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
const CONFLICT: &str = "<iq type='error' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
    <error type='cancel' code='409'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
    </error></iq>";
const BOUND: &str = "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
    <jid>alice@example.test/desk</jid></bind></iq>";

/// A relay with what has passed.
struct World {
    relay: Relay,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl World {
    fn new(features: Features) -> Self {
        World {
            relay: Relay::new(features),
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    /// The client says all of it; what passes, in order.
    fn client(&mut self, said: &str) -> Result<Vec<Seen>, Violation> {
        let (mut rest, mut seen) = (said.as_bytes(), Vec::new());
        while !rest.is_empty() {
            assert!(
                self.relay.client_may_speak(),
                "{}",
                String::from_utf8_lossy(rest)
            );
            let (taken, passed) = self.relay.from_client(rest, &mut self.to_server)?;
            rest = &rest[taken..];
            seen.extend(passed);
        }
        Ok(seen)
    }

    fn server(&mut self, said: &str) -> Vec<Seen> {
        let (mut rest, mut seen) = (said.as_bytes(), Vec::new());
        while !rest.is_empty() {
            let (taken, passed) = self.relay.from_server(rest, &mut self.to_client).unwrap();
            rest = &rest[taken..];
            seen.extend(passed);
        }
        seen
    }

    fn offered(features: Features) -> Self {
        let mut world = World::new(features);
        world.client(CLIENT).unwrap();
        world.server(&format!("{SERVER}{OFFER}"));
        world
    }

    fn signed_in() -> Self {
        let mut world = World::offered(Features::Pass);
        world.client(AUTH).unwrap();
        assert_eq!(world.server(SUCCESS), [Seen::SignedIn]);
        world
    }
}

#[test]
fn a_sign_in_passes_byte_for_byte_and_is_seen() {
    let mut world = World::new(Features::Pass);
    assert!(
        matches!(&world.client(CLIENT).unwrap()[..], [Seen::Header(h)] if h.is_for("example.test"))
    );
    assert!(!world.relay.client_may_speak());
    let seen = world.server(&format!("{SERVER}{OFFER}"));
    assert!(matches!(seen[..], [Seen::Header(_), Seen::Features]));
    assert_eq!(world.client(AUTH).unwrap(), [Seen::Auth]);
    assert_eq!(world.relay.user().unwrap().expose(), "alice");
    assert!(!world.relay.client_may_speak() && !world.relay.is_signed_in());
    assert_eq!(world.server(SUCCESS), [Seen::SignedIn]);
    assert!(world.relay.client_may_speak() && world.relay.is_signed_in());
    world.client(CLIENT).unwrap();
    world.server(&format!("{SERVER}{BIND_OFFER}"));
    assert_eq!(world.client(BIND).unwrap(), [Seen::Bind]);
    let seen = world.server(BOUND);
    assert!(matches!(&seen[..], [Seen::Bound(jid)] if jid.expose() == "alice@example.test/desk"));
    assert!(world.relay.is_bound());
    let up = format!("{CLIENT}{AUTH}{CLIENT}{BIND}");
    let down = format!("{SERVER}{OFFER}{SUCCESS}{SERVER}{BIND_OFFER}{BOUND}");
    assert_eq!(String::from_utf8(world.to_server).unwrap(), up);
    assert_eq!(String::from_utf8(world.to_client).unwrap(), down);
    let [mut client, mut server] = world.relay.into_directions().map(|d| d.framer);
    let big = format!("<message>{}</message>", "x".repeat(200_000));
    for framer in [&mut client, &mut server] {
        let frame = framer.frames(big.as_bytes()).next().unwrap().unwrap();
        assert_eq!(frame.kind, Kind::Element(Name::Message));
    }
}

#[test]
fn features_are_cut_where_asked() {
    let world = World::offered(Features::Rewrite);
    let text = String::from_utf8(world.to_client).unwrap();
    assert_eq!(text, format!("{SERVER}{OFFER_CUT}"));
}

#[test]
fn before_sign_in_a_client_can_only_sign_in() {
    let says = |said: &str| World::offered(Features::Pass).client(said).map(|_| ());
    assert_eq!(says("<message to='x'/>"), Err(Violation::NotSignedIn));
    assert_eq!(
        says("<iq><query xmlns='jabber:iq:register'/></iq>"),
        Err(Violation::NotSignedIn)
    );
    assert_eq!(
        says("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
        Err(Violation::OutOfPlace)
    );
    assert_eq!(
        says("<compress xmlns='http://jabber.org/protocol/compress'/>"),
        Err(Violation::OutOfPlace)
    );
    assert_eq!(says("<auth/>"), Err(Violation::OutOfPlace));
    assert_eq!(
        says(CLIENT),
        Err(Violation::Restricted("a processing instruction"))
    );
    let big = format!("<auth xmlns='{}'>", "x".repeat(11_000));
    assert_eq!(says(&big), Err(Violation::Limit("size")));
    assert_eq!(says("</stream:stream>"), Ok(()));
    assert_eq!(says(" \n"), Ok(()));
}

#[test]
fn a_refused_header_says_why() {
    let says = |said: &str| World::new(Features::Pass).client(said).map(|_| ());
    let server = CLIENT.replace("jabber:client", "jabber:server");
    assert_eq!(says(&server), Err(Violation::Namespace));
    assert_eq!(
        says(&CLIENT.replace(" version='1.0' ", " ")),
        Err(Violation::Version)
    );
    let mut world = World::signed_in();
    let other = CLIENT.replace("example.test", "other.test");
    assert_eq!(world.client(&other), Err(Violation::OtherDomain));
}

#[test]
fn challenges_alternate_and_failures_are_counted() {
    let mut world = World::offered(Features::Pass);
    let auth = AUTH
        .replace("PLAIN", "SCRAM-SHA-1")
        .replace("AGFsaWNlAHNlY3JldA==", "biwsbj1ib2Iscj0x");
    world.client(&auth).unwrap();
    assert_eq!(world.relay.user().unwrap().expose(), "bob");
    let challenge = "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj0x</challenge>";
    assert_eq!(world.server(challenge), [Seen::Challenge]);
    let response = "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Yz1i</response>";
    assert_eq!(world.client(response).unwrap(), [Seen::Auth]);
    assert_eq!(world.server(FAILURE), [Seen::SignInFailed]);
    for _ in 1..TRIES_MAX {
        world.client(AUTH).unwrap();
        world.server(FAILURE);
    }
    assert_eq!(world.client(AUTH), Err(Violation::Tries));
}

#[test]
fn a_resumed_session_is_up_under_its_users_name() {
    let mut world = World::signed_in();
    world.client(CLIENT).unwrap();
    world.server(&format!("{SERVER}{BIND_OFFER}"));
    let resume = "<resume xmlns='urn:xmpp:sm:3' h='1' previd='x'/>";
    assert_eq!(world.client(resume).unwrap(), [Seen::Element(Name::Other)]);
    assert!(!world.relay.is_resumable());
    let seen = world.server("<resumed xmlns='urn:xmpp:sm:3' h='1' previd='x'/>");
    assert!(world.relay.is_resumable());
    assert!(matches!(&seen[..], [Seen::Bound(jid)] if jid.expose() == "alice@example.test"));
}

#[test]
fn a_server_that_refuses_a_resource_is_seen_and_its_word_passes() {
    let mut world = World::offered(Features::Pass);
    world.client(AUTH).unwrap();
    world.server(SUCCESS);
    world.client(CLIENT).unwrap();
    world.server(&format!("{SERVER}{BIND_OFFER}"));
    // Nobody has asked for a resource yet.
    assert_eq!(world.server(CONFLICT), [Seen::Element(Name::Iq)]);
    world.client(BIND).unwrap();
    assert_eq!(
        world.server(CONFLICT),
        [Seen::BindRefused("conflict".into())]
    );
    assert!(!world.relay.is_bound());
    assert!(
        String::from_utf8(world.to_client)
            .unwrap()
            .ends_with(CONFLICT)
    );
    // The client may ask for another one.
    world.to_client = Vec::new();
    world.client(BIND).unwrap();
    assert!(matches!(world.server(BOUND)[..], [Seen::Bound(_)]));
}

#[test]
fn sign_in_by_sasl2_goes_on_without_a_restart() {
    let mut world = World::offered(Features::Pass);
    let auth = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>\
        AGFsaWNlAHNlY3JldA==</initial-response></authenticate>";
    assert_eq!(world.client(auth).unwrap(), [Seen::Auth]);
    assert_eq!(world.relay.user().unwrap().expose(), "alice");
    let success = "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>alice@example.test\
        </authorization-identifier></success>";
    assert_eq!(
        world.server(&format!("{success}{BIND_OFFER}")),
        [Seen::SignedIn, Seen::Features]
    );
    world.client(BIND).unwrap();
    assert!(matches!(world.server(BOUND)[..], [Seen::Bound(_)]));

    let mut world = World::offered(Features::Pass);
    world.client(auth).unwrap();
    let seen = world.server(
        &success
            .replace("example.test\n", "x")
            .replace("alice@example.test", "alice@example.test/inline"),
    );
    assert!(matches!(&seen[..], [Seen::Bound(jid)] if jid.expose().ends_with("/inline")));
}

/// The next bytes of one side, at most `cut`; none if there are none.
fn next<'b>(rest: &mut &'b [u8], cut: usize) -> &'b [u8] {
    let (chunk, after) = rest.split_at(cut.min(rest.len()));
    *rest = after;
    chunk
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// The client sends everything ahead, the server answers when it has been asked, both in any
    /// pieces and beyond the end of what is read: the same bytes arrive.
    #[test]
    fn any_pieces_pass_alike(cuts in prop::collection::vec(1..40_usize, 1..50)) {
        let message = format!("<message>{}</message>", "x".repeat(99));
        let up = format!("{CLIENT} {AUTH}{CLIENT}{BIND}<presence/> {message}");
        // What the server says, and how many bytes it must have heard before.
        let answers = [
            (CLIENT.len(), format!("{SERVER}{OFFER}")),
            (CLIENT.len() + 1 + AUTH.len(), SUCCESS.to_owned()),
            (2 * CLIENT.len() + 1 + AUTH.len(), format!("{SERVER}{BIND_OFFER}\n")),
            (
                2 * CLIENT.len() + 1 + AUTH.len() + BIND.len(),
                format!("{BOUND}{}", "<message>y</message>\n".repeat(9)),
            ),
        ];
        let mut world = World::new(Features::Pass);
        let (mut client, mut held) = (up.as_bytes(), Vec::new());
        let (mut server, mut answers, mut down) = (Vec::new(), answers.iter(), String::new());
        let mut due = answers.next();
        let mut late = Vec::new();
        for cut in cuts.iter().cycle().take(5000) {
            if world.relay.is_bound() {
                break;
            }
            held.extend_from_slice(next(&mut client, *cut));
            while world.relay.client_may_speak() && !held.is_empty() {
                let (taken, _) = world.relay.from_client(&held, &mut world.to_server).unwrap();
                held.drain(..taken);
            }
            while let Some((heard, answer)) = due {
                if world.to_server.len() < *heard {
                    break;
                }
                server.extend_from_slice(answer.as_bytes());
                down.push_str(answer);
                due = answers.next();
            }
            let cut = (*cut).min(server.len());
            let chunk: Vec<u8> = server.drain(..cut).collect();
            let mut rest = &chunk[..];
            while !rest.is_empty() && !world.relay.is_bound() {
                let (taken, _) = world.relay.from_server(rest, &mut world.to_client).unwrap();
                rest = &rest[taken..];
            }
            late.extend_from_slice(rest);
        }
        prop_assert!(world.relay.is_bound());
        held.extend_from_slice(client);
        late.extend_from_slice(&server);
        let passed = [(world.to_server, held, up), (world.to_client, late, down)];
        let directions = world.relay.into_directions();
        for (direction, (mut passed, rest, all)) in directions.into_iter().zip(passed) {
            let mut framer = direction.framer;
            prop_assert!(framer.frames(&rest).all(|frame| frame.is_ok()));
            prop_assert!(framer.is_between());
            passed.extend_from_slice(&direction.pending);
            passed.extend_from_slice(&rest);
            prop_assert_eq!(String::from_utf8(passed).unwrap(), all);
        }
    }

    /// Whatever a stranger sends, and however the server refuses: no stanza reaches the server.
    #[test]
    fn a_strangers_stanza_never_passes(
        words in prop::collection::vec(prop::sample::select(&[
            AUTH, FAILURE, SUCCESS, BIND, CLIENT, "<message/>", "<presence", "/>", "<iq>", "</iq>",
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>", "</auth>", "<a><message/></a>", " ",
            "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "</stream:stream>",
            "<x:iq xmlns:x='u'/>", "<stream:error/>", "<authenticate xmlns='urn:xmpp:sasl:2'>",
            "<initial-response>x</initial-response>", "</authenticate>", "<!", "&", "\u{e9}",
        ][..]), 0..30),
        cut in 1..60_usize,
    ) {
        let mut world = World::offered(Features::Rewrite);
        world.to_server.clear();
        for chunk in words.concat().as_bytes().chunks(cut) {
            let mut rest = chunk;
            while !rest.is_empty() {
                if !world.relay.client_may_speak() {
                    world.server(FAILURE);
                }
                match world.relay.from_client(rest, &mut world.to_server) {
                    Ok((taken, _)) => rest = &rest[taken..],
                    Err(_) => break,
                }
            }
            if !rest.is_empty() {
                break;
            }
        }
        let mut framer = xmpp::Framer::new(xmpp::Limits::STRANGER);
        framer.frames(CLIENT.as_bytes()).for_each(drop);
        for frame in framer.frames(&world.to_server) {
            let kind = frame.unwrap().kind;
            prop_assert!(!matches!(kind, Kind::Element(name) if name.is_stanza()), "{kind:?}");
        }
        prop_assert!(!world.relay.is_signed_in());
    }

    #[test]
    fn any_bytes_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cut in 1..50_usize,
    ) {
        let mut world = World::new(Features::Rewrite);
        let mut responder = xmpp::starttls::Responder::default();
        let mut initiator = xmpp::starttls::Initiator::new(xmpp::starttls::Wish::IfOffered);
        for chunk in bytes.chunks(cut) {
            let heard = (
                responder.hear(chunk).is_ok(),
                initiator.hear(chunk).is_ok(),
                world.relay.from_client(chunk, &mut world.to_server).is_ok(),
                world.relay.from_server(chunk, &mut world.to_client).is_ok(),
            );
            if heard != (true, true, true, true) {
                break;
            }
        }
        prop_assert!(!world.relay.is_signed_in());
    }
}
