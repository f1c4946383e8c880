//! A byte stream taken apart into messages (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! In: bytes in any chunks. Out: the same [`Frame`]s for every chunking. Holds at most one
//! message of [`Limits`] size and what came with it.
//!
//! What a stranger sends beyond the limits ends his own connection. A connection that carries
//! everybody's messages ([`Strictness::Trusted`]) outlives it: where the message ends can be read,
//! so it is refused and skipped. An answer is read as 502 then, so that who waits for it knows.
//! Bounds: a header of [`SKIPPED_HEADS`] times the limit, a body of [`SKIPPED_BODY_MAX`].

use bytes::{Buf, Bytes, BytesMut};

use crate::message::Message;
use crate::{Limits, ParseError, Strictness, refusal};

/// A header so many times the limit is no longer looked through for its end.
const SKIPPED_HEADS: usize = 4;

/// A body that is skipped, in bytes; none of it is held.
const SKIPPED_BODY_MAX: usize = 16 * 1024 * 1024;

/// What a stream held.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// A keep-alive that wants an answer: CRLF CRLF.
    Ping,
    /// The answer: CRLF.
    Pong,
    /// A STUN message (RFC 5389) on the same connection.
    Stun(Bytes),
    /// Something else.
    Bad {
        /// What is wrong.
        error: ParseError,
        /// An answer, if enough could be read to give one.
        reply: Option<Message>,
        /// Whether the rest of the stream makes no sense.
        fatal: bool,
    },
}

/// Takes a stream apart.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes of the head that hold no end of it, so that no byte is looked at twice.
    searched: usize,
    /// Bytes of the message whose head is whole while its body is awaited; else 0.
    awaited: usize,
    /// Bytes to come that nobody reads.
    skipped: usize,
    /// What stands for an answer that was skipped.
    stand_in: Option<Message>,
    limits: Limits,
    dead: bool,
}

impl Framer {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Framer {
            buffer: BytesMut::new(),
            searched: 0,
            awaited: 0,
            skipped: 0,
            stand_in: None,
            limits,
            dead: false,
        }
    }

    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.dead {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Whether no message has begun.
    pub fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.skipped == 0
    }

    /// The next frame that is whole.
    pub fn next_frame(&mut self) -> Option<Frame> {
        if self.dead {
            return None;
        }
        if let Some(answer) = self.stand_in.take() {
            return Some(Frame::Message(answer));
        }
        let skipped = self.skipped.min(self.buffer.len());
        self.buffer.advance(skipped);
        self.skipped -= skipped;
        match self.buffer.first()? {
            b'\r' | b'\n' => self.keep_alive(),
            0..=3 => self.stun(),
            _ => self.message(),
        }
    }

    fn keep_alive(&mut self) -> Option<Frame> {
        match (
            self.buffer.first(),
            self.buffer.get(1),
            self.buffer.get(2),
            self.buffer.get(3),
        ) {
            (Some(b'\r'), Some(b'\n'), Some(b'\r'), Some(b'\n')) => {
                self.buffer.advance(4);
                Some(Frame::Ping)
            }
            (Some(b'\r'), Some(b'\n'), Some(b'\r'), None) | (Some(b'\r'), None, ..) => None,
            (Some(b'\r'), Some(b'\n'), None, _) => None,
            (Some(b'\r'), Some(b'\n'), ..) => {
                self.buffer.advance(2);
                Some(Frame::Pong)
            }
            _ => self.die(ParseError::Control, None),
        }
    }

    fn stun(&mut self) -> Option<Frame> {
        let header = self.buffer.get(..20)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header.get(4..8) != Some(&[0x21, 0x12, 0xa4, 0x42]) || length > 2048 {
            return self.die(ParseError::StartLine, None);
        }
        if self.buffer.len() < 20 + length {
            return None;
        }
        Some(Frame::Stun(self.buffer.split_to(20 + length).freeze()))
    }

    fn message(&mut self) -> Option<Frame> {
        if self.buffer.len() < self.awaited {
            return None;
        }
        let from = self.searched.saturating_sub(3);
        let found = self
            .buffer
            .get(from..)
            .and_then(|b| memchr::memmem::find(b, b"\r\n\r\n"))
            .map(|at| from + at + 4);
        let Some(head_end) = found else {
            self.searched = self.buffer.len();
            let patience = if self.is_shared() { SKIPPED_HEADS } else { 1 };
            if self.searched > self.limits.head_bytes_max * patience {
                return self.refuse(ParseError::Limit("the header"), self.limits.head_bytes_max);
            }
            return None;
        };
        if head_end > self.limits.head_bytes_max {
            return self.too_large(ParseError::Limit("the header"), head_end);
        }
        // The head is whole: where does the message end?
        let message = Message::head(&self.buffer, &self.limits).and_then(|message| {
            let length = message.head.content_length(&self.buffer)?;
            Ok((message, length.ok_or(ParseError::NoContentLength)?))
        });
        let (message, length) = match message {
            Ok((_, length)) if length > self.limits.body_bytes_max => {
                return self.too_large(ParseError::Limit("body"), head_end);
            }
            Ok(found) => found,
            Err(error @ ParseError::Limit(_)) => return self.too_large(error, head_end),
            Err(error) => return self.refuse(error, head_end),
        };
        if self.buffer.len() < head_end + length {
            // The next search is to find this very end again.
            self.searched = head_end - 1;
            self.awaited = head_end + length;
            return None;
        }
        (self.searched, self.awaited) = (0, 0);
        let whole = self.buffer.split_to(head_end + length).freeze();
        let mut message = message.with(whole);
        Some(match message.check(&self.limits) {
            Ok(()) => Frame::Message(message),
            Err(error) => {
                let head = message.bytes().get(..head_end).unwrap_or_default();
                let reply = refusal::reply(head, &error, &self.limits);
                if matches!(error, ParseError::Limit(_)) {
                    self.stand_in = refusal::stand_in(head, &self.limits);
                }
                Frame::Bad {
                    error,
                    reply,
                    fatal: false,
                }
            }
        })
    }

    fn is_shared(&self) -> bool {
        self.limits.strictness == Strictness::Trusted
    }

    /// A whole head of a message that is over a limit: where others depend on the connection, that
    /// message alone is refused, if it is known where it ends.
    fn too_large(&mut self, error: ParseError, head_end: usize) -> Option<Frame> {
        let unbounded = Limits::unbounded();
        let length = Message::head(&self.buffer, &unbounded)
            .and_then(|message| message.head.content_length(&self.buffer))
            .ok()
            .flatten()
            .filter(|length| *length <= SKIPPED_BODY_MAX && self.is_shared());
        let Some(length) = length else {
            return self.refuse(error, head_end.min(self.limits.head_bytes_max));
        };
        let head = self.buffer.split_to(head_end);
        self.skipped = length;
        (self.searched, self.awaited) = (0, 0);
        let reply = refusal::reply(&head, &error, &self.limits);
        self.stand_in = refusal::stand_in(&head, &self.limits);
        Some(Frame::Bad {
            error,
            reply,
            fatal: false,
        })
    }

    /// The head of a message, or what of it came, is no head: the end of the message is not
    /// known, and with it that of the stream.
    fn refuse(&mut self, error: ParseError, head_end: usize) -> Option<Frame> {
        let head = self.buffer.get(..head_end).unwrap_or(&self.buffer);
        let reply = refusal::reply(head, &error, &self.limits);
        self.die(error, reply)
    }

    fn die(&mut self, error: ParseError, reply: Option<Message>) -> Option<Frame> {
        self.dead = true;
        self.buffer = BytesMut::new();
        Some(Frame::Bad {
            error,
            reply,
            fatal: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "MESSAGE sip:b@example.test SIP/2.0\r\n\
        Via: SIP/2.0/TLS h;branch=z9hG4bK1\r\nFrom: <sip:a@example.test>;tag=1\r\n\
        To: <sip:b@example.test>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\n";

    fn message(body: &str) -> String {
        format!("{HEAD}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    /// What a stream holds when it comes in pieces of `size`.
    fn frames(stream: &[u8], size: usize) -> Vec<String> {
        let mut framer = Framer::new(Limits::outside());
        let mut found = Vec::new();
        for piece in stream.chunks(size) {
            framer.push(piece);
            while let Some(frame) = framer.next_frame() {
                found.push(match frame {
                    Frame::Message(m) => String::from_utf8_lossy(m.body()).into_owned(),
                    Frame::Stun(bytes) => format!("stun {}", bytes.len()),
                    Frame::Bad { error, .. } => error.to_string(),
                    Frame::Ping => "ping".to_owned(),
                    Frame::Pong => "pong".to_owned(),
                });
            }
        }
        found
    }

    #[test]
    fn stream_gives_the_same_frames_in_pieces_of_any_size() {
        let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        let (first, second) = (message("hello"), message("a\r\n\r\nb"));
        let pieces: [&[u8]; 6] = [
            b"\r\n\r\n",
            first.as_bytes(),
            &stun,
            second.as_bytes(),
            b"\r\n",
            first.as_bytes(),
        ];
        let stream = pieces.concat();
        let whole = frames(&stream, stream.len());
        assert_eq!(
            whole,
            ["ping", "hello", "stun 20", "a\r\n\r\nb", "pong", "hello"]
        );
        for size in 1..stream.len() {
            assert_eq!(frames(&stream, size), whole, "pieces of {size}");
        }
    }

    /// A message with `extra` lines, and the one that follows it.
    fn followed(start: &str, extra: &str, body: &str) -> Vec<u8> {
        let large = HEAD.replacen("MESSAGE sip:b@example.test SIP/2.0", start, 1);
        let length = body.len();
        let large = format!("{large}{extra}Content-Length: {length}\r\n\r\n{body}");
        [large.into_bytes(), message("after").into_bytes()].concat()
    }

    #[test]
    fn shared_stream_skips_what_is_over_a_limit_and_reads_on() {
        let limits = Limits::lane();
        let fields = "X: a\r\n".repeat(limits.fields_max);
        let head = format!("X: {}\r\n", "a".repeat(limits.head_bytes_max));
        let body = "a".repeat(limits.body_bytes_max + 1);
        let start = "MESSAGE sip:b@example.test SIP/2.0";
        let uri = format!("MESSAGE sip:{} SIP/2.0", "a".repeat(limits.uri_bytes_max));
        for (start, extra, body, status) in [
            (start, fields.as_str(), "x", 513),
            (start, head.as_str(), "x", 513),
            (start, "", body.as_str(), 413),
            (uri.as_str(), "", "x", 414),
            ("SIP/2.0 200 OK", fields.as_str(), "x", 0),
            ("SIP/2.0 200 OK", "", body.as_str(), 0),
        ] {
            for size in [1000, 4096, usize::MAX] {
                let stream = followed(start, extra, body);
                let mut framer = Framer::new(limits);
                let (mut answer, mut held) = (None, Vec::new());
                for piece in stream.chunks(size.min(stream.len())) {
                    framer.push(piece);
                    while let Some(frame) = framer.next_frame() {
                        match frame {
                            Frame::Bad { reply, fatal, .. } => {
                                assert!(!fatal);
                                answer = reply;
                            }
                            Frame::Message(m) if !m.is_request() => held.push(m.status()),
                            Frame::Message(m) => {
                                assert_eq!(m.body(), b"after");
                                held.push(0);
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                }
                assert!(framer.is_idle());
                let answered = answer.map_or(0, |a| a.status());
                let expected: &[u16] = if status == 0 { &[502, 0] } else { &[0] };
                assert_eq!((answered, held.as_slice()), (status, expected));
            }
        }
    }

    #[test]
    fn strangers_stream_ends_with_what_is_over_a_limit() {
        let fields = "X: a\r\n".repeat(Limits::outside().fields_max);
        let stream = followed("MESSAGE sip:b@example.test SIP/2.0", &fields, "x");
        let found = frames(&stream, stream.len());
        assert_eq!(found, ["the number of header fields is over the limit"]);
    }

    #[test]
    fn shared_stream_ends_where_no_end_can_be_found() {
        let limits = Limits::lane();
        let head = "a".repeat(limits.head_bytes_max * SKIPPED_HEADS + 1);
        let length = format!("Content-Length: {}\r\n\r\n", SKIPPED_BODY_MAX + 1);
        for stream in [head, format!("{HEAD}{length}")] {
            let mut framer = Framer::new(limits);
            framer.push(stream.as_bytes());
            let frame = framer.next_frame();
            assert!(matches!(frame, Some(Frame::Bad { fatal: true, .. })));
        }
    }

    #[test]
    fn body_that_comes_after_its_head_completes_the_message() {
        let text = message("hello");
        let (head, body) = text.split_at(text.len() - 5);
        let mut framer = Framer::new(Limits::outside());
        framer.push(head.as_bytes());
        assert!(framer.next_frame().is_none());
        framer.push(body.as_bytes());
        assert!(matches!(framer.next_frame(), Some(Frame::Message(m)) if m.body() == b"hello"));
        assert!(framer.is_idle());
    }
}
