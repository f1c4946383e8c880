//! Classes of bytes as RFC 3261 §25.1 defines them, each a look-up in one table.

/// A byte of a token.
const TOKEN: u8 = 1;
/// A byte that no URI holds: blanks, controls, angle brackets, quotes.
const NO_URI: u8 = 2;
/// A byte of a sent-by, blanks around the colon with it.
const SENT_BY: u8 = 4;

const TABLE: [u8; 256] = table();

const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        let alphanumeric = byte.is_ascii_alphanumeric();
        let mut class = 0;
        if alphanumeric
            || matches!(
                byte,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            )
        {
            class |= TOKEN;
        }
        if byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 127) {
            class |= NO_URI;
        }
        if alphanumeric || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b' ' | b'\t') {
            class |= SENT_BY;
        }
        table[i] = class;
        i += 1;
    }
    table
}

const fn is(byte: u8, class: u8) -> bool {
    TABLE[byte as usize] & class != 0
}

/// Whether a byte may stand in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// Whether bytes are a token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let class = |all, b: &u8| all & TABLE[usize::from(*b)];
    !bytes.is_empty() && bytes.iter().fold(TOKEN, class) != 0
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// Of eight bytes, the high bit of those that are `byte`. The lowest one is right; those above it
/// may be borrowed.
#[inline(always)]
pub(crate) const fn equal(word: u64, byte: u8) -> u64 {
    let other = word ^ (ONES * byte as u64);
    other.wrapping_sub(ONES) & !other & (ONES << 7)
}

/// Of eight bytes, the high bit of those that are below `byte`, which is at most 128. The lowest
/// one is right; those above it may be borrowed.
#[inline(always)]
pub(crate) const fn below(word: u64, byte: u8) -> u64 {
    word.wrapping_sub(ONES * byte as u64) & !word & (ONES << 7)
}

/// How many bytes stand before the first that `is` marks, eight at a time; all of them if none is
/// marked. Of the marks, the lowest one must be right.
#[inline(always)]
pub(crate) fn until(bytes: &[u8], is: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let marks = is(u64::from_le_bytes(*word));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    // What is left, in front of zeros.
    let left = match bytes.last_chunk() {
        Some(last) if !rest.is_empty() => u64::from_le_bytes(*last) >> (8 * (8 - rest.len())),
        _ => rest
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    let found = is(left).trailing_zeros() as usize / 8;
    at + found.min(rest.len())
}

/// Whether a byte stands in bytes that no URI holds.
pub(crate) fn has_no_uri_byte(bytes: &[u8]) -> bool {
    // Sixteen at a time: compilers make vectors of it.
    let (blocks, rest) = bytes.as_chunks::<16>();
    let no_uri =
        |any, b: &u8| any | (*b <= b' ') | (*b == b'<') | (*b == b'>') | (*b == b'"') | (*b == 127);
    if blocks.iter().any(|block| block.iter().fold(false, no_uri)) {
        return true;
    }
    let odd = |word| {
        let odd = below(word, b' ' + 1) | equal(word, b'<') | equal(word, b'>');
        odd | equal(word, b'"') | equal(word, 127)
    };
    until(rest, odd) < rest.len()
}

/// Whether bytes could be the sent-by of a Via.
pub(crate) fn is_sent_by(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| is(*b, SENT_BY))
}

/// A decimal number; larger ones than fit saturate.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0u64, |n, d| {
        n.saturating_mul(10).saturating_add(u64::from(d - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_no_uri_holds_are_seen_wherever_they_stand() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=255 {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    assert_eq!(has_no_uri_byte(&bytes), is(byte, NO_URI), "{byte} at {at}");
                }
            }
            assert!(!has_no_uri_byte(&vec![255; length]), "bytes above 127 pass");
        }
    }
}
