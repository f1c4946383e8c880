//! Where the parts of the headers lie that every message needs and everybody asks for: they are
//! read once, when the message is judged, and given out as often as wanted.

use crate::header::{CSeq, NameAddr, Via};

/// A part of the message.
#[derive(Clone, Copy, Debug)]
struct Part(u32, u32);

impl Part {
    /// Where `part`, which lies in `whole`, is.
    fn of(whole: &[u8], part: &[u8]) -> Part {
        let from = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        if part.is_empty() || from > whole.len() {
            return Part(0, 0);
        }
        Part(from as u32, (from + part.len()) as u32)
    }

    fn get(self, whole: &[u8]) -> &[u8] {
        whole
            .get(self.0 as usize..self.1 as usize)
            .unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
struct Address {
    display: Part,
    uri: Part,
    params: Part,
    tag: Option<Part>,
}

impl Address {
    fn of(whole: &[u8], address: &NameAddr<'_>) -> Address {
        Address {
            display: Part::of(whole, address.display),
            uri: Part::of(whole, address.uri),
            params: Part::of(whole, address.params.raw()),
            tag: address.tag().map(|tag| Part::of(whole, tag)),
        }
    }

    fn get(self, whole: &[u8]) -> NameAddr<'_> {
        let parts = [self.display, self.uri, self.params].map(|part| part.get(whole));
        NameAddr::of_parts(parts, self.tag.map(|tag| tag.get(whole)))
    }
}

/// The parts of top Via, From, To and CSeq.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    via: [Part; 4],
    branch: Option<Part>,
    from: Address,
    to: Address,
    number: u32,
    method: Part,
}

impl Facts {
    /// Remembers what was read; each must lie in `whole`.
    pub(super) fn of(
        whole: &[u8],
        via: &Via<'_>,
        from: &NameAddr<'_>,
        to: &NameAddr<'_>,
        cseq: &CSeq<'_>,
    ) -> Facts {
        Facts {
            via: via.parts().map(|part| Part::of(whole, part)),
            branch: via.branch().map(|branch| Part::of(whole, branch)),
            from: Address::of(whole, from),
            to: Address::of(whole, to),
            number: cseq.number,
            method: Part::of(whole, cseq.method),
        }
    }

    pub(super) fn via<'a>(&self, whole: &'a [u8]) -> Via<'a> {
        let branch = self.branch.map(|part| part.get(whole));
        Via::of_parts(self.via.map(|part| part.get(whole)), branch)
    }

    pub(super) fn from<'a>(&self, whole: &'a [u8]) -> NameAddr<'a> {
        self.from.get(whole)
    }

    pub(super) fn to<'a>(&self, whole: &'a [u8]) -> NameAddr<'a> {
        self.to.get(whole)
    }

    pub(super) fn cseq<'a>(&self, whole: &'a [u8]) -> CSeq<'a> {
        CSeq {
            number: self.number,
            method: self.method.get(whole),
        }
    }
}
