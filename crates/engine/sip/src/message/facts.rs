//! Where the parts of the headers lie that every message needs and everybody asks for: they are
//! read once, when the message is judged, and given out as often as wanted. An edited message takes
//! over what is true of it still.

use super::scan::Span;
use crate::header::{CSeq, NameAddr, Via};
use crate::{Message, Name};

/// A part of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The same part so much further back; nothing is nowhere.
    fn moved(self, by: i64) -> Part {
        if self.1 == 0 {
            return self;
        }
        let moved = |at: u32| (i64::from(at) + by) as u32;
        Part(moved(self.0), moved(self.1))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    fn moved(self, by: i64) -> Address {
        Address {
            display: self.display.moved(by),
            uri: self.uri.moved(by),
            params: self.params.moved(by),
            tag: self.tag.map(|tag| tag.moved(by)),
        }
    }
}

/// The parts of top Via, From, To and CSeq, of those that were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Which of the four are known.
    known: [bool; 4],
    via: [Part; 4],
    branch: Option<Part>,
    from: Address,
    to: Address,
    number: u32,
    method: Part,
}

const NOBODY: Address = Address {
    display: Part(0, 0),
    uri: Part(0, 0),
    params: Part(0, 0),
    tag: None,
};

impl Facts {
    /// Nothing is known.
    pub(super) const NONE: Facts = Facts {
        known: [false; 4],
        via: [Part(0, 0); 4],
        branch: None,
        from: NOBODY,
        to: NOBODY,
        number: 0,
        method: Part(0, 0),
    };

    /// Remembers what was read; each must lie in `whole`.
    pub(super) fn of(
        whole: &[u8],
        via: &Via<'_>,
        from: &NameAddr<'_>,
        to: &NameAddr<'_>,
        cseq: &CSeq<'_>,
    ) -> Facts {
        Facts {
            known: [true; 4],
            via: via.parts().map(|part| Part::of(whole, part)),
            branch: via.branch().map(|branch| Part::of(whole, branch)),
            from: Address::of(whole, from),
            to: Address::of(whole, to),
            number: cseq.number,
            method: Part::of(whole, cseq.method),
        }
    }

    /// What is known of a copy in which these fields stand as they stood, each so much further
    /// back: the field of the top Via, From, To, CSeq. Nothing of one that does not.
    pub(crate) fn moved(mut self, by: [Option<i64>; 4]) -> Facts {
        for (known, by) in self.known.iter_mut().zip(by) {
            *known &= by.is_some();
        }
        let [via, from, to, cseq] = by.map(Option::unwrap_or_default);
        self.via = self.via.map(|part| part.moved(via));
        self.branch = self.branch.map(|part| part.moved(via));
        self.from = self.from.moved(from);
        self.to = self.to.moved(to);
        self.method = self.method.moved(cseq);
        self
    }

    /// Whether the top Via lies in this field. It need not lie in the first of its name.
    pub(crate) fn has_via_in(&self, span: &Span) -> bool {
        let [Part(from, to), ..] = self.via;
        span.start < from && to <= span.end
    }

    /// Whether reading the message finds what is known, and in the same places. `unread` is the
    /// message without its facts.
    pub(crate) fn are_those_of(&self, unread: &Message) -> bool {
        let whole = unread.bytes();
        let [is_via, is_from, is_to, is_cseq] = self.known;
        let via = || {
            let value = unread.values(Name::Via).next();
            let via = value.and_then(|value| Via::parse(value).ok());
            via.is_some_and(|via| {
                self.via == via.parts().map(|part| Part::of(whole, part))
                    && self.branch == via.branch().map(|branch| Part::of(whole, branch))
            })
        };
        let address = |known: &Address, read: Result<NameAddr<'_>, _>| {
            read.is_ok_and(|read| *known == Address::of(whole, &read))
        };
        let cseq = || {
            unread.cseq().is_ok_and(|cseq| {
                self.number == cseq.number && self.method == Part::of(whole, cseq.method)
            })
        };
        (!is_via || via())
            && (!is_from || address(&self.from, unread.from()))
            && (!is_to || address(&self.to, unread.to()))
            && (!is_cseq || cseq())
    }

    pub(super) fn via<'a>(&self, whole: &'a [u8]) -> Option<Via<'a>> {
        if !self.known[0] {
            return None;
        }
        let branch = self.branch.map(|part| part.get(whole));
        Some(Via::of_parts(self.via.map(|part| part.get(whole)), branch))
    }

    pub(super) fn from<'a>(&self, whole: &'a [u8]) -> Option<NameAddr<'a>> {
        self.known[1].then(|| self.from.get(whole))
    }

    pub(super) fn to<'a>(&self, whole: &'a [u8]) -> Option<NameAddr<'a>> {
        self.known[2].then(|| self.to.get(whole))
    }

    pub(super) fn cseq<'a>(&self, whole: &'a [u8]) -> Option<CSeq<'a>> {
        self.known[3].then(|| CSeq {
            number: self.number,
            method: self.method.get(whole),
        })
    }
}
