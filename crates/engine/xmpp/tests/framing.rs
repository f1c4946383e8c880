//! The framer against an XML parser by other hands, and against itself in pieces.

#![allow(missing_docs, clippy::unwrap_used)]

use proptest::prelude::*;
use rxml::error::EndOrError;
use rxml::{Event, Options, Parse, Parser, WithOptions};
use xmpp::{Frame, Framer, Kind, Limits, Name, Violation};

const HEADER: &str = "<stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

type Outcome = (Vec<(usize, Kind)>, Option<Violation>);

/// Frames by their place in the whole stream, and what ended it.
fn frames(limits: Limits, stream: &[u8], cuts: impl Iterator<Item = usize>) -> Outcome {
    let mut framer = Framer::new(limits);
    let (mut seen, mut base, mut rest) = (Vec::new(), 0, stream);
    let mut cuts = cuts.map(|n| n.max(1));
    while !rest.is_empty() {
        let at = cuts.next().unwrap_or(rest.len()).min(rest.len());
        let (chunk, after) = rest.split_at(at);
        for frame in framer.frames(chunk) {
            match frame {
                Ok(Frame { end, kind }) => seen.push((base + end, kind)),
                Err(violation) => return (seen, Some(violation)),
            }
        }
        (base, rest) = (base + chunk.len(), after);
    }
    (seen, None)
}

fn whole(stream: &[u8]) -> Outcome {
    frames(Limits::SIGNED_IN, stream, std::iter::empty())
}

/// Where the oracle sees the header, first-level elements and the end; the error as a word.
fn oracle(stream: &[u8]) -> (Vec<usize>, Option<String>) {
    let mut parser = Parser::with_options(Options {
        max_token_length: 1 << 20,
        ..Options::default()
    });
    let (mut rest, mut depth, mut ends) = (stream, 0, Vec::new());
    loop {
        let event = match parser.parse(&mut rest, false) {
            Ok(None) | Err(EndOrError::NeedMoreData) => return (ends, None),
            Err(EndOrError::Error(e)) => return (ends, Some(e.to_string())),
            Ok(Some(event)) => event,
        };
        // The events' own lengths leave out empty CDATA sections.
        let at = stream.len() - rest.len();
        match event {
            Event::StartElement(..) => {
                depth += 1;
                if depth == 1 {
                    ends.push(at);
                }
            }
            Event::EndElement(_) => {
                depth -= 1;
                if depth <= 1 {
                    ends.push(at);
                }
            }
            Event::XmlDeclaration(..) | Event::Text(..) => {}
        }
    }
}

/// Whether there are only characters that XML 1.0 §2.2 allows. The oracle is late to tell.
fn is_xml_text(stream: &[u8]) -> bool {
    std::str::from_utf8(stream).is_ok_and(|text| {
        text.chars()
            .all(|c| !matches!(c, '\u{fffe}' | '\u{ffff}') && (c >= ' ' || "\t\r\n".contains(c)))
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "message|presence|iq|body|x|a-b|_c1",
        1 => "x:y|stream:features|xml:lang|é|日本",
        1 => "[a-zA-Z_][a-zA-Z0-9._-]{0,8}",
    ]
}

fn content() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[ a-zA-Z0-9.,]{0,40}",
        1 => "&(amp|lt|gt|quot|apos|#65|#x20AC|#x1F600);",
        1 => "[äöü€日本😀\n\t ]{0,9}",
        1 => r"\]{0,3}",
        1 => "[<&>'\"/?!]{1,3}",
        1 => r"<!\[CDATA\[[a-z<&>\]]{0,6}\]\]>",
        1 => "&[a-z#0-9]{0,5};?|<!--x-->|<\\?pi x\\?>|<!DOCTYPE a>|\u{fffe}|\u{1}",
    ]
}

fn attribute() -> impl Strategy<Value = String> {
    (
        name(),
        "[ ]?=[ ]?",
        "[a-z0-9 >/]{0,12}|&quot;|&#9;|<|ü",
        prop::bool::ANY,
    )
        .prop_map(|(name, equals, value, double)| {
            let quote = if double { '"' } else { '\'' };
            format!(" {name}{equals}{quote}{value}{quote}")
        })
}

fn tag_extras() -> impl Strategy<Value = String> {
    (
        prop::collection::vec(attribute(), 0..3),
        prop_oneof![
            6 => Just(""),
            1 => Just(" xmlns='u:v'"),
            2 => Just(" xmlns:x='u:x'"),
            1 => Just(" xmlns:x=''"),
            1 => Just(" "),
        ],
    )
        .prop_map(|(attributes, more)| attributes.concat() + more)
}

fn element() -> impl Strategy<Value = String> {
    let leaf = (name(), tag_extras(), prop::bool::ANY, content()).prop_map(
        |(name, extras, empty, content)| {
            if empty {
                format!("<{name}{extras}/>")
            } else {
                format!("<{name}{extras}>{content}</{name}>")
            }
        },
    );
    leaf.prop_recursive(4, 24, 4, |inner| {
        (
            name(),
            tag_extras(),
            prop::collection::vec(prop_oneof![inner, content()], 0..4),
        )
            .prop_map(|(name, extras, parts)| {
                format!("<{name}{extras}>{}</{name} >", parts.concat())
            })
    })
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::collection::vec(prop_oneof![6 => element(), 2 => "[ \n]{0,3}"], 0..8);
    (prop::bool::ANY, parts, prop::bool::ANY).prop_map(|(declared, parts, closed)| {
        let declaration = if declared {
            "<?xml version='1.0'?>"
        } else {
            ""
        };
        let end = if closed { "</stream:stream>" } else { "" };
        format!("{declaration}{HEADER}{}{end}", parts.concat()).into_bytes()
    })
}

/// Bytes that are shown as text.
#[derive(Clone)]
struct Shown(Vec<u8>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

/// A stream with some bytes changed, left out or doubled; not in the XML declaration, whose words
/// are read with the header's.
fn damaged() -> impl Strategy<Value = Shown> {
    let edit = (any::<prop::sample::Index>(), 0..3_u8, any::<u8>());
    (stream(), prop::collection::vec(edit, 0..4)).prop_map(|(mut stream, edits)| {
        let from = stream
            .windows(7)
            .position(|w| w == b"<stream")
            .unwrap_or_default();
        for (index, what, byte) in edits {
            let at = from + index.index(stream.len() - from);
            match what {
                // The oracle loses its way after a carriage return in an attribute.
                0 => stream[at] = if byte == b'\r' { b'\n' } else { byte },
                1 => drop(stream.remove(at)),
                _ => stream.insert(at, stream[at]),
            }
        }
        Shown(stream)
    })
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_chunking_gives_the_same(
        Shown(stream) in damaged(),
        cuts in prop::collection::vec(1..9_usize, 0..200),
    ) {
        let tight = Limits {
            stanza_bytes_max: 90, depth_max: 4, attributes_max: 3, name_bytes_max: 12,
            prefixes_max: 3, header_bytes_max: 150,
        };
        for limits in [Limits::SIGNED_IN, tight] {
            let at_once = frames(limits, &stream, std::iter::empty());
            prop_assert_eq!(&frames(limits, &stream, cuts.iter().copied()), &at_once);
            prop_assert_eq!(&frames(limits, &stream, std::iter::repeat(1)), &at_once);
        }
    }

    #[test]
    fn an_independent_parser_agrees(Shown(stream) in damaged()) {
        let (ours, violation) = whole(&stream);
        let (theirs, error) = oracle(&stream);
        let ends: Vec<usize> = ours.iter().map(|(end, _)| *end).collect();
        let closed = matches!(ours.last(), Some((_, Kind::Close)));
        match violation {
            None if closed && error.is_some() => {
                // What stands behind the stream's end is nobody's, and a prefix bound to the same
                // name as another is not looked for.
                let end = ends.last().copied().unwrap_or_default();
                let (theirs, error) = oracle(&stream[..end]);
                prop_assert!(error.is_none(), "{error:?}");
                prop_assert_eq!(ends, theirs);
            }
            None => prop_assert_eq!(&ends[..], &theirs[..ends.len().min(theirs.len())]),
            Some(violation) => {
                // Ours alone: no text between stanzas, no stream in the stream, no empty stream.
                let stricter = matches!(
                    violation,
                    Violation::Text | Violation::SecondHeader | Violation::OutOfPlace
                );
                // Whatever may follow, it cannot be mended.
                let refused = ["", ">", "'>", "\">", "='b'>", ";", "]]>"]
                    .iter()
                    .map(|more| [&stream, more.as_bytes(), b"<a/>"].concat())
                    .all(|stream| oracle(&stream).1.is_some());
                prop_assert!(
                    stricter || error.is_some() || refused || !is_xml_text(&stream),
                    "{violation:?}"
                );
                prop_assert_eq!(&ends[..], &theirs[..ends.len().min(theirs.len())]);
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        cut in 1..50_usize,
    ) {
        let at_once = whole(&bytes);
        prop_assert_eq!(frames(Limits::SIGNED_IN, &bytes, std::iter::repeat(cut)), at_once);
    }
}

fn after_header(body: &str) -> Outcome {
    let stream = format!("{HEADER}{body}");
    let (mut seen, violation) = whole(stream.as_bytes());
    assert_eq!(seen.remove(0), (HEADER.len(), Kind::Header));
    (seen, violation)
}

#[test]
fn stanzas_end_where_they_end() {
    let body = " <message><body>]] > &lt;&#x41;</body></message>\n<r xmlns='urn:xmpp:sm:3'/>\
        <iq id=\"'>'\"><x:y xmlns:x='u'/></iq><presence/></stream:stream>garbage < &";
    let (seen, violation) = after_header(body);
    assert_eq!(violation, None);
    let kinds: Vec<Kind> = seen.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Element(Name::Message),
            Kind::Element(Name::Other),
            Kind::Element(Name::Iq),
            Kind::Element(Name::Presence),
            Kind::Close
        ]
    );
    let end = HEADER.len() + body.find("\n<r").unwrap();
    assert_eq!(seen[0].0, end);
}

#[test]
fn violations_carry_the_condition_of_the_rfc() {
    let deep = "<a>".repeat(64);
    let many: String = (0..65).map(|n| format!(" a{n}=''")).collect();
    let (many, long) = (format!("<iq{many}/>"), format!("<{}/>", "n".repeat(1025)));
    let big = format!("<message><body>{}", "x".repeat(256 * 1024));
    let prefixes: String = (0..128).map(|n| format!("<a xmlns:p{n}='u'>")).collect();
    for (body, condition) in [
        ("<iq></message>", "not-well-formed"),
        ("<iq></iq x>", "not-well-formed"),
        ("<iq a='1' a='2'/>", "not-well-formed"),
        ("<iq a='<'/>", "not-well-formed"),
        ("<iq a='1'b='2'/>", "not-well-formed"),
        ("<iq a=1/>", "not-well-formed"),
        ("<iq>]]></iq>", "not-well-formed"),
        ("<iq>&#0;</iq>", "not-well-formed"),
        ("<iq>&#xD800;</iq>", "not-well-formed"),
        ("<iq>&am p;</iq>", "not-well-formed"),
        ("<iq>\u{0}</iq>", "not-well-formed"),
        ("<q:iq/>", "not-well-formed"),
        ("<iq q:a=''/>", "not-well-formed"),
        ("<iq><x xmlns:q='u'/><q:x/></iq>", "not-well-formed"),
        ("<a:b:c/>", "not-well-formed"),
        ("<1/>", "not-well-formed"),
        ("<iq xmlns:q=''/>", "not-well-formed"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]>", "restricted-xml"),
        ("<iq><!ENTITY a 'b'></iq>", "restricted-xml"),
        ("<!-- x -->", "restricted-xml"),
        ("<iq><!-- x --></iq>", "restricted-xml"),
        ("<iq><?php x?></iq>", "restricted-xml"),
        ("<?xml version='1.0'?>", "restricted-xml"),
        ("<iq>&nbsp;</iq>", "restricted-xml"),
        ("<iq a='&lol9;'/>", "restricted-xml"),
        ("hello", "bad-format"),
        ("<iq/>&amp;", "bad-format"),
        (HEADER, "bad-format"),
        (&deep, "policy-violation"),
        (&many, "policy-violation"),
        (&long, "policy-violation"),
        (&big, "policy-violation"),
        (&prefixes, "policy-violation"),
    ] {
        let (_, violation) = after_header(body);
        let shown: String = body.chars().take(60).collect();
        let violation = violation.unwrap_or_else(|| panic!("{shown} passes"));
        assert_eq!(
            violation.condition().as_str(),
            condition,
            "{shown}: {violation}"
        );
    }
    let bad = [HEADER.as_bytes(), b"<iq>\xc3\x28</iq>"].concat();
    assert_eq!(whole(&bad).1, Some(Violation::Encoding));
    let utf16 = b"\xff\xfe<\0s\0";
    assert_eq!(whole(utf16).1, Some(Violation::Encoding));
}

#[test]
fn limits_are_exact() {
    let limits = Limits {
        stanza_bytes_max: 20,
        ..Limits::STRANGER
    };
    let framed = |stanza: &str| {
        frames(
            limits,
            format!("{HEADER}  {stanza}").as_bytes(),
            std::iter::empty(),
        )
        .1
    };
    assert_eq!(framed("<iq>0123456789a</iq>"), None);
    assert_eq!(
        framed("<iq>0123456789ab</iq>"),
        Some(Violation::Limit("size"))
    );
    let long = format!("<stream:stream xmlns:stream='{}", "x".repeat(5000));
    assert_eq!(whole(long.as_bytes()).1, Some(Violation::Limit("size")));
    let spaces = " ".repeat(5000);
    assert_eq!(whole(spaces.as_bytes()).1, Some(Violation::Limit("size")));
}

#[test]
fn keep_alives_pass_and_a_restart_begins_anew() {
    let mut framer = Framer::new(Limits::STRANGER);
    assert!(!framer.is_open() && framer.root().is_empty());
    assert_eq!(framer.frames(HEADER.as_bytes()).count(), 1);
    assert_eq!(framer.root(), b"stream:stream");
    assert_eq!(framer.frames(b" \n ").count(), 0);
    assert!(framer.is_between());
    assert_eq!(framer.frames(b" <iq").count(), 0);
    assert!(!framer.is_between());
    assert_eq!(framer.frames(b"/>").count(), 1);
    framer.restart(Limits::SIGNED_IN);
    let again = format!("<?xml version='1.0'?>\n{HEADER}<iq/>");
    let kinds: Vec<_> = framer
        .frames(again.as_bytes())
        .map(|f| f.unwrap().kind)
        .collect();
    assert_eq!(kinds, [Kind::Header, Kind::Element(Name::Iq)]);
}

#[test]
fn who_stops_early_gives_the_rest_again() {
    let mut framer = Framer::new(Limits::STRANGER);
    let stream = format!("{HEADER}<iq/><presence>ä</presence>");
    // Cut inside the two bytes of the letter.
    let cut = stream.find('ä').unwrap() + 1;
    let first = framer
        .frames(&stream.as_bytes()[..cut])
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(first.kind, Kind::Header);
    let rest = &stream.as_bytes()[first.end..];
    let kinds: Vec<_> = framer.frames(rest).map(|f| f.unwrap().kind).collect();
    assert_eq!(
        kinds,
        [Kind::Element(Name::Iq), Kind::Element(Name::Presence)]
    );
}
