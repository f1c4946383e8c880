//! How requests name what is inside: one judge of hosts, paths and ports, for what rules may say
//! and for what clients, edges and inside servers ask.
//!
//! In: text. Out: its one plain form, or what is wrong with it. Of two spellings that two programs
//! could read in two ways, one is refused. Nothing is kept; callers bound the text.

use std::net::IpAddr;

use base::HostName;

/// The port of a scheme.
pub fn usual_port(scheme: &str) -> u16 {
    if scheme == "http" { 80 } else { 443 }
}

/// A name in lower case, or an address in its one plain spelling, without brackets.
///
/// # Errors
/// What is wrong, in a few words.
pub fn host(host: &str) -> Result<String, &'static str> {
    let odd = "it is an address in a spelling that no request may have";
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        // An IPv4 address in IPv6 clothes would slip past a list of IPv4 addresses.
        let clothed = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4().is_some() && !v6.is_loopback());
        return if clothed || ip.to_canonical() != ip {
            Err(odd)
        } else {
            Ok(ip.to_string())
        };
    }
    // What a resolver would take for an address (0x7f.1, 2130706433, 0177.0.0.1) is no name:
    // a name's last label is not all digits and does not begin with 0x (RFC 3696 §2).
    let last = bare.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    let hexadecimal = last.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("0x"));
    if hexadecimal || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())) {
        return Err(odd);
    }
    let name = bare.parse::<HostName>().ok();
    let name = name.filter(|_| !bare.ends_with('.'));
    let name = name.ok_or("it is neither a name nor an address")?;
    Ok(name.as_str().to_ascii_lowercase())
}

/// Refuses paths that two servers could read in two ways: dot segments in any disguise, encoded
/// separators, control characters, broken escapes.
///
/// # Errors
/// What is wrong, in a few words.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("a path that does not begin with a slash");
    }
    for segment in path.split('/') {
        let decoded = decode_segment(segment)?;
        // What servlet containers cut off (`..;x`) must not turn the rest into a dot segment.
        let bare = decoded.split(|b| *b == b';').next().unwrap_or_default();
        if matches!(bare, b"." | b"..") {
            return Err("a dot segment in the path");
        }
    }
    Ok(())
}

fn decode_segment(segment: &str) -> Result<Vec<u8>, &'static str> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                match (digit(bytes.next()), digit(bytes.next())) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err("a broken escape in the path"),
                }
            }
            b'#' | b'?' => return Err("a delimiter in the path"),
            byte => byte,
        };
        if matches!(byte, b'/' | b'\\') || byte < 0x20 || byte == 0x7f {
            return Err("a separator or control character in a path segment");
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_two_meanings_are_refused() {
        for good in [
            "/",
            "/cucm-uds/user/alice/devices",
            "/a%20b/c;v=1/.well-known/...",
            "/a//b",
        ] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "/../x",
            "/a/..",
            "/./a",
            "/%2e%2e/x",
            "/%2E./x",
            "/..;/x",
            "/..;a=b/x",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/%",
            "/%2",
            "/%zz",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_has_one_spelling() {
        for (text, plain) in [
            ("Web.Test", "web.test"),
            ("10.0.0.9", "10.0.0.9"),
            ("[2001:DB8::9]", "2001:db8::9"),
            ("::1", "::1"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(plain));
        }
        for bad in [
            "",
            ".",
            "web.test.",
            "127.1",
            "0X7f.1",
            "::10.0.0.9",
            "::ffff:10.0.0.9",
            "[web.test",
            "a b",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
