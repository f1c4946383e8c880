//! What `log.level` may hold.

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// The first part of a comma-separated list that is neither a level nor `target=level`.
pub(super) fn flaw(text: &str) -> Option<&str> {
    text.split(',').map(str::trim).find(|part| {
        let level = match part.split_once('=') {
            Some((target, _)) if !is_target(target) => return true,
            Some((_, level)) => level,
            None => part,
        };
        !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known))
    })
}

/// A module's path.
fn is_target(text: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    !text.is_empty() && text.chars().all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_told_from_words() {
        for good in [
            "info",
            "WARN",
            "off",
            "info,sip=debug",
            "net::tls=trace, warn",
        ] {
            assert_eq!(flaw(good), None, "{good}");
        }
        for (bad, part) in [
            ("verbose", "verbose"),
            ("info,sip", "sip"),
            ("info,sip=loud", "sip=loud"),
            ("", ""),
            ("info,,warn", ""),
            ("=info", "=info"),
            ("a b=info", "a b=info"),
        ] {
            assert_eq!(flaw(bad), Some(part), "{bad}");
        }
    }
}
