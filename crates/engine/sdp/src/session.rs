//! The lines of a description.

use std::fmt::{Display, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use memchr::memchr;
use smallvec::SmallVec;

use crate::sdes::Crypto;
use crate::{BYTES_MAX, LINES_MAX, MEDIA_MAX, SdpError};

/// Room for the lines that are changed in a description.
const ROOM: usize = 640;

/// Lines of a description with two m-lines, as a rule no more.
const LINES_USUAL: usize = 48;

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

/// One line with its end: where it lies in [`Session::text`]. One that was changed lies behind all
/// that was there before.
#[derive(Clone, Copy, Debug)]
struct Line {
    from: u32,
    to: u32,
}

/// Name and value of an `a=` line.
type Attribute<'a> = (&'a [u8], &'a [u8]);

/// The kind of a line: the letter before its `=`.
fn kind_of(line: &[u8]) -> u8 {
    line.first().copied().unwrap_or(0)
}

fn value_of(line: &[u8]) -> &[u8] {
    line.get(2..).unwrap_or_default().trim_ascii_end()
}

fn attribute_of(line: &[u8]) -> Option<Attribute<'_>> {
    if kind_of(line) != b'a' {
        return None;
    }
    let value = value_of(line);
    Some(match value.iter().position(|b| *b == b':') {
        Some(at) => (value.get(..at)?, value.get(at + 1..)?),
        None => (value, b""),
    })
}

fn is_attribute(line: &[u8], name: &[u8]) -> bool {
    attribute_of(line).is_some_and(|(n, _)| n == name)
}

/// A blank-separated part of an m-line.
fn token_of(line: &[u8], index: usize) -> &[u8] {
    value_of(line)
        .split(|b| *b == b' ')
        .filter(|t| !t.is_empty())
        .nth(index)
        .unwrap_or_default()
}

/// Where the blank-separated parts of a value from one to another lie.
fn tokens(value: &[u8], first: usize, last: usize) -> Option<(usize, usize)> {
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
    Some((from?, to?))
}

/// An m-line's section: it goes to where the next one begins.
#[derive(Clone, Copy, Debug)]
struct Media {
    /// The number of the m-line itself.
    first: usize,
    port: u16,
}

/// A session description.
#[derive(Clone, Debug)]
pub struct Session {
    /// What came, and the lines that were changed since.
    text: Vec<u8>,
    /// The lines of the whole session, then each m-line's.
    lines: Vec<Line>,
    media: SmallVec<[Media; 4]>,
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
        let mut whole = Vec::with_capacity(text.len() + ROOM);
        whole.extend_from_slice(text);
        let mut session = Session {
            text: whole,
            lines: Vec::with_capacity(LINES_USUAL),
            media: SmallVec::new(),
        };
        let mut section = 0;
        let mut from = 0;
        while from < text.len() {
            let left = text.get(from..).unwrap_or_default();
            let length = memchr(b'\n', left).map_or(left.len(), |at| at + 1);
            let raw = left.get(..length).unwrap_or_default();
            let line = Line {
                from: from as u32,
                to: (from + length) as u32,
            };
            from += length;
            if raw.trim_ascii().is_empty() {
                continue;
            }
            if raw.get(1) != Some(&b'=') || !kind_of(raw).is_ascii_alphabetic() {
                return Err(SdpError::Malformed);
            }
            if kind_of(raw) == b'm' {
                session.begin(raw)?;
                section = 0;
            } else if section >= LINES_MAX {
                return Err(SdpError::Limit("512 lines in a section"));
            }
            section += 1;
            session.lines.push(line);
        }
        // That of no line at all is no version either.
        let version = match session.head_range().is_empty() {
            true => b"",
            false => session.line(0),
        };
        if kind_of(version) != b'v' || value_of(version) != b"0" {
            return Err(SdpError::Malformed);
        }
        Ok(session)
    }

    /// The m-line that is to be added begins a section.
    fn begin(&mut self, line: &[u8]) -> Result<(), SdpError> {
        if self.media.len() >= MEDIA_MAX {
            return Err(SdpError::Limit("16 m-lines"));
        }
        // `port/count` takes several ports; no client of ours offers it, and a relay that opened
        // one port for it would lose media without a word.
        let port = std::str::from_utf8(token_of(line, 1))
            .ok()
            .and_then(|p| p.parse().ok());
        let port = port.ok_or(SdpError::Media)?;
        if token_of(line, 2).is_empty() {
            return Err(SdpError::Media);
        }
        self.media.push(Media {
            first: self.lines.len(),
            port,
        });
        Ok(())
    }

    fn bytes(&self, line: Line) -> &[u8] {
        self.text
            .get(line.from as usize..line.to as usize)
            .unwrap_or_default()
    }

    fn line(&self, number: usize) -> &[u8] {
        self.lines.get(number).map_or(b"", |line| self.bytes(*line))
    }

    /// The numbers of the lines of the whole session.
    fn head_range(&self) -> Range<usize> {
        0..self.media.first().map_or(self.lines.len(), |m| m.first)
    }

    /// The numbers of an m-line's lines; none if there is no such.
    fn range(&self, i: usize) -> Range<usize> {
        let Some(media) = self.media.get(i) else {
            return 0..0;
        };
        let next = self.media.get(i + 1).map(|next| next.first);
        media.first..next.unwrap_or(self.lines.len())
    }

    fn of(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let lines = self.lines.get(range).unwrap_or_default();
        lines.iter().map(|line| self.bytes(*line))
    }

    fn head(&self) -> impl Iterator<Item = &[u8]> {
        self.of(self.head_range())
    }

    /// The number of the first `c=` line among some.
    fn connection_line(&self, range: Range<usize>) -> Option<usize> {
        let first = range.start;
        let at = self.of(range).position(|line| kind_of(line) == b'c')?;
        Some(first + at)
    }

    /// Writes a line at the end of the text.
    fn write(&mut self, parts: &[&[u8]]) -> Line {
        let from = self.text.len() as u32;
        for part in parts {
            self.text.extend_from_slice(part);
        }
        let to = self.text.len() as u32;
        Line { from, to }
    }

    /// Replaces a part of a line's value, counted from where the value begins.
    fn splice(&mut self, number: usize, from: usize, to: usize, new: &[u8]) {
        let Some(line) = self.lines.get(number).copied() else {
            return;
        };
        let begin = line.from as usize;
        let first = self.text.len() as u32;
        self.text.extend_from_within(begin..begin + 2 + from);
        self.text.extend_from_slice(new);
        self.text
            .extend_from_within(begin + 2 + to..line.to as usize);
        let to = self.text.len() as u32;
        if let Some(line) = self.lines.get_mut(number) {
            *line = Line { from: first, to };
        }
    }

    /// Another value; the line's end stays as it came.
    fn set_value(&mut self, number: usize, value: &[u8]) {
        let end = value_of(self.line(number)).len();
        self.splice(number, 0, end, value);
    }

    /// Replaces the blank-separated parts of a value from one to another; what stands around them
    /// stays. A value that has them not stays as it is.
    fn set_tokens(&mut self, number: usize, first: usize, last: usize, new: &[u8]) {
        if let Some((from, to)) = tokens(value_of(self.line(number)), first, last) {
            self.splice(number, from, to, new);
        }
    }

    /// Puts a line in before the one that has a number.
    fn insert(&mut self, number: usize, section: usize, line: Line) {
        if number <= self.lines.len() {
            self.lines.insert(number, line);
            for media in self.media.iter_mut().skip(section + 1) {
                media.first += 1;
            }
        }
    }

    /// Takes out of some lines those that `which` picks.
    fn remove(&mut self, range: Range<usize>, which: impl Fn(&[u8]) -> bool) {
        let mut kept = range.start;
        for number in range.clone() {
            let line = self.lines.get(number).copied();
            if let Some(line) = line.filter(|line| !which(self.bytes(*line)))
                && let Some(slot) = self.lines.get_mut(kept)
            {
                *slot = line;
                kept += 1;
            }
        }
        let gone = range.end.saturating_sub(kept);
        self.lines.drain(kept..range.end);
        for media in &mut self.media {
            if media.first >= range.end {
                media.first -= gone;
            }
        }
    }

    /// The description's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let all = || self.of(0..self.lines.len());
        let mut out = Vec::with_capacity(all().map(|line| line.len() + 2).sum());
        for line in all() {
            out.extend_from_slice(line);
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

    fn media_line(&self, i: usize) -> &[u8] {
        self.media.get(i).map_or(b"", |m| self.line(m.first))
    }

    /// `audio`, `video`, `application`, …
    pub fn kind(&self, i: usize) -> &[u8] {
        token_of(self.media_line(i), 0)
    }

    /// The port of the m-line.
    pub fn port(&self, i: usize) -> u16 {
        self.media.get(i).map_or(0, |m| m.port)
    }

    /// The transport profile, as `RTP/SAVP`.
    pub fn proto(&self, i: usize) -> &[u8] {
        token_of(self.media_line(i), 2)
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
        let udp = self.proto(i).get(..3);
        self.is_rtp(i) || udp.is_some_and(|proto| proto.eq_ignore_ascii_case(b"UDP"))
    }

    /// Whether the profile says that media is encrypted.
    pub fn is_secure(&self, i: usize) -> bool {
        matches!(self.proto(i), b"RTP/SAVP" | b"RTP/SAVPF")
    }

    fn connection(&self, i: usize) -> Option<IpAddr> {
        self.media.get(i)?;
        let own = self.connection_line(self.range(i));
        let number = own.or_else(|| self.connection_line(self.head_range()))?;
        address(value_of(self.line(number)))
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
        let of = |range| {
            self.of(range)
                .filter_map(attribute_of)
                .find_map(|(name, _)| match name {
                    b"sendrecv" => Some(Direction::SendRecv),
                    b"sendonly" => Some(Direction::SendOnly),
                    b"recvonly" => Some(Direction::RecvOnly),
                    b"inactive" => Some(Direction::Inactive),
                    _ => None,
                })
        };
        of(self.range(i))
            .or_else(|| of(self.head_range()))
            .unwrap_or(Direction::SendRecv)
    }

    /// The attributes of an m-line, name and value.
    pub fn attributes(&self, i: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.of(self.range(i)).filter_map(attribute_of)
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
        let first = media.first;
        let mut text = Text::default();
        // Writing to it does not fail.
        let _ = write!(text, "{port}");
        self.set_tokens(first, 1, 1, text.bytes());
        for number in self.range(i) {
            if is_attribute(self.line(number), b"rtcp") {
                text.0.clear();
                let _ = write!(text, "rtcp:{} ", port.saturating_add(1));
                connection(&mut text, ip);
                self.set_value(number, text.bytes());
            }
        }
        text.0.clear();
        connection(&mut text, ip);
        let own = self.connection_line(self.range(i));
        match own.or_else(|| self.connection_line(self.head_range())) {
            Some(number) => self.set_value(number, text.bytes()),
            // After the m-line and its title (RFC 8866 §5).
            None => {
                let before = self.of(self.range(i));
                let before = before
                    .take_while(|l| matches!(kind_of(l), b'm' | b'i'))
                    .count();
                let line = self.write(&[b"c=", text.bytes(), b"\r\n"]);
                self.insert(first + before, i, line);
            }
        }
    }

    /// Refuses an m-line as [`Session::reject`] does; an address of its own becomes `ip`, that of
    /// the whole session stays.
    pub fn refuse(&mut self, i: usize, ip: IpAddr) {
        self.reject(i);
        self.remove(self.range(i), |line| is_attribute(line, b"rtcp"));
        if let Some(own) = self.connection_line(self.range(i)) {
            self.set_value(own, Text::of(ip).bytes());
        }
    }

    /// Refuses an m-line: port 0 (RFC 3264 §6).
    pub fn reject(&mut self, i: usize) {
        if let Some(media) = self.media.get_mut(i) {
            media.port = 0;
            let first = media.first;
            self.set_tokens(first, 1, 1, b"0");
        }
    }

    /// Changes the transport profile.
    pub fn set_proto(&mut self, i: usize, proto: &[u8]) {
        if let Some(media) = self.media.get(i) {
            self.set_tokens(media.first, 2, 2, proto);
        }
    }

    /// Adds an attribute at the end of an m-line's section.
    pub fn add_attribute(&mut self, i: usize, name: &[u8], value: &[u8]) {
        if i < self.media.len() {
            let colon: &[u8] = if value.is_empty() { b"" } else { b":" };
            let line = self.write(&[b"a=", name, colon, value, b"\r\n"]);
            self.insert(self.range(i).end, i, line);
        }
    }

    /// Adds an attribute whose value is what is shown of something.
    pub fn add_shown(&mut self, i: usize, name: &[u8], value: &impl Display) {
        if i < self.media.len() {
            let mut text = Text::default();
            // Writing to it does not fail.
            let _ = write!(text, "{value}");
            self.add_attribute(i, name, text.bytes());
        }
    }

    /// Removes all attributes of a name from an m-line.
    pub fn remove_attribute(&mut self, i: usize, name: &[u8]) {
        self.remove_attributes(i, |n, _| n == name);
    }

    /// Removes the attributes of an m-line that `which` picks by name and value.
    pub fn remove_attributes(&mut self, i: usize, which: impl Fn(&[u8], &[u8]) -> bool) {
        self.remove(self.range(i), |line| {
            attribute_of(line).is_some_and(|(n, v)| which(n, v))
        });
    }

    /// Removes the attributes of the whole session that `which` picks by name and value.
    pub fn remove_session_attributes(&mut self, which: impl Fn(&[u8], &[u8]) -> bool) {
        self.remove(self.head_range(), |line| {
            attribute_of(line).is_some_and(|(n, v)| which(n, v))
        });
    }

    /// Writes our address into the session's `c=`, if it has one that is an address of somebody
    /// else; the zero address of a hold stays.
    pub fn set_session_address(&mut self, ip: IpAddr) {
        let Some(number) = self.connection_line(self.head_range()) else {
            return;
        };
        let old = address(value_of(self.line(number)));
        if old.is_none_or(|a| !a.is_unspecified() && a != ip) {
            self.set_value(number, Text::of(ip).bytes());
        }
    }

    /// Writes our address into `o=`, which names the describer's machine; the session's id and
    /// version stay.
    pub fn set_origin_address(&mut self, ip: IpAddr) {
        let number = self.head().position(|line| kind_of(line) == b'o');
        if let Some(number) = number {
            self.set_tokens(number, 3, 5, Text::of(ip).bytes());
        }
    }
}

/// A short text off the heap.
#[derive(Default)]
struct Text(SmallVec<[u8; 128]>);

impl Text {
    /// An address as a `c=` line has it.
    fn of(ip: IpAddr) -> Text {
        let mut text = Text::default();
        connection(&mut text, ip);
        text
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// `IN IP4 192.0.2.1`.
fn connection(text: &mut Text, ip: IpAddr) {
    // Writing to it does not fail.
    let _ = match ip {
        IpAddr::V4(a) => write!(text, "IN IP4 {a}"),
        IpAddr::V6(a) => write!(text, "IN IP6 {a}"),
    };
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
