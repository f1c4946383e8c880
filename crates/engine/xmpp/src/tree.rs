//! An element of the negotiation as a list of nodes in document order. Used a few times a stream,
//! never for what users say to one another.

use std::ops::Range;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::{NsReader, XmlVersion};

use crate::{Violation, ns};

const MALFORMED: Violation = Violation::NotWellFormed("an element that cannot be read");

/// An element.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// 0 for the first-level element.
    pub(crate) depth: usize,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Name and value of attributes, without namespaces.
    pub(crate) attributes: Vec<(String, String)>,
    /// Where its bytes stand, in the first-level element's.
    pub(crate) span: Range<usize>,
    /// Its own text, not its children's.
    pub(crate) text: String,
}

impl Node {
    pub(crate) fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// Whether stream management begins or goes on (XEP-0198 §3, §5).
    pub(crate) fn is_resumption(&self) -> bool {
        self.namespace == ns::MANAGEMENT && matches!(&*self.name, "enabled" | "resumed")
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Reads a whole first-level element that stands in the stream begun by `header`.
pub(crate) fn read(header: &[u8], element: &[u8]) -> Result<Vec<Node>, Violation> {
    let mut text = String::new();
    for part in [header, element] {
        text.push_str(std::str::from_utf8(part).map_err(|_| Violation::Encoding)?);
    }
    let mut reader = NsReader::from_str(&text);
    let place = |reader: &NsReader<&[u8]>| {
        usize::try_from(reader.buffer_position())
            .unwrap_or(usize::MAX)
            .saturating_sub(header.len())
    };
    let (mut nodes, mut open, mut in_stream) = (Vec::new(), Vec::<usize>::new(), false);
    loop {
        let start = place(&reader);
        let (namespace, event) = reader.read_resolved_event().map_err(|_| MALFORMED)?;
        match event {
            // The header.
            Event::Start(_) if !in_stream && !header.is_empty() => in_stream = true,
            Event::Start(tag) => {
                let node = node(namespace, &tag, open.len(), start)?;
                open.push(nodes.len());
                nodes.push(node);
            }
            Event::Empty(tag) => {
                let mut node = node(namespace, &tag, open.len(), start)?;
                node.span.end = place(&reader);
                nodes.push(node);
            }
            Event::End(_) => {
                let ended = open.pop().and_then(|at| nodes.get_mut(at));
                ended.ok_or(MALFORMED)?.span.end = place(&reader);
            }
            Event::Text(piece) => add(&mut nodes, &open, &piece.xml10_content()),
            Event::CData(piece) => add(&mut nodes, &open, &piece.xml10_content()),
            Event::GeneralRef(reference) => {
                add(
                    &mut nodes,
                    &open,
                    resolve(&reference)?.encode_utf8(&mut [0; 4]),
                );
            }
            Event::Eof => break,
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Comment(_) => {}
        }
    }
    if nodes.is_empty() || !open.is_empty() {
        return Err(MALFORMED);
    }
    Ok(nodes)
}

fn add(nodes: &mut [Node], open: &[usize], text: &str) {
    if let Some(node) = open.last().and_then(|at| nodes.get_mut(*at)) {
        node.text.push_str(text);
    }
}

fn node(
    namespace: ResolveResult<'_>,
    tag: &BytesStart<'_>,
    depth: usize,
    start: usize,
) -> Result<Node, Violation> {
    Ok(Node {
        depth,
        namespace: bound(namespace)?,
        name: tag.local_name().into_inner().to_owned(),
        attributes: attributes(tag)?,
        span: start..start,
        text: String::new(),
    })
}

/// A namespace's name; empty for none.
pub(crate) fn bound(namespace: ResolveResult<'_>) -> Result<String, Violation> {
    match namespace {
        ResolveResult::Bound(Namespace(name)) => Ok(name.to_owned()),
        ResolveResult::Unbound => Ok(String::new()),
        ResolveResult::Unknown(_) => Err(MALFORMED),
    }
}

/// Qualified names and values.
pub(crate) fn attributes(tag: &BytesStart<'_>) -> Result<Vec<(String, String)>, Violation> {
    tag.attributes()
        .map(|attribute| {
            let attribute = attribute.map_err(|_| MALFORMED)?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|_| MALFORMED)?;
            Ok((attribute.key.0.to_owned(), value.into_owned()))
        })
        .collect()
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, Violation> {
    if let Some(number) = reference.resolve_char_ref().map_err(|_| MALFORMED)? {
        return Ok(number);
    }
    match &*reference.xml10_content() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(MALFORMED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_come_from_the_header_and_spans_are_the_elements_own() {
        let header = b"<?xml version='1.0'?><s:stream xmlns='jabber:client' xmlns:s='u:stream'>";
        let element =
            "<s:features><a x='1&amp;'>t&lt;<![CDATA[<]]></a>\u{20ac}<b xmlns='u:b'/></s:features>";
        let nodes = read(header, element.as_bytes()).unwrap();
        let shown: Vec<_> = nodes
            .iter()
            .map(|n| {
                (
                    n.depth,
                    &*n.namespace,
                    &*n.name,
                    &element[n.span.clone()],
                    &*n.text,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (0, "u:stream", "features", element, "\u{20ac}"),
                (
                    1,
                    "jabber:client",
                    "a",
                    "<a x='1&amp;'>t&lt;<![CDATA[<]]></a>",
                    "t<<"
                ),
                (1, "u:b", "b", "<b xmlns='u:b'/>", ""),
            ]
        );
        assert_eq!(nodes[1].attribute("x"), Some("1&"));
        assert!(read(header, b"<a>").is_err() && read(b"", b"x").is_err());
    }
}
