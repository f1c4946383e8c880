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
    !bytes.is_empty() && bytes.iter().all(|b| is(*b, TOKEN))
}

/// Whether a byte stands in bytes that no URI holds.
pub(crate) fn has_no_uri_byte(bytes: &[u8]) -> bool {
    bytes.iter().any(|b| is(*b, NO_URI))
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
