//! Audio of the lab's own parties: tones in G.711 µ-law over RTP or SRTP, and finding them again.
//!
//! RTP by the crate `rtp`, SRTP by `webrtc-srtp`, session descriptions by `sdp-types`; nothing is
//! shared with the product. Bounds: one audio stream a call, a picture that is only
//! described, the last two seconds of sound kept.

mod figures;
mod rtcp;
pub(crate) mod sdp;
pub(crate) mod stream;
pub(crate) mod tone;

pub(crate) use figures::{Figures, Heard};
pub(crate) use stream::{Ear, Stream};
