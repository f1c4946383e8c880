//! The lines of a description.

use std::net::{IpAddr, SocketAddr};

use crate::sdes::Crypto;
use crate::{BYTES_MAX, LINES_MAX, MEDIA_MAX, SdpError};

/// Which way media flows, as the describer sees it (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `a=sendrecv`, the default.
    SendRecv,
    /// `a=sendonly`.
    SendOnly,
    /// `a=recvonly`.
    RecvOnly,
    /// `a=inactive`.
    Inactive,
}

impl Direction {
    /// Whether the describer sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the describer receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// One line with its end.
#[derive(Clone, Debug)]
struct Line(Vec<u8>);

impl Line {
    fn new(kind: u8, value: &[u8]) -> Line {
        Line([&[kind, b'='], value, b"\r\n"].concat())
    }

    fn kind(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    fn value(&self) -> &[u8] {
        self.0.get(2..).unwrap_or_default().trim_ascii_end()
    }

    /// Another value; the line's end stays as it came.
    fn set_value(&mut self, value: &[u8]) {
        let end = 2 + self.value().len();
        self.0.splice(2..end, value.iter().copied());
    }

    /// Replaces the blank-separated parts of the value from one to another; what stands around
    /// them stays. A value that has them not stays as it is.
    fn set_tokens(&mut self, first: usize, last: usize, new: &[u8]) {
        let value = self.value();
        let (mut number, mut start) = (0, None);
        let (mut from, mut to) = (None, None);
        for (at, byte) in value.iter().chain([&b' ']).enumerate() {
            match (*byte == b' ', start) {
                (false, None) => start = Some(at),
                (true, Some(begin)) => {
                    from = from.or((number == first).then_some(begin));
                    to = to.or((number == last).then_some(at));
                    (number, start) = (number + 1, None);
                }
                _ => {}
            }
        }
        if let (Some(from), Some(to)) = (from, to) {
            self.0.splice(2 + from..2 + to, new.iter().copied());
        }
    }

    /// Name and value of an `a=` line.
    fn attribute(&self) -> Option<(&[u8], &[u8])> {
        if self.kind() != b'a' {
            return None;
        }
        let value = self.value();
        Some(match value.iter().position(|b| *b == b':') {
            Some(at) => (value.get(..at)?, value.get(at + 1..)?),
            None => (value, b""),
        })
    }
}

/// The parts of an m-line.
#[derive(Clone, Debug)]
struct Media {
    /// The first is the m-line itself.
    lines: Vec<Line>,
    port: u16,
}

impl Media {
    fn token(&self, index: usize) -> &[u8] {
        let line = self.lines.first().map_or(&b""[..], Line::value);
        line.split(|b| *b == b' ')
            .filter(|t| !t.is_empty())
            .nth(index)
            .unwrap_or_default()
    }

    /// Replaces one blank-separated part of the m-line; all around it stays.
    fn set_token(&mut self, index: usize, new: &[u8]) {
        if let Some(first) = self.lines.first_mut() {
            first.set_tokens(index, index, new);
        }
    }
}

/// A session description.
#[derive(Clone, Debug)]
pub struct Session {
    head: Vec<Line>,
    media: Vec<Media>,
}

impl Session {
    /// Reads a description. Lines may end in CRLF or LF (RFC 8866 §5).
    ///
    /// # Errors
    /// [`SdpError`].
    pub fn parse(text: &[u8]) -> Result<Session, SdpError> {
        if text.len() > BYTES_MAX {
            return Err(SdpError::Limit("64 KiB"));
        }
        let mut session = Session {
            head: Vec::new(),
            media: Vec::new(),
        };
        for raw in text.split_inclusive(|b| *b == b'\n') {
            if raw.trim_ascii().is_empty() {
                continue;
            }
            let line = Line(raw.to_vec());
            if raw.get(1) != Some(&b'=') || !line.kind().is_ascii_alphabetic() {
                return Err(SdpError::Malformed);
            }
            if line.kind() == b'm' {
                session.begin(line)?;
                continue;
            }
            let section = match session.media.last_mut() {
                Some(media) => &mut media.lines,
                None => &mut session.head,
            };
            if section.len() >= LINES_MAX {
                return Err(SdpError::Limit("512 lines in a section"));
            }
            section.push(line);
        }
        match session.head.first() {
            Some(v) if v.kind() == b'v' && v.value() == b"0" => Ok(session),
            _ => Err(SdpError::Malformed),
        }
    }

    fn begin(&mut self, line: Line) -> Result<(), SdpError> {
        if self.media.len() >= MEDIA_MAX {
            return Err(SdpError::Limit("16 m-lines"));
        }
        let mut media = Media {
            lines: vec![line],
            port: 0,
        };
        // `port/count` takes several ports; no client of ours offers it, and a relay that opened
        // one port for it would lose media without a word.
        let port = std::str::from_utf8(media.token(1))
            .ok()
            .and_then(|p| p.parse().ok());
        media.port = port.ok_or(SdpError::Media)?;
        if media.token(2).is_empty() {
            return Err(SdpError::Media);
        }
        self.media.push(media);
        Ok(())
    }

    /// The description's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let all = self
            .head
            .iter()
            .chain(self.media.iter().flat_map(|m| &m.lines));
        let bytes = all.clone().map(|line| line.0.len() + 2).sum();
        let mut out = Vec::with_capacity(bytes);
        for line in all {
            out.extend_from_slice(&line.0);
            if !out.ends_with(b"\n") {
                // The last line may lack its end; something may have been added after it.
                out.extend_from_slice(b"\r\n");
            }
        }
        out
    }

    /// How many m-lines there are.
    pub fn media_count(&self) -> usize {
        self.media.len()
    }

    /// `audio`, `video`, `application`, …
    pub fn kind(&self, i: usize) -> &[u8] {
        self.media.get(i).map_or(b"", |m| m.token(0))
    }

    /// The port of the m-line.
    pub fn port(&self, i: usize) -> u16 {
        self.media.get(i).map_or(0, |m| m.port)
    }

    /// The transport profile, as `RTP/SAVP`.
    pub fn proto(&self, i: usize) -> &[u8] {
        self.media.get(i).map_or(b"", |m| m.token(2))
    }

    /// Whether the m-line is neither refused nor switched off.
    pub fn is_active(&self, i: usize) -> bool {
        self.port(i) != 0
    }

    /// Whether the profile is one of RTP's.
    pub fn is_rtp(&self, i: usize) -> bool {
        self.proto(i).starts_with(b"RTP/")
    }

    /// Whether media of this profile goes in datagrams.
    pub fn is_udp(&self, i: usize) -> bool {
        let proto = self.proto(i);
        self.is_rtp(i) || proto.to_ascii_uppercase().starts_with(b"UDP")
    }

    /// Whether the profile says that media is encrypted.
    pub fn is_secure(&self, i: usize) -> bool {
        matches!(self.proto(i), b"RTP/SAVP" | b"RTP/SAVPF")
    }

    fn connection(&self, i: usize) -> Option<IpAddr> {
        let own = self.media.get(i)?.lines.iter().find(|l| l.kind() == b'c');
        let line = own.or_else(|| self.head.iter().find(|l| l.kind() == b'c'))?;
        address(line.value())
    }

    /// Where RTP of an m-line is wanted, if the address is literal.
    pub fn rtp_address(&self, i: usize) -> Option<SocketAddr> {
        self.is_active(i)
            .then_some(SocketAddr::new(self.connection(i)?, self.port(i)))
    }

    /// Where RTCP of an m-line is wanted: `a=rtcp` (RFC 3605), else the port above RTP's.
    pub fn rtcp_address(&self, i: usize) -> Option<SocketAddr> {
        let rtp = self.rtp_address(i)?;
        let Some(value) = self.attribute(i, b"rtcp") else {
            return Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?));
        };
        let (port, rest) = match value.iter().position(|b| *b == b' ') {
            Some(at) => (value.get(..at)?, value.get(at + 1..)?),
            None => (value, &b""[..]),
        };
        let port = std::str::from_utf8(port).ok()?.parse().ok()?;
        Some(SocketAddr::new(address(rest).unwrap_or(rtp.ip()), port))
    }

    /// Which way media of an m-line flows.
    pub fn direction(&self, i: usize) -> Direction {
        let of = |lines: &[Line]| {
            lines
                .iter()
                .filter_map(Line::attribute)
                .find_map(|(name, _)| match name {
                    b"sendrecv" => Some(Direction::SendRecv),
                    b"sendonly" => Some(Direction::SendOnly),
                    b"recvonly" => Some(Direction::RecvOnly),
                    b"inactive" => Some(Direction::Inactive),
                    _ => None,
                })
        };
        self.media
            .get(i)
            .and_then(|m| of(&m.lines))
            .or_else(|| of(&self.head))
            .unwrap_or(Direction::SendRecv)
    }

    /// The attributes of an m-line, name and value.
    pub fn attributes(&self, i: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.media
            .get(i)
            .into_iter()
            .flat_map(|m| m.lines.iter().filter_map(Line::attribute))
    }

    /// The first attribute of a name.
    pub fn attribute(&self, i: usize, name: &[u8]) -> Option<&[u8]> {
        self.attributes(i).find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The keys of an m-line that can be read, in order.
    pub fn crypto(&self, i: usize) -> Vec<Crypto> {
        self.attributes(i)
            .filter(|(name, _)| *name == b"crypto")
            .filter_map(|(_, value)| Crypto::parse(value).ok())
            .collect()
    }

    /// Points an m-line at an address: m-line, `c=`, and `a=rtcp` if it is there. RTCP is on the
    /// port above.
    pub fn set_address(&mut self, i: usize, ip: IpAddr, port: u16) {
        let Some(media) = self.media.get_mut(i) else {
            return;
        };
        media.port = port;
        media.set_token(1, port.to_string().as_bytes());
        if media
            .lines
            .iter()
            .any(|l| l.attribute().is_some_and(|(n, _)| n == b"rtcp"))
        {
            let rtcp = format!("rtcp:{} {}", port.saturating_add(1), connection(ip));
            for line in &mut media.lines {
                if line.attribute().is_some_and(|(n, _)| n == b"rtcp") {
                    line.set_value(rtcp.as_bytes());
                }
            }
        }
        let own = media.lines.iter_mut().find(|l| l.kind() == b'c');
        let common = self.head.iter_mut().find(|l| l.kind() == b'c');
        match own.or(common) {
            Some(old) => old.set_value(connection(ip).as_bytes()),
            // After the m-line and its title (RFC 8866 §5).
            None => {
                let at = media
                    .lines
                    .iter()
                    .take_while(|l| matches!(l.kind(), b'm' | b'i'))
                    .count();
                let line = Line::new(b'c', connection(ip).as_bytes());
                media.lines.insert(at, line);
            }
        }
    }

    /// Refuses an m-line as [`Session::reject`] does; an address of its own becomes `ip`, that of
    /// the whole session stays.
    pub fn refuse(&mut self, i: usize, ip: IpAddr) {
        self.reject(i);
        let Some(media) = self.media.get_mut(i) else {
            return;
        };
        media.lines.retain(|l| {
            let rtcp = l.attribute().is_some_and(|(name, _)| name == b"rtcp");
            !rtcp
        });
        if let Some(own) = media.lines.iter_mut().find(|l| l.kind() == b'c') {
            own.set_value(connection(ip).as_bytes());
        }
    }

    /// Refuses an m-line: port 0 (RFC 3264 §6).
    pub fn reject(&mut self, i: usize) {
        if let Some(media) = self.media.get_mut(i) {
            media.port = 0;
            media.set_token(1, b"0");
        }
    }

    /// Changes the transport profile.
    pub fn set_proto(&mut self, i: usize, proto: &[u8]) {
        if let Some(media) = self.media.get_mut(i) {
            media.set_token(2, proto);
        }
    }

    /// Adds an attribute at the end of an m-line's section.
    pub fn add_attribute(&mut self, i: usize, name: &[u8], value: &[u8]) {
        if let Some(media) = self.media.get_mut(i) {
            let text = if value.is_empty() {
                name.to_vec()
            } else {
                [name, b":", value].concat()
            };
            media.lines.push(Line::new(b'a', &text));
        }
    }

    /// Removes all attributes of a name from an m-line.
    pub fn remove_attribute(&mut self, i: usize, name: &[u8]) {
        self.remove_attributes(i, |n, _| n == name);
    }

    /// Removes the attributes of an m-line that `which` picks by name and value.
    pub fn remove_attributes(&mut self, i: usize, which: impl Fn(&[u8], &[u8]) -> bool) {
        if let Some(media) = self.media.get_mut(i) {
            media
                .lines
                .retain(|l| !l.attribute().is_some_and(|(n, v)| which(n, v)));
        }
    }

    /// Removes the attributes of the whole session that `which` picks by name and value.
    pub fn remove_session_attributes(&mut self, which: impl Fn(&[u8], &[u8]) -> bool) {
        self.head
            .retain(|l| !l.attribute().is_some_and(|(n, v)| which(n, v)));
    }

    /// Writes our address into the session's `c=`, if it has one that is an address of somebody
    /// else; the zero address of a hold stays.
    pub fn set_session_address(&mut self, ip: IpAddr) {
        let Some(line) = self.head.iter_mut().find(|l| l.kind() == b'c') else {
            return;
        };
        if address(line.value()).is_none_or(|a| !a.is_unspecified() && a != ip) {
            line.set_value(connection(ip).as_bytes());
        }
    }

    /// Writes our address into `o=`, which names the describer's machine; the session's id and
    /// version stay.
    pub fn set_origin_address(&mut self, ip: IpAddr) {
        let Some(line) = self.head.iter_mut().find(|l| l.kind() == b'o') else {
            return;
        };
        line.set_tokens(3, 5, connection(ip).as_bytes());
    }
}

/// `IN IP4 192.0.2.1`.
fn connection(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(a) => format!("IN IP4 {a}"),
        IpAddr::V6(a) => format!("IN IP6 {a}"),
    }
}

/// The literal address of a `c=` value; names are not looked up.
fn address(value: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(value).ok()?;
    let address = text.split_ascii_whitespace().nth(2)?;
    // `/ttl` follows multicast addresses.
    address.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=Cisco-SIPUA 1 2 IN IP4 10.1.1.1\r\ns=SIP Call\r\n\
        c=IN IP4 10.1.1.1\r\nb=AS:4000\r\nt=0 0\r\na=cisco-mari:v1\r\n\
        m=audio 2000 RTP/SAVP 0 8 101\r\n\
        a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
        a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n\
        m=video 2002 RTP/SAVP 97\r\nc=IN IP6 2001:db8::1\r\na=rtcp:3000\r\n\
        a=imageattr:* recv [x=1280,y=720]\r\na=inactive\r\n\
        m=application 0 UDP/BFCP *\r\nx=odd\n";

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn an_untouched_description_leaves_byte_for_byte() {
        assert_eq!(
            Session::parse(OFFER.as_bytes()).unwrap().to_bytes(),
            OFFER.as_bytes()
        );
    }

    #[test]
    fn m_lines_say_where_and_which_way() {
        let s = Session::parse(OFFER.as_bytes()).unwrap();
        assert_eq!(s.media_count(), 3);
        assert_eq!(s.rtp_address(0), Some("10.1.1.1:2000".parse().unwrap()));
        assert_eq!(s.rtcp_address(0), Some("10.1.1.1:2001".parse().unwrap()));
        assert_eq!(
            s.rtp_address(1),
            Some("[2001:db8::1]:2002".parse().unwrap())
        );
        assert_eq!(
            s.rtcp_address(1),
            Some("[2001:db8::1]:3000".parse().unwrap())
        );
        assert_eq!(
            (s.direction(0), s.direction(1)),
            (Direction::SendRecv, Direction::Inactive)
        );
        assert!(s.is_rtp(0) && !s.is_rtp(2) && s.is_udp(2) && !s.is_active(2));
        assert_eq!(s.crypto(0).len(), 1);
    }

    #[test]
    fn only_what_is_edited_changes() {
        let mut s = Session::parse(OFFER.as_bytes()).unwrap();
        s.set_address(0, ip("192.0.2.1"), 36002);
        s.set_address(1, ip("192.0.2.1"), 36004);
        s.set_proto(0, b"RTP/AVP");
        s.remove_attribute(0, b"crypto");
        s.add_attribute(0, b"x-causeway-stream", b"0000002a");
        s.set_origin_address(ip("192.0.2.1"));
        let want = OFFER
            .replace(
                "o=Cisco-SIPUA 1 2 IN IP4 10.1.1.1",
                "o=Cisco-SIPUA 1 2 IN IP4 192.0.2.1",
            )
            .replace("c=IN IP4 10.1.1.1", "c=IN IP4 192.0.2.1")
            .replace("m=audio 2000 RTP/SAVP", "m=audio 36002 RTP/AVP")
            .replace(
                "a=sendrecv\r\n",
                "a=sendrecv\r\na=x-causeway-stream:0000002a\r\n",
            )
            .replace("m=video 2002", "m=video 36004")
            .replace("c=IN IP6 2001:db8::1", "c=IN IP4 192.0.2.1")
            .replace("a=rtcp:3000", "a=rtcp:36005 IN IP4 192.0.2.1")
            .replace(
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
                 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n",
                "",
            );
        assert_eq!(String::from_utf8(s.to_bytes()).unwrap(), want);
    }

    #[test]
    fn odd_blanks_and_line_ends_around_an_edit_stay() {
        let text = "v=0\no=-  1 1  IN IP4 10.1.1.1\ns=-\nc=IN IP4 10.1.1.1\nt=0 0\n\
                    m=audio  2000 RTP/AVP 0  8 \na=rtcp:2001\r\nm=video 0 RTP/AVP 97\n\
                    c=IN IP4 10.1.1.2\n";
        let mut s = Session::parse(text.as_bytes()).unwrap();
        s.set_address(0, ip("192.0.2.1"), 36002);
        s.set_proto(0, b"RTP/SAVP");
        s.refuse(1, ip("192.0.2.1"));
        s.set_origin_address(ip("192.0.2.1"));
        s.set_session_address(ip("192.0.2.1"));
        let want = text
            .replace("10.1.1.1", "192.0.2.1")
            .replace("10.1.1.2", "192.0.2.1")
            .replace("audio  2000 RTP/AVP", "audio  36002 RTP/SAVP")
            .replace("a=rtcp:2001", "a=rtcp:36003 IN IP4 192.0.2.1");
        assert_eq!(String::from_utf8(s.to_bytes()).unwrap(), want);
    }

    #[test]
    fn a_refused_line_leaves_the_sessions_address_alone() {
        let text = "v=0\r\no=- 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
                    m=audio 2000 RTP/AVP 0\r\nm=video 2002 RTP/AVP 97\r\n\
                    a=rtcp:53 IN IP4 10.1.1.1\r\n";
        let mut s = Session::parse(text.as_bytes()).unwrap();
        s.refuse(1, ip("192.0.2.1"));
        s.set_session_address(ip("192.0.2.1"));
        assert_eq!(s.rtp_address(0), Some("0.0.0.0:2000".parse().unwrap()));
        assert!(!s.is_active(1) && s.attribute(1, b"rtcp").is_none());
    }

    #[test]
    fn what_is_no_description_is_refused() {
        let table: [(&[u8], SdpError); 5] = [
            (b"", SdpError::Malformed),
            (b"m=audio 1 RTP/AVP 0\r\n", SdpError::Malformed),
            (b"v=0\r\nhello\r\n", SdpError::Malformed),
            (b"v=0\r\nm=audio -1 RTP/AVP 0\r\n", SdpError::Media),
            (b"v=0\r\nm=audio 70000 RTP/AVP 0\r\n", SdpError::Media),
        ];
        for (text, want) in table {
            assert_eq!(Session::parse(text).unwrap_err(), want);
        }
        let many = [b"v=0\r\n".to_vec(), b"m=audio 2 RTP/AVP 0\r\n".repeat(17)].concat();
        assert_eq!(
            Session::parse(&many).unwrap_err(),
            SdpError::Limit("16 m-lines")
        );
    }
}
