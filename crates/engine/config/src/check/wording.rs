//! What the TOML parser says, in words for whoever wrote the line.

use crate::range;

/// Cause and fix. A secret that was written as another type than text is not told back.
pub(super) fn of(key: &str, message: &str) -> (String, String) {
    let message = message.trim().replace('\n', " ");
    let page = "correct the line; docs/configuration.md lists every key";
    let wrong = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "));
    let Some((is, expected)) = wrong else {
        return (message, page.into());
    };
    let wanted = wanted(key, expected);
    let fix = format!("write {wanted}");
    if key.ends_with("password") {
        return ("it is no text in quotes".into(), fix);
    }
    (format!("it is {}, not {wanted}", found(is)), fix)
}

/// What is there.
fn found(is: &str) -> String {
    let value = is
        .split_once('`')
        .and_then(|(_, rest)| rest.split_once('`'));
    match (is, value) {
        ("map", _) => "a section".into(),
        ("sequence", _) => "a list".into(),
        (_, Some((value, _))) => value.to_owned(),
        (other, None) => match other.strip_prefix("string ") {
            Some(text) => format!("the text {text}"),
            None => other.to_owned(),
        },
    }
}

/// What should be there.
fn wanted(key: &str, expected: &str) -> String {
    const NUMBERS: [&str; 8] = ["i64", "u64", "usize", "u32", "u16", "u8", "i32", "isize"];
    match expected {
        "a string" => "a text in quotes".into(),
        "a boolean" => "true or false".into(),
        "a sequence" if crate::check::TABLES.contains(&key) => {
            format!("a section that may stand more than once, [[{key}]]")
        }
        "a sequence" => "a list in square brackets".into(),
        other if NUMBERS.contains(&other) => match range::of(key) {
            Some(range) => format!("a whole number from {} to {}", range.min, range.max),
            None => "a whole number".into(),
        },
        other if other.starts_with("struct ") => format!("a section, [{key}]"),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::load;

    #[test]
    fn what_is_of_the_wrong_kind_is_told_in_plain_words() {
        let number = |what: &str| format!("it is {what}, not a whole number from 1 to 1000000");
        let text = |what: &str| format!("it is {what}, not a text in quotes");
        let limit = "limits.connections_max";
        for (file, key, cause) in [
            (
                "[limits]\nconnections_max = \"many\"",
                limit,
                number("the text \"many\""),
            ),
            ("[limits]\nconnections_max = 1.5", limit, number("1.5")),
            ("[limits]\nconnections_max = true", limit, number("true")),
            ("[limits]\nconnections_max = [1]", limit, number("a list")),
            (
                "[limits]\nconnections_max = 99999999999999999999",
                limit,
                number("99999999999999999999"),
            ),
            ("role = 1", "role", text("1")),
            (
                "[dns]\nservers = \"x\"",
                "dns.servers",
                "it is the text \"x\", not a list in square brackets".into(),
            ),
            (
                "limits = 3",
                "limits",
                "it is 3, not a section, [limits]".into(),
            ),
            (
                "[zones]\nname = \"x\"",
                "zones",
                "it is a section, not a section that may stand more than once, [[zones]]".into(),
            ),
            (
                "[business]\naccept = \"yes\"",
                "business.accept",
                "it is the text \"yes\", not true or false".into(),
            ),
            (
                "[[unified_cm]]\npassword = 12345",
                "unified_cm.password",
                "it is no text in quotes".into(),
            ),
        ] {
            let findings = load(file, Path::new("x.toml")).unwrap_err();
            assert_eq!(
                (findings[0].key.as_str(), &findings[0].cause),
                (key, &cause)
            );
            assert!(findings[0].fix.starts_with("write "), "{}", findings[0]);
        }
    }
}
