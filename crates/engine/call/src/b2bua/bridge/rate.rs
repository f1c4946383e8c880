//! What call control allows a call's video (F341). A region of Unified CM that nobody changed gives
//! 384 kbit/s, which shows as `b=` in its descriptions (RFC 8866 §5.8, RFC 3890): too little for
//! a picture and a shared screen.
//!
//! In: what both ends have described. Out: how little it is, if the client wanted more. Only `AS`
//! and `TIAS` are read; the lines pass as they are.

/// What a region allows a video call by default, in kbit/s.
const LITTLE_KBPS: u32 = 384;

/// What the inside allows the call's video in kbit/s, if that is little and `client` asked for
/// more, or set no limit.
pub(super) fn little(client: &[u8], inside: &[u8]) -> Option<u32> {
    let wanted = video(client)?;
    let allowed = video(inside)?.filter(|kbps| *kbps <= LITTLE_KBPS)?;
    wanted.is_none_or(|kbps| kbps > allowed).then_some(allowed)
}

/// What a description allows its first m-line of video that is not refused: `None` if there is no
/// such line, and nothing within if it sets no limit.
fn video(description: &[u8]) -> Option<Option<u32>> {
    let mut lines = description
        .split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii)
        .peekable();
    let session = section(&mut lines);
    while let Some(media) = lines.next() {
        let own = section(&mut lines);
        let mut words = media.split(|b| *b == b' ');
        let (kind, port) = (words.next(), words.next());
        if kind == Some(b"m=video") && port.is_some_and(|port| port != b"0") {
            return Some(own.or(session));
        }
    }
    None
}

/// The least that a part of a description sets, up to the next m-line.
fn section<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'a [u8]>>) -> Option<u32> {
    let mut least = None;
    while let Some(line) = lines.next_if(|line| !line.starts_with(b"m=")) {
        least = least.into_iter().chain(kbps(line)).min();
    }
    least
}

/// `b=AS:384`, `b=TIAS:384000`.
fn kbps(line: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(line.strip_prefix(b"b=")?).ok()?;
    let (kind, value) = line.split_once(':')?;
    let value: u32 = value.trim().parse().ok()?;
    match kind {
        "AS" => Some(value),
        "TIAS" => Some(value / 1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::little;

    fn described(session: &str, video: Option<&str>) -> Vec<u8> {
        let video = video.map(|b| format!("m=video 5002 RTP/AVP 97\r\n{b}a=sendrecv\r\n"));
        format!(
            "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\n{session}t=0 0\r\n\
             m=audio 5000 RTP/AVP 0\r\nb=AS:64\r\n{}",
            video.unwrap_or_default()
        )
        .into_bytes()
    }

    #[test]
    fn video_that_is_allowed_less_than_it_asked_for_is_seen_and_nothing_else() {
        let free = described("", Some(""));
        let region = described("b=TIAS:384000\r\nb=AS:384\r\n", Some(""));
        assert_eq!(little(&free, &region), Some(384));
        let own = described("b=AS:6000\r\n", Some("b=AS:128\r\n"));
        assert_eq!(little(&free, &own), Some(128));
        let more = described("b=AS:384\r\n", Some("b=TIAS:2000000\r\n"));
        assert_eq!(little(&free, &more), None, "the m-line's counts");
        assert_eq!(little(&region, &region), None, "it asked for no more");
        let asked = described("b=AS:2000\r\n", Some(""));
        assert_eq!(little(&asked, &region), Some(384));
        assert_eq!(little(&free, &free), None, "without a limit");
        // Without video there is nothing to limit, and a refused line is none.
        assert_eq!(little(&free, &described("b=AS:384\r\n", None)), None);
        assert_eq!(little(&described("", None), &region), None);
        let refused = String::from_utf8(region.clone()).unwrap();
        let refused = refused.replace("m=video 5002", "m=video 0");
        assert_eq!(little(&free, refused.as_bytes()), None);
        assert_eq!(
            little(b"", b"b=AS:x\r\nm=video\r\nb=\r\nm=video 1\r\nb=CT:1"),
            None
        );
    }
}
