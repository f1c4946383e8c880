//! Where a key stands in the text, so that a finding can name its line.

/// The line of `section.key` in a configuration's text, from 1: for whoever finds something wrong
/// above the I/O line. Of an array of tables, the `index`th counts.
pub fn line_of(text: &str, section: &str, index: usize, key: &str) -> usize {
    of(text, section, index, key).line
}

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The place of a byte offset.
pub(crate) fn at(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Place { line, column }
}

/// The place of `section.key`, or of the section, or of the file's beginning. Of an array of
/// tables, the `index`th counts.
///
/// A table below an entry of an array may stand under a header of its own, `[array.table]`, or in
/// the line `table = {…}` of the entry.
pub(crate) fn of(text: &str, section: &str, index: usize, key: &str) -> Place {
    let (parent, inline) = section.rsplit_once('.').unwrap_or(("", ""));
    let (mut entries, mut entry) = (0, false);
    let (mut here, mut seen, mut found) = (section.is_empty(), 0, None);
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            let name = trimmed
                .trim_start_matches('[')
                .split(']')
                .next()
                .unwrap_or("")
                .trim();
            here = false;
            if name == parent && trimmed.starts_with("[[") {
                entry = entries == index;
                entries += 1;
            } else if name == section {
                here = match trimmed.starts_with("[[") {
                    true => seen == index,
                    false => entries == 0 || entry,
                };
                seen += 1;
                if here {
                    found = Some(Place {
                        line: number + 1,
                        column: 1,
                    });
                }
            }
        } else if let Some((name, _)) = trimmed.split_once('=')
            && (here && name.trim() == key || entry && found.is_none() && name.trim() == inline)
        {
            let column = line.len() - trimmed.len() + 1;
            return Place {
                line: number + 1,
                column,
            };
        }
    }
    found.unwrap_or(Place { line: 1, column: 1 })
}

/// The section and key around a byte offset; `None` where there is neither.
pub(crate) fn key_at(text: &str, offset: usize) -> Option<String> {
    let end = text
        .get(offset..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |n| offset + n);
    let (mut section, mut key) = ("", "");
    for line in text.get(..end)?.lines().map(str::trim_start) {
        if let Some(header) = line.strip_prefix('[')
            && let Some((name, _)) = header.trim_start_matches('[').split_once(']')
            && is_key(name)
        {
            (section, key) = (name.trim(), "");
        } else if let Some((name, _)) = line.split_once('=')
            && is_key(name)
        {
            key = name.trim();
        }
    }
    match (section, key) {
        ("", "") => None,
        ("", name) | (name, "") => Some(name.to_owned()),
        (section, key) => Some(format!("{section}.{key}")),
    }
}

/// Whether it may be a key, dotted or not, rather than a piece of a value.
fn is_key(text: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.trim().is_empty() && text.trim().chars().all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_around_an_offset_is_named() {
        let text = "a = 1\n[s.t]\nb = [\n  \"x=y\",\n  2,\n]\n[[u]]\nc = 3\n[v]\n";
        let key = |piece: &str| key_at(text, text.find(piece).unwrap());
        assert_eq!(key("1").as_deref(), Some("a"));
        assert_eq!(key("2").as_deref(), Some("s.t.b"));
        assert_eq!(key("3").as_deref(), Some("u.c"));
        assert_eq!(key("[v]").as_deref(), Some("v"));
        assert_eq!(key_at("???", 0), None);
        assert_eq!(key_at("é", 1), None);
    }

    #[test]
    fn keys_are_found_in_their_section() {
        let text = "a = 1\n[s]\nb = 2\n[[t]]\nb = 3\n[[t]]\n  b = 4\n";
        assert_eq!(of(text, "", 0, "a"), Place { line: 1, column: 1 });
        assert_eq!(of(text, "s", 0, "b"), Place { line: 3, column: 1 });
        assert_eq!(of(text, "t", 1, "b"), Place { line: 7, column: 3 });
        assert_eq!(of(text, "t", 1, "zz"), Place { line: 6, column: 1 });
        let below = "[[t]]\n[t.u]\nb = 1\n[[t]]\nu = { b = 2 }\n[[t]]\n[t.u]\nb = 3\n";
        for (index, line) in [(0, 3), (1, 5), (2, 8)] {
            assert_eq!(of(below, "t.u", index, "b").line, line);
        }
        assert_eq!(
            at(text, text.find('4').unwrap()),
            Place { line: 7, column: 7 }
        );
    }
}
