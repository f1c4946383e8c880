//! Session descriptions as the simulated phones write and read them: one audio stream, and perhaps
//! floor control beside it, on text.

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
    /// Its floor control: `None` without such a line, port 0 if it is refused.
    pub floor: Option<SocketAddr>,
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
        let mut foreign = false;
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
                if !foreign {
                    let port = rest.split(' ').nth(1)?.parse().ok()?;
                    let at = SocketAddr::new(ip.unwrap_or([0, 0, 0, 0].into()), port);
                    audio = Some(Audio {
                        address: at,
                        key: None,
                        direction: Direction::Both,
                        floor: None,
                    });
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
        let crypto = line
            .strip_prefix("a=crypto:")
            .filter(|_| self.key.is_none());
        let usable = crypto.filter(|c| c.contains("AES_CM_128_HMAC_SHA1_80"));
        if let Some(inline) = usable.and_then(|c| c.split("inline:").nth(1)) {
            let key = inline.split(['|', ' ']).next().unwrap_or("");
            self.key = STANDARD.decode(key).ok();
        }
    }
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
            let audio = Audio {
                address,
                key,
                direction,
                floor,
            };
            assert_eq!(Audio::read(&audio.write(1)), Some(audio));
        }
    }
}
