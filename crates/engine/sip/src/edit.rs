//! Changes to a message, made in one pass: what is not changed leaves byte for byte.

mod shifted;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::build::Digits;
use crate::header::Values;
use crate::message::{Field, Span};
use crate::{Message, Name};

/// One change: `delete` bytes at `at` make way for `insert`, a range of [`Edit::inserted`].
#[derive(Clone, Copy, Debug)]
struct Lump {
    at: u32,
    delete: u32,
    insert: (u32, u32),
}

impl Lump {
    /// How many bytes it puts in.
    fn length(&self) -> u32 {
        self.insert.1 - self.insert.0
    }
}

/// Collects changes; [`Edit::finish`] makes the new message.
#[derive(Debug)]
pub struct Edit<'m> {
    message: &'m Message,
    lumps: SmallVec<[Lump; 8]>,
    /// What is to be put in, one after the other; off the heap for a hop's usual changes.
    inserted: SmallVec<[u8; 512]>,
    /// Fields that are to go.
    removed: SmallVec<[usize; 8]>,
    body: Option<Vec<u8>>,
}

impl<'m> Edit<'m> {
    pub(crate) fn new(message: &'m Message) -> Self {
        Edit {
            message,
            lumps: SmallVec::new(),
            inserted: SmallVec::new(),
            removed: SmallVec::new(),
            body: None,
        }
    }

    fn lump(&mut self, at: u32, delete: u32, insert: &[&[u8]]) {
        let from = self.inserted.len() as u32;
        for part in insert {
            self.inserted.extend_from_slice(part);
        }
        let insert = (from, self.inserted.len() as u32);
        self.lumps.push(Lump { at, delete, insert });
    }

    fn line(&mut self, at: u32, name: Name, value: &[u8]) {
        match name.as_line() {
            Some(line) => self.lump(at, 0, &[line, value, b"\r\n"]),
            None => self.lump(at, 0, &[name.as_str().as_bytes(), b": ", value, b"\r\n"]),
        }
    }

    fn span(&self, index: usize) -> Option<Span> {
        self.message.head.spans.get(index).copied()
    }

    /// The first field of a name that is still there.
    fn first(&self, name: Name) -> Option<Span> {
        if self.removed.is_empty() && !matches!(name, Name::Other(_)) {
            return self.message.head.first_of(name.index()).copied();
        }
        self.span(*self.find(name).first()?)
    }

    /// The fields of a name that are still there.
    fn find(&self, name: Name) -> SmallVec<[usize; 8]> {
        let named = |(i, s): (usize, &Span)| self.message.is_named(s, name).then_some(i);
        let spans = self.message.head.spans.iter().enumerate();
        spans
            .filter_map(named)
            .filter(|i| !self.removed.contains(i))
            .collect()
    }

    /// Replaces the request URI.
    pub fn request_uri(&mut self, uri: &[u8]) -> &mut Self {
        if let Some((from, to)) = self.message.request_uri_span() {
            self.lump(from, to - from, &[uri]);
        }
        self
    }

    /// Adds a field before the first of its name, or before all fields.
    pub fn push_front(&mut self, name: Name, value: impl AsRef<[u8]>) -> &mut Self {
        let at = self
            .first(name)
            .map_or(self.message.head.first, |s| s.start);
        self.line(at, name, value.as_ref());
        self
    }

    /// As [`Edit::push_front`], of a value in parts.
    pub(crate) fn push_front_of(&mut self, name: Name, value: &[&[u8]]) {
        let at = self
            .first(name)
            .map_or(self.message.head.first, |s| s.start);
        let mut parts: SmallVec<[&[u8]; 12]> = SmallVec::new();
        parts.extend([name.as_str().as_bytes(), b": "]);
        parts.extend_from_slice(value);
        parts.push(b"\r\n");
        self.lump(at, 0, &parts);
    }

    /// Adds a field after all others.
    pub fn push_back(&mut self, name: Name, value: impl AsRef<[u8]>) -> &mut Self {
        // Before the empty line that ends the header.
        self.line(self.message.head.end - 2, name, value.as_ref());
        self
    }

    /// Makes a field the only one of its name.
    pub fn set(&mut self, name: Name, value: impl AsRef<[u8]>) -> &mut Self {
        if let Some(span) = self.first(name).filter(|s| self.message.head.is_single(s)) {
            self.replace_value(span, value.as_ref());
            return self;
        }
        let found = self.find(name);
        let Some((first, others)) = found.split_first() else {
            return self.push_back(name, value);
        };
        for other in others {
            self.remove_index(*other);
        }
        if let Some(span) = self.span(*first) {
            self.replace_value(span, value.as_ref());
        }
        self
    }

    fn replace_value(&mut self, span: Span, value: &[u8]) {
        let from = span.value(self.message.bytes());
        self.lump(from, span.end - from, &[b" ", value, b"\r\n"]);
    }

    fn remove_index(&mut self, index: usize) {
        if let Some(span) = self.span(index)
            && !self.removed.contains(&index)
        {
            self.removed.push(index);
            // Changes inside a field that goes, go with it.
            self.lumps
                .retain(|l| l.at < span.start || l.at >= span.end || l.delete == 0);
            self.lump(span.start, span.end - span.start, &[]);
        }
    }

    /// Removes all fields of a name.
    pub fn remove(&mut self, name: Name) -> &mut Self {
        for index in self.find(name) {
            self.remove_index(index);
        }
        self
    }

    /// Removes the fields that `which` picks.
    pub fn remove_fields(&mut self, which: impl Fn(&Field<'_>) -> bool) -> &mut Self {
        let picked: SmallVec<[usize; 8]> = self
            .message
            .fields()
            .filter(|f| which(f))
            .map(|f| f.index)
            .collect();
        for index in picked {
            self.remove_index(index);
        }
        self
    }

    /// Removes the first comma-separated element of a name: the top Via, the first Route.
    pub fn remove_first_value(&mut self, name: Name) -> &mut Self {
        let Some(&index) = self.find(name).first() else {
            return self;
        };
        let Some(span) = self.span(index) else {
            return self;
        };
        let value = self.message.value_of(&span);
        match Values::new(value).nth(1) {
            None => self.remove_index(index),
            Some(second) => {
                let keep = offset(value, second);
                let message = self.message;
                let value = message.value_of(&span);
                self.replace_value(span, value.get(keep..).unwrap_or_default());
            }
        }
        self
    }

    /// Replaces the first comma-separated element of a name.
    pub fn replace_first_value(&mut self, name: Name, new: impl AsRef<[u8]>) -> &mut Self {
        let Some(&index) = self.find(name).first() else {
            return self;
        };
        let Some(span) = self.span(index) else {
            return self;
        };
        let value = self.message.value_of(&span);
        let Some(first) = Values::new(value).next() else {
            return self;
        };
        let end = offset(value, first) + first.len();
        let tail = value.get(end..).unwrap_or_default();
        let from = span.value(self.message.bytes());
        self.lump(from, span.end - from, &[b" ", new.as_ref(), tail, b"\r\n"]);
        self
    }

    /// Replaces one field's value by the field's number.
    pub fn replace_field(&mut self, index: usize, value: impl AsRef<[u8]>) -> &mut Self {
        if let Some(span) = self.span(index)
            && !self.removed.contains(&index)
        {
            self.replace_value(span, value.as_ref());
        }
        self
    }

    /// Replaces a part of the body; Content-Length follows.
    pub fn body_part(&mut self, range: std::ops::Range<usize>, new: &[u8]) -> &mut Self {
        let old = self.message.body();
        let parts = [
            old.get(..range.start).unwrap_or_default(),
            new,
            old.get(range.end..).unwrap_or_default(),
        ];
        self.body = Some(parts.concat());
        self
    }

    /// Replaces the body and its type; Content-Length follows.
    pub fn body(&mut self, content_type: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> &mut Self {
        if self.message.content_type() != Some(content_type.as_ref()) {
            self.set(Name::ContentType, content_type);
        }
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Removes the body and what describes it; Content-Length becomes 0.
    pub fn remove_body(&mut self) -> &mut Self {
        for name in [
            Name::ContentType,
            Name::Other("Content-Disposition"),
            Name::Other("Content-Encoding"),
            Name::Other("Content-Language"),
        ] {
            self.remove(name);
        }
        self.body = Some(Vec::new());
        self
    }

    /// Writes the new message behind what is in `out`, which is best used again and again: then
    /// nothing is allocated.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        if let Some(body) = &self.body {
            let length = Digits::of(body.len());
            self.set(Name::ContentLength, length);
        }
        // Changes at one place keep the order they were asked for in, insertions before what is
        // deleted there.
        if !self.lumps.is_sorted_by_key(|l| (l.at, l.delete > 0)) {
            self.lumps.sort_by_key(|l| (l.at, l.delete > 0));
        }
        let old = self.message.bytes();
        let head = self.message.head.end as usize;
        let body = match &self.body {
            Some(body) => body,
            None => self.message.body(),
        };
        let deleted: usize = self.lumps.iter().map(|l| l.delete as usize).sum();
        let kept = head.saturating_sub(deleted);
        out.reserve_exact(kept + self.inserted.len() + body.len());
        let mut at = 0;
        for lump in &self.lumps {
            let from = lump.at as usize;
            out.extend_from_slice(old.get(at..from).unwrap_or_default());
            let (begin, end) = (lump.insert.0 as usize, lump.insert.1 as usize);
            out.extend_from_slice(self.inserted.get(begin..end).unwrap_or_default());
            at = at.max(from + lump.delete as usize);
        }
        out.extend_from_slice(old.get(at..head).unwrap_or_default());
        out.extend_from_slice(body);
    }

    /// Makes the new message. It was read before and only whole fields were changed, so nothing but
    /// these is read again; should a value of ours break it, the message stays as it was.
    pub fn finish(&mut self) -> Message {
        if self.lumps.is_empty() && self.body.is_none() {
            return self.message.clone();
        }
        let mut out = Vec::new();
        self.write(&mut out);
        match shifted::parts(self.message, &self.lumps, &out) {
            Some((head, facts)) => {
                debug_assert!(head.is_that_of(&out), "the parts of {self:?}");
                let made = Message::of_parts(Bytes::from(out), head, facts);
                debug_assert!(made.is_as_known(), "the facts of {self:?}");
                made
            }
            None => Message::unbounded(Bytes::from(out)).unwrap_or_else(|_| self.message.clone()),
        }
    }
}

/// Where `part`, which lies in `whole`, begins.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}
