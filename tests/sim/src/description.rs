//! Session descriptions as the simulated phones write and read them: one audio stream, and perhaps
//! a picture of slides and floor control beside it, on text.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Which way audio goes, as its writer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// Only from the writer.
    Out,
    /// Only to the writer.
    In,
    /// Neither way.
    Neither,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Direction::Both => "sendrecv",
            Direction::Out => "sendonly",
            Direction::In => "recvonly",
            Direction::Neither => "inactive",
        }
    }

    /// The answer to an offer with this direction.
    pub fn mirrored(self) -> Direction {
        match self {
            Direction::Out => Direction::In,
            Direction::In => Direction::Out,
            other => other,
        }
    }

    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::Both | Direction::Out)
    }

    /// Whether the writer listens.
    pub fn hears(self) -> bool {
        matches!(self, Direction::Both | Direction::In)
    }
}

/// One party's audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Where it wants to be sent to.
    pub address: SocketAddr,
    /// Master key and salt, where it is encrypted.
    pub key: Option<Vec<u8>>,
    /// Which way.
    pub direction: Direction,
    /// Its slides: `None` without such a line, port 0 if they are refused.
    pub slides: Option<Slides>,
    /// Its floor control: `None` without such a line, port 0 if it is refused.
    pub floor: Option<SocketAddr>,
}

/// A second picture, of what is presented (RFC 4796).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slides {
    /// Where it is to be sent to.
    pub address: SocketAddr,
    /// Master key and salt, where it is encrypted.
    pub key: Option<Vec<u8>>,
}

impl Audio {
    /// As an offer or answer; `version` rises with each change.
    pub fn write(&self, version: u32) -> String {
        let family = |ip: IpAddr| if ip.is_ipv4() { "IP4" } else { "IP6" };
        let (ip, port) = (self.address.ip(), self.address.port());
        let family = family(ip);
        let profile = if self.key.is_some() {
            "RTP/SAVP"
        } else {
            "RTP/AVP"
        };
        let mut out = format!(
            "v=0\r\no=- 77 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} {profile} 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na={}\r\n",
            self.direction.word()
        );
        if let Some(key) = &self.key {
            let key = STANDARD.encode(key);
            out.push_str(&format!(
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n"
            ));
        }
        if let Some(slides) = &self.slides {
            out.push_str(&format!(
                "m=video {} {profile} 97\r\na=rtpmap:97 H264/90000\r\na=content:slides\r\n",
                slides.address.port()
            ));
            if let Some(key) = &slides.key {
                let key = STANDARD.encode(key);
                out.push_str(&format!(
                    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n"
                ));
            }
        }
        if let Some(floor) = self.floor {
            out.push_str(&format!(
                "m=application {} UDP/BFCP *\r\na=floorctrl:c-s\r\n",
                floor.port()
            ));
        }
        out
    }

    /// Reads one; `None` if it has no audio.
    pub fn read(text: &str) -> Option<Audio> {
        let mut ip: Option<IpAddr> = None;
        let mut audio: Option<Audio> = None;
        let (mut foreign, mut slides) = (false, false);
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("c=") {
                let found = rest.split(' ').nth(2)?.parse().ok()?;
                match &mut audio {
                    Some(a) if !foreign => a.address.set_ip(found),
                    _ => ip = Some(found),
                }
            } else if let Some(rest) = line.strip_prefix("m=") {
                foreign = audio.is_some() || !rest.starts_with("audio ");
                if let (Some(audio), Some(port)) = (&mut audio, floor_port(rest)) {
                    audio.floor = Some(SocketAddr::new(audio.address.ip(), port));
                }
                slides = rest.starts_with("video ");
                if let (Some(audio), true) = (&mut audio, slides) {
                    let port = rest.split(' ').nth(1)?.parse().ok()?;
                    audio.slides = Some(Slides {
                        address: SocketAddr::new(audio.address.ip(), port),
                        key: None,
                    });
                }
                if !foreign {
                    let port = rest.split(' ').nth(1)?.parse().ok()?;
                    let at = SocketAddr::new(ip.unwrap_or([0, 0, 0, 0].into()), port);
                    audio = Some(Audio {
                        address: at,
                        key: None,
                        direction: Direction::Both,
                        slides: None,
                        floor: None,
                    });
                }
            } else if let (Some(audio), true) = (&mut audio, slides) {
                if let Some(slides) = audio.slides.as_mut().filter(|s| s.key.is_none()) {
                    slides.key = key_of(line);
                }
            } else if let (Some(audio), false) = (&mut audio, foreign) {
                audio.attribute(line);
            }
        }
        audio.filter(|a| a.address.port() != 0)
    }

    fn attribute(&mut self, line: &str) {
        for direction in [
            Direction::Both,
            Direction::Out,
            Direction::In,
            Direction::Neither,
        ] {
            if line.strip_prefix("a=") == Some(direction.word()) {
                self.direction = direction;
            }
        }
        if self.key.is_none() {
            self.key = key_of(line);
        }
    }
}

/// The key of a line, if it is one and of the suite that we know.
fn key_of(line: &str) -> Option<Vec<u8>> {
    let crypto = line.strip_prefix("a=crypto:")?;
    let usable = crypto.contains("AES_CM_128_HMAC_SHA1_80");
    let inline = crypto.split("inline:").nth(1).filter(|_| usable)?;
    STANDARD.decode(inline.split(['|', ' ']).next()?).ok()
}

/// The port of an m-line that is floor control over UDP.
fn floor_port(line: &str) -> Option<u16> {
    let mut words = line.split(' ');
    let (kind, port, profile) = (words.next()?, words.next()?, words.next()?);
    (kind == "application" && profile == "UDP/BFCP").then(|| port.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (key, direction) in [(None, Direction::Both), (Some(vec![7; 30]), Direction::Out)] {
            let address: SocketAddr = "198.51.100.7:4000".parse().unwrap();
            let floor = Some(SocketAddr::new(address.ip(), 4002));
            let slides = Some(Slides {
                address: SocketAddr::new(address.ip(), 4004),
                key: key.as_ref().map(|_| vec![9; 30]),
            });
            let audio = Audio {
                address,
                key,
                direction,
                slides,
                floor,
            };
            assert_eq!(Audio::read(&audio.write(1)), Some(audio));
        }
    }
}
