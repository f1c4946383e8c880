//! What a telephone says and hears.
//!
//! Each packet names its speaker, so that a listener knows whether it was meant for it. One that
//! shares its screen speaks floor control beside it, in plain datagrams (RFC 8855).

use std::net::SocketAddr;

use super::{Phase, SECOND, Tick, Ua};
use crate::description::{Audio, Direction};
use crate::srtp::{KEY_BYTES, Srtp};

/// Between two packets, in microseconds; a fifth of what a telephone sends.
pub(super) const PACE: u64 = SECOND / 10;

/// After a change, what was under way may still arrive.
const SETTLE: u64 = 3 * SECOND;

/// What floor control says; nobody may see it on the link.
pub const FLOOR: &[u8] = b"floor!!!";

/// One call's floor control.
#[derive(Clone, Debug)]
pub struct Floor {
    local: SocketAddr,
    signalled: SocketAddr,
    remote: Option<SocketAddr>,
    /// Messages heard.
    pub heard: u32,
}

/// One call's audio.
#[derive(Clone)]
pub struct Media {
    /// Where we really are.
    pub local: SocketAddr,
    /// Where we say we are.
    pub signalled: SocketAddr,
    /// What we last offered or answered.
    pub direction: Direction,
    /// Packets heard.
    pub heard: u32,
    /// Packets said.
    pub said: u32,
    /// Heard since the last change.
    pub fresh: u32,
    /// Its floor control, if it shares its screen.
    pub floor: Option<Floor>,
    /// Whether the other side's description has a line for it.
    floor_line: Option<bool>,
    remote: Option<Audio>,
    key: Option<Vec<u8>>,
    closing: Option<Srtp>,
    opening: Vec<Srtp>,
    version: u32,
    sequence: u16,
    ssrc: u32,
    changed: u64,
    /// The other side knows of our direction.
    agreed: bool,
}

impl Media {
    /// Our side as a description.
    pub(super) fn describe(&self) -> String {
        let audio = Audio {
            address: self.signalled,
            key: self.key.clone(),
            direction: self.direction,
            floor: self.floor_here(),
        };
        audio.write(self.version)
    }

    /// Where we really are, audio first.
    pub(super) fn locals(&mut self) -> Vec<&mut SocketAddr> {
        let floor = self.floor.as_mut().map(|f| &mut f.local);
        [&mut self.local].into_iter().chain(floor).collect()
    }

    /// We are at another address, and say so from now on.
    pub(super) fn signalled_anew(&mut self, address: std::net::IpAddr) {
        self.signalled.set_ip(address);
        if let Some(floor) = &mut self.floor {
            floor.signalled.set_ip(address);
        }
    }

    /// Our line for floor control, refused if we have none.
    fn floor_here(&self) -> Option<SocketAddr> {
        let none = SocketAddr::new(self.signalled.ip(), 0);
        match (&self.floor, self.floor_line) {
            (_, Some(false)) | (None, None) => None,
            (Some(floor), _) => Some(floor.signalled),
            (None, Some(true)) => Some(none),
        }
    }

    /// A description of the other side.
    pub(super) fn theirs(&mut self, now: u64, theirs: &Audio) {
        self.changed = now;
        self.agreed = true;
        self.fresh = 0;
        if let Some(srtp) = theirs.key.as_deref().and_then(Srtp::new) {
            self.opening.insert(0, srtp);
            self.opening.truncate(2);
        }
        self.floor_line = Some(theirs.floor.is_some());
        if let Some(floor) = &mut self.floor {
            floor.remote = theirs.floor.filter(|a| a.port() != 0);
        }
        self.remote = Some(theirs.clone());
    }

    pub(super) fn answer_to(&mut self, now: u64, theirs: &Audio) {
        self.direction = theirs.direction.mirrored();
        self.version += 1;
        self.theirs(now, theirs);
    }

    pub(super) fn offer(&mut self, now: u64, direction: Direction) {
        self.changed = now;
        self.agreed = false;
        self.direction = direction;
        self.version += 1;
    }

    pub(super) fn rekey(&mut self, now: u64, key: Vec<u8>) {
        if self.key.is_some() {
            self.changed = now;
            self.closing = Srtp::new(&key);
            self.key = Some(key);
        }
    }

    /// Where to speak to, if we may; who is rude speaks on hold as well.
    fn speaks(&self, rude: bool) -> Option<SocketAddr> {
        let remote = self.remote.as_ref()?;
        let may = self.direction.sends() && remote.direction.hears();
        (may || rude).then_some(remote.address)
    }
}

impl Ua {
    pub(super) fn new_key(&mut self) -> Vec<u8> {
        let key: [u8; KEY_BYTES] = self.rng.array();
        key.to_vec()
    }

    pub(super) fn new_media(&mut self, now: u64) -> Media {
        let port = self.next_port;
        self.next_port += 2;
        let key = self.setup.encrypted.then(|| self.new_key());
        // Behind NAT the port differs as well.
        let behind = self.setup.media != self.setup.signalled;
        let said = if behind { port + 10_000 } else { port };
        let floor = self.shares.then(|| {
            self.next_port += 2;
            Floor {
                local: SocketAddr::new(self.setup.media, port + 2),
                signalled: SocketAddr::new(self.setup.signalled, said + 2),
                remote: None,
                heard: 0,
            }
        });
        Media {
            local: SocketAddr::new(self.setup.media, port),
            signalled: SocketAddr::new(self.setup.signalled, said),
            direction: Direction::Both,
            heard: 0,
            said: 0,
            fresh: 0,
            floor,
            floor_line: None,
            remote: None,
            closing: key.as_deref().and_then(Srtp::new),
            key,
            opening: Vec::new(),
            version: 1,
            sequence: 0,
            ssrc: self.rng.u32(),
            changed: now,
            agreed: true,
        }
    }

    pub(super) fn speak(&mut self, now: u64, i: usize) {
        let (number, rude) = (self.setup.number.clone(), self.rude);
        let Some(call) = self.calls.get_mut(i) else {
            return;
        };
        if call.phase == Phase::Over {
            return;
        }
        let media = &mut call.media;
        if let Some(to) = media.speaks(rude) {
            media.sequence = media.sequence.wrapping_add(1);
            let mut packet = vec![0x80, 0];
            packet.extend(media.sequence.to_be_bytes());
            packet.extend(((now / 125) as u32).to_be_bytes());
            packet.extend(media.ssrc.to_be_bytes());
            packet.extend(format!("this is {number:>8}, to be heard").bytes());
            if let Some(srtp) = &media.closing {
                packet = srtp.protect(packet);
            }
            media.said += 1;
            self.datagrams.push_back((media.local, to, packet));
        }
        if let Some(Floor {
            local,
            remote: Some(to),
            ..
        }) = &media.floor
        {
            // A Hello with two words of payload.
            let number = media.sequence.to_be_bytes();
            let mut hello = vec![0x40, 11, 0, 2, 0, 0, 0, 1, number[0], number[1], 0, 2];
            hello.extend_from_slice(FLOOR);
            self.datagrams.push_back((*local, *to, hello));
        }
        self.arm(now + self.pace, Tick::Audio(i));
    }

    /// Takes a datagram that came to `to`, an address of this telephone's.
    pub fn datagram(&mut self, now: u64, to: SocketAddr, bytes: &[u8]) {
        let floors = self.calls.iter_mut().filter_map(|c| c.media.floor.as_mut());
        if let Some(floor) = floors.into_iter().find(|f| f.local == to) {
            floor.heard += 1;
            if bytes.len() != 20 || !bytes.ends_with(FLOOR) {
                self.find("floor control that nobody said");
            }
            return;
        }
        let Some(call) = self.calls.iter_mut().find(|c| c.media.local == to) else {
            if self.setup.media != self.setup.signalled || self.left.contains(&to) {
                return; // NAT has no row for this port.
            }
            return self.find(format!("a packet to {to}, where no call ever was"));
        };
        let (media, over) = (&call.media, call.phase == Phase::Over);
        let settled = now.saturating_sub(media.changed) > SETTLE;
        let plain = match media.key.is_some() {
            true => media.opening.iter().find_map(|s| s.unprotect(bytes)),
            false => Some(bytes.to_vec()),
        };
        let Some(plain) = plain else {
            if settled && !over && !media.opening.is_empty() {
                self.find(format!("a packet to {to} that its key does not open"));
            }
            return;
        };
        let text = String::from_utf8_lossy(plain.get(12..).unwrap_or_default()).into_owned();
        let speaker = text
            .strip_prefix("this is ")
            .and_then(|t| t.strip_suffix(", to be heard"));
        if !speaker.is_some_and(|s| call.is_with(now, s.trim())) {
            let peer = call.peer.clone();
            return self.find(format!("the call with {peer} hears {text:?}"));
        }
        if over {
            return;
        }
        let media = &mut call.media;
        if settled && media.agreed && !media.direction.hears() {
            return self.find("audio in spite of hold");
        }
        media.heard += 1;
        media.fresh += 1;
    }

    /// Whether datagrams to an address reach this telephone, or its NAT.
    pub fn owns(&self, address: SocketAddr) -> bool {
        address.ip() == self.setup.media || self.left.contains(&address)
    }
}
