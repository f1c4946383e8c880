//! One party's audio stream: a pair of UDP ports, a tone that goes out, and an ear.
//!
//! Opened before the offer, told of the peer's [`Description`] as offers and answers come, closed
//! when dropped. Packets go out every 20 ms while the direction allows; those that come in are
//! authenticated, decrypted, counted and kept for two seconds, so that [`Ear::listen`] can say
//! which tone they carry.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use rtp::header::Header;
use rtp::packet::Packet;
use sdp_types::Direction;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;
use webrtc_util::marshal::{Marshal, Unmarshal};

use super::figures::{Arrivals, Figures, Heard};
use super::rtcp;
use super::sdp::{Description, Sdes, Video};
use super::tone::{self, PACKET_SAMPLES, Tone};

const PACKET_INTERVAL: Duration = Duration::from_millis(20);
const REPORT_EVERY_PACKETS: u32 = 25;
const KEPT_SAMPLES: usize = 2 * tone::RATE_HZ as usize;
/// Half a second is judged: bins 2 Hz wide.
const JUDGED_SAMPLES: usize = 4000;
const PORT_TRIES: usize = 64;

/// The stream.
pub(crate) struct Stream {
    ear: Ear,
    local: (SocketAddr, SocketAddr),
    number: u64,
    version: u64,
    own: Option<Sdes>,
    direction: Direction,
    /// Where a picture would go, with its key.
    video: Option<((UdpSocket, UdpSocket), Option<Sdes>)>,
    _tasks: JoinSet<()>,
}

/// Listens on a stream and reads its counts, also after the stream is closed; clones share it.
#[derive(Clone)]
pub(crate) struct Ear {
    shared: Arc<Shared>,
    hz: f64,
}

struct Shared {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    peer: Option<(SocketAddr, SocketAddr)>,
    sending: bool,
    outgoing: Option<Context>,
    incoming: Option<(Sdes, Context)>,
    figures: Figures,
    arrivals: Option<Arrivals>,
    heard: VecDeque<i16>,
    wire: VecDeque<i16>,
    packet_bytes: usize,
    total: u64,
}

impl Stream {
    /// Opens an even port and the next at that address; `secure` makes an SDES key.
    pub(crate) async fn open(ip: IpAddr, hz: f64, secure: bool) -> Result<Stream> {
        let (rtp, rtcp) = port_pair(ip).await?;
        let local = (rtp.local_addr()?, rtcp.local_addr()?);
        let shared = Arc::new(Shared {
            rtp,
            rtcp,
            state: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(send(
            Arc::clone(&shared),
            Tone::new(hz),
            format!("lab@{ip}"),
        ));
        tasks.spawn(receive(Arc::clone(&shared)));
        tasks.spawn(receive_reports(Arc::clone(&shared)));
        Ok(Stream {
            ear: Ear { shared, hz },
            local,
            number: u64::from(rand::random::<u32>()),
            version: 0,
            own: secure.then(|| Sdes::random(1)),
            direction: Direction::SendRecv,
            video: None,
            _tasks: tasks,
        })
    }

    /// Its ear.
    pub(crate) fn ear(&self) -> Ear {
        self.ear.clone()
    }

    /// Describes a picture, too, from now on. None is sent.
    ///
    /// # Errors
    /// No ports are left.
    pub(crate) async fn add_video(&mut self) -> Result<()> {
        let key = self.own.as_ref().map(|_| Sdes::random(1));
        self.video = Some((port_pair(self.local.0.ip()).await?, key));
        Ok(())
    }

    /// An offer with that direction.
    pub(crate) fn offer(&mut self, direction: Direction) -> Result<String> {
        self.direction = direction;
        self.describe(direction)
    }

    /// Takes the answer to an offer.
    pub(crate) fn accept(&mut self, answer: &[u8]) -> Result<()> {
        let peer = Description::read(answer)?;
        if let (Some(own), Some(theirs)) = (&self.own, &peer.sdes)
            && own.tag != theirs.tag
        {
            bail!(
                "the answer chose key {}, offered was {}",
                theirs.tag,
                own.tag
            );
        }
        self.apply(&peer)
    }

    /// Takes an offer and gives the answer.
    pub(crate) fn answer(&mut self, offer: &[u8]) -> Result<String> {
        let peer = Description::read(offer)?;
        if let (Some(own), Some(theirs)) = (&mut self.own, &peer.sdes) {
            own.tag = theirs.tag;
        }
        let theirs = peer.video.as_ref().and_then(|video| video.sdes.as_ref());
        if let (Some((_, Some(own))), Some(theirs)) = (&mut self.video, theirs) {
            own.tag = theirs.tag;
        }
        self.direction = Direction::SendRecv;
        self.apply(&peer)?;
        self.describe(peer.direction.reverse())
    }

    fn describe(&mut self, direction: Direction) -> Result<String> {
        self.version += 1;
        let description = Description {
            session: (self.number, self.version),
            rtp: self.local.0,
            rtcp: self.local.1,
            direction,
            sdes: self.own.clone(),
            pcmu: true,
            video: self.picture()?,
        };
        description.write()
    }

    fn picture(&self) -> Result<Option<Video>> {
        let Some(((rtp, _), sdes)) = &self.video else {
            return Ok(None);
        };
        Ok(Some(Video {
            port: rtp.local_addr()?.port(),
            sdes: sdes.clone(),
        }))
    }

    fn apply(&mut self, peer: &Description) -> Result<()> {
        if !peer.pcmu {
            bail!("the peer does not speak PCMU");
        }
        let keys = match (&self.own, &peer.sdes) {
            (Some(own), Some(theirs)) => Some((own, theirs)),
            (None, None) => None,
            (Some(_), None) => bail!("the peer answered with plain RTP where SRTP is a must"),
            (None, Some(_)) => bail!("the peer wants SRTP of a party that speaks plain RTP"),
        };
        let mut state = self.state();
        if let Some((own, theirs)) = keys {
            if state.outgoing.is_none() {
                state.outgoing = Some(srtp(own)?);
            }
            if state
                .incoming
                .as_ref()
                .is_none_or(|(known, _)| known.key != theirs.key)
            {
                state.incoming = Some((theirs.clone(), srtp(theirs)?));
            }
        }
        state.peer = Some((peer.rtp, peer.rtcp));
        state.sending = peer.direction.has_recv() && self.direction.has_send();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.ear.shared.state()
    }
}

impl Ear {
    /// Counts so far.
    pub(crate) fn figures(&self) -> Figures {
        self.shared.state().figures
    }

    /// Waits for half a second of fresh sound and says what it is.
    ///
    /// # Errors
    /// The sound did not come within `patience`.
    pub(crate) async fn listen(&self, expected: f64, patience: Duration) -> Result<Heard> {
        let start = self.shared.state().total;
        let end = Instant::now() + patience;
        loop {
            if let Some(heard) = self.judge(start, expected) {
                return Ok(heard);
            }
            if Instant::now() >= end {
                let got = self.shared.state().total - start;
                bail!("only {got} samples of audio in {patience:?}");
            }
            tokio::time::sleep(PACKET_INTERVAL).await;
        }
    }

    /// Packets that came in within that time.
    pub(crate) async fn packets_within(&self, time: Duration) -> u64 {
        let start = self.shared.state().figures.received;
        tokio::time::sleep(time).await;
        self.shared.state().figures.received - start
    }

    fn judge(&self, start: u64, expected: f64) -> Option<Heard> {
        let state = self.shared.state();
        if state.total - start < JUDGED_SAMPLES as u64 {
            return None;
        }
        let last = |kept: &VecDeque<i16>| -> Vec<i16> {
            kept.iter()
                .skip(kept.len().saturating_sub(JUDGED_SAMPLES))
                .copied()
                .collect()
        };
        let (heard, wire) = (last(&state.heard), last(&state.wire));
        Some(Heard {
            samples: heard.len(),
            expected: tone::share(&heard, expected),
            own: tone::share(&heard, self.hz),
            on_the_wire: tone::share(&wire, expected),
            packet_bytes: state.packet_bytes,
        })
    }

    /// Sends no more.
    pub(crate) fn silence(&self) {
        self.shared.state().sending = false;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn srtp(sdes: &Sdes) -> Result<Context> {
    let (key, salt) = sdes.key.split_at(16);
    Context::new(
        key,
        salt,
        ProtectionProfile::Aes128CmHmacSha1_80,
        Some(srtp_replay_protection(64)),
        Some(srtcp_replay_protection(64)),
    )
    .context("an SRTP context")
}

async fn port_pair(ip: IpAddr) -> Result<(UdpSocket, UdpSocket)> {
    for _ in 0..PORT_TRIES {
        let rtp = UdpSocket::bind((ip, 0))
            .await
            .with_context(|| format!("a UDP port at {ip}"))?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 0
            && let Ok(rtcp) = UdpSocket::bind((ip, port + 1)).await
        {
            return Ok((rtp, rtcp));
        }
    }
    bail!("no free pair of UDP ports at {ip}")
}

async fn send(shared: Arc<Shared>, mut tone: Tone, name: String) {
    let mut clock = tokio::time::interval(PACKET_INTERVAL);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut header = Header {
        version: 2,
        marker: true,
        sequence_number: rand::random(),
        timestamp: rand::random(),
        ssrc: rand::random(),
        ..Header::default()
    };
    let (mut packets, mut since_report) = (0_u32, 0);
    loop {
        clock.tick().await;
        let payload = Bytes::copy_from_slice(&tone.packet());
        header.timestamp = header.timestamp.wrapping_add(PACKET_SAMPLES as u32);
        let Some((datagram, peer)) = shared.outgoing(&header, payload) else {
            header.marker = true;
            continue;
        };
        header.sequence_number = header.sequence_number.wrapping_add(1);
        header.marker = false;
        packets = packets.wrapping_add(1);
        let _ = shared.rtp.send_to(&datagram, peer.0).await;
        since_report += 1;
        if since_report == REPORT_EVERY_PACKETS || packets == 1 {
            since_report = 0;
            let octets = packets.wrapping_mul(PACKET_SAMPLES as u32);
            let report = rtcp::report(header.ssrc, header.timestamp, packets, octets, &name);
            if let Some(report) = shared.outgoing_report(report) {
                let _ = shared.rtcp.send_to(&report, peer.1).await;
            }
        }
    }
}

async fn receive(shared: Arc<Shared>) {
    let mut buffer = vec![0; 2048];
    loop {
        // Loopback tells of closed ports as an error of the socket: no reason to stop.
        if let Ok((size, _)) = shared.rtp.recv_from(&mut buffer).await {
            shared.incoming(&buffer[..size], Instant::now());
        } else {
            tokio::time::sleep(PACKET_INTERVAL).await;
        }
    }
}

async fn receive_reports(shared: Arc<Shared>) {
    let mut buffer = vec![0; 2048];
    loop {
        let Ok((size, _)) = shared.rtcp.recv_from(&mut buffer).await else {
            tokio::time::sleep(PACKET_INTERVAL).await;
            continue;
        };
        let mut state = shared.state();
        let plain = match &mut state.incoming {
            Some((_, context)) => context.decrypt_rtcp(&buffer[..size]).ok(),
            None => Some(Bytes::copy_from_slice(&buffer[..size])),
        };
        match plain {
            Some(report) if rtcp::is_report(&report) => state.figures.reports += 1,
            _ => state.figures.refused += 1,
        }
    }
}

impl Shared {
    /// The next datagram and whom it is for, or nothing while nothing may be sent.
    fn outgoing(
        &self,
        header: &Header,
        payload: Bytes,
    ) -> Option<(Bytes, (SocketAddr, SocketAddr))> {
        let mut state = self.state();
        let peer = state.peer.filter(|_| state.sending)?;
        let plain = Packet {
            header: header.clone(),
            payload,
        }
        .marshal()
        .ok()?;
        let datagram = match &mut state.outgoing {
            Some(context) => context.encrypt_rtp(&plain).ok()?,
            None => plain,
        };
        state.figures.sent += 1;
        Some((datagram, peer))
    }

    fn outgoing_report(&self, report: Vec<u8>) -> Option<Bytes> {
        match &mut self.state().outgoing {
            Some(context) => context.encrypt_rtcp(&report).ok(),
            None => Some(report.into()),
        }
    }

    fn incoming(&self, datagram: &[u8], now: Instant) {
        let mut state = self.state();
        let plain = match &mut state.incoming {
            Some((_, context)) => context.decrypt_rtp(datagram).ok(),
            None => Some(Bytes::copy_from_slice(datagram)),
        };
        let Some(packet) = plain.and_then(|mut plain| Packet::unmarshal(&mut plain).ok()) else {
            state.figures.refused += 1;
            return;
        };
        let header = &packet.header;
        if header.payload_type != 0 {
            return;
        }
        state.count((header.ssrc, header.sequence_number, header.timestamp), now);
        state.packet_bytes = datagram.len();
        let wire = datagram
            .get(12..12 + packet.payload.len())
            .unwrap_or_default();
        state.total += packet.payload.len() as u64;
        keep(&mut state.heard, &packet.payload);
        keep(&mut state.wire, wire);
    }
}

impl State {
    fn count(&mut self, packet: (u32, u16, u32), now: Instant) {
        self.figures.received += 1;
        let State {
            figures, arrivals, ..
        } = self;
        if !arrivals
            .as_mut()
            .is_some_and(|arrivals| arrivals.count(packet, now, figures))
        {
            *arrivals = Some(Arrivals::first(packet.0, packet.1, packet.2, now));
        }
    }
}

fn keep(kept: &mut VecDeque<i16>, payload: &[u8]) {
    kept.extend(payload.iter().map(|byte| tone::decode(*byte)));
    let excess = kept.len().saturating_sub(KEPT_SAMPLES);
    kept.drain(..excess);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair(secure: bool) -> (Stream, Stream) {
        let ip = "127.0.0.1".parse().unwrap();
        let mut one = Stream::open(ip, 440.0, secure).await.unwrap();
        let mut other = Stream::open(ip, 880.0, secure).await.unwrap();
        let offer = one.offer(Direction::SendRecv).unwrap();
        let answer = other.answer(offer.as_bytes()).unwrap();
        one.accept(answer.as_bytes()).unwrap();
        (one, other)
    }

    #[tokio::test]
    async fn secure_streams_hear_each_other_and_hide_the_tone() {
        let (one, other) = pair(true).await;
        let patience = Duration::from_secs(10);
        let (at_one, at_other) = tokio::join!(
            one.ear.listen(880.0, patience),
            other.ear.listen(440.0, patience)
        );
        let (at_one, at_other) = (at_one.unwrap(), at_other.unwrap());
        assert!(at_one.is_clear() && at_one.was_encrypted(), "{at_one:?}");
        assert!(
            at_other.is_clear() && at_other.was_encrypted(),
            "{at_other:?}"
        );
        assert_eq!(one.ear.figures().refused, 0);
        assert!(other.ear.figures().reports > 0);
    }

    #[tokio::test]
    async fn plain_streams_show_the_tone() {
        let (one, other) = pair(false).await;
        let heard = other
            .ear
            .listen(440.0, Duration::from_secs(10))
            .await
            .unwrap();
        assert!(heard.is_clear() && heard.was_plain(), "{heard:?}");
        assert_eq!(one.ear.figures().refused, 0);
    }

    #[tokio::test]
    async fn hold_stops_the_peer_and_resume_starts_it() {
        let (mut one, mut other) = pair(true).await;
        let patience = Duration::from_secs(10);
        one.ear.listen(880.0, patience).await.unwrap();
        for (direction, sending) in [(Direction::SendOnly, false), (Direction::SendRecv, true)] {
            let offer = one.offer(direction).unwrap();
            let answer = other.answer(offer.as_bytes()).unwrap();
            one.accept(answer.as_bytes()).unwrap();
            assert_eq!(other.state().sending, sending);
            assert!(one.state().sending);
        }
        assert!(one.ear.listen(880.0, patience).await.unwrap().is_clear());
    }

    #[tokio::test]
    async fn answer_without_encryption_is_refused_where_it_is_a_must() {
        let ip = "127.0.0.1".parse().unwrap();
        let mut one = Stream::open(ip, 440.0, true).await.unwrap();
        let mut other = Stream::open(ip, 880.0, false).await.unwrap();
        one.offer(Direction::SendRecv).unwrap();
        let plain = other.offer(Direction::SendRecv).unwrap();
        assert!(one.accept(plain.as_bytes()).is_err());
    }
}
