//! What bridging media needs at hand: ports, media legs, stream ids, keys, and the way to the
//! media workers.

use base::{HashMap, HashSet, Id, Now, Queue, Rng, Slab};
use media::ports::Allocator;
use media::{Command, LegId, LinkId, PortPair, StreamId};
use sdp::sdes::{Crypto, Suite};

use super::{Output, Settings};

/// Media legs and streams in use, over all calls.
pub(super) struct Studio {
    /// Each leg's call.
    legs: Slab<Id>,
    streams: HashMap<LinkId, HashSet<StreamId>>,
}

impl Studio {
    pub(super) fn new(legs_max: usize) -> Self {
        Studio {
            legs: Slab::new(legs_max),
            streams: HashMap::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.legs.len() + self.streams.values().map(|ids| ids.len()).sum::<usize>()
    }

    pub(super) fn call_of(&self, leg: LegId) -> Option<Id> {
        self.legs.get(leg.0).copied()
    }

    /// The media workers have said their last word about a leg, or never will.
    pub(super) fn close_leg(&mut self, leg: LegId) {
        self.legs.remove(leg.0);
    }
}

/// One input's access to all of it.
pub(super) struct Desk<'a> {
    pub(super) now: Now,
    pub(super) call: Id,
    pub(super) ports: &'a mut Allocator,
    pub(super) studio: &'a mut Studio,
    pub(super) settings: &'a Settings,
    pub(super) rng: &'a mut Rng,
    pub(super) out: &'a mut Queue<Output>,
}

impl Desk<'_> {
    pub(super) fn command(&mut self, command: Command) {
        let _ = self.out.push(Output::Media(command));
    }

    pub(super) fn open_leg(&mut self) -> Option<LegId> {
        self.studio.legs.insert(self.call).ok().map(LegId)
    }

    pub(super) fn open_ports(&mut self) -> Option<PortPair> {
        self.ports.allocate(self.now.instant)
    }

    pub(super) fn close_ports(&mut self, pair: PortPair) {
        self.ports.release(self.now.instant, pair);
    }

    /// Claims a stream id that the edge chose; false if another m-line has it.
    pub(super) fn claim_stream(&mut self, link: LinkId, stream: StreamId) -> bool {
        self.studio.streams.entry(link).or_default().insert(stream)
    }

    /// A stream id of our choice: the top bit is set.
    pub(super) fn choose_stream(&mut self, link: LinkId) -> StreamId {
        loop {
            let stream = StreamId(self.rng.u32() | 1 << 31);
            if self.claim_stream(link, stream) {
                return stream;
            }
        }
    }

    pub(super) fn free_stream(&mut self, link: LinkId, stream: StreamId) {
        if let Some(streams) = self.studio.streams.get_mut(&link) {
            streams.remove(&stream);
            if streams.is_empty() {
                self.studio.streams.remove(&link);
            }
        }
    }

    /// A fresh key of ours.
    pub(super) fn key(&mut self, tag: u32, suite: Suite) -> Crypto {
        Crypto::fresh(tag, suite, self.rng)
    }
}
