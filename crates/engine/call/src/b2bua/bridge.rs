//! A call's media: descriptions rewritten on their way across, and what the media workers are
//! told of them.
//!
//! | | towards inside | towards an edge |
//! |---|---|---|
//! | profile | `RTP/AVP`, `RTP/AVPF`; SAVP where the leg wants it | `RTP/SAVP`, never plain |
//! | address | ours, port of the m-line's own pair | ours, port 36000 |
//! | keys | dropped, or our own ([`Encryption`]) | our own `a=crypto` (RFC 4568) |
//! | `a=x-causeway-stream` | dropped | names the m-line's stream of the link |
//! | ICE | dropped unless [`Ice`] says otherwise | the same |
//! | `a=rtcp-mux`, BUNDLE, DTLS | dropped | dropped |
//!
//! A call between two parties inside has no edge: both sides are towards the inside, each with its
//! own [`Encryption`], ports and keys, and lines of ICE are dropped both ways.
//!
//! Keys are fresh for each m-line and each leg: no key of one leg is ever used on the other. So
//! candidates lead past us, to an end whose keys are not the other's; where they are passed all the
//! same, addresses are ours, and ends that speak ICE see that they are no candidate (RFC 8839
//! §4.2.5).
//!
//! `UDP/BFCP` and `UDP/UDT/IX` are carried as datagrams: their profile stays, and the link's keys
//! for them stand in `a=crypto` between us and the edge only. Any other m-line that is no RTP is
//! refused (port 0). All other lines pass as they are. An answer may come more than once (a 18x,
//! then the 2xx): each time it is applied to the same offer, so what does not change has no
//! effect. A refused offer is rolled back (RFC 3264 §8).

mod line;
mod rate;
mod track;

use media::{Counters, LegId, LinkId};
use sdp::sdes::Crypto;
use sdp::{SdpError, Session};

use super::call::{Encryption, End, Ice};
use super::desk::{Desk, Studio};
use super::record::MediaFigures;
use line::{Offered, Purpose, Writing};
use track::{Retired, Track};

/// The most m-lines of one call.
pub(super) const TRACKS_MAX: usize = sdp::MEDIA_MAX;

/// The attribute that names a stream between edge and core.
const STREAM: &[u8] = b"x-causeway-stream";

/// Why a description cannot be bridged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// A body says it is a description but cannot be read as one.
    #[error("the session description cannot be read")]
    Unreadable,
    /// It is malformed or over a limit.
    #[error(transparent)]
    Malformed(#[from] SdpError),
    /// A client, or a zone that wants encrypted media, offered or answered plain RTP.
    #[error("media is not encrypted")]
    NotEncrypted,
    /// No crypto suite of the client's is one of ours.
    #[error("no acceptable crypto suite")]
    NoSuite,
    /// Call control wants a profile we do not speak inside.
    #[error("an inside media profile other than RTP/AVP")]
    Profile,
    /// An m-line has no literal unicast address.
    #[error("no usable media address")]
    Address,
    /// The edge did not name the m-line's stream, or named one in use.
    #[error("the edge gave no usable stream id")]
    Stream,
    /// The answer does not fit the offer.
    #[error("the answer does not fit the offer")]
    Mismatch,
    /// The 2xx to an offer, or the ACK to one in a 2xx, has no answer.
    #[error("the offer was not answered")]
    NoAnswer,
    /// No media port or leg is free.
    #[error("no media port is free")]
    NoPorts,
}

/// Which way a leg leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Edge,
    Inside,
    /// Inside too, where the other side is.
    Beyond,
}

impl Way {
    /// The place of its keys: first the side that may be an edge.
    fn place(self) -> usize {
        usize::from(self == Way::Inside)
    }
}

/// What the first side of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// An edge, over this link.
    Edge(LinkId),
    /// Inside, with media like this.
    Inside(Encryption),
}

/// The media of one call.
pub(super) struct Bridge {
    /// The end on the first side.
    end: End,
    first: First,
    /// What media on the other side is, which is inside.
    inside: Encryption,
    /// What becomes of ICE candidates.
    ice: Ice,
    tracks: Vec<Option<Track>>,
    /// The last offer; answers are applied to it.
    offer: Option<Offer>,
    retired: Vec<Retired>,
    /// What the caller, and the callee, last described and the other has agreed to.
    described: [Option<Box<[u8]>>; 2],
    /// Of what the caller, and the callee, were last shown of it: what is ours.
    shown: [Box<[Shown]>; 2],
    /// That call control allows little was told.
    told_rate: bool,
}

/// An m-line as an end was shown it, as far as it does not follow from the other's description.
#[derive(Clone)]
struct Shown {
    proto: Box<[u8]>,
    keys: Box<[Crypto]>,
}

struct Offer {
    from: End,
    /// As it came.
    text: Box<[u8]>,
    lines: Vec<Offered>,
    /// Not answered yet.
    pending: bool,
}

impl Bridge {
    /// The first side's end and what that is; what the inside's media is, and its ICE.
    pub(super) fn new(end: End, first: First, (inside, ice): (Encryption, Ice)) -> Self {
        Bridge {
            end,
            first,
            inside,
            ice,
            tracks: Vec::new(),
            offer: None,
            retired: Vec::new(),
            described: [None, None],
            shown: [Box::default(), Box::default()],
            told_rate: false,
        }
    }

    /// Whether an offer waits for its answer.
    pub(super) fn is_pending(&self) -> bool {
        self.offer.as_ref().is_some_and(|offer| offer.pending)
    }

    /// Whether the client sends nothing, by agreement.
    pub(super) fn is_held(&self) -> bool {
        self.tracks.iter().flatten().all(Track::is_held)
    }

    /// No answer to the last offer is to come once more.
    pub(super) fn seal(&mut self) {
        if let Some(offer) = self.offer.as_mut().filter(|offer| !offer.pending) {
            offer.lines = Vec::new();
            offer.text = Box::default();
        }
        self.tracks.shrink_to_fit();
    }

    /// What an end last described, as it came, if it is kept.
    pub(super) fn description(&self, end: End) -> Option<&[u8]> {
        self.described[end as usize].as_deref()
    }

    /// Forgets what was described, but for one end's.
    pub(super) fn keep_description(&mut self, of: Option<End>) {
        for end in [End::Caller, End::Callee] {
            if of != Some(end) {
                self.described[end as usize] = None;
                self.shown[end.other() as usize] = Box::default();
            }
        }
    }

    /// What an end described, and was shown, holds no more.
    pub(super) fn forget_description(&mut self, end: End) {
        self.described[end as usize] = None;
        self.shown[end as usize] = Box::default();
    }

    /// What the inside allows a client's video in kbit/s, if that is little; told once a call.
    pub(super) fn little_rate(&mut self) -> Option<u32> {
        if self.told_rate || !matches!(self.first, First::Edge(_)) {
            return None;
        }
        let of = |end: End| self.described[end as usize].as_deref();
        let little = rate::little(of(self.end)?, of(self.end.other())?);
        self.told_rate = little.is_some();
        little
    }

    /// How many m-lines are carried.
    pub(super) fn lines(&self) -> usize {
        self.tracks.iter().flatten().count()
    }

    /// Whether an offer was made and answered.
    pub(super) fn is_settled(&self) -> bool {
        self.offer.as_ref().is_some_and(|offer| !offer.pending)
    }

    /// An offer of `from`, as the other end gets it. One that is what `from` last described,
    /// `again`, is what that end was last shown, byte for byte: its `o=` says that nothing has
    /// changed (RFC 3264 §8), so no suite may be missing that was not chosen.
    ///
    /// # Errors
    /// [`MediaError`]; nothing has changed then.
    pub(super) fn offer(
        &mut self,
        desk: &mut Desk<'_>,
        from: End,
        text: &[u8],
        again: bool,
    ) -> Result<Vec<u8>, MediaError> {
        let mut session = Session::parse(text)?;
        if session.media_count() < self.tracks.len() {
            return Err(MediaError::Mismatch);
        }
        self.tracks.resize_with(session.media_count(), || None);
        let mut lines = Vec::new();
        for i in 0..session.media_count() {
            let read = self.read(desk, &session, i, from, Purpose::Offer);
            let opened = read.and_then(|line| self.open(desk, i, line, self.way(from)));
            match opened {
                Ok(line) => lines.push(line),
                Err(error) => {
                    // Undo what this offer opened.
                    self.offer = Some(Offer {
                        from,
                        text: Box::default(),
                        lines,
                        pending: true,
                    });
                    self.roll_back(desk);
                    return Err(error);
                }
            }
        }
        for (i, line) in lines.iter_mut().enumerate() {
            let to = self.way(from.other());
            let track = self.tracks.get(i).and_then(Option::as_ref);
            let track = track.filter(|_| line.active);
            let shown = self.shown[from.other() as usize].get(i);
            let shown = shown.filter(|_| again && !line.opened);
            if let Some(track) = track.filter(|t| self.wants_keys(to, t)) {
                line.keys = match shown {
                    Some(shown) if !shown.keys.is_empty() => shown.keys.to_vec(),
                    _ => track.keys_to_offer(desk, to),
                };
            }
            let writing = Writing {
                track,
                keys: &line.keys,
                proto: shown.map(|shown| &*shown.proto),
                ice: self.ice.passes(to == Way::Edge),
            };
            self.write(desk, &mut session, i, to, &writing);
            line.written = session.proto(i).to_vec();
        }
        let to = self.way(from.other());
        line::finish(
            &mut session,
            to,
            self.ice.passes(to == Way::Edge),
            desk.settings,
        );
        self.offer = Some(Offer {
            from,
            text: Box::from(text),
            lines,
            pending: true,
        });
        Ok(session.to_bytes())
    }

    fn way(&self, end: End) -> Way {
        match self.first {
            _ if end != self.end => Way::Inside,
            First::Edge(_) => Way::Edge,
            First::Inside(_) => Way::Beyond,
        }
    }

    /// What media on one way is.
    fn encryption(&self, way: Way) -> Encryption {
        match (way, self.first) {
            (Way::Edge, _) => Encryption::Force,
            (Way::Beyond, First::Inside(beyond)) => beyond,
            (Way::Inside | Way::Beyond, _) => self.inside,
        }
    }

    /// Whether an offer on this way has keys: always over the link.
    fn wants_keys(&self, to: Way, track: &Track) -> bool {
        let may = self.encryption(to) != Encryption::Off && !track.is_datagram();
        to == Way::Edge || may
    }

    fn read(
        &self,
        desk: &Desk<'_>,
        session: &Session,
        i: usize,
        from: End,
        purpose: Purpose<'_>,
    ) -> Result<Offered, MediaError> {
        let way = self.way(from);
        match way {
            Way::Edge => line::from_edge(session, i, desk.settings, purpose),
            Way::Inside | Way::Beyond => {
                line::from_inside(session, i, desk.settings, self.encryption(way), purpose)
            }
        }
    }

    fn write(
        &self,
        desk: &Desk<'_>,
        session: &mut Session,
        i: usize,
        to: Way,
        writing: &Writing<'_>,
    ) {
        match to {
            Way::Edge => line::to_edge(session, i, desk.settings, writing),
            Way::Inside | Way::Beyond => {
                let wanted = (to, self.encryption(to));
                line::to_inside(session, i, desk.settings, wanted, writing);
            }
        }
    }

    /// An answer of `from`, as the other end gets it, and in force from now on. A line that an
    /// `early` dialog refuses rests, for another may accept it; else it is closed.
    ///
    /// # Errors
    /// [`MediaError`]; nothing has changed then.
    pub(super) fn answer(
        &mut self,
        desk: &mut Desk<'_>,
        from: End,
        text: &[u8],
        early: bool,
    ) -> Result<Vec<u8>, MediaError> {
        let offer = self.offer.take().ok_or(MediaError::Mismatch)?;
        let result = self.apply(desk, from, text, &offer, early);
        let pending = offer.pending && result.is_err();
        let result = result.map(|(text, shown)| {
            let offered = offer.lines.iter().map(|line| Shown {
                proto: Box::from(&*line.written),
                keys: Box::from(&*line.keys),
            });
            self.shown[from as usize] = offered.collect();
            self.shown[offer.from as usize] = shown.into();
            text
        });
        if result.is_ok() {
            self.described[from as usize] = Some(Box::from(text));
            self.described[offer.from as usize] = Some(offer.text.clone());
        }
        self.offer = Some(Offer { pending, ..offer });
        result
    }

    fn apply(
        &mut self,
        desk: &mut Desk<'_>,
        from: End,
        text: &[u8],
        offer: &Offer,
        early: bool,
    ) -> Result<(Vec<u8>, Vec<Shown>), MediaError> {
        let mut session = Session::parse(text)?;
        if from == offer.from || session.media_count() != offer.lines.len() {
            return Err(MediaError::Mismatch);
        }
        let mut lines = Vec::new();
        for (i, offered) in offer.lines.iter().enumerate() {
            let read = self.read(desk, &session, i, from, Purpose::Answer(offered))?;
            let track = self.tracks.get(i).and_then(Option::as_ref);
            let named = read.stream;
            if read.active
                && (track.is_none() || named.is_some_and(|n| track.is_none_or(|t| !t.is_stream(n))))
            {
                return Err(MediaError::Stream);
            }
            lines.push(read);
        }
        let (answerer, offerer) = (self.way(from), self.way(offer.from));
        let mut shown = Vec::with_capacity(lines.len());
        for (i, (offered, answered)) in offer.lines.iter().zip(&lines).enumerate() {
            let track = self.tracks.get_mut(i).and_then(Option::as_mut);
            match track {
                Some(track) if answered.active => {
                    track.agree(desk, offered, answered, answerer);
                }
                Some(track) if early => track.rest(desk),
                _ => self.close(desk, i),
            }
            let track = self.tracks.get(i).and_then(Option::as_ref);
            let track = track.filter(|_| answered.active);
            let keys = track.and_then(|t| t.ours(offerer));
            let writing = Writing {
                track,
                keys: keys.map_or(&[], std::slice::from_ref),
                proto: Some(offered.proto.as_slice()),
                ice: self.ice.passes(offerer == Way::Edge),
            };
            self.write(desk, &mut session, i, offerer, &writing);
            shown.push(Shown {
                proto: Box::from(&*offered.proto),
                keys: Box::from(writing.keys),
            });
        }
        let ice = self.ice.passes(offerer == Way::Edge);
        line::finish(&mut session, offerer, ice, desk.settings);
        Ok((session.to_bytes(), shown))
    }

    /// The offer was refused: what it opened is closed.
    pub(super) fn roll_back(&mut self, desk: &mut Desk<'_>) {
        let Some(offer) = self.offer.take_if(|offer| offer.pending) else {
            return;
        };
        for (i, line) in offer.lines.iter().enumerate() {
            if line.opened {
                self.close(desk, i);
            }
        }
        while matches!(self.tracks.last(), Some(None)) {
            self.tracks.pop();
        }
    }

    /// The call is over.
    pub(super) fn release(&mut self, desk: &mut Desk<'_>) {
        self.offer = None;
        for i in 0..self.tracks.len() {
            self.close(desk, i);
        }
        self.tracks.clear();
    }

    /// The client is behind the edge of this link. If it was not, what it had there is closed, and
    /// the next offer opens all of it anew: streams are the link's, and keys are never used twice.
    pub(super) fn go_to(&mut self, desk: &mut Desk<'_>, link: LinkId) {
        if self.first == First::Edge(link) {
            return;
        }
        for i in 0..self.tracks.len() {
            self.close(desk, i);
        }
        self.first = First::Edge(link);
    }

    /// Finds or opens the track of an offered m-line.
    fn open(
        &mut self,
        desk: &mut Desk<'_>,
        i: usize,
        mut line: Offered,
        from: Way,
    ) -> Result<Offered, MediaError> {
        let Some(slot) = self.tracks.get_mut(i).filter(|_| line.active) else {
            return Ok(line);
        };
        match slot {
            Some(track) => {
                if line.stream.is_some_and(|named| !track.is_stream(named)) {
                    return Err(MediaError::Stream);
                }
                if line.datagram.is_some() != track.is_datagram() {
                    return Err(MediaError::Mismatch);
                }
            }
            None => {
                *slot = Some(Track::open(desk, self.first, &line)?);
                line.opened = true;
            }
        }
        if let (Some(track), Some(theirs)) = (slot.as_ref(), &line.theirs) {
            line.answer = Some(track.key_to_answer(desk, from, theirs));
        }
        if line.opened
            && let Some(track) = slot.as_mut()
        {
            track.install(desk, &line, from);
        }
        Ok(line)
    }

    fn close(&mut self, desk: &mut Desk<'_>, i: usize) {
        if let Some(track) = self.tracks.get_mut(i).and_then(Option::take) {
            let (leg, second) = track.close(desk);
            self.retired.push(leg);
            self.retired.extend(second);
            // A call that opens and closes m-lines for ever keeps the last figures only.
            while self.retired.len() > TRACKS_MAX * 2 {
                let oldest = self.retired.remove(0);
                desk.studio.close_leg(oldest.leg);
            }
        }
    }

    /// The media workers report figures of a leg; `last` if it is gone there.
    pub(super) fn count(&mut self, studio: &mut Studio, leg: LegId, figures: Counters, last: bool) {
        for track in self.tracks.iter_mut().flatten().filter(|t| t.leg == leg) {
            track.counters = figures;
        }
        for retired in self.retired.iter_mut().filter(|r| r.leg == leg) {
            retired.counters = figures;
            if last {
                retired.open = false;
                studio.close_leg(leg);
            }
        }
    }

    /// Whether figures are still to come.
    pub(super) fn awaits_figures(&self) -> bool {
        self.retired.iter().any(|r| r.open)
    }

    /// No figures will come any more.
    pub(super) fn forgo_figures(&mut self, studio: &mut Studio) {
        for retired in &mut self.retired {
            retired.open = false;
            studio.close_leg(retired.leg);
        }
    }

    /// What the record says of each m-line.
    pub(super) fn figures(&self) -> Vec<MediaFigures> {
        let of = |r: &Retired| MediaFigures {
            kind: String::from_utf8_lossy(&r.kind).into_owned(),
            counters: r.counters,
        };
        let shown = self.retired.iter().filter(|r| !r.second);
        shown.map(of).collect()
    }
}
