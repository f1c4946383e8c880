//! Tokens that call control keeps for us: they name a registration and where its client is, under
//! a MAC.
//!
//! Content: `process 4 | slot 4 | generation 4 | peer 1 | the edge's token`. Within one process the
//! registration counts, wherever its client has moved; a later process of the same core, which
//! knows no registrations, still finds the client by the edge's token until it registers again.

use base::{Id, Rng, Secret};
use sip::token::TokenKey;

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

    pub(super) fn seal(&self, row: Id, place: &Place) -> String {
        let content = [
            &self.process[..],
            &row.slot().to_be_bytes(),
            &row.generation().to_be_bytes(),
            &[place.peer as u8],
            &place.token,
        ];
        self.key.seal_bytes(&content.concat())
    }

    pub(super) fn open(&self, token: &[u8]) -> Option<Ticket> {
        let content = self.key.open_bytes(token)?;
        let (process, rest) = content.split_first_chunk::<4>()?;
        let (slot, rest) = rest.split_first_chunk::<4>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (peer, token) = rest.split_first()?;
        let row = Id::new(u32::from_be_bytes(*slot), u32::from_be_bytes(*generation));
        Some(Ticket {
            row: (*process == self.process).then_some(row),
            peer: usize::from(*peer),
            token: token.to_vec(),
        })
    }
}
