//! Strict HTTP/1 request framing, in front of the HTTP library.
//!
//! Two programs that see different borders in the same bytes can be played against one another
//! (request smuggling). So whatever RFC 9112 leaves to a lenient reader is refused here: bare CR or
//! LF, folded lines, blanks before the colon, `Content-Length` twice or beside
//! `Transfer-Encoding`, any transfer coding but one `chunked`, chunk extensions, trailers, targets
//! that are no path. In: bytes as they come. Out: the same bytes, a head at a time, or a
//! [`Violation`]. No I/O.
//!
//! Bounds: 32 KiB a head, 8 KiB a target, 100 fields, 18 digits of `Content-Length`.

/// The most bytes of a request's head.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;
const TARGET_BYTES_MAX: usize = 8 * 1024;
const FIELDS_MAX: usize = 100;

/// How a client broke HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The status that answers it.
    pub status: u16,
    /// What it is, in a few words.
    pub cause: &'static str,
}

const fn bad(cause: &'static str) -> Violation {
    Violation { status: 400, cause }
}

pub(super) const NO_HOST: Violation = bad("a Host that is no host");

/// Whether it could be a host with or without a port; a user never is a part of it.
pub(super) fn is_host(value: &[u8]) -> bool {
    let fine = |b: &u8| b.is_ascii_alphanumeric() || b".-_:[]%".contains(b);
    !value.is_empty() && value.iter().all(fine)
}

/// Where in a request the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Body { left: u64 },
    ChunkSize { digits: u8, size: u64 },
    ChunkSizeEnd { size: u64 },
    ChunkData { left: u64 },
    ChunkDataCr { last: bool },
    ChunkDataLf { last: bool },
}

/// Follows a client's bytes from request to request.
#[derive(Debug)]
pub struct Framing {
    place: Place,
    head: Vec<u8>,
}

impl Default for Framing {
    fn default() -> Self {
        Framing {
            place: Place::Head,
            head: Vec::new(),
        }
    }
}

impl Framing {
    /// Whether the next byte begins a request.
    pub fn between_requests(&self) -> bool {
        self.place == Place::Head && self.head.is_empty()
    }

    /// Whether a head is under way or awaited.
    pub fn in_head(&self) -> bool {
        self.place == Place::Head
    }

    /// Takes bytes and appends to `out` those that have been checked. Says whether a head was
    /// completed.
    ///
    /// # Errors
    /// A [`Violation`]: answer with its status and end the connection.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<bool, Violation> {
        let mut head_done = false;
        let mut rest = input;
        while let Some((&byte, after)) = rest.split_first() {
            match self.place {
                Place::Head => {
                    // Up to the end of a line: an empty one ends the head.
                    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                    let (now, later) = rest.split_at(end);
                    rest = later;
                    if self.take_head(now)? {
                        head_done = true;
                        self.place = check_head(&self.head)?;
                        out.append(&mut self.head);
                    }
                }
                Place::Body { left } | Place::ChunkData { left } => {
                    let n = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let (now, later) = rest.split_at(n);
                    out.extend_from_slice(now);
                    rest = later;
                    let left = left - n as u64;
                    self.place = match self.place {
                        Place::Body { .. } if left == 0 => Place::Head,
                        Place::Body { .. } => Place::Body { left },
                        _ if left == 0 => Place::ChunkDataCr { last: false },
                        _ => Place::ChunkData { left },
                    };
                }
                place => {
                    rest = after;
                    self.place = chunk_byte(place, byte)?;
                    out.push(byte);
                }
            }
        }
        Ok(head_done)
    }

    /// Adds to the head what holds an LF at its end or none; true if that was the head's end.
    fn take_head(&mut self, bytes: &[u8]) -> Result<bool, Violation> {
        let room = HEAD_BYTES_MAX.saturating_sub(self.head.len());
        // The first byte that does not fit is judged as one that does: what is told does not hang
        // on how the bytes were cut.
        let judged = bytes.get(..room + 1).unwrap_or(bytes);
        let mut carriage = self.head.last() == Some(&b'\r');
        let mut from = 0;
        loop {
            let left = judged.get(from..).unwrap_or_default();
            if carriage && left.first().is_some_and(|b| *b != b'\n') {
                return Err(bad("a CR without LF"));
            }
            let Some(at) = memchr::memchr3(b'\r', b'\n', 0, left) else {
                break;
            };
            match left.get(at) {
                Some(b'\r') => carriage = true,
                Some(b'\n') if carriage && at == 0 => carriage = false,
                Some(b'\n') => return Err(bad("a line ends in LF without CR")),
                _ => return Err(bad("a NUL in the head")),
            }
            from += at + 1;
        }
        if bytes.len() > room {
            let in_first_line = !self.head.contains(&b'\n');
            return Err(Violation {
                status: if in_first_line { 414 } else { 431 },
                cause: "the head is larger than 32 KiB",
            });
        }
        self.head.extend_from_slice(bytes);
        Ok(self.head.ends_with(b"\r\n\r\n") || self.head == b"\r\n")
    }
}

fn chunk_byte(place: Place, byte: u8) -> Result<Place, Violation> {
    match (place, byte) {
        (Place::ChunkSize { digits, size }, byte) if byte.is_ascii_hexdigit() => {
            if digits == 15 {
                return Err(bad("a chunk size of more than 15 digits"));
            }
            let digit = char::from(byte).to_digit(16).unwrap_or(0);
            Ok(Place::ChunkSize {
                digits: digits + 1,
                size: size * 16 + u64::from(digit),
            })
        }
        (Place::ChunkSize { digits: 1.., size }, b'\r') => Ok(Place::ChunkSizeEnd { size }),
        (Place::ChunkSize { .. }, _) => {
            Err(bad("a chunk size that is no plain hexadecimal number"))
        }
        (Place::ChunkSizeEnd { size: 0 }, b'\n') => Ok(Place::ChunkDataCr { last: true }),
        (Place::ChunkSizeEnd { size }, b'\n') => Ok(Place::ChunkData { left: size }),
        (Place::ChunkSizeEnd { .. }, _) => Err(bad("a CR without LF after a chunk size")),
        (Place::ChunkDataCr { last }, b'\r') => Ok(Place::ChunkDataLf { last }),
        (Place::ChunkDataCr { last: true }, _) => Err(bad("trailer fields")),
        (Place::ChunkDataCr { .. }, _) => Err(bad("a chunk longer than its size")),
        (Place::ChunkDataLf { last: true }, b'\n') => Ok(Place::Head),
        (Place::ChunkDataLf { .. }, b'\n') => Ok(Place::ChunkSize { digits: 0, size: 0 }),
        (Place::ChunkDataLf { .. }, _) => Err(bad("a CR without LF after a chunk")),
        (place, _) => Ok(place),
    }
}

/// Checks a whole head and says where its body's first byte belongs.
fn check_head(head: &[u8]) -> Result<Place, Violation> {
    let head = head
        .strip_suffix(b"\r\n\r\n")
        .ok_or(bad("an empty request"))?;
    let mut lines = head
        .split(|b| *b == b'\n')
        .map(|l| l.strip_suffix(b"\r").unwrap_or(l));
    let old = check_request_line(lines.next().unwrap_or_default())?;
    let mut seen = Seen::default();
    for (nth, line) in lines.enumerate() {
        if nth >= FIELDS_MAX {
            return Err(Violation {
                status: 431,
                cause: "more than 100 header fields",
            });
        }
        seen.field(line)?;
    }
    seen.verdict(old)
}

/// Says whether it is HTTP/1.0.
fn check_request_line(line: &[u8]) -> Result<bool, Violation> {
    let mut parts = line.split(|b| *b == b' ');
    let (method, target, version) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(m), Some(t), Some(v), None) => (m, t, v),
        _ => return Err(bad("a request line that is not method, target and version")),
    };
    if method.is_empty() || method.len() > 32 || !method.iter().copied().all(is_token) {
        return Err(bad("a method that is no token"));
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        v if v.starts_with(b"HTTP/") => {
            return Err(Violation {
                status: 505,
                cause: "an HTTP version other than 1.0 or 1.1",
            });
        }
        _ => return Err(bad("a request line that is not method, target and version")),
    };
    if matches!(method, b"CONNECT" | b"TRACE") {
        return Err(Violation {
            status: 405,
            cause: "CONNECT or TRACE",
        });
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(Violation {
            status: 414,
            cause: "a target of more than 8 KiB",
        });
    }
    if !target.starts_with(b"/") {
        return Err(bad("a target that is no path"));
    }
    if !target.iter().all(|b| (0x21..0x7f).contains(b)) {
        return Err(bad(
            "a target with a control character or a character beyond ASCII",
        ));
    }
    Ok(old)
}

#[derive(Default)]
struct Seen {
    hosts: usize,
    lengths: usize,
    length: u64,
    codings: usize,
}

impl Seen {
    fn field(&mut self, line: &[u8]) -> Result<(), Violation> {
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Err(bad("a folded header line"));
        }
        let colon = line.iter().position(|b| *b == b':');
        let (name, value) = match colon.map(|at| line.split_at(at)) {
            Some((name, value)) => (name, value.get(1..).unwrap_or_default().trim_ascii()),
            None => return Err(bad("a header line without a colon")),
        };
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(bad("a header name that is no token"));
        }
        if value
            .iter()
            .any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f)
        {
            return Err(bad("a control character in a header value"));
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            if !is_host(value) {
                return Err(NO_HOST);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
                return Err(bad("a Content-Length that is no plain number"));
            }
            self.length = value.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0'));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(bad("a Transfer-Encoding other than chunked"));
            }
        } else if name.eq_ignore_ascii_case(b"expect")
            && !value.eq_ignore_ascii_case(b"100-continue")
        {
            return Err(Violation {
                status: 417,
                cause: "an Expect other than 100-continue",
            });
        }
        Ok(())
    }

    fn verdict(&self, old: bool) -> Result<Place, Violation> {
        match (self.hosts, self.lengths, self.codings) {
            (0, ..) if !old => Err(bad("no Host")),
            (2.., ..) => Err(bad("more than one Host")),
            (_, 2.., _) => Err(bad("more than one Content-Length")),
            (.., 2..) => Err(bad("more than one Transfer-Encoding")),
            (_, 1, 1) => Err(bad("both Content-Length and Transfer-Encoding")),
            (.., 1) if old => Err(bad("Transfer-Encoding in HTTP/1.0")),
            (.., 1) => Ok(Place::ChunkSize { digits: 0, size: 0 }),
            (_, 1, _) if self.length > 0 => Ok(Place::Body { left: self.length }),
            _ => Ok(Place::Head),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out when the bytes come in pieces of `size`.
    fn feed(input: &[u8], size: usize) -> Result<Vec<u8>, Violation> {
        let (mut framing, mut out) = (Framing::default(), Vec::new());
        for piece in input.chunks(size) {
            framing.feed(piece, &mut out)?;
        }
        Ok(out)
    }

    #[test]
    fn good_requests_pass_byte_for_byte_in_pieces_of_any_size() {
        let good = b"POST /a?b HTTP/1.1\r\nHost: edge1.example.test:8443\r\n\
            Content-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: [::1]:8443\r\nX:\t \r\n\r\n\
            PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\
            Expect: 100-Continue\r\n\r\n5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\n\
            GET /d HTTP/1.0\r\n\r\n";
        for size in [1, 2, 3, 7, 64, good.len()] {
            assert_eq!(feed(good, size), Ok(good.to_vec()), "{size}");
        }
    }

    #[test]
    fn whatever_could_be_read_in_two_ways_is_refused() {
        let post = "POST / HTTP/1.1\r\nHost: h\r\n";
        let table: [(String, u16); 44] = [
            ("GET / HTTP/1.1\nHost: h\n\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: h\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\n Host: h\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost : h\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: h\r\nnocolon\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: h\r\nX: a\x01b\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 400),
            ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
            ("GET / x HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
            ("GET /\r\nHost: h\r\n\r\n".into(), 400),
            ("GET /\tx HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
            ("GET /\u{e4} HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
            ("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
            ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
            ("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n".into(), 405),
            ("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 405),
            ("PRI * HTTP/2.0\r\n\r\n".into(), 505),
            ("GET / HTTP/1.2\r\nHost: h\r\n\r\n".into(), 505),
            ("G(T / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
            ("\r\n".into(), 400),
            (
                format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
                400,
            ),
            (
                format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
                400,
            ),
            (format!("{post}Content-Length: 1, 1\r\n\r\n"), 400),
            (format!("{post}Content-Length: +1\r\n\r\n"), 400),
            (format!("{post}Content-Length: -1\r\n\r\n"), 400),
            (format!("{post}Content-Length: 0x1\r\n\r\n"), 400),
            (
                format!("{post}Content-Length: 9999999999999999999\r\n\r\n"),
                400,
            ),
            (
                format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n"),
                400,
            ),
            (
                format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n"),
                400,
            ),
            (format!("{post}Transfer-Encoding: xchunked\r\n\r\n"), 400),
            (format!("{post}Transfer-Encoding:\x0bchunked\r\n\r\n"), 400),
            (
                format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
                400,
            ),
            (
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
                400,
            ),
            (format!("{post}Expect: 200-ok\r\n\r\n"), 417),
            (
                format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(9000)),
                414,
            ),
            (format!("{post}X: {}\r\n\r\n", "a".repeat(40_000)), 431),
        ];
        for (input, status) in table {
            let got = feed(input.as_bytes(), 5).map_err(|v| v.status);
            assert_eq!(got, Err(status), "{input:.200}");
        }
        let many = format!("{post}{}\r\n", "X: y\r\n".repeat(100));
        assert_eq!(feed(many.as_bytes(), 99).map_err(|v| v.status), Err(431));
    }

    #[test]
    fn chunks_that_are_not_plain_are_refused() {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        for chunks in [
            "5;ext=1\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\rxhello",
            "5\r\nhelloworld",
            "5\r\nhello\n0\r\n\r\n",
            "0\r\nTrailer: x\r\n\r\n",
            "fffffffffffffffff\r\n",
        ] {
            let got = feed(format!("{head}{chunks}").as_bytes(), 3).map_err(|v| v.status);
            assert_eq!(got, Err(400), "{chunks}");
        }
    }
}
