//! Bytes that may stand in a document at all: whole UTF-8 characters that XML 1.0 §2.2 allows.
//!
//! A chunk is checked as one, many bytes at a time. A character cut by the chunk's end waits in
//! [`Carry`], so that the tokenizer sees whole characters only and every chunking means the same.

use crate::Violation;

/// The beginning of a character whose rest has not come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carry {
    bytes: [u8; 4],
    len: usize,
}

impl Carry {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn of(bytes: &[u8]) -> Carry {
        let mut carry = Carry::default();
        for byte in bytes {
            carry.push(*byte);
        }
        carry
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }
}

/// What became of a chunk.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// A character begun in an earlier chunk, now whole.
    pub(super) head: Carry,
    /// Where in the chunk the bytes after `head` begin.
    pub(super) from: usize,
    /// Up to where they are good.
    pub(super) good: usize,
    /// What stands at `good`, if that is not the chunk's end.
    pub(super) flaw: Option<Violation>,
    /// A character begun at the chunk's end.
    pub(super) tail: Carry,
}

/// Checks a chunk that follows `carry`.
pub(super) fn check(mut carry: Carry, chunk: &[u8]) -> Checked {
    let mut checked = Checked::default();
    if carry.len > 0 {
        for byte in chunk {
            carry.push(*byte);
            checked.from += 1;
            match std::str::from_utf8(carry.bytes()) {
                Ok(_) => break,
                Err(e) if e.error_len().is_none() => {}
                Err(_) => {
                    checked.flaw = Some(Violation::Encoding);
                    break;
                }
            }
        }
        checked.good = checked.from;
        if checked.flaw.is_some() {
            return checked;
        }
        if std::str::from_utf8(carry.bytes()).is_err() {
            checked.tail = carry;
            return checked;
        }
        if forbidden_wide(carry.bytes()).is_some() {
            checked.flaw = Some(CHARACTER);
            return checked;
        }
        checked.head = carry;
    }
    let rest = chunk.get(checked.from..).unwrap_or_default();
    let mut good = rest.len();
    if let Err(e) = std::str::from_utf8(rest) {
        good = e.valid_up_to();
        match e.error_len() {
            Some(_) => checked.flaw = Some(Violation::Encoding),
            None => checked.tail = Carry::of(rest.get(good..).unwrap_or_default()),
        }
    }
    let valid = rest.get(..good).unwrap_or_default();
    if let Some(at) = forbidden(valid) {
        good = at;
        checked.flaw = Some(CHARACTER);
        checked.tail = Carry::default();
    }
    checked.good = checked.from + good;
    checked
}

const CHARACTER: Violation = Violation::NotWellFormed("a character that XML does not allow");

/// Where the first character stands that XML 1.0 §2.2 forbids.
fn forbidden(valid: &[u8]) -> Option<usize> {
    // Without a branch a byte, so that the compiler takes many at once.
    let any_control = valid
        .iter()
        .fold(false, |any, byte| any | is_control(*byte));
    let control = if any_control {
        valid.iter().position(|byte| is_control(*byte))
    } else {
        None
    };
    let before = control.unwrap_or(valid.len());
    forbidden_wide(valid.get(..before).unwrap_or_default()).or(control)
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') & (byte != b'\n') & (byte != b'\r')
}

/// Where U+FFFE or U+FFFF stands.
fn forbidden_wide(valid: &[u8]) -> Option<usize> {
    memchr::memchr_iter(0xef, valid)
        .find(|at| matches!(valid.get(*at..at + 3), Some([_, 0xbf, 0xbe | 0xbf])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_whole_or_wait() {
        let text = "aä€😀z".as_bytes();
        for cut in 0..=text.len() {
            let (left, right) = text.split_at(cut);
            let first = check(Carry::default(), left);
            assert_eq!(first.flaw, None);
            let second = check(first.tail, right);
            assert_eq!(second.flaw, None);
            assert_eq!(second.tail.bytes(), b"");
            let mut seen = left[..first.good].to_vec();
            seen.extend_from_slice(second.head.bytes());
            seen.extend_from_slice(&right[second.from..second.good]);
            assert_eq!(seen, text, "{cut}");
        }
    }

    #[test]
    fn what_xml_forbids_is_found_where_it_stands() {
        for (bytes, good, flaw) in [
            (&b"ab\x00c"[..], 2, CHARACTER),
            (b"ab\xff", 2, Violation::Encoding),
            (b"a\xc0\x80", 1, Violation::Encoding),
            (b"a\xed\xa0\x80", 1, Violation::Encoding),
            (b"a\xef\xbf\xbf", 1, CHARACTER),
            (b"a\x1f\xff", 1, CHARACTER),
        ] {
            let checked = check(Carry::default(), bytes);
            assert_eq!(
                (checked.good, checked.flaw),
                (good, Some(flaw)),
                "{bytes:?}"
            );
        }
        assert_eq!(check(Carry::default(), b"\t\r\n\x7f").flaw, None);
    }
}
