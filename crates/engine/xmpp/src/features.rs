//! Stream features (RFC 6120 §4.3.2) as one who ends TLS must pass them on.
//!
//! The client's TLS connection is not the server's. So channel binding cannot hold and is not
//! offered (`-PLUS` mechanisms, XEP-0440), TLS is over and not offered again, and compression is
//! not offered because compressed bytes cannot be framed. Everything else stays byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use crate::ns;
use crate::tree::Node;

/// Whether STARTTLS is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    No,
    Yes,
    Required,
}

pub(crate) fn starttls(nodes: &[Node]) -> Offer {
    let Some(at) = nodes
        .iter()
        .position(|n| n.depth == 1 && n.is(ns::TLS, "starttls"))
    else {
        return Offer::No;
    };
    let required = nodes
        .iter()
        .skip(at + 1)
        .take_while(|n| n.depth > 1)
        .any(|n| n.is(ns::TLS, "required"));
    if required {
        Offer::Required
    } else {
        Offer::Yes
    }
}

/// What is left of `element` once it is fit to pass on.
pub(crate) fn rewrite<'e>(element: &'e [u8], nodes: &[Node]) -> Cow<'e, [u8]> {
    let mut parent = None;
    let mut cuts: Vec<Range<usize>> = Vec::new();
    for node in nodes {
        if node.depth == 1 {
            parent = Some(node);
        }
        let cut = match node.depth {
            1 => {
                node.is(ns::TLS, "starttls")
                    || node.is(ns::COMPRESS, "compression")
                    || node.is(ns::CHANNEL_BINDING, "sasl-channel-binding")
            }
            2 => {
                let offers = parent.is_some_and(|p| {
                    p.is(ns::SASL, "mechanisms") || p.is(ns::SASL2, "authentication")
                });
                offers && node.name == "mechanism" && node.text.trim().ends_with("-PLUS")
            }
            _ => false,
        };
        if cut {
            cuts.push(node.span.clone());
        }
    }
    if cuts.is_empty() {
        return Cow::Borrowed(element);
    }
    let (mut kept, mut from) = (Vec::with_capacity(element.len()), 0);
    for cut in cuts {
        kept.extend_from_slice(element.get(from..cut.start).unwrap_or_default());
        from = cut.end;
    }
    kept.extend_from_slice(element.get(from..).unwrap_or_default());
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    const HEADER: &[u8] =
        b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

    fn rewritten(element: &str) -> String {
        let nodes = tree::read(HEADER, element.as_bytes()).unwrap();
        String::from_utf8(rewrite(element.as_bytes(), &nodes).into_owned()).unwrap()
    }

    #[test]
    fn what_a_proxy_that_ends_tls_cannot_keep_is_cut_and_nothing_else() {
        let before = "<stream:features>\n <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>\
            <required/></starttls><mechanisms  xmlns=\"urn:ietf:params:xml:ns:xmpp-sasl\">\
            <mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>SCRAM-SHA-1</mechanism>\
            <mechanism> SCRAM-SHA-256-PLUS\n</mechanism><mechanism>PLAIN</mechanism>\
            <hostname xmlns='urn:xmpp:domain-based-name:0'>imp1</hostname></mechanisms>\
            <compression xmlns='http://jabber.org/features/compress'><method>zlib</method>\
            </compression><sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding \
            type='tls-exporter'/></sasl-channel-binding><authentication xmlns='urn:xmpp:sasl:2'>\
            <mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>PLAIN</mechanism><inline><bind \
            xmlns='urn:xmpp:bind:0'/></inline></authentication>\
            <ver xmlns='urn:xmpp:features:rosterver'/>\
            <x xmlns='u:x'><mechanism>A-PLUS</mechanism></x></stream:features>";
        let after = "<stream:features>\n <mechanisms  xmlns=\"urn:ietf:params:xml:ns:xmpp-sasl\">\
            <mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism>\
            <hostname xmlns='urn:xmpp:domain-based-name:0'>imp1</hostname></mechanisms>\
            <authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism><inline><bind \
            xmlns='urn:xmpp:bind:0'/></inline></authentication>\
            <ver xmlns='urn:xmpp:features:rosterver'/>\
            <x xmlns='u:x'><mechanism>A-PLUS</mechanism></x></stream:features>";
        assert_eq!(rewritten(before), after);
        assert_eq!(rewritten(after), after);
    }

    #[test]
    fn an_offer_of_tls_is_found_with_its_weight() {
        let offer = |inside: &str| {
            let element = format!("<stream:features>{inside}</stream:features>");
            starttls(&tree::read(HEADER, element.as_bytes()).unwrap())
        };
        let tls = "xmlns='urn:ietf:params:xml:ns:xmpp-tls'";
        assert_eq!(offer(""), Offer::No);
        assert_eq!(offer("<starttls xmlns='u'/>"), Offer::No);
        assert_eq!(
            offer(&format!("<starttls {tls}/><x {tls}><required/></x>")),
            Offer::Yes
        );
        let required = format!("<starttls {tls}><required/></starttls>");
        assert_eq!(offer(&required), Offer::Required);
    }
}
