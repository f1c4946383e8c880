//! A stream taken apart into first-level elements (RFC 6120 §4.4, §11).
//!
//! In: bytes in any chunks. Out: where the header, each first-level element and the stream's end
//! are over, the same for every chunking, or the [`Violation`] that ends it. Nothing of the bytes
//! is kept but the names of open elements, so whoever pumps a stream may pass chunks on at once.
//!
//! Tags are matched by name, prefixes must be declared, attributes may stand once; namespaces are
//! not resolved. Comments, processing instructions, DTDs and entities of one's own end the stream.
//! Bounds: [`Limits`]. After the first stanzas nothing is allocated.
//!
//! ```
//! use xmpp::{Framer, Kind, Limits};
//! let mut framer = Framer::new(Limits::SIGNED_IN);
//! let bytes = b"<s:stream xmlns:s='http://etherx.jabber.org/streams'><iq/>";
//! let kinds: Vec<Kind> = framer.frames(bytes).map(|f| f.unwrap().kind).collect();
//! assert!(matches!(kinds[..], [Kind::Header, Kind::Element(xmpp::Name::Iq)]));
//! ```

mod scan;
mod scope;
mod text;

use scan::Scanner;
use text::{Carry, Checked};

use crate::{Limits, Violation};

/// What is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The stream header.
    Header,
    /// A first-level element.
    Element(Name),
    /// The stream: `</stream:stream>`.
    Close,
}

/// A first-level element by its name, without prefix and namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// `message`.
    Message,
    /// `presence`.
    Presence,
    /// `iq`.
    Iq,
    /// `features`.
    Features,
    /// `error`: of the stream.
    Error,
    /// `enabled`: the session can be resumed from now on (XEP-0198 §3).
    Enabled,
    /// `resumed`: an earlier session goes on (XEP-0198 §5).
    Resumed,
    /// Anything else.
    Other,
}

impl Name {
    fn of(name: &[u8]) -> Name {
        let local = match memchr::memchr(b':', name) {
            Some(colon) => name.get(colon + 1..).unwrap_or_default(),
            None => name,
        };
        match local {
            b"message" => Name::Message,
            b"presence" => Name::Presence,
            b"iq" => Name::Iq,
            b"features" => Name::Features,
            b"error" => Name::Error,
            b"enabled" => Name::Enabled,
            b"resumed" => Name::Resumed,
            _ => Name::Other,
        }
    }

    /// Whether it is one of the three stanzas (RFC 6120 §8.2).
    pub fn is_stanza(self) -> bool {
        matches!(self, Name::Message | Name::Presence | Name::Iq)
    }

    /// In a word, for a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Name::Message => "message",
            Name::Presence => "presence",
            Name::Iq => "iq",
            Name::Features => "features",
            Name::Error => "error",
            Name::Enabled => "enabled",
            Name::Resumed => "resumed",
            Name::Other => "other",
        }
    }
}

/// Something that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Just after its last byte, in the chunk.
    pub end: usize,
    /// What it is.
    pub kind: Kind,
}

/// Takes one direction of a stream apart.
#[derive(Debug)]
pub struct Framer {
    scanner: Scanner,
    carry: Carry,
}

impl Framer {
    /// Before a header.
    pub fn new(limits: Limits) -> Self {
        Framer {
            scanner: Scanner::new(limits),
            carry: Carry::default(),
        }
    }

    /// Expects a new header, as after sign-in (RFC 6120 §6.4.6), under new bounds.
    pub fn restart(&mut self, limits: Limits) {
        self.scanner.restart(limits);
        self.carry = Carry::default();
    }

    /// Changes the bounds, from the next tag on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.scanner.set_limits(limits);
    }

    /// Whether the stream stands between first-level elements, where another may be put in.
    pub fn is_between(&self) -> bool {
        self.scanner.is_between() && self.carry.bytes().is_empty()
    }

    /// Whether a header has come.
    pub fn is_open(&self) -> bool {
        self.scanner.is_open()
    }

    /// The stream's tag name as the header has it, e.g. `stream:stream`; empty before.
    pub fn root(&self) -> &[u8] {
        if self.is_open() {
            self.scanner.root()
        } else {
            b""
        }
    }

    /// Takes a chunk. Who stops early has not given the bytes after the last frame.
    pub fn frames<'a>(&'a mut self, chunk: &'a [u8]) -> Frames<'a> {
        let carry = std::mem::take(&mut self.carry);
        let checked = text::check(carry, chunk);
        let over = self.scanner.is_over();
        Frames {
            at: checked.from,
            head: !checked.head.bytes().is_empty(),
            framer: self,
            chunk,
            checked,
            over,
        }
    }
}

/// What a chunk held, one by one. Ends after a violation, and after the stream's end: what comes
/// behind it is not looked at.
#[derive(Debug)]
pub struct Frames<'a> {
    framer: &'a mut Framer,
    chunk: &'a [u8],
    checked: Checked,
    at: usize,
    /// The character begun in an earlier chunk is still to be looked at.
    head: bool,
    over: bool,
}

impl Frames<'_> {
    fn step(&mut self) -> Result<Option<Frame>, Violation> {
        let scanner = &mut self.framer.scanner;
        if std::mem::take(&mut self.head) {
            let mut head = self.checked.head.bytes();
            while !head.is_empty() {
                let (taken, _) = scanner.advance(head)?;
                head = head.get(taken..).unwrap_or_default();
            }
        }
        while let Some(rest @ [_, ..]) = self.chunk.get(self.at..self.checked.good) {
            let (taken, kind) = scanner.advance(rest)?;
            self.at += taken;
            if let Some(kind) = kind {
                self.over = kind == Kind::Close;
                return Ok(Some(Frame { end: self.at, kind }));
            }
        }
        if let Some(flaw) = self.checked.flaw {
            return Err(flaw);
        }
        self.over = true;
        self.framer.carry = self.checked.tail;
        Ok(None)
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, Violation>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step = self.step();
        self.over |= step.is_err();
        step.transpose()
    }
}
