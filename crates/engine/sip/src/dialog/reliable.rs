//! Reliable provisional responses (RFC 3262): RSeq, RAck, and which of them is the next.

use crate::class::number;
use crate::{HeaderError, Message, Name};

/// What a PRACK acknowledges (§7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck<'m> {
    /// The RSeq of the response.
    pub response: u32,
    /// The CSeq number of the response, which is the INVITE's.
    pub cseq: u32,
    /// The method of that CSeq.
    pub method: &'m [u8],
}

impl<'m> RAck<'m> {
    /// Reads the RAck of a PRACK.
    ///
    /// # Errors
    /// [`HeaderError`] if there is none, or it cannot be read: 400.
    pub fn read(prack: &'m Message) -> Result<Self, HeaderError> {
        let value = prack
            .header(Name::RAck)
            .ok_or(HeaderError::Missing("RAck"))?;
        Self::parse(value).ok_or(HeaderError::Malformed("RAck"))
    }

    fn parse(value: &'m [u8]) -> Option<Self> {
        let mut words = value
            .split(u8::is_ascii_whitespace)
            .filter(|w| !w.is_empty());
        let (response, cseq, method) = (words.next()?, words.next()?, words.next()?);
        let count = |digits| number(digits).and_then(|n| u32::try_from(n).ok());
        words.next().is_none().then_some(RAck {
            response: count(response).filter(|n| *n > 0)?,
            cseq: count(cseq).filter(|n| *n < 1 << 31)?,
            method,
        })
    }

    /// The value with another CSeq number, for the other leg of a B2BUA.
    pub fn value(&self, cseq: u32) -> Vec<u8> {
        let mut out = format!("{} {cseq} ", self.response).into_bytes();
        out.extend_from_slice(self.method);
        out
    }
}

/// The RSeq of a provisional response that is sent reliably: Require lists `100rel`, and the status
/// is above 100 (§3). `None` for any other.
pub fn rseq(response: &Message) -> Option<u32> {
    if !(101..200).contains(&response.status())
        || !crate::route::lists(response, Name::Require, b"100rel")
    {
        return None;
    }
    let n = number(response.header(Name::RSeq)?)?;
    u32::try_from(n).ok().filter(|n| *n > 0)
}

/// What a client does with a reliable provisional response (§4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// It is the next: PRACK it.
    New,
    /// It came before: it is sent again because our PRACK was lost or is slow. No news.
    Repeated,
    /// One before it is missing: neither acknowledged nor used.
    Early,
}

/// A client's side of one early dialog.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received(Option<u32>);

impl Received {
    /// Takes the RSeq of a response.
    pub fn take(&mut self, rseq: u32) -> Reception {
        match self.0 {
            Some(last) if rseq <= last => return Reception::Repeated,
            Some(last) if last.checked_add(1) != Some(rseq) => return Reception::Early,
            _ => {}
        }
        self.0 = Some(rseq);
        Reception::New
    }
}

/// A server's side of one INVITE: one response at a time waits for its PRACK (§3).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    last: u32,
    waiting: bool,
}

impl Sent {
    /// Begins with a number of the caller's choice, from 1 to 2³¹ - 1.
    pub fn new(first: u32) -> Self {
        Sent {
            last: (first.clamp(1, (1 << 31) - 1)) - 1,
            waiting: false,
        }
    }

    /// The RSeq for the next response; `None` while one waits, or when the numbers are used up.
    pub fn next(&mut self) -> Option<u32> {
        if self.waiting {
            return None;
        }
        self.last = self.last.checked_add(1)?;
        self.waiting = true;
        Some(self.last)
    }

    /// Takes the RAck of a PRACK for the INVITE numbered `cseq`.
    ///
    /// # Errors
    /// 481 if no such response waits: answer the PRACK so and change nothing.
    pub fn acknowledged(&mut self, rack: &RAck<'_>, cseq: u32) -> Result<(), (u16, &'static str)> {
        let ours = rack.response == self.last && rack.cseq == cseq && rack.method == b"INVITE";
        if !ours || !self.waiting {
            return Err((481, "Call/Transaction Does Not Exist"));
        }
        self.waiting = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rack_is_read_and_moved_to_another_leg() {
        let good = RAck::parse(b" 776656  1 INVITE").unwrap();
        assert_eq!(
            (good.response, good.cseq, good.method),
            (776_656, 1, &b"INVITE"[..])
        );
        assert_eq!(good.value(9), b"776656 9 INVITE");
        for bad in [
            "",
            "1",
            "1 2",
            "1 2 INVITE x",
            "0 1 INVITE",
            "x 1 INVITE",
            "1 -1 INVITE",
            "1 2147483648 INVITE",
            "4294967296 1 INVITE",
        ] {
            assert_eq!(RAck::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn reliable_responses_are_taken_in_order_and_once() {
        let mut received = Received::default();
        let table = [
            (100, Reception::New), // any number begins
            (100, Reception::Repeated),
            (102, Reception::Early),
            (101, Reception::New),
            (102, Reception::New),
            (100, Reception::Repeated),
            (u32::MAX, Reception::Early),
        ];
        for (rseq, want) in table {
            assert_eq!(received.take(rseq), want, "{rseq}");
        }
    }

    #[test]
    fn one_response_at_a_time_waits_for_its_prack() {
        let mut sent = Sent::new(0);
        assert_eq!((sent.next(), sent.next()), (Some(1), None));
        let rack = |response, cseq, method| RAck {
            response,
            cseq,
            method,
        };
        for wrong in [
            rack(2, 7, b"INVITE"),
            rack(1, 8, b"INVITE"),
            rack(1, 7, b"BYE"),
        ] {
            assert_eq!(sent.acknowledged(&wrong, 7).map_err(|e| e.0), Err(481));
        }
        let right = rack(1, 7, b"INVITE");
        assert_eq!(sent.acknowledged(&right, 7), Ok(()));
        // A PRACK that is sent again as a new transaction acknowledges nothing.
        assert!(sent.acknowledged(&right, 7).is_err());
        assert_eq!(sent.next(), Some(2));
    }
}
