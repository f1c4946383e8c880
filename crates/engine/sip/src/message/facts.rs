//! Where the parts of the headers lie that every message needs and everybody asks for: they are
//! read once, when the message is judged, and given out as often as wanted.
//!
//! In two bytes each, counted from where the field's value begins: so they are as good for a copy
//! of the message in which the field stands elsewhere. What does not fit is read again.

use crate::header::{CSeq, NameAddr, Via};

/// A message's bytes, and where in them the value of a field begins.
pub(super) type Place<'a> = (&'a [u8], usize);

/// A part of a field's value.
#[derive(Clone, Copy, Debug)]
struct Part(u16, u16);

/// No part at all.
const NOTHING: Part = Part(u16::MAX, 0);

impl Part {
    /// Where `part`, which lies in `whole` or behind it, is; nothing if that is too far.
    fn of(whole: &[u8], part: &[u8]) -> Option<Part> {
        if part.is_empty() {
            return Some(Part(0, 0));
        }
        let from = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        let to = from.checked_add(part.len())?;
        Some(Part(from.try_into().ok()?, to.try_into().ok()?))
    }

    fn maybe(whole: &[u8], part: Option<&[u8]>) -> Option<Part> {
        part.map_or(Some(NOTHING), |part| Part::of(whole, part))
    }

    /// The part of a value that begins at a place of the message.
    #[inline(always)]
    fn get(self, (bytes, from): Place<'_>) -> &[u8] {
        bytes
            .get(from + usize::from(self.0)..from + usize::from(self.1))
            .unwrap_or_default()
    }

    #[inline(always)]
    fn found(self, place: Place<'_>) -> Option<&[u8]> {
        (self.0 <= self.1).then(|| self.get(place))
    }
}

#[derive(Clone, Copy, Debug)]
struct Address {
    display: Part,
    uri: Part,
    params: Part,
    tag: Part,
}

impl Address {
    fn of(whole: &[u8], address: &NameAddr<'_>) -> Option<Address> {
        Some(Address {
            display: Part::of(whole, address.display)?,
            uri: Part::of(whole, address.uri)?,
            params: Part::of(whole, address.params.raw())?,
            tag: Part::maybe(whole, address.tag())?,
        })
    }

    #[inline(always)]
    fn get(self, place: Place<'_>) -> NameAddr<'_> {
        let parts = [self.display, self.uri, self.params].map(|part| part.get(place));
        NameAddr::of_parts(parts, self.tag.found(place))
    }
}

/// Top Via and its branch.
#[derive(Clone, Copy, Debug)]
struct TopVia {
    parts: [Part; 4],
    branch: Part,
}

/// Number and method.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    number: u32,
    method: Part,
}

/// The parts of top Via, From, To and CSeq, of those that were read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    via: Option<TopVia>,
    from: Option<Address>,
    to: Option<Address>,
    cseq: Option<Sequence>,
}

impl Facts {
    /// Remembers what was read, each with the value of its field, in which it lies.
    pub(super) fn of(
        via: (&[u8], &Via<'_>),
        from: (&[u8], &NameAddr<'_>),
        to: (&[u8], &NameAddr<'_>),
        cseq: (&[u8], &CSeq<'_>),
    ) -> Facts {
        Facts {
            via: top_via(via.0, via.1),
            from: Address::of(from.0, from.1),
            to: Address::of(to.0, to.1),
            cseq: Part::of(cseq.0, cseq.1.method).map(|method| Sequence {
                number: cseq.1.number,
                method,
            }),
        }
    }

    /// What is known of a copy in which these fields stand as they stood: the first Via, From, To,
    /// CSeq.
    pub(crate) fn only(mut self, [via, from, to, cseq]: [bool; 4]) -> Facts {
        self.via = self.via.filter(|_| via);
        self.from = self.from.filter(|_| from);
        self.to = self.to.filter(|_| to);
        self.cseq = self.cseq.filter(|_| cseq);
        self
    }

    #[inline]
    pub(super) fn via<'a>(&self, place: Place<'a>) -> Option<Via<'a>> {
        let via = self.via?;
        let parts = via.parts.map(|part| part.get(place));
        Some(Via::of_parts(parts, via.branch.found(place)))
    }

    #[inline]
    pub(super) fn from<'a>(&self, place: Place<'a>) -> Option<NameAddr<'a>> {
        Some(self.from?.get(place))
    }

    #[inline]
    pub(super) fn to<'a>(&self, place: Place<'a>) -> Option<NameAddr<'a>> {
        Some(self.to?.get(place))
    }

    #[inline]
    pub(super) fn cseq<'a>(&self, place: Place<'a>) -> Option<CSeq<'a>> {
        let cseq = self.cseq?;
        Some(CSeq {
            number: cseq.number,
            method: cseq.method.get(place),
        })
    }
}

fn top_via(whole: &[u8], via: &Via<'_>) -> Option<TopVia> {
    let [raw, transport, sent_by, params] = via.parts();
    let parts = [
        Part::of(whole, raw)?,
        Part::of(whole, transport)?,
        Part::of(whole, sent_by)?,
        Part::of(whole, params)?,
    ];
    let branch = Part::maybe(whole, via.branch())?;
    Some(TopVia { parts, branch })
}
