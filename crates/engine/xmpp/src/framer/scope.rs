//! What is open: element names, the attributes of the tag being read, declared prefixes.
//!
//! Everything lies in three byte vectors that keep their room, so that after the first stanzas
//! nothing is allocated.

use crate::{Limits, Violation};

const NAME: Violation = Violation::NotWellFormed("a name with a character no name has");
const PREFIX: Violation = Violation::NotWellFormed("a namespace prefix that is not declared");
const TWICE: Violation = Violation::NotWellFormed("an attribute that stands twice");

/// A piece of a byte vector.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Names of open elements, one after the other.
    names: Vec<u8>,
    /// Where each begins.
    opens: Vec<usize>,
    /// Attribute names of the tag being read.
    attributes: Vec<u8>,
    /// Where each begins and ends.
    spans: Vec<Span>,
    /// Whether the tag has a prefix, other than in declarations.
    prefixed: bool,
    /// Declared prefixes, one after the other.
    prefixes: Vec<u8>,
    /// Each with the depth of its element.
    declared: Vec<(usize, Span)>,
}

impl Scope {
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.opens.clear();
        self.attributes.clear();
        self.spans.clear();
        self.prefixed = false;
        self.prefixes.clear();
        self.declared.clear();
    }

    /// Open elements.
    pub(super) fn depth(&self) -> usize {
        self.opens.len()
    }

    /// The innermost element's name.
    pub(super) fn top(&self) -> &[u8] {
        let start = self.opens.last().copied().unwrap_or(self.names.len());
        self.names.get(start..).unwrap_or_default()
    }

    /// The outermost element's name.
    pub(super) fn root(&self) -> &[u8] {
        let end = self.opens.get(1).copied().unwrap_or(self.names.len());
        self.names.get(..end).unwrap_or_default()
    }

    /// Begins an element whose name follows.
    pub(super) fn open(&mut self, limits: &Limits) -> Result<(), Violation> {
        if self.opens.len() >= limits.depth_max {
            return Err(Violation::Limit("depth"));
        }
        self.opens.push(self.names.len());
        self.attributes.clear();
        self.spans.clear();
        self.prefixed = false;
        Ok(())
    }

    /// A piece of the element's name.
    pub(super) fn name_piece(&mut self, piece: &[u8], limits: &Limits) -> Result<(), Violation> {
        self.names.extend_from_slice(piece);
        within(self.top().len(), limits)
    }

    /// The element's name is whole.
    pub(super) fn name_end(&mut self) -> Result<(), Violation> {
        let colon = check_name(self.top())?;
        self.prefixed = colon.is_some();
        Ok(())
    }

    /// Begins an attribute whose name follows.
    pub(super) fn attribute(&mut self, limits: &Limits) -> Result<(), Violation> {
        if self.spans.len() >= limits.attributes_max {
            return Err(Violation::Limit("number of attributes"));
        }
        let at = self.attributes.len();
        self.spans.push(Span { start: at, end: at });
        Ok(())
    }

    /// A piece of the attribute's name.
    pub(super) fn attribute_piece(
        &mut self,
        piece: &[u8],
        limits: &Limits,
    ) -> Result<(), Violation> {
        self.attributes.extend_from_slice(piece);
        let end = self.attributes.len();
        let Some(span) = self.spans.last_mut() else {
            return Ok(());
        };
        span.end = end;
        within(span.end - span.start, limits)
    }

    /// The attribute's name is whole. Tells whether it declares a prefix.
    pub(super) fn attribute_end(&mut self, limits: &Limits) -> Result<bool, Violation> {
        let Some((last, earlier)) = self.spans.split_last() else {
            return Ok(false);
        };
        let name = last.of(&self.attributes);
        if earlier.iter().any(|span| span.of(&self.attributes) == name) {
            return Err(TWICE);
        }
        let Some(colon) = check_name(name)? else {
            return Ok(false);
        };
        let (prefix, local) = (
            name.get(..colon).unwrap_or_default(),
            name.get(colon + 1..).unwrap_or_default(),
        );
        if prefix != b"xmlns" {
            self.prefixed |= prefix != b"xml";
            return Ok(false);
        }
        if local == b"xmlns" {
            return Err(PREFIX);
        }
        if self.declared.len() >= limits.prefixes_max {
            return Err(Violation::Limit("number of namespace prefixes"));
        }
        let start = self.prefixes.len();
        self.prefixes.extend_from_slice(local);
        let end = self.prefixes.len();
        self.declared.push((self.opens.len(), Span { start, end }));
        Ok(true)
    }

    /// The start tag is whole: its prefixes must be declared by now.
    pub(super) fn tag_end(&self) -> Result<(), Violation> {
        if !self.prefixed {
            return Ok(());
        }
        self.check_prefix(self.top())?;
        self.spans
            .iter()
            .try_for_each(|span| self.check_prefix(span.of(&self.attributes)))
    }

    fn check_prefix(&self, name: &[u8]) -> Result<(), Violation> {
        let Some(colon) = memchr::memchr(b':', name) else {
            return Ok(());
        };
        let prefix = name.get(..colon).unwrap_or_default();
        let known = |(_, span): &(usize, Span)| span.of(&self.prefixes) == prefix;
        if matches!(prefix, b"xml" | b"xmlns") || self.declared.iter().rev().any(known) {
            Ok(())
        } else {
            Err(PREFIX)
        }
    }

    /// Ends the innermost element.
    pub(super) fn close(&mut self) {
        while let Some((_, span)) = self
            .declared
            .pop_if(|(depth, _)| *depth == self.opens.len())
        {
            self.prefixes.truncate(span.start);
        }
        if let Some(start) = self.opens.pop() {
            self.names.truncate(start);
        }
    }
}

fn within(name_bytes: usize, limits: &Limits) -> Result<(), Violation> {
    if name_bytes > limits.name_bytes_max {
        return Err(Violation::Limit("length of a name"));
    }
    Ok(())
}

/// Checks a name of name bytes whose first byte may begin one (XML Namespaces 1.0 §4); tells where
/// its colon stands.
fn check_name(name: &[u8]) -> Result<Option<usize>, Violation> {
    let colon = memchr::memchr(b':', name);
    let Some(at) = colon else {
        if !name.is_ascii() {
            check_wide(name)?;
        }
        return Ok(None);
    };
    let (prefix, local) = (
        name.get(..at).unwrap_or_default(),
        name.get(at + 1..).unwrap_or_default(),
    );
    let begins = local.first().is_some_and(|b| super::scan::begins_name(*b));
    if prefix.is_empty() || !begins || memchr::memchr(b':', local).is_some() {
        return Err(NAME);
    }
    if !name.is_ascii() {
        check_wide(prefix)?;
        check_wide(local)?;
    }
    Ok(colon)
}

/// Checks a name that is not ASCII alone against XML 1.0 §2.3.
fn check_wide(name: &[u8]) -> Result<(), Violation> {
    let text = std::str::from_utf8(name).map_err(|_| Violation::Encoding)?;
    let mut chars = text.chars();
    let fine = chars.next().is_some_and(may_begin) && chars.all(may_follow);
    if fine { Ok(()) } else { Err(NAME) }
}

fn may_begin(c: char) -> bool {
    matches!(c,
        'A'..='Z' | '_' | 'a'..='z'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
        | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

fn may_follow(c: char) -> bool {
    may_begin(c)
        || matches!(c,
            '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}
