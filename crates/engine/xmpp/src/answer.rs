//! What a gateway says itself on a stream.

use crate::Condition;

/// Features of a stream without TLS: nothing but STARTTLS (RFC 6120 §5.4.1).
pub const STARTTLS_FEATURES: &str = "<stream:features><starttls \
    xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";

/// A server's consent to STARTTLS (RFC 6120 §5.4.2.3).
pub const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// A client's wish for it (RFC 6120 §5.4.2.1).
pub const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// A server's header (RFC 6120 §4.7). `id` should be hard to guess.
pub fn header(from: &str, id: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' id='{}' from='{}' version='1.0' \
         xml:lang='en'>",
        escape(id),
        escape(from)
    )
}

/// A stream error and the stream's end (RFC 6120 §4.9). `root` is the stream's tag as the server's
/// header has it, see [`crate::Framer::root`].
pub fn error(root: &[u8], condition: Condition, text: &str) -> String {
    let root = match std::str::from_utf8(root) {
        Ok(root) if !root.is_empty() => root,
        _ => "stream:stream",
    };
    let prefix = root
        .rfind(':')
        .and_then(|colon| root.get(..=colon))
        .unwrap_or_default();
    format!(
        "<{prefix}error><{} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text \
         xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>{}</text></{prefix}error>\
         </{root}>",
        condition.as_str(),
        escape(text)
    )
}

/// The stream's end.
pub fn close(root: &[u8]) -> String {
    format!("</{}>", String::from_utf8_lossy(root))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Framer, Kind, Limits, Name};

    #[test]
    fn what_we_say_is_a_stream_of_its_own() {
        let said = header("a'b&<c", "1")
            + STARTTLS_FEATURES
            + PROCEED
            + "\n"
            + &error(
                b"stream:stream",
                Condition::HostUnknown,
                "no \u{1}<such> host",
            );
        let mut framer = Framer::new(Limits::STRANGER);
        let kinds: Vec<_> = framer
            .frames(said.as_bytes())
            .map(|frame| frame.unwrap().kind)
            .collect();
        assert_eq!(
            kinds,
            [
                Kind::Header,
                Kind::Element(Name::Features),
                Kind::Element(Name::Other),
                Kind::Element(Name::Error),
                Kind::Close
            ]
        );
    }

    #[test]
    fn an_error_has_the_prefix_of_the_stream_it_ends() {
        let said = error(b"stream", Condition::PolicyViolation, "x");
        assert!(said.starts_with("<error><policy-violation ") && said.ends_with("</stream>"));
        assert!(error(b"", Condition::BadFormat, "x").ends_with("</stream:stream>"));
    }
}
