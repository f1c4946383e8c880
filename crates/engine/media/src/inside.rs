//! The keys of one inside party's packets, where it has some.
//!
//! When its key changes, the old one is kept for [`OVERLAP`], so that packets under way are not
//! lost. A key that stays the same keeps its counters and windows.

use base::Instant;

use crate::core::OVERLAP;
use crate::srtp::{Context, SrtpError};
use crate::{Component, Inside, SrtpKey};

/// What opens and closes packets of the inside.
pub(crate) struct Secure {
    open: Option<Context>,
    old: Option<(Context, Instant)>,
    seal: Option<Context>,
}

impl Secure {
    pub(crate) fn new(inside: &Inside) -> Option<Box<Secure>> {
        match inside {
            Inside::Secure { unprotect, protect } => Some(Box::new(Secure {
                open: context(unprotect.as_ref()),
                old: None,
                seal: context(protect.as_ref()),
            })),
            Inside::Plain | Inside::Datagrams(_) => None,
        }
    }

    /// What it is from now on.
    pub(crate) fn renew(
        old: &mut Option<Box<Secure>>,
        now: Instant,
        before: &Inside,
        inside: &Inside,
    ) {
        let mut new = Secure::new(inside);
        if let (Some(old), Some(new)) = (old.as_mut(), new.as_mut())
            && let (
                Inside::Secure { unprotect, protect },
                Inside::Secure {
                    unprotect: open,
                    protect: seal,
                },
            ) = (before, inside)
        {
            if unprotect == open {
                new.open = old.open.take();
                new.old = old.old.take();
            } else {
                new.old = old.open.take().map(|context| (context, now + OVERLAP));
            }
            if protect == seal {
                new.seal = old.seal.take();
            }
        }
        *old = new;
    }

    /// Whether there is a key to close packets with.
    pub(crate) fn seals(&self) -> bool {
        self.seal.is_some()
    }

    /// Makes SRTP or SRTCP of a packet.
    pub(crate) fn close(
        &mut self,
        component: Component,
        packet: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        let seal = self.seal.as_mut().ok_or(SrtpError::Forged)?;
        match component {
            Component::Rtp => seal.protect_rtp(packet),
            Component::Rtcp => seal.protect_rtcp(packet),
        }
    }

    /// Opens a packet with the party's key, or with the one before it.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        component: Component,
        packet: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        self.old.take_if(|(_, until)| *until <= now);
        let with = |context: &mut Context, packet: &mut Vec<u8>| match component {
            Component::Rtp => context.unprotect_rtp(packet),
            Component::Rtcp => context.unprotect_rtcp(packet),
        };
        let open = self.open.as_mut().ok_or(SrtpError::Forged)?;
        match (with(open, packet), &mut self.old) {
            (Err(SrtpError::Forged), Some((old, _))) => with(old, packet),
            (outcome, _) => outcome,
        }
    }
}

pub(crate) fn context(key: Option<&SrtpKey>) -> Option<Context> {
    key.and_then(|k| Context::new(k).ok())
}
