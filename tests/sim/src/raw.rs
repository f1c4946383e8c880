//! A message as bytes: what the comparison of two hops rests on. Nothing is decoded, folded or
//! put in order here; a header field is its bytes up to the next line that begins one.

/// A message taken apart at its line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The first line.
    pub start: Vec<u8>,
    /// Header fields in order, each with its folded lines and without its last line end.
    pub fields: Vec<Vec<u8>>,
    /// The body.
    pub body: Vec<u8>,
}

/// Compact forms (RFC 3261 §7.3.3, RFC 6665 §8.2, RFC 3515 §2.1, RFC 4028 §4) and their long names.
const COMPACT: [(&[u8], &[u8]); 14] = [
    (b"v", b"via"),
    (b"f", b"from"),
    (b"t", b"to"),
    (b"i", b"call-id"),
    (b"m", b"contact"),
    (b"l", b"content-length"),
    (b"c", b"content-type"),
    (b"e", b"content-encoding"),
    (b"s", b"subject"),
    (b"k", b"supported"),
    (b"o", b"event"),
    (b"u", b"allow-events"),
    (b"r", b"refer-to"),
    (b"x", b"session-expires"),
];

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

impl Raw {
    /// Takes apart one whole message; `None` if it has no end of header.
    pub fn of(bytes: &[u8]) -> Option<Raw> {
        let end = position(bytes, b"\r\n\r\n")?;
        let (head, body) = (&bytes[..end], bytes[end + 4..].to_vec());
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut rest = head;
        loop {
            let at = position(rest, b"\r\n");
            let line = &rest[..at.unwrap_or(rest.len())];
            match lines.last_mut() {
                Some(last) if matches!(line.first(), Some(b' ' | b'\t')) => {
                    last.extend_from_slice(b"\r\n");
                    last.extend_from_slice(line);
                }
                _ => lines.push(line.to_vec()),
            }
            match at {
                Some(at) => rest = &rest[at + 2..],
                None => break,
            }
        }
        let start = lines.remove(0);
        Some(Raw {
            start,
            fields: lines,
            body,
        })
    }

    /// The long name of a field, in lower case.
    pub fn name(field: &[u8]) -> Vec<u8> {
        let end = field.iter().position(|b| *b == b':').unwrap_or(field.len());
        let name = field[..end].trim_ascii().to_ascii_lowercase();
        let long = COMPACT.iter().find(|(short, _)| *short == name);
        long.map_or(name.clone(), |(_, long)| long.to_vec())
    }

    /// The value of a field, folded lines and all.
    pub fn value(field: &[u8]) -> &[u8] {
        let at = field.iter().position(|b| *b == b':');
        at.map_or(&[][..], |at| field[at + 1..].trim_ascii())
    }

    /// The first value under a long name, in lower case.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self.fields.iter().find(|f| Raw::name(f) == name);
        found.map(|f| Raw::value(f))
    }

    /// Whether the body is a session description.
    pub fn is_description(&self) -> bool {
        self.get(b"content-type")
            .is_some_and(|v| v.to_ascii_lowercase().starts_with(b"application/sdp"))
    }

    /// Fields but for those with these names, in order.
    pub fn without(&self, names: &[&str]) -> Vec<&[u8]> {
        let stays = |f: &&Vec<u8>| {
            let name = Raw::name(f);
            !names.iter().any(|n| n.as_bytes() == name)
        };
        self.fields
            .iter()
            .filter(stays)
            .map(Vec::as_slice)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_bytes_and_folds() {
        let bytes = b"INFO a SIP/2.0\r\nx-Odd : \xe9 a\r\n\tb\r\nF: <x>;tag=1\r\n\r\nbody\r\n\r\n";
        let raw = Raw::of(bytes).unwrap();
        assert_eq!(raw.start, b"INFO a SIP/2.0");
        assert_eq!(raw.fields[0], b"x-Odd : \xe9 a\r\n\tb");
        assert_eq!(Raw::name(&raw.fields[0]), b"x-odd");
        assert_eq!(raw.get(b"from"), Some(&b"<x>;tag=1"[..]));
        assert_eq!(raw.body, b"body\r\n\r\n");
        assert_eq!(raw.without(&["from"]).len(), 1);
    }
}
