//! SRTP and SRTCP (RFC 3711; AES-256: RFC 6188; AES-GCM: RFC 7714), in place.
//!
//! One [`Context`] is one master key in one direction. It keeps, for each synchronisation source,
//! the rollover counter and a replay window of [`WINDOW`] packets for as long as the key lives.
//! Nothing is committed before a packet's tag is good. Bounds: [`SOURCES_MAX`] sources.
//! Primitives come from libraries; the framing is ours.

mod cipher;
mod window;

pub use sdp::sdes::Suite;
pub use window::WINDOW;

use smallvec::SmallVec;

use crate::SrtpKey;
use crate::rtp::Header;
use cipher::Keys;
use window::Window;

/// Synchronisation sources one key serves, in each of RTP and RTCP.
pub const SOURCES_MAX: usize = 16;

/// Bytes a packet can grow by, at most: tag, SRTCP index, key identifier.
pub const GROWTH_MAX: usize = 16 + 4 + 128;

/// Why a packet is not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// It is no RTP or RTCP, or too short.
    #[error("the packet is malformed")]
    Malformed,
    /// Its tag is wrong.
    #[error("the packet's tag is wrong")]
    Forged,
    /// It was seen before, or is older than the window.
    #[error("the packet is a replay")]
    Replayed,
    /// One key serves no more sources.
    #[error("too many synchronisation sources")]
    Sources,
    /// The key has the wrong length for its suite.
    #[error("the key does not fit its suite")]
    Key,
}

struct Source {
    ssrc: u32,
    window: Window,
}

/// One master key in one direction.
pub struct Context {
    keys: Keys,
    mki: Vec<u8>,
    rtp: SmallVec<[Source; 2]>,
    rtcp: SmallVec<[Source; 2]>,
}

impl Context {
    /// Derives the session keys.
    ///
    /// # Errors
    /// [`SrtpError::Key`].
    pub fn new(key: &SrtpKey) -> Result<Context, SrtpError> {
        Ok(Context {
            keys: Keys::derive(key.suite, key.key.expose())?,
            mki: key.mki.clone(),
            rtp: SmallVec::new(),
            rtcp: SmallVec::new(),
        })
    }

    /// Makes an RTP packet an SRTP packet.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`], [`SrtpError::Sources`].
    pub fn protect_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let header = Header::parse(packet).ok_or(SrtpError::Malformed)?;
        let window = window_of(&mut self.rtp, header.ssrc)?;
        let index = window.guess(header.sequence);
        self.keys
            .seal_rtp(packet, header.payload, header.ssrc, index, &self.mki)?;
        window.commit(index);
        Ok(())
    }

    /// Makes an SRTP packet an RTP packet.
    ///
    /// # Errors
    /// [`SrtpError`]; the context is then as before.
    pub fn unprotect_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let header = Header::parse(packet).ok_or(SrtpError::Malformed)?;
        let known = self.rtp.iter().find(|s| s.ssrc == header.ssrc);
        let index = known.map_or_else(
            || Window::default().guess(header.sequence),
            |s| s.window.guess(header.sequence),
        );
        if known.is_some_and(|s| s.window.seen(index)) {
            return Err(SrtpError::Replayed);
        }
        self.keys
            .open_rtp(packet, header.payload, header.ssrc, index, self.mki.len())?;
        window_of(&mut self.rtp, header.ssrc)?.commit(index);
        Ok(())
    }

    /// Makes an RTCP packet an SRTCP packet.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`], [`SrtpError::Sources`].
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let ssrc = rtcp_source(packet)?;
        let window = window_of(&mut self.rtcp, ssrc)?;
        let index = window.next();
        self.keys.seal_rtcp(packet, ssrc, index as u32, &self.mki)?;
        window.commit(index);
        Ok(())
    }

    /// Makes an SRTCP packet an RTCP packet.
    ///
    /// # Errors
    /// [`SrtpError`]; the context is then as before.
    pub fn unprotect_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let ssrc = rtcp_source(packet)?;
        let index = u64::from(self.keys.rtcp_index(packet, self.mki.len())?);
        let known = self.rtcp.iter().find(|s| s.ssrc == ssrc);
        if known.is_some_and(|s| s.window.seen(index)) {
            return Err(SrtpError::Replayed);
        }
        self.keys.open_rtcp(packet, ssrc, self.mki.len())?;
        window_of(&mut self.rtcp, ssrc)?.commit(index);
        Ok(())
    }
}

fn rtcp_source(packet: &[u8]) -> Result<u32, SrtpError> {
    let head = packet.first_chunk::<8>().ok_or(SrtpError::Malformed)?;
    Ok(u32::from_be_bytes([head[4], head[5], head[6], head[7]]))
}

fn window_of(sources: &mut SmallVec<[Source; 2]>, ssrc: u32) -> Result<&mut Window, SrtpError> {
    let found = sources.iter().position(|s| s.ssrc == ssrc);
    let at = match found {
        Some(at) => at,
        None if sources.len() >= SOURCES_MAX => return Err(SrtpError::Sources),
        None => {
            sources.push(Source {
                ssrc,
                window: Window::default(),
            });
            sources.len() - 1
        }
    };
    sources
        .get_mut(at)
        .map(|s| &mut s.window)
        .ok_or(SrtpError::Sources)
}

#[cfg(test)]
mod tests;
