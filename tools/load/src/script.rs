//! What clients say: messages from templates, and the flows made of them.
//!
//! A registration is two transactions (401, then 200). A call is INVITE, 180, 200, ACK, BYE, 200
//! between two clients outside; media is described and none is sent.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use md5::{Digest, Md5};

use crate::conn::{Conn, Message};

/// The password of user `n`.
pub(crate) fn password(n: usize) -> String {
    format!("secret-{}", user(n))
}

/// The name of user `n`.
pub(crate) fn user(n: usize) -> String {
    format!("u{n:05}")
}

/// The MD5 of a user's name, realm and password (RFC 7616 §3.4.2).
pub(crate) fn ha1(n: usize, realm: &str) -> String {
    md5(&format!("{}:{realm}:{}", user(n), password(n)))
}

fn md5(text: &str) -> String {
    let digest = Md5::digest(text);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// Registers a client, or takes its registration back; each is challenged anew.
pub(crate) async fn register(conn: &mut Conn, domain: &str) -> Result<()> {
    let first = register_text(conn, domain, "");
    conn.send(&first).await?;
    let challenge = conn.answer(401).await?;
    let digest = answer_to(conn, domain, &challenge)?;
    let second = register_text(conn, domain, &digest);
    conn.send(&second).await?;
    conn.answer(200).await?;
    Ok(())
}

fn register_text(conn: &mut Conn, domain: &str, extra: &str) -> String {
    let (user, local, cseq) = (user(conn.user), conn.local, conn.cseq);
    conn.cseq += 1;
    format!(
        "REGISTER sip:{domain} SIP/2.0\r\n\
         Via: SIP/2.0/TLS {local};branch=z9hG4bKr{user}x{cseq};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:{user}@{domain}>;tag=r{user}\r\n\
         To: <sip:{user}@{domain}>\r\n\
         Call-ID: reg-{user}-{port}@load\r\n\
         CSeq: {cseq} REGISTER\r\n\
         Contact: <sip:{user}@{local};transport=tls>;expires={expires}\r\n\
         Supported: path\r\n\
         User-Agent: load\r\n\
         {extra}Content-Length: 0\r\n\r\n",
        port = local.port(),
        expires = conn.expires,
    )
}

/// The Authorization that answers a challenge.
fn answer_to(conn: &Conn, domain: &str, challenge: &Message) -> Result<String> {
    let line = challenge
        .headers("WWW-Authenticate")
        .find(|line| is_md5(line))
        .context("a 401 without a challenge in MD5")?;
    let realm = parameter(line, "realm").context("a challenge without a realm")?;
    let nonce = parameter(line, "nonce").context("a challenge without a nonce")?;
    let (user, uri) = (user(conn.user), format!("sip:{domain}"));
    let ha1 = ha1(conn.user, realm);
    let ha2 = md5(&format!("REGISTER:{uri}"));
    let response = match parameter(line, "qop") {
        Some(_) => {
            let answer = md5(&format!("{ha1}:{nonce}:00000001:0a4f113b:auth:{ha2}"));
            format!("\"{answer}\", qop=auth, nc=00000001, cnonce=\"0a4f113b\"")
        }
        None => format!("\"{}\"", md5(&format!("{ha1}:{nonce}:{ha2}"))),
    };
    Ok(format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
         uri=\"{uri}\", algorithm=MD5, response={response}\r\n"
    ))
}

/// Whether a challenge is for MD5. Only its algorithm says so: a nonce may hold any letters.
fn is_md5(line: &str) -> bool {
    !line.contains("algorithm=SHA-")
}

fn parameter<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let at = line.find(&format!("{name}=\""))? + name.len() + 2;
    line.get(at..)?.split('"').next()
}

/// Two clients, the first of which calls or writes to the second.
pub(crate) struct Pair {
    /// Who asks.
    pub(crate) a: Conn,
    /// Who answers.
    pub(crate) b: Conn,
    /// How often they have.
    pub(crate) count: u32,
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 40000 RTP/SAVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm\r\n\
    a=sendrecv\r\n";

/// A call from beginning to end; gives the time from INVITE to 200.
pub(crate) async fn call(pair: &mut Pair, domain: &str) -> Result<Instant> {
    pair.count += 1;
    let (from, to) = (user(pair.a.user), user(pair.b.user));
    let call = format!("c{}x{from}-{}", pair.count, pair.a.local.port());
    let (local, cseq) = (pair.a.local, pair.a.cseq);
    pair.a.cseq += 2;
    let head = |method: &str, uri: &str, routes: &str, to_field: &str, cseq: u32| {
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/TLS {local};branch=z9hG4bK{method}{cseq}{call};rport\r\n\
             {routes}Max-Forwards: 70\r\n\
             From: <sip:{from}@{domain}>;tag=a{call}\r\n\
             To: {to_field}\r\n\
             Call-ID: {call}@load\r\n\
             CSeq: {cseq} {method}\r\n\
             User-Agent: load\r\n"
        )
    };
    let callee = format!("sip:{to}@{domain}");
    let invite = format!(
        "{}Contact: <sip:{from}@{local};transport=tls>\r\nAllow: INVITE, ACK, BYE, CANCEL\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
        head("INVITE", &callee, "", &format!("<{callee}>"), cseq),
        SDP.len(),
    );
    pair.a.send(&invite).await?;
    let asked = tokio::select! {
        asked = pair.b.request("INVITE") => asked?,
        refused = pair.a.refusal() => return Err(refused),
    };
    let contact = format!("Contact: <sip:{to}@{};transport=tls>\r\n", pair.b.local);
    let tag = format!("b{call}");
    let ringing = reply(&asked, "180 Ringing", &tag, &contact, "");
    let taken = reply(&asked, "200 OK", &tag, &contact, SDP);
    pair.b.send(&ringing).await?;
    pair.b.send(&taken).await?;
    let ok = pair.a.answer(200).await?;
    let at = Instant::now();
    let (target, routes) = dialog(&ok)?;
    let to_field = ok.header("To").context("a 200 without To")?;
    let ack = head("ACK", target, &routes, to_field, cseq);
    pair.a
        .send(&format!("{ack}Content-Length: 0\r\n\r\n"))
        .await?;
    pair.b.request("ACK").await?;
    let bye = head("BYE", target, &routes, to_field, cseq + 1);
    pair.a
        .send(&format!("{bye}Content-Length: 0\r\n\r\n"))
        .await?;
    let asked = tokio::select! {
        asked = pair.b.request("BYE") => asked?,
        refused = pair.a.refusal() => return Err(refused),
    };
    let gone = reply(&asked, "200 OK", "", "", "");
    pair.b.send(&gone).await?;
    pair.a.answer(200).await?;
    Ok(at)
}

/// A message and its answer; gives the time of the answer.
pub(crate) async fn message(pair: &mut Pair, domain: &str) -> Result<Instant> {
    pair.count += 1;
    let (from, to) = (user(pair.a.user), user(pair.b.user));
    let (local, cseq) = (pair.a.local, pair.a.cseq);
    pair.a.cseq += 1;
    let id = format!("m{}x{from}-{}", pair.count, local.port());
    let body = "Are you there? Sixty characters are about what people write.";
    let text = format!(
        "MESSAGE sip:{to}@{domain} SIP/2.0\r\n\
         Via: SIP/2.0/TLS {local};branch=z9hG4bK{id};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:{from}@{domain}>;tag={id}\r\n\
         To: <sip:{to}@{domain}>\r\n\
         Call-ID: {id}@load\r\n\
         CSeq: {cseq} MESSAGE\r\n\
         User-Agent: load\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    pair.a.send(&text).await?;
    let asked = tokio::select! {
        asked = pair.b.request("MESSAGE") => asked?,
        refused = pair.a.refusal() => return Err(refused),
    };
    let answer = reply(&asked, "200 OK", &format!("t{id}"), "", "");
    pair.b.send(&answer).await?;
    pair.a.answer(200).await?;
    Ok(Instant::now())
}

fn reply(request: &Message, status: &str, tag: &str, extra: &str, body: &str) -> String {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in request.headers(name) {
            out.push_str(name);
            out.push_str(": ");
            out.push_str(value);
            if name == "To" && !value.contains(";tag=") {
                out.push_str(";tag=");
                out.push_str(tag);
            }
            out.push_str("\r\n");
        }
    }
    out.push_str(extra);
    if !body.is_empty() {
        out.push_str("Content-Type: application/sdp\r\n");
    }
    out.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    out
}

/// The remote target and the route set of a dialog we began (RFC 3261 §12.1.2).
fn dialog(ok: &Message) -> Result<(&str, String)> {
    let Some(target) = ok.contact() else {
        bail!("a 200 without a Contact");
    };
    let recorded: Vec<&str> = ok
        .headers("Record-Route")
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    let routes = recorded
        .iter()
        .rev()
        .map(|route| format!("Route: {route}\r\n"))
        .collect();
    Ok((target, routes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_is_read_between_its_quotes() {
        let line = "Digest realm=\"a b\", nonce=\"xyz==\", algorithm=MD5, qop=\"auth\"";
        assert_eq!(parameter(line, "realm"), Some("a b"));
        assert_eq!(parameter(line, "nonce"), Some("xyz=="));
        assert_eq!(parameter(line, "opaque"), None);
    }

    #[test]
    fn challenge_is_known_by_its_algorithm_whatever_its_nonce_holds() {
        assert!(is_md5(
            "Digest realm=\"a\", nonce=\"x8SHA-2_\", algorithm=MD5"
        ));
        assert!(is_md5("Digest realm=\"a\", nonce=\"x8SHA-2_\""));
        assert!(!is_md5(
            "Digest realm=\"a\", nonce=\"x\", algorithm=SHA-256"
        ));
    }

    #[test]
    fn route_set_of_a_caller_is_the_recorded_one_backwards() {
        let text = "SIP/2.0 200 OK\r\nRecord-Route: <sip:1;lr>, <sip:2;lr>\r\n\
                    Record-Route: <sip:3;lr>\r\nContact: <sip:b@h>\r\n\r\n";
        let ok = Message {
            text: text.to_owned(),
            status: Some(200),
        };
        let (target, routes) = dialog(&ok).unwrap();
        assert_eq!(target, "sip:b@h");
        let wanted = "Route: <sip:3;lr>\r\nRoute: <sip:2;lr>\r\nRoute: <sip:1;lr>\r\n";
        assert_eq!(routes, wanted);
    }
}
