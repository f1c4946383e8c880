//! The two things that an identity provider's certificate is read for (RFC 5280 §4.1): its key, and
//! until when it is good. It is trusted because an administrator handed it over, so nobody's
//! signature on it is looked at.

use base::UnixTime;

/// A certificate's key and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// `SubjectPublicKeyInfo`, in DER.
    pub(crate) key: Vec<u8>,
    /// `notAfter`.
    pub(crate) until: UnixTime,
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Certificate {
    /// Reads DER.
    pub(crate) fn read(der: &[u8]) -> Option<Certificate> {
        let (certificate, _) = of(SEQUENCE, der)?;
        let (mut rest, _) = of(SEQUENCE, certificate.value)?;
        let mut fields = Vec::new();
        while !rest.value.is_empty() && fields.len() < 8 {
            let (field, after) = element(rest.value)?;
            rest.value = after;
            fields.push(field);
        }
        // version [0], which the first version of certificates leaves out
        let versioned = usize::from(fields.first()?.tag == 0xa0);
        let validity = fields.get(versioned + 3).filter(|f| f.tag == SEQUENCE)?;
        let key = fields.get(versioned + 5).filter(|f| f.tag == SEQUENCE)?;
        let (_, after) = element(validity.value)?;
        let (until, _) = element(after)?;
        Some(Certificate {
            key: key.whole.to_vec(),
            until: time(&until)?,
        })
    }
}

struct Element<'a> {
    tag: u8,
    value: &'a [u8],
    whole: &'a [u8],
}

fn of(tag: u8, der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    element(der).filter(|(e, _)| e.tag == tag)
}

/// The first element, and what follows.
fn element(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let count = length - 0x80;
        if count == 0 || count > 3 {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        rest = after;
        length = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
    }
    let (value, after) = rest.split_at_checked(length)?;
    let whole = der.get(..der.len() - after.len())?;
    let tag = *tag;
    Some((Element { tag, value, whole }, after))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(field: &Element<'_>) -> Option<UnixTime> {
    let text = std::str::from_utf8(field.value).ok()?;
    let text = text.strip_suffix('Z')?;
    let (century, rest) = match field.tag {
        UTC_TIME if text.len() == 12 => ("", text),
        GENERALIZED_TIME if text.len() == 14 => text.split_at(2),
        _ => return None,
    };
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let two = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let year = match (century, two(0)?) {
        ("", year @ 50..) => 1900 + year,
        ("", year) => 2000 + year,
        (century, year) => century.parse::<u64>().ok()? * 100 + year,
    };
    unix(year, two(2)?, two(4)?, two(6)?, two(8)?, two(10)?)
}

/// A date and time of UTC.
pub(crate) fn unix(
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
) -> Option<UnixTime> {
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !fits {
        return None;
    }
    // Days from date, after Howard Hinnant's `days_from_civil`.
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y / 400, y % 400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = (era * 146_097 + doe).checked_sub(719_468)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(UnixTime::from_millis(seconds * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_what_its_civil_form_says() {
        for millis in [0, 951_782_400_000, 1_700_000_000_000, 4_102_444_799_000] {
            let time = UnixTime::from_millis(millis);
            let (y, mo, d, h, mi, s, _) = time.civil();
            assert_eq!(unix(y, mo, d, h, mi, s), Some(time));
        }
        assert_eq!(unix(2024, 13, 1, 0, 0, 0), None);
        assert_eq!(unix(1969, 1, 1, 0, 0, 0), None);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let made = rcgen::generate_simple_self_signed(vec!["idp.test".into()]).unwrap();
        let der = made.cert.der().to_vec();
        assert!(Certificate::read(&der).unwrap().until.as_secs() > 1_700_000_000);
        for at in 0..der.len() {
            assert_eq!(Certificate::read(&der[..at]), None);
            for to in [0, 0x30, 0x80, 0xff] {
                let mut bad = der.clone();
                bad[at] = to;
                let _ = Certificate::read(&bad);
            }
        }
    }
}
