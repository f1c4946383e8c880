//! STARTTLS from either side (RFC 6120 §5): towards clients as the server, towards an inside
//! server as the client. Who calls does the handshake; before it no byte of what came without TLS
//! may be kept.

use crate::collector::Collector;
use crate::features::{self, Offer};
use crate::header::StreamHeader;
use crate::{Kind, Limits, Name, Violation, ns};

/// Hears a client out until it asks for TLS.
#[derive(Debug)]
pub struct Responder {
    collector: Collector,
}

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing whole yet.
    Nothing,
    /// Its header: wants the server's, and [`crate::answer::STARTTLS_FEATURES`].
    Header(StreamHeader),
    /// It wants TLS: [`crate::answer::PROCEED`], then the handshake. Bytes after this are dropped.
    StartTls,
    /// It leaves.
    Closed,
}

impl Default for Responder {
    fn default() -> Self {
        Responder {
            collector: Collector::new(Limits::STRANGER),
        }
    }
}

impl Responder {
    /// Takes bytes up to the end of what is heard, and tells how many.
    ///
    /// # Errors
    /// The client broke the protocol.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<(usize, Heard), Violation> {
        let (taken, over) = self.collector.take(bytes)?;
        let heard = match over {
            None => return Ok((taken, Heard::Nothing)),
            Some(Kind::Header) => {
                let header = self.collector.read_header()?;
                header.check_client()?;
                Heard::Header(header)
            }
            Some(Kind::Close) => Heard::Closed,
            Some(Kind::Element(name)) if name.is_stanza() => return Err(Violation::NotSignedIn),
            Some(Kind::Element(_)) => match self.collector.read_element()?.first() {
                Some(root) if root.is(ns::TLS, "starttls") => Heard::StartTls,
                _ => return Err(Violation::TlsRequired),
            },
        };
        self.collector.forget();
        Ok((taken, heard))
    }
}

/// How a client uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Never.
    Never,
    /// When the server offers it.
    IfOffered,
    /// Always.
    Always,
}

/// Opens a stream to a server, with TLS where wished. Holds what the server has said, at most
/// header, features and one chunk more.
#[derive(Debug)]
pub struct Initiator {
    wish: Wish,
    collector: Collector,
    state: State,
    heard: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Asked,
    Secured,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read on.
    Read,
    /// Send [`crate::answer::STARTTLS`] and read on.
    Ask,
    /// Do the handshake, call [`Initiator::secured`], send the header again.
    Handshake,
    /// The stream is open: [`Initiator::into_heard`].
    Open,
}

/// Why a stream cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// TLS is wished and not offered.
    #[error("the server does not offer STARTTLS, which is required")]
    NotOffered,
    /// The server demands TLS and must not have it.
    #[error("the server requires STARTTLS, which is switched off")]
    Demanded,
    /// The server offered TLS and then refused it.
    #[error("the server refused STARTTLS")]
    Refused,
    /// Bytes came between `<proceed/>` and the handshake (RFC 6120 §5.4.3.3).
    #[error("the server sent bytes before the TLS handshake")]
    Early,
    /// The server does not speak XMPP as it should.
    #[error("the server sent {0}")]
    Violation(#[from] Violation),
}

impl Initiator {
    /// Before the server's first byte.
    pub fn new(wish: Wish) -> Self {
        Initiator {
            wish,
            collector: Collector::new(Limits::SERVER_GREETING),
            state: State::Greeting,
            heard: Vec::new(),
        }
    }

    /// TLS stands: what was heard without it counts no more.
    pub fn secured(&mut self) {
        self.state = State::Secured;
        self.collector.restart(Limits::SERVER_GREETING);
        self.heard.clear();
    }

    /// What the server has said on the open stream.
    pub fn into_heard(self) -> Vec<u8> {
        self.heard
    }

    /// Takes a chunk of the server's.
    ///
    /// # Errors
    /// The stream cannot be opened.
    pub fn hear(&mut self, chunk: &[u8]) -> Result<Next, Refusal> {
        self.heard.extend_from_slice(chunk);
        let mut rest = chunk;
        while !rest.is_empty() {
            let (taken, over) = self.collector.take(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            let next = match over {
                None => break,
                Some(Kind::Header) => {
                    self.collector.read_header()?;
                    None
                }
                Some(Kind::Close | Kind::Element(Name::Error)) => Some(self.instead()?),
                Some(Kind::Element(_)) => self.element(rest)?,
            };
            self.collector.forget();
            if let Some(next) = next {
                return Ok(next);
            }
        }
        Ok(Next::Read)
    }

    /// The server says something else than features, e.g. a stream error: that is for the client,
    /// unless it came without the TLS that is required, when anybody may have said it.
    fn instead(&self) -> Result<Next, Refusal> {
        match (self.state, self.wish) {
            (State::Secured, _) | (State::Greeting, Wish::Never | Wish::IfOffered) => {
                Ok(Next::Open)
            }
            (State::Greeting, Wish::Always) => Err(Refusal::NotOffered),
            (State::Asked, _) => Err(Refusal::Refused),
        }
    }

    fn element(&mut self, rest: &[u8]) -> Result<Option<Next>, Refusal> {
        let nodes = self.collector.read_element()?;
        let Some(root) = nodes.first() else {
            return Ok(None);
        };
        match self.state {
            State::Asked if root.is(ns::TLS, "proceed") => {
                if rest.is_empty() {
                    Ok(Some(Next::Handshake))
                } else {
                    Err(Refusal::Early)
                }
            }
            State::Asked => Err(Refusal::Refused),
            State::Secured => Ok(Some(Next::Open)),
            State::Greeting if !root.is(ns::STREAM, "features") => self.instead().map(Some),
            State::Greeting => match (self.wish, features::starttls(&nodes)) {
                (Wish::Never, Offer::Required) => Err(Refusal::Demanded),
                (Wish::Always, Offer::No) => Err(Refusal::NotOffered),
                (Wish::Never, _) | (_, Offer::No) => Ok(Some(Next::Open)),
                (Wish::IfOffered | Wish::Always, _) => {
                    self.state = State::Asked;
                    Ok(Some(Next::Ask))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer;

    const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.test' version='1.0' \
        xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

    fn responder_after(said: &str) -> Result<Heard, Violation> {
        let mut responder = Responder::default();
        let (taken, heard) = responder.hear(HEADER.as_bytes())?;
        assert!(taken == HEADER.len() && matches!(heard, Heard::Header(_)));
        responder.hear(said.as_bytes()).map(|(_, heard)| heard)
    }

    #[test]
    fn a_client_may_ask_for_tls_and_nothing_else() {
        assert_eq!(responder_after("\n"), Ok(Heard::Nothing));
        assert_eq!(responder_after(answer::STARTTLS), Ok(Heard::StartTls));
        assert_eq!(responder_after("</stream:stream>"), Ok(Heard::Closed));
        let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGE=</auth>";
        assert_eq!(responder_after(auth), Err(Violation::TlsRequired));
        assert_eq!(responder_after("<starttls/>"), Err(Violation::TlsRequired));
        assert_eq!(responder_after("<iq/>"), Err(Violation::NotSignedIn));
        let mut responder = Responder::default();
        let injected = format!("{HEADER}{}<iq/>", answer::STARTTLS);
        let (taken, _) = responder.hear(injected.as_bytes()).unwrap();
        let rest = &injected.as_bytes()[taken..];
        let (taken, heard) = responder.hear(rest).unwrap();
        assert_eq!(heard, Heard::StartTls);
        assert_eq!(
            &rest[taken..],
            b"<iq/>",
            "what follows is seen, and is the caller's to drop"
        );
    }

    fn offers(inside: &str) -> String {
        format!("{HEADER}<stream:features>{inside}</stream:features>")
    }

    fn first(wish: Wish, said: &str) -> Result<Next, Refusal> {
        let mut initiator = Initiator::new(wish);
        let (last, before) = said.as_bytes().split_last().unwrap();
        for byte in before.chunks(1) {
            assert_eq!(initiator.hear(byte)?, Next::Read);
        }
        initiator.hear(&[*last])
    }

    #[test]
    fn a_server_is_asked_for_tls_as_wished() {
        let tls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        let demanded = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
        for (wish, inside, expected) in [
            (Wish::Never, "", Ok(Next::Open)),
            (Wish::Never, tls, Ok(Next::Open)),
            (Wish::Never, demanded, Err(Refusal::Demanded)),
            (Wish::IfOffered, "", Ok(Next::Open)),
            (Wish::IfOffered, tls, Ok(Next::Ask)),
            (Wish::Always, "", Err(Refusal::NotOffered)),
            (Wish::Always, demanded, Ok(Next::Ask)),
        ] {
            assert_eq!(first(wish, &offers(inside)), expected, "{wish:?} {inside}");
        }
        let error = format!("{HEADER}<stream:error/>");
        assert_eq!(first(Wish::IfOffered, &error), Ok(Next::Open));
        assert_eq!(first(Wish::Always, &error), Err(Refusal::NotOffered));
        let odd = format!("{HEADER}<iq/>");
        assert_eq!(first(Wish::Always, &odd), Err(Refusal::NotOffered));
    }

    #[test]
    fn what_came_before_tls_is_forgotten_and_what_comes_too_early_ends_it() {
        let asked = || {
            let mut initiator = Initiator::new(Wish::Always);
            assert_eq!(
                initiator.hear(offers(answer::STARTTLS).as_bytes()),
                Ok(Next::Ask)
            );
            initiator
        };
        let mut initiator = asked();
        assert_eq!(
            initiator.hear(answer::PROCEED.as_bytes()),
            Ok(Next::Handshake)
        );
        initiator.secured();
        let secured = offers("<x/>");
        assert_eq!(initiator.hear(secured.as_bytes()), Ok(Next::Open));
        assert_eq!(initiator.into_heard(), secured.as_bytes());

        let early = format!("{}<iq/>", answer::PROCEED);
        assert_eq!(asked().hear(early.as_bytes()), Err(Refusal::Early));
        let refused = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        assert_eq!(asked().hear(refused.as_bytes()), Err(Refusal::Refused));
        assert!(matches!(
            Initiator::new(Wish::Never).hear(b"SSH-2.0-OpenSSH"),
            Err(Refusal::Violation(_))
        ));
    }
}
