//! What a document may cost its reader, counted before it is read.
//!
//! Readers of XML that build trees are quadratic in the attributes of one element and worse in
//! namespaces within each other. [`XmlBounds::check`] walks the text once, front to back, and
//! refuses what would be dear; it takes no text for well-formed and reads nothing of it. In: a
//! text. Out: whether a reader may have it. Where it and a reader disagree, the reader has met the
//! fault first and stopped there.
//!
//! Bounds: [`OF_TAG_MAX`], [`IN_SCOPE_MAX`] and those that the caller gives.

/// Attributes of one element, declarations of namespaces among them.
const OF_TAG_MAX: usize = 64;

/// Declarations of namespaces that hold at one place.
const IN_SCOPE_MAX: usize = 32;

/// What a document may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XmlBounds {
    /// Elements within each other.
    pub levels: usize,
    /// Elements in all.
    pub elements: usize,
    /// Attributes in all, declarations of namespaces among them.
    pub attributes: usize,
}

impl XmlBounds {
    /// Whether a text stays within the bounds.
    ///
    /// # Errors
    /// What it has too much of.
    pub fn check(&self, text: &str) -> Result<(), &'static str> {
        // What each open element declares.
        let mut open: Vec<usize> = Vec::new();
        let (mut in_scope, mut elements, mut attributes) = (0, 0, 0);
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('<') {
            if let Some(end) = skipped(after) {
                rest = after.split_once(end).ok_or("it ends too early")?.1;
                continue;
            }
            if after.starts_with('!') {
                return Err("it has a type definition");
            }
            if after.starts_with('/') {
                rest = after.split_once('>').ok_or("it ends too early")?.1;
                in_scope -= open.pop().ok_or("it ends an element that did not begin")?;
                continue;
            }
            let tag = Tag::read(after)?;
            rest = tag.rest;
            elements += 1;
            attributes += tag.attributes;
            if elements > self.elements {
                return Err("it has too many elements");
            }
            if attributes > self.attributes {
                return Err("it has too many attributes");
            }
            if open.len() >= self.levels {
                return Err("it is nested too deeply");
            }
            if in_scope + tag.namespaces > IN_SCOPE_MAX {
                return Err("it has too many namespaces within each other");
            }
            if !tag.is_empty {
                open.push(tag.namespaces);
                in_scope += tag.namespaces;
            }
        }
        Ok(())
    }
}

/// How that ends which is no element, if it is none: a comment, an instruction, bare text.
fn skipped(after: &str) -> Option<&'static str> {
    if after.starts_with("!--") {
        Some("-->")
    } else if after.starts_with("![CDATA[") {
        Some("]]>")
    } else if after.starts_with('?') {
        Some("?>")
    } else {
        None
    }
}

/// The beginning of an element.
struct Tag<'a> {
    attributes: usize,
    namespaces: usize,
    is_empty: bool,
    rest: &'a str,
}

impl<'a> Tag<'a> {
    fn read(after: &'a str) -> Result<Self, &'static str> {
        let (mut attributes, mut namespaces) = (0, 0);
        let (mut quote, mut before) = (None, b' ');
        for (at, byte) in after.bytes().enumerate() {
            match (quote, byte) {
                (_, b'<') => return Err("an element begins within another's name"),
                (Some(q), _) if q == byte => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'=') => attributes += 1,
                (None, b'>') => {
                    return Ok(Tag {
                        attributes,
                        namespaces,
                        is_empty: before == b'/',
                        rest: after.get(at + 1..).unwrap_or_default(),
                    });
                }
                (None, b'x') => {
                    let rest = after.get(at..).unwrap_or_default();
                    namespaces += usize::from(rest.starts_with("xmlns"));
                }
                (None, _) => {}
            }
            if attributes > OF_TAG_MAX {
                return Err("an element has too many attributes");
            }
            before = byte;
        }
        Err("it ends too early")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: XmlBounds = XmlBounds {
        levels: 8,
        elements: 100,
        attributes: 200,
    };

    #[test]
    fn what_readers_are_slow_at_is_refused() {
        let nested = |n: usize| -> String {
            let begin = (0..n).map(|i| format!("<a xmlns:p{i}='u{i}' xmlns:q{i}=\"v\" b='1'>"));
            begin.chain((0..n).map(|_| "</a>".to_owned())).collect()
        };
        let of_one = |n: usize| {
            let all: String = (0..n).map(|i| format!(" a{i}='='")).collect();
            format!("<a{all}/>")
        };
        let refused = |text: &str| BOUNDS.check(text).unwrap_err();
        assert!(BOUNDS.check(&nested(8)).is_ok());
        assert_eq!(refused(&nested(9)), "it is nested too deeply");
        assert!(BOUNDS.check(&of_one(OF_TAG_MAX)).is_ok());
        let many = refused(&of_one(OF_TAG_MAX + 1));
        assert_eq!(many, "an element has too many attributes");
        let declared: String = (0..33).map(|i| format!(" xmlns:a{i}='u'")).collect();
        let namespaces = "it has too many namespaces within each other";
        assert_eq!(refused(&format!("<a{declared}/>")), namespaces);
        let wide = "<b/>".repeat(100);
        assert_eq!(
            refused(&format!("<a>{wide}</a>")),
            "it has too many elements"
        );
        let attributes = "<b a='1' b='2' c='3'/>".repeat(67);
        let attributes = format!("<a>{attributes}</a>");
        assert_eq!(refused(&attributes), "it has too many attributes");
        for bad in [
            "<!DOCTYPE a><a/>",
            "<a",
            "<a><b <c/>",
            "</a>",
            "<!-- x",
            "<a b='<'/>",
        ] {
            assert!(BOUNDS.check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_stands_beside_each_other_or_is_no_element_does_not_add_up() {
        // As some providers write each value of an attribute.
        let values = "<v xmlns:xs='a' xmlns:xsi='b'>x = y</v>".repeat(40);
        let text = format!("<?xml version='1.0'?><a>{values}</a>");
        assert_eq!(BOUNDS.check(&text), Ok(()));
        let quiet = "<a b='>/>'><!-- <a><a><a> --><![CDATA[<a><a></a></a></a>]]></a>";
        assert_eq!(BOUNDS.check(quiet), Ok(()));
        assert_eq!(BOUNDS.check("no element"), Ok(()));
    }
}
