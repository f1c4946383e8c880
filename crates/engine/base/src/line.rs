//! Words of another machine as they may stand in one line of a log. In: text. Out: the same
//! without control characters, and no longer than asked. Escapes nothing, and hides nothing.

use std::borrow::Cow;

/// The text in one line of at most `max` bytes, with `…` where it was cut; control characters
/// and separators of lines, which would begin a line of their own in a log or steer a terminal,
/// are shown as `·`.
pub fn line(text: &str, max: usize) -> Cow<'_, str> {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let mark = "…";
    if text.len() <= max && !text.contains(breaks) {
        return Cow::Borrowed(text);
    }
    let cut = text.len() > max;
    let room = if cut {
        max.saturating_sub(mark.len())
    } else {
        max
    };
    let mut out = String::with_capacity(text.len().min(max));
    let shown = text.chars().map(|c| if breaks(c) { '·' } else { c });
    for c in shown {
        if out.len() + c.len_utf8() > room {
            return Cow::Owned(out + mark);
        }
        out.push(c);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_no_control_character_and_is_cut_between_characters() {
        assert!(matches!(line("as it is", 8), Cow::Borrowed("as it is")));
        assert_eq!(line("a\r\n2021 b\u{1b}[2J\u{2028}", 99), "a··2021 b·[2J·");
        assert_eq!(line("abcdefgh", 6), "abc…");
        assert_eq!(line("ääää", 7), "ää…");
        for max in 3..20 {
            assert!(line(&"é\n".repeat(30), max).len() <= max);
        }
    }
}
