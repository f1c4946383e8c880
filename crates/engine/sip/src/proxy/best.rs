//! The choice of the best response (RFC 3261 §16.7, steps 6 and 7).

use crate::transaction::ClientKey;
use crate::{Message, Name};

/// A response of the proxy's own, with a To tag that follows from the request.
pub(super) fn own(request: &Message, status: u16, reason: &str) -> Message {
    let branch = request
        .top_via()
        .ok()
        .and_then(|via| via.branch().map(<[u8]>::to_vec));
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in branch.unwrap_or_default() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    request
        .reply(status, reason, &format!("{hash:016x}"))
        .build()
}

/// The best of the answers: a 6xx before all, else the lowest class, and within 4xx those that
/// tell the client how to do better. A 503 becomes a 500 with its warnings and its Retry-After
/// (RFC 3261 §16.7, §21.5.1); the challenges of all 401 and 407 are put together.
pub(super) fn choose<'a>(
    request: &Message,
    answers: impl Iterator<Item = (ClientKey, &'a Message)> + Clone,
) -> Option<(ClientKey, Message)> {
    let (client, best) = answers.clone().min_by_key(|(_, m)| rank(m.status()))?;
    match best.status() {
        503 => Some((client, unavailable(request, best))),
        401 | 407 => {
            let mut edit = best.edit();
            for (other, message) in answers {
                if other == client || !matches!(message.status(), 401 | 407) {
                    continue;
                }
                for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
                    for field in message.fields().filter(|f| f.id == name) {
                        edit.push_back(name, field.value);
                    }
                }
            }
            Some((client, edit.finish()))
        }
        _ => Some((client, best.clone())),
    }
}

/// What becomes of a 503: why, and when to come back, is still worth knowing.
fn unavailable(request: &Message, answer: &Message) -> Message {
    let reply = own(request, 500, "Server Internal Error");
    let mut edit = reply.edit();
    for name in [Name::Warning, Name::RetryAfter] {
        for field in answer.fields().filter(|f| f.id == name) {
            edit.push_back(name, field.value);
        }
    }
    edit.finish()
}

/// Lower is better.
fn rank(status: u16) -> (u16, u16) {
    let class = if status >= 600 { 0 } else { status / 100 };
    let helpful = match status {
        401 | 407 | 415 | 420 | 484 => 0,
        // What we made up, or an overloaded server said, stands back behind real answers.
        408 | 503 => 2,
        _ => 1,
    };
    (class, helpful)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_503_leaves_as_500_that_says_why_and_when_to_come_back() {
        let text = "INVITE sip:a@x.test SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
                    From: <sip:b@x.test>;tag=f\r\nTo: <sip:a@x.test>\r\nCall-ID: c\r\n\
                    CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
        let request = Message::parse(text.into(), &crate::Limits::outside()).unwrap();
        let busy = request
            .reply(503, "Service Unavailable", "t")
            .header(Name::Warning, "399 core \"busy\"")
            .header(Name::RetryAfter, "7")
            .build();
        let best = unavailable(&request, &busy);
        assert_eq!(best.status(), 500);
        assert_eq!(best.header(Name::RetryAfter), Some(&b"7"[..]));
        assert_eq!(best.header(Name::Warning), Some(&b"399 core \"busy\""[..]));
    }

    #[test]
    fn best_response_prefers_6xx_then_the_lowest_class_then_the_helpful() {
        let order = [603, 302, 401, 486, 408, 500, 503];
        assert!(order.windows(2).all(|pair| match pair {
            [a, b] => rank(*a) < rank(*b),
            _ => false,
        }));
    }
}
