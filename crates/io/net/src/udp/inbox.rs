//! What is ready on a socket, taken with one call.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::kernel::{self, BATCH_MAX, Control, Got, Name};
use super::{Udp, stale};

/// One datagram, or several neighbours of one length that travelled as one.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// Its bytes.
    pub bytes: &'a mut [u8],
    /// How long each neighbour is but the last; the whole length if there is one. Never 0 unless
    /// the datagram is empty.
    pub segment: usize,
}

/// Room for up to [`BATCH_MAX`] datagrams, filled again and again. The default has room for none.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    slot: usize,
    names: Vec<Name>,
    controls: Vec<Control>,
    got: Vec<Got>,
    taken: usize,
    truncated: u64,
}

impl Inbox {
    /// Room for `slots` datagrams, at most [`BATCH_MAX`], of `slot_bytes` each.
    pub fn new(slots: usize, slot_bytes: usize) -> Inbox {
        let slots = slots.clamp(1, BATCH_MAX);
        let slot = slot_bytes.max(1);
        Inbox {
            bytes: vec![0; slots * slot],
            slot,
            names: vec![Name::default(); slots],
            controls: vec![Control::EMPTY; slots],
            got: vec![Got::default(); slots],
            taken: 0,
            truncated: 0,
        }
    }

    /// Takes what is ready. True if the inbox became full, so that more may be waiting.
    pub fn fill(&mut self, socket: &Udp) -> bool {
        self.taken = self.receive(socket).unwrap_or(0);
        self.taken > 0 && self.taken == self.names.len()
    }

    fn receive(&mut self, socket: &Udp) -> io::Result<usize> {
        // An ICMP report comes instead of a datagram; a few may wait in front of one.
        for _ in 0..4 {
            let result = kernel::receive(
                std::os::fd::AsFd::as_fd(socket),
                &mut self.bytes,
                self.slot.max(1),
                &mut self.names,
                &mut self.controls,
                &mut self.got,
            );
            match result {
                Err(e) if stale(&e) => {}
                other => return other,
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// What was taken. Datagrams longer than their slot are left out and counted.
    pub fn datagrams(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        let truncated = &mut self.truncated;
        self.bytes
            .chunks_exact_mut(self.slot.max(1))
            .zip(&self.names)
            .zip(&self.got)
            .take(self.taken)
            .filter_map(move |((room, name), got)| {
                if got.cut {
                    *truncated += 1;
                    return None;
                }
                Some(Datagram {
                    source: name.address()?,
                    bytes: room.get_mut(..got.length)?,
                    segment: got.segment,
                })
            })
    }

    /// Datagrams that were longer than a slot, so far.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }
}
