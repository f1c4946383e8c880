//! A question to search rules as the query of a URI, both ways (RFC 3986 §2.1). Bounded by the
//! length of a request's head.

use status::SearchQuestion;

/// Reads `from=…&to=…&zone=…&authenticated=…`.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn search(query: &str) -> Result<SearchQuestion, String> {
    let mut asked = SearchQuestion::default();
    for (name, value) in pairs(query)? {
        match name {
            "from" => asked.from = value,
            "to" => asked.to = value,
            "zone" => asked.zone = value,
            "authenticated" => {
                asked.authenticated = match value.as_str() {
                    "" | "true" => true,
                    "false" => false,
                    _ => return Err("authenticated is neither true nor false".into()),
                };
            }
            _ => return Err(format!("{name} is not known")),
        }
    }
    whole(asked)
}

/// The names and values of a query, without escapes.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn pairs(query: &str) -> Result<Vec<(&str, String)>, String> {
    let parts = query.split('&').filter(|p| !p.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = unescaped(value).ok_or_else(|| format!("{name} cannot be read"))?;
            Ok((name, value))
        })
        .collect()
}

/// A question that has what it needs.
pub(crate) fn whole(asked: SearchQuestion) -> Result<SearchQuestion, String> {
    if asked.to.is_empty() {
        return Err("to is missing: the destination".into());
    }
    Ok(asked)
}

/// Writes it.
pub(crate) fn of(asked: &SearchQuestion) -> String {
    let SearchQuestion {
        from,
        to,
        zone,
        authenticated,
    } = asked;
    let [from, to, zone] = [from, to, zone].map(|value| escaped(value));
    format!("from={from}&to={to}&zone={zone}&authenticated={authenticated}")
}

pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        // A sign would be read as part of the number.
        let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        out.push(u8::from_str_radix(digits, 16).ok().filter(|_| hex)?);
        rest = after;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_survives_the_way_through_a_uri() {
        let asked = SearchQuestion {
            from: "alice@example.com".into(),
            to: "sip:+49 é&x=1@[2001:db8::1]:5060;transport=tls".into(),
            zone: "cucm trunk".into(),
            authenticated: true,
        };
        assert_eq!(search(&of(&asked)), Ok(asked));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [
            "",
            "to=",
            "from=a",
            "to=%",
            "to=%2",
            "to=%+1",
            "to=%FF",
            "to=1&x=2",
            "to=1&authenticated=1",
        ] {
            assert!(search(bad).is_err(), "{bad}");
        }
    }
}
