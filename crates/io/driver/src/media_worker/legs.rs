//! Legs' sockets: two each, by row.

use std::collections::HashMap;
use std::net::SocketAddr;

use media::{Component, Counters, LegId, PortPair};
use net::udp::{Options, Outbox, Udp};

use super::Settings;

/// One of a leg's sockets.
pub(super) struct Port {
    pub(super) socket: Udp,
    /// The one peer it is connected to.
    pub(super) peer: Option<SocketAddr>,
}

impl Port {
    fn bind(
        address: SocketAddr,
        receive_bytes: usize,
        dscp: Option<u8>,
    ) -> Result<Port, SocketAddr> {
        let options = Options {
            receive_bytes: Some(receive_bytes),
            dscp,
            ..Options::default()
        };
        match Udp::bind(address, options) {
            Ok(socket) => Ok(Port { socket, peer: None }),
            Err(e) => {
                tracing::warn!(%address, error = %e, "a media port cannot be opened");
                Err(address)
            }
        }
    }

    /// Takes packets of one peer only, and sends to it without looking up a route each time. If
    /// there is no way to it at present, the socket stays open to all, and the relay alone decides.
    pub(super) fn connect(&mut self, peer: SocketAddr) {
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
}

struct Row {
    leg: LegId,
    rtp: Port,
    rtcp: Port,
    told: Counters,
    silent: bool,
}

/// All legs' sockets of a worker.
pub(super) struct Legs {
    rows: Vec<Option<Row>>,
    free: Vec<usize>,
    by_id: HashMap<LegId, usize, base::FixedState>,
    legs_max: usize,
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
    pub(super) fn new(legs_max: usize) -> Legs {
        Legs {
            rows: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::default(),
            legs_max,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Rows in use and free.
    pub(super) fn rows_max(&self) -> usize {
        self.rows.len()
    }

    /// Opens both sockets.
    ///
    /// # Errors
    /// The address that could not be bound; then neither is open.
    pub(super) fn open(
        &mut self,
        settings: &Settings,
        leg: LegId,
        local: &PortPair,
    ) -> Result<usize, SocketAddr> {
        if self.by_id.len() >= self.legs_max {
            tracing::warn!(legs = self.legs_max, "no more media legs are allowed");
            return Err(local.rtp);
        }
        let row = Row {
            leg,
            rtp: Port::bind(local.rtp, settings.leg_receive_bytes, settings.dscp)?,
            rtcp: Port::bind(local.rtcp, settings.leg_receive_bytes / 4, settings.dscp)?,
            told: Counters::default(),
            silent: false,
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.rows.push(None);
                self.rows.len() - 1
            }
        };
        if let Some(place) = self.rows.get_mut(at) {
            *place = Some(row);
        }
        self.by_id.insert(leg, at);
        Ok(at)
    }

    /// Closes both.
    pub(super) fn close(&mut self, leg: LegId) {
        if let Some(at) = self.by_id.remove(&leg)
            && let Some(row) = self.rows.get_mut(at)
        {
            *row = None;
            self.free.push(at);
        }
    }

    pub(super) fn row(&self, leg: LegId) -> Option<usize> {
        self.by_id.get(&leg).copied()
    }

    pub(super) fn id(&self, row: usize) -> Option<LegId> {
        self.get(row).map(|r| r.leg)
    }

    pub(super) fn port(&self, row: usize, component: Component) -> Option<&Port> {
        let row = self.get(row)?;
        Some(match component {
            Component::Rtp => &row.rtp,
            Component::Rtcp => &row.rtcp,
        })
    }

    /// Connects both sockets to the one peer that they serve.
    pub(super) fn connect(&mut self, row: usize, peer: &PortPair) {
        if let Some(Some(row)) = self.rows.get_mut(row) {
            row.rtp.connect(peer.rtp);
            row.rtcp.connect(peer.rtcp);
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
