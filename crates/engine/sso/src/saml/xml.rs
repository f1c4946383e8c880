//! A document as signatures need it, and its exclusive canonical form (Exclusive XML
//! Canonicalization 1.0 §3).
//!
//! Refused: type definitions, comments, processing instructions, two elements of one id, more than
//! [`NODES_MAX`] nodes, whatever goes beyond [`BOUNDS`], which are looked at before anything is
//! read, and a canonical form of more than [`CANONICAL_MAX`] bytes.

use std::collections::BTreeMap;

use base::XmlBounds;
use roxmltree::{Document, Node, NodeId, ParsingOptions};

/// Nodes of a document.
const NODES_MAX: u32 = 10_000;

/// What a document may cost. Some providers declare the namespaces anew with each value.
const BOUNDS: XmlBounds = XmlBounds {
    levels: 64,
    elements: NODES_MAX as usize,
    attributes: 4_000,
};

/// Bytes of a canonical form: a namespace is written wherever it comes into use.
const CANONICAL_MAX: usize = 4 * super::RESPONSE_BYTES_MAX;

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Document<'_>, &'static str> {
    BOUNDS.check(text)?;
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: NODES_MAX,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options);
    let document = document.map_err(|_| "it is no XML that is taken")?;
    let mut ids = BTreeMap::new();
    for node in document.descendants() {
        if node.is_comment() || node.is_pi() {
            return Err("it holds comments or processing instructions");
        }
        for attribute in node.attributes() {
            let is_id = attribute.name().eq_ignore_ascii_case("id");
            if is_id && ids.insert(attribute.value(), ()).is_some() {
                return Err("an id stands twice");
            }
        }
    }
    Ok(document)
}

/// The text of an element that holds nothing else.
pub(super) fn text(node: Node<'_, '_>) -> Option<String> {
    let parts = node.children().map(|c| c.text().filter(|_| c.is_text()));
    let parts: Option<Vec<&str>> = parts.collect();
    parts.map(|p| p.concat())
}

/// The child elements.
pub(super) fn elements<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

/// The one child element of a name; an error if there are several.
pub(super) fn only<'a, 'i>(
    node: Node<'a, 'i>,
    namespace: &str,
    name: &str,
) -> Result<Option<Node<'a, 'i>>, &'static str> {
    let mut found = elements(node).filter(|n| n.has_tag_name((namespace, name)));
    let first = found.next();
    match found.next() {
        None => Ok(first),
        Some(_) => Err("an element stands twice that may stand once"),
    }
}

/// The exclusive canonical form of an element without one of its children. Prefixes of
/// `inclusive` are treated as the inclusive form does.
pub(super) fn canonical<'a>(
    node: Node<'a, '_>,
    without: Option<NodeId>,
    inclusive: &[&'a str],
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    write(&mut out, node, without, inclusive, &mut Vec::new())?;
    Some(out)
}

/// Writes an element. `rendered` holds the prefixes written around it with what they stand for, the
/// innermost last; what an element adds goes with its end.
fn write<'a>(
    out: &mut Vec<u8>,
    node: Node<'a, '_>,
    without: Option<NodeId>,
    inclusive: &[&'a str],
    rendered: &mut Vec<(&'a str, &'a str)>,
) -> Option<()> {
    let source = node.document().input_text();
    let tag = source.get(node.range())?.strip_prefix('<')?;
    let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '>');
    let name = tag.get(..tag.find(ends)?)?;
    let mut used = vec![prefix_of(name)];
    let mut attributes = Vec::new();
    for attribute in node.attributes() {
        let qualified = source.get(attribute.range_qname())?;
        if !prefix_of(qualified).is_empty() {
            used.push(prefix_of(qualified));
        }
        let order = (attribute.namespace().unwrap_or_default(), attribute.name());
        attributes.push((order, qualified, attribute.value()));
    }
    attributes.sort_unstable();
    let uri_of = |prefix: &str| {
        let prefix = Some(prefix).filter(|p| !p.is_empty());
        node.lookup_namespace_uri(prefix)
    };
    used.extend(inclusive.iter().filter(|p| uri_of(p).is_some()));
    used.retain(|p| *p != "xml");
    used.sort_unstable();
    used.dedup();
    let outside = rendered.len();
    out.push(b'<');
    out.extend(name.as_bytes());
    for prefix in used {
        let uri = uri_of(prefix).unwrap_or_default();
        let before = rendered.iter().rfind(|(p, _)| *p == prefix);
        let before = before.map_or("", |(_, uri)| *uri);
        if uri == before {
            continue;
        }
        out.extend(b" xmlns");
        if !prefix.is_empty() {
            out.push(b':');
            out.extend(prefix.as_bytes());
        }
        out.extend(b"=\"");
        escape(out, uri, true);
        out.push(b'"');
        rendered.push((prefix, uri));
        within(out)?;
    }
    for (_, qualified, value) in attributes {
        out.push(b' ');
        out.extend(qualified.as_bytes());
        out.extend(b"=\"");
        escape(out, value, true);
        out.push(b'"');
    }
    out.push(b'>');
    for child in node.children().filter(|c| Some(c.id()) != without) {
        if child.is_element() {
            write(out, child, without, inclusive, rendered)?;
        } else {
            escape(out, child.text()?, false);
        }
    }
    rendered.truncate(outside);
    out.extend(b"</");
    out.extend(name.as_bytes());
    out.push(b'>');
    within(out)
}

fn within(out: &[u8]) -> Option<()> {
    (out.len() <= CANONICAL_MAX).then_some(())
}

fn prefix_of(qualified: &str) -> &str {
    qualified.split_once(':').map_or("", |(prefix, _)| prefix)
}

/// Canonical XML 1.0 §2.3.
fn escape(out: &mut Vec<u8>, text: &str, in_attribute: bool) {
    for byte in text.bytes() {
        match byte {
            b'&' => out.extend(b"&amp;"),
            b'<' => out.extend(b"&lt;"),
            b'\r' => out.extend(b"&#xD;"),
            b'>' if !in_attribute => out.extend(b"&gt;"),
            b'"' if in_attribute => out.extend(b"&quot;"),
            b'\t' if in_attribute => out.extend(b"&#x9;"),
            b'\n' if in_attribute => out.extend(b"&#xA;"),
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, name: &str, inclusive: &[&str]) -> String {
        let document = parse(text).unwrap();
        let mut all = document.descendants();
        let node = all.find(|n| n.tag_name().name() == name).unwrap();
        String::from_utf8(canonical(node, None, inclusive).unwrap()).unwrap()
    }

    #[test]
    fn the_exclusive_form_takes_the_namespaces_in_use_alone() {
        // Exclusive XML Canonicalization 1.0 §2.2.
        let one = "<n0:local xmlns:n0='http://foobar.org' xmlns:n3='ftp://example.org'>\
            <n1:elem2 xmlns:n1=\"http://example.net\" xml:lang=\"en\"><n3:stuff \
            xmlns:n3=\"ftp://example.org\"/></n1:elem2></n0:local>";
        let want = "<n1:elem2 xmlns:n1=\"http://example.net\" xml:lang=\"en\"><n3:stuff \
            xmlns:n3=\"ftp://example.org\"></n3:stuff></n1:elem2>";
        assert_eq!(of(one, "elem2", &[]), want);
        let listed = "<n1:elem2 xmlns:n1=\"http://example.net\" \
            xmlns:n3=\"ftp://example.org\" xml:lang=\"en\"><n3:stuff></n3:stuff></n1:elem2>";
        assert_eq!(of(one, "elem2", &["n3", "absent"]), listed);
    }

    #[test]
    fn attributes_are_sorted_and_escaped_and_defaults_undone() {
        let text = "<a xmlns='urn:a' xmlns:z='urn:0' z:b='1' c=\"&#9;&lt;&amp;'&quot;\" b='2'\
            ><b xmlns=''>x&gt;&#13;<![CDATA[<&]]></b><c/></a>";
        let want = "<a xmlns=\"urn:a\" xmlns:z=\"urn:0\" b=\"2\" c=\"&#x9;&lt;&amp;'&quot;\" \
            z:b=\"1\"><b xmlns=\"\">x&gt;&#xD;&lt;&amp;</b><c></c></a>";
        assert_eq!(of(text, "a", &[]), want);
        assert_eq!(of(text, "b", &[]), "<b>x&gt;&#xD;&lt;&amp;</b>");
    }

    #[test]
    fn what_two_readers_could_see_differently_is_refused() {
        for bad in [
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            "<a><!-- x --></a>",
            "<a><?x y?></a>",
            "<a ID='1'><b ID='1'/></a>",
            "<a ID='1'><b id='1'/></a>",
            "<a xmlns:x='u' ID='1'><b x:Id='1'/></a>",
            "<a>&undefined;</a>",
            "<a",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let deep = format!("{}{}", "<a>".repeat(65), "</a>".repeat(65));
        assert!(parse(&deep).is_err());
        let wide = format!("<a>{}</a>", "<b/>".repeat(10_001));
        assert!(parse(&wide).is_err());
        assert!(parse(&"<a>".repeat(100_000)).is_err());
    }

    #[test]
    fn what_a_reader_is_slow_at_is_refused_before_it_is_read() {
        let nested: String = (0..60).map(|i| format!("<a xmlns:p{i}='u{i}'>")).collect();
        let cause = "it has too many namespaces within each other";
        assert_eq!(parse(&nested).unwrap_err(), cause);
        let attributes: String = (0..10_000).map(|i| format!(" a{i}=''")).collect();
        let cause = "an element has too many attributes";
        assert_eq!(parse(&format!("<a{attributes}/>")).unwrap_err(), cause);
    }

    #[test]
    fn a_canonical_form_much_longer_than_its_document_is_refused() {
        // Each child brings the namespace into use again.
        let name = "u".repeat(50_000);
        let text = format!("<a xmlns:p='{name}'>{}</a>", "<p:b/>".repeat(2_000));
        let document = parse(&text).unwrap();
        assert_eq!(canonical(document.root_element(), None, &[]), None);
        let few = format!("<a xmlns:p='{name}'>{}</a>", "<p:b/>".repeat(5));
        let document = parse(&few).unwrap();
        assert!(canonical(document.root_element(), None, &[]).is_some());
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_within_the_bounds_whatever_was_written(
            tags in proptest::collection::vec((0usize..4, 0usize..80, 0usize..40), 0..12),
        ) {
            let mut text = String::new();
            let mut open = 0;
            for (kind, attributes, namespaces) in tags {
                text.push_str("<e");
                let value = if kind == 3 { "&lt;=" } else { ">=\"" };
                for i in 0..attributes {
                    text.push_str(&format!(" a{i}='{value}'"));
                }
                for i in 0..namespaces {
                    text.push_str(&format!(" xmlns:n{i}='u'"));
                }
                text.push('>');
                open += 1;
                if kind == 0 {
                    text.push_str("</e>");
                    open -= 1;
                }
            }
            text.push_str(&"</e>".repeat(open));
            if let Ok(document) = parse(&text) {
                for node in document.descendants() {
                    proptest::prop_assert!(node.attributes().len() <= 64);
                    proptest::prop_assert!(node.namespaces().len() <= 33);
                    proptest::prop_assert!(node.ancestors().count() <= 66);
                }
            }
        }
    }
}
