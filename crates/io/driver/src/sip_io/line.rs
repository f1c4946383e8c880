//! One SIP connection: its socket, its TLS, what is half read and what is not yet written.
//!
//! Between messages it holds no buffer but those of the TLS session. Plain text is collected into
//! one record for all that waits, up to [`RECORD`], and all records that are ready leave with one
//! call, up to [`RECORDS`].

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::time::Instant;

use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use node::io::{ConnId, Input};
use rustls::Connection;
use sip::{Frame, Framer, Limits};

use super::{Guard, IDLE_MAX, MESSAGE_TIME_MAX, PAUSE_MAX, QUEUE_MAX, WRITE_TIME_MAX};
use crate::signal::Post;

/// The most that one TLS record carries (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;

/// Bytes of records that are made before they are written.
const RECORDS: usize = 4 * RECORD;

/// How long an end may take that waits for what was written to leave.
pub(super) const FAREWELL: std::time::Duration = std::time::Duration::from_secs(2);

/// Buffers that all connections of a thread share.
pub(super) struct Buffers {
    /// What a socket gave.
    read: Box<[u8]>,
    /// How much that was.
    pub(super) taken: usize,
    /// What is written.
    pub(super) write: Vec<u8>,
}

impl Buffers {
    /// With room for so many bytes read.
    pub(super) fn new(read: usize) -> Buffers {
        Buffers {
            read: vec![0; read].into(),
            taken: 0,
            write: Vec::new(),
        }
    }
}

/// Why a connection ends, for people.
pub(super) type Why = String;

/// A connection.
pub(super) struct Line {
    pub(super) conn: ConnId,
    socket: TcpStream,
    tls: Option<Box<Connection>>,
    limits: Limits,
    /// The message that has begun, and when.
    partial: Option<Box<(Framer, Instant)>>,
    heard: Instant,
    out: VecDeque<Bytes>,
    /// Since when the peer takes nothing.
    stalled: Option<Instant>,
    end: Option<Box<End>>,
    /// Until when it is not read.
    paused: Option<Instant>,
    /// Whether it is on the list of those that have something to write.
    pub(super) dirty: bool,
    /// Whether it is on the list of those to read, or of those whose pause is awaited.
    pub(super) ready: bool,
    /// Whether the kernel has told that the peer writes no more: the rest is read up to its end.
    pub(super) ending: bool,
    /// Messages that may wait.
    pub(super) queue_max: usize,
    _guard: Guard,
}

/// An end that has been decided.
struct End {
    at: Instant,
    why: Why,
    /// Whether it ends as soon as all is written; else at its time.
    early: bool,
}

/// What a read came to.
pub(super) enum Done {
    /// All that there was.
    All,
    /// There is more, or may be once its pause is over.
    More,
}

impl Line {
    pub(super) fn new(
        conn: ConnId,
        limits: Limits,
        socket: TcpStream,
        tls: Option<Box<Connection>>,
        guard: Guard,
        now: Instant,
    ) -> Line {
        Line {
            conn,
            socket,
            tls,
            limits,
            partial: None,
            heard: now,
            out: VecDeque::new(),
            stalled: None,
            end: None,
            paused: None,
            dirty: false,
            ready: false,
            ending: false,
            queue_max: QUEUE_MAX,
            _guard: guard,
        }
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// It is not read for so long.
    pub(super) fn pause(&mut self, now: Instant, time: std::time::Duration) {
        self.paused = Some(now + time.min(PAUSE_MAX));
    }

    /// Reads what is there, a buffer's worth, and posts what it holds.
    pub(super) fn read(
        &mut self,
        buffers: &mut Buffers,
        now: Instant,
        posts: &mut VecDeque<Post>,
    ) -> Result<Done, Why> {
        if self.paused.is_some_and(|until| now < until) {
            return Ok(Done::More);
        }
        self.paused = None;
        if self.end.is_some() {
            return Ok(Done::All);
        }
        let n = match self.socket.read(&mut buffers.read) {
            Ok(0) if self.tls.is_some() => {
                return Err(net::tls::cause(&io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(0) => return Err("closed by the peer".into()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Done::All),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(Done::More),
            Err(e) => return Err(net::tls::cause(&e)),
        };
        self.heard = now;
        buffers.taken += n;
        let whole = buffers.read.len();
        let bytes = buffers.read.get(..n).unwrap_or_default();
        if self.tls.is_some() {
            self.decrypt(bytes, now, posts)?;
        } else {
            self.frames(bytes, now, posts);
        }
        if n < whole && !self.ending {
            // The kernel tells of what comes from now on.
            return Ok(Done::All);
        }
        Ok(Done::More)
    }

    /// Hands received bytes to TLS, and what comes out to the framer. Without bytes: what the
    /// handshake left.
    pub(super) fn decrypt(
        &mut self,
        mut bytes: &[u8],
        now: Instant,
        posts: &mut VecDeque<Post>,
    ) -> Result<(), Why> {
        // It is put back below: what comes out of it goes to the rest of the connection.
        let Some(mut tls) = self.tls.take() else {
            return Ok(());
        };
        let done = loop {
            if !bytes.is_empty()
                && let Err(e) = tls.read_tls(&mut bytes)
            {
                break Err(net::tls::cause(&e));
            }
            let state = match tls.process_new_packets() {
                Ok(state) => state,
                Err(e) => {
                    // The alert that says so; whether it arrives is not our affair.
                    let _ = tls.write_tls(&mut self.socket);
                    let e = io::Error::new(io::ErrorKind::InvalidData, e);
                    break Err(net::tls::cause(&e));
                }
            };
            let (length, closed) = (state.plaintext_bytes_to_read(), state.peer_has_closed());
            if length > 0
                && let Err(e) = self.plain_text(&mut tls, now, posts)
            {
                break Err(net::tls::cause(&e));
            }
            if closed {
                break Err("closed by the peer".into());
            }
            if bytes.is_empty() || self.end.is_some() {
                break Ok(());
            }
        };
        self.tls = Some(tls);
        done
    }

    /// Takes what TLS has decrypted apart where it lies.
    fn plain_text(
        &mut self,
        tls: &mut Connection,
        now: Instant,
        posts: &mut VecDeque<Post>,
    ) -> io::Result<()> {
        let mut reader = tls.reader();
        // After a fatal fault the rest is nobody's.
        while self.end.is_none() {
            let length = match reader.fill_buf() {
                Ok(plain) => {
                    self.frames(plain, now, posts);
                    plain.len()
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            if length == 0 {
                return Ok(());
            }
            reader.consume(length);
        }
        Ok(())
    }

    /// Takes plain text apart and posts what it holds.
    fn frames(&mut self, bytes: &[u8], now: Instant, posts: &mut VecDeque<Post>) {
        let (mut framer, mut begun) = match self.partial.take() {
            Some(partial) => *partial,
            None => (Framer::new(self.limits), now),
        };
        framer.push(bytes);
        while let Some(frame) = framer.next_frame() {
            // What comes after it has begun just now.
            begun = now;
            let fatal = matches!(&frame, Frame::Bad { fatal: true, .. });
            match frame {
                // A full queue means that the peer does not read; it needs no pong.
                Frame::Ping if self.out.len() >= self.queue_max => {}
                Frame::Ping => self.out.push_back(Bytes::from_static(b"\r\n")),
                Frame::Pong => {}
                frame => posts.push_back(Post::Input(Input::Frame {
                    conn: self.conn,
                    frame,
                })),
            }
            if fatal {
                // The node answers, if it can, and closes; that answer gets time to leave.
                let why = "the peer's bytes were no SIP".to_owned();
                self.end(now, why, false);
                return;
            }
        }
        if !framer.is_idle() {
            self.partial = Some(Box::new((framer, begun)));
        }
    }

    /// Whether as much waits as may.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= self.queue_max
    }

    /// Takes a message to be written; false if too many wait already.
    pub(super) fn send(&mut self, bytes: Bytes) -> bool {
        let taken = !self.is_full();
        if taken {
            self.out.push_back(bytes);
        }
        taken
    }

    /// Whether it is not to be read now.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Whether something waits to be written, TLS's own matters included.
    pub(super) fn has_output(&self) -> bool {
        let records = |tls: &Connection| tls.wants_write();
        !self.out.is_empty() || self.tls.as_deref().is_some_and(records)
    }

    /// Ends it once all is written, or in [`FAREWELL`].
    pub(super) fn close(&mut self, now: Instant) {
        self.end(now, "closed by this node".into(), true);
    }

    fn end(&mut self, now: Instant, why: Why, early: bool) {
        let at = now + FAREWELL;
        self.partial = None;
        self.end = Some(Box::new(End { at, why, early }));
    }

    /// Writes what waits, as far as the peer takes it.
    ///
    /// # Errors
    /// Why it is over: also when an end was decided and all is written.
    pub(super) fn write(&mut self, buffer: &mut Vec<u8>, now: Instant) -> Result<(), Why> {
        let gone = match &mut self.tls {
            Some(tls) => encrypt(tls, &mut self.socket, &mut self.out, buffer),
            None => plain(&mut self.socket, &mut self.out, buffer),
        };
        match gone {
            Ok(true) => self.stalled = None,
            Ok(false) => {
                self.stalled.get_or_insert(now);
                return Ok(());
            }
            Err(e) => return Err(net::tls::cause(&e)),
        }
        if self.out.capacity() > 8 {
            self.out = VecDeque::new();
        }
        if let Some(end) = self.end.take_if(|end| end.early) {
            self.say_goodbye();
            return Err(end.why);
        }
        Ok(())
    }

    /// Best effort: the peer may be gone.
    fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }

    /// Whether its time is over, and why.
    pub(super) fn overdue(&self, now: Instant) -> Option<Why> {
        if let Some(end) = &self.end {
            return (now >= end.at).then(|| end.why.clone());
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        if self.stalled.is_some_and(|at| since(at) >= WRITE_TIME_MAX) {
            return Some("the peer did not read for 20 s".into());
        }
        match &self.partial {
            Some(partial) if since(partial.1) >= MESSAGE_TIME_MAX => {
                Some("a message was not finished in 15 s".into())
            }
            None if since(self.heard) >= IDLE_MAX => Some("nothing was heard for 400 s".into()),
            _ => None,
        }
    }
}

/// Collects what waits, up to `most` bytes; a single message is not copied.
fn collect<'a>(out: &'a VecDeque<Bytes>, buffer: &'a mut Vec<u8>, most: usize) -> &'a [u8] {
    match (out.front(), out.len()) {
        (None, _) => &[],
        (Some(only), 1) => only,
        (Some(first), _) if first.len() >= most => first,
        _ => {
            buffer.clear();
            for bytes in out {
                if buffer.len() + bytes.len() > most {
                    break;
                }
                buffer.extend_from_slice(bytes);
            }
            buffer
        }
    }
}

/// Takes written bytes off what waits.
fn advance(out: &mut VecDeque<Bytes>, mut written: usize) {
    while written > 0 {
        let Some(front) = out.front_mut() else { return };
        if front.len() > written {
            front.advance(written);
            return;
        }
        written -= front.len();
        out.pop_front();
    }
}

/// True when all has left.
fn encrypt(
    tls: &mut Connection,
    socket: &mut TcpStream,
    out: &mut VecDeque<Bytes>,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    loop {
        // Nothing is made ready behind what the peer has not taken.
        let mut made = if tls.wants_write() { RECORDS } else { 0 };
        while made < RECORDS && !out.is_empty() {
            let written = tls.writer().write(collect(out, buffer, RECORD))?;
            if written == 0 {
                break;
            }
            advance(out, written);
            made += written;
        }
        if !tls.wants_write() {
            return Ok(true);
        }
        match tls.write_tls(socket) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// True when all has left.
fn plain(
    socket: &mut TcpStream,
    out: &mut VecDeque<Bytes>,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    while !out.is_empty() {
        match socket.write(collect(out, buffer, 4 * RECORD)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => advance(out, written),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_taken_off_across_messages() {
        let mut out: VecDeque<Bytes> = ["abc", "de", "f"].map(Bytes::from).into();
        let mut buffer = Vec::new();
        assert_eq!(collect(&out, &mut buffer, 5), b"abcde");
        advance(&mut out, 4);
        assert_eq!(collect(&out, &mut buffer, 5), b"ef");
        advance(&mut out, 1);
        assert_eq!(collect(&out, &mut buffer, 5), b"f");
        advance(&mut out, 1);
        assert!(out.is_empty() && collect(&out, &mut buffer, 5).is_empty());
    }

    #[test]
    fn message_longer_than_a_record_leaves_alone() {
        let out: VecDeque<Bytes> = ["abcdefgh", "i"].map(Bytes::from).into();
        assert_eq!(collect(&out, &mut Vec::new(), 5), b"abcdefgh");
    }
}
