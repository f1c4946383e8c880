//! Values of the file, each checked where it is read.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use base::{DomainName, HostName, NameError, Secret};

use super::{Finding, Severity};
use crate::file::Number;
use crate::model::Password;
use crate::{place, range};

/// Of a key without a value: an absent key and an empty text are the same.
const MISSING: &str = "it is missing or empty";

/// A password between edge and core shorter than this is worth a word.
const PASSWORD_CHARACTERS_MIN: usize = 8;

/// Reads values and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) folder: PathBuf,
    pub(super) findings: Vec<Finding>,
}

impl Reader<'_> {
    pub(super) fn error(&mut self, section: &str, i: usize, key: &str, cause: &str, fix: &str) {
        self.finding(Severity::Error, section, i, key, cause, fix);
    }

    pub(super) fn warn(&mut self, section: &str, i: usize, key: &str, cause: &str, fix: &str) {
        self.finding(Severity::Warning, section, i, key, cause, fix);
    }

    fn finding(
        &mut self,
        severity: Severity,
        section: &str,
        index: usize,
        key: &str,
        cause: &str,
        fix: &str,
    ) {
        let place = place::of(self.text, section, index, key);
        let name = match (section, key) {
            ("", key) => key.to_owned(),
            (section, "") => section.to_owned(),
            (section, key) => format!("{section}.{key}"),
        };
        self.findings.push(Finding {
            severity,
            line: place.line,
            column: place.column,
            key: name,
            cause: cause.to_owned(),
            fix: fix.to_owned(),
        });
    }

    pub(super) fn path(&self, value: &str) -> PathBuf {
        self.folder.join(value)
    }

    fn name_error(&mut self, section: &str, index: usize, key: &str, error: &NameError) {
        let fix = match error {
            NameError::Underscore => {
                "use a hyphen: certificates and the tunnels between edge and core refuse \
                 underscores"
            }
            NameError::Empty => "give the name",
            _ => "correct the name",
        };
        let cause = match error {
            NameError::Empty => MISSING.to_owned(),
            other => other.to_string(),
        };
        self.error(section, index, key, &cause, fix);
    }

    pub(super) fn host_name(&mut self, section: &str, key: &str, value: &str) -> Option<HostName> {
        value
            .parse()
            .map_err(|e| self.name_error(section, 0, key, &e))
            .ok()
    }

    pub(super) fn domain_name(
        &mut self,
        section: &str,
        index: usize,
        key: &str,
        value: &str,
    ) -> Option<DomainName> {
        value
            .parse()
            .map_err(|e| self.name_error(section, index, key, &e))
            .ok()
    }

    /// A name or an address.
    pub(super) fn host(
        &mut self,
        section: &str,
        index: usize,
        key: &str,
        value: &str,
    ) -> Option<String> {
        if value.parse::<IpAddr>().is_ok() {
            return Some(value.to_owned());
        }
        let port = value.rsplit_once(':').map(|(_, digits)| digits);
        if port.is_some_and(|p| p.parse::<u16>().is_ok()) {
            let fix = "write the name or address alone; docs/configuration.md tells which line \
                       takes the port";
            self.error(section, index, key, "a port stands after the host", fix);
            return None;
        }
        let checked = HostName::from_str(value);
        checked
            .map_err(|e| self.name_error(section, index, key, &e))
            .ok()
            .map(String::from)
    }

    /// `host` or `host:port`; IPv6 in brackets.
    pub(super) fn host_port(
        &mut self,
        section: &str,
        index: usize,
        key: &str,
        value: &str,
        port: u16,
    ) -> Option<(String, u16)> {
        if let Ok(a) = value.parse::<SocketAddr>() {
            self.port(section, index, key, Some(a.port()))?;
            return Some((a.ip().to_string(), a.port()));
        }
        let (host, port) = match value.rsplit_once(':') {
            Some((host, digits)) if !host.contains(':') => match digits.parse() {
                Ok(port) => (host, port),
                Err(_) => {
                    self.error(
                        section,
                        index,
                        key,
                        "its port is no number",
                        "write host:port",
                    );
                    return None;
                }
            },
            _ => (value.trim_matches(['[', ']']), port),
        };
        self.port(section, index, key, Some(port))?;
        Some((self.host(section, index, key, host)?, port))
    }

    /// A number within its range ([`range`]); `None` if none is written, or another.
    pub(super) fn number<T: TryFrom<Number>>(
        &mut self,
        section: &str,
        index: usize,
        key: &str,
        written: Option<Number>,
    ) -> Option<T> {
        let value = written?;
        let range = range::of(&format!("{section}.{key}"));
        let (min, max) = range.map_or((0, Number::MAX), |r| (r.min, r.max));
        if (min..=max).contains(&value)
            && let Ok(value) = T::try_from(value)
        {
            return Some(value);
        }
        let mut cause = format!("{value} is out of range");
        if let Some(range) = range.filter(|r| value < r.min && !r.less.is_empty()) {
            cause = format!("{cause}: {}", range.less);
        }
        let fix = format!("write a whole number from {min} to {max}, or leave the line out");
        self.error(section, index, key, &cause, &fix);
        None
    }

    /// A port, if one is given, must not be 0: nobody can be told or can dial it.
    pub(super) fn port(
        &mut self,
        section: &str,
        index: usize,
        key: &str,
        port: Option<u16>,
    ) -> Option<()> {
        if port != Some(0) {
            return Some(());
        }
        let fix = "write a port from 1 to 65535";
        self.error(section, index, key, "port 0 is no port", fix);
        None
    }

    /// Warns of a password between edge and core that can be guessed.
    pub(super) fn short_password(
        &mut self,
        section: &str,
        index: usize,
        password: Option<&Password>,
    ) {
        if let Some(Password::Given(given)) = password
            && given.expose().chars().count() < PASSWORD_CHARACTERS_MIN
        {
            self.warn(
                section,
                index,
                "password",
                "it has fewer than eight characters: it can be guessed",
                "make a long random one, the same on both sides",
            );
        }
    }

    pub(super) fn address(
        &mut self,
        section: &str,
        key: &str,
        value: &str,
        port: u16,
    ) -> Option<SocketAddr> {
        if let Ok(address) = value.parse::<SocketAddr>() {
            self.port(section, 0, key, Some(address.port()))?;
            return Some(address);
        }
        if let Ok(ip) = value.trim_matches(['[', ']']).parse() {
            return Some(SocketAddr::new(ip, port));
        }
        let cause = format!("{value:?} is no address");
        self.error(
            section,
            0,
            key,
            &cause,
            "write address:port, as in \"192.0.2.10:8443\"",
        );
        None
    }

    pub(super) fn addresses(
        &mut self,
        section: &str,
        key: &str,
        values: &[String],
        port: u16,
    ) -> Vec<SocketAddr> {
        values
            .iter()
            .filter_map(|v| self.address(section, key, v, port))
            .collect()
    }

    pub(super) fn ip(&mut self, section: &str, key: &str, value: &str) -> Option<IpAddr> {
        let ip: Option<IpAddr> = value.parse().ok();
        if ip.is_none() {
            let cause = format!("{value:?} is no IP address");
            self.error(
                section,
                0,
                key,
                &cause,
                "write a literal address, as in \"192.0.2.10\"",
            );
        }
        ip
    }

    /// An address that others are told.
    pub(super) fn advertised(&mut self, section: &str, key: &str, value: &str) -> Option<IpAddr> {
        let ip = self.ip(section, key, value)?;
        if ip.is_unspecified() {
            self.error(
                section,
                0,
                key,
                "nobody can send to the unspecified address",
                "set the address that the other side reaches; behind static NAT the outer one",
            );
            return None;
        }
        Some(ip)
    }

    /// `first-last`.
    pub(super) fn ports(
        &mut self,
        section: &str,
        key: &str,
        value: &str,
    ) -> Option<RangeInclusive<u16>> {
        let range = value.split_once('-').and_then(|(a, b)| {
            Some((a.trim().parse::<u16>().ok()?, b.trim().parse::<u16>().ok()?))
        });
        match range {
            Some((first, last)) if first >= 1024 && first < last && last - first >= 7 => {
                if (last - first) < 400 {
                    self.warn(
                        section,
                        0,
                        key,
                        "the range is small: a video call takes four ports, and ports rest 60 s \
                         before they are used again",
                        "widen the range, as in \"36002-59999\"",
                    );
                }
                Some(first..=last)
            }
            _ => {
                let cause = format!("{value:?} is no range of at least eight ports above 1023");
                self.error(
                    section,
                    0,
                    key,
                    &cause,
                    "write first-last, as in \"36002-59999\"",
                );
                None
            }
        }
    }

    pub(super) fn pair(
        &mut self,
        section: &str,
        index: usize,
        key: &str,
        value: Option<&[Number]>,
    ) -> Option<(u16, u16)> {
        match value {
            None => Some((36000, 36001)),
            Some([rtp, rtcp]) if rtp != rtcp => {
                let rtp = self.number(section, index, key, Some(*rtp));
                let rtcp = self.number(section, index, key, Some(*rtcp));
                rtp.zip(rtcp)
            }
            Some(_) => {
                let fix = "write the RTP and the RTCP port, as in [36000, 36001]";
                self.error(section, index, key, "it is no pair of ports", fix);
                None
            }
        }
    }

    /// Exactly one of `password` and `password_file`.
    pub(super) fn password(
        &mut self,
        section: &str,
        index: usize,
        given: Option<&String>,
        file: Option<&String>,
    ) -> Option<Password> {
        self.secret(section, index, "password", (given, file))
    }

    /// Exactly one of `key` and `key_file`.
    pub(super) fn secret(
        &mut self,
        section: &str,
        index: usize,
        key: &str,
        (given, file): (Option<&String>, Option<&String>),
    ) -> Option<Password> {
        match (given, file) {
            (Some(p), None) if !p.is_empty() => Some(Password::Given(Secret::new(p.clone()))),
            (None, Some(f)) => Some(Password::File(self.path(f))),
            (Some(_), Some(_)) => {
                let fix = format!("keep one of {key} and {key}_file");
                self.error(section, index, key, "two are given", &fix);
                None
            }
            _ => {
                let both = if key == "password" {
                    ", the same on both sides"
                } else {
                    ""
                };
                let fix = format!("set {key} or {key}_file{both}");
                self.error(section, index, key, "it is missing", &fix);
                None
            }
        }
    }

    /// A value that must not be empty.
    pub(super) fn given(
        &mut self,
        section: &str,
        index: usize,
        key: &str,
        value: &str,
    ) -> Option<String> {
        if value.is_empty() {
            self.error(section, index, key, MISSING, "set it");
            return None;
        }
        Some(value.to_owned())
    }
}
