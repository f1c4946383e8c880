//! What a telephone says and hears.
//!
//! Each packet names its speaker, so that a listener knows whether it was meant for it. One that
//! shares its screen sends a second picture beside it, under a key of its own, and speaks floor
//! control in plain datagrams (RFC 8855).

use std::net::SocketAddr;

use super::{Phase, SECOND, Tick, Ua};
use crate::description::{self, Audio, Direction};
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

/// One call's second picture.
#[derive(Clone)]
pub struct Slides {
    local: SocketAddr,
    signalled: SocketAddr,
    remote: Option<SocketAddr>,
    key: Option<Vec<u8>>,
    closing: Option<Srtp>,
    opening: Vec<Srtp>,
    ssrc: u32,
    /// Packets seen.
    pub seen: u32,
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
    /// Its second picture, if it shares its screen.
    pub slides: Option<Slides>,
    /// Whether the other side's description has a line for it.
    slides_line: Option<bool>,
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
            slides: self.slides_here(),
            floor: self.floor_here(),
        };
        audio.write(self.version)
    }

    /// Where we really are, audio first.
    pub(super) fn locals(&mut self) -> Vec<&mut SocketAddr> {
        let floor = self.floor.as_mut().map(|f| &mut f.local);
        let slides = self.slides.as_mut().map(|s| &mut s.local);
        let more = slides.into_iter().chain(floor);
        [&mut self.local].into_iter().chain(more).collect()
    }

    /// We are at another address, and say so from now on.
    pub(super) fn signalled_anew(&mut self, address: std::net::IpAddr) {
        self.signalled.set_ip(address);
        if let Some(floor) = &mut self.floor {
            floor.signalled.set_ip(address);
        }
        if let Some(slides) = &mut self.slides {
            slides.signalled.set_ip(address);
        }
    }

    /// Our line for slides, refused if we have none.
    fn slides_here(&self) -> Option<description::Slides> {
        let refused = description::Slides {
            address: SocketAddr::new(self.signalled.ip(), 0),
            key: None,
        };
        match (&self.slides, self.slides_line) {
            (_, Some(false)) | (None, None) => None,
            (Some(slides), _) => Some(description::Slides {
                address: slides.signalled,
                key: slides.key.clone(),
            }),
            (None, Some(true)) => Some(refused),
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
        self.slides_line = Some(theirs.slides.is_some());
        if let Some(slides) = &mut self.slides {
            let line = theirs.slides.as_ref().filter(|s| s.address.port() != 0);
            slides.remote = line.map(|s| s.address);
            let key = line.and_then(|s| s.key.as_deref());
            if let Some(srtp) = key.and_then(Srtp::new) {
                slides.opening.insert(0, srtp);
                slides.opening.truncate(2);
            }
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
        let slides = self.shares.then(|| {
            self.next_port += 2;
            let key = self.setup.encrypted.then(|| self.new_key());
            Slides {
                local: SocketAddr::new(self.setup.media, port + 4),
                signalled: SocketAddr::new(self.setup.signalled, said + 4),
                remote: None,
                closing: key.as_deref().and_then(Srtp::new),
                key,
                opening: Vec::new(),
                ssrc: self.rng.u32(),
                seen: 0,
            }
        });
        Media {
            local: SocketAddr::new(self.setup.media, port),
            signalled: SocketAddr::new(self.setup.signalled, said),
            direction: Direction::Both,
            heard: 0,
            said: 0,
            fresh: 0,
            slides,
            slides_line: None,
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
        if let Some(slides) = &media.slides
            && let Some(to) = slides.remote
        {
            let packet = slide(now, media.sequence, slides, &number);
            self.datagrams.push_back((slides.local, to, packet));
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
        let shows = |call: &super::Call| call.media.slides.as_ref().is_some_and(|s| s.local == to);
        if let Some(i) = self.calls.iter().position(shows) {
            return self.slide_seen(now, i, bytes);
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

    /// A packet came for a call's second picture.
    fn slide_seen(&mut self, now: u64, i: usize, bytes: &[u8]) {
        let Some(call) = self.calls.get_mut(i) else {
            return;
        };
        let settled = now.saturating_sub(call.media.changed) > SETTLE;
        let over = call.phase == Phase::Over;
        let Some(slides) = &mut call.media.slides else {
            return;
        };
        let plain = match slides.key.is_some() {
            true => slides.opening.iter().find_map(|s| s.unprotect(bytes)),
            false => Some(bytes.to_vec()),
        };
        let Some(plain) = plain else {
            if settled && !over && !slides.opening.is_empty() {
                self.find("a slide that its key does not open");
            }
            return;
        };
        slides.seen += 1;
        let text = String::from_utf8_lossy(plain.get(12..).unwrap_or_default()).into_owned();
        let shown = text.strip_prefix("a slide of ");
        if !shown.is_some_and(|s| call.is_with(now, s.trim())) {
            let peer = call.peer.clone();
            self.find(format!("the call with {peer} sees {text:?}"));
        }
    }

    /// Whether datagrams to an address reach this telephone, or its NAT.
    pub fn owns(&self, address: SocketAddr) -> bool {
        address.ip() == self.setup.media || self.left.contains(&address)
    }
}

/// A packet of a second picture.
fn slide(now: u64, sequence: u16, slides: &Slides, number: &str) -> Vec<u8> {
    let mut packet = vec![0x80, 97];
    packet.extend(sequence.to_be_bytes());
    packet.extend(((now / 125) as u32).to_be_bytes());
    packet.extend(slides.ssrc.to_be_bytes());
    packet.extend(format!("a slide of {number:>8}").bytes());
    match &slides.closing {
        Some(srtp) => srtp.protect(packet),
        None => packet,
    }
}
