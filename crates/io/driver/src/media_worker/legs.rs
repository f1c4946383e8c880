//! Legs' sockets: two each, by row.
//!
//! A row outlives its leg: the sockets stay open while their ports rest, and for a while after, so
//! that the next leg on the same ports finds them bound and watched ([`media::rest`]). Bounds:
//! [`Settings::legs_max`] rows with a leg, [`Settings::spares_max`] without.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use base::Instant;
use media::rest::{Due, Rests};
use media::{Component, Counters, LegId, PortPair};
use mio::Registry;
use net::udp::{Options, Outbox, Udp};

use super::Settings;
use super::turn::watch_leg;

/// One of a leg's sockets.
pub(super) struct Port {
    pub(super) socket: Udp,
    /// The one peer it is connected to.
    peer: Option<SocketAddr>,
    /// The peer that it was last to be connected to.
    tried: Option<SocketAddr>,
}

impl Port {
    fn bind(address: SocketAddr, receive_bytes: usize, dscp: Option<u8>) -> io::Result<Port> {
        let options = Options {
            receive_bytes: Some(receive_bytes),
            dscp,
            ..Options::default()
        };
        Ok(Port {
            socket: Udp::bind(address, options)?,
            peer: None,
            tried: None,
        })
    }

    /// Takes packets of one peer only, and sends to it without looking up a route each time. If
    /// there is no way to it at present, the socket stays open to all, and the relay alone decides.
    fn connect(&mut self, peer: SocketAddr) {
        self.tried = Some(peer);
        if self.peer == Some(peer) {
            return;
        }
        self.peer = match self.socket.connect(peer) {
            Ok(()) => Some(peer),
            Err(_) => {
                // Still connected to the one before, it would send there.
                let _ = self.socket.disconnect();
                None
            }
        };
    }

    /// Takes packets of anyone again.
    fn disconnect(&mut self) {
        self.tried = None;
        if self.peer.take().is_some() {
            let _ = self.socket.disconnect();
        }
    }
}

struct Row {
    /// `None` while it rests or waits for its next leg.
    leg: Option<LegId>,
    local: PortPair,
    rtp: Port,
    rtcp: Port,
    told: Counters,
    silent: bool,
    /// Whether anything has come to its sockets since they are this leg's.
    heard: bool,
}

impl Row {
    fn port(&self, component: Component) -> &Port {
        match component {
            Component::Rtp => &self.rtp,
            Component::Rtcp => &self.rtcp,
        }
    }

    fn port_mut(&mut self, component: Component) -> &mut Port {
        match component {
            Component::Rtp => &mut self.rtp,
            Component::Rtcp => &mut self.rtcp,
        }
    }
}

/// How often it is told that a socket could not be opened.
const UNBOUND_TOLD: std::time::Duration = std::time::Duration::from_secs(60);

/// All legs' sockets of a worker.
pub(super) struct Legs {
    rows: Vec<Option<Row>>,
    free: Vec<usize>,
    by_id: HashMap<LegId, usize, base::FixedState>,
    /// Rows without a leg, by their address for RTP.
    spare: HashMap<SocketAddr, usize, base::FixedState>,
    rests: Rests,
    /// When it was last told that a socket could not be opened.
    unbound_told: Option<std::time::Instant>,
}

/// A socket's place.
pub(super) fn index(row: usize, component: Component) -> usize {
    row * 2 + usize::from(component == Component::Rtcp)
}

/// The socket at a place.
pub(super) fn at(index: usize) -> (usize, Component) {
    let component = if index.is_multiple_of(2) {
        Component::Rtp
    } else {
        Component::Rtcp
    };
    (index / 2, component)
}

impl Legs {
    pub(super) fn new(settings: &Settings) -> Legs {
        Legs {
            rows: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::default(),
            spare: HashMap::default(),
            rests: Rests::new(settings.rest, settings.spares_max),
            unbound_told: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Rows in use and free.
    pub(super) fn rows_max(&self) -> usize {
        self.rows.len()
    }

    /// Finds both sockets, or opens and watches them.
    ///
    /// # Errors
    /// The address that could not be opened; then neither is.
    pub(super) fn open(
        &mut self,
        settings: &Settings,
        registry: &Registry,
        leg: LegId,
        local: &PortPair,
    ) -> Result<usize, SocketAddr> {
        if self.by_id.len() >= settings.legs_max {
            tracing::warn!(legs = settings.legs_max, "no more media legs are allowed");
            return Err(local.rtp);
        }
        if let Some(row) = self.reuse(leg, local) {
            return Ok(row);
        }
        let row = Row {
            leg: Some(leg),
            local: *local,
            rtp: self.bind(local.rtp, settings.leg_receive_bytes, settings)?,
            rtcp: self.bind(local.rtcp, settings.leg_receive_bytes / 4, settings)?,
            told: Counters::default(),
            silent: false,
            heard: false,
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.rows.push(None);
                self.rows.len() - 1
            }
        };
        for component in [Component::Rtp, Component::Rtcp] {
            let watched = watch_leg(registry, &row.port(component).socket, index(at, component));
            if watched.is_err() {
                self.free.push(at);
                return Err(local.of(component));
            }
        }
        if let Some(place) = self.rows.get_mut(at) {
            *place = Some(row);
        }
        self.by_id.insert(leg, at);
        Ok(at)
    }

    /// The sockets of a leg that is gone, if they are the same and nothing waits in them.
    fn reuse(&mut self, leg: LegId, local: &PortPair) -> Option<usize> {
        let at = self.spare.get(&local.rtp).copied()?;
        let rested = self.rests.take(at);
        let row = self.rows.get_mut(at)?.as_mut()?;
        if !rested || row.local != *local {
            self.drop_row(at);
            return None;
        }
        self.spare.remove(&local.rtp);
        row.leg = Some(leg);
        row.told = Counters::default();
        (row.silent, row.heard) = (false, false);
        self.by_id.insert(leg, at);
        Some(at)
    }

    /// Opens a socket; if no descriptor is left, those that only wait make room.
    fn bind(
        &mut self,
        address: SocketAddr,
        receive_bytes: usize,
        settings: &Settings,
    ) -> Result<Port, SocketAddr> {
        let mut bound = Port::bind(address, receive_bytes, settings.dscp);
        if let Err(e) = &bound
            && net::descriptors::none_left(e)
            && let Some(idle) = self.rests.give_up()
        {
            self.drop_row(idle);
            bound = Port::bind(address, receive_bytes, settings.dscp);
        }
        bound.map_err(|e| {
            // The node tells of each, at most once a minute; here it is told why.
            let now = std::time::Instant::now();
            let due = |at: std::time::Instant| now.duration_since(at) >= UNBOUND_TOLD;
            if self.unbound_told.is_none_or(due) {
                self.unbound_told = Some(now);
                tracing::warn!(%address, error = %e, "a media port cannot be opened");
            }
            address
        })
    }

    /// A leg is gone: its ports rest.
    pub(super) fn close(&mut self, now: Instant, leg: LegId) {
        if let Some(at) = self.by_id.remove(&leg)
            && let Some(Some(row)) = self.rows.get_mut(at)
        {
            row.leg = None;
            self.spare.insert(row.local.rtp, at);
            if let Some(gone) = self.rests.begin(now, at, row.heard) {
                self.drop_row(gone);
            }
        }
    }

    /// Closes both sockets of a row.
    fn drop_row(&mut self, at: usize) {
        if let Some(row) = self.rows.get_mut(at).and_then(Option::take) {
            self.spare.remove(&row.local.rtp);
            self.free.push(at);
        }
    }

    /// These ports are another's from now on: sockets that were kept for the next leg are closed.
    pub(super) fn cede(&mut self, local: &PortPair) {
        if let Some(at) = self.spare.get(&local.rtp).copied() {
            self.rests.take(at);
            self.drop_row(at);
        }
    }

    /// Something has come to a row's sockets; false if they are closed for it.
    pub(super) fn stir(&mut self, at: usize) -> bool {
        match self.rows.get_mut(at) {
            Some(Some(row)) if row.leg.is_some() => row.heard = true,
            _ if self.rests.stir(at) => {
                self.drop_row(at);
                return false;
            }
            _ => {}
        }
        true
    }

    /// Ends rests, and closes what nobody has needed for long, up to `most` of both; gives the
    /// pairs that may be given out again.
    pub(super) fn rest(&mut self, now: Instant, most: usize) -> Vec<PortPair> {
        let mut rested = Vec::new();
        for _ in 0..most {
            match self.rests.poll(now) {
                Some(Due::Rested(at)) => {
                    rested.extend(self.get(at).map(|row| row.local));
                }
                Some(Due::Close(at)) => self.drop_row(at),
                None => break,
            }
        }
        rested
    }

    /// When a rest ends.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.rests.poll_timeout()
    }

    pub(super) fn row(&self, leg: LegId) -> Option<usize> {
        self.by_id.get(&leg).copied()
    }

    pub(super) fn id(&self, row: usize) -> Option<LegId> {
        self.get(row)?.leg
    }

    pub(super) fn port(&self, row: usize, component: Component) -> Option<&Port> {
        Some(self.get(row)?.port(component))
    }

    /// Both sockets' peer is another than before: those that are connected follow it. The others
    /// are connected when there is something to send ([`Legs::wants`]).
    pub(super) fn redirect(&mut self, row: usize, peer: &PortPair) {
        if let Some(Some(row)) = self.rows.get_mut(row) {
            for component in [Component::Rtp, Component::Rtcp] {
                let port = row.port_mut(component);
                if port.peer.is_some() {
                    port.connect(peer.of(component));
                }
            }
        }
    }

    /// A leg that has no peer yet: what the one before on its sockets was connected to is past, and
    /// the kernel would refuse early packets of any other.
    pub(super) fn release(&mut self, row: usize) {
        if let Some(Some(row)) = self.rows.get_mut(row) {
            row.rtp.disconnect();
            row.rtcp.disconnect();
        }
    }

    /// Whether a socket is to be connected to the peer that it is about to send to.
    pub(super) fn wants(&self, row: usize, component: Component, peer: SocketAddr) -> bool {
        self.port(row, component)
            .is_some_and(|p| p.tried != Some(peer))
    }

    /// Connects a socket to the one peer that it serves.
    pub(super) fn connect(&mut self, row: usize, component: Component, peer: SocketAddr) {
        if let Some(Some(row)) = self.rows.get_mut(row) {
            row.port_mut(component).connect(peer);
        }
    }

    /// Whether a leg's figures are others than those that were told last.
    pub(super) fn is_news(&mut self, row: usize, counters: Counters) -> bool {
        match self.rows.get_mut(row) {
            Some(Some(row)) => std::mem::replace(&mut row.told, counters) != counters,
            _ => false,
        }
    }

    /// Whether a leg has just become silent.
    pub(super) fn falls_silent(&mut self, row: usize, silent: bool) -> bool {
        match self.rows.get_mut(row) {
            Some(Some(row)) => !std::mem::replace(&mut row.silent, silent) && silent,
            _ => false,
        }
    }

    fn get(&self, row: usize) -> Option<&Row> {
        self.rows.get(row)?.as_ref()
    }
}

/// Packets that leave one after the other from the same socket, as those of a video frame do.
pub(super) struct Run {
    outbox: Outbox,
    of: Option<(usize, Component)>,
}

impl Run {
    pub(super) fn new(bytes_max: usize) -> Run {
        Run {
            outbox: Outbox::new(bytes_max),
            of: None,
        }
    }

    /// Adds a packet for `to`.
    pub(super) fn push(
        &mut self,
        legs: &Legs,
        row: usize,
        component: Component,
        to: SocketAddr,
        packet: &[u8],
    ) {
        if self.of != Some((row, component)) || !self.outbox.has_room(packet.len()) {
            self.flush(legs);
            self.of = Some((row, component));
        }
        let connected = legs
            .port(row, component)
            .is_some_and(|p| p.peer == Some(to));
        self.outbox.push((!connected).then_some(to), packet);
    }

    /// Sends all. What the kernel does not take is lost: media that waits is worth nothing.
    pub(super) fn flush(&mut self, legs: &Legs) {
        if let Some((row, component)) = self.of.take()
            && let Some(port) = legs.port(row, component)
        {
            self.outbox.flush(&port.socket);
        }
    }
}
