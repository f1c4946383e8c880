//! A call's media: descriptions rewritten on their way across, and what the media workers are
//! told of them.
//!
//! | | towards inside | towards an edge |
//! |---|---|---|
//! | profile | `RTP/AVP`, `RTP/AVPF` | `RTP/SAVP`, `RTP/SAVPF`, never plain |
//! | address | ours, port of the m-line's own pair | ours, port 36000 |
//! | keys | dropped | our own `a=crypto` (RFC 4568), fresh for each m-line |
//! | `a=x-causeway-stream` | dropped | names the m-line's stream of the link |
//! | ICE, `a=rtcp-mux`, DTLS | dropped | dropped |
//!
//! An m-line that is no RTP (BFCP, iX) is refused (port 0): nothing here carries it. All other
//! lines pass as they are. An answer may come more than once (a 18x, then the 2xx): each time it
//! is applied to the same offer, so what does not change has no effect. A refused offer is rolled
//! back (RFC 3264 §8).

mod line;
mod track;

use media::{Counters, LegId, LinkId};
use sdp::{SdpError, Session};

use super::call::End;
use super::desk::{Desk, Studio};
use super::record::MediaFigures;
use line::{Offered, Purpose};
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
    /// The client offered or answered plain RTP.
    #[error("the client's media is not encrypted")]
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

/// The media of one call.
pub(super) struct Bridge {
    /// The end that is an edge's.
    edge: End,
    link: LinkId,
    tracks: Vec<Option<Track>>,
    /// The last offer; answers are applied to it.
    offer: Option<Offer>,
    retired: Vec<Retired>,
}

struct Offer {
    from: End,
    lines: Vec<Offered>,
    /// Not answered yet.
    pending: bool,
}

impl Bridge {
    pub(super) fn new(edge: End, link: LinkId) -> Self {
        Bridge {
            edge,
            link,
            tracks: Vec::new(),
            offer: None,
            retired: Vec::new(),
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

    /// Whether an offer was made and answered.
    pub(super) fn is_settled(&self) -> bool {
        self.offer.as_ref().is_some_and(|offer| !offer.pending)
    }

    /// An offer of `from`, as the other end gets it.
    ///
    /// # Errors
    /// [`MediaError`]; nothing has changed then.
    pub(super) fn offer(
        &mut self,
        desk: &mut Desk<'_>,
        from: End,
        text: &[u8],
    ) -> Result<Vec<u8>, MediaError> {
        let mut session = Session::parse(text)?;
        if session.media_count() < self.tracks.len() {
            return Err(MediaError::Mismatch);
        }
        self.tracks.resize_with(session.media_count(), || None);
        let mut lines = Vec::new();
        for i in 0..session.media_count() {
            let read = if from == self.edge {
                line::from_edge(&session, i, desk.settings, Purpose::Offer)
            } else {
                line::from_inside(&session, i, Purpose::Offer)
            };
            let opened = read.and_then(|line| self.open(desk, i, line));
            match opened {
                Ok(line) => lines.push(line),
                Err(error) => {
                    // Undo what this offer opened.
                    self.offer = Some(Offer {
                        from,
                        lines,
                        pending: true,
                    });
                    self.roll_back(desk);
                    return Err(error);
                }
            }
        }
        for (i, line) in lines.iter_mut().enumerate() {
            let track = self.tracks.get_mut(i).and_then(Option::as_mut);
            if from == self.edge {
                line::to_inside(
                    &mut session,
                    i,
                    track.as_deref(),
                    line.active,
                    desk.settings,
                    None,
                );
            } else {
                let keys = match track.as_deref() {
                    Some(track) if line.active => track.keys_to_offer(desk),
                    _ => Vec::new(),
                };
                line::to_edge(
                    &mut session,
                    i,
                    track.as_deref(),
                    &keys,
                    desk.settings,
                    None,
                );
                line.ours = keys;
            }
        }
        line::finish(&mut session, from == self.edge, desk.settings);
        self.offer = Some(Offer {
            from,
            lines,
            pending: true,
        });
        Ok(session.to_bytes())
    }

    /// An answer of `from`, as the other end gets it, and in force from now on.
    ///
    /// # Errors
    /// [`MediaError`]; nothing has changed then.
    pub(super) fn answer(
        &mut self,
        desk: &mut Desk<'_>,
        from: End,
        text: &[u8],
    ) -> Result<Vec<u8>, MediaError> {
        let offer = self.offer.take().ok_or(MediaError::Mismatch)?;
        let result = self.apply(desk, from, text, &offer);
        let pending = offer.pending && result.is_err();
        self.offer = Some(Offer { pending, ..offer });
        result
    }

    fn apply(
        &mut self,
        desk: &mut Desk<'_>,
        from: End,
        text: &[u8],
        offer: &Offer,
    ) -> Result<Vec<u8>, MediaError> {
        let mut session = Session::parse(text)?;
        if from == offer.from || session.media_count() != offer.lines.len() {
            return Err(MediaError::Mismatch);
        }
        let mut lines = Vec::new();
        for (i, offered) in offer.lines.iter().enumerate() {
            let read = if from == self.edge {
                line::from_edge(&session, i, desk.settings, Purpose::Answer(offered))?
            } else {
                line::from_inside(&session, i, Purpose::Answer(offered))?
            };
            let track = self.tracks.get(i).and_then(Option::as_ref);
            let named = read.stream;
            if read.active
                && (track.is_none() || named.is_some_and(|n| track.is_none_or(|t| t.stream != n)))
            {
                return Err(MediaError::Stream);
            }
            lines.push(read);
        }
        for (i, (offered, answered)) in offer.lines.iter().zip(&lines).enumerate() {
            if answered.active {
                if let Some(track) = self.tracks.get_mut(i).and_then(Option::as_mut) {
                    track.agree(desk, self.link, offered, answered, from == self.edge);
                }
            } else {
                self.close(desk, i);
            }
            let track = self.tracks.get(i).and_then(Option::as_ref);
            // The answer's profile is the offer's, also where a line is refused (RFC 3264 §6).
            let proto = Some(offered.proto.as_slice());
            if from == self.edge {
                line::to_inside(
                    &mut session,
                    i,
                    track,
                    answered.active,
                    desk.settings,
                    proto,
                );
            } else {
                let keys = track
                    .and_then(|t| t.ours.clone())
                    .into_iter()
                    .collect::<Vec<_>>();
                let keys = if answered.active { keys } else { Vec::new() };
                line::to_edge(&mut session, i, track, &keys, desk.settings, proto);
            }
        }
        line::finish(&mut session, from == self.edge, desk.settings);
        Ok(session.to_bytes())
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

    /// Finds or opens the track of an offered m-line.
    fn open(
        &mut self,
        desk: &mut Desk<'_>,
        i: usize,
        mut line: Offered,
    ) -> Result<Offered, MediaError> {
        let Some(slot) = self.tracks.get_mut(i).filter(|_| line.active) else {
            return Ok(line);
        };
        match slot {
            Some(track) => {
                if line.stream.is_some_and(|named| named != track.stream) {
                    return Err(MediaError::Stream);
                }
            }
            None => {
                *slot = Some(Track::open(desk, self.link, &line)?);
                line.opened = true;
            }
        }
        if let (Some(track), Some(theirs)) = (slot.as_mut(), &line.theirs) {
            line.ours = vec![track.key_to_answer(desk, theirs)];
        }
        if line.opened
            && let Some(track) = slot.as_mut()
        {
            track.install(desk, &line);
        }
        Ok(line)
    }

    fn close(&mut self, desk: &mut Desk<'_>, i: usize) {
        if let Some(track) = self.tracks.get_mut(i).and_then(Option::take) {
            self.retired.push(track.close(desk, self.link));
            // A call that opens and closes m-lines for ever keeps the last figures only.
            if self.retired.len() > TRACKS_MAX * 2 {
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
        self.retired.iter().map(of).collect()
    }
}
