//! Session descriptions of one audio stream, and a picture beside it: written and read with
//! `sdp-types`.
//!
//! What a party says of itself is a [`Description`]; [`Description::write`] gives the text,
//! [`Description::read`] takes a peer's. Keys are SDES (RFC 4568) with the one suite
//! `AES_CM_128_HMAC_SHA1_80`; other suites in an offer are passed over.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use base64::Engine;
use sdp_types::{Attribute, Connection, Direction, MediaType, Origin, Session, TransportProto};

/// Bytes of an SDES key: 16 of key and 14 of salt (RFC 4568 §6.2).
pub(crate) const KEY_BYTES: usize = 30;
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

/// A master key with its salt, and the tag it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sdes {
    /// Its number in offer and answer.
    pub(crate) tag: u32,
    /// Key and salt.
    pub(crate) key: [u8; KEY_BYTES],
}

impl Sdes {
    /// A fresh key.
    pub(crate) fn random(tag: u32) -> Sdes {
        Sdes {
            tag,
            key: rand::random(),
        }
    }
}

/// One audio stream as a party describes it.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// Number and version of the `o=` line.
    pub(crate) session: (u64, u64),
    /// Where the party wants RTP.
    pub(crate) rtp: SocketAddr,
    /// Where the party wants RTCP.
    pub(crate) rtcp: SocketAddr,
    /// Which way media flows, as the party sees it.
    pub(crate) direction: Direction,
    /// Its key; `None` is plain RTP.
    pub(crate) sdes: Option<Sdes>,
    /// Whether G.711 µ-law is among the formats.
    pub(crate) pcmu: bool,
    /// The picture.
    pub(crate) video: Option<Video>,
}

/// A stream of pictures, which are described and never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Video {
    /// Its port, at the address of the audio.
    pub(crate) port: u16,
    /// Its key; `None` is plain RTP.
    pub(crate) sdes: Option<Sdes>,
}

impl Description {
    /// The text of it.
    pub(crate) fn write(&self) -> Result<String> {
        let (number, version) = self.session;
        let ip = self.rtp.ip();
        let mut session = Session::new(Origin::with_ip_addr(number, version, ip), "lab");
        session.set_connection(Connection::from_ip_addr(ip));
        let proto = if self.sdes.is_some() {
            TransportProto::RtpSavp
        } else {
            TransportProto::RtpAvp
        };
        let mut media = sdp_types::Media::new(MediaType::Audio, self.rtp.port(), proto, "0 101");
        media.add_attribute(Attribute::with_value("rtpmap", "0 PCMU/8000"));
        media.add_attribute(Attribute::with_value("rtpmap", "101 telephone-event/8000"));
        media.add_attribute(Attribute::with_value("fmtp", "101 0-15"));
        media.add_attribute(Attribute::with_value("ptime", "20"));
        add_key(&mut media, self.sdes.as_ref());
        media.add_attribute(Attribute::new(self.direction.as_str()));
        session.add_media(media);
        if let Some(video) = &self.video {
            let proto = match video.sdes {
                Some(_) => TransportProto::RtpSavp,
                None => TransportProto::RtpAvp,
            };
            let mut media = sdp_types::Media::new(MediaType::Video, video.port, proto, "97");
            media.add_attribute(Attribute::with_value("rtpmap", "97 H264/90000"));
            media.add_attribute(Attribute::with_value("fmtp", "97 profile-level-id=42801f"));
            add_key(&mut media, video.sdes.as_ref());
            media.add_attribute(Attribute::new(self.direction.as_str()));
            session.add_media(media);
        }
        let mut text = Vec::new();
        session
            .write(&mut text)
            .context("writing a session description")?;
        String::from_utf8(text).context("a session description in UTF-8")
    }

    /// What a peer says.
    ///
    /// # Errors
    /// No parsable description, no audio stream, or one in a protocol other than `RTP/AVP` and
    /// `RTP/SAVP`, or `RTP/SAVP` without a key of the suite that we know.
    pub(crate) fn read(text: &[u8]) -> Result<Description> {
        let session = Session::parse(text).context("parsing a session description")?;
        let audio = session
            .medias
            .iter()
            .find(|media| media.media == "audio")
            .context("no audio in the session description")?;
        let address = audio
            .connections
            .first()
            .or(session.connection.as_ref())
            .context("no c= line")?
            .connection_address
            .parse::<IpAddr>()
            .context("address of the c= line")?;
        let rtcp_port = match audio.get_first_attribute_value("rtcp") {
            Some(Some(value)) => value
                .split(' ')
                .next()
                .unwrap_or_default()
                .parse()
                .context("a=rtcp")?,
            _ => audio.port.saturating_add(1),
        };
        let secure = match audio.proto.as_str() {
            "RTP/AVP" => false,
            "RTP/SAVP" => true,
            other => bail!("media over {other}"),
        };
        let sdes = key_of(audio);
        if secure && sdes.is_none() {
            bail!("RTP/SAVP without an {SUITE} key");
        }
        let picture = session.medias.iter().find(|media| media.media == "video");
        let picture = picture.filter(|media| media.port != 0);
        let session_number = session.origin.sess_id.parse().unwrap_or(0);
        Ok(Description {
            session: (session_number, session.origin.sess_version),
            rtp: SocketAddr::new(address, audio.port),
            rtcp: SocketAddr::new(address, rtcp_port),
            direction: direction(audio, &session),
            sdes: if secure { sdes } else { None },
            pcmu: audio.fmt.split(' ').any(|format| format == "0"),
            video: picture.map(|media| Video {
                port: media.port,
                sdes: key_of(media),
            }),
        })
    }
}

fn add_key(media: &mut sdp_types::Media, sdes: Option<&Sdes>) {
    if let Some(sdes) = sdes {
        let key = base64::engine::general_purpose::STANDARD.encode(sdes.key);
        let value = format!("{} {SUITE} inline:{key}", sdes.tag);
        media.add_attribute(Attribute::with_value("crypto", value));
    }
}

fn key_of(media: &sdp_types::Media) -> Option<Sdes> {
    let mut keys = media.get_attribute_values("crypto").flatten();
    keys.find_map(read_sdes)
}

fn direction(media: &sdp_types::Media, session: &Session) -> Direction {
    let known = [
        Direction::SendRecv,
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::Inactive,
    ];
    known
        .into_iter()
        .find(|direction| media.has_attribute(direction.as_str()))
        .or_else(|| {
            known
                .into_iter()
                .find(|d| session.has_attribute(d.as_str()))
        })
        .unwrap_or_default()
}

/// `1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^31` (RFC 4568 §9.1).
fn read_sdes(value: &str) -> Option<Sdes> {
    let crypto: sdp_types::Crypto = value.parse().ok()?;
    if crypto.crypto_suite.as_str() != SUITE {
        return None;
    }
    let text = &crypto.key_params.first()?.key_and_salt;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()?;
    Some(Sdes {
        tag: crypto.tag,
        key: bytes.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn description_survives_a_round_trip() {
        let said = Description {
            session: (7, 2),
            rtp: "127.0.4.1:4000".parse().unwrap(),
            rtcp: "127.0.4.1:4001".parse().unwrap(),
            direction: Direction::SendOnly,
            sdes: Some(Sdes {
                tag: 3,
                key: [9; KEY_BYTES],
            }),
            pcmu: true,
            video: Some(Video {
                port: 4002,
                sdes: Some(Sdes::random(3)),
            }),
        };
        let heard = Description::read(said.write().unwrap().as_bytes()).unwrap();
        assert_eq!(heard.session, said.session);
        assert_eq!((heard.rtp, heard.rtcp), (said.rtp, said.rtcp));
        assert_eq!(heard.direction, said.direction);
        assert_eq!(heard.sdes, said.sdes);
        assert!(heard.pcmu);
        assert_eq!(heard.video, said.video);
    }

    #[test]
    fn secure_media_without_our_suite_is_refused() {
        let text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                    m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AEAD_AES_256_GCM inline:AAAA\r\n";
        assert!(Description::read(text.as_bytes()).is_err());
        let plain = text.replace("SAVP", "AVP");
        assert!(Description::read(plain.as_bytes()).unwrap().sdes.is_none());
    }
}
