//! The tokenizer: one byte decides, runs of bytes are passed over at once.

use super::scope::Scope;
use super::{Kind, Name};
use crate::{Limits, Violation};

const TAG: Violation = Violation::NotWellFormed("a malformed tag");
const REFERENCE: Violation = Violation::NotWellFormed("a malformed reference");
const DECLARATION: Violation = Violation::NotWellFormed("a malformed XML declaration");
const SECTION_END: Violation = Violation::NotWellFormed("]]> in text");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a document's header.
    Prolog,
    /// Between first-level elements.
    Between,
    /// After the stream's end.
    Over,
    /// A `<` comes.
    Open,
    /// After `<`.
    Markup,
    /// After `<?`, in the word `xml`.
    DeclarationName(u8),
    /// In the XML declaration.
    Declaration,
    /// After a `?` in it.
    DeclarationEnd,
    /// In an element's name.
    Name,
    /// In a start tag; whether white space came last.
    Tag(bool),
    /// In an attribute's name.
    Attribute,
    /// After it.
    Equals,
    /// After `=`.
    Quote,
    /// In a value.
    Value,
    /// After `/` in a start tag.
    Empty,
    /// In an end tag's name, after this many bytes of it.
    EndName(usize),
    /// After it.
    EndTag,
    /// In text, after this many `]`.
    Text(u8),
    /// In a reference.
    Reference,
    /// After `<!`, in `[CDATA[`.
    SectionName(u8),
    /// In a CDATA section, after this many `]`.
    Section(u8),
}

/// A reference as far as it has come.
#[derive(Clone, Copy, Debug, Default)]
struct Reference {
    bytes: [u8; 4],
    len: u8,
    number: u32,
}

/// One direction of a stream, as far as it has come.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    limits: Limits,
    scope: Scope,
    /// Bytes of the header or first-level element so far.
    size: usize,
    /// How many there may be.
    size_max: usize,
    /// The first-level element.
    name: Name,
    /// The quotation mark that ends the value; 0 in text.
    quote: u8,
    /// The value belongs to a prefix declaration and is empty so far.
    bare_declaration: bool,
    reference: Reference,
    /// The XML declaration has been.
    declared: bool,
    /// The header has been.
    open: bool,
}

impl Scanner {
    pub(super) fn new(limits: Limits) -> Self {
        Scanner {
            state: State::Prolog,
            limits,
            scope: Scope::default(),
            size: 0,
            size_max: limits.header_bytes_max,
            name: Name::Other,
            quote: 0,
            bare_declaration: false,
            reference: Reference::default(),
            declared: false,
            open: false,
        }
    }

    pub(super) fn restart(&mut self, limits: Limits) {
        let mut scope = std::mem::take(&mut self.scope);
        scope.clear();
        *self = Scanner {
            scope,
            ..Scanner::new(limits)
        };
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(super) fn is_between(&self) -> bool {
        self.state == State::Between
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub(super) fn root(&self) -> &[u8] {
        self.scope.root()
    }

    /// Takes some of `bytes`, at least one if there is one; tells what is over after them.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, Option<Kind>), Violation> {
        let room = self.size_max.saturating_sub(self.size);
        let window = bytes.get(..room).unwrap_or(bytes);
        if window.is_empty() {
            return Err(Violation::Limit("size"));
        }
        let mut rest = window;
        let mut over = None;
        while let (Some(&byte), None) = (rest.first(), over) {
            let taken = match self.state {
                State::Between => {
                    let spaces = spaces(rest);
                    if spaces < rest.len() {
                        if rest.get(spaces) != Some(&b'<') {
                            return Err(Violation::Text);
                        }
                        // Ends this step, so that the next one sees the element's own bound.
                        self.state = State::Open;
                        self.size = 0;
                        self.size_max = self.limits.stanza_bytes_max;
                        return Ok((window.len() - rest.len() + spaces, None));
                    }
                    spaces
                }
                State::Text(brackets) => self.text(byte, rest, brackets)?,
                State::Value => self.value(byte, rest)?,
                State::Name => self.name(rest)?,
                State::Attribute => self.attribute(rest)?,
                State::Tag(gap) => {
                    let (taken, done) = self.tag(byte, rest, gap)?;
                    over = done;
                    taken
                }
                State::EndName(from) => self.end_name(rest, from)?,
                State::EndTag if byte == b'>' => {
                    over = self.close();
                    1
                }
                State::Empty if byte == b'>' => {
                    self.scope.tag_end()?;
                    if self.scope.depth() == 1 {
                        return Err(Violation::OutOfPlace);
                    }
                    over = self.close();
                    1
                }
                State::Section(brackets) => self.section(byte, rest, brackets),
                _ => self.byte(byte, rest)?,
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        let taken = window.len() - rest.len();
        if self.size_max != usize::MAX {
            self.size += taken;
        }
        if over.is_some() {
            self.size = 0;
            self.size_max = usize::MAX;
        }
        Ok((taken, over))
    }

    /// States that pass one byte, or white space, at a time.
    fn byte(&mut self, byte: u8, rest: &[u8]) -> Result<usize, Violation> {
        match self.state {
            State::Prolog => match byte {
                b'<' => self.state = State::Markup,
                _ if is_space(byte) => return Ok(spaces(rest)),
                _ => return Err(Violation::NotWellFormed("text before the stream")),
            },
            State::Open => self.state = State::Markup,
            State::Markup => self.markup(byte)?,
            State::DeclarationName(at) => {
                self.state = match (at, byte) {
                    (0, b'x') => State::DeclarationName(1),
                    (1, b'm') => State::DeclarationName(2),
                    (2, b'l') => State::DeclarationName(3),
                    (3, _) if is_space(byte) => State::Declaration,
                    _ => return Err(Violation::Restricted("a processing instruction")),
                }
            }
            State::Declaration => match byte {
                b'?' => self.state = State::DeclarationEnd,
                b'<' | b'>' | b'&' => return Err(DECLARATION),
                _ => {}
            },
            State::DeclarationEnd if byte == b'>' => {
                self.declared = true;
                self.state = State::Prolog;
            }
            State::DeclarationEnd => return Err(DECLARATION),
            State::Equals => match byte {
                b'=' => self.state = State::Quote,
                _ if is_space(byte) => {}
                _ => return Err(TAG),
            },
            State::Quote => match byte {
                b'"' | b'\'' => {
                    self.quote = byte;
                    self.state = State::Value;
                }
                _ if is_space(byte) => {}
                _ => return Err(TAG),
            },
            State::EndTag if is_space(byte) => {}
            State::Reference => self.reference(byte)?,
            State::SectionName(at) => self.section_name(at, byte)?,
            _ => return Err(TAG),
        }
        Ok(1)
    }

    /// After `<`.
    fn markup(&mut self, byte: u8) -> Result<(), Violation> {
        let depth = self.scope.depth();
        self.state = match byte {
            b'/' if depth == 0 => return Err(TAG),
            b'/' => State::EndName(0),
            b'?' if depth == 0 && !self.declared => State::DeclarationName(0),
            b'?' => return Err(Violation::Restricted("a processing instruction")),
            b'!' if depth >= 2 => State::SectionName(0),
            b'!' => return Err(Violation::Restricted("a comment or document type")),
            _ if begins_name(byte) => {
                self.scope.open(&self.limits)?;
                self.scope.name_piece(&[byte], &self.limits)?;
                State::Name
            }
            _ => return Err(TAG),
        };
        Ok(())
    }

    fn name(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        let taken = name_bytes(rest);
        self.scope
            .name_piece(rest.get(..taken).unwrap_or_default(), &self.limits)?;
        if taken < rest.len() {
            self.scope.name_end()?;
            if self.scope.depth() == 2 {
                if self.scope.top() == self.scope.root() {
                    return Err(Violation::SecondHeader);
                }
                self.name = Name::of(self.scope.top());
            }
            self.state = State::Tag(false);
        }
        Ok(taken)
    }

    fn tag(
        &mut self,
        byte: u8,
        rest: &[u8],
        gap: bool,
    ) -> Result<(usize, Option<Kind>), Violation> {
        match byte {
            b'>' => {
                self.scope.tag_end()?;
                if self.scope.depth() == 1 {
                    self.state = State::Between;
                    self.open = true;
                    return Ok((1, Some(Kind::Header)));
                }
                self.state = State::Text(0);
            }
            b'/' => self.state = State::Empty,
            _ if is_space(byte) => {
                self.state = State::Tag(true);
                return Ok((spaces(rest), None));
            }
            _ if gap && begins_name(byte) => {
                self.scope.attribute(&self.limits)?;
                self.state = State::Attribute;
                // The name's first byte is looked at again as part of the name.
                return Ok((0, None));
            }
            _ => return Err(TAG),
        }
        Ok((1, None))
    }

    fn attribute(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        let taken = name_bytes(rest);
        self.scope
            .attribute_piece(rest.get(..taken).unwrap_or_default(), &self.limits)?;
        if taken < rest.len() {
            self.bare_declaration = self.scope.attribute_end(&self.limits)?;
            self.state = State::Equals;
        }
        Ok(taken)
    }

    fn value(&mut self, byte: u8, rest: &[u8]) -> Result<usize, Violation> {
        match byte {
            b'<' => return Err(Violation::NotWellFormed("< in an attribute")),
            b'&' => self.begin_reference(),
            _ if byte == self.quote => {
                if self.bare_declaration {
                    return Err(Violation::NotWellFormed("a prefix without a namespace"));
                }
                self.quote = 0;
                self.state = State::Tag(false);
            }
            _ => {
                self.bare_declaration = false;
                return Ok(memchr::memchr3(self.quote, b'<', b'&', rest).unwrap_or(rest.len()));
            }
        }
        self.bare_declaration = false;
        Ok(1)
    }

    fn text(&mut self, byte: u8, rest: &[u8], brackets: u8) -> Result<usize, Violation> {
        match byte {
            b'<' => self.state = State::Markup,
            b'&' => self.begin_reference(),
            b']' => self.state = State::Text((brackets + 1).min(2)),
            b'>' if brackets == 2 => return Err(SECTION_END),
            _ => {
                self.state = State::Text(0);
                return Ok(memchr::memchr3(b'<', b'&', b']', rest).unwrap_or(rest.len()));
            }
        }
        Ok(1)
    }

    fn section(&mut self, byte: u8, rest: &[u8], brackets: u8) -> usize {
        self.state = match byte {
            b']' => State::Section((brackets + 1).min(2)),
            b'>' if brackets == 2 => State::Text(0),
            _ => {
                self.state = State::Section(0);
                return memchr::memchr(b']', rest).unwrap_or(rest.len());
            }
        };
        1
    }

    fn section_name(&mut self, at: u8, byte: u8) -> Result<(), Violation> {
        if b"[CDATA[".get(usize::from(at)) != Some(&byte) {
            return Err(match (at, byte) {
                (0, b'-') => Violation::Restricted("a comment"),
                (0, _) => Violation::Restricted("a document type"),
                _ => TAG,
            });
        }
        self.state = if at == 6 {
            State::Section(0)
        } else {
            State::SectionName(at + 1)
        };
        Ok(())
    }

    fn end_name(&mut self, rest: &[u8], from: usize) -> Result<usize, Violation> {
        let expected = self.scope.top().get(from..).unwrap_or_default();
        let taken = expected.len().min(rest.len());
        if expected.get(..taken) != rest.get(..taken) {
            return Err(Violation::NotWellFormed(
                "an end tag that matches no start tag",
            ));
        }
        self.state = if taken == expected.len() {
            State::EndTag
        } else {
            State::EndName(from + taken)
        };
        Ok(taken)
    }

    /// Ends the innermost element.
    fn close(&mut self) -> Option<Kind> {
        self.scope.close();
        let (state, over) = match self.scope.depth() {
            0 => (State::Over, Some(Kind::Close)),
            1 => (State::Between, Some(Kind::Element(self.name))),
            _ => (State::Text(0), None),
        };
        self.state = state;
        over
    }

    fn begin_reference(&mut self) {
        self.reference = Reference::default();
        self.state = State::Reference;
    }

    /// Predefined entities and characters by number (XML 1.0 §4.1, §4.6).
    fn reference(&mut self, byte: u8) -> Result<(), Violation> {
        let Reference { bytes, len, number } = &mut self.reference;
        let numeric = bytes[0] == b'#';
        if byte == b';' {
            let fine = match &*bytes {
                b"amp\0" | b"lt\0\0" | b"gt\0\0" | b"quot" | b"apos" => *len <= 4,
                [b'#', b'x', ..] => *len > 2 && is_xml_char(*number),
                [b'#', ..] => *len > 1 && is_xml_char(*number),
                [0, ..] => return Err(REFERENCE),
                _ => false,
            };
            self.state = if self.quote == 0 {
                State::Text(0)
            } else {
                State::Value
            };
            return match (fine, numeric) {
                (true, _) => Ok(()),
                (false, true) => Err(REFERENCE),
                (false, false) => Err(Violation::Restricted("an entity")),
            };
        }
        if numeric && !(*len == 1 && byte == b'x') {
            let radix = if bytes[1] == b'x' { 16 } else { 10 };
            let digit = char::from(byte).to_digit(radix).ok_or(REFERENCE)?;
            *number = number.saturating_mul(radix).saturating_add(digit);
        } else if !(byte.is_ascii_alphanumeric() || (*len == 0 && byte == b'#')) {
            return Err(REFERENCE);
        }
        if let Some(slot) = bytes.get_mut(usize::from(*len)) {
            *slot = byte;
        }
        *len = len.saturating_add(1);
        Ok(())
    }
}

/// XML 1.0 §2.2.
fn is_xml_char(number: u32) -> bool {
    matches!(number,
        0x9 | 0xa | 0xd | 0x20..=0xd7ff | 0xe000..=0xfffd | 0x1_0000..=0x10_ffff)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn spaces(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|b| !is_space(*b))
        .unwrap_or(bytes.len())
}

/// Whether a byte may begin a name; of bytes beyond ASCII the whole name is checked.
pub(super) fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// The bytes that may stand in a name.
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'-' | b'.' | b':')
            || byte >= 0x80;
        if byte == 255 {
            break table;
        }
        byte += 1;
    }
};

fn name_bytes(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|b| !IN_NAME[usize::from(*b)])
        .unwrap_or(bytes.len())
}
