//! Tokens that call control keeps for us: they name a registration and where its client is, under
//! a MAC.
//!
//! Content: `process 4 | slot 4 | generation 4 | peer 1 | the edge's token`, and of what is
//! recorded in a dialog `… | peer 1 with its highest bit | dialog 8 | the edge's token`. Within one
//! process the registration counts, wherever its client has moved; a later process of the same
//! core, which knows no registrations, still finds the client by the edge's token until it
//! registers again.
//!
//! Everybody in a dialog sees what is recorded in it. So such a token leads nowhere in another
//! dialog, or on behalf of another ([`DialogMark`]).

use std::hash::Hasher;

use base::{Id, Rng, Secret};
use sip::Message;
use sip::token::TokenKey;

use super::aor_of;

use super::table::Place;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The registration, if this process made the token.
    pub(super) row: Option<Id>,
    /// The edge's index among the peers.
    pub(super) peer: usize,
    /// The edge's name for the client's flow.
    pub(super) token: Vec<u8>,
    /// The dialog that it is for, if it is for one alone.
    pub(super) dialog: Option<DialogMark>,
}

/// The bit of a peer's number that says that a dialog follows.
const IN_DIALOG: u8 = 0x80;

/// Which of a dialog's two ends a client is, in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It sends it.
    From,
    /// It gets it.
    To,
}

/// A dialog that is not a call, as its first request knows it: its Call-ID, the tag of who began
/// it, and the user part of the client's own address in it. All three stay (RFC 3261 §12.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogMark([u8; 8]);

impl DialogMark {
    /// Of the request that begins it; `client` says which end is the client. None without a tag in
    /// From.
    pub fn begun(message: &Message, client: End) -> Option<DialogMark> {
        let tag = message.from().ok()?.tag()?.to_vec();
        DialogMark::of(message, &tag, client)
    }

    /// Whether a request within a dialog is of this one.
    pub fn is_of(self, message: &Message, client: End) -> bool {
        let tags = [message.from(), message.to()];
        let tags = tags
            .iter()
            .filter_map(|address| address.as_ref().ok()?.tag());
        tags.into_iter()
            .any(|tag| DialogMark::of(message, tag, client) == Some(self))
    }

    fn of(message: &Message, tag: &[u8], client: End) -> Option<DialogMark> {
        let address = match client {
            End::From => message.from(),
            End::To => message.to(),
        };
        let uri = address.ok()?.uri;
        let user = aor_of(uri).map_or(uri, |(user, _)| user);
        let mut hasher = std::hash::DefaultHasher::new();
        for part in [message.call_id(), tag, user] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        Some(DialogMark(hasher.finish().to_be_bytes()))
    }
}

/// Makes and opens them.
pub(super) struct Tickets {
    key: TokenKey,
    process: [u8; 4],
}

impl Tickets {
    pub(super) fn new(secret: &Secret<[u8; 32]>, rng: &mut Rng) -> Self {
        Tickets {
            key: TokenKey::derived(secret.expose(), b"registration"),
            process: rng.array(),
        }
    }

    /// Of a registration, wherever it is met or for one dialog alone.
    pub(super) fn seal(&self, row: Id, place: &Place, dialog: Option<DialogMark>) -> String {
        let peer = place.peer as u8;
        let (peer, mark) = match &dialog {
            Some(DialogMark(mark)) => (peer | IN_DIALOG, &mark[..]),
            None => (peer, &[][..]),
        };
        let content = [
            &self.process[..],
            &row.slot().to_be_bytes(),
            &row.generation().to_be_bytes(),
            &[peer],
            mark,
            &place.token,
        ];
        self.key.seal_bytes(&content.concat())
    }

    pub(super) fn open(&self, token: &[u8]) -> Option<Ticket> {
        let content = self.key.open_bytes(token)?;
        let (process, rest) = content.split_first_chunk::<4>()?;
        let (slot, rest) = rest.split_first_chunk::<4>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (peer, rest) = rest.split_first()?;
        let (dialog, token) = if peer & IN_DIALOG == 0 {
            (None, rest)
        } else {
            let (mark, token) = rest.split_first_chunk::<8>()?;
            (Some(DialogMark(*mark)), token)
        };
        let row = Id::new(u32::from_be_bytes(*slot), u32::from_be_bytes(*generation));
        Some(Ticket {
            row: (*process == self.process).then_some(row),
            peer: usize::from(peer & !IN_DIALOG),
            token: token.to_vec(),
            dialog,
        })
    }
}
