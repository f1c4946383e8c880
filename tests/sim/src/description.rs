//! Session descriptions as the simulated phones write and read them: one audio stream, on text.

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
                if !foreign {
                    let port = rest.split(' ').nth(1)?.parse().ok()?;
                    let at = SocketAddr::new(ip.unwrap_or([0, 0, 0, 0].into()), port);
                    audio = Some(Audio {
                        address: at,
                        key: None,
                        direction: Direction::Both,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (key, direction) in [(None, Direction::Both), (Some(vec![7; 30]), Direction::Out)] {
            let address = "198.51.100.7:4000".parse().unwrap();
            let audio = Audio {
                address,
                key,
                direction,
            };
            assert_eq!(Audio::read(&audio.write(1)), Some(audio));
        }
    }
}
