//! Where the parts of a message lie after a change, without reading all of it again.
//!
//! In: the message before, its changes in the order of their places, the bytes that they made. Out:
//! the parts that reading those bytes would find; nothing if that is not plain, as when a value
//! that was put in holds a line end. Only fields that were put in or have a new value are read.

use super::Lump;
use crate::class::has_no_uri_byte;
use crate::message::{Facts, Head, Span, Start, written};
use crate::{Message, Name};

/// The parts of `out`, which was made from `before` by `lumps`.
pub(super) fn parts(before: &Message, lumps: &[Lump], out: &[u8]) -> Option<(Head, Facts)> {
    let mut walk = Walk {
        lumps,
        out,
        head: Head::empty(),
        shift: 0,
    };
    walk.start_line(before)?;
    let known = [Name::Via, Name::From, Name::To, Name::CSeq].map(Name::index);
    let firsts = known.map(|name| before.head.first_of(name).map(|span| span.start));
    let mut kept = [None; 4];
    for span in &before.head.spans {
        walk.added(span.start)?;
        let is_first = known.iter().position(|name| *name == span.name());
        let is_first = is_first.filter(|i| firsts.get(*i) == Some(&Some(span.start)));
        // With another of its name before it, it is the first no longer.
        let first = is_first.filter(|_| walk.head.first_of(span.name()).is_none());
        let shift = walk.shift;
        let is_same = walk.field(before, span)?;
        if let Some(slot) = first.and_then(|i| kept.get_mut(i)) {
            // A field of commas alone has no Via in it: the top one is in a later field.
            let holds = span.name() != Name::Via.index() || before.facts().has_via_in(span);
            *slot = (is_same && holds).then_some(shift);
        }
    }
    walk.added(before.head.end.saturating_sub(2))?;
    if !walk.lumps.is_empty() {
        return None;
    }
    walk.head.end = walk.moved(before.head.end);
    Some((walk.head, before.facts().moved(kept)))
}

struct Walk<'a> {
    /// Changes that are still to come.
    lumps: &'a [Lump],
    out: &'a [u8],
    head: Head,
    /// How much further back things stand here than before.
    shift: i64,
}

impl Walk<'_> {
    fn moved(&self, at: u32) -> u32 {
        (i64::from(at) + self.shift) as u32
    }

    /// The next change, if it is at a place before `end`.
    fn next(&mut self, end: u32) -> Option<Lump> {
        let (first, rest) = self.lumps.split_first()?;
        if first.at >= end {
            return None;
        }
        self.lumps = rest;
        Some(*first)
    }

    fn start_line(&mut self, before: &Message) -> Option<()> {
        self.head.start = before.head.start;
        if let Some((from, to)) = before.request_uri_span()
            && let Some(lump) = self.next(before.head.first)
        {
            let length = lump.length();
            let uri = self.out.get(from as usize..(from + length) as usize)?;
            let whole = lump.at == from && lump.delete == to - from;
            if !whole || uri.is_empty() || has_no_uri_byte(uri) {
                return None;
            }
            if let Start::Request { uri_end, .. } = &mut self.head.start {
                *uri_end = from + length;
            }
            self.shift += i64::from(length) - i64::from(lump.delete);
        }
        self.head.first = self.moved(before.head.first);
        Some(())
    }

    /// Fields that were put in before the one that began at `place`.
    fn added(&mut self, place: u32) -> Option<()> {
        while let Some(lump) = self
            .lumps
            .first()
            .filter(|l| l.at <= place && l.delete == 0)
        {
            if lump.at != place {
                return None;
            }
            let length = lump.length();
            let from = self.moved(place);
            self.read(from, from + length)?;
            self.shift += i64::from(length);
            self.lumps = self.lumps.get(1..)?;
        }
        Some(())
    }

    /// A field that was there before; whether it stands there still.
    fn field(&mut self, before: &Message, span: &Span) -> Option<bool> {
        let Some(lump) = self.next(span.end) else {
            self.head.push(span.moved(self.shift));
            return Some(true);
        };
        if self.lumps.first().is_some_and(|next| next.at < span.end) {
            return None;
        }
        let (length, deleted) = (lump.length(), lump.delete);
        let from = self.moved(span.start);
        self.shift += i64::from(length) - i64::from(deleted);
        if lump.at == span.start && deleted == span.end - span.start && length == 0 {
            return Some(false);
        }
        let value = span.value(before.bytes());
        if lump.at != value || deleted != span.end - value {
            return None;
        }
        self.read(from, self.moved(span.end))?;
        Some(false)
    }

    /// Reads the field that was written from one place to another.
    fn read(&mut self, from: u32, to: u32) -> Option<()> {
        let upto = self.out.get(..to as usize)?;
        self.head.push(written(upto, from as usize)?);
        Some(())
    }
}
