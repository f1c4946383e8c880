//! What is to leave one socket, sent with few calls and in order.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use super::kernel::{self, BATCH_MAX, Message, Name};
use super::{SEGMENTS_MAX, Udp, stale};

/// Bytes of one large datagram: what fits into an IPv4 packet without options.
const LARGE_MAX: usize = 65_507;

/// Datagrams waiting to leave one socket.
pub struct Outbox {
    bytes: Vec<u8>,
    bytes_max: usize,
    messages: Vec<Message>,
    /// Whether the last message may take one more segment.
    open: bool,
    /// Whether this socket's way out can cut large datagrams.
    segments: bool,
}

impl Outbox {
    /// An empty box that holds `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Outbox {
        Outbox {
            bytes: Vec::with_capacity(bytes_max),
            bytes_max,
            messages: Vec::with_capacity(BATCH_MAX),
            open: false,
            segments: true,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether a datagram of `length` bytes would find room. It always does in an empty box that
    /// is large enough.
    pub fn has_room(&self, length: usize) -> bool {
        self.bytes.len() + length <= self.bytes_max && self.messages.len() < BATCH_MAX
    }

    /// Adds a datagram; `to` is `None` on a connected socket. One that finds no room is left out:
    /// ask [`Outbox::has_room`] and [`Outbox::flush`] first.
    pub fn push(&mut self, to: Option<SocketAddr>, datagram: &[u8]) {
        if datagram.is_empty() || !self.has_room(datagram.len()) {
            return;
        }
        let to = to.map(Name::of);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        if self.open
            && let Some(last) = self.messages.last_mut()
            && last.to == to
            && datagram.len() <= last.segment
            && last.length + datagram.len() <= LARGE_MAX
        {
            last.length += datagram.len();
            // A shorter one ends the row, and so does the kernel's bound.
            self.open = datagram.len() == last.segment && last.length < SEGMENTS_MAX * last.segment;
            return;
        }
        self.messages.push(Message {
            at,
            length: datagram.len(),
            segment: datagram.len(),
            to,
        });
        self.open = self.segments;
    }

    /// Sends all and is empty; the number of datagrams that the kernel did not take. They are
    /// lost: media that waits is worth nothing.
    pub fn flush(&mut self, socket: &Udp) -> usize {
        let lost = match *self.messages.as_slice() {
            [] => 0,
            [only] if count(&only) == 1 => self.one_by_one(socket, only),
            _ => self.send_all(socket),
        };
        self.bytes.clear();
        self.messages.clear();
        self.open = false;
        lost
    }

    fn send_all(&mut self, socket: &Udp) -> usize {
        let (mut next, mut lost, mut again) = (0, 0, true);
        while let Some(first) = self.messages.get(next).copied() {
            let rest = self.messages.get(next..).unwrap_or_default();
            match kernel::send(socket.as_fd(), &self.bytes, rest) {
                Ok(sent) => {
                    next += sent.max(1);
                    again = true;
                }
                Err(e) if again && stale(&e) => again = false,
                Err(e) if full(&e) => {
                    lost += rest.iter().map(count).sum::<usize>();
                    break;
                }
                Err(e) => {
                    next += 1;
                    again = true;
                    if count(&first) == 1 {
                        lost += 1;
                        continue;
                    }
                    // Too long for the path, or a device that cannot cut: each by itself then.
                    if !too_long(&e) {
                        self.segments = false;
                    }
                    lost += self.one_by_one(socket, first);
                }
            }
        }
        lost
    }

    fn one_by_one(&self, socket: &Udp, row: Message) -> usize {
        let to = row.to.and_then(|name| name.address());
        let whole = self
            .bytes
            .get(row.at..row.at + row.length)
            .unwrap_or_default();
        whole
            .chunks(row.segment)
            .filter(|segment| !socket.send(to, segment))
            .count()
    }
}

fn count(message: &Message) -> usize {
    message.length.div_ceil(message.segment.max(1))
}

fn full(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// What Linux says of segments longer than the path's MTU: `EINVAL`, since 6.11 `EMSGSIZE`.
fn too_long(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE))
}
