//! An edge and a core as the memory test and the bench of a message's path set them up, and what
//! their one peer and their clients say. How the two are joined is each user's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now, Rng, Secret, UnixTime};
use node::io::{ConnId, Facts, Input, Side, Transport};
use node::{Core, CoreIdentity, Edge, EdgeIdentity, Engine};
use sip::digest::{Algorithm, Challenge};
use sip::{Frame, Message, Name};

/// The control connection between the two, on both.
pub(crate) const CONTROL: ConnId = ConnId(1);

/// The lane between the two, on both.
pub(crate) const LANE: ConnId = ConnId(2);

/// Where clients register.
pub(crate) const REALM: &str = "example.test";

const HEAD: &str = "[certificate]\nchain = \"c\"\nkey = \"k\"\ntrusted = \"t\"\n";

fn load(text: &str) -> Arc<config::Config> {
    let checked = config::load(text, Path::new("/etc/causeway/causeway.toml"));
    Arc::new(checked.unwrap_or_else(|e| panic!("{e:?}")).config)
}

/// When a world begins.
pub(crate) fn start() -> Now {
    Now {
        unix: UnixTime::from_millis(1_790_000_000_000),
        ..Now::default()
    }
}

pub(crate) fn edge(now: Now) -> Edge {
    let text = format!(
        "role = \"edge\"\nname = \"edge1\"\ndomain = \"{REALM}\"\n{HEAD}\
         [service.https]\nlisten = [\"203.0.113.10:8443\"]\n\
         [service.sip]\nlisten = [\"203.0.113.10:5061\"]\n\
         [service.xmpp]\nlisten = [\"203.0.113.10:5222\"]\n\
         [service.media]\nlisten = \"203.0.113.10\"\n\
         [traversal]\nlisten_sip = \"192.0.2.10:7001\"\nlisten_ssh = \"192.0.2.10:2222\"\n\
         listen_xmpp = \"192.0.2.10:7400\"\nlisten_media = \"192.0.2.10\"\n\
         [[traversal.zone]]\nname = \"core\"\nverify_name = [\"core1.corp.example.test\"]\n\
         user = \"traversal\"\npassword = \"zone password\"\n"
    );
    let identity = EdgeIdentity {
        version: "0".into(),
        ssh_host_key: "ssh-ed25519 EDGE".into(),
    };
    Edge::new(now, Rng::from_number(1), &load(&text), identity)
}

/// A core that knows so many users.
pub(crate) fn core(now: Now, clients: u64) -> Core {
    let text = format!(
        "role = \"core\"\nname = \"core1\"\ndomain = \"corp.{REALM}\"\n{HEAD}\
         [service.sip]\nlisten = [\"10.0.0.20:5060\"]\n\
         [service.media]\nlisten = \"10.0.0.20\"\n\
         [[traversal.peer]]\nname = \"edge1\"\ndial = \"192.0.2.10\"\n\
         verify_name = \"edge1.{REALM}\"\nuser = \"traversal\"\npassword = \"zone password\"\n\
         [[domains]]\nname = \"{REALM}\"\n\
         [[call_control]]\nname = \"pbx\"\naddress = \"10.0.0.31:5060\"\ncontact = \"rewrite\"\n"
    );
    let users = (0..clients).map(|n| {
        let ha1 = |a| sip::digest::ha1(a, &user(n), REALM, "pw");
        let (md5, sha) = (ha1(Algorithm::Md5), ha1(Algorithm::Sha256));
        format!("{}:{REALM}:{md5}:{sha}\n", user(n))
    });
    let identity = CoreIdentity {
        version: "0".into(),
        ssh_key: "ssh-ed25519 CORE".into(),
        token_seed: Secret::new([7; 32]),
        users: Some(Secret::new(users.collect())),
        kept: Vec::new(),
        signed_out: Vec::new(),
        servers: ::status::servers::ServersRecord::default(),
        certificate_names: Vec::new(),
    };
    Core::new(now, Rng::from_number(2), &load(&text), identity)
}

pub(crate) fn user(n: u64) -> String {
    format!("{}", 10_000 + n)
}

/// The connection of a client at the edge.
pub(crate) fn client(n: u64) -> ConnId {
    ConnId(100 + n)
}

/// A client's connection comes up at the edge.
pub(crate) fn client_up(n: u64) -> Input {
    let remote = format!("198.51.100.{}:{}", n % 250, 20_000 + n);
    Input::Connected {
        conn: client(n),
        facts: facts(Side::Client, &remote),
    }
}

/// The control connection to the node of this name comes up.
pub(crate) fn control_up(peer_name: &str) -> Input {
    Input::ControlUp {
        conn: CONTROL,
        peer: 0,
        peer_name: peer_name.into(),
        remote: "192.0.2.10:7001".parse().unwrap(),
        exported: Secret::new([9; 32]),
        media_secret: Secret::new([8; 64]),
    }
}

/// The lane comes up, on either node.
pub(crate) fn lane_up() -> Input {
    Input::Connected {
        conn: LANE,
        facts: facts(Side::Lane { peer: 0 }, "192.0.2.20:7001"),
    }
}

/// The core's connection to call control comes up.
pub(crate) fn call_control_up(conn: ConnId) -> Input {
    Input::Connected {
        conn,
        facts: facts(Side::Inside, "10.0.0.31:5060"),
    }
}

fn facts(side: Side, remote: &str) -> Facts {
    Facts {
        side,
        local: "203.0.113.10:5061".parse().unwrap(),
        remote: remote.parse().unwrap(),
        transport: Transport::Tls,
        peer_name: None,
    }
}

pub(crate) fn frame(conn: ConnId, message: Message) -> Input {
    Input::Frame {
        conn,
        frame: Frame::Message(message),
    }
}

/// The time of the next timer of the two, at least a millisecond on, unless that is after `end`.
pub(crate) fn due(now: Now, end: Instant, edge: &Edge, core: &Core) -> Option<Now> {
    let next = [edge.poll_timeout(), core.poll_timeout()];
    let at = next.into_iter().flatten().min().filter(|at| *at <= end)?;
    Some(now.plus(at.since(now.instant).max(Duration::from_millis(1))))
}

/// A client's REGISTER, as Cisco's clients send it. `turn` tells its Call-ID and branches from
/// those of the client's other registrations; `authorization` is a header line, or nothing.
pub(crate) fn register(n: u64, turn: &str, cseq: u32, authorization: &str) -> String {
    let user = user(n);
    format!(
        "REGISTER sip:{REALM} SIP/2.0\r\n\
         Via: SIP/2.0/TLS 172.16.84.136:58980;branch=z9hG4bK{turn}{n:08}{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{user}@{REALM}>;tag=00505696779a{n:016}\r\n\
         To: <sip:{user}@{REALM}>\r\nCall-ID: 00505696-779a{n:08}{turn}@172.16.84.136\r\n\
         CSeq: {cseq} REGISTER\r\nUser-Agent: Cisco-CSF\r\n\
         Contact: <sip:7514c56a-1034-a684-3299-9b95{n:08}@172.16.84.136:58980;\
         transport=tls>;+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-{n:012}>\";\
         +u.sip!devicename.ccm.cisco.com=\"CSF{n:08}\";\
         +u.sip!model.ccm.cisco.com=\"503\";video;x-cisco-mra-ha=AR_SK;x-cisco-reg-id=1\
         \r\n{authorization}Expires: 3600\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A client's answer to the challenge of its REGISTER: a header line.
pub(crate) fn authorization(n: u64, challenged: &Message) -> String {
    let challenge = challenged.header(Name::WwwAuthenticate).unwrap();
    let challenge = Challenge::parse(challenge).unwrap();
    let (user, uri) = (user(n), format!("sip:{REALM}"));
    let value = sip::digest::respond(&challenge, &user, "pw", "REGISTER", &uri, "cnonce", 1);
    format!("Authorization: {value}\r\n")
}

/// Call control's answer to a REGISTER: it grants what it is asked for.
pub(crate) fn granted(request: &Message) -> Message {
    request
        .reply(200, "OK", "k")
        .header(Name::Contact, request.header(Name::Contact).unwrap())
        .header(Name::Expires, "3000")
        .build()
}
